/*
 * The discrete Gaussian on the integers:   P(x) is proportional to exp(-x^2 / (2 S2))
 *
 * S2 is the variance parameter in grid units, an integer 1 <= S2 <= 2^56. There are two samplers; no floating-point
 * number is involved in either, and neither depends on the CPU.
 *
 * dp_noise - fast, from a table. The law of a draw is within DP_NOISE_TV_LOG2 of the true one:
 *
 *     total variation < 2^-114         proof: docs/privacy.md, "Noise"; charged to delta in privacy/budget.h
 *
 * Draws are made in blocks of at most DP_NOISE_BLOCK. For a block of n, n + DP_NOISE_SPARE candidates are examined in one loop
 * without branches, with the same number of random bytes whatever the values, and the first n that are accepted are the
 * block. A candidate is in doubt, and then decided slowly, with chance below 2^-30; a block is too short, and then prolonged,
 * with chance below 2^-80. The loop's time depends on nothing else, but the table is read at places that depend on the draws.
 *
 * dp_noise_fill - slow, exact (Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential Privacy",
 * Algorithms 1 to 3), without a table: for a handful of integers, and for the tests of the other. Its time depends on the
 * values.
 *
 * Whoever holds out wipes it (fl_wipe, or memory of crypto/secret.h). Noise is drawn before a step's patients are sampled.
 */
#ifndef PRIVACY_NOISE_H
#define PRIVACY_NOISE_H

#include "base/err.h"
#include "crypto/csprng.h"

#define DP_NOISE_VARIANCE_MAX ((uint64_t)1 << 56)
#define DP_NOISE_TV_LOG2      (-114) /* each draw is within 2^-114 of the law, in total variation */

enum { DP_NOISE_BLOCK = 2000, DP_NOISE_SPARE = 48, DP_NOISE_CANDIDATES = DP_NOISE_BLOCK + DP_NOISE_SPARE };
enum { DP_NOISE_BEYOND = 8 /* draws that a loop may write behind the last, and that count for nothing */ };

/* The table of one S2: public, read only once made, may be shared by threads. Fields are for noise.c, noise_table.c and
 * their tests. */
typedef struct dp_noise dp_noise;
struct dp_noise {
    uint64_t s2;
    unsigned width_bits;     /* w = 2^width_bits magnitudes to an entry, 1 when S < 512 */
    unsigned column_bits;    /* 2^column_bits columns of the alias table */
    uint32_t n_entries;      /* entry 0: the value 0; entry e >= 1: magnitudes (e-1) w + 1 .. e w */
    unsigned align;          /* (2 S2) << align lies in [2^63, 2^64) */
    unsigned turn;           /* align - 28 modulo 64: n32 is the lower half of num, turned left by so much */
    uint64_t reciprocal;     /* floor(floor((2^127 - 1) / ((2 S2) << align)) / 2^32) */
    uint64_t *columns;       /* the first 48 bits of each column's threshold, at most 2^48 - 1, and its alias */
    uint64_t *threshold;     /* of each column, in units of 2^-64 */
    uint64_t *threshold_low; /* its next 64 bits */
    uint16_t *alias;
    size_t (*examine)(const dp_noise *t, int64_t *draws, size_t n, const uint64_t *words, size_t n_candidates,
                      fl_csprng *r); /* the loop of this CPU, privacy/noise_examine.h */
};

/* A thread's place of work: 64 KiB, its contents as secret as the draws. Wiped at the end of each dp_noise_draw. */
typedef struct dp_noise_scratch {
    uint64_t words[2 * DP_NOISE_CANDIDATES];
    int64_t draws[DP_NOISE_BLOCK + DP_NOISE_CANDIDATES + DP_NOISE_BEYOND];
} dp_noise_scratch;

/* Some milliseconds and at most 300 KiB. Asserts 1 <= s2 <= DP_NOISE_VARIANCE_MAX. FL_EENV: no memory. */
fl_code dp_noise_init(dp_noise *t, uint64_t s2, fl_err *err) FL_MUST_USE;
void dp_noise_fini(dp_noise *t);

/* out (n) independent draws. One csprng and one scratch per thread. */
void dp_noise_draw(const dp_noise *t, int64_t *out, size_t n, fl_csprng *r, dp_noise_scratch *scratch);

void dp_noise_fill(int64_t *out, size_t n, uint64_t s2, fl_csprng *r);

#endif
