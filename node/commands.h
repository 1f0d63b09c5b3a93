/*
 * The subcommands of cordon-node. Those that touch the folder are written against a node_session, so that the same
 * function runs in the daemon (its store, its state) and alone (the folder's lock taken, the store opened).
 */
#ifndef NODE_COMMANDS_H
#define NODE_COMMANDS_H

#include "base/cli.h"
#include "node/store.h"

#define NODE_PROGRAM     "cordon-node"
#define NODE_DEFAULT_DIR "/var/lib/cordon-node"

/* cli->user inside the daemon. changed: plans or filter changed, the machine wants NODE_EV_POLICY. A command that failed
 * half-way left the state as it was, and the ledger was reloaded. */
struct node_live {
    node_store *store;
    node_state *state;
    bool changed;
};

extern const fl_cli_command node_live_commands[]; /* what a running node answers; ends with a zeroed row */
extern const fl_cli_command node_commands[];      /* main's table: all of them */

#endif
