#include "base/arena.h"
#include "bench/model.h"
#include "privacy/sample.h"
#include "train/dpsgd.h"
#include "train/predict.h"
#include "train/sgd.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 10000, WARM_UP = 2, CHUNK = 1 << 16 };
#define LEARNING_RATE 0.05
#define CLIP_NORM     "1"

const fl_cli_option bench_train_options[] = {
    {"model", "M", "cnn-small, resnet18, wrn16-4, or another architecture", true},
    {"input", "CxHxW", "shape of an image, default 1x64x64; wrn16-4: 3x32x32", false},
    {"batch", "B", "images of a step, each of a patient of its own", true},
    {"threads", "T", "threads, default 2", false},
    {"mode", "MODE", "dp (default): clipped for each patient and noised, multiplier 1; or sgd: neither", false},
    {"steps", "N", "steps that are timed, after two that are not; default 8", false},
    {0},
};

/* One way of making steps: dp or sgd. */
typedef struct runner {
    bench_model *b;
    nn_trainer *trainer;
    nn_sgd *sgd;
    nn_plan plan;
    dp_noised *u;
    fl_csprng random;
    double scale;
} runner;

static fl_code open_dp(runner *r, fl_err *err)
{
    const bench_model *b = r->b;
    const size_t d = nn_model_n_weights(b->model);
    uint32_t units = 1024;
    while (units < 64 * sqrt((double)d))
        units *= 2;
    r->plan = (nn_plan){.n_classes = b->n_classes,
                        .channels = b->data.channels,
                        .height = b->data.height,
                        .width = b->data.width,
                        .rounds = 1,
                        .is_private = true,
                        .n_weights = (uint32_t)d,
                        .n_phases = 1};
    nn_phase *m = &r->plan.phases[0];
    *m = (nn_phase){.local_steps = 1,
                    .local_learning_rate = LEARNING_RATE,
                    .server_learning_rate = 1,
                    .clip_units = units,
                    .noise_variance = (uint64_t)units * units,
                    .augmentations = 1};
    snprintf(r->plan.spec, sizeof r->plan.spec, "%s", nn_architecture(b->name));
    strcpy(m->clip_norm, CLIP_NORM);
    FL_TRY(dp_rate_parse(&m->rate, "1", err)); /* everybody is in each step: the batch has a fixed size */
    r->scale = LEARNING_RATE * nn_phase_grid(m) / (double)b->batch;
    fl_csprng_init(&r->random);
    FL_TRY(dp_noised_create(&r->u, d, err));
    return nn_trainer_create(&r->trainer, &r->plan, &b->data, b->pool, err);
}

static void close_runner(runner *r)
{
    nn_trainer_destroy(r->trainer);
    nn_sgd_destroy(r->sgd);
    if (r->u)
        fl_csprng_fini(&r->random);
    dp_noised_destroy(r->u);
}

static void apply_chunk(void *context, size_t index, unsigned thread)
{
    const runner *r = context;
    const size_t d = dp_noised_size(r->u), end = (index + 1) * CHUNK < d ? (index + 1) * CHUNK : d;
    const int64_t *u = dp_noised_values(r->u);
    float *w = r->b->w;
    (void)thread;
    for (size_t i = index * CHUNK; i < end; i++)
        w[i] = (float)(w[i] - r->scale * (double)u[i]);
}

/* A hospital's update of one step, and what a server makes of it. */
static fl_code step_dp(runner *r, fl_err *err)
{
    FL_TRY(nn_trainer_update(r->trainer, r->u, r->b->w, (uint64_t)r->b->batch, 1, &r->random, NULL, err));
    fl_pool_run(r->b->pool, (dp_noised_size(r->u) + CHUNK - 1) / CHUNK, apply_chunk, r);
    return FL_OK;
}

static fl_code step(runner *r, fl_err *err)
{
    if (r->trainer)
        return step_dp(r, err);
    nn_sgd_step(r->sgd, r->b->w, LEARNING_RATE);
    return FL_OK;
}

