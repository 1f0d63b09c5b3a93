/*
 * The signed envelope around a wire_message: the only bytes that nodes and coordinators exchange.
 *
 *     offset  size  field
 *          0     4  "CDN1"
 *          4    64  Ed25519 signature over "cordon envelope v1\n" followed by the SHA-256 (32 bytes) of bytes 68 to the end
 *         68     n  a protobuf Message (cordon.proto), in its canonical form
 *
 * Canonical means: exactly the bytes that packing the decoded message gives again. So there is one byte string for one
 * message, and unknown fields, fields twice, fields out of order and padded integers are refused.
 *
 * The life of received bytes: wire_unpack (limits, structure, every value in its range), then the receiver looks up the
 * public key of message->sender, then wire_verify with that key. Nothing in the message may be acted upon before
 * wire_verify said FL_OK. Errors are FL_EREFUSED for a signature and a binding, FL_EFORMAT for everything else.
 *
 * Reentrant; a decoder belongs to one thread at a time.
 */
#ifndef PROTO_MSG_ENVELOPE_H
#define PROTO_MSG_ENVELOPE_H

#include "base/buf.h"
#include "crypto/sign.h"
#include "proto/msg/message.h"

#define WIRE_ENVELOPE_HEAD 68
#define WIRE_ENVELOPE_MAX  (WIRE_PIECE_MAX + 4096) /* an UPLOAD or BYTES with the largest piece is the largest message */

/* The memory that decoded messages point into. A zeroed struct is ready for use. */
typedef struct wire_decoder {
    uint8_t *memory;
    size_t capacity, used;
    const uint8_t *envelope; /* the copy of what was given to wire_unpack; NULL after a failure */
    size_t n_envelope;
} wire_decoder;

void wire_decoder_fini(wire_decoder *d); /* NULL and zeroed are fine */

/* Appends the envelope of *m, signed by key, to out (whose maximum should be WIRE_ENVELOPE_MAX or more). Checks *m with
 * wire_check first. An ANNOUNCE is sent with wire_announce_hash of itself whatever m->u.announce.announce_hash holds. */
fl_code wire_pack(fl_buf *out, const wire_message *m, const fl_sign_key *key, fl_err *err) FL_MUST_USE;

/* Decodes and checks everything but the signature. Bytes, texts and sites in *out stay valid until the decoder's next
 * wire_unpack or fini. Allocates at most 3 n + 256 KiB, and only after n was compared with WIRE_ENVELOPE_MAX. */
fl_code wire_unpack(wire_message *out, wire_decoder *d, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;

/* Checks the signature of what wire_unpack decoded last. */
fl_code wire_verify(const wire_decoder *d, const uint8_t public_key[FL_PUBLIC_KEY_SIZE], fl_err *err) FL_MUST_USE;

/* Every name, range, length and size of a message, as tabled in docs/protocol.md: what both pack and unpack ask. */
fl_code wire_check(const wire_message *m, fl_err *err) FL_MUST_USE;

/* Does reply answer request, and does it come from sender? The request id is echoed, the kind is one that answers,
 * object and offset are those asked for, and study, round and debit agree where the request carries them (replies to
 * POLL bring their own; ERROR needs the request id alone). */
fl_code wire_check_reply(const wire_message *request, const wire_message *reply, const char *sender,
                         fl_err *err) FL_MUST_USE;

/* Replay: a sender's sequence never goes back. Refuses m->sequence < *last, else sets *last = m->sequence. Equal is
 * allowed, for a retry sends the same bytes; what was done under a request id is not done twice by the receiver. */
fl_code wire_check_fresh(uint64_t *last, const wire_message *m, fl_err *err) FL_MUST_USE;

/* SHA-256 of the packed Announce with announce_hash absent and deadline_s = 0: that one is relative to the moment,
 * all else is the same for everybody in the round. */
fl_hash wire_announce_hash(const wire_announce *a);

/* What a receipt signs: "cordon receipt v1\n" study "\n" round "\n" node "\n" debit "\n" update_hash "\n", round in decimal,
 * the hash in lower-case hex. Returns the length without the final 0. */
#define WIRE_RECEIPT_TEXT_MAX 320
size_t wire_receipt_text(char text[WIRE_RECEIPT_TEXT_MAX], const char *study, uint32_t round, const char *node,
                         const char *debit, const fl_hash *update_hash);
void wire_receipt_sign(uint8_t signature[FL_SIGNATURE_SIZE], const fl_sign_key *key, const char *study, uint32_t round,
                       const char *node, const char *debit, const fl_hash *update_hash);
bool wire_receipt_verify(const uint8_t signature[FL_SIGNATURE_SIZE], const uint8_t public_key[FL_PUBLIC_KEY_SIZE],
                         const char *study, uint32_t round, const char *node, const char *debit,
                         const fl_hash *update_hash);

const char *wire_kind_name(wire_kind kind);        /* "POLL"; "?" for others */
const char *wire_error_name(wire_error_code code); /* "stale round"; "?" for others */
bool wire_kind_is_request(wire_kind kind);
bool wire_name_ok(const char *name); /* 1 to 63 of [A-Za-z0-9._-] */

#endif
