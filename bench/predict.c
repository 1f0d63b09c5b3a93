#include "train/predict.h"
#include "bench/model.h"
#include <stdlib.h>

enum { REPEATS = 9, WARM_UP = 2 };
#define AT_LEAST_S 0.1 /* of a repeat */

const fl_cli_option bench_predict_options[] = {
    {"model", "M", "cnn-small, resnet18, wrn16-4, or another architecture", true},
    {"input", "CxHxW", "shape of an image, default 1x64x64; wrn16-4: 3x32x32", false},
    {"batch", "B", "images of a call", true},
    {"threads", "T", "threads, default 2", false},
    {0},
};

static fl_code measure(double *seconds, double *cpu, bench_model *b, nn_predictor *p, float *probabilities, fl_err *err)
{
    double repeats[REPEATS], cpus[REPEATS];
    for (int i = -WARM_UP; i < REPEATS; i++) {
        const double start = bench_now_s();
        const double cpu_start = bench_cpu_s();
        double now = start;
        int n_calls = 0;
        for (; n_calls == 0 || now - start < AT_LEAST_S; now = bench_now_s(), n_calls++)
            FL_TRY(nn_predictor_run(p, probabilities, &b->data, err));
        if (i < 0)
            continue;
        repeats[i] = (now - start) / n_calls;
        cpus[i] = (bench_cpu_s() - cpu_start) / n_calls;
    }
    *cpu = bench_median(cpus, REPEATS);
    *seconds = bench_median(repeats, REPEATS);
    return FL_OK;
}

int bench_predict(fl_cli *cli)
{
    fl_err err;
    bench_model b = {0};
    nn_predictor *p = NULL;
    double seconds = 0, cpu = 0;
    float *probabilities = NULL;
    fl_code rc = bench_model_open(&b, cli, &err);
    if (rc == FL_OK)
        rc = nn_predictor_create(&p, b.model, b.w, b.pool, &err);
    if (rc == FL_OK && !(probabilities = malloc((size_t)b.batch * b.n_classes * sizeof *probabilities)))
        rc = fl_fail(&err, FL_EENV, "bench: no memory left");
    if (rc == FL_OK)
        rc = measure(&seconds, &cpu, &b, p, probabilities, &err);
    int status = 0;
    if (rc == FL_OK) {
        fl_json *j = fl_json_object();
        bench_model_describe(j, &b);
        fl_json_set_real(j, "images_per_s", (double)b.batch / seconds);
        fl_json_set_real(j, "latency_ms", 1e3 * seconds);
        fl_json_set_real(j, "cpu_ms", 1e3 * cpu);
        fl_json_set_real(j, "gflops", 1e-9 * bench_model_flops(&b, false) * (double)b.batch / seconds);
        status = bench_print(cli, j);
    } else {
        status = fl_cli_fail(cli, &err);
    }
    free(probabilities);
    nn_predictor_destroy(p);
    bench_model_close(&b);
    return status;
}