static fl_code mean_loss(double *loss, const bench_model *b, fl_err *err)
{
    float *p = malloc((size_t)b->batch * b->n_classes * sizeof *p);
    if (!p)
        return fl_fail(err, FL_EENV, "bench: no memory left");
    fl_code rc = nn_predict(p, b->model, b->w, &b->data, b->pool, err);
    *loss = 0;
    for (int64_t i = 0; rc == FL_OK && i < b->batch; i++)
        *loss -= log((double)p[i * b->n_classes + b->data.labels[i]]) / (double)b->batch;
    free(p);
    return rc;
}

static fl_code read_mode(fl_cli *cli, const char **mode, int64_t *steps, fl_err *err)
{
    *mode = fl_cli_value(cli, "mode") ? fl_cli_value(cli, "mode") : "dp";
    if (strcmp(*mode, "dp") != 0 && strcmp(*mode, "sgd") != 0)
        return fl_fail(err, FL_EFORMAT, "--mode: is '%.60s': must be dp or sgd", *mode);
    return fl_cli_int(cli, "steps", steps, 1, STEPS_MAX, err);
}

typedef struct figures {
    double seconds; /* of a step, the median */
    double cpu;     /* of all threads, in a step */
    double best, ready_ms, first_step_ms, loss;
} figures;

static fl_code measure(runner *r, figures *f, int64_t steps, double start, fl_err *err)
{
    double *seconds = malloc((size_t)steps * sizeof *seconds), cpu = 0;
    fl_code rc = seconds ? FL_OK : fl_fail(err, FL_EENV, "bench: no memory left");
    f->ready_ms = 1e3 * (bench_now_s() - start);
    for (int64_t i = -WARM_UP; rc == FL_OK && i < steps; i++) {
        const double before = bench_now_s();
        if (i == 0)
            cpu = bench_cpu_s();
        rc = step(r, err);
        if (i == -WARM_UP)
            f->first_step_ms = 1e3 * (bench_now_s() - start);
        if (i >= 0)
            seconds[i] = bench_now_s() - before;
    }
    if (rc == FL_OK) {
        f->cpu = (bench_cpu_s() - cpu) / (double)steps;
        f->seconds = bench_median(seconds, (size_t)steps);
        f->best = seconds[0];
        rc = mean_loss(&f->loss, r->b, err);
    }
    free(seconds);
    return rc;
}

static int print(fl_cli *cli, const bench_model *b, const char *mode, const figures *f, double rss)
{
    fl_json *j = fl_json_object();
    fl_json_set_text(j, "mode", mode);
    bench_model_describe(j, b);
    fl_json_set_real(j, "peak_rss_mb", rss); /* of the training, not of the loss behind it */
    fl_json_set_real(j, "images_per_s", (double)b->batch / f->seconds);
    fl_json_set_real(j, "images_per_s_best", (double)b->batch / f->best);
    fl_json_set_real(j, "step_ms", 1e3 * f->seconds);
    fl_json_set_real(j, "cpu_ms", 1e3 * f->cpu);
    fl_json_set_real(j, "gflops", 1e-9 * bench_model_flops(b, true) * (double)b->batch / f->seconds);
    fl_json_set_real(j, "ready_ms", f->ready_ms);
    fl_json_set_real(j, "first_step_ms", f->first_step_ms);
    fl_json_set_real(j, "loss", f->loss);
    return bench_print(cli, j);
}

int bench_train(fl_cli *cli)
{
    const double start = bench_now_s();
    fl_err err;
    bench_model b = {0};
    figures f = {0};
    const char *mode;
    int64_t steps = 8;
    fl_code rc = read_mode(cli, &mode, &steps, &err);
    if (rc == FL_OK)
        rc = bench_model_open(&b, cli, &err);
    runner r = {.b = &b};
    if (rc == FL_OK)
        rc = strcmp(mode, "dp") == 0 ? open_dp(&r, &err) : nn_sgd_create(&r.sgd, b.model, &b.data, b.pool, &err);
    if (rc == FL_OK)
        rc = measure(&r, &f, steps, start, &err);
    const int status = rc == FL_OK ? print(cli, &b, mode, &f, bench_peak_rss_mb()) : fl_cli_fail(cli, &err);
    close_runner(&r);
    bench_model_close(&b);
    return status;
}
