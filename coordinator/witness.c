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
    return note[0] == 0 ||
           dp_cosignature_verify(note, strlen(note), led_vkey(h->store->ledger), size, root, NULL) == FL_OK;
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

void coord_serve_witness(coord_host *h, uint64_t ticket, const wire_message *m, uint32_t site)
{
    wire_known known[WIRE_KNOWN_MAX];
    wire_message r;
    fl_err err = {0};
    const char *name = h->state->sites[site].name;
    coord_begin_reply(h, &r, m, WIRE_WITNESSED);
    snprintf(r.u.witnessed.note, sizeof r.u.witnessed.note, "%s", h->memory[site].note);
    r.u.witnessed.sequence = h->memory[site].sequence;
    r.u.witnessed.known = known;
    if (count_known(h, name, &r.u.witnessed.total, &err) ||
        list_known(h, name, m->u.witness.skip, known, &r.u.witnessed.n_known, &err)) {
        coord_host_say(h, "%s", err.text);
        coord_host_refuse(h, ticket, m, WIRE_E_BUSY, true, "the database cannot be read");
        return;
    }
    coord_host_send(h, ticket, &r);
}
