/*
 * coord_host - turns the machine's actions into the world, without sockets: the real program (run.c) and the simulator
 * share it.
 *
 * A request's life: unpack, the sender's public key from its row, signature, sender == name of the TLS peer, sequence;
 * then FETCH and UPLOAD are served here from the object store (a node may fetch the models of studies it may know, and
 * upload only its own round's update), everything else goes to the machine. All rows and ledger lines of one step are
 * one transaction; replies leave after its commit. When the commit fails, state and ledger are loaded again, nobody is
 * answered (tickets are ignored), and nodes ask again: a receipt is never ahead of the disk.
 *
 * What cannot be decoded is ignored; a wrong signature, an unknown or another sender is answered with ERROR and changes
 * nothing. A request that is asked again under the same id gets the same bytes. One thread; callbacks come from inside
 * the calls and must not call back.
 */
#ifndef COORDINATOR_HOST_H
#define COORDINATOR_HOST_H

#include "coordinator/store.h"

typedef struct coord_host coord_host;

typedef struct coord_host_config {
    void *ctx;
    void (*reply)(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n); /* bytes live during the call */
    void (*ignore)(void *ctx, uint64_t ticket);
    void (*timer)(void *ctx, int64_t at_ms);  /* replaces the timer before: call coord_host_timer then */
    int64_t (*now_ms)(void *ctx);             /* monotonic */
    void (*say)(void *ctx, const char *line); /* one line for people; may be NULL */
} coord_host_config;

/* The store is borrowed. Counts a start (coord_boot) and loads the state. */
fl_code coord_host_open(coord_host **out, coord_store *store, const coord_host_config *config, fl_err *err) FL_MUST_USE;
void coord_host_close(coord_host *h); /* parked requests are ignored; NULL is fine */

/* Takes up whatever was under way: folds an unfinished round, sets timers. Once, before anything else. */
void coord_host_start(coord_host *h);
/* peer_name: CN of the certificate behind the connection. Each ticket is answered or ignored exactly once, perhaps
 * much later. bytes are copied. */
void coord_host_request(coord_host *h, uint64_t ticket, const uint8_t *bytes, size_t n, const char *peer_name);
void coord_host_timer(coord_host *h);
/* A command changed rows (study, enrolment, revocation): loads the state again; parked requests and deadlines stay.
 * FL_EENV: it could not be loaded; it is tried again with the next event, and until then nobody is answered. */
fl_code coord_host_changed(coord_host *h, fl_err *err) FL_MUST_USE;

const coord_state *coord_host_state(const coord_host *h); /* for status; valid until the next call */
uint64_t coord_host_failed_commits(const coord_host *h);

#endif
