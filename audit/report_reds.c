/* Every red entry, and what was looked for. */
#include "audit/report.h"

#include <inttypes.h>
#include <string.h>

/* --- findings --- */

static void add_findings(audit_doc *d, const report_file *f, const char *whose, size_t *room)
{
    const audit_findings *list = &f->evidence.findings;
    for (size_t i = 0; i<list->n && * room> 0; i++, --*room) {
        audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
        audit_doc_add(d, DOC_CELL, DOC_BAD, "%s", list->items[i].ledger ? list->items[i].ledger : whose);
        if (list->items[i].entry)
            audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%" PRIu64, list->items[i].entry);
        else
            audit_doc_add(d, DOC_CELL, DOC_PLAIN, "the file as a whole");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", audit_show(list->items[i].what).text);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", list->items[i].why);
    }
}

static void add_all_findings(audit_doc *d, const report *r)
{
    static const char *const columns[] = {"Ledger of", "Entry", "What is wrong", "Why it matters", NULL};
    uint64_t n = report_findings(r);
    size_t room = REPORT_FINDINGS;
    audit_doc_add(d, DOC_SUBHEADING, DOC_PLAIN, "Findings of the verification");
    if (n == 0) {
        audit_doc_add(d, DOC_PARA, DOC_GOOD, "None. Every rule was checked on every entry.");
        return;
    }
    audit_doc_add(d, DOC_PARA, DOC_BAD,
                  "%s %s. A finding is a contradiction: the file is damaged, was changed, or tells of something that "
                  "may not be. One "
                  "change can cause several findings.",
                  report_count(n).text, report_plural(n, "finding", "findings"));
    audit_doc_table(d, "Findings", columns);
    for (size_t i = 0; i < r->n_hospitals; i++)
        add_findings(d, &r->hospitals[i]->file, r->hospitals[i]->name, &room);
    if (r->coordinator)
        add_findings(d, &r->coordinator->file, r->coordinator->name, &room);
    if (n > REPORT_FINDINGS - room)
        audit_doc_add(d, DOC_PARA, DOC_BAD, "And %s more.", report_count(n - (REPORT_FINDINGS - room)).text);
}

/* --- remarkable entries --- */

static const struct {
    const char *reason, *meaning;
} reasons[] = {
    {"not-approved", "nobody at the hospital had approved the plan, or the study was left"},
    {"over-budget", "another round would have passed the hospital's limit"},
    {"outside-policy", "the hospital's own limits do not permit it"},
    {"small-cohort", "fewer hospitals took part than this one asks for"},
    {"not-in-roster", "the consortium's list had this hospital wrong, or not at all"},
    {"bad-model", "what was sent for training was no model of the approved plan"},
    {"crash", "the node stopped in the middle of training"},
    {"training-failed", "training failed, for memory or disk"},
    {"round-closed", "the round was over before the update arrived"},
    {"update-lost", "the finished update was lost, and is never computed again"},
    {"ledger-behind-witness", "somebody had seen a longer ledger: this node ran from an old copy"},
    {"equivocation", "two copies of this node ran at the same time"},
    {"revoked", "the consortium shut the hospital out"},
    {"restored", "what an old copy had forgotten is paid again"},
    {"left", "the hospital left the study"},
};

static const char *meaning_of(const char *reason)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (strcmp(reasons[i].reason, reason) == 0)
            return reasons[i].meaning;
    }
    return reason[0] ? "a reason that this report has no words for" : "";
}

static const char *explain(const report_red *red)
{
    switch (red->kind) {
    case DP_BURN:
        if (strcmp(red->reason, "restored") == 0)
            return "A release that an old copy had forgotten was paid for again, so that the sum is right.";
        return "A round was paid for and then lost. The patients are not exposed more than the budget says, but budget "
               "was spent "
               "for nothing.";
    case DP_REFUSE:
        return "The node said no. That is the protection at work; nothing left the hospital.";
    case DP_POLICY:
        return red->tone == DOC_BAD ? "The hospital raised the limit that it had promised. Ask who decided it, and "
                                      "whether patients know."
               : red->tone == DOC_CARE
                   ? "The hospital changed its own limits, so that more is permitted than before."
                   : "The hospital changed its own limits, so that less is permitted than before, or facts.";
    case DP_OTHER_RELEASE:
        return "Something besides training updates left the hospital: noised quality figures. They are paid for from "
               "the same budget.";
    case DP_RESTORE:
        return "The node had been set back to an old copy, which forgets what was already released. What was forgotten "
               "has to be "
               "paid again.";
    case DP_KEY_ROTATE:
        return "The key that signs the ledger was replaced; the old key vouches for the new one. Ask the hospital "
               "whether it did that.";
    case DP_CLOSE:
        return "The ledger was closed: nothing may come after.";
    case DP_REVOKE:
        return "The consortium shut a hospital out.";
    default:
        return "";
    }
}

