#include "bench/model.h"
#include "base/log.h"
#include "base/rng.h"
#include "train/graph.h"
#include "train/kernels.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { BATCH_MAX = 4096, THREADS_MAX = 64 };

static fl_code read_shape(nn_shape *s, const char *text, fl_err *err)
{
    unsigned c, h, w;
    char rest;
    if (sscanf(text, "%4ux%4ux%4u%c", &c, &h, &w, &rest) != 3)
        return fl_fail(err, FL_EFORMAT, "--input: is '%.60s': must be CxHxW, like 1x64x64", text);
    *s = (nn_shape){c, h, w};
    return FL_OK;
}

/* An environment that names an old BLAS kernel slows other people's code, not this: said so that nobody compares it. */
static void warn_of_environment(void)
{
    static const char *const names[] = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "CORDON_KERNELS", "CORDON_GRADIENTS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (getenv(names[i]))
            fl_log(FL_WARN, "bench", "environment %s=%s", names[i], getenv(names[i]));
    }
}

static fl_code make_data(bench_model *b, nn_shape s, fl_err *err)
{
    fl_rng rng;
    const size_t size = (size_t)s.C * s.H * s.W;
    float *image = malloc(size * sizeof *image);
    fl_code rc = image ? nn_dataset_init(&b->data, s.C, s.H, s.W, err) : fl_fail(err, FL_EENV, "bench: no memory left");
    fl_rng_init(&rng, 1, 2);
    for (int64_t i = 0; rc == FL_OK && i < b->batch; i++) {
        const uint8_t key[32] = {(uint8_t)i, (uint8_t)(i >> 8)};
        const uint32_t label = (uint32_t)fl_rng_below(&rng, b->n_classes);
        for (size_t k = 0; k < size; k++)
            image[k] = (float)(3.46 * (fl_rng_uniform(&rng) - 0.5)); /* mean 0, variance 1 */
        rc = nn_dataset_append_patient(&b->data, key, image, &label, 1, err);
    }
    free(image);
    return rc;
}

fl_code bench_model_open(bench_model *b, fl_cli *cli, fl_err *err)
{
    nn_shape s = {0};
    const char *input = fl_cli_value(cli, "input");
    *b = (bench_model){.name = fl_cli_value(cli, "model"), .threads = 2};
    b->n_classes = strcmp(b->name, "wrn16-4") == 0 ? 10 : 4; /* as in the comparison script */
    warn_of_environment();
    FL_TRY(read_shape(&s, input ? input : strcmp(b->name, "wrn16-4") == 0 ? "3x32x32" : "1x64x64", err));
    FL_TRY(fl_cli_int(cli, "batch", &b->batch, 1, BATCH_MAX, err));
    FL_TRY(fl_cli_int(cli, "threads", &b->threads, 1, THREADS_MAX, err));
    if (!nn_architecture(b->name))
        return fl_fail(err, FL_EFORMAT, "--model: is '%.60s': must be one of %s", b->name, nn_architecture_names);
    FL_TRY(nn_model_create(&b->model, nn_architecture(b->name), s.C, s.H, s.W, b->n_classes, err));
    FL_TRY(fl_pool_create(&b->pool, (unsigned)b->threads, err));
    FL_TRY(fl_arena_init(&b->memory, nn_model_n_weights(b->model) * sizeof *b->w, err));
    b->w = fl_arena_cut(&b->memory, nn_model_n_weights(b->model) * sizeof *b->w);
    nn_model_init_weights(b->model, b->w, 1);
    return make_data(b, s, err);
}

void bench_model_close(bench_model *b)
{
    fl_arena_fini(&b->memory);
    nn_dataset_fini(&b->data);
    fl_pool_destroy(b->pool);
    nn_model_destroy(b->model);
}

double bench_model_flops(const bench_model *b, bool is_training)
{
    const nn_model *m = b->model;
    const double forward = (double)m->spec.flops;
    if (!is_training)
        return forward;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        if (m->nodes[i].is_conv)
            return 3 * forward - (double)m->spec.layers[i].flops;
    }
    return 3 * forward;
}

double bench_peak_rss_mb(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

void bench_model_describe(fl_json *j, const bench_model *b)
{
    char input[48];
    snprintf(input, sizeof input, "%ux%ux%u", b->data.channels, b->data.height, b->data.width);
    fl_json_set_text(j, "model", b->name);
    fl_json_set_text(j, "input", input);
    fl_json_set_int(j, "parameters", (int64_t)nn_model_n_weights(b->model));
    fl_json_set_int(j, "batch", b->batch);
    fl_json_set_int(j, "threads", b->threads);
    fl_json_set_text(j, "blas", nn_kernels_chosen()->name);
    fl_json_set_real(j, "peak_rss_mb", bench_peak_rss_mb());
}
