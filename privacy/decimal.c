#include "privacy/decimal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PLACES = 38, MAX_EXPONENT = 99 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* digits * 10 + next, false past 10^19 - 1 (19 digits). */
static bool push_digit(uint64_t *digits, unsigned next)
{
    if (*digits >= 1000000000000000000u)
        return false;
    *digits = *digits * 10 + next;
    return true;
}

/* "e-5": adds to *shift; text stands after the 'e'. */
static bool parse_exponent(int *shift, const char *text)
{
    int sign = 1, value = 0;
    if (*text == '+' || *text == '-')
        sign = *text++ == '-' ? -1 : 1;
    if (!is_digit(*text))
        return false;
    for (; is_digit(*text); text++) {
        value = value * 10 + (*text - '0');
        if (value > MAX_EXPONENT)
            return false;
    }
    *shift += sign * value;
    return *text == 0;
}

bool dp_decimal_parse(dp_decimal *out, const char *text)
{
    uint64_t digits = 0;
    int shift = 0; /* value = digits * 10^shift */
    const char *p = text;
    if (!is_digit(*p) || (p[0] == '0' && is_digit(p[1])))
        return false;
    for (; is_digit(*p); p++) {
        if (!push_digit(&digits, (unsigned)(*p - '0')))
            return false;
    }
    if (*p == '.') {
        p++;
        if (!is_digit(*p))
            return false;
        for (; is_digit(*p); p++) {
            if (shift <= -MAX_EXPONENT || !push_digit(&digits, (unsigned)(*p - '0')))
                return false;
            shift--;
        }
    }
    if (*p == 'e') {
        if (!parse_exponent(&shift, p + 1))
            return false;
    } else if (*p != 0) {
        return false;
    }

    if (digits == 0)
        shift = 0;
    while (shift < 0 && digits % 10 == 0 && digits != 0) {
        digits /= 10;
        shift++;
    }
    for (; shift > 0; shift--) {
        if (!push_digit(&digits, 0))
            return false;
    }
    if (-shift > MAX_PLACES)
        return false;
    out->digits = digits;
    out->places = (unsigned)-shift;
    return true;
}

double dp_decimal_to_double(const dp_decimal *d)
{
    /* no decimal point in the text, so the locale has no say; strtod rounds correctly */
    char text[48];
    snprintf(text, sizeof text, "%" PRIu64 "e-%u", d->digits, d->places);
    return strtod(text, NULL);
}

void dp_decimal_text(char text[DP_DECIMAL_TEXT], const dp_decimal *d)
{
    char digits[64];
    int n = snprintf(digits, sizeof digits, "%0*" PRIu64, (int)d->places + 1, d->digits); /* 39 digits at most */
    int whole = n - (int)d->places;
    if (d->places == 0)
        snprintf(text, DP_DECIMAL_TEXT, "%s", digits);
    else
        snprintf(text, DP_DECIMAL_TEXT, "%.*s.%s", whole, digits, digits + whole);
}

bool dp_decimal_value(double *out, const char *text)
{
    dp_decimal d;
    if (!dp_decimal_parse(&d, text))
        return false;
    *out = dp_decimal_to_double(&d);
    return true;
}
