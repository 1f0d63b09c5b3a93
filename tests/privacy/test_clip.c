#include "base/rng.h"
#include "privacy/clip.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef unsigned __int128 u128;

enum { MAX_D = 300 };

static void random_gradient(float *g, size_t d, fl_rng *r)
{
    double size = pow(10, 20 * fl_rng_uniform(r) - 10);
    for (size_t i = 0; i < d; i++)
        g[i] = (float)(fl_rng_normal(r) * size * (fl_rng_below(r, 8) == 0 ? 1000 : 1));
}

static void no_random_gradient_ever_exceeds_the_bound(void **state)
{
    (void)state;
    float g[MAX_D];
    int32_t z[MAX_D];
    fl_rng r;
    fl_rng_init(&r, 11, 0);
    size_t at_bound = 0;
    for (int i = 0; i < 100000; i++) {
        size_t d = 1 + fl_rng_below(&r, i % 100 == 0 ? MAX_D : 20);
        uint32_t units = (uint32_t)1 << fl_rng_below(&r, 31);
        double clip = pow(10, 4 * fl_rng_uniform(&r) - 2);
        random_gradient(g, d, &r);
        dp_clip_to_grid(z, g, d, clip, units);
        u128 square = dp_grid_sqnorm(z, d), bound = (u128)units * units;
        assert_true(square <= bound);
        at_bound += square > bound / 100 * 81;
    }
    assert_true(at_bound > 30000); /* the bound is used, not only kept */
}

/* Each coordinate is the exact quotient cut toward zero, within one unit; signs are kept. */
static void values_are_the_scaled_gradient_cut_toward_zero(void **state)
{
    (void)state;
    float g[MAX_D];
    int32_t z[MAX_D];
    fl_rng r;
    fl_rng_init(&r, 12, 0);
    for (int round = 0; round < 2000; round++) {
        size_t d = 1 + fl_rng_below(&r, MAX_D);
        random_gradient(g, d, &r);
        double clip = 1.5, square = 0;
        uint32_t units = 1 << 16;
        for (size_t i = 0; i < d; i++)
            square += (double)g[i] * g[i];
        double norm = sqrt(square), scale = (norm > clip ? clip / norm : 1) * units / clip;
        dp_clip_to_grid(z, g, d, clip, units);
        for (size_t i = 0; i < d; i++) {
            double wanted = g[i] * scale;
            assert_true(fabs((double)z[i]) <= fabs(wanted) * (1 + 1e-9) &&
                        fabs(wanted) * (1 - 0x1p-22) - fabs((double)z[i]) < 1 + 1e-3);
            assert_true(z[i] == 0 || (z[i] > 0) == (g[i] > 0));
        }
    }
}

static void a_gradient_inside_the_clip_is_only_rounded(void **state)
{
    (void)state;
    const float g[4] = {0.5f, -0.25f, 0.125f, -0.0000001f};
    int32_t z[4];
    dp_clip_to_grid(z, g, 4, 1.0, 1024);
    assert_int_equal(z[0], 512);
    assert_int_equal(z[1], -256);
    assert_int_equal(z[2], 128);
    assert_int_equal(z[3], 0);
    const float one[1] = {-7e30f};
    dp_clip_to_grid(z, one, 1, 1.0, DP_CLIP_UNITS_MAX);
    assert_true(-z[0] <= (int32_t)DP_CLIP_UNITS_MAX && -z[0] > (int32_t)DP_CLIP_UNITS_MAX - 256); /* s is a float */
}

static void anything_not_finite_becomes_zero_in_silence(void **state)
{
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t b = 0; b < 4; b++) {
        for (size_t at = 0; at < 21; at++) {
            float g[21];
            int32_t z[21], zero[21] = {0};
            for (size_t i = 0; i < 21; i++)
                g[i] = 0.3f;
            g[at] = bad[b];
            memset(z, 1, sizeof z);
            dp_clip_to_grid(z, g, 21, 1.0, 4096);
            assert_memory_equal(z, zero, sizeof z);
        }
    }
}

