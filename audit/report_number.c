/* Numbers for people. */
#include "audit/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define PRINT(out, ...) snprintf((out).text, sizeof((out).text), __VA_ARGS__)

void report_time(char out[24], const char *t)
{
    snprintf(out, 24, "%.10s %.5s UTC", t, strlen(t) > 11 ? t + 11 : "");
}

report_text report_epsilon(double epsilon)
{
    report_text t;
    int places = epsilon >= 10 ? 2 : epsilon >= 0.01 ? 3 : 6;
    double unit = pow(10, places);
    if (!isfinite(epsilon))
        PRINT(t, "without bound");
    else if (epsilon == 0 || epsilon >= 1000)
        PRINT(t, "%.0f", epsilon == 0 ? 0 : ceil(epsilon - 1e-6));
    else
        PRINT(t, "%.*f", places, ceil(epsilon * unit - 1e-6) / unit); /* a decimal limit stays what it is */
    char *end = strchr(t.text, '.') ? t.text + strlen(t.text) : NULL; /* 8.000 is 8, 2.500 is 2.5 */
    while (end && end[-1] == '0')
        *--end = 0;
    if (end && end[-1] == '.')
        end[-1] = 0;
    return t;
}

report_text report_between(const report_bounds *b)
{
    report_text t;
    if (!b->is_known)
        PRINT(t, "not computed");
    else if (!isfinite(b->high))
        PRINT(t, "without bound");
    else if (b->low < 0)
        PRINT(t, "at most %.4f", ceil(b->high * 1e4) / 1e4);
    else
        PRINT(t, "between %.4f and %.4f", floor(b->low * 1e4) / 1e4, ceil(b->high * 1e4) / 1e4);
    return t;
}

report_text report_count(uint64_t n)
{
    report_text t;
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, n), at = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            t.text[at++] = ',';
        t.text[at++] = digits[i];
    }
    t.text[at] = 0;
    return t;
}

report_text report_delta(double delta)
{
    report_text t;
    int places = 1;
    while (places < 15 && fabs(delta - round(delta * pow(10, places)) / pow(10, places)) > delta * 1e-6)
        places++;
    if (delta >= 1e-18)
        PRINT(t, "%.*f, 1 in %.40s", places, delta, report_count((uint64_t)(1 / delta + 0.5)).text);
    else
        PRINT(t, "%g", delta);
    return t;
}

report_text report_factor(double epsilon)
{
    report_text t;
    double factor = exp(epsilon);
    if (!(factor <= 1e6))
        PRINT(t, "more than a million");
    else if (factor >= 100)
        PRINT(t, "%s", report_count((uint64_t)ceil(factor)).text);
    else
        PRINT(t, "%.*f", factor >= 10 ? 1 : 2, ceil(factor * (factor >= 10 ? 10 : 100)) / (factor >= 10 ? 10 : 100));
    return t;
}

/* TPR <= e^eps FPR + delta in both directions meets TPR = 1 - FPR at (e^eps + delta) / (1 + e^eps); rounded up. */
report_text report_guess(double epsilon, double delta)
{
    report_text t;
    double right = epsilon > 700 ? 1 : (exp(epsilon) + delta) / (1 + exp(epsilon));
    if (right > 0.9999)
        PRINT(t, "more than 99.99 %%");
    else
        PRINT(t, "%.*f %%", right > 0.99 ? 2 : 1, ceil(right * (right > 0.99 ? 1e4 : 1e3)) / (right > 0.99 ? 1e2 : 10));
    return t;
}

report_text report_suspicion(double epsilon)
{
    report_text t;
    double one_in = 1 + 999 / exp(epsilon);
    PRINT(t, "1 in %.*f", one_in < 10 ? 1 : 0, one_in < 10 ? floor(one_in * 10) / 10 : floor(one_in));
    return t;
}

const char *report_plural(uint64_t n, const char *one, const char *many)
{
    return n == 1 ? one : many;
}
