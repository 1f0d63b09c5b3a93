/* Only what noise was drawn for has a way to bytes, and those have one form. */
#include "privacy/noise.h"
#include "privacy/update.h"
#include "tests/privacy/plain_update.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static fl_err err;

/* Noise was drawn, and a sum on top brings it to the wanted values. */
static dp_noised *noised(const int64_t *wanted, size_t n)
{
    dp_noised *v;
    fl_csprng r;
    int64_t sum[64];
    assert_true(n <= 64);
    fl_csprng_init(&r);
    assert_int_equal(dp_noised_create(&v, n, &err), FL_OK);
    dp_noised_draw(v, 9, &r);
    for (size_t i = 0; i < n; i++)
        sum[i] = wanted[i] - dp_noised_values(v)[i];
    dp_noised_add_sum(v, sum, n);
    fl_csprng_fini(&r);
    return v;
}

static void an_update_has_a_fixed_size_and_clamps(void **state)
{
    (void)state;
    static const int64_t u[] = {0, 1, -1, 32767, 32768, -32768, -32769, INT64_MAX - 1000, INT64_MIN + 1000, 5};
    static const int64_t in_16[] = {0, 1, -1, 32767, 32767, -32768, -32768, 32767, -32768, 5};
    static const int64_t c[] = {-7, 0, DP_CELL_MAX + 1, -DP_CELL_MAX - 1};
    static const int64_t c_in[] = {-7, 0, DP_CELL_MAX, -DP_CELL_MAX};
    dp_noised *g = noised(u, 10), *cells = noised(c, 4);
    int64_t back[10], back_cells[4];
    for (uint32_t bits = 8; bits <= 64; bits += 8) {
        const dp_update_shape shape = {.coordinates = 10, .probe = 3, .bits = bits, .cells = 4};
        const size_t n = dp_update_size(&shape);
        uint8_t bytes[120];
        assert_int_equal(n, 10 * bits / 8 + 32);
        dp_update_pack(bytes, &shape, g, cells);
        assert_int_equal(dp_update_read(back, back_cells, &shape, bytes, n, &err), FL_OK);
        const int64_t high = (int64_t)(UINT64_MAX >> (65 - bits));
        for (int i = 0; i < 10; i++)
            assert_true(back[i] == (u[i] > high ? high : u[i] < -high - 1 ? -high - 1 : u[i]));
        if (bits == 16)
            assert_memory_equal(back, in_16, sizeof back);
        assert_memory_equal(back_cells, c_in, sizeof c_in);
        assert_int_equal(dp_update_read(NULL, NULL, &shape, bytes, n, &err), FL_OK);
        assert_int_equal(dp_update_read(back, back_cells, &shape, bytes, n - 1, &err), FL_EFORMAT);
        assert_int_equal(dp_update_read(back, back_cells, &shape, bytes, n + 1, &err), FL_EFORMAT);
    }
    dp_noised_destroy(g);
    dp_noised_destroy(cells);
}

