#include "train/predict.h"
#include "train/block.h"
#include <math.h>
#include <stdlib.h>

typedef struct predict_job {
    const nn_model *model;
    const nn_packed *weights;
    const nn_dataset *data;
    nn_engine **engines;
    uint32_t images; /* of a block */
    float *probabilities;
} predict_job;

void nn_probabilities(float *p, const nn_model *m, const float *logits)
{
    const uint32_t n = nn_model_n_classes(m);
    if (nn_model_loss(m) != NN_LOSS_BINARY) {
        nn_softmax(p, logits, n);
        return;
    }
    for (uint32_t c = 0; c < n; c++)
        p[c] = isnan(logits[c]) ? 0.5f : (float)(1 / (1 + exp(-(double)logits[c])));
}

static void predict_block(void *context, size_t index, unsigned thread)
{
    const predict_job *job = context;
    const uint32_t n_classes = nn_model_n_classes(job->model), n_layers = (uint32_t)nn_model_n_layers(job->model);
    const size_t first = index * job->images, left = job->data->n_images - first;
    const uint32_t n = left < job->images ? (uint32_t)left : job->images;
    nn_engine *e = job->engines[thread];
    for (uint32_t i = 0; i < n; i++)
        nn_engine_set_image(e, i, job->data->images + (first + i) * nn_dataset_image_size(job->data));
    nn_engine_forward(e, job->weights, n, 0, n_layers);
    for (uint32_t i = 0; i < n; i++) {
        float *p = job->probabilities + (first + i) * n_classes;
        const nn_map y = nn_engine_value(e, n_layers - 1, i);
        nn_map_read(p, &y);
        nn_probabilities(p, job->model, p);
    }
}

fl_code nn_predict(float *probabilities, const nn_model *m, const float *weights, const nn_dataset *d, fl_pool *pool,
                   fl_err *err)
{
    nn_shape s = nn_model_input(m);
    if (s.C != d->channels || s.H != d->height || s.W != d->width)
        return fl_fail(err, FL_EREFUSED, "data set: images are %ux%ux%u, the model wants %ux%ux%u", d->channels,
                       d->height, d->width, s.C, s.H, s.W);
    const unsigned n_threads = fl_pool_threads(pool);
    const nn_engine_terms terms = {.images = nn_block_images(m)};
    nn_engine **engines = calloc(n_threads, sizeof(nn_engine *));
    nn_packed packed = {0};
    fl_code rc = engines ? FL_OK : fl_fail(err, FL_EENV, "prediction: out of memory");
    if (rc == FL_OK)
        rc = nn_packed_init(&packed, m, false, err);
    for (unsigned i = 0; rc == FL_OK && i < n_threads; i++)
        rc = nn_engine_create(&engines[i], m, &terms, err);
    if (rc == FL_OK) {
        predict_job job = {m, &packed, d, engines, terms.images, probabilities};
        nn_packed_load(&packed, weights, NN_LOAD_ALL, pool);
        fl_pool_run(pool, (d->n_images + terms.images - 1) / terms.images, predict_block, &job);
    }
    for (unsigned i = 0; engines && i < n_threads; i++)
        nn_engine_destroy(engines[i]);
    free(engines);
    nn_packed_fini(&packed);
    return rc;
}
