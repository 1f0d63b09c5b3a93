#include "privacy/budget.h"
#include "privacy/noise.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef unsigned __int128 u128;

static dp_rate rate_of(const char *text)
{
    dp_rate q = 0;
    assert_int_equal(dp_rate_parse(&q, text, NULL), FL_OK);
    return q;
}

static void the_cap_is_the_largest_that_keeps_epsilon(void **state)
{
    (void)state;
    static const double epsilons[] = {0.5, 1, 3, 8, 20}, deltas[] = {1e-5, 1e-8};
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < 2; k++) {
            for (size_t o = 0; o < DP_N_ORDERS; o++) {
                dp_filter f;
                if (dp_filter_init(&f, epsilons[i], deltas[k], dp_orders[o], 1, NULL) != FL_OK) {
                    /* refused only when even nothing spent would cost more */
                    assert_true(dp_rdp_to_epsilon(1e-3, dp_orders[o], deltas[k]) >= epsilons[i]);
                    continue;
                }
                assert_true(dp_rdp_to_epsilon(f.cap, f.order, f.delta_left) <= epsilons[i]);
                assert_true(dp_rdp_to_epsilon(f.cap * (1 + 1e-9) + 1e-12, f.order, f.delta_left) > epsilons[i] - 1e-12);
                assert_true(f.spent == 0 && dp_filter_epsilon_spent(&f) == 0);
            }
        }
    }
}

/* Epsilons by some last digits larger than nothing at all costs. A search for the cap in steps of 1e-12 of itself took 10^10
 * steps or more for each of these, and they stand in POLICY lines of whoever likes to write them. */
static void a_cap_of_a_rounding_is_none_at_once(void **state)
{
    (void)state;
    static const struct {
        unsigned order;
        double delta, epsilon;
    } policies[] = {{17, 6.0090450171606994e-09, 0.94542454418055744},
                    {104, 9.9072403363874629e-09, 0.12417895414517205},
                    {61, 3.0442843135833875e-09, 0.24178946697940454},
                    {124, 3.4324209788777536e-09, 0.11116879329911546},
                    {61, 1.1980326390670247e-08, 0.21895613364594349}};
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        dp_filter f;
        double epsilon = policies[i].epsilon;
        assert_int_equal(dp_filter_init(&f, epsilon, policies[i].delta, policies[i].order, 1, NULL), FL_EREFUSED);
        assert_int_equal(dp_filter_init(&f, epsilon * 1.001, policies[i].delta, policies[i].order, 1, NULL), FL_OK);
        for (unsigned k = 0; k < 1000; k++) { /* and what is given is never too much */
            epsilon = nextafter(epsilon, INFINITY);
            if (dp_filter_init(&f, epsilon, policies[i].delta, policies[i].order, 1, NULL) == FL_OK)
                assert_true(dp_rdp_to_epsilon(f.cap, f.order, f.delta_left) <= epsilon);
        }
    }
}

/* delta_left = delta / rungs - (1 + e^epsilon) 2^48 2^-114, never more. */
static void the_sampler_is_charged_to_delta(void **state)
{
    (void)state;
    static const double epsilons[] = {0.5, 8, 10, 20, 25};
    static const long double tv = 0x1p-114L, draws = 0x1p48L;
    dp_filter f;
    fl_err err;
    for (size_t i = 0; i < 5; i++) {
        for (unsigned rungs = 1; rungs <= 3; rungs += 2) {
            assert_int_equal(dp_filter_init(&f, epsilons[i], 1e-6, 64, rungs, NULL), FL_OK);
            long double exact = 1e-6L / rungs - (1 + expl(epsilons[i])) * draws * tv;
            assert_true(f.delta_left <= exact && f.delta_left > exact * (1 - 1e-10));
            assert_true(f.delta == 1e-6 && f.draws == 0);
        }
    }
    /* negligible where delta is least: below a thousandth at 1e-12 */
    assert_int_equal(dp_filter_init(&f, 10, 1e-12, 64, 1, NULL), FL_OK);
    assert_true(f.delta_left > 1e-12 * (1 - 1e-3));
    /* what was spent is converted with it as well */
    dp_filter_charge(&f, 0.5);
    assert_true(dp_filter_epsilon_spent(&f) == dp_rdp_to_epsilon(f.spent, 64, f.delta_left));
    assert_int_equal(dp_filter_init(&f, 40, 1e-5, 64, 1, &err), FL_EREFUSED);
    assert_non_null(strstr(err.text, "too small at epsilon 40"));
    assert_int_equal(dp_filter_init(&f, 1e6, 1e-5, 64, 1, &err), FL_EREFUSED);
    assert_int_equal(dp_filter_init(&f, 25, 1e-9, 64, 2, &err), FL_EREFUSED);
}

