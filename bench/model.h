/* What train and predict share: a model by name, random images and labels, what the machine is. */
#ifndef BENCH_MODEL_H
#define BENCH_MODEL_H

#include "base/arena.h"
#include "base/pool.h"
#include "bench/bench.h"
#include "train/dataset.h"
#include "train/model.h"

typedef struct bench_model {
    const char *name;
    nn_model *model;
    nn_dataset data; /* batch images, each a patient of its own */
    fl_pool *pool;
    fl_arena memory;
    float *w; /* in memory */
    int64_t batch, threads;
    uint32_t n_classes;
} bench_model;

/* From --model, --input, --batch, --threads. fini takes one that open has left half done. */
fl_code bench_model_open(bench_model *b, fl_cli *cli, fl_err *err) FL_MUST_USE;
void bench_model_close(bench_model *b);
/* Multiply-adds x 2 for one image: forward, or a whole step as the comparison script counts it (the first layer sends
 * nothing back). */
double bench_model_flops(const bench_model *b, bool is_training);
/* Fields that both print: model, batch, threads, blas, peak_rss_mb. */
void bench_model_describe(fl_json *j, const bench_model *b);
double bench_peak_rss_mb(void);

#endif
