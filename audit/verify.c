#include "audit/audit.h"
#include "audit/evidence.h"
#include "audit/figures.h"
#include "audit/updates.h"
#include "audit/witness.h"
#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const fl_cli_option audit_verify_options[] = {
    {"key", "K.pub", "the public key to believe (default: LEDGER.jsonl.pub, else the key in GENESIS)", false},
    {"coordinator", "C.jsonl",
     "the coordinator's ledger: rounds, models, heads, and every update in both or in neither", false},
    {"witness", "STORE", "a witness's store (cordon-audit witness): the heads in it must be heads of these lines",
     false},
    {"updates", "DIR", "a folder of released updates, named by their SHA-256: is the noise in them?", false},
    {"json", NULL, "one JSON document on stdout", false},
    {0},
};

/* What one call looks at. */
typedef struct verification {
    audit_evidence *ledgers;
    size_t n;
    audit_evidence coordinator;
    bool has_coordinator;
    witness_store witness;
    bool has_witness;
    audit_updates *updates; /* of each ledger; NULL: not asked for */
} verification;

static bool is_clean(const audit_evidence *e)
{
    return e->findings.n == 0 && e->findings.n_more == 0;
}

static bool is_all_clean(const verification *v)
{
    bool ok = !v->has_coordinator || is_clean(&v->coordinator);
    for (size_t i = 0; i < v->n; i++)
        ok &= is_clean(&v->ledgers[i]);
    return ok;
}

static const char *verdict(bool is_verified)
{
    return is_verified ? "verified" : "findings";
}

/* --- JSON --- */

static void push_findings(fl_json *list, const audit_evidence *e, bool is_other)
{
    for (size_t i = 0; i < e->findings.n; i++) {
        const audit_finding *f = &e->findings.items[i];
        const char *own = dp_replay_state(e->replay)->node;
        fl_json *row = fl_json_object();
        if (f->ledger || is_other)
            fl_json_set_text(row, "ledger", f->ledger ? f->ledger : own);
        fl_json_set_int(row, "entry", (int64_t)f->entry);
        fl_json_set_text(row, "what", f->what);
        fl_json_set_text(row, "why", f->why);
        fl_json_push(list, row);
    }
}

static void set_bounds(fl_json *j, const audit_figures *f)
{
    if (f->has_bounds) {
        fl_json_set_real(j, "epsilon_low", f->low);
        fl_json_set_real(j, "epsilon_high", f->high);
    } else {
        fl_json_set_null(j, "epsilon_low");
        fl_json_set_null(j, "epsilon_high");
    }
}

static void set_figures(fl_json *j, audit_evidence *e, const audit_figures *f)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    if (!s->has_policy) {
        fl_json_set_null(j, "epsilon");
        fl_json_set_null(j, "delta");
        return;
    }
    fl_json_set_real(j, "epsilon", f->filter);
    fl_json_set_real(j, "epsilon_cap", s->filter.epsilon);
    fl_json_set_real(j, "delta", s->filter.delta);
    fl_json_set_int(j, "order", s->filter.order);
    if (f->has_rdp) {
        fl_json_set_real(j, "epsilon_rdp", f->rdp);
        fl_json_set_int(j, "rdp_order", f->order);
    } else {
        fl_json_set_null(j, "epsilon_rdp");
    }
    set_bounds(j, f);
    if (!f->has_bounds)
        fl_json_set_text(j, "no_bounds", f->why_not);
}

static void set_studies(fl_json *j, const audit_evidence *e)
{
    audit_study *rows;
    fl_json *studies = fl_json_array();
    size_t n = audit_studies_of(&rows, e);
    for (size_t i = 0; i < n; i++) {
        fl_json *row = fl_json_object();
        fl_json_set_text(row, "study", rows[i].name);
        fl_json_set_int(row, "rounds", (int64_t)rows[i].debits);
        fl_json_set_int(row, "steps", (int64_t)rows[i].steps);
        fl_json_set_real(row, "epsilon", rows[i].rdp);
        fl_json_push(studies, row);
    }
    free(rows);
    fl_json_set(j, "studies", studies);
}

