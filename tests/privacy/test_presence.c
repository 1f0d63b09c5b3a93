/*
 * The noise-presence test. Random numbers are seeded, so a run is repeatable.
 *
 *     CORDON_PRESENCE_RUNS=10000 test_privacy_presence     the long form: 10^4 simulations of 10^5 coordinates (minutes)
 */
#include "base/rng.h"
#include "privacy/noise.h"
#include "privacy/presence.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COORDINATES = 100000 };
static const uint64_t S2 = 5196937190; /* 1.1 * 2^16, squared */

static int64_t *block, *other;

static int make_blocks(void **state)
{
    (void)state;
    block = malloc(COORDINATES * sizeof *block);
    other = malloc(COORDINATES * sizeof *other);
    return block && other ? 0 : -1;
}

static int free_blocks(void **state)
{
    (void)state;
    free(block);
    free(other);
    return 0;
}

/* Rounded normals of that many standard deviations: at this S2 the discrete Gaussian but for 1e-10 of its variance. */
static void fill(int64_t *x, size_t n, double sigma, fl_rng *r)
{
    for (size_t i = 0; i + 1 < n; i += 2) { /* Box-Muller, both values */
        double radius = sigma * sqrt(-2 * log(1 - fl_rng_uniform(r))), angle = 2 * M_PI * fl_rng_uniform(r);
        x[i] = llround(radius * cos(angle));
        x[i + 1] = llround(radius * sin(angle));
    }
    if (n % 2)
        x[n - 1] = llround(sigma * fl_rng_normal(r));
}

static dp_presence measure(const int64_t *x, size_t n, uint32_t steps)
{
    dp_presence p;
    dp_presence_measure(&p, x, n, S2, steps);
    return p;
}

static void expect_near(double found, double wanted, double relative)
{
    if (!(fabs(found - wanted) <= relative * fabs(wanted)))
        fail_msg("%.17g, expected %.17g", found, wanted);
}

/* For even k, P(X > x) is the chance of fewer than k/2 events of a Poisson law with mean x/2: added up term by term. */
static double above_by_poisson(double x, unsigned k)
{
    long double sum = 0, mean = (long double)x / 2;
    for (unsigned j = 0; j < k / 2; j++)
        sum += expl(j * logl(mean) - mean - lgammal(j + 1.0L));
    return (double)sum;
}

static void chi_squared_is_right(void **state)
{
    (void)state;
    expect_near(dp_chi2_below(3.841458820694124, 1), 0.95, 1e-12); /* 1.9599639845400545 squared */
    expect_near(dp_chi2_above(3.0, 2), exp(-1.5), 1e-12);
    expect_near(dp_chi2_above(29.58829844507442, 10), 0.001, 1e-9);
    static const unsigned ks[] = {2, 10, 100, 198, 202, 1000, 100000};
    for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++) {
        for (double z = -6; z <= 6; z += 1.5) {
            double x = ks[i] + z * sqrt(2.0 * ks[i]);
            if (x <= 0)
                continue;
            double above = above_by_poisson(x, ks[i]), below = 1 - above;
            expect_near(dp_chi2_above(x, ks[i]), above, 1e-9);
            if (below > 1e-5)
                expect_near(dp_chi2_below(x, ks[i]), below, 1e-9);
            expect_near(dp_chi2_below(x, ks[i]) + dp_chi2_above(x, ks[i]), 1, 1e-12);
        }
        expect_near(dp_chi2_below(dp_chi2_quantile(1e-4, ks[i]), ks[i]), 1e-4, 1e-6);
        expect_near(dp_chi2_above(dp_chi2_quantile(1 - 1e-4, ks[i]), ks[i]), 1e-4, 1e-6);
    }
    /* a billion: Wilson and Hilferty's cube is exact to 1e-5 of a standard deviation there */
    double k = 1e9, h = 2 / (9 * k), x = k * pow(1 - h + 3 * sqrt(h), 3);
    expect_near(dp_chi2_above(x, k), 0.5 * erfc(3 / M_SQRT2), 1e-3);
    assert_true(dp_chi2_below(0, 5) == 0 && dp_chi2_above(0, 5) == 1 && dp_chi2_below(-1, 5) == 0);
}

