#include "node/policy.h"

#include "base/config.h"
#include "imaging/image.h"
#include "privacy/decimal.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the file holds, by the types of base/config.h. */
typedef struct policy_file {
    char dataset[WIRE_NAME_MAX], epsilon[24], delta[24];
    int64_t declared_patients, renyi_order, rungs, max_rounds, min_cohort, min_slot_ms;
    char min_noise_multiplier[24], max_sampling_rate[24], max_clip_norm[24];
    int releases, labels;
    bool burned_in, ultrasound, capture;
} policy_file;

#define AT(field) .offset = offsetof(policy_file, field), .size = sizeof(((policy_file *)0)->field)

static const char release_choices[] = "update|update+metrics";
static const char *const release_names[] = {"update", "update+metrics"};

/* clang-format off */
static const fl_config_row rows[] = {
    {.section = "data", .key = "dataset", .type = FL_CONFIG_TEXT, AT(dataset), .min = 1, .max = 63, .fallback = "main",
     .help = "The data set that this policy is for."},
    {.section = "data", .key = "declared_patients", .type = FL_CONFIG_INT, AT(declared_patients), .min = 0, .max = 1e9,
     .fallback = "0", .help = "About how many patients train here: a round number (50, 100, 200, 500, ...), typed by a "
     "person and public for ever, never counted from the images. 0: not typed yet, and no plan can be approved."},
    {.section = "data", .key = "labels", .type = FL_CONFIG_CHOICE, AT(labels), .choices = "single|multi",
     .fallback = "single", .help = "What a label is: one class, or a set of classes (names joined by |, and a word of your "
     "own, none, for an image that shows none of them). A study of the other kind is refused."},
    {.section = "budget", .key = "epsilon", .type = FL_CONFIG_DECIMAL, AT(epsilon), .min = 0.01, .max = 1000,
     .fallback = "8", .help = "What the patients of this hospital may be exposed to in the node's whole life, over all "
     "studies together. It may be lowered later, and raised only if rungs says so."},
    {.section = "budget", .key = "delta", .type = FL_CONFIG_TEXT, AT(delta), .min = 1, .max = 22, .fallback = "1e-5",
     .help = "The chance that epsilon leaves uncovered: above 0, at most 0.001. The first approved plan fixes it for "
     "life."},
    {.section = "budget", .key = "renyi_order", .type = FL_CONFIG_INT, AT(renyi_order), .min = DP_ORDER_MIN,
     .max = DP_ORDER_MAX, .fallback = "auto", .or_auto = true,
     .help = "The order that the budget is counted at; auto takes the first approved plan's. Fixed for life by it."},
    {.section = "budget", .key = "rungs", .type = FL_CONFIG_INT, AT(rungs), .min = 1, .max = 100, .fallback = "1",
     .help = "How many values epsilon may take in the node's life; 1: it is never raised. More cost a little. Fixed for "
     "life by the first approved plan."},
    {.section = "limits", .key = "min_noise_multiplier", .type = FL_CONFIG_DECIMAL, AT(min_noise_multiplier),
     .min = 0.05, .max = 1000, .fallback = "0.3", .help = "Plans with less noise than this are refused."},
    {.section = "limits", .key = "max_sampling_rate", .type = FL_CONFIG_DECIMAL, AT(max_sampling_rate), .min = 0.000001,
     .max = 1, .fallback = "1", .help = "The largest part of the patients that a step may look at."},
    {.section = "limits", .key = "max_clip_norm", .type = FL_CONFIG_DECIMAL, AT(max_clip_norm), .min = 0.000001,
     .max = 1000000, .fallback = "100", .help = "The largest bound on one patient's gradient."},
    {.section = "limits", .key = "max_rounds", .type = FL_CONFIG_INT, AT(max_rounds), .min = 1, .max = 1000000,
     .fallback = "10000", .help = "The most rounds that a study may run."},
    {.section = "limits", .key = "min_cohort", .type = FL_CONFIG_INT, AT(min_cohort), .min = 1, .max = 256,
     .fallback = "2", .help = "The fewest hospitals in a round; alone, this hospital's update would be the model."},
    {.section = "limits", .key = "min_slot_ms", .type = FL_CONFIG_INT, AT(min_slot_ms), .min = 1, .max = 86400000,
     .fallback = "100", .help = "The shortest slot, in milliseconds: updates leave at whole slots, and a slot shorter "
     "than training would tell how many images were drawn."},
    {.section = "limits", .key = "releases", .type = FL_CONFIG_CHOICE, AT(releases), .choices = release_choices,
     .fallback = "update", .help = "What may leave: noised updates of a model, or these and noised counts of patients (score "
     "histograms, classes, quality), which some plans ask for and which cost budget too."},
    {.section = "images", .key = "allow_burned_in", .type = FL_CONFIG_BOOL, AT(burned_in), .fallback = "no",
     .help = "Let in images whose header says that text is burned into the pixels (BurnedInAnnotation = YES)."},
    {.section = "images", .key = "allow_ultrasound", .type = FL_CONFIG_BOOL, AT(ultrasound), .fallback = "no",
     .help = "Let in ultrasound, whose screens hold names as a rule."},
    {.section = "images", .key = "allow_secondary_capture", .type = FL_CONFIG_BOOL, AT(capture), .fallback = "no",
     .help = "Let in secondary captures: screenshots and scanned paper."},
};
/* clang-format on */
#define N_ROWS (sizeof rows / sizeof rows[0])

