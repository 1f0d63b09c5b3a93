#include "tests/base/test.h"

#include "base/inbox.h"
#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>

enum { N = 1000 };

typedef struct tally {
    unsigned calls[N];          /* by index: only one thread ever has an index */
    unsigned long by_thread[8]; /* by thread */
    unsigned n_threads;
} tally;

static void count_call(void *context, size_t index, unsigned thread)
{
    tally *t = context;
    assert_true(index < N && thread < t->n_threads);
    t->calls[index]++;
    t->by_thread[thread]++;
}

/* Plain, unsynchronised counters: the thread sanitizer would see two threads at one, or a run that returns too early. */
static void every_index_is_worked_on_once(void **state)
{
    (void)state;
    for (unsigned n_threads = 1; n_threads <= 8; n_threads++) {
        fl_err err;
        fl_pool *p;
        static tally t;
        t = (tally){.n_threads = n_threads};
        assert_ok(fl_pool_create(&p, n_threads, &err), err);
        assert_int_equal(fl_pool_threads(p), n_threads);
        for (unsigned run = 1; run <= 20; run++) {
            size_t n = run % 2 ? N : 3;
            fl_pool_run(p, n, count_call, &t);
            unsigned long sum = 0, expected = 0;
            for (unsigned i = 0; i < 8; i++)
                sum += t.by_thread[i];
            for (unsigned i = 0; i < N; i++)
                expected += t.calls[i];
            assert_int_equal(sum, expected);
            assert_int_equal(expected, (run + 1) / 2 * N + run / 2 * 3);
            assert_int_equal(t.calls[N - 1], (run + 1) / 2);
            assert_int_equal(t.calls[0], run);
        }
        fl_pool_destroy(p);
    }
}

static void no_work_and_no_threads(void **state)
{
    (void)state;
    fl_err err;
    fl_pool *p;
    assert_ok(fl_pool_create(&p, 0, &err), err);
    assert_true(fl_pool_threads(p) >= 1);
    fl_pool_run(p, 0, count_call, NULL);
    fl_pool_destroy(p);
    fl_pool_destroy(NULL);
    assert_int_equal(fl_pool_create(&p, 100000, &err), FL_EFORMAT);
    assert_null(p);
}

typedef struct meeting {
    pthread_barrier_t barrier;
} meeting;

static void meet(void *context, size_t index, unsigned thread)
{
    (void)index, (void)thread;
    pthread_barrier_wait(&((meeting *)context)->barrier);
}

/* Would never return if fewer than three threads worked at a time. */
static void all_threads_work_at_the_same_time(void **state)
{
    (void)state;
    fl_err err;
    fl_pool *p;
    meeting m;
    pthread_barrier_init(&m.barrier, NULL, 3);
    assert_ok(fl_pool_create(&p, 3, &err), err);
    for (int i = 0; i < 50; i++)
        fl_pool_run(p, 3, meet, &m);
    fl_pool_destroy(p);
    pthread_barrier_destroy(&m.barrier);
}

enum { POSTS = 500, POSTERS = 3 };

static void *post_many(void *inbox)
{
    for (uint64_t i = 0; i < POSTS; i++) {
        if (!fl_inbox_post(inbox, 1, i, &i, sizeof i, NULL))
            return NULL;
    }
    return inbox;
}

static void an_inbox_loses_nothing(void **state)
{
    (void)state;
    fl_err err;
    fl_inbox *inbox;
    pthread_t threads[POSTERS];
    assert_ok(fl_inbox_create(&inbox, POSTS * POSTERS, POSTS * POSTERS * 8, &err), err);
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, inbox), 0);
    uint64_t sum = 0;
    for (int i = 0; i < POSTS * POSTERS; i++) {
        fl_item item;
        assert_true(fl_inbox_take(inbox, &item, INT64_MAX / 1000000));
        assert_int_equal(item.size, 8);
        assert_memory_equal(item.bytes, &item.ticket, 8);
        sum += item.ticket;
        fl_item_fini(&item);
    }
    assert_true(sum == (uint64_t)POSTERS * POSTS * (POSTS - 1) / 2);
    for (int i = 0; i < POSTERS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_non_null(result);
    }
    fl_item item;
    assert_false(fl_inbox_take(inbox, &item, 0));
    fl_inbox_destroy(inbox);
}

static void an_inbox_has_a_maximum(void **state)
{
    (void)state;
    fl_err err;
    fl_inbox *inbox;
    assert_ok(fl_inbox_create(&inbox, 2, 10, &err), err);
    assert_false(fl_inbox_post(inbox, 0, 0, "12345678901", 11, NULL));
    assert_true(fl_inbox_post(inbox, 0, 0, "1234567890", 10, NULL));
    assert_false(fl_inbox_post(inbox, 0, 0, "1", 1, NULL));
    assert_true(fl_inbox_post(inbox, 0, 0, NULL, 0, NULL));
    assert_false(fl_inbox_post(inbox, 0, 0, NULL, 0, NULL));
    fl_inbox_destroy(inbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_is_worked_on_once),
        cmocka_unit_test(no_work_and_no_threads),
        cmocka_unit_test(all_threads_work_at_the_same_time),
        cmocka_unit_test(an_inbox_loses_nothing),
        cmocka_unit_test(an_inbox_has_a_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
