/*
 * Renyi differential privacy of the Poisson-subsampled Gaussian at integer orders, add/remove one patient
 * (Mironov, Talwar, Zhang 2019, section 3.3; exact for the discrete Gaussian of integer sensitivity too).
 *
 *     RDP(a) = ln A / (a - 1)      A = sum_{k=0..a} binom(a,k) (1-q)^(a-k) q^k exp((k^2-k) / (2 sigma^2))
 *
 * computed as ln(1 + sum_{k>=2} binom(a,k) (1-q)^(a-k) q^k expm1((k^2-k) / (2 sigma^2))): no cancellation, so tiny
 * values keep their digits. Relative error at most 1e-9 for q in (0, 1], sigma in [0.01, 1e6], a in 2..1024.
 * RDP of steps and segments adds. Any thread.
 */
#ifndef PRIVACY_RDP_H
#define PRIVACY_RDP_H

#include <stddef.h>
#include <stdint.h>

#define DP_ORDER_MIN 2u
#define DP_ORDER_MAX 1024u
#define DP_N_ORDERS  66
extern const unsigned dp_orders[DP_N_ORDERS]; /* 2..63, 128, 256, 512, 1024 */

/* One step. 0 < q <= 1, sigma = noise standard deviation / sensitivity > 0. */
double dp_rdp_order(double q, double sigma, unsigned order);

/*
 * Epsilon of a mechanism that is (order, rdp)-RDP (Balle et al. 2020, Theorem 21; Canonne et al. 2020, Proposition 12):
 *     rdp + ln(1 - 1/a) - (ln delta + ln a) / (a - 1), at least 0;  0 when delta^2 >= 1 - exp(-rdp).
 */
double dp_rdp_to_epsilon(double rdp, unsigned order, double delta);

typedef struct dp_segment {
    double q;     /* sampling rate */
    double sigma; /* noise multiplier */
    uint64_t steps;
} dp_segment;

/* Composed RDP of the segments at one order. */
double dp_rdp_compose(const dp_segment *segments, size_t n, unsigned order);
/* The least epsilon over the default orders; *best_order (may be NULL) says which. 0 segments: 0. */
double dp_epsilon_rdp(const dp_segment *segments, size_t n, double delta, unsigned *best_order);
/* The same over a list of integer orders. */
double dp_epsilon_rdp_orders(const dp_segment *segments, size_t n, double delta, const unsigned *orders,
                             size_t n_orders, unsigned *best_order);

#endif
