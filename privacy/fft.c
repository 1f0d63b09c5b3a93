#include "privacy/fft.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

struct dp_fft {
    unsigned log2_size;
    size_t half;                       /* m = n/2: complex length */
    double *cosine, *sine;             /* (m) of exp(-2 pi i k / n): cos, -sin */
    double *a_re, *a_im, *b_re, *b_im; /* (m) work */
};

/* k <= n/8 from the library, the rest by symmetry: each value has one rounding. */
static void fill_roots(dp_fft *f)
{
    const size_t n = 2 * f->half;
    for (size_t k = 0; k < f->half; k++) {
        size_t fold = k <= n / 4 ? k : n / 2 - k; /* cos(pi - x) = -cos x */
        double c, s;
        if (fold <= n / 8) {
            double angle = 2 * M_PI * (double)fold / (double)n;
            c = cos(angle);
            s = sin(angle);
        } else {
            double angle = 2 * M_PI * (double)(n / 4 - fold) / (double)n;
            c = sin(angle);
            s = cos(angle);
        }
        f->cosine[k] = k <= n / 4 ? c : -c;
        f->sine[k] = -s;
    }
}

fl_code dp_fft_create(dp_fft **out, unsigned log2_size, fl_err *err)
{
    assert(log2_size >= DP_FFT_LOG2_MIN && log2_size <= DP_FFT_LOG2_MAX);
    dp_fft *f = calloc(1, sizeof *f);
    if (!f)
        return fl_fail(err, FL_EENV, "transform: no memory left");
    f->log2_size = log2_size;
    f->half = (size_t)1 << (log2_size - 1);
    double *block = malloc(6 * f->half * sizeof *block);
    if (!block) {
        free(f);
        return fl_fail(err, FL_EENV, "transform: no memory left for 2^%u numbers", log2_size);
    }
    double **parts[] = {&f->cosine, &f->sine, &f->a_re, &f->a_im, &f->b_re, &f->b_im};
    for (size_t i = 0; i < 6; i++)
        *parts[i] = block + i * f->half;
    fill_roots(f);
    *out = f;
    return FL_OK;
}

void dp_fft_destroy(dp_fft *f)
{
    if (!f)
        return;
    free(f->cosine);
    free(f);
}

double dp_fft_error(const dp_fft *f)
{
    return 6 * (DBL_EPSILON / 2) * (f->log2_size + 3);
}

typedef struct view {
    double *restrict re, *restrict im;
} view;

/* One radix-4 stage: `length` points in `stride` interleaved transforms; exp(-2 pi i p / length) is root p * step. */
static void stage4(const dp_fft *f, view y, view x, size_t length, size_t stride)
{
    const size_t quarter = length / 4, step = 2 * f->half / length;
    for (size_t p = 0; p < quarter; p++) {
        const double w1r = f->cosine[p * step], w1i = f->sine[p * step];
        const double w2r = f->cosine[2 * p * step], w2i = f->sine[2 * p * step];
        /* 3p step < 3n/4: beyond the half, exp(-i(pi + x)) = -exp(-ix) */
        const size_t third = 3 * p * step;
        const double sign = third < f->half ? 1 : -1;
        const double w3r = sign * f->cosine[third & (f->half - 1)], w3i = sign * f->sine[third & (f->half - 1)];
        const double *ar = x.re + stride * p, *ai = x.im + stride * p;
        const double *br = ar + stride * quarter, *bi = ai + stride * quarter;
        const double *cr = br + stride * quarter, *ci = bi + stride * quarter;
        const double *dr = cr + stride * quarter, *di = ci + stride * quarter;
        double *restrict yr = y.re + stride * 4 * p, *restrict yi = y.im + stride * 4 * p;
        for (size_t q = 0; q < stride; q++) {
            const double sr = ar[q] + cr[q], si = ai[q] + ci[q], tr = ar[q] - cr[q], ti = ai[q] - ci[q];
            const double ur = br[q] + dr[q], ui = bi[q] + di[q], vr = br[q] - dr[q], vi = bi[q] - di[q];
            const double e1r = tr + vi, e1i = ti - vr; /* t - i v */
            const double e2r = sr - ur, e2i = si - ui;
            const double e3r = tr - vi, e3i = ti + vr; /* t + i v */
            yr[q] = sr + ur;
            yi[q] = si + ui;
            yr[q + stride] = e1r * w1r - e1i * w1i;
            yi[q + stride] = e1r * w1i + e1i * w1r;
            yr[q + 2 * stride] = e2r * w2r - e2i * w2i;
            yi[q + 2 * stride] = e2r * w2i + e2i * w2r;
            yr[q + 3 * stride] = e3r * w3r - e3i * w3i;
            yi[q + 3 * stride] = e3r * w3i + e3i * w3r;
        }
    }
}

