/*
 * coord_machine - what a coordinator does next, as a pure function of its state and one event.
 *
 * coord_step(state, event, actions) performs no I/O, allocates nothing and cannot fail. The host (host.c) commits all
 * STORE actions of one step (LEDGER, PUT_*) in one transaction and only then replies; a failed commit throws the state
 * away, loads it again and answers nobody, and nodes ask again. So a receipt is never ahead of the disk.
 *
 * A study:
 *                     enough sites joined                 quorum at the deadline, or everybody
 *          GATHERING ---------------------> OPEN(round) -------------------------------------> FOLDING(round)
 *                                            ^  ROUND_OPEN, roster frozen                       |  model and next
 *                                            +------------------- PUBLISH ----------------------+  round together
 *                                                                      after the last round: DONE
 *   A deadline without quorum is extended by its own length. When too few hospitals of the roster are left for the quorum
 *   and all of them have contributed, the round opens again with those who joined since: same number, same model, another
 *   announce; contributions stay. PAUSED and CLOSED are words of a person.
 *   ROSTER stands in the ledger before a ROUND_OPEN whose hospitals or declared patients are others than the round's before.
 *
 * Polls that find nothing to say are parked (one per site) and answered when a round opens or their time is over.
 */
#ifndef COORDINATOR_MACHINE_H
#define COORDINATOR_MACHINE_H

#include "privacy/ledger.h"
#include "privacy/update.h"
#include "proto/msg/message.h"

#define COORD_MAX_SITES   256
#define COORD_MAX_STUDIES 8
#define COORD_MAX_ACTIONS (COORD_MAX_SITES + 8 * COORD_MAX_STUDIES + 8) /* a reply to each, and what each study does */

typedef enum coord_phase { COORD_GATHERING, COORD_OPEN, COORD_FOLDING, COORD_DONE } coord_phase;

/* A hospital that enrolled. Its index is its place in the order of names, and never changes meaning: rows hold names. */
typedef struct coord_site {
    char name[WIRE_NAME_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE]; /* Ed25519: what ROSTER says of it */
    bool revoked;
    uint64_t head_size; /* of its ledger, as last cosigned */
    fl_hash head_root;
    int64_t seen_ms; /* monotonic; 0: not since the start */
    /* a parked poll */
    bool parked;
    uint64_t ticket;
    int64_t until_ms;
    wire_message poll;
} coord_site;

/* A site in a study. */
typedef struct coord_member {
    bool listed, joined, left;
    uint64_t declared_patients;
    /* this round */
    bool in_roster, contributed;
    uint64_t roster_patients, roster_head_size; /* frozen when the round opened */
    fl_hash roster_head_root;
    char debit[WIRE_DEBIT_SIZE];
    fl_hash update_hash;
} coord_member;

/* Of an update in the rounds up to `last` that have no metrics. */
typedef struct coord_terms {
    uint32_t last;
    uint64_t update_bytes;
} coord_terms;

typedef struct coord_study {
    char name[WIRE_NAME_MAX];
    fl_hash plan_hash;
    uint32_t plan_bytes, index;          /* position in the list that nodes count */
    uint32_t rounds, quorum, deadline_s; /* of the plan */
    uint64_t model_bytes;
    uint32_t n_terms; /* phases of the plan */
    coord_terms terms[DP_TERMS_MAX];
    uint32_t metrics_every, metrics_cells; /* privacy/update.h; every 0: none */
    bool listed_only;                      /* the plan names its hospitals */
    uint32_t n_listed;
    coord_phase phase;
    bool paused, closed;
    uint32_t round; /* the open one, or the last one */
    fl_hash model_hash, announce_hash;
    int64_t deadline_ms; /* monotonic; set when the phase begins or the program starts */
    coord_member members[COORD_MAX_SITES];
} coord_study;

typedef struct coord_state {
    char name[WIRE_NAME_MAX];
    uint64_t boot, n_sent;
    uint64_t max_declared; /* patients a hospital may declare: its weight in the sum */
    uint32_t n_sites, n_studies;
    coord_site sites[COORD_MAX_SITES];
    coord_study studies[COORD_MAX_STUDIES];
    wire_site roster[COORD_MAX_STUDIES][COORD_MAX_SITES]; /* what an ANNOUNCE points to */
    int64_t timer_ms;                                     /* the timer that is set; 0: none */
} coord_state;

