#include "crypto/sign.h"

#include "base/file.h"
#include "crypto/csprng.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEY_FILE_MAX 4096

fl_code fl_sign_key_from_seed(fl_sign_key *key, const uint8_t seed[32], fl_err *err)
{
    fl_sign_key made = {0};
    size_t size = sizeof made.public_key;
    EVP_PKEY *handle = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    if (!handle || EVP_PKEY_get_raw_public_key(handle, made.public_key, &size) != 1) {
        EVP_PKEY_free(handle);
        ERR_clear_error();
        return fl_fail(err, FL_EENV, "Ed25519: OpenSSL cannot make a key");
    }
    assert(size == FL_PUBLIC_KEY_SIZE);
    memcpy(made.seed, seed, sizeof made.seed);
    made.handle = handle;
    *key = made;
    fl_wipe(&made, sizeof made);
    return FL_OK;
}

fl_code fl_sign_key_make(fl_sign_key *key, fl_err *err)
{
    uint8_t seed[32];
    if (RAND_priv_bytes(seed, sizeof seed) != 1) {
        ERR_clear_error();
        return fl_fail(err, FL_EENV, "random numbers: OpenSSL gives none");
    }
    fl_code code = fl_sign_key_from_seed(key, seed, err);
    fl_wipe(seed, sizeof seed);
    return code;
}

void fl_sign_key_fini(fl_sign_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->handle);
    fl_wipe(key, sizeof *key);
}

/* PEM that somebody encrypted: without this OpenSSL would ask for the password on the terminal. */
static int no_password(char *text, int size, int writing, void *context)
{
    (void)text, (void)size, (void)writing, (void)context;
    return -1;
}

static fl_code key_from_pem(fl_sign_key *key, const fl_buf *pem, const char *path, fl_err *err)
{
    BIO *bio = BIO_new_mem_buf(pem->size ? (const void *)pem->bytes : "", (int)pem->size);
    EVP_PKEY *handle = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    uint8_t seed[32];
    size_t size = sizeof seed;
    bool ok = handle && EVP_PKEY_get_id(handle) == EVP_PKEY_ED25519 &&
              EVP_PKEY_get_raw_private_key(handle, seed, &size) == 1 && size == sizeof seed;
    fl_code code = ok ? fl_sign_key_from_seed(key, seed, err)
                      : fl_fail(err, FL_EFORMAT, "%s: is not a private Ed25519 key in PEM", path);
    fl_wipe(seed, sizeof seed);
    EVP_PKEY_free(handle);
    BIO_free(bio);
    ERR_clear_error();
    return code;
}

fl_code fl_sign_key_load(fl_sign_key *key, const char *path, fl_err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077))
        return fl_fail(err, FL_EREFUSED, "%s: others than its owner may use this private key: chmod 600 it", path);
    fl_buf pem;
    fl_buf_init(&pem, KEY_FILE_MAX);
    fl_code code = fl_file_read(&pem, path, err);
    if (code == FL_OK)
        code = key_from_pem(key, &pem, path, err);
    fl_wipe(pem.bytes, pem.size);
    fl_buf_fini(&pem);
    return code;
}

fl_code fl_sign_key_save(const fl_sign_key *key, const char *path, fl_err *err)
{
    if (fl_file_exists(path))
        return fl_fail(err, FL_EREFUSED, "%s: exists already: a private key is never overwritten", path);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long n = 0;
    if (bio && PEM_write_bio_PKCS8PrivateKey(bio, key->handle, NULL, NULL, 0, NULL, NULL) == 1)
        n = BIO_get_mem_data(bio, &text);
    fl_code code = n > 0 ? fl_file_write(path, text, (size_t)n, 0600, err)
                         : fl_fail(err, FL_EENV, "%s: OpenSSL cannot write the key", path);
    if (n > 0)
        fl_wipe(text, (size_t)n);
    BIO_free(bio);
    ERR_clear_error();
    return code;
}

void fl_sign(uint8_t signature[FL_SIGNATURE_SIZE], const fl_sign_key *key, const void *message, size_t n)
{
    assert(key->handle);
    size_t size = FL_SIGNATURE_SIZE;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context && EVP_DigestSignInit(context, NULL, NULL, NULL, key->handle) == 1 &&
              EVP_DigestSign(context, signature, &size, n ? message : (const void *)"", n) == 1;
    EVP_MD_CTX_free(context);
    if (!ok || size != FL_SIGNATURE_SIZE) {
        fputs("Ed25519: OpenSSL fails\n", stderr);
        abort();
    }
}

/*
 * OpenSSL checks S < L and compares R as bytes, so one message has one accepted signature for a key. It takes more keys
 * than it should: y >= p is a second spelling of another key, and under the points of small order many messages share
 * a signature. Both are refused here. (RFC 8032, sections 5.1.3 and 5.1.7; the points: y in {0, 1, -1} and the two y
 * of order 8.)
 */
static bool is_sound_key(const uint8_t key[32])
{
    static const uint8_t order_8[2][32] = {
        {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
         0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
        {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
         0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
    };
    uint8_t y[32];
    memcpy(y, key, 32);
    y[31] &= 0x7f; /* the sign of x */
    if (memcmp(y, order_8[0], 32) == 0 || memcmp(y, order_8[1], 32) == 0)
        return false;
    bool zeros = true, ones = y[31] == 0x7f; /* of the bytes between the first and the last */
    for (size_t i = 1; i < 31; i++) {
        zeros &= y[i] == 0;
        ones &= y[i] == 0xff;
    }
    if (zeros && y[31] == 0 && y[0] <= 1)
        return false;
    return !(ones && y[0] >= 0xec); /* p is 2^255 - 19: p - 1 ends in ec, and from ed on it is y >= p */
}

bool fl_sign_verify(const uint8_t signature[FL_SIGNATURE_SIZE], const uint8_t public_key[FL_PUBLIC_KEY_SIZE],
                    const void *message, size_t n)
{
    if (!is_sound_key(public_key))
        return false;
    EVP_PKEY *handle = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, FL_PUBLIC_KEY_SIZE);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = handle && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, handle) == 1 &&
              EVP_DigestVerify(context, signature, FL_SIGNATURE_SIZE, n ? message : (const void *)"", n) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(handle);
    ERR_clear_error(); /* a bad signature leaves its reason in this thread's queue */
    return ok;
}

void fl_sign_public_pem(char *text, const uint8_t public_key[FL_PUBLIC_KEY_SIZE])
{
    EVP_PKEY *handle = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, FL_PUBLIC_KEY_SIZE);
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem = NULL;
    long n = handle && bio && PEM_write_bio_PUBKEY(bio, handle) == 1 ? BIO_get_mem_data(bio, &pem) : 0;
    if (n <= 0 || n >= 200) {
        fputs("Ed25519: OpenSSL fails\n", stderr);
        abort();
    }
    memcpy(text, pem, (size_t)n);
    text[n] = 0;
    BIO_free(bio);
    EVP_PKEY_free(handle);
}