static void huge_and_tiny_values_are_safe(void **state)
{
    (void)state;
    float g[MAX_D];
    int32_t z[MAX_D];
    for (size_t i = 0; i < MAX_D; i++)
        g[i] = i % 2 ? FLT_MAX : -FLT_MAX;
    dp_clip_to_grid(z, g, MAX_D, 1e-3, 1 << 20);
    u128 square = dp_grid_sqnorm(z, MAX_D);
    assert_true(square <= (u128)1 << 40 && square > (u128)1 << 39);
    for (size_t i = 0; i < MAX_D; i++)
        g[i] = 1e-45f;
    dp_clip_to_grid(z, g, MAX_D, 1.0, DP_CLIP_UNITS_MAX);
    assert_true(dp_grid_sqnorm(z, MAX_D) == 0);
    dp_clip_to_grid(z, g, MAX_D, 1e-320, DP_CLIP_UNITS_MAX); /* C / R underflows: zero, not nonsense */
    assert_true(dp_grid_sqnorm(z, MAX_D) <= (u128)DP_CLIP_UNITS_MAX * DP_CLIP_UNITS_MAX);
}

/* 1 and 2^-30 on a grid of 2^30: the norm rounds to 1, so the first attempt gives (2^30, 1), one too long. */
static void a_vector_that_rounding_made_too_long_is_made_again(void **state)
{
    (void)state;
    const float g[2] = {1.0f, 0x1p-30f};
    int32_t z[2];
    dp_clip_piece(z, g, 2, dp_clip_scale(1.0 + 0x1p-60, 0.5, DP_CLIP_UNITS_MAX, 0));
    assert_true(dp_grid_sqnorm(z, 2) == ((u128)1 << 60) + 1);
    dp_clip_to_grid(z, g, 2, 0.5, DP_CLIP_UNITS_MAX);
    assert_true(dp_grid_sqnorm(z, 2) <= (u128)1 << 60);
    assert_int_equal(z[0], (1 << 30) - (1 << 10));
    assert_int_equal(z[1], 0);
}

/* A caller of the pieces whose norm was wrong gets a vector that the check refuses. */
static void a_wrong_norm_is_caught_by_the_integer_check(void **state)
{
    (void)state;
    const float g[3] = {1e20f, NAN, -1e20f};
    int32_t z[3];
    dp_clip_piece(z, g, 3, dp_clip_scale(1.0, 1.0, 4096, 0));
    assert_true(dp_grid_sqnorm(z, 3) > (u128)4096 * 4096);
    dp_clip_piece(z, g, 3, dp_clip_scale(NAN, 1.0, 4096, 0));
    assert_true(dp_grid_sqnorm(z, 3) == 0);
    float before = INFINITY;
    for (int attempt = 0; attempt < DP_CLIP_ATTEMPTS; attempt++) {
        float scale = dp_clip_scale(9.0, 1.0, 4096, attempt);
        assert_true(scale < before && (double)scale > 4096 / 3.1);
        before = scale;
    }
}

static void pieces_give_the_same_as_the_whole(void **state)
{
    (void)state;
    float g[MAX_D];
    int32_t whole[MAX_D], pieces[MAX_D];
    fl_rng r;
    fl_rng_init(&r, 13, 0);
    random_gradient(g, 64, &r);
    dp_clip_to_grid(whole, g, 64, 1.0, 1 << 18);
    double lane[8] = {0};
    for (size_t i = 0; i < 64; i++)
        lane[i % 8] += (double)g[i] * g[i];
    double square = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    float scale = dp_clip_scale(square, 1.0, 1 << 18, 0);
    dp_clip_piece(pieces, g, 10, scale);
    dp_clip_piece(pieces + 10, g + 10, 54, scale);
    assert_memory_equal(whole, pieces, 64 * sizeof whole[0]);
}

/* Sensitivity: the sum with and without a patient differs by that patient's z exactly, in any order. */
static void removing_a_patient_removes_exactly_its_vector(void **state)
{
    (void)state;
    enum { PATIENTS = 50, D = 33 };
    static float g[PATIENTS][D];
    static int32_t z[PATIENTS][D];
    fl_rng r;
    fl_rng_init(&r, 14, 0);
    for (int p = 0; p < PATIENTS; p++) {
        random_gradient(g[p], D, &r);
        if (p % 10 == 3)
            g[p][p % D] = NAN;
        dp_clip_to_grid(z[p], g[p], D, 0.7, DP_CLIP_UNITS_MAX);
    }
    int32_t all[D] = {0};
    for (int p = 0; p < PATIENTS; p++)
        dp_sum_add(all, z[p], D);
    for (int gone = 0; gone < PATIENTS; gone++) {
        int32_t rest[D] = {0};
        u128 distance = 0;
        for (int p = PATIENTS - 1; p >= 0; p--) {
            if (p != gone)
                dp_sum_add(rest, z[p], D);
        }
        for (int i = 0; i < D; i++) {
            int64_t difference = (int32_t)((uint32_t)all[i] - (uint32_t)rest[i]);
            assert_true(difference == z[gone][i]);
            distance += (u128)((__int128)difference * difference);
        }
        assert_true(distance <= (u128)DP_CLIP_UNITS_MAX * DP_CLIP_UNITS_MAX);
    }
}

