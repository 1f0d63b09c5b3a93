/*
 * exp for loops: no branch, no call, so the compiler makes vectors of it. Relative error at most 4 units of round-off
 * (2^-53) for -700 <= x <= 700; x is clamped to that range. Cody-Waite reduction to |r| <= ln(2)/2 and Taylor's series to
 * r^13, whose remainder there is below 5e-18.
 */
#ifndef PRIVACY_EXPV_H
#define PRIVACY_EXPV_H

#include <stdint.h>
#include <string.h>

static inline double dp_expv(double x)
{
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer, in the low bits */
    x = x < -700 ? -700 : x;
    x = x > 700 ? 700 : x;
    double shifted = x * 1.4426950408889634074 + shift;
    int64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    double n = shifted - shift;
    double r = (x - n * 6.93145751953125e-1) -
               n * 1.42860682030941723212e-6; /* ln 2 in two parts; n * first is exact */
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = (p * r) * r + r + 1.0;
    uint64_t scale_bits = ((uint64_t)bits + 1023) << 52; /* 2^n */
    double scale;
    memcpy(&scale, &scale_bits, sizeof scale);
    return p * scale;
}

#endif
