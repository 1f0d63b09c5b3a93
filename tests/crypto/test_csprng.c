#include "tests/base/test.h"

#include "crypto/csprng.h"

#include <math.h>
#include <sys/wait.h>

static void what_was_given_out_is_wiped(void **state)
{
    (void)state;
    fl_csprng r;
    uint8_t bytes[100], zeros[100] = {0};
    fl_csprng_init(&r);
    fl_csprng_bytes(&r, bytes, sizeof bytes);
    assert_int_equal(r.block->used, 100);
    assert_memory_equal(r.block->bytes, zeros, 100);
    assert_memory_not_equal(bytes, zeros, 100);
    assert_memory_not_equal(r.block->bytes + 100, zeros, 100);
    fl_csprng_fini(&r);
    assert_null(r.block);
    fl_csprng_fini(&r);
    fl_csprng_fini(NULL);
}

static void large_requests_cross_blocks(void **state)
{
    (void)state;
    fl_csprng r;
    static uint8_t bytes[20001];
    fl_csprng_init(&r);
    bytes[20000] = 7;
    fl_csprng_bytes(&r, bytes, 20000);
    assert_int_equal(bytes[20000], 7);
    for (size_t i = 0; i + 16 <= 20000; i += 4096)
        for (size_t k = i + 4096; k + 16 <= 20000; k += 4096)
            assert_memory_not_equal(bytes + i, bytes + k, 16);
    fl_csprng_fini(&r);
}

/* The parent's next numbers and the child's: different, and never the zeros that the child finds in the block. `way` is
 * fork, or _Fork, which calls no fork handler and so leaves all to the kernel's wiping. */
static void check_fork(pid_t (*way)(void), size_t size)
{
    fl_csprng r;
    static uint8_t theirs[8192], ours[8192], zeros[32];
    int ends[2];
    fl_csprng_init(&r);
    (void)fl_csprng_u64(&r); /* a block is under way */
    assert_int_equal(pipe(ends), 0);
    pid_t pid = way();
    if (pid == 0) {
        bool was_empty = r.block->is_mine == 0 && r.block->used == 0;
        fl_csprng_bytes(&r, theirs, size);
        _exit(!was_empty || write(ends[1], theirs, size) != (ssize_t)size);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fl_csprng_bytes(&r, ours, size);
    assert_int_equal(read(ends[0], theirs, size), size);
    for (size_t i = 0; i + 32 <= size; i += 32) {
        assert_memory_not_equal(theirs + i, ours + i, 32);
        assert_memory_not_equal(theirs + i, zeros, 32);
        assert_memory_not_equal(ours + i, zeros, 32);
    }
    close(ends[0]);
    close(ends[1]);
    fl_csprng_fini(&r);
}

static void a_child_does_not_repeat_its_parent(void **state)
{
    (void)state;
    check_fork(fork, 32);
    check_fork(fork, 8192); /* straight from OpenSSL */
    check_fork(_Fork, 32);
    check_fork(_Fork, 8192);
}

static void a_grandchild_does_not_repeat_its_parent(void **state)
{
    (void)state;
    fl_csprng r;
    uint8_t theirs[32], ours[32], line[64];
    int ends[2];
    fl_csprng_init(&r);
    (void)fl_csprng_u64(&r);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t below = fork();
        fl_csprng_bytes(&r, theirs, sizeof theirs);
        if (below && waitpid(below, NULL, 0) != below)
            _exit(1);
        _exit(write(ends[1], theirs, sizeof theirs) != sizeof theirs);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fl_csprng_bytes(&r, ours, sizeof ours);
    assert_int_equal(read(ends[0], line, 64), 64);
    assert_memory_not_equal(line, ours, 32);
    assert_memory_not_equal(line + 32, ours, 32);
    assert_memory_not_equal(line, line + 32, 32);
    close(ends[0]);
    close(ends[1]);
    fl_csprng_fini(&r);
}

/* False alarm: each of the eleven counts leaves 6.5 sigma with chance 8e-11, together below 1e-9. */
static void numbers_are_spread_evenly(void **state)
{
    (void)state;
    enum { N = 200000 };
    fl_csprng r;
    unsigned count[10] = {0};
    fl_csprng_init(&r);
    for (int i = 0; i < N; i++) {
        uint64_t x = fl_csprng_below(&r, 10);
        assert_true(x < 10);
        count[x]++;
    }
    for (int i = 0; i < 10; i++)
        assert_true(fabs(count[i] - N / 10.0) < 6.5 * sqrt(N * 0.1 * 0.9));
    fl_csprng_fini(&r);
}

static void bounds_at_the_ends(void **state)
{
    (void)state;
    fl_csprng r;
    fl_csprng_init(&r);
    for (int i = 0; i < 1000; i++) {
        assert_true(fl_csprng_below(&r, 1) == 0);
        assert_true(fl_csprng_below(&r, UINT64_MAX) < UINT64_MAX);
        assert_true(fl_csprng_below(&r, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    }
    fl_csprng_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_given_out_is_wiped),        cmocka_unit_test(large_requests_cross_blocks),
        cmocka_unit_test(a_child_does_not_repeat_its_parent), cmocka_unit_test(a_grandchild_does_not_repeat_its_parent),
        cmocka_unit_test(numbers_are_spread_evenly),          cmocka_unit_test(bounds_at_the_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
