/* fl_arena - one block, sized once, cut from the front in pieces of 64-byte alignment. Not thread-safe. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/err.h"
#include <stdbool.h>

typedef struct fl_arena {
    unsigned char *block;
    size_t size, used;
    bool is_borrowed; /* fini leaves the block alone */
    bool is_mapped;   /* pages of its own, which cost nothing until they are touched */
} fl_arena;

fl_code fl_arena_init(fl_arena *a, size_t size_bytes, fl_err *err) FL_MUST_USE; /* memory is zeroed */
/* On memory of the caller's, which is aligned to 64 bytes and outlives the arena. */
void fl_arena_on(fl_arena *a, void *block, size_t size_bytes);
void fl_arena_fini(fl_arena *a);
/* Bytes that this process may still take without pushing others to the disk: what the system has free, within the
 * control group's limit. SIZE_MAX where nobody says. */
size_t fl_memory_available(void);
void *fl_arena_cut(fl_arena *a, size_t size_bytes); /* asserts that it fits: whoever sized the arena knew */
size_t fl_arena_round(size_t size_bytes);           /* what a cut of this size takes */
/* a*b, or SIZE_MAX when it does not fit: sizes made from outside numbers go through this */
size_t fl_size_mul(size_t a, size_t b);

#endif
