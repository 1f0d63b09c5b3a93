/*
 * agg_fedavg - a round's stored contributions become the next model.
 *
 *     sum = sum_i u_i   (int64, exact, so order does not matter)     over the contributions, in the order of site names
 *     nn_server_apply(sum, sum_i declared_i)                         train/server.h
 *
 * Each update is checked whole (length, SHA-256) before any of it is added, and a sum in which one update turned out to be damaged
 * is thrown away: nothing is written. The same rows give the same bytes, whenever and however often this runs.
 *
 * Models are 4 n bytes of f32, a server state is what nn_server_write writes, the released model (what is judged and
 * exported) is the model or its average. Round 0 is the initial model.
 *
 * A damaged or missing object is FL_EENV: the disk lost what was acknowledged, and a person must bring it back.
 */
#ifndef COORDINATOR_FOLD_H
#define COORDINATOR_FOLD_H

#include "coordinator/store.h"

typedef struct agg_result {
    fl_hash model, server, released;
    uint32_t n_contributions;
    uint64_t sum_declared;
} agg_result;

/* The initial model of a plan, as objects. A pretrained start must be an object here already, named by plan->initial. */
fl_code agg_begin(coord_store *s, const nn_plan *plan, agg_result *out, fl_err *err) FL_MUST_USE;
/* Round 1, 2, ...: from the rows of that round and the server state of the round before; writes three objects, no rows. */
fl_code agg_fedavg(coord_store *s, const nn_plan *plan, uint32_t round, agg_result *out, fl_err *err) FL_MUST_USE;

/* Recomputes every published round from the initial model and the stored contributions, reading no stored model, and
 * compares the hashes with the rows. each (may be NULL) is told of every round. FL_EREFUSED: some round differs. */
typedef void (*agg_each)(void *ctx, uint32_t round, uint32_t n_contributions, bool is_same);
fl_code agg_refold(coord_store *s, const nn_plan *plan, agg_each each, void *ctx, uint32_t *n_rounds,
                   fl_err *err) FL_MUST_USE;

#endif
