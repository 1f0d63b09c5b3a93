/*
 * The order of things that nng 1.5.2 wants, found by running it:
 *
 * - nng_tls_engine_name() before nng_tls_engine_register(), or nng's lazy start forgets the engine;
 * - a connection never returns NNG_ECLOSED: a peer that ends TLS before nng's own greeting would end the listener;
 * - after close (and after TCP's end) nng still asks, and what is told NNG_EAGAIN then waits for ever, so that nng_close
 *   never returns: a closed connection answers NNG_ECONNSHUT;
 * - a dialer dials again after a random time that is negative, so none, every second time; nng_close of a socket whose new
 *   pipe is just sending never returns: a client's configuration is good for one connection;
 * - fini also comes for a connection that was never initialised (its TCP connect failed);
 * - when TCP fails just while nothing is being sent or received, nng tells nobody, ever: hence conn_accepted, and both
 *   ends look whether the connection below a pipe is still there (client.c tcp_gone, peers.c close_gone);
 * - nng makes a default configuration of its own before it takes ours: its settings must be accepted;
 * - the peer's certificate is reached only through the `verified` call, on the asking thread: hence _Thread_local.
 */
#include "proto/net/tls_engine.h"
#include "crypto/hash.h"
#include <nng/supplemental/tls/engine.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)NNG_TLS_ENGINE_VERSION == 1, "the engine is written for nng 1.5; later versions changed its table");

struct wire_tls {
    atomic_uint references;
    atomic_bool used; /* client: by its one connection */
    SSL_CTX *ctx;
    bool is_server, has_own_cert, has_ca;
    char host[256];
    pthread_mutex_t mutex; /* failed, failed_ctx */
    wire_tls_failed failed;
    void *failed_ctx;
};

struct nng_tls_engine_config {
    wire_tls *shared;
};

struct nng_tls_engine_conn {
    wire_tls *shared;
    SSL *ssl;
    void *nng;  /* what nng_tls_engine_send and recv want */
    int broken; /* nng's error of the connection below, if any */
    bool done;  /* the handshake */
    bool heard; /* client: a first byte after it */
    bool told;  /* the watcher, why it failed */
    bool closed;
};

static _Thread_local wire_tls *last_shared;            /* what config_init made last on this thread */
static _Thread_local struct nng_tls_engine_conn *seen; /* the connection that `verified` was asked about last */
static _Thread_local wire_peer seen_peer;

static void shared_release(wire_tls *t)
{
    if (!t || atomic_fetch_sub(&t->references, 1) != 1)
        return;
    SSL_CTX_free(t->ctx);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

static wire_tls *shared_hold(wire_tls *t)
{
    atomic_fetch_add(&t->references, 1);
    return t;
}

/* ---- a BIO whose bytes come from and go to nng ---- */

static int bio_read(BIO *bio, char *bytes, int n)
{
    struct nng_tls_engine_conn *c = BIO_get_data(bio);
    size_t size = (size_t)n;
    BIO_clear_retry_flags(bio);
    int rv = nng_tls_engine_recv(c->nng, (uint8_t *)bytes, &size);
    if (rv == 0)
        return (int)size;
    if (rv == NNG_EAGAIN)
        BIO_set_retry_read(bio);
    else
        c->broken = rv;
    return -1;
}

static int bio_write(BIO *bio, const char *bytes, int n)
{
    struct nng_tls_engine_conn *c = BIO_get_data(bio);
    size_t size = (size_t)n;
    BIO_clear_retry_flags(bio);
    int rv = nng_tls_engine_send(c->nng, (const uint8_t *)bytes, &size);
    if (rv == 0)
        return (int)size;
    if (rv == NNG_EAGAIN)
        BIO_set_retry_write(bio);
    else
        c->broken = rv;
    return -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;

/* ---- connections ---- */

/* A host that is an address is compared with the certificate's addresses, any other with its DNS names. */
static bool expect_host(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (!host[0])
        return false;
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host))
        return true;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) && SSL_set_tlsext_host_name(ssl, host);
}

