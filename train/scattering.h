/*
 * nn_scattering - fixed wavelet features of one grey image: the scattering transform of two orders.
 *
 * Nothing is learned and nothing but the image and constants enters, so the features cost no privacy. Source:
 * Oyallon and Mallat, "Deep roto-translation scattering for object classification", CVPR 2015; under privacy Tramer and
 * Boneh, "Differentially private learning needs better features (or much more data)", ICLR 2021.
 *
 * J scales, L angles, Morlet wavelets cut at 3 sigma / slant; x is a pixel (y, x) relative to the filter's middle:
 *
 *     g(sigma, a, f)   exp(-|y'|^2 / (2 sigma^2) - slant^2 |x'|^2 / (2 sigma^2) + i f y') slant / (2 pi sigma^2),
 *                      y' = y cos a + x sin a,  x' = x cos a - y sin a,  slant = 4 / L,
 *                      on |y|, |x| <= ceil(3 sigma / slant)
 *     psi[j, t]        g(sigma, a, f) - g(sigma, a, 0) times what makes the sum 0;
 *                      sigma = 0.8 * 2^j, f = 3/4 pi / 2^j, a = pi (L/2 - 1 - t) / L, measured from the vertical axis
 *     phi              a Gaussian of sigma 0.8 * 2^(J-1), |y|, |x| <= ceil(4 sigma), of sum 1, sampled every 2^J pixels
 *
 *     S0               x * phi
 *     S1[j, t]         |x * psi[j, t]| * phi
 *     S2[j, t, k, u]   ||x * psi[j, t]| * psi[k, u]| * phi,  k > j
 *
 * * is cross-correlation, |x * psi[j, t]| is kept at every 2^j-th pixel and what follows is computed at that scale, and
 * beyond its border an image goes on mirrored without repeating the border pixel, as often as a filter needs.
 *
 * Channels: S0; for each j its L of S1; for each j, k its L * L of S2 in the order (t, u):
 * C = 1 + J L + J (J - 1) / 2 L^2 of ceil(H / 2^J) x ceil(W / 2^J), as (C, h, w).
 * J = 4, L = 8 at 64x64: 417 channels of 4x4. J = 2 at 28x28: 81 of 7x7.
 *
 * Features, from pixels p in 0..1:
 *     groups 0     p minus its mean, over (its standard deviation + 0.05); S; log(S + 0.01) of all but S0; each channel to
 *                  mean 0 and variance 1 (epsilon 1e-5); to unit length.
 *                  with mirror: the sum of that of the image and of the image mirrored left and right, then unit length
 *     scalewise    as groups 0, but S0, each j of S1 and each (j, k) of S2 as a whole to mean 0 and not divided: how the
 *                  energy is spread over angles, and over places, stays visible
 *     groups G     S of p as it is, its C channels in G groups, each to mean 0 and variance 1; to unit length
 *
 * The sums are multiplications and additions in one order, never contracted: every kernel (AVX-512, AVX2, portable, chosen
 * by the CPU) gives the same bits, on any thread. Filters are made once in a process for each (j, L) and stay.
 */
#ifndef TRAIN_SCATTERING_H
#define TRAIN_SCATTERING_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NN_SCATTERING_MAX_SCALES 6
#define NN_SCATTERING_MAX_ANGLES 16
#define NN_SCATTERING_MAX_SIDE   1024

typedef struct nn_scattering {
    uint32_t scales, angles; /* J, L */
    uint32_t height, width;
    bool mirror;
    uint32_t groups; /* 0: log and a group for each channel */
    bool scalewise;  /* log and a group for each scale, or pair of scales, that is only centred */
    /* set by nn_scattering_init */
    uint32_t out_channels, out_height, out_width;
    size_t n_out, n_scratch; /* floats */
    uint64_t flops;          /* multiplications and additions of one image */
} nn_scattering;

/* scales, angles, height, width, mirror and groups are given; the rest is filled in and the filters are made. FL_EFORMAT:
 * J outside 1..6, L not even or outside 2..16, a side below 2^(J+1) or above 1024, groups that do not divide the channels,
 * groups with mirror or scalewise. */
fl_code nn_scattering_init(nn_scattering *s, fl_err *err) FL_MUST_USE;

/* raw (C, h, w): S of x (H, W) as it is. scratch: n_scratch floats. No two overlap. */
void nn_scattering_raw(const nn_scattering *s, float *raw, float *scratch, const float *x);

/* out (n_out): the features of an image (H, W) with pixels in -1..1, as img_resize gives them: p = (x + 1) / 2. */
void nn_scattering_features(const nn_scattering *s, float *out, float *scratch, const float *image);

/* For who computes it elsewhere: psi[scale, t] as it is used, re and im (2 radius + 1, 2 radius + 1) each; no filters need
 * be made before. */
uint32_t nn_scattering_radius(uint32_t scale, uint32_t angles);
void nn_scattering_filter(float *re, float *im, uint32_t scale, uint32_t angles, uint32_t t);

/* For tests: what the convolutions run on; "avx512", "avx2" or "portable". false: this CPU has no such kernel. */
bool nn_scattering_use(const char *kernel);
const char *nn_scattering_kernel(void);

#endif
