/*
 * nn_layer - one line of a model's spec, and the table of kinds it points into. Private to train.
 *
 * A kind computes on ONE image, through views (train/map.h): run fills y from x, back fills dx and adds to dw from dy. It
 * knows nothing but what its pass holds: no other image, no position, no memory of its own. conv and linear are the
 * exception, the engine computes them by train/convolution.h for many images at once.
 *
 * CONTRIBUTING.md has the recipe for one more.
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
    bool is_training; /* false: prediction, or a look at one: dropout does nothing, in run and in back */
} nn_pass;

typedef struct nn_layer_kind {
    const char *name;
    /* words after the name -> the layer's parameters. Messages say what is wrong; the caller adds line and name. */
    fl_code (*read)(nn_layer *l, const nn_spec_line *line, fl_err *err);
    /* in -> out, n_weights, n_kept, n_scratch; refuses shapes that do not fit */
    fl_code (*infer)(nn_layer *l, fl_err *err);
    void (*init)(const nn_layer *l, float *w, fl_rng *rng); /* NULL: no weights */
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
    uint32_t channels; /* out channels, out values, or groups of groupnorm */
    uint32_t groups;   /* of conv */
    double rate;       /* of dropout */
    bool has_bias;
    bool is_standardised; /* conv: computes with nn_standardise of its weights */
    nn_scattering scattering;
    size_t n_weights, n_bias; /* n_weights counts the bias too */
    uint32_t n_dims, dims[4]; /* of the weight, as PyTorch has it; n_dims 0: it is flat */
    uint64_t n_kept, n_scratch;
    size_t weights_at; /* where its weights start in the flat vector */
    uint64_t flops;
};

/* All kinds: one more is one more here. */
#define NN_LAYER_KINDS(X)                                                                                              \
    X(nn_conv)                                                                                                         \
    X(nn_linear)                                                                                                       \
    X(nn_groupnorm)                                                                                                    \
    X(nn_relu)                                                                                                         \
    X(nn_tanh)                                                                                                         \
    X(nn_silu)                                                                                                         \
    X(nn_maxpool)                                                                                                      \
    X(nn_avgpool)                                                                                                      \
    X(nn_globalpool)                                                                                                   \
    X(nn_flatten)                                                                                                      \
    X(nn_dropout)                                                                                                      \
    X(nn_add)                                                                                                          \
    X(nn_concat)                                                                                                       \
    X(nn_centre)                                                                                                       \
    X(nn_unit)                                                                                                         \
    X(nn_scattering_kind)

#define NN_DECLARE(kind) extern const nn_layer_kind kind;
NN_LAYER_KINDS(NN_DECLARE)
#undef NN_DECLARE

const nn_layer_kind *nn_layer_kind_named(const char *name); /* NULL when there is none */
void nn_layer_kind_list(char *names, size_t size);          /* "conv, linear, ..." */

/* For read: a decimal number in [min, max], a pair "3x5" or "3" for both, nothing more on the line. */
fl_code nn_spec_number(uint32_t *out, const char *word, const char *what, uint32_t min, uint32_t max, fl_err *err);
fl_code nn_spec_pair(uint32_t *a, uint32_t *b, const char *word, const char *what, uint32_t min, uint32_t max,
                     fl_err *err);
/* A number with a point, 0 <= out < 1. */
fl_code nn_spec_fraction(double *out, const char *word, const char *what, fl_err *err);
fl_code nn_spec_nothing(nn_layer *l, const nn_spec_line *line, fl_err *err);

/* conv standardised: v (n_weights), what is computed with, from w; may be w. And d loss / d v becomes d loss / d w in dw. */
void nn_standardise(const nn_layer *l, float *v, const float *w);
void nn_standardise_back(const nn_layer *l, float *dw, const float *w);

/* Sums in double, in eight lanes so that they become vector code; always in the same order. */
double nn_sum(const float *x, size_t n);
double nn_sum_squares(const float *x, size_t n, double around); /* of x - around */
double nn_sum_products(const float *x, const float *y, size_t n);

/* infer for what keeps its shape */
fl_code nn_same_shape(nn_layer *l, fl_err *err);

/* uniform in [-bound, bound) */
void nn_fill_uniform(float *w, size_t n, double bound, fl_rng *rng);

#endif
