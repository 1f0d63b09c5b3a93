#include "privacy/pld.h"

#include "privacy/fft.h"
#include "privacy/gauss.h"
#include "privacy/moment.h"
#include "privacy/pld_compose.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

static const double SIGMA_MIN = 0.05, SIGMA_MAX = 1e4, STEPS_MAX = 1e9;
static const double WIDTH_WANTED = 4.5e-5, WIDTH_ENOUGH = 7e-5; /* of the bracket, relative to epsilon */
static const double EPSILON_LEAST = 1e-12;                      /* below, epsilon is as good as 0 */
static const double POINTS_MAX = 4194304, CELLS_MAX = 16777216;
enum { PASSES_MAX = 6, GROUPS_MAX = 4096 };

/* --- the schedule: equal segments are one group, in a fixed order, so that neither order nor splitting matters --- */

typedef struct schedule {
    dp_group *groups;
    dp_moments *moments; /* of each group, for guesses */
    size_t n;
    double steps, delta;
    double z;        /* where a step's tails are cut, in standard deviations */
    double tilt_max; /* the largest tilt to think of */
} schedule;

static int by_terms(const void *a, const void *b)
{
    const dp_segment *x = a, *y = b;
    if (x->q != y->q)
        return x->q < y->q ? -1 : 1;
    return (x->sigma > y->sigma) - (x->sigma < y->sigma);
}

static void schedule_fini(schedule *s)
{
    for (size_t i = 0; s->moments && i < s->n; i++)
        dp_moments_fini(&s->moments[i]);
    free(s->moments);
    free(s->groups);
}

static fl_code group_segments(schedule *s, const dp_segment *segments, size_t n, fl_err *err)
{
    dp_segment *sorted = calloc(n, sizeof *sorted);
    s->groups = calloc(n, sizeof *s->groups);
    fl_code code = sorted && s->groups ? FL_OK : fl_fail(err, FL_EENV, "bounds: no memory left");
    for (size_t i = 0; i < n && code == FL_OK; i++)
        sorted[i] = segments[i];
    if (code == FL_OK)
        qsort(sorted, n, sizeof *sorted, by_terms);
    for (size_t i = 0; i < n && code == FL_OK; i++) {
        if (i == 0 || by_terms(&sorted[i], &sorted[i - 1]) != 0)
            s->groups[s->n++] = (dp_group){.q = sorted[i].q, .sigma = sorted[i].sigma};
        s->groups[s->n - 1].steps += (double)sorted[i].steps;
        s->steps += (double)sorted[i].steps;
    }
    free(sorted);
    return code;
}

static fl_code check_range(const schedule *s, fl_err *err)
{
    if (s->n > GROUPS_MAX)
        return fl_fail(err, FL_EREFUSED, "bounds: %zu different segments: at most %d", s->n, GROUPS_MAX);
    if (s->steps > STEPS_MAX)
        return fl_fail(err, FL_EREFUSED, "bounds: %.0f steps: at most %.0f", s->steps, STEPS_MAX);
    for (size_t i = 0; i < s->n; i++) {
        if (!(s->groups[i].sigma >= SIGMA_MIN && s->groups[i].sigma <= SIGMA_MAX))
            return fl_fail(err, FL_EREFUSED, "bounds: noise multiplier %g: with sampling it must be from %g to %g",
                           s->groups[i].sigma, SIGMA_MIN, SIGMA_MAX);
    }
    return FL_OK;
}

