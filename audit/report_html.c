/* The document as one page: XHTML that is HTML5 too, no scripts, nothing from elsewhere. */
#include "audit/chart.h"
#include "audit/doc.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_MAX = 64 << 20, COLUMNS_MAX = 12 };

/* clang-format off */
static const char STYLE[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#57606a;--rule:#d0d7de;--box:#f5f7f9;--good:#0a6b2e;"
    "--good-bg:#e6f5ea;--care:#7a4a00;--care-bg:#fff4dc;--bad:#b3141c;--bad-bg:#fdeaea;--link:#0b57a4;"
    "--c0:#0b57a4;--c1:#8a3fb0;--c2:#0a7d72;--c3:#a34700;--c4:#5d5f00;--c5:#a01f63}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e4e8ec;--soft:#a0a9b3;--rule:#3a424b;--box:#1d2228;"
    "--good:#6fd08f;--good-bg:#12301d;--care:#f0bf66;--care-bg:#35280d;--bad:#ff8f8a;--bad-bg:#421a1c;--link:#7ab8ff;"
    "--c0:#7ab8ff;--c1:#d3a0ee;--c2:#5fd0c3;--c3:#f0a468;--c4:#cfd060;--c5:#f58fc0}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:1.2rem 1.2rem 4rem;max-width:58rem;background:var(--bg);color:var(--fg);"
    "font:1rem/1.55 system-ui,-apple-system,\"Segoe UI\",\"Liberation Sans\",Arial,sans-serif;overflow-wrap:break-word}\n"
    "h1{font-size:1.7rem;line-height:1.25;margin:.3rem 0 .6rem}\n"
    "h2{font-size:1.3rem;line-height:1.3;margin:2.6rem 0 .6rem;padding-top:.7rem;border-top:2px solid var(--rule)}\n"
    "h3{font-size:1.08rem;margin:1.6rem 0 .4rem}\n"
    "p{margin:.6rem 0;max-width:46rem}\nul{margin:.5rem 0;padding-left:1.3rem;max-width:46rem}\nli{margin:.3rem 0}\n"
    "a{color:var(--link)}\nbdi{unicode-bidi:isolate}\ncode,pre{font-family:\"DejaVu Sans Mono\",monospace;font-size:.86em;overflow-wrap:anywhere}\n"
    "pre{background:var(--box);border:1px solid var(--rule);border-radius:4px;padding:.6rem .8rem;overflow-x:auto;"
    "white-space:pre-wrap;overflow-wrap:anywhere}\n"
    ".verdict{font-size:1.12rem;padding:.8rem 1rem;border-left:.5rem solid;border-radius:4px;max-width:none}\n"
    ".good{color:var(--good)}.care{color:var(--care)}.bad{color:var(--bad)}\n"
    ".verdict.good,p.good{background:var(--good-bg)}.verdict.care,p.care{background:var(--care-bg)}"
    ".verdict.bad,p.bad{background:var(--bad-bg)}\n"
    "p.good,p.care,p.bad{padding:.5rem .8rem;border-left:.3rem solid;border-radius:4px}\n"
    "nav{background:var(--box);border:1px solid var(--rule);border-radius:4px;padding:.5rem 1rem;margin:1rem 0}\n"
    "nav ol{margin:.2rem 0;padding-left:1.4rem}nav li{margin:.1rem 0}\n"
    ".wrap{margin:1rem 0}\ntable{border-collapse:collapse;width:100%;font-size:.94rem}\n"
    "caption{text-align:left;font-weight:600;padding:.2rem 0 .4rem}\n"
    "th,td{text-align:left;vertical-align:top;padding:.4rem .7rem .4rem .5rem;border-bottom:1px solid var(--rule)}\n"
    "thead th{border-bottom:2px solid var(--soft);color:var(--soft);font-weight:600}\n"
    ".sign{font-weight:700}tbody th{font-weight:600;min-width:7rem}\n"
    "figure{margin:1rem 0;max-width:44rem}\nsvg{width:100%;height:auto;display:block}\n"
    "svg text{fill:var(--fg);font:13px system-ui,-apple-system,\"Liberation Sans\",Arial,sans-serif}\n"
    "svg path{fill:none}.grid{stroke:var(--rule)}.axis{stroke:var(--soft);stroke-width:1.3}"
    ".cap{stroke:var(--bad);stroke-width:2;stroke-dasharray:9 5}\n"
    ".total{stroke:var(--fg);stroke-width:3}.line{stroke-width:2}.s0{stroke:var(--c0)}"
    ".s1{stroke:var(--c0);stroke-dasharray:none}.s2{stroke:var(--c1);stroke-dasharray:7 3}"
    ".s3{stroke:var(--c2);stroke-dasharray:3 3}.s4{stroke:var(--c3);stroke-dasharray:10 3 2 3}"
    ".s5{stroke:var(--c4);stroke-dasharray:1 3}.s6{stroke:var(--c5);stroke-dasharray:12 4}\n"
    ".burn{stroke:var(--bad);stroke-width:2.4}svg .other{fill:var(--care);stroke:var(--bg)}\n"
    "@media (max-width:40rem){body{padding:.8rem .8rem 3rem}h1{font-size:1.4rem}"
    "table,tbody,tr,th,td,caption{display:block}thead{position:absolute;width:1px;height:1px;overflow:hidden;"
    "clip-path:inset(50%)}tbody tr{border-bottom:2px solid var(--rule);padding:.5rem 0}"
    "th,td{border:0;padding:.15rem 0}td[data-head]::before{content:attr(data-head) \": \";color:var(--soft)}}\n"
    "@media print{:root{font-size:10pt;color-scheme:light;--bg:#fff;--fg:#000;--soft:#444;--rule:#999;--box:#fff;--good:#0a6b2e;"
    "--good-bg:#fff;--care:#7a4a00;--care-bg:#fff;--bad:#b3141c;--bad-bg:#fff;--link:#000;--c0:#0b57a4;--c1:#8a3fb0;"
    "--c2:#0a7d72;--c3:#a34700;--c4:#5d5f00;--c5:#a01f63}body{max-width:none;padding:0}nav{display:none}"
    "h2,h3,caption{break-after:avoid}tr,figure,pre,.verdict{break-inside:avoid}thead{display:table-header-group}}\n";
/* clang-format on */

static const char *const tones[] = {"", "good", "care", "bad"};
static const char *const signs[] = {"", "\xe2\x9c\x93 ", "! ", "\xe2\x9c\x97 "};

/* --- text within a block --- */

typedef struct mark {
    char open, close;
    const char *start, *end;
} mark;

static const mark marks[] = {
    {1, 2, "<bdi>", "</bdi>"},
    {3, 4, "<strong>", "</strong>"},
    {5, 6, "<code>", "</code>"},
};
enum { N_MARKS = sizeof marks / sizeof marks[0], DEPTH = 8 };

/* Escaped, with the marks as elements. Marks that do not match are left out, so what comes out is balanced. */
static void add_inline(fl_buf *out, const char *text)
{
    const mark *open[DEPTH];
    size_t depth = 0;
    for (const char *p = text; *p; p++) {
        if (*p > 6 || *p < 1) {
            audit_xml(out, p, 1);
            continue;
        }
        const mark *m = &marks[(*p - 1) / 2];
        if (*p == m->open && depth < DEPTH) {
            fl_buf_add_text(out, m->start);
            open[depth++] = m;
        } else if (*p == m->close && depth > 0 && open[depth - 1] == m) {
            fl_buf_add_text(out, m->end);
            depth--;
        }
    }
    while (depth > 0)
        fl_buf_add_text(out, open[--depth]->end);
}

/* For attributes: no elements. */
static void add_plain(fl_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text > 6 || *text < 1)
            audit_xml(out, text, 1);
    }
}

