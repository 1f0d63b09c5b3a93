/*
 * conv KhxKw OUT [stride S] [pad P] [nobias]     as torch.nn.Conv2d
 *
 *     y[o, i, j] = b[o] + sum_{c, u, v} w[o, c, u, v] x[c, i S - P + u, j S - P + v]        zero outside
 *
 * One image is unfolded into columns (in * Kh * Kw, Ho * Wo) and each direction is one matrix product:
 *     y = w cols        dw = dy cols^T        dcols = w^T dy, folded back into dx
 * The columns are kept from forward for backward. A 1x1 convolution with stride 1 needs none: x is its columns.
 */
#include "train/gemm.h"
#include "train/layer.h"
#include <math.h>
#include <string.h>

static fl_code conv_read(nn_layer *l, const nn_spec_line *line, fl_err *err)
{
    uint32_t i = 2;
    fl_code rc = nn_spec_pair(&l->kernel_h, &l->kernel_w, line->n_words > 0 ? line->words[0] : NULL, "kernel", 1, 64,
                              err);
    if (rc == FL_OK)
        rc = nn_spec_number(&l->channels, line->n_words > 1 ? line->words[1] : NULL, "output channels", 1, 65536, err);
    l->stride = 1;
    l->has_bias = true;
    while (rc == FL_OK && i < line->n_words) {
        const char *word = line->words[i++], *value = i < line->n_words ? line->words[i] : NULL;
        if (strcmp(word, "stride") == 0) {
            rc = nn_spec_number(&l->stride, value, "stride", 1, 64, err);
            i++;
        } else if (strcmp(word, "pad") == 0) {
            rc = nn_spec_number(&l->pad, value, "pad", 0, 63, err);
            i++;
        } else if (strcmp(word, "nobias") == 0) {
            l->has_bias = false;
        } else {
            rc = fl_fail(err, FL_EFORMAT, "unknown word %.20s, expected stride, pad or nobias", word);
        }
    }
    return rc;
}

static bool is_pointwise(const nn_layer *l)
{
    return l->kernel_h == 1 && l->kernel_w == 1 && l->stride == 1 && l->pad == 0;
}

static size_t n_rows(const nn_layer *l)
{
    return (size_t)l->in.C * l->kernel_h * l->kernel_w;
}

static fl_code conv_infer(nn_layer *l, fl_err *err)
{
    uint32_t h = l->in.H + 2 * l->pad, w = l->in.W + 2 * l->pad;
    if (l->pad >= l->kernel_h && l->pad >= l->kernel_w)
        return fl_fail(err, FL_EFORMAT, "pad %u is not smaller than the kernel %ux%u", l->pad, l->kernel_h,
                       l->kernel_w);
    if (h < l->kernel_h || w < l->kernel_w)
        return fl_fail(err, FL_EFORMAT, "kernel %ux%u is larger than the padded input %ux%u", l->kernel_h, l->kernel_w,
                       h, w);
    l->out = (nn_shape){l->channels, (h - l->kernel_h) / l->stride + 1, (w - l->kernel_w) / l->stride + 1};
    l->n_bias = l->has_bias ? l->channels : 0;
    l->n_weights = n_rows(l) * l->channels + l->n_bias;
    l->n_dims = 4;
    l->dims[0] = l->channels, l->dims[1] = l->in.C, l->dims[2] = l->kernel_h, l->dims[3] = l->kernel_w;
    uint64_t n_columns = (uint64_t)l->out.H * l->out.W;
    l->n_kept = is_pointwise(l) ? 0 : n_rows(l) * n_columns;
    l->n_scratch = l->n_kept;
    l->flops = 2 * (uint64_t)n_rows(l) * l->channels * n_columns;
    return FL_OK;
}

static void conv_init(const nn_layer *l, float *w, fl_rng *rng)
{
    nn_fill_uniform(w, l->n_weights, 1 / sqrt((double)n_rows(l)), rng);
}

/* The outputs j in [*from, *to) of n whose input j * stride - pad + offset lies inside [0, size). */
static void inside(const nn_layer *l, uint32_t offset, uint32_t size, uint32_t n, uint32_t *from, uint32_t *to)
{
    uint32_t low = offset < l->pad ? (l->pad - offset + l->stride - 1) / l->stride : 0;
    uint32_t high = size + l->pad > offset ? (size + l->pad - offset - 1) / l->stride + 1 : 0;
    *from = low < n ? low : n;
    *to = high < n ? high : n;
    if (*to < *from)
        *to = *from;
}

