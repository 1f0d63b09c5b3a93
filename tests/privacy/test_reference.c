/* The accountant against curves of others, where they are at hand: CORDON_REFERENCE, else ../shared/reference. */
#include "base/file.h"
#include "base/json.h"
#include "privacy/empirical.h"
#include "privacy/noise.h"
#include "privacy/pld.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *reference_dir(void)
{
    const char *dir = getenv("CORDON_REFERENCE");
    return dir ? dir : CORDON_SOURCE_DIR "/../shared/reference";
}

static fl_json *load(const char *name)
{
    char path[FL_PATH_MAX];
    fl_buf text;
    fl_json *j = NULL;
    fl_buf_init(&text, 16 << 20);
    assert_int_equal(fl_file_read(&text, fl_path(path, reference_dir(), name), NULL), FL_OK);
    assert_int_equal(fl_json_parse(&j, fl_buf_text(&text), text.size, name, NULL), FL_OK);
    fl_buf_fini(&text);
    return j;
}

static void all_orders_agree_to_1e_9(void **state)
{
    (void)state;
    fl_json *j = load("rdp_curve_reference.json"), *cases = fl_json_member(j, "cases");
    assert_true(fl_json_count(cases) >= 420);
    for (size_t i = 0; i < fl_json_count(cases); i++) {
        fl_json *c = fl_json_at(cases, i);
        dp_segment s = {.steps = 1};
        double order = 0, value;
        assert_true(fl_json_real(c, "q", &s.q) && fl_json_real(c, "sigma", &s.sigma) &&
                    fl_json_real(c, "alpha", &order));
        double expected = strtod(fl_json_text(c, "rdp"), NULL);
        assert_int_equal(dp_rdp_curve(&value, &s, 1, &order, 1, NULL), FL_OK);
        assert_true(fabs(value - expected) <= 1e-9 * expected);
    }
    fl_json_free(j);
}

static size_t read_case(const fl_json *c, dp_segment segments[64], double *delta)
{
    const fl_json *list = fl_json_member(c, "segments");
    size_t n = fl_json_count(list);
    assert_true(n >= 1 && n <= 64 && fl_json_real(c, "delta", delta));
    for (size_t k = 0; k < n; k++) {
        const fl_json *s = fl_json_at(list, k);
        int64_t steps;
        assert_true(fl_json_real(s, "sampling_rate", &segments[k].q));
        assert_true(fl_json_real(s, "noise_multiplier", &segments[k].sigma));
        assert_true(fl_json_int(s, "steps", &steps));
        segments[k].steps = (uint64_t)steps;
    }
    return n;
}

static void bounds_are_sound_and_tight_beside_the_published_ones(void **state)
{
    (void)state;
    fl_json *j = load("reference_epsilon_public.json"), *cases = fl_json_member(j, "cases");
    assert_true(fl_json_count(cases) >= 50);
    for (size_t i = 0; i < fl_json_count(cases); i++) {
        const fl_json *c = fl_json_at(cases, i);
        dp_segment segments[64];
        double delta = 0, low = 0, high = 0, best = 0, our_low, our_high;
        size_t n = read_case(c, segments, &delta);
        assert_true(fl_json_real(c, "epsilon_low", &low) && fl_json_real(c, "epsilon_high", &high) &&
                    fl_json_real(c, "epsilon_best", &best));
        assert_int_equal(dp_pld_epsilon(&our_low, &our_high, segments, n, delta, NULL), FL_OK);
        if (!(our_high >= low && our_high <= high * (1 + 1e-4) && our_low <= high && our_low >= best * (1 - 1e-3)))
            fail_msg("%s: %.12g to %.12g, theirs %.12g to %.12g", fl_json_text(c, "id"), our_low, our_high, low, high);
    }
    fl_json_free(j);
}