/* Tails, moments and the range of tilts. */
static fl_code prepare(schedule *s, fl_err *err)
{
    const double lost = fmin(1e-15, s->delta * 1e-9 / s->steps);
    for (s->z = 8; 0.5 * erfc(s->z * M_SQRT1_2) > lost;)
        s->z += 0.125;
    s->moments = calloc(s->n, sizeof *s->moments);
    if (!s->moments)
        return fl_fail(err, FL_EENV, "bounds: no memory left");
    double variance = 0;
    for (size_t i = 0; i < s->n; i++) {
        const dp_group *g = &s->groups[i];
        variance += g->steps * g->q * g->q * fmin(expm1(1 / (g->sigma * g->sigma)), 100 / (g->q * g->q));
        FL_TRY(dp_moments_init_cut(&s->moments[i], g->q, g->sigma, s->z, err));
    }
    s->tilt_max = 8 + 8 * (sqrt(-2 * log(s->delta)) + 3) / sqrt(variance);
    return FL_OK;
}

/* --- guesses: they choose tilt, grid and window. The bounds hold whatever they say. --- */

/* K(t) = ln E_P exp(t L) of the whole schedule */
static double cumulant(const schedule *s, dp_way way, double t)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += s->groups[i].steps * dp_moments_log(&s->moments[i], way == DP_REMOVE ? 1 + t : -t);
    return sum;
}

typedef struct shape {
    double k, mean, variance; /* K, and of the loss under the tilted law */
} shape;

static shape shape_at(const schedule *s, dp_way way, double t)
{
    const double e = 0.04 * t;
    const double before = cumulant(s, way, t - e), k = cumulant(s, way, t), after = cumulant(s, way, t + e);
    return (shape){
        .k = k, .mean = (after - before) / (2 * e), .variance = fmax((after - 2 * k + before) / (e * e), 1e-18)};
}

static double skewness_at(const schedule *s, dp_way way, double t)
{
    const double e = 0.04 * t, variance = shape_at(s, way, t).variance;
    double third = cumulant(s, way, t + 2 * e) - 2 * cumulant(s, way, t + e) + 2 * cumulant(s, way, t - e) -
                   cumulant(s, way, t - 2 * e);
    return third / (2 * e * e * e) / (variance * sqrt(variance));
}

/* exp(y^2 / 2) times the normal tail beyond y */
static double scaled_tail(double y)
{
    return y < 25 ? 0.5 * exp(y * y / 2) * erfc(y * M_SQRT1_2) : (1 - 1 / (y * y)) / (y * sqrt(2 * M_PI));
}

/* ln delta at epsilon = K'(t), the tilted law taken as normal: the saddle-point estimate */
static double log_delta_at(const schedule *s, dp_way way, double t, double *epsilon)
{
    shape at = shape_at(s, way, t);
    double sd = sqrt(at.variance);
    *epsilon = at.mean;
    return at.k - t * at.mean + log(fmax(scaled_tail(t * sd) - scaled_tail((t + 1) * sd), 1e-300));
}

typedef struct guess {
    double epsilon, tilt; /* K'(tilt) = epsilon */
    double folded;        /* what mass outside the window may move epsilon by, relatively */
    double round_off;     /* of masses, relative to the largest, for each step */
    bool is_rough;        /* the tilted law is far from normal */
} guess;

static guess guess_epsilon(const schedule *s, dp_way way)
{
    double low = 1e-6, high = s->tilt_max, epsilon = 0;
    for (int i = 0; i < 36; i++) {
        double t = sqrt(low * high);
        if (log_delta_at(s, way, t, &epsilon) > log(s->delta))
            low = t;
        else
            high = t;
    }
    if (high < 2e-6) { /* delta is above what the mean has: as for the Gaussian of that variance */
        double sd = sqrt(shape_at(s, way, 1e-3).variance);
        epsilon = dp_gauss_epsilon(1, (dp_bracket){.low = sd, .high = sd}, s->delta).high;
    }
    const double t = sqrt(low * high);
    return (guess){.epsilon = fmax(epsilon, 1e-9),
                   .tilt = t,
                   .folded = 2e-7,
                   .round_off = 5e-14,
                   .is_rough = fabs(skewness_at(s, way, t)) > 0.8};
}

