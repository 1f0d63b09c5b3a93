#include "privacy/update.h"

#include "base/arena.h"
#include "privacy/noise.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct dp_noised {
    size_t n;
    uint64_t draws;
    atomic_bool is_plain; /* something was added that holds no noise */
    int64_t *values;      /* in memory */
    fl_secret memory;
};

/* --- values that hold noise ------------------------------------------------------------------------------------ */

fl_code dp_noised_create(dp_noised **out, size_t n, fl_err *err)
{
    dp_noised *v = calloc(1, sizeof *v);
    if (!v)
        return fl_fail(err, FL_EENV, "update: no memory left");
    fl_code code = fl_secret_init(&v->memory, fl_size_mul(n, sizeof *v->values), err);
    if (code != FL_OK) {
        free(v);
        return code;
    }
    v->values = v->memory.bytes;
    v->n = n;
    *out = v;
    return FL_OK;
}

void dp_noised_destroy(dp_noised *v)
{
    if (!v)
        return;
    fl_secret_fini(&v->memory);
    free(v);
}

/* Long vectors are passes over memory: all threads of a pool share them, in pieces. */
enum { PIECE = 1 << 16 };

typedef struct pass {
    int64_t *values;
    const int64_t *more; /* to be added; NULL: the values are wiped */
    size_t n;
} pass;

static void do_piece(void *context, size_t index, unsigned thread)
{
    const pass *p = context;
    const size_t at = index * PIECE, n = p->n - at < PIECE ? p->n - at : PIECE;
    (void)thread;
    if (!p->more)
        fl_wipe(p->values + at, n * sizeof *p->values);
    for (size_t i = at; p->more && i < at + n; i++)
        p->values[i] += p->more[i];
}

static void do_pass(pass p, fl_pool *pool)
{
    const size_t n_pieces = (p.n + PIECE - 1) / PIECE;
    if (pool)
        fl_pool_run(pool, n_pieces, do_piece, &p);
    for (size_t i = 0; !pool && i < n_pieces; i++)
        do_piece(&p, i, 0);
}

void dp_noised_clear_by(dp_noised *v, fl_pool *pool)
{
    do_pass((pass){v->values, NULL, v->n}, pool);
    v->draws = 0;
    v->is_plain = false;
}

void dp_noised_clear(dp_noised *v)
{
    dp_noised_clear_by(v, NULL);
}

void dp_noised_draw(dp_noised *v, uint64_t s2, fl_csprng *r)
{
    dp_noise_fill(v->values, v->n, s2, r);
    v->draws = 1;
    v->is_plain = false;
}

void dp_noised_draw_by(dp_noised *v, dp_noise_crew *crew)
{
    dp_noise_crew_draw(crew, v->values, v->n);
    v->draws = 1;
    v->is_plain = false;
}

void dp_noised_add_sum(dp_noised *v, const int64_t *sum, size_t n)
{
    assert(n <= v->n);
    v->is_plain |= v->draws == 0;
    if (n > 0)
        do_pass((pass){v->values, sum, n}, NULL);
}

void dp_noised_add_part(dp_noised *v, size_t at, const int32_t *sum, size_t n)
{
    assert(at <= v->n && n <= v->n - at);
    if (v->draws == 0)
        atomic_store_explicit(&v->is_plain, true, memory_order_relaxed);
    for (size_t i = 0; i < n; i++)
        v->values[at + i] += sum[i];
}

void dp_noised_add_by(dp_noised *v, const dp_noised *step, fl_pool *pool)
{
    assert(v->n == step->n);
    v->is_plain |= step->is_plain || step->draws == 0;
    v->draws += step->draws;
    if (v->n > 0)
        do_pass((pass){v->values, step->values, v->n}, pool);
}

void dp_noised_add(dp_noised *v, const dp_noised *step)
{
    dp_noised_add_by(v, step, NULL);
}

size_t dp_noised_size(const dp_noised *v)
{
    return v->n;
}

const int64_t *dp_noised_values(const dp_noised *v)
{
    return v->values;
}

uint64_t dp_noised_draws(const dp_noised *v)
{
    return v->is_plain ? 0 : v->draws;
}

