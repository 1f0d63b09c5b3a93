#include "tests/base/test.h"

#include "base/json.h"

#include <math.h>

static void expect_canonical(const char *text, const char *expected)
{
    fl_err err;
    fl_json *j;
    fl_buf b;
    fl_buf_init(&b, 10000);
    assert_ok(fl_json_parse(&j, text, strlen(text), "t", &err), err);
    assert_ok(fl_json_canonical(&b, j, &err), err);
    assert_string_equal(fl_buf_text(&b), expected);
    fl_json_free(j);
    fl_buf_fini(&b);
}

/* The right column is what Python's json.dumps(x, sort_keys=True, separators=(",", ":")) prints. */
static void canonical_text_is_sorted_ascii(void **state)
{
    (void)state;
    expect_canonical(" { \"b\" : 1 , \"a\" : [ true , false , \"x\" ] } ", "{\"a\":[true,false,\"x\"],\"b\":1}");
    expect_canonical("{\"aa\":1,\"a\":2,\"B\":3,\"\":4}", "{\"\":4,\"B\":3,\"a\":2,\"aa\":1}");
    expect_canonical("[\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"]", "[\"\\u00e4\\u20ac\\ud83d\\ude00\"]");
    expect_canonical("[\"\\u00E4\\/\\u0001\\u007f\\b\\f\\n\\r\\t\\\"\\\\\"]",
                     "[\"\\u00e4/\\u0001\\u007f\\b\\f\\n\\r\\t\\\"\\\\\"]");
    expect_canonical("[-9223372036854775808,9223372036854775807,0,-0]",
                     "[-9223372036854775808,9223372036854775807,0,0]");
    expect_canonical("[{},[]]", "[{},[]]");
}

static void canonical_text_has_no_reals_and_no_nulls(void **state)
{
    (void)state;
    static const char *const texts[] = {"[1.0]", "[1e2]", "{\"a\":{\"b\":null}}"};
    for (size_t i = 0; i < 3; i++) {
        fl_err err;
        fl_json *j;
        fl_buf b;
        fl_buf_init(&b, 100);
        assert_ok(fl_json_parse(&j, texts[i], strlen(texts[i]), "t", &err), err);
        assert_int_equal(fl_json_canonical(&b, j, &err), FL_EFORMAT);
        fl_json_free(j);
        fl_buf_fini(&b);
    }
}

static void expect_refused(const char *text, size_t n, const char *words)
{
    fl_err err;
    fl_json *j;
    assert_int_equal(fl_json_parse(&j, text, n, "plan", &err), FL_EFORMAT);
    assert_null(j);
    assert_says(err, "plan: ");
    assert_says(err, words);
}

