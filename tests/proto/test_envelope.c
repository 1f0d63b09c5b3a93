#include "base/encode.h"
#include "crypto/hash.h"
#include "proto/msg/envelope.h"
#include "tests/proto/golden.h"
#include "tests/proto/sample.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* after the standard headers that it needs */
#include <cmocka.h>

#define N_KINDS (sizeof golden / sizeof golden[0])

static fl_sign_key key;

static void pack(fl_buf *out, const wire_message *m)
{
    fl_err err = {0};
    fl_buf_init(out, WIRE_ENVELOPE_MAX);
    if (wire_pack(out, m, &key, &err))
        fail_msg("%s", err.text);
}

static fl_code unpack(wire_message *m, wire_decoder *d, const void *bytes, size_t n, fl_err *err)
{
    /* an exact copy on the heap: the sanitizer sees a read past its end */
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, bytes, n);
    fl_code code = wire_unpack(m, d, exact, n, err);
    free(exact);
    return code;
}

static void each_kind_has_the_bytes_of_the_independent_encoder(void **state)
{
    (void)state;
    assert_int_equal(N_KINDS, WIRE_ERROR);
    for (size_t i = 0; i < N_KINDS; i++) {
        wire_message m = sample(golden[i].kind);
        fl_buf out;
        pack(&out, &m);
        char *hex = malloc(2 * out.size + 1);
        fl_hex_encode(hex, out.bytes, out.size);
        assert_string_equal(hex, golden[i].hex);
        free(hex);
        fl_buf_fini(&out);
    }
}

static void assert_same_proof(const wire_proof *a, const wire_proof *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->hashes, b->hashes, a->n * sizeof *a->hashes);
}

static void assert_same_body(const wire_message *a, const wire_message *b)
{
    switch (a->kind) {
    case WIRE_UPLOAD:
    case WIRE_BYTES: /* the two have one shape */
        assert_memory_equal(&a->u.upload.object, &b->u.upload.object, 32);
        assert_true(a->u.upload.offset == b->u.upload.offset && a->u.upload.total == b->u.upload.total);
        assert_int_equal(a->u.upload.n_bytes, b->u.upload.n_bytes);
        assert_memory_equal(a->u.upload.bytes, b->u.upload.bytes, a->u.upload.n_bytes);
        break;
    case WIRE_PLAN:
        assert_int_equal(a->u.plan.index, b->u.plan.index);
        assert_string_equal(a->u.plan.json, b->u.plan.json);
        break;
    case WIRE_ANNOUNCE: {
        fl_hash hash = wire_announce_hash(&a->u.announce);
        assert_memory_equal(&hash, &b->u.announce.announce_hash, 32);
        assert_int_equal(a->u.announce.deadline_s, b->u.announce.deadline_s);
        assert_int_equal(a->u.announce.n_sites, b->u.announce.n_sites);
        for (uint32_t i = 0; i < a->u.announce.n_sites; i++) {
            const wire_site *x = &a->u.announce.sites[i], *y = &b->u.announce.sites[i];
            assert_string_equal(x->name, y->name);
            assert_true(x->declared_patients == y->declared_patients && x->ledger_size == y->ledger_size);
            assert_memory_equal(&x->ledger_root, &y->ledger_root, 32);
        }
        break;
    }
    case WIRE_HEAD:
        assert_string_equal(a->u.head.note, b->u.head.note);
        assert_string_equal(a->u.head.older, b->u.head.older);
        assert_string_equal(a->u.head.restore, b->u.head.restore);
        assert_same_proof(&a->u.head.consistency, &b->u.head.consistency);
        assert_same_proof(&a->u.head.inclusion, &b->u.head.inclusion);
        break;
    case WIRE_RELEASED:
        assert_memory_equal(&a->u.released.update_hash, &b->u.released.update_hash, 32);
        assert_memory_equal(&a->u.released.announce_hash, &b->u.released.announce_hash, 32);
        assert_true(a->u.released.update_bytes == b->u.released.update_bytes);
        assert_string_equal(a->u.released.entry, b->u.released.entry);
        assert_same_proof(&a->u.released.inclusion, &b->u.released.inclusion);
        break;
    case WIRE_ROTATED:
    case WIRE_KEY_CHAIN:
        assert_int_equal(a->u.rotated.n, b->u.rotated.n);
        for (uint32_t i = 0; i < a->u.rotated.n; i++)
            assert_string_equal(a->u.rotated.list[i], b->u.rotated.list[i]);
        break;
    case WIRE_WITNESSED: {
        const wire_witnessed *x = &a->u.witnessed, *y = &b->u.witnessed;
        assert_string_equal(x->note, y->note);
        assert_true(x->sequence == y->sequence && x->total == y->total && x->n_known == y->n_known);
        assert_memory_equal(x->known, y->known, x->n_known * sizeof *x->known);
        break;
    }
    default: /* flat: both structs were zeroed before they were filled */
        assert_memory_equal(&a->u, &b->u, sizeof a->u);
    }
}

