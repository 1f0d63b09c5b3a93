#include "node/restore.h"

#include "crypto/csprng.h"
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char REASON[] = "restored", PLACEHOLDER[] = "placeholder";

typedef struct restoring {
    node_store *store;
    node_state *state;
    const node_witness *witness;
    node_restored *out;
    fl_csprng random;
    dp_entry *entry; /* scratch */
} restoring;

/* ---- what is missing -------------------------------------------------------------------------------------------- */

static bool is_ours(const restoring *r, const wire_known *k)
{
    return dp_replay_debit(led_replay(r->store->ledger), k->debit) != NULL;
}

/* The plan that pays for a study: the approved one. */
static uint32_t plan_of(const node_state *state, const char *study)
{
    uint32_t found = state->n_plans;
    for (uint32_t i = 0; i < state->n_plans; i++) {
        const node_plan *p = &state->plans[i];
        if (p->readable && p->approved && strcmp(p->study, study) == 0 && (found == state->n_plans || !p->left))
            found = i;
    }
    return found;
}

static double price_of_counts(const restoring *r, const node_plan *p)
{
    return p->metrics_every == 0 ? 0
                                 : dp_release_cost(&led_state(r->store->ledger)->filter,
                                                   dp_multiplier_micro(p->metrics_variance, 1), p->metrics_partitions);
}

static double price_of_terms(const restoring *r, const node_terms *t)
{
    return dp_debit_cost(&led_state(r->store->ledger)->filter, t->rate, t->noise_variance, t->clip_units,
                         t->local_steps);
}

/* A debit that nobody knows, at the price of a plan's dearest round. */
typedef struct guess {
    uint32_t plan, round;
    double cost;   /* 0: the filter admits none */
    double counts; /* whichever round it was, it may have had them; 0: no room for them */
    uint64_t draws;
} guess;

/* The dearest terms of the plan that the filter admits (privacy/replay.h asks for them), and its metrics when there is room
 * for them too. */
static guess guess_of(const restoring *r, uint32_t plan, const dp_filter *f)
{
    const node_plan *p = &r->state->plans[plan];
    guess g = {.plan = plan};
    for (uint32_t i = 0; p->readable && p->approved && i < p->n_terms; i++) {
        const double cost = price_of_terms(r, &p->terms[i]);
        if (cost <= g.cost || !dp_filter_admits(f, cost))
            continue;
        g.cost = cost;
        g.round = p->terms[i].last;
        g.draws = (uint64_t)p->terms[i].coordinates * p->terms[i].local_steps;
    }
    const double counts = price_of_counts(r, p);
    if (g.cost > 0 && dp_filter_admits_round(f, g.cost, counts)) {
        g.counts = counts;
        g.draws += counts > 0 ? p->metrics_cells : 0;
    }
    if (!dp_filter_admits_draws(f, g.draws))
        g.cost = 0;
    return g;
}

static void charge_guess(dp_filter *f, const guess *g)
{
    dp_filter_charge_round(f, g->cost, g->counts);
    dp_filter_charge_draws(f, g->draws);
}

/* The dearest round of an approved plan that the filter still admits; cost 0 when there is none. */
static guess dearest(const restoring *r, const dp_filter *f)
{
    guess most = {.cost = 0};
    for (uint32_t i = 0; i < r->state->n_plans; i++) {
        const guess g = guess_of(r, i, f);
        if (g.cost > 0 && g.cost + g.counts > most.cost + most.counts)
            most = g;
    }
    return most;
}

/* Size of the newest head of ours that the coordinator signed: our lines and the lost ones agree up to there. */
static fl_code agreed_size(uint64_t *size, node_store *s, fl_err *err)
{
    char note[WIRE_NOTE_MAX];
    FL_TRY(node_meta_get(s, "cosigned", note, sizeof note, err));
    if (!dp_checkpoint_peek(note, strlen(note), size, NULL) || *size > led_state(s->ledger)->n_entries)
        *size = 0;
    return FL_OK;
}

