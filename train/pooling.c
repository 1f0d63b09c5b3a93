/*
 * maxpool K|HxW [stride S] [pad P]     the largest value of each window; its gradient goes to the first one that is largest
 * avgpool K|HxW [stride S] [pad P]     the mean of each window, zeros of the padding included
 * globalpool                           the mean of each channel, (C, 1, 1)
 *
 * As torch.nn.MaxPool2d, AvgPool2d (count_include_pad=True) and AdaptiveAvgPool2d(1): the stride is the window unless said
 * (a window HxW needs it said), the padding is at most half a window, windows that do not fit are left out. A window with
 * NaN in it has NaN for its largest value.
 */
#include "train/layer.h"
#include "train/rows.h"
#include <math.h>
#include <string.h>

static fl_code pool_read(nn_layer *l, const nn_spec_line *line, fl_err *err)
{
    fl_code rc = nn_spec_pair(&l->kernel_h, &l->kernel_w, line->n_words > 0 ? line->words[0] : NULL, "window", 1, 1024,
                              err);
    if (rc != FL_OK)
        return rc;
    l->stride = l->kernel_h == l->kernel_w ? l->kernel_h : 0;
    for (uint32_t i = 1; rc == FL_OK && i < line->n_words; i += 2) {
        const char *value = i + 1 < line->n_words ? line->words[i + 1] : NULL;
        if (strcmp(line->words[i], "stride") == 0)
            rc = nn_spec_number(&l->stride, value, "stride", 1, 1024, err);
        else if (strcmp(line->words[i], "pad") == 0)
            rc = nn_spec_number(&l->pad, value, "pad", 0, 512, err);
        else
            rc = fl_fail(err, FL_EFORMAT, "unknown word %.20s, expected stride or pad", line->words[i]);
    }
    if (rc == FL_OK && l->stride == 0)
        rc = fl_fail(err, FL_EFORMAT, "window %ux%u needs a stride", l->kernel_h, l->kernel_w);
    return rc;
}

static fl_code pool_infer(nn_layer *l, fl_err *err)
{
    uint32_t h = l->in.H + 2 * l->pad, w = l->in.W + 2 * l->pad;
    if (2 * l->pad > l->kernel_h || 2 * l->pad > l->kernel_w)
        return fl_fail(err, FL_EFORMAT, "pad %u is more than half of the window %ux%u", l->pad, l->kernel_h,
                       l->kernel_w);
    if (l->kernel_h > h || l->kernel_w > w)
        return fl_fail(err, FL_EFORMAT, "window %ux%u is larger than the %sinput", l->kernel_h, l->kernel_w,
                       l->pad > 0 ? "padded " : "");
    l->out = (nn_shape){l->in.C, (h - l->kernel_h) / l->stride + 1, (w - l->kernel_w) / l->stride + 1};
    return FL_OK;
}

static fl_code avgpool_infer(nn_layer *l, fl_err *err)
{
    fl_code rc = pool_infer(l, err);
    l->n_scratch = 2 * (uint64_t)nn_map_channels(l->in.C); /* a double for each channel */
    return rc;
}

static fl_code maxpool_infer(nn_layer *l, fl_err *err)
{
    fl_code rc = pool_infer(l, err);
    l->n_kept = (uint64_t)nn_map_channels(l->out.C) * l->out.H *
                l->out.W; /* where the largest was: uint32_t in the place of a float */
    return rc;
}

_Static_assert(sizeof(uint32_t) == sizeof(float), "indexes are kept in the place of floats");

static fl_code globalpool_infer(nn_layer *l, fl_err *err)
{
    (void)err;
    l->out = (nn_shape){l->in.C, 1, 1};
    l->n_scratch = 2 * (uint64_t)nn_map_channels(l->in.C);
    return FL_OK;
}

/* A window's rows and columns that lie inside the image: from a (inclusive) to b, in input coordinates. */
typedef struct window {
    uint32_t i0, i1, j0, j1;
} window;

static uint32_t inside(uint32_t out, uint32_t stride, uint32_t pad, uint32_t kernel, uint32_t size, uint32_t *end)
{
    uint64_t from = (uint64_t)out * stride, to = from + kernel;
    *end = to - pad < size ? (uint32_t)(to - pad) : size; /* pad is at most half of kernel */
    return from > pad ? (uint32_t)(from - pad) : 0;
}

static window window_of(const nn_layer *l, uint32_t i, uint32_t j)
{
    window w;
    w.i0 = inside(i, l->stride, l->pad, l->kernel_h, l->in.H, &w.i1);
    w.j0 = inside(j, l->stride, l->pad, l->kernel_w, l->in.W, &w.j1);
    return w;
}

