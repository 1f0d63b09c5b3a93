#include "train/noised.h"

#include <assert.h>
#include <math.h>

enum { STEPS = 2000 };

typedef struct side {
    double n[NN_NOISED_MAX_BINS], row[NN_NOISED_MAX_BINS]; /* row[i] = sum_j k_ij of the other side */
    double total;
} side;

/* One side's half of V(t). */
static double spread(const side *s, double others, double t, uint32_t bins, double variance)
{
    double sum = 0;
    for (uint32_t i = 0; i < bins; i++) {
        const double r = s->row[i] - t * others;
        sum += (fmax(s->n[i], 0) + variance) * r * r;
    }
    return sum;
}

nn_auroc_interval nn_noised_auroc(const int64_t *positives, const int64_t *negatives, uint32_t bins, double variance)
{
    side a = {.total = 0}, b = {.total = 0};
    double u = 0, low = 2, high = -1, v[3];
    assert(bins >= 1 && bins <= NN_NOISED_MAX_BINS);
    for (uint32_t i = 0; i < bins; i++) {
        a.n[i] = (double)positives[i];
        b.n[i] = (double)negatives[i];
        a.row[i] = b.total + b.n[i] / 2; /* negatives below this bin, half of those in it */
        b.total += b.n[i];
        u += a.n[i] * a.row[i];
    }
    for (uint32_t i = bins; i-- > 0;) { /* positives above it, half of those in it */
        b.row[i] = a.total + a.n[i] / 2;
        a.total += a.n[i];
    }
    for (int k = 0; k < 3; k++) /* V is a parabola: its values at 0, 1/2 and 1 */
        v[k] = spread(&a, b.total, k / 2.0, bins, variance) + spread(&b, a.total, k / 2.0, bins, variance);
    for (int step = 0; step <= STEPS; step++) {
        const double t = (double)step / STEPS, difference = u - t * a.total * b.total;
        const double at_t = v[0] * (1 - t) * (1 - 2 * t) + v[1] * 4 * t * (1 - t) + v[2] * t * (2 * t - 1);
        if (difference * difference <= 1.959964 * 1.959964 * fmax(at_t, 0)) {
            low = fmin(low, t);
            high = fmax(high, t);
        }
    }
    nn_auroc_interval r = {.value = NAN, .low = 0, .high = 1, .positives = a.total, .negatives = b.total};
    const double least = 3 * sqrt(bins * variance);
    r.has_signal = a.total > least && b.total > least && low <= high && high - low < 0.9;
    if (!r.has_signal)
        return r;
    r.value = fmin(fmax(u / (a.total * b.total), 0), 1);
    r.low = fmin(low, r.value);
    r.high = fmax(high, r.value);
    return r;
}
