#include "privacy/sample.h"

#include "privacy/decimal.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

fl_code dp_rate_parse(dp_rate *q, const char *decimal, fl_err *err)
{
    dp_decimal d;
    if (!dp_decimal_parse(&d, decimal))
        return fl_fail(err, FL_EFORMAT, "sampling rate \"%.40s\": not a decimal number: write it like 0.05", decimal);
    /* digits < 10^19 < 2^64, so the product fits; 10^38 < 2^127 */
    dp_rate power = 1;
    for (unsigned i = 0; i < d.places; i++)
        power *= 10;
    dp_rate rate = ((dp_rate)d.digits << 64) / power;
    if (d.digits > power || rate == 0)
        return fl_fail(err, FL_EFORMAT, "sampling rate \"%.40s\": must be above 0 and at most 1", decimal);
    *q = rate;
    return FL_OK;
}

void dp_rate_text(char text[DP_RATE_TEXT], dp_rate q)
{
    assert(q >= 1 && q <= DP_RATE_ONE);
    if (q == DP_RATE_ONE)
        snprintf(text, DP_RATE_TEXT, "18446744073709551616");
    else
        snprintf(text, DP_RATE_TEXT, "%llu", (unsigned long long)q);
}

bool dp_rate_from_text(dp_rate *q, const char *text)
{
    dp_rate value = 0;
    if (text[0] < '1' || text[0] > '9')
        return false;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || p - text >= 20)
            return false;
        value = value * 10 + (unsigned)(*p - '0');
    }
    if (value > DP_RATE_ONE)
        return false;
    *q = value;
    return true;
}

double dp_rate_to_double(dp_rate q)
{
    assert(q >= 1 && q <= DP_RATE_ONE);
    if (q == DP_RATE_ONE)
        return 1.0;
    uint64_t units = (uint64_t)q;
    double value = (double)units;
    /* the conversion may have rounded down; value < 2^64 keeps the cast defined */
    if (value < 0x1p64 && (uint64_t)value < units)
        value = nextafter(value, INFINITY);
    return value * 0x1p-64;
}

size_t dp_sample_patients(uint32_t *chosen, uint32_t n_patients, dp_rate q, fl_csprng *r)
{
    assert(q >= 1 && q <= DP_RATE_ONE);
    size_t n = 0;
    for (uint32_t i = 0; i < n_patients; i++) {
        if ((dp_rate)fl_csprng_u64(r) < q)
            chosen[n++] = i;
    }
    return n;
}
