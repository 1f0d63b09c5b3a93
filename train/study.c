/*
 * A study: the INI a consortium writes, and how each `auto` in it becomes a number of the plan.
 *
 *     clip_norm         auto: 0.2, a public constant
 *     clip_units        auto: the next power of two at or above 64 sqrt(learned weights)
 *     [metrics] noise_multiplier  auto: the releases, lost rounds included, cost a tenth of the study's Renyi budget
 *     noise_probe       auto: a quarter of what is learned, rounded up, at most 4096; phases have theirs by the same rule
 *     allowance_rounds  auto: one in twenty rounds, at least one
 *     noise_multiplier  auto: the least one whose (rounds + allowance) * local_steps steps fit what metrics and phases leave of
 *                       epsilon. Phases may lose rounds too, one in twenty and at least one, unless the allowance is 0
 *     loss              auto: softmax with single labels, binary with multi
 *     seed              auto: the first 8 bytes of the SHA-256 of the study's text
 *
 * A section [phase NAME] is a phase before the main part, which the ordinary sections describe; they run in the order in
 * which they stand. What such a section leaves out has the default that its table says, except sampling_rate, which is that
 * of [privacy].
 */
#include "base/config.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/nearest.h"
#include "crypto/hash.h"
#include "privacy/budget.h"
#include "privacy/decimal.h"
#include "train/counts.h"
#include "train/model.h"
#include "train/plan.h"
#include "train/plan_check.h"
#include "train/pretrained.h"
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PHASES = NN_PLAN_MAX_PHASES - 1 };

typedef struct study_phase {
    char name[32], section[48];
    char learn[NN_PLAN_MAX_LEARN], loss[48], schedule[48], average[32];
    int optimiser, clipping;
    int64_t warmup, rounds, local_steps, clip_units, augmentations, shift;
    nn_decimal local_rate, server_rate, momentum, weight_decay, sampling_rate, noise_multiplier, clip_norm;
    bool mirror;
} study_phase;

typedef struct study {
    char name[64], classes[1200], hospitals[3500], shape[32], architecture[512], pretrained[512], strategy[32],
        schedule[48], average[32], declared[3500];
    char learn[NN_PLAN_MAX_LEARN], class_weights[512];
    int labels, optimiser, loss, clipping, channels;
    int64_t patients, warmup;
    int64_t seed, count, local_steps, quorum, deadline_s, slot_ms, clip_units, augmentations, shift, allowance_rounds,
        noise_probe, metrics_every, bins;
    nn_decimal local_rate, server_rate, momentum, weight_decay;
    nn_decimal epsilon, delta, sampling_rate, noise_multiplier, clip_norm, metrics_noise;
    char what[64];
    bool mirror, simulates_privacy;
    uint32_t n_phases;
    study_phase phases[PHASES];
} study;

