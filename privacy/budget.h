/*
 * dp_filter - the life-long budget of a hospital's patients: a Renyi filter at ONE integer order, fixed in advance
 * (Feldman and Zrnic 2021): a debit is admitted only if the sum of all debits, this one included, stays <= B. Whatever
 * is admitted is then (epsilon, delta)-DP together, although each debit may depend on what earlier ones released.
 * Debits are never refunded. Everything is rounded against us: costs up, B down.
 *
 * rungs J >= 1: how many values epsilon may take in the ledger's life (1: never raised). B is computed with delta / J,
 * so that raising epsilon later, after seeing results, is still covered (union over the rungs).
 *
 * The noise sampler's law is within 2^-114 of the true one per draw (privacy/noise.h). All draws of a life together change
 * the probability of an event by at most DP_DRAWS_MAX 2^-114 = 2^-66, which makes (epsilon, d)-DP into
 * (epsilon, d + (1 + e^epsilon) 2^-66)-DP. That is taken out of delta first:
 *
 *     delta_left = delta / rungs - (1 + e^epsilon) 2^-66        what RDP is converted with
 *
 * and debits may not draw more than DP_DRAWS_MAX integers in a ledger's life.
 */
#ifndef PRIVACY_BUDGET_H
#define PRIVACY_BUDGET_H

#include "privacy/rdp.h"
#include "privacy/sample.h"

#define DP_DRAWS_MAX ((uint64_t)1 << 48)

typedef struct dp_filter {
    unsigned order;
    unsigned rungs;
    double cap;            /* B */
    double delta, epsilon; /* as the policy says */
    double delta_left;     /* of delta / rungs, without what the sampler costs */
    double spent;          /* sum of the costs so far */
    uint64_t draws;        /* integers of noise so far */
} dp_filter;

/* B: the largest RDP with dp_rdp_to_epsilon(B, order, delta_left) <= epsilon. FL_EREFUSED when that is not > 0 (the order
 * is too small for this delta) or when delta_left is not (delta is too small for the sampler at this epsilon), FL_EFORMAT
 * when a value is out of range. spent and draws become 0. */
fl_code dp_filter_init(dp_filter *f, double epsilon, double delta, unsigned order, unsigned rungs,
                       fl_err *err) FL_MUST_USE;

/* RDP at the filter's order of `steps` steps with rate q and noise multiplier dp_multiplier(s2, clip_units), rounded
 * up. Infinite when the multiplier is 0. */
double dp_debit_cost(const dp_filter *f, dp_rate q, uint64_t s2, uint32_t clip_units, uint64_t steps);
/* `count` noised releases without sampling (q = 1) and multiplier micro_sigma / 10^6: metrics. */
double dp_release_cost(const dp_filter *f, uint64_t micro_sigma, uint64_t count);
bool dp_filter_admits(const dp_filter *f, double cost);
/* How many further debits of this cost are admitted, at most `most`: approval asks it for a whole plan. */
uint64_t dp_filter_room(const dp_filter *f, double cost, uint64_t most);
/* Adds, admitted or not: what was reserved is spent. */
void dp_filter_charge(dp_filter *f, double cost);
/*
 * The same for a round with noised counts: two debits, each rounded up as the ledger charges them (RESERVE, OTHER_RELEASE).
 * Their sum, rounded once, may pass a cap that the second of them does not. counts 0: the round has none.
 */
bool dp_filter_admits_round(const dp_filter *f, double cost, double counts);
void dp_filter_charge_round(dp_filter *f, double cost, double counts);
/* The same for integers of noise. */
bool dp_filter_admits_draws(const dp_filter *f, uint64_t draws);
void dp_filter_charge_draws(dp_filter *f, uint64_t draws);
/* Epsilon of what was spent, at the filter's order and delta_left. */
double dp_filter_epsilon_spent(const dp_filter *f);

/* What `draws` integers of the sampler cost in delta at epsilon, rounded up: (1 + e^epsilon) draws 2^-114. */
double dp_noise_delta(double epsilon, double draws);

/*
 * The smallest noise multiplier, in millionths, for which `steps` steps at rate q cost no more than a fresh filter
 * (epsilon, delta, rungs 1) holds. *order: 0 chooses the best integer order and writes it; else it is fixed. Add steps
 * for debits that may burn. FL_EREFUSED when it would need more than 1000; never less than 0.05.
 */
fl_code dp_solve_noise_multiplier(uint32_t *micro_sigma, unsigned *order, double epsilon, double delta, dp_rate q,
                                  uint64_t steps, fl_err *err) FL_MUST_USE;
/* Steps with rate q and multiplier micro_sigma / 10^6 whose noise is given: other phases; metrics are releases at q = 1. */
typedef struct dp_beside {
    dp_rate q;
    uint64_t micro_sigma, steps;
} dp_beside;
/* The same with these n in the same budget. */
fl_code dp_solve_noise_beside(uint32_t *micro_sigma, unsigned *order, double epsilon, double delta, dp_rate q,
                              uint64_t steps, const dp_beside *beside, size_t n, fl_err *err) FL_MUST_USE;
/* The order that serves such a schedule best: for the first POLICY. */
fl_code dp_order_for(unsigned *order, double epsilon, double delta, dp_rate q, uint64_t steps, fl_err *err) FL_MUST_USE;

/* floor(10^6 * sqrt(s2) / clip_units): the noise multiplier that is debited, in millionths. Exact. */
uint64_t dp_multiplier_micro(uint64_t s2, uint32_t clip_units);
#define DP_MICRO_TEXT 24
void dp_micro_text(char text[DP_MICRO_TEXT], uint64_t micro); /* 1100000 is "1.1" */
bool dp_micro_parse(uint64_t *micro, const char *decimal);    /* at most 6 decimals, below 2^48 */
void dp_multiplier(char text[DP_MICRO_TEXT], uint64_t s2, uint32_t clip_units);
/* The smallest integer S2 with sqrt(S2) / R >= micro_sigma / 10^6, exactly; 0 when it is beyond
 * DP_NOISE_VARIANCE_MAX. */
uint64_t dp_variance_for(uint32_t micro_sigma, uint32_t clip_units);

#endif
