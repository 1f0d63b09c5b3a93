/*
 * fl_log - one line on stderr: time level module event key=value ...
 *
 *     fl_log(FL_INFO, "round", "started round=%u cohort=%u", round, cohort);
 *
 * INFO an operator would like to see once per round; WARN somebody should look today; ERROR work was lost or refused.
 * Any thread. FL_LOG_LEVEL in the environment: debug, info, warn, error.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"

typedef enum fl_level { FL_DEBUG, FL_INFO, FL_WARN, FL_ERROR } fl_level;

void fl_log(fl_level level, const char *module, const char *format, ...) FL_PRINTF(3, 4);
void fl_log_program(const char *name); /* the name at the head of each line */

#endif
