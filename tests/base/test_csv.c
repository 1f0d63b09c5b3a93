#include "base/csv.h"
#include "tests/base/test.h"

static char text[4096];
static fl_csv csv;

static void read_text(const char *from)
{
    size_t n = strlen(from);
    memcpy(text, from, n + 1);
    fl_csv_init(&csv, text, n);
}

static void quotes_commas_and_line_ends_inside_fields_survive(void **state)
{
    (void)state;
    read_text("a,\"b,1\",\"say \"\"x\"\"\"\r\n\"two\nlines\",,\n");
    assert_true(fl_csv_next(&csv));
    assert_int_equal(csv.n_fields, 3);
    assert_string_equal(csv.fields[1], "b,1");
    assert_string_equal(csv.fields[2], "say \"x\"");
    assert_true(fl_csv_next(&csv));
    assert_int_equal(csv.record_line, 2);
    assert_int_equal(csv.n_fields, 3);
    assert_string_equal(csv.fields[0], "two\nlines");
    assert_string_equal(csv.fields[2], "");
    assert_false(fl_csv_next(&csv));
    assert_int_equal(csv.line, 4);
}

static void the_last_line_needs_no_end_and_a_mark_is_skipped(void **state)
{
    (void)state;
    read_text("\xef\xbb\xbf"
              "File,Label\nx,");
    assert_true(fl_csv_next(&csv));
    assert_int_equal(fl_csv_find(&csv, "label"), 1);
    assert_int_equal(fl_csv_find(&csv, "patient"), -1);
    assert_true(fl_csv_next(&csv));
    assert_int_equal(csv.n_fields, 2);
    assert_string_equal(csv.fields[1], "");
    assert_false(fl_csv_next(&csv));
}

static void what_is_no_csv_says_so(void **state)
{
    (void)state;
    read_text("a\"b,c\n\"x\"y\n\"open");
    assert_true(fl_csv_next(&csv));
    assert_non_null(csv.wrong);
    assert_true(fl_csv_next(&csv));
    assert_non_null(csv.wrong);
    assert_true(fl_csv_next(&csv));
    assert_true(csv.is_open_quote);
    read_text("\n");
    assert_true(fl_csv_next(&csv));
    assert_true(fl_csv_is_blank(&csv));
    for (size_t i = 0; i < FL_CSV_MAX_FIELDS + 2; i++)
        text[i] = ',';
    text[FL_CSV_MAX_FIELDS + 2] = 0;
    fl_csv_init(&csv, text, FL_CSV_MAX_FIELDS + 2);
    assert_true(fl_csv_next(&csv));
    assert_string_equal(csv.wrong, "too many fields");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_commas_and_line_ends_inside_fields_survive),
        cmocka_unit_test(the_last_line_needs_no_end_and_a_mark_is_skipped),
        cmocka_unit_test(what_is_no_csv_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
