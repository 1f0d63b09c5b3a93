#include "node/worker.h"

#include "base/log.h"
#include "train/counts.h"
#include "train/predict.h"
#include "train/prefix.h"
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct node_worker {
    pthread_t thread;
    pthread_mutex_t mutex; /* guards job, busy, stop */
    pthread_cond_t given;
    node_job *job;
    bool busy, stop, started;
    atomic_bool cancel;
    node_job_done done;
    void *ctx;
    /* the thread's own */
    fl_objects *objects;
    fl_pool *pool;
    nn_dataset dataset; /* of the trainer */
    nn_trainer *trainer;
    fl_hash cached; /* of plan and rows */
};

void node_job_free(node_job *job)
{
    if (!job)
        return;
    node_data_rows_fini(&job->rows);
    node_data_rows_fini(&job->validation);
    free(job->weights);
    free(job);
}

/* The noised counts of the round's input model. All their noise is drawn before the first patient is looked at. */
static fl_code make_counts(dp_noised *cells, const nn_plan *plan, const node_splits *splits, const nn_model *model,
                           const float *weights, fl_csprng *random, fl_err *err)
{
    const size_t n = dp_noised_size(cells);
    const nn_dataset *v = splits->validation;
    dp_noised_draw(cells, plan->metrics_noise_variance, random);
    int64_t *exact = calloc(n, sizeof *exact);
    float *probabilities = calloc((size_t)v->n_images * plan->n_classes + 1, sizeof *probabilities);
    fl_code rc = exact && probabilities ? nn_predict(probabilities, model, weights, v, splits->pool, err)
                                        : fl_fail(err, FL_EENV, "training: out of memory");
    if (rc == FL_OK) {
        nn_counts_make(exact, plan, splits->training, v, probabilities);
        dp_noised_add_sum(cells, exact, n);
        fl_wipe(exact, n * sizeof *exact);
        fl_wipe(probabilities, (size_t)v->n_images * plan->n_classes * sizeof *probabilities);
    }
    free(exact);
    free(probabilities);
    return rc;
}

fl_code node_update_make(fl_hash *update_hash, uint64_t *size_bytes, nn_trainer *trainer, const nn_plan *plan,
                         const node_splits *splits, const float *weights, uint64_t declared_patients, uint32_t round,
                         fl_objects *objects, const atomic_bool *cancel, fl_err *err)
{
    const dp_update_shape shape = nn_plan_update(plan, round);
    const size_t size = dp_update_size(&shape);
    dp_noised *u = NULL, *cells = NULL;
    uint8_t *packed = malloc(size);
    fl_csprng random;
    fl_csprng_init(&random);
    fl_code rc = packed ? dp_noised_create(&u, shape.coordinates, err)
                        : fl_fail(err, FL_EENV, "training: out of memory");
    if (rc == FL_OK && shape.cells > 0 && (rc = dp_noised_create(&cells, shape.cells, err)) == FL_OK)
        rc = make_counts(cells, plan, splits, nn_trainer_model(trainer), weights, &random, err);
    if (rc == FL_OK &&
        (rc = nn_trainer_update(trainer, u, weights, declared_patients, round, &random, cancel, err)) == FL_OK) {
        dp_update_pack(packed, &shape, u, cells);
        rc = fl_objects_put(objects, update_hash, packed, size, err);
        *size_bytes = size;
    }
    fl_csprng_fini(&random);
    dp_noised_destroy(u);
    dp_noised_destroy(cells);
    free(packed);
    return rc;
}

static fl_hash identity(const node_job *job)
{
    fl_sha256_state *s = fl_sha256_create();
    fl_sha256_add(s, job->plan.hash.bytes, FL_HASH_SIZE);
    for (size_t i = 0; i < job->rows.n; i++) {
        const node_data_row *r = &job->rows.rows[i];
        fl_sha256_add(s, r->patient, sizeof r->patient);
        fl_sha256_add(s, r->object.bytes, FL_HASH_SIZE);
        fl_sha256_add(s, &r->label, sizeof r->label);
    }
    return fl_sha256_destroy(s);
}

