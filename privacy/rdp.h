/*
 * Renyi differential privacy of the Poisson-subsampled Gaussian, add/remove one patient
 * (Mironov, Talwar, Zhang 2019, section 3.3).
 *
 *     RDP(a) = ln A / (a - 1)      A = E_{z ~ N(0, sigma^2)} [ (1 - q + q exp((2z - 1) / (2 sigma^2)))^a ]
 *
 * Integer orders, by the exact sum A = sum_{k=0..a} binom(a,k) (1-q)^(a-k) q^k exp((k^2-k) / (2 sigma^2)), computed as
 * 1 + sum_{k>=2} with expm1: no cancellation, so tiny values keep their digits. They hold for the discrete Gaussian of
 * integer sensitivity too: what is charged and authorised uses them alone. Relative error at most 1e-9 for q in (0, 1],
 * sigma in [0.01, 1e6], a in 2..1024.
 * Other orders, by quadrature (moment.h), for the continuous Gaussian: relative error at most 1e-9 for q in (0, 1],
 * sigma in [0.3, 100], a in [1.01, 1024]. Where the quadrature would need too many points (sigma below 0.02 or so), the
 * chord of the convex function ln A between the integers beside a: an upper bound.
 *
 * RDP of steps and segments adds. Any thread.
 */
#ifndef PRIVACY_RDP_H
#define PRIVACY_RDP_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define DP_ORDER_MIN 2u
#define DP_ORDER_MAX 1024u
#define DP_N_ORDERS  66
extern const unsigned dp_orders[DP_N_ORDERS]; /* 2..63, 128, 256, 512, 1024: of the filter and of ledgers */

#define DP_REAL_ORDER_MIN 1.01
#define DP_N_REAL_ORDERS  156
/* 1.1 to 10.9 by 0.1, 11..63, 128, 256, 512, 1024: of schedules of the continuous Gaussian */
extern const double dp_real_orders[DP_N_REAL_ORDERS];

/* One step, integer order. 0 < q <= 1, sigma = noise standard deviation / sensitivity > 0. */
double dp_rdp_order(double q, double sigma, unsigned order);

/*
 * Epsilon of a mechanism that is (order, rdp)-RDP (Balle et al. 2020, Theorem 21; Canonne et al. 2020, Proposition 12):
 *     rdp + ln(1 - 1/a) - (ln delta + ln a) / (a - 1), at least 0;  0 when delta^2 >= 1 - exp(-rdp).
 * order >= DP_REAL_ORDER_MIN.
 */
double dp_rdp_to_epsilon(double rdp, double order, double delta);

typedef struct dp_segment {
    double q;     /* sampling rate */
    double sigma; /* noise multiplier */
    uint64_t steps;
} dp_segment;

/* Composed RDP of the segments at one integer order. */
double dp_rdp_compose(const dp_segment *segments, size_t n, unsigned order);
/* The least epsilon over dp_orders; *best_order (may be NULL) says which. 0 segments: 0. */
double dp_epsilon_rdp(const dp_segment *segments, size_t n, double delta, unsigned *best_order);

/*
 * Composed RDP of the segments at each of the orders, integer or not, DP_REAL_ORDER_MIN <= a <= DP_ORDER_MAX, in any
 * order. One segment at a time shares its quadrature points among all orders. FL_EENV: no memory.
 */
fl_code dp_rdp_curve(double *rdp, const dp_segment *segments, size_t n, const double *orders, size_t n_orders,
                     fl_err *err) FL_MUST_USE;
/* Index of the order that gives the least epsilon. n_orders >= 1. */
size_t dp_rdp_best(double *epsilon, const double *rdp, const double *orders, size_t n_orders, double delta);

#endif
