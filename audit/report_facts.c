/* One walk over a file's entries: what a report tells of it. */
#include "audit/figures.h"
#include "audit/report.h"

#include "base/grow.h"
#include "privacy/budget.h"
#include "privacy/decimal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY(to, from) snprintf(to, sizeof(to), "%s", from)

/* line counts from 0 and includes what is no entry: the place in evidence's arrays. */
typedef fl_code (*take_entry)(void *context, const dp_entry *e, uint64_t line, fl_err *err);

static fl_code walk(const audit_evidence *evidence, take_entry take, void *context, fl_err *err)
{
    dp_entry *entry = malloc(sizeof *entry);
    if (!entry)
        return fl_fail(err, FL_EENV, "%s: no memory left", evidence->path);
    const char *p = fl_buf_text(&evidence->file), *end = p + evidence->file.size;
    fl_code code = FL_OK;
    for (uint64_t line = 0; p < end && line < evidence->n_lines && code == FL_OK; line++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = newline ? (size_t)(newline - p) : (size_t)(end - p);
        if (dp_entry_parse(entry, p, n, NULL) == FL_OK)
            code = take(context, entry, line, err);
        p += n + (newline != NULL);
    }
    free(entry);
    return code;
}

/* 2026-03-01T12:34Z, which the ledger's reader checked; by the civil calendar. */
static double minute_of(const char *t)
{
    int year = 0, month = 1, day = 1, hour = 0, minute = 0;
    if (sscanf(t, "%4d-%2d-%2dT%2d:%2dZ", &year, &month, &day, &hour, &minute) != 5)
        return 0;
    year -= month <= 2;
    int era = year / 400, of_era = year - era * 400, of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return (days * 24.0 + hour) * 60 + minute;
}

static void take_times(report_file *f, const dp_entry *e)
{
    if (f->t_first[0] == 0)
        report_time(f->t_first, e->t);
    report_time(f->t_last, e->t);
    if (e->kind == DP_GENESIS) {
        COPY(f->software, e->software);
        COPY(f->accountant, e->accountant);
    }
}

/* --- red entries --- */

/* Those of the same study, reason and words are one row. */
static void add_red(report_file *f, const dp_entry *e, doc_tone tone, const char *reason, const char *what)
{
    report_red *red = NULL;
    for (size_t i = 0; i < f->n_reds && !red; i++) {
        report_red *r = &f->reds[i];
        if (r->kind == e->kind && strcmp(r->study, e->study) == 0 && strcmp(r->reason, reason) == 0 &&
            strcmp(r->what, what) == 0)
            red = r;
    }
    if (!red && f->n_reds == REPORT_REDS) {
        f->n_more_reds++;
        return;
    }
    if (!red) {
        red = &f->reds[f->n_reds++];
        *red = (report_red){.kind = e->kind, .tone = tone, .first = e->seq};
        COPY(red->study, e->study);
        COPY(red->reason, reason);
        COPY(red->what, what);
        report_time(red->t_first, e->t);
    }
    red->n++;
    red->last = e->seq;
    report_time(red->t_last, e->t);
}

/* "epsilon from 8 to 12 (more exposure)": appended where two texts differ. */
static bool add_change(fl_buf *out, const char *name, const char *before, const char *after, bool loosens)
{
    if (strcmp(before, after) == 0)
        return false;
    fl_buf_printf(out, "%s%s from %s to %s%s", out->size ? "; " : "", name, before, after,
                  loosens ? " (permits more)" : " (permits less)");
    return loosens;
}

static bool add_change_number(fl_buf *out, const char *name, uint32_t before, uint32_t after, bool more_is_looser)
{
    char texts[2][16];
    snprintf(texts[0], sizeof texts[0], "%" PRIu32, before);
    snprintf(texts[1], sizeof texts[1], "%" PRIu32, after);
    return add_change(out, name, texts[0], texts[1], more_is_looser == (after > before));
}