typedef enum coord_event_kind {
    COORD_EV_START,
    COORD_EV_REQUEST,     /* request from sites[site], its signature checked; has_object: the object it names is here */
    COORD_EV_FOLDED,      /* study: model_hash, server_hash, released_hash */
    COORD_EV_FOLD_FAILED, /* disk or memory: tried again at the next timer */
    COORD_EV_TIMER,
    COORD_EV_ROTATED, /* request from sites[site], whose key became public_key: the chain was checked */
    COORD_EV_CHANGED, /* a command changed the rows; state was loaded again */
} coord_event_kind;

typedef struct coord_event {
    coord_event_kind kind;
    int64_t now_ms;
    uint64_t ticket;
    uint32_t site, study;
    const wire_message *request;
    bool has_object;     /* RELEASED: the update is an object here, of update_bytes, and well-formed */
    bool has_bad_counts; /* RELEASED: it is, and a noised count of it is beyond all reason */
    bool debit_known;    /* RELEASED: the debit stands in some contribution already */
    bool has_earlier;    /* RELEASED of a round that is over: what this site contributed to it then */
    char earlier_debit[WIRE_DEBIT_SIZE];
    fl_hash earlier_update;
    uint64_t note_size; /* HEAD: size and root of the note, its signature checked by the host */
    fl_hash note_root;
    uint8_t public_key[FL_PUBLIC_KEY_SIZE]; /* ROTATED */
    bool extends;                           /* HEAD: the note was shown to extend the head that is held here */
    bool has_entry; /* RELEASED: its RELEASE line was shown to stand under the head that is held here */
    fl_hash model_hash, server_hash, released_hash;
} coord_event;

typedef enum coord_action_kind {
    COORD_LEDGER,           /* entry */
    COORD_PUT_SITE,         /* site: head */
    COORD_PUT_KEY,          /* site: its key */
    COORD_PUT_MEMBER,       /* study, site: joined, left, declared */
    COORD_PUT_ROUND,        /* study: phase, round, model, announce hash; with the roster when it opened */
    COORD_PUT_CONTRIBUTION, /* study, site */
    COORD_PUT_MODEL,        /* study, round, model_hash, server_hash, released_hash */
    COORD_REPLY,            /* ticket, reply; PLAN and BYTES replies get their bytes from the host */
    COORD_FOLD,             /* study: aggregate the round's contributions; answered by FOLDED */
    COORD_TIMER,            /* at_ms */
    COORD_SAY,              /* text: one log line */
} coord_action_kind;

typedef struct coord_action {
    coord_action_kind kind;
    uint32_t study, site, round; /* site of a SAY: UINT32_MAX when it is about none */
    uint64_t ticket;
    int64_t at_ms;
    fl_hash model_hash, server_hash, released_hash;
    const char *text;
    union {
        wire_message reply;
        dp_entry *entry; /* points into actions->entries */
    } u;
} coord_action;

typedef struct coord_actions {
    uint32_t n, n_entries;
    coord_action list[COORD_MAX_ACTIONS];
    dp_entry entries[2 * COORD_MAX_STUDIES + 4];
} coord_actions;

void coord_step(coord_state *state, const coord_event *event, coord_actions *actions);

/* The announce of the study's open round; roster: memory for its sites. */
void coord_announce(const coord_state *state, const coord_study *study, wire_announce *announce,
                    wire_site roster[COORD_MAX_SITES]);

/* May this site hear of the study? Does it take part in rounds that open now? */
bool coord_may_know(const coord_state *state, const coord_study *study, uint32_t site);
bool coord_takes_part(const coord_state *state, const coord_study *study, uint32_t site);

/* How long an update of the study's round is. */
uint64_t coord_update_bytes(const coord_study *study);
bool coord_has_counts(const coord_study *study); /* in the round at hand */

/* Position of a site's name; UINT32_MAX when it is not there. */
uint32_t coord_find_site(const coord_state *state, const char *name);
uint32_t coord_find_study(const coord_state *state, const char *name);

#endif
