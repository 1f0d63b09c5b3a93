/*
 * fl_rng - seeded, repeatable random numbers: initial weights, augmentation, bootstrap, the simulator.
 * xoshiro256** seeded by splitmix64 (Blackman and Vigna 2018). Never for noise, sampling of patients or keys: those
 * come from crypto/csprng.h, which is a different type on purpose.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct fl_rng {
    uint64_t s[4];
} fl_rng;

void fl_rng_init(fl_rng *r, uint64_t seed, uint64_t stream); /* distinct (seed, stream): independent sequences */
uint64_t fl_rng_u64(fl_rng *r);
uint64_t fl_rng_below(fl_rng *r, uint64_t n);                      /* 0..n-1 without bias, n >= 1 */
double fl_rng_uniform(fl_rng *r);                                  /* [0, 1) */
void fl_rng_uniforms(fl_rng *r, float *x, size_t n, double bound); /* x[i] = (2 uniform - 1) bound, one after another */
double fl_rng_normal(fl_rng *r);                                   /* Box-Muller, one value per call */

#endif
