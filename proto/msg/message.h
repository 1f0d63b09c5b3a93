/*
 * What nodes and coordinators say to one another, as decoded and checked structs. The bytes on the wire are
 * protobuf (cordon.proto) inside a signed envelope (envelope.h); nothing else in the project sees them.
 *
 * A node asks, a coordinator answers; one reply to each request.
 *
 *   node                                   coordinator
 *   POLL      what I have, and my head     ANNOUNCE  a round for you            (held back up to wait_ms)
 *                                          PLAN      a plan you have not seen
 *                                          NOTHING   ask again
 *   FETCH     object, offset               BYTES     the next piece, total size
 *   JOIN      plan approved, declared N    OK
 *   HEAD      my ledger's head             COSIGNED  your signature of it
 *   UPLOAD    object, offset, piece        LENGTH    what is verified here
 *   RELEASED  round, debit, update hash    RECEIPT   stored; signed
 *   LEAVE     study                        OK
 *   ENROL     (its own message: enrol.h)
 *   any request                            ERROR     code and a sentence; retry says whether the same may work later
 *
 * Bound to study, round and debit by the envelope, which every request and reply carries.
 */
#ifndef PROTO_MSG_MESSAGE_H
#define PROTO_MSG_MESSAGE_H

#include "base/object.h"

/* clang-format off */

#define WIRE_NAME_MAX   64       /* with the terminating 0; [A-Za-z0-9._-] */
#define WIRE_NOTE_MAX   512      /* a signed checkpoint */
#define WIRE_TEXT_MAX   256
#define WIRE_PLAN_MAX   16384
#define WIRE_SITES_MAX  256
#define WIRE_PIECE_MIN  16384
#define WIRE_PIECE_MAX  1048576
#define WIRE_OBJECT_MAX (1u << 30)
#define WIRE_DEBIT_SIZE 33       /* 32 hex digits and 0; "" : none */

typedef enum wire_kind {
    WIRE_NONE = 0,
    /* requests */
    WIRE_POLL, WIRE_FETCH, WIRE_JOIN, WIRE_HEAD, WIRE_UPLOAD, WIRE_RELEASED, WIRE_LEAVE,
    /* replies */
    WIRE_ANNOUNCE, WIRE_PLAN, WIRE_NOTHING, WIRE_BYTES, WIRE_OK, WIRE_COSIGNED, WIRE_LENGTH, WIRE_RECEIPT, WIRE_ERROR,
} wire_kind;

typedef enum wire_error_code {
    WIRE_E_NONE = 0,
    WIRE_E_UNKNOWN_STUDY, WIRE_E_NOT_A_MEMBER, WIRE_E_STALE_ROUND, WIRE_E_NO_OBJECT, WIRE_E_BAD_OFFSET,
    WIRE_E_EQUIVOCATION, /* another update, or another head, was received before under the same name */
    WIRE_E_ROLLBACK,     /* the head is behind the one held here */
    WIRE_E_BAD_UPDATE, WIRE_E_BUSY, WIRE_E_REVOKED, WIRE_E_BAD_REQUEST,
} wire_error_code;

typedef struct wire_site {       /* a member of a round's roster */
    char name[WIRE_NAME_MAX];
    uint64_t declared_patients;  /* N_i, public */
    uint64_t ledger_size;        /* the head the coordinator holds; 0: none yet */
    fl_hash ledger_root;
} wire_site;

typedef struct wire_poll {
    uint32_t n_plans_known;      /* plans received so far, in the coordinator's order: the next one is the answer */
    uint32_t wait_ms;            /* long poll: 0..30000 */
    uint64_t ledger_size;
} wire_poll;

typedef struct wire_announce {
    uint32_t round;
    fl_hash plan_hash, model_hash, announce_hash; /* announce_hash = SHA-256 of the announce's own wire bytes with this
                                                     field and deadline_s empty (wire_announce_hash); filled
                                                     when composed and checked when decoded */
    uint64_t model_bytes;
    uint32_t deadline_s;         /* seconds left */
    uint32_t n_sites;
    const wire_site *sites;      /* 1 to WIRE_SITES_MAX, names strictly ascending (bytewise). Decoded: points into the
                                    decoder's memory; composed: the caller's */
} wire_announce;

/* One request or reply. Texts are 0-terminated; bytes point into the decoder's buffer and die with it. */
typedef struct wire_message {
    wire_kind kind;
    /* the envelope's binding, checked against the sender's signature */
    char sender[WIRE_NAME_MAX];
    char study[WIRE_NAME_MAX];   /* "" where the message belongs to no study */
    uint64_t request_id;         /* random; a retry carries the same, a reply echoes it */
    uint64_t sequence;           /* per sender, never smaller than before */
    uint32_t round;
    char debit[WIRE_DEBIT_SIZE];
    union {
        wire_poll poll;
        struct { fl_hash object; uint64_t offset; uint32_t max_bytes; } fetch;
        struct { fl_hash plan_hash; uint64_t declared_patients; } join;
        struct { char note[WIRE_NOTE_MAX]; } head;
        struct { fl_hash object; uint64_t offset, total; const uint8_t *bytes; uint32_t n_bytes; } upload;
        struct { fl_hash update_hash; uint64_t update_bytes; fl_hash announce_hash; } released;
        struct { const char *json; uint32_t n_bytes; uint32_t index; } plan; /* json "{}": a study of others; it only
                                                                                holds its place in the count */
        wire_announce announce;
        struct { fl_hash object; uint64_t offset, total; const uint8_t *bytes; uint32_t n_bytes; } bytes;
        struct { char note[WIRE_NOTE_MAX]; } cosigned;  /* the note with the coordinator's signature line added */
        struct { fl_hash object; uint64_t length; } length;
        struct { fl_hash update_hash; uint8_t signature[64]; } receipt; /* Ed25519 over wire_receipt_text */
        struct { wire_error_code code; bool retry; char text[WIRE_TEXT_MAX]; } error;
    } u;
} wire_message;

/* clang-format on */

#endif
