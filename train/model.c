#include "train/model.h"
#include "base/arena.h"
#include "train/gemm.h"
#include "train/layer.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nn_model {
    nn_shape input;
    uint32_t n_classes, n_layers;
    uint32_t first_learned; /* nothing below it has weights, so no gradient is carried further down */
    size_t n_weights;
    size_t n_floats;  /* outputs and kept values of all layers */
    size_t n_widest;  /* the largest input of a layer */
    size_t n_scratch; /* the largest scratch */
    uint64_t flops;
    nn_layer layers[NN_MAX_LAYERS];
};

struct nn_workspace {
    fl_arena arena;
    float *values;   /* outputs and kept values, at the layers' offsets */
    float *slope[2]; /* d loss / d output and d input, swapped on the way down */
    float *scratch;
    float *logits;
};

/* --- building -------------------------------------------------------------------------------------------------- */

static fl_code place_layer(nn_model *m, nn_layer *l, fl_err *err)
{
    l->n_in = (size_t)l->in.C * l->in.H * l->in.W;
    fl_code rc = l->kind->infer(l, err);
    if (rc != FL_OK)
        return rc;
    uint64_t n_out = (uint64_t)l->out.C * l->out.H * l->out.W;
    if (n_out > NN_MAX_VALUES || l->n_kept > NN_MAX_VALUES || l->n_scratch > NN_MAX_VALUES ||
        m->n_floats + n_out + l->n_kept > NN_MAX_VALUES)
        return fl_fail(err, FL_EFORMAT, "needs more than %u values for one image", NN_MAX_VALUES);
    if (l->n_weights > NN_MAX_WEIGHTS || m->n_weights + l->n_weights > NN_MAX_WEIGHTS)
        return fl_fail(err, FL_EFORMAT, "more than %u weights", NN_MAX_WEIGHTS);
    l->n_out = (size_t)n_out;
    l->weights_at = m->n_weights;
    m->n_weights += l->n_weights;
    l->out_at = m->n_floats;
    l->kept_at = l->out_at + l->n_out;
    m->n_floats = l->kept_at + (size_t)l->n_kept;
    m->n_widest = l->n_in > m->n_widest ? l->n_in : m->n_widest;
    m->n_widest = l->n_out > m->n_widest ? l->n_out : m->n_widest;
    m->n_scratch = l->n_scratch > m->n_scratch ? (size_t)l->n_scratch : m->n_scratch;
    m->flops += l->flops;
    return FL_OK;
}

/* One line of the spec, already without comment; a blank one adds nothing. */
static fl_code add_line(nn_model *m, char *text, uint32_t number, fl_err *err)
{
    nn_spec_line line = {.n_classes = m->n_classes};
    char *rest = NULL, *name = strtok_r(text, " \t\r", &rest);
    if (!name)
        return FL_OK;
    for (char *word; (word = strtok_r(NULL, " \t\r", &rest)) != NULL;) {
        if (line.n_words == NN_MAX_WORDS)
            return fl_fail(err, FL_EFORMAT, "layer %u (%.20s): too many words", m->n_layers + 1, name);
        line.words[line.n_words++] = word;
    }
    if (m->n_layers == NN_MAX_LAYERS)
        return fl_fail(err, FL_EFORMAT, "more than %d layers", NN_MAX_LAYERS);
    nn_layer *l = &m->layers[m->n_layers];
    *l = (nn_layer){.kind = nn_layer_kind_named(name), .line = number, .in = m->n_layers > 0 ? l[-1].out : m->input};
    if (!l->kind)
        return fl_fail(err, FL_EFORMAT, "layer %u (%.20s): unknown kind, expected one of %s", m->n_layers + 1, name,
                       nn_layer_kind_names);
    fl_err cause = {0};
    fl_code rc = l->kind->read(l, &line, &cause);
    if (rc == FL_OK)
        rc = place_layer(m, l, &cause);
    if (rc != FL_OK)
        return fl_fail(err, rc, "layer %u (%s, input %ux%ux%u): %s", m->n_layers + 1, l->kind->name, l->in.C, l->in.H,
                       l->in.W, cause.text);
    m->n_layers++;
    return FL_OK;
}

