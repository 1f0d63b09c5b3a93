/* Convolutions of every shape against sums in double; pieces, tiles and neighbours against the whole, bit for bit. */
#include "base/rng.h"
#include "privacy/clip.h"
#include "train/convolution.h"
#include "train/kernels.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { IMAGES = 3 };

static const nn_conv_shape shapes[] = {
    /* C, H, W, out, kernel, stride, pad, groups, bias */
    {1, 9, 11, 32, 3, 3, 1, 1, 1, false},  {3, 8, 8, 16, 3, 3, 1, 1, 1, true},
    {1, 17, 15, 20, 7, 7, 2, 3, 1, false}, {32, 9, 7, 64, 3, 3, 2, 1, 1, false},
    {64, 6, 6, 70, 3, 3, 1, 1, 1, true},   {17, 5, 6, 9, 2, 5, 3, 2, 1, true},
    {64, 5, 5, 130, 1, 1, 2, 0, 1, false}, {16, 4, 4, 33, 1, 1, 1, 0, 1, true},
    {12, 7, 3, 24, 3, 1, 1, 1, 1, false},  {5, 8, 8, 7, 8, 8, 1, 4, 1, true},
    {70, 2, 2, 70, 3, 3, 1, 1, 1, false},  {128, 3, 3, 48, 3, 3, 2, 1, 1, true},
    {24, 6, 5, 36, 3, 3, 1, 1, 4, true},   {18, 5, 5, 18, 3, 3, 2, 1, 18, false},
    {32, 5, 5, 64, 5, 3, 1, 2, 2, true},   {64, 4, 3, 10, 4, 3, 1, 0, 1, true},
    {2, 1, 1, 5, 1, 1, 1, 0, 1, true},     {300, 1, 1, 3, 1, 1, 1, 0, 1, true},
    {3, 6, 200, 4, 1, 2, 1, 0, 1, false},  {7, 4, 4, 9, 3, 3, 3, 0, 1, true},
    {8, 13, 13, 8, 3, 3, 3, 2, 1, false},  {64, 3, 3, 256, 3, 3, 1, 1, 1, false},
    {20, 4, 4, 16, 1, 3, 1, 1, 1, true},   {1, 28, 28, 6, 28, 28, 1, 0, 1, true},
    {40, 6, 7, 40, 3, 3, 1, 1, 40, true},  {130, 4, 5, 130, 5, 3, 1, 2, 130, false},
    {5, 7, 6, 5, 3, 3, 2, 1, 5, true},     {96, 9, 9, 96, 3, 3, 2, 1, 96, false},
    {16, 40, 9, 16, 7, 2, 3, 1, 16, true}, {8, 1, 6, 8, 1, 3, 1, 1, 8, true},
    {16, 6, 6, 32, 1, 1, 2, 0, 1, false},  {16, 5, 5, 16, 2, 2, 3, 0, 1, true},
    {20, 4, 4, 16, 3, 3, 2, 0, 1, false},
};

/* A map in a block that ends where its halo ends: the address sanitizer sees every step outside. */
typedef struct block {
    nn_map map;
    float *memory;
    size_t size;
} block;

static block map_of(uint32_t C, uint32_t H, uint32_t W, nn_halo halo)
{
    block b = {.map = {.C = C, .H = H, .W = W, .cs = nn_map_channels(C)}};
    b.map.row = (size_t)(halo.left + W + halo.right) * b.map.cs;
    b.map.image = (halo.top + H + halo.bottom) * b.map.row;
    b.size = IMAGES * b.map.image;
    b.memory = calloc(b.size, sizeof *b.memory);
    assert_non_null(b.memory);
    b.map.at = b.memory + halo.top * b.map.row + (size_t)halo.left * b.map.cs;
    return b;
}

static float *value(const nn_map *m, size_t n, size_t c, size_t h, size_t w)
{
    return m->at + n * m->image + h * m->row + w * m->cs + c;
}

static void fill_map(const nn_map *m, fl_rng *rng)
{
    for (size_t n = 0; n < IMAGES; n++) {
        for (size_t c = 0; c < m->C; c++) {
            for (size_t h = 0; h < m->H; h++) {
                for (size_t w = 0; w < m->W; w++)
                    *value(m, n, c, h, w) = (float)fl_rng_normal(rng);
            }
        }
    }
}