static void add_red(audit_doc *d, const report_red *red, const char *whose)
{
    audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
    audit_doc_add(d, DOC_CELL, red->tone, "%s%s", dp_kind_name(red->kind), red->tone == DOC_BAD ? " (red)" : "");
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", whose);
    if (red->n == 1)
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%" PRIu64 ", %s", red->first, red->t_first);
    else
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s times, from %" PRIu64 " (%s) to %" PRIu64 " (%s)",
                      report_count(red->n).text, red->first, red->t_first, red->last, red->t_last);
    bool has_reason = red->reason[0] != 0;
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s%s%s%s%s%s%s%s%s", explain(red), red->study[0] ? " Study " : "",
                  red->study, red->study[0] ? "." : "", has_reason ? " Reason: " : "",
                  has_reason ? audit_show(red->reason).text : "", has_reason ? ", " : "", meaning_of(red->reason),
                  has_reason ? "." : "");
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", red->what);
}

static void add_remarkable(audit_doc *d, const report *r)
{
    static const char *const columns[] = {"Kind", "Ledger of", "Entries", "What it means", "Details", NULL};
    size_t n = r->coordinator ? r->coordinator->file.n_reds : 0;
    uint64_t more = r->coordinator ? r->coordinator->file.n_more_reds : 0;
    for (size_t i = 0; i < r->n_hospitals; i++) {
        n += r->hospitals[i]->file.n_reds;
        more += r->hospitals[i]->file.n_more_reds;
    }
    audit_doc_add(d, DOC_SUBHEADING, DOC_PLAIN, "Entries that deserve a question");
    if (n == 0) {
        audit_doc_add(d, DOC_PARA, DOC_GOOD,
                      "None: no burned or refused round, no changed limit, no restored copy, no new key.");
        return;
    }
    audit_doc_add(
        d, DOC_PARA, DOC_PLAIN,
        "These entries are legal, and are no findings. They are the ones that an auditor asks the hospital about.");
    audit_doc_table(d, "Legal, but worth a question", columns);
    size_t rows = 0;
    for (size_t i = 0; i < r->n_hospitals; i++) {
        const report_file *f = &r->hospitals[i]->file;
        for (size_t j = 0; j < f->n_reds && rows < 2 * REPORT_REDS; j++, rows++)
            add_red(d, &f->reds[j], r->hospitals[i]->name);
    }
    for (size_t j = 0; r->coordinator && j < r->coordinator->file.n_reds && rows < 2 * REPORT_REDS; j++, rows++)
        add_red(d, &r->coordinator->file.reds[j], r->coordinator->name);
    if (n + more > rows)
        audit_doc_add(d, DOC_PARA, DOC_CARE, "And %s more.", report_count(n + more - rows).text);
}

/* --- what was looked for --- */

static uint64_t count_kind(const report_file *f, dp_kind kind)
{
    uint64_t n = 0;
    for (size_t i = 0; i < f->n_reds; i++)
        n += f->reds[i].kind == kind ? f->reds[i].n : 0;
    return n;
}

static void add_count(audit_doc *d, const char *what, uint64_t n, doc_tone tone)
{
    audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", what);
    audit_doc_add(d, DOC_CELL, n > 0 ? tone : DOC_PLAIN, "%s", n > 0 ? report_count(n).text : "none");
}

static void add_looked_for(audit_doc *d, const report *r)
{
    static const char *const columns[] = {"What was looked for", "Found", NULL};
    uint64_t open = 0, missing = 0, burned = 0, kinds[DP_N_KINDS] = {0}, raised = 0;
    for (size_t i = 0; i < r->n_hospitals; i++) {
        const report_hospital *h = r->hospitals[i];
        for (size_t j = 0; j < h->n_studies; j++) {
            open += h->studies[j].n_open;
            missing += h->studies[j].n_missing;
            burned += h->studies[j].n_burned;
        }
        for (int kind = 0; kind < DP_N_KINDS; kind++)
            kinds[kind] += count_kind(&h->file, (dp_kind)kind);
        for (size_t j = 0; j < h->file.n_reds; j++)
            raised += h->file.reds[j].kind == DP_POLICY && h->file.reds[j].tone == DOC_BAD;
    }
    audit_doc_table(d, "What was looked for, in the ledgers of hospitals", columns);
    add_count(d, "Contradictions (findings of the verification, a missing or wrong signature among them)",
              report_findings(r), DOC_BAD);
    add_count(d, "Limit raised after the first promise", raised, DOC_BAD);
    add_count(d, "Other changes of the hospital's limits", kinds[DP_POLICY] - raised, DOC_CARE);
    add_count(d, "Rounds paid for and lost (BURN)", burned, DOC_CARE);
    add_count(d, "Rounds refused by the node (REFUSE)", kinds[DP_REFUSE], DOC_PLAIN);
    add_count(d, "Rounds of a study in which this hospital paid for nothing, between others in which it did", missing,
              DOC_PLAIN);
    add_count(d, "Rounds paid for and without an end yet: neither a receipt nor a burn", open, DOC_CARE);
    add_count(d, "Releases besides updates (OTHER_RELEASE)", kinds[DP_OTHER_RELEASE], DOC_CARE);
    add_count(d, "Returns from an old copy (RESTORE)", kinds[DP_RESTORE], DOC_BAD);
    add_count(d, "Replaced keys (KEY_ROTATE)", kinds[DP_KEY_ROTATE], DOC_CARE);
}

void report_reds(audit_doc *d, const report *r)
{
    audit_doc_add(d, DOC_HEADING, DOC_PLAIN, "Everything red");
    add_all_findings(d, r);
    add_remarkable(d, r);
    if (r->n_hospitals > 0)
        add_looked_for(d, r);
}
