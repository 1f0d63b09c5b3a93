/* The document as plain text of at most WIDTH columns, but for words that are longer. */
#include "audit/chart.h"
#include "audit/doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 100, COLUMNS_MAX = 12, CELL_MIN = 9, GAP = 2 };

/* --- text within a block --- */

static bool is_word(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+/", text[i]))
            return false;
    }
    return n > 0;
}

/* Without marks: the ledger's own words in quotes unless they are one plain word. The caller frees; NULL: no memory. */
static char *unmark(const char *text)
{
    fl_buf b;
    fl_buf_init(&b, (size_t)1 << 20);
    const char *quote = "";
    for (const char *p = text; *p; p++) {
        if (*p == DOC_QUOTE[0]) {
            quote = is_word(p + 1, strcspn(p + 1, DOC_QUOTE_END)) ? "" : "\"";
            fl_buf_add_text(&b, quote);
        } else if (*p == DOC_QUOTE_END[0]) {
            fl_buf_add_text(&b, quote);
            quote = "";
        } else if (*p > 6 || *p < 1) {
            fl_buf_add(&b, p, 1);
        }
    }
    char *copy = b.failed ? NULL : strdup(fl_buf_text(&b));
    fl_buf_fini(&b);
    return copy;
}

/* Characters, not bytes. */
static size_t width_of(const char *text, size_t n)
{
    size_t width = 0;
    for (size_t i = 0; i < n; i++)
        width += ((unsigned char)text[i] & 0xc0) != 0x80;
    return width;
}

/* Bytes of the next line of at most `width` characters; *next is where the line after it starts. A word that is longer
 * than a line is cut when `cuts`. */
static size_t line_of(const char *text, size_t width, bool cuts, const char **next)
{
    size_t n = 0, used = 0, fits = 0;
    while (text[n] && used <= width) {
        if (text[n] == ' ')
            fits = n;
        n++;
        while (((unsigned char)text[n] & 0xc0) == 0x80)
            n++;
        used++;
    }
    if (used <= width && text[n] == 0) {
        *next = text + n;
        return n;
    }
    if (fits == 0 && cuts) {
        for (n--; ((unsigned char)text[n] & 0xc0) == 0x80;)
            n--;
        *next = text + n;
        return n;
    }
    if (fits == 0)
        fits = strcspn(text, " ");
    *next = text + fits + (text[fits] == ' ');
    return fits;
}

static void add_spaces(fl_buf *out, size_t n)
{
    fl_buf_printf(out, "%*s", (int)n, "");
}

static void add_wrapped(fl_buf *out, const char *first, const char *rest, const char *marked)
{
    char *text = unmark(marked);
    const char *prefix = first, *p = text;
    while (p && *p) {
        const char *next;
        size_t n = line_of(p, WIDTH - strlen(prefix), false, &next);
        fl_buf_printf(out, "%s%.*s\n", prefix, (int)n, p);
        prefix = rest;
        p = next;
    }
    if (!text)
        out->failed = true;
    free(text);
}

/* --- tables --- */

typedef struct table {
    size_t n_columns, widths[COLUMNS_MAX];
} table;

static size_t visible_width(const char *marked)
{
    char *text = unmark(marked);
    size_t n = text ? width_of(text, strlen(text)) : 0;
    free(text);
    return n;
}

/* As wide as the cells, the widest columns narrower until all fit. */
static void measure(table *t, const audit_doc *d, size_t at)
{
    size_t column = 0, total = 0;
    *t = (table){0};
    for (size_t i = at + 1; i < d->n && d->blocks[i].kind >= DOC_HEAD && d->blocks[i].kind <= DOC_CELL; i++) {
        const doc_block *b = &d->blocks[i];
        if (b->kind == DOC_ROW)
            column = 0;
        else if (column < COLUMNS_MAX) {
            size_t width = visible_width(b->text);
            if (width > t->widths[column])
                t->widths[column] = width;
            column++;
            if (column > t->n_columns)
                t->n_columns = column;
        }
    }
    for (size_t i = 0; i < t->n_columns; i++)
        total += t->widths[i] + (i > 0 ? GAP : 0);
    while (total > WIDTH) {
        size_t widest = 0;
        for (size_t i = 1; i < t->n_columns; i++)
            widest = t->widths[i] > t->widths[widest] ? i : widest;
        if (t->widths[widest] <= CELL_MIN)
            break;
        t->widths[widest]--;
        total--;
    }
}

