#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT 64
#define MAPPED    ((size_t)1 << 21) /* from here on a block has pages of its own */

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
    if (size >= MAPPED && size <= PTRDIFF_MAX) {
        void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED)
            return fl_fail(err, FL_EENV, "memory: %zu bytes asked for, not there", size_bytes);
        madvise(pages, size, MADV_HUGEPAGE); /* a wish */
        *a = (fl_arena){.block = pages, .size = size, .is_mapped = true};
        return FL_OK;
    }
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
    if (a->is_mapped)
        munmap(a->block, a->size);
    else if (!a->is_borrowed)
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

/* The number after `name` in a file of numbers (NULL: the first), times unit; SIZE_MAX when it is not there. */
static size_t number_in(const char *path, const char *name, size_t unit)
{
    char line[128];
    unsigned long long value = 0;
    bool is_there = false;
    FILE *f = fopen(path, "re");
    while (f && !is_there && fgets(line, sizeof line, f)) {
        const size_t n = name ? strlen(name) : 0;
        is_there = (n == 0 || strncmp(line, name, n) == 0) && sscanf(line + n, "%llu", &value) == 1;
    }
    if (f)
        fclose(f);
    return is_there ? fl_size_mul((size_t)value, unit) : SIZE_MAX;
}

size_t fl_memory_available(void)
{
    const size_t system = number_in("/proc/meminfo", "MemAvailable:", 1024);
    const size_t limit = number_in("/sys/fs/cgroup/memory.max", NULL, 1);
    const size_t used = number_in("/sys/fs/cgroup/memory.current", NULL, 1);
    const size_t left = limit == SIZE_MAX || used == SIZE_MAX ? SIZE_MAX : limit > used ? limit - used : 0;
    return left < system ? left : system;
}

size_t fl_size_mul(size_t a, size_t b)
{
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}
