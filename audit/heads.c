#include "audit/evidence.h"
#include "privacy/cosign.h"
#include "proto/msg/envelope.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char WHY_HEAD[] = "the ledger was rewritten or cut off after others had seen it";
static const char WHY_RECEIPT[] = "nobody but the hospital says that the coordinator has the update";

typedef struct head_check {
    audit_evidence *node;
    const audit_evidence *coordinator; /* NULL: not known */
    bool is_acks;                      /* entries are the node's ACK, else the coordinator's RECEIVED */
    dp_map seen;     /* SHA-256 of notes: 1 when the signatures are right. ACK and RECEIVED hold the same */
    dp_map received; /* debit: position in the coordinator's state.received */
    bool no_memory;
} head_check;

/* The note without its last line: the owner's signature alone. */
static size_t without_cosignature(const char *note, size_t n)
{
    const char *before = n > 1 ? memrchr(note, '\n', n - 1) : NULL;
    return before ? (size_t)(before - note) + 1 : n;
}

/* The coordinator's key that the last line names by its hash; its newest when it names none of its keys. */
static const char *cosigner_key(const audit_evidence *coordinator, const char *note, size_t n)
{
    const char *end = n > 0 && note[n - 1] == '\n' ? note + n - 1 : note + n;
    const char *space = memrchr(note, ' ', (size_t)(end - note));
    uint8_t blob[4 + FL_SIGNATURE_SIZE];
    char hash[AUDIT_KEY_HASH];
    const char *key = NULL;
    if (space && fl_base64_decode(blob, sizeof blob, space + 1, (size_t)(end - space - 1)) == sizeof blob) {
        fl_hex_encode(hash, blob, 4);
        key = audit_key_named(coordinator, hash);
    }
    return key ? key : dp_replay_state(coordinator->replay)->key;
}

static fl_code verify_head(const head_check *c, const char *note, size_t n, uint64_t *size, fl_hash *root, fl_err *err)
{
    uint64_t claimed = 0;
    (void)!dp_checkpoint_peek(note, without_cosignature(note, n), &claimed, NULL);
    const char *before, *key = audit_key_at(c->node, claimed, &before);
    const char *const keys[2] = {key, before};
    fl_code code = FL_EREFUSED;
    for (size_t i = 0; i < 2 && code != FL_OK && keys[i]; i++) {
        if (c->coordinator)
            code = dp_checkpoint_verify_cosigned(note, n, keys[i], cosigner_key(c->coordinator, note, n), size, root,
                                                 err);
        else
            code = dp_checkpoint_verify(note, without_cosignature(note, n), keys[i], NULL, size, root, err);
    }
    return code;
}

/* A note is verified once, whoever repeats it. */
static bool is_signed(head_check *c, const char *note, size_t n, uint64_t *size, fl_hash *root, fl_err *err)
{
    char hash[DP_HEX_SIZE];
    fl_hash of_note = fl_sha256(note, n);
    dp_hash_text(hash, &of_note);
    uint32_t seen = dp_map_find(&c->seen, 0, hash, "", 0);
    if (seen == 1)
        return dp_checkpoint_peek(note, without_cosignature(note, n), size, root);
    if (seen == 0)
        (void)fl_fail(err, FL_EREFUSED, "wrong there, too");
    else
        seen = verify_head(c, note, n, size, root, err) == FL_OK;
    c->no_memory |= !dp_map_put(&c->seen, 0, hash, "", 0, seen);
    return seen == 1;
}

