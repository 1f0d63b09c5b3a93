/*
 * Moments of one Poisson-subsampled Gaussian step, at any real order, by quadrature:
 *
 *     K(a) = ln E_{z ~ N(0, sigma^2)} [ Y(z)^a ]      Y = 1 - q + q exp((2z - 1) / (2 sigma^2))
 *
 * K(1) = 0. For a > 1, RDP(a) = K(a) / (a - 1) (Mironov, Talwar, Zhang 2019, section 3.3). ln E_P[exp(t L)] of the loss L
 * is K(1 + t) when a patient is removed and K(-t) when one is added.
 *
 * The trapezoidal rule with step h = min(sigma, sigma^2) / 4. The integrand is analytic in the strip |Im z| < pi sigma^2
 * (there Y has its zeros), where it is at most exp(y^2 / 2 sigma^2) times its values on the real axis: with y = 2 pi
 * sigma^2 / h, or the strip's edge, the rule's error is below exp(-59) relative to them. What lies beyond 10 sigma of
 * every possible peak (0, 2 and a) is below exp(-50).
 */
#ifndef PRIVACY_MOMENT_H
#define PRIVACY_MOMENT_H

#include "base/err.h"

typedef struct dp_moments {
    double q, sigma, least, most; /* orders it is made for */
    size_t n;
    double *log_y, *log_w, *w, *psi; /* (n): ln Y, ln(weight), weight, exp(ln Y) - 1 - ln Y */
} dp_moments;

/* Points that orders from least to most need: sigma small and orders large make many. */
double dp_moments_points(double sigma, double least, double most);

#define DP_MOMENTS_POINTS_MAX 4194304.0

/* For orders least <= a <= most, dp_moments_points at most DP_MOMENTS_POINTS_MAX. 0 < q <= 1. FL_EENV: no memory. */
fl_code dp_moments_init(dp_moments *m, double q, double sigma, double least, double most, fl_err *err) FL_MUST_USE;
/* The same with the integral cut at -z sigma and 1 + z sigma, for all orders: what a law with cut tails has. */
fl_code dp_moments_init_cut(dp_moments *m, double q, double sigma, double z, fl_err *err) FL_MUST_USE;
void dp_moments_fini(dp_moments *m);

/* K(a); relative error below 1e-10 for sigma in [0.3, 100], |a| <= 1024, |a - 1| and |a| at least 0.01. */
double dp_moments_log(const dp_moments *m, double a);

#endif
