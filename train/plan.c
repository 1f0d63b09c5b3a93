/*
 * The plan as canonical JSON: checks, writing, strict reading.
 *
 * Reading does not look for each way in which a text can be not canonical: it writes what it has read and compares.
 */
#include "train/plan.h"
#include "base/encode.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "privacy/budget.h"
#include "privacy/decimal.h"
#include "train/counts.h"
#include "train/model.h"
#include "train/plan_check.h"
#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT 2

static const char *const server_names[] = {"sgd", "momentum"};
static const char *const schedule_names[] = {"constant", "cosine"};
static const char *const average_names[] = {"none", "ema", "tail"};

double nn_phase_grid(const nn_phase *phase)
{
    double clip_norm = 0;
    bool ok = dp_decimal_value(&clip_norm, phase->clip_norm);
    return ok ? clip_norm / phase->clip_units : NAN;
}

double nn_plan_grid(const nn_plan *plan)
{
    double clip_norm = 0;
    bool ok = dp_decimal_value(&clip_norm, plan->clip_norm);
    return ok ? clip_norm / plan->clip_units : NAN;
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
    nn_phase *m = &p->phases[0];
    memset(m, 0, sizeof *m); /* its padding too: plans are compared */
    strcpy(m->name, "main");
    strcpy(m->learn, "all");
    m->first = 1;
    m->rounds = p->rounds;
    m->local_steps = p->local_steps;
    m->n_learned = p->n_weights;
    m->rate = p->rate;
    m->clip_units = p->clip_units;
    m->noise_variance = p->noise_variance;
    m->augmentations = p->augmentations;
    m->shift = p->shift;
    m->mirror = p->mirror;
    m->local_learning_rate = p->local_learning_rate;
    m->server = p->server;
    m->server_learning_rate = p->server_learning_rate;
    m->server_momentum = p->server_momentum;
    m->server_weight_decay = p->server_weight_decay;
    m->schedule = p->schedule;
    m->average = p->average;
    m->average_value = p->average_value;
    m->update_bits = p->update_bits;
    m->probe = p->probe;
    memcpy(m->sampling_rate, p->sampling_rate, sizeof m->sampling_rate);
    memcpy(m->noise_multiplier, p->noise_multiplier, sizeof m->noise_multiplier);
    memcpy(m->clip_norm, p->clip_norm, sizeof m->clip_norm);
    p->n_phases = 1;
    for (uint32_t i = 0; i < p->n_classes; i++)
        p->class_weights[i] = 1;
}

dp_update_shape nn_plan_update(const nn_plan *plan, uint32_t round)
{
    return (dp_update_shape){.coordinates = plan->n_weights + plan->probe,
                             .probe = plan->probe,
                             .bits = plan->update_bits,
                             .cells = nn_counts_in(plan, round) ? nn_counts_cells(plan) : 0};
}

double nn_plan_metrics_rdp(const nn_plan *plan, uint32_t releases, unsigned order)
{
    if (plan->metrics_every == 0 || releases == 0)
        return 0;
    return (double)releases * nn_counts_partitions(plan) * order / (2 * (double)plan->metrics_noise_variance);
}