static void maxpool_run(const nn_layer *l, const nn_pass *p)
{
    const nn_map *x = &p->x[0];
    const nn_rows *rows = nn_rows_chosen();
    uint32_t *at = (uint32_t *)(void *)p->kept;
    for (uint32_t i = 0; i < l->out.H; i++) {
        for (uint32_t j = 0; j < l->out.W; j++, at += x->cs) {
            window w = window_of(l, i, j);
            float *best = nn_map_pixel(&p->y, i, j);
            memcpy(best, nn_map_pixel(x, w.i0, w.j0), x->cs * sizeof *best);
            for (uint32_t c = 0; c < x->cs; c++)
                at[c] = w.i0 * l->in.W + w.j0;
            for (uint32_t u = w.i0; u < w.i1; u++) {
                for (uint32_t v = w.j0; v < w.j1; v++)
                    rows->largest(best, at, nn_map_pixel(x, u, v), u * l->in.W + v, x->cs);
            }
        }
    }
    nn_map_clear_padding(&p->y);
}

static void maxpool_back(const nn_layer *l, const nn_pass *p)
{
    const nn_map *dx = &p->dx[0];
    const nn_rows *rows = nn_rows_chosen();
    const uint32_t *at = (const uint32_t *)(const void *)p->kept;
    if (!dx->at)
        return;
    nn_map_clear(dx);
    for (uint32_t i = 0; i < l->out.H; i++) {
        for (uint32_t j = 0; j < l->out.W; j++, at += dx->cs) {
            window w = window_of(l, i, j);
            for (uint32_t u = w.i0; u < w.i1; u++) {
                for (uint32_t v = w.j0; v < w.j1; v++)
                    rows->largest_back(nn_map_pixel(dx, u, v), at, nn_map_pixel(&p->dy, i, j), u * l->in.W + v, dx->cs);
            }
        }
    }
}

/* sum (C doubles) += a pixel */
static void add_pixel(double *sum, const float *x, uint32_t C)
{
    for (uint32_t c = 0; c < C; c++)
        sum[c] += x[c];
}

/* to = the sums / n */
static void write_mean(float *to, const double *sum, uint32_t C, double n)
{
    for (uint32_t c = 0; c < C; c++)
        to[c] = (float)(sum[c] / n);
}

static void avgpool_run(const nn_layer *l, const nn_pass *p)
{
    double *sum = (double *)(void *)p->scratch, n = (double)l->kernel_h * l->kernel_w;
    for (uint32_t i = 0; i < l->out.H; i++) {
        for (uint32_t j = 0; j < l->out.W; j++) {
            window w = window_of(l, i, j);
            memset(sum, 0, l->in.C * sizeof *sum);
            for (uint32_t u = w.i0; u < w.i1; u++) {
                for (uint32_t v = w.j0; v < w.j1; v++)
                    add_pixel(sum, nn_map_pixel(&p->x[0], u, v), l->in.C);
            }
            write_mean(nn_map_pixel(&p->y, i, j), sum, l->in.C, n);
        }
    }
    nn_map_clear_padding(&p->y);
}

static void avgpool_back(const nn_layer *l, const nn_pass *p)
{
    const nn_map *dx = &p->dx[0];
    float scale = 1 / ((float)l->kernel_h * (float)l->kernel_w);
    if (!dx->at)
        return;
    nn_map_clear(dx);
    for (uint32_t i = 0; i < l->out.H; i++) {
        for (uint32_t j = 0; j < l->out.W; j++) {
            window w = window_of(l, i, j);
            const float *from = nn_map_pixel(&p->dy, i, j);
            for (uint32_t u = w.i0; u < w.i1; u++) {
                for (uint32_t v = w.j0; v < w.j1; v++) {
                    float *to = nn_map_pixel(dx, u, v);
                    for (uint32_t c = 0; c < l->in.C; c++)
                        to[c] += from[c] * scale;
                }
            }
        }
    }
}

static void globalpool_run(const nn_layer *l, const nn_pass *p)
{
    double *sum = (double *)(void *)p->scratch;
    memset(sum, 0, l->in.C * sizeof *sum);
    for (uint32_t i = 0; i < l->in.H; i++) {
        for (uint32_t j = 0; j < l->in.W; j++)
            add_pixel(sum, nn_map_pixel(&p->x[0], i, j), l->in.C);
    }
    write_mean(p->y.at, sum, l->in.C, (double)l->in.H * l->in.W);
    nn_map_clear_padding(&p->y);
}

static void globalpool_back(const nn_layer *l, const nn_pass *p)
{
    const nn_map *dx = &p->dx[0];
    float scale = (float)(1 / ((double)l->in.H * l->in.W));
    for (uint32_t i = 0; dx->at && i < l->in.H; i++) {
        for (uint32_t j = 0; j < l->in.W; j++) {
            float *to = nn_map_pixel(dx, i, j);
            for (uint32_t c = 0; c < dx->cs; c++)
                to[c] = p->dy.at[c] * scale; /* dy is zero in its padding */
        }
    }
}

const nn_layer_kind nn_maxpool = {
    .name = "maxpool", .read = pool_read, .infer = maxpool_infer, .run = maxpool_run, .back = maxpool_back};
const nn_layer_kind nn_avgpool = {
    .name = "avgpool", .read = pool_read, .infer = avgpool_infer, .run = avgpool_run, .back = avgpool_back};
const nn_layer_kind nn_globalpool = {.name = "globalpool",
                                     .read = nn_spec_nothing,
                                     .infer = globalpool_infer,
                                     .run = globalpool_run,
                                     .back = globalpool_back};
