#include "train/dpsgd.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "privacy/clip.h"
#include "privacy/decimal.h"
#include "train/augment.h"
#include "train/block.h"
#include "train/kernels.h"
#include "train/prefix.h"
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 14 /* coordinates that a thread takes at once where vectors are added */ };

/* All that a phase of the plan needs. */
typedef struct stage {
    const nn_phase *phase;
    nn_model *model;
    size_t n; /* learned weights: coordinates of a gradient */
    nn_clip clip;
    nn_augment augment;
    uint32_t n_prefix; /* layers whose values the data set has, train/prefix.h; 0 when images are augmented */
    nn_packed weights;
    fl_secret memory;      /* what follows here, and the places' gradients and sums */
    fl_arena arena;        /* on memory */
    float *w;              /* (n_weights) the local weights of the steps; NULL when there is one */
    size_t n_chosen_most;  /* patients, and one */
    uint32_t *chosen;      /* patients of the step */
    uint32_t *block_first; /* blocks of them: the first patient of each, and the end */
    dp_noised *y;          /* noise, then the step's release; NULL when there is one: the update itself */
    dp_noise_crew crew;    /* who draws it */
    unsigned n_places;
    nn_place *places; /* of the threads */
    int32_t **sums;   /* their sums, and then their scratch */
} stage;

struct nn_trainer {
    nn_plan plan;
    const nn_dataset *data;
    fl_pool *pool;
    nn_model *model; /* that learns everything, with the loss of the labels, for whoever asks */
    stage *stage;    /* of the last round */
};

/* What the threads of one step share; read only. */
typedef struct step_job {
    const nn_trainer *t;
    stage *s;
    uint32_t round, step;
    const atomic_bool *cancel;
    dp_noised *y;
    double scale; /* of y in the weights */
} step_job;

/* --- memory ---------------------------------------------------------------------------------------------------- */

static void log_kernel(void)
{
    fl_log(FL_INFO, "train", "kernels=%s", nn_kernels_chosen()->name);
}

static fl_code check_data(const nn_plan *plan, const nn_dataset *d, fl_err *err)
{
    if (d->channels != plan->channels || d->height != plan->height || d->width != plan->width)
        return fl_fail(err, FL_EREFUSED, "data set: images are %ux%ux%u, the plan wants %ux%ux%u", d->channels,
                       d->height, d->width, plan->channels, plan->height, plan->width);
    for (uint32_t i = 0; i < d->n_images; i++) {
        if (plan->multi ? plan->n_classes < 32 && d->labels[i] >> plan->n_classes != 0
                        : d->labels[i] >= plan->n_classes)
            return fl_fail(err, FL_EREFUSED, "data set: a label is %u, the plan has %u classes", d->labels[i],
                           plan->n_classes);
    }
    return FL_OK;
}

static void close_stage(stage *s)
{
    if (!s)
        return;
    for (unsigned i = 0; s->places && i < s->n_places; i++)
        nn_place_fini(&s->places[i]);
    free(s->places);
    free(s->sums);
    nn_packed_fini(&s->weights);
    fl_arena_fini(&s->arena);
    fl_secret_fini(&s->memory);
    dp_noise_crew_fini(&s->crew);
    dp_noised_destroy(s->y);
    nn_model_destroy(s->model);
    free(s);
}

/* An update of one step is made in place, from the weights as they came. */
static bool has_steps(const stage *s)
{
    return s->phase->local_steps > 1;
}

static size_t shared_size(const stage *s, uint32_t n_patients)
{
    return (has_steps(s) ? fl_arena_round(nn_model_n_weights(s->model) * sizeof(float)) : 0) +
           2 * fl_arena_round((n_patients + 1) * sizeof(uint32_t));
}

/* Bytes of a stage. Part of it may never be touched. */
static size_t stage_size(const stage *s, uint32_t n_patients, unsigned n_threads)
{
    return shared_size(s, n_patients) + (has_steps(s) ? (s->n + s->phase->probe) * sizeof(int64_t) : 0) +
           n_threads * nn_place_size(s->model) + (s->model->n_pack + s->model->n_transposed) * sizeof(float);
}

