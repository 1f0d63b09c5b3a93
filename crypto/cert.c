#include "crypto/cert.h"

#include "base/file.h"
#include "crypto/csprng.h"
#include "crypto/hash.h"

#include <arpa/inet.h>
#include <assert.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define EARLIER_S 300 /* clocks differ: a certificate counts from five minutes ago */
#define ENROLMENT "enrolment"

static fl_code fail_openssl(fl_err *err, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    fl_code code = fl_fail(err, FL_EENV, "certificate: cannot %s: %s", what, reason ? reason : "OpenSSL fails");
    ERR_clear_error();
    return code;
}

static bool is_address(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool is_name(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strlen(name);
    return n >= 1 && n <= 63 && strspn(name, allowed) == n;
}

static fl_code check_name(const char *name, bool may_be_address, fl_err *err)
{
    if (is_name(name) || (may_be_address && is_address(name)))
        return FL_OK;
    return fl_fail(err, FL_EFORMAT, "name: '%.63s', expected 1 to 63 of A-Z a-z 0-9 . _ -", name);
}

/* PEM that somebody encrypted: without this OpenSSL would ask for the password on the terminal. */
static int no_password(char *text, int size, int writing, void *context)
{
    (void)text, (void)size, (void)writing, (void)context;
    return -1;
}

static BIO *open_pem(const char *pem)
{
    size_t n = strnlen(pem, FL_PEM_MAX);
    return n < FL_PEM_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
}

static X509 *read_cert(const char *pem, const char *what, fl_err *err)
{
    BIO *bio = open_pem(pem);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    if (!cert)
        (void)fl_fail(err, FL_EFORMAT, "%s: is not a certificate in PEM", what);
    return cert;
}

static bool is_p256(EVP_PKEY *key)
{
    char group[32];
    size_t n = 0;
    return key && EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, &n) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

static EVP_PKEY *read_key(const char *pem, fl_err *err)
{
    BIO *bio = open_pem(pem);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
    if (key && !is_p256(key)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    ERR_clear_error();
    if (!key)
        (void)fl_fail(err, FL_EFORMAT, "private key: is not an ECDSA P-256 key in PEM");
    return key;
}

/* What BIO holds, as text; wiped behind it, for it may be a private key. */
static bool move_text(char pem[FL_PEM_MAX], BIO *bio)
{
    char *text = NULL;
    long n = BIO_get_mem_data(bio, &text);
    bool fits = n > 0 && n < FL_PEM_MAX;
    if (fits) {
        memcpy(pem, text, (size_t)n);
        pem[n] = 0;
    }
    if (n > 0)
        fl_wipe(text, (size_t)n);
    return fits;
}

static bool write_cert(char pem[FL_PEM_MAX], X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = bio && PEM_write_bio_X509(bio, cert) == 1 && move_text(pem, bio);
    BIO_free(bio);
    return ok;
}

fl_code fl_pem_read(char pem[FL_PEM_MAX], const char *dir, const char *file, fl_err *err)
{
    char path[FL_PATH_MAX];
    fl_buf b;
    fl_buf_init(&b, FL_PEM_MAX - 1);
    fl_code rc = fl_file_read(&b, fl_path(path, dir, file), err);
    if (rc == FL_OK)
        memcpy(pem, fl_buf_text(&b), b.size + 1);
    if (b.bytes)
        fl_wipe(b.bytes, b.size);
    fl_buf_fini(&b);
    return rc;
}

fl_code fl_cert_key_make(char key_pem[FL_PEM_MAX], fl_err *err)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = key && bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
              move_text(key_pem, bio);
    BIO_free(bio);
    EVP_PKEY_free(key);
    return ok ? FL_OK : fail_openssl(err, "make a key");
}

static bool set_serial(X509 *cert)
{
    BIGNUM *n = BN_new(); /* 128 bits with the highest set: never zero, and seventeen bytes of DER at most */
    bool ok = n && BN_priv_rand(n, 128, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
    BN_free(n);
    return ok;
}

static bool add_entry(X509_NAME *name, int nid, const char *text)
{
    return X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0) == 1;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool ok = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

/* Version 3, serial, dates, subject and key: what all our certificates share. */
static X509 *begin_cert(EVP_PKEY *key, const char *name, const char *unit, int64_t from_s, int64_t to_s)
{
    X509 *cert = X509_new();
    bool ok = cert && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
              ASN1_TIME_set(X509_getm_notBefore(cert), from_s) && ASN1_TIME_set(X509_getm_notAfter(cert), to_s) &&
              X509_set_pubkey(cert, key) == 1 && add_entry(X509_get_subject_name(cert), NID_commonName, name) &&
              (!unit || add_entry(X509_get_subject_name(cert), NID_organizationalUnitName, unit));
    if (!ok) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

fl_code fl_cert_ca_make(char cert_pem[FL_PEM_MAX], const char *key_pem, const char *name, int64_t now_s, int days,
                        fl_err *err)
{
    FL_TRY(check_name(name, false, err));
    if (days < 1 || days > 36500)
        return fl_fail(err, FL_EFORMAT, "certificate: valid for %d days, expected 1 to 36500", days);
    EVP_PKEY *key = read_key(key_pem, err);
    if (!key)
        return FL_EFORMAT;
    X509 *cert = begin_cert(key, name, NULL, now_s - EARLIER_S, now_s + (int64_t)days * 86400);
    bool ok = cert && X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1 &&
              add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
              add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
              add_extension(cert, cert, NID_subject_key_identifier, "hash") &&
              add_extension(cert, cert, NID_authority_key_identifier, "keyid:always") &&
              X509_sign(cert, key, EVP_sha256()) > 0 && write_cert(cert_pem, cert);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ok ? FL_OK : fail_openssl(err, "make the CA's certificate");
}

fl_code fl_cert_request_make(char request_pem[FL_PEM_MAX], const char *key_pem, const char *name, fl_err *err)
{
    FL_TRY(check_name(name, true, err));
    EVP_PKEY *key = read_key(key_pem, err);
    if (!key)
        return FL_EFORMAT;
    X509_REQ *request = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = request && bio && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
              add_entry(X509_REQ_get_subject_name(request), NID_commonName, name) &&
              X509_REQ_set_pubkey(request, key) == 1 && X509_REQ_sign(request, key, EVP_sha256()) > 0 &&
              PEM_write_bio_X509_REQ(bio, request) == 1 && move_text(request_pem, bio);
    BIO_free(bio);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return ok ? FL_OK : fail_openssl(err, "make the request");
}

/* The public key of a request whose maker holds the private one. */
static EVP_PKEY *read_request(const char *request_pem, fl_err *err)
{
    BIO *bio = open_pem(request_pem);
    X509_REQ *request = bio ? PEM_read_bio_X509_REQ(bio, NULL, no_password, NULL) : NULL;
    EVP_PKEY *key = request ? X509_REQ_get_pubkey(request) : NULL;
    if (!request)
        (void)fl_fail(err, FL_EFORMAT, "certificate request: is not one in PEM");
    else if (!is_p256(key) || X509_REQ_verify(request, key) != 1) {
        (void)fl_fail(err, FL_EREFUSED, "certificate request: %s",
                      is_p256(key) ? "its signature is wrong" : "its key is not ECDSA P-256");
        EVP_PKEY_free(key);
        key = NULL;
    }
    X509_REQ_free(request);
    BIO_free(bio);
    ERR_clear_error();
    return key;
}

static bool add_leaf_extensions(X509 *cert, X509 *ca, const char *name, fl_cert_use use)
{
    char host[80];
    bool ok = add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
              add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") &&
              add_extension(cert, ca, NID_ext_key_usage, use == FL_CERT_SERVER ? "serverAuth" : "clientAuth") &&
              add_extension(cert, ca, NID_subject_key_identifier, "hash") &&
              add_extension(cert, ca, NID_authority_key_identifier, "keyid:always");
    if (!ok || use != FL_CERT_SERVER)
        return ok;
    /* The name has no comma and no colon outside an address (check_name): it adds no second entry. */
    snprintf(host, sizeof host, "%s:%s", is_address(name) ? "IP" : "DNS", name);
    return add_extension(cert, ca, NID_subject_alt_name, host);
}

static bool time_of(const ASN1_TIME *time, int64_t *seconds)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *seconds = timegm(&tm);
    return true;
}

static fl_code issue(char cert_pem[FL_PEM_MAX], X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const char *name,
                     fl_cert_use use, int64_t now_s, int64_t valid_s, fl_err *err)
{
    int64_t ca_from, ca_to;
    if (X509_check_private_key(ca, ca_key) != 1) {
        ERR_clear_error();
        return fl_fail(err, FL_EREFUSED, "CA: its certificate and its key do not belong together");
    }
    if (X509_check_ca(ca) != 1 || !time_of(X509_get0_notBefore(ca), &ca_from) ||
        !time_of(X509_get0_notAfter(ca), &ca_to))
        return fl_fail(err, FL_EREFUSED, "CA: its certificate is not one of a CA");
    if (now_s < ca_from || now_s >= ca_to)
        return fl_fail(err, FL_EREFUSED, "CA: its certificate is not valid now: look at the clock, or renew it");
    int64_t to_s = valid_s < ca_to - now_s ? now_s + valid_s : ca_to; /* nothing outlives its issuer */
    X509 *cert = begin_cert(key, name, use == FL_CERT_ENROL ? ENROLMENT : NULL, now_s - EARLIER_S, to_s);
    bool ok = cert && X509_set_issuer_name(cert, X509_get_subject_name(ca)) == 1 &&
              add_leaf_extensions(cert, ca, name, use) && X509_sign(cert, ca_key, EVP_sha256()) > 0 &&
              write_cert(cert_pem, cert);
    X509_free(cert);
    return ok ? FL_OK : fail_openssl(err, "issue");
}

fl_code fl_cert_issue(char cert_pem[FL_PEM_MAX], const char *ca_cert_pem, const char *ca_key_pem,
                      const char *request_pem, const char *name, fl_cert_use use, int64_t now_s, int64_t valid_s,
                      fl_err *err)
{
    FL_TRY(check_name(name, use == FL_CERT_SERVER, err));
    assert(valid_s > 0);
    fl_code code = FL_EFORMAT;
    EVP_PKEY *ca_key = NULL, *key = NULL;
    X509 *ca = read_cert(ca_cert_pem, "CA", err);
    if (ca)
        ca_key = read_key(ca_key_pem, err);
    if (ca_key) {
        fl_err local = {0}; /* read_request knows which code it is; err may be NULL */
        key = read_request(request_pem, &local);
        if (!key)
            code = fl_fail(err, local.code, "%s", local.text);
    }
    if (key)
        code = issue(cert_pem, ca, ca_key, key, name, use, now_s, valid_s, err);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    X509_free(ca);
    return code;
}

/* The only entry of this kind, as text without zeros; false when there are more or none. */
static bool read_entry(X509_NAME *name, int nid, char *text, size_t size)
{
    int at = X509_NAME_get_index_by_NID(name, nid, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, nid, at) >= 0)
        return false;
    const ASN1_STRING *string = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    int n = ASN1_STRING_length(string);
    const unsigned char *bytes = ASN1_STRING_get0_data(string);
    if (n < 1 || (size_t)n >= size || memchr(bytes, 0, (size_t)n))
        return false;
    memcpy(text, bytes, (size_t)n);
    text[n] = 0;
    return true;
}

static fl_code read_use(fl_cert_info *out, X509 *cert, fl_err *err)
{
    char unit[64];
    X509_NAME *subject = X509_get_subject_name(cert);
    uint32_t uses = X509_get_extension_flags(cert) & EXFLAG_XKUSAGE ? X509_get_extended_key_usage(cert) : 0;
    if (uses == XKU_SSL_SERVER)
        out->use = FL_CERT_SERVER;
    else if (uses == XKU_SSL_CLIENT && X509_NAME_get_index_by_NID(subject, NID_organizationalUnitName, -1) < 0)
        out->use = FL_CERT_NODE;
    else if (uses == XKU_SSL_CLIENT && read_entry(subject, NID_organizationalUnitName, unit, sizeof unit) &&
             strcmp(unit, ENROLMENT) == 0)
        out->use = FL_CERT_ENROL;
    else if (!out->is_ca)
        return fl_fail(err, FL_EFORMAT, "certificate: is neither for a server nor for a node");
    return FL_OK;
}

static fl_code read_info(fl_cert_info *out, X509 *cert, fl_err *err)
{
    *out = (fl_cert_info){0};
    if (!read_entry(X509_get_subject_name(cert), NID_commonName, out->name, sizeof out->name) ||
        (!is_name(out->name) && !is_address(out->name)))
        return fl_fail(err, FL_EFORMAT, "certificate: its name is not 1 to 63 of A-Z a-z 0-9 . _ -");
    if (!time_of(X509_get0_notBefore(cert), &out->not_before_s) ||
        !time_of(X509_get0_notAfter(cert), &out->not_after_s))
        return fl_fail(err, FL_EFORMAT, "certificate: its dates cannot be read");
    uint32_t flags = X509_get_extension_flags(cert);
    if (flags & (EXFLAG_INVALID | EXFLAG_CRITICAL))
        return fl_fail(err, FL_EFORMAT, "certificate: its extensions cannot be read");
    out->is_ca = (flags & EXFLAG_CA) != 0;
    FL_TRY(read_use(out, cert, err));

    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    unsigned size = 0;
    if (n <= 0 || X509_digest(cert, EVP_sha256(), out->fingerprint.bytes, &size) != 1 || size != FL_HASH_SIZE) {
        OPENSSL_free(der);
        return fail_openssl(err, "read");
    }
    out->spki = fl_sha256(der, (size_t)n);
    OPENSSL_free(der);
    return FL_OK;
}

fl_code fl_cert_read(fl_cert_info *out, const char *cert_pem, fl_err *err)
{
    X509 *cert = read_cert(cert_pem, "certificate", err);
    if (!cert)
        return FL_EFORMAT;
    fl_code code = read_info(out, cert, err);
    X509_free(cert);
    ERR_clear_error();
    return code;
}

static const char *use_name(fl_cert_use use)
{
    static const char *const names[] = {"a server", "a node", "enrolment"};
    return names[use];
}

/* OpenSSL's own judgement of the chain at that time for that purpose. */
static fl_code verify_chain(X509 *cert, X509 *ca, const fl_cert_info *info, fl_cert_use use, int64_t now_s, fl_err *err)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    fl_code code;
    if (!store || !context || X509_STORE_add_cert(store, ca) != 1 ||
        X509_STORE_CTX_init(context, store, cert, NULL) != 1)
        code = fail_openssl(err, "check");
    else {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);
        X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
        X509_VERIFY_PARAM_set_auth_level(param, 2);
        X509_VERIFY_PARAM_set_purpose(param, use == FL_CERT_SERVER ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
        code = X509_verify_cert(context) == 1
                   ? FL_OK
                   : fl_fail(err, FL_EREFUSED, "certificate of %s: %s", info->name,
                             X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
    }
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    ERR_clear_error();
    return code;
}

static fl_code check(X509 *cert, X509 *ca, fl_cert_use use, int64_t now_s, fl_err *err)
{
    fl_cert_info info;
    FL_TRY(read_info(&info, cert, err));
    /* OpenSSL takes whatever stands in its store as trusted, so a leaf there would vouch for itself. */
    if (X509_check_ca(ca) != 1)
        return fl_fail(err, FL_EREFUSED, "certificate of %s: its CA's certificate is not one of a CA", info.name);
    if (info.is_ca)
        return fl_fail(err, FL_EREFUSED, "certificate of %s: is a CA's, expected one for %s", info.name, use_name(use));
    if (info.use != use)
        return fl_fail(err, FL_EREFUSED, "certificate of %s: is for %s, expected one for %s", info.name,
                       use_name(info.use), use_name(use));
    return verify_chain(cert, ca, &info, use, now_s, err);
}

fl_code fl_cert_check(const char *cert_pem, const char *ca_cert_pem, fl_cert_use use, int64_t now_s, fl_err *err)
{
    X509 *cert = read_cert(cert_pem, "certificate", err);
    X509 *ca = cert ? read_cert(ca_cert_pem, "CA", err) : NULL;
    fl_code code = ca ? check(cert, ca, use, now_s, err) : FL_EFORMAT;
    X509_free(ca);
    X509_free(cert);
    return code;
}
