/*
 * audit_doc - a document as a list of blocks, and two renderers over the same list: what a page says in HTML it says in
 * plain text too.
 *
 *     heading | subheading | paragraph | item (neighbours make a list) | code (neighbours make one box) | picture |
 *     table, then its column heads, then for each row its cells; the first cell of a row is the row's head
 *
 * A block's text is UTF-8 and one line. Whatever does not print, or changes the direction or order of what is printed,
 * is shown as [U+202E] or [byte 9b]: a document says what its reader sees. The only control bytes that pass are the
 * marks below; texts that come from a ledger go through audit_show, which takes marks away and puts them into a quote.
 */
#ifndef AUDIT_DOC_H
#define AUDIT_DOC_H

#include "base/buf.h"

#define DOC_QUOTE      "\1" /* the ledger's own words */
#define DOC_QUOTE_END  "\2"
#define DOC_STRONG     "\3"
#define DOC_STRONG_END "\4"
#define DOC_MONO       "\5"
#define DOC_MONO_END   "\6"

typedef enum doc_tone {
    DOC_PLAIN,
    DOC_GOOD,
    DOC_CARE, /* look at this */
    DOC_BAD,
} doc_tone;

typedef enum doc_kind {
    DOC_HEADING,
    DOC_SUBHEADING,
    DOC_VERDICT,
    DOC_PARA,
    DOC_ITEM,
    DOC_CODE,
    DOC_TABLE,
    DOC_HEAD,
    DOC_ROW,
    DOC_CELL,
    DOC_PICTURE,
} doc_kind;

/* A block's text is cut here; nothing of ours is as long. */
#define DOC_TEXT_MAX 65536

struct audit_chart;

typedef struct doc_block {
    doc_kind kind;
    doc_tone tone;
    char *text;
    const struct audit_chart *chart; /* PICTURE */
} doc_block;

typedef struct audit_doc {
    char *title;
    doc_tone tone; /* of the title */
    doc_block *blocks;
    size_t n, capacity;
    bool failed; /* no memory: the document is not whole */
} audit_doc;

void audit_doc_add(audit_doc *d, doc_kind kind, doc_tone tone, const char *format, ...) FL_PRINTF(4, 5);
/* A table and its column heads; columns is a list that ends with NULL. */
void audit_doc_table(audit_doc *d, const char *caption, const char *const *columns);
/* The chart must outlive the document. Its description is the block's text. */
void audit_doc_picture(audit_doc *d, const struct audit_chart *chart);
void audit_doc_fini(audit_doc *d);

#define AUDIT_SHOWN_MAX 1200
typedef struct audit_shown {
    char text[AUDIT_SHOWN_MAX];
} audit_shown;
/* A ledger's words, for use within one expression: audit_show(e->approver).text. Long ones are cut. */
audit_shown audit_show(const char *text);

/* Both append. FL_EENV when the document or the page found no memory. */
fl_code audit_doc_html(fl_buf *out, const audit_doc *d, fl_err *err) FL_MUST_USE;
fl_code audit_doc_text(fl_buf *out, const audit_doc *d, fl_err *err) FL_MUST_USE;

#endif
