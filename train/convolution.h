/*
 * nn_convolution - convolutions and linear layers on nn_maps, forward and both gradients.
 *
 *     y[n, o, i, j]  = b[o] + sum_{u, v, c} w[o, c, u, v] x[n, c, i S - P + u, j S - P + v]         zero outside
 *     dx[n, c, h, w] = sum over the (u, v, o) that met it of w[o, c, u, v] dy[n, o, i, j]
 *     dw[o, c, u, v] = sum_{n, i, j} x[n, c, i S - P + u, j S - P + v] dy[n, o, i, j]               db[o] = sum dy[n, o, i, j]
 *
 * in this order of summation, each output one chain of multiply-adds that starts at the bias or at zero; so the bits of
 * an image's output and of a patient's gradient do not depend on what else is in the call. With groups, channels c of
 * group g meet the outputs of group g alone. A linear layer on a C x H x W input is a convolution with a kernel of
 * H x W and no padding: its flat weights have the same order.
 *
 * Inside, weights are packed: [group][panel of at most 64 outputs][k = (u, v, c)][output], outputs padded with zeros to
 * 16, then the bias [group][output]; those of a depthwise convolution, where each channel is a group, as [panel][(u, v)]
[output]. A gradient has the same order. Functions below want maps with the halos of the
 * plan; y and dx are written inside H x W alone. They allocate nothing; any thread, each with its own scratch.
 */
#ifndef TRAIN_CONVOLUTION_H
#define TRAIN_CONVOLUTION_H

#include "train/map.h"
#include <stdbool.h>

typedef struct nn_halo {
    uint32_t top, left, bottom, right; /* pixels outside a map that are read: zeros, which may be shared, the right ones
                                          of a row with the left ones of the next, the lower ones of an image with the
                                          upper ones of the next */
} nn_halo;

typedef struct nn_conv_shape {
    uint32_t C, H, W; /* of x */
    uint32_t out;     /* channels of y */
    uint32_t kernel_h, kernel_w, stride, pad, groups;
    bool has_bias;
} nn_conv_shape;

typedef struct nn_convolution {
    nn_conv_shape shape;
    uint32_t out_h, out_w;
    size_t n_flat;       /* weights and bias in the flat vector: (out, C / groups, kh, kw), then (out) */
    size_t n_packed;     /* floats of the packed weights and of a packed gradient; a multiple of 16 */
    size_t n_transposed; /* floats of the weights as the input gradient wants them */
    size_t n_scratch;    /* floats that weight gradients in tiles need */
    nn_halo x_halo;      /* what forward and weight gradient read around x */
    nn_halo dy_halo;     /* what the input gradient reads around dy */
    uint64_t flops;      /* multiply-adds x 2 of one image forward; each gradient has as many */
    /* private */
    bool is_depthwise;                        /* counts as one group, with one input for each output */
    uint32_t groups;                          /* of the packed weights */
    uint32_t group_in, group_out, packed_out; /* of one group; packed_out is rounded up to 16 */
    uint32_t phase_h, phase_w;                /* the input gradient is so many convolutions of stride 1 */
    size_t k, bias_at;
} nn_convolution;

/* The shape must be sound (the layer's infer has refused others): groups divide C and out, the kernel fits. */
nn_convolution nn_conv_plan(const nn_conv_shape *shape);

/* Piece `piece` of `pieces` (by outputs): all pieces together fill packed and, unless it is NULL, transposed. flat is
 * the layer's own part of the flat vector. */
void nn_conv_pack(const nn_convolution *c, float *packed, float *transposed, const float *flat, uint32_t piece,
                  uint32_t pieces);
/* A packed gradient in flat order. */
void nn_conv_unpack(const nn_convolution *c, float *flat, const float *packed);

/* Packed sums of n_sums places, added up, go to put in flat order, in runs, and zeros stay in their place. The layer's part
 * of the packed sums starts at packed_at, of the flat vector at flat_at. Each piece hands over other values. */
typedef struct nn_collection {
    int32_t *const *sums;
    unsigned n_sums;
    void (*put)(void *to, size_t at, const int32_t *values, size_t n);
    void *to;
} nn_collection;
#define NN_COLLECT_SCRATCH 4352 /* values */
void nn_conv_collect(const nn_convolution *c, const nn_collection *job, int32_t *scratch, size_t packed_at,
                     size_t flat_at, uint32_t piece, uint32_t pieces);
/* The n values from `at` on, added up; zeros stay. */
void nn_collect_values(const nn_collection *job, int32_t *values, size_t at, size_t n);

void nn_conv_forward(const nn_convolution *c, const nn_map *y, const nn_map *x, const float *packed, uint32_t n_images);
/* accumulate: dx += */
void nn_conv_input_gradient(const nn_convolution *c, const nn_map *dx, const nn_map *dy, const float *transposed,
                            uint32_t n_images, bool accumulate);
/* dw (n_packed) of the images first .. first + n - 1, bias included; accumulate: the chain goes on from what dw holds.
 * Returns nn_packed_sum_squares (train/kernels.h) of dw when it is wanted, else 0: here it costs no pass over memory. */
double nn_conv_weight_gradient(const nn_convolution *c, float *dw, const nn_map *x, const nn_map *dy, uint32_t first,
                               uint32_t n, bool accumulate, bool wants_squares);

/*
 * The same gradient in tiles, for layers whose gradients are too large to keep. Bit for bit:
 * sum_squares is nn_packed_sum_squares (train/kernels.h) of what weight_gradient gives, and clip_sum adds to sum, for every patient,
 * z = dp_clip_piece(that gradient, scale) and to its square the exact sum of z^2. scratch: n_scratch floats.
 */
typedef struct nn_conv_patient {
    uint32_t first, n; /* images */
    float scale;       /* dp_clip_scale; 0 adds nothing */
    unsigned __int128 square;
} nn_conv_patient;

double nn_conv_sum_squares(const nn_convolution *c, const nn_map *x, const nn_map *dy, uint32_t first, uint32_t n,
                           float *scratch);
void nn_conv_clip_sum(const nn_convolution *c, int32_t *sum /* n_packed */, nn_conv_patient *patients,
                      size_t n_patients, const nn_map *x, const nn_map *dy, float *scratch);

/* A weight's gradient is a sum of so few products of so many weights that it is cheaper to make twice than to write down. */
bool nn_conv_is_broad(const nn_convolution *c);
/*
 * The squared norm without the gradient (Goodfellow 2015; Bu et al. 2022, "Scalable and efficient training of large
 * convolutional neural networks with differential privacy", eq. 2.7): sum over pairs of output pixels of (what they read) . (what they
 * read) times (their slopes) . (their slopes), in double, in a fixed order. 27 times cheaper than sum_squares at 4 pixels
 * and 512 channels. It is nearer to the true norm than the rounded gradient's own and has not its bits, so which of the two
 * is taken must follow from the layer and the patient alone: train/engine.c takes it where the layer is broad and the patient has
 * one image. What is sent does not rely on it: |z|^2 <= R^2 is checked on the integers.
 */
double nn_conv_ghost_squares(const nn_convolution *c, const nn_map *x, const nn_map *dy, uint32_t first, uint32_t n);

#endif
