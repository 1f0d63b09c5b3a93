/*
 * sim_baselines - every hospital alone: the same plan, with all its phases, on its own patients; with the plan's privacy and
 * without any. What a federation has to beat.
 *
 * One training at a time per thread, the longest first: for models of a hospital's size that uses the cores better than
 * all of them on one patient's gradient after another. With a folder every training is kept (sim/loop.h).
 */
#ifndef SIM_BASELINES_H
#define SIM_BASELINES_H

#include "sim/bar.h"
#include "sim/loop.h"
#include "sim/state.h"

typedef struct sim_baseline {
    uint32_t hospital;
    bool is_private;
    float *weights; /* (n_weights); NULL: it ended in what is not finite */
} sim_baseline;

typedef struct sim_baselines {
    uint32_t n; /* two for each hospital, or one when the plan has no privacy */
    sim_baseline *list;
    nn_plan *open_plan;
} sim_baselines;

/* The caller finis out in any case. FL_EBUSY: stopped. */
fl_code sim_baselines_run(sim_baselines *out, const nn_plan *plan, const fl_buf *pretrained, const sim_hospitals *h,
                          const sim_state *state, unsigned n_threads, const atomic_bool *stop, fl_err *err) FL_MUST_USE;
void sim_baselines_fini(sim_baselines *b);

#endif