static fl_json *document(audit_evidence *e, const audit_figures *f)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    fl_json *j = fl_json_object();
    fl_json_set_text(j, "verdict", verdict(is_clean(e)));
    fl_json_set_text(j, "node", s->node);
    fl_json_set_text(j, "role", s->is_coordinator ? "coordinator" : "node");
    fl_json_set_int(j, "entries", (int64_t)e->n_lines);
    fl_json_set_text(j, "key_from", e->key_source);
    if (e->has_witness)
        fl_json_set_int(j, "witness_heads", (int64_t)e->n_witnessed);
    fl_json_set_int(j, "restores", s->n_restores);
    set_figures(j, e, f);
    set_studies(j, e);
    return j;
}

static void set_updates(fl_json *j, const audit_updates *u)
{
    fl_json *row = fl_json_object();
    fl_json_set_int(row, "released", (int64_t)u->released);
    fl_json_set_int(row, "here", (int64_t)u->here);
    fl_json_set_int(row, "tested", (int64_t)u->tested);
    fl_json_set_real(row, "noise", u->ratio);
    fl_json_set_real(row, "integers", u->probes.n);
    fl_json_set_real(row, "power", u->power);
    fl_json_set_int(row, "compared", (int64_t)u->compared);
    fl_json_set(j, "updates", row);
}

/* One ledger: its document, with the coordinator's findings among the others. Several: a list of them. */
static void print_json(FILE *out, verification *v, const audit_figures *figures)
{
    fl_json *top = fl_json_object(), *list = fl_json_array();
    for (size_t i = 0; i < v->n; i++) {
        fl_json *j = document(&v->ledgers[i], &figures[i]), *findings = fl_json_array();
        push_findings(findings, &v->ledgers[i], false);
        if (v->n == 1 && v->has_coordinator)
            push_findings(findings, &v->coordinator, true);
        fl_json_set(j, "findings", findings);
        if (v->updates && !dp_replay_state(v->ledgers[i].replay)->is_coordinator)
            set_updates(j, &v->updates[i]);
        if (v->n == 1) {
            fl_json_free(top);
            top = j;
        } else {
            fl_json_push(list, j);
        }
    }
    if (v->n > 1) {
        fl_json *findings = fl_json_array();
        if (v->has_coordinator)
            push_findings(findings, &v->coordinator, true);
        fl_json_set(top, "findings", findings);
        fl_json_set(top, "ledgers", list);
    } else {
        fl_json_free(list);
    }
    fl_json_set_text(top, "verdict", verdict(is_all_clean(v)));
    fl_buf text;
    fl_buf_init(&text, 1 << 28);
    fl_json_print(&text, top, 2);
    fprintf(out, "%s\n", fl_buf_text(&text));
    fl_buf_fini(&text);
    fl_json_free(top);
}

/* --- text --- */

static void print_findings(FILE *out, const audit_evidence *e, const char *whose)
{
    for (size_t i = 0; i < e->findings.n; i++) {
        const audit_finding *f = &e->findings.items[i];
        if (f->ledger)
            fprintf(out, "entry %" PRIu64 " of the ledger of %s: %s: %s\n", f->entry, f->ledger, f->what, f->why);
        else if (f->entry)
            fprintf(out, "%s%sentry %" PRIu64 ": %s: %s\n", whose, whose[0] ? ": " : "", f->entry, f->what, f->why);
        else
            fprintf(out, "%s: %s: %s\n", whose[0] ? whose : "ledger", f->what, f->why);
    }
    if (e->findings.n_more)
        fprintf(out, "%s: %" PRIu64 " further findings are not shown\n", whose[0] ? whose : "ledger",
                e->findings.n_more);
}

