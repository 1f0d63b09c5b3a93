#include "base/service.h"
#include "tests/base/test.h"
#include <sys/prctl.h>
#include <sys/resource.h>

static void memory_that_is_private_is_never_dumped(void **state)
{
    (void)state;
    struct rlimit core;
    fl_keep_memory_private();
    assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
    assert_int_equal(getrlimit(RLIMIT_CORE, &core), 0);
    assert_int_equal(core.rlim_cur, 0);
    assert_int_equal(core.rlim_max, 0);
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &core), 0);
    assert_int_equal(core.rlim_cur, core.rlim_max);
    prctl(PR_SET_DUMPABLE, 1); /* for the leak sanitizer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_that_is_private_is_never_dumped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
