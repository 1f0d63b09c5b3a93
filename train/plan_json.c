/*
 * The plan as canonical JSON: writing, strict reading.
 *
 * Reading does not look for each way in which a text can be not canonical: it writes what it has read and compares.
 */
#include "base/encode.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "privacy/decimal.h"
#include "train/counts.h"
#include "train/plan.h"
#include "train/plan_check.h"
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT 4

static const char *const server_names[] = {"sgd", "momentum", "adam"};
static const char *const schedule_names[] = {"constant", "cosine", "step"};
static const char *const average_names[] = {"none", "ema", "tail"};
static const char *const loss_names[] = {"softmax", "binary", "squares"};
static const char *const clipping_names[] = {"flat", "automatic"};
static const char *const label_names[] = {"single", "multi"};
static const char *const channels_names[] = {"sum", "refuse"};

static bool has_weights(const nn_plan *p)
{
    for (uint32_t i = 0; i < p->n_classes; i++) {
        if (p->class_weights[i] != 1)
            return true;
    }
    return false;
}

/* One plan has one text: that of the oldest format which can say it. */
static int format_of(const nn_plan *p)
{
    for (uint32_t i = 0; i < p->n_phases; i++) {
        if (p->phases[i].schedule == NN_SCHEDULE_STEP || p->phases[i].warmup_rounds > 0)
            return 4;
    }
    if (p->pretrained_channels != NN_CHANNELS_SUM)
        return 4;
    const nn_phase *m = &p->phases[p->n_phases - 1];
    if (p->n_phases > 1 || p->multi || p->patients > 0 || p->initial[0] || has_weights(p) ||
        strcmp(m->learn, "all") != 0 || m->loss != NN_LOSS_SOFTMAX || m->clipping != NN_CLIP_FLAT ||
        m->server == NN_SERVER_ADAM)
        return 3;
    return p->probe > 0 || p->metrics_every > 0 ? 2 : 1;
}

/* --- writing --------------------------------------------------------------------------------------------------- */

/* The shortest decimal text that reads back as this value, without exponent. */
static void real_text(char plain[DP_DECIMAL_TEXT], double value)
{
    char text[40];
    dp_decimal d;
    plain[0] = '\0';
    for (int digits = 1; digits <= 17; digits++) {
        double back;
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (dp_decimal_parse(&d, text) && (back = dp_decimal_to_double(&d), back == value)) {
            dp_decimal_text(plain, &d);
            break;
        }
    }
}

