/* Draws are compared with exact probabilities. They are random in every run: each comparison fails by chance with
 * probability below 1e-9 (statistics.h). */
#include "base/rng.h"
#include "privacy/noise.h"
#include "privacy/noise_parts.h"
#include "tests/privacy/statistics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_DRAWS = 400000, MAX_BINS = 41 };

static int64_t draws[N_DRAWS];

static void fill(uint64_t s2)
{
    fl_csprng r;
    fl_csprng_init(&r);
    dp_noise_fill(draws, N_DRAWS, s2, &r);
    fl_csprng_fini(&r);
}

/* Probabilities of the bins: every integer in [-reach, reach] by itself, what is beyond in the two outer bins. */
static size_t exact_bins(double *p, int *reach, double s2, double n)
{
    double z = 1, weight;
    for (int x = 1; (weight = 2 * exp(-(double)x * x / (2 * s2))) > 0; x++)
        z += weight;
    *reach = 0;
    while (*reach < (MAX_BINS - 1) / 2 && n * exp(-(*reach + 1.0) * (*reach + 1.0) / (2 * s2)) / z > 20)
        ++*reach;
    double inside = 0;
    for (int x = -*reach; x <= *reach; x++) {
        p[x + *reach] = exp(-(double)x * x / (2 * s2)) / z;
        inside += p[x + *reach];
    }
    p[0] += (1 - inside) / 2;
    p[2 * *reach] += (1 - inside) / 2;
    return 2 * (size_t)*reach + 1;
}

static void check_small(uint64_t s2)
{
    double p[MAX_BINS];
    size_t count[MAX_BINS] = {0};
    int reach;
    size_t n_bins = exact_bins(p, &reach, (double)s2, N_DRAWS);
    fill(s2);
    for (size_t i = 0; i < N_DRAWS; i++) {
        int64_t x = draws[i] < -reach ? -reach : draws[i] > reach ? reach : draws[i];
        count[x + reach]++;
    }
    double found = chi_squared(count, p, n_bins, N_DRAWS);
    if (found > chi_squared_limit((double)n_bins - 1))
        fail_msg("S2 = %llu: chi squared %g over %zu bins", (unsigned long long)s2, found, n_bins);
}

static void small_variances_have_the_exact_probabilities(void **state)
{
    (void)state;
    static const uint64_t list[] = {1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 24, 25, 26, 63, 100};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        check_small(list[i]);
}

/* With S >= 1000 the law is a rounded normal up to e^(-2 pi^2 S^2); 32 bins of equal width in units of S. */
static void check_large(uint64_t s2)
{
    enum { BINS = 32 };
    double p[BINS], s = sqrt((double)s2);
    size_t count[BINS] = {0};
    for (int i = 0; i < BINS; i++) {
        /* bin i holds the integers x with floor(x / (S/5)) == i - 16, the outer ones everything beyond: the edge is
         * at the first integer of the bin, less a half */
        double low = i == 0 ? -INFINITY : (ceil((i - 16) * s / 5) - 0.5) / s;
        double high = i == BINS - 1 ? INFINITY : (ceil((i - 15) * s / 5) - 0.5) / s;
        p[i] = 0.5 * (erf(high / sqrt(2)) - erf(low / sqrt(2)));
        if (low > 0)
            p[i] = 0.5 * (erfc(low / sqrt(2)) - erfc(high / sqrt(2)));
    }
    fill(s2);
    double square = 0, sum = 0;
    for (size_t i = 0; i < N_DRAWS; i++) {
        double bin = floor((double)draws[i] / (s / 5)) + 16;
        count[bin < 0 ? 0 : bin > BINS - 1 ? BINS - 1 : (size_t)bin]++;
        square += (double)draws[i] / s * ((double)draws[i] / s);
        sum += (double)draws[i] / s;
    }
    double found = chi_squared(count, p, BINS, N_DRAWS);
    if (found > chi_squared_limit(BINS - 1))
        fail_msg("S2 = %llu: chi squared %g", (unsigned long long)s2, found);
    /* variance S2 (relative error sqrt(2/n)) and mean 0 (1/sqrt(n)), at 6.4 standard errors */
    assert_true(fabs(square / N_DRAWS - 1) < 6.4 * sqrt(2.0 / N_DRAWS));
    assert_true(fabs(sum / N_DRAWS) < 6.4 / sqrt(N_DRAWS));
}

