#include "bench/bench.h"

#include "base/pool.h"
#include "privacy/noise.h"

#include <math.h>
#include <stdlib.h>

enum { CHUNK = 1 << 16, REPEATS = 5, THREADS_MAX = 64 };

const fl_cli_option bench_noise_options[] = {
    {"sigma", "S", "the law's parameter in grid units, 1 to 2^28; its square is rounded to an integer", true},
    {"count", "N", "draws in all, in five repeats", true},
    {"threads", "T", "threads, default 1", false},
    {0},
};

typedef struct noise_run {
    uint64_t s2;
    int64_t *out; /* CHUNK for each thread */
    fl_csprng *random;
} noise_run;

static void draw_chunk(void *context, size_t index, unsigned thread)
{
    noise_run *run = context;
    (void)index;
    dp_noise_fill(run->out + (size_t)thread * CHUNK, CHUNK, run->s2, &run->random[thread]);
}

/* Draws per second: the median of the repeats, after one that is not counted. */
static double measure(noise_run *run, fl_pool *pool, size_t n_chunks)
{
    double rates[REPEATS];
    fl_pool_run(pool, n_chunks < 8 ? n_chunks : 8, draw_chunk, run);
    for (int i = 0; i < REPEATS; i++) {
        double start = bench_now_s();
        fl_pool_run(pool, n_chunks, draw_chunk, run);
        rates[i] = (double)n_chunks * CHUNK / (bench_now_s() - start);
    }
    return bench_median(rates, REPEATS);
}

int bench_noise(fl_cli *cli)
{
    fl_err err;
    double sigma = 0;
    int64_t count = 0, threads = 1;
    fl_code code;
    if ((code = fl_cli_real(cli, "sigma", &sigma, 1, 0x1p28, &err)) ||
        (code = fl_cli_int(cli, "count", &count, 1, (int64_t)1 << 40, &err)) ||
        (code = fl_cli_int(cli, "threads", &threads, 1, THREADS_MAX, &err)))
        return fl_cli_fail(cli, &err);
    fl_pool *pool;
    if ((code = fl_pool_create(&pool, (unsigned)threads, &err)))
        return fl_cli_fail(cli, &err);
    fl_csprng random[THREADS_MAX];
    noise_run run = {.s2 = (uint64_t)llround(sigma * sigma), .random = random};
    run.out = calloc((size_t)threads * CHUNK, sizeof *run.out);
    if (!run.out) {
        fl_pool_destroy(pool);
        code = fl_fail(&err, FL_EENV, "noise: no memory left");
        return fl_cli_fail(cli, &err);
    }
    for (int64_t i = 0; i < threads; i++)
        fl_csprng_init(&random[i]);
    size_t n_chunks = ((size_t)count + REPEATS * CHUNK - 1) / (REPEATS * CHUNK);
    double rate = measure(&run, pool, n_chunks);
    for (int64_t i = 0; i < threads; i++)
        fl_csprng_fini(&random[i]);
    free(run.out);
    fl_pool_destroy(pool);
    fl_json *j = fl_json_object();
    fl_json_set_real(j, "samples_per_s", rate);
    fl_json_set_real(j, "sigma", sigma);
    fl_json_set_int(j, "variance", (int64_t)run.s2);
    fl_json_set_int(j, "count", (int64_t)(n_chunks * CHUNK * REPEATS));
    fl_json_set_int(j, "threads", threads);
    return bench_print(cli, j);
}
