/*
 * coord_counts - the noised counts that hospitals released with their updates (train/counts.h), per hospital and added up.
 *
 * They are the last bytes of the stored updates, so there is nothing to keep in step with the contributions, and refold,
 * backup and audit know them already. Everything here is computed from noised counts alone: it may be shown to anybody.
 */
#ifndef COORDINATOR_COUNTS_H
#define COORDINATOR_COUNTS_H

#include "base/json.h"
#include "coordinator/store.h"

#include <stdio.h>

typedef struct coord_counts {
    uint32_t round, n_sites, n_cells;
    char (*names)[WIRE_NAME_MAX]; /* (n_sites) in their order */
    int64_t *cells;               /* (n_sites + 1, n_cells): of each, then the sum; may be below 0 */
} coord_counts;

/* Of the contributions of a round that releases some. None of them: n_sites 0. FL_EENV when a stored update is damaged. */
fl_code coord_counts_load(coord_counts *out, coord_store *s, const nn_plan *plan, uint32_t round,
                          fl_err *err) FL_MUST_USE;
void coord_counts_fini(coord_counts *c);

/* RELEASED names an object that is here: are its counts, if its round has any, within DP_CELL_MAX? */
bool coord_counts_are_sane(coord_store *s, const coord_state *state, const wire_message *released);

/* `status`: all rounds that released counts, the newest last; null when the plan has no metrics. */
fl_code coord_counts_json(fl_json **out, coord_store *s, const nn_plan *plan, uint32_t last_round,
                          fl_err *err) FL_MUST_USE;
/* In words: the newest such round; nothing when there is none. */
fl_code coord_counts_words(FILE *out, coord_store *s, const nn_plan *plan, uint32_t last_round,
                           fl_err *err) FL_MUST_USE;

#endif
