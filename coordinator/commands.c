#include "coordinator/commands.h"

#include "base/clock.h"
#include "base/json.h"
#include "coordinator/enrol.h"
#include "coordinator/fold.h"
#include "coordinator/run.h"
#include "ledger/identity.h"

#include "train/pretrained.h"
#include "train/server.h"
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STUDY_TEXT_MAX (1u << 16)

static void print_json(fl_cli *cli, fl_json *j)
{
    fl_buf text;
    fl_buf_init(&text, FL_JSON_MAX);
    fl_json_print(&text, j, 2);
    fprintf(cli->out, "%s%s", fl_buf_text(&text), text.size && text.bytes[text.size - 1] == '\n' ? "" : "\n");
    fl_buf_fini(&text);
    fl_json_free(j);
}

/* ---- init, run -------------------------------------------------------------------------------------------------- */

static int cmd_init(fl_cli *cli)
{
    fl_err err = {0};
    fl_hash fingerprint;
    char hex[2 * FL_HASH_SIZE + 1];
    int64_t port = 7443;
    const char *dir = coord_cli_dir(cli), *host = fl_cli_value(cli, "host");
    fl_code rc = strlen(dir) > FL_PATH_MAX - 64 ? fl_fail(&err, FL_EFORMAT, "--dir: too long") : FL_OK;
    if (rc == FL_OK)
        rc = fl_cli_int(cli, "port", &port, 1, 65535, &err);
    if (rc == FL_OK)
        rc = coord_store_make(dir, fl_cli_value(cli, "name"), host, port, &fingerprint, &err);
    if (rc)
        return fl_cli_fail(cli, &err);
    fl_hex_encode(hex, fingerprint.bytes, FL_HASH_SIZE);
    if (fl_cli_flag(cli, "json")) {
        fl_json *j = fl_json_object();
        fl_json_set_text(j, "name", fl_cli_value(cli, "name"));
        fl_json_set_text(j, "host", host);
        fl_json_set_int(j, "port", port);
        fl_json_set_text(j, "fingerprint", hex);
        print_json(cli, j);
        return 0;
    }
    fprintf(cli->out,
            "coordinator %s is in %s and will serve %s, port %d\n"
            "fingerprint of its certificates, for people to compare: %s\n",
            fl_cli_value(cli, "name"), dir, host, (int)port, hex);
    return 0;
}

static int cmd_run(fl_cli *cli)
{
    fl_err err = {0};
    const fl_code rc = coord_run(coord_cli_dir(cli), fl_cli_value(cli, "notify"), &err);
    return rc ? fl_cli_fail(cli, &err) : 0;
}

/* ---- study ------------------------------------------------------------------------------------------------------ */

typedef struct given_study {
    nn_plan plan;
    fl_buf pretrained; /* the file, empty when there is none */
} given_study;

static fl_code read_study(given_study *g, const char *path, fl_err *err)
{
    char copy[FL_PATH_MAX], pretrained[FL_PATH_MAX];
    fl_buf text;
    if (strlen(path) >= sizeof copy)
        return fl_fail(err, FL_EFORMAT, "%.64s...: path too long", path);
    strcpy(copy, path);
    const char *dir = dirname(copy);
    bool is_open = false;
    fl_buf_init(&text, STUDY_TEXT_MAX);
    fl_code rc = fl_file_read(&text, path, err);
    if (rc == FL_OK && memchr(fl_buf_text(&text), 0, text.size))
        rc = fl_fail(err, FL_EFORMAT, "%s: is not a text", path);
    if (rc == FL_OK)
        rc = nn_plan_from_study(&g->plan, fl_buf_text(&text), path, dir, err);
    if (rc == FL_OK && (rc = nn_study_is_open(&is_open, fl_buf_text(&text), path, err)) == FL_OK && is_open)
        rc = fl_fail(err, FL_EREFUSED, "%s: [simulation] privacy = no is for cordon-sim alone", path);
    if (rc == FL_OK)
        rc = nn_study_pretrained(pretrained, fl_buf_text(&text), path, dir, err);
    if (rc == FL_OK && pretrained[0])
        rc = fl_file_read(&g->pretrained, pretrained, err);
    fl_buf_fini(&text);
    return rc;
}

