/* SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104). Pure functions of their input; they cannot fail. Any thread. */
#ifndef CRYPTO_HASH_H
#define CRYPTO_HASH_H

#include "base/object.h" /* fl_hash */

fl_hash fl_sha256(const void *bytes, size_t n);
fl_hash fl_sha256_2(const void *a, size_t n_a, const void *b, size_t n_b); /* of a followed by b */
fl_hash fl_hmac(const uint8_t key[32], const void *bytes, size_t n);
bool fl_hash_equal(const fl_hash *a, const fl_hash *b); /* constant time */

typedef struct fl_sha256_state fl_sha256_state;
fl_sha256_state *fl_sha256_create(void);
void fl_sha256_add(fl_sha256_state *s, const void *bytes, size_t n);
fl_hash fl_sha256_destroy(fl_sha256_state *s); /* the digest; frees the state */

#endif
