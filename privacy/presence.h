/*
 * Is the noise there? What an auditor can tell from released integers alone, without patients and without the model.
 *
 * An update is u = sum over K steps of (what patients did + N_Z(0, S2)). Its last `probe` coordinates belong to no weight,
 * so they are K draws of noise added up and nothing else. Of n such integers x the statistic is
 *
 *     T = sum x^2 / (K V)        V: the variance of one draw, S2 but for the smallest S2 (dp_noise_law)
 *
 * and under honest noise T / c follows chi-squared with n / c degrees of freedom: exactly for a Gaussian; c = 1 + k / (2 K)
 * carries the excess kurtosis k of one draw, which makes mean and variance of T right. T of several updates add up.
 * sqrt(T / n) is the noise found over the noise claimed.
 *
 *     spread      T too small or too large, two-sided
 *     centre      |sum x| / sqrt(K V n) is that of a standard normal, two-sided
 *     constant    all values the same: zeros, or a number chosen to have the right square
 *     weights     the other coordinates hold signal besides: their T may be large and must not be too small. Noise and
 *                 signal of one step are independent, so for K = 1 the bound is exact; a later step may undo a little of an
 *                 earlier one's noise, so for K > 1 the noise found may be down to DP_PRESENCE_SLACK of the claimed
 *     repeated    r = sum x y / sqrt(sum x^2 sum y^2) of the probes of two updates: sqrt(n) |r| of independent noise passes
 *                 z with probability below 2 (1 - Phi(z)). The same noise twice has r = 1, one shared step of K r = 1 / K
 *
 * False alarms: each test has its share of a total of DP_PRESENCE_ALPHA for one ledger, divided by how often it is made
 * (Bonferroni), so an honest ledger is accused with probability at most 0.001, whatever its length.
 *
 * Power: noise whose standard deviation is short by a fraction f is missed by the spread with probability
 * 1 - P(chi2(n) < lower / (1-f)^2). At the level of one test, 4e-4, a shortfall of 5 % is found with 99.9 % from
 * n = 8376 on, 10 % from 1992, half the noise from 49. Smaller blocks still add up over the updates of a ledger.
 *
 * What none of this can find: noise that its maker could predict or remembers. Then the numbers look right.
 */
#ifndef PRIVACY_PRESENCE_H
#define PRIVACY_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_PRESENCE_ALPHA   1e-3 /* of a false alarm, over a whole ledger; its shares: */
#define DP_PRESENCE_POOLED  4e-4 /* spread of all updates together */
#define DP_PRESENCE_EACH    3e-4 /* spread and centre of each update: divided by 2 and by their number */
#define DP_PRESENCE_WEIGHTS 2e-4 /* weights of each update */
#define DP_PRESENCE_REPEAT  1e-4 /* each pair of updates */
#define DP_PRESENCE_SLACK   0.95
/* Below this many coordinates a block says nothing about a twentieth; see dp_presence_power for others. */
#define DP_PRESENCE_LEAST 8376

/* Variance and excess kurtosis of one draw of the discrete Gaussian with parameter s2. */
void dp_noise_law(double *variance, double *excess_kurtosis, uint64_t s2);

/* A block of integers, each the sum of `steps` draws: what the tests need of it. Blocks of one ledger can be added. */
typedef struct dp_presence {
    double n;          /* how many integers */
    double squares;    /* T */
    double centre;     /* sum x / sqrt(K V) */
    double correction; /* sum over the blocks of n * (c - 1) */
    bool is_constant;  /* all values the same, and n >= 16 */
} dp_presence;

void dp_presence_measure(dp_presence *p, const int64_t *x, size_t n, uint64_t s2, uint32_t steps);
void dp_presence_add(dp_presence *sum, const dp_presence *p);

/* The noise found over the noise claimed; 0 for an empty block. */
double dp_presence_ratio(const dp_presence *p);
/* Chances that honest noise looks at least as wrong: two-sided; two-sided; one-sided, with is_one_step as above. */
double dp_presence_spread(const dp_presence *p);
double dp_presence_centre(const dp_presence *p);
double dp_presence_weights(const dp_presence *p, bool is_one_step);

/* The chance that the spread finds a shortfall f of the standard deviation (0.05) in n coordinates, at level alpha. */
double dp_presence_power(double n, double f, double alpha);

/*
 * Repeats. unit (n) gets x / sqrt(sum x^2), zeros if all are zero; dp_presence_correlation is then r. Sums are double, in a
 * fixed order. dp_presence_threshold is the |r| that n independent coordinates pass with probability at most alpha / pairs.
 */
void dp_presence_unit(float *unit, const int64_t *x, size_t n);
double dp_presence_correlation(const float *a, const float *b, size_t n);
double dp_presence_threshold(size_t n, double pairs, double alpha);

/* Chi-squared with k > 0 degrees of freedom (not only whole ones): P(X <= x), P(X > x), and the x with P(X <= x) = p.
 * Relative error of the smaller of the two below 1e-9 for k up to 1e9. */
double dp_chi2_below(double x, double k);
double dp_chi2_above(double x, double k);
double dp_chi2_quantile(double p, double k);

#endif