/* What of the pretrained weights fits the model, for people; then they are kept under their hash. */
static fl_code keep_pretrained(coord_session *s, given_study *g, fl_err *err)
{
    nn_server first = {0};
    fl_hash hash;
    fl_buf report;
    if (!g->plan.initial[0])
        return FL_OK;
    fl_buf_init(&report, 1 << 20);
    fl_code rc = nn_server_init(&first, &g->plan, g->pretrained.bytes, g->pretrained.size, &report, err);
    fputs(fl_buf_text(&report), s->cli->out);
    if (rc == FL_OK)
        rc = fl_objects_put(s->store->objects, &hash, g->pretrained.bytes, g->pretrained.size, err);
    nn_server_fini(&first);
    fl_buf_fini(&report);
    return rc == FL_OK ? FL_OK : fl_fail_in(err, "study %s: pretrained", g->plan.name);
}

static void explain(FILE *out, const nn_plan *plan)
{
    fl_buf words;
    fl_buf_init(&words, 1 << 18);
    nn_plan_explain(&words, plan);
    fputs(fl_buf_text(&words), out);
    fl_buf_fini(&words);
}

static fl_code work_add(coord_session *s, fl_err *err)
{
    given_study *g = calloc(1, sizeof *g);
    if (!g)
        return fl_fail(err, FL_EENV, "study: no memory left");
    fl_buf_init(&g->pretrained, NN_PRETRAINED_MAX_BYTES);
    fl_code rc = read_study(g, s->cli->args[0], err);
    if (rc == FL_OK)
        rc = keep_pretrained(s, g, err);
    if (rc == FL_OK)
        rc = coord_study_add(s->store, &g->plan, err);
    if (rc == FL_OK)
        rc = coord_session_changed(s, NULL, err);
    if (rc == FL_OK) {
        explain(s->cli->out, &g->plan);
        fprintf(s->cli->out, "study %s was added\n", g->plan.name);
    }
    fl_buf_fini(&g->pretrained);
    free(g);
    return rc;
}

static int cmd_study_add(fl_cli *cli)
{
    return coord_session_run(cli, work_add);
}

static const char *const phase_names[] = {"gathering", "open", "folding", "done"};

static fl_code work_list(coord_session *s, fl_err *err)
{
    fl_query q;
    const bool json = fl_cli_flag(s->cli, "json");
    fl_json *list = json ? fl_json_array() : NULL;
    fl_code rc = fl_query_open(&q, s->store->db,
                               "SELECT name, phase, paused, closed, round, lower(hex(plan_hash)) FROM study"
                               " ORDER BY idx",
                               err);
    while (rc == FL_OK && fl_query_row(&q)) {
        const bool paused = fl_column_int(&q, 2), closed = fl_column_int(&q, 3);
        const char *phase = closed ? "closed" : paused ? "paused" : phase_names[fl_column_int(&q, 1) & 3];
        if (json) {
            fl_json *j = fl_json_object();
            fl_json_set_text(j, "name", fl_column_text(&q, 0));
            fl_json_set_text(j, "phase", phase);
            fl_json_set_int(j, "round", fl_column_int(&q, 4));
            fl_json_set_text(j, "plan_hash", fl_column_text(&q, 5));
            fl_json_push(list, j);
        } else
            fprintf(s->cli->out, "%-20s %-10s round %-5d plan %s\n", fl_column_text(&q, 0), phase,
                    (int)fl_column_int(&q, 4), fl_column_text(&q, 5));
    }
    if (rc == FL_OK)
        rc = fl_query_close(&q, err);
    if (rc == FL_OK && json)
        print_json(s->cli, list);
    else
        fl_json_free(list);
    return rc;
}

static int cmd_study_list(fl_cli *cli)
{
    return coord_session_run(cli, work_list);
}

static fl_code show_json(coord_session *s, fl_err *err)
{
    fl_buf json;
    fl_json *j = NULL;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    fl_code rc = coord_study_plan(s->store, &json, s->cli->args[0], err);
    if (rc == FL_OK)
        rc = fl_json_parse(&j, fl_buf_text(&json), json.size, "plan", err);
    if (rc == FL_OK)
        print_json(s->cli, j);
    fl_buf_fini(&json);
    return rc;
}

