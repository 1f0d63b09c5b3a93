#include "train/scattering.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MOST_RADIUS 308 /* of the widest filter: ceil(3 * 0.8 * 2^5 * 16 / 4) */
#define MOST_LANES  16

/* The L Morlet filters of one scale, as scattering_kernel.inc wants them. */
typedef struct filter {
    uint32_t radius, n_pairs; /* n_pairs: L/2 - 1 pairs of angles a, -a; then 0 and 90 degrees share a place */
    uint32_t stride;          /* weights of one quarter pixel: 4 (n_pairs + 1) = 2 L */
    float weights[];          /* ((radius + 1)^2, n_pairs + 1, 4), for y, x >= 0 */
} filter;

/* acc (2 L, lanes) = the sums of all angles around the pixels at[0 .. lanes - 1]. A pixel (y, x) away is at
 * y * pitch + cols[x]. */
typedef void (*convolve)(float *acc, const float *at, ptrdiff_t pitch, const ptrdiff_t *cols, const filter *f);

#define CAT_(a, b) a##b
#define CAT(a, b)  CAT_(a, b)

#define LANES      4
#define MOST_PAIRS 1
#define TARGET
#define NAME portable
#include "train/scattering_kernel.inc"

#if defined(__x86_64__)
#define LANES      8
#define MOST_PAIRS 1
#define TARGET     __attribute__((target("avx2")))
#define NAME       avx2
#include "train/scattering_kernel.inc"

#define LANES      16
#define MOST_PAIRS 3
#define TARGET     __attribute__((target("avx512f")))
#define NAME       avx512
#include "train/scattering_kernel.inc"
#endif

/* --- which kernel ---------------------------------------------------------------------------------------------- */

typedef struct kernel {
    const char *name;
    convolve by_8, by_16; /* by_8 does at least 8 lanes, step of them at a time */
    uint32_t step_8, step_16;
} kernel;

static const kernel kernels[] = {
    {"portable", portable, portable, 4, 4},
#if defined(__x86_64__)
    {"avx2", avx2, avx2, 8, 8},
    {"avx512", avx2, avx512, 8, 16},
#endif
};

static bool has(const kernel *k)
{
#if defined(__x86_64__)
    if (strcmp(k->name, "avx2") == 0)
        return __builtin_cpu_supports("avx2");
    if (strcmp(k->name, "avx512") == 0)
        return __builtin_cpu_supports("avx512f");
#endif
    return strcmp(k->name, "portable") == 0;
}

static _Atomic(const kernel *) chosen;

static const kernel *kernel_now(void)
{
    const kernel *k = atomic_load_explicit(&chosen, memory_order_relaxed);
    for (size_t i = sizeof kernels / sizeof kernels[0]; !k && i-- > 0;)
        k = has(&kernels[i]) ? &kernels[i] : NULL;
    return k;
}

bool nn_scattering_use(const char *name)
{
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        if (strcmp(kernels[i].name, name) == 0 && has(&kernels[i])) {
            atomic_store_explicit(&chosen, &kernels[i], memory_order_relaxed);
            return true;
        }
    }
    return false;
}

const char *nn_scattering_kernel(void)
{
    return kernel_now()->name;
}

/* --- filters --------------------------------------------------------------------------------------------------- */

static uint32_t radius_of(uint32_t scale, uint32_t L)
{
    return (uint32_t)ceil(3 * 0.8 * (double)(1u << scale) / (4.0 / L));
}

/* Adds g(sigma, a, frequency) of the header at (y, x) to re, im. */
static void gabor(double *re, double *im, double y, double x, uint32_t scale, uint32_t L, double angle, bool moves)
{
    const double sigma = 0.8 * (1u << scale), slant = 4.0 / L;
    const double along = y * cos(angle) + x * sin(angle), across = x * cos(angle) - y * sin(angle);
    const double size = exp(-(along * along + slant * slant * across * across) / (2 * sigma * sigma)) * slant /
                        (2 * M_PI * sigma * sigma);
    const double phase = moves ? 0.75 * M_PI / (1u << scale) * along : 0;
    *re += size * cos(phase);
    *im += size * sin(phase);
}

typedef struct morlet {
    uint32_t scale, L;
    double angle, mean; /* mean: the sum of the wave over the sum of the Gaussian */
} morlet;

