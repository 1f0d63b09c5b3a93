#include "base/rng.h"
#include "tests/base/test.h"

/* Many at once are the same as one after another, and leave the same state. */
static void uniforms_are_the_numbers_one_after_another(void **state)
{
    (void)state;
    float x[1000];
    for (uint64_t seed = 0; seed < 5; seed++) {
        fl_rng many, single;
        fl_rng_init(&many, seed, 3);
        fl_rng_init(&single, seed, 3);
        for (size_t n = 0; n < 1000; n += 333) {
            fl_rng_uniforms(&many, x, n, 0.3);
            for (size_t i = 0; i < n; i++)
                assert_true(x[i] == (float)((2 * fl_rng_uniform(&single) - 1) * 0.3));
        }
        assert_true(fl_rng_u64(&many) == fl_rng_u64(&single));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniforms_are_the_numbers_one_after_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