static void large_and_odd_variances_are_normal(void **state)
{
    (void)state;
    static const uint64_t list[] = {1000003, 6809103992, ((uint64_t)1 << 40) + 12345, ((uint64_t)1 << 56) - 1,
                                    (uint64_t)1 << 56};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        check_large(list[i]);
}

/* Low bits of wide noise are uniform and independent of the sign: a float in the sampler would show here. */
static void the_low_bits_are_uniform(void **state)
{
    (void)state;
    enum { BINS = 256 };
    size_t count[BINS] = {0};
    double p[BINS];
    fill((uint64_t)1 << 54);
    for (size_t i = 0; i < N_DRAWS; i++)
        count[((uint64_t)draws[i] & 127) | (draws[i] < 0 ? 128u : 0u)]++;
    for (int i = 0; i < BINS; i++)
        p[i] = 1.0 / BINS;
    assert_true(chi_squared(count, p, BINS, N_DRAWS) < chi_squared_limit(BINS - 1));
}

/* A second sampler, slow and simple: inversion of the cumulative law with a repeatable generator. */
static int64_t draw_by_inversion(fl_rng *r, const double *cumulative, int reach)
{
    double u = fl_rng_uniform(r);
    int x = 0;
    while (x < 2 * reach && cumulative[x] <= u)
        x++;
    return x - reach;
}

static void agrees_with_a_sampler_by_inversion(void **state)
{
    (void)state;
    enum { REACH = 80, S2 = 90 };
    double cumulative[2 * REACH + 1], z = 0, statistic = 0;
    size_t mine[2 * REACH + 1] = {0}, theirs[2 * REACH + 1] = {0}, df = 0;
    fl_rng r;
    for (int x = -REACH; x <= REACH; x++)
        cumulative[x + REACH] = z += exp(-(double)x * x / (2.0 * S2));
    for (int x = 0; x <= 2 * REACH; x++)
        cumulative[x] /= z;
    fl_rng_init(&r, 5, 0);
    fill(S2);
    for (size_t i = 0; i < N_DRAWS; i++) {
        assert_true(draws[i] >= -REACH && draws[i] <= REACH); /* beyond: e^-35 */
        mine[draws[i] + REACH]++;
        theirs[draw_by_inversion(&r, cumulative, REACH) + REACH]++;
    }
    /* chi squared of two samples; bins too rare for it are left out */
    for (int x = 0; x <= 2 * REACH; x++) {
        double both = (double)mine[x] + (double)theirs[x], difference = (double)mine[x] - (double)theirs[x];
        if (both < 100)
            continue;
        statistic += difference * difference / both;
        df++;
    }
    assert_true(df > 40);
    assert_true(statistic < chi_squared_limit((double)df));
}

static void consecutive_draws_are_uncorrelated_and_never_repeat(void **state)
{
    (void)state;
    double product = 0;
    fill((uint64_t)1 << 56);
    for (size_t i = 0; i + 1 < N_DRAWS; i++) {
        product += (double)draws[i] * 0x1p-28 * ((double)draws[i + 1] * 0x1p-28);
        assert_true(llabs(draws[i]) < (int64_t)1 << 33); /* beyond 32 S: e^-512 */
    }
    assert_true(fabs(product / N_DRAWS) < 6.4 / sqrt(N_DRAWS));
    static int64_t first[8];
    memcpy(first, draws, sizeof first);
    fill((uint64_t)1 << 56);
    assert_memory_not_equal(first, draws, sizeof first); /* 2^-230 by chance */
}

/*
 * The coin of probability num/den with every first and second byte, and the same byte ever after: it must be true for
 * exactly those 16-bit prefixes that lie below num/den. No chance involved.
 */