static double tilt_for(const schedule *s, dp_way way, double epsilon)
{
    double low = 1e-6, high = s->tilt_max;
    for (int i = 0; i < 36; i++) {
        double t = sqrt(low * high);
        if (shape_at(s, way, t).mean < epsilon)
            low = t;
        else
            high = t;
    }
    return sqrt(low * high);
}

/* ln X where delta = exp(K(t) - t epsilon) X: what the law at tilt t has where epsilon is */
static double log_seen(const schedule *s, dp_way way, guess g, double t)
{
    return log(s->delta) - cumulant(s, way, t) + t * g.epsilon;
}

/*
 * What round-off moves epsilon by when composed at tilt t: errors of E in each of the masses, whose largest are
 * h / (2.5 sd), weigh E / (2.5 sd t (t + 1)) beside X, and delta moves epsilon by 1 / g.tilt relatively.
 */
static double log_noise(const schedule *s, dp_way way, guess g, double t)
{
    const double sd = sqrt(shape_at(s, way, t).variance), round_off = g.round_off * (s->steps + 30);
    return log(round_off / (2.5 * sd * t * (t + 1) * g.tilt)) - log_seen(s, way, g, t);
}

/*
 * The tilt to compose with. The best for round-off is g.tilt; a smaller one leaves less in the right tail, and so a
 * shorter window. The least one for which round-off is no more than a small part of the width.
 */
static double tilt_to_use(const schedule *s, dp_way way, guess g)
{
    const double allowed = log(fmin(4e-6 * g.epsilon, 1e-4 / g.tilt));
    double low = 0, high = g.tilt;
    for (int i = 0; i < 10; i++) {
        double t = (low + high) / 2;
        if (log_noise(s, way, g, t) > allowed)
            low = t;
        else
            high = t;
    }
    return high;
}

/* The tail bounds of the law tilted by t, P(S >= b) <= exp(K(t + x) - K(t) - x b): the b where it is exp(log_outside). */
typedef struct tail_question {
    const schedule *s;
    dp_way way;
    double tilt, k, log_outside, h;
    int side; /* 1 right, -1 left (then -b) */
} tail_question;

static double tail_end(const tail_question *q, double x)
{
    const double spread = q->s->steps * x * x * q->h * q->h / 8; /* of bins to their ends */
    return (cumulant(q->s, q->way, q->tilt + q->side * x) - q->k + spread - q->log_outside) / x;
}

/* The closest end over all slopes: it falls, then rises; golden section in the logarithm. */
static double closest_end(const tail_question *q, double near, double *slope)
{
    const double golden = 0.61803398874989485;
    double left = log(near) - 9, right = log(near) + 2;
    double x1 = right - golden * (right - left), x2 = left + golden * (right - left);
    double f1 = tail_end(q, exp(x1)), f2 = tail_end(q, exp(x2));
    while (right - left > 0.1) {
        if (f1 < f2) {
            right = x2;
            x2 = x1;
            f2 = f1;
            f1 = tail_end(q, exp(x1 = right - golden * (right - left)));
        } else {
            left = x1;
            x1 = x2;
            f1 = f2;
            f2 = tail_end(q, exp(x2 = left + golden * (right - left)));
        }
    }
    *slope = exp((left + right) / 2);
    return tail_end(q, *slope);
}

/* Window and slopes; h may have to grow so that window and steps stay within POINTS_MAX and CELLS_MAX. */
static dp_window choose_window(const schedule *s, dp_way way, guess g, double h)
{
    dp_window win = {.log2_size = 10};
    double tilt = tilt_to_use(s, way, g), right, left;
    shape at = shape_at(s, way, tilt);
    tail_question q = {.s = s, .way = way, .tilt = tilt, .k = at.k, .h = h, .side = -1};
    const double allowed = fmin(g.folded * g.tilt * g.epsilon, 1e-5);
    q.log_outside = fmin(log(allowed) + log_seen(s, way, g, tilt) - log(dp_largest_weight(tilt)), -10);
    const double near = sqrt(-2 * q.log_outside / at.variance);
    win.from = -closest_end(&q, near, &left);
    q.side = 1;
    const double length = closest_end(&q, near, &right) - win.from;
    win.h = fmax(h, length / (POINTS_MAX - 16));
    for (size_t i = 0; i < s->n; i++) {
        while (dp_cells_count(s->groups[i].q, s->groups[i].sigma, win.h, s->z) > CELLS_MAX)
            win.h *= 1.25;
    }
    while (win.log2_size < DP_FFT_LOG2_MAX && ldexp(1, (int)win.log2_size) < length / win.h + 8)
        win.log2_size++;
    win.tilt_step = dp_few_bits(tilt * win.h);
    win.right_step = dp_few_bits(right * win.h);
    win.left_step = dp_few_bits(left * win.h);
    return win;
}