static void check_head(head_check *c, const dp_entry *e)
{
    audit_evidence *node = c->node;
    audit_findings *list = &node->findings;
    const char *whose = c->is_acks ? "ACK" : "the coordinator's RECEIVED";
    const char *ledger = c->is_acks ? NULL : dp_replay_state(c->coordinator->replay)->node;
    uint8_t note[DP_NOTE_MAX];
    uint64_t size = 0;
    fl_hash root;
    fl_err err;
    size_t n = fl_base64_decode(note, sizeof note, e->checkpoint, strlen(e->checkpoint));
    if (n == SIZE_MAX || !is_signed(c, (const char *)note, n, &size, &root, &err)) {
        audit_find_in(list, ledger, e->seq, WHY_HEAD, "the head in %s: %s", whose,
                      n == SIZE_MAX ? "not a note" : err.text);
        return;
    }
    const dp_debit *d = dp_replay_debit(node->replay, e->debit);
    const bool fits = size >= 1 && size <= node->n_lines && audit_is_head(node, size, &root);
    if (!fits && !c->is_acks && d && d->is_restored && audit_is_lost(node, size, &root))
        return; /* over lines that were lost; the debit was charged for the RESTORE */
    if (size < 1 || size > node->n_lines)
        audit_find_in(list, ledger, e->seq, WHY_HEAD, "%s saw a head of %" PRIu64 " entries, this ledger has %" PRIu64,
                      whose, size, node->n_lines);
    else if (!fits)
        audit_find_in(list, ledger, e->seq, WHY_HEAD, "%s saw other lines up to entry %" PRIu64, whose, size);
    else if (d && d->release_seq > size)
        audit_find_in(list, ledger, e->seq, "the update went out before its debit was witnessed",
                      "%s saw a head of %" PRIu64 " entries, before the RELEASE", whose, size);
}

/* Signed with the key that the coordinator had when it wrote RECEIVED, or with the one after: the receipt may follow later. */
static void check_receipt(head_check *c, const dp_entry *e)
{
    uint8_t signature[FL_SIGNATURE_SIZE], public_key[FL_PUBLIC_KEY_SIZE];
    char origin[DP_ORIGIN_MAX];
    fl_hash update;
    const dp_ledger_state *s = dp_replay_state(c->coordinator->replay);
    uint32_t position = dp_map_find(&c->received, 0, e->debit, "", 0);
    const char *before = NULL, *newest = s->key;
    const char *then = position == DP_MAP_NONE ? newest
                                               : audit_key_at(c->coordinator, s->received[position].seq, &before);
    const char *const keys[2] = {then, strcmp(then, newest) == 0 ? NULL : newest};
    bool ok = fl_base64_decode(signature, sizeof signature, e->receipt, strlen(e->receipt)) == sizeof signature &&
              dp_hash_from_text(&update, e->update_hash);
    bool is_good = false;
    for (size_t i = 0; i < 2 && ok && !is_good && keys[i]; i++)
        is_good = dp_vkey_parse(origin, public_key, keys[i]) &&
                  wire_receipt_verify(signature, public_key, e->study, e->round, e->node, e->debit, &update);
    if (!is_good)
        audit_find(&c->node->findings, e->seq, WHY_RECEIPT, "the receipt in ACK is not signed by the coordinator %s",
                   s->node);
}

static void check_ack(void *context, const dp_entry *e)
{
    head_check *c = context;
    if (e->checkpoint[0])
        check_head(c, e);
    else
        audit_find(&c->node->findings, e->seq, WHY_HEAD, "ACK without a head: nobody saw the ledger before the update");
    if (c->coordinator)
        check_receipt(c, e);
}

static void check_received(void *context, const dp_entry *e)
{
    head_check *c = context;
    if (e->checkpoint[0])
        check_head(c, e);
}

static fl_code index_received(head_check *c, fl_err *err)
{
    const dp_ledger_state *s = dp_replay_state(c->coordinator->replay);
    for (size_t i = 0; i < s->n_received; i++) {
        if (!dp_map_put(&c->received, 0, s->received[i].debit, "", 0, (uint32_t)i))
            return fl_fail(err, FL_EENV, "%s: no memory left", c->node->path);
    }
    return FL_OK;
}

fl_code audit_check_heads(audit_evidence *node, const audit_evidence *coordinator, fl_err *err)
{
    head_check c = {.node = node, .coordinator = coordinator, .is_acks = true};
    const dp_ledger_state *s = dp_replay_state(node->replay);
    fl_code code = FL_OK;
    if (s->is_coordinator)
        return FL_OK;
    if (coordinator)
        code = index_received(&c, err);
    if (code == FL_OK)
        code = audit_evidence_each(node, AUDIT_KIND(ACK), NULL, check_ack, &c, err);
    c.is_acks = false;
    if (code == FL_OK && coordinator)
        code = audit_evidence_each(coordinator, AUDIT_KIND(RECEIVED), s->node, check_received, &c, err);
    if (code == FL_OK && c.no_memory)
        code = fl_fail(err, FL_EENV, "%s: no memory left", node->path);
    dp_map_fini(&c.seen);
    dp_map_fini(&c.received);
    return code;
}
