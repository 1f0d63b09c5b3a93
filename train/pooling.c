/*
 * maxpool K|HxW [stride S]     the largest value of each window; its gradient goes to the first one that is largest
 * avgpool K|HxW [stride S]     the mean of each window
 * globalpool                   the mean of each channel, (C, 1, 1)
 *
 * As torch.nn.MaxPool2d, AvgPool2d and AdaptiveAvgPool2d(1): the stride is the window unless said (a window HxW needs
 * it said), no padding, windows that do not fit are left out.
 */
#include "train/layer.h"
#include <math.h>
#include <string.h>

static fl_code pool_read(nn_layer *l, const nn_spec_line *line, fl_err *err)
{
    fl_code rc = nn_spec_pair(&l->kernel_h, &l->kernel_w, line->n_words > 0 ? line->words[0] : NULL, "window", 1, 1024,
                              err);
    if (rc != FL_OK)
        return rc;
    if (line->n_words == 1) {
        if (l->kernel_h != l->kernel_w)
            return fl_fail(err, FL_EFORMAT, "window %ux%u needs a stride", l->kernel_h, l->kernel_w);
        l->stride = l->kernel_h;
        return FL_OK;
    }
    if (line->n_words > 3 || strcmp(line->words[1], "stride") != 0)
        return fl_fail(err, FL_EFORMAT, "unknown word %.20s, expected stride", line->words[line->n_words > 3 ? 3 : 1]);
    return nn_spec_number(&l->stride, line->n_words > 2 ? line->words[2] : NULL, "stride", 1, 1024, err);
}

static fl_code pool_infer(nn_layer *l, fl_err *err)
{
    if (l->kernel_h > l->in.H || l->kernel_w > l->in.W)
        return fl_fail(err, FL_EFORMAT, "window %ux%u is larger than the input", l->kernel_h, l->kernel_w);
    l->out = (nn_shape){l->in.C, (l->in.H - l->kernel_h) / l->stride + 1, (l->in.W - l->kernel_w) / l->stride + 1};
    return FL_OK;
}

static fl_code maxpool_infer(nn_layer *l, fl_err *err)
{
    fl_code rc = pool_infer(l, err);
    l->n_kept = (uint64_t)l->out.C * l->out.H * l->out.W; /* where the largest was: uint32_t in the place of a float */
    return rc;
}

_Static_assert(sizeof(uint32_t) == sizeof(float), "indexes are kept in the place of floats");

/* One row of outputs: every window position in turn over the whole row, so that the inner loop is vector code. */
static void maxpool_row(const nn_layer *l, float *restrict y, uint32_t *restrict at, const float *restrict x,
                        size_t first)
{
    for (uint32_t j = 0; j < l->out.W; j++) {
        at[j] = (uint32_t)(first + (size_t)j * l->stride);
        y[j] = x[first + (size_t)j * l->stride];
    }
    for (uint32_t u = 0; u < l->kernel_h; u++) {
        for (uint32_t v = 0; v < l->kernel_w; v++) {
            uint32_t start = (uint32_t)(first + (size_t)u * l->in.W + v);
            for (uint32_t j = 0; j < l->out.W; j++) {
                float value = x[start + j * l->stride];
                bool is_better = (value > y[j]) | (value != value);
                y[j] = is_better ? value : y[j];
                at[j] = is_better ? start + j * l->stride : at[j];
            }
        }
    }
}

static void maxpool_forward(const nn_layer *l, float *y, float *kept, float *scratch, const float *x, const float *w)
{
    (void)scratch, (void)w;
    uint32_t *at = (uint32_t *)(void *)kept;
    for (uint32_t c = 0; c < l->out.C; c++) {
        for (uint32_t i = 0; i < l->out.H; i++, y += l->out.W, at += l->out.W)
            maxpool_row(l, y, at, x, ((size_t)c * l->in.H + (size_t)i * l->stride) * l->in.W);
    }
}

