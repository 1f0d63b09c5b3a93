/*
 * dp_noise_crew - the noise of a training step, by all threads of a pool.
 *
 * A table of one S2 (privacy/noise.h) and, for each thread, its own random numbers and place of work, in memory of
 * crypto/secret.h. Pieces of the output are handed to whichever thread is free; every draw is independent of every other,
 * so which thread made it does not matter. Made once, used for every step: draw allocates nothing and leaves nothing
 * behind but out.
 */
#ifndef PRIVACY_NOISE_CREW_H
#define PRIVACY_NOISE_CREW_H

#include "base/pool.h"
#include "privacy/noise.h"

typedef struct dp_noise_crew {
    dp_noise table;
    fl_pool *pool; /* borrowed */
    unsigned n_threads;
    fl_csprng *random;         /* (n_threads) */
    dp_noise_scratch *scratch; /* (n_threads), in memory */
    fl_secret memory;
} dp_noise_crew;

/* 1 <= s2 <= DP_NOISE_VARIANCE_MAX. The pool must outlive the crew. FL_EENV: no memory. */
fl_code dp_noise_crew_init(dp_noise_crew *c, uint64_t s2, fl_pool *pool, fl_err *err) FL_MUST_USE;
void dp_noise_crew_fini(dp_noise_crew *c);

/* out (n). The caller is the pool's one caller. */
void dp_noise_crew_draw(dp_noise_crew *c, int64_t *out, size_t n);

#endif