static morlet morlet_of(uint32_t scale, uint32_t L, double angle)
{
    const int r = (int)radius_of(scale, L);
    double wave = 0, odd = 0, still = 0, none = 0;
    for (int y = -r; y <= r; y++) {
        for (int x = -r; x <= r; x++) {
            gabor(&wave, &odd, y, x, scale, L, angle, true);
            gabor(&still, &none, y, x, scale, L, angle, false);
        }
    }
    return (morlet){scale, L, angle, wave / still};
}

static void value_at(double *re, double *im, const morlet *m, int y, int x)
{
    double still = 0, none = 0;
    *re = *im = 0;
    gabor(re, im, y, x, m->scale, m->L, m->angle, true);
    gabor(&still, &none, y, x, m->scale, m->L, m->angle, false);
    *re -= m->mean * still;
}

/* w[4] of one quarter pixel: even and odd part, in x, of the real and of the imaginary part of the filter. */
static void parts(double w[4], const morlet *m, int y, int x)
{
    double re, im, re_left, im_left;
    const double count = (y == 0 ? 0.5 : 1) * (x == 0 ? 0.5 : 1); /* mirrors that are the same pixel */
    value_at(&re, &im, m, y, x);
    value_at(&re_left, &im_left, m, y, -x);
    w[0] = count * (re + re_left) / 2;
    w[1] = count * (re - re_left) / 2;
    w[2] = count * (im + im_left) / 2;
    w[3] = count * (im - im_left) / 2;
}

uint32_t nn_scattering_radius(uint32_t scale, uint32_t angles)
{
    return radius_of(scale, angles);
}

void nn_scattering_filter(float *re, float *im, uint32_t scale, uint32_t angles, uint32_t t)
{
    const int r = (int)radius_of(scale, angles);
    const morlet m = morlet_of(scale, angles, M_PI * ((double)angles / 2 - 1 - t) / angles);
    for (int y = -r; y <= r; y++) {
        for (int x = -r; x <= r; x++) {
            double real, imaginary;
            value_at(&real, &imaginary, &m, y, x);
            *re++ = (float)real;
            *im++ = (float)imaginary;
        }
    }
}

static filter *filter_make(uint32_t scale, uint32_t L)
{
    const uint32_t r = radius_of(scale, L), n_pairs = L / 2 - 1, stride = 2 * L;
    filter *f = malloc(sizeof *f + (size_t)(r + 1) * (r + 1) * stride * sizeof f->weights[0]);
    if (!f)
        return NULL;
    *f = (filter){.radius = r, .n_pairs = n_pairs, .stride = stride};
    for (uint32_t i = 0; i <= L / 2; i++) { /* angle i pi / L */
        const morlet m = morlet_of(scale, L, M_PI * i / L);
        for (uint32_t q = 0; q < (r + 1) * (r + 1); q++) {
            double w[4];
            parts(w, &m, (int)(q / (r + 1)), (int)(q % (r + 1)));
            float *to = f->weights + (size_t)q * stride + 4 * (size_t)(i == 0 || i == L / 2 ? n_pairs : i - 1);
            if (i == 0) { /* even in x altogether */
                to[0] = (float)w[0];
                to[2] = (float)w[2];
            } else if (i == L / 2) { /* real part even, imaginary part odd in x */
                to[1] = (float)w[0];
                to[3] = (float)w[3];
            } else {
                for (int k = 0; k < 4; k++)
                    to[k] = (float)w[k];
            }
        }
    }
    return f;
}

static _Atomic(filter *) made[NN_SCATTERING_MAX_SCALES][NN_SCATTERING_MAX_ANGLES / 2];

static const filter *filter_of(uint32_t scale, uint32_t L)
{
    return atomic_load_explicit(&made[scale][L / 2 - 1], memory_order_acquire);
}

static fl_code filters_make(uint32_t J, uint32_t L, fl_err *err)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    fl_code rc = FL_OK;
    pthread_mutex_lock(&one_at_a_time);
    for (uint32_t scale = 0; scale < J && rc == FL_OK; scale++) {
        if (filter_of(scale, L))
            continue;
        filter *f = filter_make(scale, L);
        if (!f)
            rc = fl_fail(err, FL_EENV, "no memory for the filters");
        atomic_store_explicit(&made[scale][L / 2 - 1], f, memory_order_release);
    }
    pthread_mutex_unlock(&one_at_a_time);
    return rc;
}