/* clang-format off */
#define AT(member) offsetof(study, member), sizeof(((study *)0)->member)
static const fl_config_row rows[] = {
    {"study", "name", FL_CONFIG_TEXT, AT(name), 1, 63, NULL, NULL, "the study's name: letters, digits, . _ -", false},
    {"study", "labels", FL_CONFIG_CHOICE, AT(labels), 0, 0, "single", "single|multi", "how many classes an image has", false},
    {"study", "classes", FL_CONFIG_TEXT, AT(classes), 1, 1199, NULL, NULL, "names of labels 0, 1, ..., separated by commas", false},
    {"study", "patients", FL_CONFIG_INT, AT(patients), 0, 1e9, "0", NULL, "about how many all hospitals have together, so that a study without a chance is noticed before it starts; 0: not known", false},
    {"study", "hospitals", FL_CONFIG_TEXT, AT(hospitals), 1, 3499, "all", NULL, "all that are enrolled, or names separated by commas", false},
    {"study", "seed", FL_CONFIG_INT, AT(seed), 0, 9e15, "auto", NULL, "public: initial weights and augmentation", true},
    {"input", "shape", FL_CONFIG_TEXT, AT(shape), 1, 31, NULL, NULL, "channels x height x width of the model's input", false},
    {"model", "architecture", FL_CONFIG_TEXT, AT(architecture), 1, 511, NULL, NULL, "a named architecture, or file:PATH with the layers", false},
    {"model", "pretrained", FL_CONFIG_TEXT, AT(pretrained), 0, 511, "", NULL, "a safetensors file with weights to start from, PyTorch's names and layouts, beside the study", false},
    {"model", "pretrained_channels", FL_CONFIG_CHOICE, AT(channels), 0, 0, "sum", "sum|refuse", "when its first convolution reads three channels and the model's one: sum the kernels over the channels, as for a grey image in three equal ones, or refuse the file", false},
    {"model", "learn", FL_CONFIG_TEXT, AT(learn), 1, NN_PLAN_MAX_LEARN - 1, "all", NULL, "all, or the layers that are learned, separated by commas; the others keep the weights they start with", false},
    {"rounds", "count", FL_CONFIG_INT, AT(count), 1, 100000, NULL, NULL, "rounds", false},
    {"rounds", "local_steps", FL_CONFIG_INT, AT(local_steps), 1, 1000, "1", NULL, "noised steps in a round", false},
    {"rounds", "quorum", FL_CONFIG_INT, AT(quorum), 1, 256, "1", NULL, "hospitals without which a round does not end", false},
    {"rounds", "deadline_s", FL_CONFIG_INT, AT(deadline_s), 1, 604800, "3600", NULL, "seconds after which a round ends with those who are there", false},
    {"rounds", "slot_ms", FL_CONFIG_INT, AT(slot_ms), 1, 86400000, "auto", NULL, "updates leave at whole multiples of so many milliseconds after the announce, so that their time tells nothing; auto: a tenth of the deadline", true},
    {"rounds", "strategy", FL_CONFIG_TEXT, AT(strategy), 1, 31, "fedavg", NULL, "fedavg", false},
    {"local", "learning_rate", FL_CONFIG_DECIMAL, AT(local_rate), 1e-9, 1e9, "1", NULL, "of the steps within a round", false},
    {"local", "loss", FL_CONFIG_CHOICE, AT(loss), 0, 0, "auto", "auto|softmax|binary", "auto: softmax with labels = single, binary with multi", false},
    {"local", "class_weights", FL_CONFIG_TEXT, AT(class_weights), 0, 511, "", NULL, "a factor of the loss for each class, separated by commas; public, never counted from images", false},
    {"server", "optimiser", FL_CONFIG_CHOICE, AT(optimiser), 0, 0, "sgd", "sgd|momentum|adam", "what the coordinator does with the aggregate", false},
    {"server", "learning_rate", FL_CONFIG_DECIMAL, AT(server_rate), 1e-9, 1e9, "1", NULL, "times the local one", false},
    {"server", "momentum", FL_CONFIG_DECIMAL, AT(momentum), 0, 0.9999, "0.9", NULL, "of optimiser = momentum, and the first moment's of adam", false},
    {"server", "weight_decay", FL_CONFIG_DECIMAL, AT(weight_decay), 0, 1, "0", NULL, "shrinks the weights each round, times the learning rate", false},
    {"server", "schedule", FL_CONFIG_TEXT, AT(schedule), 1, 47, "constant", NULL, "of the learning rate: constant, cosine (down to 0), or step:EVERY:FACTOR, times FACTOR after every so many rounds", false},
    {"server", "warmup_rounds", FL_CONFIG_INT, AT(warmup), 0, 99999, "0", NULL, "rounds in which the learning rate rises to its value in a line; the schedule begins after them", false},
    {"server", "average", FL_CONFIG_TEXT, AT(average), 1, 31, "none", NULL, "none, ema:DECAY or tail:FRACTION of the rounds", false},
    {"privacy", "epsilon", FL_CONFIG_DECIMAL, AT(epsilon), 1e-6, 1000, NULL, NULL, "for each patient, over the whole study", false},
    {"privacy", "delta", FL_CONFIG_TEXT, AT(delta), 1, 23, NULL, NULL, "far below one over the number of patients, for example 1e-5", false},
    {"privacy", "sampling_rate", FL_CONFIG_DECIMAL, AT(sampling_rate), 0, 1, NULL, NULL, "chance of each patient to be in a step", false},
    {"privacy", "noise_multiplier", FL_CONFIG_DECIMAL, AT(noise_multiplier), 0.05, 1000, "auto", NULL, "noise over clip_norm; auto: solved from epsilon", true},
    {"privacy", "clip_norm", FL_CONFIG_DECIMAL, AT(clip_norm), 1e-9, 1e9, "auto", NULL, "longest gradient of one patient", true},
    {"privacy", "clipping", FL_CONFIG_CHOICE, AT(clipping), 0, 0, "flat", "flat|automatic", "flat: longer gradients are shortened to clip_norm; automatic: all have about that length", false},
    {"privacy", "clip_units", FL_CONFIG_INT, AT(clip_units), 1, 1 << 30, "auto", NULL, "clip_norm in steps of the grid", true},
    {"privacy", "augmentations", FL_CONFIG_INT, AT(augmentations), 1, 64, "1", NULL, "images made of each image in a step", false},
    {"privacy", "mirror", FL_CONFIG_BOOL, AT(mirror), 0, 0, "no", NULL, "they may be mirrored left and right", false},
    {"privacy", "shift", FL_CONFIG_INT, AT(shift), 0, 64, "0", NULL, "and shifted by up to so many pixels", false},
    {"privacy", "allowance_rounds", FL_CONFIG_INT, AT(allowance_rounds), 0, 100000, "auto", NULL, "burned rounds the noise leaves room for", true},
    {"metrics", "every", FL_CONFIG_INT, AT(metrics_every), 0, 100000, "0", NULL, "hospitals release noised counts in round 1, in every so manieth and in the last; 0: never", false},
    {"metrics", "what", FL_CONFIG_TEXT, AT(what), 1, 63, "histogram+classes", NULL, "of histogram (scores on the validation split: AUROC), classes (patients per class) and quality (images per patient, contrast), joined by +", false},
    {"metrics", "bins", FL_CONFIG_INT, AT(bins), 2, 64, "10", NULL, "of a score histogram: more are finer and hold more noise", false},
    {"metrics", "noise_multiplier", FL_CONFIG_DECIMAL, AT(metrics_noise), 3, 1000, "auto", NULL, "noise on each count; auto: what a tenth of the study's budget buys, at least 3", true},
    {"simulation", "privacy", FL_CONFIG_BOOL, AT(simulates_privacy), 0, 0, "yes", NULL, "cordon-sim alone; no: neither noise nor ledgers, for comparison. A coordinator refuses such a study", false},
    {"simulation", "declared", FL_CONFIG_TEXT, AT(declared), 0, 3499, "", NULL, "cordon-sim alone: patients that each hospital's policy would declare, NAME:COUNT with commas; a real hospital types its own into policy.ini", false},
    {"privacy", "noise_probe", FL_CONFIG_INT, AT(noise_probe), 0, 1 << 20, "auto", NULL, "integers of each update that hold noise alone, for auditors; auto: a quarter of the weights, at most 4096", true},
};
/* clang-format on */