/* row (Ho, Wo) = the input values that kernel position (u, v) of one channel meets */
static void unfold(const nn_layer *l, float *row, const float *x, uint32_t u, uint32_t v)
{
    uint32_t Ho = l->out.H, Wo = l->out.W, i0, i1, j0, j1;
    inside(l, u, l->in.H, Ho, &i0, &i1);
    inside(l, v, l->in.W, Wo, &j0, &j1);
    memset(row, 0, (size_t)i0 * Wo * sizeof *row);
    memset(row + (size_t)i1 * Wo, 0, (size_t)(Ho - i1) * Wo * sizeof *row);
    for (uint32_t i = i0; i < i1; i++) {
        /* i0 and j0 make both differences non-negative */
        const float *from = x + (size_t)(i * l->stride + u - l->pad) * l->in.W;
        float *to = row + (size_t)i * Wo;
        for (uint32_t j = 0; j < j0; j++)
            to[j] = 0;
        for (uint32_t j = j1; j < Wo; j++)
            to[j] = 0;
        if (l->stride == 1) {
            if (j1 > j0)
                memcpy(to + j0, from + (j0 + v - l->pad), (j1 - j0) * sizeof *to);
            continue;
        }
        for (uint32_t j = j0; j < j1; j++)
            to[j] = from[j * l->stride + v - l->pad];
    }
}

static void fold(const nn_layer *l, float *restrict dx, const float *restrict row, uint32_t u, uint32_t v)
{
    uint32_t i0, i1, j0, j1;
    inside(l, u, l->in.H, l->out.H, &i0, &i1);
    inside(l, v, l->in.W, l->out.W, &j0, &j1);
    for (uint32_t i = i0; i < i1; i++) {
        float *to = dx + (size_t)(i * l->stride + u - l->pad) * l->in.W;
        const float *from = row + (size_t)i * l->out.W;
        if (l->stride == 1) {
            float *shifted = to + (size_t)j0 + v - l->pad;
            for (uint32_t j = j0; j < j1; j++)
                shifted[j - j0] += from[j];
            continue;
        }
        for (uint32_t j = j0; j < j1; j++)
            to[j * l->stride + v - l->pad] += from[j];
    }
}

static void conv_forward(const nn_layer *l, float *y, float *kept, float *scratch, const float *x, const float *w)
{
    (void)scratch;
    size_t n_columns = (size_t)l->out.H * l->out.W, rows = n_rows(l);
    const float *columns = x;
    if (!is_pointwise(l)) {
        float *row = kept;
        for (uint32_t c = 0; c < l->in.C; c++) {
            for (uint32_t u = 0; u < l->kernel_h; u++) {
                for (uint32_t v = 0; v < l->kernel_w; v++, row += n_columns)
                    unfold(l, row, x + (size_t)c * l->in.H * l->in.W, u, v);
            }
        }
        columns = kept;
    }
    if (l->has_bias) {
        const float *bias = w + rows * l->channels;
        for (uint32_t o = 0; o < l->channels; o++) {
            for (size_t j = 0; j < n_columns; j++)
                y[o * n_columns + j] = bias[o];
        }
    }
    nn_gemm(false, false, (int)l->channels, (int)n_columns, (int)rows, w, (int)rows, columns, (int)n_columns,
            l->has_bias ? 1 : 0, y, (int)n_columns);
}

static void conv_backward(const nn_layer *l, float *dx, float *dw, const float *kept, float *scratch, const float *x,
                          const float *y, const float *dy, const float *w)
{
    (void)y;
    size_t n_columns = (size_t)l->out.H * l->out.W, rows = n_rows(l);
    const float *columns = is_pointwise(l) ? x : kept;
    nn_gemm(false, true, (int)l->channels, (int)rows, (int)n_columns, dy, (int)n_columns, columns, (int)n_columns, 0,
            dw, (int)rows);
    if (l->has_bias) {
        float *db = dw + rows * l->channels;
        for (uint32_t o = 0; o < l->channels; o++)
            db[o] = (float)nn_sum(dy + o * n_columns, n_columns);
    }
    if (!dx)
        return;
    float *d_columns = is_pointwise(l) ? dx : scratch;
    nn_gemm(true, false, (int)rows, (int)n_columns, (int)l->channels, w, (int)rows, dy, (int)n_columns, 0, d_columns,
            (int)n_columns);
    if (is_pointwise(l))
        return;
    memset(dx, 0, l->n_in * sizeof *dx);
    const float *row = d_columns;
    for (uint32_t c = 0; c < l->in.C; c++) {
        for (uint32_t u = 0; u < l->kernel_h; u++) {
            for (uint32_t v = 0; v < l->kernel_w; v++, row += n_columns)
                fold(l, dx + (size_t)c * l->in.H * l->in.W, row, u, v);
        }
    }
}

const nn_layer_kind nn_conv = {.name = "conv",
                               .read = conv_read,
                               .infer = conv_infer,
                               .init = conv_init,
                               .forward = conv_forward,
                               .backward = conv_backward};
