/* node_run - serves until SIGTERM or SIGINT: the machine, the network, training, the control socket. */
#ifndef NODE_RUN_H
#define NODE_RUN_H

#include "base/err.h"

/* Takes DIR's lock. notify: a file, or a waiting pipe, that gets the line "ready" once commands are answered; may be NULL.
 * Returns the program's exit code; err says why when it is not 0. */
int node_run(const char *dir, const char *notify, fl_err *err);

#endif
