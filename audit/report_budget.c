/* Epsilon over time, what is left, and what adds up over several hospitals. */
#include "audit/report.h"

#include "base/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 10, STUDY_LINES = CHART_LINES - 1 };

/* --- the picture --- */

/* By time when there is some, else by the order of the entries. */
static bool is_by_time(const report_hospital *h)
{
    return h->n_charges > 1 && h->charges[h->n_charges - 1].minute - h->charges[0].minute >= 24 * 60;
}

static double x_of(const report_hospital *h, size_t i)
{
    return is_by_time(h) ? h->charges[i].minute - h->charges[0].minute : (double)i + 1;
}

static void add_ticks(audit_chart *c, const report_hospital *h)
{
    char t[24];
    c->n_ticks = 0;
    if (!is_by_time(h)) {
        size_t n = h->n_charges, most = n < CHART_TICKS ? n : CHART_TICKS;
        for (size_t i = 0; i < most; i++) {
            size_t at = most > 1 ? 1 + i * (n - 1) / (most - 1) : 1;
            c->ticks[i].x = (double)at;
            snprintf(c->ticks[i].text, sizeof c->ticks[i].text, "%zu", at);
        }
        c->n_ticks = most;
        snprintf(c->x_name, sizeof c->x_name, "entries that cost budget, in their order (%.10s)", h->file.t_first);
        return;
    }
    for (size_t i = 0; i < 4; i++) {
        double minutes = c->x_last * (double)i / 3;
        fl_clock_text(t, (int64_t)(h->charges[0].minute + minutes) * 60);
        c->ticks[i].x = minutes;
        snprintf(c->ticks[i].text, sizeof c->ticks[i].text, "%.10s", t);
    }
    c->n_ticks = 4;
    snprintf(c->x_name, sizeof c->x_name, "date of the debit");
}

/* The line of one study, or of all together (study REPORT_STUDIES + 1). False: no memory. */
static bool add_line(audit_chart *c, const report_hospital *h, size_t study, const char *name)
{
    bool is_total = study > REPORT_STUDIES;
    chart_line *line = &c->lines[c->n_lines++];
    *line = (chart_line){.is_total = is_total, .points = malloc((h->n_charges + 1) * sizeof *line->points)};
    snprintf(line->name, sizeof line->name, "%s", name);
    double rdp = 0;
    for (size_t i = 0; line->points && i < h->n_charges; i++) {
        const report_charge *charge = &h->charges[i];
        if (!is_total && charge->study != study)
            continue;
        rdp += charge->rdp;
        line->points[line->n++] = (chart_point){
            .x = x_of(h, i), .y = report_epsilon_of(h, rdp), .mark = is_total ? charge->mark : CHART_NO_MARK};
        c->has_burns |= is_total && charge->mark == CHART_BURN;
        c->has_others |= is_total && charge->mark == CHART_OTHER;
    }
    return line->points != NULL;
}

static bool add_cap(audit_chart *c, const report_hospital *h)
{
    chart_line *line = &c->cap;
    *line = (chart_line){.name = "the hospital's limit", .points = malloc((h->n_charges + 1) * sizeof *line->points)};
    for (size_t i = 0; line->points && i < h->n_charges; i++) {
        if (i == 0 || h->charges[i].cap != h->charges[i - 1].cap)
            line->points[line->n++] = (chart_point){.x = i == 0 ? 0 : x_of(h, i), .y = h->charges[i].cap};
    }
    return line->points != NULL;
}

static bool draw(audit_chart *c, const report_hospital *h, size_t number)
{
    char name[100];
    snprintf(c->id, sizeof c->id, "chart%zu", number);
    snprintf(c->title, sizeof c->title, "Epsilon of hospital %s over time", h->name);
    snprintf(c->description, sizeof c->description,
             "Step lines that rise with each debit. All studies together reach epsilon %s at %s, after %s debits; the "
             "dashed line is the hospital's limit, %s.%s%s",
             report_epsilon(h->epsilon).text, h->file.t_last, report_count(h->n_charges).text,
             report_epsilon(h->cap).text, h->n_studies > 1 ? " Each study alone has a line of its own." : "",
             h->n_studies > STUDY_LINES ? " Only the first six studies are drawn." : "");
    c->x_last = x_of(h, h->n_charges - 1);
    c->x_last = c->x_last > 0 ? c->x_last : 1;
    add_ticks(c, h);
    snprintf(name, sizeof name, h->n_studies > 1 ? "all studies together" : "used (study %s, the only one)",
             h->studies[0].name);
    bool ok = add_cap(c, h) && add_line(c, h, REPORT_STUDIES + 1, name);
    for (size_t i = 0; i < h->n_studies && h->n_studies > 1 && i < STUDY_LINES && ok; i++) {
        snprintf(name, sizeof name, "study %s alone", h->studies[i].name);
        ok = add_line(c, h, i, name);
    }
    return ok;
}

