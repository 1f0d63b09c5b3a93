/*
 * node_host - carries out what node_machine decides, without sockets and without threads of its own.
 *
 * The real program (run.c) and the simulator share it: they bring messages in and out, a timer and a place to train.
 * All rows of a step are committed in one transaction before anything of it is sent. A commit that fails throws the
 * machine's memory away and loads it again from the store; the program goes on five seconds later.
 *
 *     machine  SEND            -> envelope signed here  -> config.send
 *              FETCH, UPLOAD   -> pieces by offset, resumed after a cut, over config.send as well
 *              TRAIN           -> config.train; answered by node_host_trained
 *
 * One thread calls everything.
 */
#ifndef NODE_HOST_H
#define NODE_HOST_H

#include "node/store.h"
#include "proto/net/piece.h"

typedef struct node_training {
    uint32_t plan, round;
    uint64_t declared_patients;
    fl_hash model_hash;
    char debit[WIRE_DEBIT_SIZE];
} node_training;

typedef struct node_host_config {
    void *ctx;
    int64_t (*now_ms)(void *ctx);
    /* One request at a time; ends in node_host_reply or node_host_no_reply, later. */
    void (*send)(void *ctx, const uint8_t *bytes, size_t n, unsigned timeout_ms);
    void (*timer)(void *ctx, int64_t at_ms); /* replaces the one before */
    void (*train)(void *ctx, const node_training *what);
    /* after the state was loaded: which plans are within the policy, what they cost */
    void (*apply_policy)(void *ctx, node_state *state);
} node_host_config;

typedef struct node_host node_host;

fl_code node_host_open(node_host **out, node_store *store, const node_host_config *config, fl_err *err) FL_MUST_USE;
void node_host_close(node_host *h);

void node_host_start(node_host *h);
void node_host_reply(node_host *h, const uint8_t *bytes, size_t n);
void node_host_no_reply(node_host *h);
void node_host_timer(node_host *h);
/* The update is an object in the store; or training failed for a reason that does not depend on the data. debit: of the
 * node_training that this answers; the answer to another debit is ignored. */
void node_host_trained(node_host *h, const char *debit, const fl_hash *update_hash, uint64_t size_bytes);
void node_host_train_failed(node_host *h, const char *debit);
/* A command changed plans, policy or ledger. */
void node_host_changed(node_host *h);

/* For status and commands. The state may be changed by a command, followed by node_host_changed. */
node_state *node_host_state(node_host *h);

#endif