static void what_is_packed_is_what_is_unpacked(void **state)
{
    (void)state;
    wire_decoder d = {0};
    for (size_t i = 0; i < N_KINDS; i++) {
        wire_message m = sample(golden[i].kind), again;
        fl_err err = {0};
        fl_buf out;
        pack(&out, &m);
        if (unpack(&again, &d, out.bytes, out.size, &err) || wire_verify(&d, key.public_key, &err))
            fail_msg("%s: %s", wire_kind_name(m.kind), err.text);
        assert_int_equal(m.kind, again.kind);
        assert_string_equal(m.sender, again.sender);
        assert_string_equal(m.study, again.study);
        assert_string_equal(m.debit, again.debit);
        assert_true(m.request_id == again.request_id && m.sequence == again.sequence && m.round == again.round);
        assert_same_body(&m, &again);
        fl_buf_fini(&out);
    }
    wire_decoder_fini(&d);
}

static void a_piece_of_the_largest_size_travels(void **state)
{
    (void)state;
    wire_decoder d = {0};
    wire_message m = sample(WIRE_UPLOAD), again;
    fl_buf out;
    fl_err err = {0};
    uint8_t *bytes = malloc(WIRE_PIECE_MAX);
    for (size_t i = 0; i < WIRE_PIECE_MAX; i++)
        bytes[i] = (uint8_t)(i * 7 >> 3);
    memset(m.sender, 'a', 63);
    memset(m.study, 'b', 63);
    m.u.upload.bytes = bytes;
    m.u.upload.n_bytes = WIRE_PIECE_MAX;
    m.u.upload.total = WIRE_OBJECT_MAX;
    m.u.upload.offset = WIRE_OBJECT_MAX - WIRE_PIECE_MAX;
    pack(&out, &m);
    assert_int_equal(unpack(&again, &d, out.bytes, out.size, &err), FL_OK);
    assert_memory_equal(again.u.upload.bytes, bytes, WIRE_PIECE_MAX);
    assert_int_equal(wire_verify(&d, key.public_key, &err), FL_OK);
    fl_buf_fini(&out);
    wire_decoder_fini(&d);
    free(bytes);
}

static void a_roster_of_the_largest_size_travels(void **state)
{
    (void)state;
    wire_decoder d = {0};
    wire_site *sites = calloc(WIRE_SITES_MAX, sizeof *sites);
    for (unsigned i = 0; i < WIRE_SITES_MAX; i++) {
        snprintf(sites[i].name, sizeof sites[i].name, "%063u", i);
        sites[i].declared_patients = 1000000000;
        sites[i].ledger_size = UINT64_MAX;
        sites[i].ledger_root = sample_hash((uint8_t)i);
    }
    wire_message m = sample(WIRE_ANNOUNCE), again;
    fl_err err = {0};
    fl_buf out;
    m.u.announce.sites = sites;
    m.u.announce.n_sites = WIRE_SITES_MAX;
    pack(&out, &m);
    if (unpack(&again, &d, out.bytes, out.size, &err))
        fail_msg("%s", err.text);
    assert_same_body(&m, &again);
    fl_buf_fini(&out);
    wire_decoder_fini(&d);
    free(sites);
}

static void any_changed_byte_is_refused(void **state)
{
    (void)state;
    wire_decoder d = {0};
    for (size_t i = 0; i < N_KINDS; i++) {
        wire_message m = sample(golden[i].kind), again;
        fl_buf out;
        pack(&out, &m);
        for (size_t at = 0; at < out.size; at++)
            for (unsigned bit = 0; bit < 8; bit++) {
                out.bytes[at] ^= (uint8_t)(1u << bit);
                if (unpack(&again, &d, out.bytes, out.size, NULL) == FL_OK)
                    assert_int_equal(wire_verify(&d, key.public_key, NULL), FL_EREFUSED);
                out.bytes[at] ^= (uint8_t)(1u << bit);
            }
        fl_buf_fini(&out);
    }
    wire_decoder_fini(&d);
}

