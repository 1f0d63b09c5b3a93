/*
 * linear OUT [nobias]     as torch.nn.Linear on the flattened input;  "classes" stands for the number of classes
 *
 *     y[o] = b[o] + sum_i w[o, i] x[i]        dw = dy x^T        dx = w^T dy
 *
 * With one image these are passes over memory, so they are loops here and not BLAS: sums run in eight lanes, always in
 * the same order.
 */
#include "train/layer.h"
#include <math.h>
#include <string.h>

#define LANES 8

static fl_code linear_read(nn_layer *l, const nn_spec_line *line, fl_err *err)
{
    const char *word = line->n_words > 0 ? line->words[0] : NULL;
    l->has_bias = true;
    if (word && strcmp(word, "classes") == 0) {
        l->channels = line->n_classes;
    } else {
        fl_code rc = nn_spec_number(&l->channels, word, "number of outputs", 1, 65536, err);
        if (rc != FL_OK)
            return rc;
    }
    if (line->n_words == 2 && strcmp(line->words[1], "nobias") == 0)
        l->has_bias = false;
    else if (line->n_words > 1)
        return fl_fail(err, FL_EFORMAT, "unknown word %.20s, expected nobias", line->words[1]);
    return FL_OK;
}

static fl_code linear_infer(nn_layer *l, fl_err *err)
{
    (void)err;
    l->out = (nn_shape){l->channels, 1, 1};
    l->n_bias = l->has_bias ? l->channels : 0;
    l->n_weights = l->n_in * l->channels + l->n_bias;
    l->n_dims = 2;
    l->dims[0] = l->channels, l->dims[1] = (uint32_t)l->n_in;
    l->flops = 2 * (uint64_t)l->n_in * l->channels;
    return FL_OK;
}

static void linear_init(const nn_layer *l, float *w, fl_rng *rng)
{
    nn_fill_uniform(w, l->n_weights, 1 / sqrt((double)l->n_in), rng);
}

static float dot(const float *a, const float *b, size_t n)
{
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++)
            lane[j] += a[i + j] * b[i + j];
    }
    for (size_t j = 0; i < n; i++, j++)
        lane[j] += a[i] * b[i];
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

static void linear_forward(const nn_layer *l, float *y, float *kept, float *scratch, const float *x, const float *w)
{
    (void)kept, (void)scratch;
    const float *bias = w + l->n_in * l->channels;
    for (uint32_t o = 0; o < l->channels; o++)
        y[o] = dot(w + o * l->n_in, x, l->n_in) + (l->has_bias ? bias[o] : 0);
}

static void linear_backward(const nn_layer *l, float *dx, float *dw, const float *kept, float *scratch, const float *x,
                            const float *y, const float *dy, const float *w)
{
    (void)kept, (void)scratch, (void)y;
    for (uint32_t o = 0; o < l->channels; o++) {
        float *row = dw + o * l->n_in;
        for (size_t i = 0; i < l->n_in; i++)
            row[i] = dy[o] * x[i];
    }
    if (l->has_bias)
        memcpy(dw + l->n_in * l->channels, dy, l->channels * sizeof *dw);
    if (!dx)
        return;
    memset(dx, 0, l->n_in * sizeof *dx);
    for (uint32_t o = 0; o < l->channels; o++) {
        const float *row = w + o * l->n_in;
        for (size_t i = 0; i < l->n_in; i++)
            dx[i] += dy[o] * row[i];
    }
}

const nn_layer_kind nn_linear = {.name = "linear",
                                 .read = linear_read,
                                 .infer = linear_infer,
                                 .init = linear_init,
                                 .forward = linear_forward,
                                 .backward = linear_backward};
