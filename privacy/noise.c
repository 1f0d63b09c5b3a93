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
 * h decides by bounds of exp(-g) in units of 2^-63. With g < 1/16 (g < 1/19.4: m_e < 12.9 S, j < S/256)
 *
 *     1 - g + g^2/2 - g^3/6  <=  exp(-g)  <=  that + g^4/24         g^4/24 <= (g^3/6)/64
 *
 * and the integers g63 in (2^63 g - 2, 2^63 g], q in (2^62 g^2 - 2, 2^62 g^2], c within 2 of 2^63 g^3/6 below:
 *
 *     align     num = j (2 m_e + j) < 2 S2 / 16, shifted as 2 S2 is, into [0, 2^60).
 *     g63       the upper half of num * reciprocal; reciprocal is in (2^127/d - 2, 2^127/d], d = 2 S2 << align >= 2^63:
 *               num * reciprocal / 2^64 is above 2^63 g - 2 num / 2^64 > 2^63 g - 1/8, and rounding takes less than 1.
 *     q         floor(g63^2 / 2^64): g63^2 > 2^126 g^2 - 2^65 g, so above 2^62 g^2 - 2 g - 1.
 *     c         floor(floor(g63 q / 2^64) 2 / 3): g63 q / 2^64 is within 1.1 of 2^61 g^3, so c is within 2 of 2^63 g^3/6.
 *
 * Hence y = 2^63 - g63 + q - c is within 6 of the left side, and the accept test is certain outside [y - 8, y + 8 + c/64].
 * A cell of h is 2^31 of these units, so at most 2 + c/2^37 cells of 2^32 leave a doubt. E[g^3] < 2^-25 (g <= (j/w) |x|/S
 * / 256, about), so E[c/2^37] < 1 and a candidate is in doubt with chance below 2^-30; one at the far end of the table, where
 * g is 1/20, with chance 2^-21.
 */
#include "privacy/noise.h"

#include "privacy/fixed.h"
#include "privacy/noise_table.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

typedef unsigned __int128 u128;

enum { SIGN_BIT = 31, HEAD_BITS = 32, CELL_BITS = 63 - HEAD_BITS };

static inline uint64_t mul_high(uint64_t a, uint64_t b)
{
    return (uint64_t)((u128)a * b >> 64);
}

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

/* The decisions with all their bits. Returns whether the candidate is accepted; *x is the candidate. */
static bool decide_slowly(const dp_noise *t, int64_t *x, uint64_t v, uint64_t u, fl_csprng *r)
{
    uint64_t column = v >> (64 - t->column_bits), place = v << t->column_bits >> t->column_bits, num;
    u128 below = (u128)place << 64 | fl_csprng_u64(r);
    u128 threshold = (u128)t->threshold[column] << 64 | t->threshold_low[column];
    uint64_t size = magnitude(t, below < threshold ? column : t->alias[column], u, &num);
    *x = u >> SIGN_BIT & 1 ? -(int64_t)size : (int64_t)size;
    uint64_t middle = fl_csprng_u64(r), last = fl_csprng_u64(r) >> 32;
    u128 uniform = (u128)(u >> HEAD_BITS) << 96 | (u128)middle << 32 | last;
    if (num == 0)
        return true; /* exp(0) is 1, which 128 bits do not hold */
    dp_fixed odds = dp_fixed_exp_neg(num, 2 * t->s2);
    return odds.limb[4] != 0 || uniform < dp_fixed_floor_128(&odds);
}

/* Examines the n_candidates of words; appends the accepted ones to draws, of which n are there. Returns how many are then
 * there. Each candidate is written, and stays if it was accepted. */
static size_t examine(const dp_noise *t, int64_t *draws, size_t n, const uint64_t *words, size_t n_candidates,
                      fl_csprng *r)
{
    const unsigned column_shift = 64 - t->column_bits;
    for (size_t i = 0; i < n_candidates; i++) {
        uint64_t v = words[2 * i], u = words[2 * i + 1], num;
        uint64_t column = v >> column_shift, place = v << t->column_bits >> t->column_bits;
        uint64_t threshold = t->threshold[column], alias = t->alias[column];
        uint64_t entry = alias ^ ((alias ^ column) & mask_of(place < threshold));
        uint64_t size = magnitude(t, entry, u, &num);

        uint64_t g = mul_high(num << t->align, t->reciprocal);
        uint64_t q = mul_high(g, g), c = mul_high(g, q) * 2 / 3;
        uint64_t y = ((uint64_t)1 << 63) - g + q - c, cell = u >> HEAD_BITS << CELL_BITS;
        bool is_accepted = cell + ((uint64_t)1 << CELL_BITS) <= y - 8;
        bool is_rejected = cell >= y + 8 + (c >> 6);

        uint64_t sign = mask_of(u >> SIGN_BIT & 1);
        int64_t x = (int64_t)((size ^ sign) - sign);
        if (__builtin_expect((place == threshold) | !(is_accepted | is_rejected), 0))
            is_accepted = decide_slowly(t, &x, v, u, r);
        draws[n] = x;
        n += is_accepted;
    }
    return n;
}

void dp_noise_draw(const dp_noise *t, int64_t *out, size_t n, fl_csprng *r, dp_noise_scratch *scratch)
{
    assert(t->threshold != NULL);
    const size_t longest = n < DP_NOISE_BLOCK ? n : DP_NOISE_BLOCK;
    while (n > 0) {
        size_t accepted = 0, block = n < DP_NOISE_BLOCK ? n : DP_NOISE_BLOCK, n_candidates = block + DP_NOISE_SPARE;
        do { /* at most block - 1 + n_candidates of them */
            fl_csprng_bytes(r, scratch->words, 2 * n_candidates * sizeof *scratch->words);
            accepted = examine(t, scratch->draws, accepted, scratch->words, n_candidates, r);
        } while (accepted < block);
        memcpy(out, scratch->draws, block * sizeof *out);
        out += block;
        n -= block;
    }
    fl_wipe(scratch->words, 2 * (longest + DP_NOISE_SPARE) * sizeof *scratch->words);
    fl_wipe(scratch->draws, (2 * longest + DP_NOISE_SPARE) * sizeof *scratch->draws);
}