static void every_truncation_and_extension_is_refused(void **state)
{
    (void)state;
    wire_decoder d = {0};
    for (size_t i = 0; i < N_KINDS; i++) {
        wire_message m = sample(golden[i].kind), again;
        fl_buf out;
        pack(&out, &m);
        for (size_t n = 0; n < out.size; n++)
            if (unpack(&again, &d, out.bytes, n, NULL) == FL_OK)
                assert_int_equal(wire_verify(&d, key.public_key, NULL), FL_EREFUSED);
        fl_buf_add(&out, "", 1);
        assert_int_not_equal(unpack(&again, &d, out.bytes, out.size, NULL), FL_OK);
        fl_buf_fini(&out);
    }
    wire_decoder_fini(&d);
}

static void another_key_does_not_verify(void **state)
{
    (void)state;
    fl_sign_key other;
    wire_decoder d = {0};
    wire_message m = sample(WIRE_POLL), again;
    fl_buf out;
    sample_key(&other, 0x80);
    pack(&out, &m);
    assert_int_equal(unpack(&again, &d, out.bytes, out.size, NULL), FL_OK);
    assert_int_equal(wire_verify(&d, other.public_key, NULL), FL_EREFUSED);
    fl_buf_fini(&out);
    wire_decoder_fini(&d);
    fl_sign_key_fini(&other);
}

/* A frame with content given as bytes, signed properly: what an enrolled but hostile peer can send. */
static fl_code forged(const uint8_t *content, size_t n, fl_err *err)
{
    wire_decoder d = {0};
    wire_message m;
    fl_buf out;
    fl_buf_init(&out, 2 * WIRE_ENVELOPE_MAX);
    uint8_t text[64], signature[64];
    fl_hash hash = fl_sha256(content, n);
    size_t n_domain = strlen("cordon envelope v1\n");
    memcpy(text, "cordon envelope v1\n", n_domain);
    memcpy(text + n_domain, hash.bytes, 32);
    fl_sign(signature, &key, text, n_domain + 32);
    fl_buf_add_text(&out, "CDN1");
    fl_buf_add(&out, signature, 64);
    fl_buf_add(&out, content, n);
    fl_code code = unpack(&m, &d, out.bytes, out.size, err);
    assert_true((code == FL_OK) == (d.envelope != NULL));
    fl_buf_fini(&out);
    wire_decoder_fini(&d);
    return code;
}

#define FORGED(err, ...) forged((const uint8_t[]){__VA_ARGS__}, sizeof(const uint8_t[]){__VA_ARGS__}, err)
/* version 1, sender "a" */
#define HEAD 0x08, 1, 0x12, 1, 'a'

static void only_the_canonical_encoding_is_read(void **state)
{
    (void)state;
    fl_err err;
    assert_int_equal(FORGED(&err, HEAD, 0x92, 0x02, 0), FL_OK);                             /* NOTHING, field 34 */
    assert_int_equal(FORGED(&err, HEAD, 0x92, 0x82, 0x00, 0), FL_EFORMAT);                  /* padded tag */
    assert_int_equal(FORGED(&err, HEAD, 0x92, 0x02, 0x80, 0x00), FL_EFORMAT);               /* padded length */
    assert_int_equal(FORGED(&err, 0x08, 0x81, 0, 0x12, 1, 'a', 0x92, 0x02, 0), FL_EFORMAT); /* padded value */
    assert_int_equal(FORGED(&err, 0x12, 1, 'a', 0x08, 1, 0x92, 0x02, 0), FL_EFORMAT);       /* out of order */
    assert_int_equal(FORGED(&err, HEAD, 0x12, 1, 'b', 0x92, 0x02, 0), FL_EFORMAT);          /* twice */
    assert_int_equal(FORGED(&err, HEAD, 0x1a, 0, 0x92, 0x02, 0), FL_EFORMAT);       /* an empty study written out */
    assert_int_equal(FORGED(&err, HEAD, 0x92, 0x02, 0, 0xa2, 0x02, 0), FL_EFORMAT); /* NOTHING and OK */
    assert_int_equal(FORGED(&err, HEAD, 0x92, 0x02, 2, 0x08, 1), FL_EFORMAT);       /* a field inside NOTHING */
    assert_int_equal(FORGED(&err, HEAD, 0x40, 1, 0x92, 0x02, 0), FL_EFORMAT);       /* unknown field 8 */
    assert_non_null(strstr(err.text, "unknown field 8"));
    assert_int_equal(FORGED(&err, 0x08, 1, 0x12, 3, 'a', 0, 'b', 0x92, 0x02, 0), FL_EFORMAT);   /* a 0 inside a text */
    assert_int_equal(FORGED(&err, HEAD, 0xc2, 0x02, 7, 0x08, 1, 0x10, 1, 0x1a, 1, 'x'), FL_OK); /* retry: yes */
    assert_int_equal(FORGED(&err, HEAD, 0xc2, 0x02, 7, 0x08, 1, 0x10, 2, 0x1a, 1, 'x'), FL_EFORMAT); /* very much so */
    assert_int_equal(FORGED(&err, HEAD), FL_EFORMAT);                                                /* no body */
    assert_int_equal(FORGED(&err, 0x08, 2, 0x12, 1, 'a', 0x92, 0x02, 0), FL_EFORMAT);                /* version 2 */
    assert_non_null(strstr(err.text, "version is 2"));
    assert_int_equal(FORGED(&err, 0x12, 1, 'a', 0x92, 0x02, 0), FL_EFORMAT);     /* no version */
    assert_int_equal(FORGED(&err, 0x08, 1, 0x92, 0x02, 0), FL_EFORMAT);          /* no sender */
    assert_int_equal(FORGED(&err, HEAD, 0x3a, 1, 7, 0x92, 0x02, 0), FL_EFORMAT); /* a debit of one byte */
}

