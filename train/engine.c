#include "train/engine.h"
#include "base/arena.h"
#include "crypto/csprng.h"
#include "privacy/clip.h"
#include "train/kernels.h"
#include "train/loss.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What a layer does with the slope that it sends to an input. */
typedef enum send { SEND_NOTHING, SEND_FIRST, SEND_MORE, SEND_SAME /* in the memory of its own slope */ } send;

enum { NOBODY = -1, TILE = 4096 /* sums that stay in the first cache while patients are added */ };

typedef struct buffer {
    nn_shape shape;
    nn_halo halo;
    uint64_t at; /* floats from the start of the memory; of all images */
    bool is_free;
} buffer;

struct nn_engine {
    const nn_model *m;
    nn_engine_terms terms;
    uint32_t images;      /* terms.images */
    uint32_t last, first; /* slopes go from layer last down to first */
    bool is_training;     /* terms.is_training */
    bool drops;
    bool has_slope[NN_MAX_LAYERS], is_tiled[NN_MAX_LAYERS];
    uint32_t n_buffers;
    buffer buffers[2 * NN_MAX_LAYERS + 1]; /* [0]: the images */
    int32_t value[NN_MAX_LAYERS], slope[NN_MAX_LAYERS];
    send sends[NN_MAX_LAYERS][2];
    uint64_t kept_at[NN_MAX_LAYERS]; /* what layers keep, in memory */
    uint64_t share_at[NN_MAX_LAYERS];
    uint64_t n_share; /* floats of a gradient without what is made in tiles */
    uint64_t scratch_at, temp_at[2], loss_at;
    uint64_t n_floats;
    uint64_t *keys; /* (images) */
    fl_arena arena;
    float *memory;
};

static uint64_t vectors(uint64_t n)
{
    return (n + 15) / 16 * 16;
}

/* --- buffers --------------------------------------------------------------------------------------------------- */

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static void widen(nn_halo *halo, const nn_halo *by)
{
    halo->top = larger(halo->top, by->top);
    halo->left = larger(halo->left, by->left);
    halo->bottom = larger(halo->bottom, by->bottom);
    halo->right = larger(halo->right, by->right);
}

/* A free buffer of this shape, or a new one. Only equal shapes share memory, so that halos stay zero. */
static int32_t take_buffer(nn_engine *e, nn_shape s)
{
    for (uint32_t i = 1; i < e->n_buffers; i++) {
        buffer *b = &e->buffers[i];
        if (b->is_free && b->shape.C == s.C && b->shape.H == s.H && b->shape.W == s.W) {
            b->is_free = false;
            return (int32_t)i;
        }
    }
    e->buffers[e->n_buffers] = (buffer){.shape = s};
    return (int32_t)e->n_buffers++;
}

static nn_map map_of(const nn_engine *e, const buffer *b)
{
    nn_map x = {.C = b->shape.C, .H = b->shape.H, .W = b->shape.W, .cs = nn_map_channels(b->shape.C)};
    x.row = ((size_t)x.W + larger(b->halo.left, b->halo.right)) * x.cs;
    x.image = vectors((x.H + (uint64_t)larger(b->halo.top, b->halo.bottom)) * x.row);
    if (e->memory)
        x.at = e->memory + b->at + vectors(b->halo.top * x.row + (uint64_t)b->halo.left * x.cs);
    return x;
}

/* Floats of a buffer: what lies before pixel (0, 0), the images, and what lies behind the last one. */
static uint64_t buffer_size(const nn_engine *e, const buffer *b)
{
    nn_map x = map_of(e, b);
    uint64_t before = vectors(b->halo.top * x.row + (uint64_t)b->halo.left * x.cs);
    return vectors(before + e->images * (uint64_t)x.image + b->halo.bottom * x.row + (uint64_t)b->halo.right * x.cs) +
           16;
}

static const buffer *value_of(const nn_engine *e, int32_t layer)
{
    return &e->buffers[layer < 0 ? 0 : e->value[layer]];
}

