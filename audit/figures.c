#include "audit/figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t terms_of(const dp_ledger_state *s, const char *study)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_charges; i++)
        n += !study || strcmp(s->charges[i].study, study) == 0;
    return n;
}

/* The bounds are of a schedule, the filter holds for every choice on the way: it may be larger, never smaller than low. */
static void compare(audit_figures *f, audit_evidence *e, const char *study)
{
    static const double ROUNDING = 1e-9;
    double least = study ? f->rdp : f->rdp < f->filter ? f->rdp : f->filter;
    if (f->has_bounds && f->low > least * (1 + ROUNDING))
        audit_find(&e->findings, 0, "this program is wrong: do not rely on its figures",
                   "the accountants contradict one another: epsilon is at least %.9g and at most %.9g", f->low, least);
}

void audit_figures_of(audit_figures *f, audit_evidence *e, const char *study)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    fl_err err = {.code = FL_OK};
    *f = (audit_figures){0};
    if (!s->has_policy)
        return;
    size_t n = terms_of(s, study);
    f->filter = study ? 0 : dp_filter_epsilon_spent(&s->filter);
    if (n > AUDIT_TERMS_MAX) {
        snprintf(f->why_not, sizeof f->why_not, "%zu different terms, more than %d: only the filter is recomputed", n,
                 AUDIT_TERMS_MAX);
        return;
    }
    f->rdp = dp_replay_epsilon(e->replay, study, s->filter.delta, &f->order);
    f->has_rdp = true;
    if (e->findings.n > 0) /* they would bound what the lines say, and the lines are in doubt; it takes the longest */
        snprintf(f->why_not, sizeof f->why_not, "the ledger has findings");
    else if (n > AUDIT_BOUNDS_MAX)
        snprintf(f->why_not, sizeof f->why_not, "%zu different terms, more than %d", n, AUDIT_BOUNDS_MAX);
    else if (dp_replay_bounds(e->replay, study, s->filter.delta, &f->low, &f->high, &err) == FL_OK)
        f->has_bounds = true;
    else
        snprintf(f->why_not, sizeof f->why_not, "%.255s", err.text);
    if (!f->has_bounds)
        f->low = f->high = 0;
    compare(f, e, study);
}

size_t audit_studies_of(audit_study **out, const audit_evidence *e)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    dp_map names = {0};
    size_t n = 0;
    audit_study *rows = calloc(AUDIT_STUDIES_MAX, sizeof *rows);
    for (size_t i = 0; rows && i < s->n_debits; i++) {
        const dp_debit *d = &s->debits[i];
        uint32_t at = dp_map_find(&names, 0, d->study, "", 0);
        if (at == DP_MAP_NONE && (n == AUDIT_STUDIES_MAX || !dp_map_put(&names, 0, d->study, "", 0, (uint32_t)n)))
            continue;
        audit_study *row = at == DP_MAP_NONE ? &rows[n++] : &rows[at];
        row->name = d->study;
        row->debits++;
        row->steps += d->steps;
    }
    dp_map_fini(&names);
    if (s->has_policy && s->n_charges <= AUDIT_TERMS_MAX) {
        for (size_t i = 0; i < n; i++)
            rows[i].rdp = dp_replay_epsilon(e->replay, rows[i].name, s->filter.delta, NULL);
    }
    *out = rows;
    return n;
}
