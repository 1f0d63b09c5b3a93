#include "node/commands.h"

#include "ledger/identity.h"
#include "node/commands_parts.h"
#include "node/run.h"
#include "privacy/budget.h"
#include "proto/net/live.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 200

const char *node_dir(const fl_cli *cli)
{
    const char *dir = fl_cli_value(cli, "dir");
    return dir ? dir : NODE_DEFAULT_DIR;
}

int node_print_json(fl_cli *cli, fl_json *j)
{
    fl_buf text;
    fl_buf_init(&text, FL_JSON_MAX);
    fl_json_print(&text, j, 2);
    fprintf(cli->out, "%s\n", fl_buf_text(&text));
    fl_buf_fini(&text);
    fl_json_free(j);
    return 0;
}

/* ---- a command on a folder --------------------------------------------------------------------------------------- */

/* cli->command->context points to one of these. */
typedef struct folder_command {
    node_command run;
    bool may_wait; /* has --wait */
} folder_command;

static int run_session(fl_cli *cli, node_session *s)
{
    const folder_command *c = cli->command->context;
    int code = c->run(cli, s);
    s->state->ledger_size = led_state(s->store->ledger)->n_entries;
    return code;
}

/* In the daemon. */
static int on_live(fl_cli *cli)
{
    struct node_live *live = cli->user;
    node_session s = {.store = live->store, .state = live->state, .is_live = true};
    int code = run_session(cli, &s);
    live->changed |= s.changed;
    return code;
}

/* Nothing runs: this process takes the folder. */
static int on_closed(fl_cli *cli, const char *dir)
{
    fl_err err = {0};
    fl_lock lock = {0};
    node_store store;
    char path[FL_PATH_MAX];
    if (strlen(dir) + 64 >= FL_PATH_MAX)
        (void)fl_fail(&err, FL_EFORMAT, "--dir: is too long");
    else if (!fl_file_exists(fl_path(path, dir, "node.ini")))
        (void)fl_fail(&err, FL_ENOTFOUND, "%s: holds no node: make one with `cordon-node init`", dir);
    else if (fl_lock_take(&lock, dir, &err) == FL_OK && node_store_open(&store, dir, &err) == FL_OK) {
        node_state *state = calloc(1, sizeof *state);
        int code;
        if (!state || node_state_load(state, &store, &err))
            code = fl_cli_fail(cli, state ? &err : &(fl_err){.code = FL_EENV, .text = "out of memory"});
        else
            code = run_session(cli, &(node_session){.store = &store, .state = state});
        free(state);
        node_store_close(&store);
        fl_lock_release(&lock);
        return code;
    }
    fl_lock_release(&lock);
    return fl_cli_fail(cli, &err);
}

static int once(fl_cli *cli, const char *dir, FILE *out, FILE *err)
{
    const node_words *words = cli->user;
    char path[FL_PATH_MAX];
    const bool is_node = strlen(dir) + 64 < FL_PATH_MAX && fl_file_exists(fl_path(path, dir, "node.ini"));
    int code = !is_node ? -1 : wire_live_call(dir, cli->program, words->argc, words->argv, out, err);
    if (code >= 0)
        return code;
    FILE *before[2] = {cli->out, cli->err};
    cli->out = out;
    cli->err = err;
    code = on_closed(cli, dir);
    cli->out = before[0];
    cli->err = before[1];
    return code;
}

/* Asks again while the answer is "not here yet", as long as --wait says. */
static int patiently(fl_cli *cli, const char *dir, int64_t wait_s)
{
    for (int64_t left_ms = wait_s * 1000;; left_ms -= WAIT_MS) {
        char *text[2] = {NULL, NULL};
        size_t n[2] = {0, 0};
        FILE *out = open_memstream(&text[0], &n[0]), *err = open_memstream(&text[1], &n[1]);
        int code = out && err ? once(cli, dir, out, err) : 3;
        if (out)
            fclose(out);
        if (err)
            fclose(err);
        bool again = code == NODE_EXIT_LATER && left_ms > 0;
        if (!again && text[0] && text[1]) {
            fputs(text[0], cli->out);
            fputs(text[1], cli->err);
        }
        free(text[0]);
        free(text[1]);
        if (!again)
            return code == NODE_EXIT_LATER ? fl_exit_code(FL_ENOTFOUND) : code;
        usleep(WAIT_MS * 1000);
    }
}

