/*
 * dp_fixed - numbers from 0 to below 2^64 with 256 bits after the point, for tables that must be right to the last bit:
 *
 *     value = sum over i of limb[i] 2^(64 (i - 4))        limb[4] before the point, limb[3] the first 64 bits after it
 *
 * One ulp is 2^-256. Everything is integer arithmetic, so a table is the same on every machine. Results round down.
 */
#ifndef PRIVACY_FIXED_H
#define PRIVACY_FIXED_H

#include <stdbool.h>
#include <stdint.h>

#define DP_FIXED_LIMBS 5

typedef struct dp_fixed {
    uint64_t limb[DP_FIXED_LIMBS];
} dp_fixed;

dp_fixed dp_fixed_power(int exponent);                     /* 2^exponent, -256 <= exponent <= 63 */
dp_fixed dp_fixed_add(dp_fixed a, dp_fixed b);             /* exact; a + b < 2^64 */
dp_fixed dp_fixed_sub(dp_fixed a, dp_fixed b);             /* exact; a >= b */
bool dp_fixed_below(const dp_fixed *a, const dp_fixed *b); /* a < b */
bool dp_fixed_is_zero(const dp_fixed *a);
dp_fixed dp_fixed_mul(dp_fixed a, dp_fixed b); /* less than 1 ulp too small; a b < 2^64 */
dp_fixed dp_fixed_inverse(dp_fixed a);         /* 1 / a, less than 1 ulp too small; a > 2^-63 */
/* a num / den, less than 1 ulp too small; den >= 1, the result < 2^64. */
dp_fixed dp_fixed_ratio(dp_fixed a, uint64_t num, uint64_t den);
/* exp(-num / den), num / den <= 2, at most 512 ulp (2^-247) off; never above 1. */
dp_fixed dp_fixed_exp_neg(uint64_t num, uint64_t den);
/* round(2^128 a), halves up; a < 1 - 2^-128. */
unsigned __int128 dp_fixed_round_128(const dp_fixed *a);
/* floor(2^128 a); a < 1. */
unsigned __int128 dp_fixed_floor_128(const dp_fixed *a);

#endif
