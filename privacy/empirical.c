#include "privacy/empirical.h"

#include <assert.h>
#include <math.h>

#define TWO_PI 6.283185307179586477

/* --- binomial probabilities (Loader 2000) ------------------------------------------------------------------------ */

/* ln n! less Stirling's formula. */
static double stirling_error(double n)
{
    if (n < 16) {
        double factorial = 1;
        for (double i = 2; i <= n; i++)
            factorial *= i;
        return log(factorial) - (n + 0.5) * log(n) + n - 0.5 * log(TWO_PI);
    }
    double s = 1 / (n * n);
    return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - s / 1188) * s) * s) * s) / n;
}

/* x ln(x / mean) + mean - x, without cancellation where the two are close. */
static double deviance(double x, double mean)
{
    if (fabs(x - mean) >= 0.1 * (x + mean))
        return x * log(x / mean) + mean - x;
    double v = (x - mean) / (x + mean), sum = (x - mean) * v, term = 2 * x * v;
    for (int j = 1;; j++) {
        term *= v * v;
        double next = sum + term / (2 * j + 1);
        if (next == sum)
            return sum;
        sum = next;
    }
}

/* ln(1 - c) for the p that c completes: p itself is the better argument when it is small. */
static double log_of(double p, double complement)
{
    return p < 0.5 ? log(p) : log1p(-complement);
}

static double probability(uint64_t k, uint64_t n, double p, double q)
{
    if (p <= 0 || q <= 0)
        return (p <= 0 ? k == 0 : k == n) ? 1 : 0;
    double x = (double)k, y = (double)(n - k), all = (double)n;
    if (k == 0)
        return exp(all * log_of(q, p));
    if (k == n)
        return exp(all * log_of(p, q));
    return exp(stirling_error(all) - stirling_error(x) - stirling_error(y) - deviance(x, all * p) -
               deviance(y, all * q)) *
           sqrt(all / (TWO_PI * x * y));
}

/* P[Bin >= k] where the terms fall from k on: k >= n p. */
static double upper_tail(uint64_t k, uint64_t n, double p, double q)
{
    double term = probability(k, n, p, q), sum = 0;
    for (; k < n && term > 0x1p-60 * sum; k++) {
        sum += term;
        term *= (double)(n - k) / (double)(k + 1) * (p / q);
    }
    return sum + term;
}

double dp_binomial_tail(uint64_t k, uint64_t n, double p, double complement)
{
    assert(p >= 0 && p <= 1 && complement >= 0 && complement <= 1);
    if (k == 0)
        return 1;
    if (k > n || p <= 0)
        return 0;
    if (complement <= 0)
        return 1;
    if ((double)k >= (double)n * p)
        return upper_tail(k, n, p, complement);
    return 1 - upper_tail(n - k + 1, n, complement, p); /* at most k - 1: the others at least n - k + 1 */
}

/* --- one run ----------------------------------------------------------------------------------------------------- */

/*
 * max_{i=1..v} P[v > Bin(r, p) >= v - i] / i: the largest mean of the i terms below v. Downwards the terms grow as far as
 * the mode and fall behind it, so the mean grows until a term lies below it, and never again. Terms too small for a double
 * are counted, not visited.
 */
static double largest_mean(uint64_t r, uint64_t v, double p, double q)
{
    if (v == 0)
        return 0;
    uint64_t k = v - 1, low = (uint64_t)fmin((double)r * p, (double)k); /* low: at or below the mode, or k itself */
    if (!(probability(k, r, p, q) > 1e-290)) {
        for (uint64_t high = k; high - low > 1;) {
            uint64_t middle = low + (high - low) / 2;
            if (probability(middle, r, p, q) > 1e-290)
                low = middle;
            else
                high = middle;
        }
        k = low;
    }
    double term = probability(k, r, p, q), sum = term, best = sum / (double)(v - k);
    while (k > 0) {
        term *= (double)k / (double)(r - k + 1) * (q / p);
        k--;
        if (term < best)
            break;
        sum += term;
        best = sum / (double)(v - k);
    }
    return best;
}

double dp_one_run_p_value(uint64_t m, uint64_t r, uint64_t v, double epsilon, double delta)
{
    assert(m >= 1 && v <= r && r <= m && epsilon >= 0 && delta >= 0 && delta < 1);
    double small = exp(-epsilon), p = 1 / (1 + small), q = small / (1 + small);
    double value = dp_binomial_tail(v, r, p, q);
    if (delta > 0 && q > 0)
        value += 2 * (double)m * delta * largest_mean(r, v, p, q);
    return fmin(value, 1);
}

double dp_one_run_epsilon(uint64_t m, uint64_t r, uint64_t v, double delta, double confidence)
{
    assert(confidence > 0.5 && confidence < 1);
    const double risk = 1 - confidence;
    double low = 0, high = 1;
    if (dp_one_run_p_value(m, r, v, 0, delta) >= risk)
        return 0;
    while (dp_one_run_p_value(m, r, v, high, delta) < risk) {
        low = high;
        high *= 2;
    }
    for (int i = 0; i < 60 && high - low > 1e-14 * high; i++) {
        double middle = 0.5 * (low + high);
        if (dp_one_run_p_value(m, r, v, middle, delta) < risk)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* --- many runs --------------------------------------------------------------------------------------------------- */

/* The p with P[Bin(n, p) >= k] = risk. The tail grows with p. */
double dp_probability_low(uint64_t k, uint64_t n, double risk)
{
    assert(k <= n && n >= 1 && risk > 0 && risk < 1);
    if (k == 0)
        return 0;
    double low = 0, high = 1;
    for (int i = 0; i < 1100 && high - low > 1e-15 * high; i++) {
        double middle = 0.5 * (low + high);
        if (dp_binomial_tail(k, n, middle, 1 - middle) < risk)
            low = middle;
        else
            high = middle;
    }
    return low;
}

double dp_probability_high(uint64_t k, uint64_t n, double risk)
{
    return 1 - dp_probability_low(n - k, n, risk);
}

/* ln((a - delta) / b), at least 0: what P <= e^epsilon Q + delta asks of epsilon when P >= a and Q <= b. */
static double demanded(double a, double b, double delta)
{
    return a - delta > b ? log((a - delta) / b) : 0;
}

double dp_two_worlds_epsilon(dp_count with, dp_count without, double delta, double confidence)
{
    assert(confidence > 0 && confidence < 1 && delta >= 0 && delta < 1);
    const double risk = (1 - confidence) / 4;
    double with_low = dp_probability_low(with.hits, with.runs, risk);
    double with_high = dp_probability_high(with.hits, with.runs, risk);
    double without_low = dp_probability_low(without.hits, without.runs, risk);
    double without_high = dp_probability_high(without.hits, without.runs, risk);
    double event = fmax(demanded(with_low, without_high, delta), demanded(without_low, with_high, delta));
    double contrary = fmax(demanded(1 - with_high, 1 - without_low, delta),
                           demanded(1 - without_high, 1 - with_low, delta));
    return fmax(event, contrary);
}
