#include "privacy/replay.h"

#include "privacy/entry.h"
#include "privacy/replay_state.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char WHY_CHAIN[] = "lines were changed, removed, added or moved after they were written";
static const char WHY_FORM[] = "two readers could understand the line differently";
static const char WHY_BUDGET[] = "patients were exposed to more than the hospital promised them";
static const char WHY_ORDER[] =
    "a release that was not debited, or debited once and released twice, is not accounted for";

/* --- helpers that the rules of both roles use --- */

void dp_report(dp_checker *c, const char *why, const char *format, ...)
{
    char what[320];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    c->n++;
    if (c->finding)
        c->finding(c->context, c->seq, what, why);
}

uint32_t dp_find(const dp_replay *r, dp_name_kind kind, const char *a, const char *b, uint32_t number)
{
    return dp_map_find(&r->names, (uint8_t)kind, a, b, number);
}

fl_code dp_remember(dp_replay *r, dp_name_kind kind, const char *a, const char *b, uint32_t number, size_t position,
                    fl_err *err)
{
    assert(position < DP_MAP_NONE); /* fl_grow keeps arrays below */
    bool ok = dp_map_put(&r->names, (uint8_t)kind, a, b, number, (uint32_t)position);
    return ok ? FL_OK : dp_no_memory(err);
}

/* --- the rules that both roles share --- */

