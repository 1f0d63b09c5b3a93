#include "train/dpsgd.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/rng.h"
#include "crypto/hash.h"
#include "crypto/secret.h"
#include "privacy/clip.h"
#include "privacy/decimal.h"
#include "train/gemm.h"
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench { /* one thread's place of work */
    nn_workspace *ws;
    float *image; /* (C, H, W): an augmented copy */
    float *one;   /* (n_weights): gradient of one image */
    float *mean;  /* (n_weights): gradient of the patient */
    int32_t *z;   /* (n_weights) */
    int64_t *sum; /* (n_weights): over this thread's patients */
} bench;

struct nn_trainer {
    nn_plan plan;
    const nn_dataset *data;
    fl_pool *pool;
    nn_model *model;
    size_t n; /* weights */
    double clip_norm;
    fl_hash augmentation_key;
    fl_secret memory;   /* what follows here, and the benches: gradients, sums, choices */
    fl_arena arena;     /* on memory */
    float *w;           /* the local weights of the steps */
    dp_noised *y;       /* noise, then the step's release */
    dp_noise_crew crew; /* who draws it */
    uint32_t *chosen;   /* patients of the step */
    unsigned n_threads;
    bench *benches;
};

/* What the threads of one step share; read only. */
typedef struct step_job {
    nn_trainer *t;
    uint32_t round, step;
    const atomic_bool *cancel;
} step_job;

/* --- memory ---------------------------------------------------------------------------------------------------- */

static void log_kernel(void)
{
    fl_log(FL_INFO, "train", "matrix kernel=%s", nn_gemm_core());
}

static fl_code check_data(const nn_plan *plan, const nn_dataset *d, fl_err *err)
{
    if (d->channels != plan->channels || d->height != plan->height || d->width != plan->width)
        return fl_fail(err, FL_EREFUSED, "data set: images are %ux%ux%u, the plan wants %ux%ux%u", d->channels,
                       d->height, d->width, plan->channels, plan->height, plan->width);
    for (uint32_t i = 0; i < d->n_images; i++) {
        if (d->labels[i] >= plan->n_classes)
            return fl_fail(err, FL_EREFUSED, "data set: a label is %u, the plan has %u classes", d->labels[i],
                           plan->n_classes);
    }
    return FL_OK;
}

