/*
 * fl_pool - a fixed pool of threads.
 *
 * fl_pool_run calls work(context, index, thread) once for each index in [0, n), indexes handed out in order to
 * whichever thread is free; it returns when all are done. The caller's thread works too, as thread 0. thread is in
 * [0, n_threads). A pool of 1 has no thread of its own. One caller at a time.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/err.h"

typedef struct fl_pool fl_pool;
typedef void (*fl_work)(void *context, size_t index, unsigned thread);

fl_code fl_pool_create(fl_pool **out, unsigned n_threads /* 0: one per core */, fl_err *err) FL_MUST_USE;
void fl_pool_destroy(fl_pool *p);
unsigned fl_pool_threads(const fl_pool *p);
void fl_pool_run(fl_pool *p, size_t n, fl_work work, void *context);

#endif
