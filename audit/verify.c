#include "audit/audit.h"
#include "audit/evidence.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const fl_cli_option audit_verify_options[] = {
    {"key", "K.pub", "the public key to believe (default: LEDGER.jsonl.pub, else the key in GENESIS)", false},
    {"coordinator", "C.jsonl", "the coordinator's ledger: is every update in both, or in neither?", false},
    {"json", NULL, "one JSON document on stdout", false},
    {0},
};

static fl_code check_coordinator(audit_evidence *node, const char *path, fl_err *err)
{
    audit_evidence other = {0};
    if (dp_replay_state(node->replay)->is_coordinator)
        return fl_fail(err, FL_EFORMAT,
                       "%s: is a coordinator's ledger itself: --coordinator compares a node's with one", node->path);
    fl_code code = audit_evidence_read(&other, path, NULL, err);
    if (code == FL_OK && !dp_replay_state(other.replay)->is_coordinator)
        code = fl_fail(err, FL_EFORMAT, "%s: is the ledger of a node, expected the coordinator's", path);
    if (code == FL_OK) {
        for (size_t i = 0; i < other.findings.n; i++)
            audit_find(&node->findings, other.findings.items[i].entry, other.findings.items[i].why,
                       "the coordinator's ledger: %s", other.findings.items[i].what);
        code = audit_compare(node, &other, err);
    }
    if (code == FL_OK)
        code = audit_check_heads(node, &other, err);
    audit_evidence_fini(&other);
    return code;
}

/* --- the answer --- */

typedef struct study_sum {
    const char *name;
    uint64_t rounds, steps;
    double epsilon;
} study_sum;

/* One row per study, in the order of their first debit. Returns how many; *out is the caller's to free. */
static size_t sum_studies(study_sum **out, const audit_evidence *e)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    enum { MAX = 1000 };
    size_t n = 0;
    study_sum *rows = calloc(MAX, sizeof *rows);
    for (size_t i = 0; rows && i < s->n_debits; i++) {
        const dp_debit *d = &s->debits[i];
        size_t at = n;
        while (at > 0 && strcmp(rows[at - 1].name, d->study) != 0)
            at--;
        if (at == 0 && n == MAX)
            continue;
        study_sum *row = at > 0 ? &rows[at - 1] : &rows[n++];
        row->name = d->study;
        row->rounds++;
        row->steps += d->steps;
    }
    for (size_t i = 0; i < n; i++)
        rows[i].epsilon = s->has_policy ? dp_replay_epsilon(e->replay, rows[i].name, s->filter.delta, NULL) : 0;
    *out = rows;
    return n;
}

static const char *verdict_of(const audit_evidence *e)
{
    return e->findings.n == 0 && e->findings.n_more == 0 ? "verified" : "findings";
}

static void print_json(FILE *out, const audit_evidence *e)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    fl_json *j = fl_json_object(), *studies = fl_json_array(), *findings = fl_json_array();
    fl_json_set_text(j, "verdict", verdict_of(e));
    fl_json_set_text(j, "node", s->node);
    fl_json_set_text(j, "role", s->is_coordinator ? "coordinator" : "node");
    fl_json_set_int(j, "entries", (int64_t)e->n_lines);
    fl_json_set_text(j, "key_from", e->key_source);
    if (s->has_policy) {
        unsigned order;
        fl_json_set_real(j, "epsilon", dp_filter_epsilon_spent(&s->filter));
        fl_json_set_real(j, "epsilon_cap", s->filter.epsilon);
        fl_json_set_real(j, "delta", s->filter.delta);
        fl_json_set_int(j, "order", s->filter.order);
        fl_json_set_real(j, "epsilon_rdp", dp_replay_epsilon(e->replay, NULL, s->filter.delta, &order));
        fl_json_set_int(j, "rdp_order", order);
    } else {
        fl_json_set_null(j, "epsilon");
        fl_json_set_null(j, "delta");
    }
    study_sum *rows;
    size_t n = sum_studies(&rows, e);
    for (size_t i = 0; i < n; i++) {
        fl_json *row = fl_json_object();
        fl_json_set_text(row, "study", rows[i].name);
        fl_json_set_int(row, "rounds", (int64_t)rows[i].rounds);
        fl_json_set_int(row, "steps", (int64_t)rows[i].steps);
        fl_json_set_real(row, "epsilon", rows[i].epsilon);
        fl_json_push(studies, row);
    }
    free(rows);
    for (size_t i = 0; i < e->findings.n; i++) {
        fl_json *row = fl_json_object();
        fl_json_set_int(row, "entry", (int64_t)e->findings.items[i].entry);
        fl_json_set_text(row, "what", e->findings.items[i].what);
        fl_json_set_text(row, "why", e->findings.items[i].why);
        fl_json_push(findings, row);
    }
    fl_json_set(j, "studies", studies);
    fl_json_set(j, "findings", findings);
    fl_buf text;
    fl_buf_init(&text, 1 << 24);
    fl_json_print(&text, j, 2);
    fprintf(out, "%s\n", fl_buf_text(&text));
    fl_buf_fini(&text);
    fl_json_free(j);
}

static void print_text(FILE *out, const audit_evidence *e)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    for (size_t i = 0; i < e->findings.n; i++) {
        const audit_finding *f = &e->findings.items[i];
        if (f->entry)
            fprintf(out, "entry %" PRIu64 ": %s: %s\n", f->entry, f->what, f->why);
        else
            fprintf(out, "ledger: %s: %s\n", f->what, f->why);
    }
    if (e->findings.n_more)
        fprintf(out, "ledger: %" PRIu64 " further findings are not shown\n", e->findings.n_more);
    fprintf(out, "%s of %s: %" PRIu64 " entries, key from %s%s\n",
            s->is_coordinator ? "coordinator's ledger" : "ledger", s->node, e->n_lines, e->key_source,
            strcmp(e->key_source, "GENESIS") == 0 ? " (the ledger's own word: compare it with one you were given)"
                                                  : "");
    study_sum *rows;
    size_t n = sum_studies(&rows, e);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "study %s: %" PRIu64 " rounds debited, %" PRIu64 " steps, epsilon %.4f alone\n", rows[i].name,
                rows[i].rounds, rows[i].steps, rows[i].epsilon);
    free(rows);
    if (s->has_policy)
        fprintf(out, "epsilon %.4f of %g at delta %g, for every patient, all studies together (filter at order %u)\n",
                dp_filter_epsilon_spent(&s->filter), s->filter.epsilon, s->filter.delta, s->filter.order);
    fprintf(out, "%s\n", verdict_of(e));
}

int audit_verify(fl_cli *cli)
{
    fl_err err;
    audit_evidence e = {0};
    const char *coordinator = fl_cli_value(cli, "coordinator");
    fl_code code = audit_evidence_read(&e, cli->args[0], fl_cli_value(cli, "key"), &err);
    if (code == FL_OK)
        code = coordinator ? check_coordinator(&e, coordinator, &err) : audit_check_heads(&e, NULL, &err);
    int exit_code = 0;
    if (code != FL_OK) {
        exit_code = fl_cli_fail(cli, &err);
    } else {
        if (fl_cli_flag(cli, "json"))
            print_json(cli->out, &e);
        else
            print_text(cli->out, &e);
        exit_code = e.findings.n || e.findings.n_more ? 1 : 0;
    }
    audit_evidence_fini(&e);
    return exit_code;
}