/* They have the same orders, but a looser value at some that are no integers, or none. */
static void renyi_is_sound_and_not_above_theirs(void **state)
{
    (void)state;
    fl_json *j = load("reference_epsilon_public.json"), *cases = fl_json_member(j, "cases");
    for (size_t i = 0; i < fl_json_count(cases); i++) {
        const fl_json *c = fl_json_at(cases, i);
        dp_segment segments[64];
        double delta = 0, low = 0, theirs, epsilon, curve[DP_N_REAL_ORDERS];
        size_t n = read_case(c, segments, &delta);
        assert_true(fl_json_real(c, "epsilon_low", &low));
        assert_int_equal(dp_rdp_curve(curve, segments, n, dp_real_orders, DP_N_REAL_ORDERS, NULL), FL_OK);
        dp_rdp_best(&epsilon, curve, dp_real_orders, DP_N_REAL_ORDERS, delta);
        assert_true(epsilon >= low);
        assert_true(dp_epsilon_rdp(segments, n, delta, NULL) >= epsilon * (1 - 1e-9)); /* integers only */
        if (fl_json_real(c, "epsilon_rdp", &theirs))
            assert_true(epsilon <= theirs * (1 + 1e-6));
    }
    fl_json_free(j);
}

/* The exact probabilities that test_noise.c compares draws with, against 20 digits. */
static void the_law_of_the_noise_is_the_published_one(void **state)
{
    (void)state;
    fl_json *j = load("discrete_gaussian.json"), *cases = fl_json_member(j, "cases");
    for (size_t i = 0; i < fl_json_count(cases); i++) {
        fl_json *c = fl_json_at(cases, i);
        double sigma = 0;
        assert_true(fl_json_real(c, "sigma", &sigma));
        double z = 1, variance = 0;
        for (int x = 1; x < 40 * sigma; x++) {
            double weight = 2 * exp(-(double)x * x / (2 * sigma * sigma));
            z += weight;
            variance += weight * x * x;
        }
        assert_true(fabs(1 / z - strtod(fl_json_text(c, "P(X=0)"), NULL)) < 1e-13);
        assert_true(fabs(variance / z / strtod(fl_json_text(c, "variance"), NULL) - 1) < 1e-12);
    }
    fl_json_free(j);
}

/* Every case of Theorem 5.2 to the digits that are printed: 12 of a bound, 15 of a p-value. */
static void bounds_of_one_run_are_the_published_ones(void **state)
{
    (void)state;
    fl_json *j = load("one_run_audit_reference.json"), *cases = fl_json_member(j, "cases"),
            *values = fl_json_member(j, "p_values");
    assert_true(fl_json_count(cases) >= 12 && fl_json_count(values) >= 5);
    for (size_t i = 0; i < fl_json_count(cases) + fl_json_count(values); i++) {
        bool is_bound = i < fl_json_count(cases);
        fl_json *c = is_bound ? fl_json_at(cases, i) : fl_json_at(values, i - fl_json_count(cases));
        int64_t m, r, v;
        double delta, epsilon = 0, confidence = 0;
        assert_true(fl_json_int(c, "m", &m) && fl_json_int(c, "r", &r) && fl_json_int(c, "v", &v) &&
                    fl_json_real(c, "delta", &delta));
        assert_true(is_bound ? fl_json_real(c, "confidence", &confidence) : fl_json_real(c, "eps", &epsilon));
        double expected = strtod(fl_json_text(c, is_bound ? "epsilon_lower_bound" : "p"), NULL);
        double ours = is_bound ? dp_one_run_epsilon((uint64_t)m, (uint64_t)r, (uint64_t)v, delta, confidence)
                               : dp_one_run_p_value((uint64_t)m, (uint64_t)r, (uint64_t)v, epsilon, delta);
        assert_true(fabs(ours - expected) <= 2e-12 * (1 + expected));
    }
    fl_json_free(j);
}

static double published(const fl_json *c, const char *key)
{
    const char *text = fl_json_text(c, key);
    assert_non_null(text);
    return strtod(text, NULL);
}

