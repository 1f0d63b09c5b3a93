/*
 * Candidates of the discrete Gaussian, 128 random bits each (two words v, u), in a loop whose course does not depend on
 * them.
 *
 *   v  a uniform number V of 128 bits picks the entry e from the alias table: its first column_bits bits the column, the
 *      others below the column's threshold the column's own entry, else the alias. v is the first 64 bits of V. The other
 *      64 are drawn only when v alone does not decide, which is when it ends in the threshold's own digits.
 *   u  bits 0..19: j, the place in the entry, width_bits of them; bit 31: the sign; bits 32..63: h, the first 32 bits of a
 *      uniform number U of 128 bits. The next 96 are drawn only when h does not decide.
 *
 * The fields do not overlap, and what is drawn later is fresh: e, j, sign and U are independent and uniform.
 *
 * The candidate x = sign (m_e + j) is accepted when U < floor(2^128 exp(-g)), g = j (2 m_e + j) / (2 S2), that is
 * rho(m_e + j) / rho(m_e). P(e) P(j) P(sign) P(accept) = W_e / (2 w) exp(-g) / sum W = rho(m_e + j) / sum W: the same
 * proportion for each integer, so what is accepted has the law, and values are independent of how many were rejected.
 * Entry 0 has j = 0, hence g = 0, and no sign: W_0 / sum W = rho(0) / sum W.
 *
 * Of v the column's bits and the DP_NOISE_PLACE_BITS = 48 next ones are looked at first, in one word of the table that also
 * holds the alias: they decide unless they are the threshold's own, which happens once in 2^48.
 *
 * h decides by bounds of exp(-g) in units of 2^-36, from products of 32-bit numbers. With g < 1/16 (g < 1/19.4:
 * m_e < 12.9 S, j < S/256)
 *
 *     1 - g + g^2/2 - g^3/6  <=  exp(-g)  <=  that + g^4/24         g^4/24 <= (g^3/6)/64
 *
 * and the integers g36 in (2^36 g - 7, 2^36 g], q in (2^35 g^2 - 2, 2^35 g^2], c within 2 of 2^36 g^3/6 below:
 *
 *     num       j (2 m_e + j) < 2 S2 / 16; shifted left by align, as d = 2 S2 << align in [2^63, 2^64) is, it is below 2^60.
 *               n32 = floor of that / 2^28, above num 2^align / 2^28 - 1 and below 2^32.
 *     g36       floor(n32 * reciprocal / 2^31); reciprocal is in (2^95/d - 2, 2^95/d], below 2^32. The product of the
 *               factors without their errors is 2^67 g; the errors take less than 2 * 2^32 + 2^95/d <= 3 * 2^32 from it, 6 units
 *               after the division, and rounding less than 1.
 *     q         floor(g36^2 / 2^37): g36^2 > 2^72 g^2 - 14 * 2^36 g, so above 2^35 g^2 - 7 g - 1, and g < 1/16.
 *     c         floor(floor(q g36 / 2^36) / 3): q g36 / 2^36 is above (2^35 g^2 - 2) (g - 7/2^36) > 2^35 g^3 - 0.2, so the inner
 *               floor is within 1.2 of 2^35 g^3, and c within 1.2/3 + 2/3 of 2^36 g^3/6. A third of a number below
 *               2^31 is the upper half of its product with floor(2^32/3) + 1.
 *
 * Hence y = 2^36 - g36 + q - c is less than 2 below the left side and less than 9 above it, and the accept test is certain
 * outside [y - 9, y + 9 + c/64]. A cell of h is 2^4 of these units, so at most 18/16 + c/2^10 + 1 cells of 2^32 leave a doubt.
 * E[g^3] < 2^-25 (g <= (j/w) |x|/S / 256, about), so E[c/2^10] < 1 and a candidate is in doubt with chance below 2^-30; one
 * at the far end of the table, where g is 1/20, with chance 2^-21.
 */
#include "privacy/noise.h"

#include "privacy/fixed.h"
#include "privacy/noise_examine.h"

#include <assert.h>
#include <string.h>

typedef unsigned __int128 u128;

/* All ones when the condition holds. */
static inline uint64_t mask_of(bool condition)
{
    return -(uint64_t)condition;
}

/* Magnitude of the candidate of entry e with place bits u; *num is j (2 m_e + j). */
static inline uint64_t magnitude(const dp_noise *t, uint64_t e, uint64_t u, uint64_t *num)
{
    uint64_t present = mask_of(e != 0), j = u & (((uint64_t)1 << t->width_bits) - 1) & present;
    uint64_t first = (((e - 1) << t->width_bits) + 1) & present; /* at most 2^13 2^20 */
    *num = j * (2 * first + j);                                  /* below 2^20 2^34.1 */
    return first + j;
}

