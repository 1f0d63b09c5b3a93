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
    const nn_phase *m = nn_plan_main(p);
    if (p->n_phases > 1 || p->multi || p->patients > 0 || p->initial[0] || has_weights(p) ||
        strcmp(m->learn, "all") != 0 || m->loss != NN_LOSS_SOFTMAX || m->clipping != NN_CLIP_FLAT ||
        m->server == NN_SERVER_ADAM)
        return 3;
    return m->probe > 0 || p->metrics_every > 0 ? 2 : 1;
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

/* A member with the same name in struct and JSON. */
typedef struct member {
    const char *key;
    size_t offset, size;
} member;

/* clang-format off */
#define OF(type, member) {#member, offsetof(type, member), sizeof(((type *)0)->member)}
#define PLAN(member)     OF(nn_plan, member)
#define PHASE(member)    OF(nn_phase, member)
/* Plain numbers in both; double and decimal text; texts in both. Of main they stand in the plan's own object. */
static const member
    counts[] = {PLAN(n_weights), PLAN(rounds), PLAN(quorum), PLAN(deadline_s), PLAN(slot_ms), PLAN(renyi_order), PLAN(allowance_rounds)},
    texts[] = {PLAN(name), PLAN(architecture), PLAN(spec), PLAN(epsilon), PLAN(delta)},
    terms_counts[] = {PHASE(local_steps), PHASE(clip_units), PHASE(augmentations), PHASE(shift), PHASE(update_bits)},
    terms_reals[] = {PHASE(local_learning_rate), PHASE(server_learning_rate), PHASE(server_momentum), PHASE(server_weight_decay), PHASE(average_value)},
    terms_texts[] = {PHASE(sampling_rate), PHASE(noise_multiplier), PHASE(clip_norm)},
    /* what a phase has in its own object, and main elsewhere or not at all */
    phase_counts[] = {PHASE(rounds), PHASE(n_learned), PHASE(probe)},
    phase_texts[] = {PHASE(name), PHASE(learn), PHASE(loss_at)};
/* clang-format on */

#define N_ROWS(table) (sizeof(table) / sizeof(table)[0])
#define N_TERMS       (N_ROWS(terms_counts) + N_ROWS(terms_reals) + N_ROWS(terms_texts) + 5)
#define N_PLAN        (N_ROWS(counts) + N_ROWS(texts) + N_TERMS + 7) /* and those set one by one below */
#define N_SECOND      6                                              /* of format 2 */
#define N_THIRD       9
#define N_SCHEDULE    3 /* those of format 4 which a phase has, too */
#define N_FOURTH      (N_SCHEDULE + 1)
#define N_PHASE       (N_TERMS + N_ROWS(phase_counts) + N_ROWS(phase_texts) + 2)

static void set_counts(fl_json *j, const void *from, const member *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t value;
        memcpy(&value, (const char *)from + list[i].offset, sizeof value);
        fl_json_set_int(j, list[i].key, value);
    }
}

static void set_texts(fl_json *j, const void *from, const member *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fl_json_set_text(j, list[i].key, (const char *)from + list[i].offset);
}

static void set_schedule(fl_json *j, const nn_phase *p)
{
    fl_json_set_int(j, "schedule_every", p->schedule_every);
    set_real(j, "schedule_factor", p->schedule_factor);
    fl_json_set_int(j, "warmup_rounds", p->warmup_rounds);
}

/* What main has in the plan's object and each other phase in its own. */
static void set_terms(fl_json *j, const nn_phase *p)
{
    set_counts(j, p, terms_counts, N_ROWS(terms_counts));
    set_texts(j, p, terms_texts, N_ROWS(terms_texts));
    for (size_t i = 0; i < N_ROWS(terms_reals); i++) {
        double value;
        memcpy(&value, (const char *)p + terms_reals[i].offset, sizeof value);
        set_real(j, terms_reals[i].key, value);
    }
    fl_json_set_text(j, "server", server_names[p->server]);
    fl_json_set_text(j, "schedule", schedule_names[p->schedule]);
    fl_json_set_text(j, "average", average_names[p->average]);
    fl_json_set_bool(j, "mirror", p->mirror);
    fl_json_set_int(j, "noise_variance", (int64_t)p->noise_variance);
}