static void check_genesis(dp_checker *c, const dp_entry *e)
{
    char origin[DP_ORIGIN_MAX], key_origin[DP_ORIGIN_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    dp_origin(origin, e->node);
    if (!dp_vkey_parse(key_origin, public_key, e->key) || strcmp(origin, key_origin) != 0)
        dp_report(c, WHY_CHAIN, "GENESIS holds the key of another ledger");
    if (strcmp(e->role, "node") != 0 && strcmp(e->role, "coordinator") != 0)
        dp_report(c, WHY_FORM, "GENESIS has the unknown role %s", e->role);
    if (strcmp(e->adjacency, "add_remove") != 0 || strcmp(e->unit, "patient") != 0 ||
        strcmp(e->accountant, DP_ACCOUNTANT) != 0)
        dp_report(c, "epsilon would mean something else",
                  "GENESIS counts by %s, %s, %s: expected %s, add_remove, patient", e->accountant, e->adjacency,
                  e->unit, DP_ACCOUNTANT);
}

static bool kind_belongs(dp_kind kind, bool is_coordinator)
{
    switch (kind) {
    case DP_GENESIS:
    case DP_KEY_ROTATE:
    case DP_RESTORE:
    case DP_EXPORT:
    case DP_CLOSE:
        return true;
    default:
        return is_coordinator == (kind >= DP_STUDY);
    }
}

static void check_key_rotate(dp_checker *c, const dp_entry *e)
{
    char origin[DP_ORIGIN_MAX], key_origin[DP_ORIGIN_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    dp_origin(origin, c->r->state.node);
    if (!dp_vkey_parse(key_origin, public_key, e->key) || strcmp(origin, key_origin) != 0 ||
        !dp_key_rotate_verify(e->signature, &c->r->state.head, e->key, c->r->state.key))
        dp_report(c, "somebody else could have taken the ledger over", "KEY_ROTATE is not signed by the key before");
    else
        c->is_rotated = true;
}

/* The rules for one entry, except chain and form. */
static void check_entry(dp_checker *c, const dp_entry *e)
{
    const dp_replay *r = c->r;
    if (!r->has_genesis) {
        if (e->kind == DP_GENESIS)
            check_genesis(c, e);
        else
            dp_report(c, WHY_CHAIN, "the first entry is %s: expected GENESIS", dp_kind_name(e->kind));
        return;
    }
    if (strcmp(e->node, r->state.node) != 0)
        dp_report(c, WHY_CHAIN, "the entry is of %s, the ledger of %s", e->node, r->state.node);
    if (strcmp(e->t, r->state.t) < 0)
        dp_report(c, WHY_CHAIN, "time goes back from %s to %s", r->state.t, e->t);
    if (e->v != 0 && e->v < r->state.version)
        dp_report(c, WHY_FORM, "a line of version %u after one of version %u", e->v, r->state.version);
    if (r->state.is_closed)
        dp_report(c, WHY_ORDER, "%s after CLOSE", dp_kind_name(e->kind));
    if (e->kind == DP_GENESIS)
        dp_report(c, WHY_CHAIN, "a second GENESIS");
    else if (!kind_belongs(e->kind, r->state.is_coordinator))
        dp_report(c, WHY_FORM, "%s does not belong into the ledger of a %s", dp_kind_name(e->kind),
                  r->state.is_coordinator ? "coordinator" : "node");
    else if (e->kind == DP_KEY_ROTATE)
        check_key_rotate(c, e);
    else if (e->kind == DP_EXPORT || e->kind == DP_CLOSE)
        return;
    else if (r->state.is_coordinator)
        dp_check_coordinator(c, e);
    else
        dp_check_node(c, e);
}

/* What was written happened, legal or not. */
static fl_code apply_entry(dp_replay *r, const dp_entry *e, bool is_rotated, fl_err *err)
{
    dp_ledger_state *s = &r->state;
    if (!r->has_genesis) {
        r->has_genesis = true;
        DP_COPY(s->node, e->node);
        if (e->kind == DP_GENESIS) {
            s->is_coordinator = strcmp(e->role, "coordinator") == 0;
            DP_COPY(s->key, e->key);
            DP_COPY(s->first_key, e->key);
        }
    }
    DP_COPY(s->t, e->t);
    if (s->version < e->v)
        s->version = e->v;
    switch (e->kind) {
    case DP_GENESIS:
    case DP_EXPORT:
        return FL_OK;
    case DP_KEY_ROTATE:
        if (is_rotated)
            DP_COPY(s->key, e->key);
        return FL_OK;
    case DP_CLOSE:
        s->is_closed = true;
        return FL_OK;
    default:
        if (!kind_belongs(e->kind, s->is_coordinator))
            return FL_OK;
        return s->is_coordinator ? dp_apply_coordinator(r, e, err) : dp_apply_node(r, e, err);
    }
}

/* --- the public half --- */

fl_code dp_no_memory(fl_err *err)
{
    return fl_fail(err, FL_EENV, "ledger: no memory left");
}

fl_code dp_replay_create(dp_replay **out, dp_replay_trust trust, dp_finding finding, void *context, fl_err *err)
{
    dp_replay *r = calloc(1, sizeof *r);
    if (!r)
        return dp_no_memory(err);
    r->trust = trust;
    r->finding = finding;
    r->context = context;
    *out = r;
    return FL_OK;
}

void dp_replay_destroy(dp_replay *r)
{
    if (!r)
        return;
    dp_studies_free(r);
    dp_map_fini(&r->names);
    free(r->state.policies);
    free(r->state.approvals);
    free(r->state.debits);
    free(r->state.charges);
    free(r->state.received);
    free(r);
}

static void check_chain(dp_checker *c, const dp_entry *e)
{
    fl_hash prev;
    if (e->seq != c->r->last_seq + 1)
        dp_report(c, WHY_CHAIN, "seq is %llu: expected %llu", (unsigned long long)e->seq,
                  (unsigned long long)c->r->last_seq + 1);
    if (!dp_hash_from_text(&prev, e->prev) || !fl_hash_equal(&prev, &c->r->state.head))
        dp_report(c, WHY_CHAIN, "prev is not the hash of the line before");
}

fl_code dp_replay_line(dp_replay *r, const char *line, size_t n, fl_err *err)
{
    fl_err own;
    dp_entry *e = &r->entry;
    dp_checker c = {.r = r, .finding = r->finding, .context = r->context, .seq = r->last_seq + 1};
    fl_err *reason = err ? err : &own;
    fl_code code = dp_entry_read(e, line, n, r->trust == DP_REPLAY_TRUSTED, reason);
    if (code == FL_OK) {
        c.seq = e->seq;
        check_chain(&c, e);
        check_entry(&c, e);
        code = apply_entry(r, e, c.is_rotated, err);
        r->last_seq = e->seq;
    } else if (code == FL_EFORMAT) {
        dp_report(&c, WHY_FORM, "%s", reason->text);
        r->last_seq++;
    }
    r->state.head = dp_line_hash(line, n);
    dp_tree_append(&r->state.tree, line, n);
    r->state.n_entries = r->last_seq;
    r->state.n_findings += c.n;
    return code;
}

void dp_replay_end(dp_replay *r)
{
    dp_checker c = {.r = r, .finding = r->finding, .context = r->context, .seq = r->last_seq};
    if (!r->has_genesis)
        dp_report(&c, WHY_CHAIN, "the ledger has no GENESIS");
    if (r->state.owed > 0)
        dp_report(&c, WHY_BUDGET, "%u debit(s) from before a RESTORE were never charged", r->state.owed);
    c.seq = r->unexplained;
    if (r->unexplained > r->state.restore_seq)
        dp_report(&c, WHY_ORDER, "BURN for a RESTORE that is not there");
    r->state.n_findings += c.n;
}

const dp_ledger_state *dp_replay_state(const dp_replay *r)
{
    return &r->state;
}

const dp_debit *dp_replay_debit(const dp_replay *r, const char *debit)
{
    uint32_t position = r->state.is_coordinator ? DP_MAP_NONE : dp_find(r, DP_BY_DEBIT, debit, "", 0);
    return position == DP_MAP_NONE ? NULL : &r->state.debits[position];
}

const dp_policy *dp_replay_policy(const dp_replay *r, const char *dataset)
{
    uint32_t position = dp_find(r, DP_BY_DATASET, dataset, "", 0);
    return position == DP_MAP_NONE ? NULL : &r->state.policies[position];
}

const dp_approval *dp_replay_approval(const dp_replay *r, const char *study, const char *plan_hash)
{
    uint32_t position = dp_find(r, DP_BY_APPROVAL, study, plan_hash, 0);
    return position == DP_MAP_NONE ? NULL : &r->state.approvals[position];
}

static void first_words(void *context, uint64_t seq, const char *what, const char *why)
{
    (void)seq;
    fl_err *err = context;
    if (err && err->code == FL_OK)
        (void)fl_fail(err, FL_EREFUSED, "ledger: %s: %s", what, why);
}

fl_code dp_replay_would(dp_replay *r, const dp_entry *e, fl_err *err)
{
    fl_err own = {.code = FL_OK};
    dp_checker c = {.r = r, .finding = first_words, .context = &own, .seq = r->last_seq + 1};
    fl_buf line;
    fl_buf_init(&line, 2 * DP_LINE_MAX);
    fl_code code = dp_entry_compose(&line, e, r->last_seq + 1, &r->state.head, &own);
    if (code == FL_OK) {
        check_entry(&c, e);
        code = own.code;
    }
    fl_buf_fini(&line);
    if (code != FL_OK && err)
        *err = own;
    return code;
}

/* A multiplier below a millionth is debited as none, and no noise is no protection. */
static double rdp_of(const dp_charge *c, unsigned order)
{
    return c->segment.sigma > 0 ? dp_rdp_compose(&c->segment, 1, order) : INFINITY;
}

double dp_replay_epsilon(const dp_replay *r, const char *study, double delta, unsigned *best_order)
{
    const dp_ledger_state *s = &r->state;
    double best = 0;
    unsigned best_at = dp_orders[0];
    for (size_t i = 0; i < DP_N_ORDERS; i++) {
        double rdp = 0;
        for (size_t j = 0; j < s->n_charges; j++) {
            if (!study || strcmp(s->charges[j].study, study) == 0)
                rdp += rdp_of(&s->charges[j], dp_orders[i]);
        }
        double epsilon = rdp > 0 ? dp_rdp_to_epsilon(rdp, dp_orders[i], delta) : 0;
        if (i == 0 || epsilon < best) {
            best = epsilon;
            best_at = dp_orders[i];
        }
    }
    if (best_order)
        *best_order = best_at;
    return best;
}
