/* The subcommands of cordon-coordinator. */
#ifndef COORDINATOR_COMMANDS_H
#define COORDINATOR_COMMANDS_H

#include "coordinator/session.h"

extern const fl_cli_command coord_commands[];      /* main's table: all of them */
extern const fl_cli_command coord_live_commands[]; /* what a running coordinator answers */

int coord_cmd_status(fl_cli *cli); /* status.c */
int coord_cmd_export(fl_cli *cli); /* export.c */

/* Rounds that a hospital took part in, by phase; in some of them noised counts were released. */
typedef struct coord_taken {
    uint64_t rounds[NN_PLAN_MAX_PHASES];
    uint64_t with_counts;
} coord_taken;

void coord_taken_add(coord_taken *t, const nn_plan *plan, uint32_t round);
/* Epsilon of them, by the plan's terms and at its delta. */
double coord_epsilon(const nn_plan *plan, const coord_taken *taken);
double coord_epsilon_of_plan(const nn_plan *plan); /* of all its rounds */

#endif
