/*
 * The control socket of a running program: DIR/control.sock, mode 0600, one request and one reply.
 *
 * The bytes are the programs' own business. A path longer than a socket's address may be (107 bytes) works: the socket
 * is bound and reached through /proc/self/fd, by the folder's descriptor, so no path is ever too long.
 */
#ifndef PROTO_NET_CONTROL_H
#define PROTO_NET_CONTROL_H

#include "base/buf.h"

#define WIRE_CONTROL_NAME        "control.sock"
#define WIRE_CONTROL_REQUEST_MAX (8u << 20)
#define WIRE_CONTROL_REPLY_MAX   (64u << 20)

typedef struct wire_control wire_control;

/* On a thread of nng: copy into an inbox and return. */
typedef void (*wire_on_control)(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n);

/* The caller holds DIR's lock: a socket file left by a dead process is replaced. *out is set before the
 * first callback. */
fl_code wire_control_serve(wire_control **out, const char *dir, wire_on_control on_request, void *ctx,
                           fl_err *err) FL_MUST_USE;
void wire_control_reply(wire_control *c, uint64_t ticket, const uint8_t *bytes, size_t n); /* any thread, once */
/* No callback runs once this returned; the socket file is gone. Replies given before are sent, or 2 s passed. */
void wire_control_stop(wire_control *c);

/* Asks the program that runs on dir. FL_ENOTFOUND: none does. reply's maximum bounds the answer. */
fl_code wire_control_call(const char *dir, const uint8_t *bytes, size_t n, fl_buf *reply, unsigned timeout_ms,
                          fl_err *err) FL_MUST_USE;

#endif
