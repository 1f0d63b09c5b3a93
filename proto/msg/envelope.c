#include "proto/msg/envelope.h"
#include "base/encode.h"
#include "cordon.pb-c.h"
#include "crypto/hash.h"
#include "proto/msg/codec.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAGIC   "CDN1"
#define DOMAIN  "cordon envelope v1\n"
#define VERSION 1

/* ---- struct to protobuf: everything borrowed from the message, the sub-messages from *body ---- */

typedef struct composed {
    WirePb__Message message;
    uint8_t debit[16];
    union {
        WirePb__Empty empty;
        WirePb__Poll poll;
        WirePb__Fetch fetch;
        WirePb__Join join;
        WirePb__Head head;
        WirePb__Note note;
        WirePb__Witness witness;
        WirePb__Lines lines;
        WirePb__Keys keys;
        WirePb__Witnessed witnessed;
        WirePb__Piece piece;
        WirePb__Released released;
        WirePb__Announce announce;
        WirePb__Plan plan;
        WirePb__Length length;
        WirePb__Receipt receipt;
        WirePb__Error error;
    } body;
    char plan[WIRE_PLAN_MAX + 1];
    fl_hash announce_hash;
    WirePb__Site sites[WIRE_SITES_MAX];
    WirePb__Site *site_list[WIRE_SITES_MAX];
    ProtobufCBinaryData consistency[WIRE_PROOF_MAX], inclusion[WIRE_PROOF_MAX];
    char *line_list[WIRE_CHAIN_MAX];
    WirePb__Known known[WIRE_KNOWN_MAX];
    WirePb__Known *known_list[WIRE_KNOWN_MAX];
    uint8_t known_debits[WIRE_KNOWN_MAX][16];
} composed;

static ProtobufCBinaryData hash_data(const fl_hash *hash)
{
    return (ProtobufCBinaryData){FL_HASH_SIZE, (uint8_t *)hash->bytes};
}

static void compose_announce(composed *c, WirePb__Announce *p, const wire_announce *a)
{
    wire_pb__announce__init(p);
    p->round = a->round;
    p->plan_hash = hash_data(&a->plan_hash);
    p->model_hash = hash_data(&a->model_hash);
    p->model_bytes = a->model_bytes;
    p->n_sites = a->n_sites;
    p->sites = c->site_list;
    for (uint32_t i = 0; i < a->n_sites; i++) {
        WirePb__Site *s = c->site_list[i] = &c->sites[i];
        wire_pb__site__init(s);
        s->name = (char *)a->sites[i].name;
        s->declared_patients = a->sites[i].declared_patients;
        s->ledger_size = a->sites[i].ledger_size;
        s->ledger_root = hash_data(&a->sites[i].ledger_root);
    }
}

static void compose_piece(WirePb__Piece *p, const fl_hash *object, uint64_t offset, uint64_t total,
                          const uint8_t *bytes, uint32_t n)
{
    wire_pb__piece__init(p);
    p->object = hash_data(object);
    p->offset = offset;
    p->total = total;
    p->bytes = (ProtobufCBinaryData){n, (uint8_t *)bytes};
}

static size_t compose_proof(ProtobufCBinaryData **list, ProtobufCBinaryData *room, const wire_proof *proof)
{
    for (uint32_t i = 0; i < proof->n; i++)
        room[i] = hash_data(&proof->hashes[i]);
    *list = room;
    return proof->n;
}

static void compose_head(composed *c, WirePb__Head *p, const wire_head *h)
{
    wire_pb__head__init(p);
    p->note = (char *)h->note;
    p->n_consistency = compose_proof(&p->consistency, c->consistency, &h->consistency);
    p->restore = (char *)(h->restore ? h->restore : "");
    p->n_inclusion = compose_proof(&p->inclusion, c->inclusion, &h->inclusion);
    p->older = (char *)h->older;
}

static void compose_lines(composed *c, WirePb__Lines *p, const wire_lines *lines)
{
    wire_pb__lines__init(p);
    for (uint32_t i = 0; i < lines->n; i++)
        c->line_list[i] = (char *)lines->list[i];
    p->n_line = lines->n;
    p->line = c->line_list;
}