static unsigned count_true(unsigned __int128 num, const dp_denominator *d, uint8_t tail)
{
    dp_bits b;
    unsigned n = 0;
    memset(b.bytes, tail, sizeof b.bytes);
    b.r = NULL; /* never reached: 1024 bytes decide any of these */
    for (unsigned prefix = 0; prefix < 65536; prefix++) {
        b.bytes[0] = (uint8_t)(prefix >> 8);
        b.bytes[1] = (uint8_t)prefix;
        b.used = 0;
        n += dp_bernoulli_ratio(&b, num, d);
        assert_true(b.used < 100);
    }
    return n;
}

static void a_coin_falls_exactly_as_its_ratio_says(void **state)
{
    (void)state;
    typedef unsigned __int128 u128;
    const u128 wide = ((u128)1 << 113) - 3;
    const struct {
        u128 num, den;
    } list[] = {{1, 3},
                {2, 3},
                {1, 7},
                {5, 1000},
                {0, 5},
                {65535, 65537},
                {12345, (u128)1 << 28},
                {((u128)1 << 28) - 1, ((u128)1 << 28) + 1},
                {((u128)1 << 54) - 1, ((u128)1 << 54) + 12345},
                {wide / 3, wide},
                {wide / 5 * 4, wide},
                {1, wide},
                {wide - 1, wide},
                {wide / 1000, wide - 12345}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        dp_denominator d = dp_denominator_of(list[i].den);
        /* with zeros after it a prefix u is the number u / 2^16: below the ratio for u = 0 .. ceil(ratio 2^16) - 1 */
        u128 scaled = list[i].num, floor_part = 0;
        for (int bit = 0; bit < 16; bit++) {
            scaled <<= 1;
            floor_part = 2 * floor_part + (scaled >= list[i].den);
            scaled -= scaled >= list[i].den ? list[i].den : 0;
        }
        assert_int_equal(count_true(list[i].num, &d, 0x00), floor_part + (scaled > 0));
        /* with ones after it, it is just below (u + 1) / 2^16 */
        assert_int_equal(count_true(list[i].num, &d, 0xff), floor_part);
    }
}

/* exp(-gamma), 4,000,000 tosses each, 6.4 standard errors: a false alarm below 1e-9 for all. */
static void a_coin_of_an_exponential_is_the_exponential(void **state)
{
    (void)state;
    enum { TOSSES = 4000000 };
    static const struct {
        uint64_t num, den;
        double expected;
    } list[] = {{1, 10, 0.90483741803595957},
                {1, 2, 0.60653065971263342},
                {1, 1, 0.36787944117144232},
                {27, 10, 0.067205512739749765},
                {(uint64_t)1 << 60, ((uint64_t)1 << 62) - 1, 0.77880078307140487}};
    fl_csprng r;
    fl_csprng_init(&r);
    static dp_bits b;
    b.r = &r;
    b.used = sizeof b.bytes;
    for (size_t i = 0; i < 5; i++) {
        dp_denominator d = dp_denominator_of(list[i].den);
        double n = 0, p = list[i].expected;
        for (int toss = 0; toss < TOSSES; toss++)
            n += dp_bernoulli_exp(&b, list[i].num, &d);
        assert_true(fabs(n / TOSSES - p) < 6.4 * sqrt(p * (1 - p) / TOSSES));
    }
    dp_denominator one = dp_denominator_of(1);
    for (int toss = 0; toss < 1000; toss++)
        assert_true(dp_bernoulli_exp(&b, 0, &one));
    fl_csprng_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_coin_falls_exactly_as_its_ratio_says),
        cmocka_unit_test(a_coin_of_an_exponential_is_the_exponential),
        cmocka_unit_test(small_variances_have_the_exact_probabilities),
        cmocka_unit_test(large_and_odd_variances_are_normal),
        cmocka_unit_test(the_low_bits_are_uniform),
        cmocka_unit_test(agrees_with_a_sampler_by_inversion),
        cmocka_unit_test(consecutive_draws_are_uncorrelated_and_never_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
