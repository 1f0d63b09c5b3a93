/*
 * bench_sgemm - C = op(A) op(B) + beta C, row-major float32, by OpenBLAS on one thread: what our kernels are measured against.
 * The programs that train do not use it.
 */
#ifndef BENCH_SGEMM_H
#define BENCH_SGEMM_H

#include "base/err.h"
#include <stdbool.h>

/* Loads the library: nobody else needs it, and its threads. Sets OPENBLAS_NUM_THREADS, and OPENBLAS_CORETYPE unless it is
 * set: before there are other threads. More calls do nothing. FL_EENV: it is not there. */
fl_code bench_sgemm_start(fl_err *err) FL_MUST_USE;
const char *bench_sgemm_core(void); /* "SkylakeX" */

/* C (m, n) with leading dimension ldc; op(A) is (m, k), op(B) is (k, n); beta 0 ignores C. */
void bench_sgemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b,
                 int ldb, float beta, float *c, int ldc);

#endif
