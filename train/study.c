/*
 * A study: the INI a consortium writes, and how each `auto` in it becomes a number of the plan.
 *
 *     clip_norm         auto: 0.2, a public constant
 *     clip_units        auto: the next power of two at or above 64 sqrt(n_weights)
 *     [metrics] noise_multiplier  auto: the releases, lost rounds included, cost a tenth of the study's Renyi budget
 *     noise_probe       auto: a quarter of the weights, rounded up, at most 4096
 *     allowance_rounds  auto: one in twenty rounds, at least one
 *     noise_multiplier  auto: the least one whose (rounds + allowance) * local_steps steps fit epsilon
 *     seed              auto: the first 8 bytes of the SHA-256 of the study's text
 */
#include "base/config.h"
#include "base/file.h"
#include "base/nearest.h"
#include "crypto/hash.h"
#include "privacy/budget.h"
#include "privacy/decimal.h"
#include "train/counts.h"
#include "train/model.h"
#include "train/plan.h"
#include "train/plan_check.h"
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct study {
    char name[64], classes[1200], hospitals[3500], shape[32], architecture[512], pretrained[512], strategy[32],
        average[32], declared[3500];
    int labels, optimiser, schedule;
    int64_t seed, count, local_steps, quorum, deadline_s, slot_ms, clip_units, augmentations, shift, allowance_rounds,
        noise_probe, metrics_every, bins;
    nn_decimal local_rate, server_rate, momentum, weight_decay;
    nn_decimal epsilon, delta, sampling_rate, noise_multiplier, clip_norm, metrics_noise;
    char what[64];
    bool mirror;
} study;

