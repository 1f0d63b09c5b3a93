#include "train/predict.h"
#include <math.h>
#include <stdlib.h>

typedef struct predict_job {
    const nn_model *model;
    const float *weights;
    const nn_dataset *data;
    nn_workspace **ws;
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

static void predict_one(void *context, size_t index, unsigned thread)
{
    const predict_job *job = context;
    uint32_t n = nn_model_n_classes(job->model);
    float *p = job->probabilities + index * n;
    nn_forward(job->model, job->ws[thread], job->weights, p,
               job->data->images + index * nn_dataset_image_size(job->data));
    nn_probabilities(p, job->model, p);
}

fl_code nn_predict(float *probabilities, const nn_model *m, const float *weights, const nn_dataset *d, fl_pool *pool,
                   fl_err *err)
{
    nn_shape s = nn_model_input(m);
    if (s.C != d->channels || s.H != d->height || s.W != d->width)
        return fl_fail(err, FL_EREFUSED, "data set: images are %ux%ux%u, the model wants %ux%ux%u", d->channels,
                       d->height, d->width, s.C, s.H, s.W);
    unsigned n_threads = fl_pool_threads(pool);
    nn_workspace **ws = calloc(n_threads, sizeof(nn_workspace *));
    fl_code rc = ws ? FL_OK : fl_fail(err, FL_EENV, "prediction: out of memory");
    for (unsigned i = 0; rc == FL_OK && i < n_threads; i++)
        rc = nn_workspace_create(&ws[i], m, err);
    if (rc == FL_OK) {
        predict_job job = {m, weights, d, ws, probabilities};
        fl_pool_run(pool, d->n_images, predict_one, &job);
    }
    for (unsigned i = 0; ws && i < n_threads; i++)
        nn_workspace_destroy(ws[i]);
    free(ws);
    return rc;
}
