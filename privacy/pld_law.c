#include "privacy/pld_law.h"

#include "privacy/expv.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

static const double U = DBL_EPSILON / 2;

typedef struct bin_mass {
    double rest, mixed, error;
} bin_mass;

/* L at x */
static double loss_at(double q, double sigma, double x)
{
    double t = (2 * x - 1) / (2 * sigma * sigma);
    if (q == 1)
        return t;
    return t < 30 ? log((1 - q) + q * exp(t)) : t + log(q) + log1p((1 - q) / q * exp(-t));
}

/* r = exp((2x - 1) / (2 sigma^2)) where the loss is l; below 0 where it never is. Absolute error of q r: at most
 * (4 + 2 |l|) U exp(l). */
static double ratio_at(double q, double l)
{
    return (l > -0.5 ? expm1(l) + q : exp(l) - (1 - q)) / q;
}

/* 1 + the first three even corrections of the mean of a normal density over [m - w/2, m + w/2], by its value at m */
static double midpoint_series(double m, double w)
{
    const double s = m * m, v = w * w;
    const double h4 = (s - 6) * s + 3, h6 = ((s - 15) * s + 45) * s - 15;
    return 1 + v * ((s - 1) / 24 + v * (h4 / 1920 + v * h6 / 322560));
}

/* Tail difference on the side where tails are small; *error absolute. x is known to off. */
static double tail_difference(double a, double b, double off_a, double off_b, double *error)
{
    if (a + b < 0) {
        double t = a;
        a = -b;
        b = -t;
        t = off_a;
        off_a = off_b;
        off_b = t;
    }
    double ta = 0.5 * erfc(a * M_SQRT1_2), tb = 0.5 * erfc(b * M_SQRT1_2);
    *error = ta * (20 * U + (off_a + 2 * U * fabs(a)) * (fabs(a) + 1)) +
             tb * (20 * U + (off_b + 2 * U * fabs(b)) * (fabs(b) + 1)) + DBL_MIN;
    return ta - tb;
}

/* Masses between the points where r is ra and rb, 0 < ra < rb; log_a = ln ra. */
static bin_mass mass_between(double q, double sigma, double ra, double rb, double log_a)
{
    const double growth = (rb - ra) / ra;
    const double width = log1p(growth), w = sigma * width;                            /* 6 U relative */
    const double m0 = sigma * (log_a + width / 2) + 0.5 / sigma, m1 = m0 - 1 / sigma; /* middle, in both normal laws */
    const double off = 4 * U * (sigma * (fabs(log_a) + width) + 1 / sigma);
    const double reach = w * fmax(1, fmax(fabs(m0), fabs(m1)));
    bin_mass b;
    if (reach < 0.1) {
        const double s0 = midpoint_series(m0, w), s1 = midpoint_series(m1, w);
        b.rest = dp_expv(-m0 * m0 / 2) * (0.5 * M_SQRT1_2 * M_2_SQRTPI) * w * s0;
        double other = b.rest * sqrt(ra) * sqrt(rb) * (s1 / s0);
        b.mixed = (1 - q) * b.rest + q * other;
        const double t = reach * reach;
        /* the remainder: (1 + 28 + 210 + 420 + 105) reach^8 / (2^8 9!) */
        b.error = 40 * U + (off + 2 * U * fabs(m0)) * (fabs(m0) + 1) + 1e-5 * t * t * t * t;
        return b;
    }
    double error0, error1;
    const double half = w / 2, off_b = off + 8 * U * w;
    b.rest = tail_difference(m0 - half, m0 + half, off_b, off_b, &error0);
    double other = tail_difference(m1 - half, m1 + half, off_b, off_b, &error1);
    b.mixed = (1 - q) * b.rest + q * other;
    b.error = 8 * U + fmax(error0 / b.rest, error1 / other);
    return b;
}

static bin_mass mass_around(double q, double sigma, double c, double h)
{
    const double least = fmax(exp(-(2 * 38 * sigma + 1) / (2 * sigma * sigma)), 1e-280);
    double ra = fmax(ratio_at(q, c - h / 2), least), rb = ratio_at(q, c + h / 2);
    return ra < rb && isfinite(rb) ? mass_between(q, sigma, ra, rb, log(ra)) : (bin_mass){0};
}

