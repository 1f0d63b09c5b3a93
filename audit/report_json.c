/* The report for programs: numbers from the facts, and the document's blocks, so that it says what the page says. */
#include "audit/report.h"
#include "base/json.h"

#include <math.h>
#include <string.h>

static void set_bounds(fl_json *j, const report_bounds *b)
{
    if (b->is_known && b->low >= 0)
        fl_json_set_real(j, "epsilon_low", b->low);
    else
        fl_json_set_null(j, "epsilon_low");
    if (b->is_known)
        fl_json_set_real(j, "epsilon_high", b->high);
    else
        fl_json_set_null(j, "epsilon_high");
}

static fl_json *study(const report_study *s)
{
    fl_json *j = fl_json_object();
    fl_json_set_text(j, "study", s->name);
    fl_json_set_int(j, "debits", (int64_t)s->n_debits);
    fl_json_set_int(j, "receipts", (int64_t)s->n_acked);
    fl_json_set_int(j, "burned", (int64_t)s->n_burned);
    fl_json_set_int(j, "open", (int64_t)s->n_open);
    fl_json_set_int(j, "other_releases", (int64_t)s->n_others);
    fl_json_set_int(j, "rounds_left", (int64_t)s->rounds_left);
    fl_json_set_real(j, "epsilon", s->epsilon);
    set_bounds(j, &s->bounds);
    return j;
}

static fl_json *hospital(const report_hospital *h)
{
    fl_json *j = fl_json_object(), *studies = fl_json_array();
    fl_json_set_text(j, "node", h->name);
    fl_json_set_int(j, "entries", (int64_t)h->file.evidence.n_lines);
    fl_json_set_text(j, "until", h->file.t_last);
    if (h->has_budget) {
        fl_json_set_real(j, "epsilon", h->epsilon);
        fl_json_set_real(j, "epsilon_cap", h->cap);
        fl_json_set_real(j, "epsilon_cap_first", h->first_cap);
        fl_json_set_real(j, "delta", h->delta);
        set_bounds(j, &h->bounds);
    }
    for (size_t i = 0; i < h->n_studies; i++)
        fl_json_push(studies, study(&h->studies[i]));
    fl_json_set(j, "studies", studies);
    return j;
}

static void push_findings(fl_json *list, const report_file *f, const char *whose)
{
    const audit_findings *findings = &f->evidence.findings;
    for (size_t i = 0; i < findings->n; i++) {
        fl_json *j = fl_json_object();
        fl_json_set_text(j, "ledger", findings->items[i].ledger ? findings->items[i].ledger : whose);
        fl_json_set_int(j, "entry", (int64_t)findings->items[i].entry);
        fl_json_set_text(j, "what", findings->items[i].what);
        fl_json_set_text(j, "why", findings->items[i].why);
        fl_json_push(list, j);
    }
}

/* Marks are left out: a program knows where a cell begins. */
static fl_json *block(const doc_block *b)
{
    static const char *const kinds[] = {"heading", "subheading", "verdict", "paragraph", "item",   "code",
                                        "table",   "head",       "row",     "cell",      "picture"};
    static const char *const tones[] = {"plain", "good", "care", "bad"};
    char text[DOC_TEXT_MAX];
    size_t n = 0;
    for (const char *p = b->text; *p && n + 1 < sizeof text; p++) {
        if (*p < 1 || *p > 6)
            text[n++] = *p;
    }
    text[n] = 0;
    fl_json *j = fl_json_object();
    fl_json_set_text(j, "kind", kinds[b->kind]);
    fl_json_set_text(j, "tone", tones[b->tone]);
    fl_json_set_text(j, "text", text);
    return j;
}

fl_code report_json(fl_buf *out, const report *r, const audit_doc *d, fl_err *err)
{
    fl_json *j = fl_json_object(), *hospitals = fl_json_array(), *findings = fl_json_array(), *blocks = fl_json_array();
    fl_json_set_text(j, "verdict", report_findings(r) > 0 ? "findings" : "verified");
    for (size_t i = 0; i < r->n_hospitals; i++) {
        fl_json_push(hospitals, hospital(r->hospitals[i]));
        push_findings(findings, &r->hospitals[i]->file, r->hospitals[i]->name);
    }
    if (r->coordinator) {
        fl_json_set_text(j, "coordinator", r->coordinator->name);
        push_findings(findings, &r->coordinator->file, r->coordinator->name);
    } else {
        fl_json_set_null(j, "coordinator");
    }
    for (size_t i = 0; i < d->n; i++)
        fl_json_push(blocks, block(&d->blocks[i]));
    fl_json_set(j, "hospitals", hospitals);
    fl_json_set(j, "findings", findings);
    fl_json_set(j, "blocks", blocks);
    fl_json_print(out, j, 2);
    fl_buf_add_text(out, "\n");
    fl_json_free(j);
    return fl_buf_check(out, "report", err);
}