static int on_folder(fl_cli *cli)
{
    const folder_command *c = cli->command->context;
    int64_t wait_s = 0;
    fl_err err = {0};
    if (c->may_wait && fl_cli_int(cli, "wait", &wait_s, 0, 86400, &err))
        return fl_cli_fail(cli, &err);
    return c->may_wait ? patiently(cli, node_dir(cli), wait_s) : once(cli, node_dir(cli), cli->out, cli->err);
}

/* Image files need no folder; without them it is the folder's data set. */
static int on_files_or_folder(fl_cli *cli)
{
    if (cli->n_args == 0)
        return on_folder(cli);
    if (fl_cli_value(cli, "dir") || fl_cli_value(cli, "dataset"))
        return fl_cli_fail(cli, &(fl_err){.code = FL_EFORMAT, .text = "evaluate: name images, or --dir, not both"});
    return node_evaluate_files(cli);
}

/* ---- commands that need no open store ------------------------------------------------------------------------------ */

static int init_command(fl_cli *cli)
{
    fl_err err = {0};
    const char *dir = node_dir(cli), *name = fl_cli_value(cli, "name");
    if (strlen(dir) + 64 >= FL_PATH_MAX)
        return fl_cli_fail(cli, &(fl_err){.code = FL_EFORMAT, .text = "--dir: is too long"});
    if (node_store_make(dir, name, &err))
        return fl_cli_fail(cli, &err);
    fprintf(cli->out,
            "node %s: made in %s\n"
            "next: type declared_patients and the limits into %s/policy.ini, then `cordon-node enrol`\n",
            name, dir, dir);
    return 0;
}

static int run_command(fl_cli *cli)
{
    fl_err err = {0};
    int code = node_run(node_dir(cli), fl_cli_value(cli, "notify"), &err);
    if (code && err.text[0])
        fprintf(cli->err, "%s: %s\n", cli->program, err.text);
    return code;
}

/* ---- status ------------------------------------------------------------------------------------------------------ */

static const char *const phase_names[] = {"polling",  "fetching",  "training",   "released",
                                          "cosigned", "uploading", "delivering", "halted"};

/* Why nothing happens, or what does: one sentence. */
static void waits_for(char text[480], const node_session *s)
{
    const node_state *st = s->state;
    uint32_t open = 0, over = 0, unapproved = st->n_plans, refused = st->n_plans;
    for (uint32_t i = 0; i < st->n_plans; i++) {
        const node_plan *p = &st->plans[i];
        if (p->readable && !p->approved && !p->left && unapproved == st->n_plans)
            unapproved = i;
        if (p->approved && !p->left) {
            open += p->last_round < p->rounds;
            over += p->last_round >= p->rounds;
            if (p->last_round < p->rounds && p->refused != NODE_R_NONE && p->refused_round >= p->last_round)
                refused = i;
        }
    }
    if (!s->store->enrolled)
        snprintf(text, 480, "not enrolled: ask the consortium for an invitation, then `cordon-node enrol`");
    else if (st->halted != NODE_R_NONE)
        snprintf(text, 480, "halted: %s%s", node_reason_text(st->halted),
                 st->halted == NODE_R_REVOKED
                     ? ""
                     : ": stop the node, see to it that no copy of it runs, and run `cordon-node restore`");
    else if (!s->is_live)
        snprintf(text, 480, "not running: start it with `cordon-node run`");
    else if (st->failures > 0)
        snprintf(text, 480, "the coordinator at %s does not answer (%u tries): `cordon-node doctor` says why",
                 s->store->address, st->failures);
    else if (st->now.phase != NODE_POLLING)
        snprintf(text, 480, "at work on round %u of study %s", st->now.round, st->plans[st->now.plan].study);
    else if (unapproved < st->n_plans)
        snprintf(text, 480, "study %s waits for a person: `cordon-node plan show %s`", st->plans[unapproved].study,
                 st->plans[unapproved].study);
    else if (refused < st->n_plans)
        snprintf(text, 480, "round %u of study %s was refused: %s", st->plans[refused].refused_round,
                 st->plans[refused].study, node_reason_text(st->plans[refused].refused));
    else
        snprintf(text, 480, "%s",
                 open   ? "waits for the next round"
                 : over ? "all rounds are over; waits for another study"
                        : "waits for a study of the consortium");
}

