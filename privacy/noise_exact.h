/* The coins that the sampler of noise.h tosses, for its tests. */
#ifndef PRIVACY_NOISE_EXACT_H
#define PRIVACY_NOISE_EXACT_H

#include "crypto/csprng.h"
#include <stdbool.h>

/* Random bytes in small pieces; what was used is wiped with the rest at the end. Starts with used = sizeof bytes. */
typedef struct dp_bits {
    fl_csprng *r;
    size_t used;
    uint8_t bytes[1024];
} dp_bits;

/* A denominator, and its leading bits for quick comparisons: den = lead * 2^shift + rest, lead below 2^54. */
typedef struct dp_denominator {
    unsigned __int128 den;
    uint64_t lead;
    unsigned shift;
} dp_denominator;

dp_denominator dp_denominator_of(unsigned __int128 den); /* at most 2^120 */
/* True with probability num/den exactly, num <= den. One byte decides 255 times of 256. */
bool dp_bernoulli_ratio(dp_bits *b, unsigned __int128 num, const dp_denominator *d);
/* True with probability exp(-num/den) exactly. */
bool dp_bernoulli_exp(dp_bits *b, unsigned __int128 num, const dp_denominator *d);

#endif
