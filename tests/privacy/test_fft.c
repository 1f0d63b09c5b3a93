#include "privacy/fft.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LOG2_MAX = 10, N_MAX = 1 << LOG2_MAX };

/* Repeatable values in [-0.5, 0.5). */
static double value_at(uint32_t i)
{
    uint32_t x = i * 2654435761u + 12345;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return x / 4294967296.0 - 0.5;
}

/* The sum itself, in long double; angles from integers below n. */
static void naive(long double *re, long double *im, const double *x, size_t n, size_t k)
{
    *re = *im = 0;
    for (size_t j = 0; j < n; j++) {
        long double angle = 2 * 3.14159265358979323846264338327950288L * (long double)(j * k % n) / (long double)n;
        *re += x[j] * cosl(angle);
        *im -= x[j] * sinl(angle);
    }
}

static void agrees_with_the_sum_within_its_bound(void **state)
{
    (void)state;
    static double x[N_MAX], back[N_MAX], re[N_MAX / 2 + 1], im[N_MAX / 2 + 1];
    for (unsigned log2_size = DP_FFT_LOG2_MIN; log2_size <= LOG2_MAX; log2_size++) {
        const size_t n = (size_t)1 << log2_size;
        dp_fft *f = NULL;
        assert_int_equal(dp_fft_create(&f, log2_size, NULL), FL_OK);
        double sum = 0, spectrum = 0, worst = 0, worst_back = 0;
        for (size_t i = 0; i < n; i++) {
            x[i] = value_at((uint32_t)i);
            sum += fabs(x[i]);
        }
        dp_fft_forward(f, re, im, x);
        for (size_t k = 0; k <= n / 2; k++) {
            long double exact_re, exact_im;
            naive(&exact_re, &exact_im, x, n, k);
            worst = fmax(worst, (double)hypotl(re[k] - exact_re, im[k] - exact_im));
            spectrum += (k == 0 || k == n / 2 ? 1 : 2) * hypot(re[k], im[k]);
        }
        assert_true(worst <= dp_fft_error(f) * sum);
        dp_fft_inverse(f, back, re, im);
        for (size_t i = 0; i < n; i++)
            worst_back = fmax(worst_back, fabs(back[i] - x[i]));
        assert_true(worst_back <= dp_fft_error(f) * (sum + spectrum / (double)n));
        dp_fft_destroy(f);
    }
}

/* A unit at j is a wave of constant size: every root of unity is seen, at the largest size too. */
static void a_unit_becomes_a_wave(void **state)
{
    (void)state;
    const unsigned log2_size = 20;
    const size_t n = (size_t)1 << log2_size, places[] = {1, 3, n / 8 + 1, n / 2 - 1, n - 1};
    dp_fft *f = NULL;
    assert_int_equal(dp_fft_create(&f, log2_size, NULL), FL_OK);
    double *x = calloc(n, sizeof *x), *re = calloc(n / 2 + 1, sizeof *re), *im = calloc(n / 2 + 1, sizeof *im);
    assert_true(x && re && im);
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
        const size_t j = places[p];
        double worst = 0;
        x[j] = 1;
        dp_fft_forward(f, re, im, x);
        x[j] = 0;
        for (size_t k = 0; k <= n / 2; k += 97) {
            double angle = 2 * M_PI * (double)(j * k % n) / (double)n;
            worst = fmax(worst, hypot(re[k] - cos(angle), im[k] + sin(angle)));
        }
        assert_true(worst <= dp_fft_error(f) + 1e-15);
    }
    free(x);
    free(re);
    free(im);
    dp_fft_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_sum_within_its_bound),
        cmocka_unit_test(a_unit_becomes_a_wave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