static void compose_witnessed(composed *c, WirePb__Witnessed *p, const wire_witnessed *w)
{
    wire_pb__witnessed__init(p);
    p->note = (char *)w->note;
    p->sequence = w->sequence;
    p->total = w->total;
    p->n_known = w->n_known;
    p->known = c->known_list;
    for (uint32_t i = 0; i < w->n_known; i++) {
        WirePb__Known *k = c->known_list[i] = &c->known[i];
        wire_pb__known__init(k);
        k->study = (char *)w->known[i].study;
        k->round = w->known[i].round;
        bool hex = fl_hex_decode(c->known_debits[i], 16, w->known[i].debit);
        assert(hex); /* wire_check saw it */
        (void)hex;
        k->debit = (ProtobufCBinaryData){16, c->known_debits[i]};
        k->announce_hash = hash_data(&w->known[i].announce_hash);
        k->model_hash = hash_data(&w->known[i].model_hash);
    }
}

#define BODY(Case, member, value)                                                                                      \
    do {                                                                                                               \
        c->message.body_case = WIRE_PB__MESSAGE__BODY_##Case;                                                          \
        c->message.member = &c->body.value;                                                                            \
    } while (0)

static void compose_request(composed *c, const wire_message *m)
{
    switch (m->kind) {
    case WIRE_POLL:
        wire_pb__poll__init(&c->body.poll);
        c->body.poll.n_plans_known = m->u.poll.n_plans_known;
        c->body.poll.wait_ms = m->u.poll.wait_ms;
        c->body.poll.ledger_size = m->u.poll.ledger_size;
        BODY(POLL, poll, poll);
        break;
    case WIRE_FETCH:
        wire_pb__fetch__init(&c->body.fetch);
        c->body.fetch.object = hash_data(&m->u.fetch.object);
        c->body.fetch.offset = m->u.fetch.offset;
        c->body.fetch.max_bytes = m->u.fetch.max_bytes;
        BODY(FETCH, fetch, fetch);
        break;
    case WIRE_JOIN:
        wire_pb__join__init(&c->body.join);
        c->body.join.plan_hash = hash_data(&m->u.join.plan_hash);
        c->body.join.declared_patients = m->u.join.declared_patients;
        BODY(JOIN, join, join);
        break;
    case WIRE_HEAD:
        compose_head(c, &c->body.head, &m->u.head);
        BODY(HEAD, head, head);
        break;
    case WIRE_UPLOAD:
        compose_piece(&c->body.piece, &m->u.upload.object, m->u.upload.offset, m->u.upload.total, m->u.upload.bytes,
                      m->u.upload.n_bytes);
        BODY(UPLOAD, upload, piece);
        break;
    case WIRE_RELEASED:
        wire_pb__released__init(&c->body.released);
        c->body.released.update_hash = hash_data(&m->u.released.update_hash);
        c->body.released.update_bytes = m->u.released.update_bytes;
        c->body.released.announce_hash = hash_data(&m->u.released.announce_hash);
        c->body.released.entry = (char *)m->u.released.entry;
        c->body.released.n_inclusion = compose_proof(&c->body.released.inclusion, c->inclusion,
                                                     &m->u.released.inclusion);
        BODY(RELEASED, released, released);
        break;
    case WIRE_WITNESS:
        wire_pb__witness__init(&c->body.witness);
        c->body.witness.skip = m->u.witness.skip;
        BODY(WITNESS, witness, witness);
        break;
    case WIRE_ROTATED:
        compose_lines(c, &c->body.lines, &m->u.rotated);
        BODY(ROTATED, rotated, lines);
        break;
    case WIRE_KEYS:
        wire_pb__keys__init(&c->body.keys);
        c->body.keys.public_key = (ProtobufCBinaryData){FL_PUBLIC_KEY_SIZE, (uint8_t *)m->u.keys.public_key};
        BODY(KEYS, keys, keys);
        break;
    default:
        assert(m->kind == WIRE_LEAVE);
        wire_pb__empty__init(&c->body.empty);
        BODY(LEAVE, leave, empty);
        break;
    }
}

