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

static void relu_forward(const nn_layer *l, float *y, float *kept, float *scratch, const float *x, const float *w)
{
    (void)kept, (void)scratch, (void)w;
    for (size_t i = 0; i < l->n_in; i++)
        y[i] = x[i] <= 0 ? 0 : x[i];
}

static void relu_backward(const nn_layer *l, float *dx, float *dw, const float *kept, float *scratch, const float *x,
                          const float *y, const float *dy, const float *w)
{
    (void)dw, (void)kept, (void)scratch, (void)x, (void)w;
    for (size_t i = 0; dx && i < l->n_in; i++)
        dx[i] = y[i] > 0 ? dy[i] : 0;
}

static void tanh_forward(const nn_layer *l, float *y, float *kept, float *scratch, const float *x, const float *w)
{
    (void)kept, (void)scratch, (void)w;
    for (size_t i = 0; i < l->n_in; i++)
        y[i] = tanhf(x[i]);
}

static void tanh_backward(const nn_layer *l, float *dx, float *dw, const float *kept, float *scratch, const float *x,
                          const float *y, const float *dy, const float *w)
{
    (void)dw, (void)kept, (void)scratch, (void)x, (void)w;
    for (size_t i = 0; dx && i < l->n_in; i++)
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

const nn_layer_kind nn_relu = {"relu", nn_spec_nothing, same_infer, NULL, relu_forward, relu_backward};
const nn_layer_kind nn_tanh = {"tanh", nn_spec_nothing, same_infer, NULL, tanh_forward, tanh_backward};
const nn_layer_kind nn_flatten = {"flatten", nn_spec_nothing, flatten_infer, NULL, flatten_forward, flatten_backward};