/* --- the plan of the memory ------------------------------------------------------------------------------------ */

static const nn_layer *layer_at(const nn_engine *e, uint32_t i)
{
    return &e->m->spec.layers[i];
}

/* Kinds whose back does not look at their own output: the next layer may overwrite it. */
static bool forgets_value(const nn_layer *l)
{
    return l->kind == &nn_conv || l->kind == &nn_linear || l->kind == &nn_groupnorm;
}

static void count_readers(const nn_engine *e, uint32_t n_readers[NN_MAX_LAYERS])
{
    memset(n_readers, 0, NN_MAX_LAYERS * sizeof *n_readers);
    for (uint32_t i = 0; i < e->m->spec.n_layers; i++) {
        for (uint32_t k = 0; k < layer_at(e, i)->n_inputs; k++) {
            if (layer_at(e, i)->from[k] >= 0)
                n_readers[layer_at(e, i)->from[k]]++;
        }
    }
    n_readers[e->m->n_run - 1]++; /* the loss */
    n_readers[e->m->spec.n_layers - 1]++;
}

static bool has_same_shape(const nn_layer *l)
{
    return l->in.C == l->out.C && l->in.H == l->out.H && l->in.W == l->out.W;
}

static void plan_values(nn_engine *e)
{
    uint32_t n_readers[NN_MAX_LAYERS];
    count_readers(e, n_readers);
    e->buffers[0] = (buffer){.shape = e->m->spec.input};
    e->n_buffers = 1;
    for (uint32_t i = 0; i < e->m->spec.n_layers; i++) {
        const nn_layer *l = layer_at(e, i);
        const int32_t from = l->from[0];
        if (l->kind->in_place && has_same_shape(l) && from >= 0 && n_readers[from] == 1 && !e->terms.is_looking &&
            (!e->is_training || forgets_value(layer_at(e, (uint32_t)from)))) {
            e->value[i] = e->value[from];
            n_readers[from] = 2; /* it lives on */
        } else {
            e->value[i] = take_buffer(e, l->out);
        }
        for (uint32_t k = 0; k < l->n_inputs; k++) {
            const int32_t j = l->from[k];
            if (e->m->nodes[i].is_conv)
                widen(&e->buffers[j < 0 ? 0 : e->value[j]].halo, &e->m->nodes[i].conv.x_halo);
            if (!e->is_training && j >= 0 && --n_readers[j] == 0)
                e->buffers[e->value[j]].is_free = true;
        }
    }
    for (uint32_t i = 1; i < e->n_buffers; i++)
        e->buffers[i].is_free = false;
}

/* dx may lie in the memory of dy. */
static bool is_in_place_back(const nn_layer *l)
{
    return (l->kind->in_place || l->kind == &nn_groupnorm) && has_same_shape(l);
}

static void plan_send(nn_engine *e, uint32_t i, uint32_t k, bool *is_passed_on)
{
    const nn_layer *l = layer_at(e, i);
    const int32_t j = l->from[k];
    if (j < 0 || !e->has_slope[j])
        return;
    if (e->slope[j] != NOBODY) {
        e->sends[i][k] = SEND_MORE;
    } else if (k == 0 && is_in_place_back(l) && !e->m->nodes[i].is_conv) {
        e->sends[i][k] = SEND_SAME;
        e->slope[j] = e->slope[i];
        *is_passed_on = true;
    } else {
        e->sends[i][k] = SEND_FIRST;
        e->slope[j] = take_buffer(e, layer_at(e, (uint32_t)j)->out);
    }
    if (e->m->nodes[j].is_conv && e->has_slope[j])
        widen(&e->buffers[e->slope[j]].halo, &e->m->nodes[j].conv.dy_halo);
}

