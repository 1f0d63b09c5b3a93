/* TCP and TLS by hand, to do what no client of ours would. Every read ends after PATIENCE_MS. */
#ifndef TESTS_PROTO_RAW_H
#define TESTS_PROTO_RAW_H

#include "tests/proto/world.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

static inline int raw_connect(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* The other side closes, whatever it says before. */
static inline void raw_expect_end(int fd)
{
    char bytes[4096];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        ;
    if (n < 0 && errno != ECONNRESET)
        fail_msg("not closed in %d ms: %s", PATIENCE_MS, strerror(errno));
    close(fd);
}

static inline void raw_reset(int fd)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

typedef struct raw_tls {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
    bool connected;
} raw_tls;

static inline raw_tls raw_tls_connect(const world *w, const identity *who, int max_version)
{
    raw_tls t = {.fd = raw_connect(w->port), .ctx = SSL_CTX_new(TLS_client_method())};
    if (max_version)
        SSL_CTX_set_max_proto_version(t.ctx, max_version);
    if (who) {
        BIO *cert_bio = BIO_new_mem_buf(who->cert, -1), *key_bio = BIO_new_mem_buf(who->key, -1);
        X509 *cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
        EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
        assert_true(SSL_CTX_use_certificate(t.ctx, cert) == 1 && SSL_CTX_use_PrivateKey(t.ctx, key) == 1);
        EVP_PKEY_free(key);
        X509_free(cert);
        BIO_free(cert_bio);
        BIO_free(key_bio);
    }
    t.ssl = SSL_new(t.ctx);
    SSL_set_fd(t.ssl, t.fd);
    t.connected = SSL_connect(t.ssl) == 1;
    return t;
}

/* The other side ends it, whatever it says before. */
static inline void raw_tls_expect_end(raw_tls *t)
{
    char bytes[4096];
    int n;
    while ((n = SSL_read(t->ssl, bytes, sizeof bytes)) > 0)
        ;
    if (SSL_get_error(t->ssl, n) == SSL_ERROR_WANT_READ)
        fail_msg("not closed in %d ms", PATIENCE_MS);
}

static inline void raw_tls_end(raw_tls *t, bool reset)
{
    SSL_free(t->ssl);
    SSL_CTX_free(t->ctx);
    if (reset)
        raw_reset(t->fd);
    else
        close(t->fd);
}

#endif
