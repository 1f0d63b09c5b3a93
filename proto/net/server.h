/*
 * The coordinator's end of the wire: one TLS port, many nodes, a request and its reply by ticket.
 *
 * TLS 1.3 with certificates of one CA on both sides. A peer whose certificate opens nothing (`allow` says no) is cut
 * before its first message, and asked about again at each message. Requests of at most WIRE_ENVELOPE_MAX bytes come out
 * through on_request, on threads of nng: copy what you need into an inbox and return. Each takes one of n_contexts until
 * it is answered; when all are taken, further requests wait in the network.
 *
 * Connections that do not become a peer within stranger_ms are shut down (janitor). Peers that vanish without a word are
 * found by TCP keepalive in two minutes. At most 4 connections per key: the oldest gives way.
 */
#ifndef PROTO_NET_SERVER_H
#define PROTO_NET_SERVER_H

#include "base/object.h"
#include "proto/msg/envelope.h"

typedef struct wire_server wire_server;

typedef struct wire_peer {
    fl_hash spki;             /* SHA-256 of the SubjectPublicKeyInfo of its certificate */
    char name[WIRE_NAME_MAX]; /* CN */
    bool is_enrolment;        /* OU=enrolment: good for an enrolment request and nothing else */
} wire_peer;

typedef void (*wire_on_request)(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n, const wire_peer *peer);
typedef bool (*wire_allow)(void *ctx, const wire_peer *peer); /* any thread; quick */

typedef struct wire_server_config {
    const char *host; /* address to listen on; "" or "*": every IPv4 address */
    uint16_t port;    /* 0: any free one, see wire_server_port */
    const char *ca_pem, *cert_pem, *key_pem;
    unsigned n_contexts;  /* requests in flight; 0: 256 */
    unsigned stranger_ms; /* 0: 15000 */
    wire_on_request on_request;
    wire_allow allow; /* NULL: every certificate of the CA */
    void *ctx;
} wire_server_config;

/* Texts are copied. *out is set before the first callback. A taken port or an address that is not this machine's is FL_EENV. */
fl_code wire_server_start(wire_server **out, const wire_server_config *config, fl_err *err) FL_MUST_USE;
uint16_t wire_server_port(const wire_server *s);
/* Answers a ticket, once; copies the bytes. Any thread. A ticket that was answered or whose peer has gone is a no-op. */
void wire_server_reply(wire_server *s, uint64_t ticket, const uint8_t *bytes, size_t n);
/* Gives a ticket up without an answer (the peer's request ends in its own time-out). */
void wire_server_ignore(wire_server *s, uint64_t ticket);
/* Closes the live connections of a key: revocation. Any thread. Returns how many. */
unsigned wire_server_drop(wire_server *s, const fl_hash *spki);
unsigned wire_server_peers(wire_server *s); /* live connections */
/* No callback runs once this returned. NULL is fine. Not from a callback. */
void wire_server_stop(wire_server *s);

#endif