/* Debits that burned in the lost lines, at most (restore.h). */
static fl_code most_unknown(uint64_t *n, const restoring *r, fl_err *err)
{
    uint64_t agreed, explained = 0;
    const dp_replay *replay = led_replay(r->store->ledger);
    FL_TRY(agreed_size(&agreed, r->store, err));
    for (uint32_t i = 0; i < r->witness->n_known; i++) {
        const dp_debit *d = dp_replay_debit(replay, r->witness->known[i].debit);
        explained += !d || d->seq > agreed;
    }
    const uint64_t lines = r->witness->size > agreed ? r->witness->size - agreed : 0;
    explained = explained ? 4 * explained - 1 : 0;
    *n = lines > explained ? (lines - explained) / 3 : 0;
    return FL_OK;
}

/* ---- what is written -------------------------------------------------------------------------------------------- */

static fl_code append(restoring *r, fl_err *err)
{
    return led_append(r->store->ledger, r->entry, err);
}

static dp_entry *fresh(restoring *r, dp_kind kind)
{
    memset(r->entry, 0, sizeof *r->entry);
    r->entry->kind = kind;
    return r->entry;
}

static fl_code append_restore(restoring *r, const char *reason, uint32_t missing, fl_err *err)
{
    dp_entry *e = fresh(r, DP_RESTORE);
    strcpy(e->reason, reason);
    e->missing = missing;
    e->witness_size = r->witness->size;
    dp_hash_text(e->witness_root, &r->witness->root);
    return append(r, err);
}

static fl_code append_burn(restoring *r, const char *study, const char *debit, uint32_t round, fl_err *err)
{
    dp_entry *e = fresh(r, DP_BURN);
    snprintf(e->study, sizeof e->study, "%s", study);
    snprintf(e->debit, sizeof e->debit, "%s", debit);
    snprintf(e->reason, sizeof e->reason, "%s", REASON);
    e->round = round;
    return append(r, err);
}

/* The noised counts that left in the same update. Their own debit is lost: another stands for it. */
static fl_code charge_counts(restoring *r, const node_plan *p, const wire_known *k, fl_err *err)
{
    uint8_t id[16];
    dp_entry *e = fresh(r, DP_OTHER_RELEASE);
    node_fill_other(e, p);
    fl_csprng_bytes(&r->random, id, sizeof id);
    fl_hex_encode(e->debit, id, sizeof id);
    snprintf(e->study, sizeof e->study, "%s", p->study);
    snprintf(e->with, sizeof e->with, "%s", k->debit);
    e->round = k->round;
    return append(r, err);
}

static fl_code charge(restoring *r, uint32_t plan, const wire_known *k, bool with_counts, fl_err *err)
{
    const node_plan *p = &r->state->plans[plan];
    dp_entry *e = fresh(r, DP_RESERVE);
    node_fill_reserve(e, p, k->round);
    snprintf(e->study, sizeof e->study, "%s", p->study);
    snprintf(e->debit, sizeof e->debit, "%s", k->debit);
    e->round = k->round;
    e->cohort = 1; /* not known any more: at least this hospital */
    dp_hash_text(e->model_hash, &k->model_hash);
    dp_hash_text(e->announce_hash, &k->announce_hash);
    fl_code rc = append(r, err);
    if (rc == FL_OK && with_counts)
        rc = charge_counts(r, p, k, err);
    if (rc == FL_EREFUSED)
        return fl_fail(
            err, rc,
            "restore: study %s: the policy in force does not cover what was released: write the epsilon into "
            "policy.ini that was in force before (rungs permitting), and run `plan approve` again",
            p->study);
    return rc ? rc : append_burn(r, p->study, k->debit, k->round, err);
}

static fl_code charge_received(restoring *r, fl_err *err)
{
    for (uint32_t i = 0; i < r->witness->n_known; i++) {
        const wire_known *k = &r->witness->known[i];
        if (is_ours(r, k))
            continue;
        const uint32_t plan = plan_of(r->state, k->study);
        const node_plan *p = &r->state->plans[plan];
        FL_TRY(charge(r, plan, k, dp_counts_in(k->round, p->metrics_every, p->rounds), err));
    }
    return FL_OK;
}

