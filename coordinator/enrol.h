/*
 * Invitations and what becomes of them.
 *
 *     invite    a one-time TLS certificate for the hospital's name (good for enrolment only), as one line of text;
 *               kept here: SHA-256 of its key, hospital, expiry
 *     enrol     its bearer shows an Ed25519 key, the ledger's verifier key and a certificate request; the answer is a
 *               certificate of one year, and the hospital is a site from then on
 *     revoke    the site's row says so, REVOKE stands in the ledger; the caller closes its connections
 *
 * Refused: an invitation that is unknown, of another name, expired, used by another key; a name that is taken. Asked
 * again by the same key, the answer is the same certificate, or (another certificate request before the expiry: the
 * node lost its TLS key half-way) a new one. Each change is one transaction.
 */
#ifndef COORDINATOR_ENROL_H
#define COORDINATOR_ENROL_H

#include "coordinator/store.h"
#include "proto/msg/enrol.h"
#include "proto/net/server.h"

#define COORD_INVITATION_DAYS 7
#define COORD_NODE_DAYS       365

/* Appends the line, without newline. renew: a new certificate for a hospital that is enrolled, good for the holder of its
 * identity key alone. FL_EREFUSED: the name is taken (renew: revoked). FL_ENOTFOUND: nothing to renew. */
fl_code coord_invite(coord_store *s, fl_buf *line, const char *hospital, bool renew, int64_t now_s, int64_t valid_s,
                     int64_t *expires_s, fl_err *err) FL_MUST_USE;

/* The reply to an enrolment request: accepted or, with a sentence, refused. *is_new: rows changed. An error means that
 * nothing can be answered (disk, or not an enrolment at all). */
fl_code coord_enrol(coord_store *s, fl_buf *reply, bool *is_new, const wire_peer *peer, const uint8_t *bytes, size_t n,
                    int64_t now_s, fl_err *err) FL_MUST_USE;

/* FL_ENOTFOUND; FL_EREFUSED: was revoked already. spki: whose connections to close. */
fl_code coord_revoke(coord_store *s, fl_hash *spki, const char *hospital, fl_err *err) FL_MUST_USE;

/* The keys that may connect: sites not revoked (is_enrolment false), invitations not expired at now_s (true). */
typedef struct coord_key {
    fl_hash spki;
    bool is_enrolment;
} coord_key;
/* *keys: malloc'd, the caller frees. */
fl_code coord_allowed(coord_store *s, coord_key **keys, size_t *n, int64_t now_s, fl_err *err) FL_MUST_USE;

#endif
