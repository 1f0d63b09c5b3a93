#include "train/onnx.h"
#include "train/onnx_graph.h"
#include "train/onnx_layers.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- names ----------------------------------------------------------------------------------------------------- */

/* Values begin with a slash, which no layer's name and so no tensor's can have. */
const char *onnx_name(char out[ONNX_NAME], const nn_layer *l, const char *suffix)
{
    snprintf(out, ONNX_NAME, "/%s%s", l->name, suffix);
    return out;
}

/* --- shapes: a value is (batch, C, H, W), or (batch, n) behind what gives a vector ------------------------------- */

static void reshape(onnx_graph *g, const char *output, const char *input, size_t n, const int64_t *shape)
{
    char name[ONNX_NAME + 8];
    snprintf(name, sizeof name, "%s/shape", output);
    onnx_integers(g, name, n, shape);
    onnx_node(g, "Reshape", output, input, name);
}

/* Input k of the layer, brought to the form that is wanted. */
static const char *input_as(onnx_model *m, char out[ONNX_NAME], const nn_layer *l, int k, bool flat)
{
    const onnx_value *v = l->from[k] < 0 ? &m->image : &m->values[l->from[k]];
    if (v->is_flat == flat)
        return v->name;
    const nn_shape s = k == 0 ? l->in : l->other;
    onnx_name(out, l, k == 0 ? "/input" : "/other");
    if (flat) {
        onnx_open(&m->graph, "Flatten", out);
        onnx_in(&m->graph, v->name);
        onnx_int(&m->graph, "axis", 1);
        onnx_close(&m->graph);
    } else {
        reshape(&m->graph, out, v->name, 4, (int64_t[]){0, s.C, s.H, s.W});
    }
    return out;
}

/* --- layers ---------------------------------------------------------------------------------------------------- */

static void window(onnx_graph *g, const nn_layer *l)
{
    onnx_ints(g, "kernel_shape", 2, (int64_t[]){l->kernel_h, l->kernel_w});
    onnx_ints(g, "strides", 2, (int64_t[]){l->stride, l->stride});
    onnx_ints(g, "pads", 4, (int64_t[]){l->pad, l->pad, l->pad, l->pad});
}

static void put_conv(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME], weight[ONNX_NAME], bias[ONNX_NAME];
    const size_t n = l->n_weights - l->n_bias;
    snprintf(weight, sizeof weight, "%s.weight", l->name);
    snprintf(bias, sizeof bias, "%s.bias", l->name);
    const int64_t dims[4] = {l->dims[0], l->dims[1], l->dims[2], l->dims[3]}, outs[1] = {(int64_t)l->n_bias};
    if (l->is_standardised)
        nn_standardise(l, m->scratch, m->w + l->weights_at);
    const float *w = l->is_standardised ? m->scratch : m->w + l->weights_at;
    onnx_floats(&m->graph, weight, 4, dims, w);
    if (l->n_bias)
        onnx_floats(&m->graph, bias, 1, outs, w + n);
    const char *in = input_as(m, x, l, 0, false);
    onnx_open(&m->graph, "Conv", y);
    onnx_in(&m->graph, in);
    onnx_in(&m->graph, weight);
    if (l->n_bias)
        onnx_in(&m->graph, bias);
    window(&m->graph, l);
    onnx_int(&m->graph, "group", l->groups);
    onnx_close(&m->graph);
}

static void put_linear(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME], weight[ONNX_NAME], bias[ONNX_NAME];
    const int64_t dims[2] = {l->channels, (int64_t)l->n_in}, outs[1] = {(int64_t)l->n_bias};
    snprintf(weight, sizeof weight, "%s.weight", l->name);
    snprintf(bias, sizeof bias, "%s.bias", l->name);
    onnx_floats(&m->graph, weight, 2, dims, m->w + l->weights_at);
    if (l->n_bias)
        onnx_floats(&m->graph, bias, 1, outs, m->w + l->weights_at + l->n_weights - l->n_bias);
    const char *in = input_as(m, x, l, 0, true);
    onnx_open(&m->graph, "Gemm", y);
    onnx_in(&m->graph, in);
    onnx_in(&m->graph, weight);
    if (l->n_bias)
        onnx_in(&m->graph, bias);
    onnx_int(&m->graph, "transB", 1);
    onnx_close(&m->graph);
}

