#include "privacy/budget.h"

#include "privacy/decimal.h"
#include "privacy/noise.h"

#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef unsigned __int128 u128;

enum { MICRO = 1000000, MICRO_SIGMA_MIN = 50000, MICRO_SIGMA_MAX = 1000 * MICRO };

/* dp_rdp_order's relative error is at most this: a cost raised by it is never below the true one. */
static const double COST_MARGIN = 1e-9;
/* What 10^6 sums of doubles, each nudged upward, can add up to (3e-10 relative), left free by whoever plans ahead. */
static const double PLAN_MARGIN = 1e-9;

double dp_noise_delta(double epsilon, double draws)
{
    /* three roundings and exp's own error, 2^-52 each at most */
    return ldexp((1 + exp(epsilon)) * draws, DP_NOISE_TV_LOG2) * (1 + 1e-12);
}

fl_code dp_filter_init(dp_filter *f, double epsilon, double delta, unsigned order, unsigned rungs, fl_err *err)
{
    if (!(epsilon > 0 && epsilon <= 1e6))
        return fl_fail(err, FL_EFORMAT, "epsilon: is %g: must be above 0 and at most 1000000", epsilon);
    if (!(delta > 0 && delta < 1))
        return fl_fail(err, FL_EFORMAT, "delta: is %g: must be between 0 and 1", delta);
    if (order < DP_ORDER_MIN || order > DP_ORDER_MAX)
        return fl_fail(err, FL_EFORMAT, "order: is %u: must be %u to %u", order, DP_ORDER_MIN, DP_ORDER_MAX);
    if (rungs < 1 || rungs > 100)
        return fl_fail(err, FL_EFORMAT, "rungs: is %u: must be 1 to 100", rungs);

    double noise = dp_noise_delta(epsilon, (double)DP_DRAWS_MAX), delta_left = (delta / rungs - noise) * (1 - 1e-15);
    if (!(delta_left > 0))
        return fl_fail(
            err, FL_EREFUSED,
            "delta: %g in %u rung(s) is too small at epsilon %g: the noise sampler alone may take %.2g of it: a "
            "smaller epsilon or a larger delta",
            delta, rungs, epsilon, noise);
    const double room = -log1p(-1.0 / order), tail = (log(delta_left) + log(order)) / (order - 1);
    /* each term is good to two roundings, and so is their sum, also in dp_rdp_to_epsilon */
    const double rounding = 16 * DBL_EPSILON * (epsilon + room + fabs(tail));
    const double cap = (epsilon + room + tail - rounding) * (1 - 1e-12);
    if (!(cap > 0) || dp_rdp_to_epsilon(cap, order, delta_left) > epsilon)
        return fl_fail(err, FL_EREFUSED, "order %u: cannot give epsilon %g at delta %g: choose a larger order", order,
                       epsilon, delta);
    *f = (dp_filter){
        .order = order, .rungs = rungs, .cap = cap, .delta = delta, .epsilon = epsilon, .delta_left = delta_left};
    return FL_OK;
}

static double step_cost(double q, uint64_t micro_sigma, unsigned order, uint64_t steps)
{
    if (micro_sigma == 0)
        return steps > 0 ? INFINITY : 0;
    double sigma = (double)micro_sigma / MICRO;
    return dp_rdp_order(q, sigma, order) * (double)steps * (1 + COST_MARGIN);
}

double dp_debit_cost(const dp_filter *f, dp_rate q, uint64_t s2, uint32_t clip_units, uint64_t steps)
{
    return step_cost(dp_rate_to_double(q), dp_multiplier_micro(s2, clip_units), f->order, steps);
}

double dp_release_cost(const dp_filter *f, uint64_t micro_sigma, uint64_t count)
{
    return step_cost(1.0, micro_sigma, f->order, count);
}

static double sum_up(double a, double b)
{
    return nextafter(a + b, INFINITY);
}

bool dp_filter_admits(const dp_filter *f, double cost)
{
    return cost >= 0 && sum_up(f->spent, cost) <= f->cap; /* false for NaN */
}

