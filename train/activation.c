/*
 * relu      y = max(x, 0);  dx = dy where x > 0
 * tanh      y = tanh(x);    dx = dy (1 - y^2)
 * flatten   y = x as (C*H*W, 1, 1)
 *
 * NaN goes through all of them, so that a patient whose image is broken is seen (and dropped) by the clip.
 */
#include "train/layer.h"
#include <math.h>
#include <string.h>

static fl_code same_infer(nn_layer *l, fl_err *err)
{
    (void)err;
    l->out = l->in;
    return FL_OK;
}

static void relu_forward(const nn_layer *l, float *restrict y, float *kept, float *scratch, const float *restrict x,
                         const float *w)
{
    (void)kept, (void)scratch, (void)w;
    for (size_t i = 0; i < l->n_in; i++)
        y[i] = x[i] <= 0 ? 0 : x[i];
}

static void relu_backward(const nn_layer *l, float *restrict dx, float *dw, const float *kept, float *scratch,
                          const float *x, const float *restrict y, const float *restrict dy, const float *w)
{
    (void)dw, (void)kept, (void)scratch, (void)x, (void)w;
    if (!dx)
        return;
    for (size_t i = 0; i < l->n_in; i++) {
        float passed = dy[i];
        dx[i] = y[i] > 0 ? passed : 0;
    }
}

/*
 * tanh|x| = 1 - 2 / (exp(2|x|) + 1), without branches so that it becomes vector code; absolute error below 3e-7.
 * exp(v) = 2^n exp(r), |r| <= ln(2)/2, by its Taylor polynomial. From 9 on tanh is 1 in float. NaN gives NaN.
 */
static inline float fast_tanh(float x)
{
    float v = 2 * fabsf(x);
    v = v > 18.0f ? 18.0f : v;
    float shifted = v * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the low bits now hold n, rounded */
    float n = shifted - 12582912.0f;
    float r = v - n * 0.693359375f + n * 2.12194440e-4f; /* ln 2 in two pieces */
    float p = 1 + r * (1 + r * (0.5f + r * (1.66666667e-1f +
                                            r * (4.16666667e-2f + r * (8.33333333e-3f + r * 1.38888889e-3f)))));
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u; /* 2^n */
    float power;
    memcpy(&power, &bits, sizeof power);
    return copysignf(1 - 2 / (p * power + 1), x);
}

static void tanh_forward(const nn_layer *l, float *restrict y, float *kept, float *scratch, const float *restrict x,
                         const float *w)
{
    (void)kept, (void)scratch, (void)w;
    for (size_t i = 0; i < l->n_in; i++)
        y[i] = fast_tanh(x[i]);
}

static void tanh_backward(const nn_layer *l, float *restrict dx, float *dw, const float *kept, float *scratch,
                          const float *x, const float *restrict y, const float *restrict dy, const float *w)
{
    (void)dw, (void)kept, (void)scratch, (void)x, (void)w;
    if (!dx)
        return;
    for (size_t i = 0; i < l->n_in; i++)
        dx[i] = dy[i] * (1 - y[i] * y[i]);
}

static fl_code flatten_infer(nn_layer *l, fl_err *err)
{
    (void)err;
    l->out = (nn_shape){(uint32_t)l->n_in, 1, 1};
    return FL_OK;
}

static void flatten_forward(const nn_layer *l, float *y, float *kept, float *scratch, const float *x, const float *w)
{
    (void)kept, (void)scratch, (void)w;
    memcpy(y, x, l->n_in * sizeof *y);
}

static void flatten_backward(const nn_layer *l, float *dx, float *dw, const float *kept, float *scratch, const float *x,
                             const float *y, const float *dy, const float *w)
{
    (void)dw, (void)kept, (void)scratch, (void)x, (void)y, (void)w;
    if (dx)
        memcpy(dx, dy, l->n_in * sizeof *dx);
}

const nn_layer_kind nn_relu = {
    .name = "relu", .read = nn_spec_nothing, .infer = same_infer, .forward = relu_forward, .backward = relu_backward};
const nn_layer_kind nn_tanh = {
    .name = "tanh", .read = nn_spec_nothing, .infer = same_infer, .forward = tanh_forward, .backward = tanh_backward};
const nn_layer_kind nn_flatten = {.name = "flatten",
                                  .read = nn_spec_nothing,
                                  .infer = flatten_infer,
                                  .forward = flatten_forward,
                                  .backward = flatten_backward};
