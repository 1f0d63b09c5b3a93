/* Each kind of layer by itself, through views as the engine calls it: slopes by finite differences, the memory around an
 * image, calls in place, broken images, and the same bits from every set of loops. Values are test_reference's. */
#include "base/rng.h"
#include "train/rows.h"
#include "train/spec.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX   200000
#define HALO  3
#define GUARD 12345.0f

/* The layer under test of a text, and its shape of input. */
typedef struct layer_case {
    const char *text;
    uint32_t index, C, H, W;
} layer_case;

static const layer_case cases[] = {
    {"relu", 0, 3, 5, 7},
    {"relu", 0, 20, 3, 2},
    {"tanh", 0, 1, 1, 1},
    {"tanh", 0, 20, 3, 2},
    {"silu", 0, 3, 4, 5},
    {"silu", 0, 17, 2, 3},
    {"groupnorm 1", 0, 1, 6, 5},
    {"groupnorm 3", 0, 3, 5, 4},
    {"groupnorm 4", 0, 20, 3, 5},
    {"groupnorm 2", 0, 32, 4, 3},
    {"maxpool 2", 0, 3, 6, 5},
    {"maxpool 3x2 stride 2", 0, 20, 7, 6},
    {"maxpool 3 stride 2 pad 1", 0, 16, 6, 7},
    {"maxpool 3 stride 1 pad 1", 0, 1, 4, 4},
    {"avgpool 2", 0, 3, 6, 5},
    {"avgpool 3 stride 2 pad 1", 0, 20, 6, 7},
    {"avgpool 2x4 stride 3 pad 1", 0, 2, 7, 9},
    {"globalpool", 0, 20, 5, 3},
    {"globalpool", 0, 3, 1, 1},
    {"flatten", 0, 20, 3, 2},
    {"dropout 0.4", 0, 20, 3, 2},
    {"centre", 0, 20, 3, 2},
    {"centre", 0, 3, 2, 2},
    {"unit", 0, 20, 3, 2},
    {"unit", 0, 100, 1, 1},
    {"tanh\nadd image", 1, 3, 5, 4},
    {"tanh\nadd image", 1, 20, 3, 2},
    {"tanh\nconcat image", 1, 3, 5, 4},
    {"tanh\nconcat image", 1, 20, 3, 2},
};
#define N_CASES (sizeof cases / sizeof cases[0])

/* --- one layer in memory of its own ---------------------------------------------------------------------------- */

typedef struct bench {
    nn_spec spec;
    const nn_layer *layer;
    float *memory, *w, *dw;
    size_t used;
    nn_pass pass;
    nn_map r; /* the loss is the sum of y r */
} bench;

/* A map with a halo that nobody may touch. */
static nn_map make_map(bench *b, nn_shape s)
{
    nn_map m = {.C = s.C, .H = s.H, .W = s.W, .cs = nn_map_channels(s.C)};
    m.row = (size_t)(s.W + 2 * HALO) * m.cs;
    m.image = (s.H + 2 * HALO) * m.row;
    assert_true(b->used + m.image + 16 <= MAX);
    m.at = b->memory + b->used + HALO * m.row + (size_t)HALO * m.cs;
    for (size_t i = 0; i < m.image; i++)
        b->memory[b->used + i] = GUARD;
    b->used += (m.image + 15) / 16 * 16;
    nn_map_clear(&m);
    return m;
}

static void expect_guarded(const nn_map *m)
{
    const float *from = m->at - HALO * m->row - (size_t)HALO * m->cs;
    for (uint32_t i = 0; i < m->H + 2 * HALO; i++) {
        for (uint32_t j = 0; j < m->W + 2 * HALO; j++) {
            bool is_inside = i >= HALO && i < m->H + HALO && j >= HALO && j < m->W + HALO;
            for (uint32_t c = 0; !is_inside && c < m->cs; c++)
                assert_true(from[i * m->row + (size_t)j * m->cs + c] == GUARD);
        }
    }
}

/* Value k of a map, in the order of (C, H, W). */
static float *value_of(const nn_map *m, size_t k)
{
    return nn_map_pixel(m, (uint32_t)(k / m->W % m->H), (uint32_t)(k % m->W)) + k / ((size_t)m->W * m->H);
}

static size_t n_values(const nn_map *m)
{
    return (size_t)m->C * m->H * m->W;
}

