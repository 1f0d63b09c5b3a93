#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

/* The output function of splitmix64: a bijection on 64 bits. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void fl_rng_init(fl_rng *r, uint64_t seed, uint64_t stream)
{
    static const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
    /* s[0] tells the seed, and s[1] given the seed tells the stream: no two pairs share a state. */
    r->s[0] = mix(seed + golden);
    r->s[1] = mix(stream + mix(seed + 2 * golden));
    r->s[2] = mix(r->s[1] + 3 * golden);
    r->s[3] = mix(r->s[0] + rotl(r->s[1], 32) + 4 * golden);
    if (!(r->s[0] | r->s[1] | r->s[2] | r->s[3]))
        r->s[0] = 1; /* the one state that xoshiro cannot leave */
    for (int i = 0; i < 8; i++)
        (void)fl_rng_u64(r);
}

static inline uint64_t next(uint64_t s[4])
{
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

static inline double unit(uint64_t x)
{
    return (double)(int64_t)(x >> 11) * 0x1p-53;
}

uint64_t fl_rng_u64(fl_rng *r)
{
    return next(r->s);
}

uint64_t fl_rng_below(fl_rng *r, uint64_t n)
{
    assert(n >= 1);
    uint64_t first = -n % n; /* 2^64 mod n: the values from here on are a whole number of times n */
    for (;;) {
        uint64_t x = fl_rng_u64(r);
        if (x >= first)
            return x % n;
    }
}

double fl_rng_uniform(fl_rng *r)
{
    return unit(next(r->s));
}

void fl_rng_uniforms(fl_rng *r, float *x, size_t n, double bound)
{
    uint64_t s[4]; /* in registers */
    memcpy(s, r->s, sizeof s);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((2 * unit(next(s)) - 1) * bound);
    memcpy(r->s, s, sizeof s);
}

double fl_rng_normal(fl_rng *r)
{
    double u = 1.0 - fl_rng_uniform(r); /* (0, 1] */
    double v = fl_rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}