/* As PyTorch exports it: each group is a channel that InstanceNormalization brings to mean 0 and variance 1. */
void onnx_standard_groups(onnx_graph *g, const char *y, const char *x, nn_shape s, uint32_t groups, float epsilon)
{
    char ones[ONNX_NAME + 8], zeros[ONNX_NAME + 8], split[ONNX_NAME], normal[ONNX_NAME];
    float *values = calloc(groups, sizeof *values);
    if (!values)
        abort(); /* a few kilobytes */
    const int64_t dims[1] = {groups};
    snprintf(ones, sizeof ones, "%s/one", y);
    snprintf(zeros, sizeof zeros, "%s/zero", y);
    snprintf(split, sizeof split, "%.80s/groups", y);
    snprintf(normal, sizeof normal, "%.80s/standard", y);
    onnx_floats(g, zeros, 1, dims, values);
    for (uint32_t i = 0; i < groups; i++)
        values[i] = 1;
    onnx_floats(g, ones, 1, dims, values);
    free(values);
    reshape(g, split, x, 3, (int64_t[]){0, groups, -1});
    onnx_open(g, "InstanceNormalization", normal);
    onnx_in(g, split);
    onnx_in(g, ones);
    onnx_in(g, zeros);
    onnx_float(g, "epsilon", epsilon);
    onnx_close(g);
    reshape(g, y, normal, 4, (int64_t[]){0, s.C, s.H, s.W});
}

static void put_groupnorm(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME], weight[ONNX_NAME], bias[ONNX_NAME], groups[ONNX_NAME], scaled[ONNX_NAME];
    const int64_t dims[3] = {l->in.C, 1, 1};
    snprintf(weight, sizeof weight, "%s.weight", l->name);
    snprintf(bias, sizeof bias, "%s.bias", l->name);
    onnx_floats(&m->graph, weight, 3, dims, m->w + l->weights_at);
    onnx_floats(&m->graph, bias, 3, dims, m->w + l->weights_at + l->in.C);
    const char *in = input_as(m, x, l, 0, false);
    onnx_standard_groups(&m->graph, onnx_name(groups, l, "/normal"), in, l->in, l->channels, 1e-5f);
    onnx_node(&m->graph, "Mul", onnx_name(scaled, l, "/scaled"), groups, weight);
    onnx_node(&m->graph, "Add", y, scaled, bias);
}

static void put_maxpool(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME];
    const char *in = input_as(m, x, l, 0, false);
    onnx_open(&m->graph, "MaxPool", y);
    onnx_in(&m->graph, in);
    window(&m->graph, l);
    onnx_close(&m->graph);
}

/* Padding is a node of its own: OpenCV 4.6 takes no notice of count_include_pad. It is said nevertheless, because
 * onnxruntime puts the two nodes together again. */
static void put_avgpool(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME], pads[ONNX_NAME], padded[ONNX_NAME];
    const char *in = input_as(m, x, l, 0, false);
    nn_layer bare = *l;
    bare.pad = 0;
    if (l->pad > 0) {
        onnx_integers(&m->graph, onnx_name(pads, l, "/pads"), 8,
                      (int64_t[]){0, 0, l->pad, l->pad, 0, 0, l->pad, l->pad});
        onnx_node(&m->graph, "Pad", onnx_name(padded, l, "/padded"), in, pads);
        in = padded;
    }
    onnx_open(&m->graph, "AveragePool", y);
    onnx_in(&m->graph, in);
    window(&m->graph, &bare);
    onnx_int(&m->graph, "count_include_pad", 1);
    onnx_close(&m->graph);
}

static void put_globalpool(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME];
    onnx_node(&m->graph, "GlobalAveragePool", y, input_as(m, x, l, 0, false), NULL);
}

static void put_relu(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME];
    onnx_node(&m->graph, "Relu", y, input_as(m, x, l, 0, m->is_flat), NULL);
}

static void put_tanh(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME];
    onnx_node(&m->graph, "Tanh", y, input_as(m, x, l, 0, m->is_flat), NULL);
}

static void put_silu(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME], gate[ONNX_NAME];
    const char *in = input_as(m, x, l, 0, m->is_flat);
    onnx_node(&m->graph, "Sigmoid", onnx_name(gate, l, "/gate"), in, NULL);
    onnx_node(&m->graph, "Mul", y, in, gate);
}

static void put_same(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME];
    onnx_node(&m->graph, "Identity", y, input_as(m, x, l, 0, m->is_flat), NULL);
}

static void put_add(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME], other[ONNX_NAME];
    const char *first = input_as(m, x, l, 0, m->is_flat);
    onnx_node(&m->graph, "Add", y, first, input_as(m, other, l, 1, m->is_flat));
}

