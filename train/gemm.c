#include "train/gemm.h"
#include "base/log.h"
#include <assert.h>
#include <cblas.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_portable; /* written once, before anybody multiplies */

/* Row by row, each sum in the order of k; blocked over columns so that gcc vectorises without changing an order. */
static void portable_gemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda,
                          const float *b, int ldb, float beta, float *c, int ldc)
{
    for (int i = 0; i < m; i++) {
        float *row = c + (size_t)i * ldc;
        for (int j = 0; j < n; j++)
            row[j] = beta == 0 ? 0 : beta * row[j];
        if (transpose_b) {
            for (int j = 0; j < n; j++) {
                const float *b_row = b + (size_t)j * ldb;
                float sum = 0;
                for (int p = 0; p < k; p++)
                    sum += (transpose_a ? a[(size_t)p * lda + i] : a[(size_t)i * lda + p]) * b_row[p];
                row[j] += sum;
            }
            continue;
        }
        for (int p = 0; p < k; p++) {
            float factor = transpose_a ? a[(size_t)p * lda + i] : a[(size_t)i * lda + p];
            const float *b_row = b + (size_t)p * ldb;
            for (int j = 0; j < n; j++)
                row[j] += factor * b_row[j];
        }
    }
}

static void blas_gemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b,
                      int ldb, float beta, float *c, int ldc)
{
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, m, n,
                k, 1, a, lda, b, ldb, beta, c, ldc);
}

void nn_gemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b, int ldb,
             float beta, float *c, int ldc)
{
    assert(m >= 1 && n >= 1 && k >= 1);
    if (is_portable)
        portable_gemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
    else
        blas_gemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

#define TEST_MAX  4096 /* floats of one operand */
#define TEST_SKEW 17   /* alignments tried: every float of a cache line, and one more */

/* One product of this shape at several addresses with several neighbours; the bits must not move. */
static bool shape_is_stable(float *room, bool transpose_a, bool transpose_b, int m, int n, int k)
{
    int lda = transpose_a ? m : k, ldb = transpose_b ? k : n;
    size_t size_a = (size_t)m * k, size_b = (size_t)k * n, size_c = (size_t)m * n;
    assert(size_a <= TEST_MAX && size_b <= TEST_MAX && size_c <= TEST_MAX);
    float *values_a = room, *values_b = room + TEST_MAX, *first = room + 2 * TEST_MAX;
    float *at_a = room + 3 * TEST_MAX, *at_b = at_a + TEST_MAX + 64, *at_c = at_b + TEST_MAX + 64;
    uint32_t state = 12345;
    for (size_t i = 0; i < 2 * TEST_MAX; i++) {
        state = state * 1664525u + 1013904223u;
        room[i] = ((float)(state >> 8) / 8388608.0f - 1) * (i % 7 == 0 ? 1000 : 1);
    }
    for (int skew = 0; skew < TEST_SKEW; skew++) {
        float around = skew % 2 == 0 ? 0 : __builtin_nanf("");
        for (size_t i = 0; i < 3 * (TEST_MAX + 64); i++)
            at_a[i] = around;
        float *a = at_a + skew, *b = at_b + (skew * 5) % TEST_SKEW, *c = at_c + (skew * 3) % TEST_SKEW;
        memcpy(a, values_a, size_a * sizeof *a);
        memcpy(b, values_b, size_b * sizeof *b);
        blas_gemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, 0, c, n);
        if (skew == 0)
            memcpy(first, c, size_c * sizeof *c);
        else if (memcmp(first, c, size_c * sizeof *c) != 0)
            return false;
    }
    return true;
}

bool nn_gemm_self_test(void)
{
    static const int shapes[][3] = {{1, 1, 1},    {3, 5, 7},    {16, 64, 9},  {8, 121, 25}, {32, 33, 64},
                                    {17, 49, 31}, {64, 16, 63}, {9, 100, 40}, {4, 900, 3},  {2, 3, 1000}};
    float *room = calloc(3 * TEST_MAX + 3 * (TEST_MAX + 64), sizeof *room);
    bool ok = room != NULL;
    for (size_t i = 0; ok && i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int t = 0; ok && t < 4; t++)
            ok = shape_is_stable(room, t & 1, t & 2, shapes[i][0], shapes[i][1], shapes[i][2]);
    }
    free(room);
    return ok;
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

static bool is_avx512(const char *core)
{
    return strcasecmp(core, "SkylakeX") == 0 || strcasecmp(core, "Cooperlake") == 0 ||
           strcasecmp(core, "SapphireRapids") == 0;
}

static void choose_core(void)
{
    const char *best = best_core();
    if (!best || getenv("OPENBLAS_CORETYPE") || !is_old(openblas_get_corename()) || !gotoblas_dynamic_init ||
        !gotoblas_dynamic_quit)
        return;
    setenv("OPENBLAS_CORETYPE", best, 1);
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
    unsetenv("OPENBLAS_CORETYPE");
}

static bool is_instrumented(void)
{
#if defined(__SANITIZE_THREAD__)
    return true; /* OpenBLAS is not built for the thread sanitizer, which does not see its locks */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
    return true;
#endif
#endif
    return false;
}

static void start(void)
{
    choose_core();
    openblas_set_num_threads(1);
    const char *best = best_core(), *core = openblas_get_corename();
    const bool is_slow = best && (is_old(core) || (strcmp(best, "SkylakeX") == 0 && !is_avx512(core)));
    is_portable = is_instrumented();
    if (!is_portable && !nn_gemm_self_test()) {
        is_portable = true;
        fl_log(FL_WARN, "train", "gemm self-test failed kernel=%s: using the portable loop, which is slower",
               openblas_get_corename());
    }
    if (is_slow && !is_portable)
        fl_log(FL_WARN, "train", "matrix kernel=%s is slower than this CPU allows (OPENBLAS_CORETYPE=%s)", core,
               getenv("OPENBLAS_CORETYPE") ? getenv("OPENBLAS_CORETYPE") : "");
    fl_log(FL_DEBUG, "train", "gemm kernel=%s", is_portable ? "portable" : openblas_get_corename());
}

void nn_gemm_start(void)
{
    pthread_once(&once, start);
}

const char *nn_gemm_core(void)
{
    nn_gemm_start();
    return is_portable ? "portable" : openblas_get_corename();
}
