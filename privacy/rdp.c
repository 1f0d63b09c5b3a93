#include "privacy/rdp.h"

#include "privacy/moment.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

/* clang-format off */
const unsigned dp_orders[DP_N_ORDERS] = {
     2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
    30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57,
    58, 59, 60, 61, 62, 63, 128, 256, 512, 1024,
};

const double dp_real_orders[DP_N_REAL_ORDERS] = {
    1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9, 3, 3.1, 3.2, 3.3,
    3.4, 3.5, 3.6, 3.7, 3.8, 3.9, 4, 4.1, 4.2, 4.3, 4.4, 4.5, 4.6, 4.7, 4.8, 4.9, 5, 5.1, 5.2, 5.3, 5.4, 5.5, 5.6,
    5.7, 5.8, 5.9, 6, 6.1, 6.2, 6.3, 6.4, 6.5, 6.6, 6.7, 6.8, 6.9, 7, 7.1, 7.2, 7.3, 7.4, 7.5, 7.6, 7.7, 7.8, 7.9, 8,
    8.1, 8.2, 8.3, 8.4, 8.5, 8.6, 8.7, 8.8, 8.9, 9, 9.1, 9.2, 9.3, 9.4, 9.5, 9.6, 9.7, 9.8, 9.9, 10, 10.1, 10.2, 10.3,
    10.4, 10.5, 10.6, 10.7, 10.8, 10.9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
    30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57,
    58, 59, 60, 61, 62, 63, 128, 256, 512, 1024,
};
/* clang-format on */

/* ln(e^x - 1), x > 0 */
static double log_expm1(double x)
{
    return x > 30 ? x + log1p(-exp(-x)) : log(expm1(x));
}

/*
 * ln A = ln(1 + sum), all terms of the sum positive. Terms are kept as logarithms and added relative to the largest so
 * far. The parts of a logarithm are at most some thousands where the sum is near 1 or below (k ln q >= -1024 * 45), so
 * each is good to about 1e-11 absolutely, which is relative in the sum.
 */
double dp_rdp_order(double q, double sigma, unsigned order)
{
    assert(q > 0 && q <= 1 && sigma > 0 && order >= DP_ORDER_MIN && order <= DP_ORDER_MAX);
    if (q == 1)
        return order / (2 * sigma * sigma);
    const double log_q = log(q), log_rest = log1p(-q), double_variance = 2 * sigma * sigma;
    double log_binom = log(order); /* binom(order, 1) */
    double largest = -INFINITY, sum = 0;
    for (unsigned k = 2; k <= order; k++) {
        log_binom += log((double)(order - k + 1) / k);
        double exponent = (double)k * (k - 1) / double_variance;
        double term = log_binom + (order - k) * log_rest + k * log_q + log_expm1(exponent);
        if (term > largest) {
            sum = sum * exp(largest - term) + 1;
            largest = term;
        } else {
            sum += exp(term - largest);
        }
    }
    double log_sum = largest + log(sum);
    double log_a = log_sum > 0 ? log_sum + log1p(exp(-log_sum)) : log1p(exp(log_sum));
    return log_a / (order - 1);
}

double dp_rdp_to_epsilon(double rdp, double order, double delta)
{
    assert(rdp >= 0 && order >= DP_REAL_ORDER_MIN && delta > 0 && delta < 1);
    if (delta * delta >= -expm1(-rdp))
        return 0;
    double epsilon = rdp + log1p(-1.0 / order) - (log(delta) + log(order)) / (order - 1);
    return epsilon > 0 ? epsilon : 0;
}

double dp_rdp_compose(const dp_segment *segments, size_t n, unsigned order)
{
    double rdp = 0;
    for (size_t i = 0; i < n; i++)
        rdp += (double)segments[i].steps * dp_rdp_order(segments[i].q, segments[i].sigma, order);
    return rdp;
}

double dp_epsilon_rdp(const dp_segment *segments, size_t n, double delta, unsigned *best_order)
{
    double best = INFINITY;
    unsigned best_at = dp_orders[0];
    for (size_t i = 0; i < DP_N_ORDERS; i++) {
        double epsilon = dp_rdp_to_epsilon(dp_rdp_compose(segments, n, dp_orders[i]), dp_orders[i], delta);
        if (epsilon < best) {
            best = epsilon;
            best_at = dp_orders[i];
        }
    }
    if (best_order)
        *best_order = best_at;
    return best;
}

/* ln A is convex in the order and 0 at 1, so its chord between the integers beside a is never below it. */
static double chord(double q, double sigma, double order)
{
    double below = floor(order), above = below + 1;
    double at_below = below < 2 ? 0 : (below - 1) * dp_rdp_order(q, sigma, (unsigned)below);
    double at_above = (above - 1) * dp_rdp_order(q, sigma, (unsigned)above);
    return ((above - order) * at_below + (order - below) * at_above) / (order - 1);
}

/* The orders that are no integers, of one segment, added to rdp. */
static fl_code add_quadrature(double *rdp, const dp_segment *s, const double *orders, size_t n_orders, fl_err *err)
{
    enum { POINTS_MAX = 1 << 18 };
    double most = 0;
    for (size_t i = 0; i < n_orders; i++) {
        bool is_feasible = dp_moments_points(s->sigma, 1, orders[i]) <= POINTS_MAX;
        if (orders[i] != floor(orders[i]) && is_feasible)
            most = fmax(most, orders[i]);
    }
    dp_moments m = {0};
    if (most > 0)
        FL_TRY(dp_moments_init(&m, s->q, s->sigma, 1, most, err));
    for (size_t i = 0; i < n_orders; i++) {
        if (orders[i] == floor(orders[i]))
            continue;
        double one = orders[i] <= most ? dp_moments_log(&m, orders[i]) / (orders[i] - 1)
                                       : chord(s->q, s->sigma, orders[i]);
        rdp[i] += (double)s->steps * one;
    }
    dp_moments_fini(&m);
    return FL_OK;
}

fl_code dp_rdp_curve(double *rdp, const dp_segment *segments, size_t n, const double *orders, size_t n_orders,
                     fl_err *err)
{
    for (size_t i = 0; i < n_orders; i++) {
        assert(orders[i] >= DP_REAL_ORDER_MIN && orders[i] <= DP_ORDER_MAX);
        rdp[i] = orders[i] == floor(orders[i]) ? dp_rdp_compose(segments, n, (unsigned)orders[i]) : 0;
    }
    for (size_t k = 0; k < n; k++) {
        const dp_segment *s = &segments[k];
        if (s->q < 1) {
            FL_TRY(add_quadrature(rdp, s, orders, n_orders, err));
            continue;
        }
        for (size_t i = 0; i < n_orders; i++) {
            if (orders[i] != floor(orders[i]))
                rdp[i] += (double)s->steps * (orders[i] / (2 * s->sigma * s->sigma));
        }
    }
    return FL_OK;
}

size_t dp_rdp_best(double *epsilon, const double *rdp, const double *orders, size_t n_orders, double delta)
{
    assert(n_orders >= 1);
    size_t best = 0;
    *epsilon = INFINITY;
    for (size_t i = 0; i < n_orders; i++) {
        double here = dp_rdp_to_epsilon(rdp[i], orders[i], delta);
        if (here < *epsilon) {
            *epsilon = here;
            best = i;
        }
    }
    return best;
}
