#include "audit/evidence.h"
#include "privacy/cosign.h"

#include <inttypes.h>
#include <string.h>

static const char WHY_HEAD[] = "the ledger was rewritten or cut off after others had seen it";

typedef struct head_check {
    audit_evidence *node;
    const char *coordinator_key; /* NULL: not known */
    bool is_acks;                /* entries are the node's ACK, else the coordinator's RECEIVED */
} head_check;

/* The note without its last line: the owner's signature alone. */
static size_t without_cosignature(const char *note, size_t n)
{
    const char *before = n > 1 ? memrchr(note, '\n', n - 1) : NULL;
    return before ? (size_t)(before - note) + 1 : n;
}

static fl_code verify_head(const head_check *c, const char *note, size_t n, uint64_t *size, fl_hash *root, fl_err *err)
{
    const dp_ledger_state *s = dp_replay_state(c->node->replay);
    const char *const keys[2] = {s->key, s->first_key}; /* the head may be older than a KEY_ROTATE */
    fl_code code = FL_EREFUSED;
    for (size_t i = 0; i < 2 && code != FL_OK; i++) {
        if (c->coordinator_key)
            code = dp_checkpoint_verify_cosigned(note, n, keys[i], c->coordinator_key, size, root, err);
        else
            code = dp_checkpoint_verify(note, without_cosignature(note, n), keys[i], NULL, size, root, err);
    }
    return code;
}

static void check_head(void *context, const dp_entry *e)
{
    const head_check *c = context;
    audit_evidence *node = c->node;
    uint8_t note[DP_NOTE_MAX];
    uint64_t size = 0;
    fl_hash root;
    fl_err err;
    if (e->checkpoint[0] == 0 || (!c->is_acks && strcmp(e->member, dp_replay_state(node->replay)->node) != 0))
        return;
    const char *whose = c->is_acks ? "ACK" : "the coordinator's RECEIVED";
    size_t n = fl_base64_decode(note, sizeof note, e->checkpoint, strlen(e->checkpoint));
    if (n == SIZE_MAX || verify_head(c, (const char *)note, n, &size, &root, &err) != FL_OK) {
        audit_find(&node->findings, e->seq, WHY_HEAD, "the head in %s: %s", whose,
                   n == SIZE_MAX ? "not a note" : err.text);
        return;
    }
    const dp_debit *d = dp_replay_debit(node->replay, e->debit);
    if (size < 1 || size > node->n_lines)
        audit_find(&node->findings, e->seq, WHY_HEAD, "%s saw a head of %" PRIu64 " entries, this ledger has %" PRIu64,
                   whose, size, node->n_lines);
    else if (!fl_hash_equal(&root, &node->roots[size - 1]))
        audit_find(&node->findings, e->seq, WHY_HEAD, "%s saw other lines up to entry %" PRIu64, whose, size);
    else if (d && d->release_seq > size)
        audit_find(&node->findings, e->seq, "the update went out before its debit was witnessed",
                   "%s saw a head of %" PRIu64 " entries, before the RELEASE", whose, size);
}

fl_code audit_check_heads(audit_evidence *node, const audit_evidence *coordinator, fl_err *err)
{
    head_check c = {.node = node, .is_acks = true};
    if (dp_replay_state(node->replay)->is_coordinator)
        return FL_OK;
    if (coordinator)
        c.coordinator_key = dp_replay_state(coordinator->replay)->key;
    FL_TRY(audit_evidence_each(node, DP_ACK, check_head, &c, err));
    c.is_acks = false;
    return coordinator ? audit_evidence_each(coordinator, DP_RECEIVED, check_head, &c, err) : FL_OK;
}