uint64_t dp_filter_room(const dp_filter *f, double cost, uint64_t most)
{
    assert(cost >= 0);
    double left = f->cap - f->spent;
    if (!(left > 0) || cost == INFINITY)
        return 0;
    double room = cost > 0 ? floor(left / cost * (1 - PLAN_MARGIN / 4)) : INFINITY;
    return room >= (double)most ? most : (uint64_t)room;
}

void dp_filter_charge(dp_filter *f, double cost)
{
    assert(cost >= 0);
    f->spent = sum_up(f->spent, cost);
}

void dp_filter_charge_round(dp_filter *f, double cost, double counts)
{
    dp_filter_charge(f, cost);
    if (counts > 0)
        dp_filter_charge(f, counts);
}

bool dp_filter_admits_round(const dp_filter *f, double cost, double counts)
{
    dp_filter after = *f;
    if (!dp_filter_admits(f, cost))
        return false;
    dp_filter_charge(&after, cost);
    return counts == 0 || dp_filter_admits(&after, counts);
}

bool dp_filter_admits_draws(const dp_filter *f, uint64_t draws)
{
    return f->draws <= DP_DRAWS_MAX && draws <= DP_DRAWS_MAX - f->draws;
}

void dp_filter_charge_draws(dp_filter *f, uint64_t draws)
{
    f->draws = draws <= UINT64_MAX - f->draws ? f->draws + draws : UINT64_MAX;
}

double dp_filter_epsilon_spent(const dp_filter *f)
{
    return f->spent > 0 ? dp_rdp_to_epsilon(f->spent, f->order, f->delta_left) : 0;
}

/* What one budget has to hold. */
typedef struct schedule {
    double epsilon, delta, q;
    uint64_t steps;
    const dp_beside *beside;
    size_t n_beside;
} schedule;

static double schedule_cost(const schedule *s, uint64_t micro_sigma, unsigned order)
{
    double cost = step_cost(s->q, micro_sigma, order, s->steps);
    for (size_t i = 0; i < s->n_beside; i++) {
        const dp_beside *b = &s->beside[i];
        cost = sum_up(cost, step_cost(dp_rate_to_double(b->q), b->micro_sigma, order, b->steps));
    }
    return cost;
}

/* Does the schedule fit a fresh filter at this order? */
static bool fits(const schedule *s, uint64_t micro_sigma, unsigned order)
{
    dp_filter f;
    if (dp_filter_init(&f, s->epsilon, s->delta, order, 1, NULL) != FL_OK)
        return false;
    return schedule_cost(s, micro_sigma, order) <= f.cap * (1 - PLAN_MARGIN);
}

/* The order among the candidates at which it fits with the most room; 0: at none. */
static unsigned order_that_fits(const schedule *s, uint64_t micro_sigma, unsigned fixed)
{
    if (fixed != 0)
        return fits(s, micro_sigma, fixed) ? fixed : 0;
    unsigned best = 0;
    double least = INFINITY;
    for (size_t i = 0; i < DP_N_ORDERS; i++) {
        unsigned order = dp_orders[i];
        if (!fits(s, micro_sigma, order))
            continue;
        double reached = dp_rdp_to_epsilon(schedule_cost(s, micro_sigma, order), order, s->delta);
        if (reached < least) {
            least = reached;
            best = order;
        }
    }
    return best;
}