/*
 * The grid. Spreading bins of width h multiplies E[Y^a] by 1 + h^2 a (a-1) / 12 (half as much, the other way, below),
 * which moves epsilon by steps h^2 a / 12: h follows from the width that is wanted.
 */
static double grid_for(const schedule *s, guess g)
{
    return sqrt(8 * WIDTH_WANTED * g.epsilon / (s->steps * (1 + g.tilt)));
}

/* --- the bounds --- */

/*
 * The Renyi bound at tilt t = order - 1 (rdp.h, dp_rdp_to_epsilon) when a patient is added, with the cut tails paid from
 * delta; infinite where the quadrature, cut on the left at -z sigma, might miss something.
 */
static double renyi_bound(const schedule *s, double t)
{
    for (size_t i = 0; i < s->n; i++) {
        const dp_moments *m = &s->moments[i];
        if (m->log_w[0] - t * m->log_y[0] > dp_moments_log(m, -t) - 35)
            return INFINITY;
    }
    double epsilon = (cumulant(s, DP_ADD, t) - log(s->delta * (1 - 4e-9)) - log1p(t)) / t + log(t / (1 + t));
    return fmax(epsilon * (1 + 1e-8), 0);
}

/* What the next pass does better. */
static void refine(guess *g, double *h, const schedule *s, dp_way way, const dp_bracket *known, const dp_window *win,
                   const dp_composed *r)
{
    const bool is_seen = r->found_low && r->found_high && known->low > 0;
    if (isfinite(known->high))
        g->epsilon = fmax(is_seen ? known->low : known->high, EPSILON_LEAST);
    const double tilt = tilt_for(s, way, g->epsilon), wanted = WIDTH_WANTED * g->epsilon / 8;
    g->tilt = is_seen ? tilt : fmax(fmin(tilt, g->tilt / 2), 1e-6);
    if (is_seen && r->noise > 0) { /* what was forecast, against what came */
        double forecast = exp(log_noise(s, way, *g, win->tilt_step / win->h));
        g->round_off *= fmin(fmax(r->noise / forecast, 1e-3), 1e3);
    }
    if (r->folded > wanted)
        g->folded *= fmax(wanted / r->folded / 2, 1e-6);
    if (!is_seen) {
        *h = fmin(*h, grid_for(s, *g));
        return;
    }
    double by_grid = r->epsilon.high - r->epsilon.low - 2 * (r->noise + r->folded);
    double shrink = sqrt(WIDTH_WANTED * known->low / fmax(by_grid, 1e-3 * WIDTH_WANTED * known->low));
    *h *= fmin(fmax(0.95 * shrink, 1.0 / 16), 1);
}