/* As many vectors as can be: at the bound in one coordinate the sum is that of int64; one more might not be. */
static void a_sum_of_so_many_patients_is_exact(void **state)
{
    (void)state;
    static const uint32_t units[] = {1, 3, 4096, 1 << 18, (1 << 20) - 1, (1 << 29) + 1, DP_CLIP_UNITS_MAX};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        const uint64_t n = dp_sum_patients(units[i]);
        const int32_t z[2] = {(int32_t)units[i], -(int32_t)units[i]};
        int32_t sum[2] = {0};
        assert_true(n >= 1 && n * units[i] <= INT32_MAX && (n + 1) * units[i] > INT32_MAX);
        for (uint64_t k = 0; k < n && n < 1 << 20; k++)
            dp_sum_add(sum, z, 2);
        assert_true(n >= 1 << 20 || (sum[0] == (int64_t)(n * units[i]) && sum[1] == -(int64_t)(n * units[i])));
    }
}

/* A factor is a float that is at most R / |g|, and the next one is more: products with floats are exact in double. */
static void a_factor_is_a_float_rounded_down(void **state)
{
    (void)state;
    fl_rng r;
    fl_rng_init(&r, 15, 0);
    for (int i = 0; i < 100000; i++) {
        const double norm = exp(60 * fl_rng_uniform(&r) - 30);
        const float s = dp_clip_scale(norm * norm, 1e-14, 1 << 18, 0);
        const double exact = (1 << 18) / sqrt(norm * norm);
        assert_true((double)s <= exact && (double)nextafterf(s, INFINITY) > exact);
    }
    assert_true(dp_clip_scale(1e80, 1e-14, 1, 0) == 0); /* no normal float */
}

/* AUTO-S: R |g| / (|g| + 0.01) long, but for the truncation of d values; nothing is nothing, and broken is nothing. */
static void automatic_clipping_gives_every_gradient_nearly_the_same_length(void **state)
{
    (void)state;
    static float g[MAX_D];
    static int32_t z[MAX_D];
    const uint32_t units = 1u << 20;
    fl_rng r;
    fl_rng_init(&r, 12, 0);
    for (int i = 0; i < 20000; i++) {
        const size_t d = 1 + fl_rng_below(&r, 30);
        double squares = 0;
        random_gradient(g, d, &r);
        for (size_t k = 0; k < d; k++)
            squares += (double)g[k] * g[k];
        dp_clip_piece(z, g, d, dp_clip_scale_automatic(squares, units, 0));
        const u128 square = dp_grid_sqnorm(z, d);
        const double expected = units * sqrt(squares) / (sqrt(squares) + DP_CLIP_STABILITY);
        assert_true(dp_clip_holds(square, units));
        assert_true(sqrt((double)square) <= expected + 1e-3 &&
                    sqrt((double)square) >= expected * (1 - 0x1p-23) - sqrt((double)d) - 1e-3);
    }
    assert_true(dp_clip_scale_automatic(INFINITY, units, 0) == 0 && dp_clip_scale_automatic(NAN, units, 0) == 0);
    memset(g, 0, sizeof g);
    dp_clip_piece(z, g, MAX_D, dp_clip_scale_automatic(0, units, 0));
    assert_true(dp_grid_sqnorm(z, MAX_D) == 0);
    assert_true(dp_clip_scale_automatic(1, units, 1) < dp_clip_scale_automatic(1, units, 0));
    assert_true(dp_clip_holds((u128)units * units, units) && !dp_clip_holds((u128)units * units + 1, units));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_random_gradient_ever_exceeds_the_bound),
        cmocka_unit_test(values_are_the_scaled_gradient_cut_toward_zero),
        cmocka_unit_test(a_sum_of_so_many_patients_is_exact),
        cmocka_unit_test(a_factor_is_a_float_rounded_down),
        cmocka_unit_test(a_gradient_inside_the_clip_is_only_rounded),
        cmocka_unit_test(anything_not_finite_becomes_zero_in_silence),
        cmocka_unit_test(automatic_clipping_gives_every_gradient_nearly_the_same_length),
        cmocka_unit_test(huge_and_tiny_values_are_safe),
        cmocka_unit_test(a_vector_that_rounding_made_too_long_is_made_again),
        cmocka_unit_test(a_wrong_norm_is_caught_by_the_integer_check),
        cmocka_unit_test(pieces_give_the_same_as_the_whole),
        cmocka_unit_test(removing_a_patient_removes_exactly_its_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