/* Format 1 had neither probe nor metrics: one plan has one text. */
static int format_of(const nn_plan *plan)
{
    return plan->probe > 0 || plan->metrics_every > 0 ? FORMAT : 1;
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

static fl_code check_model(const nn_plan *p, fl_err *err)
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
    nn_model *m;
    rc = nn_model_create(&m, p->spec, p->channels, p->height, p->width, p->n_classes, err);
    if (rc != FL_OK)
        return rc;
    size_t n = nn_model_n_weights(m);
    nn_model_destroy(m);
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
        {"local_steps", p->local_steps, 1, 1000},
        {"quorum", p->quorum, 1, NN_PLAN_MAX_SITES},
        {"deadline_s", p->deadline_s, 1, 604800},
        {"slot_ms", p->slot_ms, 1, 86400000},
        {"augmentations", p->augmentations, 1, 64},
        {"shift", p->shift, 0, 64},
        {"allowance_rounds", p->allowance_rounds, 0, 100000},
        {"probe", p->probe, 0, 1 << 20},
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
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        fl_code rc = check_number(numbers[i].name, numbers[i].value, numbers[i].min, numbers[i].max, err);
        if (rc != FL_OK)
            return rc;
    }
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        fl_code rc = check_real(reals[i].name, reals[i].value, reals[i].min, reals[i].max, err);
        if (rc != FL_OK)
            return rc;
    }
    if (p->n_sites > 0 && p->quorum > p->n_sites)
        return fl_fail(err, FL_EFORMAT, "plan: quorum is %u, there are %u hospitals", p->quorum, p->n_sites);
    if (p->augmentations > 1 && !p->mirror && p->shift == 0)
        return fl_fail(err, FL_EFORMAT,
                       "plan: augmentations is %u, but without mirror and shift they are all the same image",
                       p->augmentations);
    if (p->average == NN_AVERAGE_EMA && p->average_value >= 1)
        return fl_fail(err, FL_EFORMAT, "plan: average_value is %g, expected below 1", p->average_value);
    return FL_OK;
}

/* The whole schedule, without burned rounds, fits a fresh budget of the plan's epsilon and delta. */
static fl_code check_epsilon(const nn_plan *p, uint64_t micro, fl_err *err)
{
    double epsilon = 0, delta = 0;
    if (!dp_decimal_value(&epsilon, p->epsilon) || !dp_decimal_value(&delta, p->delta))
        return fl_fail(err, FL_EFORMAT, "plan: epsilon or delta is not a number");
    if (micro < 1 || micro > UINT32_MAX || dp_variance_for((uint32_t)micro, p->clip_units) != p->noise_variance ||
        p->noise_variance == 0)
        return fl_fail(err, FL_EFORMAT, "plan: noise_variance is not the one of noise_multiplier and clip_units");
    dp_filter filter;
    if (dp_filter_init(&filter, epsilon, delta, p->renyi_order, 1, err) != FL_OK)
        return fl_fail(err, FL_EFORMAT, "plan: renyi_order %u cannot serve epsilon %s at delta %s", p->renyi_order,
                       p->epsilon, p->delta);
    double cost = dp_debit_cost(&filter, p->rate, p->noise_variance, p->clip_units, p->local_steps);
    if (p->metrics_every > 0)
        dp_filter_charge(&filter, dp_release_cost(&filter, dp_multiplier_micro(p->metrics_noise_variance, 1),
                                                  (uint64_t)nn_counts_partitions(p) * nn_counts_rounds(p, 0)));
    uint64_t room = dp_filter_room(&filter, cost, p->rounds);
    if (room < p->rounds)
        return fl_fail(err, FL_EFORMAT,
                       "plan: noise_multiplier %s lets %llu of %u rounds into epsilon %s: more noise, fewer rounds or "
                       "a larger epsilon",
                       p->noise_multiplier, (unsigned long long)room, p->rounds, p->epsilon);
    return FL_OK;
}