/* --- their bytes ----------------------------------------------------------------------------------------------- */

fl_code dp_update_check(const dp_update_shape *s, fl_err *err)
{
    if (s->probe >= s->coordinates)
        return fl_fail(err, FL_EFORMAT, "update: %u coordinates, %u of them without a weight", s->coordinates,
                       s->probe);
    if (s->bits < 8 || s->bits > 64 || s->bits % 8 != 0)
        return fl_fail(err, FL_EFORMAT, "update: %u bits, expected a multiple of 8 up to 64", s->bits);
    if (s->cells > DP_UPDATE_MAX_CELLS)
        return fl_fail(err, FL_EFORMAT, "update: %u cells, expected at most %u", s->cells, DP_UPDATE_MAX_CELLS);
    return FL_OK;
}

static void assert_shape(const dp_update_shape *s)
{
    fl_code code = dp_update_check(s, NULL);
    assert(code == FL_OK);
}

enum { CELL_BITS = 8 * DP_CELL_BYTES };

size_t dp_update_size(const dp_update_shape *s)
{
    assert_shape(s); /* so the products fit */
    return (size_t)s->coordinates * (s->bits / 8) + (size_t)s->cells * DP_CELL_BYTES;
}

static uint8_t *put(uint8_t *bytes, const dp_noised *v, unsigned bits, int64_t low, int64_t high)
{
    assert(dp_noised_draws(v) >= 1); /* no noise, no way out */
    for (size_t i = 0; i < v->n; i++) {
        uint64_t value = (uint64_t)(v->values[i] > high ? high : v->values[i] < low ? low : v->values[i]);
        for (unsigned j = 0; j < bits / 8; j++)
            *bytes++ = (uint8_t)(value >> (8 * j));
    }
    return bytes;
}

void dp_update_pack(uint8_t *bytes, const dp_update_shape *s, const dp_noised *gradient, const dp_noised *cells)
{
    assert_shape(s);
    assert(gradient->n == s->coordinates && (cells ? cells->n : 0) == s->cells);
    const int64_t high = (int64_t)(UINT64_MAX >> (65 - s->bits));
    bytes = put(bytes, gradient, s->bits, -high - 1, high);
    if (s->cells > 0)
        put(bytes, cells, CELL_BITS, -DP_CELL_MAX, DP_CELL_MAX);
}

static const uint8_t *get(int64_t *values, size_t n, unsigned bits, const uint8_t *bytes)
{
    const uint64_t sign = (uint64_t)1 << (bits - 1); /* extended upward */
    for (size_t i = 0; values && i < n; i++) {
        uint64_t value = 0;
        for (unsigned j = 0; j < bits / 8; j++)
            value |= (uint64_t)bytes[i * (bits / 8) + j] << (8 * j);
        values[i] = (int64_t)((value ^ sign) - sign);
    }
    return bytes + n * (bits / 8);
}

fl_code dp_cells_read(int64_t *cells, size_t n, const uint8_t *bytes, fl_err *err)
{
    for (size_t i = 0; i < n; i++) {
        int64_t value;
        bytes = get(&value, 1, CELL_BITS, bytes);
        if (value > DP_CELL_MAX || value < -DP_CELL_MAX)
            return fl_fail(err, FL_EFORMAT, "update: cell %zu is beyond 2^47: no noised count is so large", i);
        if (cells)
            cells[i] = value;
    }
    return FL_OK;
}

fl_code dp_update_read(int64_t *coordinates, int64_t *cells, const dp_update_shape *s, const uint8_t *bytes, size_t n,
                       fl_err *err)
{
    FL_TRY(dp_update_check(s, err));
    if (n != dp_update_size(s))
        return fl_fail(err, FL_EFORMAT, "update: %zu bytes, expected %zu: %u integers of %u bits and %u of %d", n,
                       dp_update_size(s), s->coordinates, s->bits, s->cells, CELL_BITS);
    bytes = get(coordinates, s->coordinates, s->bits, bytes);
    return dp_cells_read(cells, s->cells, bytes, err);
}