static fl_code work_show(coord_session *s, fl_err *err)
{
    if (fl_cli_flag(s->cli, "json"))
        return show_json(s, err);
    nn_plan *plan = malloc(sizeof *plan);
    if (!plan)
        return fl_fail(err, FL_EENV, "study: no memory left");
    fl_code rc = coord_session_plan(s, plan, s->cli->args[0], err);
    if (rc == FL_OK)
        explain(s->cli->out, plan);
    free(plan);
    return rc;
}

static int cmd_study_show(fl_cli *cli)
{
    return coord_session_run(cli, work_show);
}

static fl_code say_word(coord_session *s, coord_study_word word, const char *done, fl_err *err)
{
    FL_TRY(coord_study_say(s->store, s->cli->args[0], word, err));
    FL_TRY(coord_session_changed(s, NULL, err));
    fprintf(s->cli->out, "study %s is %s\n", s->cli->args[0], done);
    return FL_OK;
}

static fl_code work_pause(coord_session *s, fl_err *err)
{
    return say_word(s, COORD_PAUSE, "paused: no round opens or closes until it is resumed", err);
}

static fl_code work_resume(coord_session *s, fl_err *err)
{
    return say_word(s, COORD_RESUME, "resumed", err);
}

static fl_code work_close(coord_session *s, fl_err *err)
{
    return say_word(s, COORD_CLOSE, "closed for ever; its models stay", err);
}

static int cmd_study_pause(fl_cli *cli)
{
    return coord_session_run(cli, work_pause);
}

static int cmd_study_resume(fl_cli *cli)
{
    return coord_session_run(cli, work_resume);
}

static int cmd_study_close(fl_cli *cli)
{
    return coord_session_run(cli, work_close);
}

/* ---- hospitals -------------------------------------------------------------------------------------------------- */

static fl_code work_invite(coord_session *s, fl_err *err)
{
    char pem[FL_PEM_MAX], hex[2 * FL_HASH_SIZE + 1], until[24];
    fl_cert_info info;
    fl_buf line;
    int64_t valid_s = COORD_INVITATION_DAYS * 86400, expires;
    FL_TRY(fl_cli_int(s->cli, "valid-s", &valid_s, 1, 365 * 86400, err));
    FL_TRY(coord_store_pem(s->store, pem, "ca.crt", err));
    FL_TRY(fl_cert_read(&info, pem, err));
    fl_buf_init(&line, WIRE_INVITATION_MAX);
    fl_code rc = coord_invite(s->store, &line, s->cli->args[0], fl_cli_flag(s->cli, "renew"), fl_clock_wall_s(),
                              valid_s, &expires, err);
    if (rc == FL_OK)
        rc = coord_session_changed(s, NULL, err);
    if (rc == FL_OK) {
        fl_hex_encode(hex, info.fingerprint.bytes, FL_HASH_SIZE);
        fl_clock_text(until, expires);
        fprintf(s->cli->out, "%s\n", fl_buf_text(&line));
        fprintf(s->cli->err,
                "%s: invitation for %s, good for one node, until %s; it holds a secret. Fingerprint to compare: %s\n",
                COORD_PROGRAM, s->cli->args[0], until, hex);
    }
    if (line.bytes)
        fl_wipe(line.bytes, line.size);
    fl_buf_fini(&line);
    return rc;
}

static int cmd_invite(fl_cli *cli)
{
    return coord_session_run(cli, work_invite);
}

static fl_code work_revoke(coord_session *s, fl_err *err)
{
    fl_hash spki;
    FL_TRY(coord_revoke(s->store, &spki, s->cli->args[0], err));
    FL_TRY(coord_session_changed(s, &spki, err));
    fprintf(s->cli->out, "%s is revoked: it cannot connect and no later round counts it\n", s->cli->args[0]);
    return FL_OK;
}

static int cmd_revoke(fl_cli *cli)
{
    return coord_session_run(cli, work_revoke);
}

/* ---- refold, ledger --------------------------------------------------------------------------------------------- */

typedef struct refolding {
    FILE *out;
    fl_json *rounds; /* NULL: words */
} refolding;

static void refolded(void *ctx, uint32_t round, uint32_t n, bool is_same)
{
    refolding *r = ctx;
    if (r->rounds) {
        fl_json *j = fl_json_object();
        fl_json_set_int(j, "round", round);
        fl_json_set_int(j, "contributions", n);
        fl_json_set_bool(j, "same", is_same);
        fl_json_push(r->rounds, j);
    } else
        fprintf(r->out, "round %u: %u contributions: %s\n", round, n, is_same ? "the same model" : "ANOTHER MODEL");
}

