/* Heads of lines that a node lost and charged for: what a RESTORE may explain, and what it may not. */
#include "audit/evidence.h"

#include <string.h>

static const char WHY_RESTORED[] = "a hospital could excuse a rewritten ledger with a RESTORE that nobody accepted";

typedef struct restore_check {
    audit_evidence *node;
    bool is_witnessed;
} restore_check;

static void see(restore_check *c, uint64_t size, const fl_hash *root)
{
    const dp_ledger_state *s = dp_replay_state(c->node->replay);
    if (size >= s->restore_seq && size <= c->node->n_lines && audit_is_head(c->node, size, root))
        c->is_witnessed = true;
}

static void see_entry(void *context, const dp_entry *e)
{
    restore_check *c = context;
    const char *name = dp_replay_state(c->node->replay)->node;
    uint8_t note[DP_NOTE_MAX];
    uint64_t size;
    fl_hash root;
    for (uint32_t i = 0; e->kind == DP_ROUND_OPEN && i < e->n_members; i++)
        if (strcmp(e->members[i].node, name) == 0 && dp_hash_from_text(&root, e->members[i].hash))
            see(c, e->members[i].n, &root);
    if (e->kind != DP_RECEIVED || strcmp(e->member, name) != 0)
        return;
    size_t n = fl_base64_decode(note, sizeof note, e->checkpoint, strlen(e->checkpoint));
    if (n != SIZE_MAX && dp_checkpoint_peek((const char *)note, n, &size, &root))
        see(c, size, &root);
}

fl_code audit_check_restore(audit_evidence *node, const audit_evidence *coordinator, fl_err *err)
{
    const dp_ledger_state *s = dp_replay_state(node->replay);
    restore_check c = {.node = node};
    if (s->n_restores == 0)
        return FL_OK;
    FL_TRY(audit_evidence_each(coordinator, AUDIT_KIND(RECEIVED) | AUDIT_KIND(ROUND_OPEN), NULL, see_entry, &c, err));
    if (c.is_witnessed)
        node->lost_to = s->witness_size;
    else
        audit_find(&node->findings, s->restore_seq, WHY_RESTORED,
                   "RESTORE, and the coordinator's ledger holds no head of what came after it");
    return FL_OK;
}

bool audit_is_lost(const audit_evidence *node, uint64_t size, const fl_hash *root)
{
    const dp_ledger_state *s = dp_replay_state(node->replay);
    char hex[DP_HEX_SIZE];
    dp_hash_text(hex, root);
    return size <= node->lost_to && (size < s->witness_size || strcmp(hex, s->witness_root) == 0);
}
