/*
 * nn_rows - the loops over pixels that layers other than convolutions spend their time in, compiled for several
 * instruction sets. Private to train.
 *
 * A row is n floats that lie together: W pixels of cs channels each. All sets do the same operations in the same order and
 * fuse nothing, so they give the same bits. y may be x, dx may be dy. Sums are in double.
 */
#ifndef TRAIN_ROWS_H
#define TRAIN_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct nn_rows {
    const char *name; /* "avx512", "avx2", "portable" */
    void (*add)(float *y, const float *a, const float *b, size_t n);
    /* the function, and dx from dy and y (silu: from dy and x) */
    void (*relu)(float *y, const float *x, size_t n);
    void (*relu_back)(float *dx, const float *y, const float *dy, size_t n);
    void (*tanh)(float *y, const float *x, size_t n);
    void (*tanh_back)(float *dx, const float *y, const float *dy, size_t n);
    void (*silu)(float *y, const float *x, size_t n);
    void (*silu_back)(float *dx, const float *x, const float *dy, size_t n);
    /* Group normalisation; arrays of cs values. W pixels:
     *     moments     sum[c] += x - around[c],  squares[c] += (x - around[c])^2
     *     normalise   y = (x - mean[c]) factor[c] + shift[c]
     *     slopes      sum[c] += dy,  product[c] += dy (x - mean[c])
     *     restore     dx = dy p[c] + (x - mean[c]) q[c] + r[c] */
    void (*moments)(double *sum, double *squares, const float *x, const float *around, size_t W, uint32_t cs);
    void (*normalise)(float *y, const float *x, const float *mean, const float *factor, const float *shift, size_t W,
                      uint32_t cs);
    void (*slopes)(double *sum, double *product, const float *x, const float *dy, const float *mean, size_t W,
                   uint32_t cs);
    void (*restore)(float *dx, const float *x, const float *dy, const float *mean, const float *p, const float *q,
                    const float *r, size_t W, uint32_t cs);
    /* One window's pixel into pooled values, n channels: best = max(best, x), at = where where x is larger or no number. */
    void (*largest)(float *best, uint32_t *at, const float *x, uint32_t where, size_t n);
    /* dx += dy where at == where */
    void (*largest_back)(float *dx, const uint32_t *at, const float *dy, uint32_t where, size_t n);
} nn_rows;

/* The set for this CPU, of those that pass the self-test. CORDON_KERNELS in the environment names another one. */
const nn_rows *nn_rows_chosen(void);
/* true: every loop gives the bits of the portable set, whatever the length, and touches nothing behind its end. */
bool nn_rows_self_test(const nn_rows *set);
/* A set by name, when this CPU can run it, else NULL. */
const nn_rows *nn_rows_named(const char *name);
/* For tests, while nobody computes: this one from now on. NULL: as chosen at start. */
void nn_rows_use(const nn_rows *set);

#endif
