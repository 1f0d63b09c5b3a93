/* node_evaluation - reports of train/report.h as a table for people and as JSON. */
#ifndef NODE_EVALUATION_H
#define NODE_EVALUATION_H

#include "base/json.h"
#include "train/report.h"
#include <stdio.h>

/* One part of the images by a column of the labels: a hospital, an age band, a view. */
typedef struct node_part {
    const char *name;
    nn_report report;
} node_part;

typedef struct node_evaluation {
    const char (*classes)[32];
    nn_report whole;
    const char *by; /* the column; NULL: none */
    node_part *parts;
    uint32_t n_parts;
    nn_comparison *against; /* (n_classes) of another model on the same images; NULL: none */
} node_evaluation;

void node_evaluation_print(FILE *out, const node_evaluation *e);
/* overall, macro, micro, per_class, confusion, targets, and by, against where there are any; NaN is null with a reason. */
void node_evaluation_json(fl_json *to, const node_evaluation *e);

#endif
