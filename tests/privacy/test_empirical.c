/* Lower bounds from attacks: against sums in 60 digits (scripts/gen/empirical_reference.py), and their properties. */
#include "privacy/empirical.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool is_near(double ours, double theirs, double relative)
{
    return fabs(ours - theirs) <= relative * fabs(theirs);
}

static void agrees_with_the_long_sums_to_1e_9(void **state)
{
    (void)state;
    FILE *f = fopen(CORDON_SOURCE_DIR "/tests/data/empirical.txt", "r");
    assert_non_null(f);
    char line[256];
    int n_p = 0, n_bound = 0, n_low = 0, n_worlds = 0;
    while (fgets(line, sizeof line, f)) {
        unsigned long long m, r, v, k;
        double a, b, expected;
        if (sscanf(line, "one_run %llu %llu %llu %lf %lf %lf", &m, &r, &v, &a, &b, &expected) == 6) {
            assert_true(is_near(dp_one_run_p_value(m, r, v, a, b), expected, 1e-9));
            n_p++;
        } else if (sscanf(line, "bound %llu %llu %llu %lf %lf %lf", &m, &r, &v, &a, &b, &expected) == 6) {
            assert_true(is_near(dp_one_run_epsilon(m, r, v, a, b), expected, 1e-9));
            n_bound++;
        } else if (sscanf(line, "low %llu %llu %lf %lf", &r, &v, &a, &expected) == 4) {
            assert_true(is_near(dp_probability_low(r, v, a), expected, 1e-9));
            assert_true(fabs(1 - dp_probability_high(v - r, v, a) - expected) <= 1e-9 * expected + 1e-15);
            n_low++;
        } else if (sscanf(line, "worlds %llu %llu %llu %llu %lf %lf %lf", &m, &r, &v, &k, &a, &b, &expected) == 7) {
            assert_true(is_near(dp_two_worlds_epsilon((dp_count){m, r}, (dp_count){v, k}, a, b), expected, 1e-9));
            n_worlds++;
        } else
            assert_int_equal(line[0], '#');
    }
    fclose(f);
    assert_true(n_p >= 15 && n_bound >= 10 && n_low >= 10 && n_worlds >= 5);
}

/* Every coin guessed by chance says nothing; every coin guessed right says what (1 / risk)^(1 / r) allows. */
static void the_ends_are_the_closed_forms(void **state)
{
    (void)state;
    assert_true(dp_one_run_epsilon(1000, 1000, 500, 0, 0.95) == 0);
    assert_true(dp_one_run_epsilon(1000, 0, 0, 1e-5, 0.95) == 0);
    assert_true(dp_one_run_p_value(1000, 100, 0, 3, 1e-5) == 1);
    for (uint64_t r = 10; r <= 100000; r *= 10) {
        double p0 = pow(0.05, 1.0 / (double)r);
        assert_true(is_near(dp_one_run_epsilon(r, r, r, 0, 0.95), log(p0 / (1 - p0)), 1e-9));
    }
    assert_true(is_near(dp_probability_low(20, 20, 0.01), pow(0.01, 1.0 / 20), 1e-12));
    assert_true(is_near(dp_probability_high(0, 20, 0.01), 1 - pow(0.01, 1.0 / 20), 1e-12));
    assert_true(dp_probability_low(0, 20, 0.01) == 0 && dp_probability_high(20, 20, 0.01) == 1);
    assert_true(dp_binomial_tail(0, 5, 0.5, 0.5) == 1 && dp_binomial_tail(6, 5, 0.5, 0.5) == 0);
    assert_true(is_near(dp_binomial_tail(4, 5, 0.5, 0.5), 6.0 / 32, 1e-13));
}

/* More right, a smaller delta, fewer canaries behind the same guesses, less confidence: never a smaller bound. */
static void the_bound_moves_the_way_it_must(void **state)
{
    (void)state;
    double last = 0;
    for (uint64_t v = 500; v <= 1000; v += 5) {
        double bound = dp_one_run_epsilon(50000, 1000, v, 1e-5, 0.95);
        assert_true(bound >= last);
        last = bound;
        assert_true(dp_one_run_epsilon(50000, 1000, v, 1e-6, 0.95) >= bound);
        assert_true(dp_one_run_epsilon(40000, 1000, v, 1e-5, 0.95) >= bound);
        assert_true(dp_one_run_epsilon(50000, 1000, v, 1e-5, 0.9) >= bound);
    }
    assert_true(last > 4);
    last = 0;
    for (double epsilon = 0; epsilon < 6; epsilon += 0.01) { /* no gaps below 1/2 */
        double p = dp_one_run_p_value(50000, 1000, 900, epsilon, 1e-4);
        assert_true(p >= 0 && p <= 1 && (p >= last || last >= 0.5));
        last = p;
    }
}

/* Two worlds whose probabilities are known: the bound tends to the larger of the four logarithms from below. */
static void two_worlds_find_what_separates_them(void **state)
{
    (void)state;
    const dp_count often = {1000000, 400000}, seldom = {1000000, 100000};
    double bound = dp_two_worlds_epsilon(often, seldom, 0, 0.999999);
    assert_true(bound < log(4) && bound > log(4) - 0.05);
    /* the other direction, and the contrary event: 0.9 against 0.6 is 0.1 against 0.4 seen from the other side */
    assert_true(dp_two_worlds_epsilon(seldom, often, 0, 0.999999) == bound);
    const dp_count nearly = {1000000, 900000}, mostly = {1000000, 600000};
    assert_true(is_near(dp_two_worlds_epsilon(mostly, nearly, 0, 0.999999), bound, 1e-9));
    assert_true(dp_two_worlds_epsilon(often, often, 0, 0.95) == 0);
    assert_true(dp_two_worlds_epsilon(often, seldom, 0.35, 0.95) == 0); /* delta explains it */
    const dp_count once = {1, 1}, never = {1, 0};
    assert_true(dp_two_worlds_epsilon(once, never, 0, 0.95) == 0); /* one run proves nothing */
}

/* A limit of 10^7 runs takes as many terms as the binomial is wide, and the bisections of all four are over at once. */
static void a_million_canaries_and_ten_million_runs_are_no_burden(void **state)
{
    (void)state;
    assert_true(dp_one_run_epsilon(1000000, 1000000, 900000, 1e-6, 0.95) > 2);
    assert_true(dp_one_run_epsilon(1000000, 1000000, 1000000, 1e-6, 0.95) > 8);
    assert_true(is_near(dp_probability_low(5000000, 10000000, 0.5), 0.5, 1e-6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_long_sums_to_1e_9),
        cmocka_unit_test(the_ends_are_the_closed_forms),
        cmocka_unit_test(the_bound_moves_the_way_it_must),
        cmocka_unit_test(two_worlds_find_what_separates_them),
        cmocka_unit_test(a_million_canaries_and_ten_million_runs_are_no_burden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
