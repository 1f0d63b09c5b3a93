#include "train/predict.h"
#include "train/block.h"
#include "train/loss.h"
#include "train/prefix.h"
#include <math.h>
#include <stdlib.h>

struct nn_predictor {
    const nn_model *model;
    fl_pool *pool;
    nn_packed weights;
    nn_engine **engines;
    uint32_t images; /* of a block, at most */
};

typedef struct predict_job {
    const nn_predictor *p;
    const nn_dataset *data;
    uint32_t images; /* of a block of this call */
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
        p[c] = isnan(logits[c]) ? 0.5f : (float)nn_logistic(logits[c]);
}

/* Layers whose values the data set has already. */
static uint32_t n_done(const predict_job *job)
{
    const nn_model *m = job->p->model;
    return job->data->n_images > 0 && nn_prefix_of(job->data, m, 0) ? nn_prefix_layers(m) : 0;
}

static void load_image(const predict_job *job, nn_engine *e, uint32_t i, size_t image)
{
    const uint32_t done = n_done(job);
    if (done > 0) {
        const nn_map kept = nn_engine_value(e, done - 1, i);
        nn_map_write(&kept, nn_prefix_of(job->data, job->p->model, image));
    } else {
        nn_engine_set_image(e, i, job->data->images + image * nn_dataset_image_size(job->data));
    }
}

static void take_answer(const predict_job *job, const nn_engine *e, uint32_t i, size_t image)
{
    const nn_model *m = job->p->model;
    float *p = job->probabilities + image * nn_model_n_classes(m);
    const nn_map y = nn_engine_value(e, (uint32_t)nn_model_n_layers(m) - 1, i);
    nn_map_read(p, &y);
    nn_probabilities(p, m, p);
}

static void predict_block(void *context, size_t index, unsigned thread)
{
    const predict_job *job = context;
    const size_t first = index * job->images, left = job->data->n_images - first;
    const uint32_t n = left < job->images ? (uint32_t)left : job->images;
    nn_engine *e = job->p->engines[thread];
    for (uint32_t i = 0; i < n; i++)
        load_image(job, e, i, first + i);
    nn_engine_forward(e, &job->p->weights, n, n_done(job), (uint32_t)nn_model_n_layers(job->p->model));
    for (uint32_t i = 0; i < n; i++)
        take_answer(job, e, i, first + i);
}

fl_code nn_predictor_create(nn_predictor **out, const nn_model *m, const float *weights, fl_pool *pool, fl_err *err)
{
    *out = NULL;
    nn_predictor *p = calloc(1, sizeof *p);
    if (!p)
        return fl_fail(err, FL_EENV, "prediction: out of memory");
    *p = (nn_predictor){.model = m, .pool = pool, .images = nn_block_images(m)};
    const nn_engine_terms terms = {.images = p->images};
    p->engines = calloc(fl_pool_threads(pool), sizeof(nn_engine *));
    fl_code rc = p->engines ? nn_packed_init(&p->weights, m, false, err)
                            : fl_fail(err, FL_EENV, "prediction: out of memory");
    for (unsigned i = 0; rc == FL_OK && i < fl_pool_threads(pool); i++)
        rc = nn_engine_create(&p->engines[i], m, &terms, err);
    if (rc != FL_OK) {
        nn_predictor_destroy(p);
        return rc;
    }
    nn_packed_load(&p->weights, weights, NN_LOAD_ALL, pool);
    *out = p;
    return FL_OK;
}

void nn_predictor_destroy(nn_predictor *p)
{
    if (!p)
        return;
    for (unsigned i = 0; p->engines && i < fl_pool_threads(p->pool); i++)
        nn_engine_destroy(p->engines[i]);
    free(p->engines);
    nn_packed_fini(&p->weights);
    free(p);
}

fl_code nn_predictor_run(nn_predictor *p, float *probabilities, const nn_dataset *d, fl_err *err)
{
    const nn_shape s = nn_model_input(p->model);
    if (s.C != d->channels || s.H != d->height || s.W != d->width)
        return fl_fail(err, FL_EREFUSED, "data set: images are %ux%ux%u, the model wants %ux%ux%u", d->channels,
                       d->height, d->width, s.C, s.H, s.W);
    const uint32_t each = (d->n_images + fl_pool_threads(p->pool) - 1) / fl_pool_threads(p->pool);
    predict_job job = {p, d, each < p->images ? each : p->images, probabilities};
    for (uint32_t i = 0; d->n_images < fl_pool_threads(p->pool) && i < d->n_images; i++) {
        load_image(&job, p->engines[0], 0, i);
        nn_engine_forward_shared(p->engines[0], &p->weights, n_done(&job), p->pool);
        take_answer(&job, p->engines[0], 0, i);
    }
    if (d->n_images >= fl_pool_threads(p->pool))
        fl_pool_run(p->pool, (d->n_images + job.images - 1) / job.images, predict_block, &job);
    return FL_OK;
}

fl_code nn_predict(float *probabilities, const nn_model *m, const float *weights, const nn_dataset *d, fl_pool *pool,
                   fl_err *err)
{
    nn_predictor *p;
    FL_TRY(nn_predictor_create(&p, m, weights, pool, err));
    fl_code rc = nn_predictor_run(p, probabilities, d, err);
    nn_predictor_destroy(p);
    return rc;
}