static void put_concat(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME], other[ONNX_NAME];
    const char *first = input_as(m, x, l, 0, m->is_flat), *second = input_as(m, other, l, 1, m->is_flat);
    onnx_open(&m->graph, "Concat", y);
    onnx_in(&m->graph, first);
    onnx_in(&m->graph, second);
    onnx_int(&m->graph, "axis", 1);
    onnx_close(&m->graph);
}

/* y = x op value */
void onnx_with(onnx_graph *g, const char *op, const char *y, const char *x, float value)
{
    char name[ONNX_NAME + 8];
    snprintf(name, sizeof name, "%s/value", y);
    onnx_floats(g, name, 0, NULL, &value);
    onnx_node(g, op, y, x, name);
}

/* A matrix of ones does it: programs differ in which shapes they stretch and in how they take sums over a vector. */
static void times_ones(onnx_graph *g, const char *y, const char *x, uint32_t from, uint32_t to)
{
    char ones[ONNX_NAME + 8];
    float *values = malloc((size_t)from * to * sizeof *values);
    if (!values)
        abort(); /* one of from and to is 1 */
    for (uint32_t i = 0; i < from * to; i++)
        values[i] = 1;
    snprintf(ones, sizeof ones, "%s/ones", y);
    onnx_floats(g, ones, 2, (int64_t[]){to, from}, values);
    free(values);
    onnx_open(g, "Gemm", y);
    onnx_in(g, x);
    onnx_in(g, ones);
    onnx_int(g, "transB", 1);
    onnx_close(g);
}

void onnx_spread(onnx_graph *g, const char *y, const char *x, uint32_t n)
{
    times_ones(g, y, x, 1, n);
}

void onnx_unit(onnx_graph *g, const char *y, const char *x, uint32_t n)
{
    static const char *const steps[] = {"squares", "sum", "length", "more", "above", "least", "divisor"};
    char name[7][ONNX_NAME];
    for (int i = 0; i < 7; i++)
        snprintf(name[i], sizeof name[i], "%.80s/%s", y, steps[i]);
    onnx_node(g, "Mul", name[0], x, x);
    times_ones(g, name[1], name[0], n, 1);
    onnx_node(g, "Sqrt", name[2], name[1], NULL);
    onnx_with(g, "Sub", name[3], name[2], 1e-6f); /* max(length, 1e-6) */
    onnx_node(g, "Relu", name[4], name[3], NULL);
    onnx_with(g, "Add", name[5], name[4], 1e-6f);
    onnx_spread(g, name[6], name[5], n);
    onnx_node(g, "Div", y, x, name[6]);
}

/* Over all values: as a vector, and back. Where y is a vector itself, vector is y. */
static void unflatten(onnx_model *m, const nn_layer *l, const char *y, const char *vector)
{
    if (!m->is_flat)
        reshape(&m->graph, y, vector, 4, (int64_t[]){0, l->in.C, l->in.H, l->in.W});
}

static void put_unit(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME], vector[ONNX_NAME];
    const char *in = input_as(m, x, l, 0, true), *out = m->is_flat ? y : onnx_name(vector, l, "/vector");
    onnx_unit(&m->graph, out, in, (uint32_t)l->n_in);
    unflatten(m, l, y, out);
}

static void put_centre(onnx_model *m, const nn_layer *l, const char *y)
{
    char x[ONNX_NAME], bias[ONNX_NAME], vector[ONNX_NAME];
    const char *in = input_as(m, x, l, 0, true), *out = m->is_flat ? y : onnx_name(vector, l, "/vector");
    snprintf(bias, sizeof bias, "%s.bias", l->name);
    onnx_floats(&m->graph, bias, 1, (int64_t[]){(int64_t)l->n_in}, m->w + l->weights_at);
    onnx_node(&m->graph, "Sub", out, in, bias);
    unflatten(m, l, y, out);
}

typedef enum form { SAME, FLAT, MAP } form; /* of the output: the first input's, a vector, a map */

