/* Between the files of node/commands*.c and doctor.c. */
#ifndef NODE_COMMANDS_PARTS_H
#define NODE_COMMANDS_PARTS_H

#include "base/json.h"
#include "node/commands.h"
#include "node/policy.h"
#include "train/safetensors.h"

/* What a command works on: the daemon's own, or opened for this one command. */
typedef struct node_session {
    node_store *store;
    node_state *state;
    bool is_live; /* inside the daemon */
    bool changed; /* plans changed: the machine must hear of it */
} node_session;

typedef int (*node_command)(fl_cli *cli, node_session *s);

/* main passes the words that were typed: they travel to a running node as they are. */
typedef struct node_words {
    int argc;
    char **argv;
} node_words;

/* Exit code inside a running node for "not here yet": the caller that was told to wait asks again. */
#define NODE_EXIT_LATER 75

int node_data_add_command(fl_cli *cli, node_session *s);
int node_data_check_command(fl_cli *cli, node_session *s);
int node_data_list_command(fl_cli *cli, node_session *s);
int node_data_remove_command(fl_cli *cli, node_session *s);
int node_plan_list_command(fl_cli *cli, node_session *s);
int node_plan_show_command(fl_cli *cli, node_session *s);
int node_plan_approve_command(fl_cli *cli, node_session *s);
int node_leave_command(fl_cli *cli, node_session *s);
int node_status_command(fl_cli *cli, node_session *s);
int node_budget_command(fl_cli *cli, node_session *s);
int node_ledger_export_command(fl_cli *cli, node_session *s);
int node_restore_command(fl_cli *cli, node_session *s);
int node_ledger_close_command(fl_cli *cli, node_session *s);
int node_key_rotate_command(fl_cli *cli, node_session *s);
int node_doctor_command(fl_cli *cli, node_session *s);
int node_evaluate_command(fl_cli *cli, node_session *s); /* on the data set */

/* These need no folder: a model file and images. */
int node_predict_command(fl_cli *cli);
int node_evaluate_files(fl_cli *cli);
int node_explain_command(fl_cli *cli);
/* Study, plan, round, classes and hash of a model file. */
fl_json *node_model_json(const nn_model_file *f);

/* Opens the folder for one command; the caller holds its lock. */
int node_enrol_command(fl_cli *cli);

/* The folder of the command: --dir, or the default. */
const char *node_dir(const fl_cli *cli);
int node_print_json(fl_cli *cli, fl_json *j); /* frees j; returns 0 */

#endif
