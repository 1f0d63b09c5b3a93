#include "train/prefix.h"
#include "base/arena.h"
#include "crypto/csprng.h"
#include "train/graph.h"
#include "train/kernels.h"
#include <stdlib.h>

uint32_t nn_prefix_layers(const nn_model *m)
{
    const nn_layer *layers = m->spec.layers;
    if (layers[0].kind != &nn_scattering_kind)
        return 0;
    for (uint32_t i = 1; i < m->spec.n_layers; i++) {
        for (uint32_t k = 0; k < layers[i].n_inputs; k++) {
            if (layers[i].from[k] < 0)
                return 0;
        }
    }
    return 1;
}

static bool is_same(const nn_scattering *a, const nn_scattering *b)
{
    return a->scales == b->scales && a->angles == b->angles && a->height == b->height && a->width == b->width &&
           a->mirror == b->mirror && a->groups == b->groups;
}

static bool is_prepared(const nn_dataset *d, const nn_model *m)
{
    return d->n_prefix == d->n_images && d->prefix && nn_prefix_layers(m) > 0 &&
           is_same(&d->prefix_of, &m->spec.layers[0].scattering);
}

const float *nn_prefix_of(const nn_dataset *d, const nn_model *m, size_t i)
{
    return is_prepared(d, m) ? d->prefix + i * d->prefix_of.n_out : NULL;
}

typedef struct prepare_job {
    nn_dataset *d;
    float **scratch; /* of each thread */
} prepare_job;

static void prepare_one(void *context, size_t i, unsigned thread)
{
    const prepare_job *job = context;
    const nn_dataset *d = job->d;
    const unsigned before = nn_floats_enter(); /* as in the engine */
    nn_scattering_features(&d->prefix_of, d->prefix + i * d->prefix_of.n_out, job->scratch[thread],
                           d->images + i * nn_dataset_image_size(d));
    nn_floats_leave(before);
}

fl_code nn_dataset_prepare(nn_dataset *d, const nn_model *m, fl_pool *pool, fl_err *err)
{
    const unsigned n_threads = fl_pool_threads(pool);
    const nn_shape input = nn_model_input(m);
    if (nn_prefix_layers(m) == 0 || is_prepared(d, m) || d->n_images == 0)
        return FL_OK;
    if (d->channels != input.C || d->height != input.H || d->width != input.W)
        return fl_fail(err, FL_EREFUSED, "data set: images are %ux%ux%u, the model wants %ux%ux%u", d->channels,
                       d->height, d->width, input.C, input.H, input.W);
    const nn_scattering s = m->spec.layers[0].scattering;
    if (s.n_out > NN_PREFIX_MAX_BYTES / sizeof(float) / d->n_images)
        return FL_OK;
    nn_dataset_forget_prefix(d);
    d->prefix = malloc(fl_size_mul(d->n_images, s.n_out * sizeof *d->prefix));
    if (!d->prefix)
        return FL_OK; /* slower, not wrong */
    prepare_job job = {d, calloc(n_threads, sizeof(float *))};
    bool ok = job.scratch != NULL;
    for (unsigned i = 0; ok && i < n_threads; i++)
        ok = (job.scratch[i] = malloc(s.n_scratch * sizeof(float))) != NULL;
    d->prefix_of = s;
    if (ok) {
        fl_pool_run(pool, d->n_images, prepare_one, &job);
        d->n_prefix = d->n_images;
    }
    for (unsigned i = 0; job.scratch && i < n_threads; i++) {
        if (job.scratch[i])
            fl_wipe(job.scratch[i], s.n_scratch * sizeof(float));
        free(job.scratch[i]);
    }
    free(job.scratch);
    return ok ? FL_OK : fl_fail(err, FL_EENV, "data set: out of memory");
}
