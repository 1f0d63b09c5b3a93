/*
 * flatten        y = x as (C*H*W, 1, 1), in the order of (C, H, W)
 * add NAME       y = x + the output NAME
 * concat NAME    the channels of x, then those of the output NAME
 */
#include "train/layer.h"
#include "train/rows.h"
#include <string.h>

static fl_code flatten_infer(nn_layer *l, fl_err *err)
{
    (void)err;
    l->out = (nn_shape){(uint32_t)l->n_in, 1, 1};
    return FL_OK;
}

static void flatten_run(const nn_layer *l, const nn_pass *p)
{
    float *to = p->y.at;
    for (uint32_t c = 0; c < l->in.C; c++) {
        for (uint32_t i = 0; i < l->in.H; i++) {
            for (uint32_t j = 0; j < l->in.W; j++)
                *to++ = nn_map_pixel(&p->x[0], i, j)[c];
        }
    }
    nn_map_clear_padding(&p->y);
}

static void flatten_back(const nn_layer *l, const nn_pass *p)
{
    if (!p->dx[0].at)
        return;
    const float *from = p->dy.at;
    for (uint32_t c = 0; c < l->in.C; c++) {
        for (uint32_t i = 0; i < l->in.H; i++) {
            for (uint32_t j = 0; j < l->in.W; j++)
                nn_map_pixel(&p->dx[0], i, j)[c] = *from++;
        }
    }
    nn_map_clear_padding(&p->dx[0]);
}

static fl_code add_infer(nn_layer *l, fl_err *err)
{
    if (l->in.C != l->other.C || l->in.H != l->other.H || l->in.W != l->other.W)
        return fl_fail(err, FL_EFORMAT, "both inputs must have the same shape");
    l->out = l->in;
    return FL_OK;
}

static void add_run(const nn_layer *l, const nn_pass *p)
{
    const nn_rows *rows = nn_rows_chosen();
    for (uint32_t i = 0; i < l->out.H; i++)
        rows->add(nn_map_pixel(&p->y, i, 0), nn_map_pixel(&p->x[0], i, 0), nn_map_pixel(&p->x[1], i, 0),
                  (size_t)l->out.W * p->y.cs);
    nn_map_clear_padding(&p->y);
}

static void add_back(const nn_layer *l, const nn_pass *p)
{
    for (int k = 0; k < 2; k++) {
        if (!p->dx[k].at || p->dx[k].at == p->dy.at)
            continue;
        for (uint32_t i = 0; i < l->out.H; i++)
            memcpy(nn_map_pixel(&p->dx[k], i, 0), nn_map_pixel(&p->dy, i, 0),
                   (size_t)l->out.W * p->dy.cs * sizeof(float));
    }
}

static fl_code concat_infer(nn_layer *l, fl_err *err)
{
    if (l->in.H != l->other.H || l->in.W != l->other.W)
        return fl_fail(err, FL_EFORMAT, "both inputs must have the same height and width");
    l->out = (nn_shape){l->in.C + l->other.C, l->in.H, l->in.W};
    return FL_OK;
}

static void concat_run(const nn_layer *l, const nn_pass *p)
{
    for (uint32_t i = 0; i < l->out.H; i++) {
        for (uint32_t j = 0; j < l->out.W; j++) {
            float *to = nn_map_pixel(&p->y, i, j);
            memcpy(to, nn_map_pixel(&p->x[0], i, j), l->in.C * sizeof *to);
            memcpy(to + l->in.C, nn_map_pixel(&p->x[1], i, j), l->other.C * sizeof *to);
        }
    }
    nn_map_clear_padding(&p->y);
}

static void concat_back(const nn_layer *l, const nn_pass *p)
{
    for (int k = 0; k < 2; k++) {
        const nn_map *to = &p->dx[k];
        for (uint32_t i = 0; to->at && i < l->out.H; i++) {
            for (uint32_t j = 0; j < l->out.W; j++)
                memcpy(nn_map_pixel(to, i, j), nn_map_pixel(&p->dy, i, j) + (k == 0 ? 0 : l->in.C),
                       to->C * sizeof(float));
        }
        if (to->at)
            nn_map_clear_padding(to);
    }
}

const nn_layer_kind nn_flatten = {
    .name = "flatten", .read = nn_spec_nothing, .infer = flatten_infer, .run = flatten_run, .back = flatten_back};
const nn_layer_kind nn_add = {.name = "add",
                              .read = nn_spec_nothing,
                              .infer = add_infer,
                              .has_two_inputs = true,
                              .run = add_run,
                              .back = add_back,
                              .in_place = true};
const nn_layer_kind nn_concat = {.name = "concat",
                                 .read = nn_spec_nothing,
                                 .infer = concat_infer,
                                 .has_two_inputs = true,
                                 .run = concat_run,
                                 .back = concat_back};
