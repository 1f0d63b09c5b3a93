/*
 * sim_loop - a federation in one loop, without machines, messages or ledgers: runs without privacy, and baselines.
 *
 *     round r:  sum = sum_i u_i, u_i of nn_trainer_update at hospital i;  nn_server_apply
 *
 * The same arithmetic as between real programs. With `keep` the server's state is a file, written every few seconds, when
 * the loop is stopped and at its end: it goes on from there, and a finished one is only read.
 */
#ifndef SIM_LOOP_H
#define SIM_LOOP_H

#include "base/pool.h"
#include "train/dataset.h"
#include "train/plan.h"
#include <stdatomic.h>

typedef struct sim_loop {
    const nn_plan *plan;
    const nn_dataset *const *datasets; /* (n) */
    const uint64_t *declared;          /* (n) */
    uint32_t n;
    const uint8_t *pretrained; /* the file that the plan starts from; NULL when it has none */
    size_t n_pretrained;
    fl_pool *pool;
    const char *keep;                                  /* file; NULL: nowhere */
    const atomic_bool *stop;                           /* may be NULL: never */
    void (*resumed)(void *ctx, uint32_t rounds_done);  /* they were in the file; may be NULL, as progress may */
    void (*progress)(void *ctx, uint32_t rounds_done); /* one more */
    void *ctx;
} sim_loop;

/* weights (n_weights) out: the released model. FL_EBUSY: stopped; FL_EREFUSED: a round gave what is not finite. */
fl_code sim_loop_run(float *weights, const sim_loop *loop, fl_err *err) FL_MUST_USE;

#endif
