/*
 * nn_layer - one line of a model's spec, and the table of kinds it points into. Private to train.
 *
 * To add a kind: a file with read, infer, forward and backward, a row in layer_kinds.c, its line in docs/layers.md,
 * PyTorch's values and a gradient check.
 *
 * A kind computes on ONE image, through views (train/map.h): run fills y from x, back fills dx and adds to dw from dy.
 * conv and linear are the exception, the engine computes them by train/convolution.h for many images at once.
 *
 * forward and backward, with plain (C, H, W) arrays, are the old way; they go when every kind has run and back.
 */
#ifndef TRAIN_LAYER_H
#define TRAIN_LAYER_H

#include "base/rng.h"
#include "train/map.h"
#include "train/model.h"
#include "train/scattering.h"

#define NN_MAX_WORDS 16

typedef struct nn_layer nn_layer;

typedef struct nn_spec_line {
    char *words[NN_MAX_WORDS];
    uint32_t n_words;
    uint32_t n_classes; /* what the word "classes" stands for */
} nn_spec_line;

/*
 * One image's way through a layer. Shapes are the layer's: x[0] has in, x[1] has other, y has out.
 *
 * run reads x, w and fills y: every channel, and zeros in the padded channels from C to cs (whatever x has there); never
 * the halo. back reads x, y, dy, w, kept, adds the image's part to dw, and overwrites dx[0] and dx[1], padded channels
 * with zeros; dy is zero there. dx[i].at is NULL where nobody wants it, dw is NULL where the layer is frozen. What
 * several consumers send into one output is added up by the engine, in a fixed order. kept and scratch are aligned to
 * 64 bytes. Sums in double where they are long; NaN is carried through. No two buffers overlap, except that a kind which
 * says in_place may be given y in the memory of x[0] and dx[0] in that of dy, pixel on pixel.
 */
typedef struct nn_pass {
    nn_map x[2], y;
    nn_map dx[2], dy; /* back alone */
    const float *w;   /* the layer's weights, as in the flat vector (n_weights) */
    float *dw;        /* as w; to be added to */
    float *kept;      /* n_kept floats: run fills them, back finds them */
    float *scratch;   /* n_scratch floats, of any value */
    uint64_t key;     /* training: a number drawn for (patient, image, step, layer), for dropout */
    bool is_training; /* false: prediction; kept need not be filled */
} nn_pass;

typedef struct nn_layer_kind {
    const char *name;
    /* words after the name -> the layer's parameters. Messages say what is wrong; the caller adds line and name. */
    fl_code (*read)(nn_layer *l, const nn_spec_line *line, fl_err *err);
    /* in -> out, n_weights, n_kept, n_scratch; refuses shapes that do not fit */
    fl_code (*infer)(nn_layer *l, fl_err *err);
    void (*init)(const nn_layer *l, float *w, fl_rng *rng); /* NULL: no weights */
    void (*forward)(const nn_layer *l, float *y, float *kept, float *scratch, const float *x, const float *w);
    void (*backward)(const nn_layer *l, float *dx, float *dw, const float *kept, float *scratch, const float *x,
                     const float *y, const float *dy, const float *w);
    bool has_two_inputs; /* the line's first word names the second one; `other` is its shape */
    void (*run)(const nn_layer *l, const nn_pass *p);
    void (*back)(const nn_layer *l, const nn_pass *p);
    bool uses_key; /* another output for another key, in training: cannot be computed once for all steps */
    bool in_place; /* y may be x[0] and dx[0] may be dy; then run and back may read y and dy only, not x[0] */
} nn_layer_kind;

struct nn_layer {
    const nn_layer_kind *kind;
    uint32_t line;          /* from 1 */
    char name[NN_MAX_NAME]; /* what `as` says, else its number from 0 */
    uint32_t n_inputs;      /* 1 or 2 */
    int32_t from[2];        /* the layers it takes its inputs from; -1: the image */
    nn_shape in, other, out;
    size_t n_in, n_out; /* values */
    bool is_learned;    /* has weights, and the model's aim learns them */
    uint32_t kernel_h, kernel_w, stride, pad;
    uint32_t channels; /* out channels, out values, or groups */
    double rate;       /* of dropout */
    bool has_bias, has_stride;
    nn_scattering scattering;
    size_t n_weights, n_bias; /* n_weights counts the bias too */
    uint32_t n_dims, dims[4]; /* of the weight, as PyTorch has it; n_dims 0: it is flat */
    uint64_t n_kept, n_scratch;
    size_t weights_at, out_at, kept_at; /* offsets, in floats */
    uint64_t flops;
};

const nn_layer_kind *nn_layer_kind_named(const char *name); /* NULL when there is none */
extern const char nn_layer_kind_names[];

extern const nn_layer_kind nn_conv, nn_linear, nn_groupnorm, nn_relu, nn_tanh, nn_silu, nn_maxpool, nn_avgpool,
    nn_globalpool, nn_flatten, nn_dropout, nn_add, nn_concat, nn_centre, nn_unit, nn_scattering_kind;

/* For read: a decimal number in [min, max], a pair "3x5" or "3" for both, nothing more on the line. */
fl_code nn_spec_number(uint32_t *out, const char *word, const char *what, uint32_t min, uint32_t max, fl_err *err);
fl_code nn_spec_pair(uint32_t *a, uint32_t *b, const char *word, const char *what, uint32_t min, uint32_t max,
                     fl_err *err);
/* A number with a point, 0 <= out < 1. */
fl_code nn_spec_fraction(double *out, const char *word, const char *what, fl_err *err);
fl_code nn_spec_nothing(nn_layer *l, const nn_spec_line *line, fl_err *err);

/* Sums in double, in eight lanes so that they become vector code; always in the same order. */
double nn_sum(const float *x, size_t n);
double nn_sum_squares(const float *x, size_t n, double around); /* of x - around */
double nn_sum_products(const float *x, const float *y, size_t n);

/* infer for what keeps its shape */
fl_code nn_same_shape(nn_layer *l, fl_err *err);

/* uniform in [-bound, bound) */
void nn_fill_uniform(float *w, size_t n, double bound, fl_rng *rng);

#endif