/* The numbers that presence.h states. */
static void the_stated_sizes_are_true(void **state)
{
    (void)state;
    static const struct {
        double n, f;
    } stated[] = {{DP_PRESENCE_LEAST, 0.05}, {1992, 0.1}, {49, 0.5}};
    for (size_t i = 0; i < sizeof stated / sizeof stated[0]; i++) {
        double here = dp_presence_power(stated[i].n, stated[i].f, DP_PRESENCE_POOLED);
        double before = dp_presence_power(stated[i].n - 1, stated[i].f, DP_PRESENCE_POOLED);
        if (!(here >= 0.999 && before < 0.999)) {
            double n = 2;
            while (dp_presence_power(n, stated[i].f, DP_PRESENCE_POOLED) < 0.999)
                n++;
            fail_msg("a shortfall of %g is found with 99.9 %% from %.0f coordinates on", stated[i].f, n);
        }
    }
    assert_true(dp_presence_power(COORDINATES, 0.05, DP_PRESENCE_POOLED) > 1 - 1e-12);
    assert_true(DP_PRESENCE_POOLED + DP_PRESENCE_EACH + DP_PRESENCE_WEIGHTS + DP_PRESENCE_REPEAT <=
                DP_PRESENCE_ALPHA * 1.0000001);
}

/*
 * Honest noise is accused with probability 1e-3 a run: more than 3 of 200 by chance are below 1e-4, and the seed is fixed.
 * A shortfall of 5 % is 20 standard errors away at this size.
 */
static void a_shortfall_of_a_twentieth_is_found_and_honest_noise_is_not_accused(void **state)
{
    (void)state;
    const char *wish = getenv("CORDON_PRESENCE_RUNS");
    long runs = wish ? atol(wish) : 200, accused = 0, missed = 0;
    double sigma = sqrt((double)S2);
    fl_rng r;
    fl_rng_init(&r, 20260301, 1);
    for (long i = 0; i < runs; i++) {
        fill(block, COORDINATES, sigma, &r);
        dp_presence p = measure(block, COORDINATES, 1);
        accused += dp_presence_spread(&p) < DP_PRESENCE_ALPHA;
        for (size_t j = 0; j < COORDINATES; j++) /* 5 % too little */
            block[j] = llround(0.95 * (double)block[j]);
        p = measure(block, COORDINATES, 1);
        missed += dp_presence_spread(&p) >= DP_PRESENCE_ALPHA;
    }
    if (wish)
        print_message("%ld runs: honest noise accused %ld times, a shortfall of 5 %% missed %ld times\n", runs, accused,
                      missed);
    assert_true(accused <= 3 + runs / 400); /* expected: runs / 1000; 10^4 runs: 28 or more are below 1e-5 */
    assert_int_equal(missed, 0);
}

/* p-values of honest noise are uniform, at a small size too: a tenth below 0.1. 5 standard errors of 2000 are 0.034. */
static void p_values_are_what_they_say(void **state)
{
    (void)state;
    enum { RUNS = 2000, N = 33 };
    unsigned spread = 0, centre = 0, weights = 0;
    fl_rng r;
    fl_rng_init(&r, 7, 7);
    for (int i = 0; i < RUNS; i++) {
        fill(block, N, sqrt(4.0 * (double)S2), &r); /* four steps */
        dp_presence p = measure(block, N, 4);
        spread += dp_presence_spread(&p) < 0.1;
        centre += dp_presence_centre(&p) < 0.1;
        weights += dp_presence_weights(&p, true) < 0.1;
    }
    assert_in_range(spread, 200 - 68, 200 + 68);
    assert_in_range(centre, 200 - 68, 200 + 68);
    assert_in_range(weights, 200 - 68, 200 + 68);
}