/* --- sizes ----------------------------------------------------------------------------------------------------- */

static uint32_t shrunk(uint32_t n, uint32_t scale)
{
    return (n + (1u << scale) - 1) >> scale;
}

static uint32_t up_to(uint32_t n, uint32_t step)
{
    return (n + step - 1) / step * step;
}

static uint32_t n_maps(const nn_scattering *s)
{
    return s->mirror ? 2 : 1;
}

/* Floats from pixel to pixel of the first order's maps: (map, angle), with zeros up to whole vectors. */
static uint32_t first_lanes(const nn_scattering *s)
{
    return up_to(n_maps(s) * s->angles, 8);
}

static uint32_t low_radius(const nn_scattering *s, uint32_t scale)
{
    const uint32_t r = (uint32_t)ceil(4 * 0.8 * pow(2, (double)s->scales - 1 - scale));
    return r > 1 ? r : 1;
}

/* Of the maps at this scale: what the widest filter on them reaches. */
static uint32_t halo(const nn_scattering *s, uint32_t scale)
{
    return scale + 1 < s->scales ? radius_of(s->scales - 1 - scale, s->angles) : 0;
}

/* The image for outputs at every 2^scale-th pixel: rows of 2^scale parts, part c holding the columns c, c + 2^scale, ... */
typedef struct comb {
    uint32_t step, margin, part, pitch; /* margin: columns on the left, whole steps; part, pitch: floats */
    size_t size;
} comb;

