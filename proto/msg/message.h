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
 *   HEAD      my ledger's head, and proof  COSIGNED  your signature of it
 *             that it extends yours
 *   UPLOAD    object, offset, piece        LENGTH    what is verified here
 *   RELEASED  round, debit, update hash    RECEIPT   stored; signed
 *   LEAVE     study                        OK
 *   WITNESS   what do you hold of me?      WITNESSED my newest head, what was received from me
 *   ROTATED   my new keys, each signed     OK
 *             by the one before
 *   KEYS      the key of yours I believe   KEY_CHAIN what followed it; signed by the newest
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
#define WIRE_LINE_MAX   2048     /* a ledger line that travels, with the terminating 0 */
#define WIRE_PROOF_MAX  64       /* hashes of a proof (privacy/proof.h) */
#define WIRE_KNOWN_MAX  128      /* debits in one WITNESSED */
#define WIRE_CHAIN_MAX  32       /* KEY_ROTATE lines in one message */

typedef enum wire_kind {
    WIRE_NONE = 0,
    /* requests */
    WIRE_POLL, WIRE_FETCH, WIRE_JOIN, WIRE_HEAD, WIRE_UPLOAD, WIRE_RELEASED, WIRE_LEAVE,
    WIRE_WITNESS, WIRE_ROTATED, WIRE_KEYS,
    /* replies */
    WIRE_ANNOUNCE, WIRE_PLAN, WIRE_NOTHING, WIRE_BYTES, WIRE_OK, WIRE_COSIGNED, WIRE_LENGTH, WIRE_RECEIPT, WIRE_WITNESSED,
    WIRE_KEY_CHAIN, WIRE_ERROR,
} wire_kind;

typedef enum wire_error_code {
    WIRE_E_NONE = 0,
    WIRE_E_UNKNOWN_STUDY, WIRE_E_NOT_A_MEMBER, WIRE_E_STALE_ROUND, WIRE_E_NO_OBJECT, WIRE_E_BAD_OFFSET,
    WIRE_E_EQUIVOCATION, /* another update, or another head, was received before under the same name */
    WIRE_E_ROLLBACK,     /* the head is behind the one held here */
    WIRE_E_BAD_UPDATE, WIRE_E_BUSY, WIRE_E_REVOKED, WIRE_E_BAD_REQUEST,
    WIRE_E_NO_PROOF,     /* the head was not shown to extend the one over ledger_size lines, which is held here */
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

/* RFC 6962 hashes. Decoded: points into the decoder's memory; composed: the caller's. */
typedef struct wire_proof {
    const fl_hash *hashes;
    uint32_t n;                  /* 0 to WIRE_PROOF_MAX */
} wire_proof;

/* HEAD. A head that extends the one held there comes with its proof alone. After a restore it cannot: then `restore` is
 * the RESTORE line that names the head held there, `inclusion` shows it under the note, and `consistency` that the note
 * extends `older`, a head with the coordinator's signature (or "": none). */
typedef struct wire_head {
    char note[WIRE_NOTE_MAX], older[WIRE_NOTE_MAX];
    const char *restore;         /* NULL or "": not restored; decoded: never NULL */
    wire_proof consistency, inclusion;
} wire_head;

typedef struct wire_known {      /* a debit whose update was received */
    char study[WIRE_NAME_MAX];
    uint32_t round;
    char debit[WIRE_DEBIT_SIZE];
    fl_hash announce_hash, model_hash; /* of its round */
} wire_known;

typedef struct wire_witnessed {
    char note[WIRE_NOTE_MAX];    /* the newest head of the asker's ledger, cosigned; "": none */
    uint64_t sequence;           /* the largest number seen of the asker */
    uint32_t total, n_known;     /* of all; of these, from `skip` of the question on */
    const wire_known *known;     /* in the order of their receipt */
} wire_witnessed;

typedef struct wire_lines {      /* ledger lines without newline, in their order */
    const char *const *list;
    uint32_t n;                  /* 1 to WIRE_CHAIN_MAX; KEY_CHAIN: 0 when the key is the newest */
} wire_lines;

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
        wire_head head;
        struct { fl_hash object; uint64_t offset, total; const uint8_t *bytes; uint32_t n_bytes; } upload;
        struct { fl_hash update_hash; uint64_t update_bytes; fl_hash announce_hash;
                 const char *entry; wire_proof inclusion; } released; /* the RELEASE line, under the head cosigned last */
        struct { uint32_t skip; } witness;
        wire_lines rotated, key_chain; /* KEY_ROTATE lines; the envelope is signed by the newest key */
        struct { uint8_t public_key[32]; } keys;
        wire_witnessed witnessed;
        struct { const char *json; uint32_t n_bytes; uint32_t index; } plan; /* json "{}": a study of others; it only
                                                                                holds its place in the count */
        wire_announce announce;
        struct { fl_hash object; uint64_t offset, total; const uint8_t *bytes; uint32_t n_bytes; } bytes;
        struct { char note[WIRE_NOTE_MAX]; } cosigned;  /* the note with the coordinator's signature line added */
        struct { fl_hash object; uint64_t length; } length;
        struct { fl_hash update_hash; uint8_t signature[64]; } receipt; /* Ed25519 over wire_receipt_text */
        struct { wire_error_code code; bool retry; char text[WIRE_TEXT_MAX];
                 uint64_t ledger_size; } error; /* of the head held here, with NO_PROOF; else 0 */
    } u;
} wire_message;

/* clang-format on */

#endif