static fl_code check_memory(const stage *s, uint32_t n_patients, unsigned n_threads, fl_err *err)
{
    const size_t needed = stage_size(s, n_patients, n_threads), available = fl_memory_available();
    if (needed <= available)
        return FL_OK;
    return fl_fail(
        err, FL_EREFUSED,
        "training: the model needs %zu MiB with %u threads, %zu MiB are free: fewer threads or a smaller model",
        (needed >> 20) + 1, n_threads, available >> 20);
}

static fl_code make_memory(nn_trainer *t, stage *s, fl_err *err)
{
    const uint32_t n_patients = t->data->n_patients;
    const unsigned n_threads = fl_pool_threads(t->pool);
    s->places = calloc(n_threads, sizeof *s->places);
    s->sums = calloc(2 * (size_t)n_threads, sizeof *s->sums);
    if (!s->places || !s->sums)
        return fl_fail(err, FL_EENV, "training: out of memory");
    s->n_places = n_threads;
    const size_t all = shared_size(s, n_patients) + n_threads * nn_place_secret_size(s->model);
    FL_TRY(fl_secret_init(&s->memory, all, err));
    fl_arena_on(&s->arena, s->memory.bytes, all);
    if (has_steps(s))
        s->w = fl_arena_cut(&s->arena, nn_model_n_weights(s->model) * sizeof *s->w);
    s->n_chosen_most = n_patients + (size_t)1;
    s->chosen = fl_arena_cut(&s->arena, (n_patients + 1) * sizeof *s->chosen);
    s->block_first = fl_arena_cut(&s->arena, (n_patients + 1) * sizeof *s->block_first);
    for (unsigned i = 0; i < n_threads; i++) {
        FL_TRY(nn_place_init(&s->places[i], s->model, &s->arena, err));
        s->sums[i] = s->places[i].sum;
        s->sums[n_threads + i] = s->places[i].scratch;
    }
    FL_TRY(nn_packed_init(&s->weights, s->model, true, err));
    if (has_steps(s))
        FL_TRY(dp_noised_create(&s->y, s->n + s->phase->probe, err));
    if (t->plan.is_private)
        FL_TRY(dp_noise_crew_init(&s->crew, s->phase->noise_variance, t->pool, err));
    return FL_OK;
}

/* Everything but the memory, for which there is room. */
static fl_code plan_stage(stage **out, nn_trainer *t, const nn_phase *phase, fl_err *err)
{
    double clip_norm;
    stage *s = *out = calloc(1, sizeof *s);
    if (!s)
        return fl_fail(err, FL_EENV, "training: out of memory");
    const bool is_number = dp_decimal_value(&clip_norm, phase->clip_norm);
    assert(is_number); /* a plan was checked when it was read */
    (void)is_number;
    s->phase = phase;
    s->clip = (nn_clip){clip_norm, phase->clip_units, phase->clipping == NN_CLIP_AUTOMATIC};
    s->augment = (nn_augment){nn_augment_key(t->plan.seed), phase->mirror, phase->shift, false};
    FL_TRY(nn_model_create(&s->model, t->plan.spec, t->plan.channels, t->plan.height, t->plan.width, t->plan.n_classes,
                           err));
    FL_TRY(nn_plan_aim(s->model, &t->plan, phase, err));
    s->n = nn_model_n_learned(s->model);
    for (uint32_t i = 0; i < s->model->spec.n_layers; i++)
        s->augment.draws |= s->model->spec.layers[i].kind->uses_key;
    return check_memory(s, t->data->n_patients, fl_pool_threads(t->pool), err);
}

/* The trainer's stage is that of the phase from now on, or none. */
static fl_code enter_phase(nn_trainer *t, const nn_phase *phase, fl_err *err)
{
    if (t->stage && t->stage->phase == phase)
        return FL_OK;
    close_stage(t->stage);
    fl_code rc = plan_stage(&t->stage, t, phase, err);
    if (rc == FL_OK)
        rc = make_memory(t, t->stage, err);
    if (rc != FL_OK) {
        close_stage(t->stage);
        t->stage = NULL;
    }
    return rc;
}

