/*
 * Certified bounds on the true epsilon of a schedule of Poisson-subsampled Gaussian steps that was fixed in advance,
 * add or remove one patient: low <= epsilon(delta) <= high, rounding errors included. They describe; the filter
 * (budget.h) decides.
 */
#ifndef PRIVACY_PLD_H
#define PRIVACY_PLD_H

#include "base/err.h"
#include "privacy/rdp.h"

/*
 * segments (n), n >= 1, in any order; equal ones are one. 0 < delta < 1.
 * *low, *high  out; on failure 0 and infinity, which is true too
 *
 * FL_EREFUSED, with the reason: no certified bounds for such a schedule. FL_EENV: no memory. Any thread.
 */
fl_code dp_pld_epsilon(double *low, double *high, const dp_segment *segments, size_t n, double delta,
                       fl_err *err) FL_MUST_USE;

#endif