static void compose_reply(composed *c, const wire_message *m)
{
    switch (m->kind) {
    case WIRE_ANNOUNCE:
        compose_announce(c, &c->body.announce, &m->u.announce);
        c->body.announce.deadline_s = m->u.announce.deadline_s;
        c->announce_hash = wire_announce_hash(&m->u.announce);
        c->body.announce.announce_hash = hash_data(&c->announce_hash);
        BODY(ANNOUNCE, announce, announce);
        break;
    case WIRE_PLAN:
        memcpy(c->plan, m->u.plan.json, m->u.plan.n_bytes);
        c->plan[m->u.plan.n_bytes] = 0;
        wire_pb__plan__init(&c->body.plan);
        c->body.plan.json = c->plan;
        c->body.plan.index = m->u.plan.index;
        BODY(PLAN, plan, plan);
        break;
    case WIRE_NOTHING:
        wire_pb__empty__init(&c->body.empty);
        BODY(NOTHING, nothing, empty);
        break;
    case WIRE_BYTES:
        compose_piece(&c->body.piece, &m->u.bytes.object, m->u.bytes.offset, m->u.bytes.total, m->u.bytes.bytes,
                      m->u.bytes.n_bytes);
        BODY(BYTES, bytes, piece);
        break;
    case WIRE_OK:
        wire_pb__empty__init(&c->body.empty);
        BODY(OK, ok, empty);
        break;
    case WIRE_COSIGNED:
        wire_pb__note__init(&c->body.note);
        c->body.note.note = (char *)m->u.cosigned.note;
        BODY(COSIGNED, cosigned, note);
        break;
    case WIRE_LENGTH:
        wire_pb__length__init(&c->body.length);
        c->body.length.object = hash_data(&m->u.length.object);
        c->body.length.length = m->u.length.length;
        BODY(LENGTH, length, length);
        break;
    case WIRE_RECEIPT:
        wire_pb__receipt__init(&c->body.receipt);
        c->body.receipt.update_hash = hash_data(&m->u.receipt.update_hash);
        c->body.receipt.signature = (ProtobufCBinaryData){FL_SIGNATURE_SIZE, (uint8_t *)m->u.receipt.signature};
        BODY(RECEIPT, receipt, receipt);
        break;
    case WIRE_WITNESSED:
        compose_witnessed(c, &c->body.witnessed, &m->u.witnessed);
        BODY(WITNESSED, witnessed, witnessed);
        break;
    case WIRE_KEY_CHAIN:
        compose_lines(c, &c->body.lines, &m->u.key_chain);
        BODY(KEY_CHAIN, key_chain, lines);
        break;
    default:
        assert(m->kind == WIRE_ERROR);
        wire_pb__error__init(&c->body.error);
        c->body.error.code = (uint32_t)m->u.error.code;
        c->body.error.retry = m->u.error.retry;
        c->body.error.text = (char *)m->u.error.text;
        c->body.error.ledger_size = m->u.error.ledger_size;
        BODY(ERROR, error, error);
        break;
    }
}

fl_code wire_pack(fl_buf *out, const wire_message *m, const fl_sign_key *key, fl_err *err)
{
    composed c;
    fl_code code = wire_check(m, err);
    if (code)
        return code;
    wire_pb__message__init(&c.message);
    c.message.version = VERSION;
    c.message.sender = (char *)m->sender;
    c.message.study = (char *)m->study;
    c.message.request_id = m->request_id;
    c.message.sequence = m->sequence;
    c.message.round = m->round;
    if (m->debit[0]) {
        bool hex = fl_hex_decode(c.debit, sizeof c.debit, m->debit);
        assert(hex);
        (void)hex;
        c.message.debit = (ProtobufCBinaryData){sizeof c.debit, c.debit};
    }
    if (wire_kind_is_request(m->kind))
        compose_request(&c, m);
    else
        compose_reply(&c, m);
    return wire_frame_write(out, MAGIC, DOMAIN, &c.message.base, key, err);
}

