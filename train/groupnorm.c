/*
 * groupnorm G     as torch.nn.GroupNorm(G, C) (Wu and He 2018), epsilon 1e-5
 *
 * The channels are cut into G groups; within one image and group of m values
 *     n = (x - mean) / sqrt(var + 1e-5)          y = scale[c] n + shift[c]
 *     dn = dy scale[c]     dx = (dn - mean(dn) - n mean(dn n)) / sqrt(var + 1e-5)
 * Mean and variance in double. It never looks at another image: batch normalisation would mix patients.
 */
#include "train/layer.h"
#include "train/rows.h"
#include <math.h>
#include <string.h>

#define EPSILON   1e-5
#define N_SCRATCH 8 /* floats for each channel: 2 doubles and 4 floats */

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
    l->n_scratch = N_SCRATCH * (uint64_t)nn_map_channels(l->in.C);
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

/* Sums and constants of each channel, in the scratch of a pass. */
typedef struct channel_sums {
    double *sum, *product;
    float *mean, *a, *b, *c;
} channel_sums;

static channel_sums cut(const nn_pass *p, uint32_t cs)
{
    double *doubles = (double *)(void *)p->scratch;
    float *floats = p->scratch + 4 * cs;
    memset(p->scratch, 0, N_SCRATCH * cs * sizeof(float));
    return (channel_sums){doubles, doubles + cs, floats, floats + cs, floats + 2 * cs, floats + 3 * cs};
}

/* Around the group's first value, so that a large mean costs no digits of the variance. */
static void groupnorm_run(const nn_layer *l, const nn_pass *p)
{
    const nn_map *x = &p->x[0];
    const nn_rows *rows = nn_rows_chosen();
    const uint32_t in_group = l->in.C / l->channels;
    const double m = (double)in_group * l->in.H * l->in.W;
    channel_sums s = cut(p, x->cs);
    for (uint32_t c = 0; c < l->in.C; c++)
        s.mean[c] = x->at[c / in_group * in_group];
    for (uint32_t i = 0; i < l->in.H; i++)
        rows->moments(s.sum, s.product, nn_map_pixel(x, i, 0), s.mean, l->in.W, x->cs);
    for (uint32_t g = 0; g < l->channels; g++) {
        double sum = 0, squares = 0;
        for (uint32_t c = g * in_group; c < (g + 1) * in_group; c++) {
            sum += s.sum[c];
            squares += s.product[c];
        }
        double shift = sum / m, variance = squares / m - shift * shift;
        p->kept[2 * g] = (float)(s.mean[g * in_group] + shift);
        p->kept[2 * g + 1] = (float)(1 / sqrt((variance < 0 ? 0 : variance) + EPSILON));
        for (uint32_t c = g * in_group; c < (g + 1) * in_group; c++) {
            s.mean[c] = p->kept[2 * g];
            s.a[c] = p->kept[2 * g + 1] * p->w[c];
            s.b[c] = p->w[l->in.C + c];
        }
    }
    for (uint32_t i = 0; i < l->in.H; i++)
        rows->normalise(nn_map_pixel(&p->y, i, 0), nn_map_pixel(x, i, 0), s.mean, s.a, s.b, l->in.W, x->cs);
    nn_map_clear_padding(&p->y);
}

/* The constants of dx = dy a + (x - mean) b + c of one group, from its channels' sums; adds to dw. */
static void slopes_of_group(const nn_layer *l, const nn_pass *p, const channel_sums *s, uint32_t g)
{
    const uint32_t in_group = l->in.C / l->channels;
    const double m = (double)in_group * l->in.H * l->in.W, inverse = p->kept[2 * g + 1];
    double sum = 0, product = 0; /* of dn, of dn n */
    for (uint32_t c = g * in_group; c < (g + 1) * in_group; c++) {
        double of_shift = s->sum[c], of_scale = s->product[c] * inverse;
        if (p->dw) {
            p->dw[c] += (float)of_scale;
            p->dw[l->in.C + c] += (float)of_shift;
        }
        sum += of_shift * p->w[c];
        product += of_scale * p->w[c];
    }
    for (uint32_t c = g * in_group; c < (g + 1) * in_group; c++) {
        s->a[c] = (float)(p->w[c] * inverse);
        s->b[c] = (float)(-inverse * inverse * (product / m));
        s->c[c] = (float)(-inverse * (sum / m));
    }
}

static void groupnorm_back(const nn_layer *l, const nn_pass *p)
{
    const nn_map *x = &p->x[0], *dx = &p->dx[0];
    const nn_rows *rows = nn_rows_chosen();
    channel_sums s = cut(p, x->cs);
    for (uint32_t c = 0; c < l->in.C; c++)
        s.mean[c] = p->kept[2 * (c / (l->in.C / l->channels))];
    for (uint32_t i = 0; i < l->in.H; i++)
        rows->slopes(s.sum, s.product, nn_map_pixel(x, i, 0), nn_map_pixel(&p->dy, i, 0), s.mean, l->in.W, x->cs);
    for (uint32_t g = 0; g < l->channels; g++)
        slopes_of_group(l, p, &s, g);
    if (!dx->at)
        return;
    for (uint32_t i = 0; i < l->in.H; i++)
        rows->restore(nn_map_pixel(dx, i, 0), nn_map_pixel(x, i, 0), nn_map_pixel(&p->dy, i, 0), s.mean, s.a, s.b, s.c,
                      l->in.W, x->cs);
    nn_map_clear_padding(dx);
}

const nn_layer_kind nn_groupnorm = {.name = "groupnorm",
                                    .read = groupnorm_read,
                                    .infer = groupnorm_infer,
                                    .init = groupnorm_init,
                                    .run = groupnorm_run,
                                    .back = groupnorm_back};
