#include "tests/base/test.h"

#include "base/config.h"
#include "base/file.h"

#include <math.h>

typedef struct settings {
    char name[16], text[5000];
    int64_t count;
    double rate;
    char sigma[32];
    bool open;
    int optimiser;
} settings;

#define AT(field) offsetof(settings, field), sizeof(((settings *)0)->field)

// clang-format off
static const fl_config_row rows[] = {
    {"study",   "name",      FL_CONFIG_TEXT,    AT(name),      1, 15,     NULL,    NULL,                "What it is called", false},
    {"study",   "text",      FL_CONFIG_TEXT,    AT(text),      0, 0,      "",      NULL,                "A remark",          false},
    {"rounds",  "count",     FL_CONFIG_INT,     AT(count),     1, 100000, "10",    NULL,                "How many rounds",   true},
    {"privacy", "rate",      FL_CONFIG_REAL,    AT(rate),      0, 1,      "0.01",  NULL,                "Sampling rate",     true},
    {"privacy", "sigma",     FL_CONFIG_DECIMAL, AT(sigma),     0, 1000,   "auto",  NULL,                "Noise multiplier",  true},
    {"server",  "open",      FL_CONFIG_BOOL,    AT(open),      0, 0,      "no",    NULL,                "Whether it is open", false},
    {"server",  "optimiser", FL_CONFIG_CHOICE,  AT(optimiser), 0, 0,      "sgd",   "sgd|momentum|adam", "The optimiser",     false},
};
// clang-format on
#define N_ROWS (sizeof rows / sizeof *rows)

static void expect(const char *text, settings *s)
{
    fl_err err;
    *s = (settings){0};
    assert_ok(fl_config_parse(s, rows, N_ROWS, text, "s.ini", &err), err);
}

static void expect_error(const char *text, const char *message)
{
    fl_err err;
    settings s = {0};
    assert_int_equal(fl_config_parse(&s, rows, N_ROWS, text, "s.ini", &err), FL_EFORMAT);
    assert_string_equal(err.text, message);
}

static void values_and_defaults_arrive(void **state)
{
    (void)state;
    settings s;
    expect(
        "# a remark\n[study]\nname = chest ; inline\ntext=a = b: c;d\n\n[server]\r\n open : Yes\r\noptimiser = adam\n"
        "[privacy]\nrate = 2.5e-3\nsigma = 01.250\n",
        &s);
    assert_string_equal(s.name, "chest");
    assert_string_equal(s.text, "a = b: c;d");
    assert_int_equal(s.count, 10);
    assert_true(s.rate == 0.0025 && s.open && s.optimiser == 2);
    assert_string_equal(s.sigma, "01.250");
    expect("\xef\xbb\xbf[study]\r\nname=x\r\n[rounds]\ncount=auto\n[privacy]\nrate = auto", &s);
    assert_true(s.count == INT64_MIN && isnan(s.rate) && !s.open && s.optimiser == 0);
    assert_string_equal(s.sigma, "auto");
}

static void each_mistake_is_one_line_with_its_place(void **state)
{
    (void)state;
    expect_error("[study]\nname=a\nname=b\n", "s.ini:3: [study] name: stands a second time, first in line 2");
    expect_error("[study]\nname=a\n[rounds]\n[study]\nname=b\n",
                 "s.ini:5: [study] name: stands a second time, first in line 2");
    expect_error("[study]\nnaem=a\n", "s.ini:2: [study] naem: there is no such key: did you mean name?");
    expect_error("[study]\ncount=3\n", "s.ini:2: [study] count: there is no such key here: it belongs to [rounds]");
    expect_error("[study]\nqqqqqqqq=3\n", "s.ini:2: [study] qqqqqqqq: there is no such key");
    expect_error("\n[studdy]\n", "s.ini:2: [studdy]: there is no such section: did you mean [study]?");
    expect_error("[study] x\n", "s.ini:1: [study]: is followed by something else");
    expect_error("name=a\n", "s.ini:1: name: stands before the first [section]");
    expect_error("[study]\nname=\n", "s.ini:2: [study] name: has no value");
    expect_error("[study]\nname = ; nothing\n", "s.ini:2: [study] name: has no value");
    expect_error("[study]\nname\n", "s.ini:2: expected [section], key = value or a comment");
    expect_error("[study\n", "s.ini:1: expected [section], key = value or a comment");
    expect_error("[rounds]\ncount=3\n", "s.ini: [study] name: is missing: What it is called");
    expect_error("", "s.ini: [study] name: is missing: What it is called");
    expect_error("[study]\nname=a\x01\n", "s.ini:2: a control character (byte 1) in the line");
    expect_error("[study]\nname=a\rb\n", "s.ini:2: a control character (byte 13) in the line");
    expect_error("[study]\nname=a\n  b\n", "s.ini:3: expected [section], key = value or a comment");
    expect_error("[study]\nname=1234567890123456\n",
                 "s.ini:2: [study] name: is '1234567890123456', expected text of 1 to 15 bytes");
}

