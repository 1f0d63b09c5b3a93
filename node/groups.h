/*
 * node_groups - images sorted into parts by the text of a column: a hospital, a sex, a view; or, with edges, by a number:
 *
 *     "hospital"           a part for each text, in any case; empty texts are the part "-"
 *     "age:18,40,65"       "under 18", "18 to under 40", "40 to under 65", "65 and over"; what is no number is "-". DICOM's
 *                          ages "065Y" are numbers of years; of months, weeks and days, parts of one
 */
#ifndef NODE_GROUPS_H
#define NODE_GROUPS_H

#include "base/err.h"
#include <stdint.h>

#define NODE_MAX_GROUPS  64
#define NODE_GROUP_EDGES 16

typedef struct node_groups {
    char column[64];
    double edges[NODE_GROUP_EDGES];
    uint32_t n_edges;
    char names[NODE_MAX_GROUPS][64];
    uint32_t n;
} node_groups;

/* FL_EFORMAT: not a column's name, edges that are not ascending numbers. */
fl_code node_groups_init(node_groups *g, const char *by, fl_err *err) FL_MUST_USE;
/* FL_EREFUSED: more parts than fit. */
fl_code node_groups_add(node_groups *g, uint32_t *group, const char *text, fl_err *err) FL_MUST_USE;
/* The groups in the order people read them: rising bands, texts by their bytes. Bands that nothing is in are among them. */
void node_groups_order(const node_groups *g, uint32_t order[NODE_MAX_GROUPS]);

/* A column of a CSV of labels by the line its records begin on. */
typedef struct node_column {
    struct node_cell *cells; /* by line */
    size_t n;
} node_column;

/* FL_EFORMAT: no such column, or not a CSV. */
fl_code node_column_load(node_column *c, const char *path, const char *name, fl_err *err) FL_MUST_USE;
void node_column_fini(node_column *c);
const char *node_column_at(const node_column *c, size_t line); /* "" when there is none */

#endif