static void set_real(fl_json *j, const char *key, double value)
{
    char plain[DP_DECIMAL_TEXT];
    real_text(plain, value);
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

/* The same for a phase. */
#define IN(member)                                                                                                     \
    {                                                                                                                  \
#member, offsetof(nn_phase, member), sizeof(((nn_phase *)0)->member)                                           \
    }
static const struct {
    const char *key;
    size_t offset, size;
} phase_counts[] = {IN(rounds),        IN(local_steps), IN(n_learned),   IN(clip_units),
                    IN(augmentations), IN(shift),       IN(update_bits), IN(probe)},
  phase_reals[] = {IN(local_learning_rate), IN(server_learning_rate), IN(server_momentum), IN(server_weight_decay),
                   IN(average_value)},
  phase_texts[] = {IN(name), IN(learn), IN(loss_at), IN(sampling_rate), IN(noise_multiplier), IN(clip_norm)};

#define N_ROWS(table) (sizeof(table) / sizeof(table)[0])
#define N_OTHERS      12 /* the members set one by one below */
#define N_SECOND      6  /* and those of format 2 */
#define N_THIRD       9
#define N_SCHEDULE    3 /* those of format 4 which a phase has, too */
#define N_FOURTH      (N_SCHEDULE + 1)
#define N_PHASE       (N_ROWS(phase_counts) + N_ROWS(phase_reals) + N_ROWS(phase_texts) + 7)

static void set_schedule(fl_json *j, const nn_phase *p)
{
    fl_json_set_int(j, "schedule_every", p->schedule_every);
    set_real(j, "schedule_factor", p->schedule_factor);
    fl_json_set_int(j, "warmup_rounds", p->warmup_rounds);
}

static fl_json *phase_to_json(const nn_phase *p, int format)
{
    const char *base = (const char *)p;
    fl_json *j = fl_json_object();
    for (size_t i = 0; i < N_ROWS(phase_counts); i++)
        fl_json_set_int(j, phase_counts[i].key, *(const uint32_t *)(const void *)(base + phase_counts[i].offset));
    for (size_t i = 0; i < N_ROWS(phase_reals); i++)
        set_real(j, phase_reals[i].key, *(const double *)(const void *)(base + phase_reals[i].offset));
    for (size_t i = 0; i < N_ROWS(phase_texts); i++)
        fl_json_set_text(j, phase_texts[i].key, base + phase_texts[i].offset);
    fl_json_set_text(j, "loss", loss_names[p->loss]);
    fl_json_set_text(j, "clipping", clipping_names[p->clipping]);
    fl_json_set_text(j, "server", server_names[p->server]);
    fl_json_set_text(j, "schedule", schedule_names[p->schedule]);
    fl_json_set_text(j, "average", average_names[p->average]);
    fl_json_set_bool(j, "mirror", p->mirror);
    fl_json_set_int(j, "noise_variance", (int64_t)p->noise_variance);
    if (format > 3)
        set_schedule(j, p);
    return j;
}

/* clipping, learn, loss and n_learned are those of main, whose other members stand where they always stood. */
static void set_third(fl_json *j, const nn_plan *p)
{
    const nn_phase *m = &p->phases[p->n_phases - 1];
    fl_json *phases = fl_json_array(), *weights = fl_json_array();
    for (uint32_t i = 0; i + 1 < p->n_phases; i++)
        fl_json_push(phases, phase_to_json(&p->phases[i], format_of(p)));
    for (uint32_t i = 0; has_weights(p) && i < p->n_classes; i++) {
        char text[DP_DECIMAL_TEXT];
        real_text(text, p->class_weights[i]);
        fl_json_push_text(weights, text);
    }
    fl_json_set(j, "phases", phases);
    fl_json_set(j, "class_weights", weights);
    fl_json_set_text(j, "clipping", clipping_names[m->clipping]);
    fl_json_set_text(j, "initial", p->initial);
    fl_json_set_text(j, "labels", label_names[p->multi]);
    fl_json_set_text(j, "learn", m->learn);
    fl_json_set_text(j, "loss", loss_names[m->loss]);
    fl_json_set_int(j, "n_learned", m->n_learned);
    fl_json_set_int(j, "patients", (int64_t)p->patients);
}

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
    if (format_of(p) > 2)
        set_third(j, p);
    if (format_of(p) > 3) {
        set_schedule(j, &p->phases[p->n_phases - 1]);
        fl_json_set_text(j, "pretrained_channels", channels_names[p->pretrained_channels]);
    }
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
    return true;
}

static bool get_schedule(nn_phase *p, const fl_json *j)
{
    const char *factor = fl_json_text(j, "schedule_factor");
    return factor && dp_decimal_value(&p->schedule_factor, factor) &&
           get_count(&p->schedule_every, j, "schedule_every") && get_count(&p->warmup_rounds, j, "warmup_rounds");
}

static bool read_phase(nn_phase *p, const fl_json *j, int64_t format)
{
    char *base = (char *)p;
    int64_t variance;
    int loss, clipping, server, schedule, average;
    if (!j || !fl_json_is_object(j) || fl_json_count(j) != N_PHASE + (format > 3 ? N_SCHEDULE : 0))
        return false;
    if (format > 3 && !get_schedule(p, j))
        return false;
    for (size_t i = 0; i < N_ROWS(phase_counts); i++) {
        if (!get_count((uint32_t *)(void *)(base + phase_counts[i].offset), j, phase_counts[i].key))
            return false;
    }
    for (size_t i = 0; i < N_ROWS(phase_reals); i++) {
        const char *text = fl_json_text(j, phase_reals[i].key);
        if (!text || !dp_decimal_value((double *)(void *)(base + phase_reals[i].offset), text))
            return false;
    }
    for (size_t i = 0; i < N_ROWS(phase_texts); i++) {
        if (!copy_text(base + phase_texts[i].offset, phase_texts[i].size, fl_json_text(j, phase_texts[i].key)))
            return false;
    }
    if (!get_choice(&loss, j, "loss", loss_names, N_ROWS(loss_names)) ||
        !get_choice(&clipping, j, "clipping", clipping_names, N_ROWS(clipping_names)) ||
        !get_choice(&server, j, "server", server_names, N_ROWS(server_names)) ||
        !get_choice(&schedule, j, "schedule", schedule_names, N_ROWS(schedule_names)) ||
        !get_choice(&average, j, "average", average_names, N_ROWS(average_names)) ||
        !fl_json_bool(j, "mirror", &p->mirror) || !fl_json_int(j, "noise_variance", &variance) || variance < 0)
        return false;
    p->loss = (nn_loss_kind)loss;
    p->clipping = (nn_clipping)clipping;
    p->server = (nn_server_kind)server;
    p->schedule = (nn_schedule)schedule;
    p->average = (nn_average)average;
    p->noise_variance = (uint64_t)variance;
    return true;
}

