#include "audit/evidence.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char WHY_UNKNOWN[] = "an update left the hospital that its ledger does not account for";
static const char WHY_CHEAP[] = "what patients were exposed to in the lost lines may have cost more";
static const char WHY_LOST[] = "the coordinator hides a contribution, or the hospital invents one";

static bool has_update(const dp_debit *d)
{
    return d->update_hash[0] != 0;
}

/* Debits of the coordinator's RECEIVED lines, sorted, for the way back. */
static int by_debit(const void *a, const void *b)
{
    const dp_received *x = *(const dp_received *const *)a, *y = *(const dp_received *const *)b;
    return strcmp(x->debit, y->debit);
}

static int to_debit(const void *key, const void *item)
{
    return strcmp(key, (*(const dp_received *const *)item)->debit);
}

/* {RELEASE} against {RECEIVED}, both directions. */
fl_code audit_compare(audit_evidence *node, const audit_evidence *coordinator, fl_err *err)
{
    const dp_ledger_state *n = dp_replay_state(node->replay), *c = dp_replay_state(coordinator->replay);
    const dp_received **mine = malloc((c->n_received + 1) * sizeof *mine);
    if (!mine)
        return fl_fail(err, FL_EENV, "%s: no memory left", node->path);
    size_t n_mine = 0;
    for (size_t i = 0; i < c->n_received; i++) {
        const dp_received *r = &c->received[i];
        if (strcmp(r->member, n->node) != 0)
            continue;
        mine[n_mine++] = r;
        const dp_debit *d = dp_replay_debit(node->replay, r->debit);
        const bool is_charged = d && d->is_restored; /* its lines were lost; a RESTORE charged it */
        if (!d || (!has_update(d) && !is_charged))
            audit_find_in(&node->findings, c->node, r->seq, WHY_UNKNOWN,
                          "the coordinator RECEIVED debit %s, for which there is no RELEASE here", r->debit);
        else if ((has_update(d) && strcmp(d->update_hash, r->update_hash) != 0) || d->round != r->round ||
                 strcmp(d->study, r->study) != 0)
            audit_find_in(&node->findings, c->node, r->seq, WHY_UNKNOWN,
                          "the coordinator RECEIVED other bytes, or another round, for debit %s", r->debit);
    }
    qsort(mine, n_mine, sizeof *mine, by_debit);
    for (size_t i = 0; i < n->n_debits; i++) {
        const dp_debit *d = &n->debits[i];
        if ((d->state != DP_DEBIT_ACKED && !d->is_cheap) || bsearch(d->id, mine, n_mine, sizeof *mine, to_debit))
            continue;
        if (d->state == DP_DEBIT_ACKED)
            audit_find(&node->findings, d->seq, WHY_LOST,
                       "debit %s has an ACK, and the coordinator has no RECEIVED of it", d->id);
        else
            audit_find(&node->findings, d->seq, WHY_CHEAP,
                       "debit %s stands for a lost one that nobody received, at less than its plan's dearest terms",
                       d->id);
    }
    free(mine);
    return FL_OK;
}

fl_code audit_check_node(audit_evidence *node, const audit_evidence *coordinator, fl_err *err)
{
    if (coordinator)
        FL_TRY(audit_check_restore(node, coordinator, err));
    FL_TRY(audit_check_heads(node, coordinator, err));
    if (!coordinator)
        return FL_OK;
    FL_TRY(audit_compare(node, coordinator, err));
    return audit_check_rounds(node, coordinator, err);
}
