#include "privacy/fixed.h"

#include <assert.h>

typedef unsigned __int128 u128;

enum { LIMBS = DP_FIXED_LIMBS, POINT = LIMBS - 1 };

dp_fixed dp_fixed_power(int exponent)
{
    dp_fixed a = {0};
    assert(exponent >= -64 * POINT && exponent < 64);
    unsigned bit = (unsigned)(exponent + 64 * POINT);
    a.limb[bit / 64] = (uint64_t)1 << (bit % 64);
    return a;
}

dp_fixed dp_fixed_add(dp_fixed a, dp_fixed b)
{
    uint64_t carry = 0;
    for (int i = 0; i < LIMBS; i++) {
        u128 sum = (u128)a.limb[i] + b.limb[i] + carry;
        a.limb[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
    assert(carry == 0);
    return a;
}

dp_fixed dp_fixed_sub(dp_fixed a, dp_fixed b)
{
    uint64_t borrow = 0;
    for (int i = 0; i < LIMBS; i++) {
        u128 difference = (u128)a.limb[i] - b.limb[i] - borrow;
        a.limb[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    assert(borrow == 0);
    return a;
}

bool dp_fixed_below(const dp_fixed *a, const dp_fixed *b)
{
    for (int i = LIMBS; i-- > 0;) {
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i];
    }
    return false;
}

bool dp_fixed_is_zero(const dp_fixed *a)
{
    uint64_t any = 0;
    for (int i = 0; i < LIMBS; i++)
        any |= a->limb[i];
    return any == 0;
}

/* The product has twice the limbs; those from POINT on are kept, those below are less than one ulp. */
dp_fixed dp_fixed_mul(dp_fixed a, dp_fixed b)
{
    uint64_t product[2 * LIMBS] = {0};
    for (int i = 0; i < LIMBS; i++) {
        uint64_t carry = 0;
        for (int k = 0; k < LIMBS; k++) {
            u128 sum = (u128)a.limb[i] * b.limb[k] + product[i + k] + carry; /* at most 2^128 - 1 */
            product[i + k] = (uint64_t)sum;
            carry = (uint64_t)(sum >> 64);
        }
        product[i + LIMBS] = carry;
    }
    dp_fixed out;
    for (int i = 0; i < LIMBS; i++)
        out.limb[i] = product[i + POINT];
    assert(product[2 * LIMBS - 1] == 0);
    return out;
}

static dp_fixed twice(dp_fixed a)
{
    return dp_fixed_add(a, a);
}

/* Long division in base two: 1 / a = sum of 2^-i over the steps at which the rest, doubled, reaches a. The rest is
 * exact: it stays below 2 a, and a bit that is doubled out of it is never lost because a < 2^62. */
dp_fixed dp_fixed_inverse(dp_fixed a)
{
    dp_fixed rest = dp_fixed_power(0), out = {0};
    int exponent = 0;
    assert(!dp_fixed_is_zero(&a) && a.limb[POINT] >> 62 == 0);
    while (!dp_fixed_below(&rest, &a)) { /* a <= 1: begin where the quotient begins */
        a = twice(a);
        exponent++;
        assert(exponent < 64);
    }
    /* now rest < a; quotient bits exponent - 1, exponent - 2, ... */
    for (int i = exponent - 1; i >= -64 * POINT; i--) {
        rest = twice(rest);
        if (!dp_fixed_below(&rest, &a)) {
            rest = dp_fixed_sub(rest, a);
            out = dp_fixed_add(out, dp_fixed_power(i));
        }
    }
    return out;
}

dp_fixed dp_fixed_ratio(dp_fixed a, uint64_t num, uint64_t den)
{
    uint64_t product[LIMBS + 1], carry = 0;
    assert(den >= 1);
    for (int i = 0; i < LIMBS; i++) {
        u128 sum = (u128)a.limb[i] * num + carry;
        product[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
    product[LIMBS] = carry;
    u128 rest = product[LIMBS] % den;
    assert(product[LIMBS] / den == 0);
    dp_fixed out;
    for (int i = LIMBS; i-- > 0;) { /* rest < den, so each quotient fits 64 bits */
        rest = rest << 64 | product[i];
        out.limb[i] = (uint64_t)(rest / den);
        rest %= den;
    }
    return out;
}

/*
 * Taylor's series, term n from term n - 1 by * num/den and / n, each rounded down.
 *
 * Error. With g = num/den <= 2, e_n = the error of term n in ulp: e_0 = 0 and e_n <= e_{n-1} g/n + 1/n + 1, so e_1 <= 2,
 * e_2 <= 3.5, e_3 <= 3.7, e_4 <= 3.1, and below 3 from there on. Terms vanish after fewer than 80 of them, where the true
 * term is below 4 ulp and the rest of the series below 8. Together less than 80 * 3.7 + 8 < 512 ulp.
 */
dp_fixed dp_fixed_exp_neg(uint64_t num, uint64_t den)
{
    dp_fixed term = dp_fixed_power(0), even = {0}, odd = {0};
    assert(den >= 1 && num / 2 <= den);
    for (uint64_t n = 1; !dp_fixed_is_zero(&term); n++) {
        dp_fixed *sum = n % 2 == 1 ? &even : &odd; /* of the term n - 1 */
        *sum = dp_fixed_add(*sum, term);
        term = dp_fixed_ratio(dp_fixed_ratio(term, num, den), 1, n);
        assert(n < 80);
    }
    dp_fixed value = dp_fixed_sub(even, odd), one = dp_fixed_power(0);
    return dp_fixed_below(&one, &value) ? one : value;
}

u128 dp_fixed_floor_128(const dp_fixed *a)
{
    assert(a->limb[POINT] == 0);
    return (u128)a->limb[POINT - 1] << 64 | a->limb[POINT - 2];
}

u128 dp_fixed_round_128(const dp_fixed *a)
{
    return dp_fixed_floor_128(a) + (a->limb[POINT - 3] >> 63);
}
