/* An array that doubles. */
#include "base/grow.h"
#include "tests/base/test.h"

#include <stdint.h>
#include <stdlib.h>

static void elements_stay_where_they_were_put(void **state)
{
    (void)state;
    uint16_t *items = NULL;
    size_t capacity = 0, n_moves = 0;
    for (size_t n = 0; n < 1000; n++) {
        const size_t before = capacity;
        assert_true(fl_grow(&items, &capacity, n, sizeof *items));
        assert_true(capacity > n);
        n_moves += capacity != before;
        items[n] = (uint16_t)(7 * n);
    }
    assert_int_equal(n_moves, 7); /* 16, 32, ... 1024 */
    for (size_t n = 0; n < 1000; n++)
        assert_int_equal(items[n], (uint16_t)(7 * n));
    free(items);
}

static void what_cannot_be_leaves_the_array_as_it_was(void **state)
{
    (void)state;
    uint8_t one = 5, *items = &one; /* never given to realloc: both are refused before */
    size_t capacity = (size_t)1 << 31;
    assert_false(fl_grow(&items, &capacity, capacity, 1));
    assert_true(items == &one && capacity == (size_t)1 << 31);
    capacity = 1 << 20;
    assert_false(fl_grow(&items, &capacity, capacity, SIZE_MAX / 4));
    assert_true(items == &one && one == 5 && capacity == 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(elements_stay_where_they_were_put),
                                       cmocka_unit_test(what_cannot_be_leaves_the_array_as_it_was)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
