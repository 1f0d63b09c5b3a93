#include "train/model.h"
#include "train/graph.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- building -------------------------------------------------------------------------------------------------- */

static nn_conv_shape conv_shape_of(const nn_layer *l)
{
    nn_conv_shape s = {l->in.C,     l->in.H,   l->in.W, l->channels, l->kernel_h,
                       l->kernel_w, l->stride, l->pad,  l->groups,   l->has_bias};
    if (l->kind == &nn_linear) {
        s.kernel_h = l->in.H;
        s.kernel_w = l->in.W;
        s.stride = 1;
        s.pad = 0;
    }
    return s;
}

static void plan_nodes(nn_model *m)
{
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const nn_layer *l = &m->spec.layers[i];
        nn_node *node = &m->nodes[i];
        node->n_packed = (l->n_weights + 15) / 16 * 16;
        node->is_conv = l->kind == &nn_conv || l->kind == &nn_linear;
        if (!node->is_conv)
            continue;
        const nn_conv_shape shape = conv_shape_of(l);
        node->conv = nn_conv_plan(&shape);
        node->n_packed = node->conv.n_packed;
        node->weights_at = m->n_pack;
        node->transposed_at = m->n_transposed;
        m->n_pack += (node->conv.n_packed + 15) / 16 * 16;
        m->n_transposed += (node->conv.n_transposed + 15) / 16 * 16;
        node->standard_at = m->n_standard;
        m->n_standard += l->is_standardised ? l->n_weights : 0;
    }
}

fl_code nn_model_create(nn_model **out, const char *spec, uint32_t channels, uint32_t height, uint32_t width,
                        uint32_t n_classes, fl_err *err)
{
    *out = NULL;
    if (channels < 1 || channels > 4096 || height < 1 || height > 4096 || width < 1 || width > 4096)
        return fl_fail(err, FL_EFORMAT, "model: input is %ux%ux%u, expected 1 to 4096 each", channels, height, width);
    if (n_classes < 2 || n_classes > 65536)
        return fl_fail(err, FL_EFORMAT, "model: %u classes, expected 2 to 65536", n_classes);
    if ((uint64_t)channels * height * width > NN_MAX_VALUES)
        return fl_fail(err, FL_EFORMAT, "model: input has more than %u values", NN_MAX_VALUES);
    nn_model *m = calloc(1, sizeof *m);
    fl_code rc = m ? FL_OK : fl_fail(err, FL_EENV, "model: out of memory");
    if (rc == FL_OK)
        rc = nn_spec_read(&m->spec, spec, (nn_shape){channels, height, width}, n_classes, err);
    if (rc == FL_OK) {
        plan_nodes(m);
        rc = nn_model_aim(m, &(nn_aim){.learn = "all"}, err);
    }
    if (rc != FL_OK)
        nn_model_destroy(m);
    else
        *out = m;
    return rc;
}

void nn_model_destroy(nn_model *m)
{
    if (m)
        free(m->class_weights);
    free(m);
}

size_t nn_model_n_weights(const nn_model *m)
{
    return m->spec.n_weights;
}

nn_shape nn_model_input(const nn_model *m)
{
    return m->spec.input;
}

uint32_t nn_model_n_classes(const nn_model *m)
{
    return m->spec.n_classes;
}

uint64_t nn_model_flops(const nn_model *m)
{
    return m->spec.flops;
}

fl_hash nn_model_hash(const nn_model *m)
{
    return m->spec.hash;
}

/* --- the aim --------------------------------------------------------------------------------------------------- */

static nn_layer *layer_named(nn_model *m, const char *name, size_t n)
{
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        if (strlen(m->spec.layers[i].name) == n && memcmp(m->spec.layers[i].name, name, n) == 0)
            return &m->spec.layers[i];
    }
    return NULL;
}

/* Marks the layers of the list in `learned`. */
static fl_code read_learn(bool *learned, nn_model *m, const char *list, fl_err *err)
{
    memset(learned, 0, NN_MAX_LAYERS * sizeof *learned);
    for (uint32_t i = 0; strcmp(list, "all") == 0 && i < m->spec.n_layers; i++)
        learned[i] = m->spec.layers[i].n_weights > 0;
    if (strcmp(list, "all") == 0)
        return FL_OK;
    for (const char *at = list;; at++) {
        size_t n = strcspn(at, ",");
        const nn_layer *l = layer_named(m, at, n);
        if (!l || l->n_weights == 0)
            return fl_fail(err, FL_EFORMAT, "learn: '%.*s' is not the name of a layer with weights",
                           (int)(n < 40 ? n : 40), at);
        learned[l - m->spec.layers] = true;
        at += n;
        if (*at == '\0')
            return FL_OK;
    }
}

static fl_code check_loss(const nn_model *m, const nn_aim *aim, fl_err *err)
{
    if (aim->loss == NN_LOSS_BINARY && m->spec.n_classes > 32)
        return fl_fail(err, FL_EFORMAT, "loss: a set of %u classes, at most 32", m->spec.n_classes);
    for (uint32_t c = 0; aim->class_weights && c < m->spec.n_classes; c++) {
        if (!(aim->class_weights[c] >= 0 && isfinite(aim->class_weights[c])))
            return fl_fail(err, FL_EFORMAT, "loss: the weight of class %u is %g, expected a number of at least 0", c,
                           (double)aim->class_weights[c]);
    }
    return FL_OK;
}

