#include "coordinator/status.h"

#include "base/clock.h"
#include "base/json.h"
#include "coordinator/commands.h"
#include "proto/net/live.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WATCH_S 2

typedef struct view {
    coord_session *session;
    const coord_state *state;
    coord_state *own; /* loaded here, when nothing runs */
    int64_t now_ms;   /* -1: nothing runs */
    nn_plan *plan;
    fl_json *json; /* NULL: words */
} view;

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static fl_json *site_json(const view *v, const coord_site_status *s)
{
    fl_json *j = fl_json_object();
    fl_json_set_text(j, "name", s->site->name);
    fl_json_set_bool(j, "joined", s->member->joined && !s->member->left);
    fl_json_set_bool(j, "revoked", s->site->revoked);
    fl_json_set_bool(j, "in_roster", s->member->in_roster);
    fl_json_set_bool(j, "contributed", s->member->in_roster && s->member->contributed);
    fl_json_set_int(j, "declared_patients", (int64_t)s->member->declared_patients);
    fl_json_set_int(j, "rounds", (int64_t)s->rounds);
    fl_json_set_int(j, "contributions", (int64_t)s->contributions);
    fl_json_set_real(j, "epsilon", s->epsilon);
    fl_json_set_int(j, "ledger_size", (int64_t)s->site->head_size);
    fl_json_set_text(j, "state", s->state);
    if (v->now_ms >= 0 && s->site->seen_ms > 0)
        fl_json_set_int(j, "seen_s_ago", (v->now_ms - s->site->seen_ms) / 1000);
    else
        fl_json_set_null(j, "seen_s_ago");
    return j;
}

static fl_json *names_json(const char *names)
{
    char copy[512];
    fl_json *list = fl_json_array();
    snprintf(copy, sizeof copy, "%s", names);
    for (char *rest = copy, *name; (name = strtok_r(rest, ",", &rest));)
        fl_json_push_text(list, name);
    return list;
}

static fl_json *round_json(const coord_round_status *r)
{
    char hex[2 * FL_HASH_SIZE + 1];
    fl_json *j = fl_json_object();
    fl_json_set_int(j, "round", r->round);
    fl_json_set_int(j, "contributions", r->n_in);
    fl_json_set(j, "in", names_json(r->in));
    fl_json_set(j, "missing", names_json(r->missing));
    fl_hex_encode(hex, r->model.bytes, FL_HASH_SIZE);
    if (r->is_aggregated)
        fl_json_set_text(j, "model", hex);
    else
        fl_json_set_null(j, "model");
    return j;
}

