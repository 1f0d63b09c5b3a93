/* A plan's values: what follows from them, and whether they agree with one another. plan_json.c has the text. */
#include "train/plan.h"
#include "privacy/budget.h"
#include "privacy/decimal.h"
#include "train/counts.h"
#include "train/model.h"
#include "train/plan_check.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double nn_phase_grid(const nn_phase *phase)
{
    double clip_norm = 0;
    bool ok = dp_decimal_value(&clip_norm, phase->clip_norm);
    return ok ? clip_norm / phase->clip_units : NAN;
}

const nn_phase *nn_plan_main(const nn_plan *plan)
{
    return &plan->phases[plan->n_phases - 1];
}

const nn_phase *nn_plan_phase(const nn_plan *plan, uint32_t round)
{
    const nn_phase *phase = plan->phases;
    assert(round >= 1 && round <= plan->rounds && plan->n_phases >= 1);
    while (round >= phase->first + phase->rounds)
        phase++;
    return phase;
}

void nn_plan_settle(nn_plan *p)
{
    if (p->n_phases == 0)
        p->n_phases = 1;
    uint32_t before = 0;
    for (uint32_t i = 0; i + 1 < p->n_phases; i++) {
        p->phases[i].first = before + 1;
        before += p->phases[i].rounds;
    }
    nn_phase *m = &p->phases[p->n_phases - 1];
    strcpy(m->name, NN_PLAN_MAIN);
    m->first = before + 1;
    m->rounds = p->rounds - before;
    if (!m->learn[0]) {
        strcpy(m->learn, "all");
        m->n_learned = p->n_weights;
    }
    bool any = false;
    for (uint32_t i = 0; i < p->n_classes; i++)
        any |= p->class_weights[i] != 0;
    for (uint32_t i = 0; !any && i < p->n_classes; i++)
        p->class_weights[i] = 1;
}

fl_code nn_plan_aim(nn_model *m, const nn_plan *plan, const nn_phase *phase, fl_err *err)
{
    float weights[NN_PLAN_MAX_CLASSES];
    for (uint32_t i = 0; i < plan->n_classes; i++)
        weights[i] = (float)plan->class_weights[i];
    const nn_aim aim = {.learn = phase->learn,
                        .loss = phase->loss,
                        .at = phase->loss == NN_LOSS_SQUARES ? phase->loss_at : NULL,
                        .class_weights = weights};
    return nn_model_aim(m, &aim, err);
}

dp_update_shape nn_plan_update(const nn_plan *plan, uint32_t round)
{
    const nn_phase *p = nn_plan_phase(plan, round);
    return (dp_update_shape){.coordinates = p->n_learned + p->probe,
                             .probe = p->probe,
                             .bits = p->update_bits,
                             .cells = nn_counts_in(plan, round) ? nn_counts_cells(plan) : 0};
}

double nn_plan_metrics_rdp(const nn_plan *plan, uint32_t releases, unsigned order)
{
    if (plan->metrics_every == 0 || releases == 0)
        return 0;
    return (double)releases * nn_counts_partitions(plan) * order / (2 * (double)plan->metrics_noise_variance);
}

/* --- checks ---------------------------------------------------------------------------------------------------- */