/* clang-format off */
#define AT(member) offsetof(study, member), sizeof(((study *)0)->member)
static const fl_config_row rows[] = {
    {"study", "name", FL_CONFIG_TEXT, AT(name), 1, 63, NULL, NULL, "the study's name: letters, digits, . _ -", false},
    {"study", "labels", FL_CONFIG_CHOICE, AT(labels), 0, 0, "single", "single|multi", "how many classes an image has", false},
    {"study", "classes", FL_CONFIG_TEXT, AT(classes), 1, 1199, NULL, NULL, "names of labels 0, 1, ..., separated by commas", false},
    {"study", "hospitals", FL_CONFIG_TEXT, AT(hospitals), 1, 3499, "all", NULL, "all that are enrolled, or names separated by commas", false},
    {"study", "seed", FL_CONFIG_INT, AT(seed), 0, 9e15, "auto", NULL, "public: initial weights and augmentation", true},
    {"input", "shape", FL_CONFIG_TEXT, AT(shape), 1, 31, NULL, NULL, "channels x height x width of the model's input", false},
    {"model", "architecture", FL_CONFIG_TEXT, AT(architecture), 1, 511, NULL, NULL, "a named architecture, or file:PATH with the layers", false},
    {"model", "pretrained", FL_CONFIG_TEXT, AT(pretrained), 0, 511, "", NULL, "not supported yet", false},
    {"rounds", "count", FL_CONFIG_INT, AT(count), 1, 100000, NULL, NULL, "rounds", false},
    {"rounds", "local_steps", FL_CONFIG_INT, AT(local_steps), 1, 1000, "1", NULL, "noised steps in a round", false},
    {"rounds", "quorum", FL_CONFIG_INT, AT(quorum), 1, 256, "1", NULL, "hospitals without which a round does not end", false},
    {"rounds", "deadline_s", FL_CONFIG_INT, AT(deadline_s), 1, 604800, "3600", NULL, "seconds after which a round ends with those who are there", false},
    {"rounds", "slot_ms", FL_CONFIG_INT, AT(slot_ms), 1, 86400000, "auto", NULL, "updates leave at whole multiples of so many milliseconds after the announce, so that their time tells nothing; auto: a tenth of the deadline", true},
    {"rounds", "strategy", FL_CONFIG_TEXT, AT(strategy), 1, 31, "fedavg", NULL, "fedavg", false},
    {"local", "learning_rate", FL_CONFIG_DECIMAL, AT(local_rate), 1e-9, 1e9, "1", NULL, "of the steps within a round", false},
    {"server", "optimiser", FL_CONFIG_CHOICE, AT(optimiser), 0, 0, "sgd", "sgd|momentum|adam", "what the coordinator does with the aggregate", false},
    {"server", "learning_rate", FL_CONFIG_DECIMAL, AT(server_rate), 1e-9, 1e9, "1", NULL, "times the local one", false},
    {"server", "momentum", FL_CONFIG_DECIMAL, AT(momentum), 0, 0.9999, "0.9", NULL, "for optimiser = momentum", false},
    {"server", "weight_decay", FL_CONFIG_DECIMAL, AT(weight_decay), 0, 1, "0", NULL, "shrinks the weights each round, times the learning rate", false},
    {"server", "schedule", FL_CONFIG_CHOICE, AT(schedule), 0, 0, "constant", "constant|cosine", "of the learning rate", false},
    {"server", "average", FL_CONFIG_TEXT, AT(average), 1, 31, "none", NULL, "none, ema:DECAY or tail:FRACTION of the rounds", false},
    {"privacy", "epsilon", FL_CONFIG_DECIMAL, AT(epsilon), 1e-6, 1000, NULL, NULL, "for each patient, over the whole study", false},
    {"privacy", "delta", FL_CONFIG_TEXT, AT(delta), 1, 23, NULL, NULL, "far below one over the number of patients, for example 1e-5", false},
    {"privacy", "sampling_rate", FL_CONFIG_DECIMAL, AT(sampling_rate), 0, 1, NULL, NULL, "chance of each patient to be in a step", false},
    {"privacy", "noise_multiplier", FL_CONFIG_DECIMAL, AT(noise_multiplier), 0.05, 1000, "auto", NULL, "noise over clip_norm; auto: solved from epsilon", true},
    {"privacy", "clip_norm", FL_CONFIG_DECIMAL, AT(clip_norm), 1e-9, 1e9, "auto", NULL, "longest gradient of one patient", true},
    {"privacy", "clip_units", FL_CONFIG_INT, AT(clip_units), 1, 1 << 30, "auto", NULL, "clip_norm in steps of the grid", true},
    {"privacy", "augmentations", FL_CONFIG_INT, AT(augmentations), 1, 64, "1", NULL, "images made of each image in a step", false},
    {"privacy", "mirror", FL_CONFIG_BOOL, AT(mirror), 0, 0, "no", NULL, "they may be mirrored left and right", false},
    {"privacy", "shift", FL_CONFIG_INT, AT(shift), 0, 64, "0", NULL, "and shifted by up to so many pixels", false},
    {"privacy", "allowance_rounds", FL_CONFIG_INT, AT(allowance_rounds), 0, 100000, "auto", NULL, "burned rounds the noise leaves room for", true},
    {"metrics", "every", FL_CONFIG_INT, AT(metrics_every), 0, 100000, "0", NULL, "hospitals release noised counts in round 1, in every so manieth and in the last; 0: never", false},
    {"metrics", "what", FL_CONFIG_TEXT, AT(what), 1, 63, "histogram+classes", NULL, "of histogram (scores on the validation split: AUROC), classes (patients per class) and quality (images per patient, contrast), joined by +", false},
    {"metrics", "bins", FL_CONFIG_INT, AT(bins), 2, 64, "10", NULL, "of a score histogram: more are finer and hold more noise", false},
    {"metrics", "noise_multiplier", FL_CONFIG_DECIMAL, AT(metrics_noise), 3, 1000, "auto", NULL, "noise on each count; auto: what a tenth of the study's budget buys, at least 3", true},
    {"simulation", "declared", FL_CONFIG_TEXT, AT(declared), 0, 3499, "", NULL, "cordon-sim alone: patients that each hospital's policy would declare, NAME:COUNT with commas; a real hospital types its own into policy.ini", false},
    {"privacy", "noise_probe", FL_CONFIG_INT, AT(noise_probe), 0, 1 << 20, "auto", NULL, "integers of each update that hold noise alone, for auditors; auto: a quarter of the weights, at most 4096", true},
};
/* clang-format on */