/* Refines until the bracket of this way is narrow, or nobody needs it: high is below a low that is known already. */
static fl_code bracket_way(dp_bracket *out, const schedule *s, dp_way way, double known_low, fl_err *err)
{
    guess g = guess_epsilon(s, way);
    *out = (dp_bracket){.low = 0, .high = way == DP_ADD ? renyi_bound(s, g.tilt) : INFINITY};
    double h = grid_for(s, g) * (g.is_rough ? 3 : 1); /* first see where epsilon is, cheaply */
    bool is_last = false;
    for (int pass = 0; pass < PASSES_MAX && !is_last; pass++) {
        const double width = out->high - out->low;
        if (width <= WIDTH_ENOUGH * out->low || out->high <= known_low || out->high < EPSILON_LEAST)
            break;
        dp_window win = choose_window(s, way, g, h);
        dp_composed r;
        FL_TRY(dp_compose(&r, s->groups, s->n, way, &win, s->z, s->delta, err));
        out->low = fmax(out->low, r.epsilon.low);
        out->high = fmin(out->high, r.epsilon.high);
        is_last = r.found_low && r.found_high && win.h > h && pass > 0; /* no room for a finer grid */
        refine(&g, &h, s, way, out, &win, &r);
    }
    return FL_OK;
}

/*
 * delta(0) is the total variation, the same both ways: at most the sum of the steps', q (2 Phi(1 / 2 sigma) - 1), and at
 * most sqrt(D / 2), D the Kullback-Leibler divergence, which is not above the Renyi divergence of order 2 (Pinsker).
 */
static bool is_zero(const schedule *s)
{
    double sum = 0, divergence = 0;
    for (size_t i = 0; i < s->n; i++) {
        const dp_group *g = &s->groups[i];
        sum += g->steps * g->q * erf(0.5 * M_SQRT1_2 / g->sigma);
        divergence += g->steps * log1p(g->q * g->q * expm1(1 / (g->sigma * g->sigma)));
    }
    return fmin(sum, sqrt(divergence / 2)) * (1 + 1e-9) <= s->delta;
}

static fl_code bracket_schedule(dp_bracket *out, schedule *s, fl_err *err)
{
    FL_TRY(check_range(s, err));
    *out = (dp_bracket){.low = 0, .high = 0};
    if (is_zero(s))
        return FL_OK;
    FL_TRY(prepare(s, err));
    dp_bracket added;
    FL_TRY(bracket_way(out, s, DP_REMOVE, 0, err));
    FL_TRY(bracket_way(&added, s, DP_ADD, out->low, err));
    out->low = fmax(out->low, added.low);
    out->high = fmax(out->high, added.high);
    return FL_OK;
}

/* sqrt(sum steps / sigma^2), with its rounding */
static dp_bracket total_mu(const schedule *s)
{
    double square = 0;
    for (size_t i = 0; i < s->n; i++)
        square += s->groups[i].steps / (s->groups[i].sigma * s->groups[i].sigma);
    double mu = sqrt(square), slack = mu * ((double)s->n + 8) * DBL_EPSILON;
    return (dp_bracket){.low = mu - slack, .high = mu + slack};
}

static fl_code bracket_closed(dp_bracket *out, const schedule *s, fl_err *err)
{
    dp_bracket mu = total_mu(s);
    if (!(mu.low > 1e-9 && mu.high < 1e9))
        return fl_fail(err, FL_EREFUSED, "bounds: the noise multiplier is too small or too large for them");
    *out = dp_gauss_epsilon(s->groups[0].q, mu, s->delta);
    return FL_OK;
}

fl_code dp_pld_epsilon(double *low, double *high, const dp_segment *segments, size_t n, double delta, fl_err *err)
{
    assert(n >= 1 && delta > 0 && delta < 1);
    *low = 0;
    *high = INFINITY;
    schedule s = {.delta = delta};
    dp_bracket found = {.low = 0, .high = INFINITY};
    fl_code code = group_segments(&s, segments, n, err);
    if (code == FL_OK) {
        bool is_gaussian = s.groups[0].q == 1; /* groups are sorted by rate */
        bool is_closed = is_gaussian || s.steps == 1;
        code = is_closed ? bracket_closed(&found, &s, err) : bracket_schedule(&found, &s, err);
    }
    schedule_fini(&s);
    if (code != FL_OK)
        return code;
    *low = found.low;
    *high = found.high;
    return FL_OK;
}
