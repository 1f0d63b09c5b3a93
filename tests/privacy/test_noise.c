/* Draws are compared with exact probabilities. They are random in every run: each comparison fails by chance with
 * probability below 1e-9 (statistics.h). */
#include "base/rng.h"
#include "privacy/noise.h"
#include "privacy/noise_exact.h"
#include "tests/privacy/statistics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef CORDON_SANITIZED
enum { FAST_DRAWS = 400000 };
#else
enum { FAST_DRAWS = 2000000 };
#endif
enum { EXACT_DRAWS = 400000, MAX_BINS = 41 };

typedef enum sampler { FAST, EXACT } sampler;

static int64_t draws[FAST_DRAWS];
static size_t n_draws; /* of them */

static void fill(sampler which, uint64_t s2)
{
    static dp_noise_scratch scratch;
    fl_csprng r;
    fl_csprng_init(&r);
    n_draws = which == FAST ? FAST_DRAWS : EXACT_DRAWS;
    if (which == EXACT) {
        dp_noise_fill(draws, n_draws, s2, &r);
    } else {
        dp_noise t;
        assert_int_equal(dp_noise_init(&t, s2, NULL), FL_OK);
        dp_noise_draw(&t, draws, n_draws, &r, &scratch);
        dp_noise_fini(&t);
    }
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

static void check_small(sampler which, uint64_t s2)
{
    double p[MAX_BINS];
    size_t count[MAX_BINS] = {0};
    int reach;
    size_t n_bins = exact_bins(p, &reach, (double)s2, which == FAST ? FAST_DRAWS : EXACT_DRAWS);
    fill(which, s2);
    for (size_t i = 0; i < n_draws; i++) {
        int64_t x = draws[i] < -reach ? -reach : draws[i] > reach ? reach : draws[i];
        count[x + reach]++;
    }
    double found = chi_squared(count, p, n_bins, (double)n_draws);
    if (found > chi_squared_limit((double)n_bins - 1))
        fail_msg("S2 = %llu: chi squared %g over %zu bins", (unsigned long long)s2, found, n_bins);
}

static void small_variances_have_the_exact_probabilities(void **state)
{
    (void)state;
    static const uint64_t list[] = {1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 24, 25, 26, 63, 100};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        for (sampler which = FAST; which <= EXACT; which++)
            check_small(which, list[i]);
}

/* With S >= 1000 the law is a rounded normal up to e^(-2 pi^2 S^2); 32 bins of equal width in units of S. */
static void check_large(sampler which, uint64_t s2)
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
    fill(which, s2);
    double square = 0, sum = 0;
    for (size_t i = 0; i < n_draws; i++) {
        double bin = floor((double)draws[i] / (s / 5)) + 16;
        count[bin < 0 ? 0 : bin > BINS - 1 ? BINS - 1 : (size_t)bin]++;
        square += (double)draws[i] / s * ((double)draws[i] / s);
        sum += (double)draws[i] / s;
    }
    double found = chi_squared(count, p, BINS, (double)n_draws);
    if (found > chi_squared_limit(BINS - 1))
        fail_msg("S2 = %llu: chi squared %g", (unsigned long long)s2, found);
    /* variance S2 (relative error sqrt(2/n)) and mean 0 (1/sqrt(n)), at 6.4 standard errors */
    assert_true(fabs(square / (double)n_draws - 1) < 6.4 * sqrt(2.0 / (double)n_draws));
    assert_true(fabs(sum / (double)n_draws) < 6.4 / sqrt((double)n_draws));
}

static void large_and_odd_variances_are_normal(void **state)
{
    (void)state;
    static const uint64_t list[] = {
        1000003, 262143 * 4 + 1, 6809103992, ((uint64_t)1 << 40) + 12345, ((uint64_t)1 << 56) - 1, (uint64_t)1 << 56};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        for (sampler which = FAST; which <= EXACT; which++)
            check_large(which, list[i]);
}

/* Low bits of wide noise are uniform and independent of the sign: a float in the sampler would show here. All of them
 * lie within an entry of the table, whose position is (|x| - 1) mod w. */