static fl_code check_phase(nn_trainer *t, const nn_phase *phase, fl_err *err)
{
    stage *s;
    fl_code rc = plan_stage(&s, t, phase, err);
    close_stage(s);
    return rc;
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
    nn_plan_settle(&t->plan);
    t->data = dataset;
    t->pool = pool;
    rc = nn_model_create(&t->model, plan->spec, plan->channels, plan->height, plan->width, plan->n_classes, err);
    if (rc == FL_OK) { /* what its outputs mean follows from the labels, whatever a phase learns */
        const nn_aim aim = {.learn = "all", .loss = plan->multi ? NN_LOSS_BINARY : NN_LOSS_SOFTMAX};
        rc = nn_model_aim(t->model, &aim, err);
    }
    for (uint32_t i = 1; rc == FL_OK && i < t->plan.n_phases; i++) /* each must fit */
        rc = check_phase(t, &t->plan.phases[i], err);
    if (rc == FL_OK)
        rc = enter_phase(t, &t->plan.phases[0], err);
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
    close_stage(t->stage);
    nn_model_destroy(t->model);
    free(t);
}

const nn_model *nn_trainer_model(const nn_trainer *t)
{
    return t->model;
}

/* Whether the data set has the first layers' values may change between rounds. */
static void look_for_prefix(const nn_trainer *t, stage *s)
{
    const nn_phase *p = s->phase;
    const bool is_plain = !p->mirror && p->shift == 0 && p->augmentations == 1 && !s->augment.draws;
    s->n_prefix = is_plain && nn_prefix_of(t->data, s->model, 0) ? nn_prefix_layers(s->model) : 0;
}

/* --- one block of patients ------------------------------------------------------------------------------------- */

static uint32_t n_images_of(const nn_trainer *t, uint32_t patient)
{
    return t->data->patient_first[patient + 1] - t->data->patient_first[patient];
}

/* So many passes of an image make a patient's gradient: one for each image and copy. */
static uint64_t n_passes_of(const step_job *job, uint32_t patient)
{
    return (uint64_t)n_images_of(job->t, patient) * job->s->phase->augmentations;
}

/* Passes [from, from + n) of the patient become images [at, at + n) of the block, up to the slopes of their losses. */
static void load_passes(nn_place *p, const step_job *job, uint32_t patient, uint64_t from, uint32_t n, uint32_t at)
{
    const uint32_t copies = job->s->phase->augmentations;
    for (uint32_t i = 0; i < n; i++) {
        const nn_augment_at which = {patient, (uint32_t)((from + i) / copies), (uint32_t)((from + i) % copies),
                                     job->round, job->step};
        if (job->s->n_prefix > 0) {
            const size_t image = job->t->data->patient_first[patient] + (size_t)(from + i);
            const nn_map kept = nn_engine_value(p->engine, job->s->n_prefix - 1, at + i);
            nn_map_write(&kept, nn_prefix_of(job->t->data, job->s->model, image));
            continue;
        }
        nn_map map = nn_engine_input(p->engine, at + i);
        uint64_t key;
        nn_augment_image(&job->s->augment, &map, &key, job->t->data, which);
        nn_engine_set_key(p->engine, at + i, key);
    }
}

static void start_slopes(nn_place *p, const step_job *job, uint32_t patient, uint64_t from, uint32_t n, uint32_t at)
{
    const nn_dataset *d = job->t->data;
    const float mean = 1.0f / (float)n_passes_of(job, patient);
    for (uint32_t i = 0; i < n; i++) {
        const size_t image = d->patient_first[patient] + (size_t)((from + i) / job->s->phase->augmentations);
        nn_engine_loss(p->engine, at + i, d->labels[image], mean);
    }
}

static bool is_cancelled(const atomic_bool *cancel)
{
    return cancel && atomic_load_explicit(cancel, memory_order_relaxed);
}

/* A patient with more passes than a block holds: the gradient goes on from block to block. */
static void add_large_patient(nn_place *p, const step_job *job, uint32_t patient)
{
    const uint64_t n_passes = n_passes_of(job, patient);
    p->used_whole = true; /* also when the step is given up on the way */
    for (uint64_t from = 0; from < n_passes; from += p->images) {
        const uint32_t n = n_passes - from < p->images ? (uint32_t)(n_passes - from) : p->images;
        if (is_cancelled(job->cancel))
            return;
        p->shares[0] = (nn_share){
            .n = n, .is_start = from == 0, .is_end = from + n == n_passes, .is_whole = true, .g = p->whole};
        load_passes(p, job, patient, from, n, 0);
        nn_engine_forward(p->engine, &job->s->weights, n, job->s->n_prefix, job->s->model->n_run);
        start_slopes(p, job, patient, from, n, 0);
        nn_engine_backward(p->engine, &job->s->weights, n, p->shares, 1, true);
    }
    nn_place_add(p, &job->s->clip, 1);
}

