#include "node/groups.h"

#include "base/csv.h"
#include "base/file.h"
#include "base/grow.h"
#include "node/labels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* "47", "47.5", DICOM's "047Y", "006M", "010W", "003D" (PS3.5 6.2, AS). */
static bool read_number(double *out, const char *text)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || !isfinite(*out))
        return false;
    const char unit = *end;
    *out /= unit == 'M' ? 12 : unit == 'W' ? 365.25 / 7 : unit == 'D' ? 365.25 : 1;
    return unit == 0 || (strchr("YMWD", unit) && end[1] == 0);
}

/* Groups 0 .. n_edges are the bands, the one after them is "-". */
static uint32_t band_of(const node_groups *g, const char *text)
{
    double value;
    uint32_t band = 0;
    if (!read_number(&value, text))
        return g->n_edges + 1;
    while (band < g->n_edges && value >= g->edges[band])
        band++;
    return band;
}

static void name_bands(node_groups *g)
{
    for (uint32_t i = 1; i < g->n_edges; i++)
        snprintf(g->names[i], sizeof g->names[0], "%g to under %g", g->edges[i - 1], g->edges[i]);
    snprintf(g->names[0], sizeof g->names[0], "under %g", g->edges[0]);
    snprintf(g->names[g->n_edges], sizeof g->names[0], "%g and over", g->edges[g->n_edges - 1]);
    snprintf(g->names[g->n_edges + 1], sizeof g->names[0], "-");
    g->n = g->n_edges + 2;
}

fl_code node_groups_init(node_groups *g, const char *by, fl_err *err)
{
    *g = (node_groups){0};
    const size_t n = strcspn(by, ":");
    if (n == 0 || n >= sizeof g->column)
        return fl_fail(err, FL_EFORMAT, "--by: \"%.63s\" is no column's name", by);
    memcpy(g->column, by, n);
    if (by[n] == 0)
        return FL_OK;
    for (const char *at = by + n;;) { /* at a colon or a comma */
        char *end;
        const double edge = strtod(at + 1, &end);
        const bool rises = g->n_edges == 0 || edge > g->edges[g->n_edges - 1];
        if (end == at + 1 || !isfinite(edge) || !rises || (*end != ',' && *end != 0))
            return fl_fail(err, FL_EFORMAT, "--by: the edges after \"%s:\" are not rising numbers with commas",
                           g->column);
        if (g->n_edges == NODE_GROUP_EDGES)
            return fl_fail(err, FL_EFORMAT, "--by: more than %d edges", NODE_GROUP_EDGES);
        g->edges[g->n_edges++] = edge;
        if (*end == 0)
            break;
        at = end;
    }
    name_bands(g);
    return FL_OK;
}

fl_code node_groups_add(node_groups *g, uint32_t *group, const char *text, fl_err *err)
{
    char name[64];
    if (g->n_edges > 0) {
        *group = band_of(g, text);
        return FL_OK;
    }
    snprintf(name, sizeof name, "%s", *text ? text : "-");
    for (char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    for (*group = 0; *group < g->n; ++*group)
        if (strcasecmp(g->names[*group], name) == 0)
            return FL_OK;
    if (g->n == NODE_MAX_GROUPS)
        return fl_fail(err, FL_EREFUSED, "--by %s: more than %d different texts: say bands of a number, as %s:20,40,60",
                       g->column, NODE_MAX_GROUPS, g->column);
    memcpy(g->names[g->n++], name, sizeof name);
    return FL_OK;
}

void node_groups_order(const node_groups *g, uint32_t order[NODE_MAX_GROUPS])
{
    for (uint32_t i = 0; i < g->n; i++) {
        uint32_t at = i;
        for (; g->n_edges == 0 && at > 0 && strcmp(g->names[order[at - 1]], g->names[i]) > 0; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

/* ---- a column of a CSV ------------------------------------------------------------------------------------------------ */

struct node_cell {
    size_t line;
    char text[64];
};

static char *trim(char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    size_t n = strlen(text);
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'))
        text[--n] = 0;
    return text;
}

static fl_code read_cells(node_column *c, fl_csv *r, const char *path, const char *name, fl_err *err)
{
    int at = -1;
    size_t capacity = 0;
    while (at < 0 && fl_csv_next(r)) {
        if (fl_csv_is_blank(r))
            continue;
        for (size_t i = 0; i < r->n_fields; i++)
            if (strcasecmp(trim(r->fields[i]), name) == 0)
                at = (int)i;
        break;
    }
    if (at < 0)
        return fl_fail(err, FL_EFORMAT, "%s: no column named %s", path, name);
    while (fl_csv_next(r)) {
        if (r->wrong || (size_t)at >= r->n_fields)
            continue; /* the labels say so */
        if (!fl_grow(&c->cells, &capacity, c->n, sizeof *c->cells))
            return fl_fail(err, FL_EENV, "%s: out of memory", path);
        struct node_cell *cell = &c->cells[c->n++];
        cell->line = r->record_line;
        snprintf(cell->text, sizeof cell->text, "%s", trim(r->fields[at]));
    }
    return FL_OK;
}

fl_code node_column_load(node_column *c, const char *path, const char *name, fl_err *err)
{
    fl_buf text;
    *c = (node_column){0};
    fl_buf_init(&text, NODE_LABELS_MAX_BYTES);
    fl_csv *r = malloc(sizeof *r);
    fl_code rc = r ? fl_file_read(&text, path, err) : fl_fail(err, FL_EENV, "%s: out of memory", path);
    char nothing[1] = "";
    if (rc == FL_OK) {
        fl_csv_init(r, text.size ? (char *)text.bytes : nothing, text.size);
        rc = read_cells(c, r, path, name, err);
    }
    if (rc)
        node_column_fini(c);
    free(r);
    fl_buf_fini(&text);
    return rc;
}

void node_column_fini(node_column *c)
{
    if (!c)
        return;
    free(c->cells);
    *c = (node_column){0};
}

static int by_line(const void *key, const void *cell)
{
    const size_t a = *(const size_t *)key, b = ((const struct node_cell *)cell)->line;
    return a < b ? -1 : a > b;
}

const char *node_column_at(const node_column *c, size_t line)
{
    const struct node_cell *cell = c->n ? bsearch(&line, c->cells, c->n, sizeof *c->cells, by_line) : NULL;
    return cell ? cell->text : "";
}