static double value_of(const char *decimal)
{
    double value = 0;
    return dp_decimal_value(&value, decimal) ? value : 0;
}

/* What this POLICY changes: the budget is the hospital's, the other limits are the data set's. */
static void compare_policies(report_hospital *h, const report_dataset *old, const dp_entry *e, double cap_before)
{
    fl_buf what;
    fl_buf_init(&what, 4096);
    char before[32], text[32];
    snprintf(before, sizeof before, "%g", cap_before);
    snprintf(text, sizeof text, "%g", value_of(e->epsilon));
    bool is_raised = add_change(&what, "epsilon for life", before, text, value_of(e->epsilon) > cap_before);
    bool loosens = is_raised;
    if (old) {
        loosens |= add_change(&what, "least noise multiplier", old->min_noise_multiplier, e->min_noise_multiplier,
                              value_of(e->min_noise_multiplier) < value_of(old->min_noise_multiplier));
        loosens |= add_change(&what, "largest sampling rate", old->max_sampling_rate, e->max_sampling_rate,
                              value_of(e->max_sampling_rate) > value_of(old->max_sampling_rate));
        loosens |= add_change(&what, "largest clip norm", old->max_clip_norm, e->max_clip_norm,
                              value_of(e->max_clip_norm) > value_of(old->max_clip_norm));
        loosens |= add_change(&what, "what may leave", old->releases, e->releases,
                              strlen(e->releases) > strlen(old->releases));
        loosens |= add_change_number(&what, "rounds of a study", old->max_rounds, e->max_rounds, true);
        loosens |= add_change_number(&what, "fewest hospitals in a round", old->min_cohort, e->min_cohort, false);
        if (old->declared_patients != e->declared_patients)
            fl_buf_printf(&what, "%sdeclared patients from %" PRIu32 " to %" PRIu32, what.size ? "; " : "",
                          old->declared_patients, e->declared_patients);
    }
    if (what.size > 0) {
        char line[600];
        snprintf(line, sizeof line, "data set %s: %.500s", e->dataset, fl_buf_text(&what));
        add_red(&h->file, e, is_raised ? DOC_BAD : loosens ? DOC_CARE : DOC_PLAIN, "", line);
    }
    fl_buf_fini(&what);
}

/* --- a hospital's entries --- */

static report_dataset *dataset_of(report_hospital *h, const char *name)
{
    for (size_t i = 0; i < h->n_datasets; i++) {
        if (strcmp(h->datasets[i].name, name) == 0)
            return &h->datasets[i];
    }
    if (h->n_datasets == REPORT_DATASETS) {
        h->n_more_datasets++;
        return NULL;
    }
    COPY(h->datasets[h->n_datasets].name, name);
    return &h->datasets[h->n_datasets++];
}

static void take_policy(report_hospital *h, const dp_entry *e, uint64_t line)
{
    const audit_budget *budgets = h->file.evidence.budgets;
    report_dataset *d = dataset_of(h, e->dataset);
    if (line > 0 && budgets[line - 1].epsilon > 0)
        compare_policies(h, d && d->n_policies > 0 ? d : NULL, e, budgets[line - 1].epsilon);
    else
        h->first_cap = value_of(e->epsilon);
    if (!d)
        return;
    COPY(d->min_noise_multiplier, e->min_noise_multiplier);
    COPY(d->max_sampling_rate, e->max_sampling_rate);
    COPY(d->max_clip_norm, e->max_clip_norm);
    COPY(d->releases, e->releases);
    report_time(d->t_policy, e->t);
    d->max_rounds = e->max_rounds;
    d->declared_patients = e->declared_patients;
    d->min_cohort = e->min_cohort;
    d->policy_seq = e->seq;
    d->n_policies++;
}

static void take_dataset(report_hospital *h, const dp_entry *e)
{
    report_dataset *d = dataset_of(h, e->dataset);
    if (!d || strcmp(d->commitment, e->commitment) == 0)
        return;
    COPY(d->commitment, e->commitment);
    report_time(d->t_last, e->t);
    d->n_contents++;
}

