/*
 * node_machine - what a node does next, as a pure function of its state and one event.
 *
 * node_step(state, event, actions) performs no I/O, allocates nothing and cannot fail. The host (host.c) commits all
 * STORE actions of one step (LEDGER, PUT_PLAN, PUT_ROUND) in one transaction and only then does the others in their
 * order; when the commit fails it throws this state away and loads it again. So what the machine says on the network
 * is never ahead of what is on disk.
 *
 *                 announce            model here          update + RELEASE durable
 *        POLLING ----------> FETCHING ----------> TRAINING ----------------------> RELEASED
 *           ^                (refuse: REFUSE)     RESERVE, STARTED durable first      | at the round's slot:
 *           |                                                                         v head shown and cosigned
 *           +------- ACK ---- DELIVERING <---- UPLOADING <------------------------ COSIGNED
 *
 *   a crash while TRAINING: BURN at the next start, and the round is taken again under a new debit (at most twice)
 *   a crash later: the same bytes are sent again
 *   the round is over before the receipt, or the released bytes were lost: BURN
 *   a witness holds a head that this ledger has not: HALTED, over restarts too, until an operator runs `restore`;
 *   after that the restored head is shown before anything else is asked
 *
 * One round at a time per node, whatever the number of studies: they share one trainer and one budget.
 */
#ifndef NODE_MACHINE_H
#define NODE_MACHINE_H

#include "privacy/budget.h"
#include "privacy/ledger.h"
#include "privacy/update.h"
#include "proto/msg/message.h"

#define NODE_MAX_PLANS    32
#define NODE_MAX_TERMS    DP_TERMS_MAX /* phases of a plan */
#define NODE_MAX_ACTIONS  12
#define NODE_MAX_BURNS    2 /* in one round; then the node sits the round out */
#define NODE_MAX_FAILURES 2 /* trainings in a row that failed: each cost a debit, so no more before a person looked */
#define NODE_MAX_CRASHES  6 /* debits in a row that burned without a release, over restarts: the same */
#define NODE_POLL_MS      25000 /* with a study joined */
#define NODE_POLL_NEW_MS  3000  /* before that: a person is waiting for the plan */
#define NODE_RETRY_MS     1000

typedef enum node_phase {
    NODE_POLLING,
    NODE_FETCHING,
    NODE_TRAINING,
    NODE_RELEASED,
    NODE_COSIGNED,
    NODE_UPLOADING,
    NODE_DELIVERING,
    NODE_HALTED,
} node_phase;

/* Why a round was not taken; the words stand in REFUSE entries and in `status`. */
typedef enum node_reason {
    NODE_R_NONE,
    NODE_R_NOT_APPROVED,
    NODE_R_OVER_BUDGET,
    NODE_R_POLICY,
    NODE_R_SMALL_COHORT,
    NODE_R_NOT_IN_ROSTER,
    NODE_R_ROLLBACK,
    NODE_R_REVOKED,
    NODE_R_EQUIVOCATION,
    NODE_R_TRAINING,
    NODE_R_BURNS,
    NODE_R_ROUND_CLOSED,
    NODE_R_MODEL,
    NODE_R_LOST,
    NODE_R_SPLIT_VIEW,
} node_reason;
const char *node_reason_text(node_reason reason);

/* What a round of one phase of a plan asks for. */
typedef struct node_terms {
    uint32_t last; /* the phase's last round, from 1 */
    uint32_t local_steps, clip_units;
    uint32_t coordinates, probe, update_bits; /* of an update: privacy/ledger.h */
    uint64_t noise_variance;
    dp_rate rate;
    char sampling_rate[24], clip_norm[24];
    double cost; /* of one round, at the filter's order */
} node_terms;

/* What the machine knows of a plan; the plan itself is an object. */
typedef struct node_plan {
    fl_hash hash;
    char study[WIRE_NAME_MAX];
    bool readable, approved, joined, left;
    bool multi;          /* its labels are sets of classes */
    bool within_policy;  /* of the policy in force; the host keeps it true */
    node_reason refused; /* the last reason this plan's rounds were refused for */
    uint32_t refused_round;
    uint32_t rounds, last_round; /* last_round: the newest round that is over for this node */
    uint32_t burns, burn_round;
    uint32_t failures; /* trainings in a row that failed since the start or the last command; not persistent */
    uint32_t slot_ms, min_cohort;
    uint64_t model_bytes, declared_patients;
    uint32_t n_terms; /* phases, in the order of their rounds; 0: not readable */
    node_terms terms[NODE_MAX_TERMS];
    /* noised counts in some of the rounds, privacy/update.h; every 0: none */
    uint32_t metrics_every, metrics_cells, metrics_partitions;
    uint64_t metrics_variance;
    char metrics_what[64];
    double metrics_cost; /* of those of one round */
} node_plan;

