#include "privacy/proof.h"

#include "base/grow.h"
#include "privacy/replay_state.h"

#include <assert.h>
#include <stdlib.h>

void dp_forest_fini(dp_forest *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < 64; i++)
        free(f->level[i]);
    *f = (dp_forest){0};
}

bool dp_forest_append(dp_forest *f, const char *line, size_t n)
{
    assert(f->size < UINT64_MAX >> 1);
    fl_hash hash = dp_tree_leaf(line, n);
    f->size++;
    for (unsigned k = 0;; k++) {
        const size_t at = (size_t)((f->size >> k) - 1);
        if (!fl_grow(&f->level[k], &f->capacity[k], at, sizeof hash))
            return false;
        f->level[k][at] = hash;
        if (f->size >> k & 1)
            return true;
        hash = dp_tree_join(&f->level[k][at - 1], &f->level[k][at]);
    }
}

/* The largest power of two below n, n >= 2: where RFC 6962 splits n lines. */
static unsigned split(uint64_t n)
{
    unsigned k = 0;
    while ((n - 1) >> (k + 1))
        k++;
    return k;
}

/* MTH(D[start : start + n]); start is a multiple of a power of two >= n, so every full half is a subtree we hold. */
static fl_hash range(const dp_forest *f, uint64_t start, uint64_t n)
{
    assert(n > 0 && n <= f->size && start <= f->size - n);
    if ((n & (n - 1)) == 0) {
        unsigned k = 0;
        while (n >> k != 1)
            k++;
        return f->level[k][start >> k];
    }
    const unsigned k = split(n);
    const uint64_t half = (uint64_t)1 << k;
    const fl_hash left = f->level[k][start >> k], right = range(f, start + half, n - half);
    return dp_tree_join(&left, &right);
}

fl_hash dp_forest_root(const dp_forest *f, uint64_t size)
{
    return size == 0 ? fl_sha256("", 0) : range(f, 0, size);
}

/* SUBPROOF(m, D[start : start + n], is_known), appended from the leaves up. */
static uint32_t subproof(const dp_forest *f, fl_hash *proof, uint64_t m, uint64_t start, uint64_t n, bool is_known)
{
    if (m == n) {
        if (is_known)
            return 0;
        proof[0] = range(f, start, n);
        return 1;
    }
    const uint64_t half = (uint64_t)1 << split(n);
    uint32_t count;
    if (m <= half) {
        count = subproof(f, proof, m, start, half, is_known);
        proof[count] = range(f, start + half, n - half);
    } else {
        count = subproof(f, proof, m - half, start + half, n - half, false);
        proof[count] = range(f, start, half);
    }
    return count + 1;
}

uint32_t dp_forest_consistency(const dp_forest *f, fl_hash proof[DP_PROOF_MAX], uint64_t from, uint64_t to)
{
    assert(from <= to && to <= f->size);
    return from == 0 ? 0 : subproof(f, proof, from, 0, to, true);
}

/* PATH(m, D[start : start + n]) */
static uint32_t path(const dp_forest *f, fl_hash *proof, uint64_t m, uint64_t start, uint64_t n)
{
    if (n == 1)
        return 0;
    const uint64_t half = (uint64_t)1 << split(n);
    const uint32_t count = m < half ? path(f, proof, m, start, half) : path(f, proof, m - half, start + half, n - half);
    proof[count] = m < half ? range(f, start + half, n - half) : range(f, start, half);
    return count + 1;
}

uint32_t dp_forest_inclusion(const dp_forest *f, fl_hash proof[DP_PROOF_MAX], uint64_t seq, uint64_t size)
{
    assert(seq >= 1 && seq <= size && size <= f->size);
    return path(f, proof, seq - 1, 0, size);
}

/* Both places one level up, and on until the first is a right child again. */
static void climb(uint64_t *fn, uint64_t *sn)
{
    while (!(*fn & 1) && *fn != 0) {
        *fn >>= 1;
        *sn >>= 1;
    }
}

bool dp_consistency_verify(uint64_t from, const fl_hash *root_from, uint64_t to, const fl_hash *root_to,
                           const fl_hash *proof, uint32_t n)
{
    if (from > to || n > DP_PROOF_MAX)
        return false;
    if (from == 0)
        return n == 0;
    if (from == to)
        return n == 0 && fl_hash_equal(root_from, root_to);
    const bool is_full = (from & (from - 1)) == 0; /* then the old root is a subtree's, and the proof leaves it out */
    if (!is_full && n == 0)
        return false;
    uint64_t fn = from - 1, sn = to - 1;
    while (fn & 1) {
        fn >>= 1;
        sn >>= 1;
    }
    fl_hash fr = is_full ? *root_from : proof[0], sr = fr;
    for (uint32_t i = is_full ? 0 : 1; i < n; i++) {
        if (sn == 0)
            return false;
        if ((fn & 1) || fn == sn) {
            fr = dp_tree_join(&proof[i], &fr);
            sr = dp_tree_join(&proof[i], &sr);
            climb(&fn, &sn);
        } else
            sr = dp_tree_join(&sr, &proof[i]);
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && fl_hash_equal(&fr, root_from) && fl_hash_equal(&sr, root_to);
}

bool dp_inclusion_verify(const char *line, size_t n_line, uint64_t seq, uint64_t size, const fl_hash *root,
                         const fl_hash *proof, uint32_t n)
{
    if (seq < 1 || seq > size || n > DP_PROOF_MAX)
        return false;
    uint64_t fn = seq - 1, sn = size - 1;
    fl_hash r = dp_tree_leaf(line, n_line);
    for (uint32_t i = 0; i < n; i++) {
        if (sn == 0)
            return false;
        if ((fn & 1) || fn == sn) {
            r = dp_tree_join(&proof[i], &r);
            climb(&fn, &sn);
        } else
            r = dp_tree_join(&r, &proof[i]);
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && fl_hash_equal(&r, root);
}
