/*
 * Who is connected, and the janitor that cuts connections which never become anybody. Inside this folder only.
 *
 * nng's own limit on the time a connection may take to introduce itself does not work under TLS: a silent peer would
 * stay for ever. So a thread lists this process's descriptors on the listening port, compares them with the live
 * pipes, and shuts down (not closes: they are nng's) what has been a stranger for too long.
 */
#ifndef PROTO_NET_PEERS_H
#define PROTO_NET_PEERS_H

#include "proto/net/server.h"
#include <nng/nng.h>

#define WIRE_PIPES_MAX     2048
#define WIRE_PIPES_PER_KEY 4

typedef struct wire_peers wire_peers;

fl_code wire_peers_create(wire_peers **out, unsigned stranger_ms, fl_err *err) FL_MUST_USE;
fl_code wire_peers_watch(wire_peers *p, uint16_t port, fl_err *err) FL_MUST_USE; /* starts the janitor */
void wire_peers_destroy(wire_peers *p); /* after the socket was closed. NULL is fine */

/* false: no room. The oldest pipe of a key with too many is closed. */
bool wire_peers_add(wire_peers *p, nng_pipe pipe, const wire_peer *peer);
void wire_peers_remove(wire_peers *p, nng_pipe pipe);
bool wire_peers_find(wire_peers *p, nng_pipe pipe, wire_peer *out);
unsigned wire_peers_drop(wire_peers *p, const fl_hash *spki);
unsigned wire_peers_count(wire_peers *p);

#endif
