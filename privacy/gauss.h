/*
 * The privacy profile of the Gaussian mechanism in closed form, and of one Poisson-subsampled step through it, with
 * every rounding error bounded: what stands behind a certified epsilon where a closed form exists.
 *
 *     delta_G(e; mu) = Phi(mu/2 - e/mu) - exp(e) Phi(-mu/2 - e/mu)          (Balle and Wang 2018, Theorem 8)
 *
 * Composed Gaussians are one Gaussian with mu^2 = sum steps / sigma^2. One step with sampling rate q and mu = 1/sigma:
 *
 *     remove   delta(e) = q delta_G(e')                      e' = ln(1 + (exp(e) - 1) / q)
 *     add      delta(e) = exp(e - e') q delta_G(e')          e' = -ln(1 - (1 - exp(-e)) / q), 0 when that is no number
 *
 * (both by completing the square in the two Gaussian tails beyond the point where the loss is e). Trusted of libm:
 * exp, expm1, log, log1p, sqrt and erfc within 8 units in the last place.
 */
#ifndef PRIVACY_GAUSS_H
#define PRIVACY_GAUSS_H

typedef struct dp_bracket {
    double low, high; /* low <= the true value <= high */
} dp_bracket;

/* delta_G for e >= 0 and 0 < mu < 1e9, in [0, 1]. */
dp_bracket dp_gauss_delta(double e, double mu);

/*
 * The epsilon at which the profile is delta, 0 < delta < 1: one Gaussian of parameter mu (q = 1), or one step with
 * mu = 1 / sigma and 0 < q <= 1, the larger of remove and add. mu is given as a bracket: it may be rounded.
 */
dp_bracket dp_gauss_epsilon(double q, dp_bracket mu, double delta);

#endif
