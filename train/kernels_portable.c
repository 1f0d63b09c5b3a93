/* The kernels for any CPU: vectors of 4 floats in GNU C, a rounded product and a sum. */
#include "privacy/clip.h"
#include "train/kernels_sets.h"
#include <string.h>

#define SET_NAME  "portable"
#define SET       nn_kernels_portable
#define IS_FUSED  false
#define LANES     4
#define VECTORS   2
#define FEW_TERMS 15

typedef float vec __attribute__((vector_size(16)));
typedef uint32_t tail; /* how many lanes count */

static inline tail tail_of(uint32_t n)
{
    return n;
}

static inline vec load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

static inline vec load_tail(const float *p, tail n)
{
    if (n == LANES)
        return load(p);
    vec v = {0};
    for (uint32_t i = 0; i < n; i++)
        v[i] = p[i];
    return v;
}

static inline void store_tail(float *p, tail n, vec v)
{
    for (uint32_t i = 0; i < n; i++)
        p[i] = v[i];
}

#define zero()       ((vec){0})
#define broadcast(p) ((vec){*(p), *(p), *(p), *(p)})
#define fma(a, b, c) ((a) * (b) + (c))

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
    for (size_t i = 0; i < n; i += 16) {
        double *to = lane + (at + i) % NN_LANES;
        for (size_t j = 0; j < 16; j++)
            to[j] += (double)g[i + j] * (double)g[i + j]; /* exact, so fused or not is the same */
    }
}

static unsigned __int128 clip(int32_t *sum, const float *g, size_t n, float scale)
{
    enum { PIECE = 256 };
    int32_t z[PIECE];
    unsigned __int128 square = 0;
    for (size_t i = 0; i < n; i += PIECE) {
        size_t size = n - i < PIECE ? n - i : PIECE;
        dp_clip_piece(z, g + i, size, scale);
        dp_sum_add(sum + i, z, size);
        square += dp_grid_sqnorm(z, size);
    }
    return square;
}

#include "train/kernels_vector.inc"
