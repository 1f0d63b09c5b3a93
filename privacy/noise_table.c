/*
 * The table of noise.h: which entry a candidate belongs to.
 *
 * Magnitudes are cut into entries: entry 0 is the value 0, entry e >= 1 the w magnitudes from m_e = (e-1) w + 1 on, each
 * with both signs. An entry's weight is what it would be if all of it were as likely as its likeliest magnitude, m_e:
 *
 *     W_0 = 1        W_e = 2 w rho(m_e)        rho(m) = exp(-m^2 / (2 S2))
 *
 * so that a candidate m_e + j accepted with probability rho(m_e + j) / rho(m_e) has the right law (noise.c). With S between
 * 2^L and 2^(L+1), w = 2^(L-8), at least 1: S/w < 512 always, and S/w >= 256 where w > 1. With w = 1 nothing is rejected.
 *
 * The masses are p_e = round(2^128 W_e / sum W), and p_1, the largest, takes what is missing to 2^128. Entries end where
 * p_e is 0. Weights are computed with 256 bits after the point, divided by 2 w:
 *
 *     rho(m_1) = exp(-1 / (2 S2))            rho(m_{e+1}) = rho(m_e) t_e
 *     t_1 = exp(-(2 w + w^2) / (2 S2))       t_{e+1} = t_e c        c = exp(-w^2 / S2)
 *
 * Error. The three exponentials are within 2^9 ulp (dp_fixed_exp_neg). Every factor is at most 1, so an error is carried on
 * at most undiminished: t_e is within 2^9 + e (2^9 + 1) < 2^23 ulp for e <= 2^13, rho(m_e) within
 * 2^9 + e (2^23 + 1) < 2^37 ulp: 2^-219. The sum of the weights is at least 1 (in units of 2 w, S2 = 1: 1.1) and off
 * by at most 2^13 2^-219 + what lies beyond rho < 2^-180, together < 2^-170. So 2^128 W_e / sum W is known to 2^-40, and
 * p_e is within 1/2 + 2^-40 of it: one unit of 2^-128 for each entry, the share of p_1 included.
 */
#include "privacy/noise_table.h"

#include "privacy/fixed.h"
#include "privacy/noise_examine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 u128;

enum { ENTRIES_MAX = 1 << 13, TINY_BIT = 12 };

/* rho(m_e) for e = 1, 2, .. */
typedef struct walk {
    dp_fixed rho, t, c;
} walk;

static walk walk_begin(uint64_t s2, unsigned width_bits)
{
    uint64_t w = (uint64_t)1 << width_bits, den = 2 * s2;
    return (walk){.rho = dp_fixed_exp_neg(1, den),
                  .t = dp_fixed_exp_neg(2 * w + w * w, den),
                  .c = dp_fixed_exp_neg(2 * w * w, den)};
}

static void walk_on(walk *k)
{
    k->rho = dp_fixed_mul(k->rho, k->t);
    k->t = dp_fixed_mul(k->t, k->c);
}

/* rho < 2^-180 */
static bool is_tiny(const dp_fixed *rho)
{
    return rho->limb[4] == 0 && rho->limb[3] == 0 && rho->limb[2] == 0 && rho->limb[1] >> TINY_BIT == 0;
}

static dp_fixed sum_of_weights(uint64_t s2, unsigned width_bits)
{
    dp_fixed sum = dp_fixed_power(-1 - (int)width_bits); /* W_0 / (2 w) */
    walk k = walk_begin(s2, width_bits);
    unsigned n = 0;
    while (!is_tiny(&k.rho)) {
        sum = dp_fixed_add(sum, k.rho);
        walk_on(&k);
        assert(++n <= ENTRIES_MAX);
    }
    return sum;
}

static unsigned floor_log2(uint64_t x)
{
    return 63 - (unsigned)__builtin_clzll(x);
}

unsigned dp_noise_width_bits(uint64_t s2)
{
    unsigned log2_s = floor_log2(s2) / 2; /* of floor(S) */
    return log2_s > 8 ? log2_s - 8 : 0;
}

