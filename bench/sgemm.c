#include "bench/sgemm.h"
#include <cblas.h>
#include <dlfcn.h>
#include <stdlib.h>

static const char library[] = "libopenblas.so.0";
static __typeof__(&cblas_sgemm) multiply;
static __typeof__(&openblas_get_corename) core;

/* The best kernel of OpenBLAS whose instructions this CPU has; NULL where that is not known. OpenBLAS itself goes by the
 * model number of the CPU, and takes the oldest one for a number that it does not know: ten times too slow. */
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

fl_code bench_sgemm_start(fl_err *err)
{
    const char *best = best_core();
    if (multiply)
        return FL_OK;
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    if (best)
        setenv("OPENBLAS_CORETYPE", best, 0);
    void *blas = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!blas)
        return fl_fail(err, FL_EENV, "OpenBLAS: %.200s", dlerror());
    multiply = (__typeof__(multiply))dlsym(blas, "cblas_sgemm");
    core = (__typeof__(core))dlsym(blas, "openblas_get_corename");
    if (!multiply || !core)
        return fl_fail(err, FL_EENV, "OpenBLAS: %s has no cblas_sgemm, or is another library", library);
    return FL_OK;
}

const char *bench_sgemm_core(void)
{
    return core();
}

void bench_sgemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b,
                 int ldb, float beta, float *c, int ldc)
{
    multiply(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, m, n, k,
             1, a, lda, b, ldb, beta, c, ldc);
}