/* --- blocks --- */

static void add_element(fl_buf *out, const char *element, const doc_block *b, const char *class_name)
{
    const char *tone = tones[b->tone];
    fl_buf_printf(out, "<%s", element);
    if (*tone || *class_name)
        fl_buf_printf(out, " class=\"%s%s%s\"", class_name, *tone && *class_name ? " " : "", tone);
    fl_buf_add_text(out, ">");
    add_inline(out, b->text);
    fl_buf_printf(out, "</%s>\n", element);
}

/* A run of blocks of one kind inside a frame; returns how many. */
static size_t add_run(fl_buf *out, const audit_doc *d, size_t at, const char *frame, const char *element)
{
    size_t n = 0;
    fl_buf_printf(out, "<%s>%s", frame, element ? "\n" : "");
    for (; at + n < d->n && d->blocks[at + n].kind == d->blocks[at].kind; n++) {
        if (element) {
            add_element(out, element, &d->blocks[at + n], "");
        } else {
            add_inline(out, d->blocks[at + n].text);
            fl_buf_add_text(out, "\n");
        }
    }
    fl_buf_printf(out, "</%s>\n", frame);
    return n;
}

static void add_cell(fl_buf *out, const doc_block *cell, const char *head, bool is_first)
{
    const char *element = is_first ? "th" : "td";
    fl_buf_printf(out, "<%s role=\"%s\"", element, is_first ? "rowheader" : "cell");
    if (is_first)
        fl_buf_add_text(out, " scope=\"row\"");
    else if (head && *head) {
        fl_buf_add_text(out, " data-head=\"");
        add_plain(out, head);
        fl_buf_add_text(out, "\"");
    }
    if (cell->tone != DOC_PLAIN)
        fl_buf_printf(out, " class=\"%s\"", tones[cell->tone]);
    fl_buf_add_text(out, ">");
    if (cell->tone != DOC_PLAIN) /* for those who do not see colours */
        fl_buf_printf(out, "<span class=\"sign\" aria-hidden=\"true\">%s</span>", signs[cell->tone]);
    add_inline(out, cell->text);
    fl_buf_printf(out, "</%s>", element);
}

