/* Between replay.c (the frame), replay_node.c and replay_coordinator.c (the rules of the two roles). */
#ifndef PRIVACY_REPLAY_STATE_H
#define PRIVACY_REPLAY_STATE_H

#include "privacy/map.h"
#include "privacy/replay.h"

/* Where a coordinator stands in one study. */
typedef struct dp_study {
    char name[DP_NAME_SIZE];
    char plan_hash[DP_HEX_SIZE];
    char model_hash[DP_HEX_SIZE]; /* the last PUBLISH; "" before */
    char aggregate_hash[DP_HEX_SIZE];
    uint32_t round; /* of the last ROUND_OPEN; 0 before */
    bool has_roster, is_open, is_aggregated;
    size_t first_received; /* of the open round, in state.received */
    uint32_t n_members;
    dp_member *members; /* of the last ROUND_OPEN */
} dp_study;

/* What the names of dp_replay.names lead to. */
typedef enum dp_name_kind {
    DP_BY_DEBIT,    /* debit: state.debits (node), state.received (coordinator) */
    DP_BY_OTHER,    /* debit of an OTHER_RELEASE: the state.debits it goes with */
    DP_BY_DATASET,  /* data set: state.policies */
    DP_BY_APPROVAL, /* study, plan hash: the newest in state.approvals */
    DP_BY_ROUND,    /* study, round: how many of its debits are open */
    DP_BY_STUDY,    /* study: the newest in studies */
    DP_BY_OWED,     /* study, round: restore_seq of the RESTORE that one of its debits paid for */
    DP_BY_RECEIVED, /* study, member, round: the newest in state.received */
} dp_name_kind;

#define DP_COPY(to, from)                                                                                              \
    do {                                                                                                               \
        _Static_assert(sizeof(to) >= sizeof(from), "room");                                                            \
        memcpy(to, from, sizeof(from));                                                                                \
    } while (0)

struct dp_replay {
    dp_ledger_state state;
    dp_replay_trust trust;
    dp_finding finding;
    void *context;
    uint64_t last_seq;
    bool has_genesis;
    double largest_epsilon; /* over all POLICY */
    uint32_t raises;
    uint64_t unexplained; /* seq of the last BURN "restored" of a debit from before; the RESTORE comes after it */
    dp_study *studies;
    size_t n_studies;
    size_t cap_policies, cap_approvals, cap_debits, cap_charges, cap_received, cap_studies;
    dp_map names;
    dp_entry entry; /* the line at hand */
};

/* Who hears of a finding: the caller's function, or dp_replay_would. */
typedef struct dp_checker {
    const dp_replay *r;
    dp_finding finding;
    void *context;
    uint64_t seq;
    uint64_t n;
    bool is_rotated; /* a KEY_ROTATE that the key before signed: one signature is looked at once */
} dp_checker;

void dp_report(dp_checker *c, const char *why, const char *format, ...) FL_PRINTF(3, 4);

/* DP_MAP_NONE: not there. No look-up may be a search: a ledger from outside has as many entries as its author likes. */
uint32_t dp_find(const dp_replay *r, dp_name_kind kind, const char *a, const char *b, uint32_t number);
fl_code dp_remember(dp_replay *r, dp_name_kind kind, const char *a, const char *b, uint32_t number, size_t position,
                    fl_err *err) FL_MUST_USE;

fl_code dp_no_memory(fl_err *err);

/* checks change nothing; apply does what the entry says, legal or not */
void dp_check_node(dp_checker *c, const dp_entry *e);
fl_code dp_apply_node(dp_replay *r, const dp_entry *e, fl_err *err) FL_MUST_USE;
void dp_check_coordinator(dp_checker *c, const dp_entry *e);
fl_code dp_apply_coordinator(dp_replay *r, const dp_entry *e, fl_err *err) FL_MUST_USE;
void dp_studies_free(dp_replay *r);

#endif
