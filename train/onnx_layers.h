/* What onnx.c and onnx_scattering.c share. Private to train. */
#ifndef TRAIN_ONNX_LAYERS_H
#define TRAIN_ONNX_LAYERS_H

#include "train/onnx_graph.h"
#include "train/spec.h"

typedef struct onnx_value {
    char name[ONNX_NAME];
    bool is_flat; /* (batch, n); else (batch, C, H, W) */
} onnx_value;

typedef struct onnx_model {
    const nn_spec *spec;
    const float *w;
    float *scratch; /* as many */
    onnx_graph graph;
    onnx_value image, values[NN_MAX_LAYERS];
    bool is_flat; /* the layer being written gives a vector */
} onnx_model;

/* "/NAME" and the suffix */
const char *onnx_name(char out[ONNX_NAME], const nn_layer *l, const char *suffix);
/* y = x (batch, C, H, W), each group of channels with mean 0 and variance 1 */
void onnx_standard_groups(onnx_graph *g, const char *y, const char *x, nn_shape s, uint32_t groups, float epsilon);
/* y = op(x, value), one value for all */
void onnx_with(onnx_graph *g, const char *op, const char *y, const char *x, float value);
/* y (batch, n) = n times the one value of x (batch, 1) */
void onnx_spread(onnx_graph *g, const char *y, const char *x, uint32_t n);
/* y = x / max(|x|, 1e-6), x (batch, n) */
void onnx_unit(onnx_graph *g, const char *y, const char *x, uint32_t n);
/* y = the features of the image (onnx_scattering.c) */
void onnx_scattering(onnx_model *m, const nn_layer *l, const char *y);

#endif
