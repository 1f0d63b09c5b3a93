#include "audit/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* units of the view box */
enum { WIDTH = 560, LEFT = 48, RIGHT = 14, TOP = 26, PLOT = 250, AXIS = 54, ROW = 22, MARKS_MAX = 80 };

void audit_xml(fl_buf *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        switch (text[i]) {
        case '&':
            fl_buf_add_text(out, "&amp;");
            break;
        case '<':
            fl_buf_add_text(out, "&lt;");
            break;
        case '>':
            fl_buf_add_text(out, "&gt;");
            break;
        case '"':
            fl_buf_add_text(out, "&quot;");
            break;
        case '\'':
            fl_buf_add_text(out, "&#39;");
            break;
        default:
            fl_buf_add(out, text + i, 1);
        }
    }
}

static void add_text(fl_buf *out, double x, double y, const char *anchor, const char *text)
{
    fl_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    audit_xml(out, text, strlen(text));
    fl_buf_add_text(out, "</text>\n");
}

static double top_of(const audit_chart *c)
{
    double top = 0;
    for (size_t i = 0; i < c->n_lines; i++) {
        for (size_t j = 0; j < c->lines[i].n; j++)
            top = fmax(top, isfinite(c->lines[i].points[j].y) ? c->lines[i].points[j].y : 0);
    }
    for (size_t j = 0; j < c->cap.n; j++)
        top = fmax(top, c->cap.points[j].y);
    return top > 0 ? top * 1.08 : 1;
}

static double x_of(const audit_chart *c, double x)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * x / c->x_last;
}

static double y_of(double y, double top)
{
    return TOP + PLOT - PLOT * fmin(fmax(y, 0), top) / top; /* what is infinite runs along the top */
}

/* 1, 2 or 5 times a power of ten, so that at most six fit. */
static double tick_step(double top)
{
    double step = pow(10, floor(log10(top / 5)));
    return top / step <= 5 ? step : top / step <= 11 ? 2 * step : top / step <= 27 ? 5 * step : 10 * step;
}

static void add_axes(fl_buf *out, const audit_chart *c, double top)
{
    double step = tick_step(top);
    char text[32];
    for (double y = 0; y <= top * (1 + 1e-9); y += step) {
        fl_buf_printf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n", LEFT, y_of(y, top), WIDTH - RIGHT);
        snprintf(text, sizeof text, "%.4g", y);
        add_text(out, LEFT - 6, y_of(y, top) + 4, "end", text);
    }
    fl_buf_printf(out, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, TOP + PLOT, WIDTH - RIGHT);
    for (size_t i = 0; i < c->n_ticks; i++) {
        double x = x_of(c, c->ticks[i].x);
        fl_buf_printf(out, "<path class=\"axis\" d=\"M%.1f %dv5\"/>\n", x, TOP + PLOT);
        add_text(out, x, TOP + PLOT + 20, i == 0 ? "start" : i + 1 == c->n_ticks ? "end" : "middle", c->ticks[i].text);
    }
    add_text(out, (LEFT + WIDTH - RIGHT) / 2.0, TOP + PLOT + 42, "middle", c->x_name);
    add_text(out, LEFT + 6, TOP - 6, "start", "epsilon");
}

/* From the first point to the end: across, then up. */
static void add_line(fl_buf *out, const audit_chart *c, const chart_line *line, const char *class_name, double top)
{
    if (line->n == 0)
        return;
    fl_buf_printf(out, "<path class=\"%s\" d=\"", class_name);
    double at = x_of(c, line->points[0].x), level = y_of(line->points[0].y, top);
    bool is_cap = line == &c->cap;
    fl_buf_printf(out, "M%.0f %.1fV%.1f", at, is_cap ? level : (double)TOP + PLOT, level);
    for (size_t i = 1; i < line->n; i++) {
        double x = x_of(c, line->points[i].x);
        if (i + 1 < line->n && round(x_of(c, line->points[i + 1].x)) == round(x))
            continue; /* the last of those at one place stands for them */
        fl_buf_printf(out, "H%.0fV%.1f", x, y_of(line->points[i].y, top));
    }
    fl_buf_printf(out, "H%.0f\"/>\n", x_of(c, c->x_last));
}