static void draws_are_counted_up_to_the_limit(void **state)
{
    (void)state;
    dp_filter f;
    assert_int_equal(dp_filter_init(&f, 8, 1e-5, 8, 1, NULL), FL_OK);
    assert_true(dp_filter_admits_draws(&f, DP_DRAWS_MAX) && !dp_filter_admits_draws(&f, DP_DRAWS_MAX + 1));
    dp_filter_charge_draws(&f, DP_DRAWS_MAX - 5);
    assert_true(dp_filter_admits_draws(&f, 5) && !dp_filter_admits_draws(&f, 6));
    dp_filter_charge_draws(&f, 6);
    assert_false(dp_filter_admits_draws(&f, 0));
    dp_filter_charge_draws(&f, UINT64_MAX);
    dp_filter_charge_draws(&f, UINT64_MAX);
    assert_false(dp_filter_admits_draws(&f, 1));
}

static void nonsense_has_no_filter(void **state)
{
    (void)state;
    dp_filter f;
    fl_err err;
    assert_int_equal(dp_filter_init(&f, 0, 1e-5, 8, 1, &err), FL_EFORMAT);
    assert_int_equal(dp_filter_init(&f, NAN, 1e-5, 8, 1, &err), FL_EFORMAT);
    assert_int_equal(dp_filter_init(&f, INFINITY, 1e-5, 8, 1, &err), FL_EFORMAT);
    assert_int_equal(dp_filter_init(&f, 8, 0, 8, 1, &err), FL_EFORMAT);
    assert_int_equal(dp_filter_init(&f, 8, NAN, 8, 1, &err), FL_EFORMAT);
    assert_int_equal(dp_filter_init(&f, 8, 1, 8, 1, &err), FL_EFORMAT);
    assert_int_equal(dp_filter_init(&f, 8, 1e-5, 1, 1, &err), FL_EFORMAT);
    assert_int_equal(dp_filter_init(&f, 8, 1e-5, 1025, 1, &err), FL_EFORMAT);
    assert_int_equal(dp_filter_init(&f, 8, 1e-5, 8, 0, &err), FL_EFORMAT);
    assert_int_equal(dp_filter_init(&f, 0.1, 1e-5, 2, 1, &err), FL_EREFUSED);
    assert_non_null(strstr(err.text, "larger order"));
}

static void what_is_spent_never_passes_the_cap(void **state)
{
    (void)state;
    dp_filter f;
    dp_rate q = rate_of("0.02");
    uint64_t s2 = dp_variance_for(1300000, 1 << 16);
    assert_int_equal(dp_filter_init(&f, 3, 1e-5, 10, 1, NULL), FL_OK);
    double cost = dp_debit_cost(&f, q, s2, 1 << 16, 7), epsilon = 0;
    uint64_t room = dp_filter_room(&f, cost, UINT64_MAX), n = 0;
    assert_true(room > 10);
    while (dp_filter_admits(&f, cost)) {
        dp_filter_charge(&f, cost);
        n++;
        double now = dp_filter_epsilon_spent(&f);
        assert_true(f.spent <= f.cap && now <= 3 && now > epsilon);
        epsilon = now;
    }
    assert_true(n >= room && n <= room + 1);
    assert_int_equal(dp_filter_room(&f, cost, 100), 0);
    assert_false(dp_filter_admits(&f, cost));
    /* a charge that was not admitted is still a charge, and nothing fits after it */
    dp_filter_charge(&f, cost);
    assert_true(dp_filter_epsilon_spent(&f) > 3);
    assert_false(dp_filter_admits(&f, 0));
    assert_false(dp_filter_admits(&f, NAN));
    assert_false(dp_filter_admits(&f, -1));
}

