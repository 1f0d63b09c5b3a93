/*
 * sim_federate - a whole study on one machine: real training inside the virtual world, N hospitals in one process, no
 * network; the ledgers are real and audited at the end. Without privacy (open) there is no ledger and no world: the
 * same rounds in one loop.
 */
#ifndef SIM_FEDERATE_H
#define SIM_FEDERATE_H

#include "sim/result.h"

typedef struct sim_federate_options {
    const char *study, *data;
    uint32_t n_hospitals; /* 0: all */
    bool has_seed, open;
    uint64_t seed;
    unsigned n_threads; /* 0: one per core */
} sim_federate_options;

/* plan: the study's, resolved, with the seed put in. The caller frees hospitals with sim_hospitals_fini. */
fl_code sim_federate(sim_result *out, nn_plan *plan, sim_hospitals *hospitals, const sim_federate_options *options,
                     fl_err *err) FL_MUST_USE;

/* A study file as a plan; seed replaces the plan's. */
fl_code sim_plan_load(nn_plan *plan, const char *study, bool has_seed, uint64_t seed, fl_err *err) FL_MUST_USE;

#endif
