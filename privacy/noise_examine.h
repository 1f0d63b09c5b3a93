/* The loop of the sampler in noise.h, in plain C and in vectors. For noise.c, noise_avx512.c and their tests. */
#ifndef PRIVACY_NOISE_EXAMINE_H
#define PRIVACY_NOISE_EXAMINE_H

#include "privacy/noise.h"
#include <stdbool.h>

enum { DP_NOISE_SIGN_BIT = 31, DP_NOISE_HEAD_BITS = 32, DP_NOISE_PLACE_BITS = 48, DP_NOISE_ALIAS_BITS = 16 };

/* The arithmetic of noise.c: how far y may be off, and 1/3 in units of 2^-32, rounded up. */
enum { DP_NOISE_MARGIN = 9 };
#define DP_NOISE_THIRD UINT32_C(0x55555556)

/*
 * Examines the n_candidates of words; appends the accepted ones to draws, of which n are there. Returns how many are then
 * there. Draws are written up to DP_NOISE_BEYOND places beyond the last. The same words, and the same random numbers for what is in
 * doubt, give the same draws, and take as many numbers, whichever loop it is.
 */
typedef size_t dp_noise_loop(const dp_noise *t, int64_t *draws, size_t n, const uint64_t *words, size_t n_candidates,
                             fl_csprng *r);
dp_noise_loop dp_noise_examine, dp_noise_examine_avx512;
/* The best one that this CPU has. */
dp_noise_loop *dp_noise_loop_chosen(void);
bool dp_noise_has_avx512(void);

/* A candidate with all its bits. Returns whether it is accepted; *x is the candidate. */
bool dp_noise_decide(const dp_noise *t, int64_t *x, uint64_t v, uint64_t u, fl_csprng *r);

#endif
