#include "train/onnx_graph.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { IR_VERSION = 7, OPSET = 13, FLOAT = 1, INT64 = 7 };

/* --- protobuf: a field is its number and type in a varint, then a varint, 4 bytes, or a length and bytes ----------- */

static size_t varint(uint8_t at[10], uint64_t value)
{
    size_t n = 0;
    for (; value >= 128; value >>= 7)
        at[n++] = (uint8_t)(value | 128);
    at[n++] = (uint8_t)value;
    return n;
}

static void put_varint(fl_buf *b, uint64_t value)
{
    uint8_t bytes[10];
    fl_buf_add(b, bytes, varint(bytes, value));
}

static void put_int(fl_buf *b, uint32_t field, int64_t value)
{
    put_varint(b, field << 3 | 0);
    put_varint(b, (uint64_t)value);
}

static void put_head(fl_buf *b, uint32_t field, size_t n)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, n);
}

static void put_bytes(fl_buf *b, uint32_t field, const void *bytes, size_t n)
{
    put_head(b, field, n);
    fl_buf_add(b, bytes, n);
}

static void put_text(fl_buf *b, uint32_t field, const char *text)
{
    put_bytes(b, field, text, strlen(text));
}

static void put_message(fl_buf *b, uint32_t field, const fl_buf *message)
{
    b->failed = b->failed || message->failed;
    put_bytes(b, field, message->bytes, message->size);
}

/* --- nodes ----------------------------------------------------------------------------------------------------- */

void onnx_init(onnx_graph *g, size_t max_bytes)
{
    fl_buf_init(&g->graph, max_bytes);
    fl_buf_init(&g->inputs, 4096);
    fl_buf_init(&g->attributes, 4096);
}

void onnx_fini(onnx_graph *g)
{
    fl_buf_fini(&g->graph);
    fl_buf_fini(&g->inputs);
    fl_buf_fini(&g->attributes);
}

void onnx_open(onnx_graph *g, const char *op, const char *output)
{
    assert(strlen(op) < sizeof g->op && strlen(output) < sizeof g->output);
    fl_buf_clear(&g->inputs);
    fl_buf_clear(&g->attributes);
    strcpy(g->op, op);
    strcpy(g->output, output);
}

void onnx_in(onnx_graph *g, const char *value)
{
    put_text(&g->inputs, 1, value); /* NodeProto.input */
}

/* AttributeProto: name 1, f 2, i 3, s 4, ints 8, type 20 (FLOAT 1, INT 2, STRING 3, INTS 7) */
static void attribute(onnx_graph *g, const char *key, uint32_t type, fl_buf *value)
{
    fl_buf a;
    fl_buf_init(&a, 4096);
    put_text(&a, 1, key);
    fl_buf_add(&a, value->bytes, value->size);
    put_int(&a, 20, type);
    put_message(&g->attributes, 5, &a); /* NodeProto.attribute */
    fl_buf_fini(&a);
    fl_buf_fini(value);
}

void onnx_ints(onnx_graph *g, const char *key, size_t n, const int64_t *values)
{
    fl_buf b;
    fl_buf_init(&b, 4096);
    for (size_t i = 0; i < n; i++)
        put_int(&b, 8, values[i]);
    attribute(g, key, 7, &b);
}

void onnx_int(onnx_graph *g, const char *key, int64_t value)
{
    fl_buf b;
    fl_buf_init(&b, 64);
    put_int(&b, 3, value);
    attribute(g, key, 2, &b);
}

