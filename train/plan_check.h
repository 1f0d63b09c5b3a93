/* What plan.c (JSON) and study.c (INI) share. Private to train. */
#ifndef TRAIN_PLAN_CHECK_H
#define TRAIN_PLAN_CHECK_H

#include "train/plan.h"

/* Every value in its range and in agreement with the others: names, model and n_weights, noise_variance with
 * noise_multiplier, and the whole schedule within epsilon. Fills rate from sampling_rate. FL_EFORMAT with the member. */
fl_code nn_plan_check(nn_plan *plan, fl_err *err) FL_MUST_USE;
/* hash = SHA-256 of the canonical text */
fl_code nn_plan_seal(nn_plan *plan, fl_err *err) FL_MUST_USE;
bool nn_plan_is_name(const char *text, size_t max); /* 1 to max of [A-Za-z0-9._-] */
bool nn_plan_is_text(const char *text,
                     bool may_break); /* printable ASCII, not empty; may_break: also newline and tab */
uint32_t nn_phase_update_bits(const nn_phase *phase);

#endif
