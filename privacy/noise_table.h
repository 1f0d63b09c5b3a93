/* What the table of noise.h is made of, for noise.c and the tests. */
#ifndef PRIVACY_NOISE_TABLE_H
#define PRIVACY_NOISE_TABLE_H

#include "privacy/noise.h"

#define DP_NOISE_ENTRIES_MAX 8192

unsigned dp_noise_width_bits(uint64_t s2); /* log2 of w */
/* The masses of the entries in units of 2^-128, their sum exactly 2^128. mass has room for DP_NOISE_ENTRIES_MAX, zeroed;
 * returns how many entries there are. */
uint32_t dp_noise_masses(unsigned __int128 *mass, uint64_t s2);

#endif