/* The round under way. Persistent. */
typedef struct node_round {
    node_phase phase;
    uint32_t plan; /* index into plans */
    uint32_t round;
    fl_hash model_hash, announce_hash, update_hash;
    uint64_t update_bytes;
    char debit[WIRE_DEBIT_SIZE];
} node_round;

typedef struct node_state {
    char name[WIRE_NAME_MAX];
    uint64_t ledger_size; /* lines */
    dp_filter filter;     /* rebuilt from the ledger at load */
    bool has_filter;      /* false before the first POLICY */
    uint32_t n_plans;
    node_plan plans[NODE_MAX_PLANS];
    node_round now;
    node_reason halted; /* ROLLBACK and EQUIVOCATION are persistent */
    bool show_key;      /* the coordinator does not know the newest key yet: nothing else is asked before */
    bool show_head;     /* a RESTORE of this ledger was not cosigned yet */
    uint64_t boot;      /* counts starts: the high half of a sequence number */
    /* not persistent */
    uint32_t n_sent, cohort; /* cohort: sites in the announce of the round under way */
    bool asking;             /* a request is out, `request` */
    bool poll_next;          /* JOIN or LEAVE was refused: other studies are asked for before it is tried again */
    wire_message request;
    int64_t slot_at_ms, announced_at_ms;
    uint32_t failures; /* requests in a row without an answer */
} node_state;

typedef enum node_event_kind {
    NODE_EV_START,    /* state was loaded */
    NODE_EV_REPLY,    /* reply: the answer to `request` */
    NODE_EV_NO_REPLY, /* it will not come */
    NODE_EV_PLAN,     /* plan: received, parsed, stored as an object */
    NODE_EV_FETCHED,
    NODE_EV_FETCH_FAILED, /* the model is an object here / cannot be had now */
    NODE_EV_MODEL_BAD,    /* the bytes with the right hash are no model of this plan */
    NODE_EV_TRAINED,
    NODE_EV_TRAIN_FAILED, /* hash, size of the update object */
    NODE_EV_UPLOADED,
    NODE_EV_UPLOAD_FAILED,
    NODE_EV_TIMER,
    NODE_EV_POLICY, /* plans and filter changed under a command: approve, leave, restore */
} node_event_kind;

typedef struct node_event {
    node_event_kind kind;
    int64_t now_ms;     /* monotonic */
    uint8_t random[40]; /* fresh, from the CSPRNG: debit and request ids */
    const wire_message *reply;
    const node_plan *plan;
    fl_hash hash;
    uint64_t size_bytes;
    bool round_closed; /* UPLOAD_FAILED: the coordinator says the round is over */
    bool lost;         /* UPLOAD_FAILED: the update's bytes are no longer here */
    node_reason halt;  /* UPLOAD_FAILED: rollback or equivocation, as the coordinator says; else NONE */
    bool is_split;     /* ANNOUNCE: it shows a hospital's ledger head that does not fit those shown before */
    bool is_witnessed; /* ANNOUNCE: the head it holds of this ledger is a head of the lines that are here */
} node_event;

typedef enum node_action_kind {
    NODE_LEDGER,    /* entry: append, in this step's transaction */
    NODE_PUT_PLAN,  /* plan index: write its row */
    NODE_PUT_ROUND, /* write `now` */
    NODE_SEND,      /* state.request; host answers REPLY or NO_REPLY */
    NODE_FETCH,     /* state.now.model_hash, size_bytes */
    NODE_TRAIN,     /* state.now */
    NODE_UPLOAD,    /* state.now.update_hash */
    NODE_TIMER,     /* at_ms; replaces the one before */
    NODE_SAY,       /* reason: one log line */
} node_action_kind;

typedef struct node_action {
    node_action_kind kind;
    uint32_t plan;
    int64_t at_ms;
    uint64_t size_bytes;
    node_reason reason;
    dp_entry entry;
} node_action;

typedef struct node_actions {
    uint32_t n;
    node_action list[NODE_MAX_ACTIONS];
} node_actions;

/* The terms of a round, from 1; the last ones when the plan ends before. */
const node_terms *node_terms_of(const node_plan *p, uint32_t round);
/* What the RESERVE of a round says of its plan; study, round, debit, hashes and cohort are the caller's. */
void node_fill_reserve(dp_entry *e, const node_plan *p, uint32_t round);
/* What the OTHER_RELEASE of a round with metrics says of it. */
void node_fill_other(dp_entry *e, const node_plan *p);
/* What the noised counts of a round cost, at the filter's order; 0: it has none. */
double node_round_counts(const node_plan *plan, uint32_t round);
uint64_t node_round_draws(const node_plan *plan, uint32_t round); /* integers of noise of a round, counts included */

/* actions->n starts at 0. now_ms never decreases between calls. */
void node_step(node_state *state, const node_event *event, node_actions *actions);

#endif
