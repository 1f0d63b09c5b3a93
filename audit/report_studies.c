/* Studies, plans and who approved them, terms with their standard names, limits, completeness. */
#include "audit/report.h"

#include <inttypes.h>
#include <string.h>

static const char *name_of(const char *mechanism)
{
    if (strcmp(mechanism, DP_MECHANISM_STEP) == 0)
        return "DP-SGD: discrete Gaussian mechanism with Poisson sampling of patients";
    if (strcmp(mechanism, DP_MECHANISM_RELEASE) == 0)
        return "discrete Gaussian mechanism on counts";
    return mechanism;
}

static void add_approvals(audit_doc *d, const report_hospital *h)
{
    static const char *const columns[] = {"Study", "Approved by", "When", "Entry", "Data set", "Plan", NULL};
    if (h->n_approvals == 0) {
        audit_doc_add(d, DOC_PARA, DOC_PLAIN, "Nobody at %s has approved any plan.", h->name);
        return;
    }
    audit_doc_table(d, "Plans, and who approved them", columns);
    for (size_t i = 0; i < h->n_approvals; i++) {
        const report_approval *a = &h->approvals[i];
        audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", a->study);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", audit_show(a->approver).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", a->t);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%" PRIu64, a->seq);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", a->dataset);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, DOC_MONO "%.16s" DOC_MONO_END, a->plan_hash);
    }
    if (h->n_more_approvals)
        audit_doc_add(d, DOC_PARA, DOC_CARE, "And %s more.", report_count(h->n_more_approvals).text);
}

static void add_rounds(audit_doc *d, const report_hospital *h)
{
    static const char *const columns[] = {"Study", "From",           "To", "Debits", "Receipts", "Burned",
                                          "Open",  "Other releases", NULL};
    audit_doc_table(d, "Rounds, as this hospital's ledger has them", columns);
    for (size_t i = 0; i < h->n_studies; i++) {
        const report_study *s = &h->studies[i];
        audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->name);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "round %" PRIu32 ", %s, entry %" PRIu64, s->first_round, s->t_first,
                      s->first_seq);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "round %" PRIu32 ", %s, entry %" PRIu64, s->last_round, s->t_last,
                      s->last_seq);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(s->n_debits).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(s->n_acked).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(s->n_burned).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(s->n_open).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(s->n_others).text);
    }
}

static void add_mechanisms(audit_doc *d, const report_hospital *h)
{
    static const char *const columns[] = {"Study",
                                          "Mechanism",
                                          "Sampling rate q",
                                          "Noise multiplier",
                                          "Clip norm C",
                                          "Steps in a round",
                                          "Fewest hospitals in a round",
                                          "epsilon alone, at the filter's order",
                                          "epsilon alone, certified",
                                          NULL};
    audit_doc_table(d, "Mechanisms and their terms", columns);
    for (size_t i = 0; i < h->n_studies; i++) {
        const report_study *s = &h->studies[i];
        audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->name);
        audit_doc_add(d, DOC_CELL, s->terms_changed ? DOC_CARE : DOC_PLAIN, "%s%s",
                      s->has_terms ? name_of(s->mechanism) : "none yet",
                      s->terms_changed ? " (terms changed on the way; these are the last round's)"
                      : s->has_phases  ? " (each phase of the plan has terms of its own; these are the last round's)"
                                       : "");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->sampling_rate);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->noise_multiplier);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->clip_norm);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%" PRIu32, s->local_steps);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%" PRIu32, s->cohort_least);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_epsilon(s->epsilon).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_between(&s->bounds).text);
    }
    audit_doc_add(d, DOC_PARA, DOC_PLAIN,
                  "All patients' contributions are bounded to norm C before they are added, and noise of standard "
                  "deviation (noise "
                  "multiplier times C) is added to the sum. Adjacency: add or remove one patient. Accountant of the "
                  "budget: Renyi "
                  "divergence at order %u, fixed for life (%s in entry 1).",
                  h->order, h->file.accountant);
}