static void a_length_that_is_not_there_is_refused_before_it_is_allocated(void **state)
{
    (void)state;
    fl_err err;
    /* 2^63, 2^64 - 1, an eleven byte integer, a group, a length one too long */
    assert_int_equal(FORGED(&err, 0x08, 1, 0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01),
                     FL_EFORMAT);
    assert_int_equal(FORGED(&err, 0x08, 1, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
                     FL_EFORMAT);
    assert_int_equal(FORGED(&err, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), FL_EFORMAT);
    assert_int_equal(FORGED(&err, 0x0b, 0x0c), FL_EFORMAT);
    assert_int_equal(FORGED(&err, 0x08, 1, 0x12, 2, 'a'), FL_EFORMAT);
    assert_int_equal(FORGED(&err, HEAD, 0x21, 1, 2, 3), FL_EFORMAT);
}

static void a_flood_of_fields_is_refused(void **state)
{
    (void)state;
    size_t n = WIRE_ENVELOPE_MAX - 68;
    uint8_t *content = malloc(n + 1);
    fl_err err;
    memset(content, 0, n + 1);
    for (size_t i = 0; i + 1 < n; i += 2)
        content[i] = 0x08;
    assert_int_equal(forged(content, n, &err), FL_EFORMAT);
    /* an ANNOUNCE of half a million empty sites */
    const uint8_t head[] = {HEAD, 0x82, 0x02, 0, 0, 0};
    memcpy(content, head, sizeof head);
    size_t rest = n - sizeof head;
    for (unsigned i = 0; i < 3; i++)
        content[sizeof head - 3 + i] = (uint8_t)((rest >> (7 * i) & 0x7f) | (i < 2 ? 0x80 : 0));
    for (size_t i = sizeof head; i < n; i++)
        content[i] = (i - sizeof head) % 2 ? 0 : 0x3a;
    assert_int_equal(forged(content, n, &err), FL_EFORMAT);
    assert_non_null(strstr(err.text, "more than"));
    assert_int_equal(forged(content, n + 1, &err), FL_EFORMAT); /* one byte more than an envelope may have */
    free(content);
}

/* ---- every field out of its range ---- */

static void refused(const wire_message *m, const char *words)
{
    fl_err err = {0};
    fl_buf out;
    fl_buf_init(&out, WIRE_ENVELOPE_MAX);
    if (wire_pack(&out, m, &key, &err) != FL_EFORMAT)
        fail_msg("%s: taken, expected: %s", wire_kind_name(m->kind), words);
    assert_int_equal(out.size, 0);
    if (!strstr(err.text, words))
        fail_msg("%s: says \"%s\", expected \"%s\"", wire_kind_name(m->kind), err.text, words);
    fl_buf_fini(&out);
}

#define REFUSED(kind_, words, ...)                                                                                     \
    do {                                                                                                               \
        wire_message m = sample(kind_);                                                                                \
        __VA_ARGS__;                                                                                                   \
        refused(&m, words);                                                                                            \
    } while (0)

static void names_and_bindings_out_of_range_are_refused(void **state)
{
    (void)state;
    REFUSED(WIRE_POLL, "unknown kind", m.kind = (wire_kind)(WIRE_ERROR + 1));
    REFUSED(WIRE_POLL, "unknown kind", m.kind = WIRE_NONE);
    REFUSED(WIRE_POLL, "unknown kind", m.kind = (wire_kind)-1);
    REFUSED(WIRE_POLL, "sender", m.sender[0] = 0);
    REFUSED(WIRE_POLL, "sender", m.sender[2] = '/');
    REFUSED(WIRE_POLL, "sender", m.sender[2] = '\n');
    REFUSED(WIRE_POLL, "sender", memset(m.sender, 'a', sizeof m.sender));
    REFUSED(WIRE_POLL, "study", m.study[0] = ' ');
    REFUSED(WIRE_POLL, "study", memset(m.study, 'a', sizeof m.study));
    REFUSED(WIRE_POLL, "debit", m.debit[31] = 0);
    REFUSED(WIRE_POLL, "debit", m.debit[0] = 'A');
    REFUSED(WIRE_POLL, "debit", memset(m.debit, '0', sizeof m.debit));
    const wire_kind of_study[] = {WIRE_JOIN,     WIRE_UPLOAD, WIRE_RELEASED, WIRE_LEAVE,
                                  WIRE_ANNOUNCE, WIRE_PLAN,   WIRE_RECEIPT};
    for (size_t i = 0; i < sizeof of_study / sizeof of_study[0]; i++)
        REFUSED(of_study[i], "study", m.study[0] = 0);
    REFUSED(WIRE_UPLOAD, "debit", m.debit[0] = 0);
    REFUSED(WIRE_RELEASED, "debit", m.debit[0] = 0);
    REFUSED(WIRE_RECEIPT, "debit", m.debit[0] = 0);
}

static void requests_out_of_range_are_refused(void **state)
{
    (void)state;
    REFUSED(WIRE_POLL, "wait_ms", m.u.poll.wait_ms = 30001);
    REFUSED(WIRE_FETCH, "max_bytes", m.u.fetch.max_bytes = WIRE_PIECE_MIN - 1);
    REFUSED(WIRE_FETCH, "max_bytes", m.u.fetch.max_bytes = WIRE_PIECE_MAX + 1);
    REFUSED(WIRE_FETCH, "offset", m.u.fetch.offset = WIRE_OBJECT_MAX);
    REFUSED(WIRE_JOIN, "declared_patients", m.u.join.declared_patients = 0);
    REFUSED(WIRE_JOIN, "declared_patients", m.u.join.declared_patients = 1000000001);
    REFUSED(WIRE_HEAD, "note", m.u.head.note[0] = 0);
    REFUSED(WIRE_HEAD, "note", m.u.head.note[3] = 1);
    REFUSED(WIRE_HEAD, "note", m.u.head.note[strlen(SAMPLE_NOTE) - 1] = 0);
    REFUSED(WIRE_HEAD, "note", memset(m.u.head.note, '\n', sizeof m.u.head.note));
    REFUSED(WIRE_HEAD, "older", m.u.head.older[3] = 1);
    REFUSED(WIRE_HEAD, "restored", m.u.head.restore = NULL);
    REFUSED(WIRE_HEAD, "restored", m.u.head.restore = ""; m.u.head.older[0] = 0);
    REFUSED(WIRE_HEAD, "line", m.u.head.restore = "a\nb");
    REFUSED(WIRE_HEAD, "hashes", m.u.head.consistency.n = WIRE_PROOF_MAX + 1);
    REFUSED(WIRE_HEAD, "hashes", m.u.head.inclusion.n = WIRE_PROOF_MAX + 1);
    REFUSED(WIRE_ROTATED, "lines", m.u.rotated.n = 0);
    REFUSED(WIRE_ROTATED, "lines", m.u.rotated.n = WIRE_CHAIN_MAX + 1);
    REFUSED(WIRE_ROTATED, "line", m.u.rotated.list = (const char *const[]){"{}", ""});
    char long_line[WIRE_LINE_MAX + 1];
    memset(long_line, 'x', sizeof long_line);
    long_line[WIRE_LINE_MAX] = 0;
    REFUSED(WIRE_ROTATED, "line", m.u.rotated.list = (const char *const[]){long_line, "{}"});
    REFUSED(WIRE_RELEASED, "line", m.u.released.entry = long_line);
    REFUSED(WIRE_RELEASED, "line", m.u.released.entry = "");
    REFUSED(WIRE_RELEASED, "line", m.u.released.entry = NULL);
    REFUSED(WIRE_RELEASED, "hashes", m.u.released.inclusion.n = WIRE_PROOF_MAX + 1);
    REFUSED(WIRE_UPLOAD, "total", m.u.upload.total = 0);
    REFUSED(WIRE_UPLOAD, "total", m.u.upload.total = (uint64_t)WIRE_OBJECT_MAX + 1);
    REFUSED(WIRE_UPLOAD, "offset", m.u.upload.offset = 5);
    REFUSED(WIRE_UPLOAD, "offset", m.u.upload.offset = UINT64_MAX - 1);
    REFUSED(WIRE_UPLOAD, "offset", m.u.upload.total = 3);
    REFUSED(WIRE_UPLOAD, "piece", m.u.upload.n_bytes = WIRE_PIECE_MAX + 1);
    REFUSED(WIRE_RELEASED, "update_bytes", m.u.released.update_bytes = 0);
    REFUSED(WIRE_RELEASED, "update_bytes", m.u.released.update_bytes = (uint64_t)WIRE_OBJECT_MAX + 1);
}

static void replies_out_of_range_are_refused(void **state)
{
    (void)state;
    wire_site sites[2] = {{.name = "b", .declared_patients = 1}, {.name = "a", .declared_patients = 1}};
    wire_site same[2] = {{.name = "a", .declared_patients = 1}, {.name = "a", .declared_patients = 1}};
    wire_site bad = {.name = "a/b", .declared_patients = 1}, empty = {.name = "a"};
    REFUSED(WIRE_ANNOUNCE, "round", m.u.announce.round = 4);
    REFUSED(WIRE_ANNOUNCE, "model_bytes", m.u.announce.model_bytes = 0);
    REFUSED(WIRE_ANNOUNCE, "model_bytes", m.u.announce.model_bytes = (uint64_t)WIRE_OBJECT_MAX + 1);
    REFUSED(WIRE_ANNOUNCE, "deadline_s", m.u.announce.deadline_s = 2678401);
    REFUSED(WIRE_ANNOUNCE, "number of sites", m.u.announce.n_sites = 0);
    REFUSED(WIRE_ANNOUNCE, "number of sites", m.u.announce.n_sites = WIRE_SITES_MAX + 1);
    REFUSED(WIRE_ANNOUNCE, "ascending", m.u.announce.sites = sites);
    REFUSED(WIRE_ANNOUNCE, "ascending", m.u.announce.sites = same);
    REFUSED(WIRE_ANNOUNCE, "name", m.u.announce.sites = &bad; m.u.announce.n_sites = 1);
    REFUSED(WIRE_ANNOUNCE, "declared", m.u.announce.sites = &empty; m.u.announce.n_sites = 1);
    REFUSED(WIRE_PLAN, "plan", m.u.plan.n_bytes = 1);
    REFUSED(WIRE_PLAN, "plan", m.u.plan.n_bytes = WIRE_PLAN_MAX + 1);
    REFUSED(WIRE_PLAN, "json", m.u.plan.n_bytes = 19);
    REFUSED(WIRE_BYTES, "total", m.u.bytes.total = 0);
    REFUSED(WIRE_BYTES, "piece", m.u.bytes.n_bytes = 0);
    REFUSED(WIRE_BYTES, "offset", m.u.bytes.offset = 1);
    REFUSED(WIRE_COSIGNED, "note", m.u.cosigned.note[0] = 0);
    REFUSED(WIRE_LENGTH, "length", m.u.length.length = (uint64_t)WIRE_OBJECT_MAX + 1);
    REFUSED(WIRE_ERROR, "code", m.u.error.code = WIRE_E_NONE);
    REFUSED(WIRE_ERROR, "code", m.u.error.code = (wire_error_code)(WIRE_E_NO_PROOF + 1));
    REFUSED(WIRE_ERROR, "ledger_size", m.u.error.code = WIRE_E_BUSY);
    wire_known known = {.study = "s", .round = 1, .debit = "000102030405060708090a0b0c0d0e0f"}, other = known;
    REFUSED(WIRE_WITNESSED, "note", m.u.witnessed.note[3] = 1);
    REFUSED(WIRE_WITNESSED, "number of debits", m.u.witnessed.n_known = WIRE_KNOWN_MAX + 1);
    REFUSED(WIRE_WITNESSED, "number of debits", m.u.witnessed.total = 1);
    REFUSED(WIRE_WITNESSED, "round", other.round = 0; m.u.witnessed.known = &other; m.u.witnessed.n_known = 1);
    other = known;
    REFUSED(WIRE_WITNESSED, "study", other.study[0] = '/'; m.u.witnessed.known = &other; m.u.witnessed.n_known = 1);
    other = known;
    REFUSED(WIRE_WITNESSED, "debit", other.debit[4] = 'G'; m.u.witnessed.known = &other; m.u.witnessed.n_known = 1);
    REFUSED(WIRE_KEY_CHAIN, "lines", m.u.key_chain.n = WIRE_CHAIN_MAX + 1);
    REFUSED(WIRE_ERROR, "text", m.u.error.text[0] = 0);
    REFUSED(WIRE_ERROR, "text", m.u.error.text[5] = '\n');
    REFUSED(WIRE_ERROR, "text", memset(m.u.error.text, 'x', sizeof m.u.error.text));
}

static void an_announce_with_a_wrong_hash_of_itself_is_refused(void **state)
{
    (void)state;
    wire_message m = sample(WIRE_ANNOUNCE);
    fl_err err;
    fl_buf out;
    pack(&out, &m);
    fl_hash own = wire_announce_hash(&m.u.announce);
    uint8_t *at = memmem(out.bytes, out.size, own.bytes, 32);
    assert_non_null(at);
    at[7] ^= 1;
    assert_int_equal(forged(out.bytes + 68, out.size - 68, &err), FL_EFORMAT);
    assert_non_null(strstr(err.text, "announce_hash"));
    fl_buf_fini(&out);
}

static void the_announce_hash_is_the_same_for_every_site_and_moment(void **state)
{
    (void)state;
    wire_message m = sample(WIRE_ANNOUNCE);
    fl_hash a = wire_announce_hash(&m.u.announce), b;
    m.u.announce.deadline_s = 17;
    m.u.announce.announce_hash = sample_hash(9);
    b = wire_announce_hash(&m.u.announce);
    assert_memory_equal(&a, &b, sizeof a);
    m.u.announce.model_bytes++;
    b = wire_announce_hash(&m.u.announce);
    assert_memory_not_equal(&a, &b, sizeof a);
}

/* ---- bindings ---- */

static void misbound(wire_kind request_kind, wire_kind reply_kind, void (*change)(wire_message *reply))
{
    wire_message request = sample(request_kind), reply = sample(reply_kind);
    if (request_kind == WIRE_FETCH) {
        reply.u.bytes.object = request.u.fetch.object;
        reply.u.bytes.offset = request.u.fetch.offset;
        reply.u.bytes.total = request.u.fetch.offset + 4;
    }
    fl_err err = {0};
    if (wire_check_reply(&request, &reply, "hub", &err))
        fail_msg("%s", err.text);
    change(&reply);
    assert_int_equal(wire_check_reply(&request, &reply, "hub", &err), FL_EREFUSED);
}

static void other_id(wire_message *m)
{
    m->request_id++;
}

static void other_sender(wire_message *m)
{
    strcpy(m->sender, "mercy");
}

static void other_study(wire_message *m)
{
    strcpy(m->study, "chest-2");
}

static void other_round(wire_message *m)
{
    m->round++;
}

static void other_debit(wire_message *m)
{
    m->debit[0] = 'f';
}

static void other_object(wire_message *m)
{
    m->u.bytes.object.bytes[0] ^= 1; /* first in BYTES, LENGTH and RECEIPT */
}

static void other_offset(wire_message *m)
{
    m->u.bytes.offset--;
}

static void too_long(wire_message *m)
{
    m->u.length.length = 11;
}

static void other_kind(wire_message *m)
{
    m->kind = WIRE_NOTHING;
}

static void a_reply_to_something_else_is_refused(void **state)
{
    (void)state;
    const wire_kind pairs[][2] = {
        {WIRE_POLL, WIRE_ANNOUNCE}, {WIRE_POLL, WIRE_PLAN},      {WIRE_POLL, WIRE_NOTHING},
        {WIRE_FETCH, WIRE_BYTES},   {WIRE_JOIN, WIRE_OK},        {WIRE_LEAVE, WIRE_OK},
        {WIRE_HEAD, WIRE_COSIGNED}, {WIRE_UPLOAD, WIRE_LENGTH},  {WIRE_RELEASED, WIRE_RECEIPT},
        {WIRE_POLL, WIRE_ERROR},    {WIRE_RELEASED, WIRE_ERROR}, {WIRE_WITNESS, WIRE_WITNESSED},
        {WIRE_ROTATED, WIRE_OK},    {WIRE_KEYS, WIRE_KEY_CHAIN}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        misbound(pairs[i][0], pairs[i][1], other_id);
        misbound(pairs[i][0], pairs[i][1], other_sender);
        if (pairs[i][0] == WIRE_POLL || pairs[i][1] == WIRE_ERROR)
            continue;
        misbound(pairs[i][0], pairs[i][1], other_study);
        misbound(pairs[i][0], pairs[i][1], other_round);
        misbound(pairs[i][0], pairs[i][1], other_debit);
        misbound(pairs[i][0], pairs[i][1], other_kind);
    }
    misbound(WIRE_FETCH, WIRE_BYTES, other_object);
    misbound(WIRE_FETCH, WIRE_BYTES, other_offset);
    misbound(WIRE_UPLOAD, WIRE_LENGTH, other_object);
    misbound(WIRE_UPLOAD, WIRE_LENGTH, too_long);
    misbound(WIRE_RELEASED, WIRE_RECEIPT, other_object);
}

static void a_sequence_never_goes_back(void **state)
{
    (void)state;
    uint64_t last = 0;
    wire_message m = sample(WIRE_POLL);
    assert_int_equal(wire_check_fresh(&last, &m, NULL), FL_OK);
    assert_int_equal(wire_check_fresh(&last, &m, NULL), FL_OK); /* the same bytes again: a retry */
    m.sequence--;
    assert_int_equal(wire_check_fresh(&last, &m, NULL), FL_EREFUSED);
    assert_true(last == m.sequence + 1);
}

static void a_receipt_binds_study_round_node_debit_and_update(void **state)
{
    (void)state;
    char text[WIRE_RECEIPT_TEXT_MAX];
    const char *debit = "000102030405060708090a0b0c0d0e0f";
    fl_hash hash = sample_hash(0x44), other = sample_hash(0x45);
    uint8_t s[64];
    size_t n = wire_receipt_text(text, "chest-1", 3, "st-anna", debit, &hash);
    assert_string_equal(text, "cordon receipt v1\nchest-1\n3\nst-anna\n000102030405060708090a0b0c0d0e0f\n"
                              "4444444444444444444444444444444444444444444444444444444444444444\n");
    assert_int_equal(n, strlen(text));
    wire_receipt_sign(s, &key, "chest-1", 3, "st-anna", debit, &hash);
    const uint8_t *pk = key.public_key;
    assert_true(wire_receipt_verify(s, pk, "chest-1", 3, "st-anna", debit, &hash));
    assert_false(wire_receipt_verify(s, pk, "chest-2", 3, "st-anna", debit, &hash));
    assert_false(wire_receipt_verify(s, pk, "chest-1", 4, "st-anna", debit, &hash));
    assert_false(wire_receipt_verify(s, pk, "chest-1", 3, "mercy", debit, &hash));
    assert_false(wire_receipt_verify(s, pk, "chest-1", 3, "st-anna", "ff", &hash));
    assert_false(wire_receipt_verify(s, pk, "chest-1", 3, "st-anna", debit, &other));
    char longest[WIRE_NAME_MAX] = {0};
    memset(longest, 'x', 63);
    assert_true(wire_receipt_text(text, longest, UINT32_MAX, longest, debit, &hash) < sizeof text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_has_the_bytes_of_the_independent_encoder),
        cmocka_unit_test(what_is_packed_is_what_is_unpacked),
        cmocka_unit_test(a_piece_of_the_largest_size_travels),
        cmocka_unit_test(a_roster_of_the_largest_size_travels),
        cmocka_unit_test(any_changed_byte_is_refused),
        cmocka_unit_test(every_truncation_and_extension_is_refused),
        cmocka_unit_test(another_key_does_not_verify),
        cmocka_unit_test(only_the_canonical_encoding_is_read),
        cmocka_unit_test(a_length_that_is_not_there_is_refused_before_it_is_allocated),
        cmocka_unit_test(a_flood_of_fields_is_refused),
        cmocka_unit_test(names_and_bindings_out_of_range_are_refused),
        cmocka_unit_test(requests_out_of_range_are_refused),
        cmocka_unit_test(replies_out_of_range_are_refused),
        cmocka_unit_test(an_announce_with_a_wrong_hash_of_itself_is_refused),
        cmocka_unit_test(the_announce_hash_is_the_same_for_every_site_and_moment),
        cmocka_unit_test(a_reply_to_something_else_is_refused),
        cmocka_unit_test(a_sequence_never_goes_back),
        cmocka_unit_test(a_receipt_binds_study_round_node_debit_and_update),
    };
    sample_key(&key, 0x40);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fl_sign_key_fini(&key);
    return failed;
}