static fl_code check_values(const policy_file *f, const char *name, fl_err *err)
{
    double delta;
    /* clang-format off */
    const struct { const char *section, *key, *text; } decimals[] = {
        {"budget", "epsilon", f->epsilon},
        {"limits", "min_noise_multiplier", f->min_noise_multiplier},
        {"limits", "max_sampling_rate", f->max_sampling_rate},
        {"limits", "max_clip_norm", f->max_clip_norm},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof decimals / sizeof decimals[0]; i++) {
        double value;
        if (!dp_decimal_value(&value, decimals[i].text))
            return fl_fail(err, FL_EFORMAT, "%s: [%s] %s: is \"%s\": write it as 8 or 0.5, without needless zeros",
                           name, decimals[i].section, decimals[i].key, decimals[i].text);
    }
    if (!dp_decimal_value(&delta, f->delta) || !(delta > 0 && delta <= 1e-3))
        return fl_fail(err, FL_EFORMAT, "%s: [budget] delta: is \"%s\": must be a number above 0, at most 0.001", name,
                       f->delta);
    if (strspn(f->dataset, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != strlen(f->dataset))
        return fl_fail(err, FL_EFORMAT, "%s: [data] dataset: is no name: letters, digits, dots, dashes", name);
    return FL_OK;
}

fl_code node_policy_parse(node_policy *p, const char *text, const char *name, fl_err *err)
{
    policy_file f;
    memset(&f, 0, sizeof f);
    memset(p, 0, sizeof *p);
    FL_TRY(fl_config_parse(&f, rows, N_ROWS, text, name, err));
    FL_TRY(check_values(&f, name, err));
    memcpy(p->dataset, f.dataset, sizeof p->dataset);
    memcpy(p->epsilon, f.epsilon, sizeof p->epsilon);
    memcpy(p->delta, f.delta, sizeof p->delta);
    memcpy(p->min_noise_multiplier, f.min_noise_multiplier, sizeof p->min_noise_multiplier);
    memcpy(p->max_sampling_rate, f.max_sampling_rate, sizeof p->max_sampling_rate);
    memcpy(p->max_clip_norm, f.max_clip_norm, sizeof p->max_clip_norm);
    p->renyi_order = f.renyi_order == INT64_MIN ? 0 : (uint32_t)f.renyi_order;
    p->rungs = (uint32_t)f.rungs;
    p->max_rounds = (uint32_t)f.max_rounds;
    p->min_cohort = (uint32_t)f.min_cohort;
    p->min_slot_ms = (uint32_t)f.min_slot_ms;
    p->declared_patients = (uint32_t)f.declared_patients;
    p->multi = f.labels == 1;
    strcpy(p->releases, release_names[f.releases]);
    p->allow_burned_in = f.burned_in;
    p->allow_ultrasound = f.ultrasound;
    p->allow_capture = f.capture;
    return FL_OK;
}

fl_code node_policy_text(fl_buf *text, char path[FL_PATH_MAX], const char *dir, fl_err *err)
{
    fl_buf_init(text, NODE_POLICY_MAX_BYTES);
    fl_path(path, dir, NODE_POLICY_NAME);
    FL_TRY(fl_file_read(text, path, err));
    if (memchr(fl_buf_text(text), 0, text->size))
        return fl_fail(err, FL_EFORMAT, "%s: holds a zero byte: this is no text", path);
    return FL_OK;
}

fl_code node_policy_load(node_policy *p, const char *dir, fl_err *err)
{
    char path[FL_PATH_MAX];
    fl_buf text;
    fl_code rc = node_policy_text(&text, path, dir, err);
    if (rc == FL_OK)
        rc = node_policy_parse(p, fl_buf_text(&text), path, err);
    fl_buf_fini(&text);
    return rc;
}

void node_policy_sample(fl_buf *out)
{
    fl_buf_add_text(out,
                    "# What this hospital allows. The node refuses whatever lies outside; it never negotiates.\n"
                    "# Edited by people of the hospital; read again when the node starts or a plan is approved.\n\n");
    fl_config_sample(out, rows, N_ROWS, NULL);
}

void node_policy_for_memory(node_policy *p, const char *epsilon, const char *delta, uint32_t declared_patients)
{
    fl_buf text;
    fl_err err = {0};
    fl_buf_init(&text, 4096);
    fl_buf_printf(&text, "[data]\ndeclared_patients = %u\n[budget]\nepsilon = %s\ndelta = %s\n", declared_patients,
                  epsilon, delta);
    fl_code rc = node_policy_parse(p, fl_buf_text(&text), "policy", &err);
    assert(rc == FL_OK); /* the caller's numbers are in range */
    fl_buf_fini(&text);
}

unsigned node_policy_allow(const node_policy *p)
{
    return (p->allow_burned_in ? IMG_ALLOW_BURNED_IN : 0u) | (p->allow_ultrasound ? IMG_ALLOW_ULTRASOUND : 0u) |
           (p->allow_capture ? IMG_ALLOW_CAPTURE : 0u);
}

/* Texts that the policy and the plan were checked to be decimals with. */
static double number(const char *text)
{
    double value = NAN;
    return dp_decimal_value(&value, text) ? value : NAN;
}

/* One phase of the plan. */
static void breaks_limits(const node_policy *p, const node_terms *t, char why[200])
{
    char multiplier[DP_MICRO_TEXT];
    dp_multiplier(multiplier, t->noise_variance, t->clip_units);
    if (!(number(multiplier) >= number(p->min_noise_multiplier)))
        snprintf(why, 200, "noise_multiplier is %s, the policy wants at least %s", multiplier, p->min_noise_multiplier);
    else if (!(number(t->sampling_rate) <= number(p->max_sampling_rate)))
        snprintf(why, 200, "sampling_rate is %s, the policy allows at most %s", t->sampling_rate, p->max_sampling_rate);
    else if (!(number(t->clip_norm) <= number(p->max_clip_norm)))
        snprintf(why, 200, "clip_norm is %s, the policy allows at most %s", t->clip_norm, p->max_clip_norm);
}

bool node_policy_breaks(const node_policy *p, const node_plan *plan, char why[200])
{
    why[0] = 0;
    if (!plan->readable) /* the place of a study that is not for this hospital holds no numbers */
        snprintf(why, 200, "this version cannot read the plan");
    for (uint32_t i = 0; i < plan->n_terms && !why[0]; i++)
        breaks_limits(p, &plan->terms[i], why);
    if (why[0])
        return true;
    if (plan->rounds > p->max_rounds)
        snprintf(why, 200, "rounds are %u, the policy allows at most %u", plan->rounds, p->max_rounds);
    else if (plan->metrics_every > 0 && strcmp(p->releases, "update+metrics") != 0)
        snprintf(why, 200, "releases metrics (%s), the policy permits only updates", plan->metrics_what);
    else if (plan->multi != p->multi)
        snprintf(why, 200, "labels are %s, those of the data set are %s ([data] labels in policy.ini)",
                 plan->multi ? "sets of classes" : "one class each", p->multi ? "sets of classes" : "one class each");
    else if (plan->slot_ms < p->min_slot_ms)
        snprintf(why, 200, "slot_ms is %u, the policy wants at least %u", plan->slot_ms, p->min_slot_ms);
    return why[0] != 0;
}

/* ---- the ledger's POLICY ---------------------------------------------------------------------------------------- */

static void policy_entry(dp_entry *e, const node_policy *p, uint32_t order)
{
    e->kind = DP_POLICY;
    strcpy(e->dataset, p->dataset);
    strcpy(e->epsilon, p->epsilon);
    strcpy(e->delta, p->delta);
    e->order = order;
    e->rungs = p->rungs;
    strcpy(e->min_noise_multiplier, p->min_noise_multiplier);
    strcpy(e->max_sampling_rate, p->max_sampling_rate);
    strcpy(e->max_clip_norm, p->max_clip_norm);
    e->max_rounds = p->max_rounds;
    e->declared_patients = p->declared_patients;
    e->min_cohort = p->min_cohort;
    strcpy(e->releases, p->releases);
}

static bool same_as_ledger(const node_store *s, const node_policy *p, uint32_t order)
{
    const dp_ledger_state *ledger = led_state(s->ledger);
    const dp_policy *old = dp_replay_policy(led_replay(s->ledger), p->dataset);
    return old && ledger->filter.order == order && ledger->filter.rungs == p->rungs &&
           ledger->filter.epsilon == number(p->epsilon) && ledger->filter.delta == number(p->delta) &&
           old->min_noise_multiplier == number(p->min_noise_multiplier) &&
           old->max_sampling_rate == number(p->max_sampling_rate) && old->max_clip_norm == number(p->max_clip_norm) &&
           old->max_rounds == p->max_rounds && old->declared_patients == p->declared_patients &&
           old->min_cohort == p->min_cohort && strcmp(old->releases, p->releases) == 0;
}

/* What stands for life, in words that say what to type. */
static fl_code check_for_life(const dp_ledger_state *ledger, const node_policy *p, fl_err *err)
{
    const dp_filter *f = &ledger->filter;
    if (p->renyi_order && p->renyi_order != f->order)
        return fl_fail(err, FL_EREFUSED, "policy.ini: renyi_order is %u, the ledger's first policy fixed %u for life",
                       p->renyi_order, f->order);
    if (number(p->delta) != f->delta)
        return fl_fail(err, FL_EREFUSED, "policy.ini: delta is %s, the ledger's first policy fixed %g for life",
                       p->delta, f->delta);
    if (p->rungs != f->rungs)
        return fl_fail(err, FL_EREFUSED, "policy.ini: rungs is %u, the ledger's first policy fixed %u for life",
                       p->rungs, f->rungs);
    return FL_OK;
}

fl_code node_policy_record(node_store *s, node_state *state, const node_policy *p, uint32_t order, bool *appended,
                           fl_err *err)
{
    const dp_ledger_state *ledger = led_state(s->ledger);
    *appended = false;
    if (ledger->has_policy)
        FL_TRY(check_for_life(ledger, p, err));
    order = ledger->has_policy ? ledger->filter.order : p->renyi_order ? p->renyi_order : order;
    if (same_as_ledger(s, p, order))
        return FL_OK;
    if (p->declared_patients == 0)
        return fl_fail(err, FL_EREFUSED,
                       "policy.ini: [data] declared_patients is not typed yet: write the round number "
                       "of patients that this hospital makes public");
    dp_entry *e = calloc(1, sizeof *e);
    if (!e)
        return fl_fail(err, FL_EENV, "policy: out of memory");
    policy_entry(e, p, order);
    fl_code rc = led_append(s->ledger, e, err);
    free(e);
    if (rc)
        return fl_fail_in(err, "policy.ini");
    *appended = true;
    state->filter = led_state(s->ledger)->filter;
    state->has_filter = true;
    state->ledger_size = led_state(s->ledger)->n_entries;
    return FL_OK;
}

void node_policy_apply_to(node_state *state, uint32_t i, const node_policy *p)
{
    char why[200];
    node_plan *plan = &state->plans[i];
    plan->within_policy = !node_policy_breaks(p, plan, why) && p->declared_patients > 0;
    plan->min_cohort = p->min_cohort;
    if (!plan->approved)
        plan->declared_patients = p->declared_patients;
    else if (plan->declared_patients != p->declared_patients)
        plan->within_policy = false;
    plan->terms[0].cost = INFINITY; /* of a plan that cannot be read */
    for (uint32_t k = 0; k < plan->n_terms; k++) {
        node_terms *t = &plan->terms[k];
        t->cost = state->has_filter
                      ? dp_debit_cost(&state->filter, t->rate, t->noise_variance, t->clip_units, t->local_steps)
                      : INFINITY;
    }
    plan->metrics_cost = plan->readable && state->has_filter && plan->metrics_every > 0
                             ? dp_release_cost(&state->filter, dp_multiplier_micro(plan->metrics_variance, 1),
                                               plan->metrics_partitions)
                             : 0;
}

void node_policy_apply(node_state *state, const node_policy *p)
{
    for (uint32_t i = 0; i < state->n_plans; i++)
        node_policy_apply_to(state, i, p);
}