/* Values far from each other and from zero, so that no kink is near. */
static void fill_apart(const nn_map *m, uint64_t seed)
{
    fl_rng rng;
    size_t n = n_values(m);
    uint32_t *order = calloc(n, sizeof *order);
    fl_rng_init(&rng, seed, 1);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t i = n; i-- > 1;) {
        size_t j = fl_rng_below(&rng, i + 1);
        uint32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (size_t i = 0; i < n; i++)
        *value_of(m, i) = 0.05f * ((float)order[i] - (float)n / 2 + 0.3f);
    free(order);
}

static void fill_normal(const nn_map *m, uint64_t seed)
{
    fl_rng rng;
    fl_rng_init(&rng, seed, 2);
    for (size_t i = 0; i < n_values(m); i++)
        *value_of(m, i) = (float)fl_rng_normal(&rng);
}

static void setup(bench *b, const layer_case *c)
{
    char text[200];
    fl_err err;
    fl_rng rng;
    memset(b, 0, sizeof *b);
    snprintf(text, sizeof text, "%s\nlinear classes", c->text);
    if (nn_spec_read(&b->spec, text, (nn_shape){c->C, c->H, c->W}, 2, &err) != FL_OK)
        fail_msg("%s: %s", c->text, err.text);
    const nn_layer *l = b->layer = &b->spec.layers[c->index];
    b->memory = aligned_alloc(64, MAX * sizeof(float));
    b->w = calloc(l->n_weights + 1, sizeof(float));
    b->dw = calloc(l->n_weights + 1, sizeof(float));
    assert_true(b->memory && b->w && b->dw);
    nn_pass *p = &b->pass;
    p->kept = b->memory;
    p->scratch = b->memory + (l->n_kept + 15) / 16 * 16;
    b->used = (size_t)((l->n_kept + 15) / 16 * 16 + (l->n_scratch + 15) / 16 * 16);
    for (size_t i = 0; i < b->used; i++)
        b->memory[i] = NAN; /* of any value */
    p->x[0] = make_map(b, l->in);
    p->dx[0] = make_map(b, l->in);
    if (l->n_inputs == 2) {
        p->x[1] = make_map(b, l->other);
        p->dx[1] = make_map(b, l->other);
        fill_apart(&p->x[1], 9);
    }
    p->y = make_map(b, l->out);
    p->dy = make_map(b, l->out);
    b->r = make_map(b, l->out);
    fill_apart(&p->x[0], 1);
    fill_normal(&b->r, 2);
    fl_rng_init(&rng, 3, 3);
    for (size_t i = 0; i < l->n_weights; i++)
        b->w[i] = (float)fl_rng_normal(&rng);
    p->w = b->w;
    p->dw = b->dw;
    p->key = 77;
    p->is_training = true;
    memcpy(p->dy.at - HALO * p->dy.row - (size_t)HALO * p->dy.cs, b->r.at - HALO * b->r.row - (size_t)HALO * b->r.cs,
           b->r.image * sizeof(float));
}

static void teardown(bench *b)
{
    free(b->memory);
    free(b->w);
    free(b->dw);
}

static double loss_of(const bench *b)
{
    double sum = 0;
    b->layer->kind->run(b->layer, &b->pass);
    for (size_t i = 0; i < n_values(&b->r); i++)
        sum += (double)*value_of(&b->pass.y, i) * *value_of(&b->r, i);
    return sum;
}

static double difference(const bench *b, float *at)
{
    const float step = 1.0f / 128, old = *at;
    *at = old + step;
    double above = loss_of(b);
    *at = old - step;
    double below = loss_of(b);
    *at = old;
    return (above - below) / (2 * (double)step);
}

/* --- tests ----------------------------------------------------------------------------------------------------- */

static void slopes_are_those_of_finite_differences(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_CASES; k++) {
        bench b;
        setup(&b, &cases[k]);
        loss_of(&b);
        b.layer->kind->back(b.layer, &b.pass);
        for (uint32_t input = 0; input < b.layer->n_inputs; input++) {
            for (size_t i = 0; i < n_values(&b.pass.x[input]); i++) {
                double ours = *value_of(&b.pass.dx[input], i), expected = difference(&b, value_of(&b.pass.x[input], i));
                if (!(fabs(ours - expected) <= 2e-3 * (1 + fabs(expected))))
                    fail_msg("%s: slope %zu of input %u is %g, finite differences %g", cases[k].text, i, input, ours,
                             expected);
            }
        }
        for (size_t i = 0; i < b.layer->n_weights; i++) {
            double expected = difference(&b, &b.w[i]);
            if (!(fabs(b.dw[i] - expected) <= 2e-3 * (1 + fabs(expected))))
                fail_msg("%s: slope of weight %zu is %g, finite differences %g", cases[k].text, i, (double)b.dw[i],
                         expected);
        }
        teardown(&b);
    }
}