/* Patients that fit into a block together. */
static void add_patients(nn_place *p, const step_job *job, const uint32_t *patients, uint32_t n_patients)
{
    const size_t kept = nn_engine_kept(p->engine);
    uint32_t n = 0;
    for (uint32_t k = 0; k < n_patients; k++) {
        const uint32_t n_own = (uint32_t)n_passes_of(job, patients[k]);
        p->shares[k] = (nn_share){.first = n, .n = n_own, .is_start = true, .is_end = true, .g = p->g + k * kept};
        load_passes(p, job, patients[k], 0, n_own, n);
        n += n_own;
    }
    nn_engine_forward(p->engine, &job->s->weights, n, job->s->n_prefix, job->s->model->n_run);
    for (uint32_t k = 0; k < n_patients; k++)
        start_slopes(p, job, patients[k], 0, p->shares[k].n, p->shares[k].first);
    nn_engine_backward(p->engine, &job->s->weights, n, p->shares, n_patients, true);
    nn_place_add(p, &job->s->clip, n_patients);
}

static void add_to_sum(nn_place *p, const step_job *job, const uint32_t *patients, uint32_t n_patients)
{
    if (n_patients == 1 && n_passes_of(job, patients[0]) > p->images)
        add_large_patient(p, job, patients[0]);
    else
        add_patients(p, job, patients, n_patients);
}

/* Blocks of the chosen [first, first + n): patients in a row, as many as a block holds; the blocks are alike, and no fewer
 * than threads. */
static size_t cut_blocks(const step_job *job, size_t first, size_t n)
{
    stage *s = job->s;
    const uint64_t most = s->places[0].images;
    uint64_t n_passes = 0, in_block = 0;
    for (size_t i = first; i < first + n; i++)
        n_passes += n_passes_of(job, s->chosen[i]);
    uint64_t n_wanted = (n_passes + most - 1) / most;
    n_wanted = (n_wanted + s->n_places - 1) / s->n_places * s->n_places;
    const uint64_t target = n_passes > 0 ? (n_passes + n_wanted - 1) / n_wanted : 1;
    size_t n_blocks = 0;
    for (size_t i = first; i < first + n; i++) {
        const uint64_t own = n_passes_of(job, s->chosen[i]);
        if (i == first || in_block + own > target) {
            s->block_first[n_blocks++] = (uint32_t)i;
            in_block = 0;
        }
        in_block += own;
    }
    s->block_first[n_blocks] = (uint32_t)(first + n);
    return n_blocks;
}

/* --- a step ---------------------------------------------------------------------------------------------------- */

static void add_block(void *context, size_t index, unsigned thread)
{
    const step_job *job = context;
    const uint32_t first = job->s->block_first[index];
    if (is_cancelled(job->cancel))
        return;
    add_to_sum(&job->s->places[thread], job, job->s->chosen + first, job->s->block_first[index + 1] - first);
}

static size_t n_chunks(size_t n)
{
    return (n + CHUNK - 1) / CHUNK;
}

static void put_in_release(void *to, size_t at, const int32_t *values, size_t n)
{
    dp_noised_add_part(to, at, values, n);
}

/* y = what the step releases. The noise is there before the first patient is looked at. */
static void release_step(nn_trainer *t, step_job *job, fl_csprng *csprng)
{
    stage *s = job->s;
    if (t->plan.is_private)
        dp_noised_draw_by(job->y, &s->crew);
    else
        dp_noised_clear_by(job->y, t->pool);
    const nn_collection sums = {s->sums, s->n_places, put_in_release, job->y};
    const size_t n_chosen = dp_sample_patients(s->chosen, t->data->n_patients, s->phase->rate, csprng);
    const size_t most = dp_sum_patients(s->clip.clip_units); /* whose sum is exact */
    size_t first = 0;
    do { /* once for nobody, too */
        const size_t n = n_chosen - first < most ? n_chosen - first : most;
        fl_pool_run(t->pool, cut_blocks(job, first, n), add_block, job);
        nn_collect(s->model, &sums, s->sums + s->n_places, t->pool);
        first += n;
    } while (first < n_chosen);
}