static int conn_init(nng_tls_engine_conn *c, void *nng, nng_tls_engine_config *config)
{
    wire_tls *t = config->shared;
    if (!t->has_ca || !t->has_own_cert || (!t->is_server && !t->host[0]))
        return NNG_EINVAL; /* never a connection that checks less */
    if (!t->is_server && atomic_exchange(&t->used, true))
        return NNG_ECONNREFUSED;
    ERR_clear_error();
    SSL *ssl = SSL_new(t->ctx);
    BIO *bio = BIO_new(bio_method);
    if (!ssl || !bio || (!t->is_server && !expect_host(ssl, t->host))) {
        SSL_free(ssl);
        BIO_free(bio);
        return NNG_ENOMEM;
    }
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio); /* owns it */
    if (t->is_server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    c->nng = nng;
    c->ssl = ssl;
    c->shared = shared_hold(t);
    return 0;
}

static void conn_fini(nng_tls_engine_conn *c)
{
    SSL_free(c->ssl);
    shared_release(c->shared);
    c->ssl = NULL;
    c->shared = NULL;
}

static const char *certificate_words(long result)
{
    switch (result) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return "the coordinator's certificate is not for this host name";
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "the coordinator's certificate has expired, or this machine's clock is wrong";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "the coordinator's certificate is not valid yet: is this machine's clock right?";
    default:
        return "the coordinator's certificate is not of this consortium";
    }
}

/* Called with OpenSSL's error queue as the failed call left it. */
static void tell(nng_tls_engine_conn *c)
{
    char why[200];
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    long result = SSL_get_verify_result(c->ssl);
    if (result != X509_V_OK)
        snprintf(why, sizeof why, "%s", certificate_words(result));
    else if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET)
        snprintf(why, sizeof why, "our certificate was not accepted (%s)",
                 SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
    else if (code)
        snprintf(why, sizeof why, "no TLS 1.3 here (%s)",
                 ERR_reason_error_string(code) ? ERR_reason_error_string(code) : "unknown");
    else if (c->done &&
             !c->heard) /* its greeting follows at once where it is content; the alert may be lost on the way */
        snprintf(why, sizeof why, "our certificate was not accepted (no reason arrived)");
    else
        snprintf(why, sizeof why, "closed by the coordinator");
    c->told = true;
    pthread_mutex_lock(&c->shared->mutex);
    if (c->shared->failed)
        c->shared->failed(c->shared->failed_ctx, why);
    pthread_mutex_unlock(&c->shared->mutex);
}

/* Also the end of a connection whose TCP failed below us: then this is the first we hear of it. */
static void conn_close(nng_tls_engine_conn *c)
{
    if (!c->ssl)
        return;
    ERR_clear_error();
    if (!c->told)
        tell(c);
    if (c->done && !c->broken && !c->closed)
        SSL_shutdown(c->ssl); /* close_notify, once */
    c->closed = true;
    ERR_clear_error();
}

/* rc <= 0 from an SSL call. */
static int conn_error(nng_tls_engine_conn *c, int rc)
{
    int error = SSL_get_error(c->ssl, rc);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return NNG_EAGAIN;
    if (error != SSL_ERROR_ZERO_RETURN)
        tell(c);
    ERR_clear_error();
    if (error == SSL_ERROR_SSL)
        return c->done ? NNG_ECONNSHUT : NNG_ECRYPTO;
    return c->broken && c->broken != NNG_ECLOSED ? c->broken : NNG_ECONNSHUT; /* never NNG_ECLOSED */
}

/*
 * In TLS 1.3 a client has finished before the server has looked at its certificate. A client here has finished when the
 * coordinator's first byte (nng's greeting, which it sends unasked) is there: so a refusal arrives inside the handshake,
 * with its reason, and not in the moment between two operations of nng where a failure is lost.
 */
static int conn_accepted(nng_tls_engine_conn *c)
{
    uint8_t byte;
    size_t n;
    ERR_clear_error();
    int rc = SSL_peek_ex(c->ssl, &byte, 1, &n);
    if (rc != 1)
        return conn_error(c, rc);
    c->heard = true;
    return 0;
}

static int conn_handshake(nng_tls_engine_conn *c)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    if (rc != 1)
        return conn_error(c, rc);
    c->done = true;
    return c->shared->is_server || c->heard ? 0 : conn_accepted(c);
}

static int conn_recv(nng_tls_engine_conn *c, uint8_t *bytes, size_t *n)
{
    size_t got = 0;
    if (c->closed)
        return NNG_ECONNSHUT;
    ERR_clear_error();
    int rc = SSL_read_ex(c->ssl, bytes, *n, &got);
    if (rc != 1)
        return conn_error(c, rc);
    *n = got;
    return 0;
}