/* What an earlier block left there. */
static void soil(const nn_map *m)
{
    for (size_t n = 0; n < IMAGES; n++) {
        for (size_t h = 0; h < m->H; h++) {
            for (size_t w = 0; w < m->W; w++) {
                for (size_t c = 0; c < m->C; c++)
                    *value(m, n, c, h, w) = NAN;
            }
        }
    }
}

static float *floats(size_t n)
{
    float *p = calloc(n > 0 ? n : 1, sizeof *p);
    assert_non_null(p);
    return p;
}

/* One shape with random contents. */
typedef struct world {
    nn_convolution c;
    block x, y, dx, dy;
    float *flat, *packed, *transposed, *dw, *scratch;
} world;

static world make(const nn_conv_shape *shape, uint64_t seed)
{
    fl_rng rng;
    fl_rng_init(&rng, seed, 1);
    const nn_halo none = {0};
    world w = {.c = nn_conv_plan(shape)};
    w.x = map_of(shape->C, shape->H, shape->W, w.c.x_halo);
    w.dx = map_of(shape->C, shape->H, shape->W, none);
    w.y = map_of(shape->out, w.c.out_h, w.c.out_w, none);
    w.dy = map_of(shape->out, w.c.out_h, w.c.out_w, w.c.dy_halo);
    w.flat = floats(w.c.n_flat);
    w.packed = floats(w.c.n_packed);
    w.transposed = floats(w.c.n_transposed);
    w.dw = floats(w.c.n_packed);
    w.scratch = floats(w.c.n_scratch);
    fill_map(&w.x.map, &rng);
    fill_map(&w.dy.map, &rng);
    for (size_t i = 0; i < w.c.n_flat; i++)
        w.flat[i] = (float)fl_rng_normal(&rng);
    for (uint32_t piece = 0; piece < 3; piece++)
        nn_conv_pack(&w.c, w.packed, w.transposed, w.flat, piece, 3);
    return w;
}

static void clear(world *w)
{
    free(w->x.memory), free(w->y.memory), free(w->dx.memory), free(w->dy.memory);
    free(w->flat), free(w->packed), free(w->transposed), free(w->dw), free(w->scratch);
}

static const char *const names[] = {"avx512", "avx2", "portable"};

static void with_every_set(void (*check)(const nn_conv_shape *))
{
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        const nn_kernels *set = nn_kernels_named(names[k]);
        nn_kernels_use(set);
        for (size_t i = 0; set && i < sizeof shapes / sizeof shapes[0]; i++)
            check(&shapes[i]);
    }
    nn_kernels_use(NULL);
}

/* a against sum b, where magnitude is the sum of the terms' absolute values */
static void assert_near(double a, double b, double magnitude)
{
    if (!(fabs(a - b) <= 2e-6 * (magnitude + 1)))
        fail_msg("%.9g is not %.9g", a, b);
}

typedef struct sums {
    double *y, *dx, *dw; /* CHW of each image, CHW, flat; then the magnitudes */
    double *y_size, *dx_size, *dw_size;
} sums;