void nn_study_sample(fl_buf *out)
{
    fl_config_sample(out, rows, sizeof rows / sizeof rows[0], NULL);
}

static fl_code wrong(fl_err *err, const char *name, const char *section, const char *key, const char *what)
{
    return fl_fail(err, FL_EFORMAT, "%s: [%s] %s: %s", name, section, key, what);
}

/* --- lists and small texts ------------------------------------------------------------------------------------- */

/* "a, b, c" -> n texts of `size` bytes each; false when one is empty or too long or there are more than max. */
static bool split_names(char *first, size_t size, uint32_t max, uint32_t *n, const char *list)
{
    *n = 0;
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        const char *end = at + length;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        const char *stop = end;
        while (stop > at && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if (*n == max || stop == at || (size_t)(stop - at) >= size)
            return false;
        memset(first + *n * size, 0, size);
        memcpy(first + *n * size, at, (size_t)(stop - at));
        (*n)++;
        if (*end == '\0')
            return true;
        at = end;
    }
}

/* "1x64x64": three numbers of at most 4 digits, nothing else */
static bool split_shape(uint32_t out[3], const char *text)
{
    for (int i = 0; i < 3; i++) {
        size_t digits = strspn(text, "0123456789");
        if (digits == 0 || digits > 4 || text[digits] != (i < 2 ? 'x' : '\0'))
            return false;
        out[i] = (uint32_t)strtoul(text, NULL, 10);
        text += digits + 1;
    }
    return true;
}

static fl_code set_average(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    const char *colon = strchr(s->average, ':');
    size_t n = colon ? (size_t)(colon - s->average) : strlen(s->average);
    if (!colon && strcmp(s->average, "none") == 0)
        return FL_OK;
    if (colon && n == 3 && strncmp(s->average, "ema", n) == 0)
        p->average = NN_AVERAGE_EMA;
    else if (colon && n == 4 && strncmp(s->average, "tail", n) == 0)
        p->average = NN_AVERAGE_TAIL;
    else
        return wrong(err, name, "server", "average", "expected none, ema:DECAY or tail:FRACTION");
    if (!dp_decimal_value(&p->average_value, colon + 1) || p->average_value > 1 || p->average_value <= 0)
        return wrong(err, name, "server", "average", "what follows the colon is not a number above 0 and at most 1");
    return FL_OK;
}

/* The same number in the plan's form: no exponent, no needless zeros. */
static fl_code plain_decimal(nn_decimal out, const char *text, const char *name, const char *key, fl_err *err)
{
    dp_decimal d;
    char plain[DP_DECIMAL_TEXT];
    if (!dp_decimal_parse(&d, text))
        return wrong(err, name, "privacy", key, "is not a decimal number with at most 19 digits");
    dp_decimal_text(plain, &d);
    if (strlen(plain) >= sizeof(nn_decimal))
        return wrong(err, name, "privacy", key, "has too many digits");
    memset(out, 0, sizeof(nn_decimal));
    memcpy(out, plain, strlen(plain));
    return FL_OK;
}

/* --- parts ----------------------------------------------------------------------------------------------------- */