static void plan_slopes(nn_engine *e)
{
    const uint32_t last = e->last;
    e->slope[last] = take_buffer(e, layer_at(e, last)->out);
    if (e->m->nodes[last].is_conv)
        widen(&e->buffers[e->slope[last]].halo, &e->m->nodes[last].conv.dy_halo);
    for (uint32_t i = last + 1; i-- > e->first;) {
        bool is_passed_on = false;
        if (e->slope[i] == NOBODY || (e->terms.is_looking && i == e->first))
            continue; /* nothing learned before it, or the loss does not see it */
        for (uint32_t k = 0; k < layer_at(e, i)->n_inputs; k++)
            plan_send(e, i, k, &is_passed_on);
        if (!is_passed_on && !e->is_tiled[i])
            e->buffers[e->slope[i]].is_free = true;
    }
}

static void plan_gradients(nn_engine *e, nn_way way)
{
    for (uint32_t i = e->m->first_learned; i < e->m->spec.n_layers; i++) {
        const nn_node *n = &e->m->nodes[i];
        if (!layer_at(e, i)->is_learned)
            continue;
        e->is_tiled[i] = n->is_conv && i < e->m->n_run && !layer_at(e, i)->is_standardised &&
                         (way == NN_WAY_TILES || (way == NN_WAY_CHOSEN && nn_conv_is_broad(&n->conv)));
        e->share_at[i] = e->n_share;
        e->n_share += e->is_tiled[i] ? 0 : n->n_packed;
    }
}

static uint64_t take_floats(nn_engine *e, uint64_t n)
{
    uint64_t at = e->n_floats;
    e->n_floats += vectors(n);
    return at;
}

static void plan_rest(nn_engine *e)
{
    uint64_t scratch = 16, kept = 0, temp[2] = {0};
    for (uint32_t i = 0; i < e->m->spec.n_layers; i++) {
        const nn_layer *l = layer_at(e, i);
        uint64_t own = e->m->nodes[i].is_conv ? e->m->nodes[i].conv.n_scratch : l->n_scratch;
        own = l->is_standardised && l->n_weights > own ? l->n_weights : own;
        scratch = own > scratch ? own : scratch;
        if (e->is_training && !e->m->nodes[i].is_conv)
            e->kept_at[i] = take_floats(e, e->images * vectors(l->n_kept));
        kept = l->n_kept > kept ? l->n_kept : kept;
        for (uint32_t k = 0; k < l->n_inputs; k++) {
            const nn_shape in = k == 0 ? l->in : l->other;
            uint64_t n = (uint64_t)in.H * in.W * nn_map_channels(in.C);
            if (e->sends[i][k] == SEND_MORE && !e->m->nodes[i].is_conv && n > temp[k])
                temp[k] = n;
        }
    }
    if (!e->is_training) {
        uint64_t at = take_floats(e, kept);
        for (uint32_t i = 0; i < e->m->spec.n_layers; i++)
            e->kept_at[i] = at;
    }
    e->scratch_at = take_floats(e, scratch);
    e->temp_at[0] = take_floats(e, temp[0]);
    e->temp_at[1] = take_floats(e, temp[1]);
    e->loss_at = take_floats(e, layer_at(e, e->last)->n_out);
}

/* What sends a slope down: what is learned, or what somebody looks at. */
static void plan_reach(nn_engine *e)
{
    const nn_model *m = e->m;
    e->last = (e->terms.is_looking ? m->spec.n_layers : m->n_run) - 1;
    e->first = e->terms.is_looking ? e->terms.look_at : m->first_learned;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const nn_layer *l = layer_at(e, i);
        e->slope[i] = NOBODY;
        e->has_slope[i] = e->terms.is_looking ? i == e->terms.look_at : l->is_learned;
        for (uint32_t k = 0; k < l->n_inputs; k++)
            e->has_slope[i] |= l->from[k] >= 0 && e->has_slope[l->from[k]];
    }
}