static void print_figures(FILE *out, const audit_evidence *e, const audit_figures *f)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    if (!s->has_policy)
        return;
    fprintf(out, "epsilon %.4f of %g at delta %g, for every patient, all studies together (filter at order %u)\n",
            f->filter, s->filter.epsilon, s->filter.delta, s->filter.order);
    if (f->has_rdp)
        fprintf(out, "recomputed from the debits: epsilon %.4f by the best Renyi order (%u)\n", f->rdp, f->order);
    if (f->has_bounds)
        fprintf(out, "recomputed by a second accountant: between %.4f and %.4f, for a schedule fixed in advance\n",
                f->low, f->high);
    else if (f->why_not[0])
        fprintf(out, "not recomputed by the second accountant: %s\n", f->why_not);
}

/* Not a finding: what was lost is charged. But somebody should know. */
static void print_restores(FILE *out, const audit_evidence *e)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    uint64_t debits = 0;
    for (size_t i = 0; i < s->n_debits; i++)
        debits += s->debits[i].is_restored;
    if (s->n_restores > 0)
        fprintf(out,
                "restored %u time(s), last at entry %" PRIu64 ": lines up to a witnessed head of %" PRIu64
                " were lost; %" PRIu64 " debit(s) are charged for them\n",
                s->n_restores, s->restore_seq, s->witness_size, debits);
}

static void print_ledger(FILE *out, audit_evidence *e, const audit_figures *f)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    print_findings(out, e, "");
    fprintf(out, "%s of %s: %" PRIu64 " entries, key from %s%s\n",
            s->is_coordinator ? "coordinator's ledger" : "ledger", s->node, e->n_lines, e->key_source,
            strcmp(e->key_source, "GENESIS") == 0 ? " (the ledger's own word: compare it with one you were given)"
                                                  : "");
    if (e->has_witness && e->n_witnessed > 0)
        fprintf(out, "witness: compared with %" PRIu64 " head(s) of the store\n", e->n_witnessed);
    else if (e->has_witness)
        fprintf(out, "witness: the store holds no head of this ledger: nothing was compared\n");
    audit_study *rows;
    size_t n = audit_studies_of(&rows, e);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "study %s: %" PRIu64 " rounds debited, %" PRIu64 " steps, epsilon %.4f alone\n", rows[i].name,
                rows[i].debits, rows[i].steps, rows[i].rdp);
    free(rows);
    print_restores(out, e);
    print_figures(out, e, f);
}

static void print_updates(FILE *out, const audit_updates *u)
{
    fprintf(out, "updates: %" PRIu64 " of %" PRIu64 " are in the folder, the noise of %" PRIu64 " was looked at\n",
            u->here, u->released, u->tested);
    if (u->tested == 0)
        return;
    fprintf(out, "noise: %.2f %% of the claimed, in %.0f integers of pure noise; ", 100 * u->ratio, u->probes.n);
    if (u->power >= 0.999)
        fprintf(out, "a shortfall of 5 %% would have been found\n");
    else
        fprintf(out, "too few to be sure of a shortfall of 5 %% (found with %.1f %%; it takes %d)\n", 100 * u->power,
                DP_PRESENCE_LEAST);
}

static void print_text(FILE *out, verification *v, const audit_figures *figures)
{
    for (size_t i = 0; i < v->n; i++) {
        print_ledger(out, &v->ledgers[i], &figures[i]);
        if (v->updates && !dp_replay_state(v->ledgers[i].replay)->is_coordinator)
            print_updates(out, &v->updates[i]);
        if (v->n > 1)
            fprintf(out, "%s\n\n", verdict(is_clean(&v->ledgers[i])));
    }
    if (v->has_coordinator)
        print_findings(out, &v->coordinator, "the coordinator's ledger");
    fprintf(out, "%s\n", verdict(is_all_clean(v)));
}

/* --- the work --- */

static fl_code read_coordinator(verification *v, const char *path, fl_err *err)
{
    FL_TRY(audit_evidence_read(&v->coordinator, path, NULL, err));
    v->has_coordinator = true;
    if (v->has_witness)
        audit_check_witness(&v->coordinator, &v->witness);
    if (!dp_replay_state(v->coordinator.replay)->is_coordinator)
        return fl_fail(err, FL_EFORMAT, "%s: is the ledger of a node, expected the coordinator's", path);
    return audit_check_coordinator(&v->coordinator, err);
}