static fl_code charge_guessed(restoring *r, uint32_t n, fl_err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        const guess g = dearest(r, &led_state(r->store->ledger)->filter);
        wire_known k = {.round = g.round};
        uint8_t id[16];
        assert(g.cost > 0); /* counted before, in a filter with the same bits */
        fl_csprng_bytes(&r->random, id, sizeof id);
        fl_hex_encode(k.debit, id, sizeof id);
        FL_TRY(charge(r, g.plan, &k, g.counts > 0, err));
    }
    return FL_OK;
}

/* How many of at most `most` guesses the cap has room for, after what was received. The filter here takes what the ledger's
 * will take, debit by debit in the same order, so that both have the same bits. */
static uint32_t guesses(const restoring *r, uint64_t most)
{
    const dp_ledger_state *l = led_state(r->store->ledger);
    dp_filter filter = l->filter;
    uint32_t n = 0;
    if (!l->has_policy)
        return 0;
    for (uint32_t i = 0; i < r->witness->n_known; i++) {
        const wire_known *k = &r->witness->known[i];
        if (is_ours(r, k))
            continue;
        const node_plan *p = &r->state->plans[plan_of(r->state, k->study)];
        const bool has_counts = dp_counts_in(k->round, p->metrics_every, p->rounds);
        dp_filter_charge_round(&filter, price_of_terms(r, node_terms_of(p, k->round)),
                               has_counts ? price_of_counts(r, p) : 0);
        dp_filter_charge_draws(&filter, node_round_draws(p, k->round));
    }
    for (; n < most && n < NODE_KNOWN_MAX; n++) {
        const guess g = dearest(r, &filter);
        if (g.cost == 0)
            break;
        charge_guess(&filter, &g);
    }
    return n;
}

/* What was under way in this copy was ended somewhere else, or never will be. */
static fl_code close_open(restoring *r, fl_err *err)
{
    const dp_ledger_state *l = led_state(r->store->ledger);
    for (size_t i = l->n_debits; i-- > 0 && l->n_open > 0;) {
        const dp_debit d = l->debits[i];
        if (d.state < DP_DEBIT_ACKED)
            FL_TRY(append_burn(r, d.study, d.id, d.round, err));
    }
    return FL_OK;
}

static fl_code put_rows(restoring *r, fl_err *err)
{
    node_state *state = r->state;
    char boot[32];
    for (uint32_t i = 0; i < r->witness->n_known; i++) {
        const wire_known *k = &r->witness->known[i];
        const uint32_t plan = plan_of(state, k->study);
        if (plan < state->n_plans && state->plans[plan].last_round < k->round)
            state->plans[plan].last_round = k->round;
    }
    for (uint32_t i = 0; i < state->n_plans; i++)
        FL_TRY(node_plan_put(r->store, state, i, err));
    memset(&state->now, 0, sizeof state->now);
    state->halted = NODE_R_NONE;
    FL_TRY(node_round_put(r->store, state, err));
    if (state->boot < r->witness->sequence >> 32)
        state->boot = r->witness->sequence >> 32;
    snprintf(boot, sizeof boot, "%" PRIu64, state->boot);
    return node_meta_put(r->store, "boot", boot, err);
}

static fl_code write_all(restoring *r, fl_err *err)
{
    uint64_t most;
    const dp_ledger_state *l = led_state(r->store->ledger);
    FL_TRY(most_unknown(&most, r, err));
    r->out->guessed = guesses(r, most);
    FL_TRY(close_open(r, err));
    FL_TRY(append_restore(r, REASON, r->out->received + r->out->guessed, err));
    FL_TRY(charge_received(r, err));
    FL_TRY(charge_guessed(r, r->out->guessed, err));
    while (led_state(r->store->ledger)->n_entries <= r->witness->size)
        FL_TRY(append_restore(r, PLACEHOLDER, 0, err));
    l = led_state(r->store->ledger);
    r->state->ledger_size = l->n_entries;
    r->state->has_filter = l->has_policy;
    if (l->has_policy)
        r->state->filter = l->filter;
    return put_rows(r, err);
}

