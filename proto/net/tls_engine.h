/*
 * TLS 1.3 for nng by OpenSSL: an engine that stock libnng 1.5.2 takes at run time. Inside this folder only.
 *
 * Both sides show a certificate of the one CA, always; a client checks the host name, always. No tickets, no
 * resumption, no earlier version. What a failed handshake was about is told to a watcher in words.
 */
#ifndef PROTO_NET_TLS_ENGINE_H
#define PROTO_NET_TLS_ENGINE_H

#include "proto/net/server.h"
#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

typedef struct wire_tls wire_tls; /* what all connections of one configuration share; reference counted */

/* A connection ended, and why. On a thread of nng, which may hold its locks: set a flag, wake somebody, do not call nng. */
typedef void (*wire_tls_failed)(void *ctx, const char *why);

typedef struct wire_tls_params {
    bool is_server;
    const char *host; /* client: the DNS name or address the certificate must carry */
    const char *ca_pem, *cert_pem, *key_pem;
    wire_tls_failed failed; /* may be NULL */
    void *ctx;
} wire_tls_params;

typedef struct wire_tls_config {
    nng_tls_config *config;
    wire_tls *shared;
} wire_tls_config;

fl_code wire_tls_config_init(wire_tls_config *out, const wire_tls_params *params, fl_err *err) FL_MUST_USE;
/* After this `failed` is not called any more. Connections that live on keep what they need. */
void wire_tls_config_fini(wire_tls_config *config);

/* Who is at the other end of a pipe. false: not known, treat as a stranger. */
bool wire_tls_peer(nng_pipe pipe, wire_peer *out);

#endif