static fl_json *status_json(const node_session *s)
{
    char text[480];
    const node_state *st = s->state;
    fl_json *j = fl_json_object(), *plans = fl_json_array();
    waits_for(text, s);
    fl_json_set_text(j, "hospital", s->store->name);
    fl_json_set_bool(j, "running", s->is_live);
    fl_json_set_bool(j, "enrolled", s->store->enrolled);
    fl_json_set_text(j, "coordinator", s->store->coordinator);
    fl_json_set_text(j, "address", s->store->address);
    fl_json_set_text(j, "phase", phase_names[st->halted ? NODE_HALTED : st->now.phase]);
    fl_json_set_text(j, "why", text);
    fl_json_set_int(j, "ledger_size", (int64_t)st->ledger_size);
    if (st->now.phase != NODE_POLLING && st->now.phase != NODE_HALTED) {
        fl_json_set_text(j, "study", st->plans[st->now.plan].study);
        fl_json_set_int(j, "round", st->now.round);
    }
    for (uint32_t i = 0; i < st->n_plans; i++) {
        const node_plan *p = &st->plans[i];
        char hash[DP_HEX_SIZE];
        fl_json *row = fl_json_object();
        dp_hash_text(hash, &p->hash);
        fl_json_set_text(row, "study", p->study);
        fl_json_set_text(row, "plan_hash", hash);
        fl_json_set_bool(row, "approved", p->approved);
        fl_json_set_bool(row, "joined", p->joined);
        fl_json_set_bool(row, "left", p->left);
        fl_json_set_int(row, "rounds", p->rounds);
        fl_json_set_int(row, "last_round", p->last_round);
        fl_json_set_text(row, "refused", node_reason_text(p->refused));
        fl_json_push(plans, row);
    }
    fl_json_set(j, "plans", plans);
    return j;
}

int node_status_command(fl_cli *cli, node_session *s)
{
    char text[480];
    if (fl_cli_flag(cli, "json"))
        return node_print_json(cli, status_json(s));
    waits_for(text, s);
    fprintf(cli->out, "%s: %s\n", s->store->name, text);
    for (uint32_t i = 0; i < s->state->n_plans; i++) {
        const node_plan *p = &s->state->plans[i];
        fprintf(cli->out, "  study %-24s %s, round %u of %u over\n", p->study,
                p->left       ? "left"
                : p->joined   ? "joined"
                : p->approved ? "approved"
                              : "not approved",
                p->last_round, p->rounds);
    }
    return 0;
}

/* ---- ledger ------------------------------------------------------------------------------------------------------ */

int node_ledger_export_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    const char *path = fl_cli_value(cli, "o");
    if (led_export(s->store->ledger, path, &err))
        return fl_cli_fail(cli, &err);
    fprintf(cli->out, "%s: %llu entries; the key is in %s.pub\n", path,
            (unsigned long long)led_state(s->store->ledger)->n_entries, path);
    return 0;
}

int node_key_rotate_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    const char *reason = fl_cli_value(cli, "reason");
    fl_code rc = s->is_live ? fl_fail(&err, FL_EBUSY, "key rotate: the node runs: stop it first") : FL_OK;
    if (rc == FL_OK)
        rc = led_identity_rotate(s->store->ledger, &s->store->key, s->store->dir, reason ? reason : "routine", &err);
    if (rc)
        return fl_cli_fail(cli, &err);
    fprintf(
        cli->out,
        "%s: the key is new, signed by the old one, which is wiped: %s\n"
        "the coordinator hears of it at the next `cordon-node run`; older copies of this folder are of no use now\n",
        s->store->name, led_vkey(s->store->ledger));
    return 0;
}

/* Nothing may be owed: no study that goes on, no debit without its end. */
static fl_code may_close(const node_session *s, fl_err *err)
{
    if (s->is_live)
        return fl_fail(err, FL_EBUSY, "ledger close: the node runs: stop it first");
    for (uint32_t i = 0; i < s->state->n_plans; i++) {
        const node_plan *p = &s->state->plans[i];
        if (p->approved && !p->left && p->last_round < p->rounds)
            return fl_fail(err, FL_EREFUSED, "ledger close: study %s goes on: `cordon-node leave %s` first", p->study,
                           p->study);
    }
    if (led_state(s->store->ledger)->n_open > 0)
        return fl_fail(err, FL_EREFUSED, "ledger close: a round is under way: `cordon-node run` until it is over");
    return FL_OK;
}