bool nn_plan_is_name(const char *text, size_t max)
{
    size_t n = strlen(text);
    return n >= 1 && n <= max && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

bool nn_plan_is_text(const char *text, bool may_break)
{
    for (const char *c = text; *c; c++) {
        if ((*c < 0x20 || *c > 0x7e) && !(may_break && (*c == '\n' || *c == '\t')))
            return false;
    }
    return *text != '\0';
}

static fl_code check_number(const char *name, uint64_t value, uint64_t min, uint64_t max, fl_err *err)
{
    if (value < min || value > max)
        return fl_fail(err, FL_EFORMAT, "plan: %s is %llu, expected %llu to %llu", name, (unsigned long long)value,
                       (unsigned long long)min, (unsigned long long)max);
    return FL_OK;
}

static fl_code check_real(const char *name, double value, double min, double max, fl_err *err)
{
    if (!(value >= min && value <= max))
        return fl_fail(err, FL_EFORMAT, "plan: %s is %g, expected %g to %g", name, value, min, max);
    return FL_OK;
}

/* One number has one text: no exponent, no needless zeros. */
static fl_code check_decimal(const char *name, const char *text, double min, double max, fl_err *err)
{
    dp_decimal d;
    char plain[DP_DECIMAL_TEXT];
    double value = dp_decimal_parse(&d, text) ? dp_decimal_to_double(&d) : NAN;
    if (!(value >= min && value <= max))
        return fl_fail(err, FL_EFORMAT, "plan: %s is '%.24s', expected a decimal number from %g to %g", name, text, min,
                       max);
    dp_decimal_text(plain, &d);
    if (strcmp(plain, text) != 0)
        return fl_fail(err, FL_EFORMAT, "plan: %s is '%.24s': is not in canonical form, %s", name, text, plain);
    return FL_OK;
}

static fl_code check_names(const nn_plan *p, fl_err *err)
{
    if (!nn_plan_is_name(p->name, sizeof p->name - 1))
        return fl_fail(err, FL_EFORMAT, "plan: name is not 1 to 63 of A-Z a-z 0-9 . _ -");
    fl_code rc = check_number("number of classes", p->n_classes, 2, NN_PLAN_MAX_CLASSES, err);
    if (rc == FL_OK)
        rc = check_number("number of hospitals", p->n_sites, 0, NN_PLAN_MAX_SITES, err);
    if (rc != FL_OK)
        return rc;
    for (uint32_t i = 0; i < p->n_classes; i++) {
        if (!nn_plan_is_name(p->classes[i], sizeof p->classes[i] - 1))
            return fl_fail(err, FL_EFORMAT, "plan: the name of class %u is not 1 to 31 of A-Z a-z 0-9 . _ -", i);
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(p->classes[i], p->classes[j]) == 0)
                return fl_fail(err, FL_EFORMAT, "plan: classes %u and %u have one name", j, i);
        }
    }
    for (uint32_t i = 0; i < p->n_sites; i++) {
        if (!nn_plan_is_name(p->sites[i], sizeof p->sites[i] - 1))
            return fl_fail(err, FL_EFORMAT, "plan: the name of hospital %u is not 1 to 63 of A-Z a-z 0-9 . _ -", i + 1);
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(p->sites[i], p->sites[j]) == 0)
                return fl_fail(err, FL_EFORMAT, "plan: hospital %s stands there twice", p->sites[i]);
        }
    }
    return FL_OK;
}

static fl_code check_model(const nn_plan *p, nn_model **out, fl_err *err)
{
    if (p->channels != 1 && p->channels != 3)
        return fl_fail(err, FL_EFORMAT, "plan: input has %u channels, expected 1 or 3", p->channels);
    fl_code rc = check_number("input height", p->height, 8, 1024, err);
    if (rc == FL_OK)
        rc = check_number("input width", p->width, 8, 1024, err);
    if (rc != FL_OK)
        return rc;
    if (!nn_plan_is_text(p->architecture, false) || !nn_plan_is_text(p->spec, true))
        return fl_fail(err, FL_EFORMAT, "plan: architecture or spec is empty or not plain text");
    rc = nn_model_create(out, p->spec, p->channels, p->height, p->width, p->n_classes, err);
    if (rc != FL_OK)
        return rc;
    size_t n = nn_model_n_weights(*out);
    if (n != p->n_weights)
        return fl_fail(err, FL_EFORMAT, "plan: n_weights is %u, the spec comes to %zu", p->n_weights, n);
    return FL_OK;
}