static void take_approval(report_hospital *h, const dp_entry *e)
{
    if (h->n_approvals == REPORT_APPROVALS) {
        h->n_more_approvals++;
        return;
    }
    report_approval *a = &h->approvals[h->n_approvals++];
    COPY(a->study, e->study);
    COPY(a->dataset, e->dataset);
    COPY(a->plan_hash, e->plan_hash);
    COPY(a->approver, e->approver);
    report_time(a->t, e->t);
    a->seq = e->seq;
}

/* Its place in studies; REPORT_STUDIES when there is no room. */
static size_t study_of(report_hospital *h, const char *name)
{
    for (size_t i = 0; i < h->n_studies; i++) {
        if (strcmp(h->studies[i].name, name) == 0)
            return i;
    }
    if (h->n_studies == REPORT_STUDIES)
        return REPORT_STUDIES;
    COPY(h->studies[h->n_studies].name, name);
    return h->n_studies++;
}

/* planned: the plan has phases, whose terms were approved with it (the replay finds others). */
static void take_terms(report_study *s, const dp_entry *e, double cost, bool planned)
{
    const bool same = strcmp(s->noise_multiplier, e->noise_multiplier) == 0 &&
                      strcmp(s->sampling_rate, e->sampling_rate) == 0 && s->local_steps == e->steps;
    s->terms_changed |= s->has_terms && (strcmp(s->plan_hash, e->plan_hash) != 0 || (!same && !planned));
    s->has_phases |= planned;
    if (s->last_round > 0 && e->round > s->last_round + 1)
        s->n_missing += e->round - s->last_round - 1;
    COPY(s->plan_hash, e->plan_hash);
    COPY(s->mechanism, e->mechanism);
    COPY(s->sampling_rate, e->sampling_rate);
    COPY(s->clip_norm, e->clip_norm);
    COPY(s->noise_multiplier, e->noise_multiplier);
    s->local_steps = e->steps;
    if (!s->has_terms || e->cohort < s->cohort_least)
        s->cohort_least = e->cohort;
    if (!s->has_terms)
        s->first_round = e->round;
    if (e->round > s->last_round)
        s->last_round = e->round;
    s->n_steps += e->steps;
    s->n_debits++;
    s->round_rdp = cost;
    s->has_terms = true;
}

static void take_state(report_hospital *h, report_study *s, const dp_entry *e, report_charge *c)
{
    const dp_debit *d = dp_replay_debit(h->file.evidence.replay, e->debit);
    dp_debit_state state = d ? d->state : DP_DEBIT_RESERVED;
    c->mark = state == DP_DEBIT_BURNED ? CHART_BURN : CHART_NO_MARK;
    if (!s)
        return;
    s->n_acked += state == DP_DEBIT_ACKED;
    s->n_burned += state == DP_DEBIT_BURNED;
    s->n_open += state < DP_DEBIT_ACKED;
}

static bool has_phases(const report_hospital *h, const dp_entry *e)
{
    const dp_approval *plan = dp_replay_approval(h->file.evidence.replay, e->study, e->plan_hash);
    return plan && plan->n_terms > 1;
}

