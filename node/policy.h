/*
 * node_policy - what the hospital allows: policy.ini, typed by people of the hospital, read through a table.
 *
 * The plan states exact terms, the policy states limits; outside them the node refuses and never negotiates. This
 * is the policy of one data set; node/policies.h has the file's others.
 *
 * The ledger's POLICY entry is what counts for an auditor. node_policy_record keeps it equal to the file.
 */
#ifndef NODE_POLICY_H
#define NODE_POLICY_H

#include "node/store.h"
#include <stdio.h>

#define NODE_POLICY_NAME      "policy.ini"
#define NODE_POLICY_MAX_BYTES (1u << 20)

typedef struct node_policy {
    char dataset[WIRE_NAME_MAX]; /* "main" */
    char epsilon[24], delta[24]; /* for life, over all studies */
    uint32_t renyi_order;        /* 0: auto, the first approved plan's */
    uint32_t rungs;
    char min_noise_multiplier[24], max_sampling_rate[24], max_clip_norm[24];
    uint32_t max_rounds, min_cohort, min_slot_ms;
    uint32_t declared_patients; /* 0: not typed yet; no plan can be approved */
    bool multi;                 /* labels are sets of classes, joined by | */
    char releases[64];          /* "update" or "update+metrics" */
    bool allow_burned_in, allow_ultrasound, allow_capture;
} node_policy;

fl_code node_policy_load(node_policy *p, const char *dir, fl_err *err) FL_MUST_USE; /* DIR/policy.ini */
/* The text of that file, without zero bytes, and its path for messages. The caller frees text, which this starts. */
fl_code node_policy_text(fl_buf *text, char path[FL_PATH_MAX], const char *dir, fl_err *err) FL_MUST_USE;
fl_code node_policy_parse(node_policy *p, const char *text, const char *name, fl_err *err) FL_MUST_USE;
/* The commented file that `init` writes. */
void node_policy_sample(fl_buf *out);
/* The defaults, with these numbers: the simulator and tests. */
void node_policy_for_memory(node_policy *p, const char *epsilon, const char *delta, uint32_t declared_patients);
/* Flags of img_allow. */
unsigned node_policy_allow(const node_policy *p);

/* The first limit that a plan breaks, in one sentence with both numbers; false: why is "". Does not ask the filter. */
bool node_policy_breaks(const node_policy *p, const node_plan *plan, char why[200]);

/*
 * When the ledger's POLICY of this data set is not what the file says (or is missing), appends POLICY, in the caller's
 * transaction, and takes the new filter into the state. order: for the first POLICY, when the policy leaves it to the
 * plan. The host calls it at load when the ledger has a POLICY, so that an edited file takes effect; approve calls it
 * always. FL_EREFUSED: order, delta or rungs changed, or epsilon was raised without a rung left: they stand for life.
 */
fl_code node_policy_record(node_store *s, node_state *state, const node_policy *p, uint32_t order, bool *appended,
                           fl_err *err) FL_MUST_USE;
/* Recomputes within_policy, cost and min_cohort of every plan of the state, and declared_patients of those not yet
 * approved: an approved plan whose number of patients was changed since is outside the policy. No I/O. The host calls it
 * at load and after node_policy_record. */
void node_policy_apply(node_state *state, const node_policy *p);
void node_policy_apply_to(node_state *state, uint32_t plan, const node_policy *p); /* one plan */

#endif
