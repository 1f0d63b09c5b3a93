/* What every cmocka program here includes, and a folder of its own for each test that wants one. */
#ifndef TESTS_BASE_TEST_H
#define TESTS_BASE_TEST_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "base/err.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define assert_ok(call, err)                                                                                           \
    do {                                                                                                               \
        if ((call) != FL_OK)                                                                                           \
            fail_msg("%s: %s", #call, (err).text);                                                                     \
    } while (0)

#define assert_says(err, words)                                                                                        \
    do {                                                                                                               \
        if (!strstr((err).text, (words)))                                                                              \
            fail_msg("'%s' does not say '%s'", (err).text, (words));                                                   \
    } while (0)

static inline int scratch_make(void **state)
{
    const char *base = getenv("TMPDIR");
    char *dir = malloc(4096);
    snprintf(dir, 4096, "%s/cordon-test-XXXXXX", base ? base : "/tmp");
    *state = dir;
    return mkdtemp(dir) ? 0 : -1;
}

static inline int scratch_unlink(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline int scratch_remove(void **state)
{
    int rc = nftw(*state, scratch_unlink, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return rc;
}

/* A test that gets a folder: *state is its path. */
#define in_scratch(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

#endif