static void stage2(view y, view x, size_t stride)
{
    for (size_t q = 0; q < stride; q++) {
        const double ar = x.re[q], ai = x.im[q], br = x.re[q + stride], bi = x.im[q + stride];
        y.re[q] = ar + br;
        y.im[q] = ai + bi;
        y.re[q + stride] = ar - br;
        y.im[q + stride] = ai - bi;
    }
}

/* Complex transform of the m numbers in a; the result is in the view that is returned. */
static view transform(dp_fft *f)
{
    view x = {f->a_re, f->a_im}, y = {f->b_re, f->b_im};
    size_t length = f->half, stride = 1;
    while (length > 1) {
        if (length >= 4)
            stage4(f, y, x, length, stride);
        else
            stage2(y, x, stride);
        size_t radix = length >= 4 ? 4 : 2;
        length /= radix;
        stride *= radix;
        view other = x;
        x = y;
        y = other;
    }
    return x;
}

/* z = x[even] + i x[odd];  X[k] = (Z[k] + conj Z[m-k])/2 - i/2 w^k (Z[k] - conj Z[m-k]),  w = exp(-2 pi i / n) */
void dp_fft_forward(dp_fft *f, double *re, double *im, const double *x)
{
    const size_t m = f->half;
    for (size_t j = 0; j < m; j++) {
        f->a_re[j] = x[2 * j];
        f->a_im[j] = x[2 * j + 1];
    }
    view z = transform(f);
    re[0] = z.re[0] + z.im[0];
    re[m] = z.re[0] - z.im[0];
    im[0] = im[m] = 0;
    for (size_t k = 1; k < m; k++) {
        const double sr = 0.5 * (z.re[k] + z.re[m - k]), si = 0.5 * (z.im[k] - z.im[m - k]);
        const double dr = 0.5 * (z.re[k] - z.re[m - k]), di = 0.5 * (z.im[k] + z.im[m - k]);
        const double c = f->cosine[k], s = f->sine[k];
        re[k] = sr + (dr * s + di * c); /* -i (d w) = Im(d w) - i Re(d w) */
        im[k] = si - (dr * c - di * s);
    }
}

/* Z[k] = (X[k] + conj X[m-k])/2 + i/2 conj(w^k) (X[k] - conj X[m-k]); then the inverse by exchanging re and im. */
void dp_fft_inverse(dp_fft *f, double *x, const double *re, const double *im)
{
    const size_t m = f->half;
    for (size_t k = 0; k < m; k++) {
        const double sr = 0.5 * (re[k] + re[m - k]), si = 0.5 * (im[k] - im[m - k]);
        const double dr = 0.5 * (re[k] - re[m - k]), di = 0.5 * (im[k] + im[m - k]);
        const double c = f->cosine[k], s = -f->sine[k];
        f->a_im[k] = sr - (dr * s + di * c); /* exchanged */
        f->a_re[k] = si + (dr * c - di * s);
    }
    view z = transform(f);
    const double scale = 1.0 / (double)m;
    for (size_t j = 0; j < m; j++) {
        x[2 * j] = z.im[j] * scale;
        x[2 * j + 1] = z.re[j] * scale;
    }
}