static bool get_weights(nn_plan *p, const fl_json *j)
{
    fl_json *weights = fl_json_member(j, "class_weights");
    if (!weights || !fl_json_is_array(weights))
        return false;
    const size_t n = fl_json_count(weights);
    for (size_t i = 0; i < n && n == p->n_classes; i++) {
        const char *text = fl_json_text_value(fl_json_at(weights, i));
        if (!text || !dp_decimal_value(&p->class_weights[i], text))
            return false;
    }
    return n == 0 || n == p->n_classes;
}

/* After n_classes and class_weights were set to what older formats have. */
static fl_code read_third(nn_plan *p, const fl_json *j, int64_t format, fl_err *err)
{
    fl_json *phases = fl_json_member(j, "phases");
    int labels, loss, clipping;
    int64_t patients;
    if (!phases || !fl_json_is_array(phases) || fl_json_count(phases) >= NN_PLAN_MAX_PHASES)
        return missing("phases", err);
    p->n_phases = (uint32_t)fl_json_count(phases) + 1;
    for (uint32_t i = 0; i + 1 < p->n_phases; i++) {
        if (!read_phase(&p->phases[i], fl_json_at(phases, i), format))
            return missing("a member of phases", err);
    }
    nn_phase *m = &p->phases[p->n_phases - 1];
    if (!get_weights(p, j))
        return missing("class_weights", err);
    if (!get_choice(&labels, j, "labels", label_names, N_ROWS(label_names)))
        return missing("labels", err);
    if (!get_choice(&loss, j, "loss", loss_names, N_ROWS(loss_names)))
        return missing("loss", err);
    if (!get_choice(&clipping, j, "clipping", clipping_names, N_ROWS(clipping_names)))
        return missing("clipping", err);
    if (!copy_text(p->initial, sizeof p->initial, fl_json_text(j, "initial")))
        return missing("initial", err);
    if (!copy_text(m->learn, sizeof m->learn, fl_json_text(j, "learn")) || !get_count(&m->n_learned, j, "n_learned"))
        return missing("learn or n_learned", err);
    if (!fl_json_int(j, "patients", &patients) || patients < 0)
        return missing("patients", err);
    p->patients = (uint64_t)patients;
    p->multi = labels == 1;
    m->loss = (nn_loss_kind)loss;
    m->clipping = (nn_clipping)clipping;
    return FL_OK;
}

static fl_code read_fourth(nn_plan *p, const fl_json *j, fl_err *err)
{
    int channels;
    if (!get_schedule(&p->phases[p->n_phases - 1], j))
        return missing("schedule_every, schedule_factor or warmup_rounds", err);
    if (!get_choice(&channels, j, "pretrained_channels", channels_names, N_ROWS(channels_names)))
        return missing("pretrained_channels", err);
    p->pretrained_channels = (nn_channels)channels;
    return FL_OK;
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
    if (!fl_json_int(j, "format", &format))
        return missing("format", err);
    if (format > 1 && !get_second(p, j))
        return missing("probe or metrics", err);
    if (!get_input(p, j))
        return missing("input", err);
    if (!get_texts(p->classes[0], sizeof p->classes[0], NN_PLAN_MAX_CLASSES, &p->n_classes,
                   fl_json_member(j, "classes")))
        return missing("classes", err);
    for (uint32_t i = 0; i < p->n_classes; i++)
        p->class_weights[i] = 1;
    if (format > 2)
        FL_TRY(read_third(p, j, format, err));
    if (format > 3)
        FL_TRY(read_fourth(p, j, err));
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
    if (fl_json_int(j, "format", &format) && (format < 1 || format > FORMAT))
        return fl_fail(err, FL_EFORMAT, "plan: is of format %lld, this version reads 1 to %d", (long long)format,
                       FORMAT);
    const size_t expected = N_ROWS(counts) + N_ROWS(reals) + N_ROWS(texts) + N_OTHERS + (format > 1 ? N_SECOND : 0) +
                            (format > 2 ? N_THIRD : 0) + (format > 3 ? N_FOURTH : 0);
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
