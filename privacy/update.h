/*
 * Updates: the one thing with a patient behind it that leaves a hospital.
 *
 * dp_noised - integers that noise was drawn for. A vector gets its values in no other way than from a sampler and from
 * sums on top of that; dp_update_pack takes nothing else and is the only way to the bytes that travel. Its memory is that of
 * crypto/secret.h. What holds a sum
 * without noise (the simulator's baselines) cannot be packed: that is an assert, also in a release build.
 *
 *     dp_noised_draw(y, S2)          y = N_Z(0, S2)^n, before any patient is looked at
 *     dp_noised_add_sum(y, sum, m)   the first m values: the patients'; the others stay pure noise, the probe
 *     dp_noised_add(u, y)            u += y, for an update of several steps
 *
 * The bytes of an update, fixed by public numbers (coordinates C, probe P < C, bits b, cells M):
 *
 *     offset        size           field
 *     0             (C - P) b/8    the noised gradients' sum, one integer for each weight
 *     (C - P) b/8   P b/8          the probe: integers that belong to no weight, noise alone
 *     C b/8         8 M            noised counts, what OTHER_RELEASE debits
 *
 * Integers are little-endian two's complement. What does not fit is clamped, after the noise. No header, no length.
 */
#ifndef PRIVACY_UPDATE_H
#define PRIVACY_UPDATE_H

#include "base/err.h"
#include "crypto/csprng.h"
#include "privacy/noise_crew.h"

#include <stdbool.h>
#include <stdint.h>

#define DP_CELL_BYTES       8
#define DP_UPDATE_MAX_CELLS (1u << 16)
#define DP_CELL_MAX         ((int64_t)1 << 47) /* a cell is at most so large, either way: 2^16 of them add up in int64 */

typedef struct dp_noised dp_noised;

/* n zeros without noise. FL_EENV. */
fl_code dp_noised_create(dp_noised **out, size_t n, fl_err *err) FL_MUST_USE;
void dp_noised_destroy(dp_noised *v);                         /* wiped; NULL is fine */
void dp_noised_clear(dp_noised *v);                           /* zeros without noise again */
void dp_noised_draw(dp_noised *v, uint64_t s2, fl_csprng *r); /* by the slow sampler: for few integers */
void dp_noised_draw_by(dp_noised *v, dp_noise_crew *crew);    /* by the fast one, and all threads */
void dp_noised_add_sum(dp_noised *v, const int64_t *sum, size_t n);
void dp_noised_add(dp_noised *v, const dp_noised *step); /* of the same length */
/* The same by all threads of a pool, whose one caller this is; NULL: by the caller alone. */
void dp_noised_clear_by(dp_noised *v, fl_pool *pool);
void dp_noised_add_by(dp_noised *v, const dp_noised *step, fl_pool *pool);
/* values[at .. at + n) += sum: a part of the patients' sum. Threads may add parts at the same time that do not overlap. */
void dp_noised_add_part(dp_noised *v, size_t at, const int32_t *sum, size_t n);
size_t dp_noised_size(const dp_noised *v);
const int64_t *dp_noised_values(const dp_noised *v);
/* How many vectors of noise are in it; 0 as soon as anything was added that had none. */
uint64_t dp_noised_draws(const dp_noised *v);

typedef struct dp_update_shape {
    uint32_t coordinates; /* >= 1 */
    uint32_t probe;       /* the last ones of them, < coordinates */
    uint32_t bits;        /* 8 .. 64, a multiple of 8 */
    uint32_t cells;       /* 0 .. DP_UPDATE_MAX_CELLS */
} dp_update_shape;

/* Do noised counts travel in this round of a study, from 1? In the first, every so manieth, and the last; every 0: never. */
static inline bool dp_counts_in(uint32_t round, uint32_t every, uint32_t rounds)
{
    return every > 0 && round >= 1 && round <= rounds && (round == 1 || round % every == 0 || round == rounds);
}

/* FL_EFORMAT when a number is out of its range: shapes come from ledgers and plans, too. */
fl_code dp_update_check(const dp_update_shape *shape, fl_err *err) FL_MUST_USE;
/* In bytes. The shape was checked, here and below. */
size_t dp_update_size(const dp_update_shape *shape);

/* bytes (dp_update_size) out. gradient has shape.coordinates values and holds noise; cells has shape.cells (NULL: none
 * when that is 0) and holds noise. */
void dp_update_pack(uint8_t *bytes, const dp_update_shape *shape, const dp_noised *gradient, const dp_noised *cells);

/* coordinates (shape.coordinates), cells (shape.cells); either may be NULL. FL_EFORMAT: another length, or a cell
 * beyond DP_CELL_MAX; every other byte string is an update. */
fl_code dp_update_read(int64_t *coordinates, int64_t *cells, const dp_update_shape *shape, const uint8_t *bytes,
                       size_t n, fl_err *err) FL_MUST_USE;
/* The same of its last 8 n bytes alone. */
fl_code dp_cells_read(int64_t *cells, size_t n, const uint8_t *bytes, fl_err *err) FL_MUST_USE;

#endif
