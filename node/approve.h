/*
 * node_approve - a named person of the hospital says yes to a plan, after the whole of it was computed against the
 * policy and the life-long filter. What would not fit as a whole is refused up front, with the numbers.
 */
#ifndef NODE_APPROVE_H
#define NODE_APPROVE_H

#include "base/json.h"
#include "node/policy.h"

typedef struct node_phase_cost {
    uint64_t rounds; /* not charged yet */
    double epsilon;  /* of these by themselves, without metrics */
} node_phase_cost;

/* What a plan would cost beside what is there. Epsilons at the filter's order and delta. */
typedef struct node_cost {
    unsigned order;
    double cost;             /* of one round of the last phase without metrics, RDP at the order */
    double metrics;          /* of all noised counts that this plan may still release */
    uint32_t metrics_rounds; /* in so many rounds */
    double cap, spent;       /* of the filter */
    double promised;         /* what other approved plans may still take */
    uint64_t rounds;         /* that this plan may still run */
    uint64_t room; /* rounds that fit beside what is spent, promised and its metrics, if it went on as in its last
                              * phase; 0 when the other phases alone do not; about 10^6 at most */
    uint32_t n_phases;
    node_phase_cost phases[NODE_MAX_TERMS];
    double epsilon_spent;    /* now */
    double epsilon_promised; /* when the other approved plans have run */
    double epsilon_metrics;  /* of the noised counts by themselves */
    double epsilon_after;    /* when this plan has run too; infinite when it does not fit a finite number */
    double epsilon_cap, delta;
    bool fits;
    bool is_first; /* no POLICY yet: computed for the filter that the first approval would set */
} node_cost;

/* FL_EREFUSED when the policy's epsilon cannot be had at its delta and order. */
fl_code node_plan_cost(node_cost *out, const node_state *state, const node_policy *policy, uint32_t plan,
                       uint32_t plan_order, fl_err *err) FL_MUST_USE;

/*
 * Appends POLICY (the first, or changed), DATASET (when it changed) and APPROVE_PLAN in one transaction, and sets
 * approved, within_policy, declared_patients, min_cohort and cost in the state and its row. Approving again changes nothing, unless the
 * policy has another data set or other declared patients since.
 * On failure the store and the ledger are as before; the state is too.
 * FL_EREFUSED: outside the policy, over the budget, no declared_patients, another study of this name approved.
 */
fl_code node_approve(node_store *s, node_state *state, const node_policy *policy, uint32_t plan, const char *by,
                     const char *dataset, fl_err *err) FL_MUST_USE;

/* Was this plan approved for the data set and the declared patients of this policy? */
bool node_approval_stands(const node_store *s, const node_plan *p, const node_policy *policy);

/* plan show: the plan in plain words, then each limit of the policy beside the plan's number, then what it would cost
 * and leave, in epsilon and in rounds. */
fl_code node_plan_against_policy(FILE *out, node_store *s, const node_state *state, const node_policy *policy,
                                 uint32_t plan, fl_err *err) FL_MUST_USE;
/* The same numbers as JSON. */
fl_code node_plan_json(fl_json **out, node_store *s, const node_state *state, const node_policy *policy, uint32_t plan,
                       fl_err *err) FL_MUST_USE;

#endif
