/* The loop of noise.c for 8 candidates at a time: the same integers. Compiled for AVX-512 F, run where the CPU has it. */
#include "privacy/noise_examine.h"

#if defined(__AVX512F__)
#include <immintrin.h>

typedef __m512i vec;

static inline vec all(uint64_t x)
{
    return _mm512_set1_epi64((int64_t)x);
}

/* What the loop needs of a table. */
typedef struct constants {
    const uint64_t *columns;
    __m128i column_shift, place_shift, width, width_twice;
    vec place_mask, width_mask, turn, reciprocal;
} constants;

static constants constants_of(const dp_noise *t)
{
    return (constants){.columns = t->columns,
                       .column_shift = _mm_cvtsi32_si128(64 - (int)t->column_bits),
                       .place_shift = _mm_cvtsi32_si128(DP_NOISE_ALIAS_BITS - (int)t->column_bits),
                       .width = _mm_cvtsi32_si128((int)t->width_bits),
                       .width_twice = _mm_cvtsi32_si128((int)t->width_bits + 1),
                       .place_mask = all(((uint64_t)1 << DP_NOISE_PLACE_BITS) - 1),
                       .width_mask = all(((uint64_t)1 << t->width_bits) - 1),
                       .turn = all(t->turn),
                       .reciprocal = all(t->reciprocal)};
}

typedef struct eight {
    vec x;
    __mmask8 accepted, doubtful;
} eight;

/* _mm512_mul_epu32 multiplies the lower halves. */
static inline eight examine_8(const constants *k, vec v, vec u)
{
    const vec one = all(1), column = _mm512_srl_epi64(v, k->column_shift);
    const vec place = _mm512_and_si512(_mm512_srl_epi64(v, k->place_shift), k->place_mask);
    const vec held = _mm512_i64gather_epi64(column, k->columns, 8),
              threshold = _mm512_srli_epi64(held, DP_NOISE_ALIAS_BITS);
    const vec alias = _mm512_and_si512(held, all((1 << DP_NOISE_ALIAS_BITS) - 1));
    const vec entry = _mm512_mask_mov_epi64(alias, _mm512_cmplt_epu64_mask(place, threshold), column);
    const __mmask8 present = _mm512_test_epi64_mask(entry, entry);
    const vec before = _mm512_maskz_sub_epi64(present, entry, one);
    const vec j = _mm512_maskz_and_epi64(present, u, k->width_mask);
    const vec size = _mm512_maskz_add_epi64(present, _mm512_add_epi64(_mm512_sll_epi64(before, k->width), one), j);
    const vec num = _mm512_add_epi64(_mm512_sll_epi64(_mm512_mul_epu32(j, before), k->width_twice),
                                     _mm512_mul_epu32(j, _mm512_add_epi64(j, all(2))));

    const vec g = _mm512_srli_epi64(_mm512_mul_epu32(_mm512_rolv_epi64(num, k->turn), k->reciprocal), 31);
    const vec q = _mm512_srli_epi64(_mm512_mul_epu32(g, g), 37);
    const vec c = _mm512_srli_epi64(
        _mm512_mul_epu32(_mm512_srli_epi64(_mm512_mul_epu32(q, g), 36), all(DP_NOISE_THIRD)), 32);
    const vec y = _mm512_add_epi64(_mm512_sub_epi64(all((uint64_t)1 << 36), g), _mm512_sub_epi64(q, c));
    const vec cell = _mm512_and_si512(_mm512_srli_epi64(u, 28), all(~UINT64_C(15)));
    const __mmask8 accepted = _mm512_cmple_epu64_mask(_mm512_add_epi64(cell, all(16 + DP_NOISE_MARGIN)), y);
    const vec above = _mm512_add_epi64(_mm512_add_epi64(y, all(DP_NOISE_MARGIN)), _mm512_srli_epi64(c, 6));
    const __mmask8 rejected = _mm512_cmpge_epu64_mask(cell, above);

    const __mmask8 negative = _mm512_test_epi64_mask(u, all((uint64_t)1 << DP_NOISE_SIGN_BIT));
    return (eight){
        .x = _mm512_mask_sub_epi64(size, negative, _mm512_setzero_si512(), size),
        .accepted = accepted,
        .doubtful = (__mmask8)(_mm512_cmpeq_epi64_mask(place, threshold) | (__mmask8) ~(accepted | rejected))};
}

/* In the order of the candidates, so that each gets the random numbers that it gets in the plain loop. */
static __attribute__((noinline)) eight decide(const dp_noise *t, eight e, const uint64_t *words, fl_csprng *r)
{
    int64_t x[8];
    unsigned accepted = e.accepted;
    _mm512_storeu_si512(x, e.x);
    for (unsigned i = 0; i < 8; i++) {
        if (e.doubtful >> i & 1)
            accepted = (accepted & ~(1u << i)) | (unsigned)dp_noise_decide(t, &x[i], words[2 * i], words[2 * i + 1], r)
                                                     << i;
    }
    return (eight){.x = _mm512_loadu_si512(x), .accepted = (__mmask8)accepted};
}

size_t dp_noise_examine_avx512(const dp_noise *t, int64_t *draws, size_t n, const uint64_t *words, size_t n_candidates,
                               fl_csprng *r)
{
    const constants k = constants_of(t);
    const vec even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    size_t i = 0;
    for (; i + 8 <= n_candidates; i += 8) {
        const vec first = _mm512_loadu_si512(words + 2 * i), last = _mm512_loadu_si512(words + 2 * i + 8);
        eight e = examine_8(&k, _mm512_permutex2var_epi64(first, even, last),
                            _mm512_permutex2var_epi64(first, odd, last));
        if (__builtin_expect(e.doubtful != 0, 0))
            e = decide(t, e, words + 2 * i, r);
        _mm512_storeu_si512(draws + n, _mm512_maskz_compress_epi64(e.accepted, e.x));
        n += (size_t)__builtin_popcount(e.accepted);
    }
    return dp_noise_examine(t, draws, n, words + 2 * i, n_candidates - i, r);
}
#endif
