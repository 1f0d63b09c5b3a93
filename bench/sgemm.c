#include "bench/sgemm.h"
#include <cblas.h>
#include <stddef.h>
#include <stdlib.h>
#include <strings.h>

void bench_sgemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b,
                 int ldb, float beta, float *c, int ldc)
{
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, m, n,
                k, 1, a, lda, b, ldb, beta, c, ldc);
}

/*
 * OpenBLAS picks its kernel by the model number of the CPU, and takes the oldest one for a number it does not know:
 * ten times too slow on a CPU newer than the library. Unless the environment says otherwise, such a choice is made
 * again by what the CPU can do. The two functions are exported by builds with more than one kernel, and only there.
 */
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void gotoblas_dynamic_quit(void) __attribute__((weak));

/* The best kernel whose instructions this CPU has; NULL where that is not known. */
static const char *best_core(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return "Haswell";
#endif
    return NULL;
}

/* Kernels without vectors of 8 floats. */
static bool is_old(const char *core)
{
    static const char *const old[] = {"Katmai",       "Coppermine", "Northwood",  "Prescott", "Banias", "Atom",
                                      "Core2",        "Penryn",     "Dunnington", "Nehalem",  "Athlon", "Opteron",
                                      "Opteron_SSE3", "Barcelona",  "Nano",       "Bobcat"};
    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
        if (strcasecmp(core, old[i]) == 0)
            return true;
    }
    return false;
}

void bench_sgemm_start(void)
{
    const char *best = best_core();
    openblas_set_num_threads(1);
    if (!best || getenv("OPENBLAS_CORETYPE") || !is_old(openblas_get_corename()) || !gotoblas_dynamic_init ||
        !gotoblas_dynamic_quit)
        return;
    setenv("OPENBLAS_CORETYPE", best, 1);
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
    unsetenv("OPENBLAS_CORETYPE");
    openblas_set_num_threads(1);
}

const char *bench_sgemm_core(void)
{
    return openblas_get_corename();
}
