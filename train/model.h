/*
 * nn_model - a network built from a text, one layer a line, with a softmax cross-entropy loss on top.
 *
 *     conv 3x3 32 stride 2 pad 1 nobias     kernel HxW, output channels; stride 1, pad 0 and a bias unless said
 *     groupnorm 8                           groups; scale and shift per channel; epsilon 1e-5
 *     relu | tanh | flatten | globalpool
 *     maxpool 2 stride 2 | avgpool 2        window K or HxW; stride: the window unless said; no padding
 *     linear 32 | linear classes [nobias]   input is flattened; "classes" is the number of classes
 *
 * Blank lines and what follows a # are ignored. A spec can be refused: the message names the layer's number, its
 * name and the shapes. The last layer must give exactly n_classes values.
 *
 * All weights are one vector of floats in the order of the layers, weight then bias: conv (out, in, kh, kw), linear
 * (out, in), groupnorm (C), as in PyTorch. Images are (C, H, W).
 *
 * Everything here works on ONE image, on one thread, with sizes that depend on the model alone: the result is a pure
 * function of (weights, image, label), bit for bit, whoever else is in the batch. Non-finite images and weights are
 * carried through, never trapped. A model may be shared by threads; a workspace belongs to one of them.
 */
#ifndef TRAIN_MODEL_H
#define TRAIN_MODEL_H

#include "base/err.h"
#include "base/object.h"
#include <stdbool.h>
#include <stdint.h>

#define NN_MAX_LAYERS  256
#define NN_MAX_NAME    48 /* of a layer, with the zero */
#define NN_MAX_WEIGHTS (1u << 27)
#define NN_MAX_VALUES  (1u << 28) /* activations of one image, floats */

typedef struct nn_model nn_model;
typedef struct nn_workspace nn_workspace;

typedef struct nn_shape {
    uint32_t C, H, W; /* a flat vector is (n, 1, 1) */
} nn_shape;

/* One tensor of weights: where it lies in the vector, and PyTorch's name for it ("3.weight" in nn.Sequential). */
typedef struct nn_tensor {
    char name[NN_MAX_NAME + 8];
    uint32_t n_dims, dims[4];
    size_t offset, size; /* in floats */
} nn_tensor;

fl_code nn_model_create(nn_model **out, const char *spec, uint32_t channels, uint32_t height, uint32_t width,
                        uint32_t n_classes, fl_err *err) FL_MUST_USE;
void nn_model_destroy(nn_model *m);
size_t nn_model_n_weights(const nn_model *m);
nn_shape nn_model_input(const nn_model *m);
uint32_t nn_model_n_classes(const nn_model *m);
uint64_t nn_model_flops(const nn_model *m); /* multiply-adds x 2 of one forward pass */
/* SHA-256 of "CxHxW classes\n" and the text in canonical form: no remarks or blank lines, one space between words, names
 * last with `as` before `from`, a line end after each line. */
fl_hash nn_model_hash(const nn_model *m);
size_t nn_model_n_tensors(const nn_model *m);
nn_tensor nn_model_tensor(const nn_model *m, size_t index);

/* Kaiming-uniform as PyTorch's default for conv and linear (bound 1/sqrt(fan_in), biases too), 1 and 0 for groupnorm;
 * the last layer starts at zero, so that the first step sees equal classes. Same seed, same bits. */
void nn_model_init_weights(const nn_model *m, float *w, uint64_t seed);

/* "cnn-small", "cnn-tiny", "linear": the spec of a named architecture, NULL when there is no such name. */
const char *nn_architecture(const char *name);
extern const char nn_architecture_names[]; /* "cnn-small, cnn-tiny, linear", for messages */

/* All memory that a pass needs; nothing is allocated later. */
fl_code nn_workspace_create(nn_workspace **out, const nn_model *m, fl_err *err) FL_MUST_USE;
void nn_workspace_destroy(nn_workspace *ws);
size_t nn_workspace_size(const nn_workspace *ws); /* bytes */

/* logits (n_classes) of one image (C, H, W). */
void nn_forward(const nn_model *m, nn_workspace *ws, const float *w, float *logits, const float *image);

/* g (n_weights), overwritten: d loss / d w;  *loss (may be NULL) = log sum_c exp(logit_c) - logit_label.
 * label < n_classes. g may not overlap w. */
void nn_gradient(const nn_model *m, nn_workspace *ws, const float *w, float *g, double *loss, const float *image,
                 uint32_t label);

/* softmax of n logits, in double, written as float; any array may be the same. NaN in gives equal probabilities. */
void nn_softmax(float *p, const float *logits, uint32_t n);

/* The vector on the wire: little-endian float32, 4 bytes a weight. Reading refuses values that are not finite and any
 * other length. */
void nn_weights_write(uint8_t *bytes /* 4n */, const float *w, size_t n);
fl_code nn_weights_read(float *w, size_t n, const uint8_t *bytes, size_t n_bytes, fl_err *err) FL_MUST_USE;

#endif
