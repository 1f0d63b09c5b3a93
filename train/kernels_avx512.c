/* The kernels in vectors of 16 floats: AVX-512 F, DQ, VL and BW. Compiled for them, run where the CPU has them. */
#include "train/kernels_sets.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>

#define SET_NAME  "avx512"
#define SET       nn_kernels_avx512
#define IS_FUSED  true
#define LANES     16
#define VECTORS   4
#define FEW_TERMS 32

typedef __m512 vec;
typedef __mmask16 tail;

static inline tail tail_of(uint32_t n)
{
    return (tail)((1u << n) - 1);
}

#define zero()              _mm512_setzero_ps()
#define load(p)             _mm512_loadu_ps(p)
#define load_tail(p, m)     _mm512_maskz_loadu_ps(m, p)
#define store(p, v)         _mm512_storeu_ps(p, v)
#define store_tail(p, m, v) _mm512_mask_storeu_ps(p, m, v)
#define broadcast(p)        _mm512_set1_ps(*(p))
#define fma(a, b, c)        _mm512_fmadd_ps(a, b, c)

/* 32 registers: 24 sums for the wide tiles, which broadcast each factor once for all vectors. */
#define DEFINE_TILES                                                                                                   \
    TILES_16(1)                                                                                                        \
    TILES_12(2)                                                                                                        \
    TILES_8(3)                                                                                                         \
    TILES_6(4)                                                                                                         \
    HOLDS_9(1)                                                                                                         \
    HOLDS_9(2)                                                                                                         \
    HOLDS_6(3)                                                                                                         \
    HOLDS_6(4)                                                                                                         \
    static const size_t tile_rows[] = {0, 16, 12, 8, 6}, held_terms[] = {0, 9, 9, 6, 6};                               \
    static tile_function *const tile_functions[][17] = {                                                               \
        {NULL}, {NAMES_16(1)}, {NAMES_12(2)}, {NAMES_8(3)}, {NAMES_6(4)}};                                             \
    static hold_function *const hold_functions[][10] = {{NULL}, {HELD_9(1)}, {HELD_9(2)}, {HELD_6(3)}, {HELD_6(4)}};

/* 8 squares, to the lanes they belong to */
static inline void squares_8(double *lane, const float *g)
{
    const __m512d v = _mm512_cvtps_pd(_mm256_loadu_ps(g));
    _mm512_storeu_pd(lane, _mm512_fmadd_pd(v, v, _mm512_loadu_pd(lane)));
}

static void squares(double lane[NN_LANES], const float *g, size_t n, size_t at)
{
    size_t i = 0;
    for (; i < n && (at + i) % NN_LANES != 0; i += 8)
        squares_8(lane + (at + i) % NN_LANES, g + i);
    __m512d sum[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        sum[j] = _mm512_loadu_pd(lane + 8 * j);
    for (; i + NN_LANES <= n; i += NN_LANES) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            const __m512d v = _mm512_cvtps_pd(_mm256_loadu_ps(g + i + 8 * j));
            sum[j] = _mm512_fmadd_pd(v, v, sum[j]);
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        _mm512_storeu_pd(lane + 8 * j, sum[j]);
    for (; i < n; i += 8)
        squares_8(lane + (at + i) % NN_LANES, g + i);
}

/* max |g|, NaN when one of them is: as integers, NaN is above everything */
static float largest(const float *g, size_t n)
{
    const __m512i absolute = _mm512_set1_epi32(0x7fffffff);
    __m512i most = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i += 16)
        most = _mm512_max_epi32(most, _mm512_and_si512(absolute, _mm512_loadu_si512(g + i)));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(most))));
}

/*
 * 16 values of z = trunc(g scale). A product rounded toward zero has the integers of the exact one below 2^24; what is beyond
 * int32, and NaN, becomes INT32_MIN.
 */