/* The real sampler, at parameters where the discrete law differs from the Gaussian and where it does not. Random seeds:
 * a p-value below 1e-9 has that probability, in each of ten. */
static void the_sampler_s_noise_passes(void **state)
{
    (void)state;
    static const uint64_t parameters[] = {1, 2, 50, 4097, S2};
    fl_csprng random;
    fl_csprng_init(&random);
    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++) {
        dp_presence p;
        dp_noise_fill(block, 20000, parameters[i], &random);
        dp_presence_measure(&p, block, 20000, parameters[i], 1);
        assert_true(dp_presence_spread(&p) > 1e-9);
        assert_true(dp_presence_centre(&p) > 1e-9);
        assert_false(p.is_constant);
        for (size_t j = 0; j < 10000; j++)
            block[j] += block[10000 + j];
        dp_presence_measure(&p, block, 10000, parameters[i], 2);
        assert_true(dp_presence_spread(&p) > 1e-9);
    }
    fl_csprng_fini(&random);
    double variance, kurtosis; /* sum of (1 + 2 sum exp(-x^2/2)): the first digits are the continuous ones */
    dp_noise_law(&variance, &kurtosis, 1);
    assert_true(variance < 1 && variance > 1 - 1e-5 && fabs(kurtosis) < 1e-3 && kurtosis != 0);
    dp_noise_law(&variance, &kurtosis, 64);
    assert_true(variance == 64 && kurtosis == 0);
}

static void zeros_constants_and_offsets_are_found(void **state)
{
    (void)state;
    enum { N = 256 };
    fl_rng r;
    fl_rng_init(&r, 3, 3);
    memset(block, 0, N * sizeof *block);
    dp_presence p = measure(block, N, 1);
    assert_true(p.is_constant && dp_presence_spread(&p) < 1e-12 && dp_presence_ratio(&p) == 0);
    for (size_t i = 0; i < N; i++) /* the right square */
        block[i] = llround(sqrt((double)S2));
    p = measure(block, N, 1);
    assert_true(p.is_constant && dp_presence_spread(&p) > 0.1 && dp_presence_centre(&p) < 1e-12);
    fill(block, N, sqrt((double)S2), &r);
    p = measure(block, N, 1);
    assert_true(!p.is_constant && dp_presence_spread(&p) > 1e-3 && dp_presence_centre(&p) > 1e-3);
    for (size_t i = 0; i < N; i++) /* noise around a value that only its maker knows */
        block[i] += llround(sqrt((double)S2));
    p = measure(block, N, 1);
    assert_true(dp_presence_centre(&p) < 1e-12);
    dp_presence nothing = measure(block, 0, 1);
    assert_true(dp_presence_spread(&nothing) == 1 && dp_presence_centre(&nothing) == 1 && !nothing.is_constant);
}

/* Small blocks of many updates add up: 20 of 500 see what one of 10,000 sees, and one of 500 does not. */
static void blocks_of_a_ledger_add_up(void **state)
{
    (void)state;
    fl_rng r;
    fl_rng_init(&r, 11, 1);
    dp_presence sum = {0}, one;
    unsigned alone = 0;
    for (int i = 0; i < 20; i++) {
        fill(block, 500, 0.95 * sqrt((double)S2 * (double)(1 + i)), &r);
        one = measure(block, 500, (uint32_t)(1 + i)); /* the number of steps may differ */
        alone += dp_presence_spread(&one) < DP_PRESENCE_EACH / 40;
        dp_presence_add(&sum, &one);
    }
    assert_true(alone < 20 && dp_presence_spread(&sum) < DP_PRESENCE_POOLED);
    assert_true(fabs(dp_presence_ratio(&sum) - 0.95) < 0.03 && sum.n == 10000);
}

