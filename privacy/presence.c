#include "privacy/presence.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* --- chi-squared: the incomplete gamma function (Numerical Recipes 6.2; DLMF 8.7.1 and 8.9.2) --- */

/* x^a e^-x / Gamma(a + 1), without the cancellation that large a would bring. */
static double front(double a, double x)
{
    if (a < 100)
        return exp(a * log(x) - x - lgamma(a + 1));
    double d = (x - a) / a;
    double stirling = 1 / (12 * a) - 1 / (360 * a * a * a);
    return exp(-a * (d - log1p(d)) - stirling) / sqrt(2 * M_PI * a);
}

/* P(a, x) for x < a + 1: about sqrt(a) terms matter. */
static double lower_series(double a, double x)
{
    double term = 1, sum = 1;
    for (double k = a + 1; term > sum * 1e-17; k++) {
        term *= x / k;
        sum += term;
    }
    return sum * front(a, x);
}

/* Q(a, x) for x >= a + 1: Lentz's continued fraction. */
static double upper_fraction(double a, double x)
{
    const double tiny = 1e-300;
    double b = x + 1 - a, c = 1 / tiny, d = 1 / b, h = d;
    for (double i = 1; i < 1e7; i++) {
        double an = -i * (i - a);
        b += 2;
        d = an * d + b;
        c = b + an / c;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        double step = d * c;
        h *= step;
        if (fabs(step - 1) < 1e-16)
            break;
    }
    return h * front(a, x) * a; /* front has Gamma(a + 1) below, not Gamma(a) */
}

double dp_chi2_below(double x, double k)
{
    if (!(x > 0))
        return 0;
    double a = k / 2, half = x / 2;
    return half < a + 1 ? fmin(1, lower_series(a, half)) : 1 - fmin(1, upper_fraction(a, half));
}

double dp_chi2_above(double x, double k)
{
    if (!(x > 0))
        return 1;
    double a = k / 2, half = x / 2;
    return half < a + 1 ? 1 - fmin(1, lower_series(a, half)) : fmin(1, upper_fraction(a, half));
}

double dp_chi2_quantile(double p, double k)
{
    assert(p > 0 && p < 1 && k > 0);
    double low = 0, high = k + 50 * sqrt(2 * k) + 500;
    for (int i = 0; i < 200 && high - low > 1e-13 * high; i++) {
        double middle = (low + high) / 2;
        bool is_below = p < 0.5 ? dp_chi2_below(middle, k) < p : dp_chi2_above(middle, k) > 1 - p;
        *(is_below ? &low : &high) = middle;
    }
    return (low + high) / 2;
}

/* --- the law of one draw --- */

void dp_noise_law(double *variance, double *excess_kurtosis, uint64_t s2)
{
    *variance = (double)s2;
    *excess_kurtosis = 0;
    if (s2 >= 64) /* from here on they differ from the Gaussian's by less than e^-1000 */
        return;
    double mass = 1, second = 0, fourth = 0;
    for (double x = 1; x < 400; x++) {
        double p = 2 * exp(-x * x / (2 * (double)s2));
        mass += p;
        second += p * x * x;
        fourth += p * x * x * x * x;
    }
    *variance = second / mass;
    *excess_kurtosis = fourth / mass / (*variance * *variance) - 3;
}

/* --- one block --- */

void dp_presence_measure(dp_presence *p, const int64_t *x, size_t n, uint64_t s2, uint32_t steps)
{
    double variance, kurtosis, sum = 0, squares = 0;
    bool is_constant = n >= 16;
    dp_noise_law(&variance, &kurtosis, s2);
    variance *= steps;
    for (size_t i = 0; i < n; i++) {
        double value = (double)x[i];
        sum += value;
        squares += value * value;
        is_constant &= x[i] == x[0];
    }
    *p = (dp_presence){.n = (double)n,
                       .squares = squares / variance,
                       .centre = sum / sqrt(variance),
                       .correction = (double)n * kurtosis / (2 * steps),
                       .is_constant = is_constant};
}

void dp_presence_add(dp_presence *sum, const dp_presence *p)
{
    sum->n += p->n;
    sum->squares += p->squares;
    sum->centre += p->centre;
    sum->correction += p->correction;
    sum->is_constant |= p->is_constant;
}

double dp_presence_ratio(const dp_presence *p)
{
    return p->n > 0 ? sqrt(p->squares / p->n) : 0;
}

double dp_presence_spread(const dp_presence *p)
{
    if (!(p->n > 0))
        return 1;
    double c = 1 + p->correction / p->n;
    double below = dp_chi2_below(p->squares / c, p->n / c), above = dp_chi2_above(p->squares / c, p->n / c);
    return fmin(1, 2 * fmin(below, above));
}

double dp_presence_centre(const dp_presence *p)
{
    return p->n > 0 ? erfc(fabs(p->centre) / sqrt(2 * p->n)) : 1;
}

double dp_presence_weights(const dp_presence *p, bool is_one_step)
{
    if (!(p->n > 0))
        return 1;
    double c = 1 + p->correction / p->n, slack = is_one_step ? 1 : DP_PRESENCE_SLACK * DP_PRESENCE_SLACK;
    return dp_chi2_below(p->squares / (c * slack), p->n / c);
}

double dp_presence_power(double n, double f, double alpha)
{
    return n > 0 ? dp_chi2_below(dp_chi2_quantile(alpha / 2, n) / ((1 - f) * (1 - f)), n) : 0;
}

/* --- pairs --- */

void dp_presence_unit(float *unit, const int64_t *x, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    double scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (size_t i = 0; i < n; i++)
        unit[i] = (float)((double)x[i] * scale);
}

double dp_presence_correlation(const float *a, const float *b, size_t n)
{
    enum { LANES = 16, RUN = 4096 };
    double total = 0;
    for (size_t start = 0; start < n; start += RUN) { /* short float sums, so that lanes can be wide */
        size_t end = n - start < RUN ? n : start + RUN, i = start;
        float lane[LANES] = {0};
        for (; i + LANES <= end; i += LANES) {
            for (size_t j = 0; j < LANES; j++)
                lane[j] += a[i + j] * b[i + j];
        }
        for (; i < end; i++)
            lane[0] += a[i] * b[i];
        for (size_t j = 0; j < LANES; j++)
            total += (double)lane[j];
    }
    return total;
}

/* P(sqrt(n) |r| > z) <= erfc(z / sqrt 2): the density of r is proportional to (1 - r^2)^((n-3)/2), whose tail is below the
 * normal's of variance 1 / (n - 3). */
double dp_presence_threshold(size_t n, double pairs, double alpha)
{
    if (n < 8)
        return 1;
    double low = 0, high = 40, wanted = alpha / fmax(1, pairs);
    while (high - low > 1e-9) {
        double z = (low + high) / 2;
        *(erfc(z / M_SQRT2) > wanted ? &low : &high) = z;
    }
    return fmin(1, high / sqrt((double)n - 3));
}
