/*
 * dp_clip_to_grid - one patient's gradient becomes an integer vector of L2 norm at most R.
 *
 *     gamma = C / R          z = trunc(g * min(1, C / |g|) / gamma)          toward zero        (design section 4)
 *
 * z  (d)  out, grid units          g  (d)  the patient's mean gradient          C  clip_norm > 0, in the units of g
 * R  clip_units, 1 .. 2^30; wants R >= 64 sqrt(d), else truncation eats the signal
 *
 * |g| is a sum of squares in double, in a fixed order (index modulo eight, then a tree); the factor s of g is a float,
 * rounded down, so that a product g s is exact in double and truncation is the only rounding: z is a function of g, C and
 * R alone, whatever computes it.
 * Guarantee: |z|^2 <= R^2, checked in 128-bit integers. Should rounding break it, the scale is reduced and the vector
 * made again, three times at most, then z = 0. A value that is NaN or infinite makes z = 0: silently, because what
 * happens to one patient's gradient may be seen nowhere. Any thread.
 */
#ifndef PRIVACY_CLIP_H
#define PRIVACY_CLIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_CLIP_UNITS_MAX (1u << 30)

void dp_clip_to_grid(int32_t *z, const float *g, size_t d, double clip_norm, uint32_t clip_units);

/*
 * For trainers that never hold a whole gradient: the factor s of min(1, C/|g|)/gamma for a squared norm that was summed
 * elsewhere (0 when s is not finite or no normal float), and the truncation of one piece. The pieces together must be checked
 * with dp_grid_sqnorm by the caller: |z|^2 <= R^2, else the next attempt (1, 2, 3), else zero.
 */
#define DP_CLIP_ATTEMPTS 4
float dp_clip_scale(double sqnorm, double clip_norm, uint32_t clip_units, int attempt /* 0..3 */);
/* Automatic clipping, the factor of C / (|g| + 0.01) / gamma = R / (|g| + 0.01): every gradient comes out almost R long,
 * none longer (Bu, Wang, Zha, Karypis 2023, AUTO-S, eq. 4). 0 when the norm is not finite. */
#define DP_CLIP_STABILITY 0.01
float dp_clip_scale_automatic(double sqnorm, uint32_t clip_units, int attempt);
/* |z|^2 <= R^2, exactly. */
bool dp_clip_holds(unsigned __int128 square, uint32_t clip_units);
void dp_clip_piece(int32_t *z, const float *g, size_t n, float scale); /* scale 0 gives zeros */
unsigned __int128 dp_grid_sqnorm(const int32_t *z, size_t n);

/*
 * sum += z modulo 2^32: order and threads do not matter, and what was added by mistake can be taken out to the bit. No value
 * of a z that was checked is beyond R, so the sum of dp_sum_patients(R) of them is exact; then it goes on as int64
 * (dp_noised_add_part).
 */
void dp_sum_add(int32_t *sum, const int32_t *z, size_t d);
static inline uint32_t dp_sum_patients(uint32_t clip_units) /* at least 1 */
{
    return INT32_MAX / clip_units;
}

#endif
