/*
 * sim_state - the folder in which a study on one machine keeps what it did, so that it goes on after any end.
 *
 *     run.json          what is run: hash of plan and options, then hash of the data; another run is refused
 *     coordinator/ node-NAME/    stores of the world (sim/world.h): ledgers, rounds, updates, models
 *     global.state      without privacy: the server's state instead (sim/loop.h)
 *     global.weights federation.json    when the federation is over: its model, what the ledgers say
 *     local-NAME.state open-NAME.state  baselines, begun or finished
 *     result-WHICH.json result-WHICH.txt    what was printed, WHICH baselines it had
 *     lock
 */
#ifndef SIM_STATE_H
#define SIM_STATE_H

#include "base/file.h"
#include "sim/hospitals.h"

typedef struct sim_state {
    char dir[FL_PATH_MAX]; /* "": nothing is kept */
    fl_lock lock;
    char run[2 * FL_HASH_SIZE + 1], data[2 * FL_HASH_SIZE + 1]; /* data: "" before it is known */
} sim_state;

/* dir NULL: nothing is kept, and everything below is harmless. FL_EREFUSED: another run is in the folder; FL_EBUSY:
 * somebody is at work there. */
fl_code sim_state_open(sim_state *s, const char *dir, const fl_hash *run, fl_err *err) FL_MUST_USE;
void sim_state_close(sim_state *s);
bool sim_state_is_kept(const sim_state *s);

/* The data that it began with, or FL_EREFUSED. */
fl_code sim_state_data(sim_state *s, const sim_hospitals *h, fl_err *err) FL_MUST_USE;

/* DIR/a-b.c or DIR/a.c without b; NULL when nothing is kept. */
const char *sim_state_path(const sim_state *s, char out[FL_PATH_MAX], const char *a, const char *b, const char *c);

/* Small whole files; getting one that is not there is FL_ENOTFOUND, putting one that is not to be kept does nothing. */
fl_code sim_state_put(const sim_state *s, const char *name, const fl_buf *bytes, fl_err *err) FL_MUST_USE;
fl_code sim_state_get(const sim_state *s, const char *name, fl_buf *bytes, fl_err *err) FL_MUST_USE;

#endif