fl_hash wire_announce_hash(const wire_announce *a)
{
    composed c;
    WirePb__Announce p;
    uint8_t bytes[WIRE_SITES_MAX * 128 + 256]; /* a site: name 65, two integers 22, root 34, head 2 */
    assert(a->n_sites <= WIRE_SITES_MAX);
    compose_announce(&c, &p, a);
    size_t n = wire_pb__announce__get_packed_size(&p);
    assert(n <= sizeof bytes);
    wire_pb__announce__pack(&p, bytes);
    return fl_sha256(bytes, n);
}

/* ---- protobuf to struct ---- */

static fl_code take_hash(fl_hash *out, ProtobufCBinaryData data, const char *field, fl_err *err)
{
    if (data.len != FL_HASH_SIZE)
        return fl_fail(err, FL_EFORMAT, "message: %s has %zu bytes, expected %d", field, data.len, FL_HASH_SIZE);
    memcpy(out->bytes, data.data, FL_HASH_SIZE);
    return FL_OK;
}

static fl_code take_text(char *out, size_t size, const char *text, const char *field, fl_err *err)
{
    size_t n = strlen(text);
    if (n >= size)
        return fl_fail(err, FL_EFORMAT, "message: %s has %zu bytes, at most %zu are taken", field, n, size - 1);
    memcpy(out, text, n + 1);
    return FL_OK;
}

/* Room in the decoder for n elements; wire_unpack allocated 256 KiB for such tables beside what the bytes need. */
static void *take_room(wire_decoder *d, size_t n, size_t size)
{
    size_t at = (d->used + 15) & ~(size_t)15;
    assert(at <= d->capacity && n * size <= d->capacity - at);
    d->used = at + n * size;
    return d->memory + at;
}

static fl_code take_proof(wire_proof *out, wire_decoder *d, const ProtobufCBinaryData *list, size_t n, fl_err *err)
{
    if (n > WIRE_PROOF_MAX)
        return fl_fail(err, FL_EFORMAT, "message: a proof of %zu hashes, at most %d are taken", n, WIRE_PROOF_MAX);
    fl_hash *hashes = take_room(d, n, sizeof *hashes);
    for (size_t i = 0; i < n; i++)
        FL_TRY(take_hash(&hashes[i], list[i], "a hash of a proof", err));
    *out = (wire_proof){.hashes = hashes, .n = (uint32_t)n};
    return FL_OK;
}

static fl_code take_head(wire_head *out, wire_decoder *d, const WirePb__Head *p, fl_err *err)
{
    out->restore = p->restore;
    FL_TRY(take_text(out->note, sizeof out->note, p->note, "note", err));
    FL_TRY(take_text(out->older, sizeof out->older, p->older, "older", err));
    FL_TRY(take_proof(&out->consistency, d, p->consistency, p->n_consistency, err));
    return take_proof(&out->inclusion, d, p->inclusion, p->n_inclusion, err);
}

static fl_code take_lines(wire_lines *out, const WirePb__Lines *p, fl_err *err)
{
    if (p->n_line > WIRE_CHAIN_MAX)
        return fl_fail(err, FL_EFORMAT, "message: %zu lines, at most %d are taken", p->n_line, WIRE_CHAIN_MAX);
    *out = (wire_lines){.list = (const char *const *)p->line, .n = (uint32_t)p->n_line};
    return FL_OK;
}

static fl_code take_debit(char debit[WIRE_DEBIT_SIZE], ProtobufCBinaryData data, fl_err *err)
{
    if (data.len != 16)
        return fl_fail(err, FL_EFORMAT, "message: a debit has %zu bytes, expected 16", data.len);
    fl_hex_encode(debit, data.data, 16);
    return FL_OK;
}