static fl_code check_metrics(const nn_plan *p, fl_err *err)
{
    uint64_t micro = 0;
    if (p->metrics_every == 0) {
        if (p->metrics_bins || p->metrics_histogram || p->metrics_classes || p->metrics_quality ||
            p->metrics_noise_variance || strcmp(p->metrics_noise_multiplier, p->probe > 0 ? "0" : "") != 0)
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
    uint64_t micro = 0;
    fl_code rc = check_decimal("epsilon", p->epsilon, 1e-6, 1000, err);
    if (rc == FL_OK)
        rc = check_decimal("delta", p->delta, 1e-15, 0.1, err);
    if (rc == FL_OK)
        rc = check_decimal("clip_norm", p->clip_norm, 1e-9, 1e9, err);
    if (rc == FL_OK)
        rc = check_decimal("noise_multiplier", p->noise_multiplier, 1e-6, 1e6, err);
    if (rc == FL_OK)
        rc = check_decimal("sampling_rate", p->sampling_rate, 1e-9, 1, err);
    if (rc == FL_OK)
        rc = dp_rate_parse(&p->rate, p->sampling_rate, err);
    if (rc == FL_OK)
        rc = check_number("clip_units", p->clip_units, 1, 1u << 30, err);
    if (rc == FL_OK && (p->renyi_order < DP_ORDER_MIN || p->renyi_order > DP_ORDER_MAX))
        rc = check_number("renyi_order", p->renyi_order, DP_ORDER_MIN, DP_ORDER_MAX, err);
    if (rc != FL_OK)
        return rc;
    if (!dp_micro_parse(&micro, p->noise_multiplier))
        return fl_fail(err, FL_EFORMAT, "plan: noise_multiplier is '%.24s', expected a number with at most 6 decimals",
                       p->noise_multiplier);
    if (p->update_bits < 16 || p->update_bits > 48 || p->update_bits % 8 != 0)
        return fl_fail(err, FL_EFORMAT, "plan: update_bits is %u, expected 16, 24, 32, 40 or 48", p->update_bits);
    FL_TRY(check_metrics(p, err));
    if (!p->is_private)
        return check_number("noise_variance of a plan without privacy", p->noise_variance, 0, 0, err);
    return check_epsilon(p, micro, err);
}

fl_code nn_plan_check(nn_plan *p, fl_err *err)
{
    fl_code rc = check_names(p, err);
    if (rc == FL_OK)
        rc = check_model(p, err);
    if (rc == FL_OK)
        rc = check_training(p, err);
    if (rc == FL_OK)
        rc = check_privacy(p, err);
    if (rc == FL_OK)
        nn_plan_settle(p);
    return rc;
}

/*
 * The narrowest width that holds K steps of noise at 12 standard deviations and the sum of 2^17 patients a step who all
 * pull one weight with their whole norm. What lies outside is clamped after the noise: it costs accuracy, not privacy.
 */
uint32_t nn_plan_update_bits(const nn_plan *p)
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

/* --- writing --------------------------------------------------------------------------------------------------- */

/* The shortest decimal text that reads back as this value, without exponent. */
static void set_real(fl_json *j, const char *key, double value)
{
    char text[40], plain[DP_DECIMAL_TEXT] = "";
    dp_decimal d;
    for (int digits = 1; digits <= 17; digits++) {
        double back;
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (dp_decimal_parse(&d, text) && (back = dp_decimal_to_double(&d), back == value)) {
            dp_decimal_text(plain, &d);
            break;
        }
    }
    fl_json_set_text(j, key, plain);
}

static fl_json *array_of(const char *first, size_t size, uint32_t n)
{
    fl_json *a = fl_json_array();
    for (uint32_t i = 0; i < n; i++)
        fl_json_push_text(a, first + i * size);
    return a;
}

/* Members that are plain numbers in struct and JSON. */
static const struct {
    const char *key;
    size_t offset;
} counts[] = {
#define COUNT(member)                                                                                                  \
    {                                                                                                                  \
#member, offsetof(nn_plan, member)                                                                             \
    }
    COUNT(n_weights),        COUNT(rounds),        COUNT(local_steps), COUNT(quorum),
    COUNT(deadline_s),       COUNT(slot_ms),       COUNT(clip_units),  COUNT(renyi_order),
    COUNT(allowance_rounds), COUNT(augmentations), COUNT(shift),       COUNT(update_bits)};

/* Members that are double in the struct and decimal text in JSON. */
static const struct {
    const char *key;
    size_t offset;
} reals[] = {COUNT(local_learning_rate), COUNT(server_learning_rate), COUNT(server_momentum),
             COUNT(server_weight_decay), COUNT(average_value)};

/* Texts in both. */
static const struct {
    const char *key;
    size_t offset, size;
} texts[] = {
#define TEXT(member)                                                                                                   \
    {                                                                                                                  \
#member, offsetof(nn_plan, member), sizeof(((nn_plan *)0)->member)                                             \
    }
    TEXT(name),          TEXT(architecture),     TEXT(spec),     TEXT(epsilon), TEXT(delta),
    TEXT(sampling_rate), TEXT(noise_multiplier), TEXT(clip_norm)};

#define N_ROWS(table) (sizeof(table) / sizeof(table)[0])
#define N_OTHERS      12 /* the members set one by one below */
#define N_SECOND      6  /* and those of format 2 */

static void set_second(fl_json *j, const nn_plan *p)
{
    char what[64];
    nn_counts_what(what, p);
    fl_json_set_int(j, "probe", p->probe);
    fl_json_set_int(j, "metrics_every", p->metrics_every);
    fl_json_set_int(j, "metrics_bins", p->metrics_bins);
    fl_json_set_text(j, "metrics_what", what);
    fl_json_set_text(j, "metrics_noise_multiplier", p->metrics_noise_multiplier);
    fl_json_set_int(j, "metrics_noise_variance", (int64_t)p->metrics_noise_variance);
}

static fl_json *to_json(const nn_plan *p)
{
    const char *base = (const char *)p;
    fl_json *j = fl_json_object(), *input = fl_json_array();
    for (size_t i = 0; i < N_ROWS(counts); i++)
        fl_json_set_int(j, counts[i].key, *(const uint32_t *)(const void *)(base + counts[i].offset));
    for (size_t i = 0; i < N_ROWS(reals); i++)
        set_real(j, reals[i].key, *(const double *)(const void *)(base + reals[i].offset));
    for (size_t i = 0; i < N_ROWS(texts); i++)
        fl_json_set_text(j, texts[i].key, base + texts[i].offset);
    fl_json_push_int(input, p->channels);
    fl_json_push_int(input, p->height);
    fl_json_push_int(input, p->width);
    char seed[17];
    snprintf(seed, sizeof seed, "%016llx", (unsigned long long)p->seed);
    fl_json_set_int(j, "format", format_of(p));
    if (format_of(p) > 1)
        set_second(j, p);
    fl_json_set(j, "input", input);
    fl_json_set(j, "classes", array_of(p->classes[0], sizeof p->classes[0], p->n_classes));
    fl_json_set(j, "sites", array_of(p->sites[0], sizeof p->sites[0], p->n_sites));
    fl_json_set_text(j, "server", server_names[p->server]);
    fl_json_set_text(j, "schedule", schedule_names[p->schedule]);
    fl_json_set_text(j, "average", average_names[p->average]);
    fl_json_set_text(j, "strategy", "fedavg");
    fl_json_set_bool(j, "private", p->is_private);
    fl_json_set_bool(j, "mirror", p->mirror);
    fl_json_set_int(j, "noise_variance", (int64_t)p->noise_variance);
    fl_json_set_text(j, "seed", seed);
    return j;
}

fl_code nn_plan_write(fl_buf *json, const nn_plan *plan, fl_err *err)
{
    fl_json *j = to_json(plan);
    fl_code rc = fl_json_canonical(json, j, err);
    fl_json_free(j);
    if (rc == FL_OK && json->size > NN_PLAN_MAX_BYTES)
        rc = fl_fail(err, FL_EFORMAT, "plan: %zu bytes, expected at most %d", json->size, NN_PLAN_MAX_BYTES);
    return rc;
}

fl_code nn_plan_seal(nn_plan *plan, fl_err *err)
{
    fl_buf text;
    fl_buf_init(&text, 4 * NN_PLAN_MAX_BYTES);
    fl_code rc = nn_plan_write(&text, plan, err);
    if (rc == FL_OK)
        plan->hash = fl_sha256(text.bytes, text.size);
    fl_buf_fini(&text);
    return rc;
}

fl_code nn_plan_drop_privacy(nn_plan *plan, fl_err *err)
{
    plan->is_private = false;
    plan->noise_variance = 0;
    nn_plan_settle(plan);
    plan->metrics_every = plan->metrics_bins = 0;
    plan->metrics_histogram = plan->metrics_classes = plan->metrics_quality = false;
    plan->metrics_noise_variance = 0;
    snprintf(plan->metrics_noise_multiplier, sizeof plan->metrics_noise_multiplier, "%s", plan->probe > 0 ? "0" : "");
    return nn_plan_seal(plan, err);
}

/* --- reading --------------------------------------------------------------------------------------------------- */

static fl_code missing(const char *key, fl_err *err)
{
    return fl_fail(err, FL_EFORMAT, "plan: %s is missing, of another type or out of range", key);
}

static bool get_count(uint32_t *out, const fl_json *j, const char *key)
{
    int64_t value;
    if (!fl_json_int(j, key, &value) || value < 0 || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool copy_text(char *out, size_t size, const char *text)
{
    if (!text || strlen(text) >= size)
        return false;
    memset(out, 0, size);
    memcpy(out, text, strlen(text));
    return true;
}

static bool get_choice(int *out, const fl_json *j, const char *key, const char *const *names, size_t n)
{
    const char *text = fl_json_text(j, key);
    for (size_t i = 0; text && i < n; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (int)i;
            return true;
        }
    }
    return false;
}

static bool get_texts(char *first, size_t size, uint32_t max, uint32_t *n, const fl_json *array)
{
    if (!array || !fl_json_is_array(array) || fl_json_count(array) > max)
        return false;
    *n = (uint32_t)fl_json_count(array);
    for (uint32_t i = 0; i < *n; i++) {
        if (!copy_text(first + i * size, size, fl_json_text_value(fl_json_at(array, i))))
            return false;
    }
    return true;
}

static bool get_input(nn_plan *p, const fl_json *j)
{
    fl_json *input = fl_json_member(j, "input");
    int64_t c, h, w;
    if (!input || !fl_json_is_array(input) || fl_json_count(input) != 3 ||
        !fl_json_int_value(fl_json_at(input, 0), &c) || !fl_json_int_value(fl_json_at(input, 1), &h) ||
        !fl_json_int_value(fl_json_at(input, 2), &w) || c < 1 || h < 1 || w < 1 || c > 1024 || h > 1024 || w > 1024)
        return false;
    p->channels = (uint32_t)c, p->height = (uint32_t)h, p->width = (uint32_t)w;
    return true;
}

static bool get_seed(uint64_t *out, const char *text)
{
    uint8_t bytes[8];
    if (!text || strlen(text) != 16 || !fl_hex_decode(bytes, sizeof bytes, text))
        return false;
    *out = 0;
    for (int i = 0; i < 8; i++)
        *out = *out << 8 | bytes[i];
    return true;
}

/* Codes of nn_counts_what; what is no way to write them is found when the text is compared. */
static bool get_what(nn_plan *p, const char *what)
{
    if (!what)
        return false;
    p->metrics_histogram = strstr(what, "histogram") != NULL;
    p->metrics_classes = strstr(what, "classes") != NULL;
    p->metrics_quality = strstr(what, "quality") != NULL;
    return true;
}

static bool get_second(nn_plan *p, const fl_json *j)
{
    int64_t variance;
    if (!get_count(&p->probe, j, "probe") || !get_count(&p->metrics_every, j, "metrics_every") ||
        !get_count(&p->metrics_bins, j, "metrics_bins") || !get_what(p, fl_json_text(j, "metrics_what")) ||
        !copy_text(p->metrics_noise_multiplier, sizeof p->metrics_noise_multiplier,
                   fl_json_text(j, "metrics_noise_multiplier")) ||
        !fl_json_int(j, "metrics_noise_variance", &variance) || variance < 0)
        return false;
    p->metrics_noise_variance = (uint64_t)variance;
    return format_of(p) == FORMAT;
}

static fl_code read_tables(nn_plan *p, const fl_json *j, fl_err *err)
{
    char *base = (char *)p;
    for (size_t i = 0; i < N_ROWS(counts); i++) {
        if (!get_count((uint32_t *)(void *)(base + counts[i].offset), j, counts[i].key))
            return missing(counts[i].key, err);
    }
    for (size_t i = 0; i < N_ROWS(reals); i++) {
        const char *text = fl_json_text(j, reals[i].key);
        if (!text || !dp_decimal_value((double *)(void *)(base + reals[i].offset), text))
            return missing(reals[i].key, err);
    }
    for (size_t i = 0; i < N_ROWS(texts); i++) {
        if (!copy_text(base + texts[i].offset, texts[i].size, fl_json_text(j, texts[i].key)))
            return missing(texts[i].key, err);
    }
    return FL_OK;
}

static fl_code read_others(nn_plan *p, const fl_json *j, fl_err *err)
{
    int64_t format, variance;
    int server, schedule, average;
    const char *strategy = fl_json_text(j, "strategy");
    if (!fl_json_int(j, "format", &format) || format < 1 || format > FORMAT)
        return fl_fail(err, FL_EFORMAT, "plan: not of format 1 to %d", FORMAT);
    if (format > 1 && !get_second(p, j))
        return missing("probe or metrics", err);
    if (!get_input(p, j))
        return missing("input", err);
    if (!get_texts(p->classes[0], sizeof p->classes[0], NN_PLAN_MAX_CLASSES, &p->n_classes,
                   fl_json_member(j, "classes")))
        return missing("classes", err);
    if (!get_texts(p->sites[0], sizeof p->sites[0], NN_PLAN_MAX_SITES, &p->n_sites, fl_json_member(j, "sites")))
        return missing("sites", err);
    if (!get_choice(&server, j, "server", server_names, N_ROWS(server_names)))
        return missing("server", err);
    if (!get_choice(&schedule, j, "schedule", schedule_names, N_ROWS(schedule_names)))
        return missing("schedule", err);
    if (!get_choice(&average, j, "average", average_names, N_ROWS(average_names)))
        return missing("average", err);
    if (!strategy || strcmp(strategy, "fedavg") != 0)
        return fl_fail(err, FL_EFORMAT, "plan: strategy is not fedavg, the only one there is");
    if (!fl_json_bool(j, "private", &p->is_private) || !fl_json_bool(j, "mirror", &p->mirror))
        return missing("private or mirror", err);
    if (!fl_json_int(j, "noise_variance", &variance) || variance < 0)
        return missing("noise_variance", err);
    if (!get_seed(&p->seed, fl_json_text(j, "seed")))
        return missing("seed", err);
    p->noise_variance = (uint64_t)variance;
    p->server = (nn_server_kind)server;
    p->schedule = (nn_schedule)schedule;
    p->average = (nn_average)average;
    return FL_OK;
}

static fl_code read_json(nn_plan *p, const fl_json *j, fl_err *err)
{
    if (!fl_json_is_object(j))
        return fl_fail(err, FL_EFORMAT, "plan: is not an object");
    int64_t format = 1;
    (void)fl_json_int(j, "format", &format);
    const size_t expected = N_ROWS(counts) + N_ROWS(reals) + N_ROWS(texts) + N_OTHERS + (format > 1 ? N_SECOND : 0);
    if (fl_json_count(j) != expected)
        return fl_fail(err, FL_EFORMAT, "plan: has %zu members, expected %zu", fl_json_count(j), expected);
    fl_code rc = read_tables(p, j, err);
    return rc == FL_OK ? read_others(p, j, err) : rc;
}

static fl_code check_canonical(nn_plan *p, const char *json, size_t n, fl_err *err)
{
    fl_buf text;
    fl_buf_init(&text, 4 * NN_PLAN_MAX_BYTES);
    fl_code rc = nn_plan_write(&text, p, err);
    if (rc == FL_OK && (text.size != n || memcmp(text.bytes, json, n) != 0))
        rc = fl_fail(err, FL_EFORMAT, "plan: is not in canonical form");
    if (rc == FL_OK)
        p->hash = fl_sha256(json, n);
    fl_buf_fini(&text);
    return rc;
}

fl_code nn_plan_parse(nn_plan *plan, const char *json, size_t n, fl_err *err)
{
    fl_json *j = NULL;
    memset(plan, 0, sizeof *plan);
    if (n > NN_PLAN_MAX_BYTES)
        return fl_fail(err, FL_EFORMAT, "plan: %zu bytes, expected at most %d", n, NN_PLAN_MAX_BYTES);
    fl_code rc = fl_json_parse(&j, json, n, "plan", err);
    if (rc == FL_OK)
        rc = read_json(plan, j, err);
    fl_json_free(j);
    if (rc == FL_OK)
        rc = nn_plan_check(plan, err);
    if (rc == FL_OK)
        rc = check_canonical(plan, json, n, err);
    return rc;
}
