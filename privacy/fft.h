/*
 * Fourier transform of real vectors, with a bound on its rounding error.
 *
 *     X[k] = sum_j x[j] exp(-2 pi i j k / n),  k = 0..n/2
 *
 * Radix-4 Stockham on n/2 complex numbers (real and imaginary parts apart), then the split of a real transform. Any one
 * dp_fft is for one thread.
 */
#ifndef PRIVACY_FFT_H
#define PRIVACY_FFT_H

#include "base/err.h"

#define DP_FFT_LOG2_MIN 3u
#define DP_FFT_LOG2_MAX 22u

typedef struct dp_fft dp_fft;

/* n = 2^log2_size. FL_EENV: no memory (about 32 bytes per element). */
fl_code dp_fft_create(dp_fft **out, unsigned log2_size, fl_err *err) FL_MUST_USE;
void dp_fft_destroy(dp_fft *f);

/* re, im (n/2 + 1) out; x (n). */
void dp_fft_forward(dp_fft *f, double *re, double *im, const double *x);
/* x (n) out: the inverse, divided by n; the other half of the spectrum is the conjugate. re, im (n/2 + 1). */
void dp_fft_inverse(dp_fft *f, double *x, const double *re, const double *im);

/*
 * c with |computed X[k] - X[k]| <= c sum |x|, each k, and for the inverse |computed x[j] - x[j]| <= c/n sum_k |X[k]| over
 * all n. Each input reaches each output over log2 n levels of butterflies, and each multiplies it by some 1 + e. A pair of
 * levels has two additions, |e| <= u each, and one product with a stored root of unity, |e| <= (sqrt 5 + 3/2) u with the
 * root's own error: below 6 u. The real split costs one pair more, and takes errors of two complex results, half of each
 * twice: a factor 2 in all. Hence 6 u (log2 n + 3).
 */
double dp_fft_error(const dp_fft *f);

#endif
