/* The features of train/scattering.h as ONNX: reflected borders, convolutions with the filters, moduli; what follows is
 * arithmetic. Every step has the shape that scattering.h gives it, so the two can be read side by side. */
#include "train/onnx_layers.h"
#include "train/scattering.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct writing {
    onnx_graph *g;
    const nn_layer *l;
    const nn_scattering *s;
    const char *image; /* of this pass */
    char pass;         /* 'a'; 'b': of the mirrored image */
} writing;

/* A map on its way: value, channels, and the scale it is kept at. */
typedef struct map {
    char name[ONNX_NAME];
    uint32_t channels, scale;
} map;

/* "/NAME/a.WHAT.I.J" */
static const char *called(char out[ONNX_NAME], const writing *w, const char *what, uint32_t i, uint32_t j)
{
    snprintf(out, ONNX_NAME, "/%s/%c.%s.%u.%u", w->l->name, w->pass, what, i, j);
    return out;
}

/* Constants are the same for both passes. */
static const char *constant(char out[ONNX_NAME], const writing *w, const char *what, uint32_t i, uint32_t j)
{
    snprintf(out, ONNX_NAME, "/%s/%s.%u.%u", w->l->name, what, i, j);
    return out;
}

static uint32_t shrunk(uint32_t n, uint32_t scale)
{
    return (n + (1u << scale) - 1) >> scale;
}

/* --- convolutions ---------------------------------------------------------------------------------------------- */

/* x with a border of r pixels, mirrored as often as it takes; its name in `in`. */
static void put_border(const writing *w, char in[ONNX_NAME], const map *x, uint32_t r, uint32_t k)
{
    uint32_t h = shrunk(w->s->height, x->scale), v = shrunk(w->s->width, x->scale);
    snprintf(in, ONNX_NAME, "%s", x->name);
    for (uint32_t turn = 0; r > 0; turn++) {
        char out[ONNX_NAME], amount[ONNX_NAME];
        const uint32_t least = h < v ? h : v, n = r < least ? r : least - 1;
        snprintf(out, sizeof out, "%.70s/border%u.%u", x->name, k, turn);
        snprintf(amount, sizeof amount, "%.80s/amount", out);
        onnx_integers(w->g, amount, 8, (int64_t[]){0, 0, n, n, 0, 0, n, n});
        onnx_open(w->g, "Pad", out);
        onnx_in(w->g, in);
        onnx_in(w->g, amount);
        onnx_text(w->g, "mode", "reflect");
        onnx_close(w->g);
        snprintf(in, ONNX_NAME, "%s", out);
        h += 2 * n, v += 2 * n, r -= n;
    }
}

/* y = each channel of x with `each` kernels of its own set (groups of channels / ...), at every 2^shrink-th pixel */
static void put_correlation(const writing *w, const char *y, const char *x, const char *kernels, uint32_t groups,
                            uint32_t r, uint32_t stride)
{
    onnx_open(w->g, "Conv", y);
    onnx_in(w->g, x);
    onnx_in(w->g, kernels);
    onnx_ints(w->g, "kernel_shape", 2, (int64_t[]){2 * r + 1, 2 * r + 1});
    onnx_ints(w->g, "strides", 2, (int64_t[]){stride, stride});
    onnx_int(w->g, "group", groups);
    onnx_close(w->g);
}

/* The real or imaginary parts of the L wavelets of a scale, once for each of n channels: (n L, 1, k, k). */
static void put_wavelets(const writing *w, const char *name, uint32_t scale, uint32_t n, bool is_imaginary)
{
    const uint32_t L = w->s->angles, side = 2 * nn_scattering_radius(scale, L) + 1, area = side * side;
    float *all = malloc((size_t)n * L * area * sizeof *all), *other = malloc(area * sizeof *other);
    if (!all || !other)
        abort(); /* a few megabytes */
    for (uint32_t i = 0; i < n * L; i++) {
        float *at = all + (size_t)i * area;
        nn_scattering_filter(is_imaginary ? other : at, is_imaginary ? at : other, scale, L, i % L);
    }
    onnx_floats(w->g, name, 4, (int64_t[]){n * L, 1, side, side}, all);
    free(all);
    free(other);
}

