/* The coordinator as a witness of the hospitals' ledgers: whether a head extends the one held here, also after a restore,
 * whether a RELEASE stands under it, and what is held of a hospital that asks. */
#include "coordinator/host_parts.h"
#include "coordinator/query.h"
#include "privacy/cosign.h"
#include "privacy/proof.h"

#include <stdio.h>
#include <string.h>

/* ---- heads ------------------------------------------------------------------------------------------------------- */

/* The older head that a restored ledger still has, signed here before; nothing is the empty ledger. */
static bool older_head(coord_host *h, const char *note, uint64_t *size, fl_hash *root)
{
    *size = 0;
    memset(root, 0, sizeof *root);
    bool ok = note[0] == 0;
    for (size_t i = led_n_keys(h->store->ledger); i-- > 0 && !ok;) /* the newest first; it may be older than that */
        ok = dp_cosignature_verify(note, strlen(note), led_key(h->store->ledger, i), size, root, NULL) == FL_OK;
    return ok;
}

/* A head that does not extend ours, because its ledger was restored: its RESTORE names our head, stands under the new one,
 * and comes after all lines that the new head shares with an older head of ours. The new one is longer than ours, so that
 * no hospital ever sees a ledger become shorter. */
static bool is_restored(coord_host *h, const coord_event *ev)
{
    const wire_head *head = &ev->request->u.head;
    const coord_site *site = &h->state->sites[ev->site];
    char hex[DP_HEX_SIZE];
    uint64_t size;
    fl_hash root;
    dp_entry *e = h->entry;
    if (!head->restore || !head->restore[0] || ev->note_size <= site->head_size)
        return false;
    dp_hash_text(hex, &site->head_root);
    return dp_entry_parse(e, head->restore, strlen(head->restore), NULL) == FL_OK && e->kind == DP_RESTORE &&
           strcmp(e->node, ev->request->sender) == 0 && e->witness_size == site->head_size &&
           strcmp(e->witness_root, hex) == 0 &&
           dp_inclusion_verify(head->restore, strlen(head->restore), e->seq, ev->note_size, &ev->note_root,
                               head->inclusion.hashes, head->inclusion.n) &&
           older_head(h, head->older, &size, &root) && size < e->seq &&
           dp_consistency_verify(size, &root, ev->note_size, &ev->note_root, head->consistency.hashes,
                                 head->consistency.n);
}

void coord_check_head(coord_host *h, coord_event *ev)
{
    const coord_site *site = &h->state->sites[ev->site];
    const wire_proof *proof = &ev->request->u.head.consistency;
    ev->extends = dp_consistency_verify(site->head_size, &site->head_root, ev->note_size, &ev->note_root, proof->hashes,
                                        proof->n);
    if (!ev->extends && is_restored(h, ev)) {
        ev->extends = true;
        coord_host_say(h,
                       "%s restored its ledger: what followed the head of %llu lines was lost; %u debit(s) are charged "
                       "for it, the ledger goes on at %llu lines",
                       site->name, (unsigned long long)site->head_size, h->entry->missing,
                       (unsigned long long)ev->note_size);
    }
}

bool coord_has_entry(coord_host *h, const coord_event *ev)
{
    const wire_message *m = ev->request;
    const coord_site *site = &h->state->sites[ev->site];
    const char *line = m->u.released.entry;
    const wire_proof *proof = &m->u.released.inclusion;
    dp_entry *e = h->entry;
    char hex[DP_HEX_SIZE];
    dp_hash_text(hex, &m->u.released.update_hash);
    return dp_entry_parse(e, line, strlen(line), NULL) == FL_OK && e->kind == DP_RELEASE &&
           strcmp(e->node, m->sender) == 0 && strcmp(e->study, m->study) == 0 && e->round == m->round &&
           strcmp(e->debit, m->debit) == 0 && strcmp(e->update_hash, hex) == 0 &&
           e->bytes == m->u.released.update_bytes &&
           dp_inclusion_verify(line, strlen(line), e->seq, site->head_size, &site->head_root, proof->hashes, proof->n);
}

/* ---- WITNESS ----------------------------------------------------------------------------------------------------- */

static fl_code count_known(coord_host *h, const char *site, uint32_t *total, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, h->store->db, "SELECT count(*) FROM contribution WHERE site = ?", err));
    fl_bind_text(&q, 1, site);
    *total = fl_query_row(&q) ? (uint32_t)fl_column_int(&q, 0) : 0;
    return fl_query_close(&q, err);
}