static fl_code refuse_unsupported(const study *s, const char *name, fl_err *err)
{
    if (s->labels != 0)
        return wrong(err, name, "study", "labels", "multi is not supported yet: use single, one class for each image");
    if (s->pretrained[0])
        return wrong(err, name, "model", "pretrained",
                     "is not supported yet: leave it out, training starts from the seed");
    if (strcmp(s->strategy, "fedavg") != 0)
        return fl_fail(err, FL_EFORMAT, "%s: [rounds] strategy: %s is not supported: use fedavg", name, s->strategy);
    if (s->optimiser > 1)
        return wrong(err, name, "server", "optimiser", "adam is not supported yet: use sgd or momentum");
    return FL_OK;
}

static fl_code set_names(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    if (!nn_plan_is_name(s->name, 63))
        return wrong(err, name, "study", "name", "expected letters, digits and . _ - only");
    memcpy(p->name, s->name, sizeof p->name);
    if (!split_names(p->classes[0], sizeof p->classes[0], NN_PLAN_MAX_CLASSES, &p->n_classes, s->classes) ||
        p->n_classes < 2)
        return wrong(err, name, "study", "classes",
                     "expected 2 to 32 names of at most 31 letters, separated by commas");
    if (strcmp(s->hospitals, "all") == 0)
        return FL_OK;
    if (!split_names(p->sites[0], sizeof p->sites[0], NN_PLAN_MAX_SITES, &p->n_sites, s->hospitals))
        return wrong(err, name, "study", "hospitals",
                     "expected all, or names of at most 63 letters, separated by commas");
    return FL_OK;
}

static fl_code read_spec(nn_plan *p, const study *s, const char *name, const char *path_dir, fl_err *err)
{
    char path[FL_PATH_MAX];
    const char *file = s->architecture + strlen("file:");
    fl_buf text;
    if (strlen(path_dir) + strlen(file) + 2 > sizeof path || *file == '\0')
        return wrong(err, name, "model", "architecture", "the path is empty or too long");
    fl_buf_init(&text, sizeof p->spec - 1);
    fl_code rc = fl_file_read(&text, *file == '/' ? file : fl_path(path, path_dir, file), err);
    if (rc != FL_OK)
        fl_fail_in(err, "%s: [model] architecture", name);
    else if (strlen(fl_buf_text(&text)) != text.size || !nn_plan_is_text(fl_buf_text(&text), true))
        rc = wrong(err, name, "model", "architecture", "the file is empty or not plain text");
    else
        memcpy(p->spec, text.bytes, text.size);
    fl_buf_fini(&text);
    const char *last = strrchr(file, '/');
    if (rc == FL_OK && (size_t)snprintf(p->architecture, sizeof p->architecture, "file:%s", last ? last + 1 : file) >=
                           sizeof p->architecture)
        rc = wrong(err, name, "model", "architecture", "the name of the file is too long");
    return rc;
}

static fl_code fail_architecture(const study *s, const char *name, fl_err *err)
{
    fl_nearest n = {.word = s->architecture};
    for (size_t i = 0; nn_architecture_name(i); i++)
        fl_nearest_try(&n, nn_architecture_name(i));
    const char *best = fl_nearest_best(&n);
    return fl_fail(err, FL_EFORMAT, "%s: [model] architecture: %.60s is not supported: use %s or file:PATH%s%s%s", name,
                   s->architecture, nn_architecture_names, best ? ": did you mean " : "", best ? best : "",
                   best ? "?" : "");
}

