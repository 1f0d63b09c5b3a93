#include "privacy/rdp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The table is made by scripts/gen/rdp_reference.py in decimal arithmetic of 120 digits. */
static void agrees_with_the_long_sum_to_1e_9(void **state)
{
    (void)state;
    FILE *f = fopen(CORDON_SOURCE_DIR "/tests/data/rdp_integer_orders.txt", "r");
    assert_non_null(f);
    char line[200];
    double worst = 0;
    int n = 0;
    while (fgets(line, sizeof line, f)) {
        double q, sigma, expected;
        unsigned order;
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%lf %lf %u %lf", &q, &sigma, &order, &expected), 4);
        double error = fabs(dp_rdp_order(q, sigma, order) - expected) / expected;
        worst = fmax(worst, error);
        n++;
    }
    fclose(f);
    assert_int_equal(n, 343);
    assert_true(worst < 1e-9);
}

static double at_real(double q, double sigma, double order)
{
    double value;
    dp_segment s = {q, sigma, 1};
    assert_int_equal(dp_rdp_curve(&value, &s, 1, &order, 1, NULL), FL_OK);
    return value;
}

/* The table is made by scripts/gen/pld_reference.py curve: adaptive quadrature in 40 digits. */
static void orders_between_integers_agree_to_1e_9(void **state)
{
    (void)state;
    FILE *f = fopen(CORDON_SOURCE_DIR "/tests/data/rdp_real_orders.txt", "r");
    assert_non_null(f);
    char line[200];
    double worst = 0;
    int n = 0;
    while (fgets(line, sizeof line, f)) {
        double q, sigma, order, expected;
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%lf %lf %lf %lf", &q, &sigma, &order, &expected), 4);
        worst = fmax(worst, fabs(at_real(q, sigma, order) / expected - 1));
        n++;
    }
    fclose(f);
    assert_int_equal(n, 60);
    assert_true(worst < 1e-9);
}

/* The quadrature and the sum share nothing; and the curve is RDP, which grows with the order. */
static void the_quadrature_meets_the_sum_at_integers(void **state)
{
    (void)state;
    for (double sigma = 0.3; sigma < 100; sigma *= 2.3) {
        for (double q = 1e-6; q < 1; q *= 7) {
            for (unsigned order = 2; order < 200; order = order * 2 + 1) {
                double sum = dp_rdp_order(q, sigma, order);
                double below = at_real(q, sigma, order - 1e-7), above = at_real(q, sigma, order + 1e-7);
                assert_true(below <= sum * (1 + 1e-10) && above >= sum * (1 - 1e-10));
                assert_true(above - below <= 1e-4 * sum);
            }
        }
    }
}

/* Where sigma is too small for the quadrature, the chord between integers is used: above the curve, and close. */
static void a_chord_is_an_upper_bound(void **state)
{
    (void)state;
    double below = dp_rdp_order(0.1, 0.005, 2), value = at_real(0.1, 0.005, 2.5), above = dp_rdp_order(0.1, 0.005, 3);
    assert_true(value >= below && value <= above);
    assert_true(fabs(value * 1.5 - (below * 1 + above * 2) / 2) < 1e-12 * above); /* ln A half way */
}

static void a_curve_does_not_care_about_order_or_company(void **state)
{
    (void)state;
    static const double orders[] = {10.9, 2, 1.1, 300.5, 64, 3.3};
    double together[6];
    dp_segment s[2] = {{0.02, 0.9, 70}, {1, 7, 3}};
    assert_int_equal(dp_rdp_curve(together, s, 2, orders, 6, NULL), FL_OK);
    for (size_t i = 0; i < 6; i++) {
        double alone;
        assert_int_equal(dp_rdp_curve(&alone, s, 2, &orders[i], 1, NULL), FL_OK);
        assert_true(fabs(alone / together[i] - 1) < 1e-13); /* other quadrature points */
        double sum = 70 * at_real(0.02, 0.9, orders[i]) + 3 * orders[i] / (2 * 49.0);
        assert_true(fabs(sum / together[i] - 1) < 1e-13);
    }
}

