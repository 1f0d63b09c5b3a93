/*
 * Ed25519 (RFC 8032): a party's name in envelopes and ledgers. Verification accepts canonical signatures only.
 * A private key is a file PEM, mode 0600, and lives in an fl_sign_key that fini wipes.
 */
#ifndef CRYPTO_SIGN_H
#define CRYPTO_SIGN_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

#define FL_SIGNATURE_SIZE  64
#define FL_PUBLIC_KEY_SIZE 32

typedef struct fl_sign_key {
    uint8_t seed[32];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    void *handle; /* EVP_PKEY */
} fl_sign_key;

fl_code fl_sign_key_make(fl_sign_key *key, fl_err *err) FL_MUST_USE; /* from the system's CSPRNG */
fl_code fl_sign_key_from_seed(fl_sign_key *key, const uint8_t seed[32],
                              fl_err *err) FL_MUST_USE; /* simulator and tests */
fl_code fl_sign_key_load(fl_sign_key *key, const char *path,
                         fl_err *err) FL_MUST_USE; /* refuses a file others can read */
fl_code fl_sign_key_save(const fl_sign_key *key, const char *path, fl_err *err) FL_MUST_USE; /* refuses to overwrite */
void fl_sign_key_fini(fl_sign_key *key);
void fl_sign(uint8_t signature[FL_SIGNATURE_SIZE], const fl_sign_key *key, const void *message, size_t n);
bool fl_sign_verify(const uint8_t signature[FL_SIGNATURE_SIZE], const uint8_t public_key[FL_PUBLIC_KEY_SIZE],
                    const void *message, size_t n);
/* The key as "-----BEGIN PUBLIC KEY-----" text, for openssl pkeyutl. text holds at least 200 bytes. */
void fl_sign_public_pem(char *text, const uint8_t public_key[FL_PUBLIC_KEY_SIZE]);

#endif