/* |x * psi[to]|: L channels for each of x's */
static map put_modulus(const writing *w, const map *x, uint32_t to)
{
    const uint32_t scale = to - x->scale, r = nn_scattering_radius(scale, w->s->angles), n = x->channels;
    map y = {.channels = n * w->s->angles, .scale = to};
    char in[ONNX_NAME], square[2][ONNX_NAME], part[ONNX_NAME], kernels[ONNX_NAME], sum[ONNX_NAME];
    const uint32_t from = n == 1 ? 99 : x->scale; /* 99: from the image */
    put_border(w, in, x, r, to);
    for (uint32_t i = 0; i < 2; i++) {
        constant(kernels, w, i ? "im" : "re", scale, n);
        called(part, w, i ? "im" : "re", from, to);
        called(square[i], w, i ? "im2" : "re2", from, to);
        put_correlation(w, part, in, kernels, n, r, 1u << scale);
        onnx_node(w->g, "Mul", square[i], part, part);
    }
    onnx_node(w->g, "Add", called(sum, w, "size2", from, to), square[0], square[1]);
    onnx_node(w->g, "Sqrt", called(y.name, w, "size", from, to), sum, NULL);
    return y;
}

static uint32_t low_radius(const nn_scattering *s, uint32_t scale)
{
    const uint32_t r = (uint32_t)ceil(4 * 0.8 * pow(2, (double)s->scales - 1 - scale));
    return r > 1 ? r : 1;
}

/* The Gaussian for maps of a scale, once for each of n channels: (n, 1, k, k). */
static void put_gaussians(const writing *w, const char *name, uint32_t scale, uint32_t n)
{
    const uint32_t r = low_radius(w->s, scale), side = 2 * r + 1, area = side * side;
    const double sigma = 0.8 * pow(2, (double)w->s->scales - 1 - scale);
    float *all = malloc((size_t)n * area * sizeof *all);
    double total = 0;
    if (!all)
        abort();
    for (uint32_t i = 0; i < side; i++)
        total += exp(-((double)i - r) * ((double)i - r) / (2 * sigma * sigma));
    for (uint32_t i = 0; i < n * area; i++) {
        const double y = (double)(i % area / side) - r, x = (double)(i % side) - r;
        all[i] = (float)(exp(-(y * y + x * x) / (2 * sigma * sigma)) / (total * total));
    }
    onnx_floats(w->g, name, 4, (int64_t[]){n, 1, side, side}, all);
    free(all);
}

/* x * phi, at every 2^J-th pixel of the image */
static void put_low(const writing *w, char y[ONNX_NAME], const map *x)
{
    char in[ONNX_NAME], kernels[ONNX_NAME];
    const uint32_t r = low_radius(w->s, x->scale);
    put_border(w, in, x, r, 90);
    snprintf(y, ONNX_NAME, "%.80s/low", x->name);
    put_correlation(w, y, in, constant(kernels, w, "phi", x->scale, x->channels), x->channels, r,
                    1u << (w->s->scales - x->scale));
}

/* What put_centred wants for maps of so many channels: the mean of n values, at every channel and place. */
static void put_average(const writing *w, uint32_t n)
{
    const nn_shape out = w->l->out;
    const size_t size = (size_t)n * n * out.H * out.W;
    char name[ONNX_NAME];
    float *all = malloc(size * sizeof *all);
    if (!all)
        abort(); /* a quarter of a megabyte for 8 angles and 4x4 places */
    for (size_t i = 0; i < size; i++)
        all[i] = 1 / (float)n;
    onnx_floats(w->g, constant(name, w, "average", n, 0), 2, (int64_t[]){n, (int64_t)(size / n)}, all);
    onnx_integers(w->g, constant(name, w, "places", n, 0), 4, (int64_t[]){0, n, out.H, out.W});
    free(all);
}

/* Every kernel that the transform uses. */
static void put_kernels(const writing *w)
{
    char name[ONNX_NAME];
    const uint32_t J = w->s->scales, L = w->s->angles;
    for (uint32_t n = 1; n <= L; n += L - 1) {
        for (uint32_t scale = n == 1 ? 0 : 1; scale < J; scale++) {
            put_wavelets(w, constant(name, w, "re", scale, n), scale, n, false);
            put_wavelets(w, constant(name, w, "im", scale, n), scale, n, true);
        }
    }
    put_gaussians(w, constant(name, w, "phi", 0, 1), 0, 1);
    for (uint32_t j = 0; j < J; j++) {
        put_gaussians(w, constant(name, w, "phi", j, L), j, L);
        if (j > 0)
            put_gaussians(w, constant(name, w, "phi", j, L * L), j, L * L);
    }
    for (uint32_t n = 1; w->s->scalewise && n <= L * L; n *= L)
        put_average(w, n);
}

