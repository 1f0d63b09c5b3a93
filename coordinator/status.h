/*
 * What `status` shows, gathered from rows and (inside the running coordinator) from the machine's state.
 *
 * Everything here is public: counts of rounds, declared patients, and epsilon computed from the plan's terms for the
 * rounds in which a hospital stood in the roster - it contributed, or may have spent the budget and lost the update.
 */
#ifndef COORDINATOR_STATUS_H
#define COORDINATOR_STATUS_H

#include "coordinator/session.h"

typedef struct coord_site_status {
    const coord_site *site;
    const coord_member *member;
    uint64_t rounds, contributions; /* rounds: with this site in the roster */
    double epsilon;                 /* at the plan's delta */
    char state[128];                /* what it does, or why it is late */
} coord_site_status;

typedef struct coord_round_status {
    uint32_t round;
    bool is_aggregated;
    fl_hash model;
    char in[512], missing[512]; /* names, separated by commas */
    uint32_t n_in, n_roster;
} coord_round_status;

typedef struct coord_study_status {
    const coord_study *study;
    const nn_plan *plan;
    const char *phase;
    int64_t left_s; /* of the open round; -1: not known, nothing runs */
    uint32_t n_in, n_roster;
    coord_site_status *sites; /* of every enrolled hospital that may know the study */
    uint32_t n_sites;
    coord_round_status *rounds; /* newest last */
    uint32_t n_rounds;
} coord_study_status;

/* now_ms < 0: nothing runs. state and plan are borrowed. */
fl_code coord_study_status_get(coord_study_status *out, coord_store *s, const coord_state *state, uint32_t study,
                               const nn_plan *plan, int64_t now_ms, fl_err *err) FL_MUST_USE;
void coord_study_status_fini(coord_study_status *st);

#endif
