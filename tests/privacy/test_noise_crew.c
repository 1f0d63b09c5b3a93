/* Random in every run; chances of a false alarm below 1e-9 where not said otherwise (statistics.h). */
#include "tests/base/test.h"

#include "privacy/noise_crew.h"
#include "tests/privacy/statistics.h"

#include <sys/wait.h>

enum { N = 500001, FEW = 60000 };
static int64_t draws[N + 1];

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Every place is written once, with the law, by one thread or by several; the pieces of two threads have nothing in
 * common: no neighbours come twice. */
static void all_threads_draw_from_the_law(void **state)
{
    (void)state;
    static uint64_t sums[FEW];
    fl_err err;
    for (unsigned threads = 1; threads <= 3; threads++) {
        fl_pool *pool;
        dp_noise_crew crew;
        assert_ok(fl_pool_create(&pool, threads, &err), err);
        assert_ok(dp_noise_crew_init(&crew, (uint64_t)1 << 56, pool, &err), err);
        for (size_t n = N - 1; n <= N; n++) {
            const int64_t unwritten = INT64_MIN;
            for (size_t i = 0; i <= N; i++)
                draws[i] = unwritten;
            dp_noise_crew_draw(&crew, draws, n);
            double squares = 0;
            size_t count[16] = {0};
            double p[16];
            for (size_t i = 0; i < n; i++) {
                assert_true(draws[i] != unwritten);
                squares += (double)draws[i] * 0x1p-28 * ((double)draws[i] * 0x1p-28);
                count[((uint64_t)draws[i] & 7) | (draws[i] < 0 ? 8u : 0u)]++;
            }
            assert_true(draws[n] == unwritten);
            for (int i = 0; i < 16; i++)
                p[i] = 1.0 / 16;
            assert_true(fabs(squares / (double)n - 1) < 6.4 * sqrt(2.0 / (double)n));
            assert_true(chi_squared(count, p, 16, (double)n) < chi_squared_limit(15));
        }
        /* four neighbours alike, of 60,000 in four pieces: 2^31 pairs of places, each with chance 2^-64 by the sum */
        for (size_t i = 0; i < FEW; i++)
            sums[i] = (uint64_t)draws[i] * 0x9e3779b97f4a7c15u + (uint64_t)draws[i + 1] * 0xc2b2ae3d27d4eb4fu +
                      (uint64_t)draws[i + 2] * 0x165667b19e3779f9u + (uint64_t)draws[i + 3] * 0x27d4eb2f165667c5u;
        qsort(sums, FEW, sizeof *sums, by_value);
        for (size_t i = 0; i + 1 < FEW; i++)
            assert_true(sums[i] != sums[i + 1]);
        const uint8_t *left = (const uint8_t *)crew.scratch;
        for (size_t i = 0; i < threads * sizeof *crew.scratch; i++)
            assert_int_equal(left[i], 0);
        dp_noise_crew_fini(&crew);
        dp_noise_crew_fini(&crew);
        fl_pool_destroy(pool);
    }
    dp_noise_crew_fini(NULL);
}

/* A forked child of a crew draws its own noise. */
static void a_child_draws_other_noise(void **state)
{
    (void)state;
    fl_err err;
    fl_pool *pool;
    dp_noise_crew crew;
    int ends[2];
    int64_t ours[64], theirs[64];
    assert_ok(fl_pool_create(&pool, 1, &err), err);
    assert_ok(dp_noise_crew_init(&crew, (uint64_t)1 << 56, pool, &err), err);
    dp_noise_crew_draw(&crew, ours, 64); /* the generator is under way */
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dp_noise_crew_draw(&crew, theirs, 64);
        _exit(write(ends[1], theirs, sizeof theirs) != sizeof theirs);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], theirs, sizeof theirs), sizeof theirs);
    dp_noise_crew_draw(&crew, ours, 64);
    for (int i = 0; i + 4 <= 64; i++) {
        for (int k = 0; k + 4 <= 64; k++)
            assert_memory_not_equal(ours + i, theirs + k, 4 * sizeof *ours);
    }
    close(ends[0]);
    close(ends[1]);
    dp_noise_crew_fini(&crew);
    fl_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_threads_draw_from_the_law),
        cmocka_unit_test(a_child_draws_other_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