static void add_limits(audit_doc *d, const report_hospital *h)
{
    static const char *const columns[] = {"Data set",
                                          "Declared patients",
                                          "The hospital's own limits now",
                                          "What may leave",
                                          "In force since",
                                          "Contents changed",
                                          NULL};
    audit_doc_table(d, "Data sets, and the limits that the node refuses to pass", columns);
    for (size_t i = 0; i < h->n_datasets; i++) {
        const report_dataset *s = &h->datasets[i];
        audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->name);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(s->declared_patients).text);
        audit_doc_add(
            d, DOC_CELL, DOC_PLAIN,
            "noise multiplier at least %s; q at most %s; C at most %s; at most %s rounds; a round of at least "
            "%" PRIu32 " %s",
            s->min_noise_multiplier, s->max_sampling_rate, s->max_clip_norm, report_count(s->max_rounds).text,
            s->min_cohort, report_plural(s->min_cohort, "hospital", "hospitals"));
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->releases);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "entry %" PRIu64 ", %s", s->policy_seq, s->t_policy);
        if (s->n_contents > 1)
            audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s times, last %s", report_count(s->n_contents - 1).text, s->t_last);
        else
            audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->n_contents ? "never" : "empty so far");
    }
    if (h->n_more_datasets)
        audit_doc_add(d, DOC_PARA, DOC_CARE, "There are more data sets than the table can show.");
}

/* --- the coordinator's side --- */

static void add_sides(audit_doc *d, const report *r)
{
    static const char *const columns[] = {"Hospital",
                                          "Updates in its own ledger",
                                          "Received by the coordinator",
                                          "In both, with the same bytes",
                                          "Verdict",
                                          NULL};
    audit_doc_table(d, "Completeness: both ledgers beside each other", columns);
    for (size_t i = 0; i < r->n_hospitals; i++) {
        const report_hospital *h = r->hospitals[i];
        audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", h->name);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(h->n_released).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(h->n_received).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(h->n_matched).text);
        if (h->n_matched + h->n_restored != h->n_received)
            audit_doc_add(d, DOC_CELL, DOC_BAD,
                          "The coordinator received something that this ledger does not account for.");
        else if (h->n_restored > 0)
            audit_doc_add(d, DOC_CELL, DOC_CARE,
                          "Complete, but the lines of %s %s were lost with an old copy, and paid again (part 5).",
                          report_count(h->n_restored).text, report_plural(h->n_restored, "update", "updates"));
        else if (h->n_released > h->n_received)
            audit_doc_add(d, DOC_CELL, DOC_CARE,
                          "Complete. %s finished %s never reached the coordinator; they are paid for.",
                          report_count(h->n_released - h->n_received).text,
                          report_plural(h->n_released - h->n_received, "update", "updates"));
        else
            audit_doc_add(d, DOC_CELL, DOC_GOOD, "Complete.");
    }
}

static void add_coordinator(audit_doc *d, const report *r)
{
    static const char *const columns[] = {"Study", "Plan",          "Registered in entry", "From",
                                          "To",    "Rounds opened", "Models published",    NULL};
    const report_coordinator *c = r->coordinator;
    audit_doc_add(d, DOC_SUBHEADING, DOC_PLAIN, "As the coordinator %s has it", c->name);
    audit_doc_table(d, "Studies in the coordinator's ledger", columns);
    for (size_t i = 0; i < c->n_studies; i++) {
        const report_rounds *s = &c->studies[i];
        audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->name);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, DOC_MONO "%.16s" DOC_MONO_END, s->plan_hash);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%" PRIu64, s->seq);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->t_first);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->t_last);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(s->n_opened).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(s->n_published).text);
    }
    if (r->n_hospitals > 0)
        add_sides(d, r);
}

void report_studies(audit_doc *d, const report *r)
{
    audit_doc_add(d, DOC_HEADING, DOC_PLAIN, "Studies, plans, terms, completeness");
    for (size_t i = 0; i < r->n_hospitals; i++) {
        const report_hospital *h = r->hospitals[i];
        if (r->n_hospitals > 1)
            audit_doc_add(d, DOC_SUBHEADING, DOC_PLAIN, "Hospital %s", h->name);
        add_approvals(d, h);
        if (h->n_studies > 0)
            add_rounds(d, h);
        if (h->n_studies > 0)
            add_mechanisms(d, h);
        if (h->n_datasets > 0)
            add_limits(d, h);
    }
    if (r->coordinator)
        add_coordinator(d, r);
    else
        audit_doc_add(d, DOC_PARA, DOC_CARE,
                      "Completeness could not be checked: it needs the coordinator's ledger (--coordinator). A "
                      "hospital that leaves a release "
                      "out of its own ledger is found only there.");
}