static int conn_send(nng_tls_engine_conn *c, const uint8_t *bytes, size_t *n)
{
    size_t sent = 0;
    if (c->closed)
        return NNG_ECONNSHUT;
    ERR_clear_error();
    int rc = SSL_write_ex(c->ssl, bytes, *n, &sent);
    if (rc != 1)
        return conn_error(c, rc);
    *n = sent;
    return 0;
}

static bool read_name(char *out, int size, X509 *cert, int nid)
{
    int n = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), nid, out, size);
    return n > 0 && n < size - 1 && strlen(out) == (size_t)n;
}

static bool read_peer(wire_peer *out, X509 *cert)
{
    char unit[32];
    uint8_t *der = NULL;
    memset(out, 0, sizeof *out);
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    if (n <= 0)
        return false;
    out->spki = fl_sha256(der, (size_t)n);
    OPENSSL_free(der);
    out->is_enrolment = read_name(unit, sizeof unit, cert, NID_organizationalUnitName) && !strcmp(unit, "enrolment");
    char name[WIRE_NAME_MAX + 2];
    if (!read_name(name, sizeof name, cert, NID_commonName) || strlen(name) >= sizeof out->name)
        return false;
    strcpy(out->name, name);
    return true;
}

static bool conn_verified(nng_tls_engine_conn *c)
{
    seen = NULL;
    if (!c->ssl || !c->done || SSL_get_verify_result(c->ssl) != X509_V_OK)
        return false;
    X509 *cert = SSL_get0_peer_certificate(c->ssl);
    if (!cert || !read_peer(&seen_peer, cert))
        return false;
    seen = c;
    return true;
}

bool wire_tls_peer(nng_pipe pipe, wire_peer *out)
{
    bool verified = false;
    seen = NULL;
    if (nng_pipe_get_bool(pipe, NNG_OPT_TLS_VERIFIED, &verified) || !verified || !seen)
        return false;
    *out = seen_peer;
    return true;
}

/* ---- configurations ---- */

static SSL_CTX *context_make(bool is_server)
{
    SSL_CTX *ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
    if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(ctx, 2);
    return ctx;
}

static int config_init(nng_tls_engine_config *config, nng_tls_mode mode)
{
    wire_tls *t = calloc(1, sizeof *t);
    last_shared = NULL;
    if (!t)
        return NNG_ENOMEM;
    t->is_server = mode == NNG_TLS_MODE_SERVER;
    t->ctx = context_make(t->is_server);
    if (!t->ctx) {
        free(t);
        return NNG_ENOMEM;
    }
    pthread_mutex_init(&t->mutex, NULL);
    atomic_init(&t->references, 1);
    last_shared = config->shared = t;
    return 0;
}

static void config_fini(nng_tls_engine_config *config)
{
    shared_release(config->shared);
    config->shared = NULL;
}

static int config_server(nng_tls_engine_config *config, const char *host)
{
    if (!host || !host[0] || strlen(host) >= sizeof config->shared->host)
        return NNG_EINVAL;
    strcpy(config->shared->host, host);
    return 0;
}

/* nng asks for none when it makes its default configuration, which we replace. Here certificates are always required. */
static int config_auth(nng_tls_engine_config *config, nng_tls_auth_mode mode)
{
    (void)config, (void)mode;
    return 0;
}

static int config_ca(nng_tls_engine_config *config, const char *certificates, const char *crl)
{
    BIO *bio = crl ? NULL : BIO_new_mem_buf(certificates, -1);
    X509 *cert;
    int n = 0;
    while (bio && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        n += X509_STORE_add_cert(SSL_CTX_get_cert_store(config->shared->ctx), cert) == 1;
        X509_free(cert);
    }
    BIO_free(bio);
    ERR_clear_error();
    config->shared->has_ca = n > 0;
    return n > 0 ? 0 : NNG_ECRYPTO;
}

static int no_password(char *bytes, int size, int writing, void *ctx)
{
    (void)bytes, (void)size, (void)writing, (void)ctx;
    return -1; /* instead of asking at the terminal */
}