/* What follows from the flags of the layers. */
static void count_learned(nn_model *m)
{
    m->n_learned = m->n_packed = 0;
    m->first_learned = m->spec.n_layers;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const nn_layer *l = &m->spec.layers[i];
        nn_node *node = &m->nodes[i];
        node->has_slope = l->is_learned;
        for (uint32_t k = 0; k < l->n_inputs; k++)
            node->has_slope |= l->from[k] >= 0 && m->nodes[l->from[k]].has_slope;
        if (!l->is_learned)
            continue;
        m->first_learned = i < m->first_learned ? i : m->first_learned;
        node->packed_at = m->n_packed;
        node->learned_at = m->n_learned;
        m->n_packed += node->n_packed;
        m->n_learned += l->n_weights;
    }
}

fl_code nn_model_aim(nn_model *m, const nn_aim *aim, fl_err *err)
{
    bool learned[NN_MAX_LAYERS];
    fl_code rc = read_learn(learned, m, aim->learn, err);
    if (rc == FL_OK)
        rc = check_loss(m, aim, err);
    if (rc != FL_OK)
        return rc;
    const nn_layer *end = &m->spec.layers[m->spec.n_layers - 1];
    if (aim->loss == NN_LOSS_SQUARES) {
        end = aim->at ? layer_named(m, aim->at, strlen(aim->at)) : NULL;
        if (!end)
            return fl_fail(err, FL_EFORMAT, "loss: '%.40s' is not the name of a layer", aim->at ? aim->at : "");
    }
    float *weights = NULL;
    if (aim->class_weights && !(weights = malloc(m->spec.n_classes * sizeof *weights)))
        return fl_fail(err, FL_EENV, "model: out of memory");
    if (weights)
        memcpy(weights, aim->class_weights, m->spec.n_classes * sizeof *weights);
    free(m->class_weights);
    m->class_weights = weights;
    m->loss = aim->loss;
    m->n_run = (uint32_t)(end - m->spec.layers) + 1;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].is_learned = learned[i];
    count_learned(m);
    return FL_OK;
}

nn_loss_kind nn_model_loss(const nn_model *m)
{
    return m->loss;
}

size_t nn_model_n_learned(const nn_model *m)
{
    return m->n_learned;
}

/* The next range at or after layer *i; size 0 when there is none. Neighbours in the vector are one range. */
static nn_range next_range(const nn_model *m, uint32_t *i)
{
    nn_range r = {0};
    for (; *i < m->spec.n_layers; (*i)++) {
        const nn_layer *l = &m->spec.layers[*i];
        if (l->n_weights == 0)
            continue;
        if (!l->is_learned && r.size > 0)
            break;
        if (l->is_learned && r.size == 0)
            r.offset = l->weights_at;
        r.size += l->is_learned ? l->n_weights : 0;
    }
    return r;
}

size_t nn_model_n_ranges(const nn_model *m)
{
    size_t n = 0;
    for (uint32_t i = 0; next_range(m, &i).size > 0;)
        n++;
    return n;
}

nn_range nn_model_range(const nn_model *m, size_t index)
{
    uint32_t i = 0;
    for (size_t k = 0; k < index; k++)
        next_range(m, &i);
    nn_range r = next_range(m, &i);
    assert(r.size > 0); /* index is below n_ranges */
    return r;
}

/* --- weights --------------------------------------------------------------------------------------------------- */

size_t nn_model_n_tensors(const nn_model *m)
{
    return nn_spec_n_tensors(&m->spec);
}

nn_tensor nn_model_tensor(const nn_model *m, size_t index)
{
    return nn_spec_tensor(&m->spec, index);
}

void nn_model_init_weights(const nn_model *m, float *w, uint64_t seed)
{
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const nn_layer *l = &m->spec.layers[i];
        fl_rng rng;
        fl_rng_init(&rng, seed, i);
        if (l->kind->init)
            l->kind->init(l, w + l->weights_at, &rng);
    }
    const nn_layer *last = &m->spec.layers[m->spec.n_layers - 1];
    if (last->kind == &nn_linear)
        memset(w + last->weights_at, 0, last->n_weights * sizeof *w);
}

void nn_weights_write(uint8_t *bytes, const float *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &w[i], sizeof bits);
        for (int j = 0; j < 4; j++)
            bytes[4 * i + j] = (uint8_t)(bits >> (8 * j));
    }
}

fl_code nn_weights_read(float *w, size_t n, const uint8_t *bytes, size_t n_bytes, fl_err *err)
{
    if (n_bytes / 4 != n || n_bytes % 4 != 0)
        return fl_fail(err, FL_EFORMAT, "model: %zu bytes, expected %zu for %zu weights", n_bytes, 4 * n, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = bytes[4 * i] | (uint32_t)bytes[4 * i + 1] << 8 | (uint32_t)bytes[4 * i + 2] << 16 |
                        (uint32_t)bytes[4 * i + 3] << 24;
        memcpy(&w[i], &bits, sizeof bits);
        if (!isfinite(w[i]))
            return fl_fail(err, FL_EFORMAT, "model: weight %zu is not finite", i);
    }
    return FL_OK;
}

size_t nn_model_n_layers(const nn_model *m)
{
    return m->spec.n_layers;
}

nn_layer_view nn_model_layer(const nn_model *m, size_t index)
{
    assert(index < m->spec.n_layers);
    const nn_layer *l = &m->spec.layers[index];
    return (nn_layer_view){l->name, l->kind->name, l->out};
}

void nn_softmax(float *p, const float *logits, uint32_t n)
{
    double largest = logits[0], sum = 0;
    for (uint32_t c = 1; c < n; c++)
        largest = logits[c] > largest ? logits[c] : largest;
    for (uint32_t c = 0; c < n; c++)
        sum += exp(logits[c] - largest);
    bool is_good = isfinite(sum) && isfinite(largest);
    for (uint32_t c = 0; c < n; c++)
        p[c] = is_good ? (float)(exp(logits[c] - largest) / sum) : 1.0f / (float)n;
}
