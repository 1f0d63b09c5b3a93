#include "train/model.h"
#include "base/arena.h"
#include "train/gemm.h"
#include "train/spec.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct nn_model {
    nn_spec spec;
    uint32_t first_learned; /* nothing below it has weights, so no gradient is carried further down */
    size_t n_floats;        /* outputs and kept values of all layers */
    size_t n_widest;        /* the largest input of a layer */
    size_t n_scratch;       /* the largest scratch */
};

struct nn_workspace {
    fl_arena arena;
    float *values;   /* outputs and kept values, at the layers' offsets */
    float *slope[2]; /* d loss / d output and d input, swapped on the way down */
    float *scratch;
    float *logits;
};

/* --- building -------------------------------------------------------------------------------------------------- */

/* Where everything lies in a workspace. */
static fl_code place_layer(nn_model *m, nn_layer *l, uint32_t i, fl_err *err)
{
    if (l->n_inputs != 1 || l->from[0] != (int32_t)i - 1)
        return fl_fail(err, FL_EFORMAT, "layer %u (%s): its input is not the line before", i + 1, l->kind->name);
    l->out_at = m->n_floats;
    l->kept_at = l->out_at + l->n_out;
    m->n_floats = l->kept_at + (size_t)l->n_kept;
    m->n_widest = l->n_in > m->n_widest ? l->n_in : m->n_widest;
    m->n_widest = l->n_out > m->n_widest ? l->n_out : m->n_widest;
    m->n_scratch = l->n_scratch > m->n_scratch ? (size_t)l->n_scratch : m->n_scratch;
    return FL_OK;
}

static fl_code place_layers(nn_model *m, fl_err *err)
{
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        FL_TRY(place_layer(m, &m->spec.layers[i], i, err));
    while (m->spec.layers[m->first_learned].n_weights == 0)
        m->first_learned++;
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
    fl_code rc = m ? FL_OK : fl_fail(err, FL_EENV, "model: out of memory");
    if (rc == FL_OK)
        rc = nn_spec_read(&m->spec, spec, (nn_shape){channels, height, width}, n_classes, err);
    if (rc == FL_OK)
        rc = place_layers(m, err);
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

/* --- one image ------------------------------------------------------------------------------------------------- */

fl_code nn_workspace_create(nn_workspace **out, const nn_model *m, fl_err *err)
{
    *out = NULL;
    nn_workspace *ws = calloc(1, sizeof *ws);
    if (!ws)
        return fl_fail(err, FL_EENV, "model: out of memory");
    size_t values = m->n_floats * sizeof(float), slope = m->n_widest * sizeof(float);
    size_t scratch = m->n_scratch * sizeof(float), logits = m->spec.n_classes * sizeof(float);
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
    return i == 0 ? image : ws->values + m->spec.layers[i - 1].out_at;
}

void nn_forward(const nn_model *m, nn_workspace *ws, const float *w, float *logits, const float *image)
{
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const nn_layer *l = &m->spec.layers[i];
        l->kind->forward(l, ws->values + l->out_at, ws->values + l->kept_at, ws->scratch, input_of(m, ws, i, image),
                         w + l->weights_at);
    }
    memcpy(logits, ws->values + m->spec.layers[m->spec.n_layers - 1].out_at, m->spec.n_classes * sizeof *logits);
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
    assert(label < m->spec.n_classes);
    nn_forward(m, ws, w, ws->logits, image);
    double value = cross_entropy(ws->slope[0], ws->logits, m->spec.n_classes, label);
    if (loss)
        *loss = value;
    float *dy = ws->slope[0], *dx = ws->slope[1];
    for (uint32_t i = m->spec.n_layers; i-- > m->first_learned;) {
        const nn_layer *l = &m->spec.layers[i];
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