static void a_cost_is_never_below_the_accountants(void **state)
{
    (void)state;
    dp_filter f;
    assert_int_equal(dp_filter_init(&f, 8, 1e-5, 12, 1, NULL), FL_OK);
    for (uint32_t micro = 500000; micro < 5000000; micro += 77777) {
        uint64_t s2 = dp_variance_for(micro, 4096);
        double true_sigma = sqrt((double)s2) / 4096;
        double exact = 25 * dp_rdp_order(0.07, true_sigma, 12);
        double cost = dp_debit_cost(&f, rate_of("0.07"), s2, 4096, 25);
        /* the multiplier is cut to six places, which costs up to a few parts in a million */
        assert_true(cost > exact && cost < exact * (1 + 1e-4));
    }
    assert_true(isinf(dp_release_cost(&f, 0, 1)));
    assert_true(fabs(dp_release_cost(&f, 2000000, 3) / (3 * 12 / (2 * 4.0)) - 1) < 1e-8);
}

static void rungs_divide_delta(void **state)
{
    (void)state;
    dp_filter one, four;
    assert_int_equal(dp_filter_init(&one, 8, 1e-5, 8, 1, NULL), FL_OK);
    assert_int_equal(dp_filter_init(&four, 8, 1e-5, 8, 4, NULL), FL_OK);
    assert_true(fabs(one.cap - four.cap - log(4) / 7) < 1e-9);
}

static void the_solved_multiplier_fits_and_a_smaller_one_does_not(void **state)
{
    (void)state;
    static const struct {
        double epsilon, delta;
        const char *q;
        uint64_t rounds, steps;
    } cases[] = {{8, 1e-5, "0.05", 20, 50},
                 {1, 1e-6, "0.01", 100, 10},
                 {3, 1e-5, "1", 5, 1},
                 {0.5, 1e-5, "0.2", 30, 2},
                 {8, 1e-5, "0.25", 15, 4}};
    for (size_t i = 0; i < 5; i++) {
        uint32_t micro = 0;
        unsigned order = 0, same = 0;
        dp_rate q = rate_of(cases[i].q);
        uint64_t steps = cases[i].rounds * cases[i].steps;
        assert_int_equal(dp_solve_noise_multiplier(&micro, &order, cases[i].epsilon, cases[i].delta, q, steps, NULL),
                         FL_OK);
        assert_int_equal(dp_order_for(&same, cases[i].epsilon, cases[i].delta, q, steps, NULL), FL_OK);
        assert_int_equal(order, same);
        /* round by round, as a node debits it */
        dp_filter f;
        assert_int_equal(dp_filter_init(&f, cases[i].epsilon, cases[i].delta, order, 1, NULL), FL_OK);
        uint32_t units = 1 << 14;
        uint64_t s2 = dp_variance_for(micro, units);
        double cost = dp_debit_cost(&f, q, s2, units, cases[i].steps);
        assert_int_equal(dp_filter_room(&f, cost, cases[i].rounds), cases[i].rounds);
        for (uint64_t round = 0; round < cases[i].rounds; round++) {
            assert_true(dp_filter_admits(&f, cost));
            dp_filter_charge(&f, cost);
        }
        /* and it is tight: one millionth less noise is too little at every order */
        double sigma = (micro - 1) / 1e6;
        dp_segment s = {dp_rate_to_double(q), sigma, steps};
        assert_true(dp_epsilon_rdp(&s, 1, cases[i].delta, NULL) > cases[i].epsilon * (1 - 1e-6));
        /* with the order given, the answer is the same */
        uint32_t again = 0;
        assert_int_equal(dp_solve_noise_multiplier(&again, &order, cases[i].epsilon, cases[i].delta, q, steps, NULL),
                         FL_OK);
        assert_int_equal(again, micro);
    }
}

