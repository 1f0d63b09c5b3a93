/*
 * A command and the folder it works on. The same function runs in three places: alone (it takes the folder's lock and
 * opens the store), inside the running coordinator (store and host are there), or not at all because a running
 * coordinator was asked and has answered.
 */
#ifndef COORDINATOR_SESSION_H
#define COORDINATOR_SESSION_H

#include "base/cli.h"
#include "coordinator/host.h"

#define COORD_PROGRAM     "cordon-coordinator"
#define COORD_DEFAULT_DIR "/var/lib/cordon-coordinator"

/* What the running coordinator lends to a command. */
typedef struct coord_live {
    coord_store *store;
    coord_host *host;
    void *ctx;
    /* Rows changed: the host loads them, the allow-list is made anew; connections of *drop (may be NULL) are closed. */
    fl_code (*changed)(void *ctx, const fl_hash *drop, fl_err *err);
} coord_live;

/* cli->user of every command. argc, argv: of the process, to pass on; live: NULL outside the running coordinator. */
typedef struct coord_caller {
    int argc;
    char **argv;
    coord_live *live;
} coord_caller;

typedef struct coord_session {
    fl_cli *cli;
    coord_live *live; /* NULL: nothing is running, and we hold the lock */
    coord_store *store;
    coord_store own;
    fl_lock lock;
} coord_session;

typedef fl_code (*coord_work)(coord_session *s, fl_err *err);

/* Opens, works, closes; prints the error; returns the exit code. */
int coord_session_run(fl_cli *cli, coord_work work);

/* After a change of rows. */
fl_code coord_session_changed(coord_session *s, const fl_hash *drop, fl_err *err) FL_MUST_USE;

/* The study named by --study, or the only one. Parsed plan in *plan. FL_ENOTFOUND, FL_EFORMAT when there are several. */
fl_code coord_session_plan(coord_session *s, nn_plan *plan, const char *name /* may be NULL */,
                           fl_err *err) FL_MUST_USE;

const char *coord_cli_dir(const fl_cli *cli);

/* The folder's lock. A command holds it for a moment only, so it is waited for: COORD_LOCK_MS, then FL_EBUSY. */
#define COORD_LOCK_MS 3000
fl_code coord_lock_take(fl_lock *lock, const char *dir, fl_err *err) FL_MUST_USE;

#endif
