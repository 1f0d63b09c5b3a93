#include "privacy/noise.h"

#include "privacy/noise_exact.h"

#include <assert.h>
#include <stdbool.h>

typedef unsigned __int128 u128;

/*
 * Bounds. S2 <= 2^56, t = floor(sqrt(S2)) + 1 <= 2^28 + 1, and V < MAX_V = 200 whole steps of the Laplace proposal.
 *
 *     |Y| = U + t V < t (V + 1) <= 200 t < 2^36                  fits int64
 *     |Y| t < 200 t^2 < 2^7.65 * 2^56.01 < 2^63.7                fits uint64
 *     a = | |Y| t - S2 | <= max of the two                       a^2 < 2^127.4 fits u128
 *     den = 2 S2 t^2 <= 2^57 * 2^56.01 < 2^113.1                 fits u128, and 2 den does
 *
 * A proposal with V >= 200 is rejected without looking further. Algorithm 3 would accept it with probability
 * exp(-(|Y| - S2/t)^2 / (2 S2)) < exp(-199^2 / 2), because S2 < t^2: the law changes by less than 2^-28000.
 */
enum { MAX_V = 200 };

static inline unsigned next_byte(dp_bits *b)
{
    if (b->used == sizeof b->bytes) {
        fl_csprng_bytes(b->r, b->bytes, sizeof b->bytes);
        b->used = 0;
    }
    return b->bytes[b->used++];
}

/* Uniform on 0..n-1 by rejection, n <= 2^32. */
static uint32_t uniform_below(dp_bits *b, uint32_t n)
{
    uint32_t mask = n - 1;
    mask |= mask >> 1;
    mask |= mask >> 2;
    mask |= mask >> 4;
    mask |= mask >> 8;
    mask |= mask >> 16;
    for (;;) {
        uint32_t value = next_byte(b);
        for (uint32_t rest = mask >> 8; rest != 0; rest >>= 8)
            value = value << 8 | next_byte(b);
        value &= mask;
        if (value < n)
            return value;
    }
}

dp_denominator dp_denominator_of(u128 den)
{
    dp_denominator d = {.den = den, .shift = 0};
    while (den >> d.shift >= (u128)1 << 54)
        d.shift++;
    d.lead = (uint64_t)(den >> d.shift);
    return d;
}

/* The comparison of a uniform real with num/den when its first eight bits (head) do not decide: long division in base
 * two, as many fresh bits as it takes. Invariant: rest <= den, so 2 rest fits. */
static bool ratio_slowly(dp_bits *b, u128 num, u128 den, unsigned head)
{
    u128 rest = num;
    unsigned fresh = 0, n_bits = 8, bits = head;
    for (;;) {
        if (n_bits == 0) {
            fresh = next_byte(b);
            bits = fresh;
            n_bits = 8;
        }
        n_bits--;
        unsigned uniform_bit = bits >> n_bits & 1;
        rest <<= 1;
        unsigned ratio_bit = rest >= den;
        if (ratio_bit)
            rest -= den;
        if (uniform_bit != ratio_bit)
            return uniform_bit < ratio_bit;
    }
}

/*
 * True with probability num/den exactly, num <= den. A uniform real U is drawn eight bits at a time, and U < num/den is
 * decided as soon as it can be. With w the first byte, U lies in [w, w+1) / 256; with the leads, num/den lies between
 * num_lead / (lead + slack) and (num_lead + slack) / lead, slack = 0 when nothing was cut off.
 */
bool dp_bernoulli_ratio(dp_bits *b, u128 num, const dp_denominator *d)
{
    unsigned w = next_byte(b);
    uint64_t num_lead = (uint64_t)(num >> d->shift), slack = d->shift > 0;
    if ((w + 1) * (d->lead + slack) <= num_lead << 8)
        return true;
    if (w * d->lead >= (num_lead + slack) << 8)
        return false;
    return ratio_slowly(b, num, d->den, w);
}

/* True with probability 1/k. */
static bool bernoulli_one_in(dp_bits *b, uint32_t k)
{
    if (k == 1)
        return true;
    if (k == 2)
        return next_byte(b) & 1;
    return uniform_below(b, k) == 0;
}

/* Algorithm 1 for gamma = num/den in [0, 1]: Bernoulli(exp(-gamma)). The paper's Bernoulli(gamma / K) is drawn as
 * Bernoulli(1 / K) and Bernoulli(gamma), independent: the same law without a denominator that grows. */
static bool bernoulli_exp_fraction(dp_bits *b, u128 num, const dp_denominator *d)
{
    uint32_t k = 1;
    while (bernoulli_one_in(b, k) && dp_bernoulli_ratio(b, num, d))
        k++;
    return k & 1;
}

/* Bernoulli(exp(-1)): the same with gamma = 1. */
static bool bernoulli_exp_one(dp_bits *b)
{
    uint32_t k = 1;
    while (bernoulli_one_in(b, k))
        k++;
    return k & 1;
}

/* Algorithm 1 for any gamma = num/den. */
bool dp_bernoulli_exp(dp_bits *b, u128 num, const dp_denominator *d)
{
    while (num > d->den) {
        if (!bernoulli_exp_one(b))
            return false;
        num -= d->den;
    }
    return bernoulli_exp_fraction(b, num, d);
}

/* Algorithm 2 with scale t/1: the size of a discrete Laplace, sign apart. False: rejected (MAX_V). */
static bool laplace_size(dp_bits *b, uint64_t *size, const dp_denominator *t)
{
    uint32_t u;
    do {
        u = uniform_below(b, (uint32_t)t->den);
    } while (!bernoulli_exp_fraction(b, u, t));
    uint64_t v = 0;
    while (bernoulli_exp_one(b)) {
        if (++v == MAX_V)
            return false;
    }
    *size = u + (uint64_t)t->den * v;
    return true;
}

/* Algorithm 3. */
static int64_t discrete_gaussian(dp_bits *b, uint64_t s2, const dp_denominator *t, const dp_denominator *den)
{
    for (;;) {
        uint64_t size;
        if (!laplace_size(b, &size, t))
            continue;
        bool is_negative = next_byte(b) & 1;
        if (is_negative && size == 0)
            continue; /* zero has one sign only */
        uint64_t product = size * (uint64_t)t->den;
        uint64_t a = product > s2 ? product - s2 : s2 - product;
        if (dp_bernoulli_exp(b, (u128)a * a, den))
            return is_negative ? -(int64_t)size : (int64_t)size;
    }
}

static uint64_t floor_sqrt(uint64_t x)
{
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 31; bit != 0; bit >>= 1) {
        if ((root | bit) * (root | bit) <= x)
            root |= bit;
    }
    return root;
}

void dp_noise_fill(int64_t *out, size_t n, uint64_t s2, fl_csprng *r)
{
    assert(s2 >= 1 && s2 <= DP_NOISE_VARIANCE_MAX);
    uint64_t t = floor_sqrt(s2) + 1;
    dp_denominator t_den = dp_denominator_of(t), den = dp_denominator_of((u128)2 * s2 * t * t);
    dp_bits bits = {.r = r, .used = sizeof bits.bytes};
    for (size_t i = 0; i < n; i++)
        out[i] = discrete_gaussian(&bits, s2, &t_den, &den);
    fl_wipe(&bits, sizeof bits);
}
