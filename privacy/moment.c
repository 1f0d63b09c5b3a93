#include "privacy/moment.h"

#include "privacy/expv.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

static double spacing(double sigma)
{
    return fmin(sigma, sigma * sigma) / 4;
}

static double first_point(double sigma, double least)
{
    return fmin(0, least) - 10 * sigma - 1;
}

double dp_moments_points(double sigma, double least, double most)
{
    return ceil((fmax(2, most) + 10 * sigma + 1 - first_point(sigma, least)) / spacing(sigma)) + 1;
}

/* ln Y for t = (2z - 1) / (2 sigma^2), without cancellation at either end */
static double log_ratio(double q, double t)
{
    if (q == 1)
        return t;
    if (t > 30)
        return t + log(q) + log1p((1 - q) / q * exp(-t));
    if (t < -0.5)
        return log((1 - q) + q * exp(t));
    return log1p(q * expm1(t));
}

/* e^x - 1 - x; both branches are computed, so that loops have none. Taylor to x^16: remainder below 1e-17 of x^2/2. */
static inline double psi(double x)
{
    double s = x > 0.75 ? 0.75 : x;
    s = s < -0.75 ? -0.75 : s;
    double p = 1.0 / 20922789888000;
    p = p * s + 1.0 / 1307674368000;
    p = p * s + 1.0 / 87178291200;
    p = p * s + 1.0 / 6227020800;
    p = p * s + 1.0 / 479001600;
    p = p * s + 1.0 / 39916800;
    p = p * s + 1.0 / 3628800;
    p = p * s + 1.0 / 362880;
    p = p * s + 1.0 / 40320;
    p = p * s + 1.0 / 5040;
    p = p * s + 1.0 / 720;
    p = p * s + 1.0 / 120;
    p = p * s + 1.0 / 24;
    p = p * s + 1.0 / 6;
    p = p * s + 0.5;
    double near = p * s * s, far = dp_expv(x) - 1 - x;
    return x > 0.75 || x < -0.75 ? far : near;
}

static fl_code fill(dp_moments *m, double first, double n_points, fl_err *err)
{
    assert(m->q > 0 && m->q <= 1 && m->sigma > 0 && m->least <= m->most && n_points <= DP_MOMENTS_POINTS_MAX);
    const double q = m->q, sigma = m->sigma, h = spacing(sigma);
    m->n = (size_t)n_points;
    m->log_y = malloc(4 * m->n * sizeof *m->log_y);
    if (!m->log_y)
        return fl_fail(err, FL_EENV, "moments: no memory left for %zu points", m->n);
    m->log_w = m->log_y + m->n;
    m->w = m->log_w + m->n;
    m->psi = m->w + m->n;
    const double log_scale = log(h / (sigma * sqrt(2 * M_PI)));
    for (size_t i = 0; i < m->n; i++) {
        double z = first + (double)i * h;
        m->log_y[i] = log_ratio(q, (2 * z - 1) / (2 * sigma * sigma));
        m->log_w[i] = log_scale - (z / sigma) * (z / sigma) / 2;
    }
    for (size_t i = 0; i < m->n; i++) {
        double w = dp_expv(m->log_w[i]);
        m->w[i] = m->log_w[i] < -700 ? 0 : w;
        m->psi[i] = psi(m->log_y[i] < 30 ? m->log_y[i] : 30);
    }
    return FL_OK;
}

fl_code dp_moments_init(dp_moments *m, double q, double sigma, double least, double most, fl_err *err)
{
    *m = (dp_moments){.q = q, .sigma = sigma, .least = least, .most = most};
    return fill(m, first_point(sigma, least), dp_moments_points(sigma, least, most), err);
}

fl_code dp_moments_init_cut(dp_moments *m, double q, double sigma, double z, fl_err *err)
{
    *m = (dp_moments){.q = q, .sigma = sigma, .least = -INFINITY, .most = INFINITY};
    return fill(m, -z * sigma, ceil((1 + 2 * z * sigma) / spacing(sigma)) + 1, err);
}

void dp_moments_fini(dp_moments *m)
{
    if (!m)
        return;
    free(m->log_y);
    *m = (dp_moments){0};
}

static inline double exponent(const dp_moments *m, size_t i, double a)
{
    return m->log_w[i] + a * m->log_y[i];
}

static double largest_exponent(const dp_moments *m, double a)
{
    double largest[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    size_t i = 0;
    for (; i + 4 <= m->n; i += 4) {
        for (size_t k = 0; k < 4; k++) {
            double e = exponent(m, i + k, a);
            largest[k] = e > largest[k] ? e : largest[k];
        }
    }
    for (; i < m->n; i++)
        largest[0] = fmax(largest[0], exponent(m, i, a));
    return fmax(fmax(largest[0], largest[1]), fmax(largest[2], largest[3]));
}

/* ln sum w Y^a, relative to the largest term; what is below exp(-60) of it at the ends is left out */
static double log_direct(const dp_moments *m, double a, double largest)
{
    size_t i = 0, end = m->n;
    while (i < end && exponent(m, i, a) < largest - 60)
        i++;
    while (end > i && exponent(m, end - 1, a) < largest - 60)
        end--;
    double sums[4] = {0};
    for (; i + 4 <= end; i += 4) {
        for (size_t k = 0; k < 4; k++)
            sums[k] += dp_expv(exponent(m, i + k, a) - largest);
    }
    for (; i < end; i++)
        sums[0] += dp_expv(exponent(m, i, a) - largest);
    return largest + log(sums[0] + sums[1] + sums[2] + sums[3]);
}

/*
 * A = 1 + E[Y^a - 1 - a (Y - 1)] = 1 + E[psi(a ln Y) - a psi(ln Y)], as E[Y] = 1: for A near 1 nothing cancels, since for
 * a > 1 and a < 0 every term is positive. Where a ln Y or ln Y is above 30 the weight goes inside the exponential.
 */
static double excess_at(const dp_moments *m, size_t i, double a)
{
    double x = a * m->log_y[i], l = m->log_y[i];
    double first = m->w[i] * psi(x < 30 ? x : 30), second = m->w[i] * m->psi[i];
    double first_far = dp_expv(m->log_w[i] + x) - m->w[i] * (1 + x);
    double second_far = dp_expv(m->log_w[i] + l) - m->w[i] * (1 + l);
    return (x < 30 ? first : first_far) - a * (l < 30 ? second : second_far);
}

double dp_moments_log(const dp_moments *m, double a)
{
    assert(a >= m->least && a <= m->most);
    double largest = largest_exponent(m, a);
    if (largest > 1)
        return log_direct(m, a, largest);
    double sums[4] = {0};
    size_t i = 0;
    for (; i + 4 <= m->n; i += 4) {
        for (size_t k = 0; k < 4; k++)
            sums[k] += excess_at(m, i + k, a);
    }
    for (; i < m->n; i++)
        sums[0] += excess_at(m, i, a);
    double excess = sums[0] + sums[1] + sums[2] + sums[3];
    return excess > -0.9 ? log1p(excess) : log_direct(m, a, largest);
}
