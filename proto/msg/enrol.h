/*
 * Enrolment: how a hospital's node becomes a member without its keys leaving the site.
 *
 *   coordinator  `invite`  writes an invitation: one line, "cordon1:" and base64 of
 *                              canonical JSON {address, ca, certificate, expires, key, name}, then the first 8 bytes of
 *                              the JSON's SHA-256
 *   node         `enrol`   dials the address with the one-time certificate and sends an enrolment request
 *   coordinator            checks name == peer.name (the certificate's CN), the invitation unused and in time, signs the
 *                          certificate request, answers with the certificate and its own keys
 *
 * Request and reply are envelopes of their own, never mixed up with messages:
 *
 *     offset  size  field
 *          0     4  "CDE1" request, "CDR1" reply
 *          4    64  Ed25519 signature over "cordon enrol v1\n" or "cordon enrolled v1\n" and the SHA-256 of bytes 68 on,
 *                   by the key inside: proof of possession
 *         68     n  a protobuf Enrol or Enrolled, canonical
 *
 * The reply is believed because it came through TLS from the owner of a certificate of the invitation's CA.
 */
#ifndef PROTO_MSG_ENROL_H
#define PROTO_MSG_ENROL_H

#include "base/buf.h"
#include "crypto/cert.h"
#include "crypto/sign.h"
#include "proto/msg/message.h"

#define WIRE_ADDRESS_MAX    262 /* a host name of 255, ":", a port */
#define WIRE_INVITATION_MAX 32768
#define WIRE_VKEY_MAX       192 /* C2SP verifier key: name+hash+base64 */
#define WIRE_ENROL_MAX      32768

typedef struct wire_invitation {
    char address[WIRE_ADDRESS_MAX]; /* host:port, [v6]:port */
    char name[WIRE_NAME_MAX];       /* the hospital */
    int64_t expires_s;              /* wall clock */
    char ca_pem[FL_PEM_MAX];
    char cert_pem[FL_PEM_MAX]; /* one-time, FL_CERT_ENROL */
    char key_pem[FL_PEM_MAX];  /* secret */
    fl_hash fingerprint;       /* of the CA certificate; filled by parse: what people compare */
} wire_invitation;

/* Appends the line, with no newline. */
fl_code wire_invitation_write(fl_buf *out, const wire_invitation *invitation, fl_err *err) FL_MUST_USE;
/* White space around the line is forgiven. FL_EFORMAT: not an invitation, or damaged; FL_EREFUSED: expired at now_s, or
 * its certificate is not of its CA. */
fl_code wire_invitation_parse(wire_invitation *out, const char *text, int64_t now_s, fl_err *err) FL_MUST_USE;
void wire_invitation_fini(wire_invitation *invitation); /* wipes */

/* "host:port" or "[v6]:port" apart: host 1 to 255 bytes of [A-Za-z0-9.:_-], port 1 to 65535. */
fl_code wire_address_split(char host[256], uint16_t *port, const char *address, fl_err *err) FL_MUST_USE;

typedef struct wire_enrol {
    char name[WIRE_NAME_MAX];
    char request_pem[FL_PEM_MAX];           /* certificate request for the node's own TLS key */
    uint8_t public_key[FL_PUBLIC_KEY_SIZE]; /* Ed25519, signs envelopes and the ledger */
    char vkey[WIRE_VKEY_MAX];               /* the ledger's verifier key text */
} wire_enrol;

typedef struct wire_enrolled {
    bool refused;             /* then only text, name, public_key and vkey count */
    char text[WIRE_TEXT_MAX]; /* why */
    char name[WIRE_NAME_MAX]; /* the coordinator's */
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    char vkey[WIRE_VKEY_MAX];
    char cert_pem[FL_PEM_MAX]; /* the node's certificate */
} wire_enrolled;

bool wire_is_enrol(const uint8_t *bytes, size_t n); /* starts as an enrolment request does */

/* public_key is taken from the key. Unpack checks structure, ranges and the signature by the key inside. */
fl_code wire_enrol_pack(fl_buf *out, const wire_enrol *request, const fl_sign_key *key, fl_err *err) FL_MUST_USE;
fl_code wire_enrol_unpack(wire_enrol *out, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;
fl_code wire_enrolled_pack(fl_buf *out, const wire_enrolled *reply, const fl_sign_key *key, fl_err *err) FL_MUST_USE;
fl_code wire_enrolled_unpack(wire_enrolled *out, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;

#endif
