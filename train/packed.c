/* Weights in the order of the kernels, and sums back in the order of the flat vector. */
#include "base/arena.h"

#include "train/engine.h"
#include <assert.h>
#include <string.h>

enum { PIECES = 16 }; /* of a layer, for threads */

fl_code nn_packed_init(nn_packed *p, const nn_model *m, bool is_training, fl_err *err)
{
    *p = (nn_packed){.m = m};
    const size_t packed = m->n_pack * sizeof(float), transposed = is_training ? m->n_transposed * sizeof(float) : 0;
    const size_t standard = m->n_standard * sizeof(float);
    fl_code rc = fl_arena_init(&p->arena,
                               fl_arena_round(packed) + fl_arena_round(transposed) + fl_arena_round(standard), err);
    if (rc != FL_OK)
        return rc;
    p->packed = fl_arena_cut(&p->arena, packed);
    p->transposed = is_training ? fl_arena_cut(&p->arena, transposed) : NULL;
    p->standard = fl_arena_cut(&p->arena, standard);
    return FL_OK;
}

void nn_packed_fini(nn_packed *p)
{
    fl_arena_fini(&p->arena);
}

typedef struct pack_job {
    nn_packed *p;
    bool learned_only, everything;
} pack_job;

static void pack_piece(void *context, size_t index, unsigned thread)
{
    const pack_job *job = context;
    const nn_packed *p = job->p;
    const uint32_t layer = (uint32_t)(index / PIECES), piece = (uint32_t)(index % PIECES);
    const nn_node *node = &p->m->nodes[layer];
    const nn_layer *l = &p->m->spec.layers[layer];
    (void)thread;
    if (!node->is_conv || (job->learned_only && !l->is_learned))
        return;
    const bool is_sent_back = l->from[0] >= 0 && (p->m->nodes[l->from[0]].has_slope || job->everything);
    nn_conv_pack(&node->conv, p->packed + node->weights_at,
                 p->transposed && is_sent_back ? p->transposed + node->transposed_at : NULL,
                 l->is_standardised ? p->standard + node->standard_at : p->flat + l->weights_at, piece, PIECES);
}

void nn_packed_load(nn_packed *p, const float *weights, nn_load load, fl_pool *pool)
{
    pack_job job = {p, load == NN_LOAD_LEARNED, load == NN_LOAD_EVERYTHING};
    const size_t n = (size_t)p->m->spec.n_layers * PIECES;
    p->flat = weights;
    for (uint32_t i = 0; i < p->m->spec.n_layers; i++) {
        const nn_layer *l = &p->m->spec.layers[i];
        if (l->is_standardised && (l->is_learned || !job.learned_only))
            nn_standardise(l, p->standard + p->m->nodes[i].standard_at, weights + l->weights_at);
    }
    if (pool)
        fl_pool_run(pool, n, pack_piece, &job);
    for (size_t i = 0; !pool && i < n; i++)
        pack_piece(&job, i, 0);
}

typedef struct collect_job {
    const nn_model *m;
    const nn_collection *collection;
    int32_t *const *scratch;
} collect_job;

/* Of a layer that is no convolution: its part is in flat order. */
static void collect_flat(const nn_collection *job, int32_t *scratch, size_t packed_at, size_t flat_at, size_t n)
{
    for (size_t i = 0; i < n; i += NN_COLLECT_SCRATCH) {
        const size_t size = n - i < NN_COLLECT_SCRATCH ? n - i : NN_COLLECT_SCRATCH;
        nn_collect_values(job, scratch, packed_at + i, size);
        job->put(job->to, flat_at + i, scratch, size);
    }
}

static void collect_piece(void *context, size_t index, unsigned thread)
{
    const collect_job *job = context;
    const uint32_t layer = (uint32_t)(index / PIECES), piece = (uint32_t)(index % PIECES);
    const nn_layer *l = &job->m->spec.layers[layer];
    const nn_node *node = &job->m->nodes[layer];
    int32_t *scratch = job->scratch[thread];
    if (!l->is_learned)
        return;
    if (node->is_conv)
        nn_conv_collect(&node->conv, job->collection, scratch, node->packed_at, node->learned_at, piece, PIECES);
    else if (piece == 0)
        collect_flat(job->collection, scratch, node->packed_at, node->learned_at, l->n_weights);
}

void nn_collect(const nn_model *m, const nn_collection *collection, int32_t *const *scratch, fl_pool *pool)
{
    collect_job job = {m, collection, scratch};
    fl_pool_run(pool, (size_t)m->spec.n_layers * PIECES, collect_piece, &job);
}

void nn_unpack(const nn_model *m, float *flat, const float *packed)
{
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const nn_layer *l = &m->spec.layers[i];
        const nn_node *node = &m->nodes[i];
        if (!l->is_learned)
            continue;
        if (node->is_conv)
            nn_conv_unpack(&node->conv, flat + node->learned_at, packed + node->packed_at);
        else
            memcpy(flat + node->learned_at, packed + node->packed_at, l->n_weights * sizeof *flat);
    }
}
