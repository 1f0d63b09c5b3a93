#include "train/sgd.h"
#include "train/block.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 14 };

typedef struct worker {
    nn_engine *engine;
    float *g; /* packed: the sum over this thread's images */
    bool has_begun;
    double loss;
} worker;

struct nn_sgd {
    const nn_model *m;
    const nn_dataset *data;
    fl_pool *pool;
    nn_packed weights;
    fl_arena arena;
    uint32_t images; /* of a block */
    unsigned n_threads;
    worker *workers;
    float *flat; /* (n_learned) */
};

fl_code nn_sgd_create(nn_sgd **out, const nn_model *m, const nn_dataset *d, fl_pool *pool, fl_err *err)
{
    *out = NULL;
    nn_sgd *s = calloc(1, sizeof *s);
    if (!s)
        return fl_fail(err, FL_EENV, "training: out of memory");
    const size_t g = m->n_packed * sizeof(float), flat = m->n_learned * sizeof(float);
    *s = (nn_sgd){.m = m, .data = d, .pool = pool, .images = nn_block_images(m), .n_threads = fl_pool_threads(pool)};
    s->workers = calloc(s->n_threads, sizeof *s->workers);
    fl_code rc = s->workers ? FL_OK : fl_fail(err, FL_EENV, "training: out of memory");
    if (rc == FL_OK)
        rc = nn_packed_init(&s->weights, m, true, err);
    if (rc == FL_OK)
        rc = fl_arena_init(&s->arena, s->n_threads * fl_arena_round(g) + fl_arena_round(flat), err);
    const nn_engine_terms terms = {.images = s->images, .is_training = true, .way = NN_WAY_KEPT};
    for (unsigned i = 0; rc == FL_OK && i < s->n_threads; i++) {
        s->workers[i].g = fl_arena_cut(&s->arena, g);
        rc = nn_engine_create(&s->workers[i].engine, m, &terms, err);
    }
    if (rc != FL_OK) {
        nn_sgd_destroy(s);
        return rc;
    }
    s->flat = fl_arena_cut(&s->arena, flat);
    *out = s;
    return FL_OK;
}

void nn_sgd_destroy(nn_sgd *s)
{
    if (!s)
        return;
    for (unsigned i = 0; s->workers && i < s->n_threads; i++)
        nn_engine_destroy(s->workers[i].engine);
    free(s->workers);
    nn_packed_fini(&s->weights);
    fl_arena_fini(&s->arena);
    free(s);
}

static size_t n_in_block(const nn_sgd *s, size_t index, size_t *first)
{
    *first = index * s->images;
    const size_t left = s->data->n_images - *first;
    return left < s->images ? left : s->images;
}

static void add_block(void *context, size_t index, unsigned thread)
{
    nn_sgd *s = context;
    worker *at = &s->workers[thread];
    size_t first;
    const uint32_t n = (uint32_t)n_in_block(s, index, &first);
    for (uint32_t i = 0; i < n; i++)
        nn_engine_set_image(at->engine, i, s->data->images + (first + i) * nn_dataset_image_size(s->data));
    nn_engine_forward(at->engine, &s->weights, n, 0, s->m->n_run);
    for (uint32_t i = 0; i < n; i++)
        at->loss += nn_engine_loss(at->engine, i, s->data->labels[first + i], 1.0f / (float)s->data->n_images);
    nn_share share = {.n = n, .is_start = !at->has_begun, .is_whole = true, .g = at->g};
    nn_engine_backward(at->engine, &s->weights, n, &share, 1, false);
    at->has_begun = true;
}

static void add_gradients(void *context, size_t index, unsigned thread)
{
    nn_sgd *s = context;
    const size_t at = index * CHUNK, left = s->m->n_packed - at, n = left < CHUNK ? left : CHUNK;
    float *sum = s->workers[0].g + at;
    (void)thread;
    if (!s->workers[0].has_begun)
        memset(sum, 0, n * sizeof *sum);
    for (unsigned i = 1; i < s->n_threads; i++) {
        for (size_t j = 0; s->workers[i].has_begun && j < n; j++)
            sum[j] += s->workers[i].g[at + j];
    }
}

double nn_sgd_step(nn_sgd *s, float *w, double learning_rate)
{
    double loss = 0;
    nn_packed_load(&s->weights, w, NN_LOAD_ALL, s->pool);
    for (unsigned i = 0; i < s->n_threads; i++) {
        s->workers[i].has_begun = false;
        s->workers[i].loss = 0;
    }
    fl_pool_run(s->pool, (s->data->n_images + s->images - 1) / s->images, add_block, s);
    fl_pool_run(s->pool, (s->m->n_packed + CHUNK - 1) / CHUNK, add_gradients, s);
    nn_unpack(s->m, s->flat, s->workers[0].g);
    for (size_t r = 0, at = 0; r < nn_model_n_ranges(s->m); r++) {
        const nn_range range = nn_model_range(s->m, r);
        for (size_t i = range.offset; i < range.offset + range.size; i++, at++)
            w[i] = (float)(w[i] - learning_rate * s->flat[at]);
    }
    for (unsigned i = 0; i < s->n_threads; i++)
        loss += s->workers[i].loss;
    return loss / s->data->n_images;
}