static void add_mark(fl_buf *out, chart_mark mark, double x, double y)
{
    if (mark == CHART_BURN)
        fl_buf_printf(out, "<path class=\"burn\" d=\"M%.0f %.0fl10 10m0 -10l-10 10\"/>\n", x - 5, y - 5);
    else
        fl_buf_printf(out, "<path class=\"other\" d=\"M%.0f %.0fl6 6l-6 6l-6 -6z\"/>\n", x, y - 6);
}

static void add_marks(fl_buf *out, const audit_chart *c, const chart_line *line, double top)
{
    double last[3] = {-100, -100, -100};
    int n = 0;
    for (size_t i = 0; i < line->n && n < MARKS_MAX; i++) {
        chart_mark mark = line->points[i].mark;
        double x = x_of(c, line->points[i].x);
        if (mark == CHART_NO_MARK || x - last[mark] < 6)
            continue;
        last[mark] = x;
        add_mark(out, mark, x, y_of(line->points[i].y, top));
        n++;
    }
}

static double add_sample(fl_buf *out, const char *class_name, const char *name, double y)
{
    fl_buf_printf(out, "<path class=\"%s\" d=\"M%d %.0fh34\"/>\n", class_name, LEFT, y);
    add_text(out, LEFT + 44, y + 4, "start", name);
    return y + ROW;
}

static void add_legend(fl_buf *out, const audit_chart *c, double y)
{
    char class_name[24];
    if (c->cap.n > 0)
        y = add_sample(out, "cap", c->cap.name, y);
    for (size_t i = 0; i < c->n_lines; i++) {
        snprintf(class_name, sizeof class_name, c->lines[i].is_total ? "total" : "line s%zu", i);
        y = add_sample(out, class_name, c->lines[i].name, y);
    }
    if (c->has_burns) {
        add_mark(out, CHART_BURN, LEFT + 17, y);
        add_text(out, LEFT + 44, y + 4, "start", "burned round: paid for, although nothing was used");
        y += ROW;
    }
    if (c->has_others) {
        add_mark(out, CHART_OTHER, LEFT + 17, y);
        add_text(out, LEFT + 44, y + 4, "start", "quality figures released (also paid for)");
    }
}

void audit_chart_svg(fl_buf *out, const audit_chart *c)
{
    char class_name[24];
    double top = top_of(c);
    size_t rows = (c->cap.n > 0) + c->n_lines + c->has_burns + c->has_others;
    int height = TOP + PLOT + AXIS + (int)rows * ROW + 6;
    fl_buf_printf(out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" "
                  "aria-labelledby=\"%s-t %s-d\">\n<title id=\"%s-t\">",
                  WIDTH, height, c->id, c->id, c->id);
    audit_xml(out, c->title, strlen(c->title));
    fl_buf_printf(out, "</title>\n<desc id=\"%s-d\">", c->id);
    audit_xml(out, c->description, strlen(c->description));
    fl_buf_add_text(out, "</desc>\n");
    add_axes(out, c, top);
    add_line(out, c, &c->cap, "cap", top);
    for (size_t i = 0; i < c->n_lines; i++) {
        snprintf(class_name, sizeof class_name, c->lines[i].is_total ? "total" : "line s%zu", i);
        add_line(out, c, &c->lines[i], class_name, top);
    }
    for (size_t i = 0; i < c->n_lines; i++)
        add_marks(out, c, &c->lines[i], top);
    add_legend(out, c, TOP + PLOT + AXIS + ROW / 2.0);
    fl_buf_add_text(out, "</svg>\n");
}

void audit_chart_fini(audit_chart *c)
{
    free(c->cap.points);
    for (size_t i = 0; i < c->n_lines; i++)
        free(c->lines[i].points);
}
