#include "privacy/rdp.h"

#include <assert.h>
#include <math.h>

/* clang-format off */
const unsigned dp_orders[DP_N_ORDERS] = {
     2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
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

double dp_rdp_to_epsilon(double rdp, unsigned order, double delta)
{
    assert(rdp >= 0 && order >= DP_ORDER_MIN && delta > 0 && delta < 1);
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

double dp_epsilon_rdp_orders(const dp_segment *segments, size_t n, double delta, const unsigned *orders,
                             size_t n_orders, unsigned *best_order)
{
    assert(n_orders > 0);
    double best = INFINITY;
    unsigned best_at = orders[0];
    for (size_t i = 0; i < n_orders; i++) {
        double epsilon = dp_rdp_to_epsilon(dp_rdp_compose(segments, n, orders[i]), orders[i], delta);
        if (epsilon < best) {
            best = epsilon;
            best_at = orders[i];
        }
    }
    if (best_order)
        *best_order = best_at;
    return best;
}

double dp_epsilon_rdp(const dp_segment *segments, size_t n, double delta, unsigned *best_order)
{
    return dp_epsilon_rdp_orders(segments, n, delta, dp_orders, DP_N_ORDERS, best_order);
}
