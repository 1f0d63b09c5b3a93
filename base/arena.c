#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

size_t fl_arena_round(size_t size_bytes)
{
    if (size_bytes > SIZE_MAX - (ALIGNMENT - 1))
        return SIZE_MAX;
    return (size_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

fl_code fl_arena_init(fl_arena *a, size_t size_bytes, fl_err *err)
{
    *a = (fl_arena){0};
    size_t size = fl_arena_round(size_bytes ? size_bytes : 1);
    void *block = size <= PTRDIFF_MAX ? aligned_alloc(ALIGNMENT, size) : NULL;
    if (!block)
        return fl_fail(err, FL_EENV, "memory: %zu bytes asked for, not there", size_bytes);
    memset(block, 0, size);
    *a = (fl_arena){.block = block, .size = size};
    return FL_OK;
}

void fl_arena_on(fl_arena *a, void *block, size_t size_bytes)
{
    assert((uintptr_t)block % ALIGNMENT == 0);
    *a = (fl_arena){.block = block, .size = size_bytes, .is_borrowed = true};
}

void fl_arena_fini(fl_arena *a)
{
    if (!a)
        return;
    if (!a->is_borrowed)
        free(a->block);
    *a = (fl_arena){0};
}

void *fl_arena_cut(fl_arena *a, size_t size_bytes)
{
    size_t size = fl_arena_round(size_bytes);
    assert(size <= a->size - a->used);
    void *piece = a->block + a->used;
    a->used += size;
    return piece;
}

size_t fl_size_mul(size_t a, size_t b)
{
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}