static void hostile_texts_are_refused(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{\"a\":1,\"a\":2}", "twice"},
        {"[1]x", "after the end"},
        {"[1][2]", "after the end"},
        {"[1", "too early"},
        {"", "too early"},
        {"1", "not JSON"},
        {"[NaN]", "not JSON"},
        {"[01]", "not JSON"},
        {"[1,]", "not JSON"},
        {"['a']", "not JSON"},
        {"[\"\xff\"]", "UTF-8"},
        {"[\"\xc0\x80\"]", "UTF-8"},
        {"[\"\xed\xa0\x80\"]", "UTF-8"},
        {"[9223372036854775808]", "out of range"},
        {"[1e999]", "out of range"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_refused(rows[i][0], strlen(rows[i][0]), rows[i][1]);
    expect_refused("[\"a\0b\"]", 7, "plan");
    expect_refused("[\"\\u0000\"]", 10, "plan");
    expect_refused("[1]\0", 4, "plan");
}

static void a_message_does_not_quote_the_text(void **state)
{
    (void)state;
    static const char text[] = "{\"name\": MUSTERMANN}";
    fl_err err;
    fl_json *j;
    assert_int_equal(fl_json_parse(&j, text, strlen(text), "t", &err), FL_EFORMAT);
    assert_null(strstr(err.text, "MUSTER"));
}

static void thirty_two_levels_and_no_more(void **state)
{
    (void)state;
    char text[200];
    for (int levels = 32; levels <= 33; levels++) {
        fl_err err;
        fl_json *j;
        memset(text, '[', (size_t)levels);
        memset(text + levels, ']', (size_t)levels);
        fl_code code = fl_json_parse(&j, text, 2 * (size_t)levels, "t", &err);
        assert_int_equal(code, levels == 32 ? FL_OK : FL_EFORMAT);
        fl_json_free(j);
    }
    expect_canonical("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[\"]",
                     "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[\"]");
}

static void getters_leave_out_alone_on_another_type(void **state)
{
    (void)state;
    static const char text[] = "{\"i\":7,\"r\":1.5,\"s\":\"x\",\"t\":true,\"a\":[1,2],\"z\":null}";
    fl_err err;
    fl_json *j;
    assert_ok(fl_json_parse(&j, text, strlen(text), "t", &err), err);
    int64_t i = -1;
    double r = -1;
    bool t = false;
    assert_true(fl_json_int(j, "i", &i) && i == 7);
    i = -1;
    assert_false(fl_json_int(j, "r", &i) || fl_json_int(j, "none", &i) || fl_json_int(j, "s", &i));
    assert_int_equal(i, -1);
    assert_true(fl_json_real(j, "r", &r) && r == 1.5);
    assert_true(fl_json_real(j, "i", &r) && r == 7);
    assert_true(fl_json_bool(j, "t", &t) && t);
    assert_false(fl_json_bool(j, "i", &t));
    assert_string_equal(fl_json_text(j, "s"), "x");
    assert_null(fl_json_text(j, "i"));
    assert_null(fl_json_member(j, "none"));
    assert_int_equal(fl_json_count(fl_json_member(j, "a")), 2);
    assert_null(fl_json_at(fl_json_member(j, "a"), 2));
    assert_null(fl_json_text_value(fl_json_at(fl_json_member(j, "a"), 0)));
    assert_true(fl_json_is_object(j) && fl_json_is_array(fl_json_member(j, "a")));
    assert_int_equal(fl_json_count(j), 6);
    assert_string_equal(fl_json_key_at(j, 0), "a");
    assert_string_equal(fl_json_key_at(j, 5), "z");
    assert_null(fl_json_key_at(j, 6));
    fl_json_free(j);
}

static void setters_make_what_print_shows(void **state)
{
    (void)state;
    fl_json *j = fl_json_object(), *a = fl_json_array();
    fl_json_push_int(a, 1);
    fl_json_push_real(a, 0.1);
    fl_json_push_real(a, 2);
    fl_json_push_real(a, NAN);
    fl_json_push_text(a, "caf\xe9");
    fl_json_push(a, fl_json_array());
    fl_json_set(j, "a", a);
    fl_json_set_int(j, "k\xff", 3);
    fl_json_set_real(j, "x", 1.0 / 3);
    fl_json_set_bool(j, "b", false);
    fl_json_set_null(j, "n");
    fl_json_set_text(j, "b", "again");
    fl_buf b;
    fl_buf_init(&b, 1000);
    fl_json_print(&b, j, 0);
    assert_string_equal(fl_buf_text(&b), "{\"a\":[1,0.1,2.0,null,\"caf?\",[]],\"b\":\"again\",\"k?\":3,\"n\":null,"
                                         "\"x\":0.3333333333333333}");
    fl_json_free(j);
    j = fl_json_object();
    fl_json_set_int(j, "one", 1);
    fl_buf_clear(&b);
    fl_json_print(&b, j, 2);
    assert_string_equal(fl_buf_text(&b), "{\n  \"one\": 1\n}");
    fl_json_free(j);
    fl_json_free(NULL);
    fl_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_text_is_sorted_ascii), cmocka_unit_test(canonical_text_has_no_reals_and_no_nulls),
        cmocka_unit_test(hostile_texts_are_refused),      cmocka_unit_test(a_message_does_not_quote_the_text),
        cmocka_unit_test(thirty_two_levels_and_no_more),  cmocka_unit_test(getters_leave_out_alone_on_another_type),
        cmocka_unit_test(setters_make_what_print_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