/* The same picture in numbers: at most SAMPLES debits, the last one among them. */
static void add_samples(audit_doc *d, const report_hospital *h)
{
    static const char *const columns[] = {"Date",       "Entry", "What was paid for", "epsilon used then",
                                          "limit then", NULL};
    size_t n = h->n_charges, rows = n < SAMPLES ? n : SAMPLES;
    double rdp = 0;
    audit_doc_table(d, n > SAMPLES ? "The picture in numbers (some of the debits)" : "The picture in numbers", columns);
    for (size_t i = 0, row = 0; i < n; i++) {
        const report_charge *c = &h->charges[i];
        rdp += c->rdp;
        if (i != (rows > 1 ? row * (n - 1) / (rows - 1) : 0))
            continue;
        row++;
        char clock[24], t[24];
        fl_clock_text(clock, (int64_t)c->minute * 60);
        report_time(t, clock);
        audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", t);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%" PRIu64, c->seq);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s %" PRIu32 " of study %s%s",
                      c->mark == CHART_OTHER ? "figures of round" : "round", c->round,
                      c->study < REPORT_STUDIES ? h->studies[c->study].name : "(one of many)",
                      c->mark == CHART_BURN ? ", burned" : "");
        double epsilon = report_epsilon_of(h, rdp);
        audit_doc_add(d, DOC_CELL, epsilon > c->cap ? DOC_BAD : DOC_PLAIN, "%s", report_epsilon(epsilon).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_epsilon(c->cap).text);
    }
}

static void add_left(audit_doc *d, const report_hospital *h)
{
    static const char *const columns[] = {"Study",
                                          "Rounds paid for",
                                          "of these burned",
                                          "epsilon, this study alone",
                                          "More such rounds that the budget would pay",
                                          NULL};
    audit_doc_add(
        d, DOC_PARA, DOC_PLAIN,
        "Used: epsilon %s of %s, which is %.1f %% of the budget (in the measure in which costs add up, see Words). A "
        "round that would pass the limit is refused by the node, and would be a finding here.",
        report_epsilon(h->epsilon).text, report_epsilon(h->cap).text, ceil(1000 * fmin(h->share, 1e6)) / 10);
    if (h->n_studies == 0)
        return;
    audit_doc_table(d, "Spent and left, in rounds", columns);
    for (size_t i = 0; i < h->n_studies; i++) {
        const report_study *s = &h->studies[i];
        audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", s->name);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(s->n_debits).text);
        audit_doc_add(d, DOC_CELL, s->n_burned ? DOC_CARE : DOC_PLAIN, "%s", report_count(s->n_burned).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_epsilon(s->epsilon).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s%s",
                      s->has_terms ? report_count(s->rounds_left).text : "unknown: no round yet",
                      s->has_terms && h->n_studies > 1 ? ", if no other study took any" : "");
    }
    if (h->n_unlisted)
        audit_doc_add(d, DOC_PARA, DOC_CARE,
                      "%s more debits belong to studies beyond the first %d and are in the sums, but not in the table.",
                      report_count(h->n_unlisted).text, REPORT_STUDIES);
}

void report_budget(audit_doc *d, report *r)
{
    audit_doc_add(d, DOC_HEADING, DOC_PLAIN, "Epsilon over time, and what is left of the budget");
    for (size_t i = 0; i < r->n_hospitals; i++) {
        const report_hospital *h = r->hospitals[i];
        if (r->n_hospitals > 1)
            audit_doc_add(d, DOC_SUBHEADING, DOC_PLAIN, "Hospital %s", h->name);
        if (!h->has_budget || h->n_charges == 0) {
            audit_doc_add(d, DOC_PARA, DOC_PLAIN, "No entry of %s has cost any budget: no round was ever begun.",
                          h->name);
            continue;
        }
        d->failed |= !draw(&r->charts[i], h, i + 1);
        audit_doc_picture(d, &r->charts[i]);
        if (i == 0)
            audit_doc_add(
                d, DOC_PARA, DOC_PLAIN,
                "Each step up is one debit: the line shows what an observer of everything until then may have learned "
                "at most. The first step is the largest because a small delta has its price, paid once; each "
                "further round adds less.");
        add_samples(d, h);
        add_left(d, h);
    }
    if (r->n_hospitals == 0)
        audit_doc_add(d, DOC_PARA, DOC_PLAIN, "Needs the ledger of a hospital.");
}