/* A kind's row: how it is written, and what form its output has. */
static const struct {
    const char *kind;
    void (*put)(onnx_model *m, const nn_layer *l, const char *y);
    form form;
} kinds[] = {
    {"conv", put_conv, MAP},
    {"linear", put_linear, FLAT},
    {"groupnorm", put_groupnorm, MAP},
    {"relu", put_relu, SAME},
    {"tanh", put_tanh, SAME},
    {"silu", put_silu, SAME},
    {"maxpool", put_maxpool, MAP},
    {"avgpool", put_avgpool, MAP},
    {"globalpool", put_globalpool, MAP},
    {"flatten", put_same, FLAT},
    {"dropout", put_same, SAME},
    {"add", put_add, SAME},
    {"scattering", onnx_scattering, MAP},
    {"concat", put_concat, SAME},
    {"centre", put_centre, SAME},
    {"unit", put_unit, SAME},
};

/* --- the model ------------------------------------------------------------------------------------------------- */

static fl_code put_layer(onnx_model *m, uint32_t i, fl_err *err)
{
    const nn_layer *l = &m->spec->layers[i];
    const bool was_flat = l->from[0] < 0 ? false : m->values[l->from[0]].is_flat;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        if (strcmp(kinds[k].kind, l->kind->name) != 0)
            continue;
        m->is_flat = kinds[k].form == FLAT || (kinds[k].form == SAME && was_flat);
        m->values[i].is_flat = m->is_flat;
        onnx_name(m->values[i].name, l, "");
        kinds[k].put(m, l, m->values[i].name);
        return FL_OK;
    }
    return fl_fail(err, FL_EREFUSED, "layer %u (%s): cannot be written as ONNX: export as safetensors instead", i + 1,
                   l->kind->name);
}

static void put_outputs(onnx_model *m, const nn_facts *facts)
{
    onnx_graph *g = &m->graph;
    const onnx_value *last = &m->values[m->spec->n_layers - 1];
    const uint32_t n = facts->n_classes, dims[3] = {facts->input.C, facts->input.H, facts->input.W};
    onnx_open(g, last->is_flat ? "Identity" : "Flatten", "logits");
    onnx_in(g, last->name);
    if (!last->is_flat)
        onnx_int(g, "axis", 1);
    onnx_close(g);
    onnx_open(g, facts->is_multi ? "Sigmoid" : "Softmax", "probabilities");
    onnx_in(g, "logits");
    if (!facts->is_multi)
        onnx_int(g, "axis", 1);
    onnx_close(g);
    onnx_input(g, "image", 3, dims);
    onnx_output(g, "logits", 1, &n);
    onnx_output(g, "probabilities", 1, &n);
}

static fl_code finish(fl_buf *out, onnx_model *m, const nn_facts *facts, fl_err *err)
{
    const char *keys[NN_FACTS_KEYS + 1], *values[NN_FACTS_KEYS + 1];
    fl_buf texts[NN_FACTS_KEYS];
    for (uint32_t i = 0; i < NN_FACTS_KEYS; i++) {
        fl_buf_init(&texts[i], 65536);
        nn_facts_value(&texts[i], facts, i);
        keys[i] = nn_facts_key(i);
        values[i] = fl_buf_text(&texts[i]);
    }
    keys[NN_FACTS_KEYS] = "preprocessing";
    values[NN_FACTS_KEYS] = nn_facts_preprocessing;
    fl_code rc = onnx_finish(out, &m->graph, facts->study, NN_FACTS_KEYS + 1, keys, values, err);
    for (uint32_t i = 0; i < NN_FACTS_KEYS; i++)
        fl_buf_fini(&texts[i]);
    return rc;
}

fl_code nn_onnx_write(fl_buf *out, const float *w, const nn_facts *facts, fl_err *err)
{
    onnx_model *m = calloc(1, sizeof *m);
    nn_spec *spec = malloc(sizeof *spec);
    fl_code rc = m && spec ? FL_OK : fl_fail(err, FL_EENV, "ONNX: out of memory");
    if (rc == FL_OK)
        rc = nn_spec_read(spec, facts->spec, facts->input, facts->n_classes, err);
    float *scratch = rc == FL_OK ? malloc(spec->n_weights * sizeof *scratch) : NULL;
    if (rc == FL_OK && !scratch)
        rc = fl_fail(err, FL_EENV, "ONNX: out of memory");
    if (rc == FL_OK) {
        *m = (onnx_model){.spec = spec, .w = w, .scratch = scratch, .image = {.name = "image"}};
        onnx_init(&m->graph, out->max);
        for (uint32_t i = 0; i < spec->n_layers && rc == FL_OK; i++)
            rc = put_layer(m, i, err);
        if (rc == FL_OK) {
            put_outputs(m, facts);
            rc = finish(out, m, facts, err);
        }
        onnx_fini(&m->graph);
    }
    free(m);
    free(spec);
    free(scratch);
    return rc;
}
