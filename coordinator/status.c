#include "coordinator/status.h"

#include "base/clock.h"
#include "base/json.h"
#include "coordinator/commands.h"
#include "coordinator/counts.h"
#include "proto/net/live.h"
#include "train/counts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WATCH_MS 500

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
    fl_json_set_bool(j, "epsilon_is_at_least", true); /* rounds that burned unseen are in the hospital's own ledger */
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

static fl_code study_json(view *v, const coord_study_status *st, fl_err *err)
{
    char hex[2 * FL_HASH_SIZE + 1];
    fl_json *metrics = NULL;
    if (st->plan->metrics_every > 0)
        FL_TRY(coord_counts_json(&metrics, v->session->store, st->plan, st->study->round, err));
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
    fl_json_set_real(j, "epsilon_of_plan", coord_epsilon_of_plan(st->plan));
    if (metrics)
        fl_json_set(j, "metrics", metrics);
    else
        fl_json_set_null(j, "metrics");
    for (uint32_t i = 0; i < st->n_sites; i++)
        fl_json_push(sites, site_json(v, &st->sites[i]));
    for (uint32_t i = 0; i < st->n_rounds; i++)
        fl_json_push(rounds, round_json(&st->rounds[i]));
    fl_json_set(j, "hospitals", sites);
    fl_json_set(j, "history", rounds);
    fl_json_push(fl_json_member(v->json, "studies"), j);
    return FL_OK;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static fl_code study_words(const view *v, const coord_study_status *st, fl_err *err)
{
    FILE *out = v->session->cli->out;
    fprintf(out, "\nstudy %s: %s, round %u of %u", st->study->name, st->phase, st->study->round, st->study->rounds);
    if (st->study->phase == COORD_OPEN)
        fprintf(out, ", %u of %u hospitals in (quorum %u)", st->n_in, st->n_roster, st->study->quorum);
    if (st->left_s >= 0)
        fprintf(out, ", %" PRId64 " s left", st->left_s);
    fprintf(out, "\n  epsilon of the whole plan %.3f at delta %s\n", coord_epsilon_of_plan(st->plan), st->plan->delta);
    if (st->n_sites)
        fprintf(out, "  %-20s %8s %7s %8s %9s  %s\n", "hospital", "patients", "rounds", "updates",
                "epsilon>=", "state");
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
    return coord_counts_words(out, v->session->store, st->plan, st->study->round, err);
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
    fl_code rc = v->json ? study_json(v, &st, err) : study_words(v, &st, err);
    coord_study_status_fini(&st);
    return rc;
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

/* A line for each round that was aggregated since *seen. */
static void watch_rounds(FILE *out, const fl_json *study, int64_t *seen)
{
    const fl_json *history = fl_json_member(study, "history");
    int64_t rounds = 0;
    (void)fl_json_int(study, "rounds", &rounds);
    for (size_t i = 0; i < fl_json_count(history); i++) {
        const fl_json *r = fl_json_at(history, i), *missing = fl_json_member(r, "missing");
        int64_t round = 0, n = 0;
        if (!fl_json_int(r, "round", &round) || round <= *seen || !fl_json_text(r, "model"))
            continue;
        *seen = round;
        (void)fl_json_int(r, "contributions", &n);
        fprintf(out, "study %s: round %" PRId64 " of %" PRId64 ": %" PRId64 " hospitals", fl_json_text(study, "name"),
                round, rounds, n);
        for (size_t k = 0; k < fl_json_count(missing); k++)
            fprintf(out, "%s%s", k ? ", " : ", without ", fl_json_text_value(fl_json_at(missing, k)));
        fputs("\n", out);
    }
}

/* One look; *is_over: nothing more will come. */
static int watch_once(fl_cli *cli, coord_caller *once, int64_t seen[COORD_MAX_STUDIES], bool *is_over)
{
    fl_err err = {0};
    fl_json *j = NULL;
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    int exit_code = out ? fl_cli_run(COORD_PROGRAM, coord_commands, once->argc, once->argv, out, cli->err, once) : 3;
    if (out)
        fclose(out);
    if (exit_code == 0 && fl_json_parse(&j, text, n, "status", &err))
        exit_code = fl_cli_fail(cli, &err);
    const fl_json *studies = fl_json_member(j, "studies");
    *is_over = fl_json_count(studies) > 0;
    for (size_t i = 0; i < fl_json_count(studies) && i < COORD_MAX_STUDIES; i++) {
        const fl_json *study = fl_json_at(studies, i);
        const char *phase = fl_json_text(study, "phase");
        const bool is_closed = phase && strcmp(phase, "closed") == 0;
        if (!fl_cli_flag(cli, "json"))
            watch_rounds(cli->out, study, &seen[i]);
        if (is_closed)
            exit_code = fl_cli_fail(
                cli, &(fl_err){.code = FL_EREFUSED, .text = "status: a study was closed before its end"});
        *is_over &= is_closed || (phase && strcmp(phase, "done") == 0);
    }
    if (exit_code == 0 && fl_cli_flag(cli, "json"))
        fwrite(text, 1, n, cli->out);
    fl_json_free(j);
    free(text);
    fflush(cli->out);
    return exit_code;
}

/* The same command again and again, without --watch and as JSON: whoever runs the folder answers each time. */
static int watch(fl_cli *cli, const coord_caller *caller)
{
    static char json[] = "--json";
    int64_t seen[COORD_MAX_STUDIES] = {0};
    coord_caller once = {.argv = calloc((size_t)caller->argc + 2, sizeof *once.argv)};
    int exit_code = 3;
    bool is_over = false;
    if (!once.argv)
        return exit_code;
    for (int i = 0; i < caller->argc; i++)
        if (strncmp(caller->argv[i], "--w", 3) != 0 && strncmp(caller->argv[i], "--j", 3) != 0)
            once.argv[once.argc++] = caller->argv[i];
    once.argv[once.argc++] = json;
    do
        exit_code = watch_once(cli, &once, seen, &is_over);
    while (exit_code == 0 && !is_over && !ferror(cli->out) &&
           nanosleep(&(struct timespec){.tv_nsec = WATCH_MS * 1000000L}, NULL) == 0);
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