static comb comb_of(const nn_scattering *s, uint32_t scale)
{
    const uint32_t r = radius_of(scale, s->angles), step = 1u << scale;
    comb c = {.step = step, .margin = up_to(r, step)};
    c.part = (c.margin + s->width + r) / step + 2 + MOST_LANES;
    c.pitch = c.part * step;
    c.size = (size_t)c.pitch * (s->height + 2 * r);
    return c;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Cut from scratch, in this order. */
typedef struct rooms {
    size_t image, comb, first, second, row, raw;
} rooms;

static rooms rooms_of(const nn_scattering *s)
{
    const uint32_t cs = first_lanes(s), L = s->angles;
    rooms r = {.image = (size_t)n_maps(s) * s->height * s->width, .raw = n_maps(s) * s->n_out};
    r.row = s->width;
    for (uint32_t j = 0; j < s->scales; j++) {
        const size_t h = shrunk(s->height, j), w = shrunk(s->width, j), around = 2 * (size_t)halo(s, j);
        r.comb = larger(r.comb, comb_of(s, j).size);
        r.first = larger(r.first, (h + around) * (w + around) * cs);
        r.second = j > 0 ? larger(r.second, h * w * L * cs) : r.second;
        r.row = larger(r.row, (w + 1) * (j > 0 ? L : 1) * cs);
    }
    r.row += L * cs; /* one pixel of sums */
    return r;
}

static uint64_t count_flops(const nn_scattering *s)
{
    const uint64_t L = s->angles, maps = n_maps(s);
    uint64_t n = 0;
    for (uint32_t k = 0; k < s->scales; k++) {
        const uint64_t pixels = (uint64_t)shrunk(s->height, k) * shrunk(s->width, k);
        for (uint32_t j = 0; j <= k; j++) { /* from scale j to k; j == 0 also from the image itself */
            const uint64_t r = radius_of(k - j, s->angles) + 1;
            const uint64_t each = pixels * r * r * (8 + 4 * L);
            n += (j == 0 ? maps * (uint64_t)(radius_of(k, s->angles) + 1) * (radius_of(k, s->angles) + 1) * pixels *
                               (8 + 4 * L)
                         : 0);
            n += j < k ? each * maps * L : 0;
        }
    }
    return n;
}

fl_code nn_scattering_init(nn_scattering *s, fl_err *err)
{
    const uint32_t J = s->scales, L = s->angles;
    if (J < 1 || J > NN_SCATTERING_MAX_SCALES)
        return fl_fail(err, FL_EFORMAT, "%u scales, expected 1 to %d", J, NN_SCATTERING_MAX_SCALES);
    if (L < 2 || L > NN_SCATTERING_MAX_ANGLES || L % 2 != 0)
        return fl_fail(err, FL_EFORMAT, "%u angles, expected an even number from 2 to %d", L, NN_SCATTERING_MAX_ANGLES);
    if (s->height < 2u << J || s->width < 2u << J || s->height > NN_SCATTERING_MAX_SIDE ||
        s->width > NN_SCATTERING_MAX_SIDE)
        return fl_fail(err, FL_EFORMAT, "%u scales need sides of %u to %d pixels", J, 2u << J, NN_SCATTERING_MAX_SIDE);
    s->out_channels = 1 + J * L + J * (J - 1) / 2 * L * L;
    s->out_height = shrunk(s->height, J);
    s->out_width = shrunk(s->width, J);
    if (s->groups > 0 && (s->mirror || s->scalewise))
        return fl_fail(err, FL_EFORMAT, "groups and %s exclude one another", s->mirror ? "mirror" : "scalewise");
    if (s->groups > 0 && s->out_channels % s->groups != 0)
        return fl_fail(err, FL_EFORMAT, "%u groups do not divide %u channels", s->groups, s->out_channels);
    s->n_out = (size_t)s->out_channels * s->out_height * s->out_width;
    const rooms r = rooms_of(s);
    s->n_scratch = r.image + r.comb + r.first + r.second + r.row + r.raw;
    s->flops = count_flops(s);
    return filters_make(J, L, err);
}

/* --- the transform --------------------------------------------------------------------------------------------- */

typedef struct work {
    const nn_scattering *s;
    const kernel *k;
    uint32_t cs; /* first_lanes */
    float *image, *comb, *first, *second, *row;
    float *raw[2]; /* of each map */
} work;

/* The pixel that stands at i, inside or outside 0 .. n - 1; n >= 2. */
static uint32_t mirrored(ptrdiff_t i, uint32_t n)
{
    const ptrdiff_t period = 2 * ((ptrdiff_t)n - 1);
    ptrdiff_t at = i % period;
    at = at < 0 ? at + period : at;
    return (uint32_t)(at < (ptrdiff_t)n ? at : period - at);
}

/* raw channels first, first + 1, ... of each map = in (h, w, ...) * phi. A pixel of `in` has n_groups times cs values, of
 * which each map has n: value i of map m and group g is at g * cs + m * n + i and goes to channel first + i * n_groups + g.
 * in's pixels are `pixel` floats apart, its rows `pitch`. */
typedef struct maps {
    const float *in;
    uint32_t scale, n_groups, cs, n;
    size_t pixel, pitch;
} maps;

static void low_pass(const work *k, const maps *m, uint32_t first)
{
    const nn_scattering *s = k->s;
    const uint32_t h = shrunk(s->height, m->scale), w = shrunk(s->width, m->scale), r = low_radius(s, m->scale);
    const ptrdiff_t step = (ptrdiff_t)1 << (s->scales - m->scale);
    const double sigma = 0.8 * pow(2, (double)s->scales - 1 - m->scale);
    const size_t values = (size_t)m->n_groups * m->cs;
    float g[2 * 128 + 1], *sums = k->row + w * values;
    double total = 0;
    assert(r <= 128);
    for (uint32_t i = 0; i <= 2 * r; i++)
        total += exp(-((double)i - r) * ((double)i - r) / (2 * sigma * sigma));
    for (uint32_t i = 0; i <= 2 * r; i++)
        g[i] = (float)(exp(-((double)i - r) * ((double)i - r) / (2 * sigma * sigma)) / total);
    for (uint32_t oy = 0; oy < s->out_height; oy++) {
        memset(k->row, 0, w * values * sizeof(float));
        for (uint32_t i = 0; i <= 2 * r; i++) {
            const float *row = m->in + mirrored(oy * step + i - (ptrdiff_t)r, h) * m->pitch;
            for (uint32_t x = 0; x < w; x++) {
                for (size_t c = 0; c < values; c++)
                    k->row[x * values + c] += g[i] * row[x * m->pixel + c];
            }
        }
        for (uint32_t ox = 0; ox < s->out_width; ox++) {
            memset(sums, 0, values * sizeof(float));
            for (uint32_t i = 0; i <= 2 * r; i++) {
                const float *pixel = k->row + mirrored(ox * step + i - (ptrdiff_t)r, w) * values;
                for (size_t c = 0; c < values; c++)
                    sums[c] += g[i] * pixel[c];
            }
            for (uint32_t map = 0; map < n_maps(s); map++) {
                for (uint32_t i = 0; i < m->n * m->n_groups; i++)
                    k->raw[map][((size_t)(first + i) * s->out_height + oy) * s->out_width + ox] =
                        sums[i % m->n_groups * m->cs + map * m->n + i / m->n_groups];
            }
        }
    }
}

/* |response| of every angle t from the kernel's sums (2 L, step): value i goes to out[t * angle + i * lane]. */
static void modulus(float *out, size_t angle, size_t lane, const float *acc, uint32_t step, uint32_t n, uint32_t L)
{
    const uint32_t n_pairs = L / 2 - 1;
    float size[MOST_LANES];
    for (uint32_t t = 0; t < L; t++) {
        const bool is_left = t > n_pairs, is_self = t == n_pairs || t == L - 1;
        const uint32_t pair = is_self ? n_pairs : (is_left ? t - n_pairs : n_pairs - t) - 1;
        const float *a = acc + 4 * pair * step, *b = a + step, *c = b + step, *d = c + step;
        if (t == n_pairs) {
            for (uint32_t i = 0; i < n; i++)
                size[i] = sqrtf(a[i] * a[i] + c[i] * c[i]);
        } else if (is_self) {
            for (uint32_t i = 0; i < n; i++)
                size[i] = sqrtf(b[i] * b[i] + d[i] * d[i]);
        } else if (is_left) {
            for (uint32_t i = 0; i < n; i++)
                size[i] = sqrtf((a[i] - b[i]) * (a[i] - b[i]) + (c[i] - d[i]) * (c[i] - d[i]));
        } else {
            for (uint32_t i = 0; i < n; i++)
                size[i] = sqrtf((a[i] + b[i]) * (a[i] + b[i]) + (c[i] + d[i]) * (c[i] + d[i]));
        }
        for (uint32_t i = 0; i < n; i++)
            out[t * angle + i * lane] = size[i];
    }
}

static void comb_fill(const work *k, const comb *c, const float *image, uint32_t r)
{
    const nn_scattering *s = k->s;
    memset(k->comb, 0, c->size * sizeof(float));
    for (uint32_t y = 0; y < s->height + 2 * r; y++) {
        const float *from = image + (size_t)mirrored((ptrdiff_t)y - r, s->height) * s->width;
        float *to = k->comb + (size_t)y * c->pitch;
        for (uint32_t x = c->margin - r; x < c->margin + s->width + r; x++)
            to[x % c->step * c->part + x / c->step] = from[mirrored((ptrdiff_t)x - c->margin, s->width)];
    }
}

/* k->first (h + 2 halo, w + 2 halo, cs), its middle: |x * psi[j, t]| of one map. A vector is so many pixels of a row. */
static void first_order(const work *k, uint32_t j, uint32_t map)
{
    const nn_scattering *s = k->s;
    const uint32_t h = shrunk(s->height, j), w = shrunk(s->width, j), L = s->angles, edge = halo(s, j);
    const filter *f = filter_of(j, L);
    const comb c = comb_of(s, j);
    const uint32_t step = w > 8 ? k->k->step_16 : k->k->step_8;
    const convolve run = w > 8 ? k->k->by_16 : k->k->by_8;
    float acc[2 * NN_SCATTERING_MAX_ANGLES * MOST_LANES];
    ptrdiff_t at[2 * MOST_RADIUS + 1], *cols = at + f->radius;
    comb_fill(k, &c, k->image + (size_t)map * s->height * s->width, f->radius);
    for (ptrdiff_t x = -(ptrdiff_t)f->radius; x <= (ptrdiff_t)f->radius; x++)
        cols[x] = (c.margin + x) % c.step * c.part + (c.margin + x) / c.step;
    for (uint32_t y = 0; y < h; y++) {
        for (uint32_t x = 0; x < w; x += step) {
            const uint32_t n = w - x < step ? w - x : step;
            float *out = k->first + ((size_t)(y + edge) * (w + 2 * edge) + x + edge) * k->cs + map * L;
            run(acc, k->comb + (size_t)(y * c.step + f->radius) * c.pitch + x, c.pitch, cols, f);
            modulus(out, 1, k->cs, acc, step, n, L);
        }
    }
}

/* The border of k->first. */
static void extend(const work *k, uint32_t j)
{
    const uint32_t h = shrunk(k->s->height, j), w = shrunk(k->s->width, j), edge = halo(k->s, j);
    const size_t pitch = (size_t)(w + 2 * edge) * k->cs, pixel = k->cs * sizeof(float);
    for (uint32_t y = 0; y < h; y++) {
        float *row = k->first + (y + edge) * pitch;
        for (uint32_t x = 0; x < edge; x++) {
            const size_t right = (size_t)edge + w + x;
            memcpy(row + x * k->cs, row + (edge + mirrored((ptrdiff_t)x - edge, w)) * k->cs, pixel);
            memcpy(row + right * k->cs, row + (edge + mirrored((ptrdiff_t)w + x, w)) * k->cs, pixel);
        }
    }
    for (uint32_t y = 0; y < edge; y++) {
        const size_t below = edge + h + y;
        memcpy(k->first + y * pitch, k->first + (edge + mirrored((ptrdiff_t)y - edge, h)) * pitch,
               pitch * sizeof(float));
        memcpy(k->first + below * pitch, k->first + (edge + mirrored((ptrdiff_t)h + y, h)) * pitch,
               pitch * sizeof(float));
    }
}

/* k->second (h, w, L, cs) = ||x * psi[j, t]| * psi[to, u]|, from k->first. A vector is maps and angles of one pixel. */
static void second_order(const work *k, uint32_t j, uint32_t to)
{
    const nn_scattering *s = k->s;
    const uint32_t h = shrunk(s->height, to), w = shrunk(s->width, to), L = s->angles, edge = halo(s, j);
    const size_t pitch = (size_t)(shrunk(s->width, j) + 2 * edge) * k->cs;
    const filter *f = filter_of(to - j, L);
    const bool is_wide = k->cs % 16 == 0;
    const uint32_t step = is_wide ? k->k->step_16 : k->k->step_8;
    const convolve run = is_wide ? k->k->by_16 : k->k->by_8;
    float acc[2 * NN_SCATTERING_MAX_ANGLES * MOST_LANES];
    ptrdiff_t at[2 * MOST_RADIUS + 1], *cols = at + f->radius;
    for (ptrdiff_t x = -(ptrdiff_t)f->radius; x <= (ptrdiff_t)f->radius; x++)
        cols[x] = x * (ptrdiff_t)k->cs;
    for (uint32_t y = 0; y < h; y++) {
        for (uint32_t x = 0; x < w; x++) {
            const float *middle = k->first + (edge + ((size_t)y << (to - j))) * pitch +
                                  (edge + ((size_t)x << (to - j))) * k->cs;
            float *out = k->second + ((size_t)y * w + x) * L * k->cs;
            for (uint32_t lane = 0; lane < k->cs; lane += step) {
                run(acc, middle + lane, (ptrdiff_t)pitch, cols, f);
                modulus(out + lane, k->cs, 1, acc, step, step, L);
            }
        }
    }
}

static void transform(const work *k)
{
    const nn_scattering *s = k->s;
    const uint32_t J = s->scales, L = s->angles;
    const size_t image = (size_t)s->height * s->width;
    for (uint32_t map = 0; map < n_maps(s); map++) {
        work one = *k;
        nn_scattering plain = *s;
        plain.mirror = false;
        one.s = &plain;
        one.raw[0] = k->raw[map];
        low_pass(&one, &(maps){k->image + map * image, 0, 1, 1, 1, 1, s->width}, 0);
    }
    uint32_t at = 1 + J * L;
    for (uint32_t j = 0; j < J; j++) {
        const uint32_t edge = halo(s, j), w = shrunk(s->width, j) + 2 * edge, h = shrunk(s->height, j) + 2 * edge;
        const size_t pitch = (size_t)w * k->cs;
        memset(k->first, 0, h * pitch * sizeof(float)); /* lanes that no map has */
        for (uint32_t map = 0; map < n_maps(s); map++)
            first_order(k, j, map);
        extend(k, j);
        low_pass(k, &(maps){k->first + edge * pitch + (size_t)edge * k->cs, j, 1, k->cs, L, k->cs, pitch}, 1 + j * L);
        for (uint32_t to = j + 1; to < J; to++, at += L * L) {
            second_order(k, j, to);
            const size_t pixel = (size_t)L * k->cs;
            low_pass(k, &(maps){k->second, to, L, k->cs, L, pixel, shrunk(s->width, to) * pixel}, at);
        }
    }
}

static work work_on(const nn_scattering *s, float *scratch)
{
    const rooms r = rooms_of(s);
    work k = {.s = s, .k = kernel_now(), .cs = first_lanes(s)};
    k.image = scratch;
    k.comb = k.image + r.image;
    k.first = k.comb + r.comb;
    k.second = k.first + r.first;
    k.row = k.second + r.second;
    k.raw[0] = k.row + r.row;
    k.raw[1] = k.raw[0] + s->n_out;
    return k;
}

void nn_scattering_raw(const nn_scattering *s, float *raw, float *scratch, const float *x)
{
    nn_scattering plain = *s;
    plain.mirror = false;
    work k = work_on(&plain, scratch);
    memcpy(k.image, x, (size_t)s->height * s->width * sizeof(float));
    k.raw[0] = raw;
    transform(&k);
}

/* --- features -------------------------------------------------------------------------------------------------- */

static double mean_of(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

static double squares_around(const float *x, size_t n, double middle)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - middle) * (x[i] - middle);
    return sum;
}