/* Without sampling it is the Gaussian mechanism: alpha / (2 sigma^2); and q near 1 comes close to it. */
static void is_the_plain_gaussian_when_everybody_is_in(void **state)
{
    (void)state;
    for (size_t i = 0; i < DP_N_ORDERS; i++) {
        double expected = dp_orders[i] / (2 * 1.3 * 1.3);
        assert_true(fabs(dp_rdp_order(1, 1.3, dp_orders[i]) / expected - 1) < 1e-15);
        assert_true(fabs(dp_rdp_order(1 - 1e-12, 1.3, dp_orders[i]) / expected - 1) < 1e-9);
    }
}

static void grows_with_rate_order_and_shrinks_with_noise(void **state)
{
    (void)state;
    for (size_t i = 1; i < DP_N_ORDERS; i++) {
        for (double sigma = 0.3; sigma < 50; sigma *= 1.7) {
            double before = 0;
            for (double q = 1e-6; q <= 1; q *= 3) {
                double here = dp_rdp_order(q, sigma, dp_orders[i]);
                assert_true(here > before);
                assert_true(here >= dp_rdp_order(q, sigma, dp_orders[i - 1]));
                assert_true(here >= dp_rdp_order(q, sigma * 1.01, dp_orders[i]));
                before = here;
            }
        }
    }
}

static void epsilon_grows_with_steps_and_shrinks_with_delta(void **state)
{
    (void)state;
    double before = 0;
    for (uint64_t steps = 1; steps < 1000000; steps *= 3) {
        dp_segment s = {.q = 0.02, .sigma = 1.1, .steps = steps};
        double epsilon = dp_epsilon_rdp(&s, 1, 1e-5, NULL);
        assert_true(epsilon > before);
        assert_true(dp_epsilon_rdp(&s, 1, 1e-6, NULL) > epsilon);
        dp_segment more_noise = {.q = 0.02, .sigma = 1.2, .steps = steps};
        assert_true(dp_epsilon_rdp(&more_noise, 1, 1e-5, NULL) < epsilon);
        before = epsilon;
    }
}

static void segments_add_like_steps(void **state)
{
    (void)state;
    dp_segment whole = {0.01, 0.9, 300}, parts[3] = {{0.01, 0.9, 100}, {0.01, 0.9, 150}, {0.01, 0.9, 50}};
    unsigned order_whole, order_parts;
    double a = dp_epsilon_rdp(&whole, 1, 1e-5, &order_whole), b = dp_epsilon_rdp(parts, 3, 1e-5, &order_parts);
    assert_true(fabs(a - b) < 1e-12 * a);
    assert_int_equal(order_whole, order_parts);
    assert_true(dp_epsilon_rdp(NULL, 0, 1e-5, NULL) == 0);
}

static void the_conversion_is_the_formula_and_never_negative(void **state)
{
    (void)state;
    double by_hand = 0.5 + log(1 - 1 / 12.0) - (log(1e-5) + log(12)) / 11;
    assert_true(fabs(dp_rdp_to_epsilon(0.5, 12, 1e-5) - by_hand) < 1e-14);
    assert_true(dp_rdp_to_epsilon(0.5, 12, 0.9) >= 0);
    /* the Kullback-Leibler clause: delta^2 >= 1 - e^-rdp */
    assert_true(dp_rdp_to_epsilon(1e-4, 2, 0.01) == 0);
    assert_true(dp_rdp_to_epsilon(1.1e-4, 2, 0.01) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_long_sum_to_1e_9),
        cmocka_unit_test(orders_between_integers_agree_to_1e_9),
        cmocka_unit_test(the_quadrature_meets_the_sum_at_integers),
        cmocka_unit_test(a_chord_is_an_upper_bound),
        cmocka_unit_test(a_curve_does_not_care_about_order_or_company),
        cmocka_unit_test(is_the_plain_gaussian_when_everybody_is_in),
        cmocka_unit_test(grows_with_rate_order_and_shrinks_with_noise),
        cmocka_unit_test(epsilon_grows_with_steps_and_shrinks_with_delta),
        cmocka_unit_test(segments_add_like_steps),
        cmocka_unit_test(the_conversion_is_the_formula_and_never_negative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
