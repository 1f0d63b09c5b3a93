/* Objects in and out: FETCH and UPLOAD, which the machine never sees. */
#include "coordinator/host_parts.h"
#include "coordinator/query.h"

#include <stdio.h>
#include <string.h>

void coord_begin_reply(coord_host *h, wire_message *m, const wire_message *to, wire_kind kind)
{
    memset(m, 0, sizeof *m);
    m->kind = kind;
    memcpy(m->sender, h->store->name, sizeof m->sender);
    memcpy(m->study, to->study, sizeof m->study);
    memcpy(m->debit, to->debit, sizeof m->debit);
    m->round = to->round;
    m->request_id = to->request_id;
    m->sequence = h->state->boot << 32 | ++h->state->n_sent;
}

void coord_host_refuse(coord_host *h, uint64_t ticket, const wire_message *to, wire_error_code code, bool retry,
                       const char *text)
{
    wire_message m;
    coord_begin_reply(h, &m, to, WIRE_ERROR);
    m.u.error.code = code;
    m.u.error.retry = retry;
    snprintf(m.u.error.text, sizeof m.u.error.text, "%.*s", (int)sizeof m.u.error.text - 1, text);
    coord_host_send(h, ticket, &m);
}

bool coord_debit_known(coord_store *s, const char *debit)
{
    fl_query q;
    if (fl_query_open(&q, s->db, "SELECT 1 FROM contribution WHERE debit = ?", NULL))
        return false; /* then the step's own rows fail too */
    fl_bind_text(&q, 1, debit);
    const bool known = fl_query_row(&q);
    return fl_query_close(&q, NULL) == FL_OK && known;
}

/* ---- out: models --------------------------------------------------------------------------------------------------- */

/* A model of a study that this site may hear of. */
static bool may_fetch(coord_host *h, const fl_hash *object, uint32_t site)
{
    fl_query q;
    bool may = false;
    if (h->state->sites[site].revoked ||
        fl_query_open(&q, h->store->db, "SELECT DISTINCT study FROM model WHERE model_hash = ?", NULL))
        return false;
    coord_bind_hash(&q, 1, object);
    while (fl_query_row(&q)) {
        const uint32_t study = coord_find_study(h->state, fl_column_text(&q, 0));
        may |= study != UINT32_MAX && coord_may_know(h->state, &h->state->studies[study], site);
    }
    return fl_query_close(&q, NULL) == FL_OK && may;
}

void coord_serve_fetch(coord_host *h, uint64_t ticket, const wire_message *m, uint32_t site)
{
    wire_message r;
    fl_err err;
    uint64_t size;
    size_t n;
    const fl_hash *object = &m->u.fetch.object;
    if (!may_fetch(h, object, site) || !fl_objects_have(h->store->objects, object, &size)) {
        coord_host_refuse(h, ticket, m, h->state->sites[site].revoked ? WIRE_E_REVOKED : WIRE_E_NO_OBJECT, false,
                          "no such model for this hospital");
        return;
    }
    if (m->u.fetch.offset >= size) {
        coord_host_refuse(h, ticket, m, WIRE_E_BAD_OFFSET, false, "behind the end of the model");
        return;
    }
    const uint32_t want = m->u.fetch.max_bytes < WIRE_PIECE_MAX ? m->u.fetch.max_bytes : WIRE_PIECE_MAX;
    if (fl_objects_read_at(h->store->objects, h->piece, want, object, m->u.fetch.offset, &n, &err) || n == 0) {
        coord_host_say(h, "model for %s: %s", m->sender, n == 0 ? "is shorter than it was" : err.text);
        coord_host_refuse(h, ticket, m, WIRE_E_BUSY, true, "the model cannot be read now");
        return;
    }
    coord_begin_reply(h, &r, m, WIRE_BYTES);
    r.u.bytes.object = *object;
    r.u.bytes.offset = m->u.fetch.offset;
    r.u.bytes.total = size;
    r.u.bytes.bytes = h->piece;
    r.u.bytes.n_bytes = (uint32_t)n;
    coord_host_send(h, ticket, &r);
}

/* ---- in: updates --------------------------------------------------------------------------------------------------- */

static void reply_length(coord_host *h, uint64_t ticket, const wire_message *m, uint64_t length)
{
    wire_message r;
    coord_begin_reply(h, &r, m, WIRE_LENGTH);
    r.u.length.object = m->u.upload.object;
    r.u.length.length = length < m->u.upload.total ? length : m->u.upload.total;
    coord_host_send(h, ticket, &r);
}

