/* The ledger of a hospital that is nothing but a key: lines that say nothing, its RELEASEs, heads and proofs. */
#ifndef TESTS_COORDINATOR_LINES_H
#define TESTS_COORDINATOR_LINES_H

#include "privacy/proof.h"
#include "proto/msg/message.h"
#include "tests/base/test.h"

typedef struct hospital_lines {
    dp_forest forest;
    uint64_t held; /* size of the head that was cosigned last */
    fl_hash consistency[DP_PROOF_MAX], inclusion[DP_PROOF_MAX];
    char entry[WIRE_LINE_MAX]; /* the RELEASE line made last */
    uint64_t seq;              /* its place */
} hospital_lines;

void lines_add(hospital_lines *l, const char *line);
/* *m becomes the HEAD over all lines, with the proof that it extends the one over l->held. */
void lines_head(hospital_lines *l, wire_message *m, const char *name, const fl_sign_key *key);
/* Appends the RELEASE of m (study, round, debit, update). */
void lines_release(hospital_lines *l, wire_message *m, const char *name);
/* m's entry and its proof under the head over l->held. */
void lines_prove(hospital_lines *l, wire_message *m);

#endif