/* Everything by the definition. */
static sums reference(const world *w)
{
    const nn_conv_shape *s = &w->c.shape;
    const size_t ny = (size_t)IMAGES * s->out * w->c.out_h * w->c.out_w, nx = (size_t)IMAGES * s->C * s->H * s->W;
    sums r = {calloc(ny, 8), calloc(nx, 8), calloc(w->c.n_flat, 8),
              calloc(ny, 8), calloc(nx, 8), calloc(w->c.n_flat, 8)};
    size_t in = s->C / s->groups, each = s->out / s->groups, bias = (size_t)s->out * in * s->kernel_h * s->kernel_w,
           at = 0;
    for (size_t n = 0; n < IMAGES; n++)
        for (size_t o = 0; o < s->out; o++)
            for (size_t i = 0; i < w->c.out_h; i++)
                for (size_t j = 0; j < w->c.out_w; j++, at++) {
                    double d = *value(&w->dy.map, n, o, i, j);
                    if (s->has_bias) {
                        r.y[at] += w->flat[bias + o], r.y_size[at] += fabs(w->flat[bias + o]);
                        r.dw[bias + o] += d, r.dw_size[bias + o] += fabs(d);
                    }
                    for (size_t c = 0; c < in; c++)
                        for (size_t u = 0; u < s->kernel_h; u++)
                            for (size_t v = 0; v < s->kernel_w; v++) {
                                size_t h = i * s->stride + u - s->pad, q = j * s->stride + v - s->pad;
                                if (h >= s->H || q >= s->W)
                                    continue; /* also below zero */
                                size_t channel = o / each * in + c;
                                size_t k = ((o * in + c) * s->kernel_h + u) * s->kernel_w + v;
                                size_t xi = ((n * s->C + channel) * s->H + h) * s->W + q;
                                double x = *value(&w->x.map, n, channel, h, q), f = w->flat[k];
                                r.y[at] += f * x, r.y_size[at] += fabs(f * x);
                                r.dx[xi] += f * d, r.dx_size[xi] += fabs(f * d);
                                r.dw[k] += x * d, r.dw_size[k] += fabs(x * d);
                            }
                }
    return r;
}

static void sums_clear(sums *r)
{
    free(r->y), free(r->dx), free(r->dw), free(r->y_size), free(r->dx_size), free(r->dw_size);
}

static void compare_map(const nn_map *m, const double *expected, const double *size)
{
    for (size_t n = 0; n < IMAGES; n++)
        for (size_t c = 0; c < m->C; c++)
            for (size_t h = 0; h < m->H; h++)
                for (size_t w = 0; w < m->W; w++)
                    assert_near(*value(m, n, c, h, w), *expected++, *size++);
}

static void check_values(const nn_conv_shape *shape)
{
    world w = make(shape, 1);
    sums r = reference(&w);
    soil(&w.y.map);
    soil(&w.dx.map);
    nn_conv_forward(&w.c, &w.y.map, &w.x.map, w.packed, IMAGES);
    compare_map(&w.y.map, r.y, r.y_size);
    nn_conv_input_gradient(&w.c, &w.dx.map, &w.dy.map, w.transposed, IMAGES, false);
    compare_map(&w.dx.map, r.dx, r.dx_size);
    nn_conv_input_gradient(&w.c, &w.dx.map, &w.dy.map, w.transposed, IMAGES, true);
    for (size_t i = 0; i < (size_t)IMAGES * shape->C * shape->H * shape->W; i++)
        r.dx[i] *= 2;
    compare_map(&w.dx.map, r.dx, r.dx_size);
    nn_conv_weight_gradient(&w.c, w.dw, &w.x.map, &w.dy.map, 0, IMAGES, false, false);
    float *flat = floats(w.c.n_flat);
    nn_conv_unpack(&w.c, flat, w.dw);
    for (size_t i = 0; i < w.c.n_flat; i++)
        assert_near(flat[i], r.dw[i], r.dw_size[i]);
    free(flat);
    sums_clear(&r);
    clear(&w);
}

static void values_are_those_of_the_definition(void **state)
{
    (void)state;
    with_every_set(check_values);
}