/* ---- asking whether it can be ----------------------------------------------------------------------------------- */

static fl_code check_known(restoring *r, fl_err *err)
{
    for (uint32_t i = 0; i < r->witness->n_known; i++) {
        const wire_known *k = &r->witness->known[i];
        if (is_ours(r, k))
            continue;
        if (plan_of(r->state, k->study) == r->state->n_plans)
            return fl_fail(err, FL_EREFUSED,
                           "restore: study %s: was approved after this copy was made: `cordon-node plan approve` it "
                           "again, then restore",
                           k->study);
        r->out->received++;
    }
    return FL_OK;
}

static int by_debit(const void *a, const void *b)
{
    return strcmp(((const wire_known *)a)->debit, ((const wire_known *)b)->debit);
}

/* RESTORE says how many debits are missing, and a debit is charged once: one listed twice would be owed for ever. */
static fl_code check_distinct(const node_witness *w, fl_err *err)
{
    wire_known *sorted = malloc((w->n_known + (size_t)1) * sizeof *sorted);
    if (!sorted)
        return fl_fail(err, FL_EENV, "restore: out of memory");
    fl_code rc = FL_OK;
    if (w->n_known > 0)
        memcpy(sorted, w->known, w->n_known * sizeof *sorted);
    qsort(sorted, w->n_known, sizeof *sorted, by_debit);
    for (uint32_t i = 1; i < w->n_known && rc == FL_OK; i++)
        if (by_debit(&sorted[i - 1], &sorted[i]) == 0)
            rc = fl_fail(err, FL_EFORMAT, "restore: the coordinator lists debit %s twice: its database is damaged",
                         sorted[i].debit);
    free(sorted);
    return rc;
}

static fl_code is_needed(bool *needed, node_store *s, const node_witness *w, fl_err *err)
{
    fl_hash root;
    *needed = w->size > led_state(s->ledger)->n_entries;
    if (*needed || w->size == 0)
        return FL_OK;
    FL_TRY(led_root_at(s->ledger, w->size, &root, err));
    *needed = !fl_hash_equal(&root, &w->root);
    return FL_OK;
}

static double epsilon_of(const node_store *s)
{
    const dp_ledger_state *l = led_state(s->ledger);
    return l->has_policy ? dp_filter_epsilon_spent(&l->filter) : 0;
}

static fl_code in_transaction(restoring *r, fl_err *err)
{
    FL_TRY(fl_db_begin(r->store->db, err));
    fl_code rc = r->out->was_needed ? write_all(r, err) : put_rows(r, err);
    if (rc == FL_OK && (rc = fl_db_commit(r->store->db, err)) == FL_OK)
        return FL_OK;
    fl_db_rollback(r->store->db);
    fl_err again;
    if (led_reload(r->store->ledger, &again) || node_state_load(r->state, r->store, &again))
        return fl_fail(err, FL_EENV, "%s", again.text);
    return rc;
}

fl_code node_restore(node_restored *out, node_store *s, node_state *state, const node_witness *w, fl_err *err)
{
    restoring r = {.store = s, .state = state, .witness = w, .out = out};
    memset(out, 0, sizeof *out);
    FL_TRY(check_distinct(w, err));
    FL_TRY(is_needed(&out->was_needed, s, w, err));
    if (out->was_needed)
        FL_TRY(check_known(&r, err));
    out->epsilon_before = epsilon_of(s);
    if (w->size > led_state(s->ledger)->n_entries)
        out->lost_lines = w->size - led_state(s->ledger)->n_entries;
    r.entry = malloc(sizeof *r.entry);
    if (!r.entry)
        return fl_fail(err, FL_EENV, "restore: out of memory");
    fl_csprng_init(&r.random);
    fl_code rc = in_transaction(&r, err);
    fl_csprng_fini(&r.random);
    free(r.entry);
    out->epsilon_after = epsilon_of(s);
    return rc;
}
