/*
 * audit_chart - lines that go up in steps, below a line that is not to be passed, as an inline SVG.
 *
 * Points are drawn left to right; x may stay but not go back. However many points there are, the picture stays small:
 * a line takes at most one step for each unit of its width, and marks that would lie on each other are one mark.
 * Lines differ by dash and by width, not by colour alone. Colours come from the page's style (classes of report_html.c).
 */
#ifndef AUDIT_CHART_H
#define AUDIT_CHART_H

#include "base/buf.h"

enum { CHART_LINES = 7, CHART_TICKS = 5 };

typedef enum chart_mark {
    CHART_NO_MARK,
    CHART_BURN,  /* a cross */
    CHART_OTHER, /* a diamond */
} chart_mark;

typedef struct chart_point {
    double x, y; /* y from here on */
    chart_mark mark;
} chart_point;

typedef struct chart_line {
    char name[100]; /* UTF-8, printable; escaped here */
    chart_point *points;
    size_t n;
    bool is_total; /* thicker */
} chart_line;

typedef struct audit_chart {
    char id[32]; /* unique in the page */
    char title[200];
    char description[900];
    char x_name[80];
    double x_last;  /* x goes from 0 to here; above 0 */
    chart_line cap; /* n = 0: none */
    chart_line lines[CHART_LINES];
    size_t n_lines;
    struct {
        double x;
        char text[32];
    } ticks[CHART_TICKS];
    size_t n_ticks;
    bool has_burns, has_others;
} audit_chart;

void audit_chart_svg(fl_buf *out, const audit_chart *c);
void audit_chart_fini(audit_chart *c);

/* Text as XML character data and attribute values. */
void audit_xml(fl_buf *out, const char *text, size_t n);

#endif