static fl_code add_lines(nn_model *m, char *text, fl_err *err)
{
    uint32_t number = 1;
    for (char *line = text; line; number++) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        line[strcspn(line, "#")] = '\0';
        fl_code rc = add_line(m, line, number, err);
        if (rc != FL_OK)
            return rc;
        line = end ? end + 1 : NULL;
    }
    return FL_OK;
}

static fl_code check_whole(nn_model *m, fl_err *err)
{
    if (m->n_layers == 0)
        return fl_fail(err, FL_EFORMAT, "model: no layers");
    const nn_layer *last = &m->layers[m->n_layers - 1];
    if (last->n_out != m->n_classes)
        return fl_fail(err, FL_EFORMAT, "layer %u (%s): gives %ux%ux%u values, expected one for each of %u classes",
                       m->n_layers, last->kind->name, last->out.C, last->out.H, last->out.W, m->n_classes);
    while (m->first_learned < m->n_layers && m->layers[m->first_learned].n_weights == 0)
        m->first_learned++;
    if (m->first_learned == m->n_layers)
        return fl_fail(err, FL_EFORMAT, "model: no layer has weights");
    return FL_OK;
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
    nn_gemm_start();
    nn_model *m = calloc(1, sizeof *m);
    char *text = strdup(spec);
    fl_code rc = m && text ? FL_OK : fl_fail(err, FL_EENV, "model: out of memory");
    if (rc == FL_OK) {
        m->input = (nn_shape){channels, height, width};
        m->n_classes = n_classes;
        rc = add_lines(m, text, err);
    }
    if (rc == FL_OK)
        rc = check_whole(m, err);
    free(text);
    if (rc != FL_OK)
        nn_model_destroy(m);
    else
        *out = m;
    return rc;
}

void nn_model_destroy(nn_model *m)
{
    free(m);
}

size_t nn_model_n_weights(const nn_model *m)
{
    return m->n_weights;
}

nn_shape nn_model_input(const nn_model *m)
{
    return m->input;
}

uint32_t nn_model_n_classes(const nn_model *m)
{
    return m->n_classes;
}

uint64_t nn_model_flops(const nn_model *m)
{
    return m->flops;
}

/* --- weights --------------------------------------------------------------------------------------------------- */

size_t nn_model_n_tensors(const nn_model *m)
{
    size_t n = 0;
    for (uint32_t i = 0; i < m->n_layers; i++)
        n += (m->layers[i].n_weights > 0) + (m->layers[i].n_bias > 0);
    return n;
}

static nn_tensor weight_of(const nn_layer *l, uint32_t index)
{
    nn_tensor t = {.offset = l->weights_at, .size = l->n_weights - l->n_bias};
    snprintf(t.name, sizeof t.name, "%u.weight", index);
    if (l->kind == &nn_conv) {
        t.n_dims = 4;
        t.dims[0] = l->channels, t.dims[1] = l->in.C, t.dims[2] = l->kernel_h, t.dims[3] = l->kernel_w;
    } else if (l->kind == &nn_linear) {
        t.n_dims = 2;
        t.dims[0] = l->channels, t.dims[1] = (uint32_t)l->n_in;
    } else {
        t.n_dims = 1;
        t.dims[0] = l->in.C;
    }
    return t;
}

nn_tensor nn_model_tensor(const nn_model *m, size_t index)
{
    for (uint32_t i = 0; i < m->n_layers; i++) {
        const nn_layer *l = &m->layers[i];
        if (l->n_weights == 0)
            continue;
        nn_tensor t = weight_of(l, i);
        if (index-- == 0)
            return t;
        if (l->n_bias > 0 && index-- == 0) {
            t.offset += t.size;
            t.size = l->n_bias;
            t.n_dims = 1;
            t.dims[0] = (uint32_t)l->n_bias;
            snprintf(t.name, sizeof t.name, "%u.bias", i);
            return t;
        }
    }
    assert(!"index is below nn_model_n_tensors");
    abort();
}

