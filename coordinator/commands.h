/* The subcommands of cordon-coordinator. */
#ifndef COORDINATOR_COMMANDS_H
#define COORDINATOR_COMMANDS_H

#include "coordinator/session.h"

extern const fl_cli_command coord_commands[];      /* main's table: all of them */
extern const fl_cli_command coord_live_commands[]; /* what a running coordinator answers */

int coord_cmd_status(fl_cli *cli); /* status.c */
int coord_cmd_export(fl_cli *cli); /* export.c */

/* Epsilon, by the plan's terms, of a hospital that took part in so many rounds, with noised counts in some of them (its
 * delta is the plan's). */
double coord_epsilon(const nn_plan *plan, uint64_t rounds, uint64_t with_counts);

#endif