static fl_code take_witnessed(wire_witnessed *out, wire_decoder *d, const WirePb__Witnessed *p, fl_err *err)
{
    if (p->n_known > WIRE_KNOWN_MAX)
        return fl_fail(err, FL_EFORMAT, "WITNESSED: %zu debits, at most %d are taken", p->n_known, WIRE_KNOWN_MAX);
    wire_known *known = take_room(d, p->n_known, sizeof *known);
    *out = (wire_witnessed){
        .sequence = p->sequence, .total = p->total, .n_known = (uint32_t)p->n_known, .known = known};
    for (size_t i = 0; i < p->n_known; i++) {
        const WirePb__Known *k = p->known[i];
        memset(&known[i], 0, sizeof known[i]);
        known[i].round = k->round;
        FL_TRY(take_text(known[i].study, sizeof known[i].study, k->study, "a debit's study", err));
        FL_TRY(take_debit(known[i].debit, k->debit, err));
        FL_TRY(take_hash(&known[i].announce_hash, k->announce_hash, "announce_hash", err));
        FL_TRY(take_hash(&known[i].model_hash, k->model_hash, "model_hash", err));
    }
    return take_text(out->note, sizeof out->note, p->note, "note", err);
}

static fl_code take_site(wire_site *out, const WirePb__Site *s, fl_err *err)
{
    out->declared_patients = s->declared_patients;
    out->ledger_size = s->ledger_size;
    fl_code code = take_text(out->name, sizeof out->name, s->name, "a site's name", err);
    return code ? code : take_hash(&out->ledger_root, s->ledger_root, "a site's ledger_root", err);
}

static fl_code take_announce(wire_announce *out, wire_decoder *d, const WirePb__Announce *p, fl_err *err)
{
    fl_code code;
    if (p->n_sites > WIRE_SITES_MAX)
        return fl_fail(err, FL_EFORMAT, "ANNOUNCE: %zu sites, at most %d are taken", p->n_sites, WIRE_SITES_MAX);
    wire_site *sites = take_room(d, p->n_sites, sizeof *sites);
    *out = (wire_announce){
        .round = p->round,
        .model_bytes = p->model_bytes,
        .deadline_s = p->deadline_s,
        .n_sites = (uint32_t)p->n_sites,
        .sites = sites,
    };
    for (size_t i = 0; i < p->n_sites; i++)
        if ((code = take_site(&sites[i], p->sites[i], err)))
            return code;
    if ((code = take_hash(&out->plan_hash, p->plan_hash, "plan_hash", err)) ||
        (code = take_hash(&out->model_hash, p->model_hash, "model_hash", err)) ||
        (code = take_hash(&out->announce_hash, p->announce_hash, "announce_hash", err)))
        return code;
    fl_hash expected = wire_announce_hash(out);
    if (!fl_hash_equal(&expected, &out->announce_hash))
        return fl_fail(err, FL_EFORMAT, "ANNOUNCE: announce_hash is not the hash of this announce");
    return FL_OK;
}

static fl_code take_piece(fl_hash *object, uint64_t *offset, uint64_t *total, const uint8_t **bytes, uint32_t *n,
                          const WirePb__Piece *p, fl_err *err)
{
    if (p->bytes.len > WIRE_PIECE_MAX)
        return fl_fail(err, FL_EFORMAT, "message: a piece of %zu bytes, at most %d are taken", p->bytes.len,
                       WIRE_PIECE_MAX);
    *offset = p->offset;
    *total = p->total;
    *bytes = p->bytes.data;
    *n = (uint32_t)p->bytes.len;
    return take_hash(object, p->object, "object", err);
}