/* --- several hospitals --- */

static void add_sum(audit_doc *d, const char *who, double delta, double cap, double epsilon, const report_bounds *b)
{
    audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", who);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_epsilon(epsilon).text);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_between(b).text);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_epsilon(cap).text);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_delta(delta).text);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_guess(epsilon, delta).text);
}

/* Epsilons add, deltas add. There is no lower bound of a sum: low is -1. */
static void add_group(audit_doc *d, const char *who, const report_hospital *const *list, size_t n)
{
    double delta = 0, cap = 0, epsilon = 0;
    report_bounds b = {.is_known = true, .low = -1};
    for (size_t i = 0; i < n; i++) {
        delta += list[i]->delta;
        cap += list[i]->cap;
        epsilon += list[i]->epsilon;
        b.high += list[i]->bounds.high;
        b.is_known &= list[i]->bounds.is_known;
    }
    add_sum(d, who, delta, cap, epsilon, &b);
}

static int by_epsilon(const void *a, const void *b)
{
    const report_hospital *x = *(const report_hospital *const *)a, *y = *(const report_hospital *const *)b;
    return x->epsilon > y->epsilon ? -1 : x->epsilon < y->epsilon ? 1 : strcmp(x->name, y->name);
}

/* The terms of a study of this name in some ledger that was given. */
static const report_study *terms_of(const report *r, const report_rounds *s, const report_hospital **of)
{
    for (size_t i = 0; i < r->n_hospitals; i++) {
        for (size_t j = 0; j < r->hospitals[i]->n_studies; j++) {
            const report_study *study = &r->hospitals[i]->studies[j];
            if (strcmp(study->name, s->name) != 0 || !study->has_terms || !r->hospitals[i]->has_budget)
                continue;
            *of = r->hospitals[i];
            return study;
        }
    }
    return NULL;
}

static bool is_given(const report *r, const char *name)
{
    for (size_t i = 0; i < r->n_hospitals; i++) {
        if (strcmp(r->hospitals[i]->name, name) == 0)
            return true;
    }
    return false;
}

/* What the coordinator's ledger tells of a hospital whose own ledger is missing: at least what was received was paid.
 * Returns that epsilon, 0 when there are no terms to count with. */
static double add_absent(audit_doc *d, const report *r, const report_member *m)
{
    double rdp = 0;
    bool is_whole = true;
    const report_hospital *of = NULL;
    for (size_t i = 0; i < r->coordinator->n_studies; i++) {
        const report_study *s = m->received[i] ? terms_of(r, &r->coordinator->studies[i], &of) : NULL;
        if (s)
            rdp += s->round_rdp * (double)m->received[i];
        else if (m->received[i])
            is_whole = false;
    }
    audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", m->name);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_count(m->n_received).text);
    if (m->n_received == 0)
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "nothing that the coordinator knows of");
    else if (!of)
        audit_doc_add(d, DOC_CELL, DOC_CARE, "unknown: no ledger given has the terms of its studies");
    else
        audit_doc_add(d, DOC_CELL, DOC_CARE, "epsilon %s or more at delta %s, for these updates alone%s",
                      report_epsilon(report_epsilon_of(of, rdp)).text, report_delta(of->delta).text,
                      is_whole ? "" : "; some of its studies have unknown terms and are not in this number");
    return of ? report_epsilon_of(of, rdp) : 0;
}

