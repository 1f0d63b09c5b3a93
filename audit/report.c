#include "audit/report.h"

#include "audit/audit.h"
#include "base/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OUTPUT_MAX = 64 << 20 };

const fl_cli_option audit_report_options[] = {
    {"coordinator", "C.jsonl", "the coordinator's ledger: is every update in both, and who else takes part?", false},
    {"key", "K.pub",
     "the public key to believe, for one ledger (default: FILE.pub beside each, else the key in GENESIS)", false},
    {"o", "FILE", "where the report goes (default: standard output); written whole or not at all", false},
    {"text", NULL, "plain text, not HTML", false},
    {"json", NULL, "one JSON document: the numbers, the findings, and the report's blocks", false},
    {0},
};

/* --- the first lines --- */

static void add_verdict_bad(audit_doc *d, uint64_t n)
{
    audit_doc_add(
        d, DOC_VERDICT, DOC_BAD,
        DOC_STRONG
        "NOT VERIFIED: %s %s." DOC_STRONG_END
        " Something in these files is wrong, or was changed. The numbers below were computed from what the files "
        "say; do not rely on them before each finding is explained (part 5).",
        report_count(n).text, report_plural(n, "finding", "findings"));
}

static void add_verdict_good(audit_doc *d, const report *r, bool own_key)
{
    const report_hospital *h = r->n_hospitals == 1 ? r->hospitals[0] : NULL;
    doc_tone tone = own_key ? DOC_CARE : DOC_GOOD;
    const char *word = own_key ? "VERIFIED, BUT ONLY WITH THE LEDGER'S OWN KEY." : "VERIFIED.";
    if (h && h->has_budget)
        audit_doc_add(
            d, DOC_VERDICT, tone,
            DOC_STRONG "%s" DOC_STRONG_END " The ledger of %s is unbroken, signed and within its rules: each patient "
                       "was exposed to at most " DOC_STRONG "epsilon %s" DOC_STRONG_END
                       " (delta %s); the hospital's limit is %s. What these numbers mean stands in part 1.",
            word, h->name, report_epsilon(h->epsilon).text, report_delta(h->delta).text, report_epsilon(h->cap).text);
    else if (r->n_hospitals > 1)
        audit_doc_add(d, DOC_VERDICT, tone,
                      DOC_STRONG
                      "%s" DOC_STRONG_END " The ledgers of %zu hospitals are unbroken, signed and within their rules. "
                      "What each hospital's patients were "
                      "exposed to stands in part 1, and what a patient of several hospitals was exposed to in part 4.",
                      word, r->n_hospitals);
    else
        audit_doc_add(d, DOC_VERDICT, tone,
                      DOC_STRONG "%s" DOC_STRONG_END " The ledger of %s is unbroken, signed and within its rules.",
                      word, h ? h->name : r->coordinator->name);
}

static bool uses_own_key(const report *r)
{
    bool own = r->coordinator && strcmp(r->coordinator->file.evidence.key_source, "GENESIS") == 0;
    for (size_t i = 0; i < r->n_hospitals; i++)
        own |= strcmp(r->hospitals[i]->file.evidence.key_source, "GENESIS") == 0;
    return own;
}

static void add_completeness(audit_doc *d, const report *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < r->n_hospitals; i++)
        n += r->hospitals[i]->n_matched;
    if (r->n_hospitals == 0)
        return;
    if (r->coordinator)
        audit_doc_add(d, DOC_PARA, DOC_PLAIN,
                      "Compared with the ledger of the coordinator, %s, in both directions: %s %s that the coordinator "
                      "received %s in the "
                      "ledger of the hospital that sent it, with the same bytes.",
                      r->coordinator->name, report_count(n).text, report_plural(n, "update", "updates"),
                      report_plural(n, "is", "are"));
    else
        audit_doc_add(d, DOC_PARA, DOC_CARE,
                      "The coordinator's ledger was not given. Whether something left a hospital that its own ledger "
                      "does not tell can only be "
                      "seen by comparing the two (part 6).");
}