/* Weights hold signal too: more is right, less is not; of several steps a little less may be. */
static void weights_may_be_larger_never_smaller(void **state)
{
    (void)state;
    fl_rng r;
    fl_rng_init(&r, 13, 1);
    fill(block, COORDINATES, 1.5 * sqrt((double)S2), &r);
    dp_presence p = measure(block, COORDINATES, 1);
    assert_true(dp_presence_weights(&p, true) > 0.999);
    fill(block, COORDINATES, 0.97 * sqrt((double)S2), &r);
    p = measure(block, COORDINATES, 1);
    assert_true(dp_presence_weights(&p, true) < 1e-9 && dp_presence_weights(&p, false) > 0.999);
    fill(block, COORDINATES, 0.93 * sqrt((double)S2), &r);
    p = measure(block, COORDINATES, 1);
    assert_true(dp_presence_weights(&p, false) < 1e-9);
}

static double correlate(const int64_t *x, const int64_t *y, size_t n)
{
    float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
    assert_true(a && b);
    dp_presence_unit(a, x, n);
    dp_presence_unit(b, y, n);
    double r = dp_presence_correlation(a, b, n);
    free(a);
    free(b);
    return r;
}

static void repeated_noise_is_found_and_fresh_noise_is_not(void **state)
{
    (void)state;
    double limit = dp_presence_threshold(COORDINATES, 1000 * 999 / 2.0, DP_PRESENCE_REPEAT);
    assert_true(limit > 6 / sqrt(COORDINATES) && limit < 7 / sqrt(COORDINATES));
    fl_rng r;
    fl_rng_init(&r, 17, 1);
    fill(block, COORDINATES, sqrt((double)S2), &r);
    fill(other, COORDINATES, sqrt((double)S2), &r);
    assert_true(fabs(correlate(block, other, COORDINATES)) < limit); /* by chance above it: 2e-10 */
    expect_near(correlate(block, block, COORDINATES), 1, 1e-4);
    for (size_t i = 0; i < COORDINATES; i++)
        other[i] = -block[i];
    assert_true(correlate(block, other, COORDINATES) < -0.999);
    /* two sums of K steps that share one: r = 1/K, found up to K = sqrt(n) / 10 with 99.9 % (z + 3.1 standard errors) */
    fill(other, COORDINATES, sqrt(30.0 * (double)S2), &r);
    for (size_t i = 0; i < COORDINATES; i++)
        other[i] += block[i];
    int64_t *second = malloc(COORDINATES * sizeof *second);
    assert_non_null(second);
    fill(second, COORDINATES, sqrt(30.0 * (double)S2), &r);
    for (size_t i = 0; i < COORDINATES; i++)
        second[i] += block[i];
    assert_true(correlate(other, second, COORDINATES) > limit);
    free(second);
    /* zeros repeat nothing, and a few coordinates say nothing */
    memset(other, 0, 100 * sizeof *other);
    assert_true(correlate(other, block, 100) == 0);
    assert_true(dp_presence_threshold(7, 1, 1e-4) == 1 && dp_presence_threshold(0, 1, 1e-4) == 1);
    /* the threshold is that of a normal: 1.96 at 5 % */
    expect_near(dp_presence_threshold(10003, 1, 0.05), 0.01959964, 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chi_squared_is_right),
        cmocka_unit_test(the_stated_sizes_are_true),
        cmocka_unit_test(a_shortfall_of_a_twentieth_is_found_and_honest_noise_is_not_accused),
        cmocka_unit_test(p_values_are_what_they_say),
        cmocka_unit_test(the_sampler_s_noise_passes),
        cmocka_unit_test(zeros_constants_and_offsets_are_found),
        cmocka_unit_test(blocks_of_a_ledger_add_up),
        cmocka_unit_test(weights_may_be_larger_never_smaller),
        cmocka_unit_test(repeated_noise_is_found_and_fresh_noise_is_not),
    };
    return cmocka_run_group_tests(tests, make_blocks, free_blocks);
}
