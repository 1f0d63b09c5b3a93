/*
 * cordon-bench: one JSON line per run, fields as in its manual page. Monotonic clock, the median of repeats, the warm-up
 * not counted. A subcommand is a row in bench/main.c and a file of its own.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "base/cli.h"
#include "base/json.h"

int bench_noise(fl_cli *cli);
int bench_accountant(fl_cli *cli);
int bench_train(fl_cli *cli);
int bench_predict(fl_cli *cli);
int bench_layers(fl_cli *cli);
extern const fl_cli_option bench_noise_options[], bench_accountant_options[], bench_train_options[],
    bench_predict_options[], bench_layers_options[];

/* Seconds of the monotonic clock, to the nanosecond. */
double bench_now_s(void);
/* Seconds that all threads of this process have computed. */
double bench_cpu_s(void);
/* Seconds of processor time that the caller's thread has had. */
double bench_thread_s(void);
/* Multiply-adds x 2 in a nanosecond with the vectors of these kernels (train/kernels.h), on this core, right now. 0: not
 * known. A few microseconds. */
double bench_peak_gflops(const char *kernels);
/* Of n >= 1 values, which get sorted; the lower one of two in the middle. */
double bench_median(double *values, size_t n);
/* Prints j as one line, frees it, returns 0. */
int bench_print(fl_cli *cli, fl_json *j);

#endif