static void the_low_bits_are_uniform(void **state)
{
    (void)state;
    enum { BINS = 256 };
    for (sampler which = FAST; which <= EXACT; which++) {
        fill(which, (uint64_t)1 << 54);
        for (unsigned shift = 0; shift <= 12; shift += 6) { /* w = 2^19; at bit 19 the density starts to bend */
            size_t count[BINS] = {0};
            double p[BINS];
            for (size_t i = 0; i < n_draws; i++)
                count[((uint64_t)draws[i] >> shift & 127) | (draws[i] < 0 ? 128u : 0u)]++;
            for (int i = 0; i < BINS; i++)
                p[i] = 1.0 / BINS;
            assert_true(chi_squared(count, p, BINS, (double)n_draws) < chi_squared_limit(BINS - 1));
        }
    }
}

/* Parity of odd and of middling parameters, w = 1, 2 and 4: P(x is odd) is 1/2 up to e^(-pi^2 S^2 / 2). */
static void odd_and_even_are_equally_frequent(void **state)
{
    (void)state;
    static const uint64_t list[] = {9, 65521, 262143, 262144, 1048575, 1048576, 1048577};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        size_t n_odd = 0;
        fill(FAST, list[i]);
        for (size_t k = 0; k < n_draws; k++)
            n_odd += (size_t)(draws[k] & 1);
        assert_true(fabs((double)n_odd - (double)n_draws / 2) < 6.4 * sqrt((double)n_draws / 4));
    }
}

/* No seams: the place in an entry, (|x| - 1) mod w, has the probabilities that the law gives, first and last included, and
 * so have the integers on both sides of zero. */
static void entries_of_the_table_leave_no_seams(void **state)
{
    (void)state;
    enum { W = 256, CENTRE = 8 };
    const double s = 65536;
    double p[W + 1] = {0}, z = 1, zero[2 * CENTRE + 2], inside = 0;
    size_t count[W + 1] = {0}, centre[2 * CENTRE + 2] = {0};
    for (int x = 1; x < 12 * 65536; x++) {
        double weight = 2 * exp(-(double)x / s * x / s / 2);
        z += weight;
        p[(x - 1) % W] += weight;
    }
    p[W] = 1; /* zero itself */
    for (int i = 0; i <= W; i++)
        p[i] /= z;
    fill(FAST, (uint64_t)1 << 32);
    for (size_t i = 0; i < n_draws; i++)
        count[draws[i] == 0 ? W : (size_t)(llabs(draws[i]) - 1) % W]++;
    assert_true(chi_squared(count, p, W + 1, (double)n_draws) < chi_squared_limit(W));

    /* -8 .. 8 one by one: zero is one entry, and its neighbours another */
    fill(FAST, 250000); /* S = 500 */
    for (int x = -CENTRE; x <= CENTRE; x++)
        inside += zero[x + CENTRE] = exp(-(double)x * x / 500000) / (500 * sqrt(2 * acos(-1)));
    zero[2 * CENTRE + 1] = 1 - inside;
    for (size_t i = 0; i < n_draws; i++)
        centre[llabs(draws[i]) <= CENTRE ? draws[i] + CENTRE : 2 * CENTRE + 1]++;
    assert_true(chi_squared(centre, zero, 2 * CENTRE + 2, (double)n_draws) < chi_squared_limit(2 * CENTRE + 1));
}

/* Chi squared of two samples of the same law; cells too rare for it are left out. */
static void compare(const size_t *a, double n_a, const size_t *b, double n_b, size_t n_cells, size_t least)
{
    double statistic = 0;
    size_t df = 0;
    for (size_t i = 0; i < n_cells; i++) {
        double both = (double)(a[i] + b[i]);
        double difference = (double)a[i] * sqrt(n_b / n_a) - (double)b[i] * sqrt(n_a / n_b);
        if (both < 100)
            continue;
        statistic += difference * difference / both;
        df++;
    }
    assert_true(df > least);
    assert_true(statistic < chi_squared_limit((double)df));
}

