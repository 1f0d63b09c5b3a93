/*
 * A rep socket with n contexts: requests come out with a ticket, replies go in with it. Inside this folder only.
 *
 *     RECEIVING -- a request --> HELD -- reply --> SENDING -- sent --> RECEIVING
 *                                     -- ignore ---------------------> RECEIVING
 *
 * A ticket is a context's index and how often it was held, so an old ticket never answers a new request.
 */
#ifndef PROTO_NET_REP_H
#define PROTO_NET_REP_H

#include "base/err.h"
#include <nng/nng.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct wire_rep wire_rep;

/* On a thread of nng; the message is freed afterwards. false: not a request to be answered, receive the next. */
typedef bool (*wire_on_msg)(void *ctx, uint64_t ticket, nng_msg *msg);

fl_code wire_rep_open(wire_rep **out, unsigned n_contexts, size_t max_bytes, wire_on_msg on_msg, void *ctx,
                      fl_err *err) FL_MUST_USE;
nng_socket wire_rep_socket(const wire_rep *r);
fl_code wire_rep_start(wire_rep *r, fl_err *err) FL_MUST_USE; /* begins to receive; the listener is the caller's */
void wire_rep_reply(wire_rep *r, uint64_t ticket, const uint8_t *bytes, size_t n);
void wire_rep_ignore(wire_rep *r, uint64_t ticket);
/* Waits until no reply is being sent, at most that long. */
void wire_rep_drain(wire_rep *r, unsigned timeout_ms);
/* Closes the socket and everything on it. No callback runs once this returned true. false: see close.h; what callbacks use
 * must stay. NULL is fine. */
bool wire_rep_close(wire_rep *r);

#endif
