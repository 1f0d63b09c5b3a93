/*
 * node_policies - policy.ini with several data sets. The budget is one, for life and for all of them; [data], [limits] and
 * [images] are of the first data set, and sections of the same names with a data set behind them are of others:
 *
 *     [budget]          epsilon = 8           shared by all
 *     [data]            declared_patients = 200                              the data set "main"
 *     [limits]          ...
 *     [data ct]         declared_patients = 100                              the data set "ct": what makes it one
 *     [limits ct]       ...                                                  what is not typed is the default
 *
 * One filter counts them all: a patient may be in several.
 */
#ifndef NODE_POLICIES_H
#define NODE_POLICIES_H

#include "node/approve.h"

#define NODE_MAX_DATASETS 8

typedef struct node_policies {
    uint32_t n;
    node_policy list[NODE_MAX_DATASETS]; /* the first one is [data]'s */
} node_policies;

fl_code node_policies_parse(node_policies *out, const char *text, const char *name, fl_err *err) FL_MUST_USE;
fl_code node_policies_load(node_policies *out, const char *dir, fl_err *err) FL_MUST_USE; /* DIR/policy.ini */
/* FL_EREFUSED: the data set has no policy, and what to type. */
fl_code node_policy_of(const node_policy **out, const node_policies *p, const char *dataset, fl_err *err) FL_MUST_USE;

/* The data set that a plan was approved for; the first one before that. */
const char *node_plan_dataset(const node_store *s, const node_plan *p, const node_policies *policies);
/* Keeps the ledger's POLICY of each data set that has one equal to the file; the first approval for a data set writes
 * its first. In the caller's transaction. */
fl_code node_policies_record(node_store *s, node_state *state, const node_policies *p, bool *appended,
                             fl_err *err) FL_MUST_USE;
/* within_policy, cost, min_cohort and declared_patients of every plan, by the policy of its data set. */
void node_policies_apply(const node_store *s, node_state *state, const node_policies *p);

#endif