static fl_code take_charge(report_hospital *h, const dp_entry *e, uint64_t line, fl_err *err)
{
    const audit_budget *budgets = h->file.evidence.budgets;
    double cost = budgets[line].spent - (line > 0 ? budgets[line - 1].spent : 0);
    if (!(cost > 0)) /* infinite before: nothing can be added */
        cost = 0;
    if (!fl_grow(&h->charges, &h->charges_capacity, h->n_charges, sizeof *h->charges))
        return fl_fail(err, FL_EENV, "report: no memory left");
    size_t at = study_of(h, e->study);
    report_study *s = at < REPORT_STUDIES ? &h->studies[at] : NULL;
    h->n_unlisted += s == NULL;
    report_charge *c = &h->charges[h->n_charges++];
    *c = (report_charge){.minute = minute_of(e->t), .rdp = cost, .cap = budgets[line].epsilon, .seq = e->seq};
    c->round = e->round;
    c->study = (uint16_t)at;
    if (s && e->kind == DP_RESERVE)
        take_terms(s, e, cost, has_phases(h, e));
    if (e->kind == DP_RESERVE)
        take_state(h, s, e, c);
    else
        c->mark = CHART_OTHER;
    if (!s)
        return FL_OK;
    s->n_others += e->kind == DP_OTHER_RELEASE;
    s->rdp += cost;
    s->last_seq = e->seq;
    report_time(s->t_last, e->t);
    if (s->t_first[0] == 0) {
        s->first_seq = e->seq;
        report_time(s->t_first, e->t);
    }
    return FL_OK;
}

static fl_code take_hospital(void *context, const dp_entry *e, uint64_t line, fl_err *err)
{
    report_hospital *h = context;
    char what[400];
    take_times(&h->file, e);
    switch (e->kind) {
    case DP_POLICY:
        take_policy(h, e, line);
        return FL_OK;
    case DP_DATASET:
        take_dataset(h, e);
        return FL_OK;
    case DP_APPROVE_PLAN:
        take_approval(h, e);
        return FL_OK;
    case DP_OTHER_RELEASE:
        snprintf(what, sizeof what, "%s%s%" PRIu32 " noised integers, noise multiplier %s (%s)", e->what,
                 e->what[0] ? ": " : "", e->cells, e->noise_multiplier, e->mechanism);
        add_red(&h->file, e, DOC_CARE, "", what);
        return take_charge(h, e, line, err);
    case DP_RESERVE:
        return take_charge(h, e, line, err);
    case DP_BURN:
    case DP_REFUSE:
        add_red(&h->file, e, e->kind == DP_BURN ? DOC_CARE : DOC_PLAIN, e->reason, "");
        return FL_OK;
    case DP_RESTORE:
        if (strcmp(e->reason, "placeholder") == 0) /* stands for a line that was lost; the RESTORE before tells of it */
            return FL_OK;
        snprintf(what, sizeof what,
                 "a witness knew a ledger of %" PRIu64 " entries; of these, this one had lost %" PRIu32 " %s",
                 e->witness_size, e->missing, report_plural(e->missing, "debit", "debits"));
        add_red(&h->file, e, DOC_BAD, e->reason, what);
        return FL_OK;
    case DP_KEY_ROTATE:
    case DP_CLOSE:
        add_red(&h->file, e, e->kind == DP_CLOSE ? DOC_PLAIN : DOC_CARE, e->reason, "");
        return FL_OK;
    default:
        return FL_OK;
    }
}

double report_epsilon_of(const report_hospital *h, double rdp)
{
    dp_filter f = h->filter;
    f.spent = rdp;
    return dp_filter_epsilon_spent(&f);
}

/* The second accountant. Where it has no answer, the best Renyi order is an upper bound at least. */
static void find_bounds(report_bounds *b, report_hospital *h, const char *study)
{
    audit_figures f;
    audit_figures_of(&f, &h->file.evidence, study);
    b->is_known = f.has_bounds || f.has_rdp;
    b->low = f.has_bounds ? f.low : -1;
    b->high = f.has_bounds ? f.high : f.rdp;
}

/* Numbers that need the whole ledger. */
static void finish_study(const report_hospital *h, report_study *s)
{
    s->epsilon = report_epsilon_of(h, s->rdp);
    if (s->round_rdp > 0)
        s->rounds_left = dp_filter_room(&h->filter, s->round_rdp, UINT32_MAX);
}

