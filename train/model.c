#include "train/model.h"
#include "base/arena.h"
#include "train/gemm.h"
#include "train/loss.h"
#include "train/spec.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct nn_model {
    nn_spec spec;
    uint32_t first_learned; /* nothing below it is learned, so no gradient is carried further down */
    uint32_t n_run;         /* layers up to the one whose output the loss reads */
    nn_loss_kind loss;
    float *class_weights; /* (n_classes) or NULL */
    size_t n_learned;
    size_t n_floats;  /* outputs and kept values of all layers */
    size_t n_widest;  /* the largest input of a layer */
    size_t n_scratch; /* the largest scratch */
};

struct nn_workspace {
    fl_arena arena;
    float *values;   /* outputs and kept values, at the layers' offsets */
    float *slope[2]; /* d loss / d output and d input, swapped on the way down */
    float *scratch;
    float *logits;
    float *all; /* (n_weights): the gradient of everything, when only a part is learned */
};

/* --- building -------------------------------------------------------------------------------------------------- */

/* Where everything lies in a workspace. */
static fl_code place_layer(nn_model *m, nn_layer *l, uint32_t i, fl_err *err)
{
    if (l->n_inputs != 1 || l->from[0] != (int32_t)i - 1)
        return fl_fail(err, FL_EFORMAT, "layer %u (%s): its input is not the line before", i + 1, l->kind->name);
    if (!l->kind->forward || (l->pad > 0 && (l->kind == &nn_maxpool || l->kind == &nn_avgpool)))
        return fl_fail(err, FL_EFORMAT, "layer %u (%s): nobody computes it", i + 1, l->kind->name);
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
    return nn_model_aim(m, &(nn_aim){.learn = "all"}, err);
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
    m->n_learned = 0;
    m->first_learned = m->spec.n_layers;
    for (uint32_t i = m->spec.n_layers; i-- > 0;) {
        if (m->spec.layers[i].is_learned) {
            m->first_learned = i;
            m->n_learned += m->spec.layers[i].n_weights;
        }
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

/* --- one image ------------------------------------------------------------------------------------------------- */

fl_code nn_workspace_create(nn_workspace **out, const nn_model *m, fl_err *err)
{
    *out = NULL;
    nn_workspace *ws = calloc(1, sizeof *ws);
    if (!ws)
        return fl_fail(err, FL_EENV, "model: out of memory");
    size_t values = m->n_floats * sizeof(float), slope = m->n_widest * sizeof(float);
    size_t scratch = m->n_scratch * sizeof(float), logits = m->spec.n_classes * sizeof(float);
    size_t all = m->n_learned < m->spec.n_weights ? m->spec.n_weights * sizeof(float) : 0;
    size_t total = fl_arena_round(values) + 2 * fl_arena_round(slope) + fl_arena_round(scratch) +
                   fl_arena_round(logits) + fl_arena_round(all);
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
    ws->all = all > 0 ? fl_arena_cut(&ws->arena, all) : NULL;
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

static const float *run_layers(const nn_model *m, nn_workspace *ws, const float *w, const float *image, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const nn_layer *l = &m->spec.layers[i];
        l->kind->forward(l, ws->values + l->out_at, ws->values + l->kept_at, ws->scratch, input_of(m, ws, i, image),
                         w + l->weights_at);
    }
    return ws->values + m->spec.layers[n - 1].out_at;
}

void nn_forward(const nn_model *m, nn_workspace *ws, const float *w, float *logits, const float *image)
{
    memcpy(logits, run_layers(m, ws, w, image, m->spec.n_layers), m->spec.n_classes * sizeof *logits);
}

/* d: the slope of the loss at the output y of the last layer that is run. Returns the loss. */
static double loss_of(const nn_model *m, float *d, const float *y, uint32_t label)
{
    if (m->loss == NN_LOSS_SQUARES)
        return nn_loss_squares(d, y, m->spec.layers[m->n_run - 1].n_out);
    if (m->loss == NN_LOSS_BINARY)
        return nn_loss_binary(d, y, m->spec.n_classes, label, m->class_weights);
    return nn_loss_softmax(d, y, m->spec.n_classes, label, m->class_weights);
}

/* The learned pieces of the gradient of everything. What lies behind the loss has none. */
static void pick_learned(const nn_model *m, float *g, const float *all)
{
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const nn_layer *l = &m->spec.layers[i];
        if (!l->is_learned)
            continue;
        if (i < m->n_run)
            memcpy(g, all + l->weights_at, l->n_weights * sizeof *g);
        else
            memset(g, 0, l->n_weights * sizeof *g);
        g += l->n_weights;
    }
}

void nn_gradient(const nn_model *m, nn_workspace *ws, const float *w, float *g, double *loss, const float *image,
                 uint32_t label)
{
    float *all = ws->all ? ws->all : g, *dy = ws->slope[0], *dx = ws->slope[1];
    double value = loss_of(m, dy, run_layers(m, ws, w, image, m->n_run), label);
    if (loss)
        *loss = value;
    for (uint32_t i = m->n_run; i-- > m->first_learned;) {
        const nn_layer *l = &m->spec.layers[i];
        l->kind->backward(l, i > m->first_learned ? dx : NULL, all + l->weights_at, ws->values + l->kept_at,
                          ws->scratch, input_of(m, ws, i, image), ws->values + l->out_at, dy, w + l->weights_at);
        float *swap = dy;
        dy = dx;
        dx = swap;
    }
    if (ws->all)
        pick_learned(m, g, all);
    else
        for (uint32_t i = m->n_run; i < m->spec.n_layers; i++)
            memset(g + m->spec.layers[i].weights_at, 0, m->spec.layers[i].n_weights * sizeof *g);
}

/* --- looking inside --------------------------------------------------------------------------------------------- */

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

fl_code nn_activation(float *y, float *slope, float *logits, const nn_model *m, nn_workspace *ws, const float *w,
                      const float *image, size_t layer, uint32_t class, fl_err *err)
{
    const uint32_t n = m->spec.n_layers;
    const nn_layer *at = &m->spec.layers[layer];
    assert(layer < n && class < m->spec.n_classes);
    float *dw = malloc((m->spec.n_weights + 1) * sizeof *dw), *dy = ws->slope[0], *dx = ws->slope[1]; /* dw: unread */
    if (!dw)
        return fl_fail(err, FL_EENV, "model: out of memory");
    const float *last = run_layers(m, ws, w, image, n);
    if (logits)
        memcpy(logits, last, m->spec.n_classes * sizeof *logits);
    memset(dy, 0, m->spec.n_classes * sizeof *dy);
    dy[class] = 1;
    for (uint32_t i = n; i-- > layer + 1;) {
        const nn_layer *l = &m->spec.layers[i];
        l->kind->backward(l, dx, dw, ws->values + l->kept_at, ws->scratch, input_of(m, ws, i, image),
                          ws->values + l->out_at, dy, w + l->weights_at);
        float *swap = dy;
        dy = dx;
        dx = swap;
    }
    memcpy(y, ws->values + at->out_at, at->n_out * sizeof *y);
    memcpy(slope, dy, at->n_out * sizeof *slope);
    free(dw);
    return FL_OK;
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
