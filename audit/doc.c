#include "audit/doc.h"

#include "audit/chart.h"
#include "base/grow.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARKS = 6 };

/* --- what may be seen as it is --- */

/* Code points that print nothing, move their neighbours about, or may not stand in XML. */
static bool is_hidden(uint32_t c)
{
    static const uint32_t ranges[][2] = {
        {0x0000, 0x001f},   {0x007f, 0x009f},    {0x00ad, 0x00ad}, {0x034f, 0x034f}, {0x061c, 0x061c},
        {0x115f, 0x1160},   {0x17b4, 0x17b5},    {0x180b, 0x180f}, {0x200b, 0x200f}, {0x2028, 0x202e},
        {0x2060, 0x206f},   {0x3164, 0x3164},    {0xd800, 0xf8ff}, {0xfdd0, 0xfdef}, {0xfe00, 0xfe0f},
        {0xfeff, 0xfeff},   {0xffa0, 0xffa0},    {0xfff0, 0xfffb}, {0xfffe, 0xffff}, {0x1bca0, 0x1bca3},
        {0x1d173, 0x1d17a}, {0xe0000, 0x10ffff},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    }
    return (c & 0xfffe) == 0xfffe;
}

/* Decodes one code point of at most n bytes, shortest form only; returns its length, 0 when there is none. */
static size_t decode(uint32_t *c, const unsigned char *p, size_t n)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (length == 0 || length > n)
        return 0;
    *c = length == 1 ? p[0] : p[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *c = *c << 6 | (p[i] & 0x3fu);
    }
    return *c >= least[length] && *c <= 0x10ffff ? length : 0;
}

/* Appends text to out, made visible; control bytes up to `marks` pass. */
static void add_visible(fl_buf *out, const char *text, unsigned marks)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t n = strlen(text); n > 0;) {
        uint32_t c = 0;
        size_t length = decode(&c, p, n);
        if (length == 0)
            fl_buf_printf(out, "[byte %02x]", p[0]);
        else if (is_hidden(c) && !(c >= 1 && c <= marks))
            fl_buf_printf(out, "[U+%04X]", (unsigned)c);
        else
            fl_buf_add(out, p, length);
        length += length == 0;
        p += length;
        n -= length;
    }
}

audit_shown audit_show(const char *text)
{
    audit_shown shown;
    fl_buf b;
    fl_buf_init(&b, (size_t)1 << 20);
    add_visible(&b, text, 0);
    static const char cut[] = " [and more]";
    size_t room = sizeof shown.text - 3 - sizeof cut, n = b.size;
    if (n > room) {
        for (n = room; n > 0 && (b.bytes[n] & 0xc0) == 0x80;)
            n--; /* not within a character */
    }
    snprintf(shown.text, sizeof shown.text, DOC_QUOTE "%.*s%s" DOC_QUOTE_END, (int)n, fl_buf_text(&b),
             n < b.size ? cut : "");
    fl_buf_fini(&b);
    return shown;
}

/* --- blocks --- */

static doc_block *new_block(audit_doc *d)
{
    if (!fl_grow(&d->blocks, &d->capacity, d->n, sizeof *d->blocks)) {
        d->failed = true;
        return NULL;
    }
    return &d->blocks[d->n++];
}

static void add_text(audit_doc *d, doc_kind kind, doc_tone tone, const char *text, const struct audit_chart *chart)
{
    fl_buf b;
    fl_buf_init(&b, (size_t)1 << 20);
    add_visible(&b, text, MARKS);
    doc_block *block = b.failed ? NULL : new_block(d);
    char *copy = block ? strdup(fl_buf_text(&b)) : NULL;
    if (block)
        *block = (doc_block){.kind = kind, .tone = tone, .text = copy, .chart = chart};
    if (!copy)
        d->failed = true;
    fl_buf_fini(&b);
}

void audit_doc_add(audit_doc *d, doc_kind kind, doc_tone tone, const char *format, ...)
{
    char text[DOC_TEXT_MAX / 4];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add_text(d, kind, tone, text, NULL);
}

void audit_doc_table(audit_doc *d, const char *caption, const char *const *columns)
{
    add_text(d, DOC_TABLE, DOC_PLAIN, caption, NULL);
    for (; *columns; columns++)
        add_text(d, DOC_HEAD, DOC_PLAIN, *columns, NULL);
}

void audit_doc_picture(audit_doc *d, const struct audit_chart *chart)
{
    add_text(d, DOC_PICTURE, DOC_PLAIN, chart->description, chart);
}

void audit_doc_fini(audit_doc *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->blocks[i].text);
    free(d->blocks);
    free(d->title);
}