static void maxpool_backward(const nn_layer *l, float *dx, float *dw, const float *kept, float *scratch, const float *x,
                             const float *y, const float *dy, const float *w)
{
    (void)dw, (void)scratch, (void)x, (void)y, (void)w;
    if (!dx)
        return;
    memset(dx, 0, l->n_in * sizeof *dx);
    const uint32_t *at = (const uint32_t *)(const void *)kept;
    for (size_t o = 0; o < l->n_out; o++)
        dx[at[o]] += dy[o];
}

static void avgpool_forward(const nn_layer *l, float *y, float *kept, float *scratch, const float *x, const float *w)
{
    (void)kept, (void)scratch, (void)w;
    float scale = 1.0f / (float)(l->kernel_h * l->kernel_w);
    size_t o = 0;
    for (uint32_t c = 0; c < l->out.C; c++) {
        for (uint32_t i = 0; i < l->out.H; i++) {
            for (uint32_t j = 0; j < l->out.W; j++, o++) {
                const float *from = x + ((size_t)c * l->in.H + (size_t)i * l->stride) * l->in.W + (size_t)j * l->stride;
                float sum = 0;
                for (uint32_t u = 0; u < l->kernel_h; u++) {
                    for (uint32_t v = 0; v < l->kernel_w; v++)
                        sum += from[(size_t)u * l->in.W + v];
                }
                y[o] = sum * scale;
            }
        }
    }
}

static void avgpool_backward(const nn_layer *l, float *dx, float *dw, const float *kept, float *scratch, const float *x,
                             const float *y, const float *dy, const float *w)
{
    (void)dw, (void)kept, (void)scratch, (void)x, (void)y, (void)w;
    if (!dx)
        return;
    float scale = 1.0f / (float)(l->kernel_h * l->kernel_w);
    memset(dx, 0, l->n_in * sizeof *dx);
    size_t o = 0;
    for (uint32_t c = 0; c < l->out.C; c++) {
        for (uint32_t i = 0; i < l->out.H; i++) {
            for (uint32_t j = 0; j < l->out.W; j++, o++) {
                float *to = dx + ((size_t)c * l->in.H + (size_t)i * l->stride) * l->in.W + (size_t)j * l->stride;
                for (uint32_t u = 0; u < l->kernel_h; u++) {
                    for (uint32_t v = 0; v < l->kernel_w; v++)
                        to[(size_t)u * l->in.W + v] += dy[o] * scale;
                }
            }
        }
    }
}

static fl_code globalpool_infer(nn_layer *l, fl_err *err)
{
    (void)err;
    l->out = (nn_shape){l->in.C, 1, 1};
    return FL_OK;
}

static void globalpool_forward(const nn_layer *l, float *y, float *kept, float *scratch, const float *x, const float *w)
{
    (void)kept, (void)scratch, (void)w;
    size_t n = (size_t)l->in.H * l->in.W;
    for (uint32_t c = 0; c < l->in.C; c++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += x[c * n + i];
        y[c] = (float)(sum / (double)n);
    }
}

static void globalpool_backward(const nn_layer *l, float *dx, float *dw, const float *kept, float *scratch,
                                const float *x, const float *y, const float *dy, const float *w)
{
    (void)dw, (void)kept, (void)scratch, (void)x, (void)y, (void)w;
    size_t n = (size_t)l->in.H * l->in.W;
    for (uint32_t c = 0; dx && c < l->in.C; c++) {
        for (size_t i = 0; i < n; i++)
            dx[c * n + i] = dy[c] / (float)n;
    }
}

const nn_layer_kind nn_maxpool = {.name = "maxpool",
                                  .read = pool_read,
                                  .infer = maxpool_infer,
                                  .forward = maxpool_forward,
                                  .backward = maxpool_backward};
const nn_layer_kind nn_avgpool = {.name = "avgpool",
                                  .read = pool_read,
                                  .infer = pool_infer,
                                  .forward = avgpool_forward,
                                  .backward = avgpool_backward};
const nn_layer_kind nn_globalpool = {.name = "globalpool",
                                     .read = nn_spec_nothing,
                                     .infer = globalpool_infer,
                                     .forward = globalpool_forward,
                                     .backward = globalpool_backward};