/*
 * Where the lattice lies: most of the law may be in one bin, left of which there is little, when q is small or sigma is. A
 * point at the mean of the heaviest bin makes the law below exact there, and the law above spread least.
 */
static double offset_for(double q, double sigma, double h)
{
    double c = loss_at(q, sigma, 0), heaviest = 0;
    for (int i = 0; i <= 32; i++) {
        double x = 1 + sigma - (1 + 5 * sigma) * i / 32, at = loss_at(q, sigma, x);
        bin_mass b = mass_around(q, sigma, at, h);
        if (b.rest + b.mixed > heaviest) {
            heaviest = b.rest + b.mixed;
            c = at;
        }
    }
    for (int i = 0; i < 24; i++) {
        bin_mass b = mass_around(q, sigma, c, h);
        if (!(b.rest > 0 && b.mixed > 0))
            break;
        double next = log(b.mixed / b.rest), moved = fabs(next - c);
        c = next;
        if (moved < 1e-6 * h)
            break;
    }
    return c;
}

static double tail(double z)
{
    return 0.5 * erfc(z * M_SQRT1_2) * (1 + 1e-12);
}

double dp_cells_count(double q, double sigma, double h, double z)
{
    return (loss_at(q, sigma, 1 + z * sigma) - loss_at(q, sigma, -z * sigma)) / h * 2 + 8;
}

static bool grow(double **array, size_t n)
{
    double *moved = realloc(*array, n * sizeof *moved);
    if (moved)
        *array = moved;
    return moved;
}

static fl_code cells_reserve(dp_cells *cells, size_t n, fl_err *err)
{
    if (n > cells->capacity) {
        if (!grow(&cells->rest, n) || !grow(&cells->mixed, n) || !grow(&cells->error, n))
            return fl_fail(err, FL_EENV, "bounds: no memory left for %zu bins", n);
        cells->capacity = n;
    }
    cells->n = n;
    return FL_OK;
}

fl_code dp_cells_fill(dp_cells *cells, double q, double sigma, double h, double z, fl_err *err)
{
    const double low = loss_at(q, sigma, -z * sigma), high = loss_at(q, sigma, 1 + z * sigma);
    const double c = offset_for(q, sigma, h), half = h / 2;
    const double first = 2 * floor((low - c) / h), last = 2 * ceil((high - c) / h);
    assert(last - first < 134217728.0);
    FL_TRY(cells_reserve(cells, (size_t)(last - first), err));
    cells->q = q;
    cells->sigma = sigma;
    cells->h = h;
    cells->c = c;
    cells->first = (int64_t)first;
    cells->lost = tail(z);
    cells->slack = (12 + 4 * (fmax(fabs(low), fabs(high)) + h)) * U;
    /* the clip: inside both tails that `lost` is for */
    const double r_least = exp((-2 * z * sigma - 1) / (2 * sigma * sigma)) * (1 - 1e-9);
    const double r_most = exp((2 * z * sigma + 1) / (2 * sigma * sigma)) * (1 + 1e-9);
    double ra = r_least;
    for (size_t k = 0; k < cells->n; k++) {
        double rb = ratio_at(q, c + (double)(cells->first + (int64_t)k + 1) * half);
        rb = fmin(fmax(rb, ra), r_most);
        bin_mass b = rb > ra ? mass_between(q, sigma, ra, rb, log(ra)) : (bin_mass){0};
        cells->rest[k] = b.rest;
        cells->mixed[k] = b.mixed;
        cells->error[k] = b.error;
        ra = rb;
    }
    return FL_OK;
}

void dp_cells_fini(dp_cells *cells)
{
    free(cells->rest);
    free(cells->mixed);
    free(cells->error);
    *cells = (dp_cells){0};
}

/* The bin of half-bins j and j + 1, in the loss's own direction: mirrored when a patient is added. */
typedef struct bin {
    double p, q, error;
} bin;

static void add_half(bin *b, const dp_cells *cells, dp_way way, int64_t j)
{
    int64_t k = (way == DP_REMOVE ? j : -1 - j) - cells->first;
    if (k < 0 || k >= (int64_t)cells->n || !(cells->rest[k] > 0 && cells->mixed[k] > 0))
        return;
    b->p += way == DP_REMOVE ? cells->mixed[k] : cells->rest[k];
    b->q += way == DP_REMOVE ? cells->rest[k] : cells->mixed[k];
    b->error = fmax(b->error, cells->error[k]);
}