int node_ledger_close_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    if (may_close(s, &err) || led_finish(s->store->ledger, fl_cli_value(cli, "reason"), &err))
        return fl_cli_fail(cli, &err);
    fprintf(cli->out, "%s: the ledger is closed: nothing comes after, and this node trains no more\n", s->store->name);
    return 0;
}

/* ---- the tables --------------------------------------------------------------------------------------------------- */

#define DIR_OPTION                                                                                                     \
    {                                                                                                                  \
        "dir", "DIR", "The node's folder (default " NODE_DEFAULT_DIR ")", false                                        \
    }
#define JSON_OPTION                                                                                                    \
    {                                                                                                                  \
        "json", NULL, "One JSON document on standard output", false                                                    \
    }
#define DATASET_OPTION                                                                                                 \
    {                                                                                                                  \
        "dataset", "NAME", "The data set (default main)", false                                                        \
    }

#define MODEL_OPTION                                                                                                   \
    {                                                                                                                  \
        "model", "FILE", "A model as cordon-coordinator exports it (safetensors)", true                                \
    }
#define ALLOW_OPTION                                                                                                   \
    {                                                                                                                  \
        "allow", "LIST", "Take also images that may hold text: burned_in, ultrasound, capture", false                  \
    }

/* clang-format off */
static const fl_cli_option init_options[] = {
    DIR_OPTION, {"name", "HOSPITAL", "The hospital's name, for ever: 1 to 63 of A-Z a-z 0-9 . _ -", true}, {0}};
static const fl_cli_option enrol_options[] = {
    DIR_OPTION, {"invitation", "LINE|FILE|-", "The consortium's line, a file that holds it, or - for standard input", true},
    {"fingerprint", "F", "Of the consortium's certificate, as they told you: must agree", false}, {0}};
static const fl_cli_option run_options[] = {
    DIR_OPTION, {"notify", "FILE", "Gets the line \"ready\" once the node answers commands", false}, {0}};
static const fl_cli_option add_options[] = {
    DIR_OPTION, DATASET_OPTION, JSON_OPTION,
    {"labels", "FILE", "CSV: file or sop_instance_uid, label, optional patient_id, split (default FOLDER/labels.csv)", false},
    {"one-image-per-patient", NULL, "Each file without a patient is a patient of its own", false}, {0}};
static const fl_cli_option data_options[] = {DIR_OPTION, DATASET_OPTION, JSON_OPTION, {0}};
static const fl_cli_option remove_options[] = {
    DIR_OPTION, DATASET_OPTION, {"patient", "ID", "As in the images or in patient_id", true},
    {"issuer", "TEXT", "IssuerOfPatientID, where the images name one", false}, {0}};
static const fl_cli_option read_options[] = {DIR_OPTION, JSON_OPTION, {0}};
static const fl_cli_option approve_options[] = {
    DIR_OPTION, DATASET_OPTION, {"by", "NAME", "The person who approves; stands in the ledger", true},
    {"wait", "SECONDS", "Wait so long for the plan to arrive", false}, {0}};
static const fl_cli_option budget_options[] = {
    DIR_OPTION, JSON_OPTION, {"study", "NAME", "This study alone", false}, {0}};
static const fl_cli_option export_options[] = {
    DIR_OPTION, {"o", "FILE", "Where the ledger goes; FILE.pub gets the key", true}, {0}};
static const fl_cli_option rotate_options[] = {
    DIR_OPTION, {"reason", "CODE", "Stands in the ledger: a-z 0-9 . _ - (default routine)", false}, {0}};
static const fl_cli_option close_options[] = {
    DIR_OPTION, {"reason", "CODE", "Stands in the ledger: a-z 0-9 . _ -", true}, {0}};
static const fl_cli_option predict_options[] = {
    MODEL_OPTION, JSON_OPTION, {"csv", "FILE", "One row for each file: name, answer, probabilities", false}, ALLOW_OPTION, {0}};
static const fl_cli_option evaluate_options[] = {
    MODEL_OPTION, DIR_OPTION, DATASET_OPTION, JSON_OPTION,
    {"labels", "FILE", "CSV: file or sop_instance_uid, label, optional patient_id, split (default FOLDER/labels.csv)", false},
    {"split", "NAME", "train, val or test: of the data set (default test), or of the labels (default all)", false},
    {"by", "COLUMN", "Also for each part by a column; of a number, in bands: age:18,40,65", false},
    {"against", "FILE", "Another model: is the difference of the areas chance?", false},
    {"specificity", "X", "For the sensitivity at it (default 0.9)", false},
    {"sensitivity", "X", "For the specificity at it (default 0.9)", false}, ALLOW_OPTION, {0}};
