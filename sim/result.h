/*
 * sim_result - what a federation reached, judged outside the federation on the pooled test (else val) split.
 *
 * local[i] is the same plan with the same privacy on hospital i alone; local_nonprivate[i] the same without privacy.
 * Metric: AUROC for two classes, else balanced accuracy.
 */
#ifndef SIM_RESULT_H
#define SIM_RESULT_H

#include "base/pool.h"
#include "sim/hospitals.h"
#include "train/metrics.h"

typedef struct sim_result {
    nn_scores global;
    uint32_t n;
    double local[SIM_MAX_HOSPITALS], local_nonprivate[SIM_MAX_HOSPITALS];
    double per_hospital[SIM_MAX_HOSPITALS]; /* the global model on each hospital's part; NaN where it has one class */
    double epsilon[SIM_MAX_HOSPITALS];      /* spent, recomputed from the ledgers; NaN: none */
    uint32_t rounds;
    double seconds;
    const char *audit; /* "verified", "findings", "none" */
    bool is_private;
} sim_result;

/* A whole federation in one loop, without machines, messages or ledgers: baselines. weights (n_weights) out: the
 * released model. progress may be NULL. */
typedef void (*sim_progress)(void *ctx, uint32_t round, uint32_t rounds);
fl_code sim_train(float *weights, const nn_plan *plan, const nn_dataset *const *datasets, const uint64_t *declared,
                  uint32_t n, fl_pool *pool, sim_progress progress, void *ctx, fl_err *err) FL_MUST_USE;

/* Fills global, per_hospital, local, local_nonprivate; the rest is the caller's. say: one line per baseline on stderr
 * when it is a terminal. */
fl_code sim_judge(sim_result *out, const float *weights, const nn_plan *plan, const sim_hospitals *h, fl_pool *pool,
                  fl_err *err) FL_MUST_USE;

void sim_result_print(FILE *out, const sim_result *r, const nn_plan *plan, const sim_hospitals *h);
void sim_result_json(fl_buf *out, const sim_result *r, const nn_plan *plan, const sim_hospitals *h);
/* The promise of a quickstart: audited, epsilon within the plan, global above the mean of local. Words for what fails
 * go to out. */
bool sim_result_holds(FILE *out, const sim_result *r, const nn_plan *plan);

#endif
