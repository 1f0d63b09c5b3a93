#include "privacy/clip.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

typedef unsigned __int128 u128;

/* Eight running sums, one per index modulo eight, added in a fixed tree: one order whatever the machine. */
static double sqnorm(const float *g, size_t d)
{
    enum { LANES = 8 };
    double sum[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= d; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++)
            sum[lane] += (double)g[i + lane] * (double)g[i + lane];
    }
    for (size_t lane = 0; i < d; i++, lane++)
        sum[lane] += (double)g[i] * (double)g[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static const double shrink[DP_CLIP_ATTEMPTS] = {1.0, 1.0 - 0x1p-20, 1.0 - 0x1p-14, 1.0 - 0x1p-8};

/* The float at or next below s > 0. */
static float round_down(double s)
{
    if (!(s >= FLT_MIN && s <= FLT_MAX))
        return 0;
    const float nearest = (float)s;
    return (double)nearest > s ? nextafterf(nearest, 0) : nearest;
}

float dp_clip_scale_automatic(double squared_norm, uint32_t clip_units, int attempt)
{
    assert(clip_units >= 1 && clip_units <= DP_CLIP_UNITS_MAX && attempt >= 0 && attempt < DP_CLIP_ATTEMPTS);
    if (!isfinite(squared_norm))
        return 0;
    return round_down(clip_units / (sqrt(squared_norm) + DP_CLIP_STABILITY) * shrink[attempt]);
}

bool dp_clip_holds(u128 square, uint32_t clip_units)
{
    return square <= (u128)clip_units * clip_units;
}

float dp_clip_scale(double squared_norm, double clip_norm, uint32_t clip_units, int attempt)
{
    /* The squares of floats are below 2^256, so a sum that is not finite had a value that was not finite. */
    assert(clip_norm > 0 && isfinite(clip_norm) && clip_units >= 1 && clip_units <= DP_CLIP_UNITS_MAX);
    assert(attempt >= 0 && attempt < DP_CLIP_ATTEMPTS);
    if (!isfinite(squared_norm))
        return 0;
    double norm = sqrt(squared_norm);
    return round_down((norm > clip_norm ? clip_units / norm : clip_units / clip_norm) * shrink[attempt]);
}

void dp_clip_piece(int32_t *z, const float *g, size_t n, float scale)
{
    if (!(scale > 0)) {
        memset(z, 0, n * sizeof *z);
        return;
    }
    /* A caller whose norm was not that of g gets a saturated vector, which the check of |z|^2 then refuses. NaN, for
     * which every comparison is false, saturates too. The cast truncates toward zero. */
    const double limit = INT32_MAX;
    for (size_t i = 0; i < n; i++) {
        double value = (double)g[i] * (double)scale; /* exact */
        value = value < limit ? value : limit;
        value = value > -limit ? value : -limit;
        z[i] = (int32_t)value;
    }
}

u128 dp_grid_sqnorm(const int32_t *z, size_t n)
{
    /* Each square is at most 2^62; its halves are summed apart, so 2^32 of them fit in 64 bits. */
    assert(n <= UINT32_MAX);
    uint64_t low = 0, high = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t square = (uint64_t)((int64_t)z[i] * z[i]);
        low += square & UINT32_MAX;
        high += square >> 32;
    }
    return ((u128)high << 32) + low;
}

void dp_clip_to_grid(int32_t *z, const float *g, size_t d, double clip_norm, uint32_t clip_units)
{
    const double squared_norm = sqnorm(g, d);
    for (int attempt = 0; attempt < DP_CLIP_ATTEMPTS; attempt++) {
        dp_clip_piece(z, g, d, dp_clip_scale(squared_norm, clip_norm, clip_units, attempt));
        if (dp_clip_holds(dp_grid_sqnorm(z, d), clip_units))
            return;
    }
    memset(z, 0, d * sizeof *z);
}

void dp_sum_add(int32_t *sum, const int32_t *z, size_t d)
{
    for (size_t i = 0; i < d; i++)
        sum[i] = (int32_t)((uint32_t)sum[i] + (uint32_t)z[i]);
}