static void an_update_is_these_bytes(void **state)
{
    (void)state;
    static const uint8_t golden[] = {0xfe, 0xff, 0xff, 0x03, 0, 0, 0xf9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const int64_t values[] = {-2, 3, -7};
    const dp_update_shape shape = {.coordinates = 2, .bits = 24, .cells = 1};
    dp_noised *g = noised(values, 2), *cells = noised(values + 2, 1);
    uint8_t bytes[sizeof golden];
    fl_buf plain;
    assert_int_equal(dp_update_size(&shape), sizeof golden);
    dp_update_pack(bytes, &shape, g, cells);
    assert_memory_equal(bytes, golden, sizeof golden);
    fl_buf_init(&plain, 100); /* and the tests' own way makes the same */
    plain_update(&plain, &shape, values);
    assert_int_equal(plain.size, sizeof golden);
    assert_memory_equal(plain.bytes, golden, sizeof golden);
    fl_buf_fini(&plain);
    dp_noised_destroy(g);
    dp_noised_destroy(cells);
}

static void an_impossible_shape_or_cell_is_refused(void **state)
{
    (void)state;
    static const dp_update_shape shapes[] = {
        {0, 0, 16, 0},  {UINT32_MAX, UINT32_MAX, 16, 0},     {10, 10, 16, 0}, {10, 0, 0, 0}, {10, 0, 12, 0},
        {10, 0, 72, 0}, {10, 0, 16, DP_UPDATE_MAX_CELLS + 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        assert_int_equal(dp_update_check(&shapes[i], &err), FL_EFORMAT);
        assert_int_equal(dp_update_read(NULL, NULL, &shapes[i], (const uint8_t *)"", 0, &err), FL_EFORMAT);
    }
    const dp_update_shape shape = {.coordinates = 1, .bits = 16, .cells = 1};
    static const uint8_t high[] = {0, 0, 1, 0, 0, 0, 0, 0x80, 0, 0}, low[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80};
    assert_int_equal(dp_update_read(NULL, NULL, &shape, high, sizeof high, &err), FL_EFORMAT);
    assert_int_equal(dp_update_read(NULL, NULL, &shape, low, sizeof low, &err), FL_EFORMAT);
}

typedef enum way { WITH_NOISE, FRESH, CLEARED, SUM_FIRST, A_STEP_WITHOUT } way;

/* What a program does that packs a vector which came about this way. */
static int packs(way how)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        static const int64_t sum[4] = {1, 2, 3, 4};
        const dp_update_shape shape = {.coordinates = 4, .bits = 16};
        uint8_t bytes[8];
        dp_noised *v, *step;
        fl_csprng r;
        (void)!freopen("/dev/null", "w", stderr);
        signal(SIGABRT, SIG_DFL);
        fl_csprng_init(&r);
        if (setrlimit(RLIMIT_CORE, &no_core) || dp_noised_create(&v, 4, &err) || dp_noised_create(&step, 4, &err))
            _exit(2);
        if (how == SUM_FIRST)
            dp_noised_add_sum(v, sum, 4);
        if (how == A_STEP_WITHOUT)
            dp_noised_add_sum(step, sum, 4);
        if (how == WITH_NOISE || how == A_STEP_WITHOUT) {
            dp_noised *other;
            if (dp_noised_create(&other, 4, &err))
                _exit(2);
            dp_noised_draw(other, 100, &r);
            dp_noised_add(v, other);
        }
        if (how == A_STEP_WITHOUT || how == SUM_FIRST)
            dp_noised_add(v, step);
        if (how == CLEARED) {
            dp_noised_draw(v, 100, &r);
            dp_noised_clear(v);
        }
        dp_update_pack(bytes, &shape, v, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void what_holds_no_noise_has_no_way_to_bytes(void **state)
{
    (void)state;
    assert_int_equal(packs(WITH_NOISE), 0);
    assert_int_equal(packs(FRESH), -SIGABRT);
    assert_int_equal(packs(CLEARED), -SIGABRT);
    assert_int_equal(packs(SUM_FIRST), -SIGABRT);
    assert_int_equal(packs(A_STEP_WITHOUT), -SIGABRT);
}

static void sums_of_steps_hold_the_noise_of_each(void **state)
{
    (void)state;
    static const int64_t sum[2] = {1000000, -1000000};
    dp_noised *u, *y;
    fl_csprng r;
    int64_t expected[3] = {0};
    fl_csprng_init(&r);
    assert_int_equal(dp_noised_create(&u, 3, &err), FL_OK);
    assert_int_equal(dp_noised_create(&y, 3, &err), FL_OK);
    for (unsigned step = 1; step <= 5; step++) {
        dp_noised_draw(y, 10000, &r);
        dp_noised_add_sum(y, sum, 2);
        dp_noised_add_sum(y, sum, 1);
        dp_noised_add(u, y);
        for (int i = 0; i < 3; i++)
            expected[i] += dp_noised_values(y)[i];
        assert_int_equal(dp_noised_draws(u), step);
        assert_memory_equal(dp_noised_values(u), expected, sizeof expected);
    }
    /* 10 sums less noise of standard deviation 224; the third value got no sum: 7 deviations are 1565, < 1e-11 */
    assert_true(llabs(expected[0] - 10000000) < 1565 && llabs(expected[2]) < 1565);
    dp_noised_destroy(u);
    dp_noised_destroy(y);
    fl_csprng_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_update_has_a_fixed_size_and_clamps),
        cmocka_unit_test(an_update_is_these_bytes),
        cmocka_unit_test(an_impossible_shape_or_cell_is_refused),
        cmocka_unit_test(what_holds_no_noise_has_no_way_to_bytes),
        cmocka_unit_test(sums_of_steps_hold_the_noise_of_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