static fl_code check_training(const nn_plan *p, fl_err *err)
{
    const struct {
        const char *name;
        uint64_t value, min, max;
    } numbers[] = {
        {"rounds", p->rounds, 1, 100000},
        {"quorum", p->quorum, 1, NN_PLAN_MAX_SITES},
        {"deadline_s", p->deadline_s, 1, 604800},
        {"slot_ms", p->slot_ms, 1, 86400000},
        {"allowance_rounds", p->allowance_rounds, 0, 100000},
        {"patients", p->patients, 0, 1000000000},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        FL_TRY(check_number(numbers[i].name, numbers[i].value, numbers[i].min, numbers[i].max, err));
    if (p->n_sites > 0 && p->quorum > p->n_sites)
        return fl_fail(err, FL_EFORMAT, "plan: quorum is %u, there are %u hospitals", p->quorum, p->n_sites);
    if (p->initial[0] && (strlen(p->initial) != 64 || strspn(p->initial, "0123456789abcdef") != 64))
        return fl_fail(err, FL_EFORMAT, "plan: initial is neither empty nor a SHA-256 in hex");
    if (p->pretrained_channels != NN_CHANNELS_SUM && (!p->initial[0] || p->channels != 1))
        return fl_fail(err, FL_EFORMAT,
                       "plan: pretrained_channels is of a pretrained start of a model with one channel");
    bool any = false;
    for (uint32_t i = 0; i < p->n_classes; i++) {
        FL_TRY(check_real("class_weights", p->class_weights[i], 0, 1e6, err));
        any |= p->class_weights[i] > 0;
    }
    if (!any)
        return fl_fail(err, FL_EFORMAT, "plan: class_weights are all zero: nothing would be learned");
    uint64_t before = 0;
    for (uint32_t i = 0; i + 1 < p->n_phases; i++) {
        FL_TRY(check_number("rounds of a phase", p->phases[i].rounds, 1, 100000, err));
        before += p->phases[i].rounds;
    }
    if (before >= p->rounds)
        return fl_fail(err, FL_EFORMAT, "plan: rounds is %u, its phases take %llu and leave none", p->rounds,
                       (unsigned long long)before);
    return FL_OK;
}

static fl_code check_phase_numbers(const nn_phase *p, fl_err *err)
{
    const struct {
        const char *name;
        uint64_t value, min, max;
    } numbers[] = {
        {"local_steps", p->local_steps, 1, 1000},
        {"augmentations", p->augmentations, 1, 64},
        {"shift", p->shift, 0, 64},
        {"probe", p->probe, 0, 1 << 20},
        {"clip_units", p->clip_units, 1, 1 << 30},
    };
    const struct {
        const char *name;
        double value, min, max;
    } reals[] = {
        {"local_learning_rate", p->local_learning_rate, 1e-9, 1e9},
        {"server_learning_rate", p->server_learning_rate, 1e-9, 1e9},
        {"server_momentum", p->server_momentum, 0, 0.9999},
        {"server_weight_decay", p->server_weight_decay, 0, 1},
        {"average_value", p->average_value, 0, 1},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        FL_TRY(check_number(numbers[i].name, numbers[i].value, numbers[i].min, numbers[i].max, err));
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++)
        FL_TRY(check_real(reals[i].name, reals[i].value, reals[i].min, reals[i].max, err));
    if (p->augmentations > 1 && !p->mirror && p->shift == 0)
        return fl_fail(err, FL_EFORMAT,
                       "plan: augmentations is %u, but without mirror and shift they are all the same image",
                       p->augmentations);
    if (p->average == NN_AVERAGE_EMA && p->average_value >= 1)
        return fl_fail(err, FL_EFORMAT, "plan: average_value is %g, expected below 1", p->average_value);
    if (p->update_bits < 16 || p->update_bits > 48 || p->update_bits % 8 != 0)
        return fl_fail(err, FL_EFORMAT, "plan: update_bits is %u, expected 16, 24, 32, 40 or 48", p->update_bits);
    return FL_OK;
}

static fl_code check_schedule(const nn_phase *p, fl_err *err)
{
    if (p->warmup_rounds >= p->rounds)
        return fl_fail(err, FL_EFORMAT, "plan: warmup_rounds is %u, expected fewer than the %u round%s there are",
                       p->warmup_rounds, p->rounds, p->rounds == 1 ? "" : "s");
    if (p->schedule != NN_SCHEDULE_STEP)
        return p->schedule_every == 0 && p->schedule_factor == 0
                   ? FL_OK
                   : fl_fail(err, FL_EFORMAT, "plan: schedule_every and schedule_factor are of schedule step alone");
    const uint32_t left = p->rounds - p->warmup_rounds;
    if (p->schedule_every < 1 || p->schedule_every >= left)
        return fl_fail(err, FL_EFORMAT,
                       "plan: schedule: a step every %u rounds never comes in the %u after the warm-up: expected at "
                       "least 1 and fewer than those",
                       p->schedule_every, left);
    if (!(p->schedule_factor > 0 && p->schedule_factor < 1))
        return fl_fail(err, FL_EFORMAT, "plan: schedule: the factor of a step is %g, expected above 0 and below 1",
                       p->schedule_factor);
    return FL_OK;
}

/* What is learned, and by which loss; n_learned is what the model says. */
static fl_code check_aim(const nn_plan *p, const nn_phase *phase, nn_model *m, fl_err *err)
{
    const nn_loss_kind of_labels = p->multi ? NN_LOSS_BINARY : NN_LOSS_SOFTMAX;
    if (phase->loss != NN_LOSS_SQUARES && phase->loss != of_labels)
        return fl_fail(err, FL_EFORMAT, "plan: loss does not fit the labels: single wants softmax, multi binary");
    if ((phase->loss == NN_LOSS_SQUARES) != (phase->loss_at[0] != '\0'))
        return fl_fail(err, FL_EFORMAT, "plan: loss_at is the layer of loss squares, and of no other loss");
    if (!nn_plan_is_text(phase->learn, false) || (phase->loss_at[0] && !nn_plan_is_text(phase->loss_at, false)))
        return fl_fail(err, FL_EFORMAT, "plan: learn or loss_at is empty or not plain text");
    FL_TRY(nn_plan_aim(m, p, phase, err));
    if (nn_model_n_learned(m) != phase->n_learned)
        return fl_fail(err, FL_EFORMAT, "plan: n_learned is %u, learn comes to %zu", phase->n_learned,
                       nn_model_n_learned(m));
    return FL_OK;
}

static fl_code check_phase_noise(const nn_plan *p, nn_phase *phase, fl_err *err)
{
    uint64_t micro = 0;
    FL_TRY(check_decimal("clip_norm", phase->clip_norm, 1e-9, 1e9, err));
    FL_TRY(check_decimal("noise_multiplier", phase->noise_multiplier, 1e-6, 1e6, err));
    FL_TRY(check_decimal("sampling_rate", phase->sampling_rate, 1e-9, 1, err));
    if (dp_rate_parse(&phase->rate, phase->sampling_rate, err) != FL_OK)
        return fl_fail_in(err, "plan: sampling_rate");
    if (!dp_micro_parse(&micro, phase->noise_multiplier))
        return fl_fail(err, FL_EFORMAT, "plan: noise_multiplier is '%.24s', expected a number with at most 6 decimals",
                       phase->noise_multiplier);
    if (!p->is_private)
        return check_number("noise_variance of a plan without privacy", phase->noise_variance, 0, 0, err);
    if (micro < 1 || micro > UINT32_MAX ||
        dp_variance_for((uint32_t)micro, phase->clip_units) != phase->noise_variance || phase->noise_variance == 0)
        return fl_fail(err, FL_EFORMAT, "plan: noise_variance is not the one of noise_multiplier and clip_units");
    return FL_OK;
}

static fl_code check_phase(const nn_plan *p, nn_phase *phase, nn_model *m, fl_err *err)
{
    FL_TRY(check_phase_numbers(phase, err));
    FL_TRY(check_schedule(phase, err));
    FL_TRY(check_aim(p, phase, m, err));
    return check_phase_noise(p, phase, err);
}

static fl_code check_phases(nn_plan *p, nn_model *m, fl_err *err)
{
    for (uint32_t i = 0; i < p->n_phases; i++) {
        nn_phase *phase = &p->phases[i];
        const bool is_main = i + 1 == p->n_phases;
        if (!nn_plan_is_name(phase->name, sizeof phase->name - 1))
            return fl_fail(err, FL_EFORMAT, "plan: the name of phase %u is not 1 to 31 of A-Z a-z 0-9 . _ -", i + 1);
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(phase->name, p->phases[j].name) == 0)
                return fl_fail(err, FL_EFORMAT, "plan: phases %u and %u have one name, %s", j + 1, i + 1, phase->name);
        }
        const fl_code rc = check_phase(p, phase, m, err);
        if (rc != FL_OK)
            return is_main ? rc : fl_fail_in(err, "phase %s", phase->name);
    }
    return FL_OK;
}