fl_code dp_solve_noise_beside(uint32_t *micro_sigma, unsigned *order, double epsilon, double delta, dp_rate q,
                              uint64_t steps, const dp_beside *beside, size_t n, fl_err *err)
{
    if (!(epsilon > 0 && epsilon <= 1e6) || !(delta > 0 && delta < 1) || steps < 1)
        return fl_fail(err, FL_EFORMAT, "noise multiplier: epsilon %g, delta %g, %" PRIu64 " steps: out of range",
                       epsilon, delta, steps);
    const unsigned fixed = *order;
    if (fixed != 0 && (fixed < DP_ORDER_MIN || fixed > DP_ORDER_MAX))
        return fl_fail(err, FL_EFORMAT, "order: is %u: must be %u to %u", fixed, DP_ORDER_MIN, DP_ORDER_MAX);
    const schedule s = {epsilon, delta, dp_rate_to_double(q), steps, beside, n};
    uint32_t high = MICRO_SIGMA_MAX, low = MICRO_SIGMA_MIN - 1;
    unsigned found = order_that_fits(&s, high, fixed);
    if (found == 0)
        return fl_fail(err, FL_EREFUSED,
                       "noise multiplier: %" PRIu64
                       " steps at sampling rate %g%s need more than 1000 for epsilon %g at "
                       "delta %g: fewer steps, a smaller rate or a larger epsilon",
                       steps, s.q, n ? " and what else the plan releases" : "", epsilon, delta);
    while (high - low > 1) { /* the schedule fits at high; below low nothing is offered */
        uint32_t middle = low + (high - low) / 2;
        unsigned at = order_that_fits(&s, middle, fixed);
        if (at != 0) {
            high = middle;
            found = at;
        } else {
            low = middle;
        }
    }
    *micro_sigma = high;
    *order = found;
    return FL_OK;
}

fl_code dp_solve_noise_multiplier(uint32_t *micro_sigma, unsigned *order, double epsilon, double delta, dp_rate q,
                                  uint64_t steps, fl_err *err)
{
    return dp_solve_noise_beside(micro_sigma, order, epsilon, delta, q, steps, NULL, 0, err);
}

fl_code dp_order_for(unsigned *order, double epsilon, double delta, dp_rate q, uint64_t steps, fl_err *err)
{
    uint32_t micro_sigma;
    *order = 0;
    return dp_solve_noise_multiplier(&micro_sigma, order, epsilon, delta, q, steps, err);
}

static uint64_t floor_sqrt(u128 x)
{
    u128 root = 0;
    for (u128 bit = (u128)1 << 63; bit != 0; bit >>= 1) {
        if ((root | bit) * (root | bit) <= x)
            root |= bit;
    }
    return (uint64_t)root;
}

uint64_t dp_multiplier_micro(uint64_t s2, uint32_t clip_units)
{
    assert(s2 <= DP_NOISE_VARIANCE_MAX && clip_units >= 1);
    /* floor(sqrt(x)) = floor(sqrt(floor(x))); 10^12 S2 < 2^96 */
    return floor_sqrt((u128)s2 * MICRO * MICRO / ((u128)clip_units * clip_units));
}

void dp_micro_text(char text[DP_MICRO_TEXT], uint64_t micro)
{
    assert(micro <= (uint64_t)1 << 48);
    dp_decimal d = {.digits = micro, .places = 6};
    while (d.places > 0 && d.digits % 10 == 0) {
        d.digits /= 10;
        d.places--;
    }
    char long_text[DP_DECIMAL_TEXT];
    dp_decimal_text(long_text, &d);
    snprintf(text, DP_MICRO_TEXT, "%.23s", long_text);
}

bool dp_micro_parse(uint64_t *micro, const char *decimal)
{
    dp_decimal d;
    if (!dp_decimal_parse(&d, decimal) || d.places > 6)
        return false;
    u128 value = d.digits;
    for (unsigned i = d.places; i < 6; i++)
        value *= 10;
    if (value >= (u128)1 << 48)
        return false;
    *micro = (uint64_t)value;
    return true;
}

void dp_multiplier(char text[DP_MICRO_TEXT], uint64_t s2, uint32_t clip_units)
{
    dp_micro_text(text, dp_multiplier_micro(s2, clip_units));
}

uint64_t dp_variance_for(uint32_t micro_sigma, uint32_t clip_units)
{
    /* S2 >= micro^2 R^2 / 10^12; the product is below 2^128 */
    u128 square = (u128)micro_sigma * micro_sigma * clip_units * clip_units, unit = (u128)MICRO * MICRO;
    u128 s2 = square / unit + (square % unit != 0);
    return s2 <= DP_NOISE_VARIANCE_MAX ? (uint64_t)s2 : 0;
}
