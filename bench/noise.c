#include "bench/bench.h"

#include "base/pool.h"
#include "privacy/noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 32 * DP_NOISE_BLOCK, REPEATS = 5, THREADS_MAX = 64 };

const fl_cli_option bench_noise_options[] = {
    {"sigma", "S", "the law's parameter in grid units, 1 to 2^28; its square is rounded to an integer", true},
    {"count", "N", "draws in all, in five repeats", true},
    {"threads", "T", "threads, default 1", false},
    {"sampler", "NAME", "fast, the one that trains (default), or exact, the slow one that checks it", false},
    {0},
};

typedef struct noise_place {
    int64_t out[CHUNK];
    dp_noise_scratch scratch;
} noise_place;

typedef struct noise_run {
    dp_noise table;
    bool is_exact;
    noise_place *places; /* of each thread */
    fl_csprng *random;
} noise_run;

static void draw_chunk(void *context, size_t index, unsigned thread)
{
    noise_run *run = context;
    noise_place *place = &run->places[thread];
    (void)index;
    if (run->is_exact)
        dp_noise_fill(place->out, CHUNK, run->table.s2, &run->random[thread]);
    else
        dp_noise_draw(&run->table, place->out, CHUNK, &run->random[thread], &place->scratch);
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

static void print(fl_cli *cli, const noise_run *run, double sigma, int64_t threads, size_t n_chunks, double rate,
                  double table_ms)
{
    fl_json *j = fl_json_object();
    fl_json_set_real(j, "samples_per_s", rate);
    fl_json_set_real(j, "sigma", sigma);
    fl_json_set_int(j, "variance", (int64_t)run->table.s2);
    fl_json_set_int(j, "count", (int64_t)(n_chunks * CHUNK * REPEATS));
    fl_json_set_int(j, "threads", threads);
    fl_json_set_text(j, "sampler", run->is_exact ? "exact" : "fast");
    fl_json_set_real(j, "table_ms", table_ms);
    bench_print(cli, j);
}

static fl_code check_options(fl_cli *cli, double *sigma, int64_t *count, int64_t *threads, bool *is_exact, fl_err *err)
{
    const char *sampler = fl_cli_value(cli, "sampler");
    FL_TRY(fl_cli_real(cli, "sigma", sigma, 1, 0x1p28, err));
    FL_TRY(fl_cli_int(cli, "count", count, 1, (int64_t)1 << 40, err));
    FL_TRY(fl_cli_int(cli, "threads", threads, 1, THREADS_MAX, err));
    *is_exact = sampler && strcmp(sampler, "exact") == 0;
    if (sampler && !*is_exact && strcmp(sampler, "fast") != 0)
        return fl_fail(err, FL_EFORMAT, "--sampler: is '%.60s': must be fast or exact", sampler);
    return FL_OK;
}

int bench_noise(fl_cli *cli)
{
    fl_err err;
    double sigma = 0;
    int64_t count = 0, threads = 1;
    fl_pool *pool = NULL;
    fl_csprng random[THREADS_MAX];
    noise_run run = {.random = random};
    fl_code code = check_options(cli, &sigma, &count, &threads, &run.is_exact, &err);
    double start = bench_now_s();
    if (code == FL_OK)
        code = dp_noise_init(&run.table, (uint64_t)llround(sigma * sigma), &err);
    double table_ms = 1e3 * (bench_now_s() - start);
    if (code == FL_OK)
        code = fl_pool_create(&pool, (unsigned)threads, &err);
    if (code == FL_OK && !(run.places = calloc((size_t)threads, sizeof *run.places)))
        code = fl_fail(&err, FL_EENV, "noise: no memory left");
    if (code == FL_OK) {
        for (int64_t i = 0; i < threads; i++)
            fl_csprng_init(&random[i]);
        size_t n_chunks = ((size_t)count + REPEATS * CHUNK - 1) / (REPEATS * CHUNK);
        print(cli, &run, sigma, threads, n_chunks, measure(&run, pool, n_chunks), table_ms);
        for (int64_t i = 0; i < threads; i++)
            fl_csprng_fini(&random[i]);
    }
    free(run.places);
    fl_pool_destroy(pool);
    dp_noise_fini(&run.table);
    return code == FL_OK ? 0 : fl_cli_fail(cli, &err);
}