uint32_t dp_noise_masses(u128 *mass, uint64_t s2)
{
    unsigned width_bits = dp_noise_width_bits(s2);
    dp_fixed inverse = dp_fixed_inverse(sum_of_weights(s2, width_bits));
    dp_fixed zero = dp_fixed_mul(dp_fixed_power(-1 - (int)width_bits), inverse);
    walk k = walk_begin(s2, width_bits);
    u128 rest = -(mass[0] = dp_fixed_round_128(&zero)); /* of 2^128 */
    uint32_t n = 1;
    for (;;) {
        dp_fixed share = dp_fixed_mul(k.rho, inverse);
        u128 p = dp_fixed_round_128(&share);
        if (p == 0)
            break;
        assert(n < ENTRIES_MAX);
        mass[n++] = p;
        rest -= p;
        walk_on(&k);
    }
    mass[1] += rest; /* a small number, modulo 2^128 perhaps negative */
    return n;
}

/*
 * Walker's alias table (Vose 1991) in integers: 2^column_bits columns of the same size hold all the mass, each that of its
 * own entry up to the threshold and of one other entry, the alias, beyond. Nothing is rounded.
 */
static void fill_columns(dp_noise *t, u128 *mass, uint16_t *small, uint16_t *large)
{
    const uint32_t n = (uint32_t)1 << t->column_bits;
    const u128 size = (u128)1 << (128 - t->column_bits);
    uint32_t n_small = 0, n_large = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (mass[i] < size)
            small[n_small++] = (uint16_t)i;
        else
            large[n_large++] = (uint16_t)i;
    }
    while (n_small > 0 && n_large > 0) {
        uint16_t column = small[--n_small], from = large[n_large - 1];
        t->threshold[column] = (uint64_t)(mass[column] >> 64);
        t->threshold_low[column] = (uint64_t)mass[column];
        t->alias[column] = from;
        mass[from] -= size - mass[column];
        if (mass[from] < size) {
            n_large--;
            small[n_small++] = from;
        }
    }
    assert(n_small == 0); /* the masses fill the columns exactly, so what is left is full */
    while (n_large > 0) {
        uint16_t column = large[--n_large];
        assert(mass[column] == size);
        t->threshold[column] = (uint64_t)(size >> 64);
        t->threshold_low[column] = (uint64_t)size;
        t->alias[column] = column;
    }
}

/* A full column, whose threshold has one bit more, has itself as alias: what a place is compared with does not matter. */
static void join_columns(dp_noise *t)
{
    const uint64_t most = ((uint64_t)1 << DP_NOISE_PLACE_BITS) - 1;
    for (size_t i = 0; i < (size_t)1 << t->column_bits; i++) {
        const uint64_t threshold = t->threshold[i] >> (DP_NOISE_ALIAS_BITS - t->column_bits);
        t->columns[i] = (threshold < most ? threshold : most) << DP_NOISE_ALIAS_BITS | t->alias[i];
    }
}

fl_code dp_noise_init(dp_noise *t, uint64_t s2, fl_err *err)
{
    assert(s2 >= 1 && s2 <= DP_NOISE_VARIANCE_MAX);
    *t = (dp_noise){.s2 = s2, .width_bits = dp_noise_width_bits(s2), .align = 62 - floor_log2(s2)};
    t->turn = (t->align - 28) & 63;
    t->reciprocal = (uint64_t)((((u128)1 << 127) - 1) / ((u128)(2 * s2) << t->align)) >> 32;
    t->examine = dp_noise_loop_chosen();
    u128 *mass = calloc(ENTRIES_MAX, sizeof *mass);
    uint16_t *lists = calloc(2 * ENTRIES_MAX, sizeof *lists);
    if (mass && lists) {
        t->n_entries = dp_noise_masses(mass, s2);
        t->column_bits = floor_log2(t->n_entries - 1) + 1;
        size_t n = (size_t)1 << t->column_bits;
        t->threshold = calloc(n, sizeof *t->threshold);
        t->threshold_low = calloc(n, sizeof *t->threshold_low);
        t->alias = calloc(n, sizeof *t->alias);
        t->columns = calloc(n, sizeof *t->columns);
    }
    bool ok = t->threshold && t->threshold_low && t->alias && t->columns;
    if (ok) {
        fill_columns(t, mass, lists, lists + ENTRIES_MAX);
        join_columns(t);
    } else {
        dp_noise_fini(t);
    }
    free(mass);
    free(lists);
    return ok ? FL_OK : fl_fail(err, FL_EENV, "noise: no memory left for its table");
}

void dp_noise_fini(dp_noise *t)
{
    if (!t)
        return;
    free(t->threshold);
    free(t->threshold_low);
    free(t->alias);
    free(t->columns);
    *t = (dp_noise){0};
}
