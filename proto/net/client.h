/*
 * The node's end of the wire: one request at a time over one TLS connection that the client keeps, loses and makes anew.
 *
 * A thread of the client owns the socket. wire_client_ask hands it the bytes and returns; the thread connects if need be
 * (again and again until timeout_ms, 1 s to 60 s apart with jitter), sends, waits, and calls on_reply exactly once. After
 * the request went out, a lost connection or silence until timeout_ms ends it with FL_EENV and the connection is made
 * anew for the next; whether to ask again, with the same request id, is the caller's decision. A connection that does not
 * come up in connect_ms is given up.
 *
 * `why` is a sentence for a person:  host:port: connection refused | name not found | no answer in 20 s | the
 * coordinator's certificate is not for this host name | ... not of this consortium | our certificate was not accepted |
 * closed by the coordinator | no reply in 45 s
 */
#ifndef PROTO_NET_CLIENT_H
#define PROTO_NET_CLIENT_H

#include "proto/msg/envelope.h"

typedef struct wire_client wire_client;

/* code FL_OK: bytes[0..n) is the reply, valid during the call, why is "". Otherwise bytes is NULL. On the client's
 * thread: copy into an inbox and return; wire_client_ask may be called from here, wire_client_close may not. */
typedef void (*wire_on_reply)(void *ctx, fl_code code, const uint8_t *bytes, size_t n, const char *why);

typedef struct wire_client_config {
    const char *address; /* host:port, [v6]:port; the host is the name that the certificate must carry */
    const char *ca_pem, *cert_pem, *key_pem;
    unsigned connect_ms;   /* 0: 20000 */
    unsigned retry_min_ms; /* 0: 1000 */
    unsigned retry_max_ms; /* 0: 60000 */
    bool one_attempt;      /* the first failure to connect ends the request */
} wire_client_config;

/* Does not connect yet: a coordinator that is down is no error here; a certificate that cannot be read is. */
fl_code wire_client_open(wire_client **out, const wire_client_config *config, fl_err *err) FL_MUST_USE;
/* Copies the bytes. FL_EBUSY while another request is under way. */
fl_code wire_client_ask(wire_client *c, const uint8_t *bytes, size_t n, unsigned timeout_ms, wire_on_reply on_reply,
                        void *ctx, fl_err *err) FL_MUST_USE;
bool wire_client_connected(wire_client *c);
/* A request under way ends with FL_EENV "closing" before this returns. NULL is fine. */
void wire_client_close(wire_client *c);

/* One request over a connection of its own, first failure ends it: enrolment, doctor. */
fl_code wire_client_call(const wire_client_config *config, const uint8_t *bytes, size_t n, fl_buf *reply,
                         unsigned timeout_ms, fl_err *err) FL_MUST_USE;

#endif
