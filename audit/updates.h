/*
 * audit_updates - the released bytes themselves, where the auditor was given them: a folder of objects as a
 * coordinator keeps them (DIR/objects/ab/<62 digits>, or DIR/ab/<62 digits>, or DIR/<64 digits>), named by SHA-256.
 *
 * Each update that the ledger RELEASEd and that is in the folder must have its name's hash and the length that its RESERVE
 * says; then the tests of privacy/presence.h look for the noise: in the probe of each update, in all probes together, in
 * the coordinates of the weights, in every pair of probes. What is not in the folder is counted, not accused.
 *
 * A finding is a statement of probability: an honest ledger gets one with at most DP_PRESENCE_ALPHA. RESERVEs of version 1 say
 * nothing about the form of their update: only hashes and lengths are compared.
 */
#ifndef AUDIT_UPDATES_H
#define AUDIT_UPDATES_H

#include "audit/evidence.h"
#include "privacy/presence.h"

typedef struct audit_updates {
    uint64_t released, here; /* RELEASEs of the ledger; those with bytes in the folder */
    uint64_t tested;         /* those whose noise was looked at */
    dp_presence probes;      /* of all of them together */
    double ratio;            /* noise found over noise claimed; 0 when nothing was tested */
    double power;            /* chance that a shortfall of 5 % would have been found */
    double pairs;            /* of updates that were compared */
    size_t
        compared; /* coordinates of each that a pair was compared in; less than the probe where there are very many */
} audit_updates;

/* FL_ENOTFOUND, FL_EENV: the folder. Findings go to the evidence. */
fl_code audit_check_updates(audit_updates *out, audit_evidence *node, const char *dir, fl_err *err) FL_MUST_USE;

#endif
