/* What the multiply-add units of one core do when nothing else is in their way. */
#include "bench/bench.h"

#include <string.h>
#include <time.h>

double bench_thread_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#if defined(__x86_64__)
#include <immintrin.h>

enum { ROUNDS = 2000, CHAINS = 12 };

/* Twelve chains: more than latency times units, fewer than registers. The empty assembly keeps each in its register. */
#define BURST(name, instructions, vec, set, multiply_add)                                                              \
    __attribute__((target(instructions), noinline)) static void name(void)                                             \
    {                                                                                                                  \
        vec a = set(0.5f), b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a, j = a, k = a, l = a;                \
        const vec m = set(0.5f);                                                                                       \
        for (int round = 0; round < ROUNDS; round++) {                                                                 \
            a = multiply_add(a, m, m), b = multiply_add(b, m, m), c = multiply_add(c, m, m);                           \
            d = multiply_add(d, m, m), e = multiply_add(e, m, m), f = multiply_add(f, m, m);                           \
            g = multiply_add(g, m, m), h = multiply_add(h, m, m), i = multiply_add(i, m, m);                           \
            j = multiply_add(j, m, m), k = multiply_add(k, m, m), l = multiply_add(l, m, m);                           \
            __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(f));                               \
            __asm__ volatile("" : "+x"(g), "+x"(h), "+x"(i), "+x"(j), "+x"(k), "+x"(l));                               \
        }                                                                                                              \
    }

BURST(burst_512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps)
BURST(burst_256, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps)
#define multiply_then_add(a, b, c) _mm_add_ps(_mm_mul_ps(a, b), c)
BURST(burst_128, "sse2", __m128, _mm_set1_ps, multiply_then_add)

double bench_peak_gflops(const char *kernels)
{
    const bool is_512 = strcmp(kernels, "avx512") == 0, is_256 = strcmp(kernels, "avx2") == 0;
    double best = 0;
    for (int repeat = 0; repeat < 3; repeat++) {
        double start = bench_thread_s();
        (is_512 ? burst_512 : is_256 ? burst_256 : burst_128)();
        double seconds = bench_thread_s() - start, flops = 2.0 * CHAINS * ROUNDS * (is_512 ? 16 : is_256 ? 8 : 4);
        best = flops / seconds * 1e-9 > best ? flops / seconds * 1e-9 : best;
    }
    return best;
}
#else
double bench_peak_gflops(const char *kernels)
{
    (void)kernels;
    return 0;
}
#endif