static fl_code check_ledger(verification *v, audit_evidence *e, const char *updates, fl_err *err)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    if (!s->is_coordinator)
        FL_TRY(audit_check_node(e, v->has_coordinator ? &v->coordinator : NULL, err));
    if (v->has_witness)
        audit_check_witness(e, &v->witness); /* a RESTORE that the coordinator accepted explains heads of lost lines */
    if (!s->is_coordinator)
        return v->updates ? audit_check_updates(&v->updates[e - v->ledgers], e, updates, err) : FL_OK;
    if (v->has_coordinator)
        return fl_fail(err, FL_EFORMAT,
                       "%s: is a coordinator's ledger itself: --coordinator compares a node's with one", e->path);
    return audit_check_coordinator(e, err);
}

static fl_code check_together(verification *v, fl_err *err)
{
    audit_evidence **nodes = calloc(v->n, sizeof *nodes);
    size_t n = 0;
    if (!nodes)
        return fl_fail(err, FL_EENV, "ledgers: no memory left");
    for (size_t i = 0; i < v->n; i++) {
        if (!dp_replay_state(v->ledgers[i].replay)->is_coordinator)
            nodes[n++] = &v->ledgers[i];
    }
    const fl_code rc = audit_check_together(nodes, n, err);
    free(nodes);
    return rc;
}

static fl_code verify_all(verification *v, fl_cli *cli, fl_err *err)
{
    const char *key = fl_cli_value(cli, "key"), *coordinator = fl_cli_value(cli, "coordinator");
    const char *witness = fl_cli_value(cli, "witness"), *updates = fl_cli_value(cli, "updates");
    if (key && cli->n_args > 1)
        return fl_fail(err, FL_EFORMAT, "--key: belongs to one ledger: put LEDGER.jsonl.pub beside each instead");
    v->ledgers = calloc((size_t)cli->n_args, sizeof *v->ledgers);
    if (updates)
        v->updates = calloc((size_t)cli->n_args, sizeof *v->updates);
    if (!v->ledgers || (updates && !v->updates))
        return fl_fail(err, FL_EENV, "ledgers: no memory left");
    if (witness) {
        FL_TRY(audit_witness_read(&v->witness, witness, err));
        v->has_witness = true;
    }
    if (coordinator)
        FL_TRY(read_coordinator(v, coordinator, err));
    for (int i = 0; i < cli->n_args; i++) {
        v->n++;
        FL_TRY(audit_evidence_read(&v->ledgers[i], cli->args[i], key, err));
        FL_TRY(check_ledger(v, &v->ledgers[i], updates, err));
    }
    return check_together(v, err);
}

static int answer(verification *v, fl_cli *cli, fl_err *err)
{
    audit_figures *figures = calloc(v->n, sizeof *figures);
    if (!figures) {
        (void)fl_fail(err, FL_EENV, "ledgers: no memory left");
        return fl_cli_fail(cli, err);
    }
    for (size_t i = 0; i < v->n; i++)
        audit_figures_of(&figures[i], &v->ledgers[i], NULL);
    if (fl_cli_flag(cli, "json"))
        print_json(cli->out, v, figures);
    else
        print_text(cli->out, v, figures);
    free(figures);
    return is_all_clean(v) ? 0 : 1;
}

int audit_verify(fl_cli *cli)
{
    fl_err err;
    verification v = {0};
    int exit_code = verify_all(&v, cli, &err) == FL_OK ? answer(&v, cli, &err) : fl_cli_fail(cli, &err);
    for (size_t i = 0; i < v.n; i++)
        audit_evidence_fini(&v.ledgers[i]);
    free(v.ledgers);
    free(v.updates);
    audit_evidence_fini(&v.coordinator);
    witness_store_fini(&v.witness);
    return exit_code;
}
