/*
 * fl_buf - a growing run of bytes with a maximum from birth.
 *
 * bytes[0..size) are the content and bytes[size] is always 0, so text can be read as a C string.
 * A write that would pass the maximum, or that finds no memory, sets `failed`, changes nothing more, and every later
 * write does nothing: check once at the end with fl_buf_check.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct fl_buf {
    uint8_t *bytes;
    size_t size, capacity, max;
    bool failed;
    bool no_memory; /* why it failed: no memory (else: the maximum) */
} fl_buf;

void fl_buf_init(fl_buf *b, size_t max_bytes);
void fl_buf_fini(fl_buf *b);  /* NULL and zeroed are fine */
void fl_buf_clear(fl_buf *b); /* size 0, memory kept, failed reset */
void fl_buf_add(fl_buf *b, const void *bytes, size_t n);
void fl_buf_add_text(fl_buf *b, const char *text);
void fl_buf_printf(fl_buf *b, const char *format, ...) FL_PRINTF(2, 3);
const char *fl_buf_text(const fl_buf *b); /* never NULL */
fl_code fl_buf_check(const fl_buf *b, const char *thing, fl_err *err) FL_MUST_USE;

#endif
