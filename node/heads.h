/*
 * node_heads - each hospital's ledger head as announces have shown it, so that hospitals witness one another.
 *
 *     peer_head(study, name, size, root)        the newest of each study
 *
 * A coordinator that keeps two histories, one for some hospitals and one for others, or that goes back to an old one, has to show
 * a hospital sooner or later a head that does not fit what it showed before: shorter than in an earlier round of the
 * same study, or with another root at a size that was shown in any study. (Rounds of different studies may open long
 * before they are announced here, so sizes are compared within a study.) A hospital that restored its ledger goes
 * on with a longer one (privacy/replay.h), so no honest head ever becomes shorter.
 */
#ifndef NODE_HEADS_H
#define NODE_HEADS_H

#include "node/store.h"

/* Compares the heads of an announce with those seen before. When all fit, the newer ones are kept, in a transaction of
 * its own; else *is_split is true, nothing is kept, and why says whose head it is and what is wrong with it. */
fl_code node_heads_see(node_store *s, const char *study, const wire_announce *a, bool *is_split, char why[200],
                       fl_err *err) FL_MUST_USE;

extern const char node_heads_schema[];

#endif