/* The whole schedule, without burned rounds, fits a fresh budget of the plan's epsilon and delta. */
static fl_code check_epsilon(const nn_plan *p, fl_err *err)
{
    double epsilon = 0, delta = 0;
    const nn_phase *m = nn_plan_main(p);
    if (!dp_decimal_value(&epsilon, p->epsilon) || !dp_decimal_value(&delta, p->delta))
        return fl_fail(err, FL_EFORMAT, "plan: epsilon or delta is not a number");
    dp_filter filter;
    if (dp_filter_init(&filter, epsilon, delta, p->renyi_order, 1, err) != FL_OK)
        return fl_fail(err, FL_EFORMAT, "plan: renyi_order %u cannot serve epsilon %s at delta %s", p->renyi_order,
                       p->epsilon, p->delta);
    if (p->metrics_every > 0)
        dp_filter_charge(&filter, dp_release_cost(&filter, dp_multiplier_micro(p->metrics_noise_variance, 1),
                                                  (uint64_t)nn_counts_partitions(p) * nn_counts_rounds(p, 0)));
    for (uint32_t i = 0; i + 1 < p->n_phases; i++) {
        const nn_phase *other = &p->phases[i];
        const double cost = dp_debit_cost(&filter, other->rate, other->noise_variance, other->clip_units,
                                          (uint64_t)other->rounds * other->local_steps);
        if (!dp_filter_admits(&filter, cost))
            return fl_fail(err, FL_EFORMAT,
                           "plan: phase %s: noise_multiplier %s lets it not into epsilon %s: more noise", other->name,
                           other->noise_multiplier, p->epsilon);
        dp_filter_charge(&filter, cost);
    }
    double cost = dp_debit_cost(&filter, m->rate, m->noise_variance, m->clip_units, m->local_steps);
    uint64_t room = dp_filter_room(&filter, cost, m->rounds);
    if (room < m->rounds)
        return fl_fail(err, FL_EFORMAT,
                       "plan: noise_multiplier %s lets %llu of %u rounds into epsilon %s: more noise, fewer rounds or "
                       "a larger epsilon",
                       m->noise_multiplier, (unsigned long long)room, m->rounds, p->epsilon);
    return FL_OK;
}

