/* The kernels in vectors of 16 floats: AVX-512 F, DQ, VL and BW. Compiled for them, run where the CPU has them. */
#include "train/kernels_sets.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>

#define SET_NAME "avx512"
#define SET      nn_kernels_avx512
#define IS_FUSED true
#define LANES    16
#define VECTORS  4

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

/* 8 values of z: added to sum, their squares to square */
static inline __m512i clip_8(int64_t *sum, const float *g, __m512d scale, __m512i square)
{
    const __m512i z = _mm512_cvttpd_epi64(_mm512_mul_pd(_mm512_cvtps_pd(_mm256_loadu_ps(g)), scale));
    _mm512_storeu_si512(sum, _mm512_add_epi64(_mm512_loadu_si512(sum), z));
    return _mm512_add_epi64(square, _mm512_mul_epi32(z, z));
}

static uint64_t clip_piece(int64_t *sum, const float *g, size_t n, double scale)
{
    const __m512d factor = _mm512_set1_pd(scale);
    __m512i even = _mm512_setzero_si512(), odd = even;
#pragma GCC unroll 2
    for (size_t i = 0; i < n; i += 16) {
        even = clip_8(sum + i, g + i, factor, even);
        odd = clip_8(sum + i + 8, g + i + 8, factor, odd);
    }
    return (uint64_t)_mm512_reduce_add_epi64(_mm512_add_epi64(even, odd));
}

/* No value of z reaches 2^26, so the squares of a piece fit into 64 bits. */
enum { PIECE = 2048 };
#define BOUND 0x1p26

static unsigned __int128 clip(int64_t *sum, const float *g, size_t n, double scale)
{
    unsigned __int128 square = 0;
    for (size_t i = 0; i < n; i += PIECE) {
        const size_t size = n - i < PIECE ? n - i : PIECE;
        if (largest(g + i, size) * scale < BOUND && scale > 0)
            square += clip_piece(sum + i, g + i, size, scale);
        else
            square += nn_kernels_portable.clip(sum + i, g + i, size, scale);
    }
    return square;
}

#include "train/kernels_vector.inc"
#endif