static int config_own_cert(nng_tls_engine_config *config, const char *cert_pem, const char *key_pem,
                           const char *password)
{
    (void)password;
    SSL_CTX *ctx = config->shared->ctx;
    BIO *cert_bio = BIO_new_mem_buf(cert_pem, -1), *key_bio = BIO_new_mem_buf(key_pem, -1);
    X509 *cert = cert_bio ? PEM_read_bio_X509(cert_bio, NULL, no_password, NULL) : NULL;
    EVP_PKEY *key = key_bio ? PEM_read_bio_PrivateKey(key_bio, NULL, no_password, NULL) : NULL;
    bool good = cert && key && SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
                SSL_CTX_check_private_key(ctx) == 1;
    EVP_PKEY_free(key);
    X509_free(cert);
    BIO_free(key_bio);
    BIO_free(cert_bio);
    ERR_clear_error();
    config->shared->has_own_cert = good;
    return good ? 0 : NNG_ECRYPTO;
}

static int config_version(nng_tls_engine_config *config, nng_tls_version min, nng_tls_version max)
{
    (void)config, (void)min;
    return max < NNG_TLS_1_3 ? NNG_ENOTSUP : 0;
}

static nng_tls_engine_config_ops config_ops = {
    .size = sizeof(nng_tls_engine_config),
    .init = config_init,
    .fini = config_fini,
    .server = config_server,
    .auth = config_auth,
    .ca_chain = config_ca,
    .own_cert = config_own_cert,
    .version = config_version,
};

static nng_tls_engine_conn_ops conn_ops = {
    .size = sizeof(nng_tls_engine_conn),
    .init = conn_init,
    .fini = conn_fini,
    .close = conn_close,
    .handshake = conn_handshake,
    .recv = conn_recv,
    .send = conn_send,
    .verified = conn_verified,
};

static const nng_tls_engine engine = {
    .version = NNG_TLS_ENGINE_V1,
    .config_ops = &config_ops,
    .conn_ops = &conn_ops,
    .name = "cordon-openssl",
    .description = "TLS 1.3 by OpenSSL",
};

static int engine_rv;

static void engine_start(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "nng");
    if (!bio_method || !BIO_meth_set_read(bio_method, bio_read) || !BIO_meth_set_write(bio_method, bio_write) ||
        !BIO_meth_set_ctrl(bio_method, bio_ctrl)) {
        engine_rv = NNG_ENOMEM;
        return;
    }
    (void)nng_tls_engine_name(); /* first: see the top */
    engine_rv = nng_tls_engine_register(&engine);
}

static fl_code config_fill(wire_tls_config *out, const wire_tls_params *p, fl_err *err)
{
    if (nng_tls_config_ca_chain(out->config, p->ca_pem, NULL))
        return fl_fail(err, FL_EFORMAT, "CA certificate: cannot be read");
    if (nng_tls_config_own_cert(out->config, p->cert_pem, p->key_pem, NULL))
        return fl_fail(err, FL_EFORMAT, "certificate: cannot be read, or its key is another one's");
    if (!p->is_server && nng_tls_config_server_name(out->config, p->host))
        return fl_fail(err, FL_EFORMAT, "host name: is empty or too long");
    if (nng_tls_config_auth_mode(out->config, NNG_TLS_AUTH_MODE_REQUIRED))
        return fl_fail(err, FL_EENV, "TLS: cannot be made to require certificates");
    return FL_OK;
}

fl_code wire_tls_config_init(wire_tls_config *out, const wire_tls_params *p, fl_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, engine_start);
    *out = (wire_tls_config){0};
    if (engine_rv)
        return fl_fail(err, FL_EENV, "TLS: the engine is not taken by this libnng: %s", nng_strerror(engine_rv));
    int rv = nng_tls_config_alloc(&out->config, p->is_server ? NNG_TLS_MODE_SERVER : NNG_TLS_MODE_CLIENT);
    if (rv || !last_shared) {
        if (!rv)
            nng_tls_config_free(out->config);
        out->config = NULL;
        return fl_fail(err, FL_EENV, "TLS: %s", rv ? nng_strerror(rv) : "another engine answers");
    }
    out->shared = shared_hold(last_shared);
    out->shared->failed = p->failed;
    out->shared->failed_ctx = p->ctx;
    fl_code code = config_fill(out, p, err);
    if (code)
        wire_tls_config_fini(out);
    return code;
}

void wire_tls_config_fini(wire_tls_config *config)
{
    if (config->shared) {
        pthread_mutex_lock(&config->shared->mutex);
        config->shared->failed = NULL;
        pthread_mutex_unlock(&config->shared->mutex);
        shared_release(config->shared);
    }
    if (config->config)
        nng_tls_config_free(config->config);
    *config = (wire_tls_config){0};
}
