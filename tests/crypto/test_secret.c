#include "tests/base/test.h"

#include "crypto/secret.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { SIZE = 100000 };

#ifdef CORDON_SANITIZED
static const bool locks_count = false; /* sanitizers answer mlock themselves, and lock nothing */
#else
static const bool locks_count = true;
#endif

/* Does the kernel's own list have this flag for the mapping that holds at? "lo" locked, "dd" not dumped, "wf" wiped on
 * fork (proc(5)). */
static bool has_flag(const void *at, const char *flag)
{
    char line[512];
    bool is_inside = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        uintptr_t from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            is_inside = (uintptr_t)at >= from && (uintptr_t)at < to;
        else if (is_inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, flag) != NULL;
    }
    fclose(f);
    return found;
}

static void is_locked_not_dumped_and_dropped_on_fork(void **state)
{
    (void)state;
    fl_secret s;
    fl_err err;
    static const uint8_t zeros[SIZE];
    assert_ok(fl_secret_init(&s, SIZE, &err), err);
    assert_memory_equal(s.bytes, zeros, SIZE);
    memset(s.bytes, 7, SIZE);
    for (size_t at = 0; at < SIZE; at += SIZE - 1) {
        assert_true(has_flag((char *)s.bytes + at, " dd"));
        assert_true(has_flag((char *)s.bytes + at, " wf"));
        if (locks_count)
            assert_int_equal(has_flag((char *)s.bytes + at, " lo"), s.is_locked);
    }
    assert_true(s.is_dropped_on_fork);
    pid_t pid = fork();
    if (pid == 0)
        _exit(memcmp(s.bytes, zeros, SIZE) != 0);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(((uint8_t *)s.bytes)[SIZE - 1], 7); /* the parent's is still there */
    fl_secret_wipe(&s);
    assert_memory_equal(s.bytes, zeros, SIZE);
    fl_secret_fini(&s);
    assert_null(s.bytes);
    fl_secret_fini(&s);
    fl_secret_fini(NULL);
}

/* Without the right to lock, memory is given out all the same, and one line says so, once. */
static void too_small_a_limit_is_said_once(void **state)
{
    (void)state;
    if (!locks_count)
        skip();
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        fl_secret a = {0}, b = {0};
        setenv("FL_LOG_LEVEL", "warn", 1);
        bool ok = dup2(ends[1], 2) == 2 && setrlimit(RLIMIT_MEMLOCK, &none) == 0;
        ok = ok && (getuid() != 0 || setuid(65534) == 0); /* root may lock without limit */
        ok = ok && fl_secret_init(&a, SIZE, NULL) == FL_OK && fl_secret_init(&b, SIZE, NULL) == FL_OK;
        ok = ok && !a.is_locked && !b.is_locked && a.bytes && b.bytes;
        fl_secret_fini(&a);
        fl_secret_fini(&b);
        _exit(!ok);
    }
    close(ends[1]);
    char text[4096] = {0};
    size_t n = 0;
    ssize_t k;
    while ((k = read(ends[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)k;
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    char *first = strstr(text, "not locked");
    assert_non_null(first);
    assert_non_null(strstr(first, "LimitMEMLOCK"));
    assert_null(strstr(first + 1, "not locked"));
}

static void more_than_there_is_fails_with_words(void **state)
{
    (void)state;
    fl_secret s;
    fl_err err;
    assert_int_equal(fl_secret_init(&s, (size_t)1 << 60, &err), FL_EENV);
    assert_says(err, "memory: 1152921504606846976 bytes");
    assert_null(s.bytes);
    fl_secret_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_locked_not_dumped_and_dropped_on_fork),
        cmocka_unit_test(too_small_a_limit_is_said_once),
        cmocka_unit_test(more_than_there_is_fails_with_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
