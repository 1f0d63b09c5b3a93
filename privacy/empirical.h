/*
 * What an attack that was measured says about epsilon: lower bounds, each wrong with probability 1 - confidence at most.
 *
 * In one run (Steinke, Nasr, Jagielski 2023, "Privacy Auditing with One (1) Training Run", Theorem 5.2): m canaries, each
 * in the data with a fair coin of its own; somebody who sees the release alone guesses r of the coins and abstains from the
 * others; v guesses are right. If the mechanism is (epsilon, delta)-DP then, with p0 = e^epsilon / (1 + e^epsilon),
 *
 *     P[v or more are right] <= p = P[Bin(r, p0) >= v] + 2 m delta max_{i=1..v} P[v > Bin(r, p0) >= v - i] / i
 *
 * so that an epsilon with p < 1 - confidence is refuted. The bound is the end of those epsilons. They have no gaps: for
 * p0 >= (v - i) / r the median alone makes p >= 1/2, and below that every term of the sum grows with p0.
 *
 * In many runs: n0 runs without the canary and n1 with it, an event counted in both. Clopper and Pearson's limits of the two
 * probabilities are put into the four inequalities of (epsilon, delta): with and without, the event and its contrary.
 *
 * Binomial probabilities are Loader's ("Fast and Accurate Computation of Binomial Probabilities", 2000), summed from the
 * large end: relative error below 1e-10 for counts up to 10^7; a bound costs some milliseconds there. Any thread.
 */
#ifndef PRIVACY_EMPIRICAL_H
#define PRIVACY_EMPIRICAL_H

#include <stdint.h>

/* p above, at most 1. v <= r <= m, m >= 1, epsilon >= 0, 0 <= delta < 1. */
double dp_one_run_p_value(uint64_t m, uint64_t r, uint64_t v, double epsilon, double delta);
/* The largest epsilon that is refuted, 0 when none is. 1/2 < confidence < 1. */
double dp_one_run_epsilon(uint64_t m, uint64_t r, uint64_t v, double delta, double confidence);

/* P[Bin(n, p) >= k], 0 <= p <= 1; complement is 1 - p with the digits that 1 - p would lose. */
double dp_binomial_tail(uint64_t k, uint64_t n, double p, double complement);

/* One-sided limits of the probability of what happened k times in n runs (Clopper, Pearson 1934). 0 < risk < 1. */
double dp_probability_low(uint64_t k, uint64_t n, double risk);
double dp_probability_high(uint64_t k, uint64_t n, double risk);

typedef struct dp_count {
    uint64_t runs, hits; /* hits <= runs, runs >= 1 */
} dp_count;

/* The largest epsilon that the counts refute, 0 when none. The risk 1 - confidence is shared by the four limits. The event
 * has to be fixed before the runs are looked at. */
double dp_two_worlds_epsilon(dp_count with, dp_count without, double delta, double confidence);

#endif