static fl_code work_refold(coord_session *s, fl_err *err)
{
    uint32_t n = 0;
    nn_plan *plan = malloc(sizeof *plan);
    if (!plan)
        return fl_fail(err, FL_EENV, "refold: no memory left");
    refolding r = {.out = s->cli->out, .rounds = fl_cli_flag(s->cli, "json") ? fl_json_array() : NULL};
    fl_code rc = coord_session_plan(s, plan, fl_cli_value(s->cli, "study"), err);
    if (rc == FL_OK)
        rc = agg_refold(s->store, plan, refolded, &r, &n, err);
    if (r.rounds && (rc == FL_OK || rc == FL_EREFUSED)) {
        fl_json *j = fl_json_object();
        fl_json_set_text(j, "study", plan->name);
        fl_json_set_bool(j, "same", rc == FL_OK);
        fl_json_set(j, "rounds", r.rounds);
        print_json(s->cli, j);
    } else
        fl_json_free(r.rounds);
    if (rc == FL_OK && !r.rounds)
        fprintf(s->cli->out, "study %s: %u rounds recomputed from their contributions, all the same\n", plan->name, n);
    free(plan);
    return rc;
}

static int cmd_refold(fl_cli *cli)
{
    return coord_session_run(cli, work_refold);
}

static fl_code work_ledger_export(coord_session *s, fl_err *err)
{
    const char *path = fl_cli_value(s->cli, "o");
    FL_TRY(led_export(s->store->ledger, path, err));
    fprintf(s->cli->out, "%s and %s.pub: %llu entries\n", path, path,
            (unsigned long long)led_state(s->store->ledger)->n_entries);
    return FL_OK;
}

static fl_code work_key_rotate(coord_session *s, fl_err *err)
{
    const char *reason = fl_cli_value(s->cli, "reason");
    if (s->live)
        return fl_fail(err, FL_EBUSY, "key rotate: the coordinator runs: stop it first");
    FL_TRY(led_identity_rotate(s->store->ledger, &s->store->key, s->store->dir, reason ? reason : "routine", err));
    fprintf(s->cli->out,
            "%s: the key is new, signed by the old one, which is wiped: %s\n"
            "hospitals follow by themselves; older copies of this folder are of no use now\n",
            s->store->name, led_vkey(s->store->ledger));
    return FL_OK;
}

static int cmd_key_rotate(fl_cli *cli)
{
    return coord_session_run(cli, work_key_rotate);
}

static fl_code work_ledger_close(coord_session *s, fl_err *err)
{
    if (s->live)
        return fl_fail(err, FL_EBUSY, "ledger close: the coordinator runs: stop it first");
    coord_state *state = calloc(1, sizeof *state);
    fl_code rc = state ? coord_state_load(state, s->store, err) : fl_fail(err, FL_EENV, "ledger close: no memory left");
    for (uint32_t i = 0; rc == FL_OK && i < state->n_studies; i++)
        if (state->studies[i].phase != COORD_DONE && !state->studies[i].closed)
            rc = fl_fail(err, FL_EREFUSED, "ledger close: study %s goes on: `study close %s` first",
                         state->studies[i].name, state->studies[i].name);
    free(state);
    if (rc == FL_OK)
        rc = led_finish(s->store->ledger, fl_cli_value(s->cli, "reason"), err);
    if (rc == FL_OK)
        fprintf(s->cli->out, "%s: the ledger is closed: nothing comes after\n", s->store->name);
    return rc;
}

static int cmd_ledger_close(fl_cli *cli)
{
    return coord_session_run(cli, work_ledger_close);
}

static int cmd_ledger_export(fl_cli *cli)
{
    return coord_session_run(cli, work_ledger_export);
}

