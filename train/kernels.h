/*
 * nn_kernels - the inner loops, compiled for several instruction sets; the best one that this CPU has and that passes
 * its self-test is chosen at start. Private to train, its tests and its bench.
 *
 * Every output is one chain of multiply-adds in the order of the formula, whatever its place among the others. Sets with
 * fused multiply-add give equal bits; the portable set rounds the product too, and agrees with itself.
 */
#ifndef TRAIN_KERNELS_H
#define TRAIN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NN_PANEL 64 /* columns of packed weights that are computed together */
#define NN_LANES 64 /* running sums of nn_kernels.squares */

/*
 *     y[i][c] = start(i, c) + sum_{r < n_runs} sum_{t < length} x[i][x_run[r] + t x_step] w[w_run[r] + t w_step + c]
 *
 * for i < n_rows and c < y_columns. start is y[i][c] itself when accumulate is set, else start[c], else (NULL) zero.
 * Columns at and above w_columns are not read from w: they count as zero. y_columns, w_columns <= NN_PANEL, and start
 * is readable up to y_columns rounded up to 16. No y overlaps another y, or x or w.
 */
typedef struct nn_product {
    float *const *y;       /* n_rows; y_at is added to each */
    const float *const *x; /* n_rows */
    size_t y_at;
    const float *w, *start;
    const ptrdiff_t *x_run, *w_run; /* n_runs */
    size_t n_rows, n_runs, length;
    ptrdiff_t x_step, w_step;
    uint32_t y_columns, w_columns;
    bool accumulate;
} nn_product;

typedef struct nn_kernels {
    const char *name; /* "avx512", "avx2", "portable" */
    bool is_fused;    /* multiply rounds once for a product and a sum */
    void (*multiply)(const nn_product *p);
    /* The same with x[i][.. + c] in the place of x[i][..]: each column has a factor of its own. x is read where w is. */
    void (*multiply_each)(const nn_product *p);
    /* lane[(at + i) % NN_LANES] += g[i]^2 in double, in the order of i. at and n are multiples of 16. */
    void (*squares)(double lane[NN_LANES], const float *g, size_t n, size_t at);
    /* dp_clip_piece and dp_sum_add (privacy/clip.h) of g; returns the exact sum of z^2. n is a multiple of 16. */
    unsigned __int128 (*clip)(int32_t *sum, const float *g, size_t n, float scale);
} nn_kernels;

/* The chosen set. The first call chooses, by the CPU and the self-test; CORDON_KERNELS in the environment names one. */
const nn_kernels *nn_kernels_chosen(void);
/* A set by name, when this CPU can run it, else NULL. */
const nn_kernels *nn_kernels_named(const char *name);
/* For tests and benches, while nobody computes: this one from now on. NULL: as chosen at start. */
void nn_kernels_use(const nn_kernels *set);
/* true: a product has the bits of the chain at every row, among any neighbours, at any alignment, in one piece or two;
 * and passes over gradients have those of plain C. Some milliseconds. */
bool nn_kernels_self_test(const nn_kernels *set);

/* Round to nearest, and denormals count as zero: what is smaller than 1e-38 teaches nothing, and some CPUs take a hundred
 * times longer for it, which would show in the time a patient takes. Around everything that computes on floats; leave
 * puts back what enter found. */
unsigned nn_floats_enter(void);
void nn_floats_leave(unsigned before);

/* The sum of squares of a packed gradient, in its fixed order: n is a multiple of 16. */
double nn_packed_sum_squares(const float *packed, size_t n);
double nn_lanes_total(const double lane[NN_LANES]);

#endif
