#include "privacy/gauss.h"
#include "privacy/pld.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEGMENTS_MAX = 16 };

static FILE *open_table(const char *name)
{
    char path[300];
    snprintf(path, sizeof path, CORDON_SOURCE_DIR "/tests/data/%s", name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    return f;
}

static dp_bracket bounds(const dp_segment *s, size_t n, double delta)
{
    dp_bracket b;
    fl_err err = {.code = FL_OK};
    if (dp_pld_epsilon(&b.low, &b.high, s, n, delta, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_true(b.low >= 0 && b.low <= b.high && isfinite(b.high));
    return b;
}

/* pld_closed_forms.txt: scripts/gen/pld_reference.py closed, 50 digits. Read as doubles, so 1e-14 is allowed for. */
static void closed_forms_lie_in_their_brackets(void **state)
{
    (void)state;
    FILE *f = open_table("pld_closed_forms.txt");
    char line[200];
    int n = 0;
    while (fgets(line, sizeof line, f)) {
        double delta, expected;
        dp_segment s;
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%lf %lf %" SCNu64 " %lf %lf", &s.q, &s.sigma, &s.steps, &delta, &expected), 5);
        dp_bracket b = bounds(&s, 1, delta);
        if (!(b.low <= expected * (1 + 1e-14) && expected * (1 - 1e-14) <= b.high &&
              b.high - b.low <= 1e-8 * b.high + 1e-13))
            fail_msg("%s: %.17g to %.17g", line, b.low, b.high);
        n++;
    }
    fclose(f);
    assert_int_equal(n, 264);
}

/* pld_composed.txt: scripts/gen/pld_reference.py composed, by contour integrals, good to some 1e-9. */
static void schedules_lie_in_their_brackets(void **state)
{
    (void)state;
    FILE *f = open_table("pld_composed.txt");
    char line[600];
    int n = 0;
    while (fgets(line, sizeof line, f)) {
        dp_segment s[SEGMENTS_MAX];
        size_t n_segments = 0;
        int used = 0, more;
        double delta, expected;
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%lf %lf%n", &delta, &expected, &used), 2);
        for (const char *p = line + used; n_segments < SEGMENTS_MAX; p += more, n_segments++) {
            dp_segment *one = &s[n_segments];
            if (sscanf(p, "%lf %lf %" SCNu64 "%n", &one->q, &one->sigma, &one->steps, &more) != 3)
                break;
        }
        assert_true(n_segments > 0);
        dp_bracket b = bounds(s, n_segments, delta);
        if (!(b.low <= expected * (1 + 1e-8) && expected * (1 - 1e-8) <= b.high && b.high - b.low <= 1e-4 * b.high))
            fail_msg("%s: %.12g to %.12g", line, b.low, b.high);
        n++;
    }
    fclose(f);
    assert_int_equal(n, 33);
}

/* Where a closed form exists, the lattice is not asked. Here it is: a second segment that hardly counts. */
static void the_lattice_agrees_with_the_closed_form(void **state)
{
    (void)state;
    dp_segment gaussian[2] = {{1, 3, 40}, {1e-5, 100, 1}}, tiny = gaussian[1];
    dp_bracket closed = bounds(gaussian, 1, 1e-6), both = bounds(gaussian, 2, 1e-6), alone = bounds(&tiny, 1, 1e-12);
    assert_true(both.high >= closed.low && both.low <= closed.high + 1e-7 + alone.high);
    assert_true(both.high - both.low <= 1e-4 * both.high && both.high - closed.high < 1e-4 * closed.high);
}

/* More rate or steps: not less; more noise or delta: not more. Each law of the grid is another one, so the brackets are
 * compared crosswise. */
static void epsilon_moves_the_right_way(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        dp_bracket before = {.low = 0, .high = 0};
        for (int i = 0; i < 6; i++) {
            dp_segment s = {0.01, 0.9, 500};
            double delta = 1e-5;
            if (kind == 0)
                s.q = 0.001 * pow(2.5, i);
            else if (kind == 1)
                s.steps = (uint64_t)(3 * pow(9, i));
            else if (kind == 2)
                s.sigma = 6 / pow(1.7, i);
            else
                delta = 0.01 / pow(40, i);
            dp_bracket b = bounds(&s, 1, delta);
            assert_true(b.high >= before.low);
            if (i > 0 && before.low > 0)
                assert_true(b.low > before.high); /* the steps are large enough to be seen */
            before = b;
        }
    }
}

static void order_and_splitting_of_segments_change_nothing(void **state)
{
    (void)state;
    dp_segment a[3] = {{0.02, 1.1, 300}, {0.005, 0.8, 700}, {1, 25, 2}};
    dp_segment b[5] = {{1, 25, 2}, {0.005, 0.8, 1}, {0.02, 1.1, 120}, {0.005, 0.8, 699}, {0.02, 1.1, 180}};
    dp_bracket x = bounds(a, 3, 1e-6), y = bounds(b, 5, 1e-6);
    assert_true(x.low == y.low && x.high == y.high);
}

/* The ends of what is promised: q in (0, 1], sigma 0.3 to 100, delta 1e-12 to near 1; many steps with one set only, as the
 * others take seconds. */
static void the_corners_have_bounds(void **state)
{
    (void)state;
    static const double rates[] = {1e-6, 0.01, 0.999999}, sigmas[] = {0.3, 100}, deltas[] = {1e-12, 0.9};
    static const uint64_t steps[] = {2, 2000};
    for (int i = 0; i < 25; i++) {
        dp_segment s = {rates[i % 3], sigmas[i / 3 % 2], steps[i / 6 % 2]};
        double delta = deltas[i / 12 % 2];
        if (i == 24)
            s = (dp_segment){0.01, 0.3, 1000000};
        dp_bracket b = bounds(&s, 1, delta);
        /* epsilon of everybody in, with the same noise, is above; a single step's is below */
        dp_segment all = {1, s.sigma, s.steps}, one = {s.q, s.sigma, 1};
        assert_true(b.low <= bounds(&all, 1, delta).high && b.high >= bounds(&one, 1, delta).low);
        double best, curve[DP_N_REAL_ORDERS];
        assert_int_equal(dp_rdp_curve(curve, &s, 1, dp_real_orders, DP_N_REAL_ORDERS, NULL), FL_OK);
        dp_rdp_best(&best, curve, dp_real_orders, DP_N_REAL_ORDERS, delta);
        assert_true(b.low <= best * (1 + 1e-9));
        if (b.high - b.low > 1e-3 * b.high)
            fail_msg("q %g sigma %g steps %" PRIu64 " delta %g: %g to %g", s.q, s.sigma, s.steps, delta, b.low, b.high);
    }
}

static void zero_is_found_and_is_exact(void **state)
{
    (void)state;
    dp_segment s = {0.001, 2, 10}; /* total variation below 10 * 0.001 * 0.2 */
    dp_bracket b = bounds(&s, 1, 0.01);
    assert_true(b.low == 0 && b.high == 0);
    s = (dp_segment){0.3, 1, 20};
    b = bounds(&s, 1, 0.999999); /* more than it has, without the short cut */
    assert_true(b.low == 0 && b.high == 0);
    b = bounds(&s, 1, 0.3);
    assert_true(b.low > 0);
}

static void what_it_cannot_do_is_refused_in_words(void **state)
{
    (void)state;
    double low, high;
    fl_err err;
    dp_segment small = {0.5, 0.01, 2}, many = {0.5, 1, 2000000000};
    assert_int_equal(dp_pld_epsilon(&low, &high, &small, 1, 1e-5, &err), FL_EREFUSED);
    assert_true(low == 0 && high == INFINITY);
    assert_non_null(strstr(err.text, "noise multiplier 0.01"));
    assert_int_equal(dp_pld_epsilon(&low, &high, &many, 1, 1e-5, &err), FL_EREFUSED);
    assert_non_null(strstr(err.text, "steps"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_forms_lie_in_their_brackets),
        cmocka_unit_test(schedules_lie_in_their_brackets),
        cmocka_unit_test(the_lattice_agrees_with_the_closed_form),
        cmocka_unit_test(epsilon_moves_the_right_way),
        cmocka_unit_test(order_and_splitting_of_segments_change_nothing),
        cmocka_unit_test(the_corners_have_bounds),
        cmocka_unit_test(zero_is_found_and_is_exact),
        cmocka_unit_test(what_it_cannot_do_is_refused_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