static void expect_zero_padding(const nn_map *m)
{
    for (uint32_t i = 0; i < m->H; i++) {
        for (uint32_t j = 0; j < m->W; j++) {
            for (uint32_t c = m->C; c < m->cs; c++)
                assert_true(nn_map_pixel(m, i, j)[c] == 0);
        }
    }
}

static void halos_stay_untouched_and_padded_channels_zero_whatever_is_there(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_CASES; k++) {
        bench b;
        setup(&b, &cases[k]);
        nn_pass *p = &b.pass;
        for (uint32_t input = 0; input < b.layer->n_inputs; input++) {
            nn_map *x = &p->x[input];
            for (uint32_t i = 0; i < x->H * x->W; i++) {
                for (uint32_t c = x->C; c < x->cs; c++)
                    nn_map_pixel(x, i / x->W, i % x->W)[c] = NAN;
            }
        }
        b.layer->kind->run(b.layer, p);
        b.layer->kind->back(b.layer, p);
        expect_guarded(&p->y);
        expect_zero_padding(&p->y);
        for (uint32_t input = 0; input < b.layer->n_inputs; input++) {
            expect_guarded(&p->dx[input]);
            expect_zero_padding(&p->dx[input]);
        }
        for (size_t i = 0; i < n_values(&p->y); i++)
            assert_true(isfinite(*value_of(&p->y, i)));
        teardown(&b);
    }
}

static void expect_equal(const char *text, const nn_map *a, const nn_map *b)
{
    for (size_t i = 0; i < n_values(a); i++) {
        if (memcmp(value_of(a, i), value_of(b, i), sizeof(float)) != 0)
            fail_msg("%s: value %zu is %g and %g", text, i, (double)*value_of(a, i), (double)*value_of(b, i));
    }
}

static void what_may_work_in_place_gives_the_same_bits_there(void **state)
{
    (void)state;
    int n_in_place = 0;
    for (size_t k = 0; k < N_CASES; k++) {
        bench b, same;
        setup(&b, &cases[k]);
        if (!b.layer->kind->in_place) {
            teardown(&b);
            continue;
        }
        setup(&same, &cases[k]);
        same.pass.y = same.pass.x[0];
        same.pass.dx[0] = same.pass.dy;
        for (int i = 0; i < 2; i++) {
            bench *one = i == 0 ? &b : &same;
            one->layer->kind->run(one->layer, &one->pass);
            one->layer->kind->back(one->layer, &one->pass);
        }
        expect_equal(cases[k].text, &b.pass.y, &same.pass.y);
        expect_equal(cases[k].text, &b.pass.dx[0], &same.pass.dx[0]);
        if (b.layer->n_inputs == 2)
            expect_equal(cases[k].text, &b.pass.dx[1], &same.pass.dx[1]);
        assert_memory_equal(b.dw, same.dw, b.layer->n_weights * sizeof *b.dw);
        n_in_place++;
        teardown(&b);
        teardown(&same);
    }
    assert_true(n_in_place >= 10);
}

static void weights_slopes_are_added_and_nothing_is_written_where_nobody_asks(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_CASES; k++) {
        bench b;
        setup(&b, &cases[k]);
        float *once = malloc((b.layer->n_weights + 1) * sizeof *once);
        b.layer->kind->run(b.layer, &b.pass);
        b.layer->kind->back(b.layer, &b.pass);
        memcpy(once, b.dw, b.layer->n_weights * sizeof *once);
        b.pass.dx[0].at = b.pass.dx[1].at = NULL;
        b.layer->kind->back(b.layer, &b.pass);
        for (size_t i = 0; i < b.layer->n_weights; i++)
            assert_true(b.dw[i] == 2 * once[i]);
        b.pass.dw = NULL;
        b.layer->kind->back(b.layer, &b.pass);
        free(once);
        teardown(&b);
    }
}

static void a_value_that_is_no_number_comes_out(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_CASES; k++) {
        bench b;
        size_t n_bad = 0;
        setup(&b, &cases[k]);
        *value_of(&b.pass.x[0], n_values(&b.pass.x[0]) / 2) = NAN;
        b.layer->kind->run(b.layer, &b.pass);
        for (size_t i = 0; i < n_values(&b.pass.y); i++)
            n_bad += isnan(*value_of(&b.pass.y, i));
        if (n_bad == 0 && !strstr(cases[k].text, "pool")) /* a window need not meet it */
            fail_msg("%s: hides what is no number", cases[k].text);
        teardown(&b);
    }
}

