/*
 * Proofs over a ledger's tree (checkpoint.h): that a head grew out of an older one (consistency), and that a line stands
 * under a head (inclusion). Made as RFC 6962, sections 2.1.1 and 2.1.2, and checked as RFC 9162, sections 2.1.3.2 and
 * 2.1.4.2, say. No I/O. One thread.
 *
 * A proof is a list of at most DP_PROOF_MAX hashes. What it proves is between two heads, (size, root): whoever holds
 * the older one needs no line of the ledger to see that nothing of it was changed, taken away or put in between.
 */
#ifndef PRIVACY_PROOF_H
#define PRIVACY_PROOF_H

#include "privacy/checkpoint.h"

#define DP_PROOF_MAX 64

/* All full subtrees of a ledger: level[k][i] is the root over lines i 2^k .. (i+1) 2^k - 1. 64 bytes a line. */
typedef struct dp_forest {
    uint64_t size;
    fl_hash *level[64];
    size_t capacity[64];
} dp_forest;

/* Starts from {0}. */
void dp_forest_fini(dp_forest *f);
/* One line without its newline. false: no memory, and the forest is of no use any more. */
bool dp_forest_append(dp_forest *f, const char *line, size_t n) FL_MUST_USE;
/* Of the first `size` lines, 0 to f->size. */
fl_hash dp_forest_root(const dp_forest *f, uint64_t size);
/* That the head over `to` lines extends the one over `from`: 0 <= from <= to <= f->size. Returns the number of hashes;
 * 0 when from is 0 or to. */
uint32_t dp_forest_consistency(const dp_forest *f, fl_hash proof[DP_PROOF_MAX], uint64_t from, uint64_t to);
/* That line seq (from 1) is under the head over `size` lines: seq <= size <= f->size. */
uint32_t dp_forest_inclusion(const dp_forest *f, fl_hash proof[DP_PROOF_MAX], uint64_t seq, uint64_t size);

/* Every ledger extends the empty one; a head extends itself with no hash. from > to is false. */
bool dp_consistency_verify(uint64_t from, const fl_hash *root_from, uint64_t to, const fl_hash *root_to,
                           const fl_hash *proof, uint32_t n);
bool dp_inclusion_verify(const char *line, size_t n_line, uint64_t seq, uint64_t size, const fl_hash *root,
                         const fl_hash *proof, uint32_t n);

#endif