static fl_json *phase_to_json(const nn_phase *p, int format)
{
    fl_json *j = fl_json_object();
    set_terms(j, p);
    set_counts(j, p, phase_counts, N_ROWS(phase_counts));
    set_texts(j, p, phase_texts, N_ROWS(phase_texts));
    fl_json_set_text(j, "loss", loss_names[p->loss]);
    fl_json_set_text(j, "clipping", clipping_names[p->clipping]);
    if (format > 3)
        set_schedule(j, p);
    return j;
}

/* clipping, learn, loss and n_learned are those of main, whose other members stand where they always stood. */
static void set_third(fl_json *j, const nn_plan *p, int format)
{
    const nn_phase *m = nn_plan_main(p);
    fl_json *phases = fl_json_array(), *weights = fl_json_array();
    for (uint32_t i = 0; i + 1 < p->n_phases; i++)
        fl_json_push(phases, phase_to_json(&p->phases[i], format));
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
    fl_json_set_int(j, "probe", nn_plan_main(p)->probe);
    fl_json_set_int(j, "metrics_every", p->metrics_every);
    fl_json_set_int(j, "metrics_bins", p->metrics_bins);
    fl_json_set_text(j, "metrics_what", what);
    fl_json_set_text(j, "metrics_noise_multiplier", p->metrics_noise_multiplier);
    fl_json_set_int(j, "metrics_noise_variance", (int64_t)p->metrics_noise_variance);
}

static fl_json *to_json(const nn_plan *p)
{
    const int format = format_of(p);
    fl_json *j = fl_json_object(), *input = fl_json_array();
    set_counts(j, p, counts, N_ROWS(counts));
    set_texts(j, p, texts, N_ROWS(texts));
    set_terms(j, nn_plan_main(p));
    fl_json_push_int(input, p->channels);
    fl_json_push_int(input, p->height);
    fl_json_push_int(input, p->width);
    char seed[17];
    snprintf(seed, sizeof seed, "%016llx", (unsigned long long)p->seed);
    fl_json_set_int(j, "format", format);
    if (format > 1)
        set_second(j, p);
    if (format > 2)
        set_third(j, p, format);
    if (format > 3)
        set_schedule(j, nn_plan_main(p));
    if (format > 3)
        fl_json_set_text(j, "pretrained_channels", channels_names[p->pretrained_channels]);
    fl_json_set(j, "input", input);
    fl_json_set(j, "classes", array_of(p->classes[0], sizeof p->classes[0], p->n_classes));
    fl_json_set(j, "sites", array_of(p->sites[0], sizeof p->sites[0], p->n_sites));
    fl_json_set_text(j, "strategy", "fedavg");
    fl_json_set_bool(j, "private", p->is_private);
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
    if (!get_count(&p->phases[p->n_phases - 1].probe, j, "probe") ||
        !get_count(&p->metrics_every, j, "metrics_every") || !get_count(&p->metrics_bins, j, "metrics_bins") ||
        !get_what(p, fl_json_text(j, "metrics_what")) ||
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

/* The key of the first that is missing or wrong; NULL: they are all there. */
static const char *get_counts(void *to, const member *list, size_t n, const fl_json *j)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t value;
        if (!get_count(&value, j, list[i].key))
            return list[i].key;
        memcpy((char *)to + list[i].offset, &value, sizeof value);
    }
    return NULL;
}

static const char *get_members(void *to, const member *list, size_t n, const fl_json *j)
{
    for (size_t i = 0; i < n; i++) {
        if (!copy_text((char *)to + list[i].offset, list[i].size, fl_json_text(j, list[i].key)))
            return list[i].key;
    }
    return NULL;
}