static void a_constant_image_is_normalised_to_the_shift(void **state)
{
    (void)state;
    static const float values[] = {0, 1, -3e4f, 1e30f};
    for (size_t k = 0; k < N_CASES; k++) {
        for (size_t v = 0; strstr(cases[k].text, "groupnorm") && v < 4; v++) {
            bench b;
            setup(&b, &cases[k]);
            for (size_t i = 0; i < n_values(&b.pass.x[0]); i++)
                *value_of(&b.pass.x[0], i) = values[v];
            b.layer->kind->run(b.layer, &b.pass);
            for (size_t i = 0; i < n_values(&b.pass.y); i++)
                assert_true(*value_of(&b.pass.y, i) == b.w[b.layer->in.C + i / (b.layer->in.H * b.layer->in.W)]);
            teardown(&b);
        }
    }
}

static void a_long_vector_has_unit_length_and_a_vanishing_one_does_not_explode(void **state)
{
    (void)state;
    bench b;
    setup(&b, &(layer_case){"unit", 0, 100, 1, 1});
    static const double lengths[] = {1e15, 1, 1e-5, 1e-7, 0}, expected[] = {1, 1, 1, 0.1, 0};
    for (size_t k = 0; k < 5; k++) {
        double squares = 0;
        for (size_t i = 0; i < 100; i++)
            b.pass.x[0].at[i] = (float)(lengths[k] / 10);
        b.layer->kind->run(b.layer, &b.pass);
        for (size_t i = 0; i < 100; i++)
            squares += (double)b.pass.y.at[i] * b.pass.y.at[i];
        assert_true(fabs(sqrt(squares) - expected[k]) < 1e-6);
        b.layer->kind->back(b.layer, &b.pass);
        for (size_t i = 0; lengths[k] < 1e-6 && i < 100; i++) /* there it multiplies by 1e6 and no more */
            assert_true(fabsf(b.pass.dx[0].at[i] - 1e6f * b.r.at[i]) <= 1e-6f * fabsf(1e6f * b.r.at[i]));
    }
    teardown(&b);
}

static void the_largest_of_equals_is_the_first(void **state)
{
    (void)state;
    bench b;
    setup(&b, &(layer_case){"maxpool 3 stride 3", 0, 16, 6, 3});
    for (size_t i = 0; i < n_values(&b.pass.x[0]); i++)
        *value_of(&b.pass.x[0], i) = -1;
    b.layer->kind->run(b.layer, &b.pass);
    b.layer->kind->back(b.layer, &b.pass);
    for (uint32_t i = 0; i < 6; i++) {
        for (uint32_t j = 0; j < 3; j++)
            assert_true(nn_map_pixel(&b.pass.dx[0], i, j)[5] ==
                        (i % 3 == 0 && j == 0 ? nn_map_pixel(&b.r, i / 3, 0)[5] : 0));
    }
    teardown(&b);
}

/* 40,000 draws at 0.3: six standard deviations are 550; the chance of a false alarm is below 1e-8, and seeds are fixed. */
static void dropout_is_a_function_of_the_key_alone(void **state)
{
    (void)state;
    static const layer_case c = {"dropout 0.3", 0, 4, 50, 50};
    bench a, b;
    setup(&a, &c);
    setup(&b, &c);
    size_t n = n_values(&a.pass.x[0]), n_dropped = 0, n_both = 0;
    for (int round = 0; round < 4; round++) {
        a.pass.key = 1000 + (uint64_t)round;
        b.pass.key = round == 0 ? 1000 : 2000 + (uint64_t)round;
        a.layer->kind->run(a.layer, &a.pass);
        b.layer->kind->run(b.layer, &b.pass);
        if (round == 0)
            expect_equal(c.text, &a.pass.y, &b.pass.y);
        for (size_t i = 0; i < n; i++) {
            float x = *value_of(&a.pass.x[0], i), y = *value_of(&a.pass.y, i);
            assert_true(y == 0 || fabsf(y - x / 0.7f) <= 1e-6f * fabsf(y));
            n_dropped += y == 0;
            n_both += y == 0 && *value_of(&b.pass.y, i) == 0 && round > 0;
        }
    }
    assert_true(fabs((double)n_dropped - 0.3 * 4 * (double)n) < 550);
    assert_true(fabs((double)n_both - 0.09 * 3 * (double)n) < 300); /* other keys drop others: 6 sd are 298 */
    a.pass.is_training = false;
    a.layer->kind->run(a.layer, &a.pass);
    expect_equal(c.text, &a.pass.y, &a.pass.x[0]);
    teardown(&a);
    teardown(&b);
}