/* Cells of width S/20, and the two low bits. */
static void the_two_samplers_agree(void **state)
{
    (void)state;
    enum { CELLS = 256 };
    static const uint64_t list[] = {3, 1000, 262143, 262147, 1000003, ((uint64_t)1 << 40) + 12345, (uint64_t)1 << 56};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        size_t count[2][CELLS] = {{0}}, low[2][8] = {{0}};
        double n[2], s = sqrt((double)list[i]);
        for (sampler which = FAST; which <= EXACT; which++) {
            fill(which, list[i]);
            n[which] = (double)n_draws;
            for (size_t k = 0; k < n_draws; k++) {
                double cell = floor((double)draws[k] / s * 20) + CELLS / 2;
                count[which][cell < 0 ? 0 : cell > CELLS - 1 ? CELLS - 1 : (size_t)cell]++;
                low[which][((uint64_t)draws[k] & 3) | (draws[k] < 0 ? 4u : 0u)]++;
            }
        }
        compare(count[FAST], n[FAST], count[EXACT], n[EXACT], CELLS, list[i] < 1000 ? 8 : 80);
        compare(low[FAST], n[FAST], low[EXACT], n[EXACT], 8, 7);
    }
}

/* A third sampler, slow and simple: inversion of the cumulative law with a repeatable generator. */
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
    double cumulative[2 * REACH + 1], z = 0;
    fl_rng r;
    for (int x = -REACH; x <= REACH; x++)
        cumulative[x + REACH] = z += exp(-(double)x * x / (2.0 * S2));
    for (int x = 0; x <= 2 * REACH; x++)
        cumulative[x] /= z;
    fl_rng_init(&r, 5, 0);
    for (sampler which = FAST; which <= EXACT; which++) {
        size_t mine[2 * REACH + 1] = {0}, theirs[2 * REACH + 1] = {0};
        fill(which, S2);
        for (size_t i = 0; i < n_draws; i++) {
            assert_true(draws[i] >= -REACH && draws[i] <= REACH); /* beyond: e^-35 */
            mine[draws[i] + REACH]++;
            theirs[draw_by_inversion(&r, cumulative, REACH) + REACH]++;
        }
        compare(mine, (double)n_draws, theirs, (double)n_draws, 2 * REACH + 1, 40);
    }
}

/* Neighbours are independent: uncorrelated in value and in size, and the pairs of their octiles are uniform; so are draws
 * a whole block apart. */
static void check_neighbours(size_t lag)
{
    static const double edges[] = {-1.15034938, -0.67448975, -0.31863936, 0, 0.31863936, 0.67448975, 1.15034938};
    size_t pairs[64] = {0};
    double p[64], product = 0, sizes = 0, n = (double)(n_draws - lag);
    for (size_t i = 0; i + lag < n_draws; i++) {
        double x = (double)draws[i] * 0x1p-28, y = (double)draws[i + lag] * 0x1p-28;
        unsigned a = 0, b = 0;
        for (int k = 0; k < 7; k++) {
            a += x >= edges[k];
            b += y >= edges[k];
        }
        pairs[8 * a + b]++;
        product += x * y;
        sizes += (x * x - 1) * (y * y - 1); /* variance 4 */
    }
    for (int i = 0; i < 64; i++)
        p[i] = 1.0 / 64;
    assert_true(fabs(product / n) < 6.4 / sqrt(n));
    assert_true(fabs(sizes / n) < 2 * 8 / sqrt(n)); /* heavier tails than a normal: eight standard errors */
    assert_true(chi_squared(pairs, p, 64, n) < chi_squared_limit(63));
}

static void neighbours_are_independent_and_draws_never_repeat(void **state)
{
    (void)state;
    for (sampler which = FAST; which <= EXACT; which++) {
        fill(which, (uint64_t)1 << 56);
        for (size_t i = 0; i < n_draws; i++)
            assert_true(llabs(draws[i]) < (int64_t)1 << 33); /* beyond 32 S: e^-512 */
        check_neighbours(1);
        check_neighbours(2);
        check_neighbours(DP_NOISE_BLOCK);
        static int64_t first[8];
        memcpy(first, draws, sizeof first);
        fill(which, (uint64_t)1 << 56);
        assert_memory_not_equal(first, draws, sizeof first); /* 2^-230 by chance */
    }
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
        cmocka_unit_test(odd_and_even_are_equally_frequent),
        cmocka_unit_test(entries_of_the_table_leave_no_seams),
        cmocka_unit_test(the_two_samplers_agree),
        cmocka_unit_test(agrees_with_a_sampler_by_inversion),
        cmocka_unit_test(neighbours_are_independent_and_draws_never_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
