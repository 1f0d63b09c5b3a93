#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Half the address space: sums of two sizes cannot wrap. */
#define LARGEST (SIZE_MAX / 2 - 1)

void fl_buf_init(fl_buf *b, size_t max_bytes)
{
    *b = (fl_buf){.max = max_bytes < LARGEST ? max_bytes : LARGEST};
}

void fl_buf_fini(fl_buf *b)
{
    if (!b)
        return;
    free(b->bytes);
    *b = (fl_buf){0};
}

void fl_buf_clear(fl_buf *b)
{
    b->size = 0;
    b->failed = b->no_memory = false;
    if (b->bytes)
        b->bytes[0] = 0;
}

/* Room for n more bytes and the 0 behind them. */
static bool reserve(fl_buf *b, size_t n)
{
    assert(b->size <= b->max);
    if (b->failed)
        return false;
    if (n > b->max - b->size) {
        b->failed = true;
        return false;
    }
    size_t need = b->size + n + 1;
    if (need <= b->capacity)
        return true;
    size_t capacity = b->capacity > b->max / 2 ? b->max + 1 : b->capacity * 2;
    if (capacity < need)
        capacity = need;
    if (capacity < 64)
        capacity = 64;
    uint8_t *bytes = realloc(b->bytes, capacity);
    if (!bytes) {
        b->failed = b->no_memory = true;
        return false;
    }
    b->bytes = bytes;
    b->capacity = capacity;
    return true;
}

void fl_buf_add(fl_buf *b, const void *bytes, size_t n)
{
    if (!reserve(b, n))
        return;
    if (n)
        memcpy(b->bytes + b->size, bytes, n);
    b->size += n;
    b->bytes[b->size] = 0;
}

void fl_buf_add_text(fl_buf *b, const char *text)
{
    fl_buf_add(b, text, strlen(text));
}

void fl_buf_printf(fl_buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    assert(n >= 0);
    if (reserve(b, (size_t)n)) {
        vsnprintf((char *)b->bytes + b->size, (size_t)n + 1, format, again);
        b->size += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

const char *fl_buf_text(const fl_buf *b)
{
    return b->bytes ? (const char *)b->bytes : "";
}

fl_code fl_buf_check(const fl_buf *b, const char *thing, fl_err *err)
{
    if (!b->failed)
        return FL_OK;
    if (b->no_memory)
        return fl_fail(err, FL_EENV, "%s: no memory left", thing);
    return fl_fail(err, FL_EFORMAT, "%s: more than %zu bytes", thing, b->max);
}