static void add_start(audit_doc *d, const report *r)
{
    const report_file *first = r->n_hospitals > 0 ? &r->hospitals[0]->file : &r->coordinator->file;
    const char *t_first = first->t_first, *t_last = first->t_last;
    for (size_t i = 1; i < r->n_hospitals; i++) {
        const report_file *f = &r->hospitals[i]->file;
        t_first = strcmp(f->t_first, t_first) < 0 ? f->t_first : t_first;
        t_last = strcmp(f->t_last, t_last) > 0 ? f->t_last : t_last;
    }
    uint64_t n = report_findings(r);
    if (n > 0)
        add_verdict_bad(d, n);
    else
        add_verdict_good(d, r, uses_own_key(r));
    if (uses_own_key(r))
        audit_doc_add(d, DOC_PARA, DOC_CARE,
                      "For at least one file no key was given. Somebody who forges a whole ledger can put a key of "
                      "their own into it. "
                      "Get the key from the hospital in another way, and make the report again (part 8).");
    add_completeness(d, r);
    audit_doc_add(
        d, DOC_PARA, DOC_PLAIN,
        "Hospitals train a common model for reading medical images, without sending images. What they send instead can "
        "still tell a "
        "little about a patient. This report says how much at most, for the time from %s to %s. It was computed by "
        "cordon-audit %s from the ledgers, the account books that the hospitals' nodes keep; part 2 says what had "
        "to be believed for it, and the last part explains the words.",
        t_first, t_last, CORDON_VERSION);
}

fl_code report_document(audit_doc *d, report *r, fl_err *err)
{
    char title[300];
    const char *mark = report_findings(r) > 0 ? "NOT VERIFIED. " : "";
    if (r->n_hospitals == 1)
        snprintf(title, sizeof title, "%sPrivacy report: what patients of %s were exposed to", mark,
                 r->hospitals[0]->name);
    else if (r->n_hospitals > 1)
        snprintf(title, sizeof title, "%sPrivacy report: what patients of %zu hospitals were exposed to", mark,
                 r->n_hospitals);
    else
        snprintf(title, sizeof title, "%sPrivacy report: the coordinator %s", mark, r->coordinator->name);
    d->title = strdup(title);
    d->tone = mark[0] ? DOC_BAD : DOC_PLAIN;
    r->charts = calloc(r->n_hospitals + 1, sizeof *r->charts);
    if (!d->title || !r->charts)
        return fl_fail(err, FL_EENV, "report: no memory left");
    add_start(d, r);
    report_promise(d, r);
    report_trust(d, r);
    report_budget(d, r);
    report_together(d, r);
    report_reds(d, r);
    report_studies(d, r);
    report_questions(d, r);
    report_check(d, r);
    report_words(d);
    return d->failed ? fl_fail(err, FL_EENV, "report: no memory left") : FL_OK;
}

/* --- the command --- */

static fl_code render(fl_buf *page, fl_cli *cli, const report *r, const audit_doc *d, fl_err *err)
{
    if (fl_cli_flag(cli, "json"))
        return report_json(page, r, d, err);
    return fl_cli_flag(cli, "text") ? audit_doc_text(page, d, err) : audit_doc_html(page, d, err);
}

static fl_code write_out(fl_cli *cli, const report *r, const audit_doc *d, fl_err *err)
{
    fl_buf page;
    const char *path = fl_cli_value(cli, "o");
    fl_buf_init(&page, OUTPUT_MAX);
    fl_code code = render(&page, cli, r, d, err);
    if (code == FL_OK && path)
        code = fl_file_write(path, page.bytes, page.size, 0644, err);
    else if (code == FL_OK && (fwrite(page.bytes, 1, page.size, cli->out) != page.size || fflush(cli->out) != 0))
        code = fl_fail(err, FL_EENV, "standard output: cannot be written");
    fl_buf_fini(&page);
    return code;
}

int audit_report(fl_cli *cli)
{
    fl_err err;
    report r = {0};
    audit_doc d = {0};
    fl_code code = report_read(&r, cli->args, (size_t)cli->n_args, fl_cli_value(cli, "coordinator"),
                               fl_cli_value(cli, "key"), &err);
    if (code == FL_OK)
        code = report_document(&d, &r, &err);
    if (code == FL_OK)
        code = write_out(cli, &r, &d, &err);
    int exit_code = code != FL_OK ? fl_cli_fail(cli, &err) : report_findings(&r) > 0 ? 1 : 0;
    audit_doc_fini(&d);
    report_fini(&r);
    return exit_code;
}
