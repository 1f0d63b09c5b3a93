/*
 * report - what ledgers tell, gathered once, and written down as a document (audit/doc.h) part by part.
 *
 * Everything here is a function of the files alone: the same files give the same report, byte for byte. Lists are
 * bounded; what is left out is counted.
 */
#ifndef AUDIT_REPORT_H
#define AUDIT_REPORT_H

#include "audit/chart.h"
#include "audit/doc.h"
#include "audit/evidence.h"

enum {
    REPORT_HOSPITALS = 64, /* ledgers on one command line */
    REPORT_STUDIES = 40,
    REPORT_APPROVALS = 60,
    REPORT_DATASETS = 20,
    REPORT_REDS = 100,
    REPORT_MEMBERS = DP_MEMBERS_MAX,
    REPORT_FINDINGS = 200, /* shown, of those that were kept */
};

/* A line that cost budget. */
typedef struct report_charge {
    double minute; /* since 1970 */
    double rdp;    /* its cost, at the filter's order */
    double cap;    /* epsilon that the policy allowed then */
    uint64_t seq;
    uint32_t round;
    uint16_t study; /* in studies; REPORT_STUDIES: one that is not listed */
    uint8_t mark;   /* chart_mark */
} report_charge;

/* An upper bound and, where there is one, a lower bound on epsilon. */
typedef struct report_bounds {
    bool is_known;
    double low, high; /* low below 0: there is none */
} report_bounds;

typedef struct report_study {
    char name[DP_NAME_SIZE];
    char plan_hash[DP_HEX_SIZE]; /* of the last debit */
    uint64_t n_debits, n_acked, n_burned, n_open, n_others, n_missing, n_steps;
    uint32_t first_round, last_round, cohort_least;
    uint64_t first_seq, last_seq;
    char t_first[24], t_last[24];
    bool has_terms, terms_changed, has_phases; /* phases: its plan has terms that change from phase to phase */
    char mechanism[DP_NAME_SIZE], sampling_rate[DP_NAME_SIZE], clip_norm[DP_NAME_SIZE], noise_multiplier[DP_NAME_SIZE];
    uint32_t local_steps;
    double rdp;           /* all its charges, at the filter's order */
    double round_rdp;     /* of its last RESERVE */
    double epsilon;       /* alone, as the filter counts */
    uint64_t rounds_left; /* of the same terms, if nothing else were charged */
    report_bounds bounds;
} report_study;

typedef struct report_approval {
    char study[DP_NAME_SIZE], dataset[DP_NAME_SIZE], plan_hash[DP_HEX_SIZE], approver[128], t[24];
    uint64_t seq;
} report_approval;

/* A data set: its newest limits and how often what it holds was changed. */
typedef struct report_dataset {
    char name[DP_NAME_SIZE], min_noise_multiplier[DP_NAME_SIZE], max_sampling_rate[DP_NAME_SIZE],
        max_clip_norm[DP_NAME_SIZE], releases[DP_NAME_SIZE], commitment[DP_HEX_SIZE], t_policy[24], t_last[24];
    uint32_t max_rounds, declared_patients, min_cohort;
    uint64_t policy_seq, n_policies, n_contents;
} report_dataset;

/* Entries that a reader should see, those of one kind, study and reason together. */
typedef struct report_red {
    dp_kind kind;
    doc_tone tone;
    char study[DP_NAME_SIZE], reason[DP_NAME_SIZE], what[600];
    uint64_t n, first, last;
    char t_first[24], t_last[24];
} report_red;

typedef struct report_file {
    audit_evidence evidence;
    const char *name; /* of the file, without folders */
    fl_hash hash;
    char t_first[24], t_last[24], software[DP_NAME_SIZE], accountant[DP_NAME_SIZE];
    report_red reds[REPORT_REDS];
    size_t n_reds;
    uint64_t n_more_reds;
} report_file;

