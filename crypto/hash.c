#include "crypto/hash.h"
#include "crypto/csprng.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fl_sha256_state {
    EVP_MD_CTX *context;
};

/* Looked up once: the search through OpenSSL's providers costs more than hashing a short text. */
static const EVP_MD *sha256;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void must(bool ok)
{
    if (!ok) {
        fputs("SHA-256: OpenSSL fails\n", stderr);
        abort();
    }
}

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    must(sha256 != NULL);
}

static void start(fl_sha256_state *s)
{
    pthread_once(&once, fetch);
    s->context = EVP_MD_CTX_new();
    must(s->context && EVP_DigestInit_ex(s->context, sha256, NULL) == 1);
}

static fl_hash finish(fl_sha256_state *s)
{
    fl_hash hash;
    unsigned size = 0;
    must(EVP_DigestFinal_ex(s->context, hash.bytes, &size) == 1 && size == FL_HASH_SIZE);
    EVP_MD_CTX_free(s->context);
    s->context = NULL;
    return hash;
}

void fl_sha256_add(fl_sha256_state *s, const void *bytes, size_t n)
{
    if (n)
        must(EVP_DigestUpdate(s->context, bytes, n) == 1);
}

fl_sha256_state *fl_sha256_create(void)
{
    fl_sha256_state *s = malloc(sizeof *s);
    must(s != NULL);
    start(s);
    return s;
}

fl_hash fl_sha256_destroy(fl_sha256_state *s)
{
    fl_hash hash = finish(s);
    free(s);
    return hash;
}

fl_hash fl_sha256(const void *bytes, size_t n)
{
    return fl_sha256_2(bytes, n, NULL, 0);
}

fl_hash fl_sha256_2(const void *a, size_t n_a, const void *b, size_t n_b)
{
    fl_sha256_state s;
    start(&s);
    fl_sha256_add(&s, a, n_a);
    fl_sha256_add(&s, b, n_b);
    return finish(&s);
}

/* RFC 2104: H(K ^ opad, H(K ^ ipad, text)), with the key padded by zeros to the 64 bytes of a block. */
fl_hash fl_hmac(const uint8_t key[32], const void *bytes, size_t n)
{
    uint8_t inner[64], outer[64];
    memset(inner, 0x36, sizeof inner);
    memset(outer, 0x5c, sizeof outer);
    for (size_t i = 0; i < 32; i++) {
        inner[i] ^= key[i];
        outer[i] ^= key[i];
    }
    fl_hash hash = fl_sha256_2(inner, sizeof inner, bytes, n);
    fl_hash result = fl_sha256_2(outer, sizeof outer, hash.bytes, sizeof hash.bytes);
    fl_wipe(inner, sizeof inner);
    fl_wipe(outer, sizeof outer);
    return result;
}

bool fl_hash_equal(const fl_hash *a, const fl_hash *b)
{
    return CRYPTO_memcmp(a->bytes, b->bytes, FL_HASH_SIZE) == 0;
}
