/* The kernels in vectors of 8 floats: AVX2 and FMA. Compiled for them, run where the CPU has them. */
#include "train/kernels_sets.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

#define SET_NAME  "avx2"
#define SET       nn_kernels_avx2
#define IS_FUSED  true
#define LANES     8
#define VECTORS   2
#define FEW_TERMS 15

typedef __m256 vec;
typedef __m256i tail;

static inline tail tail_of(uint32_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#define zero()              _mm256_setzero_ps()
#define load(p)             _mm256_loadu_ps(p)
#define load_tail(p, m)     _mm256_maskload_ps(p, m)
#define store(p, v)         _mm256_storeu_ps(p, v)
#define store_tail(p, m, v) _mm256_maskstore_ps(p, m, v)
#define broadcast(p)        _mm256_broadcast_ss(p)
#define fma(a, b, c)        _mm256_fmadd_ps(a, b, c)

/* 16 registers: 12 sums. */
#define DEFINE_TILES                                                                                                   \
    TILES_12(1)                                                                                                        \
    TILES_6(2)                                                                                                         \
    HOLDS_9(1)                                                                                                         \
    HOLDS_6(2)                                                                                                         \
    static const size_t tile_rows[] = {0, 12, 6}, held_terms[] = {0, 9, 6};                                            \
    static tile_function *const tile_functions[][13] = {{NULL}, {NAMES_12(1)}, {NAMES_6(2)}};                          \
    static hold_function *const hold_functions[][10] = {{NULL}, {HELD_9(1)}, {HELD_6(2)}};

static void squares(double lane[NN_LANES], const float *g, size_t n, size_t at)
{
    for (size_t i = 0; i < n; i += 4) {
        double *to = lane + (at + i) % NN_LANES;
        const __m256d v = _mm256_cvtps_pd(_mm_loadu_ps(g + i));
        _mm256_storeu_pd(to, _mm256_fmadd_pd(v, v, _mm256_loadu_pd(to)));
    }
}

/* max |g|, NaN when one of them is: as integers, NaN is above everything */
static float largest(const float *g, size_t n)
{
    const __m256i absolute = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 8)
        most = _mm256_max_epi32(most,
                                _mm256_and_si256(absolute, _mm256_loadu_si256((const __m256i *)(const void *)(g + i))));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

/* 4 values of z: added to sum, their squares to square */
static inline __m256i clip_4(int32_t *sum, const float *g, __m256d scale, __m256i square)
{
    const __m128i z = _mm256_cvttpd_epi32(_mm256_mul_pd(_mm256_cvtps_pd(_mm_loadu_ps(g)), scale));
    const __m256i wide = _mm256_cvtepi32_epi64(z);
    __m128i *to = (__m128i *)(void *)sum;
    _mm_storeu_si128(to, _mm_add_epi32(_mm_loadu_si128(to), z));
    return _mm256_add_epi64(square, _mm256_mul_epi32(wide, wide));
}

static uint64_t clip_piece(int32_t *sum, const float *g, size_t n, float scale)
{
    const __m256d factor = _mm256_set1_pd((double)scale);
    __m256i even = _mm256_setzero_si256(), odd = even;
    for (size_t i = 0; i < n; i += 8) {
        even = clip_4(sum + i, g + i, factor, even);
        odd = clip_4(sum + i + 4, g + i + 4, factor, odd);
    }
    uint64_t lane[4];
    _mm256_storeu_si256((__m256i *)(void *)lane, _mm256_add_epi64(even, odd));
    return lane[0] + lane[1] + lane[2] + lane[3];
}

/* No value of z reaches 2^26, so the squares of a piece fit into 64 bits. */
enum { PIECE = 2048 };
#define BOUND 0x1p26

static unsigned __int128 clip(int32_t *sum, const float *g, size_t n, float scale)
{
    unsigned __int128 square = 0;
    for (size_t i = 0; i < n; i += PIECE) {
        const size_t size = n - i < PIECE ? n - i : PIECE;
        if ((double)largest(g + i, size) * (double)scale < BOUND && scale > 0)
            square += clip_piece(sum + i, g + i, size, scale);
        else
            square += nn_kernels_portable.clip(sum + i, g + i, size, scale);
    }
    return square;
}

#include "train/kernels_vector.inc"
#endif
