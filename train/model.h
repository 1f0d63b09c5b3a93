/*
 * nn_model - a network built from a text, one layer a line; docs/layers.md has every line, train/spec.h its grammar.
 *
 *     conv 3x3 32 stride 2 pad 1 nobias as stem
 *     groupnorm 8
 *     relu
 *     linear classes
 *
 * A spec can be refused: the message names the layer's number, its name and the shapes. The last layer must give exactly
 * n_classes values.
 *
 * All weights are one vector of floats in the order of the layers, weight then bias: conv (out, in / groups, kh, kw),
 * linear (out, in), groupnorm (C), as in PyTorch. Images are (C, H, W).
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

/*
 * What a pass learns and minimises. A new model learns all its weights with NN_LOSS_SOFTMAX and equal class weights.
 *
 *     SOFTMAX   v[label] * (log sum_c exp(y_c) - y_label)                  label: the class
 *     BINARY    mean over c of v[c] * (log(1 + exp(y_c)) - t_c y_c)        label: a set, t_c = bit c; at most 32 classes
 *     SQUARES   1/2 sum_i o_i^2, o the output of layer `at`                the label and what follows `at` are ignored
 *
 * Layers are called by their names: `as NAME` in the spec, else their index from 0, as in PyTorch's nn.Sequential.
 */
typedef enum nn_loss_kind { NN_LOSS_SOFTMAX, NN_LOSS_BINARY, NN_LOSS_SQUARES } nn_loss_kind;

typedef struct nn_aim {
    const char *learn; /* "all", or names of layers with weights, separated by commas; what is not learned is frozen */
    nn_loss_kind loss;
    const char *at;             /* SQUARES: a layer's name; else NULL */
    const float *class_weights; /* v (n_classes), finite and at least 0, or NULL: ones */
} nn_aim;

/* A piece of the flat vector, in floats. */
typedef struct nn_range {
    size_t offset, size;
} nn_range;

/* Everything is copied. Refuses (FL_EFORMAT, m is unchanged) names that are no layer's or have no weights, more than 32
 * classes with BINARY, class weights below 0. Before workspaces of m are made: they are sized by it. */
fl_code nn_model_aim(nn_model *m, const nn_aim *aim, fl_err *err) FL_MUST_USE;
nn_loss_kind nn_model_loss(const nn_model *m);
/* Gradients and updates hold the learned weights alone, in the order of the flat vector: the ranges one after another. */
size_t nn_model_n_learned(const nn_model *m); /* at least 1, at most n_weights */
size_t nn_model_n_ranges(const nn_model *m);  /* ascending, never touching */
nn_range nn_model_range(const nn_model *m, size_t index);

/* Kaiming-uniform as PyTorch's default for conv and linear (bound 1/sqrt(fan_in), biases too), 1 and 0 for groupnorm;
 * the last layer starts at zero, so that the first step sees equal classes. Same seed, same bits. */
void nn_model_init_weights(const nn_model *m, float *w, uint64_t seed);

/* The spec of a named architecture ("resnet18"; docs/layers.md), NULL when there is no such name. */
const char *nn_architecture(const char *name);
const char *nn_architecture_name(size_t index); /* all of them from 0; NULL ends */
extern const char nn_architecture_names[];      /* "cnn-small, cnn-tiny, ...", for messages */

/* All memory that a pass needs; nothing is allocated later. */
fl_code nn_workspace_create(nn_workspace **out, const nn_model *m, fl_err *err) FL_MUST_USE;
void nn_workspace_destroy(nn_workspace *ws);
size_t nn_workspace_size(const nn_workspace *ws); /* bytes */

/* logits (n_classes) of one image (C, H, W). */
void nn_forward(const nn_model *m, nn_workspace *ws, const float *w, float *logits, const float *image);

/* g (n_learned), overwritten: d loss / d w;  *loss (may be NULL): the value of the model's aim. label: below n_classes, or
 * a set of classes. g may not overlap w. */
void nn_gradient(const nn_model *m, nn_workspace *ws, const float *w, float *g, double *loss, const float *image,
                 uint32_t label);

/*
 * Looking inside, for explanations (Grad-CAM). Layers are numbered from 0 in the order of the spec.
 *
 * y (out.C, out.H, out.W) is the output of a layer for one image, slope (the same) = d logit[class] / d y: of the score
 * before the softmax. logits (n_classes) may be NULL. Whatever the model's aim. FL_EENV: no memory.
 */
typedef struct nn_layer_view {
    const char *name, *kind; /* as nn_aim calls it; "conv" */
    nn_shape out;
} nn_layer_view;
size_t nn_model_n_layers(const nn_model *m);
nn_layer_view nn_model_layer(const nn_model *m, size_t index);
fl_code nn_activation(float *y, float *slope, float *logits, const nn_model *m, nn_workspace *ws, const float *w,
                      const float *image, size_t layer, uint32_t class, fl_err *err) FL_MUST_USE;

/* softmax of n logits, in double, written as float; any array may be the same. NaN in gives equal probabilities. */
void nn_softmax(float *p, const float *logits, uint32_t n);

/* The vector on the wire: little-endian float32, 4 bytes a weight. Reading refuses values that are not finite and any
 * other length. */
void nn_weights_write(uint8_t *bytes /* 4n */, const float *w, size_t n);
fl_code nn_weights_read(float *w, size_t n, const uint8_t *bytes, size_t n_bytes, fl_err *err) FL_MUST_USE;

#endif