static void add_absent_all(audit_doc *d, const report *r)
{
    static const char *const columns[] = {"Hospital without its ledger", "Updates that the coordinator received",
                                          "What its patients were exposed to", NULL};
    size_t n = 0;
    double all = 0;
    for (size_t i = 0; i < r->coordinator->n_members; i++)
        n += !is_given(r, r->coordinator->members[i].name);
    if (n == 0) {
        audit_doc_add(
            d, DOC_PARA, DOC_GOOD,
            "The ledgers of all hospitals that the coordinator names were given: the last row is all of them.");
        return;
    }
    audit_doc_add(
        d, DOC_PARA, DOC_CARE,
        "Missing: the ledgers of %zu %s that the coordinator names. The rows above do not hold them, and one of them "
        "may be among the two largest. What follows is only what the coordinator's ledger tells: each update that "
        "it received was paid for at least once; burned rounds and other consortia are not in it.",
        n, report_plural(n, "hospital", "hospitals"));
    audit_doc_table(d, "Hospitals whose ledgers were not given", columns);
    for (size_t i = 0; i < r->coordinator->n_members; i++) {
        if (!is_given(r, r->coordinator->members[i].name))
            all += add_absent(d, r, &r->coordinator->members[i]);
    }
    for (size_t i = 0; i < r->n_hospitals; i++)
        all += r->hospitals[i]->epsilon;
    if (r->n_hospitals > 0)
        audit_doc_add(d, DOC_PARA, DOC_PLAIN,
                      "For a patient seen in all %zu hospitals that the coordinator names, the budgets count together "
                      "epsilon %s or more.",
                      n + r->n_hospitals, report_epsilon(all).text);
}

static void add_rows(audit_doc *d, const report *r)
{
    static const char *const columns[] = {"A patient seen in",
                                          "epsilon used, as the budgets count it",
                                          "epsilon used, certified",
                                          "limits for life",
                                          "delta",
                                          "best guess, from 50 %",
                                          NULL};
    const report_hospital *list[REPORT_HOSPITALS];
    char who[200];
    size_t n = 0;
    for (size_t i = 0; i < r->n_hospitals; i++) {
        if (r->hospitals[i]->has_budget)
            list[n++] = r->hospitals[i];
    }
    if (n == 0)
        return;
    qsort(list, n, sizeof list[0], by_epsilon);
    audit_doc_table(d, "One hospital, the two largest, all", columns);
    for (size_t i = 0; i < n; i++) {
        const report_hospital *h = list[i];
        snprintf(who, sizeof who, "%s alone", h->name);
        add_sum(d, who, h->delta, h->cap, h->epsilon, &h->bounds);
    }
    if (n >= 2) {
        snprintf(who, sizeof who, "%s and %s, the two with the largest epsilon", list[0]->name, list[1]->name);
        add_group(d, who, list, 2);
    }
    if (n >= 3) {
        snprintf(who, sizeof who, "all %zu hospitals whose ledgers were given", n);
        add_group(d, who, list, n);
    }
}

void report_together(audit_doc *d, const report *r)
{
    audit_doc_add(d, DOC_HEADING, DOC_PLAIN, "One hospital, two hospitals, all hospitals");
    audit_doc_add(d, DOC_PARA, DOC_PLAIN,
                  "Each hospital protects its own patients, and knows nothing of the others' patients. If the same "
                  "patient was seen in "
                  "several hospitals of the consortium, the exposures add up: epsilons add, deltas add. Nobody keeps a "
                  "list of such "
                  "patients, so the table shows all cases.");
    add_rows(d, r);
    audit_doc_add(
        d, DOC_PARA, DOC_PLAIN,
        DOC_STRONG
        "Two ways to compute one number." DOC_STRONG_END
        " The budget counts with Renyi divergences: simple, always on the safe side, and valid although later rounds "
        "depend on earlier ones; this number is the promise. The certified column is a second, independent "
        "computation (privacy loss distributions) of a schedule that was fixed in advance: the truth for such a "
        "schedule lies between the two numbers. A lower end above the first number would be a finding. Where only "
        "\"at most\" stands, there is no lower end: epsilons of several hospitals are simply added, or the second "
        "computation does not cover such terms, and the best Renyi order stands in.");
    if (r->n_hospitals <= 1 && !r->coordinator)
        audit_doc_add(d, DOC_PARA, DOC_CARE,
                      "Missing: only one ledger was given. Which other hospitals take part, and what a patient seen "
                      "there, too, was exposed "
                      "to, is in the coordinator's ledger (--coordinator) and in the ledgers of those hospitals (give "
                      "them all).");
    else if (!r->coordinator)
        audit_doc_add(d, DOC_PARA, DOC_CARE,
                      "Missing: the coordinator's ledger. Whether these are all hospitals of the consortium cannot be "
                      "told without it.");
    else
        add_absent_all(d, r);
}
