/*
 * relu      y = max(x, 0);      dx = dy where y > 0
 * tanh      y = tanh(x);        dx = dy (1 - y^2)
 * silu      y = x s, s = 1 / (1 + exp(-x));      dx = dy s (1 + x (1 - s))
 *
 * NaN goes through all of them, so that a patient whose image is broken is seen (and dropped) by the clip. The loops are
 * in train/rows.inc.
 */
#include "train/layer.h"
#include "train/rows.h"
#include <math.h>
#include <string.h>

/* to[k] = f(from[k]) over the image, row by row */
static void each_row(const nn_map *to, const nn_map *from, void (*f)(float *, const float *, size_t))
{
    for (uint32_t i = 0; i < to->H; i++)
        f(nn_map_pixel(to, i, 0), nn_map_pixel(from, i, 0), (size_t)to->W * to->cs);
    nn_map_clear_padding(to);
}

/* dx = f(of, dy) */
static void each_row_back(const nn_pass *p, const nn_map *of,
                          void (*f)(float *dx, const float *of, const float *dy, size_t n))
{
    if (!p->dx[0].at)
        return;
    for (uint32_t i = 0; i < of->H; i++)
        f(nn_map_pixel(&p->dx[0], i, 0), nn_map_pixel(of, i, 0), nn_map_pixel(&p->dy, i, 0), (size_t)of->W * of->cs);
    nn_map_clear_padding(&p->dx[0]);
}

static void relu_run(const nn_layer *l, const nn_pass *p)
{
    (void)l;
    each_row(&p->y, &p->x[0], nn_rows_chosen()->relu);
}

static void relu_back(const nn_layer *l, const nn_pass *p)
{
    (void)l;
    each_row_back(p, &p->y, nn_rows_chosen()->relu_back);
}

static void tanh_run(const nn_layer *l, const nn_pass *p)
{
    (void)l;
    each_row(&p->y, &p->x[0], nn_rows_chosen()->tanh);
}

static void tanh_back(const nn_layer *l, const nn_pass *p)
{
    (void)l;
    each_row_back(p, &p->y, nn_rows_chosen()->tanh_back);
}

static void silu_run(const nn_layer *l, const nn_pass *p)
{
    (void)l;
    each_row(&p->y, &p->x[0], nn_rows_chosen()->silu);
}

static void silu_back(const nn_layer *l, const nn_pass *p)
{
    (void)l;
    each_row_back(p, &p->x[0], nn_rows_chosen()->silu_back);
}

const nn_layer_kind nn_relu = {.name = "relu",
                               .read = nn_spec_nothing,
                               .infer = nn_same_shape,
                               .run = relu_run,
                               .back = relu_back,
                               .in_place = true};
const nn_layer_kind nn_tanh = {.name = "tanh",
                               .read = nn_spec_nothing,
                               .infer = nn_same_shape,
                               .run = tanh_run,
                               .back = tanh_back,
                               .in_place = true};
const nn_layer_kind nn_silu = {
    .name = "silu", .read = nn_spec_nothing, .infer = nn_same_shape, .run = silu_run, .back = silu_back};