static fl_code take_request(wire_message *m, wire_decoder *d, const WirePb__Message *p, fl_err *err)
{
    fl_code code;
    switch (p->body_case) {
    case WIRE_PB__MESSAGE__BODY_POLL:
        m->kind = WIRE_POLL;
        m->u.poll.n_plans_known = p->poll->n_plans_known;
        m->u.poll.wait_ms = p->poll->wait_ms;
        m->u.poll.ledger_size = p->poll->ledger_size;
        return FL_OK;
    case WIRE_PB__MESSAGE__BODY_FETCH:
        m->kind = WIRE_FETCH;
        m->u.fetch.offset = p->fetch->offset;
        m->u.fetch.max_bytes = p->fetch->max_bytes;
        return take_hash(&m->u.fetch.object, p->fetch->object, "object", err);
    case WIRE_PB__MESSAGE__BODY_JOIN:
        m->kind = WIRE_JOIN;
        m->u.join.declared_patients = p->join->declared_patients;
        return take_hash(&m->u.join.plan_hash, p->join->plan_hash, "plan_hash", err);
    case WIRE_PB__MESSAGE__BODY_HEAD:
        m->kind = WIRE_HEAD;
        return take_head(&m->u.head, d, p->head, err);
    case WIRE_PB__MESSAGE__BODY_UPLOAD:
        m->kind = WIRE_UPLOAD;
        return take_piece(&m->u.upload.object, &m->u.upload.offset, &m->u.upload.total, &m->u.upload.bytes,
                          &m->u.upload.n_bytes, p->upload, err);
    case WIRE_PB__MESSAGE__BODY_RELEASED:
        m->kind = WIRE_RELEASED;
        m->u.released.update_bytes = p->released->update_bytes;
        m->u.released.entry = p->released->entry;
        code = take_proof(&m->u.released.inclusion, d, p->released->inclusion, p->released->n_inclusion, err);
        if (!code)
            code = take_hash(&m->u.released.update_hash, p->released->update_hash, "update_hash", err);
        return code ? code : take_hash(&m->u.released.announce_hash, p->released->announce_hash, "announce_hash", err);
    case WIRE_PB__MESSAGE__BODY_LEAVE:
        m->kind = WIRE_LEAVE;
        return FL_OK;
    case WIRE_PB__MESSAGE__BODY_WITNESS:
        m->kind = WIRE_WITNESS;
        m->u.witness.skip = p->witness->skip;
        return FL_OK;
    case WIRE_PB__MESSAGE__BODY_ROTATED:
        m->kind = WIRE_ROTATED;
        return take_lines(&m->u.rotated, p->rotated, err);
    case WIRE_PB__MESSAGE__BODY_KEYS:
        m->kind = WIRE_KEYS;
        if (p->keys->public_key.len != FL_PUBLIC_KEY_SIZE)
            return fl_fail(err, FL_EFORMAT, "KEYS: public_key has %zu bytes, expected %d", p->keys->public_key.len,
                           FL_PUBLIC_KEY_SIZE);
        memcpy(m->u.keys.public_key, p->keys->public_key.data, FL_PUBLIC_KEY_SIZE);
        return FL_OK;
    default:
        return fl_fail(err, FL_EFORMAT, "message: has no body");
    }
}

static fl_code take_receipt(wire_message *m, const WirePb__Receipt *p, fl_err *err)
{
    m->kind = WIRE_RECEIPT;
    if (p->signature.len != FL_SIGNATURE_SIZE)
        return fl_fail(err, FL_EFORMAT, "RECEIPT: signature has %zu bytes, expected %d", p->signature.len,
                       FL_SIGNATURE_SIZE);
    memcpy(m->u.receipt.signature, p->signature.data, FL_SIGNATURE_SIZE);
    return take_hash(&m->u.receipt.update_hash, p->update_hash, "update_hash", err);
}

static fl_code take_error(wire_message *m, const WirePb__Error *p, fl_err *err)
{
    m->kind = WIRE_ERROR;
    if (p->code > WIRE_E_NO_PROOF)
        return fl_fail(err, FL_EFORMAT, "ERROR: code is %u, expected 1 to %d", p->code, WIRE_E_NO_PROOF);
    m->u.error.ledger_size = p->ledger_size;
    m->u.error.code = (wire_error_code)p->code;
    m->u.error.retry = p->retry;
    return take_text(m->u.error.text, sizeof m->u.error.text, p->text, "text", err);
}