static fl_code list_known(coord_host *h, const char *site, uint32_t skip, wire_known list[WIRE_KNOWN_MAX], uint32_t *n,
                          fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, h->store->db,
                         "SELECT c.study, c.round, c.debit, r.announce_hash, r.model_hash FROM contribution c"
                         " JOIN round r ON r.study = c.study AND r.round = c.round"
                         " WHERE c.site = ? ORDER BY c.rowid LIMIT ? OFFSET ?",
                         err));
    fl_bind_text(&q, 1, site);
    fl_bind_int(&q, 2, WIRE_KNOWN_MAX);
    fl_bind_int(&q, 3, skip);
    *n = 0;
    while (*n < WIRE_KNOWN_MAX && fl_query_row(&q)) {
        wire_known *k = &list[(*n)++];
        memset(k, 0, sizeof *k);
        snprintf(k->study, sizeof k->study, "%s", fl_column_text(&q, 0));
        k->round = (uint32_t)fl_column_int(&q, 1);
        snprintf(k->debit, sizeof k->debit, "%s", fl_column_text(&q, 2));
        coord_column_hash(&k->announce_hash, &q, 3);
        coord_column_hash(&k->model_hash, &q, 4);
    }
    return fl_query_close(&q, err);
}

/* The head as its owner signed it, with our newest key behind it: what is held may have been cosigned with an older one. */
static fl_code cosign_again(coord_host *h, char out[WIRE_NOTE_MAX], const char *note, fl_err *err)
{
    char origin[DP_ORIGIN_MAX];
    const size_t n = strlen(note);
    const char *last = n > 1 ? memrchr(note, '\n', n - 1) : NULL;
    out[0] = 0;
    if (!last)
        return FL_OK;
    fl_buf_clear(&h->cosigned);
    fl_buf_add(&h->cosigned, note, (size_t)(last - note) + 1);
    dp_origin(origin, h->store->name);
    dp_checkpoint_cosign(&h->cosigned, origin, &h->store->key);
    FL_TRY(fl_buf_check(&h->cosigned, "cosigned head", err));
    if (h->cosigned.size >= WIRE_NOTE_MAX)
        return fl_fail(err, FL_EREFUSED, "cosigned head of %zu bytes", h->cosigned.size);
    memcpy(out, fl_buf_text(&h->cosigned), h->cosigned.size + 1);
    return FL_OK;
}

void coord_serve_witness(coord_host *h, uint64_t ticket, const wire_message *m, uint32_t site)
{
    wire_known known[WIRE_KNOWN_MAX];
    wire_message r;
    fl_err err = {0};
    const char *name = h->state->sites[site].name;
    coord_begin_reply(h, &r, m, WIRE_WITNESSED);
    r.u.witnessed.sequence = h->memory[site].sequence;
    r.u.witnessed.known = known;
    if (cosign_again(h, r.u.witnessed.note, h->memory[site].note, &err) ||
        count_known(h, name, &r.u.witnessed.total, &err) ||
        list_known(h, name, m->u.witness.skip, known, &r.u.witnessed.n_known, &err)) {
        coord_host_say(h, "%s", err.text);
        coord_host_refuse(h, ticket, m, WIRE_E_BUSY, true, "the database cannot be read");
        return;
    }
    coord_host_send(h, ticket, &r);
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

void coord_follow_keys(uint8_t key[FL_PUBLIC_KEY_SIZE], const char *vkey, const wire_message *m)
{
    char now[DP_VKEY_MAX], origin[DP_ORIGIN_MAX];
    bool any = false;
    snprintf(now, sizeof now, "%s", vkey);
    for (uint32_t i = 0; i < m->u.rotated.n; i++) { /* the first ones may be known already: the answer was lost */
        const char *line = m->u.rotated.list[i];
        const bool follows = dp_key_follow(now, m->sender, line, strlen(line));
        if (any && !follows)
            return;
        any |= follows;
    }
    if (any)
        (void)!dp_vkey_parse(origin, key, now);
}

void coord_serve_keys(coord_host *h, uint64_t ticket, const wire_message *m)
{
    char origin[DP_ORIGIN_MAX], vkey[DP_VKEY_MAX];
    const char *list[WIRE_CHAIN_MAX];
    wire_message r;
    fl_err err = {0};
    fl_buf lines;
    uint32_t n;
    dp_origin(origin, h->store->name);
    dp_vkey_text(vkey, origin, m->u.keys.public_key);
    fl_buf_init(&lines, WIRE_CHAIN_MAX * WIRE_LINE_MAX);
    coord_begin_reply(h, &r, m, WIRE_KEY_CHAIN);
    if (led_key_chain(h->store->ledger, &lines, &n, vkey, WIRE_CHAIN_MAX, &err))
        coord_host_refuse(h, ticket, m, WIRE_E_BAD_REQUEST, false, err.text);
    else {
        char *at = (char *)lines.bytes;
        for (uint32_t i = 0; i < n; i++) {
            list[i] = at;
            at = strchr(at, '\n');
            *at++ = 0;
        }
        r.u.key_chain = (wire_lines){.list = list, .n = n};
        coord_host_send(h, ticket, &r);
    }
    fl_buf_fini(&lines);
}