/* Image 1 alone has the bits it has among others, and others may be NaN. */
static void check_alone(const nn_conv_shape *shape)
{
    world w = make(shape, 2), v = make(shape, 2);
    nn_conv_forward(&w.c, &w.y.map, &w.x.map, w.packed, IMAGES);
    nn_conv_input_gradient(&w.c, &w.dx.map, &w.dy.map, w.transposed, IMAGES, false);
    nn_map y = v.y.map, x = v.x.map, dx = v.dx.map, dy = v.dy.map;
    for (size_t c = 0; c < shape->C; c++)
        *value(&v.x.map, 0, c, 0, 0) = *value(&v.x.map, 2, c, shape->H - 1, shape->W - 1) = NAN;
    for (size_t c = 0; c < shape->out; c++)
        *value(&v.dy.map, 0, c, 0, 0) = *value(&v.dy.map, 2, c, v.c.out_h - 1, v.c.out_w - 1) = NAN;
    nn_conv_forward(&v.c, &y, &x, v.packed, IMAGES);
    nn_conv_input_gradient(&v.c, &dx, &dy, v.transposed, IMAGES, false);
    assert_memory_equal(w.y.memory + y.image, v.y.memory + y.image, y.image * sizeof(float));
    assert_memory_equal(w.dx.memory + dx.image, v.dx.memory + dx.image, dx.image * sizeof(float));
    y.at += y.image, x.at += x.image, dx.at += dx.image, dy.at += dy.image;
    nn_conv_forward(&v.c, &y, &x, v.packed, 1);
    nn_conv_input_gradient(&v.c, &dx, &dy, v.transposed, 1, false);
    assert_memory_equal(w.y.memory + y.image, v.y.memory + y.image, y.image * sizeof(float));
    assert_memory_equal(w.dx.memory + dx.image, v.dx.memory + dx.image, dx.image * sizeof(float));
    clear(&w);
    clear(&v);
}

static void an_image_has_the_same_bits_alone_and_among_others(void **state)
{
    (void)state;
    with_every_set(check_alone);
}

static void check_tiles(const nn_conv_shape *shape)
{
    world w = make(shape, 3);
    float *whole = floats(w.c.n_packed);
    assert_true(nn_conv_weight_gradient(&w.c, w.dw, &w.x.map, &w.dy.map, 0, 1, false, false) == 0);
    double in_pieces = nn_conv_weight_gradient(&w.c, w.dw, &w.x.map, &w.dy.map, 1, IMAGES - 1, true, true);
    double at_once = nn_conv_weight_gradient(&w.c, whole, &w.x.map, &w.dy.map, 0, IMAGES, false, true);
    assert_memory_equal(w.dw, whole, w.c.n_packed * sizeof *whole);

    double expected = nn_packed_sum_squares(whole, w.c.n_packed);
    assert_true(in_pieces == expected && at_once == expected);
    assert_true(nn_conv_sum_squares(&w.c, &w.x.map, &w.dy.map, 0, IMAGES, w.scratch) == expected);

    nn_conv_patient patients[] = {{0, 2, 1000, 0}, {2, 1, 0, 0}, {2, 1, 77.7f, 0}, {0, 1, 3e9f, 0}};
    const size_t n = sizeof patients / sizeof patients[0];
    int32_t *sum = calloc(w.c.n_packed, sizeof *sum), *slow = calloc(w.c.n_packed, sizeof *slow);
    int32_t *z = calloc(w.c.n_packed, sizeof *z);
    assert_true(sum && slow && z);
    nn_conv_clip_sum(&w.c, sum, patients, n, &w.x.map, &w.dy.map, w.scratch);
    for (size_t p = 0; p < n; p++) {
        nn_conv_weight_gradient(&w.c, whole, &w.x.map, &w.dy.map, patients[p].first, patients[p].n, false, false);
        dp_clip_piece(z, whole, w.c.n_packed, patients[p].scale);
        dp_sum_add(slow, z, w.c.n_packed);
        assert_true(patients[p].square == dp_grid_sqnorm(z, w.c.n_packed));
    }
    assert_memory_equal(sum, slow, w.c.n_packed * sizeof *sum);
    free(sum), free(slow), free(z), free(whole);
    clear(&w);
}

static void tiles_and_continued_chains_give_the_bits_of_the_whole(void **state)
{
    (void)state;
    with_every_set(check_tiles);
}

/* Everything a shape gives, with one set. */
static world compute(const nn_conv_shape *shape, const nn_kernels *set)
{
    world w = make(shape, 5);
    nn_kernels_use(set);
    nn_conv_forward(&w.c, &w.y.map, &w.x.map, w.packed, IMAGES);
    nn_conv_input_gradient(&w.c, &w.dx.map, &w.dy.map, w.transposed, IMAGES, false);
    nn_conv_weight_gradient(&w.c, w.dw, &w.x.map, &w.dy.map, 0, IMAGES, false, false);
    nn_kernels_use(NULL);
    return w;
}