static fl_code check_metrics(const nn_plan *p, fl_err *err)
{
    uint64_t micro = 0;
    if (p->metrics_every == 0) {
        if (p->metrics_bins || p->metrics_histogram || p->metrics_classes || p->metrics_quality ||
            p->metrics_noise_variance ||
            strcmp(p->metrics_noise_multiplier, nn_plan_main(p)->probe > 0 ? "0" : "") != 0)
            return fl_fail(err, FL_EFORMAT, "plan: has metrics that it never releases");
        return FL_OK;
    }
    FL_TRY(check_number("metrics_every", p->metrics_every, 1, 100000, err));
    FL_TRY(check_number("metrics_bins", p->metrics_bins, 2, NN_COUNTS_MAX_BINS, err));
    FL_TRY(check_decimal("metrics_noise_multiplier", p->metrics_noise_multiplier, 3, 100000, err));
    if (nn_counts_partitions(p) == 0)
        return fl_fail(err, FL_EFORMAT, "plan: metrics_what is empty");
    if (!dp_micro_parse(&micro, p->metrics_noise_multiplier) || micro > UINT32_MAX ||
        dp_variance_for((uint32_t)micro, 1) != p->metrics_noise_variance)
        return fl_fail(err, FL_EFORMAT, "plan: metrics_noise_variance is not the one of metrics_noise_multiplier");
    return FL_OK;
}

static fl_code check_privacy(nn_plan *p, fl_err *err)
{
    FL_TRY(check_decimal("epsilon", p->epsilon, 1e-6, 1000, err));
    FL_TRY(check_decimal("delta", p->delta, 1e-15, 0.1, err));
    FL_TRY(check_number("renyi_order", p->renyi_order, DP_ORDER_MIN, DP_ORDER_MAX, err));
    FL_TRY(check_metrics(p, err));
    return p->is_private ? check_epsilon(p, err) : FL_OK;
}

fl_code nn_plan_check(nn_plan *p, fl_err *err)
{
    nn_model *m = NULL;
    fl_code rc = check_names(p, err);
    if (rc == FL_OK)
        rc = check_model(p, &m, err);
    if (rc == FL_OK)
        rc = check_training(p, err);
    if (rc == FL_OK) {
        nn_plan_settle(p);
        rc = check_phases(p, m, err);
    }
    if (rc == FL_OK)
        rc = check_privacy(p, err);
    nn_model_destroy(m);
    return rc;
}

/*
 * The narrowest width that holds K steps of noise at 12 standard deviations and the sum of 2^17 patients a step who all
 * pull one weight with their whole norm. What lies outside is clamped after the noise: it costs accuracy, not privacy.
 */
uint32_t nn_phase_update_bits(const nn_phase *p)
{
    double q = dp_rate_to_double(p->rate);
    double largest = 12 * sqrt((double)p->noise_variance * p->local_steps) +
                     p->local_steps * q * 131072.0 * p->clip_units;
    for (uint32_t bits = 16; bits < 48; bits += 8) {
        if (largest < ldexp(1, (int)bits - 1))
            return bits;
    }
    return 48;
}

fl_code nn_plan_drop_privacy(nn_plan *plan, fl_err *err)
{
    plan->is_private = false;
    for (uint32_t i = 0; i < plan->n_phases; i++)
        plan->phases[i].noise_variance = 0;
    plan->metrics_every = plan->metrics_bins = 0;
    plan->metrics_histogram = plan->metrics_classes = plan->metrics_quality = false;
    plan->metrics_noise_variance = 0;
    snprintf(plan->metrics_noise_multiplier, sizeof plan->metrics_noise_multiplier, "%s",
             nn_plan_main(plan)->probe > 0 ? "0" : "");
    return nn_plan_seal(plan, err);
}
