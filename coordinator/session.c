#include "coordinator/session.h"

#include "base/clock.h"
#include "proto/net/live.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

const char *coord_cli_dir(const fl_cli *cli)
{
    const char *dir = fl_cli_value(cli, "dir");
    return dir ? dir : COORD_DEFAULT_DIR;
}

#define LOCK_TRY_MS 25

static bool wait_a_moment(int64_t until_ms)
{
    if (fl_clock_mono_ms() >= until_ms)
        return false;
    nanosleep(&(struct timespec){.tv_nsec = LOCK_TRY_MS * 1000000}, NULL);
    return true;
}

fl_code coord_lock_take(fl_lock *lock, const char *dir, fl_err *err)
{
    const int64_t until = fl_clock_mono_ms() + COORD_LOCK_MS;
    fl_code rc;
    while ((rc = fl_lock_take(lock, dir, err)) == FL_EBUSY && wait_a_moment(until))
        ;
    return rc;
}

/* Whoever runs the folder is asked; when nobody does, it is ours. A coordinator that is just coming up or going down
 * holds the lock and does not answer yet: both are tried until one works. */
static fl_code ask_or_lock(coord_session *s, const coord_caller *caller, const char *dir, int *exit_code, fl_err *err)
{
    const int64_t until = fl_clock_mono_ms() + COORD_LOCK_MS;
    fl_code rc;
    do {
        *exit_code = wire_live_call(dir, COORD_PROGRAM, caller->argc, caller->argv, s->cli->out, s->cli->err);
        if (*exit_code >= 0)
            return FL_OK;
        rc = fl_lock_take(&s->lock, dir, err);
    } while (rc == FL_EBUSY && wait_a_moment(until));
    return rc;
}

/* false: *exit_code is the answer. */
static bool open_session(coord_session *s, fl_cli *cli, int *exit_code)
{
    const coord_caller *caller = cli->user;
    const char *dir = coord_cli_dir(cli);
    char path[FL_PATH_MAX];
    fl_err err = {0};
    memset(s, 0, sizeof *s);
    s->cli = cli;
    if (caller->live) {
        s->live = caller->live;
        s->store = s->live->store;
        return true;
    }
    fl_code rc = FL_OK;
    if (strlen(dir) > FL_PATH_MAX - 64)
        rc = fl_fail(&err, FL_EFORMAT, "--dir: too long");
    else if (!fl_file_exists(fl_path(path, dir, "coordinator.ini")))
        rc = fl_fail(&err, FL_ENOTFOUND, "%s: holds no coordinator: make one with " COORD_PROGRAM " init", dir);
    if (rc == FL_OK) {
        rc = ask_or_lock(s, caller, dir, exit_code, &err);
        if (rc == FL_OK && *exit_code >= 0)
            return false;
    }
    if (rc == FL_OK)
        rc = coord_store_open(&s->own, dir, &err);
    if (rc == FL_OK) {
        s->store = &s->own;
        return true;
    }
    *exit_code = fl_cli_fail(cli, &err);
    fl_lock_release(&s->lock);
    return false;
}

static void close_session(coord_session *s)
{
    if (s->live)
        return;
    coord_store_close(&s->own);
    fl_lock_release(&s->lock);
}

int coord_session_run(fl_cli *cli, coord_work work)
{
    coord_session s;
    int exit_code;
    fl_err err = {0};
    if (!open_session(&s, cli, &exit_code))
        return exit_code;
    fl_code rc = work(&s, &err);
    exit_code = rc ? fl_cli_fail(cli, &err) : 0;
    close_session(&s);
    return exit_code;
}

fl_code coord_session_changed(coord_session *s, const fl_hash *drop, fl_err *err)
{
    return s->live ? s->live->changed(s->live->ctx, drop, err) : FL_OK;
}

static fl_code only_study(coord_session *s, char name[WIRE_NAME_MAX], fl_err *err)
{
    fl_query q;
    int n = 0;
    FL_TRY(fl_query_open(&q, s->store->db, "SELECT name FROM study ORDER BY idx", err));
    while (fl_query_row(&q))
        if (n++ == 0)
            snprintf(name, WIRE_NAME_MAX, "%s", fl_column_text(&q, 0));
    FL_TRY(fl_query_close(&q, err));
    if (n == 0)
        return fl_fail(err, FL_ENOTFOUND, "no study is here: add one with " COORD_PROGRAM " study add");
    if (n > 1)
        return fl_fail(err, FL_EFORMAT, "--study: is missing: %d studies are here, see " COORD_PROGRAM " study list",
                       n);
    return FL_OK;
}

fl_code coord_session_plan(coord_session *s, nn_plan *plan, const char *name, fl_err *err)
{
    char only[WIRE_NAME_MAX] = "";
    if (!name) {
        FL_TRY(only_study(s, only, err));
        name = only;
    }
    fl_buf json;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    fl_code rc = coord_study_plan(s->store, &json, name, err);
    if (rc == FL_OK)
        rc = nn_plan_parse(plan, fl_buf_text(&json), json.size, err);
    fl_buf_fini(&json);
    return rc;
}
