/*
 * nn_gemm - C = op(A) op(B) + beta C, row-major float32: the one door to OpenBLAS.
 *
 * One call serves one image, on one BLAS thread. The result must be a pure function of the operands' values; at start
 * a self-test compares bits over alignments, repeats and threads' worth of buffers, and when they differ the program
 * says so and uses a loop of its own.
 */
#ifndef TRAIN_GEMM_H
#define TRAIN_GEMM_H

#include "base/err.h"
#include <stdbool.h>

/* Chooses the kernel where OpenBLAS did not know the CPU, sets one BLAS thread, runs the self-test, warns when the
 * kernel is a slow one.
 * Called by nn_model_create; more calls do nothing. Any thread; it may set and unset an environment variable for a
 * moment, so a program with other threads calls it before it starts them. */
void nn_gemm_start(void);
/* true: OpenBLAS gave the same bits at every alignment and repeat. */
bool nn_gemm_self_test(void);
const char *nn_gemm_core(void); /* "SkylakeX", or "portable" */

/* C (m, n) with leading dimension ldc; op(A) is (m, k), op(B) is (k, n); beta 0 ignores C. */
void nn_gemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b, int ldb,
             float beta, float *c, int ldc);

#endif