static bin bin_at(const dp_cells *cells, dp_way way, int64_t j)
{
    bin b = {.error = 0};
    add_half(&b, cells, way, j);
    add_half(&b, cells, way, j + 1);
    return b;
}

/* Points from the first edge to the last, both included: first and n of cells are even. */
static fl_code law_reserve(dp_law *law, const dp_cells *cells, dp_way way, fl_err *err)
{
    int64_t first = way == DP_REMOVE ? cells->first : -(cells->first + (int64_t)cells->n);
    law->offset = way == DP_REMOVE ? cells->c : -cells->c;
    law->first = first / 2;
    law->n = cells->n / 2 + 1;
    if (law->n > law->capacity) {
        if (!grow(&law->p, law->n))
            return fl_fail(err, FL_EENV, "bounds: no memory left for %zu points", law->n);
        law->capacity = law->n;
    }
    for (size_t i = 0; i < law->n; i++)
        law->p[i] = 0;
    return FL_OK;
}

/* exp(loss) with 8 U and what rounding the loss costs */
static double point_value(double loss, double *error)
{
    *error = (16 + 4 * fabs(loss)) * U;
    return fabs(loss) < 690 ? dp_expv(loss) : exp(loss);
}

fl_code dp_law_above(dp_law *law, const dp_cells *cells, dp_way way, fl_err *err)
{
    FL_TRY(law_reserve(law, cells, way, err));
    const double c = law->offset, h = cells->h, span = expm1(h);
    double carried = 0; /* Q-mass that the bin before brings to this point */
    for (size_t k = 0; k < law->n; k++) {
        const int64_t i = law->first + (int64_t)k;
        const bin b = bin_at(cells, way, 2 * i);
        double error, value = point_value(c + (double)i * h, &error), left = 0, right = 0;
        if (b.q > 0) {
            double whole = b.q * (1 + b.error + 8 * U);
            double excess = b.p / (b.q * value) * (1 + 2 * b.error + 2 * error) - 1;
            excess = fmin(fmax(excess, 0), span);
            right = whole * (excess / span) * (1 + 8 * U);
            left = fmax(whole - right, 0) + 8 * U * whole;
        }
        if (i == 0) /* the cut tail, up from far left: on the far left it would spoil bounds of the left tail */
            left += cells->lost;
        law->p[k] = (carried + left) * value * (1 + 2 * error + 16 * U);
        carried = right;
    }
    return FL_OK;
}

/* Mass and moment of what is collapsed at point i: under Q, and of Y / y_i - 1; neither above the truth. */
typedef struct heap {
    double mass, moment;
} heap;

static heap half_below(const dp_cells *cells, dp_way way, int64_t j, double value, double error)
{
    bin b = {.error = 0};
    add_half(&b, cells, way, j);
    if (!(b.q > 0))
        return (heap){0};
    double mass = b.q * (1 - b.error - 8 * U);
    return (heap){.mass = mass, .moment = mass * (b.p / (b.q * value) * (1 - 2 * b.error - 2 * error) - 1)};
}

/* to -= what, not above the truth when what is not below it */
static void take(double *to, double what)
{
    *to = fmax(*to - what - 4 * U * *to, 0);
}

/* moment of point k pays for mass of point k - 1 to come up; what is left of it */
static double lift(double *q, size_t k, double moment, double down)
{
    double lifted = k > 0 ? fmin(moment / down, q[k - 1]) * (1 - 16 * U) : 0;
    if (lifted > 0) {
        take(&q[k - 1], lifted);
        q[k] += lifted;
        moment -= lifted * down;
    }
    return fmax(moment, 0);
}

/* What is collapsed at one point: below it, with what the heap before left over, and above it. */
typedef struct pair {
    heap lower, upper;
} pair;

/* Takes mass evenly out of the pair. */
static void thin(pair *of, double mass)
{
    const double whole = of->lower.mass + of->upper.mass, keep = fmax(1 - mass / whole - 4 * U, 0);
    of->lower.mass *= keep * (1 - 2 * U);
    of->upper.mass *= keep * (1 - 2 * U);
    of->lower.moment = of->lower.moment * keep - 4 * U * fabs(of->lower.moment);
    of->upper.moment = of->upper.moment * keep - 4 * U * fabs(of->upper.moment);
}