/* --- features -------------------------------------------------------------------------------------------------- */

/* y = x (batch, channels, h, w) less its mean over channels and places */
static void put_centred(const writing *w, const char *y, const char *x, uint32_t channels)
{
    char mean[ONNX_NAME], flat[ONNX_NAME], spread[ONNX_NAME], all[ONNX_NAME], name[ONNX_NAME];
    snprintf(mean, sizeof mean, "%.80s/mean", x);
    snprintf(flat, sizeof flat, "%.80s/flat", x);
    snprintf(spread, sizeof spread, "%.80s/spread", x);
    snprintf(all, sizeof all, "%.80s/all", x);
    onnx_node(w->g, "GlobalAveragePool", mean, x, NULL);
    onnx_open(w->g, "Flatten", flat);
    onnx_in(w->g, mean);
    onnx_int(w->g, "axis", 1);
    onnx_close(w->g);
    onnx_node(w->g, "MatMul", spread, flat, constant(name, w, "average", channels, 0));
    onnx_node(w->g, "Reshape", all, spread, constant(name, w, "places", channels, 0));
    onnx_node(w->g, "Sub", y, x, all);
}

/* S of w->image, in the order of scattering.h; with `logs`, log(S + 0.01) of all but S0; centred when
 * they are scalewise. */
static void put_transform(const writing *w, const char *out, bool logs)
{
    const uint32_t J = w->s->scales, L = w->s->angles;
    map image = {.channels = 1, .scale = 0}, first[NN_SCATTERING_MAX_SCALES];
    char parts[1 + NN_SCATTERING_MAX_SCALES + NN_SCATTERING_MAX_SCALES * NN_SCATTERING_MAX_SCALES][ONNX_NAME];
    uint32_t n = 0;
    snprintf(image.name, sizeof image.name, "%s", w->image);
    put_low(w, parts[n++], &image);
    for (uint32_t j = 0; j < J; j++) {
        first[j] = put_modulus(w, &image, j);
        put_low(w, parts[n++], &first[j]);
    }
    for (uint32_t j = 0; j < J; j++) {
        for (uint32_t to = j + 1; to < J; to++) {
            const map second = put_modulus(w, &first[j], to);
            put_low(w, parts[n++], &second);
        }
    }
    for (uint32_t i = 1; i < n && logs; i++) {
        char sum[ONNX_NAME], whole[ONNX_NAME];
        snprintf(whole, sizeof whole, "%s", parts[i]);
        onnx_with(w->g, "Add", called(sum, w, "above", i, 0), whole, 0.01f);
        onnx_node(w->g, "Log", called(parts[i], w, "log", i, 0), sum, NULL);
    }
    for (uint32_t i = 0; i < n && w->s->scalewise; i++) {
        char whole[ONNX_NAME];
        snprintf(whole, sizeof whole, "%s", parts[i]);
        put_centred(w, called(parts[i], w, "centred", i, 0), whole, i == 0 ? 1 : (i <= J ? L : L * L));
    }
    onnx_open(w->g, "Concat", out);
    for (uint32_t i = 0; i < n; i++)
        onnx_in(w->g, parts[i]);
    onnx_int(w->g, "axis", 1);
    onnx_close(w->g);
}

/* One value for each image, from (batch, 1, 1, 1) to all pixels. */
static const char *put_everywhere(const writing *w, char y[ONNX_NAME], const char *x)
{
    char flat[ONNX_NAME], all[ONNX_NAME], shape[ONNX_NAME];
    snprintf(flat, sizeof flat, "%.80s/flat", x);
    snprintf(all, sizeof all, "%.80s/all", x);
    snprintf(shape, sizeof shape, "%.80s/shape", x);
    snprintf(y, ONNX_NAME, "%.80s/image", x);
    onnx_open(w->g, "Flatten", flat);
    onnx_in(w->g, x);
    onnx_int(w->g, "axis", 1);
    onnx_close(w->g);
    onnx_spread(w->g, all, flat, w->s->height * w->s->width);
    onnx_integers(w->g, shape, 4, (int64_t[]){0, 1, w->s->height, w->s->width});
    onnx_node(w->g, "Reshape", y, all, shape);
    return y;
}

