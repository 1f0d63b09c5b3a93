/*
 * Reaching a coordinator's port by hand before nng does: nng's dial tells nobody why it failed, and into a black hole it
 * never ends. Tries the addresses of a name in turn and says which one answered. Inside this folder only.
 */
#ifndef PROTO_NET_DIAL_H
#define PROTO_NET_DIAL_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

#define WIRE_URL_MAX 96

/* url becomes "tls+tcp://1.2.3.4:7443". Blocks at most timeout_ms (name lookup apart); wake_fd becoming readable ends it
 * with FL_EBUSY. Errors: FL_EENV name not found, connection refused, no answer in N s, unreachable. */
fl_code wire_dial_probe(char url[WIRE_URL_MAX], const char *host, uint16_t port, unsigned timeout_ms, int wake_fd,
                        fl_err *err) FL_MUST_USE;

#endif
