/*
 * sim_world - nodes and a coordinator in one process: the real machines, hosts, stores (in memory), envelopes and
 * ledgers, under a virtual clock and a virtual network that loses, delays and repeats, with crashes. Everything but
 * training is decided by one seed.
 *
 * Training is the caller's: real (sim/federate.c) or a stub (tests, `cordon-sim world`). Keys come from seeded bytes.
 *
 * What the world watches all the time (a violation is counted and described, never repaired):
 *   one debit, one byte string      distinct updates seen on the wire for a debit <= 1
 *   debit before release            an update on the wire has its RESERVE, STARTED and RELEASE in the node's ledger
 *   exactly once                    a receipt's update is among the contributions of its round
 *   the same contributions, the same model      every fold is recomputed at the end (coord refold)
 *   the filter                      no ledger spends more than its cap
 *   ledgers                         all of them replay without a finding
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "coordinator/host.h"
#include "node/approve.h"
#include "node/host.h"
#include <stdatomic.h>

typedef struct sim_world sim_world;

typedef struct sim_faults {
    double lose, repeat;                  /* probability for each request and each reply */
    double crash_node, crash_coordinator; /* for each event */
    int64_t delay_ms;                     /* up to so much each way */
} sim_faults;

typedef struct sim_world_config {
    uint64_t seed;
    uint32_t n_nodes;
    const char *const *names;    /* of the nodes; NULL: node-000, node-001, ... */
    const uint64_t *declared;    /* patients; NULL: 1000 each */
    const char *epsilon, *delta; /* every node's policy */
    bool multi;                  /* and its labels: sets of classes */
    /* Where stores are kept: DIR/coordinator and DIR/node-NAME; a world that is there goes on, with its debits, releases and
     * rounds. NULL: in memory. */
    const char *dir;
    /* May be NULL. When it is set, trainings that ended are put on disk and nothing else is done: sim_world_run answers
     * FL_EBUSY, and a world in a folder can go on later. */
    const atomic_bool *stop;
    int64_t patience_ms; /* without a closed round for so long, a world ends (FL_EREFUSED); 0: for ever */
    sim_faults faults;
    /* Makes the update of a node as an object in its store. Called once for each TRAIN. */
    fl_code (*train)(void *ctx, uint32_t node, const node_training *what, fl_objects *objects, fl_hash *hash,
                     uint64_t *size_bytes, fl_err *err);
    void *ctx;
    void (*progress)(void *ctx, const coord_state *state); /* when a round closed; may be NULL */
    /* How long a training takes beyond 50 ms; may be NULL: nothing. */
    int64_t (*train_ms)(void *ctx, uint32_t node);
    /* Every message as it is sent, lost or not; may be NULL. */
    void (*sent)(void *ctx, uint32_t node, bool by_node, int64_t at_ms, const uint8_t *bytes, size_t n);
} sim_world_config;

fl_code sim_world_create(sim_world **out, const sim_world_config *config, fl_err *err) FL_MUST_USE;
void sim_world_destroy(sim_world *w);
/* A study whose plan every node's person approves as soon as it arrives. In a folder it may be there already, with the same
 * plan (else FL_EREFUSED). */
fl_code sim_world_add_study(sim_world *w, const nn_plan *plan, fl_err *err) FL_MUST_USE;
/* Runs until every study is done, or until_ms of virtual time passed (FL_EREFUSED), or it was stopped (FL_EBUSY), then
 * checks everything. */
fl_code sim_world_run(sim_world *w, int64_t until_ms, fl_err *err) FL_MUST_USE;

const coord_study *sim_world_study(const sim_world *w); /* the first one, as the coordinator has it */
coord_store *sim_world_coordinator(sim_world *w);
node_store *sim_world_node(sim_world *w, uint32_t node);
uint32_t sim_world_violations(const sim_world *w);
const char *sim_world_violation(const sim_world *w, uint32_t index); /* the first 32 are kept */
uint64_t sim_world_events(const sim_world *w);
uint32_t sim_world_crashes(const sim_world *w);
int64_t sim_world_now(const sim_world *w);
/* Over kind, time and party of every event: two runs of one seed agree (keys, noise and debits are not in it). */
fl_hash sim_world_hash(sim_world *w); /* ends the run */

#endif
