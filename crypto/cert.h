/*
 * X.509 certificates (ECDSA P-256, SHA-256) for the outer wall, as PEM text.
 *
 * A coordinator's CA signs its own server certificate (subjectAltName = host), one-time enrolment certificates and
 * the nodes' certificates (client authentication only). Names are checked: 1 to 63 of [A-Za-z0-9._-].
 */
#ifndef CRYPTO_CERT_H
#define CRYPTO_CERT_H

#include "base/buf.h"
#include "base/object.h"

#define FL_PEM_MAX 8192

/* dir/file as text, for certificates and keys. The buffer on the way is wiped; a key in pem is the caller's to wipe. */
fl_code fl_pem_read(char pem[FL_PEM_MAX], const char *dir, const char *file, fl_err *err) FL_MUST_USE;

/* A key pair; writes the private key as PKCS#8 PEM. */
fl_code fl_cert_key_make(char key_pem[FL_PEM_MAX], fl_err *err) FL_MUST_USE;
/* Self-signed CA with CA:TRUE, pathlen 0, keyCertSign. */
fl_code fl_cert_ca_make(char cert_pem[FL_PEM_MAX], const char *key_pem, const char *name, int64_t now_s, int days,
                        fl_err *err) FL_MUST_USE;
typedef enum fl_cert_use { FL_CERT_SERVER, FL_CERT_NODE, FL_CERT_ENROL } fl_cert_use;
/* Issues for the public key in a request (fl_cert_request_make), whose signature is checked. name becomes CN; for a
 * server it is the host (DNS name or address, in subjectAltName). FL_CERT_ENROL carries OU=enrolment and opens
 * nothing but enrolment. Valid from five minutes before now_s for valid_s > 0, and never longer than the CA. */
fl_code fl_cert_issue(char cert_pem[FL_PEM_MAX], const char *ca_cert_pem, const char *ca_key_pem,
                      const char *request_pem, const char *name, fl_cert_use use, int64_t now_s, int64_t valid_s,
                      fl_err *err) FL_MUST_USE;
fl_code fl_cert_request_make(char request_pem[FL_PEM_MAX], const char *key_pem, const char *name,
                             fl_err *err) FL_MUST_USE;

typedef struct fl_cert_info {
    char name[64];   /* CN */
    fl_cert_use use; /* without meaning for a CA */
    bool is_ca;
    int64_t not_before_s, not_after_s;
    fl_hash spki;        /* SHA-256 of SubjectPublicKeyInfo: what allow-lists hold */
    fl_hash fingerprint; /* SHA-256 of the DER certificate: what people compare */
} fl_cert_info;
fl_code fl_cert_read(fl_cert_info *out, const char *cert_pem, fl_err *err) FL_MUST_USE;
/* Signed by this CA, inside its dates, of this use. */
fl_code fl_cert_check(const char *cert_pem, const char *ca_cert_pem, fl_cert_use use, int64_t now_s,
                      fl_err *err) FL_MUST_USE;

#endif