static const char *get_terms(nn_phase *p, const fl_json *j)
{
    int64_t variance;
    int server, schedule, average;
    const char *wrong = get_counts(p, terms_counts, N_ROWS(terms_counts), j);
    if (!wrong)
        wrong = get_members(p, terms_texts, N_ROWS(terms_texts), j);
    for (size_t i = 0; i < N_ROWS(terms_reals) && !wrong; i++) {
        const char *text = fl_json_text(j, terms_reals[i].key);
        double value;
        if (!text || !dp_decimal_value(&value, text))
            return terms_reals[i].key;
        memcpy((char *)p + terms_reals[i].offset, &value, sizeof value);
    }
    if (wrong)
        return wrong;
    if (!get_choice(&server, j, "server", server_names, N_ROWS(server_names)))
        return "server";
    if (!get_choice(&schedule, j, "schedule", schedule_names, N_ROWS(schedule_names)))
        return "schedule";
    if (!get_choice(&average, j, "average", average_names, N_ROWS(average_names)))
        return "average";
    if (!fl_json_bool(j, "mirror", &p->mirror))
        return "mirror";
    if (!fl_json_int(j, "noise_variance", &variance) || variance < 0)
        return "noise_variance";
    p->server = (nn_server_kind)server;
    p->schedule = (nn_schedule)schedule;
    p->average = (nn_average)average;
    p->noise_variance = (uint64_t)variance;
    return NULL;
}

static bool read_phase(nn_phase *p, const fl_json *j, int64_t format)
{
    int loss, clipping;
    if (!j || !fl_json_is_object(j) || fl_json_count(j) != N_PHASE + (format > 3 ? N_SCHEDULE : 0))
        return false;
    if (get_terms(p, j) || get_counts(p, phase_counts, N_ROWS(phase_counts), j) ||
        get_members(p, phase_texts, N_ROWS(phase_texts), j) || (format > 3 && !get_schedule(p, j)) ||
        !get_choice(&loss, j, "loss", loss_names, N_ROWS(loss_names)) ||
        !get_choice(&clipping, j, "clipping", clipping_names, N_ROWS(clipping_names)))
        return false;
    p->loss = (nn_loss_kind)loss;
    p->clipping = (nn_clipping)clipping;
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

/* What every format has. */
static fl_code read_first(nn_plan *p, const fl_json *j, fl_err *err)
{
    const char *wrong = get_counts(p, counts, N_ROWS(counts), j), *strategy = fl_json_text(j, "strategy");
    if (!wrong)
        wrong = get_members(p, texts, N_ROWS(texts), j);
    if (!wrong)
        wrong = get_terms(&p->phases[p->n_phases - 1], j);
    if (wrong)
        return missing(wrong, err);
    if (!get_input(p, j))
        return missing("input", err);
    if (!get_texts(p->sites[0], sizeof p->sites[0], NN_PLAN_MAX_SITES, &p->n_sites, fl_json_member(j, "sites")))
        return missing("sites", err);
    if (!strategy || strcmp(strategy, "fedavg") != 0)
        return fl_fail(err, FL_EFORMAT, "plan: strategy is not fedavg, the only one there is");
    if (!fl_json_bool(j, "private", &p->is_private))
        return missing("private", err);
    return get_seed(&p->seed, fl_json_text(j, "seed")) ? FL_OK : missing("seed", err);
}

static fl_code read_json(nn_plan *p, const fl_json *j, fl_err *err)
{
    if (!fl_json_is_object(j))
        return fl_fail(err, FL_EFORMAT, "plan: is not an object");
    int64_t format;
    if (!fl_json_int(j, "format", &format))
        return missing("format", err);
    if (format < 1 || format > FORMAT)
        return fl_fail(err, FL_EFORMAT, "plan: is of format %lld, this version reads 1 to %d", (long long)format,
                       FORMAT);
    const size_t expected = N_PLAN + (format > 1 ? N_SECOND : 0) + (format > 2 ? N_THIRD : 0) +
                            (format > 3 ? N_FOURTH : 0);
    if (fl_json_count(j) != expected)
        return fl_fail(err, FL_EFORMAT, "plan: has %zu members, expected %zu", fl_json_count(j), expected);
    if (!get_texts(p->classes[0], sizeof p->classes[0], NN_PLAN_MAX_CLASSES, &p->n_classes,
                   fl_json_member(j, "classes")))
        return missing("classes", err);
    for (uint32_t i = 0; i < p->n_classes; i++)
        p->class_weights[i] = 1;
    p->n_phases = 1;
    if (format > 2)
        FL_TRY(read_third(p, j, format, err));
    if (format > 3)
        FL_TRY(read_fourth(p, j, err));
    if (format > 1 && !get_second(p, j))
        return missing("probe or metrics", err);
    return read_first(p, j, err);
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
