/* What ties messages to one another: a reply to its request, a request to its place in time, a receipt to its update. */
#include "base/encode.h"
#include "crypto/hash.h"
#include "proto/msg/envelope.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool answers(wire_kind request, wire_kind reply)
{
    if (reply == WIRE_ERROR)
        return true;
    switch (request) {
    case WIRE_POLL:
        return reply == WIRE_ANNOUNCE || reply == WIRE_PLAN || reply == WIRE_NOTHING;
    case WIRE_FETCH:
        return reply == WIRE_BYTES;
    case WIRE_JOIN:
    case WIRE_LEAVE:
        return reply == WIRE_OK;
    case WIRE_HEAD:
        return reply == WIRE_COSIGNED;
    case WIRE_UPLOAD:
        return reply == WIRE_LENGTH;
    case WIRE_RELEASED:
        return reply == WIRE_RECEIPT;
    case WIRE_WITNESS:
        return reply == WIRE_WITNESSED;
    case WIRE_ROTATED:
        return reply == WIRE_OK;
    case WIRE_KEYS:
        return reply == WIRE_KEY_CHAIN;
    default:
        return false;
    }
}

static bool same_object(const wire_message *request, const wire_message *reply)
{
    switch (reply->kind) {
    case WIRE_BYTES:
        return fl_hash_equal(&request->u.fetch.object, &reply->u.bytes.object) &&
               request->u.fetch.offset == reply->u.bytes.offset && reply->u.bytes.n_bytes <= request->u.fetch.max_bytes;
    case WIRE_LENGTH:
        return fl_hash_equal(&request->u.upload.object, &reply->u.length.object) &&
               reply->u.length.length <= request->u.upload.total;
    case WIRE_RECEIPT:
        return fl_hash_equal(&request->u.released.update_hash, &reply->u.receipt.update_hash);
    default:
        return true;
    }
}

fl_code wire_check_reply(const wire_message *request, const wire_message *reply, const char *sender, fl_err *err)
{
    const char *name = wire_kind_name(reply->kind);
    if (strcmp(reply->sender, sender))
        return fl_fail(err, FL_EREFUSED, "%s: comes from %s, not from %s", name, reply->sender, sender);
    if (reply->request_id != request->request_id)
        return fl_fail(err, FL_EREFUSED, "%s: answers another request", name);
    if (!answers(request->kind, reply->kind))
        return fl_fail(err, FL_EREFUSED, "%s: is no answer to %s", name, wire_kind_name(request->kind));
    if (reply->kind == WIRE_ERROR || request->kind == WIRE_POLL)
        return FL_OK;
    if (strcmp(reply->study, request->study) || reply->round != request->round || strcmp(reply->debit, request->debit))
        return fl_fail(err, FL_EREFUSED, "%s: is bound to another study, round or debit", name);
    if (!same_object(request, reply))
        return fl_fail(err, FL_EREFUSED, "%s: is about another object or place", name);
    return FL_OK;
}

fl_code wire_check_fresh(uint64_t *last, const wire_message *m, fl_err *err)
{
    if (m->sequence < *last)
        return fl_fail(err, FL_EREFUSED, "%s: sequence %" PRIu64 " of %s was passed already: replayed or restored",
                       wire_kind_name(m->kind), m->sequence, m->sender);
    *last = m->sequence;
    return FL_OK;
}

size_t wire_receipt_text(char text[WIRE_RECEIPT_TEXT_MAX], const char *study, uint32_t round, const char *node,
                         const char *debit, const fl_hash *update_hash)
{
    char hex[2 * FL_HASH_SIZE + 1];
    fl_hex_encode(hex, update_hash->bytes, FL_HASH_SIZE);
    int n = snprintf(text, WIRE_RECEIPT_TEXT_MAX, "cordon receipt v1\n%s\n%" PRIu32 "\n%s\n%s\n%s\n", study, round,
                     node, debit, hex);
    assert(n > 0 && n < WIRE_RECEIPT_TEXT_MAX); /* 18 + 64 + 11 + 64 + 33 + 65 */
    return (size_t)n;
}

void wire_receipt_sign(uint8_t signature[FL_SIGNATURE_SIZE], const fl_sign_key *key, const char *study, uint32_t round,
                       const char *node, const char *debit, const fl_hash *update_hash)
{
    char text[WIRE_RECEIPT_TEXT_MAX];
    fl_sign(signature, key, text, wire_receipt_text(text, study, round, node, debit, update_hash));
}

bool wire_receipt_verify(const uint8_t signature[FL_SIGNATURE_SIZE], const uint8_t public_key[FL_PUBLIC_KEY_SIZE],
                         const char *study, uint32_t round, const char *node, const char *debit,
                         const fl_hash *update_hash)
{
    char text[WIRE_RECEIPT_TEXT_MAX];
    return fl_sign_verify(signature, public_key, text, wire_receipt_text(text, study, round, node, debit, update_hash));
}