static fl_code set_model(nn_plan *p, const study *s, const char *name, const char *path_dir, fl_err *err)
{
    uint32_t shape[3];
    if (!split_shape(shape, s->shape) || (shape[0] != 1 && shape[0] != 3) || shape[1] < 8 || shape[1] > 1024 ||
        shape[2] < 8 || shape[2] > 1024)
        return wrong(err, name, "input", "shape", "expected CxHxW with 1 or 3 channels and 8 to 1024 pixels a side");
    p->channels = shape[0], p->height = shape[1], p->width = shape[2];
    const char *spec = nn_architecture(s->architecture);
    if (spec) {
        snprintf(p->architecture, sizeof p->architecture, "%.63s", s->architecture);
        snprintf(p->spec, sizeof p->spec, "%s", spec);
    } else if (strncmp(s->architecture, "file:", 5) != 0) {
        return fail_architecture(s, name, err);
    } else {
        fl_code rc = read_spec(p, s, name, path_dir, err);
        if (rc != FL_OK)
            return rc;
    }
    nn_model *m;
    fl_code rc = nn_model_create(&m, p->spec, p->channels, p->height, p->width, p->n_classes, err);
    if (rc != FL_OK)
        return fl_fail_in(err, "%s: [model] architecture", name);
    p->n_weights = (uint32_t)nn_model_n_weights(m);
    nn_model_destroy(m);
    return FL_OK;
}

static double value_of(const char *text)
{
    double value = 0;
    return dp_decimal_value(&value, text) ? value : NAN;
}

static fl_code set_training(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    p->rounds = (uint32_t)s->count;
    p->local_steps = (uint32_t)s->local_steps;
    p->quorum = (uint32_t)s->quorum;
    p->deadline_s = (uint32_t)s->deadline_s;
    p->slot_ms = s->slot_ms == INT64_MIN ? p->deadline_s * 100 : (uint32_t)s->slot_ms;
    p->local_learning_rate = value_of(s->local_rate);
    p->server = s->optimiser == 1 ? NN_SERVER_MOMENTUM : NN_SERVER_SGD;
    p->server_learning_rate = value_of(s->server_rate);
    p->server_momentum = p->server == NN_SERVER_MOMENTUM ? value_of(s->momentum) : 0;
    p->server_weight_decay = value_of(s->weight_decay);
    p->schedule = s->schedule == 1 ? NN_SCHEDULE_COSINE : NN_SCHEDULE_CONSTANT;
    p->augmentations = (uint32_t)s->augmentations;
    p->mirror = s->mirror;
    p->shift = (uint32_t)s->shift;
    if (p->augmentations > 1 && !p->mirror && p->shift == 0)
        return wrong(err, name, "privacy", "augmentations",
                     "without mirror and shift they would all be the same image");
    if (p->n_sites > 0 && p->quorum > p->n_sites)
        return wrong(err, name, "rounds", "quorum", "is larger than the number of hospitals");
    return set_average(p, s, name, err);
}

static fl_code take_micro(uint64_t *micro, const char *text, const char *name, const char *section, fl_err *err)
{
    if (!dp_micro_parse(micro, text) || *micro == 0 || *micro > UINT32_MAX)
        return wrong(err, name, section, "noise_multiplier", "expected auto, or a number with at most 6 decimals");
    return FL_OK;
}

/* Noised counts of all rounds that may release some, lost ones included: each may have to be repeated. */
static uint64_t metrics_releases(const nn_plan *p)
{
    if (p->metrics_every == 0)
        return 0;
    return (uint64_t)nn_counts_partitions(p) * (nn_counts_rounds(p, 0) + p->allowance_rounds);
}

static fl_code set_what(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    char what[64];
    p->metrics_histogram = strstr(s->what, "histogram") != NULL;
    p->metrics_classes = strstr(s->what, "classes") != NULL;
    p->metrics_quality = strstr(s->what, "quality") != NULL;
    nn_counts_what(what, p);
    if (strcmp(what, s->what) != 0 || what[0] == 0)
        return wrong(err, name, "metrics", "what",
                     "expected some of histogram, classes and quality, in this order, joined by +");
    return FL_OK;
}

/* Metrics and training share the budget. Which order serves best is known only afterwards; the tenth is taken at the
 * one that would serve the training alone. */