static const fl_cli_option explain_options[] = {
    MODEL_OPTION, {"o", "FILE", "The picture, a PNG", true}, JSON_OPTION,
    {"class", "NAME", "What it explains (default: the largest probability)", false},
    {"method", "NAME", "gradcam, occlusion, or auto: Grad-CAM where the model has a map (default)", false},
    {"layer", "NAME", "Whose map (default: the last behind a convolution)", false}, ALLOW_OPTION, {0}};
static const fl_cli_option dir_options[] = {DIR_OPTION, {0}};

static const folder_command
    data_add = {node_data_add_command, false}, data_check = {node_data_check_command, false},
    data_list = {node_data_list_command, false}, data_remove = {node_data_remove_command, false},
    plan_list = {node_plan_list_command, false}, plan_show = {node_plan_show_command, false},
    plan_approve = {node_plan_approve_command, true}, leave = {node_leave_command, false},
    status = {node_status_command, false}, budget = {node_budget_command, false},
    ledger_export = {node_ledger_export_command, false}, key_rotate = {node_key_rotate_command, false},
    ledger_close = {node_ledger_close_command, false}, restore = {node_restore_command, false},
    doctor = {node_doctor_command, false}, evaluate = {node_evaluate_command, false};

#define FOLDER_COMMANDS(how)                                                                                            \
    {"data add", "PATH...", "Take in images, de-identified, with their labels", add_options, 1, -1, how, &data_add},     \
    {"data check", "", "Counts, classes, refused files, quality", data_options, 0, 0, how, &data_check},                 \
    {"data list", "", "The data sets", read_options, 0, 0, how, &data_list},                                             \
    {"data remove", "", "Remove a patient: consent withdrawn", remove_options, 0, 0, how, &data_remove},                 \
    {"plan list", "", "Studies that the consortium proposes", read_options, 0, 0, how, &plan_list},                      \
    {"plan show", "HASH|STUDY", "A plan in plain words, beside the policy", data_options, 1, 1, how, &plan_show},        \
    {"plan approve", "HASH", "Let a plan run", approve_options, 1, 1, how, &plan_approve},                               \
    {"status", "", "What the node does and why it waits", read_options, 0, 0, how, &status},                             \
    {"budget", "", "Spent and left, in epsilon and in rounds", budget_options, 0, 0, how, &budget},                      \
    {"ledger export", "", "The ledger as evidence", export_options, 0, 0, how, &ledger_export},                          \
    {"key rotate", "", "A new key for messages and ledger, signed by the old one", rotate_options, 0, 0, how, &key_rotate}, \
    {"ledger close", "", "Ends the ledger for ever", close_options, 0, 0, how, &ledger_close},                         \
    {"restore", "", "After a backup: charge what the lost lines can have held", dir_options, 0, 0, how, &restore},         \
    {"leave", "STUDY", "Take part no longer", dir_options, 1, 1, how, &leave},                                           \
    {"doctor", "", "What is wrong with this machine, and what to do", read_options, 0, 0, how, &doctor}

#define EVALUATE(how)                                                                                                    \
    {"evaluate", "[IMAGE|FOLDER...]", "What a model is worth, on images or on the data set", evaluate_options, 0, -1, how, &evaluate}

const fl_cli_command node_live_commands[] = {FOLDER_COMMANDS(on_live), EVALUATE(on_live), {0}};

const fl_cli_command node_commands[] = {
    {"init", "", "Make the node's folder: keys, node.ini, policy.ini", init_options, 0, 0, init_command, NULL},
    {"enrol", "", "Join the consortium with an invitation", enrol_options, 0, 0, node_enrol_command, NULL},
    {"run", "", "Take part until stopped", run_options, 0, 0, run_command, NULL},
    FOLDER_COMMANDS(on_folder),
    EVALUATE(on_files_or_folder),
    {"predict", "IMAGE|FOLDER...", "Probabilities of a model for images", predict_options, 1, -1, node_predict_command, NULL},
    {"explain", "IMAGE", "Where a model looks: a heat map over the film", explain_options, 1, 1, node_explain_command, NULL},
    {0}};
/* clang-format on */