/* (p - mean) / (deviation + 0.05) of p = (x + 1) / 2, which is (x - mean) / (deviation + 0.1) of x; the deviation with
 * n - 1. */
static void put_standard_image(const writing *w, const char *y)
{
    static const char *const steps[] = {"mean", "difference", "square", "variance", "unbiased", "deviation", "divisor"};
    const uint32_t n = w->s->height * w->s->width;
    char name[7][ONNX_NAME], all[ONNX_NAME];
    for (int i = 0; i < 7; i++)
        called(name[i], w, steps[i], 0, 0);
    onnx_node(w->g, "GlobalAveragePool", name[0], w->image, NULL);
    onnx_node(w->g, "Sub", name[1], w->image, put_everywhere(w, all, name[0]));
    onnx_node(w->g, "Mul", name[2], name[1], name[1]);
    onnx_node(w->g, "GlobalAveragePool", name[3], name[2], NULL);
    onnx_with(w->g, "Mul", name[4], name[3], (float)((double)n / (n - 1)));
    onnx_node(w->g, "Sqrt", name[5], name[4], NULL);
    onnx_with(w->g, "Add", name[6], name[5], 0.1f);
    onnx_node(w->g, "Div", y, name[1], put_everywhere(w, all, name[6]));
}

/* The image mirrored left and right, by a matrix that changes columns: exact, and known everywhere. */
static void put_mirrored(const writing *w, const char *y, const char *x)
{
    char name[ONNX_NAME];
    const uint32_t n = w->s->width;
    float *exchange = calloc((size_t)n * n, sizeof *exchange);
    if (!exchange)
        abort();
    for (uint32_t i = 0; i < n; i++)
        exchange[(size_t)i * n + n - 1 - i] = 1;
    onnx_floats(w->g, constant(name, w, "exchange", 0, 0), 2, (int64_t[]){n, n}, exchange);
    onnx_node(w->g, "MatMul", y, x, name);
    free(exchange);
}

/* From the prepared image to groups of mean 0, and of variance 1 unless they are scalewise. */
static void put_normal(const writing *w, const char *y)
{
    const nn_scattering *s = w->s;
    char raw[ONNX_NAME];
    if (s->scalewise) {
        put_transform(w, y, true);
        return;
    }
    put_transform(w, called(raw, w, "all", 0, 0), s->groups == 0);
    onnx_standard_groups(w->g, y, raw, w->l->out, s->groups > 0 ? s->groups : s->out_channels, 1e-5f);
}

void onnx_scattering(onnx_model *m, const nn_layer *l, const char *y)
{
    onnx_graph *g = &m->graph;
    writing a = {g, l, &l->scattering, "image", 'a'}, b = {g, l, &l->scattering, NULL, 'b'};
    char ready[ONNX_NAME], half[ONNX_NAME], one[ONNX_NAME], other[ONNX_NAME], both[ONNX_NAME], left[ONNX_NAME];
    char flat[ONNX_NAME], length[ONNX_NAME], shape[ONNX_NAME];
    const char *features = onnx_name(one, l, "/normal");
    put_kernels(&a);
    onnx_name(ready, l, "/ready");
    if (l->scattering.groups > 0) {
        onnx_with(g, "Mul", onnx_name(half, l, "/half"), "image", 0.5f);
        onnx_with(g, "Add", ready, half, 0.5f);
    } else {
        put_standard_image(&a, ready);
    }
    a.image = ready;
    put_normal(&a, one);
    if (l->scattering.mirror) {
        put_mirrored(&b, onnx_name(left, l, "/mirrored"), ready);
        b.image = left;
        put_normal(&b, onnx_name(other, l, "/normal2"));
        features = onnx_name(both, l, "/sum");
        onnx_node(g, "Add", features, one, other);
    }
    onnx_open(g, "Flatten", onnx_name(flat, l, "/flat"));
    onnx_in(g, features);
    onnx_int(g, "axis", 1);
    onnx_close(g);
    onnx_unit(g, onnx_name(length, l, "/unit"), flat, (uint32_t)l->n_out);
    onnx_integers(g, onnx_name(shape, l, "/shape"), 4, (int64_t[]){0, l->out.C, l->out.H, l->out.W});
    onnx_node(g, "Reshape", y, length, shape);
}
