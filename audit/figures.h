/*
 * audit_figures - epsilon recomputed from the RESERVE and OTHER_RELEASE lines alone, burned and unfinished debits included,
 * by accountants that share no code: the filter's order, the best Renyi order, and certified bounds (privacy/pld.h), these
 * for ledgers without findings only.
 */
#ifndef AUDIT_FIGURES_H
#define AUDIT_FIGURES_H

#include "audit/evidence.h"

typedef struct audit_figures {
    double filter; /* at the order of the policy, delta / rungs: what the budget is kept by. All studies only, else 0 */
    double rdp;    /* at delta, over all orders; 0 when has_rdp is false */
    unsigned order;
    double low, high; /* low <= epsilon at delta of the schedule <= high; 0 when has_bounds is false */
    bool has_rdp, has_bounds;
    char why_not[256]; /* why there are no bounds */
} audit_figures;

/*
 * study NULL: all. Nothing without a POLICY. A ledger with more than AUDIT_TERMS_MAX different terms gets the filter's
 * figure alone. low <= rdp and low <= filter must hold; what breaks it is a finding, for then this program is wrong.
 */
#define AUDIT_TERMS_MAX  4096
#define AUDIT_BOUNDS_MAX 256 /* different terms for the bounds */
void audit_figures_of(audit_figures *f, audit_evidence *e, const char *study);

typedef struct audit_study {
    const char *name; /* borrowed of the evidence */
    uint64_t debits, steps;
    double rdp; /* of this study alone */
} audit_study;

/* One row per study, in the order of their first debit, at most AUDIT_STUDIES_MAX. *out is the caller's to free; NULL and 0
 * without memory. */
#define AUDIT_STUDIES_MAX 1000
size_t audit_studies_of(audit_study **out, const audit_evidence *e);

#endif