/* clang-format off */
#define IN(member) offsetof(study_phase, member), sizeof(((study_phase *)0)->member)
static const fl_config_row phase_rows[] = {
    {"phase NAME", "rounds", FL_CONFIG_INT, IN(rounds), 1, 100000, "1", NULL, "rounds of this phase, before those of [rounds] count", false},
    {"phase NAME", "local_steps", FL_CONFIG_INT, IN(local_steps), 1, 1000, "1", NULL, "noised steps in a round", false},
    {"phase NAME", "learn", FL_CONFIG_TEXT, IN(learn), 1, NN_PLAN_MAX_LEARN - 1, NULL, NULL, "the layers that this phase learns, separated by commas, or all", false},
    {"phase NAME", "loss", FL_CONFIG_TEXT, IN(loss), 1, 47, "auto", NULL, "auto (that of the labels), softmax, binary, or squares:LAYER, half the squared length of that layer's output", false},
    {"phase NAME", "sampling_rate", FL_CONFIG_DECIMAL, IN(sampling_rate), 0, 1, "auto", NULL, "auto: that of [privacy]", true},
    {"phase NAME", "noise_multiplier", FL_CONFIG_DECIMAL, IN(noise_multiplier), 0.05, 1000, NULL, NULL, "noise over clip_norm: what this phase takes of epsilon", false},
    {"phase NAME", "clip_norm", FL_CONFIG_DECIMAL, IN(clip_norm), 1e-9, 1e9, NULL, NULL, "longest gradient of one patient", false},
    {"phase NAME", "clip_units", FL_CONFIG_INT, IN(clip_units), 1, 1 << 30, "auto", NULL, "clip_norm in steps of the grid", true},
    {"phase NAME", "clipping", FL_CONFIG_CHOICE, IN(clipping), 0, 0, "flat", "flat|automatic", "as in [privacy]", false},
    {"phase NAME", "augmentations", FL_CONFIG_INT, IN(augmentations), 1, 64, "1", NULL, "images made of each image in a step", false},
    {"phase NAME", "mirror", FL_CONFIG_BOOL, IN(mirror), 0, 0, "no", NULL, "they may be mirrored left and right", false},
    {"phase NAME", "shift", FL_CONFIG_INT, IN(shift), 0, 64, "0", NULL, "and shifted by up to so many pixels", false},
    {"phase NAME", "local_learning_rate", FL_CONFIG_DECIMAL, IN(local_rate), 1e-9, 1e9, "1", NULL, "of the steps within a round", false},
    {"phase NAME", "learning_rate", FL_CONFIG_DECIMAL, IN(server_rate), 1e-9, 1e9, "1", NULL, "of the server, times the local one", false},
    {"phase NAME", "optimiser", FL_CONFIG_CHOICE, IN(optimiser), 0, 0, "sgd", "sgd|momentum|adam", "of the server, as in [server]", false},
    {"phase NAME", "momentum", FL_CONFIG_DECIMAL, IN(momentum), 0, 0.9999, "0.9", NULL, "as in [server]", false},
    {"phase NAME", "weight_decay", FL_CONFIG_DECIMAL, IN(weight_decay), 0, 1, "0", NULL, "as in [server]", false},
    {"phase NAME", "schedule", FL_CONFIG_TEXT, IN(schedule), 1, 47, "constant", NULL, "as in [server], over the rounds of this phase", false},
    {"phase NAME", "warmup_rounds", FL_CONFIG_INT, IN(warmup), 0, 99999, "0", NULL, "as in [server], of the rounds of this phase", false},
    {"phase NAME", "average", FL_CONFIG_TEXT, IN(average), 1, 31, "none", NULL, "as in [server]; the next phase starts from it", false},
};
/* clang-format on */