static void the_impossible_is_refused(void **state)
{
    (void)state;
    uint32_t micro = 5;
    unsigned order = 0;
    fl_err err;
    assert_int_equal(dp_solve_noise_multiplier(&micro, &order, 0.01, 1e-5, DP_RATE_ONE, 1000000000, &err), FL_EREFUSED);
    assert_int_equal(micro, 5);
    assert_int_equal(dp_solve_noise_multiplier(&micro, &order, 8, 0, DP_RATE_ONE, 1, &err), FL_EFORMAT);
    assert_int_equal(dp_solve_noise_multiplier(&micro, &order, 8, 1e-5, DP_RATE_ONE, 0, &err), FL_EFORMAT);
    order = 2;
    assert_int_equal(dp_solve_noise_multiplier(&micro, &order, 0.1, 1e-5, DP_RATE_ONE, 1, &err), FL_EREFUSED);
}

static void multipliers_and_variances_are_exact(void **state)
{
    (void)state;
    char text[DP_MICRO_TEXT];
    dp_multiplier(text, 1, 1);
    assert_string_equal(text, "1");
    dp_multiplier(text, 2, 1);
    assert_string_equal(text, "1.414213");
    dp_multiplier(text, DP_NOISE_VARIANCE_MAX, 1);
    assert_string_equal(text, "268435456");
    dp_multiplier(text, 1, 1 << 30);
    assert_string_equal(text, "0");
    assert_true(dp_variance_for(1000000, 64) == 4096);
    assert_true(dp_variance_for(4000000000u, 1 << 30) == 0);
    for (uint32_t micro = 50000; micro < 100000000; micro += 1234567) {
        for (uint32_t units = 1000; units < 1 << 20; units *= 3) {
            uint64_t s2 = dp_variance_for(micro, units);
            u128 wanted = (u128)micro * micro * units * units, unit = (u128)1000000 * 1000000;
            assert_true(s2 * unit >= wanted && (s2 - 1) * unit < wanted);
            uint64_t back = dp_multiplier_micro(s2, units);
            assert_true(back >= micro && (u128)back * back * units * units <= s2 * unit);
        }
    }
    uint64_t micro;
    assert_true(dp_micro_parse(&micro, "1.10") && micro == 1100000);
    assert_true(dp_micro_parse(&micro, "0.000001") && micro == 1);
    assert_false(dp_micro_parse(&micro, "0.0000001"));
    assert_false(dp_micro_parse(&micro, "999999999999"));
    dp_micro_text(text, 1100000);
    assert_string_equal(text, "1.1");
    dp_micro_text(text, 20);
    assert_string_equal(text, "0.00002");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cap_is_the_largest_that_keeps_epsilon),
        cmocka_unit_test(a_cap_of_a_rounding_is_none_at_once),
        cmocka_unit_test(the_sampler_is_charged_to_delta),
        cmocka_unit_test(draws_are_counted_up_to_the_limit),
        cmocka_unit_test(nonsense_has_no_filter),
        cmocka_unit_test(what_is_spent_never_passes_the_cap),
        cmocka_unit_test(a_cost_is_never_below_the_accountants),
        cmocka_unit_test(rungs_divide_delta),
        cmocka_unit_test(the_solved_multiplier_fits_and_a_smaller_one_does_not),
        cmocka_unit_test(the_impossible_is_refused),
        cmocka_unit_test(multipliers_and_variances_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
