/*
 * wire_socket_close - nng_close that comes back.
 *
 * nng 1.5.2 can wait for ever in nng_close when a connection is made or ends at the same moment (about once in three
 * hundred closings of a busy machine). So it closes in a thread of its own, and whoever asked waits at most WIRE_CLOSE_MS.
 *
 * true: closed; no callback of the socket runs any more. false: it still closes, perhaps for ever, and callbacks may still
 * come: what they use must not be freed. The loss is some kilobytes, a descriptor and a thread; it is logged. Any thread.
 */
#ifndef PROTO_NET_CLOSE_H
#define PROTO_NET_CLOSE_H

#include <nng/nng.h>
#include <stdbool.h>

#define WIRE_CLOSE_MS 5000

bool wire_socket_close(nng_socket socket);

#endif
