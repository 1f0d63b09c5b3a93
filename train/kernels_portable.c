/* The kernels for any CPU: plain C, a product and a sum. Also what the others are compared with. */
#include "privacy/clip.h"
#include "train/kernels_sets.h"
#include <string.h>

static void multiply_row(const nn_product *p, size_t i)
{
    float sum[NN_PANEL];
    for (uint32_t c = 0; c < p->y_columns; c++)
        sum[c] = p->accumulate ? p->y[i][c] : p->start ? p->start[c] : 0;
    const uint32_t n = p->w_columns < p->y_columns ? p->w_columns : p->y_columns;
    for (size_t r = 0; r < p->n_runs; r++) {
        const float *x = p->x[i] + p->x_run[r], *w = p->w + p->w_run[r];
        for (size_t t = 0; t < p->length; t++, x += p->x_step, w += p->w_step) {
            const float factor = *x;
            for (uint32_t c = 0; c < n; c++)
                sum[c] += factor * w[c];
        }
    }
    memcpy(p->y[i], sum, p->y_columns * sizeof *sum);
}

static void multiply(const nn_product *p)
{
    for (size_t i = 0; i < p->n_rows; i++)
        multiply_row(p, i);
}

static void squares(double lane[NN_LANES], const float *g, size_t n, size_t at)
{
    for (size_t i = 0; i < n; i += 16) {
        double *to = lane + (at + i) % NN_LANES;
        for (size_t j = 0; j < 16; j++)
            to[j] += (double)g[i + j] * (double)g[i + j];
    }
}

static unsigned __int128 clip(int64_t *sum, const float *g, size_t n, double scale)
{
    enum { PIECE = 256 };
    int32_t z[PIECE];
    unsigned __int128 square = 0;
    for (size_t i = 0; i < n; i += PIECE) {
        size_t size = n - i < PIECE ? n - i : PIECE;
        dp_clip_piece(z, g + i, size, scale);
        dp_sum_add(sum + i, z, size);
        square += dp_grid_sqnorm(z, size);
    }
    return square;
}

const nn_kernels nn_kernels_portable = {"portable", multiply, squares, clip};