/* ---- the tables -------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define DIR_OPTION  {"dir", "DIR", "the coordinator's folder (default " COORD_DEFAULT_DIR ")", false}
#define JSON_OPTION {"json", NULL, "one JSON document", false}

static const fl_cli_option init_options[] = {
    DIR_OPTION,
    {"name", "NAME", "of the consortium; never changes", true},
    {"host", "HOST", "name or address that hospitals dial", true},
    {"port", "PORT", "TCP port (default 7443)", false},
    JSON_OPTION, {0}};
static const fl_cli_option dir_options[] = {DIR_OPTION, {0}};
static const fl_cli_option run_options[] = {
    DIR_OPTION, {"notify", "FILE", "gets the line \"ready\" once the coordinator serves", false}, {0}};
static const fl_cli_option read_options[] = {DIR_OPTION, JSON_OPTION, {0}};
static const fl_cli_option invite_options[] = {
    DIR_OPTION, {"valid-s", "SECONDS", "until it expires (default 604800: 7 days)", false},
    {"renew", NULL, "a new certificate for a hospital that is enrolled, for its own node alone", false}, {0}};
static const fl_cli_option status_options[] = {
    DIR_OPTION, {"study", "NAME", "only this study", false},
    {"watch", NULL, "a line for each round, until the study is done", false}, JSON_OPTION, {0}};
static const fl_cli_option refold_options[] = {
    DIR_OPTION, {"study", "NAME", "which study (default: the only one)", false}, JSON_OPTION, {0}};
static const fl_cli_option export_options[] = {
    DIR_OPTION,
    {"study", "NAME", "which study (default: the only one)", false},
    {"round", "N", "the model after round N (default: the newest)", false},
    {"format", "FORMAT", "safetensors, onnx or cordon", true},
    {"o", "FILE", "where to write it; FILE.md is its card", true}, {0}};
static const fl_cli_option rotate_options[] = {DIR_OPTION, {"reason", "CODE", "stands in the ledger: a-z 0-9 . _ - (default routine)", false}, {0}};
static const fl_cli_option close_options[] = {DIR_OPTION, {"reason", "CODE", "stands in the ledger: a-z 0-9 . _ -", true}, {0}};
static const fl_cli_option ledger_options[] = {DIR_OPTION, {"o", "FILE", "where to write it; FILE.pub is the key", true}, {0}};

#define LIVE_COMMANDS                                                                                                  \
    {"study add", "STUDY.ini", "Checks and stores a study; prints the plan in plain words", dir_options, 1, 1, cmd_study_add, NULL}, \
    {"study list", "", "The studies", read_options, 0, 0, cmd_study_list, NULL},                                       \
    {"study show", "NAME", "The plan of a study in plain words", read_options, 1, 1, cmd_study_show, NULL},            \
    {"study pause", "NAME", "Opens and closes no round until resumed", dir_options, 1, 1, cmd_study_pause, NULL},      \
    {"study resume", "NAME", "Goes on", dir_options, 1, 1, cmd_study_resume, NULL},                                    \
    {"study close", "NAME", "Ends a study for ever; its models stay", dir_options, 1, 1, cmd_study_close, NULL},       \
    {"invite", "HOSPITAL", "Prints one line with which a hospital's node enrols", invite_options, 1, 1, cmd_invite, NULL}, \
    {"status", "", "Rounds, hospitals, who is late and why, epsilon", status_options, 0, 0, coord_cmd_status, NULL},   \
    {"revoke", "HOSPITAL", "Shuts a hospital out at once", dir_options, 1, 1, cmd_revoke, NULL},                       \
    {"export", "", "Writes a model, with its card beside it", export_options, 0, 0, coord_cmd_export, NULL},           \
    {"refold", "", "Recomputes every round from its contributions and compares", refold_options, 0, 0, cmd_refold, NULL}, \
    {"key rotate", "", "A new key for messages and ledger, signed by the old one", rotate_options, 0, 0, cmd_key_rotate, NULL}, \
    {"ledger close", "", "Ends the ledger for ever", close_options, 0, 0, cmd_ledger_close, NULL},                     \
    {"ledger export", "", "Writes the ledger and its key, for auditors", ledger_options, 0, 0, cmd_ledger_export, NULL}

const fl_cli_command coord_commands[] = {
    {"init", "", "Makes keys, certificates and an empty database", init_options, 0, 0, cmd_init, NULL},
    {"run", "", "Serves until stopped; resumes whatever was under way", run_options, 0, 0, cmd_run, NULL},
    LIVE_COMMANDS,
    {0}};
const fl_cli_command coord_live_commands[] = {LIVE_COMMANDS, {0}};
/* clang-format on */
