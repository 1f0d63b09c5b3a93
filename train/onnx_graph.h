/*
 * onnx_graph - nodes and constants of an ONNX file under construction, written as protobuf by hand: the few messages that
 * we need have fixed numbers (github.com/onnx/onnx, onnx/onnx.proto), quoted beside the lines that write them.
 *
 * A node is opened, gets its inputs in order and its attributes in any, and is closed:
 *
 *     onnx_open(g, "Conv", "y");  onnx_in(g, "x");  onnx_in(g, "w");  onnx_ints(g, "strides", 2, (int64_t[]){2, 2});
 *     onnx_close(g);
 *
 * Names are copied. A write that passes the buffers' maximum is seen at the end, in onnx_finish. Private to train.
 */
#ifndef TRAIN_ONNX_GRAPH_H
#define TRAIN_ONNX_GRAPH_H

#include "base/buf.h"

#define ONNX_NAME 96 /* of a value, with the zero */

typedef struct onnx_graph {
    fl_buf graph; /* fields of GraphProto */
    fl_buf inputs, attributes;
    char op[24], output[ONNX_NAME];
} onnx_graph;

void onnx_init(onnx_graph *g, size_t max_bytes);
void onnx_fini(onnx_graph *g);

void onnx_open(onnx_graph *g, const char *op, const char *output);
void onnx_in(onnx_graph *g, const char *value);
void onnx_int(onnx_graph *g, const char *key, int64_t value);
void onnx_ints(onnx_graph *g, const char *key, size_t n, const int64_t *values);
void onnx_float(onnx_graph *g, const char *key, float value);
void onnx_text(onnx_graph *g, const char *key, const char *value);
void onnx_close(onnx_graph *g);
/* A node of one or two inputs (second NULL: one) and no attributes. */
void onnx_node(onnx_graph *g, const char *op, const char *output, const char *first, const char *second);

/* Constants: row-major. */
void onnx_floats(onnx_graph *g, const char *name, size_t n_dims, const int64_t *dims, const float *values);
void onnx_integers(onnx_graph *g, const char *name, size_t n, const int64_t *values); /* a vector */

/* The graph's inputs and outputs: (batch, dims..), floats, batch of any size. */
void onnx_input(onnx_graph *g, const char *name, size_t n_dims, const uint32_t *dims);
void onnx_output(onnx_graph *g, const char *name, size_t n_dims, const uint32_t *dims);

/* Appends the ModelProto. keys and values: n_facts pairs for metadata_props. Errors: fl_buf_check's. */
fl_code onnx_finish(fl_buf *out, onnx_graph *g, const char *name, size_t n_facts, const char *const *keys,
                    const char *const *values, fl_err *err) FL_MUST_USE;

#endif
