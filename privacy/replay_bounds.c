/*
 * Certified bounds for what a ledger charged. The mechanism of a charge is y = z + N_Z(0, S2), |z| <= R; the accountant
 * knows the continuous Gaussian. The bridge (proof: docs/privacy.md, "Discrete noise"): for r2 = r^2 and
 * theta(w) = 2.1 exp(-2 pi^2 w), with D integers drawn in all,
 *
 *   above   y is, within factors exp(+-D theta(r2)), computed from z + N(0, S2 - r2): sigma = sqrt(S2 - r2) / R
 *   below   z + N(0, S2 + r2) is, within exp(+-D theta(w)), w = S2 r2 / (S2 + r2), computed from y
 *
 * and a factor exp(+-t) on both laws changes epsilon(delta) to epsilon(delta exp(-+t)) +- 2 t. What the sampler is off its
 * law is taken out of delta, or added to it.
 */
#include "privacy/pld.h"
#include "privacy/replay.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double WIDTH = 4;        /* r2 */
static const double VARIANCE_MIN = 8; /* S2 from which the proof's remainders are below what 2.1 allows for 2 */

/* Rounded up: exp is good to 1e-13 here, which the 2.1 instead of 2 covers many times over. */
static double theta(double width)
{
    return 2.1 * exp(-2 * M_PI * M_PI * width);
}

/* sqrt(variance) / R, moved outward by far more than its rounding. */
static double multiplier(double variance, uint32_t clip_units, bool is_upper_bound)
{
    return sqrt(variance) / clip_units * (is_upper_bound ? 1 - 8 * DBL_EPSILON : 1 + 8 * DBL_EPSILON);
}

typedef struct selection {
    dp_segment *upper, *lower;
    size_t n;
    double upper_factor, lower_factor; /* ln of the factors on the laws */
    double draws;
} selection;

static fl_code select_charges(selection *out, const dp_ledger_state *s, const char *study, fl_err *err)
{
    for (size_t i = 0; i < s->n_charges; i++) {
        const dp_charge *c = &s->charges[i];
        if (study && strcmp(c->study, study) != 0)
            continue;
        if (c->segment.steps == 0)
            continue;
        double variance = (double)c->noise_variance;
        if (!(c->segment.sigma > 0))
            return fl_fail(err, FL_EREFUSED, "bounds: a debit without noise: epsilon is infinite");
        if (!(variance >= VARIANCE_MIN))
            return fl_fail(err, FL_EREFUSED,
                           "bounds: noise variance %" PRIu64
                           " is below %g: too coarse for the continuous accountant; the "
                           "Renyi bound holds",
                           c->noise_variance, VARIANCE_MIN);
        out->upper[out->n] = out->lower[out->n] = c->segment;
        out->upper[out->n].sigma = multiplier(variance - WIDTH, c->clip_units, true);
        out->lower[out->n].sigma = multiplier(variance + WIDTH, c->clip_units, false);
        out->upper_factor += c->coordinate_draws * theta(WIDTH);
        out->lower_factor += c->coordinate_draws * theta(variance * WIDTH / (variance + WIDTH));
        out->draws += c->coordinate_draws;
        out->n++;
    }
    return FL_OK;
}

/* most: a valid epsilon, at which the sampler's distance from its law (budget.h) is taken out of delta. */
static fl_code bound(const selection *chosen, double delta, double most, double *low, double *high, fl_err *err)
{
    double sampler = dp_noise_delta(most, chosen->draws);
    double upper_delta = (delta - sampler) * exp(-chosen->upper_factor) * (1 - 8 * DBL_EPSILON);
    double lower_delta = (delta + sampler) * exp(chosen->lower_factor) * (1 + 8 * DBL_EPSILON);
    if (!(upper_delta > 0 && chosen->upper_factor < 1))
        return fl_fail(err, FL_EREFUSED, "bounds: delta does not cover that many integers: the Renyi bound holds");
    double other, found = 0, least = 0;
    FL_TRY(dp_pld_epsilon(&other, &found, chosen->upper, chosen->n, upper_delta, err));
    found = (found + 2 * chosen->upper_factor) * (1 + DBL_EPSILON);
    if (lower_delta < 1) {
        FL_TRY(dp_pld_epsilon(&least, &other, chosen->lower, chosen->n, lower_delta, err));
        least = (least - 2 * chosen->lower_factor) * (1 - DBL_EPSILON);
    }
    if (found > most)
        return fl_fail(err, FL_EREFUSED, "bounds: epsilon %g is beyond the Renyi bound: it holds", found);
    *high = found;
    *low = least > 0 ? least : 0;
    return FL_OK;
}

fl_code dp_replay_bounds(const dp_replay *r, const char *study, double delta, double *low, double *high, fl_err *err)
{
    const dp_ledger_state *s = dp_replay_state(r);
    *low = 0;
    *high = dp_replay_epsilon(r, study, delta, NULL);
    if (s->n_charges == 0)
        return FL_OK;
    selection chosen = {.upper = calloc(s->n_charges, sizeof(dp_segment)),
                        .lower = calloc(s->n_charges, sizeof(dp_segment))};
    fl_code code = chosen.upper && chosen.lower ? FL_OK : fl_fail(err, FL_EENV, "bounds: no memory left");
    if (code == FL_OK)
        code = select_charges(&chosen, s, study, err);
    if (code == FL_OK && chosen.n > 0)
        code = bound(&chosen, delta, *high, low, high, err);
    free(chosen.upper);
    free(chosen.lower);
    return code;
}
