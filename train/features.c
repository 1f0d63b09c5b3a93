/*
 * centre         y = x - b, one b for each value, 0 at the start                 db = -dy        dx = dy
 *                Learned under NN_LOSS_SQUARES in a phase of its own, b is the mean of its input.
 * unit           y = x / max(|x|, 1e-6), over all values of the image            dx = (dy - y (y dy)) / |x|
 * dropout P      training: each value is 0 with probability P, else x / (1 - P); prediction: y = x
 *
 * The values that dropout drops follow from the pass's key (patient, image, step and layer) and the value's place in its
 * image alone, never from a position in a batch.
 */
#include "train/layer.h"
#include <math.h>
#include <string.h>

#define SHORTEST 1e-6

/* --- centre ---------------------------------------------------------------------------------------------------- */

static fl_code centre_infer(nn_layer *l, fl_err *err)
{
    l->n_weights = l->n_bias = l->n_in;
    return nn_same_shape(l, err);
}

static void centre_init(const nn_layer *l, float *w, fl_rng *rng)
{
    (void)rng;
    memset(w, 0, l->n_weights * sizeof *w);
}

static void centre_run(const nn_layer *l, const nn_pass *p)
{
    const float *b = p->w;
    for (uint32_t c = 0; c < l->in.C; c++) {
        for (uint32_t i = 0; i < l->in.H; i++) {
            for (uint32_t j = 0; j < l->in.W; j++)
                nn_map_pixel(&p->y, i, j)[c] = nn_map_pixel(&p->x[0], i, j)[c] - *b++;
        }
    }
    nn_map_clear_padding(&p->y);
}

static void centre_back(const nn_layer *l, const nn_pass *p)
{
    float *db = p->dw;
    for (uint32_t c = 0; db && c < l->in.C; c++) {
        for (uint32_t i = 0; i < l->in.H; i++) {
            for (uint32_t j = 0; j < l->in.W; j++)
                *db++ -= nn_map_pixel(&p->dy, i, j)[c];
        }
    }
    for (uint32_t i = 0; p->dx[0].at && p->dx[0].at != p->dy.at && i < l->in.H; i++)
        memcpy(nn_map_pixel(&p->dx[0], i, 0), nn_map_pixel(&p->dy, i, 0), (size_t)l->in.W * p->dy.cs * sizeof(float));
}

/* --- unit ------------------------------------------------------------------------------------------------------ */

static fl_code unit_infer(nn_layer *l, fl_err *err)
{
    l->n_kept = 2; /* 1 / max(|x|, SHORTEST); 1 where |x| is the larger, else 0 */
    return nn_same_shape(l, err);
}

static double inner_product(const nn_map *a, const nn_map *b)
{
    double sum = 0;
    for (uint32_t i = 0; i < a->H; i++) {
        for (uint32_t j = 0; j < a->W; j++)
            sum += nn_sum_products(nn_map_pixel(a, i, j), nn_map_pixel(b, i, j), a->C);
    }
    return sum;
}

/* y = a x + b z; any of them may be the same, pixel on pixel */
static void combine(const nn_map *y, float a, const nn_map *x, float b, const nn_map *z)
{
    for (uint32_t i = 0; i < y->H; i++) {
        for (uint32_t j = 0; j < y->W; j++) {
            float *to = nn_map_pixel(y, i, j);
            const float *from = nn_map_pixel(x, i, j), *other = z ? nn_map_pixel(z, i, j) : NULL;
            for (uint32_t c = 0; c < y->C; c++)
                to[c] = other ? a * from[c] + b * other[c] : a * from[c];
        }
    }
    nn_map_clear_padding(y);
}

static void unit_run(const nn_layer *l, const nn_pass *p)
{
    (void)l;
    double length = sqrt(inner_product(&p->x[0], &p->x[0]));
    p->kept[1] = length < SHORTEST ? 0 : 1;
    p->kept[0] = (float)(1 / (length < SHORTEST ? SHORTEST : length));
    combine(&p->y, p->kept[0], &p->x[0], 0, NULL);
}

static void unit_back(const nn_layer *l, const nn_pass *p)
{
    (void)l;
    if (!p->dx[0].at)
        return;
    float inverse = p->kept[0], along = (float)inner_product(&p->y, &p->dy) * p->kept[1];
    combine(&p->dx[0], inverse, &p->dy, -inverse * along, &p->y);
}

/* --- dropout --------------------------------------------------------------------------------------------------- */

static fl_code dropout_read(nn_layer *l, const nn_spec_line *line, fl_err *err)
{
    fl_code rc = nn_spec_fraction(&l->rate, line->n_words > 0 ? line->words[0] : NULL, "probability", err);
    if (rc == FL_OK && line->n_words > 1)
        rc = fl_fail(err, FL_EFORMAT, "unknown word %.20s", line->words[1]);
    return rc;
}

/* Whether value `index` is dropped: splitmix64 (Steele et al. 2014) of the key, at that place. */
static bool is_dropped(uint64_t key, uint64_t index, uint64_t threshold)
{
    uint64_t z = key + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) >> 11 < threshold;
}

/* What is dropped in y is dropped in dx, and what is kept is scaled alike. */
static void drop(const nn_layer *l, const nn_map *to, const nn_map *from, uint64_t key)
{
    uint64_t threshold = (uint64_t)(l->rate * 0x1p53), index = 0;
    float scale = (float)(1 / (1 - l->rate));
    for (uint32_t c = 0; c < l->in.C; c++) {
        for (uint32_t i = 0; i < l->in.H; i++) {
            for (uint32_t j = 0; j < l->in.W; j++, index++)
                nn_map_pixel(to, i, j)[c] = nn_map_pixel(from, i, j)[c] *
                                            (is_dropped(key, index, threshold) ? 0 : scale); /* NaN stays NaN */
        }
    }
    nn_map_clear_padding(to);
}

static void dropout_run(const nn_layer *l, const nn_pass *p)
{
    if (p->is_training)
        drop(l, &p->y, &p->x[0], p->key);
    else
        combine(&p->y, 1, &p->x[0], 0, NULL);
}

static void dropout_back(const nn_layer *l, const nn_pass *p)
{
    if (!p->dx[0].at)
        return;
    if (p->is_training)
        drop(l, &p->dx[0], &p->dy, p->key);
    else
        combine(&p->dx[0], 1, &p->dy, 0, NULL);
}

const nn_layer_kind nn_centre = {.name = "centre",
                                 .read = nn_spec_nothing,
                                 .infer = centre_infer,
                                 .init = centre_init,
                                 .run = centre_run,
                                 .back = centre_back,
                                 .in_place = true};
const nn_layer_kind nn_unit = {
    .name = "unit", .read = nn_spec_nothing, .infer = unit_infer, .run = unit_run, .back = unit_back, .in_place = true};
const nn_layer_kind nn_dropout = {.name = "dropout",
                                  .read = dropout_read,
                                  .infer = nn_same_shape,
                                  .run = dropout_run,
                                  .back = dropout_back,
                                  .uses_key = true,
                                  .in_place = true};
