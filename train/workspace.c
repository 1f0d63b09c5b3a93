/* The public door to the engine: one image, weights in the flat vector. */
#include "crypto/csprng.h"
#include "train/engine.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct nn_workspace {
    nn_engine *engine;
    nn_packed weights;
    fl_arena arena;
    float *g; /* packed gradient */
};

fl_code nn_workspace_create(nn_workspace **out, const nn_model *m, fl_err *err)
{
    const size_t g = m->n_packed * sizeof(float);
    *out = NULL;
    nn_workspace *ws = calloc(1, sizeof *ws);
    if (!ws)
        return fl_fail(err, FL_EENV, "model: out of memory");
    fl_code rc = nn_engine_create(&ws->engine, m,
                                  &(nn_engine_terms){.images = 1, .is_training = true, .way = NN_WAY_KEPT}, err);
    if (rc == FL_OK)
        rc = nn_packed_init(&ws->weights, m, true, err);
    if (rc == FL_OK)
        rc = fl_arena_init(&ws->arena, g, err);
    if (rc != FL_OK) {
        nn_workspace_destroy(ws);
        return rc;
    }
    ws->g = fl_arena_cut(&ws->arena, g);
    *out = ws;
    return FL_OK;
}

void nn_workspace_destroy(nn_workspace *ws)
{
    if (!ws)
        return;
    nn_engine_destroy(ws->engine);
    nn_packed_fini(&ws->weights);
    if (ws->g)
        fl_wipe(ws->g, ws->weights.m->n_packed * sizeof *ws->g);
    fl_arena_fini(&ws->arena);
    free(ws);
}

size_t nn_workspace_size(const nn_workspace *ws)
{
    const nn_model *m = ws->weights.m;
    return sizeof *ws + nn_engine_size(m, &(nn_engine_terms){.images = 1, .is_training = true, .way = NN_WAY_KEPT}) +
           ws->weights.arena.size + ws->arena.size;
}

void nn_forward(const nn_model *m, nn_workspace *ws, const float *w, float *logits, const float *image)
{
    nn_packed_load(&ws->weights, w, NN_LOAD_ALL, NULL);
    nn_engine_set_image(ws->engine, 0, image);
    nn_engine_drop(ws->engine, false);
    nn_engine_forward(ws->engine, &ws->weights, 1, 0, m->spec.n_layers);
    nn_engine_drop(ws->engine, true);
    nn_map y = nn_engine_value(ws->engine, m->spec.n_layers - 1, 0);
    nn_map_read(logits, &y);
}

void nn_gradient(const nn_model *m, nn_workspace *ws, const float *w, float *g, double *loss, const float *image,
                 uint32_t label)
{
    nn_share share = {.n = 1, .is_start = true, .is_end = true, .is_whole = true, .g = ws->g};
    nn_packed_load(&ws->weights, w, NN_LOAD_ALL, NULL);
    nn_engine_set_image(ws->engine, 0, image);
    nn_engine_forward(ws->engine, &ws->weights, 1, 0, m->n_run);
    double value = nn_engine_loss(ws->engine, 0, label, 1);
    if (loss)
        *loss = value;
    nn_engine_backward(ws->engine, &ws->weights, 1, &share, 1, false);
    nn_unpack(m, g, ws->g);
}

fl_code nn_activation(float *y, float *slope, float *logits, const nn_model *m, nn_workspace *ws, const float *w,
                      const float *image, size_t layer, uint32_t class, fl_err *err)
{
    const uint32_t n = m->spec.n_layers, at = (uint32_t)layer;
    nn_engine *e;
    assert(layer < n && class < m->spec.n_classes);
    FL_TRY(nn_engine_create(
        &e, m, &(nn_engine_terms){.images = 1, .is_training = true, .is_looking = true, .look_at = at}, err));
    nn_packed_load(&ws->weights, w, NN_LOAD_EVERYTHING, NULL);
    nn_engine_set_image(e, 0, image);
    nn_engine_forward(e, &ws->weights, 1, 0, n);
    nn_map last = nn_engine_value(e, n - 1, 0), last_slope = nn_engine_slope(e, n - 1, 0);
    nn_map value = nn_engine_value(e, at, 0), value_slope = nn_engine_slope(e, at, 0);
    float *one = calloc(m->spec.n_classes, sizeof *one);
    if (one) {
        nn_map_read(one, &last);
        if (logits)
            memcpy(logits, one, m->spec.n_classes * sizeof *one);
        for (uint32_t c = 0; c < m->spec.n_classes; c++)
            one[c] = c == class;
        nn_map_write(&last_slope, one);
        nn_share share = {.n = 1};
        nn_engine_backward(e, &ws->weights, 1, &share, 1, false);
        nn_map_read(y, &value);
        nn_map_read(slope, &value_slope);
    }
    fl_code rc = one ? FL_OK : fl_fail(err, FL_EENV, "model: out of memory");
    free(one);
    nn_engine_destroy(e);
    return rc;
}
