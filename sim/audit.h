/*
 * sim_audit - an attack on our own training path, and the least epsilon that explains its success.
 *
 * Hospitals of 2048 canaries (the last one fewer). A canary is a patient with one image that is dark but for one very bright
 * pixel, and one of 32 labels: at weights of zero its gradient lies on that pixel's weights and next to nowhere
 * else, and after the clip it is as long as a gradient may be. Each canary is in its hospital with a fair coin of its own. The
 * hospitals train with nn_trainer_update, the node's own function, from a plan that was made as a study's plan is made:
 * Poisson sampling, clip, noise, sum. The attacker sees the released integers alone and scores each canary by their
 * projection on its direction; the guesses R / 2 highest scores are guessed to be in, as many lowest to be out, and nothing
 * is said about the others. dp_one_run_epsilon turns the right guesses into a bound that holds with the confidence.
 *
 * The hospitals have no canary in common, so together they are one mechanism with one claim: a canary moves one release. One
 * hospital with all canaries would say the same and cost the square.
 *
 * A bound above the claim refutes the claim. A bound below it proves nothing: that many canaries at that distance were not
 * told apart. How much could have been seen is told by the same attack on simulated releases, with the noise that is
 * claimed and with half of it.
 *
 * trials repeat the whole. Each bound holds with the confidence c, so of N bounds k or more are too large with probability
 * P[Bin(N, 1 - c) >= k] at most: the k-th largest, for the least k that makes this 1 - c, holds with confidence c again.
 */
#ifndef SIM_AUDIT_H
#define SIM_AUDIT_H

#include "base/buf.h"
#include "train/plan.h"
#include <stdio.h>

#define SIM_AUDIT_MAX_CANARIES 2000000u
#define SIM_AUDIT_MAX_STEPS    1000u
#define SIM_AUDIT_MAX_TRIALS   1000u

typedef struct sim_audit_options {
    uint32_t canaries, guesses; /* 16 .. SIM_AUDIT_MAX_CANARIES; 2 .. canaries */
    uint32_t steps, trials;
    const char *sampling_rate, *noise_multiplier, *delta;               /* decimal texts, as a study has them */
    double confidence;                                                  /* 1/2 < confidence < 1 */
    uint64_t seed;                                                      /* of the coins; noise and sampling have none */
    unsigned n_threads;                                                 /* 0: one per core */
    void (*progress)(void *ctx, uint32_t hospital, uint32_t hospitals); /* NULL: none */
    void *ctx;
} sim_audit_options;

typedef struct sim_audit_result {
    double claim;         /* epsilon at delta, by our accountant */
    const char *claim_by; /* "pld" or "rdp" */
    double reach;         /* the bound if every guess were right */
    double expected;      /* the bound on a simulated release with the noise of the claim */
    double expected_half; /* and with half of it */
    uint32_t n_trials;
    uint32_t right[SIM_AUDIT_MAX_TRIALS];
    double bound[SIM_AUDIT_MAX_TRIALS];
    uint32_t rank;  /* k of the trials */
    double epsilon; /* the rank-th largest of the bounds */
} sim_audit_result;

/* FL_EFORMAT: a term is out of its range. FL_EENV: memory, threads. */
fl_code sim_audit(sim_audit_result *r, const sim_audit_options *o, fl_err *err) FL_MUST_USE;

/* Is the claim not refuted? */
bool sim_audit_holds(const sim_audit_result *r);
/* Would half the noise have been seen? */
bool sim_audit_has_power(const sim_audit_result *r);

void sim_audit_print(FILE *out, const sim_audit_result *r, const sim_audit_options *o);
void sim_audit_json(fl_buf *out, const sim_audit_result *r, const sim_audit_options *o);

#endif
