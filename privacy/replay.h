/*
 * dp_replay - reads a ledger line by line, checks it, and knows where it stands.
 *
 * The auditor and the node use the same code: the auditor collects findings, the node rebuilds its filter when it
 * comes up and may write nothing whose line would be a finding (dp_replay_would). Works for both roles; GENESIS says
 * which. No I/O. One thread.
 *
 * Checked of every line: canonical form, seq, prev, node = GENESIS's node, times and versions never going back.
 *
 *   node         GENESIS is first and only first; nothing after CLOSE
 *                POLICY        order, delta and rungs are the first POLICY's for ever; epsilon may be lowered, and
 *                              raised rungs-1 times; limits are per data set, the newest counts
 *                APPROVE_PLAN  a POLICY of its data set is in force; from version 3 on with the plan's terms for all its
 *                              rounds, the same ones each time it is approved
 *                RESERVE       the plan was approved for this study; noise, clip, rate, steps and coordinates are the
 *                              plan's terms for this round (approved by an older line: those of its first RESERVE); noise, rate, clip, round, cohort and declared patients within the policy;
 *                              noise_multiplier = dp_multiplier(S2, R); rate = sampling_rate;
 *                              a new debit; the filter's sum, this one included, stays <= B; probe below coordinates
 *                OTHER_RELEASE in version 2: of a debit that is RESERVED, not STARTED, once; same study and round; a new
 *                              debit of its own; permitted by the policy ("metrics") of the data set that the plan was
 *                              approved for; noise_multiplier = dp_multiplier(S2, 1) > 0; inside the filter. In
 *                              version 1: anywhere, permitted by some policy, with noise, inside the filter
 *                STARTED       once, after RESERVE, before anything else of the debit; nothing is owed from a RESTORE
 *                RELEASE       once, after STARTED; as long as its coordinates and cells (version 2)
 *                ACK           once, after RELEASE, same hash
 *                BURN          a debit without ACK (RELEASE may be there: the update was lost)
 *                RESTORE       each missing debit is owed: a RESERVE of its round's terms and BURN with reason "restored",
 *                              the second one of a round at the plan's dearest terms that the budget has room for; the
 *                              policy in force is not asked of it, for it happened already, but the filter is, and it
 *                              is never STARTED. Nothing is STARTED either before the ledger is longer than the head
 *                              that was witnessed: RESTORE lines with the reason "placeholder" stand for the other
 *                              lines that were lost. A debit RESERVEd while some are owed pays for one; a BURN "restored"
 *                              of any other stands before its RESTORE
 *
 *   coordinator  STUDY once a study; ROSTER before a round; ROUND_OPEN rounds 1, 2, .. each after the last PUBLISH, with
 *                its model; RECEIVED in an open round from a member of the ROUND_OPEN, once each; AGGREGATE once a
 *                round, only of what was RECEIVED; PUBLISH the AGGREGATE's model
 *                (a round may be opened again with the same number before its AGGREGATE: a new announce)
 */
#ifndef PRIVACY_REPLAY_H
#define PRIVACY_REPLAY_H

#include "privacy/budget.h"
#include "privacy/checkpoint.h"

typedef enum dp_debit_state {
    DP_DEBIT_RESERVED,
    DP_DEBIT_STARTED,
    DP_DEBIT_RELEASED,
    DP_DEBIT_ACKED,
    DP_DEBIT_BURNED,
} dp_debit_state;

typedef struct dp_debit {
    char id[DP_DEBIT_SIZE];
    char study[DP_NAME_SIZE];
    char plan_hash[DP_HEX_SIZE];
    char update_hash[DP_HEX_SIZE]; /* from RELEASE on */
    uint64_t seq;                  /* of its RESERVE */
    uint64_t release_seq;          /* of its RELEASE; 0 before */
    uint64_t bytes;
    uint32_t round, steps;
    uint32_t coordinates, probe, update_bits; /* 0: reserved by a line of version 1 */
    dp_debit_state state;
    bool is_restored; /* RESERVEd for a RESTORE, or BURNed with the reason "restored" */
    bool is_cheap;    /* RESERVEd for a RESTORE, and the plan has dearer terms that the budget had room for */
    double cost;      /* of the RESERVE */
    /* what travels in the same update, by its OTHER_RELEASE; cells 0: nothing does */
    char other[DP_DEBIT_SIZE];
    uint32_t cells, partitions;
    double other_cost;
} dp_debit;

/* What was charged with the same terms: for accountants. Per study; OTHER_RELEASE has q = 1 and R = 1. */
typedef struct dp_charge {
    char study[DP_NAME_SIZE];
    dp_segment segment;      /* sigma = dp_multiplier(S2, R), rounded down to millionths; 0: no noise */
    uint64_t noise_variance; /* S2 */
    uint32_t clip_units;     /* R */
    double coordinate_draws; /* integers drawn, over all steps; at least that many */
} dp_charge;

