/*
 * sim_federate - a whole study on one machine: real training inside the virtual world, N hospitals in one process, no
 * network; the ledgers are real and audited at the end. Without privacy (open) there is no ledger and no world: the
 * same rounds in one loop.
 *
 * With a folder (state) it can end in any way and go on: debits and releases are on disk before they count, as at a real
 * node, and every baseline keeps its rounds. A training cut short by kill -9 is a burned debit, which the plan's
 * allowance has room for; a stop waits for the training under way, so it burns nothing.
 */
#ifndef SIM_FEDERATE_H
#define SIM_FEDERATE_H

#include "sim/result.h"

typedef struct sim_federate_options {
    const char *study, *data;
    uint32_t n_hospitals; /* 0: all */
    bool has_seed, open;
    bool no_local; /* no hospital alone: their figures are null */
    uint64_t seed;
    unsigned n_threads;     /* 0: one per core */
    const char *state;      /* folder; NULL: nothing is kept */
    const char *save_model; /* file, with its card: safetensors, or ONNX by its ending; NULL: none */
    const char *ledgers;    /* folder for coordinator/ledger.jsonl and node-NAME/ledger.jsonl; NULL: none */
    FILE *say;              /* what is run, and warnings; NULL: nothing is said */
    /* May be NULL. stop: as soon as the training under way is done (baselines: now); cancel: now, a debit is burned. */
    const atomic_bool *stop, *cancel;
} sim_federate_options;

/* What there is to print. */
typedef struct sim_outcome {
    fl_buf text, json;
    bool has_findings;
} sim_outcome;

/* FL_EBUSY: stopped, and how to go on. The caller finis out in any case. */
fl_code sim_federate(sim_outcome *out, const sim_federate_options *options, fl_err *err) FL_MUST_USE;
void sim_outcome_fini(sim_outcome *out);

/* A study file as a plan; seed replaces the plan's. */
fl_code sim_plan_load(nn_plan *plan, const char *study, bool has_seed, uint64_t seed, fl_err *err) FL_MUST_USE;
/* The file of its pretrained start; nothing is appended when it has none. */
fl_code sim_pretrained_load(fl_buf *bytes, const char *study, fl_err *err) FL_MUST_USE;
/* The data of a study: hospitals, with what the study says they declare. */
fl_code sim_data_load(sim_hospitals *h, const char *study, const char *data, const nn_plan *plan, uint32_t only,
                      fl_err *err) FL_MUST_USE;

#endif