void onnx_float(onnx_graph *g, const char *key, float value)
{
    fl_buf b;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint8_t bytes[5] = {2 << 3 | 5, (uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                              (uint8_t)(bits >> 24)};
    fl_buf_init(&b, 64);
    fl_buf_add(&b, bytes, sizeof bytes);
    attribute(g, key, 1, &b);
}

void onnx_text(onnx_graph *g, const char *key, const char *value)
{
    fl_buf b;
    fl_buf_init(&b, 4096);
    put_text(&b, 4, value);
    attribute(g, key, 3, &b);
}

void onnx_close(onnx_graph *g)
{
    fl_buf node; /* NodeProto: input 1, output 2, name 3, op_type 4, attribute 5 */
    fl_buf_init(&node, 16384);
    fl_buf_add(&node, g->inputs.bytes, g->inputs.size);
    put_text(&node, 2, g->output);
    put_text(&node, 3, g->output);
    put_text(&node, 4, g->op);
    fl_buf_add(&node, g->attributes.bytes, g->attributes.size);
    node.failed = node.failed || g->inputs.failed || g->attributes.failed;
    put_message(&g->graph, 1, &node); /* GraphProto.node */
    fl_buf_fini(&node);
}

void onnx_node(onnx_graph *g, const char *op, const char *output, const char *first, const char *second)
{
    onnx_open(g, op, output);
    onnx_in(g, first);
    if (second)
        onnx_in(g, second);
    onnx_close(g);
}

/* --- constants ------------------------------------------------------------------------------------------------- */

/* TensorProto: dims 1, data_type 2, name 8, raw_data 9. The values follow: n bytes, little-endian. */
static void open_tensor(onnx_graph *g, const char *name, size_t n_dims, const int64_t *dims, int type, size_t n)
{
    fl_buf head;
    fl_buf_init(&head, 4096);
    for (size_t i = 0; i < n_dims; i++)
        put_int(&head, 1, dims[i]);
    put_int(&head, 2, type);
    put_text(&head, 8, name);
    put_head(&head, 9, n);
    put_head(&g->graph, 5, head.size + n); /* GraphProto.initializer */
    fl_buf_add(&g->graph, head.bytes, head.size);
    fl_buf_fini(&head);
}

static void put_words(fl_buf *out, const void *values, size_t n, size_t size)
{
    uint8_t bytes[4096];
    for (size_t i = 0, used = 0; i < n; i++) {
        uint64_t word = 0;
        uint32_t half;
        if (size == 8) {
            memcpy(&word, (const uint8_t *)values + 8 * i, 8);
        } else {
            memcpy(&half, (const uint8_t *)values + 4 * i, 4);
            word = half;
        }
        for (size_t k = 0; k < size; k++)
            bytes[used++] = (uint8_t)(word >> (8 * k));
        if (used == sizeof bytes || i + 1 == n) {
            fl_buf_add(out, bytes, used);
            used = 0;
        }
    }
}

void onnx_floats(onnx_graph *g, const char *name, size_t n_dims, const int64_t *dims, const float *values)
{
    size_t n = 1;
    for (size_t i = 0; i < n_dims; i++)
        n *= (size_t)dims[i];
    open_tensor(g, name, n_dims, dims, FLOAT, 4 * n);
    put_words(&g->graph, values, n, 4);
}

void onnx_integers(onnx_graph *g, const char *name, size_t n, const int64_t *values)
{
    const int64_t dims[1] = {(int64_t)n};
    open_tensor(g, name, 1, dims, INT64, 8 * n);
    put_words(&g->graph, values, n, 8);
}

/* --- the file -------------------------------------------------------------------------------------------------- */

/* ValueInfoProto {name 1, type 2: TypeProto {tensor_type 1: Tensor {elem_type 1, shape 2: TensorShapeProto {dim 1:
 * Dimension {dim_value 1, dim_param 2}}}}} */
static void put_value(onnx_graph *g, uint32_t field, const char *name, size_t n_dims, const uint32_t *dims)
{
    fl_buf shape, dim, tensor, type, value;
    fl_buf *const all[] = {&shape, &dim, &tensor, &type, &value};
    for (size_t i = 0; i < 5; i++)
        fl_buf_init(all[i], 4096);
    put_text(&dim, 2, "batch");
    put_message(&shape, 1, &dim);
    for (size_t i = 0; i < n_dims; i++) {
        fl_buf_clear(&dim);
        put_int(&dim, 1, dims[i]);
        put_message(&shape, 1, &dim);
    }
    put_int(&tensor, 1, FLOAT);
    put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&value, 1, name);
    put_message(&value, 2, &type);
    put_message(&g->graph, field, &value);
    for (size_t i = 0; i < 5; i++)
        fl_buf_fini(all[i]);
}

void onnx_input(onnx_graph *g, const char *name, size_t n_dims, const uint32_t *dims)
{
    put_value(g, 11, name, n_dims, dims); /* GraphProto.input */
}

void onnx_output(onnx_graph *g, const char *name, size_t n_dims, const uint32_t *dims)
{
    put_value(g, 12, name, n_dims, dims); /* GraphProto.output */
}

/* ModelProto: ir_version 1, producer_name 2, producer_version 3, graph 7, opset_import 8 (OperatorSetIdProto: domain 1,
 * version 2), metadata_props 14 (StringStringEntryProto: key 1, value 2) */
fl_code onnx_finish(fl_buf *out, onnx_graph *g, const char *name, size_t n_facts, const char *const *keys,
                    const char *const *values, fl_err *err)
{
    fl_buf part;
    put_text(&g->graph, 2, name); /* GraphProto.name */
    fl_code rc = fl_buf_check(&g->graph, "ONNX graph", err);
    if (rc != FL_OK)
        return rc;
    put_int(out, 1, IR_VERSION);
    put_text(out, 2, "cordon");
    put_text(out, 3, CORDON_VERSION);
    put_message(out, 7, &g->graph);
    fl_buf_init(&part, 65536);
    put_text(&part, 1, "");
    put_int(&part, 2, OPSET);
    put_message(out, 8, &part);
    for (size_t i = 0; i < n_facts; i++) {
        fl_buf_clear(&part);
        put_text(&part, 1, keys[i]);
        put_text(&part, 2, values[i]);
        put_message(out, 14, &part);
    }
    fl_buf_fini(&part);
    return fl_buf_check(out, "ONNX file", err);
}