/*
 * Too high by `moment`: mass of k - 1 is lifted for it. What that cannot use up, for want of mass, is spared by leaving
 * part of the upper half to the next pair.
 */
static void settle_high(double *q, size_t k, heap upper, double moment, pair *next, double step, double down)
{
    double left = lift(q, k, moment, down);
    if (!(left > 0 && upper.moment > 0))
        return;
    double share = fmin(left / upper.moment, 1) * (1 - 16 * U), mass = share * upper.mass;
    take(&q[k], mass);
    next->lower.mass += mass * (1 - 2 * U);
    next->lower.moment += share * (upper.mass + upper.moment) / step - mass - 16 * U * mass;
}

/*
 * Too low by `owed`: mass of the next pair comes down to pay for the way up. For what stays unpaid, part of the lower half
 * goes down to k - 1, and lifts mass of k - 2 for it.
 */
static void settle_low(double *q, size_t k, heap lower, double owed, pair *next, double step, double down)
{
    const double next_mass = next->lower.mass + next->upper.mass, next_moment = next->lower.moment + next->upper.moment;
    /* from the next pair's mean down to y_k, over y_k; never above the truth */
    double distance = next_mass > 0 ? step * (1 + next_moment / next_mass) * (1 - 16 * U) - 1 : 0;
    if (distance > 0) {
        double paid = fmin(owed / distance * (1 + 16 * U), next_mass);
        thin(next, paid);
        q[k] += paid * (1 - 16 * U);
        owed = fmax(owed - paid * distance * (1 - 16 * U), 0);
    }
    if (!(owed > 0 && lower.moment < 0))
        return;
    double share = fmin(owed / -lower.moment * (1 + 16 * U), 1), mass = share * lower.mass;
    take(&q[k], mass * (1 + 8 * U));
    if (k > 0) {
        q[k - 1] += mass * (1 - 16 * U);
        double moment = mass * (step * (1 + lower.moment / lower.mass) * (1 - 16 * U) - 1);
        lift(q, k - 1, fmax(moment, 0), down);
    }
}

/* The pair goes to its point. */
static void settle(double *q, size_t k, const pair *here, pair *next, double h)
{
    const double step = exp(h), down = -expm1(-h) * (1 + 8 * U); /* (y_k - y_{k-1}) / y_k */
    const double moment = here->lower.moment + here->upper.moment;
    q[k] += (here->lower.mass + here->upper.mass) * (1 - 2 * U);
    if (moment > 0)
        settle_high(q, k, here->upper, moment, next, step, down);
    else if (moment < 0)
        settle_low(q, k, here->lower, -moment, next, step, down);
}

/*
 * Point 0 is at the mean of its heap, where most of the mass may be. Known to rounding only, that mean is taken a trifle
 * too low, and nobody could pay for the way up: the points are moved down by as much.
 */
static double offset_below(const dp_cells *cells, dp_way way, double c)
{
    double error, value = point_value(c, &error);
    heap a = half_below(cells, way, -1, value, error), b = half_below(cells, way, 0, value, error);
    double mass = a.mass + b.mass, excess = mass > 0 ? (a.moment + b.moment) / mass : 0;
    return excess < 0 && excess > -0.25 * cells->h ? log1p(excess) * (1 + 1e-9) - 32 * U : 0;
}

fl_code dp_law_below(dp_law *law, const dp_cells *cells, dp_way way, fl_err *err)
{
    FL_TRY(law_reserve(law, cells, way, err));
    law->offset += offset_below(cells, way, law->offset);
    const double c = law->offset, h = cells->h;
    double error, value = point_value(c + (double)law->first * h, &error);
    pair here = {.upper = half_below(cells, way, 2 * law->first, value, error)};
    for (size_t k = 0; k < law->n; k++) {
        const int64_t i = law->first + (int64_t)k + 1;
        value = point_value(c + (double)i * h, &error);
        pair next = {.lower = half_below(cells, way, 2 * i - 1, value, error),
                     .upper = half_below(cells, way, 2 * i, value, error)};
        settle(law->p, k, &here, &next, h);
        here = next;
    }
    for (size_t k = 0; k < law->n; k++) {
        value = point_value(c + (double)(law->first + (int64_t)k) * h, &error);
        law->p[k] *= value * (1 - 2 * error - 32 * U);
    }
    return FL_OK;
}