static void plan(nn_engine *e, const nn_model *m, const nn_engine_terms *terms)
{
    e->m = m;
    e->terms = *terms;
    e->images = terms->images;
    e->is_training = terms->is_training;
    e->drops = terms->is_training && !terms->is_looking;
    plan_reach(e);
    plan_values(e);
    if (e->is_training) {
        if (!terms->is_looking)
            plan_gradients(e, terms->way);
        plan_slopes(e);
    }
    for (uint32_t i = 0; i < e->n_buffers; i++)
        e->buffers[i].at = take_floats(e, buffer_size(e, &e->buffers[i]));
    plan_rest(e);
}

fl_code nn_engine_create(nn_engine **out, const nn_model *m, const nn_engine_terms *terms, fl_err *err)
{
    *out = NULL;
    nn_engine *e = calloc(1, sizeof *e);
    if (!e)
        return fl_fail(err, FL_EENV, "model: out of memory");
    plan(e, m, terms);
    size_t keys = e->images * sizeof *e->keys, floats = fl_size_mul(e->n_floats, sizeof(float));
    fl_code rc = fl_arena_init(&e->arena, fl_arena_round(keys) + fl_arena_round(floats), err);
    if (rc != FL_OK) {
        free(e);
        return rc;
    }
    e->keys = fl_arena_cut(&e->arena, keys);
    e->memory = fl_arena_cut(&e->arena, floats);
    *out = e;
    return FL_OK;
}

void nn_engine_destroy(nn_engine *e)
{
    if (!e)
        return;
    if (e->memory)
        fl_wipe(e->memory, e->n_floats * sizeof *e->memory); /* it was computed from patients' images */
    fl_arena_fini(&e->arena);
    free(e);
}

size_t nn_engine_size(const nn_model *m, const nn_engine_terms *terms)
{
    nn_engine *e = calloc(1, sizeof *e);
    if (!e)
        return SIZE_MAX;
    plan(e, m, terms);
    size_t size = sizeof *e + fl_arena_round(e->images * sizeof *e->keys) + fl_size_mul(e->n_floats, sizeof(float));
    free(e);
    return size;
}

size_t nn_engine_kept(const nn_engine *e)
{
    return (size_t)e->n_share;
}

size_t nn_kept_size(const nn_model *m, const nn_engine_terms *terms)
{
    nn_engine *e = calloc(1, sizeof *e);
    if (!e)
        return SIZE_MAX;
    plan(e, m, terms);
    size_t n = (size_t)e->n_share;
    free(e);
    return n;
}

/* --- images ---------------------------------------------------------------------------------------------------- */

void nn_map_read(float *chw, const nn_map *x)
{
    for (uint32_t c = 0; c < x->C; c++) {
        for (uint32_t i = 0; i < x->H; i++) {
            const float *row = x->at + i * x->row + c;
            for (uint32_t j = 0; j < x->W; j++)
                *chw++ = row[(size_t)j * x->cs];
        }
    }
}

void nn_map_write(const nn_map *x, const float *chw)
{
    const size_t plane = (size_t)x->H * x->W;
    for (uint32_t i = 0; i < x->H; i++) {
        for (uint32_t j = 0; j < x->W; j++) {
            float *pixel = x->at + i * x->row + (size_t)j * x->cs;
            const float *from = chw + (size_t)i * x->W + j;
            for (uint32_t c = 0; c < x->C; c++)
                pixel[c] = from[c * plane];
            for (uint32_t c = x->C; c < x->cs; c++)
                pixel[c] = 0;
        }
    }
}

static nn_map image_of(const nn_engine *e, const buffer *b, uint32_t i)
{
    nn_map x = map_of(e, b);
    x.at += i * x.image;
    return x;
}

nn_map nn_engine_input(const nn_engine *e, uint32_t i)
{
    assert(i < e->images);
    return image_of(e, &e->buffers[0], i);
}

void nn_engine_set_image(nn_engine *e, uint32_t i, const float *image)
{
    nn_map x = nn_engine_input(e, i);
    nn_map_write(&x, image);
}