static inline __m512i grid_16(const float *g, __m512 scale)
{
    return _mm512_cvttps_epi32(_mm512_mul_round_ps(_mm512_loadu_ps(g), scale, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
}

static inline __m512i add_16(int32_t *sum, const float *g, __m512 scale)
{
    const __m512i z = grid_16(g, scale);
    _mm512_storeu_si512(sum, _mm512_add_epi32(_mm512_loadu_si512(sum), z));
    return z;
}

enum { PIECE = 2048 /* values, a multiple of 64: 2 x 32 pairs of squares below 2^26 fit into 32 bits */ };

/*
 * Adds z to sum. False when a z^2 may have reached 2^25; else *square is their sum. Values are looked at in pairs of 16 bits,
 * where saturation leaves what does not fit large: 32767^2 is above 2^26.
 */
static bool clip_small(int32_t *sum, uint64_t *square, const float *g, size_t n, float scale)
{
    const __m512 factor = _mm512_set1_ps(scale);
    __m512i total = _mm512_setzero_si512(), any = total;
    size_t i = 0;
#pragma GCC unroll 2
    for (; i + 32 <= n; i += 32) {
        const __m512i even = add_16(sum + i, g + i, factor), odd = add_16(sum + i + 16, g + i + 16, factor);
        const __m512i pairs = _mm512_packs_epi32(even, odd), squares = _mm512_madd_epi16(pairs, pairs);
        total = _mm512_add_epi32(total, squares);
        any = _mm512_or_si512(any, squares);
    }
    if (i < n) {
        const __m512i pairs = _mm512_packs_epi32(add_16(sum + i, g + i, factor), _mm512_setzero_si512());
        const __m512i squares = _mm512_madd_epi16(pairs, pairs);
        total = _mm512_add_epi32(total, squares);
        any = _mm512_or_si512(any, squares);
    }
    const __m512i low = _mm512_set1_epi64(UINT32_MAX);
    *square = (uint64_t)_mm512_reduce_add_epi64(
        _mm512_add_epi64(_mm512_and_si512(total, low), _mm512_srli_epi64(total, 32)));
    return _mm512_test_epi32_mask(any, _mm512_set1_epi32(-(1 << 26))) == 0;
}

/* What clip_small added goes out again. */
static void take_back(int32_t *sum, const float *g, size_t n, float scale)
{
    const __m512 factor = _mm512_set1_ps(scale);
    for (size_t i = 0; i < n; i += 16)
        _mm512_storeu_si512(sum + i, _mm512_sub_epi32(_mm512_loadu_si512(sum + i), grid_16(g + i, factor)));
}

/* The same for 8 values below 2^26, by products in double: their squares to square */
static inline __m512i clip_8(int32_t *sum, const float *g, __m512d scale, __m512i square)
{
    const __m256i z = _mm512_cvttpd_epi32(_mm512_mul_pd(_mm512_cvtps_pd(_mm256_loadu_ps(g)), scale));
    const __m512i wide = _mm512_cvtepi32_epi64(z);
    __m256i *to = (__m256i *)(void *)sum;
    _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), z));
    return _mm512_add_epi64(square, _mm512_mul_epi32(wide, wide));
}

static uint64_t clip_large(int32_t *sum, const float *g, size_t n, float scale)
{
    const __m512d factor = _mm512_set1_pd((double)scale);
    __m512i square = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 8)
        square = clip_8(sum + i, g + i, factor, square);
    return (uint64_t)_mm512_reduce_add_epi64(square);
}

#define BOUND 0x1p26

static unsigned __int128 clip(int32_t *sum, const float *g, size_t n, float scale)
{
    unsigned __int128 all = 0;
    if (!(scale > 0))
        return 0;
    for (size_t i = 0; i < n; i += PIECE) {
        const size_t size = n - i < PIECE ? n - i : PIECE;
        uint64_t square;
        if (clip_small(sum + i, &square, g + i, size, scale)) {
            all += square;
            continue;
        }
        take_back(sum + i, g + i, size, scale);
        if ((double)largest(g + i, size) * (double)scale < BOUND)
            all += clip_large(sum + i, g + i, size, scale);
        else
            all += nn_kernels_portable.clip(sum + i, g + i, size, scale);
    }
    return all;
}

#include "train/kernels_vector.inc"
#endif