static void forget(node_worker *w)
{
    nn_trainer_destroy(w->trainer);
    w->trainer = NULL;
    nn_dataset_fini(&w->dataset);
    memset(&w->dataset, 0, sizeof w->dataset);
}

static fl_code prepare(node_worker *w, const node_job *job, fl_err *err)
{
    fl_hash id = identity(job);
    if (w->trainer && fl_hash_equal(&id, &w->cached))
        return FL_OK;
    forget(w);
    fl_code rc = node_data_build(&w->dataset, w->objects, &job->rows, &job->plan, err);
    if (rc == FL_OK)
        rc = nn_trainer_create(&w->trainer, &job->plan, &w->dataset, w->pool, err);
    if (rc == FL_OK)
        rc = nn_dataset_prepare(&w->dataset, nn_trainer_model(w->trainer), w->pool, err);
    if (rc == FL_OK)
        w->cached = id;
    return rc;
}

static void carry_out(node_worker *w, node_job *job)
{
    fl_err err = {0};
    fl_hash hash = {0};
    uint64_t size = 0;
    fl_code rc = prepare(w, job, &err);
    nn_dataset validation = {0}; /* needed in few rounds: not kept */
    if (rc == FL_OK && nn_counts_in(&job->plan, job->round))
        rc = node_data_build(&validation, w->objects, &job->validation, &job->plan, &err);
    const node_splits splits = {&w->dataset, &validation, w->pool};
    if (rc == FL_OK)
        rc = node_update_make(&hash, &size, w->trainer, &job->plan, &splits, job->weights, job->declared_patients,
                              job->round, w->objects, &w->cancel, &err);
    nn_dataset_fini(&validation);
    w->done(w->ctx, job->debit, &hash, size, rc ? err.text : "");
    node_job_free(job);
}

static void *work(void *context)
{
    node_worker *w = context;
    pthread_mutex_lock(&w->mutex);
    while (!w->stop) {
        if (!w->job) {
            pthread_cond_wait(&w->given, &w->mutex);
            continue;
        }
        node_job *job = w->job;
        w->job = NULL;
        pthread_mutex_unlock(&w->mutex);
        carry_out(w, job);
        pthread_mutex_lock(&w->mutex);
        w->busy = false;
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

fl_code node_worker_create(node_worker **out, const char *dir, unsigned n_threads, node_job_done done, void *ctx,
                           fl_err *err)
{
    node_worker *w = calloc(1, sizeof *w);
    if (!w)
        return fl_fail(err, FL_EENV, "training: out of memory");
    w->done = done;
    w->ctx = ctx;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->given, NULL);
    char path[FL_PATH_MAX];
    fl_code rc = fl_objects_open(&w->objects, fl_path(path, dir, "objects"), err);
    if (rc == FL_OK)
        rc = fl_pool_create(&w->pool, n_threads, err);
    if (rc == FL_OK && pthread_create(&w->thread, NULL, work, w) != 0)
        rc = fl_fail(err, FL_EENV, "training: cannot start a thread");
    else
        w->started = rc == FL_OK;
    if (rc) {
        node_worker_stop(w);
        return rc;
    }
    *out = w;
    return FL_OK;
}

void node_worker_give(node_worker *w, node_job *job)
{
    pthread_mutex_lock(&w->mutex);
    assert(!w->busy && !w->job);
    w->job = job;
    w->busy = true;
    pthread_cond_signal(&w->given);
    pthread_mutex_unlock(&w->mutex);
}

bool node_worker_busy(node_worker *w)
{
    pthread_mutex_lock(&w->mutex);
    bool busy = w->busy;
    pthread_mutex_unlock(&w->mutex);
    return busy;
}

void node_worker_stop(node_worker *w)
{
    if (!w)
        return;
    if (w->started) {
        atomic_store(&w->cancel, true);
        pthread_mutex_lock(&w->mutex);
        w->stop = true;
        pthread_cond_signal(&w->given);
        pthread_mutex_unlock(&w->mutex);
        pthread_join(w->thread, NULL);
    }
    node_job_free(w->job);
    forget(w);
    fl_pool_destroy(w->pool);
    fl_objects_close(w->objects);
    pthread_cond_destroy(&w->given);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}