static void study_json(view *v, const coord_study_status *st)
{
    char hex[2 * FL_HASH_SIZE + 1];
    fl_json *j = fl_json_object(), *sites = fl_json_array(), *rounds = fl_json_array();
    fl_hex_encode(hex, st->study->plan_hash.bytes, FL_HASH_SIZE);
    fl_json_set_text(j, "name", st->study->name);
    fl_json_set_text(j, "plan_hash", hex);
    fl_json_set_text(j, "phase", st->phase);
    fl_json_set_int(j, "round", st->study->round);
    fl_json_set_int(j, "rounds", st->study->rounds);
    fl_json_set_int(j, "quorum", st->study->quorum);
    fl_json_set_int(j, "contributions", st->n_in);
    fl_json_set_int(j, "roster", st->n_roster);
    if (st->left_s >= 0)
        fl_json_set_int(j, "seconds_left", st->left_s);
    else
        fl_json_set_null(j, "seconds_left");
    fl_json_set_real(j, "delta", strtod(st->plan->delta, NULL));
    fl_json_set_real(j, "epsilon_of_plan", coord_epsilon(st->plan, st->plan->rounds));
    fl_json_set_null(j, "metrics"); /* hospitals release none yet */
    for (uint32_t i = 0; i < st->n_sites; i++)
        fl_json_push(sites, site_json(v, &st->sites[i]));
    for (uint32_t i = 0; i < st->n_rounds; i++)
        fl_json_push(rounds, round_json(&st->rounds[i]));
    fl_json_set(j, "hospitals", sites);
    fl_json_set(j, "history", rounds);
    fl_json_push(fl_json_member(v->json, "studies"), j);
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static void study_words(const view *v, const coord_study_status *st)
{
    FILE *out = v->session->cli->out;
    fprintf(out, "\nstudy %s: %s, round %u of %u", st->study->name, st->phase, st->study->round, st->study->rounds);
    if (st->study->phase == COORD_OPEN)
        fprintf(out, ", %u of %u hospitals in (quorum %u)", st->n_in, st->n_roster, st->study->quorum);
    if (st->left_s >= 0)
        fprintf(out, ", %" PRId64 " s left", st->left_s);
    fprintf(out, "\n  epsilon of the whole plan %.3f at delta %s\n", coord_epsilon(st->plan, st->plan->rounds),
            st->plan->delta);
    if (st->n_sites)
        fprintf(out, "  %-20s %8s %7s %8s %9s  %s\n", "hospital", "patients", "rounds", "updates", "epsilon", "state");
    for (uint32_t i = 0; i < st->n_sites; i++) {
        const coord_site_status *s = &st->sites[i];
        fprintf(out, "  %-20s %8" PRIu64 " %7" PRIu64 " %8" PRIu64 " %9.3f  %s\n", s->site->name,
                s->member->declared_patients, s->rounds, s->contributions, s->epsilon, s->state);
    }
    const uint32_t from = st->n_rounds > 5 ? st->n_rounds - 5 : 0;
    for (uint32_t i = from; i < st->n_rounds; i++) {
        const coord_round_status *r = &st->rounds[i];
        fprintf(out, "  round %u: %u of %u%s%s%s\n", r->round, r->n_in, r->n_roster, r->missing[0] ? ", without " : "",
                r->missing, r->is_aggregated ? "" : " (open)");
    }
}

static void sites_words(const view *v)
{
    FILE *out = v->session->cli->out;
    const coord_store *s = v->session->store;
    fprintf(out, "coordinator %s, %s port %d, %s\n", s->name, s->host, (int)s->port,
            v->now_ms >= 0 ? "running" : "not running");
    fprintf(out, "%u hospitals enrolled\n", v->state->n_sites);
    for (uint32_t i = 0; i < v->state->n_sites; i++) {
        const coord_site *site = &v->state->sites[i];
        fprintf(out, "  %-20s ", site->name);
        if (site->revoked)
            fprintf(out, "revoked\n");
        else if (v->now_ms < 0)
            fprintf(out, "ledger of %" PRIu64 " entries\n", site->head_size);
        else if (site->seen_ms == 0)
            fprintf(out, "not seen since the start, ledger of %" PRIu64 " entries\n", site->head_size);
        else
            fprintf(out, "seen %" PRId64 " s ago, ledger of %" PRIu64 " entries\n", (v->now_ms - site->seen_ms) / 1000,
                    site->head_size);
    }
}

static void sites_json(view *v)
{
    const coord_store *s = v->session->store;
    fl_json *sites = fl_json_array();
    fl_json_set_text(v->json, "coordinator", s->name);
    fl_json_set_text(v->json, "host", s->host);
    fl_json_set_int(v->json, "port", s->port);
    fl_json_set_bool(v->json, "running", v->now_ms >= 0);
    for (uint32_t i = 0; i < v->state->n_sites; i++) {
        const coord_site *site = &v->state->sites[i];
        fl_json *j = fl_json_object();
        fl_json_set_text(j, "name", site->name);
        fl_json_set_bool(j, "revoked", site->revoked);
        fl_json_set_int(j, "ledger_size", (int64_t)site->head_size);
        if (v->now_ms >= 0 && site->seen_ms > 0)
            fl_json_set_int(j, "seen_s_ago", (v->now_ms - site->seen_ms) / 1000);
        else
            fl_json_set_null(j, "seen_s_ago");
        fl_json_push(sites, j);
    }
    fl_json_set(v->json, "hospitals", sites);
    fl_json_set(v->json, "studies", fl_json_array());
}

/* ---- the command -------------------------------------------------------------------------------------------------- */

static fl_code show_study(view *v, uint32_t study, fl_err *err)
{
    coord_study_status st;
    FL_TRY(coord_session_plan(v->session, v->plan, v->state->studies[study].name, err));
    FL_TRY(coord_study_status_get(&st, v->session->store, v->state, study, v->plan, v->now_ms, err));
    if (v->json)
        study_json(v, &st);
    else
        study_words(v, &st);
    coord_study_status_fini(&st);
    return FL_OK;
}

static fl_code show(view *v, fl_err *err)
{
    const char *only = fl_cli_value(v->session->cli, "study");
    if (only && coord_find_study(v->state, only) == UINT32_MAX)
        return fl_fail(err, FL_ENOTFOUND, "%.63s: no such study: see " COORD_PROGRAM " study list", only);
    if (v->json)
        sites_json(v);
    else
        sites_words(v);
    for (uint32_t i = 0; i < v->state->n_studies; i++)
        if (!only || strcmp(only, v->state->studies[i].name) == 0)
            FL_TRY(show_study(v, i, err));
    return FL_OK;
}

static fl_code work_status(coord_session *s, fl_err *err)
{
    view v = {.session = s, .now_ms = -1, .plan = malloc(sizeof *v.plan)};
    fl_code rc = v.plan ? FL_OK : fl_fail(err, FL_EENV, "status: no memory left");
    if (rc == FL_OK && s->live) {
        v.state = coord_host_state(s->live->host);
        v.now_ms = fl_clock_mono_ms();
    } else if (rc == FL_OK) {
        v.state = v.own = calloc(1, sizeof *v.own);
        rc = v.own ? coord_state_load(v.own, s->store, err) : fl_fail(err, FL_EENV, "status: no memory left");
    }
    if (rc == FL_OK && fl_cli_flag(s->cli, "json"))
        v.json = fl_json_object();
    if (rc == FL_OK)
        rc = show(&v, err);
    if (rc == FL_OK && v.json) {
        fl_buf text;
        fl_buf_init(&text, FL_JSON_MAX);
        fl_json_print(&text, v.json, 2);
        fprintf(s->cli->out, "%s\n", fl_buf_text(&text));
        fl_buf_fini(&text);
    }
    fl_json_free(v.json);
    free(v.own);
    free(v.plan);
    return rc;
}

/* The same command again and again, without --watch: whoever runs the folder answers each time. */
static int watch(fl_cli *cli, const coord_caller *caller)
{
    coord_caller once = {.argv = calloc((size_t)caller->argc + 1, sizeof *once.argv)};
    int exit_code = 3;
    if (!once.argv)
        return exit_code;
    for (int i = 0; i < caller->argc; i++)
        if (strncmp(caller->argv[i], "--w", 3) != 0)
            once.argv[once.argc++] = caller->argv[i];
    const bool is_terminal = cli->out == stdout && isatty(STDOUT_FILENO);
    do {
        if (is_terminal)
            fputs("\033[H\033[2J", cli->out);
        exit_code = fl_cli_run(COORD_PROGRAM, coord_commands, once.argc, once.argv, cli->out, cli->err, &once);
        fflush(cli->out);
    } while (exit_code == 0 && !ferror(cli->out) && nanosleep(&(struct timespec){.tv_sec = WATCH_S}, NULL) == 0);
    free(once.argv);
    return exit_code;
}

int coord_cmd_status(fl_cli *cli)
{
    const coord_caller *caller = cli->user;
    if (fl_cli_flag(cli, "watch") && !caller->live)
        return watch(cli, caller);
    return coord_session_run(cli, work_status);
}