static void avx512_and_avx2_give_equal_bits(void **state)
{
    (void)state;
    const nn_kernels *wide = nn_kernels_named("avx512"), *narrow = nn_kernels_named("avx2");
    for (size_t i = 0; wide && narrow && i < sizeof shapes / sizeof shapes[0]; i++) {
        world a = compute(&shapes[i], wide), b = compute(&shapes[i], narrow);
        assert_memory_equal(a.y.memory, b.y.memory, a.y.size * sizeof(float));
        assert_memory_equal(a.dx.memory, b.dx.memory, a.dx.size * sizeof(float));
        assert_memory_equal(a.dw, b.dw, a.c.n_packed * sizeof(float));
        assert_true(nn_packed_sum_squares(a.dw, a.c.n_packed) == nn_packed_sum_squares(b.dw, b.c.n_packed));
        clear(&a);
        clear(&b);
    }
}

static void multiply_one_row_less(const nn_product *p)
{
    nn_product shorter = *p;
    shorter.n_rows -= p->n_rows > 20;
    nn_kernels_named("portable")->multiply(&shorter);
}

static void multiply_in_another_order(const nn_product *p)
{
    const ptrdiff_t x_run = p->x_run[0] + ((ptrdiff_t)p->length - 1) * p->x_step,
                    w_run = p->w_run[0] + ((ptrdiff_t)p->length - 1) * p->w_step;
    nn_product backwards = *p;
    backwards.x_step = -p->x_step, backwards.w_step = -p->w_step;
    backwards.x_run = &x_run, backwards.w_run = &w_run;
    nn_kernels_named("portable")->multiply(&backwards);
}

/* As tall tiles may: few rows, and short chains, are right. */
static void multiply_many_rows_in_another_order(const nn_product *p)
{
    if (p->n_rows >= 12 && p->n_runs * p->length > 32)
        multiply_in_another_order(p);
    else
        nn_kernels_named("portable")->multiply(p);
}

static void a_set_that_errs_fails_its_test(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
        assert_true(!nn_kernels_named(names[k]) || nn_kernels_self_test(nn_kernels_named(names[k])));
    nn_kernels bad = *nn_kernels_named("portable");
    bad.multiply = multiply_one_row_less;
    assert_false(nn_kernels_self_test(&bad));
    bad = *nn_kernels_named("portable");
    bad.multiply_each = bad.multiply;
    assert_false(nn_kernels_self_test(&bad));
    bad.multiply = multiply_in_another_order;
    assert_false(nn_kernels_self_test(&bad));
    bad = *nn_kernels_named("portable");
    bad.multiply = multiply_many_rows_in_another_order;
    assert_false(nn_kernels_self_test(&bad));
}

static void the_ghost_norm_is_that_of_the_gradient(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        world w = make(&shapes[i], 6);
        double square = nn_conv_sum_squares(&w.c, &w.x.map, &w.dy.map, 1, 2, w.scratch);
        double ghost = nn_conv_ghost_squares(&w.c, &w.x.map, &w.dy.map, 1, 2);
        if (!(fabs(ghost - square) <= 1e-6 * square))
            fail_msg("shape %zu: %.12g is not %.12g", i, ghost, square);
        clear(&w);
    }
}

static void put_in_flat(void *to, size_t at, const int32_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((int64_t *)to)[at + i] += values[i]; /* twice would show */
}