typedef struct report_hospital {
    report_file file;
    const char *name;
    bool has_budget;
    dp_filter filter;           /* where it stands at the end */
    double epsilon, cap, delta; /* the filter's value; the policy's */
    double first_cap;
    double share; /* of the budget, in the measure that adds up: 1 is all of it */
    unsigned order, rungs;
    report_bounds bounds;
    report_charge *charges;
    size_t n_charges, charges_capacity;
    report_study studies[REPORT_STUDIES];
    report_approval approvals[REPORT_APPROVALS];
    report_dataset datasets[REPORT_DATASETS];
    size_t n_studies, n_approvals, n_datasets;
    uint64_t n_unlisted; /* charges of studies that are not listed */
    uint64_t n_more_approvals, n_more_datasets;
    uint64_t n_released;            /* updates that exist */
    uint64_t n_received, n_matched; /* the coordinator's RECEIVED of this hospital; those that agree */
    uint64_t n_restored;            /* those whose lines were lost, and which a RESTORE charged again */
    uint32_t n_restores, least_probe;
} report_hospital;

typedef struct report_member {
    char name[DP_NAME_SIZE];
    uint64_t received[REPORT_STUDIES];
    uint64_t n_received;
} report_member;

typedef struct report_rounds {
    char name[DP_NAME_SIZE], plan_hash[DP_HEX_SIZE], t_first[24], t_last[24];
    uint64_t seq, n_opened, n_published, last_round;
} report_rounds;

typedef struct report_coordinator {
    report_file file;
    const char *name;
    report_member members[REPORT_MEMBERS];
    report_rounds studies[REPORT_STUDIES];
    size_t n_members, n_studies;
} report_coordinator;

typedef struct report {
    report_hospital **hospitals;
    size_t n_hospitals;
    report_coordinator *coordinator; /* NULL: its ledger was not given */
    audit_chart *charts;             /* one for each hospital */
} report;

/*
 * Reads and checks the files: ledgers of hospitals, in the order of their names afterwards, and at most one
 * coordinator's, given as `coordinator` or among the paths. key: of the only path (NULL: beside each). FL_EFORMAT when
 * one is no ledger, when two are of one hospital, or two of a coordinator.
 */
fl_code report_read(report *r, char *const *paths, size_t n, const char *coordinator, const char *key,
                    fl_err *err) FL_MUST_USE;
void report_fini(report *r);
fl_code report_facts_hospital(report_hospital *h, fl_err *err) FL_MUST_USE;
fl_code report_facts_coordinator(report_coordinator *c, fl_err *err) FL_MUST_USE;
const char *report_base_name(const char *path);
/* Epsilon of charges of this hospital, as its budget counts them. */
double report_epsilon_of(const report_hospital *h, double rdp);
uint64_t report_findings(const report *r); /* of all files together */

/* The parts, in the order of the page. */
fl_code report_document(audit_doc *d, report *r, fl_err *err) FL_MUST_USE;
/* The numbers for programs, and the blocks of the document. Appends. */
fl_code report_json(fl_buf *out, const report *r, const audit_doc *d, fl_err *err) FL_MUST_USE;
void report_promise(audit_doc *d, const report *r);
void report_trust(audit_doc *d, const report *r);
void report_budget(audit_doc *d, report *r);
void report_together(audit_doc *d, const report *r);
void report_reds(audit_doc *d, const report *r);
void report_studies(audit_doc *d, const report *r);
void report_questions(audit_doc *d, const report *r);
void report_check(audit_doc *d, const report *r);
void report_words(audit_doc *d);

/* Numbers for people. Upper bounds are rounded up. */
void report_time(char out[24], const char *t); /* 2026-03-01 12:34 UTC */
typedef struct report_text {
    char text[96];
} report_text;
report_text report_between(const report_bounds *b);     /* between 2.6849 and 2.6850 */
report_text report_epsilon(double epsilon);             /* 2.643; "without bound" */
report_text report_delta(double delta);                 /* 0.00001, 1 in 100,000 */
report_text report_factor(double epsilon);              /* e^epsilon: 14.1; "more than a million" */
report_text report_guess(double epsilon, double delta); /* right in at most so many of 100 cases: 93.4 % */
report_text report_suspicion(double epsilon);           /* what a suspicion of 1 in 1,000 can become: 1 in 54 */
report_text report_count(uint64_t n);                   /* 1,234,567 */
const char *report_plural(uint64_t n, const char *one, const char *many);

#endif