/* w -= scale * y, for the learned weights of a chunk. */
static void step_weights(void *context, size_t index, unsigned thread)
{
    const step_job *job = context;
    const int64_t *y = dp_noised_values(job->y);
    const size_t from = index * CHUNK, end = from + CHUNK < job->s->n ? from + CHUNK : job->s->n;
    size_t at = 0;
    (void)thread;
    for (size_t r = 0; r < nn_model_n_ranges(job->s->model) && at < end; r++) {
        const nn_range range = nn_model_range(job->s->model, r);
        float *w = job->s->w + range.offset;
        for (size_t j = at > from ? at : from; j < at + range.size && j < end; j++)
            w[j - at] = (float)(w[j - at] - job->scale * (double)y[j]);
        at += range.size;
    }
}

static void put_in_units(void *to, size_t at, const int32_t *values, size_t n)
{
    memcpy((int32_t *)to + at, values, n * sizeof *values);
}

void nn_patient_units(nn_trainer *t, int32_t *z, uint32_t patient, const float *weights, uint32_t round, uint32_t step,
                      unsigned thread)
{
    stage *s = t->stage;
    step_job job = {.t = t, .s = s, .round = round, .step = step};
    assert(patient < t->data->n_patients && thread < s->n_places);
    nn_packed_load(&s->weights, weights, NN_LOAD_ALL, NULL);
    look_for_prefix(t, s);
    add_to_sum(&s->places[thread], &job, &patient, 1);
    nn_collect(s->model, &(nn_collection){s->sums, s->n_places, put_in_units, z}, s->sums + s->n_places, t->pool);
}

/* --- a round --------------------------------------------------------------------------------------------------- */

static void wipe_place(void *context, size_t index, unsigned thread)
{
    (void)thread;
    nn_place_wipe(&((stage *)context)->places[index]);
}

/* No gradient, sum or weight of the steps is left. The sums are zero already. */
static void wipe(const nn_trainer *t, stage *s)
{
    fl_pool_run(t->pool, s->n_places, wipe_place, s);
    fl_wipe(s->chosen, s->n_chosen_most * sizeof *s->chosen);
    fl_wipe(s->block_first, s->n_chosen_most * sizeof *s->block_first);
    if (has_steps(s)) {
        fl_wipe(s->w, nn_model_n_weights(s->model) * sizeof *s->w);
        dp_noised_clear_by(s->y, t->pool);
    }
}

/* Step k from the weights w: its release in job.y, which is part of u then. */
static void make_step(nn_trainer *t, dp_noised *u, step_job *job, const float *w, fl_csprng *csprng)
{
    nn_packed_load(&job->s->weights, w, job->step == 0 ? NN_LOAD_ALL : NN_LOAD_LEARNED, t->pool);
    release_step(t, job, csprng);
    if (job->y != u)
        dp_noised_add_by(u, job->y, t->pool);
}

fl_code nn_trainer_update(nn_trainer *t, dp_noised *u, const float *weights, uint64_t declared_patients, uint32_t round,
                          fl_csprng *csprng, const atomic_bool *cancel, fl_err *err)
{
    const nn_phase *phase = nn_plan_phase(&t->plan, round);
    assert(declared_patients >= 1);
    assert(!t->plan.is_private || phase->noise_variance > 0);
    fl_code rc = enter_phase(t, phase, err);
    if (rc != FL_OK) {
        dp_noised_clear_by(u, t->pool);
        return rc;
    }
    stage *s = t->stage;
    step_job job = {.t = t, .s = s, .round = round, .cancel = cancel, .y = has_steps(s) ? s->y : u};
    job.scale = phase->local_learning_rate * nn_phase_grid(phase) /
                (dp_rate_to_double(phase->rate) * (double)declared_patients);
    look_for_prefix(t, s);
    if (has_steps(s)) {
        memcpy(s->w, weights, nn_model_n_weights(s->model) * sizeof *s->w);
        dp_noised_clear_by(u, t->pool);
    }
    for (; job.step < phase->local_steps && !is_cancelled(cancel); job.step++) {
        make_step(t, u, &job, has_steps(s) ? s->w : weights, csprng);
        if (job.step + 1 < phase->local_steps)
            fl_pool_run(t->pool, n_chunks(s->n), step_weights, &job);
    }
    wipe(t, s);
    if (is_cancelled(cancel)) {
        dp_noised_clear_by(u, t->pool);
        return fl_fail(err, FL_EBUSY, "training: cancelled");
    }
    return FL_OK;
}
