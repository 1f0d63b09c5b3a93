/*
 * Exact decimal numbers as text, as plans, policies and ledgers write them.
 *
 *     digits [. digits] [e [+-] digits]        "0.05"  "1.10"  "1e-5"  "8"
 *
 * No sign, no leading zero before another digit, at most 19 significant digits, value 0 or in [1e-38, 1e19).
 */
#ifndef PRIVACY_DECIMAL_H
#define PRIVACY_DECIMAL_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct dp_decimal {
    uint64_t digits; /* value = digits / 10^places */
    unsigned places; /* 0..38; no trailing zero in digits unless places is 0 */
} dp_decimal;

#define DP_DECIMAL_TEXT 64

bool dp_decimal_parse(dp_decimal *out, const char *text);
double dp_decimal_to_double(const dp_decimal *d); /* correctly rounded, whatever the locale */
/* The same number without exponent and without needless zeros: "1e-5" is "0.00001", "1.10" is "1.1". */
void dp_decimal_text(char text[DP_DECIMAL_TEXT], const dp_decimal *d);
/* Text to double in one go; false when it is not a decimal number. */
bool dp_decimal_value(double *out, const char *text);

#endif