static fl_code set_metrics(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    uint64_t micro = 0;
    char text[DP_MICRO_TEXT];
    snprintf(p->metrics_noise_multiplier, sizeof p->metrics_noise_multiplier, "%s", p->probe > 0 ? "0" : "");
    if (s->metrics_every == 0)
        return FL_OK;
    p->metrics_every = (uint32_t)s->metrics_every;
    p->metrics_bins = (uint32_t)s->bins;
    FL_TRY(set_what(p, s, name, err));
    if (strcmp(s->metrics_noise, "auto") == 0) {
        dp_filter filter;
        unsigned order;
        const uint64_t steps = (uint64_t)(p->rounds + p->allowance_rounds) * p->local_steps;
        fl_code rc = dp_order_for(&order, value_of(p->epsilon), value_of(p->delta), p->rate, steps, err);
        if (rc == FL_OK)
            rc = dp_filter_init(&filter, value_of(p->epsilon), value_of(p->delta), order, 1, err);
        if (rc != FL_OK)
            return fl_fail_in(err, "%s: [metrics] noise_multiplier", name);
        const double sigma = sqrt((double)metrics_releases(p) * order / (2 * filter.cap / 10));
        micro = (uint64_t)ceil(fmin(fmax(sigma, 3), 1000) * 1e6);
    } else {
        FL_TRY(take_micro(&micro, s->metrics_noise, name, "metrics", err));
    }
    dp_micro_text(text, micro);
    snprintf(p->metrics_noise_multiplier, sizeof p->metrics_noise_multiplier, "%s", text);
    p->metrics_noise_variance = dp_variance_for((uint32_t)micro, 1);
    return FL_OK;
}

static fl_code solve_noise(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    const double epsilon = value_of(p->epsilon), delta = value_of(p->delta);
    const uint64_t releases = metrics_releases(p);
    const uint64_t beside = releases ? dp_multiplier_micro(p->metrics_noise_variance, 1) : 0;
    uint64_t micro = 0, rounds = p->rounds + p->allowance_rounds;
    uint32_t solved = 0;
    unsigned order = 0;
    if (strcmp(s->noise_multiplier, "auto") != 0) {
        FL_TRY(take_micro(&micro, s->noise_multiplier, name, "privacy", err));
        rounds = p->rounds;
    }
    fl_code rc = dp_solve_noise_beside(&solved, &order, epsilon, delta, p->rate, rounds * p->local_steps, beside,
                                       releases, err);
    if (rc != FL_OK)
        return fl_fail_in(err, "%s: [privacy] noise_multiplier", name);
    if (micro == 0)
        micro = solved;
    char text[DP_MICRO_TEXT];
    dp_micro_text(text, micro);
    snprintf(p->noise_multiplier, sizeof p->noise_multiplier, "%s", text);
    p->renyi_order = order;
    p->noise_variance = dp_variance_for((uint32_t)micro, p->clip_units);
    if (p->noise_variance == 0)
        return wrong(err, name, "privacy", "clip_units", "is too large for this noise: the variance passes 2^56");
    return FL_OK;
}

static fl_code set_privacy(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    fl_code rc = plain_decimal(p->epsilon, s->epsilon, name, "epsilon", err);
    if (rc == FL_OK)
        rc = plain_decimal(p->delta, s->delta, name, "delta", err);
    if (rc == FL_OK)
        rc = plain_decimal(p->sampling_rate, s->sampling_rate, name, "sampling_rate", err);
    if (rc == FL_OK)
        rc = plain_decimal(p->clip_norm, strcmp(s->clip_norm, "auto") == 0 ? "0.2" : s->clip_norm, name, "clip_norm",
                           err);
    if (rc != FL_OK)
        return rc;
    rc = dp_rate_parse(&p->rate, p->sampling_rate, err);
    if (rc != FL_OK)
        return fl_fail_in(err, "%s: [privacy] sampling_rate", name);
    p->is_private = true;
    p->clip_units = 1;
    while (p->clip_units < 64 * sqrt((double)p->n_weights))
        p->clip_units *= 2;
    if (s->clip_units != INT64_MIN)
        p->clip_units = (uint32_t)s->clip_units;
    p->allowance_rounds = p->rounds / 20 > 1 ? p->rounds / 20 : 1;
    if (s->allowance_rounds != INT64_MIN)
        p->allowance_rounds = (uint32_t)s->allowance_rounds;
    p->probe = p->n_weights / 4 < 4096 ? (p->n_weights + 3) / 4 : 4096;
    if (s->noise_probe != INT64_MIN)
        p->probe = (uint32_t)s->noise_probe;
    rc = set_metrics(p, s, name, err);
    if (rc == FL_OK)
        rc = solve_noise(p, s, name, err);
    p->update_bits = nn_plan_update_bits(p);
    return rc;
}

