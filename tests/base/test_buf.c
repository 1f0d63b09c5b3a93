#include "tests/base/test.h"

#include "base/arena.h"
#include "base/buf.h"

static void a_message_is_one_line(void **state)
{
    (void)state;
    fl_err err;
    assert_int_equal(fl_fail(&err, FL_EFORMAT, "%s: bad", "a\nb\x1b[31m"), FL_EFORMAT);
    assert_string_equal(err.text, "a?b?[31m: bad");
    assert_int_equal(fl_fail(NULL, FL_EENV, "nobody listens"), FL_EENV);
}

static void a_message_may_be_made_of_itself(void **state)
{
    (void)state;
    fl_err err;
    (void)fl_fail(&err, FL_EBUSY, "inner");
    (void)fl_fail(&err, err.code, "outer: %s", err.text);
    assert_string_equal(err.text, "outer: inner");
    assert_int_equal(fl_fail_in(&err, "line %d", 7), FL_EBUSY);
    assert_string_equal(err.text, "line 7: outer: inner");
}

static void a_long_message_is_cut(void **state)
{
    (void)state;
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    fl_err err;
    (void)fl_fail(&err, FL_EENV, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    (void)fl_fail_in(&err, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void codes_become_exit_codes(void **state)
{
    (void)state;
    static const int expected[] = {0, 1, 2, 2, 3, 3};
    for (int code = FL_OK; code <= FL_EBUSY; code++)
        assert_int_equal(fl_exit_code((fl_code)code), expected[code]);
}

static void a_buffer_takes_exactly_its_maximum(void **state)
{
    (void)state;
    fl_err err;
    fl_buf b;
    fl_buf_init(&b, 10);
    assert_string_equal(fl_buf_text(&b), "");
    fl_buf_add_text(&b, "12345");
    fl_buf_printf(&b, "%d", 67890);
    assert_ok(fl_buf_check(&b, "ten", &err), err);
    assert_string_equal(fl_buf_text(&b), "1234567890");
    fl_buf_add(&b, "x", 1);
    assert_int_equal(fl_buf_check(&b, "ten", &err), FL_EFORMAT);
    assert_string_equal(err.text, "ten: more than 10 bytes");
    assert_int_equal(b.size, 10);
    fl_buf_fini(&b);
}

static void after_a_failure_nothing_is_written(void **state)
{
    (void)state;
    fl_buf b;
    fl_buf_init(&b, 4);
    fl_buf_add_text(&b, "abc");
    fl_buf_add_text(&b, "de");
    fl_buf_add_text(&b, "f"); /* would fit, but stands behind what is missing */
    assert_string_equal(fl_buf_text(&b), "abc");
    assert_true(b.failed);
    fl_buf_clear(&b);
    fl_buf_add_text(&b, "f");
    assert_string_equal(fl_buf_text(&b), "f");
    assert_int_equal(fl_buf_check(&b, "b", NULL), FL_OK);
    fl_buf_fini(&b);
    fl_buf_fini(&b);
    fl_buf_fini(NULL);
}

static void no_memory_is_an_error_and_not_a_crash(void **state)
{
    (void)state;
    fl_err err;
    fl_buf b;
    fl_buf_init(&b, SIZE_MAX);
    fl_buf_add(&b, "x", 1);
    fl_buf_add(&b, "", SIZE_MAX / 2); /* past the largest maximum: refused before memory is looked at */
    assert_int_equal(fl_buf_check(&b, "b", &err), FL_EFORMAT);
    assert_string_equal(fl_buf_text(&b), "x");
    fl_buf_fini(&b);
}

static void content_survives_growing(void **state)
{
    (void)state;
    fl_buf b;
    fl_buf_init(&b, 100000);
    for (unsigned i = 0; i < 100000; i++)
        fl_buf_add(&b, &(uint8_t){(uint8_t)(i * 7)}, 1);
    assert_int_equal(b.size, 100000);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(b.bytes[i], (uint8_t)(i * 7));
    assert_int_equal(b.bytes[100000], 0);
    fl_buf_fini(&b);
}

static void an_arena_cuts_aligned_zeroed_pieces(void **state)
{
    (void)state;
    fl_err err;
    fl_arena a;
    assert_ok(fl_arena_init(&a, fl_arena_round(1) + fl_arena_round(65) + fl_arena_round(0), &err), err);
    uint8_t *one = fl_arena_cut(&a, 1), *two = fl_arena_cut(&a, 65);
    assert_int_equal((uintptr_t)one % 64, 0);
    assert_int_equal(two - one, 64);
    for (int i = 0; i < 65; i++)
        assert_int_equal(two[i], 0);
    (void)fl_arena_cut(&a, 0);
    assert_int_equal(a.used, 192);
    fl_arena_fini(&a);
    fl_arena_fini(&a);
}

static void sizes_that_overflow_are_seen(void **state)
{
    (void)state;
    fl_err err;
    fl_arena a;
    assert_int_equal(fl_size_mul(3, 5), 15);
    assert_int_equal(fl_size_mul(0, SIZE_MAX), 0);
    assert_true(fl_size_mul(SIZE_MAX / 2 + 1, 2) == SIZE_MAX);
    assert_true(fl_arena_round(SIZE_MAX - 1) == SIZE_MAX);
    assert_int_equal(fl_arena_init(&a, SIZE_MAX, &err), FL_EENV);
    assert_null(a.block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_one_line),
        cmocka_unit_test(a_message_may_be_made_of_itself),
        cmocka_unit_test(a_long_message_is_cut),
        cmocka_unit_test(codes_become_exit_codes),
        cmocka_unit_test(a_buffer_takes_exactly_its_maximum),
        cmocka_unit_test(after_a_failure_nothing_is_written),
        cmocka_unit_test(no_memory_is_an_error_and_not_a_crash),
        cmocka_unit_test(content_survives_growing),
        cmocka_unit_test(an_arena_cuts_aligned_zeroed_pieces),
        cmocka_unit_test(sizes_that_overflow_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
