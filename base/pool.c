#include "base/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 256

typedef struct worker {
    fl_pool *pool;
    unsigned number;
    pthread_t thread;
} worker;

struct fl_pool {
    unsigned n_threads;
    worker workers[MAX_THREADS]; /* [0] is the caller's */

    pthread_mutex_t mutex;
    pthread_cond_t begin, end;
    /* under mutex */
    uint64_t job; /* grows by one with each fl_pool_run */
    unsigned busy;
    bool stop;
    /* written by the caller under mutex before job grows; constant until busy is 0 again */
    fl_work work;
    void *context;
    size_t n;

    atomic_size_t next;
};

static void work_off(fl_pool *p, unsigned number)
{
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (index >= p->n)
            return;
        p->work(p->context, index, number);
    }
}

static void *run_worker(void *argument)
{
    worker *w = argument;
    fl_pool *p = w->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (!p->stop && p->job == seen)
            pthread_cond_wait(&p->begin, &p->mutex);
        if (p->stop)
            break;
        seen = p->job;
        pthread_mutex_unlock(&p->mutex);
        work_off(p, w->number);
        pthread_mutex_lock(&p->mutex);
        if (--p->busy == 0)
            pthread_cond_signal(&p->end);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static unsigned count_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (unsigned)n;
}

fl_code fl_pool_create(fl_pool **out, unsigned n_threads, fl_err *err)
{
    *out = NULL;
    if (n_threads == 0)
        n_threads = count_cores();
    if (n_threads > MAX_THREADS)
        return fl_fail(err, FL_EFORMAT, "threads: %u, expected at most %d", n_threads, MAX_THREADS);
    fl_pool *p = calloc(1, sizeof *p);
    if (!p)
        return fl_fail(err, FL_EENV, "threads: no memory left");
    p->n_threads = 1;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->begin, NULL);
    pthread_cond_init(&p->end, NULL);

    /* Signals belong to the program's own thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int rc = 0;
    for (unsigned i = 1; i < n_threads && rc == 0; i++) {
        p->workers[i] = (worker){.pool = p, .number = i};
        rc = pthread_create(&p->workers[i].thread, NULL, run_worker, &p->workers[i]);
        if (rc == 0)
            p->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        fl_pool_destroy(p);
        return fl_fail(err, FL_EENV, "threads: cannot start %u: %s", n_threads, strerror(rc));
    }
    *out = p;
    return FL_OK;
}

void fl_pool_destroy(fl_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    assert(p->busy == 0);
    p->stop = true;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->mutex);
    for (unsigned i = 1; i < p->n_threads; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->begin);
    pthread_cond_destroy(&p->end);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

unsigned fl_pool_threads(const fl_pool *p)
{
    return p->n_threads;
}

void fl_pool_run(fl_pool *p, size_t n, fl_work work, void *context)
{
    assert(n <= SIZE_MAX - MAX_THREADS); /* next counts past n, once for each thread */
    if (n == 0)
        return;
    pthread_mutex_lock(&p->mutex);
    assert(p->busy == 0);
    p->work = work;
    p->context = context;
    p->n = n;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    p->busy = p->n_threads - 1;
    p->job++;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->mutex);

    work_off(p, 0);

    pthread_mutex_lock(&p->mutex);
    while (p->busy)
        pthread_cond_wait(&p->end, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}
