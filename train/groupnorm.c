/*
 * groupnorm G     as torch.nn.GroupNorm(G, C) (Wu and He 2018), epsilon 1e-5
 *
 * The channels are cut into G groups; within one image and group of m values
 *     n = (x - mean) / sqrt(var + 1e-5)          y = scale[c] n + shift[c]
 *     dn = dy scale[c]     dx = (dn - mean(dn) - n mean(dn n)) / sqrt(var + 1e-5)
 * Mean and variance in double. It never looks at another image: batch normalisation would mix patients.
 */
#include "train/layer.h"
#include <math.h>

#define EPSILON 1e-5

static fl_code groupnorm_read(nn_layer *l, const nn_spec_line *line, fl_err *err)
{
    fl_code rc = nn_spec_number(&l->channels, line->n_words > 0 ? line->words[0] : NULL, "number of groups", 1, 65536,
                                err);
    if (rc == FL_OK && line->n_words > 1)
        rc = fl_fail(err, FL_EFORMAT, "unknown word %.20s", line->words[1]);
    return rc;
}

static fl_code groupnorm_infer(nn_layer *l, fl_err *err)
{
    if (l->in.C % l->channels != 0)
        return fl_fail(err, FL_EFORMAT, "%u groups do not divide %u channels", l->channels, l->in.C);
    l->out = l->in;
    l->n_bias = l->in.C;
    l->n_weights = 2 * (size_t)l->in.C;
    l->n_kept = 2 * (uint64_t)l->channels; /* mean and 1/sd of each group */
    return FL_OK;
}

static void groupnorm_init(const nn_layer *l, float *w, fl_rng *rng)
{
    (void)rng;
    for (uint32_t c = 0; c < l->in.C; c++) {
        w[c] = 1;
        w[l->in.C + c] = 0;
    }
}

static void groupnorm_forward(const nn_layer *l, float *restrict y, float *kept, float *scratch,
                              const float *restrict x, const float *restrict w)
{
    (void)scratch;
    size_t area = (size_t)l->in.H * l->in.W, in_group = l->in.C / l->channels, m = in_group * area;
    for (uint32_t g = 0; g < l->channels; g++) {
        double mean = nn_sum(x + g * m, m) / (double)m;
        double variance = nn_sum_squares(x + g * m, m, mean) / (double)m;
        float centre = (float)mean, inverse = (float)(1 / sqrt(variance + EPSILON));
        kept[2 * g] = centre;
        kept[2 * g + 1] = inverse;
        for (size_t c = g * in_group; c < (g + 1) * in_group; c++) {
            float scale = w[c], shift = w[l->in.C + c];
            for (size_t i = c * area; i < (c + 1) * area; i++)
                y[i] = (x[i] - centre) * inverse * scale + shift;
        }
    }
}

static void groupnorm_backward(const nn_layer *l, float *restrict dx, float *restrict dw, const float *kept,
                               float *scratch, const float *restrict x, const float *y, const float *restrict dy,
                               const float *restrict w)
{
    (void)scratch, (void)y;
    size_t area = (size_t)l->in.H * l->in.W, in_group = l->in.C / l->channels;
    for (uint32_t g = 0; g < l->channels; g++) {
        float mean = kept[2 * g], inverse = kept[2 * g + 1];
        double sum = 0, product = 0; /* of dn, of dn n, over the group */
        for (size_t c = g * in_group; c < (g + 1) * in_group; c++) {
            double sum_dy = nn_sum(dy + c * area, area);
            double sum_dy_n = (nn_sum_products(dy + c * area, x + c * area, area) - mean * sum_dy) * inverse;
            dw[c] = (float)sum_dy_n;
            dw[l->in.C + c] = (float)sum_dy;
            sum += sum_dy * w[c];
            product += sum_dy_n * w[c];
        }
        if (!dx)
            continue;
        float mean_dn = (float)(sum / (double)(in_group * area)),
              mean_dn_n = (float)(product / (double)(in_group * area));
        for (size_t c = g * in_group; c < (g + 1) * in_group; c++) {
            float scale = w[c];
            for (size_t i = c * area; i < (c + 1) * area; i++)
                dx[i] = (dy[i] * scale - mean_dn - (x[i] - mean) * inverse * mean_dn_n) * inverse;
        }
    }
}

const nn_layer_kind nn_groupnorm = {.name = "groupnorm",
                                    .read = groupnorm_read,
                                    .infer = groupnorm_infer,
                                    .init = groupnorm_init,
                                    .forward = groupnorm_forward,
                                    .backward = groupnorm_backward};
