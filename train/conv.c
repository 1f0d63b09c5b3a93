/*
 * conv KhxKw OUT [stride S] [pad P] [groups G] [nobias] [standardised]     as torch.nn.Conv2d
 *
 *     y[o, i, j] = b[o] + sum_{c, u, v} w[o, c, u, v] x[c, i S - P + u, j S - P + v]        zero outside
 *
 * groups       output o meets the C / G channels of its own group alone; G = C is a depthwise convolution
 * standardised the weights of each output are used with mean 0 and length 1 (Qiao et al. 2019, scaled as in De et al.
 *              2022): with m of them, n = w - mean(w),
 *                  v = n / s,  s = sqrt(max(sum n^2, 1e-4))        dw = (dv - mean(dv) - v sum(dv v)) / s
 *              and without the last term where s is the constant.
 *
 * The engine computes it, for blocks of images: train/convolution.h.
 */
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
    l->stride = l->groups = 1;
    l->has_bias = true;
    while (rc == FL_OK && i < line->n_words) {
        const char *word = line->words[i++], *value = i < line->n_words ? line->words[i] : NULL;
        if (strcmp(word, "stride") == 0) {
            rc = nn_spec_number(&l->stride, value, "stride", 1, 64, err);
            i++;
        } else if (strcmp(word, "pad") == 0) {
            rc = nn_spec_number(&l->pad, value, "pad", 0, 63, err);
            i++;
        } else if (strcmp(word, "groups") == 0) {
            rc = nn_spec_number(&l->groups, value, "groups", 1, 65536, err);
            i++;
        } else if (strcmp(word, "nobias") == 0) {
            l->has_bias = false;
        } else if (strcmp(word, "standardised") == 0) {
            l->is_standardised = true;
        } else {
            rc = fl_fail(err, FL_EFORMAT, "unknown word %.20s, expected stride, pad, groups, nobias or standardised",
                         word);
        }
    }
    return rc;
}

/* The weights of one output, without its bias. */
static size_t n_rows(const nn_layer *l)
{
    return (size_t)(l->in.C / l->groups) * l->kernel_h * l->kernel_w;
}

static fl_code conv_infer(nn_layer *l, fl_err *err)
{
    uint32_t h = l->in.H + 2 * l->pad, w = l->in.W + 2 * l->pad;
    if (l->pad >= l->kernel_h && l->pad >= l->kernel_w)
        return fl_fail(err, FL_EFORMAT, "pad %u is not smaller than the kernel %ux%u", l->pad, l->kernel_h,
                       l->kernel_w);
    if (l->in.C % l->groups != 0 || l->channels % l->groups != 0)
        return fl_fail(err, FL_EFORMAT, "%u groups do not divide %u input channels and %u output channels", l->groups,
                       l->in.C, l->channels);
    if (h < l->kernel_h || w < l->kernel_w)
        return fl_fail(err, FL_EFORMAT, "kernel %ux%u is larger than the padded input %ux%u", l->kernel_h, l->kernel_w,
                       h, w);
    l->out = (nn_shape){l->channels, (h - l->kernel_h) / l->stride + 1, (w - l->kernel_w) / l->stride + 1};
    l->n_bias = l->has_bias ? l->channels : 0;
    l->n_weights = n_rows(l) * l->channels + l->n_bias;
    l->n_dims = 4;
    l->dims[0] = l->channels, l->dims[1] = l->in.C / l->groups, l->dims[2] = l->kernel_h, l->dims[3] = l->kernel_w;
    l->flops = 2 * (uint64_t)n_rows(l) * l->channels * l->out.H * l->out.W;
    return FL_OK;
}

static void conv_init(const nn_layer *l, float *w, fl_rng *rng)
{
    nn_fill_uniform(w, l->n_weights, 1 / sqrt((double)n_rows(l)), rng);
}

/* --- standardised weights -------------------------------------------------------------------------------------- */

#define SHORTEST 1e-4 /* of the sum of squares */

/* Mean of an output's weights; *squares: of what is left. */
static double moments_of(const float *w, size_t m, double *squares)
{
    double mean = nn_sum(w, m) / (double)m;
    *squares = nn_sum_squares(w, m, mean);
    return mean;
}

void nn_standardise(const nn_layer *l, float *v, const float *w)
{
    size_t m = n_rows(l);
    for (uint32_t o = 0; o < l->channels; o++) {
        double squares, mean = moments_of(w + o * m, m, &squares);
        double inverse = 1 / sqrt(squares < SHORTEST ? SHORTEST : squares);
        for (size_t i = o * m; i < (o + 1) * m; i++)
            v[i] = (float)((w[i] - mean) * inverse);
    }
    memmove(v + l->channels * m, w + l->channels * m, l->n_bias * sizeof *v);
}

void nn_standardise_back(const nn_layer *l, float *dw, const float *w)
{
    size_t m = n_rows(l);
    for (uint32_t o = 0; o < l->channels; o++) {
        const float *from = w + o * m;
        float *slope = dw + o * m;
        double squares, mean = moments_of(from, m, &squares), mean_slope = nn_sum(slope, m) / (double)m, along = 0;
        bool is_short = squares < SHORTEST;
        double inverse = 1 / sqrt(is_short ? SHORTEST : squares);
        for (size_t i = 0; i < m && !is_short; i++)
            along += slope[i] * ((from[i] - mean) * inverse);
        for (size_t i = 0; i < m; i++)
            slope[i] = (float)((slope[i] - mean_slope - (from[i] - mean) * inverse * along) * inverse);
    }
}

const nn_layer_kind nn_conv = {.name = "conv", .read = conv_read, .infer = conv_infer, .init = conv_init};