/* The sums of three places, the layer's part of them 16 values from the start. */
static void check_collection(const world *w)
{
    enum { PLACES = 3, BEFORE = 16 };
    int32_t *of[PLACES];
    const size_t n = BEFORE + w->c.n_packed + 16;
    int64_t *flat = calloc(7 + w->c.n_flat, sizeof *flat);
    assert_non_null(flat);
    for (int i = 0; i < PLACES; i++) {
        of[i] = calloc(n, sizeof **of);
        assert_non_null(of[i]);
        for (size_t j = 0; j < w->c.n_packed; j++)
            of[i][BEFORE + j] = (int32_t)(w->packed[j] * 1e6f) * (i + 1);
        of[i][BEFORE - 1] = of[i][n - 16] = 42;
    }
    static int32_t scratch[NN_COLLECT_SCRATCH];
    const nn_collection job = {of, PLACES, put_in_flat, flat};
    for (uint32_t piece = 0; piece < 5; piece++)
        nn_conv_collect(&w->c, &job, scratch, BEFORE, 7, piece, 5);
    for (size_t j = 0; j < w->c.n_flat; j++)
        assert_true(flat[7 + j] == 6 * (int64_t)(int32_t)(w->flat[j] * 1e6f));
    for (int i = 0; i < PLACES; i++) {
        assert_true(of[i][BEFORE - 1] == 42 && of[i][n - 16] == 42);
        for (size_t j = 0; j < w->c.n_packed; j++)
            assert_int_equal(of[i][BEFORE + j], 0);
        free(of[i]);
    }
    free(flat);
}

static void packing_back_gives_the_flat_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        world w = make(&shapes[i], 4);
        float *flat = floats(w.c.n_flat);
        nn_conv_unpack(&w.c, flat, w.packed);
        assert_memory_equal(flat, w.flat, w.c.n_flat * sizeof *flat);
        check_collection(&w);
        free(flat);
        clear(&w);
    }
}

/* Gradients whose z lies where a set changes its way of computing it: small squares, 16 bits, the float's digits, int32. The
 * others around it are of any size below. Sums and squares are those of privacy/clip.h. */
static void clips_are_those_of_the_definition_whatever_their_size(void **state)
{
    enum { N = 4096 + 48 };
    static const double edges[] = {1, 5792, 5793, 8191, 8192, 32767, 32768, 0x1p24, 0x1p26, 0x1p31, 0x1p40, NAN};
    static const char *const set_names[] = {"avx512", "avx2", "portable"};
    float *g = floats(N);
    int32_t *sum = calloc(N, sizeof *sum), *slow = calloc(N, sizeof *slow), *z = calloc(N, sizeof *z);
    fl_rng r;
    (void)state;
    assert_true(sum && slow && z);
    fl_rng_init(&r, 31, 0);
    for (int round = 0; round < 2000; round++) {
        const nn_kernels *set = nn_kernels_named(set_names[round % 3]);
        const double edge = edges[fl_rng_below(&r, sizeof edges / sizeof edges[0])];
        const float scale = (float)exp(20 * fl_rng_uniform(&r) - 5);
        const size_t n = round % 5 ? 16 * (1 + fl_rng_below(&r, 9)) : N - 16 * fl_rng_below(&r, 5);
        if (!set)
            continue;
        for (size_t i = 0; i < n; i++) {
            const double most = i % 3 || isnan(edge) ? 50 : edge;
            g[i] = (float)(most * (2 * fl_rng_uniform(&r) - 1) / (double)scale);
            slow[i] = sum[i] = (int32_t)(fl_rng_u64(&r));
        }
        g[fl_rng_below(&r, n)] = (float)((round % 2 ? edge : -edge) / (double)scale);
        for (size_t i = 0; i < 4; i++) /* and right beside a whole number */
            g[fl_rng_below(&r, n)] = nextafterf((float)((double)(fl_rng_below(&r, 3000) + 1) / (double)scale),
                                                i % 2 ? 0 : 1e9f);
        dp_clip_piece(z, g, n, scale);
        dp_sum_add(slow, z, n);
        assert_true(set->clip(sum, g, n, scale) == dp_grid_sqnorm(z, n));
        assert_memory_equal(sum, slow, n * sizeof *sum);
    }
    free(g), free(sum), free(slow), free(z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_the_definition),
        cmocka_unit_test(an_image_has_the_same_bits_alone_and_among_others),
        cmocka_unit_test(tiles_and_continued_chains_give_the_bits_of_the_whole),
        cmocka_unit_test(avx512_and_avx2_give_equal_bits),
        cmocka_unit_test(a_set_that_errs_fails_its_test),
        cmocka_unit_test(the_ghost_norm_is_that_of_the_gradient),
        cmocka_unit_test(packing_back_gives_the_flat_order),
        cmocka_unit_test(clips_are_those_of_the_definition_whatever_their_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