static fl_code make_benches(nn_trainer *t, fl_err *err)
{
    t->benches = calloc(t->n_threads, sizeof *t->benches);
    if (!t->benches)
        return fl_fail(err, FL_EENV, "training: out of memory");
    size_t image = nn_dataset_image_size(t->data) * sizeof(float), floats = t->n * sizeof(float);
    size_t sums = t->n * sizeof(int64_t), chosen = t->data->n_patients * sizeof(uint32_t);
    size_t each = fl_arena_round(image) + 2 * fl_arena_round(floats) + fl_arena_round(t->n * sizeof(int32_t)) +
                  fl_arena_round(sums);
    size_t all = t->n_threads * each + fl_arena_round(floats) + fl_arena_round(chosen);
    fl_code rc = fl_secret_init(&t->memory, all, err);
    if (rc != FL_OK)
        return rc;
    fl_arena_on(&t->arena, t->memory.bytes, all);
    t->w = fl_arena_cut(&t->arena, floats);
    t->chosen = fl_arena_cut(&t->arena, chosen);
    for (unsigned i = 0; i < t->n_threads; i++) {
        bench *b = &t->benches[i];
        b->image = fl_arena_cut(&t->arena, image);
        b->one = fl_arena_cut(&t->arena, floats);
        b->mean = fl_arena_cut(&t->arena, floats);
        b->z = fl_arena_cut(&t->arena, t->n * sizeof(int32_t));
        b->sum = fl_arena_cut(&t->arena, sums);
        rc = nn_workspace_create(&b->ws, t->model, err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

fl_code nn_trainer_create(nn_trainer **out, const nn_plan *plan, const nn_dataset *dataset, fl_pool *pool, fl_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    *out = NULL;
    fl_code rc = check_data(plan, dataset, err);
    if (rc != FL_OK)
        return rc;
    nn_trainer *t = calloc(1, sizeof *t);
    if (!t)
        return fl_fail(err, FL_EENV, "training: out of memory");
    t->plan = *plan;
    t->data = dataset;
    t->pool = pool;
    t->n_threads = fl_pool_threads(pool);
    bool is_number = dp_decimal_value(&t->clip_norm, plan->clip_norm);
    assert(is_number); /* a plan was checked when it was read */
    (void)is_number;
    uint8_t seed[8];
    for (int i = 0; i < 8; i++)
        seed[i] = (uint8_t)(plan->seed >> (8 * i));
    static const char domain[] = "cordon augmentation v1";
    t->augmentation_key = fl_sha256_2(domain, sizeof domain, seed, sizeof seed);
    rc = nn_model_create(&t->model, plan->spec, plan->channels, plan->height, plan->width, plan->n_classes, err);
    if (rc == FL_OK) {
        t->n = nn_model_n_weights(t->model);
        rc = make_benches(t, err);
    }
    if (rc == FL_OK)
        rc = dp_noised_create(&t->y, t->n + plan->probe, err);
    if (rc == FL_OK && plan->is_private)
        rc = dp_noise_crew_init(&t->crew, plan->noise_variance, pool, err);
    if (rc != FL_OK) {
        nn_trainer_destroy(t);
        return rc;
    }
    pthread_once(&once, log_kernel);
    *out = t;
    return FL_OK;
}

void nn_trainer_destroy(nn_trainer *t)
{
    if (!t)
        return;
    for (unsigned i = 0; t->benches && i < t->n_threads; i++)
        nn_workspace_destroy(t->benches[i].ws);
    free(t->benches);
    fl_arena_fini(&t->arena);
    fl_secret_fini(&t->memory);
    dp_noise_crew_fini(&t->crew);
    dp_noised_destroy(t->y);
    nn_model_destroy(t->model);
    free(t);
}

const nn_model *nn_trainer_model(const nn_trainer *t)
{
    return t->model;
}

/* --- one patient ----------------------------------------------------------------------------------------------- */

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static uint32_t moved(uint32_t at, int by, uint32_t size)
{
    int64_t to = (int64_t)at + by;
    return to < 0 ? 0 : to >= size ? size - 1 : (uint32_t)to;
}

/* The PRF of (patient, image within the patient, round, step, copy) decides mirror and shift. */
static const float *augment(const nn_trainer *t, bench *b, uint32_t patient, uint32_t image, uint32_t copy,
                            const step_job *job)
{
    const nn_dataset *d = t->data;
    const float *x = d->images + (d->patient_first[patient] + (size_t)image) * nn_dataset_image_size(d);
    if (!t->plan.mirror && t->plan.shift == 0)
        return x;
    uint8_t message[48];
    memcpy(message, d->patient_key[patient], 32);
    put_u32(message + 32, image);
    put_u32(message + 36, job->round);
    put_u32(message + 40, job->step);
    put_u32(message + 44, copy);
    fl_hash h = fl_hmac(t->augmentation_key.bytes, message, sizeof message);
    fl_rng rng;
    fl_rng_init(&rng, get_u64(h.bytes), get_u64(h.bytes + 8));
    bool mirror = fl_rng_below(&rng, 2) == 1 && t->plan.mirror;
    int range = 2 * (int)t->plan.shift + 1;
    int down = (int)fl_rng_below(&rng, (uint64_t)range) - (int)t->plan.shift;
    int right = (int)fl_rng_below(&rng, (uint64_t)range) - (int)t->plan.shift;
    float *out = b->image;
    for (uint32_t c = 0; c < d->channels; c++, x += (size_t)d->height * d->width) {
        for (uint32_t i = 0; i < d->height; i++) {
            const float *row = x + (size_t)moved(i, -down, d->height) * d->width;
            for (uint32_t j = 0; j < d->width; j++)
                *out++ = row[moved(mirror ? d->width - 1 - j : j, mirror ? right : -right, d->width)];
        }
    }
    return b->image;
}

/* b->mean = the mean over the patient's images and their augmentations, in their order. */
static void patient_gradient(const nn_trainer *t, bench *b, uint32_t patient, const float *w, const step_job *job)
{
    uint32_t first = t->data->patient_first[patient], n_images = t->data->patient_first[patient + 1] - first;
    for (uint32_t i = 0; i < n_images; i++) {
        for (uint32_t copy = 0; copy < t->plan.augmentations; copy++) {
            bool is_first = i == 0 && copy == 0;
            const float *x = augment(t, b, patient, i, copy, job);
            nn_gradient(t->model, b->ws, w, is_first ? b->mean : b->one, NULL, x, t->data->labels[first + i]);
            for (size_t j = 0; !is_first && j < t->n; j++)
                b->mean[j] += b->one[j];
        }
    }
    float scale = 1.0f / ((float)n_images * (float)t->plan.augmentations);
    for (size_t j = 0; scale < 1 && j < t->n; j++)
        b->mean[j] *= scale;
}

static void units_of(nn_trainer *t, bench *b, int32_t *z, uint32_t patient, const float *w, const step_job *job)
{
    patient_gradient(t, b, patient, w, job);
    dp_clip_to_grid(z, b->mean, t->n, t->clip_norm, t->plan.clip_units);
}

void nn_patient_units(nn_trainer *t, int32_t *z, uint32_t patient, const float *weights, uint32_t round, uint32_t step,
                      unsigned thread)
{
    assert(patient < t->data->n_patients && thread < t->n_threads);
    step_job job = {.t = t, .round = round, .step = step};
    units_of(t, &t->benches[thread], z, patient, weights, &job);
}

/* --- a round --------------------------------------------------------------------------------------------------- */

static bool is_cancelled(const atomic_bool *cancel)
{
    return cancel && atomic_load_explicit(cancel, memory_order_relaxed);
}

static void add_patient(void *context, size_t index, unsigned thread)
{
    const step_job *job = context;
    nn_trainer *t = job->t;
    bench *b = &t->benches[thread];
    if (is_cancelled(job->cancel))
        return;
    units_of(t, b, b->z, t->chosen[index], t->w, job);
    dp_sum_add(b->sum, b->z, t->n);
}

/* t->y = what the step releases. The noise is there before the first patient is looked at. */
static void release_step(nn_trainer *t, const step_job *job, fl_csprng *csprng)
{
    if (t->plan.is_private)
        dp_noised_draw_by(t->y, &t->crew);
    else
        dp_noised_clear(t->y);
    size_t n_chosen = dp_sample_patients(t->chosen, t->data->n_patients, t->plan.rate, csprng);
    for (unsigned i = 0; i < t->n_threads; i++)
        memset(t->benches[i].sum, 0, t->n * sizeof *t->benches[i].sum);
    fl_pool_run(t->pool, n_chosen, add_patient, (void *)job);
    for (unsigned i = 0; i < t->n_threads; i++)
        dp_noised_add_sum(t->y, t->benches[i].sum, t->n);
}

fl_code nn_trainer_update(nn_trainer *t, dp_noised *u, const float *weights, uint64_t declared_patients, uint32_t round,
                          fl_csprng *csprng, const atomic_bool *cancel, fl_err *err)
{
    assert(declared_patients >= 1);
    assert(!t->plan.is_private || t->plan.noise_variance > 0);
    double scale = t->plan.local_learning_rate * nn_plan_grid(&t->plan) /
                   (dp_rate_to_double(t->plan.rate) * (double)declared_patients);
    memcpy(t->w, weights, t->n * sizeof *t->w);
    dp_noised_clear(u);
    for (uint32_t k = 0; k < t->plan.local_steps && !is_cancelled(cancel); k++) {
        step_job job = {.t = t, .round = round, .step = k, .cancel = cancel};
        release_step(t, &job, csprng);
        dp_noised_add(u, t->y);
        const int64_t *y = dp_noised_values(t->y);
        for (size_t j = 0; j < t->n; j++)
            t->w[j] = (float)(t->w[j] - scale * (double)y[j]);
    }
    fl_secret_wipe(&t->memory);
    dp_noised_clear(t->y);
    if (is_cancelled(cancel)) {
        dp_noised_clear(u);
        return fl_fail(err, FL_EBUSY, "training: cancelled");
    }
    return FL_OK;
}