void nn_engine_set_key(nn_engine *e, uint32_t i, uint64_t key)
{
    assert(i < e->images);
    e->keys[i] = key;
}

nn_map nn_engine_value(const nn_engine *e, uint32_t layer, uint32_t i)
{
    return image_of(e, &e->buffers[e->value[layer]], i);
}

nn_map nn_engine_slope(const nn_engine *e, uint32_t layer, uint32_t i)
{
    assert(e->slope[layer] != NOBODY);
    return image_of(e, &e->buffers[e->slope[layer]], i);
}

/* --- forward --------------------------------------------------------------------------------------------------- */

void nn_engine_drop(nn_engine *e, bool drops)
{
    e->drops = drops;
}

/* A number for each layer out of the image's one (splitmix64). */
static uint64_t mixed_key(uint64_t key, uint32_t layer)
{
    uint64_t x = key + (layer + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static nn_pass pass_of(const nn_engine *e, const nn_packed *w, uint32_t layer, uint32_t i)
{
    const nn_layer *l = layer_at(e, layer);
    nn_pass p = {.y = image_of(e, &e->buffers[e->value[layer]], i),
                 .w = w->flat + l->weights_at,
                 .scratch = e->memory + e->scratch_at,
                 .kept = e->memory + e->kept_at[layer] + (e->is_training ? i * vectors(l->n_kept) : 0),
                 .key = mixed_key(e->keys[i], layer),
                 .is_training = e->drops};
    for (uint32_t k = 0; k < l->n_inputs; k++)
        p.x[k] = image_of(e, value_of(e, l->from[k]), i);
    return p;
}

void nn_engine_forward(nn_engine *e, const nn_packed *w, uint32_t n, uint32_t first, uint32_t end)
{
    const unsigned before = nn_floats_enter();
    assert(n >= 1 && n <= e->images && end <= e->m->spec.n_layers);
    for (uint32_t layer = first; layer < end; layer++) {
        const nn_layer *l = layer_at(e, layer);
        const nn_node *node = &e->m->nodes[layer];
        if (node->is_conv) {
            nn_map x = map_of(e, value_of(e, l->from[0])), y = map_of(e, value_of(e, (int32_t)layer));
            nn_conv_forward(&node->conv, &y, &x, w->packed + node->weights_at, n);
            continue;
        }
        for (uint32_t i = 0; i < n; i++) {
            nn_pass p = pass_of(e, w, layer, i);
            l->kind->run(l, &p);
        }
    }
    nn_floats_leave(before);
}

typedef struct rows_job {
    nn_engine *e;
    const nn_packed *w;
    uint32_t layer;
    size_t pieces;
} rows_job;

/* A piece of the output's rows, as a convolution of its own on shifted views. */
static void forward_rows(void *context, size_t index, unsigned thread)
{
    const rows_job *job = context;
    const nn_node *node = &job->e->m->nodes[job->layer];
    nn_convolution part = node->conv;
    nn_map x = map_of(job->e, value_of(job->e, layer_at(job->e, job->layer)->from[0]));
    nn_map y = map_of(job->e, value_of(job->e, (int32_t)job->layer));
    const size_t from = part.out_h * index / job->pieces, to = part.out_h * (index + 1) / job->pieces;
    (void)thread;
    part.out_h = (uint32_t)(to - from);
    x.at += from * part.shape.stride * x.row;
    y.at += from * y.row;
    nn_conv_forward(&part, &y, &x, job->w->packed + node->weights_at, 1);
}

void nn_engine_forward_shared(nn_engine *e, const nn_packed *w, uint32_t first, fl_pool *pool)
{
    enum { WORTH_IT = 20 * 1000 * 1000 /* waking a thread takes as long as a million operations */ };
    const unsigned n_threads = fl_pool_threads(pool);
    for (uint32_t layer = first; layer < e->m->spec.n_layers; layer++) {
        const nn_node *node = &e->m->nodes[layer];
        if (!node->is_conv || n_threads == 1 || node->conv.flops < WORTH_IT || node->conv.out_h < 2 * n_threads) {
            nn_engine_forward(e, w, 1, layer, layer + 1);
            continue;
        }
        rows_job job = {e, w, layer, n_threads};
        fl_pool_run(pool, job.pieces, forward_rows, &job);
    }
}

double nn_engine_loss(nn_engine *e, uint32_t i, uint32_t label, float scale)
{
    const nn_model *m = e->m;
    const uint32_t last = m->n_run - 1;
    const size_t n = layer_at(e, last)->n_out;
    const unsigned before = nn_floats_enter();
    float *d = e->memory + e->loss_at;
    nn_map y = nn_engine_value(e, last, i), dy = nn_engine_slope(e, last, i);
    double loss;
    nn_map_read(d, &y);
    if (m->loss == NN_LOSS_SQUARES)
        loss = nn_loss_squares(d, d, n);
    else if (m->loss == NN_LOSS_BINARY)
        loss = nn_loss_binary(d, d, m->spec.n_classes, label, m->class_weights);
    else
        loss = nn_loss_softmax(d, d, m->spec.n_classes, label, m->class_weights);
    for (size_t k = 0; k < n; k++)
        d[k] *= scale;
    nn_map_write(&dy, d);
    nn_floats_leave(before);
    return loss;
}

/* --- backward -------------------------------------------------------------------------------------------------- */

/* to += from, pixel on pixel. */
static void add_map(const nn_map *to, const nn_map *from)
{
    for (uint32_t i = 0; i < to->H; i++) {
        float *restrict a = to->at + i * to->row;
        const float *restrict b = from->at + i * from->row;
        for (size_t k = 0; k < (size_t)to->W * to->cs; k++)
            a[k] += b[k];
    }
}

static nn_map temporary(const nn_engine *e, uint32_t k, const nn_map *like)
{
    nn_map x = *like;
    x.at = e->memory + e->temp_at[k];
    x.row = (size_t)x.W * x.cs;
    return x;
}

static float *part_of(const nn_engine *e, const nn_share *s, uint32_t layer)
{
    return s->g + (s->is_whole ? e->m->nodes[layer].packed_at : e->share_at[layer]);
}

static bool is_in_tiles(const nn_engine *e, const nn_share *s, uint32_t layer)
{
    return e->is_tiled[layer] && !s->is_whole;
}

static void send_back_image(nn_engine *e, const nn_packed *w, uint32_t layer, uint32_t i, float *dw)
{
    const nn_layer *l = layer_at(e, layer);
    nn_pass p = pass_of(e, w, layer, i);
    p.dy = nn_engine_slope(e, layer, i);
    p.dw = dw;
    for (uint32_t k = 0; k < l->n_inputs; k++) {
        if (e->sends[layer][k] == SEND_NOTHING)
            continue;
        p.dx[k] = nn_engine_slope(e, (uint32_t)l->from[k], i);
        if (e->sends[layer][k] == SEND_MORE)
            p.dx[k] = temporary(e, k, &p.dx[k]);
    }
    l->kind->back(l, &p);
    for (uint32_t k = 0; k < l->n_inputs; k++) {
        if (e->sends[layer][k] != SEND_MORE)
            continue;
        nn_map slope = nn_engine_slope(e, (uint32_t)l->from[k], i);
        add_map(&slope, &p.dx[k]);
    }
}

static void back_through_kind(nn_engine *e, const nn_packed *w, uint32_t layer, nn_share *shares, uint32_t n_shares,
                              bool wants_squares)
{
    const size_t n_packed = e->m->nodes[layer].n_packed;
    const bool is_learned = layer_at(e, layer)->is_learned && !e->terms.is_looking;
    for (uint32_t s = 0; s < n_shares; s++) {
        nn_share *share = &shares[s];
        float *dw = is_learned ? part_of(e, share, layer) : NULL;
        if (dw && share->is_start)
            memset(dw, 0, n_packed * sizeof *dw);
        for (uint32_t i = share->first; i < share->first + share->n; i++)
            send_back_image(e, w, layer, i, dw);
        if (dw && share->is_end && wants_squares)
            share->squares += nn_packed_sum_squares(dw, n_packed);
    }
}

/* A patient's whole gradient of standardised weights becomes that of the weights they were made from. */
static void unstandardise(nn_engine *e, const nn_packed *w, uint32_t layer, float *dw)
{
    const nn_layer *l = layer_at(e, layer);
    const nn_convolution *c = &e->m->nodes[layer].conv;
    float *flat = e->memory + e->scratch_at;
    nn_conv_unpack(c, flat, dw);
    nn_standardise_back(l, flat, w->flat + l->weights_at);
    nn_conv_pack(c, dw, NULL, flat, 0, 1);
}

/* Whether the norm comes from pairs of pixels. It follows from the layer and the patient, whatever the block holds beside and
 * whatever becomes of the gradient: a patient of one image is never shared out over blocks. */
static bool is_ghost(const nn_engine *e, const nn_share *share, uint32_t layer)
{
    return share->is_start && share->is_end && share->n == 1 && !layer_at(e, layer)->is_standardised &&
           nn_conv_is_broad(&e->m->nodes[layer].conv);
}

static void back_through_conv(nn_engine *e, const nn_packed *w, uint32_t layer, uint32_t n, nn_share *shares,
                              uint32_t n_shares, bool wants_squares)
{
    const nn_layer *l = layer_at(e, layer);
    const nn_node *node = &e->m->nodes[layer];
    const nn_convolution *c = &node->conv;
    const nn_map x = map_of(e, value_of(e, l->from[0])), dy = map_of(e, &e->buffers[e->slope[layer]]);
    for (uint32_t s = 0; l->is_learned && !e->terms.is_looking && s < n_shares; s++) {
        nn_share *share = &shares[s];
        const bool is_due = share->is_end && wants_squares && !is_ghost(e, share, layer);
        if (is_ghost(e, share, layer) && wants_squares)
            share->squares += nn_conv_ghost_squares(c, &x, &dy, share->first, 1);
        if (is_in_tiles(e, share, layer)) {
            if (is_due)
                share->squares += nn_conv_sum_squares(c, &x, &dy, share->first, share->n, e->memory + e->scratch_at);
            continue;
        }
        float *dw = part_of(e, share, layer);
        double squares = nn_conv_weight_gradient(c, dw, &x, &dy, share->first, share->n, !share->is_start,
                                                 is_due && !l->is_standardised);
        if (l->is_standardised && share->is_end)
            unstandardise(e, w, layer, dw);
        if (l->is_standardised && is_due)
            squares = nn_packed_sum_squares(dw, node->n_packed);
        share->squares += squares;
    }
    if (e->sends[layer][0] == SEND_NOTHING)
        return;
    const nn_map dx = map_of(e, &e->buffers[e->slope[l->from[0]]]);
    nn_conv_input_gradient(c, &dx, &dy, w->transposed + node->transposed_at, n, e->sends[layer][0] == SEND_MORE);
}

/* A learned layer that the loss does not see has a gradient of zeros. */
static void clear_unseen(nn_engine *e, uint32_t layer, nn_share *shares, uint32_t n_shares)
{
    for (uint32_t s = 0; s < n_shares; s++) {
        if (shares[s].is_start && !is_in_tiles(e, &shares[s], layer))
            memset(part_of(e, &shares[s], layer), 0, e->m->nodes[layer].n_packed * sizeof(float));
    }
}

static bool is_seen(const nn_engine *e, uint32_t layer)
{
    return e->slope[layer] != NOBODY;
}

void nn_engine_backward(nn_engine *e, const nn_packed *w, uint32_t n, nn_share *shares, uint32_t n_shares,
                        bool wants_squares)
{
    const unsigned before = nn_floats_enter();
    assert(e->is_training);
    for (uint32_t s = 0; s < n_shares; s++)
        shares[s].squares = 0;
    for (uint32_t layer = e->m->spec.n_layers; layer-- > e->first;) {
        if (e->terms.is_looking && layer == e->first)
            break;
        if (is_seen(e, layer) && e->m->nodes[layer].is_conv)
            back_through_conv(e, w, layer, n, shares, n_shares, wants_squares);
        else if (is_seen(e, layer))
            back_through_kind(e, w, layer, shares, n_shares, wants_squares);
        else if (layer_at(e, layer)->is_learned && !e->terms.is_looking)
            clear_unseen(e, layer, shares, n_shares);
    }
    nn_floats_leave(before);
}

/* --- the patients' sum ----------------------------------------------------------------------------------------- */

static void clip_kept(nn_engine *e, int32_t *sum, uint32_t layer, const nn_share *shares, const float *scales,
                      unsigned __int128 *squares, uint32_t n_shares)
{
    const nn_kernels *kernels = nn_kernels_chosen();
    const size_t n_packed = e->m->nodes[layer].n_packed;
    for (size_t at = 0; at < n_packed; at += TILE) {
        size_t n = n_packed - at < TILE ? n_packed - at : TILE;
        for (uint32_t s = 0; s < n_shares; s++) {
            if (shares[s].is_end)
                squares[s] += kernels->clip(sum + at, part_of(e, &shares[s], layer) + at, n, scales[s]);
        }
    }
}

static void clip_tiled(nn_engine *e, int32_t *sum, uint32_t layer, const nn_share *shares, const float *scales,
                       unsigned __int128 *squares, uint32_t n_shares)
{
    enum { AT_ONCE = 64 };
    const nn_map x = map_of(e, value_of(e, layer_at(e, layer)->from[0]));
    const nn_map dy = map_of(e, &e->buffers[e->slope[layer]]);
    nn_conv_patient patients[AT_ONCE];
    for (uint32_t at = 0; at < n_shares; at += AT_ONCE) {
        uint32_t n = n_shares - at < AT_ONCE ? n_shares - at : AT_ONCE;
        for (uint32_t s = 0; s < n; s++)
            patients[s] = (nn_conv_patient){shares[at + s].first, shares[at + s].n, scales[at + s], 0};
        nn_conv_clip_sum(&e->m->nodes[layer].conv, sum, patients, n, &x, &dy, e->memory + e->scratch_at);
        for (uint32_t s = 0; s < n; s++)
            squares[at + s] += patients[s].square;
    }
}

void nn_engine_clip(nn_engine *e, int32_t *sum, const nn_share *shares, const float *scales, unsigned __int128 *squares,
                    uint32_t n_shares)
{
    const unsigned before = nn_floats_enter();
    assert(n_shares >= 1);
    for (uint32_t s = 0; s < n_shares; s++)
        squares[s] = 0;
    for (uint32_t layer = e->m->first_learned; layer < e->m->spec.n_layers; layer++) {
        if (!layer_at(e, layer)->is_learned)
            continue;
        int32_t *part = sum + e->m->nodes[layer].packed_at;
        if (e->is_tiled[layer] && !is_seen(e, layer) && !shares[0].is_whole)
            continue;                          /* zeros */
        if (is_in_tiles(e, &shares[0], layer)) /* whole shares are alone in their block */
            clip_tiled(e, part, layer, shares, scales, squares, n_shares);
        else
            clip_kept(e, part, layer, shares, scales, squares, n_shares);
    }
    nn_floats_leave(before);
}

/* From scratch_at on lies what no layer owns: scratch, temporaries, the slopes of the loss. */
void nn_engine_wipe(nn_engine *e)
{
    fl_wipe(e->memory + e->scratch_at, (e->n_floats - e->scratch_at) * sizeof *e->memory);
}
