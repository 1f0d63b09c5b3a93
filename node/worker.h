/*
 * node_worker - the one thread that trains, with a fixed pool under it.
 *
 * A job is everything a round needs, copied: plan, rows of the data set, weights. The data set and the trainer are kept
 * from job to job while plan and rows stay the same. What leaves the thread is the hash of the packed update, which is
 * an object in DIR/objects by then; noise, gradients and sums are wiped inside nn_trainer.
 */
#ifndef NODE_WORKER_H
#define NODE_WORKER_H

#include "node/data.h"
#include "train/dpsgd.h"

typedef struct node_job {
    nn_plan plan;
    node_data_rows rows;       /* of the training split */
    node_data_rows validation; /* in rounds with metrics; else empty */
    float *weights;            /* plan.n_weights */
    uint64_t declared_patients;
    uint32_t round;
    char debit[WIRE_DEBIT_SIZE];
} node_job;

void node_job_free(node_job *job); /* NULL is fine */

/* On the worker's thread: post to an inbox and return. why: "" when it worked. */
typedef void (*node_job_done)(void *ctx, const char *debit, const fl_hash *update_hash, uint64_t size_bytes,
                              const char *why);

typedef struct node_worker node_worker;

fl_code node_worker_create(node_worker **out, const char *dir, unsigned n_threads, node_job_done done, void *ctx,
                           fl_err *err) FL_MUST_USE;
void node_worker_give(node_worker *w, node_job *job); /* takes the job; one at a time */
bool node_worker_busy(node_worker *w);
/* Cancels a job under way (it ends as failed) and joins the thread. NULL is fine. */
void node_worker_stop(node_worker *w);

/* What is counted in a round with metrics. */
typedef struct node_splits {
    const nn_dataset *training, *validation;
    fl_pool *pool;
} node_splits;

/*
 * What the thread does with a job; also the simulator's way to train: the packed update as an object. In a round with
 * metrics the splits are counted, and the model is judged as it came in; in others splits may be NULL.
 */
fl_code node_update_make(fl_hash *update_hash, uint64_t *size_bytes, nn_trainer *trainer, const nn_plan *plan,
                         const node_splits *splits, const float *weights, uint64_t declared_patients, uint32_t round,
                         fl_objects *objects, const atomic_bool *cancel, fl_err *err) FL_MUST_USE;

#endif