static fl_code take_body(wire_message *m, wire_decoder *d, const WirePb__Message *p, fl_err *err)
{
    switch (p->body_case) {
    case WIRE_PB__MESSAGE__BODY_ANNOUNCE:
        m->kind = WIRE_ANNOUNCE;
        return take_announce(&m->u.announce, d, p->announce, err);
    case WIRE_PB__MESSAGE__BODY_PLAN:
        m->kind = WIRE_PLAN;
        m->u.plan.json = p->plan->json;
        m->u.plan.n_bytes = (uint32_t)strlen(
            p->plan->json); /* at most WIRE_ENVELOPE_MAX; wire_check sees to the rest */
        m->u.plan.index = p->plan->index;
        return FL_OK;
    case WIRE_PB__MESSAGE__BODY_NOTHING:
        m->kind = WIRE_NOTHING;
        return FL_OK;
    case WIRE_PB__MESSAGE__BODY_BYTES:
        m->kind = WIRE_BYTES;
        return take_piece(&m->u.bytes.object, &m->u.bytes.offset, &m->u.bytes.total, &m->u.bytes.bytes,
                          &m->u.bytes.n_bytes, p->bytes, err);
    case WIRE_PB__MESSAGE__BODY_OK:
        m->kind = WIRE_OK;
        return FL_OK;
    case WIRE_PB__MESSAGE__BODY_COSIGNED:
        m->kind = WIRE_COSIGNED;
        return take_text(m->u.cosigned.note, sizeof m->u.cosigned.note, p->cosigned->note, "note", err);
    case WIRE_PB__MESSAGE__BODY_LENGTH:
        m->kind = WIRE_LENGTH;
        m->u.length.length = p->length->length;
        return take_hash(&m->u.length.object, p->length->object, "object", err);
    case WIRE_PB__MESSAGE__BODY_RECEIPT:
        return take_receipt(m, p->receipt, err);
    case WIRE_PB__MESSAGE__BODY_ERROR:
        return take_error(m, p->error, err);
    case WIRE_PB__MESSAGE__BODY_WITNESSED:
        m->kind = WIRE_WITNESSED;
        return take_witnessed(&m->u.witnessed, d, p->witnessed, err);
    case WIRE_PB__MESSAGE__BODY_KEY_CHAIN:
        m->kind = WIRE_KEY_CHAIN;
        return take_lines(&m->u.key_chain, p->key_chain, err);
    default:
        return take_request(m, d, p, err);
    }
}

static fl_code take_message(wire_message *m, wire_decoder *d, const WirePb__Message *p, fl_err *err)
{
    fl_code code;
    memset(m, 0, sizeof *m);
    if (p->version != VERSION)
        return fl_fail(err, FL_EFORMAT, "message: version is %u, expected %d: one side needs an update", p->version,
                       VERSION);
    if ((code = take_text(m->sender, sizeof m->sender, p->sender, "sender", err)) ||
        (code = take_text(m->study, sizeof m->study, p->study, "study", err)))
        return code;
    if (p->debit.len != 0 && p->debit.len != 16)
        return fl_fail(err, FL_EFORMAT, "message: debit has %zu bytes, expected 16 or none", p->debit.len);
    if (p->debit.len)
        fl_hex_encode(m->debit, p->debit.data, 16);
    m->request_id = p->request_id;
    m->sequence = p->sequence;
    m->round = p->round;
    if ((code = take_body(m, d, p, err)))
        return code;
    return wire_check(m, err);
}

fl_code wire_unpack(wire_message *out, wire_decoder *d, const uint8_t *bytes, size_t n, fl_err *err)
{
    ProtobufCMessage *p;
    fl_code code = wire_frame_read(&p, d, MAGIC, &wire_pb__message__descriptor, bytes, n, WIRE_ENVELOPE_MAX, err);
    if (code)
        return code;
    code = take_message(out, d, (WirePb__Message *)p, err);
    if (code)
        d->envelope = NULL;
    return code;
}

fl_code wire_verify(const wire_decoder *d, const uint8_t public_key[FL_PUBLIC_KEY_SIZE], fl_err *err)
{
    return wire_frame_verify(d, DOMAIN, public_key, err);
}
