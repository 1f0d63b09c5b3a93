/*
 * The discrete Gaussian on the integers, exactly:   P(x) is proportional to exp(-x^2 / (2 S2))
 * (Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential Privacy", Algorithms 1 to 3).
 *
 * S2 is the variance parameter in grid units, an integer 1 <= S2 <= 2^56. Every decision is a comparison of integers;
 * no floating-point number is involved. The time of a draw depends on its value, so noise is drawn before the step's
 * patients are sampled. Whoever holds out wipes it (fl_wipe).
 */
#ifndef PRIVACY_NOISE_H
#define PRIVACY_NOISE_H

#include "crypto/csprng.h"

#define DP_NOISE_VARIANCE_MAX ((uint64_t)1 << 56)

void dp_noise_fill(int64_t *out, size_t n, uint64_t s2, fl_csprng *r);

#endif