fl_code report_facts_hospital(report_hospital *h, fl_err *err)
{
    FL_TRY(walk(&h->file.evidence, take_hospital, h, err));
    const dp_ledger_state *s = dp_replay_state(h->file.evidence.replay);
    h->n_restores = s->n_restores;
    h->least_probe = UINT32_MAX;
    for (size_t i = 0; i < s->n_debits; i++) {
        const dp_debit *d = &s->debits[i];
        h->n_released += d->update_hash[0] != 0;
        if (d->update_hash[0] != 0 && d->probe < h->least_probe)
            h->least_probe = d->probe;
    }
    h->has_budget = s->has_policy;
    if (!s->has_policy)
        return FL_OK;
    h->filter = s->filter;
    h->epsilon = dp_filter_epsilon_spent(&s->filter);
    h->cap = s->filter.epsilon;
    h->delta = s->filter.delta;
    h->order = s->filter.order;
    h->rungs = s->filter.rungs;
    h->share = s->filter.spent / s->filter.cap;
    for (size_t i = 0; i < h->n_studies; i++) {
        finish_study(h, &h->studies[i]);
        find_bounds(&h->studies[i].bounds, h, h->studies[i].name);
    }
    find_bounds(&h->bounds, h, NULL);
    return FL_OK;
}

/* --- the coordinator's entries --- */

static report_rounds *rounds_of(report_coordinator *c, const char *study)
{
    for (size_t i = 0; i < c->n_studies; i++) {
        if (strcmp(c->studies[i].name, study) == 0)
            return &c->studies[i];
    }
    if (c->n_studies == REPORT_STUDIES)
        return NULL;
    COPY(c->studies[c->n_studies].name, study);
    return &c->studies[c->n_studies++];
}

static report_member *member_of(report_coordinator *c, const char *name)
{
    for (size_t i = 0; i < c->n_members; i++) {
        if (strcmp(c->members[i].name, name) == 0)
            return &c->members[i];
    }
    if (c->n_members == REPORT_MEMBERS)
        return NULL;
    COPY(c->members[c->n_members].name, name);
    return &c->members[c->n_members++];
}

static void take_received(report_coordinator *c, const dp_entry *e, const report_rounds *s)
{
    report_member *m = member_of(c, e->member);
    if (!m)
        return;
    m->n_received++;
    if (s)
        m->received[s - c->studies]++;
}

static fl_code take_coordinator(void *context, const dp_entry *e, uint64_t line, fl_err *err)
{
    report_coordinator *c = context;
    (void)line;
    (void)err;
    take_times(&c->file, e);
    report_rounds *s = e->study[0] ? rounds_of(c, e->study) : NULL;
    if (s && s->t_first[0] == 0)
        report_time(s->t_first, e->t);
    if (s)
        report_time(s->t_last, e->t);
    switch (e->kind) {
    case DP_STUDY:
        if (s) {
            COPY(s->plan_hash, e->plan_hash);
            s->seq = e->seq;
        }
        break;
    case DP_ROSTER:
        for (uint32_t i = 0; i < e->n_members; i++)
            (void)member_of(c, e->members[i].node);
        break;
    case DP_ROUND_OPEN:
        if (s)
            s->n_opened++;
        break;
    case DP_RECEIVED:
        take_received(c, e, s);
        break;
    case DP_PUBLISH:
        if (s) {
            s->n_published++;
            s->last_round = e->round;
        }
        break;
    case DP_REVOKE: {
        char what[200];
        snprintf(what, sizeof what, "hospital %s was shut out", e->member);
        add_red(&c->file, e, DOC_CARE, e->reason, what);
        break;
    }
    case DP_RESTORE:
    case DP_KEY_ROTATE:
    case DP_CLOSE:
        add_red(&c->file, e, e->kind == DP_CLOSE ? DOC_PLAIN : DOC_CARE, e->reason, "");
        break;
    default:
        break;
    }
    return FL_OK;
}

fl_code report_facts_coordinator(report_coordinator *c, fl_err *err)
{
    return walk(&c->file.evidence, take_coordinator, c, err);
}
