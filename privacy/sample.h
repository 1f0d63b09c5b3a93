/*
 * Poisson sampling of patients: each patient is in a step with probability q, independently of everybody else.
 *
 * q is held as the integer Q = floor(q * 2^64), 1 <= Q <= 2^64, made from the decimal text of the plan without a
 * floating-point number in between; Q = 2^64 takes everybody. A patient is in when a fresh uniform 64-bit number is
 * below Q, so the true rate is exactly Q / 2^64 <= q. The ledger stores Q. No sampling by size or by permutation
 * exists anywhere: those are not what the accountant accounts for.
 */
#ifndef PRIVACY_SAMPLE_H
#define PRIVACY_SAMPLE_H

#include "base/err.h"
#include "crypto/csprng.h"
#include <stdbool.h>

typedef unsigned __int128 dp_rate;

#define DP_RATE_ONE  ((dp_rate)1 << 64)
#define DP_RATE_TEXT 24

/* "0.05", "5e-2", "1": 0 < q <= 1. FL_EFORMAT otherwise, and when q < 2^-64. */
fl_code dp_rate_parse(dp_rate *q, const char *decimal, fl_err *err) FL_MUST_USE;
/* Q as an integer in decimal digits ("922337203685477580"), as the ledger has it, and back. */
void dp_rate_text(char text[DP_RATE_TEXT], dp_rate q);
bool dp_rate_from_text(dp_rate *q, const char *text); /* canonical digits only */
/* Q / 2^64, rounded upward: an accountant's cost grows with q. In (0, 1]. */
double dp_rate_to_double(dp_rate q);

/*
 * Writes the indices of the chosen patients, ascending, and returns how many. chosen has room for n_patients.
 * The number is itself private: it goes nowhere.
 */
size_t dp_sample_patients(uint32_t *chosen, uint32_t n_patients, dp_rate q, fl_csprng *r);

#endif