/* The cells from block `at`, beside each other; returns how many. */
static size_t add_row(fl_buf *out, const table *t, const audit_doc *d, size_t at, doc_kind kind)
{
    char *texts[COLUMNS_MAX] = {NULL};
    const char *rest[COLUMNS_MAX];
    size_t n = 0, columns;
    while (at + n < d->n && d->blocks[at + n].kind == kind)
        n++;
    columns = n < COLUMNS_MAX ? n : COLUMNS_MAX;
    for (size_t i = 0; i < columns; i++) {
        texts[i] = unmark(d->blocks[at + i].text);
        rest[i] = texts[i] ? texts[i] : "";
        out->failed |= !texts[i];
    }
    for (bool more = columns > 0; more;) {
        size_t behind = 0; /* spaces that are owed, so that no line ends with them */
        more = false;
        for (size_t i = 0; i < columns; i++) {
            const char *next;
            size_t bytes = line_of(rest[i], t->widths[i], true, &next);
            if (bytes > 0)
                add_spaces(out, behind);
            if (bytes > 0)
                behind = 0;
            fl_buf_add(out, rest[i], bytes);
            behind += t->widths[i] - width_of(rest[i], bytes) + GAP;
            rest[i] = next;
            more |= *next != 0;
        }
        fl_buf_add_text(out, "\n");
    }
    for (size_t i = 0; i < columns; i++)
        free(texts[i]);
    return n;
}

static size_t add_table(fl_buf *out, const audit_doc *d, size_t at)
{
    table t;
    size_t i = at + 1, total = 0;
    measure(&t, d, at);
    add_wrapped(out, "", "", d->blocks[at].text);
    fl_buf_add_text(out, "\n");
    i += add_row(out, &t, d, i, DOC_HEAD);
    for (size_t column = 0; column < t.n_columns; column++)
        total += t.widths[column] + (column > 0 ? GAP : 0);
    for (size_t n = 0; n < total; n++)
        fl_buf_add_text(out, "-");
    fl_buf_add_text(out, "\n");
    bool is_long = false; /* rows of several lines stand apart */
    for (size_t column = 0; column < t.n_columns; column++)
        is_long |= t.n_columns > 1 && total >= WIDTH;
    for (bool first = true; i < d->n && d->blocks[i].kind == DOC_ROW; first = false) {
        if (is_long && !first)
            fl_buf_add_text(out, "\n");
        i++;
        i += add_row(out, &t, d, i, DOC_CELL);
    }
    fl_buf_add_text(out, "\n");
    return i - at;
}

/* --- blocks --- */

static const char *const tones[] = {"", "", "NOTE: ", "ALARM: "};

static void add_underlined(fl_buf *out, const char *text, char under)
{
    size_t start = out->size;
    add_wrapped(out, "", "", text);
    size_t n = width_of((const char *)out->bytes + start, out->size - start) - 1;
    for (size_t i = 0; i < n && i < WIDTH; i++)
        fl_buf_add(out, &under, 1);
    fl_buf_add_text(out, "\n\n");
}

static void add_toned(fl_buf *out, const doc_block *b, const char *first, const char *rest)
{
    char prefix[40];
    snprintf(prefix, sizeof prefix, "%s%s", first, tones[b->tone]);
    add_wrapped(out, prefix, rest, b->text);
}

static size_t add_block(fl_buf *out, const audit_doc *d, size_t at, size_t *n_headings)
{
    const doc_block *b = &d->blocks[at];
    bool is_last = at + 1 == d->n || d->blocks[at + 1].kind != b->kind;
    char heading[1400];
    switch (b->kind) {
    case DOC_HEADING:
        snprintf(heading, sizeof heading, "%zu. %s", ++*n_headings, b->text);
        fl_buf_add_text(out, "\n");
        add_underlined(out, heading, '=');
        return 1;
    case DOC_SUBHEADING:
        add_underlined(out, b->text, '-');
        return 1;
    case DOC_TABLE:
        return add_table(out, d, at);
    case DOC_ITEM:
        add_toned(out, b, "  - ", "    ");
        break;
    case DOC_CODE:
        add_wrapped(out, "    ", "        ", b->text);
        break;
    case DOC_PICTURE:
        add_wrapped(out, "[Picture] ", "          ", b->text);
        break;
    default:
        add_toned(out, b, "", "");
        fl_buf_add_text(out, "\n");
        return 1;
    }
    if (is_last)
        fl_buf_add_text(out, "\n");
    return 1;
}

fl_code audit_doc_text(fl_buf *out, const audit_doc *d, fl_err *err)
{
    size_t n_headings = 0;
    if (d->failed)
        return fl_fail(err, FL_EENV, "report: no memory left");
    add_underlined(out, d->title, '=');
    for (size_t i = 0; i < d->n;)
        i += add_block(out, d, i, &n_headings);
    return fl_buf_check(out, "report", err);
}