static void numbers_are_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[rounds]\ncount=0",
        "[rounds]\ncount=100001",
        "[rounds]\ncount=3x",
        "[rounds]\ncount=+3",
        "[rounds]\ncount=0x10",
        "[rounds]\ncount=3.0",
        "[rounds]\ncount=1e3",
        "[rounds]\ncount=- 3",
        "[rounds]\ncount=9999999999999999999999",
        "[rounds]\ncount=Auto",
        "[privacy]\nrate=nan",
        "[privacy]\nrate=inf",
        "[privacy]\nrate=0x1p-3",
        "[privacy]\nrate=.5",
        "[privacy]\nrate=5.",
        "[privacy]\nrate=1.0000001",
        "[privacy]\nrate=-0.1",
        "[privacy]\nrate=0.1 0.2",
        "[privacy]\nrate=0,1",
        "[privacy]\nrate=1e",
        "[privacy]\nrate=1e-",
        "[privacy]\nsigma=1001",
        "[privacy]\nsigma=-1",
        "[privacy]\nsigma=nan",
        "[privacy]\nsigma=1.2.3",
        "[server]\nopen=2",
        "[privacy]\nsigma=1.234567890123456789",
        "[server]\nopen=y",
        "[server]\noptimiser=sg",
        "[server]\noptimiser=Adam",
        "[server]\noptimiser=|",
        "[server]\noptimiser=sgd|momentum",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fl_err err;
        settings s = {0};
        char text[200];
        snprintf(text, sizeof text, "[study]\nname=a\n%s\n", bad[i]);
        if (fl_config_parse(&s, rows, N_ROWS, text, "s.ini", &err) != FL_EFORMAT)
            fail_msg("accepted: %s", bad[i]);
        assert_says(err, "s.ini:4: [");
        assert_says(err, "expected");
    }
}

static void a_long_line_is_whole_or_refused(void **state)
{
    (void)state;
    settings s;
    char *text = malloc(20000);
    int n = sprintf(text, "[study]\nname=a\ntext=");
    memset(text + n, 'x', 3995);
    strcpy(text + n + 3995, "\n[rounds]\ncount=7\n");
    expect(text, &s);
    assert_int_equal(strlen(s.text), 3995);
    assert_int_equal(s.count, 7);
    memset(text + n, 'x', 3996);
    strcpy(text + n + 3996, "\n[rounds]\ncount=7\n");
    expect_error(text, "s.ini:3: [study]: the line has 4001 bytes, expected at most 4000");
    free(text);
}

static void a_long_name_is_not_cut_into_a_known_one(void **state)
{
    (void)state;
    char text[400], name[100];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    fl_err err;
    settings s = {0};
    snprintf(text, sizeof text, "[study]\n%s=a\n", name);
    assert_int_equal(fl_config_parse(&s, rows, N_ROWS, text, "s.ini", &err), FL_EFORMAT);
    snprintf(text, sizeof text, "[%s]\nname=a\n", name);
    assert_int_equal(fl_config_parse(&s, rows, N_ROWS, text, "s.ini", &err), FL_EFORMAT);
}

static void files_with_nul_bytes_are_refused(void **state)
{
    fl_err err;
    settings s = {0};
    char path[FL_PATH_MAX];
    fl_path(path, *state, "s.ini");
    assert_int_equal(fl_config_load(&s, rows, N_ROWS, path, &err), FL_ENOTFOUND);
    assert_ok(fl_file_write(path, "[study]\nname=a\n", 15, 0600, &err), err);
    assert_ok(fl_config_load(&s, rows, N_ROWS, path, &err), err);
    assert_ok(fl_file_write(path, "[study]\nname=a\0b\n", 17, 0600, &err), err);
    assert_int_equal(fl_config_load(&s, rows, N_ROWS, path, &err), FL_EFORMAT);
    assert_says(err, "NUL");
}

static void the_sample_is_read_back(void **state)
{
    (void)state;
    settings s, again;
    fl_buf b;
    fl_buf_init(&b, 10000);
    expect("[study]\nname=a\ntext=;b\n[rounds]\ncount=auto\n[privacy]\nrate=0.1\nsigma=1.10\n[server]\nopen=on\n"
           "optimiser=momentum\n",
           &s);
    fl_config_sample(&b, rows, N_ROWS, &s);
    expect(fl_buf_text(&b), &again);
    assert_memory_equal(&s, &again, sizeof s);
    assert_non_null(
        strstr(fl_buf_text(&b), "# How many rounds\n# a whole number from 1 to 100000, or auto; default 10\n"));
    fl_buf_clear(&b);
    fl_config_sample(&b, rows, N_ROWS, NULL);
    expect_error(fl_buf_text(&b), "s.ini:4: [study] name: has no value");
    fl_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_defaults_arrive),
        cmocka_unit_test(each_mistake_is_one_line_with_its_place),
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(a_long_line_is_whole_or_refused),
        cmocka_unit_test(a_long_name_is_not_cut_into_a_known_one),
        in_scratch(files_with_nul_bytes_are_refused),
        cmocka_unit_test(the_sample_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