#define N_ROWS       (sizeof rows / sizeof rows[0])
#define N_PHASE_ROWS (sizeof phase_rows / sizeof phase_rows[0])

void nn_study_sample(fl_buf *out)
{
    fl_config_sample(out, rows, N_ROWS, NULL);
    fl_buf_add_text(
        out, "\n# Before the rounds above there may be phases of their own, such as one that learns a centring:\n\n");
    fl_config_sample(out, phase_rows, N_PHASE_ROWS, NULL);
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

static fl_code parse_average(nn_average *kind, double *value, const char *text, const char *name, const char *section,
                             fl_err *err)
{
    const char *colon = strchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : strlen(text);
    if (!colon && strcmp(text, "none") == 0)
        return FL_OK;
    if (colon && n == 3 && strncmp(text, "ema", n) == 0)
        *kind = NN_AVERAGE_EMA;
    else if (colon && n == 4 && strncmp(text, "tail", n) == 0)
        *kind = NN_AVERAGE_TAIL;
    else
        return wrong(err, name, section, "average", "expected none, ema:DECAY or tail:FRACTION");
    if (!dp_decimal_value(value, colon + 1) || *value > 1 || *value <= 0)
        return wrong(err, name, section, "average", "what follows the colon is not a number above 0 and at most 1");
    return FL_OK;
}

/* "step:EVERY:FACTOR": whether they fit the rounds is the plan's to say. */
static bool split_step(nn_phase *phase, const char *text)
{
    static const char step[] = "step:";
    if (strncmp(text, step, strlen(step)) != 0)
        return false;
    const char *every = text + strlen(step);
    const size_t digits = strspn(every, "0123456789");
    phase->schedule = NN_SCHEDULE_STEP;
    phase->schedule_every = (uint32_t)strtoul(every, NULL, 10);
    return digits >= 1 && digits <= 6 && every[digits] == ':' &&
           dp_decimal_value(&phase->schedule_factor, every + digits + 1);
}

static fl_code parse_schedule(nn_phase *phase, const char *text, int64_t warmup, const char *name, const char *section,
                              fl_err *err)
{
    phase->warmup_rounds = (uint32_t)warmup;
    if (strcmp(text, "constant") == 0)
        phase->schedule = NN_SCHEDULE_CONSTANT;
    else if (strcmp(text, "cosine") == 0)
        phase->schedule = NN_SCHEDULE_COSINE;
    else if (!split_step(phase, text))
        return wrong(err, name, section, "schedule",
                     "expected constant, cosine or step:EVERY:FACTOR, for example step:20:0.5");
    return FL_OK;
}

/* The same number in the plan's form: no exponent, no needless zeros. */
static fl_code plain_decimal(nn_decimal out, const char *text, const char *name, const char *section, const char *key,
                             fl_err *err)
{
    dp_decimal d;
    char plain[DP_DECIMAL_TEXT];
    if (!dp_decimal_parse(&d, text))
        return wrong(err, name, section, key, "is not a decimal number with at most 19 digits");
    dp_decimal_text(plain, &d);
    if (strlen(plain) >= sizeof(nn_decimal))
        return wrong(err, name, section, key, "has too many digits");
    memset(out, 0, sizeof(nn_decimal));
    memcpy(out, plain, strlen(plain));
    return FL_OK;
}

/* --- parts ----------------------------------------------------------------------------------------------------- */

static fl_code refuse_unsupported(const study *s, const char *name, fl_err *err)
{
    if (strcmp(s->strategy, "fedavg") != 0)
        return fl_fail(err, FL_EFORMAT, "%s: [rounds] strategy: %s is not supported: use fedavg", name, s->strategy);
    if (s->loss > 0 && (s->loss == 2) != (s->labels == 1))
        return wrong(err, name, "local", "loss", "softmax is of labels = single, binary of labels = multi");
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

static fl_code pretrained_path(char path[FL_PATH_MAX], const study *s, const char *name, const char *path_dir,
                               fl_err *err)
{
    if (strlen(path_dir) + strlen(s->pretrained) + 2 > FL_PATH_MAX)
        return wrong(err, name, "model", "pretrained", "the path is too long");
    if (s->pretrained[0] == '/')
        snprintf(path, FL_PATH_MAX, "%s", s->pretrained);
    else
        fl_path(path, path_dir, s->pretrained);
    return FL_OK;
}

static fl_code set_model(nn_plan *p, nn_model **out, const study *s, const char *name, const char *path_dir,
                         fl_err *err)
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
    *out = m;
    return FL_OK;
}

/* The bytes are named by their hash; who runs the plan finds them by it. */
static fl_code set_initial(nn_plan *p, const study *s, const char *name, const char *path_dir, fl_err *err)
{
    char path[FL_PATH_MAX];
    fl_buf bytes;
    if (!s->pretrained[0])
        return s->channels == 0 ? FL_OK
                                : wrong(err, name, "model", "pretrained_channels", "there is no pretrained file");
    if (p->channels == 1) /* with three nothing is ever summed */
        p->pretrained_channels = (nn_channels)s->channels;
    FL_TRY(pretrained_path(path, s, name, path_dir, err));
    fl_buf_init(&bytes, NN_PRETRAINED_MAX_BYTES);
    fl_code rc = fl_file_read(&bytes, path, err);
    if (rc != FL_OK)
        fl_fail_in(err, "%s: [model] pretrained", name);
    else {
        const fl_hash hash = fl_sha256(bytes.bytes, bytes.size);
        fl_hex_encode(p->initial, hash.bytes, FL_HASH_SIZE);
    }
    fl_buf_fini(&bytes);
    return rc;
}

static double value_of(const char *text)
{
    double value = 0;
    return dp_decimal_value(&value, text) ? value : NAN;
}

static fl_code set_training(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    nn_phase *m = &p->phases[s->n_phases];
    p->rounds = (uint32_t)s->count;
    p->quorum = (uint32_t)s->quorum;
    p->deadline_s = (uint32_t)s->deadline_s;
    p->slot_ms = s->slot_ms == INT64_MIN ? p->deadline_s * 100 : (uint32_t)s->slot_ms;
    m->local_steps = (uint32_t)s->local_steps;
    m->local_learning_rate = value_of(s->local_rate);
    m->server = (nn_server_kind)s->optimiser;
    m->server_learning_rate = value_of(s->server_rate);
    m->server_momentum = m->server != NN_SERVER_SGD ? value_of(s->momentum) : 0;
    m->server_weight_decay = value_of(s->weight_decay);
    FL_TRY(parse_schedule(m, s->schedule, s->warmup, name, "server", err));
    m->augmentations = (uint32_t)s->augmentations;
    m->mirror = s->mirror;
    m->shift = (uint32_t)s->shift;
    if (m->augmentations > 1 && !m->mirror && m->shift == 0)
        return wrong(err, name, "privacy", "augmentations",
                     "without mirror and shift they would all be the same image");
    if (p->n_sites > 0 && p->quorum > p->n_sites)
        return wrong(err, name, "rounds", "quorum", "is larger than the number of hospitals");
    return parse_average(&m->average, &m->average_value, s->average, name, "server", err);
}

static fl_code set_labels(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    char texts[NN_PLAN_MAX_CLASSES][32];
    uint32_t n = 0;
    p->multi = s->labels == 1;
    p->patients = (uint64_t)s->patients;
    for (uint32_t i = 0; i < p->n_classes; i++)
        p->class_weights[i] = 1;
    if (!s->class_weights[0])
        return FL_OK;
    bool ok = split_names(texts[0], sizeof texts[0], NN_PLAN_MAX_CLASSES, &n, s->class_weights) && n == p->n_classes;
    bool any = false;
    for (uint32_t i = 0; ok && i < n; i++) {
        ok = dp_decimal_value(&p->class_weights[i], texts[i]);
        any |= p->class_weights[i] > 0;
    }
    return ok && any ? FL_OK
                     : wrong(err, name, "local", "class_weights",
                             "expected a number for each class, separated by commas, not all of them 0");
}

static fl_code take_micro(uint64_t *micro, const char *text, const char *name, const char *section, fl_err *err)
{
    if (!dp_micro_parse(micro, text) || *micro == 0 || *micro > UINT32_MAX)
        return wrong(err, name, section, "noise_multiplier", "expected auto, or a number with at most 6 decimals");
    return FL_OK;
}

/* --- phases ---------------------------------------------------------------------------------------------------- */

/* What a phase learns, and what follows from how much that is. */
static fl_code set_aim(nn_plan *p, nn_phase *phase, nn_model *m, int64_t clip_units, const study *s, fl_err *err)
{
    FL_TRY(nn_plan_aim(m, p, phase, err));
    phase->n_learned = (uint32_t)nn_model_n_learned(m);
    phase->clip_units = 1;
    while (phase->clip_units < 64 * sqrt((double)phase->n_learned))
        phase->clip_units *= 2;
    if (clip_units != INT64_MIN)
        phase->clip_units = (uint32_t)clip_units;
    phase->probe = phase->n_learned / 4 < 4096 ? (phase->n_learned + 3) / 4 : 4096;
    if (s->noise_probe != INT64_MIN)
        phase->probe = (uint32_t)s->noise_probe;
    return FL_OK;
}

static fl_code set_loss(nn_plan *p, nn_phase *phase, const study_phase *s, const char *name, fl_err *err)
{
    static const char *const words[] = {"softmax", "binary"};
    static const char squares[] = "squares:";
    phase->loss = p->multi ? NN_LOSS_BINARY : NN_LOSS_SOFTMAX;
    if (strncmp(s->loss, squares, strlen(squares)) == 0 && strlen(s->loss) > strlen(squares) &&
        strlen(s->loss) - strlen(squares) < sizeof phase->loss_at) {
        phase->loss = NN_LOSS_SQUARES;
        strcpy(phase->loss_at, s->loss + strlen(squares));
    } else if (strcmp(s->loss, "auto") != 0 && strcmp(s->loss, words[p->multi]) != 0) {
        return wrong(err, name, s->section, "loss",
                     "expected auto, squares:LAYER, or what the labels want: softmax if single, binary if multi");
    }
    return FL_OK;
}

static fl_code set_phase_noise(const nn_plan *p, nn_phase *phase, const study_phase *s, const char *name, fl_err *err)
{
    uint64_t micro;
    char text[DP_MICRO_TEXT];
    const char *rate = strcmp(s->sampling_rate, "auto") == 0 ? nn_plan_main(p)->sampling_rate : s->sampling_rate;
    FL_TRY(plain_decimal(phase->sampling_rate, rate, name, s->section, "sampling_rate", err));
    FL_TRY(plain_decimal(phase->clip_norm, s->clip_norm, name, s->section, "clip_norm", err));
    if (dp_rate_parse(&phase->rate, phase->sampling_rate, err) != FL_OK)
        return fl_fail_in(err, "%s: [%s] sampling_rate", name, s->section);
    FL_TRY(take_micro(&micro, s->noise_multiplier, name, s->section, err));
    dp_micro_text(text, micro);
    snprintf(phase->noise_multiplier, sizeof phase->noise_multiplier, "%s", text);
    phase->noise_variance = dp_variance_for((uint32_t)micro, phase->clip_units);
    if (phase->noise_variance == 0)
        return wrong(err, name, s->section, "clip_units", "is too large for this noise: the variance passes 2^56");
    return FL_OK;
}

static fl_code set_phase(nn_plan *p, nn_phase *phase, nn_model *m, const study *whole, const study_phase *s,
                         const char *name, fl_err *err)
{
    memcpy(phase->name, s->name, sizeof phase->name);
    memcpy(phase->learn, s->learn, sizeof phase->learn);
    phase->rounds = (uint32_t)s->rounds;
    phase->local_steps = (uint32_t)s->local_steps;
    phase->clipping = (nn_clipping)s->clipping;
    phase->augmentations = (uint32_t)s->augmentations;
    phase->shift = (uint32_t)s->shift;
    phase->mirror = s->mirror;
    phase->local_learning_rate = value_of(s->local_rate);
    phase->server = (nn_server_kind)s->optimiser;
    phase->server_learning_rate = value_of(s->server_rate);
    phase->server_momentum = phase->server != NN_SERVER_SGD ? value_of(s->momentum) : 0;
    phase->server_weight_decay = value_of(s->weight_decay);
    FL_TRY(parse_schedule(phase, s->schedule, s->warmup, name, s->section, err));
    FL_TRY(parse_average(&phase->average, &phase->average_value, s->average, name, s->section, err));
    FL_TRY(set_loss(p, phase, s, name, err));
    if (set_aim(p, phase, m, s->clip_units, whole, err) != FL_OK)
        return fl_fail_in(err, "%s: [%s]", name, s->section);
    FL_TRY(set_phase_noise(p, phase, s, name, err));
    phase->update_bits = nn_phase_update_bits(phase);
    return FL_OK;
}

/* Rounds that the noise leaves room for. */
static uint64_t rounds_with_lost(const nn_plan *p, uint32_t rounds)
{
    return rounds + (p->allowance_rounds == 0 ? 0 : rounds / 20 > 1 ? rounds / 20 : 1);
}

/* Everything of the phases but main; p->rounds becomes the sum. */
static fl_code set_phases(nn_plan *p, nn_model *m, const study *s, const char *name, fl_err *err)
{
    for (uint32_t i = 0; i < s->n_phases; i++) {
        FL_TRY(set_phase(p, &p->phases[i], m, s, &s->phases[i], name, err));
        p->rounds += p->phases[i].rounds;
    }
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
    snprintf(p->metrics_noise_multiplier, sizeof p->metrics_noise_multiplier, "%s",
             nn_plan_main(p)->probe > 0 ? "0" : "");
    if (s->metrics_every == 0)
        return FL_OK;
    p->metrics_every = (uint32_t)s->metrics_every;
    p->metrics_bins = (uint32_t)s->bins;
    FL_TRY(set_what(p, s, name, err));
    if (strcmp(s->metrics_noise, "auto") == 0) {
        dp_filter filter;
        unsigned order;
        const nn_phase *m = nn_plan_main(p);
        const uint64_t steps = (uint64_t)(p->rounds + p->allowance_rounds) * m->local_steps;
        fl_code rc = dp_order_for(&order, value_of(p->epsilon), value_of(p->delta), m->rate, steps, err);
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

/* What the budget holds beside the main part: the other phases, and the metrics. */
static size_t list_beside(dp_beside list[PHASES + 1], const nn_plan *p, bool with_lost)
{
    size_t n = 0;
    for (uint32_t i = 0; i + 1 < p->n_phases; i++) {
        const nn_phase *f = &p->phases[i];
        const uint64_t rounds = with_lost ? rounds_with_lost(p, f->rounds) : f->rounds;
        list[n++] = (dp_beside){.q = f->rate,
                                .micro_sigma = dp_multiplier_micro(f->noise_variance, f->clip_units),
                                .steps = rounds * f->local_steps};
    }
    if (p->metrics_every > 0)
        list[n++] = (dp_beside){.q = DP_RATE_ONE,
                                .micro_sigma = dp_multiplier_micro(p->metrics_noise_variance, 1),
                                .steps = metrics_releases(p)};
    return n;
}

static fl_code solve_noise(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    const double epsilon = value_of(p->epsilon), delta = value_of(p->delta);
    const bool is_auto = strcmp(s->noise_multiplier, "auto") == 0;
    nn_phase *m = &p->phases[p->n_phases - 1];
    uint64_t micro = 0, rounds = (uint64_t)s->count + (is_auto ? p->allowance_rounds : 0);
    uint32_t solved = 0;
    unsigned order = 0;
    dp_beside beside[PHASES + 1];
    const size_t n = list_beside(beside, p, is_auto);
    if (!is_auto)
        FL_TRY(take_micro(&micro, s->noise_multiplier, name, "privacy", err));
    fl_code rc = dp_solve_noise_beside(&solved, &order, epsilon, delta, m->rate, rounds * m->local_steps, beside, n,
                                       err);
    if (rc != FL_OK)
        return fl_fail_in(err, "%s: [privacy] noise_multiplier", name);
    if (micro == 0)
        micro = solved;
    char text[DP_MICRO_TEXT];
    dp_micro_text(text, micro);
    snprintf(m->noise_multiplier, sizeof m->noise_multiplier, "%s", text);
    p->renyi_order = order;
    m->noise_variance = dp_variance_for((uint32_t)micro, m->clip_units);
    if (m->noise_variance == 0)
        return wrong(err, name, "privacy", "clip_units", "is too large for this noise: the variance passes 2^56");
    return FL_OK;
}

static fl_code set_terms(nn_plan *p, const study *s, const char *name, fl_err *err)
{
    const char *clip = strcmp(s->clip_norm, "auto") == 0 ? "0.2" : s->clip_norm;
    nn_phase *m = &p->phases[p->n_phases - 1];
    FL_TRY(plain_decimal(p->epsilon, s->epsilon, name, "privacy", "epsilon", err));
    FL_TRY(plain_decimal(p->delta, s->delta, name, "privacy", "delta", err));
    FL_TRY(plain_decimal(m->sampling_rate, s->sampling_rate, name, "privacy", "sampling_rate", err));
    FL_TRY(plain_decimal(m->clip_norm, clip, name, "privacy", "clip_norm", err));
    if (dp_rate_parse(&m->rate, m->sampling_rate, err) != FL_OK)
        return fl_fail_in(err, "%s: [privacy] sampling_rate", name);
    p->is_private = true;
    p->allowance_rounds = p->rounds / 20 > 1 ? p->rounds / 20 : 1;
    if (s->allowance_rounds != INT64_MIN)
        p->allowance_rounds = (uint32_t)s->allowance_rounds;
    return FL_OK;
}

static fl_code set_privacy(nn_plan *p, nn_model *m, const study *s, const char *name, fl_err *err)
{
    p->n_phases = s->n_phases + 1;
    nn_phase *last = &p->phases[s->n_phases];
    FL_TRY(set_terms(p, s, name, err));
    FL_TRY(set_phases(p, m, s, name, err));
    memcpy(last->learn, s->learn, sizeof last->learn);
    last->loss = p->multi ? NN_LOSS_BINARY : NN_LOSS_SOFTMAX;
    last->clipping = (nn_clipping)s->clipping;
    if (set_aim(p, last, m, s->clip_units, s, err) != FL_OK)
        return fl_fail_in(err, "%s: [model] learn", name);
    FL_TRY(set_metrics(p, s, name, err));
    FL_TRY(solve_noise(p, s, name, err));
    last->update_bits = nn_phase_update_bits(last);
    nn_plan_settle(p);
    return FL_OK;
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

/* --- the text ---------------------------------------------------------------------------------------------------- */

/* "[phase centring]": its name; false for every other line. */
static bool phase_header(char name[32], const char *line, size_t n)
{
    static const char start[] = "[phase";
    const size_t skip = sizeof start - 1;
    while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t' || line[n - 1] == '\r'))
        n--;
    if (n < skip || strncmp(line, start, skip) != 0 || (n > skip && line[skip] != ' ' && line[skip] != ']'))
        return false;
    const size_t length = n > skip + 2 && line[n - 1] == ']' ? n - skip - 2 : 0;
    name[0] = '\0';
    if (length > 0 && length < 32) {
        memcpy(name, line + skip + 1, length);
        name[length] = '\0';
    }
    return true;
}

static fl_code find_phases(study *s, const char *text, const char *name, fl_err *err)
{
    unsigned line = 1;
    for (const char *p = text; *p; line++) {
        char phase[32];
        const size_t n = strcspn(p, "\n");
        if (phase_header(phase, p, n)) {
            if (!nn_plan_is_name(phase, 31) || strcmp(phase, NN_PLAN_MAIN) == 0)
                return fl_fail(err, FL_EFORMAT,
                               "%s:%u: expected [phase NAME], NAME of 1 to 31 letters, digits and . _ -, not %s", name,
                               line, NN_PLAN_MAIN);
            if (s->n_phases == PHASES)
                return fl_fail(err, FL_EFORMAT, "%s:%u: [phase %s]: at most %d of them", name, line, phase, PHASES);
            for (uint32_t i = 0; i < s->n_phases; i++) {
                if (strcmp(s->phases[i].name, phase) == 0)
                    return fl_fail(err, FL_EFORMAT, "%s:%u: [phase %s]: there is one already", name, line, phase);
            }
            study_phase *f = &s->phases[s->n_phases++];
            strcpy(f->name, phase);
            snprintf(f->section, sizeof f->section, "phase %s", phase);
        }
        p += n + (p[n] != '\0');
    }
    return FL_OK;
}

/* The rows of the study, and those of each phase that the text has. */
static fl_code read_study(study *s, const char *text, const char *name, fl_err *err)
{
    FL_TRY(find_phases(s, text, name, err));
    const size_t n = N_ROWS + s->n_phases * N_PHASE_ROWS;
    fl_config_row *all = malloc(n * sizeof *all);
    if (!all)
        return fl_fail(err, FL_EENV, "%s: out of memory", name);
    memcpy(all, rows, sizeof rows);
    for (uint32_t i = 0; i < s->n_phases; i++) {
        fl_config_row *at = all + N_ROWS + i * N_PHASE_ROWS;
        memcpy(at, phase_rows, sizeof phase_rows);
        for (size_t k = 0; k < N_PHASE_ROWS; k++) {
            at[k].section = s->phases[i].section;
            at[k].offset += offsetof(study, phases) + i * sizeof s->phases[0];
        }
    }
    fl_code rc = fl_config_parse(s, all, n, text, name, err);
    free(all);
    return rc;
}

static fl_code resolve(nn_plan *plan, const study *s, const char *text, const char *name, const char *path_dir,
                       fl_err *err)
{
    nn_model *m = NULL;
    fl_code rc = refuse_unsupported(s, name, err);
    if (rc == FL_OK)
        rc = set_names(plan, s, name, err);
    if (rc == FL_OK)
        rc = set_labels(plan, s, name, err);
    if (rc == FL_OK)
        rc = set_model(plan, &m, s, name, path_dir, err);
    if (rc == FL_OK)
        rc = set_initial(plan, s, name, path_dir, err);
    if (rc == FL_OK)
        rc = set_training(plan, s, name, err);
    if (rc == FL_OK)
        rc = set_privacy(plan, m, s, name, err);
    nn_model_destroy(m);
    plan->seed = seed_of(s, text);
    return rc;
}

fl_code nn_plan_from_study(nn_plan *plan, const char *text, const char *name, const char *path_dir, fl_err *err)
{
    fl_err unread;
    err = err ? err : &unread; /* messages are built in steps */
    memset(plan, 0, sizeof *plan);
    study *s = calloc(1, sizeof *s);
    if (!s)
        return fl_fail(err, FL_EENV, "%s: out of memory", name);
    fl_code rc = read_study(s, text, name, err);
    if (rc == FL_OK)
        rc = resolve(plan, s, text, name, path_dir, err);
    free(s);
    if (rc != FL_OK)
        return rc;
    rc = nn_plan_check(plan, err);
    if (rc != FL_OK)
        return fl_fail_in(err, "%s", name);
    return nn_plan_seal(plan, err);
}

fl_code nn_study_pretrained(char path[FL_PATH_MAX], const char *text, const char *name, const char *path_dir,
                            fl_err *err)
{
    path[0] = '\0';
    study *s = calloc(1, sizeof *s);
    if (!s)
        return fl_fail(err, FL_EENV, "%s: out of memory", name);
    fl_code rc = read_study(s, text, name, err);
    if (rc == FL_OK && s->pretrained[0])
        rc = pretrained_path(path, s, name, path_dir, err);
    free(s);
    return rc;
}

/* --- the simulator's own ---------------------------------------------------------------------------------------- */

fl_code nn_study_declared(nn_declared list[NN_PLAN_MAX_SITES], uint32_t *n, const char *text, const char *name,
                          fl_err *err)
{
    static const char what[] = "expected NAME:COUNT, NAME:COUNT, ... with counts of 1 to 1000000000";
    study *s = calloc(1, sizeof *s);
    if (!s)
        return fl_fail(err, FL_EENV, "%s: out of memory", name);
    fl_code rc = read_study(s, text, name, err);
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

fl_code nn_study_is_open(bool *is_open, const char *text, const char *name, fl_err *err)
{
    study *s = calloc(1, sizeof *s);
    if (!s)
        return fl_fail(err, FL_EENV, "%s: out of memory", name);
    fl_code rc = read_study(s, text, name, err);
    *is_open = rc == FL_OK && !s->simulates_privacy;
    free(s);
    return rc;
}