/* The roles keep it a table for those who listen, where a narrow screen lays the cells below each other. */
static size_t add_table(fl_buf *out, const audit_doc *d, size_t at)
{
    const char *heads[COLUMNS_MAX] = {NULL};
    size_t i = at + 1, n_heads = 0, column = 0;
    bool is_row = false;
    fl_buf_add_text(out, "<div class=\"wrap\">\n<table role=\"table\">\n<caption>");
    add_inline(out, d->blocks[at].text);
    fl_buf_add_text(out, "</caption>\n<thead role=\"rowgroup\"><tr role=\"row\">");
    for (; i < d->n && d->blocks[i].kind == DOC_HEAD; i++) {
        if (n_heads < COLUMNS_MAX)
            heads[n_heads++] = d->blocks[i].text;
        fl_buf_add_text(out, "<th role=\"columnheader\" scope=\"col\">");
        add_inline(out, d->blocks[i].text);
        fl_buf_add_text(out, "</th>");
    }
    fl_buf_add_text(out, "</tr></thead>\n<tbody role=\"rowgroup\">\n");
    for (; i < d->n && (d->blocks[i].kind == DOC_ROW || d->blocks[i].kind == DOC_CELL); i++) {
        if (d->blocks[i].kind == DOC_ROW) {
            fl_buf_add_text(out, is_row ? "</tr>\n<tr role=\"row\">" : "<tr role=\"row\">");
            is_row = true;
            column = 0;
            continue;
        }
        add_cell(out, &d->blocks[i], column < n_heads ? heads[column] : NULL, column == 0);
        column++;
    }
    fl_buf_printf(out, "%s</tbody>\n</table>\n</div>\n", is_row ? "</tr>\n" : "");
    return i - at;
}

static void add_contents(fl_buf *out, const audit_doc *d)
{
    size_t n = 0;
    fl_buf_add_text(out, "<nav aria-label=\"Contents\">\n<ol>\n");
    for (size_t i = 0; i < d->n; i++) {
        if (d->blocks[i].kind != DOC_HEADING)
            continue;
        fl_buf_printf(out, "<li><a href=\"#part-%zu\">", ++n);
        add_inline(out, d->blocks[i].text);
        fl_buf_add_text(out, "</a></li>\n");
    }
    fl_buf_add_text(out, "</ol>\n</nav>\n");
}

static void add_blocks(fl_buf *out, const audit_doc *d)
{
    size_t n_headings = 0;
    for (size_t i = 0; i < d->n;) {
        const doc_block *b = &d->blocks[i];
        size_t n = 1;
        switch (b->kind) {
        case DOC_HEADING:
            if (n_headings == 0)
                add_contents(out, d);
            n_headings++;
            fl_buf_printf(out, "<h2 id=\"part-%zu\">%zu. ", n_headings, n_headings);
            add_inline(out, b->text);
            fl_buf_add_text(out, "</h2>\n");
            break;
        case DOC_SUBHEADING:
            add_element(out, "h3", b, "");
            break;
        case DOC_VERDICT:
            add_element(out, "p", b, "verdict");
            break;
        case DOC_PARA:
            add_element(out, "p", b, "");
            break;
        case DOC_ITEM:
            n = add_run(out, d, i, "ul", "li");
            break;
        case DOC_CODE:
            n = add_run(out, d, i, "pre", NULL);
            break;
        case DOC_TABLE:
            n = add_table(out, d, i);
            break;
        case DOC_PICTURE:
            fl_buf_add_text(out, "<figure>\n");
            audit_chart_svg(out, b->chart);
            fl_buf_add_text(out, "</figure>\n");
            break;
        default: /* a cell outside a table: a mistake of ours that must not lose its text */
            add_element(out, "p", b, "");
            break;
        }
        i += n;
    }
}

fl_code audit_doc_html(fl_buf *out, const audit_doc *d, fl_err *err)
{
    fl_buf page;
    if (d->failed)
        return fl_fail(err, FL_EENV, "report: no memory left");
    fl_buf_init(&page, PAGE_MAX);
    fl_buf_add_text(&page, "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n"
                           "<meta charset=\"utf-8\" />\n"
                           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n"
                           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
                           "'unsafe-inline'\" />\n<meta name=\"referrer\" content=\"no-referrer\" />\n<title>");
    add_plain(&page, d->title);
    fl_buf_printf(&page, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1 class=\"title %s\">", STYLE,
                  tones[d->tone]);
    add_inline(&page, d->title);
    fl_buf_add_text(&page, "</h1>\n");
    add_blocks(&page, d);
    fl_buf_add_text(&page, "</main>\n</body>\n</html>\n");
    fl_code code = fl_buf_check(&page, "report", err);
    if (code == FL_OK)
        fl_buf_add(out, page.bytes, page.size);
    fl_buf_fini(&page);
    return code;
}