/* What a site began to upload and never finished. Whole objects stay: a contribution may be among them. */
static void drop_partial(coord_host *h, const fl_hash *object)
{
    fl_err err;
    if (!fl_objects_have(h->store->objects, object, NULL) && fl_objects_remove(h->store->objects, object, &err))
        coord_host_say(h, "%s", err.text);
}

/* A site may send a few different updates in a round (it burns one and takes the round again), not any number. */
static bool may_begin(coord_host *h, uint32_t site, uint32_t study, uint32_t round, const fl_hash *object)
{
    coord_memory *m = &h->memory[site];
    if (m->uploads[study].round != round) {
        for (uint32_t i = 0; i < m->uploads[study].n; i++)
            drop_partial(h, &m->uploads[study].list[i]);
        m->uploads[study].n = 0;
    }
    m->uploads[study].round = round;
    for (uint32_t i = 0; i < m->uploads[study].n; i++)
        if (fl_hash_equal(&m->uploads[study].list[i], object))
            return true;
    if (m->uploads[study].n == COORD_UPDATES_MAX)
        return false;
    m->uploads[study].list[m->uploads[study].n++] = *object;
    return true;
}

/* Answered here when the round took this site's update before; false: it did not. */
static bool answered_before(coord_host *h, uint64_t ticket, const wire_message *m)
{
    fl_hash hash;
    char debit[WIRE_DEBIT_SIZE];
    fl_err none;
    if (!coord_contribution(h->store, m->study, m->round, m->sender, &hash, debit, &none))
        return false;
    if (fl_hash_equal(&hash, &m->u.upload.object))
        reply_length(h, ticket, m, m->u.upload.total);
    else
        coord_host_refuse(h, ticket, m, WIRE_E_EQUIVOCATION, false, "another update was received for this round");
    return true;
}

static void append(coord_host *h, uint64_t ticket, const wire_message *m)
{
    fl_err err;
    bool done;
    const fl_hash *object = &m->u.upload.object;
    const uint64_t length = fl_objects_length(h->store->objects, object);
    if (fl_objects_have(h->store->objects, object, NULL) || m->u.upload.n_bytes == 0 || m->u.upload.offset != length) {
        reply_length(h, ticket, m, length); /* whole, asked, or out of step: this is what is here */
        return;
    }
    fl_code rc = fl_objects_append(h->store->objects, object, length, m->u.upload.bytes, m->u.upload.n_bytes,
                                   m->u.upload.total, &done, &err);
    if (rc == FL_OK) {
        reply_length(h, ticket, m, length + m->u.upload.n_bytes);
        return;
    }
    coord_host_say(h, "update of %s: %s", m->sender, err.text);
    if (rc == FL_EREFUSED)
        coord_host_refuse(h, ticket, m, WIRE_E_BAD_OFFSET, true, "the bytes have another hash: begin again");
    else
        coord_host_refuse(h, ticket, m, WIRE_E_BUSY, true, "nothing can be stored now");
}

void coord_serve_upload(coord_host *h, uint64_t ticket, const wire_message *m, uint32_t site)
{
    const uint32_t study = coord_find_study(h->state, m->study);
    if (h->state->sites[site].revoked) {
        coord_host_refuse(h, ticket, m, WIRE_E_REVOKED, false, "this hospital was revoked");
        return;
    }
    if (study == UINT32_MAX || !coord_may_know(h->state, &h->state->studies[study], site)) {
        coord_host_refuse(h, ticket, m, WIRE_E_UNKNOWN_STUDY, false, "no such study for this hospital");
        return;
    }
    const coord_study *st = &h->state->studies[study];
    if (answered_before(h, ticket, m))
        return;
    if (st->phase != COORD_OPEN || st->closed || m->round != st->round || !st->members[site].in_roster ||
        !coord_takes_part(h->state, st, site))
        coord_host_refuse(h, ticket, m, WIRE_E_STALE_ROUND, false, "this round is over");
    else if (m->u.upload.total != coord_update_bytes(st))
        coord_host_refuse(h, ticket, m, WIRE_E_BAD_UPDATE, false, "the update has another size than the plan says");
    else if (!may_begin(h, site, study, m->round, &m->u.upload.object))
        coord_host_refuse(h, ticket, m, WIRE_E_BAD_UPDATE, false, "too many different updates in one round");
    else
        append(h, ticket, m);
}