typedef struct dp_policy {
    char dataset[DP_NAME_SIZE];
    double min_noise_multiplier, max_sampling_rate, max_clip_norm;
    uint32_t max_rounds, declared_patients, min_cohort;
    char releases[DP_NAME_SIZE];
} dp_policy;

typedef struct dp_approval {
    char plan_hash[DP_HEX_SIZE];
    char study[DP_NAME_SIZE];
    char dataset[DP_NAME_SIZE];
    char approver[128];
    uint64_t terms_seq; /* of the line that fixed the terms; 0: none yet */
    uint32_t n_terms;   /* as in APPROVE_PLAN; or one, with rounds 0 (all of them), of the first RESERVE */
    dp_terms terms[DP_TERMS_MAX];
} dp_approval;

/* c. RECEIVED */
typedef struct dp_received {
    char study[DP_NAME_SIZE];
    char member[DP_NAME_SIZE];
    char debit[DP_DEBIT_SIZE];
    char update_hash[DP_HEX_SIZE];
    uint64_t seq;
    uint32_t round;
    bool is_aggregated;
} dp_received;

/* Read it, change nothing. Arrays belong to the replay and move when lines are added. */
typedef struct dp_ledger_state {
    char node[DP_NAME_SIZE];
    bool is_coordinator, is_closed, has_policy;
    uint32_t version;            /* of the last line */
    char key[DP_VKEY_MAX];       /* the vkey in force */
    char first_key[DP_VKEY_MAX]; /* GENESIS's */
    char t[24];                  /* of the last line; a writer whose clock is behind it writes this one again */
    uint64_t n_entries;          /* seq of the last line */
    fl_hash head;                /* prev of the next line; zeros at the start */
    dp_tree tree;
    dp_filter filter; /* valid when has_policy */
    uint64_t n_findings;
    uint32_t owed; /* from RESTORE */
    uint32_t n_restores;
    uint64_t restore_seq;  /* of the last RESTORE that is no placeholder; 0: none */
    uint64_t witness_size; /* its head */
    char witness_root[DP_HEX_SIZE];
    dp_policy *policies;
    size_t n_policies;
    dp_approval *approvals;
    size_t n_approvals;
    dp_debit *debits;        /* in the order of RESERVE */
    size_t n_debits, n_open; /* open: RESERVED, STARTED or RELEASED */
    dp_charge *charges;
    size_t n_charges;
    dp_received *received;
    size_t n_received;
} dp_ledger_state;

typedef struct dp_replay dp_replay;

/* what: one sentence about the entry; why: why it matters to a patient or an auditor. Both die after the call. */
typedef void (*dp_finding)(void *context, uint64_t seq, const char *what, const char *why);

typedef enum dp_replay_trust {
    DP_REPLAY_STRICT,  /* evidence from outside: canonical form of each line is compared byte for byte */
    DP_REPLAY_TRUSTED, /* lines from our own store: chain and rules only, faster */
} dp_replay_trust;

fl_code dp_replay_create(dp_replay **out, dp_replay_trust trust, dp_finding finding /* may be NULL */, void *context,
                         fl_err *err) FL_MUST_USE;
void dp_replay_destroy(dp_replay *r);

/* One line without its newline. Findings do not stop it. FL_EFORMAT: this is no ledger line at all (still counted as a
 * finding, and the chain goes on from it); FL_EENV: no memory. */
fl_code dp_replay_line(dp_replay *r, const char *line, size_t n, fl_err *err) FL_MUST_USE;
/* After the last line: what may not be left undone (owed debits). */
void dp_replay_end(dp_replay *r);

const dp_ledger_state *dp_replay_state(const dp_replay *r);
const dp_debit *dp_replay_debit(const dp_replay *r, const char *debit); /* NULL: unknown */
const dp_policy *dp_replay_policy(const dp_replay *r, const char *dataset);
const dp_approval *dp_replay_approval(const dp_replay *r, const char *study, const char *plan_hash);

/*
 * Would this entry be legal as the next line? FL_EREFUSED with the finding's words otherwise. Nothing changes. seq and
 * prev need not be set. A writer asks before every append: a ledger that our own auditor rejects is never written.
 */
fl_code dp_replay_would(dp_replay *r, const dp_entry *e, fl_err *err) FL_MUST_USE;

/* Epsilon of the charges of one study (NULL: all) at delta, over the default integer orders, at which the discrete
 * Gaussian costs what the continuous one does; 0 when there are none, infinite when one of them has no noise. */
double dp_replay_epsilon(const dp_replay *r, const char *study, double delta, unsigned *best_order);

/*
 * Certified bounds on the epsilon at delta of the same charges as one schedule fixed in advance: *low <= epsilon of the
 * discrete mechanism <= *high (privacy/pld.h, with the correction for the integers: docs/privacy.md, "Discrete noise").
 * No charges: both 0. FL_EREFUSED, with the reason: no such bounds; *low is then 0 and *high dp_replay_epsilon, which
 * hold as well. FL_EENV: no memory.
 */
fl_code dp_replay_bounds(const dp_replay *r, const char *study, double delta, double *low, double *high,
                         fl_err *err) FL_MUST_USE;

#endif
