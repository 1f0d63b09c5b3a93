#include "privacy/decimal.h"
#include "privacy/sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static dp_rate rate_of(const char *text)
{
    dp_rate q = 0;
    assert_int_equal(dp_rate_parse(&q, text, NULL), FL_OK);
    return q;
}

static void a_rate_is_the_exact_floor(void **state)
{
    (void)state;
    assert_true(rate_of("1") == DP_RATE_ONE);
    assert_true(rate_of("1.000") == DP_RATE_ONE);
    assert_true(rate_of("0.5") == (dp_rate)1 << 63);
    assert_true(rate_of("0.05") == 922337203685477580u); /* 2^64 / 20 = ..580.8 */
    assert_true(rate_of("5e-2") == 922337203685477580u);
    assert_true(rate_of("0.3") == 5534023222112865484u); /* a double would give ..484 or ..512 */
    assert_true(rate_of("0.9999999999999999999") == (dp_rate)18446744073709551614u);
    assert_true(rate_of("6e-20") == 1); /* 2^64 * 6e-20 = 1.107 */
}

static void what_is_no_rate_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "0",
                                      "0.0",
                                      "1.0000001",
                                      "2",
                                      "-0.1",
                                      "+0.1",
                                      " 0.1",
                                      "0.1 ",
                                      ".5",
                                      "0.",
                                      "00.1",
                                      "nan",
                                      "inf",
                                      "0x1p-3",
                                      "1e",
                                      "1e-",
                                      "0,5",
                                      "5e-20",
                                      "1e-30",
                                      "1e400",
                                      "0.12345678901234567890",
                                      "1e-99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        dp_rate q = 7;
        fl_err err;
        assert_int_equal(dp_rate_parse(&q, bad[i], &err), FL_EFORMAT);
        assert_true(q == 7);
    }
}

static void the_text_of_a_rate_comes_back(void **state)
{
    (void)state;
    static const char *const list[] = {"1", "0.05", "0.3", "6e-20", "0.9999999999999999999"};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        char text[DP_RATE_TEXT];
        dp_rate q = rate_of(list[i]), again;
        dp_rate_text(text, q);
        assert_true(dp_rate_from_text(&again, text) && again == q);
    }
    dp_rate q;
    assert_false(dp_rate_from_text(&q, "0"));
    assert_false(dp_rate_from_text(&q, "01"));
    assert_false(dp_rate_from_text(&q, ""));
    assert_false(dp_rate_from_text(&q, "18446744073709551617"));
    assert_false(dp_rate_from_text(&q, "99999999999999999999999"));
}

static void the_accountants_rate_is_never_below(void **state)
{
    (void)state;
    static const uint64_t list[] = {
        1, 2, 3, ((uint64_t)1 << 53) + 1, ((uint64_t)1 << 63) + 1, UINT64_MAX, 922337203685477580u};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        double q = dp_rate_to_double(list[i]);
        assert_true(q > 0 && q <= 1 && ldexpl((long double)q, 64) >= (long double)list[i]);
        assert_true(q <= ldexp((double)list[i], -64) * (1 + 0x1p-51));
    }
    assert_true(dp_rate_to_double(DP_RATE_ONE) == 1);
}

/* 20,000 steps of 40 patients at q = 0.3. Each patient's count and each pair's count is binomial; 40 + 780 comparisons
 * at 7.5 standard deviations (3e-14 each, exact enough at these counts): a false alarm below 1e-10. */
static void patients_come_alone_and_pairwise_independent(void **state)
{
    (void)state;
    enum { N = 40, STEPS = 20000 };
    static unsigned pair[N][N];
    uint32_t chosen[N];
    fl_csprng r;
    fl_csprng_init(&r);
    double sizes = 0, squares = 0;
    for (int step = 0; step < STEPS; step++) {
        size_t n = dp_sample_patients(chosen, N, rate_of("0.3"), &r);
        sizes += (double)n;
        squares += (double)n * (double)n;
        for (size_t i = 0; i < n; i++) {
            assert_true(chosen[i] < N && (i == 0 || chosen[i - 1] < chosen[i]));
            for (size_t j = 0; j <= i; j++)
                pair[chosen[i]][chosen[j]]++;
        }
    }
    for (int i = 0; i < N; i++) {
        for (int j = 0; j <= i; j++) {
            double p = i == j ? 0.3 : 0.09, sd = sqrt(STEPS * p * (1 - p));
            assert_true(fabs(pair[i][j] - STEPS * p) < 7.5 * sd);
        }
    }
    /* the size of a sample varies as a binomial does: fixed-size batches would have variance 0. The standard error of
     * the variance is its sqrt(2/STEPS) */
    double mean = sizes / STEPS, variance = squares / STEPS - mean * mean, expected = N * 0.3 * 0.7;
    assert_true(fabs(variance / expected - 1) < 7.5 * sqrt(2.0 / STEPS));
    fl_csprng_fini(&r);
}

static void rate_one_takes_everybody_and_the_least_rate_nobody(void **state)
{
    (void)state;
    uint32_t chosen[1000];
    fl_csprng r;
    fl_csprng_init(&r);
    assert_int_equal(dp_sample_patients(chosen, 1000, DP_RATE_ONE, &r), 1000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(chosen[i], i);
    assert_int_equal(dp_sample_patients(chosen, 1000, 1, &r), 0); /* by chance not: 1000 / 2^64 */
    assert_int_equal(dp_sample_patients(chosen, 0, DP_RATE_ONE, &r), 0);
    fl_csprng_fini(&r);
}

static void decimals_are_exact_and_canonical(void **state)
{
    (void)state;
    static const char *const list[][2] = {{"0", "0"},
                                          {"0.000", "0"},
                                          {"1e-5", "0.00001"},
                                          {"1.10", "1.1"},
                                          {"12e3", "12000"},
                                          {"1.50e-3", "0.0015"},
                                          {"100", "100"},
                                          {"0.1e1", "1"},
                                          {"9999999999999999999", "9999999999999999999"},
                                          {"1e-38", "0.00000000000000000000000000000000000001"}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        dp_decimal d, again;
        char text[DP_DECIMAL_TEXT];
        assert_true(dp_decimal_parse(&d, list[i][0]));
        dp_decimal_text(text, &d);
        assert_string_equal(text, list[i][1]);
        assert_true(dp_decimal_parse(&again, text) && again.digits == d.digits && again.places == d.places);
        double value;
        assert_true(dp_decimal_value(&value, list[i][0]) && value == strtod(list[i][0], NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_the_exact_floor),
        cmocka_unit_test(what_is_no_rate_is_refused),
        cmocka_unit_test(the_text_of_a_rate_comes_back),
        cmocka_unit_test(the_accountants_rate_is_never_below),
        cmocka_unit_test(patients_come_alone_and_pairwise_independent),
        cmocka_unit_test(rate_one_takes_everybody_and_the_least_rate_nobody),
        cmocka_unit_test(decimals_are_exact_and_canonical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
