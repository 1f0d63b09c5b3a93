#include "privacy/noise_crew.h"

#include <assert.h>
#include <stdlib.h>

enum { PIECE = 8 * DP_NOISE_BLOCK }; /* 128 KB of draws: the pool's lock is nothing beside it */

fl_code dp_noise_crew_init(dp_noise_crew *c, uint64_t s2, fl_pool *pool, fl_err *err)
{
    *c = (dp_noise_crew){.pool = pool, .n_threads = fl_pool_threads(pool)};
    fl_csprng *random = calloc(c->n_threads, sizeof *random);
    fl_code code = random ? FL_OK : fl_fail(err, FL_EENV, "noise: no memory left");
    if (code == FL_OK)
        code = dp_noise_init(&c->table, s2, err);
    if (code == FL_OK)
        code = fl_secret_init(&c->memory, c->n_threads * sizeof *c->scratch, err);
    if (code != FL_OK) {
        free(random);
        dp_noise_fini(&c->table);
        return code;
    }
    c->scratch = c->memory.bytes;
    c->random = random;
    for (unsigned i = 0; i < c->n_threads; i++)
        fl_csprng_init(&c->random[i]);
    return FL_OK;
}

void dp_noise_crew_fini(dp_noise_crew *c)
{
    if (!c)
        return;
    for (unsigned i = 0; c->random && i < c->n_threads; i++)
        fl_csprng_fini(&c->random[i]);
    free(c->random);
    fl_secret_fini(&c->memory);
    dp_noise_fini(&c->table);
    *c = (dp_noise_crew){0};
}

typedef struct crew_job {
    dp_noise_crew *crew;
    int64_t *out;
    size_t n;
} crew_job;

static void draw_piece(void *context, size_t index, unsigned thread)
{
    const crew_job *job = context;
    size_t first = index * PIECE, left = job->n - first;
    dp_noise_draw(&job->crew->table, job->out + first, left < PIECE ? left : PIECE, &job->crew->random[thread],
                  &job->crew->scratch[thread]);
}

void dp_noise_crew_draw(dp_noise_crew *c, int64_t *out, size_t n)
{
    assert(c->random != NULL);
    crew_job job = {.crew = c, .out = out, .n = n};
    fl_pool_run(c->pool, (n + PIECE - 1) / PIECE, draw_piece, &job);
}