static uint64_t seed_of(const study *s, const char *text)
{
    if (s->seed != INT64_MIN)
        return (uint64_t)s->seed;
    fl_hash h = fl_sha256(text, strlen(text));
    uint64_t seed = 0;
    for (int i = 0; i < 8; i++)
        seed = seed << 8 | h.bytes[i];
    return seed;
}

fl_code nn_plan_from_study(nn_plan *plan, const char *text, const char *name, const char *path_dir, fl_err *err)
{
    fl_err unread;
    err = err ? err : &unread; /* messages are built in steps */
    memset(plan, 0, sizeof *plan);
    study *s = calloc(1, sizeof *s);
    if (!s)
        return fl_fail(err, FL_EENV, "%s: out of memory", name);
    fl_code rc = fl_config_parse(s, rows, sizeof rows / sizeof rows[0], text, name, err);
    if (rc == FL_OK)
        rc = refuse_unsupported(s, name, err);
    if (rc == FL_OK)
        rc = set_names(plan, s, name, err);
    if (rc == FL_OK)
        rc = set_model(plan, s, name, path_dir, err);
    if (rc == FL_OK)
        rc = set_training(plan, s, name, err);
    if (rc == FL_OK)
        rc = set_privacy(plan, s, name, err);
    plan->seed = seed_of(s, text);
    free(s);
    if (rc != FL_OK)
        return rc;
    rc = nn_plan_check(plan, err);
    if (rc != FL_OK)
        return fl_fail_in(err, "%s", name);
    return nn_plan_seal(plan, err);
}

/* --- the simulator's own ---------------------------------------------------------------------------------------- */

fl_code nn_study_declared(nn_declared list[NN_PLAN_MAX_SITES], uint32_t *n, const char *text, const char *name,
                          fl_err *err)
{
    static const char what[] = "expected NAME:COUNT, NAME:COUNT, ... with counts of 1 to 1000000000";
    study *s = calloc(1, sizeof *s);
    if (!s)
        return fl_fail(err, FL_EENV, "%s: out of memory", name);
    fl_code rc = fl_config_parse(s, rows, sizeof rows / sizeof rows[0], text, name, err);
    char(*words)[80] = calloc(NN_PLAN_MAX_SITES, sizeof *words);
    *n = 0;
    if (rc == FL_OK && !words)
        rc = fl_fail(err, FL_EENV, "%s: out of memory", name);
    if (rc == FL_OK && s->declared[0] && !split_names(words[0], sizeof words[0], NN_PLAN_MAX_SITES, n, s->declared))
        rc = wrong(err, name, "simulation", "declared", what);
    for (uint32_t i = 0; i < *n && rc == FL_OK; i++) {
        char *colon = strchr(words[i], ':'), *end = NULL;
        if (colon)
            *colon = 0;
        list[i].patients = colon && colon[1] >= '1' && colon[1] <= '9' ? strtoull(colon + 1, &end, 10) : 0;
        if (!nn_plan_is_name(words[i], 63) || !end || *end || list[i].patients > 1000000000)
            rc = wrong(err, name, "simulation", "declared", what);
        else
            memcpy(list[i].hospital, words[i], sizeof list[i].hospital);
    }
    free(words);
    free(s);
    return rc;
}
