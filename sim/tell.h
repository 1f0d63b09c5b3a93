/* What a federation is about to run, for the person who typed it: the plan in short, hospitals, what was left out and why. */
#ifndef SIM_TELL_H
#define SIM_TELL_H

#include "sim/hospitals.h"
#include <stdio.h>

void sim_tell(FILE *out, const nn_plan *plan, const sim_hospitals *h);

#endif
