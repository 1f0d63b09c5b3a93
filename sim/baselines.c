#include "sim/baselines.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the threads share. */
typedef struct crew {
    sim_baselines *out;
    const nn_plan *plan;
    const fl_buf *pretrained; /* of the plan; empty when it has none */
    const sim_hospitals *hospitals;
    const sim_state *state;
    const atomic_bool *stop;
    unsigned threads_each;
    uint32_t *order; /* jobs, the longest first */
    sim_bar bar;
    pthread_mutex_t mutex; /* guards next, rc and err */
    uint32_t next;
    fl_code rc;
    fl_err err;
} crew;

typedef struct job {
    crew *crew;
    const char *hospital;
} job;

static void round_done(void *ctx, uint32_t rounds_done)
{
    const job *j = ctx;
    (void)rounds_done;
    sim_bar_step(&j->crew->bar, j->hospital);
}

static void rounds_were_done(void *ctx, uint32_t rounds_done)
{
    const job *j = ctx;
    sim_bar_was(&j->crew->bar, rounds_done);
}

static fl_code train(crew *c, sim_baseline *b, fl_pool *pool, fl_err *err)
{
    char path[FL_PATH_MAX];
    const sim_hospital *h = &c->hospitals->list[b->hospital];
    const nn_dataset *dataset = &h->split[NODE_SPLIT_TRAIN];
    const nn_plan *plan = b->is_private ? c->plan : c->out->open_plan;
    job j = {c, h->name};
    const sim_loop loop = {.plan = plan,
                           .datasets = &dataset,
                           .declared = &h->declared,
                           .n = 1,
                           .pretrained = c->pretrained->size ? c->pretrained->bytes : NULL,
                           .n_pretrained = c->pretrained->size,
                           .pool = pool,
                           .keep = sim_state_path(c->state, path, b->is_private ? "local" : "open", h->name, "state"),
                           .stop = c->stop,
                           .resumed = rounds_were_done,
                           .progress = round_done,
                           .ctx = &j};
    b->weights = malloc(plan->n_weights * sizeof *b->weights);
    fl_code rc = b->weights ? sim_loop_run(b->weights, &loop, err) : fl_fail(err, FL_EENV, "judging: out of memory");
    if (rc) {
        free(b->weights);
        b->weights = NULL;
    }
    return rc == FL_EREFUSED ? FL_OK : rc; /* alone it does not converge: that is a result too */
}

static void *work(void *ctx)
{
    crew *c = ctx;
    fl_pool *pool = NULL;
    fl_err err;
    fl_code rc = fl_pool_create(&pool, c->threads_each, &err);
    for (;;) {
        pthread_mutex_lock(&c->mutex);
        if (rc && !c->rc) {
            c->rc = rc;
            c->err = err;
        }
        const uint32_t at = c->rc || c->next == c->out->n ? UINT32_MAX : c->order[c->next++];
        pthread_mutex_unlock(&c->mutex);
        if (at == UINT32_MAX)
            break;
        rc = train(c, &c->out->list[at], pool, &err);
    }
    fl_pool_destroy(pool);
    return NULL;
}

static uint32_t images_of(const crew *c, uint32_t at)
{
    return c->hospitals->list[c->out->list[at].hospital].split[NODE_SPLIT_TRAIN].n_images;
}

static void sort_jobs(crew *c)
{
    for (uint32_t i = 0; i < c->out->n; i++) {
        uint32_t at = i;
        for (; at > 0 && images_of(c, c->order[at - 1]) < images_of(c, i); at--)
            c->order[at] = c->order[at - 1];
        c->order[at] = i;
    }
}

static fl_code make_jobs(crew *c, fl_err *err)
{
    sim_baselines *out = c->out;
    const uint32_t each = c->plan->is_private ? 2 : 1;
    out->open_plan = malloc(sizeof *out->open_plan);
    out->list = calloc((size_t)each * c->hospitals->n, sizeof *out->list);
    c->order = calloc((size_t)each * c->hospitals->n, sizeof *c->order);
    if (!out->open_plan || !out->list || !c->order)
        return fl_fail(err, FL_EENV, "judging: out of memory");
    for (uint32_t i = 0; i < c->hospitals->n; i++)
        for (uint32_t k = 0; k < each; k++)
            out->list[out->n++] = (sim_baseline){.hospital = i, .is_private = each == 2 && k == 0};
    sort_jobs(c);
    *out->open_plan = *c->plan;
    return c->plan->is_private ? nn_plan_drop_privacy(out->open_plan, err) : FL_OK;
}

static fl_code run_crew(crew *c, unsigned n_threads, fl_err *err)
{
    pthread_t threads[64];
    unsigned started = 0, all = n_threads ? n_threads : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    const unsigned n = all > 64 ? 64 : all > c->out->n ? c->out->n : all;
    c->threads_each = all / n;
    pthread_mutex_init(&c->mutex, NULL);
    sim_bar_begin(&c->bar, "alone", "round", (uint64_t)c->out->n * c->plan->rounds, 0, 1);
    while (started + 1 < n && pthread_create(&threads[started], NULL, work, c) == 0)
        started++;
    work(c);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    sim_bar_end(&c->bar);
    pthread_mutex_destroy(&c->mutex);
    return c->rc ? fl_fail(err, c->rc, "%s", c->err.text) : FL_OK;
}

fl_code sim_baselines_run(sim_baselines *out, const nn_plan *plan, const fl_buf *pretrained, const sim_hospitals *h,
                          const sim_state *state, unsigned n_threads, const atomic_bool *stop, fl_err *err)
{
    crew c = {.out = out, .plan = plan, .pretrained = pretrained, .hospitals = h, .state = state, .stop = stop};
    memset(out, 0, sizeof *out);
    fl_code rc = make_jobs(&c, err);
    if (rc == FL_OK)
        rc = run_crew(&c, n_threads, err);
    free(c.order);
    return rc;
}

void sim_baselines_fini(sim_baselines *b)
{
    if (!b)
        return;
    for (uint32_t i = 0; i < b->n; i++)
        free(b->list[i].weights);
    free(b->list);
    free(b->open_plan);
    memset(b, 0, sizeof *b);
}