/* |found - expected| within 6.4 standard errors: a false alarm below 2e-10. */
static void near(double sigma, const char *what, double found, double expected, double standard_error)
{
    if (!(fabs(found - expected) <= 6.4 * standard_error))
        fail_msg("sigma %g, %s: %.10g, published %.10g, standard error %.2g", sigma, what, found, expected,
                 standard_error);
}

enum { N_DRAWS = 2000000 };
static int64_t draws[N_DRAWS];

/* Draws of the fast sampler against probabilities, tails, variance and kurtosis. About 16 comparisons for each of three
 * sigmas: a false alarm below 1e-8. Tails of fewer than 100 expected draws are left out: they are not normal. */
static void check_draws(const fl_json *c, double sigma)
{
    static dp_noise_scratch scratch;
    dp_noise t;
    fl_csprng r;
    fl_csprng_init(&r);
    assert_int_equal(dp_noise_init(&t, (uint64_t)(sigma * sigma), NULL), FL_OK);
    dp_noise_draw(&t, draws, N_DRAWS, &r, &scratch);
    dp_noise_fini(&t);
    fl_csprng_fini(&r);

    const double n = N_DRAWS, variance = published(c, "variance"), kurtosis = published(c, "kurtosis");
    double m1 = 0, m2 = 0, m4 = 0, small[6] = {0};
    for (size_t i = 0; i < N_DRAWS; i++) {
        double square = (double)draws[i] * (double)draws[i];
        m1 += (double)draws[i] / n;
        m2 += square / n;
        m4 += square * square / n;
        if (draws[i] >= 0 && draws[i] < 6)
            small[draws[i]] += 1 / n;
    }
    near(sigma, "mean", m1, 0, sqrt(variance / n));
    near(sigma, "variance", m2, variance, variance * sqrt((kurtosis - 1) / n));
    /* of x^4, whose eighth moment is 105 sigma^8 */
    near(sigma, "kurtosis", m4 / (variance * variance), kurtosis, sqrt(105 / n));
    for (int x = 0; x < 6; x++) {
        char key[16];
        snprintf(key, sizeof key, "P(X=%d)", x);
        double p = published(c, key);
        if (n * p >= 100)
            near(sigma, key, small[x], p, sqrt(p * (1 - p) / n));
    }
    fl_json *tails = fl_json_member(c, "P(|X|>=m)");
    for (size_t i = 0; i < fl_json_count(tails); i++) {
        const char *key = fl_json_key_at(tails, i);
        double p = published(tails, key), found = 0;
        for (size_t k = 0; k < N_DRAWS; k++)
            found += (double)(llabs(draws[k]) >= strtol(key, NULL, 10)) / n;
        if (n * p >= 100)
            near(sigma, key, found, p, sqrt(p * (1 - p) / n));
    }
}

static void draws_have_the_published_moments_and_tails(void **state)
{
    (void)state;
    fl_json *j = load("discrete_gaussian.json"), *cases = fl_json_member(j, "cases");
    unsigned n = 0;
    for (size_t i = 0; i < fl_json_count(cases); i++) {
        double sigma = 0;
        assert_true(fl_json_real(fl_json_at(cases, i), "sigma", &sigma));
        if (sigma != floor(sigma)) /* S2 is an integer here */
            continue;
        check_draws(fl_json_at(cases, i), sigma);
        n++;
    }
    assert_true(n >= 3);
    fl_json_free(j);
}

int main(void)
{
    char path[FL_PATH_MAX];
    if (!fl_file_exists(fl_path(path, reference_dir(), "rdp_curve_reference.json")))
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_orders_agree_to_1e_9),
        cmocka_unit_test(bounds_are_sound_and_tight_beside_the_published_ones),
        cmocka_unit_test(renyi_is_sound_and_not_above_theirs),
        cmocka_unit_test(the_law_of_the_noise_is_the_published_one),
        cmocka_unit_test(draws_have_the_published_moments_and_tails),
        cmocka_unit_test(bounds_of_one_run_are_the_published_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
