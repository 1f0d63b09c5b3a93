/* How much of what the patients say is left in the sum of a plan's noised steps. */
#include "privacy/decimal.h"
#include "train/plan.h"
#include <math.h>
#include <stdio.h>

static double multiplier(const nn_phase *p)
{
    return sqrt((double)p->noise_variance) / p->clip_units;
}

static double hospitals_of(const nn_plan *p, uint32_t n_hospitals)
{
    const uint32_t least = p->n_sites > p->quorum ? p->n_sites : p->quorum;
    return n_hospitals > 0 ? n_hospitals : least;
}

double nn_plan_signal(const nn_plan *plan, uint64_t patients, uint32_t n_hospitals)
{
    const nn_phase *m = nn_plan_main(plan);
    if (!plan->is_private)
        return INFINITY;
    const double d = m->n_learned, n = (double)patients, steps = (double)m->rounds * m->local_steps;
    const double agreement = n < d ? sqrt(n / d) : 1;
    const double noise = multiplier(m) * sqrt(d * hospitals_of(plan, n_hospitals) / steps);
    return agreement * dp_rate_to_double(m->rate) * n / noise;
}

uint64_t nn_plan_patients_needed(const nn_plan *plan, uint32_t n_hospitals)
{
    uint64_t low = 0, high = 1;
    while (high < (1u << 30) && nn_plan_signal(plan, high, n_hospitals) < NN_SIGNAL_LEAST)
        low = high, high *= 2;
    while (high - low > 1) { /* the ratio grows with the patients */
        const uint64_t middle = low + (high - low) / 2;
        if (nn_plan_signal(plan, middle, n_hospitals) < NN_SIGNAL_LEAST)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* Two digits: what is printed is not known better. */
static uint64_t rounded(uint64_t n)
{
    uint64_t unit = 1;
    while (n / unit >= 100)
        unit *= 10;
    return (n + unit - 1) / unit * unit;
}

bool nn_plan_warn(fl_buf *out, const nn_plan *plan, uint64_t patients, uint32_t n_hospitals)
{
    const double signal = patients > 0 ? nn_plan_signal(plan, patients, n_hospitals) : INFINITY;
    if (signal >= NN_SIGNAL_LEAST)
        return false;
    fl_buf_printf(
        out,
        "WARNING: this plan leaves no signal. With %llu patients in %.0f hospital%s the expected signal-to-noise "
        "ratio of the whole study is %.2g; below %g a model learned next to nothing. %u learned weights at "
        "epsilon %s want about %llu patients: fewer learned weights (fixed features with a linear head), more "
        "patients or a larger epsilon.\n",
        (unsigned long long)patients, hospitals_of(plan, n_hospitals), hospitals_of(plan, n_hospitals) == 1 ? "" : "s",
        signal, NN_SIGNAL_LEAST, nn_plan_main(plan)->n_learned, plan->epsilon,
        (unsigned long long)rounded(nn_plan_patients_needed(plan, n_hospitals)));
    return true;
}