bool dp_noise_decide(const dp_noise *t, int64_t *x, uint64_t v, uint64_t u, fl_csprng *r)
{
    uint64_t column = v >> (64 - t->column_bits), place = v << t->column_bits >> t->column_bits, num;
    u128 below = (u128)place << 64 | fl_csprng_u64(r);
    u128 threshold = (u128)t->threshold[column] << 64 | t->threshold_low[column];
    uint64_t size = magnitude(t, below < threshold ? column : t->alias[column], u, &num);
    *x = u >> DP_NOISE_SIGN_BIT & 1 ? -(int64_t)size : (int64_t)size;
    uint64_t middle = fl_csprng_u64(r), last = fl_csprng_u64(r) >> 32;
    u128 uniform = (u128)(u >> DP_NOISE_HEAD_BITS) << 96 | (u128)middle << 32 | last;
    if (num == 0)
        return true; /* exp(0) is 1, which 128 bits do not hold */
    dp_fixed odds = dp_fixed_exp_neg(num, 2 * t->s2);
    return odds.limb[4] != 0 || uniform < dp_fixed_floor_128(&odds);
}

/* Each candidate is written, and stays if it was accepted. */
size_t dp_noise_examine(const dp_noise *t, int64_t *draws, size_t n, const uint64_t *words, size_t n_candidates,
                        fl_csprng *r)
{
    const unsigned column_shift = 64 - t->column_bits, place_shift = DP_NOISE_ALIAS_BITS - t->column_bits;
    const uint64_t place_mask = ((uint64_t)1 << DP_NOISE_PLACE_BITS) - 1;
    for (size_t i = 0; i < n_candidates; i++) {
        uint64_t v = words[2 * i], u = words[2 * i + 1], num;
        uint64_t column = v >> column_shift, place = v >> place_shift & place_mask;
        uint64_t threshold = t->columns[column] >> DP_NOISE_ALIAS_BITS, alias = (uint16_t)t->columns[column];
        uint64_t entry = alias ^ ((alias ^ column) & mask_of(place < threshold));
        uint64_t size = magnitude(t, entry, u, &num);

        uint64_t n32 = (uint32_t)(num << t->turn | num >> (-t->turn & 63));
        uint64_t g = n32 * t->reciprocal >> 31, q = g * g >> 37, c = (q * g >> 36) * DP_NOISE_THIRD >> 32;
        uint64_t y = ((uint64_t)1 << 36) - g + q - c, cell = u >> DP_NOISE_HEAD_BITS << 4;
        bool is_accepted = cell + 16 + DP_NOISE_MARGIN <= y;
        bool is_rejected = cell >= y + DP_NOISE_MARGIN + (c >> 6);

        uint64_t sign = mask_of(u >> DP_NOISE_SIGN_BIT & 1);
        int64_t x = (int64_t)((size ^ sign) - sign);
        if (__builtin_expect((place == threshold) | !(is_accepted | is_rejected), 0))
            is_accepted = dp_noise_decide(t, &x, v, u, r);
        draws[n] = x;
        n += is_accepted;
    }
    return n;
}

bool dp_noise_has_avx512(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f");
#else
    return false;
#endif
}

dp_noise_loop *dp_noise_loop_chosen(void)
{
#if defined(__x86_64__)
    if (dp_noise_has_avx512())
        return dp_noise_examine_avx512;
#endif
    return dp_noise_examine;
}

void dp_noise_draw(const dp_noise *t, int64_t *out, size_t n, fl_csprng *r, dp_noise_scratch *scratch)
{
    assert(t->threshold != NULL);
    const size_t longest = n < DP_NOISE_BLOCK ? n : DP_NOISE_BLOCK;
    while (n > 0) {
        size_t accepted = 0, block = n < DP_NOISE_BLOCK ? n : DP_NOISE_BLOCK, n_candidates = block + DP_NOISE_SPARE;
        /* In place where the next blocks overwrite what is too much. */
        int64_t *draws = n - block >= n_candidates + DP_NOISE_BEYOND ? out : scratch->draws;
        do { /* at most block - 1 + n_candidates of them */
            fl_csprng_bytes(r, scratch->words, 2 * n_candidates * sizeof *scratch->words);
            accepted = t->examine(t, draws, accepted, scratch->words, n_candidates, r);
        } while (accepted < block);
        if (draws != out)
            memcpy(out, draws, block * sizeof *out);
        out += block;
        n -= block;
    }
    fl_wipe(scratch->words, 2 * (longest + DP_NOISE_SPARE) * sizeof *scratch->words);
    fl_wipe(scratch->draws, (2 * longest + DP_NOISE_SPARE + DP_NOISE_BEYOND) * sizeof *scratch->draws);
}
