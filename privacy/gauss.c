#include "privacy/gauss.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>

static const double U = DBL_EPSILON / 2; /* unit round-off */

/* Upper Gaussian tail over density, b >= 25: the alternating series 1/b (1 - 1/b^2 + 3/b^4 - ...), whose error is less
 * than the first term left out (2e-17 of it). */
static double mills_far(double b)
{
    double sum = 1, term = 1;
    for (int k = 1; k <= 9; k++) {
        term *= -(2 * k - 1) / (b * b);
        sum += term;
    }
    return sum / b;
}

/*
 * With a = e/mu - mu/2 and b = a + mu: delta_G = t1 - t2, t1 = Phi_c(a), t2 = exp(e) Phi_c(b) = phi(a) Mills(b).
 * Relative errors: an argument off by d moves Phi_c(x) by at most d (|x| + 1) relatively.
 */
dp_bracket dp_gauss_delta(double e, double mu)
{
    assert(e >= 0 && mu > 0 && mu < 1e9);
    const double part = e / mu, a = part - mu / 2, b = part + mu / 2;
    const double off = 2 * U * (part + mu); /* of a and of b */
    double t1 = 0.5 * erfc(a * M_SQRT1_2), t2, error2;
    double error1 = 24 * U + (off + 2 * U * fabs(a)) * (fabs(a) + 1);
    if (b < 25) {
        t2 = 0.5 * exp(e) * erfc(b * M_SQRT1_2); /* e = (b^2 - a^2) / 2 < 313 */
        error2 = 32 * U + 2 * U * e + (off + 2 * U * b) * (b + 1);
    } else {
        t2 = exp(-0.5 * a * a) * 0.5 * M_SQRT1_2 * M_2_SQRTPI * mills_far(b);
        error2 = 48 * U + off + (off + 2 * U * fabs(a)) * (fabs(a) + 1);
    }
    /* below the normal doubles nothing relative is known */
    double high = t1 * (1 + error1) - t2 * (1 - fmin(error2, 1)) + 2 * DBL_MIN;
    double low = t1 * (1 - fmin(error1, 1)) - t2 * (1 + error2) - 2 * DBL_MIN;
    high += U * t1;
    low -= U * t1;
    return (dp_bracket){.low = low > 0 ? low : 0, .high = high < 1 ? high : 1};
}

typedef enum direction { REMOVE, ADD } direction;

/* delta of one step at epsilon e. e' is known to 4 ulp and more: it is moved outward by 16, as delta_G falls in e'. */
static double step_delta(direction way, bool is_high, double e, double q, double mu)
{
    double inner = e, factor = 1;
    if (q < 1 && way == REMOVE) {
        inner = e > 30 ? e - log(q) + log1p(-(1 - q) * exp(-e)) : log1p(expm1(e) / q);
        factor = q;
    } else if (q < 1) {
        double gone = -expm1(-e) / q; /* 1 - exp(-e') */
        if (gone >= 1 - 1e-12)        /* e' above 27: delta is 0, or bounded by what it is there */
            return is_high ? q * exp(e) * 1.1e-12 * dp_gauss_delta(27, mu).high : 0;
        inner = -log1p(-gone);
        factor = q * exp(e) * (1 - gone);
        /* the cancellation in 1 - gone */
        double error = 16 * U / (1 - gone);
        factor *= is_high ? 1 + error : 1 - error;
        inner += is_high ? -error : error;
    }
    double slack = 16 * U * (inner + fabs(log(q)));
    inner = is_high ? fmax(inner - slack, 0) : inner + slack;
    dp_bracket d = dp_gauss_delta(inner, mu);
    return is_high ? d.high * factor * (1 + 16 * U) : d.low * factor * (1 - 16 * U);
}

/*
 * high: an e with delta(e) <= delta for certain; low: one below which delta(e) > delta for certain. Bisection to the
 * last bit of a double; the profile falls in e, and wherever rounding spoils that, what the last comparison said holds.
 */
static double solve(direction way, bool is_high, double q, double mu, double delta)
{
    double below = 0, above = 1;
    if (step_delta(way, is_high, 0, q, mu) <= delta)
        return 0;
    while (step_delta(way, is_high, above, q, mu) > delta) {
        below = above;
        above *= 2;
        if (above > 1e18) /* 1e18 > mu^2/2 + mu * 40 for every mu: cannot happen */
            return is_high ? INFINITY : below;
    }
    for (int i = 0; i < 200; i++) {
        double middle = below + (above - below) / 2;
        if (!(middle > below && middle < above))
            break;
        if (step_delta(way, is_high, middle, q, mu) > delta)
            below = middle;
        else
            above = middle;
    }
    return is_high ? above : below;
}

dp_bracket dp_gauss_epsilon(double q, dp_bracket mu, double delta)
{
    assert(q > 0 && q <= 1 && delta > 0 && delta < 1 && mu.low > 0 && mu.low <= mu.high);
    dp_bracket e = {.low = solve(REMOVE, false, q, mu.low, delta), .high = solve(REMOVE, true, q, mu.high, delta)};
    if (q < 1) {
        e.low = fmax(e.low, solve(ADD, false, q, mu.low, delta));
        e.high = fmax(e.high, solve(ADD, true, q, mu.high, delta));
    }
    return e;
}