static void fast_functions_are_near_the_exact_ones(void **state)
{
    (void)state;
    for (int i = -120000; i <= 120000; i++) {
        float x = (float)i / 1000, y;
        nn_rows_chosen()->tanh(&y, &x, 1);
        assert_true(fabs(y - tanh(x)) < 3e-7);
        nn_rows_chosen()->silu(&y, &x, 1);
        double exact = x / (1 + exp(-(double)x));
        assert_true(fabs(y - exact) <= 1e-6 * fabs(exact) + 1e-30);
    }
    float endless[2] = {INFINITY, -INFINITY}, y[2];
    nn_rows_chosen()->tanh(y, endless, 2);
    assert_true(y[0] == 1 && y[1] == -1);
}

static void every_set_of_loops_gives_the_same_bits(void **state)
{
    (void)state;
    static const char *const names[] = {"portable", "avx2", "avx512"};
    int n_sets = 0;
    for (size_t k = 0; k < N_CASES; k++) {
        bench first;
        setup(&first, &cases[k]);
        *value_of(&first.pass.x[0], 0) = k % 2 ? 0 : NAN;
        nn_rows_use(nn_rows_named("portable"));
        first.layer->kind->run(first.layer, &first.pass);
        first.layer->kind->back(first.layer, &first.pass);
        for (size_t s = 1; s < 3; s++) {
            const nn_rows *set = nn_rows_named(names[s]);
            bench other;
            if (!set)
                continue;
            assert_string_equal(set->name, names[s]);
            n_sets++;
            setup(&other, &cases[k]);
            *value_of(&other.pass.x[0], 0) = k % 2 ? 0 : NAN;
            nn_rows_use(set);
            other.layer->kind->run(other.layer, &other.pass);
            other.layer->kind->back(other.layer, &other.pass);
            for (size_t i = 0; i < n_values(&first.pass.y); i++) {
                float a = *value_of(&first.pass.y, i), c = *value_of(&other.pass.y, i);
                assert_true((isnan(a) && isnan(c)) || memcmp(&a, &c, sizeof a) == 0);
            }
            for (size_t i = 0; i < n_values(&first.pass.dx[0]); i++) {
                float a = *value_of(&first.pass.dx[0], i), c = *value_of(&other.pass.dx[0], i);
                assert_true((isnan(a) && isnan(c)) || memcmp(&a, &c, sizeof a) == 0);
            }
            teardown(&other);
        }
        teardown(&first);
    }
    nn_rows_use(NULL);
    if (n_sets == 0)
        skip();
}

static void too_far(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i <= n; i++)
        y[i] = x[i] <= 0 ? 0 : x[i];
}

static void fused(float *dx, const float *x, const float *dy, const float *mean, const float *p, const float *q,
                  const float *r, size_t W, uint32_t cs)
{
    for (size_t i = 0; i < W * cs; i++)
        dx[i] = fmaf(dy[i], p[i % cs], fmaf(x[i] - mean[i % cs], q[i % cs], r[i % cs]));
}

static void the_self_test_sees_other_bits_and_what_is_written_behind_the_end(void **state)
{
    (void)state;
    static const char *const names[] = {"portable", "avx2", "avx512"};
    for (size_t s = 0; s < 3; s++)
        assert_true(!nn_rows_named(names[s]) || nn_rows_self_test(nn_rows_named(names[s])));
    nn_rows bad = *nn_rows_named("portable");
    bad.relu = too_far;
    assert_false(nn_rows_self_test(&bad));
    bad = *nn_rows_named("portable");
    bad.restore = fused;
    assert_false(nn_rows_self_test(&bad));
    bad = *nn_rows_named("portable");
    bad.tanh = bad.silu;
    assert_false(nn_rows_self_test(&bad));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slopes_are_those_of_finite_differences),
        cmocka_unit_test(halos_stay_untouched_and_padded_channels_zero_whatever_is_there),
        cmocka_unit_test(what_may_work_in_place_gives_the_same_bits_there),
        cmocka_unit_test(weights_slopes_are_added_and_nothing_is_written_where_nobody_asks),
        cmocka_unit_test(a_value_that_is_no_number_comes_out),
        cmocka_unit_test(a_constant_image_is_normalised_to_the_shift),
        cmocka_unit_test(a_long_vector_has_unit_length_and_a_vanishing_one_does_not_explode),
        cmocka_unit_test(the_largest_of_equals_is_the_first),
        cmocka_unit_test(dropout_is_a_function_of_the_key_alone),
        cmocka_unit_test(fast_functions_are_near_the_exact_ones),
        cmocka_unit_test(every_set_of_loops_gives_the_same_bits),
        cmocka_unit_test(the_self_test_sees_other_bits_and_what_is_written_behind_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