static void standardise(float *x, size_t n)
{
    const double mean = mean_of(x, n), scale = 1 / (sqrt(squares_around(x, n, mean) / (double)(n - 1)) + 0.05);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((x[i] - mean) * scale);
}

/* x (n values, in groups of `each`): every group to mean 0 and variance 1. */
static void normalise(float *x, size_t n, size_t each)
{
    for (float *at = x; at < x + n; at += each) {
        const double mean = mean_of(at, each), scale = 1 / sqrt(squares_around(at, each, mean) / (double)each + 1e-5);
        for (size_t i = 0; i < each; i++)
            at[i] = (float)((at[i] - mean) * scale);
    }
}

/* S0, each j of S1 and each (j, k) of S2 to mean 0. */
static void centre_scales(const nn_scattering *s, float *x)
{
    const size_t each = (size_t)s->out_height * s->out_width, L = s->angles;
    for (size_t at = 0, n = 1; at < s->out_channels; at += n) {
        n = at == 0 ? 1 : (at <= (s->scales - 1) * L + 1 ? L : L * L);
        const double mean = mean_of(x + at * each, n * each);
        for (size_t i = at * each; i < (at + n) * each; i++)
            x[i] = (float)(x[i] - mean);
    }
}

void nn_scattering_features(const nn_scattering *s, float *out, float *scratch, const float *image)
{
    const size_t n = (size_t)s->height * s->width, each = (size_t)s->out_height * s->out_width;
    work k = work_on(s, scratch);
    for (size_t i = 0; i < n; i++)
        k.image[i] = (image[i] + 1) / 2;
    if (s->groups == 0)
        standardise(k.image, n);
    for (size_t i = 0; s->mirror && i < n; i++)
        k.image[n + i] = k.image[i / s->width * s->width + s->width - 1 - i % s->width];
    transform(&k);
    for (uint32_t map = 0; map < n_maps(s); map++) {
        for (size_t i = each; s->groups == 0 && i < s->n_out; i++)
            k.raw[map][i] = logf(k.raw[map][i] + 0.01f);
        if (s->scalewise)
            centre_scales(s, k.raw[map]);
        else
            normalise(k.raw[map], s->n_out, s->groups ? s->n_out / s->groups : each);
    }
    double squares = 0;
    for (size_t i = 0; i < s->n_out; i++) {
        out[i] = s->mirror ? k.raw[0][i] + k.raw[1][i] : k.raw[0][i];
        squares += (double)out[i] * out[i];
    }
    const double scale = 1 / fmax(sqrt(squares), 1e-6);
    for (size_t i = 0; i < s->n_out; i++)
        out[i] = (float)(out[i] * scale);
}