void nn_model_init_weights(const nn_model *m, float *w, uint64_t seed)
{
    for (uint32_t i = 0; i < m->n_layers; i++) {
        const nn_layer *l = &m->layers[i];
        fl_rng rng;
        fl_rng_init(&rng, seed, i);
        if (l->kind->init)
            l->kind->init(l, w + l->weights_at, &rng);
    }
    const nn_layer *last = &m->layers[m->n_layers - 1];
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

/* --- one image ------------------------------------------------------------------------------------------------- */

fl_code nn_workspace_create(nn_workspace **out, const nn_model *m, fl_err *err)
{
    *out = NULL;
    nn_workspace *ws = calloc(1, sizeof *ws);
    if (!ws)
        return fl_fail(err, FL_EENV, "model: out of memory");
    size_t values = m->n_floats * sizeof(float), slope = m->n_widest * sizeof(float);
    size_t scratch = m->n_scratch * sizeof(float), logits = m->n_classes * sizeof(float);
    size_t total = fl_arena_round(values) + 2 * fl_arena_round(slope) + fl_arena_round(scratch) +
                   fl_arena_round(logits);
    fl_code rc = fl_arena_init(&ws->arena, total, err);
    if (rc != FL_OK) {
        free(ws);
        return rc;
    }
    ws->values = fl_arena_cut(&ws->arena, values);
    ws->slope[0] = fl_arena_cut(&ws->arena, slope);
    ws->slope[1] = fl_arena_cut(&ws->arena, slope);
    ws->scratch = fl_arena_cut(&ws->arena, scratch);
    ws->logits = fl_arena_cut(&ws->arena, logits);
    *out = ws;
    return FL_OK;
}

void nn_workspace_destroy(nn_workspace *ws)
{
    if (!ws)
        return;
    fl_arena_fini(&ws->arena);
    free(ws);
}

size_t nn_workspace_size(const nn_workspace *ws)
{
    return sizeof *ws + ws->arena.size;
}

static const float *input_of(const nn_model *m, const nn_workspace *ws, uint32_t i, const float *image)
{
    return i == 0 ? image : ws->values + m->layers[i - 1].out_at;
}

void nn_forward(const nn_model *m, nn_workspace *ws, const float *w, float *logits, const float *image)
{
    for (uint32_t i = 0; i < m->n_layers; i++) {
        const nn_layer *l = &m->layers[i];
        l->kind->forward(l, ws->values + l->out_at, ws->values + l->kept_at, ws->scratch, input_of(m, ws, i, image),
                         w + l->weights_at);
    }
    memcpy(logits, ws->values + m->layers[m->n_layers - 1].out_at, m->n_classes * sizeof *logits);
}

/* d (n): softmax(logits) - one-hot(label). Returns the loss. */
static double cross_entropy(float *d, const float *logits, uint32_t n, uint32_t label)
{
    double largest = logits[0], sum = 0;
    for (uint32_t c = 1; c < n; c++)
        largest = logits[c] > largest ? logits[c] : largest;
    for (uint32_t c = 0; c < n; c++)
        sum += exp(logits[c] - largest);
    for (uint32_t c = 0; c < n; c++)
        d[c] = (float)(exp(logits[c] - largest) / sum - (c == label));
    return largest + log(sum) - logits[label];
}

void nn_gradient(const nn_model *m, nn_workspace *ws, const float *w, float *g, double *loss, const float *image,
                 uint32_t label)
{
    assert(label < m->n_classes);
    nn_forward(m, ws, w, ws->logits, image);
    double value = cross_entropy(ws->slope[0], ws->logits, m->n_classes, label);
    if (loss)
        *loss = value;
    float *dy = ws->slope[0], *dx = ws->slope[1];
    for (uint32_t i = m->n_layers; i-- > m->first_learned;) {
        const nn_layer *l = &m->layers[i];
        l->kind->backward(l, i > m->first_learned ? dx : NULL, g + l->weights_at, ws->values + l->kept_at, ws->scratch,
                          input_of(m, ws, i, image), ws->values + l->out_at, dy, w + l->weights_at);
        float *swap = dy;
        dy = dx;
        dx = swap;
    }
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
