/*
 * sim_result - what a federation reached, judged outside the federation on the pooled test (else val) split.
 *
 * local[i] is the same plan with the same privacy on hospital i alone; local_nonprivate[i] the same without privacy.
 * Metric: AUROC for two classes and for sets of classes (macro), else balanced accuracy. train/report.h has the rest.
 */
#ifndef SIM_RESULT_H
#define SIM_RESULT_H

#include "base/pool.h"
#include "sim/baselines.h"
#include "train/report.h"

/* One hospital's own part of the split, by the global model. No images: NaN. */
typedef struct sim_part {
    uint32_t n_images, n_patients;
    nn_value metric, auroc, balanced_accuracy, accuracy; /* the first one with its interval */
} sim_part;

typedef struct sim_result {
    const char *metric; /* "auroc", "balanced_accuracy" */
    nn_value global;
    nn_report report;
    uint32_t n;
    bool has_local;                                                       /* else the next two are NaN */
    double local[SIM_MAX_HOSPITALS], local_nonprivate[SIM_MAX_HOSPITALS]; /* NaN too where it did not converge */
    sim_part part[SIM_MAX_HOSPITALS];                                     /* NaN where it has one class */
    double epsilon[SIM_MAX_HOSPITALS];                                    /* spent, by Renyi orders, from the ledgers */
    double epsilon_low[SIM_MAX_HOSPITALS], epsilon_high[SIM_MAX_HOSPITALS]; /* certified bounds of the true one */
    uint32_t rounds;
    double seconds;
    const char *audit; /* "verified", "findings", "none" */
    bool is_private;
} sim_result;

/* Fills what the model and the baselines (NULL: left out) are worth; epsilon, rounds, seconds, audit are the caller's. */
fl_code sim_judge(sim_result *out, const float *weights, const nn_plan *plan, const sim_hospitals *h,
                  const sim_baselines *baselines, fl_pool *pool, fl_err *err) FL_MUST_USE;

void sim_result_print(fl_buf *out, const sim_result *r, const nn_plan *plan, const sim_hospitals *h);
void sim_result_json(fl_buf *out, const sim_result *r, const nn_plan *plan, const sim_hospitals *h);
/* The promise of a quickstart: audited, epsilon within the plan, global above the mean of local. Words for what fails
 * go to out. */
bool sim_result_holds(FILE *out, const sim_result *r, const nn_plan *plan);

#endif
