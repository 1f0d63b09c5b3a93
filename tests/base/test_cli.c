#include "tests/base/test.h"

#include "base/cli.h"

static const fl_cli_option add_options[] = {
    {"dir", "DIR", "The folder", true},
    {"dataset", "NAME", "The data set", false},
    {"count", "N", "How many", false},
    {"rate", "X", "How often", false},
    {"json", NULL, "JSON on the output", false},
    {"o", "FILE", "Where to", false},
    {0},
};

static int run_add(fl_cli *cli)
{
    fl_err err;
    int64_t count = -1;
    double rate = -1;
    if (fl_cli_int(cli, "count", &count, 1, 9, &err) || fl_cli_real(cli, "rate", &rate, 0, 1, &err))
        return fl_cli_fail(cli, &err);
    const char *o = fl_cli_value(cli, "o");
    fprintf(cli->out, "dir=%s json=%d count=%d rate=%g o=%s user=%s", fl_cli_value(cli, "dir"),
            fl_cli_flag(cli, "json"), (int)count, rate, o ? o : "-", (const char *)cli->user);
    for (int i = 0; i < cli->n_args; i++)
        fprintf(cli->out, " [%s]", cli->args[i]);
    return 0;
}

static int run_one(fl_cli *cli)
{
    (void)cli;
    return 1;
}

static const fl_cli_command commands[] = {
    {"data add", "PATH...", "Takes images in", add_options, 1, -1, run_add, NULL},
    {"data list", "", "Lists them", NULL, 0, 0, run_one, NULL},
    {"status", "", "Says what it does", NULL, 0, 0, run_one, NULL},
    {0},
};

typedef struct answer {
    int exit_code;
    char out[4000], err[1000];
} answer;

static answer type(const char *line)
{
    answer a;
    char words[1000], *argv[40] = {0};
    int argc = 0;
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
        argv[argc++] = w;
    memset(&a, 0, sizeof a);
    FILE *out = fmemopen(a.out, sizeof a.out, "w"), *err = fmemopen(a.err, sizeof a.err, "w");
    a.exit_code = fl_cli_run("cordon-x", commands, argc, argv, out, err, "me");
    fclose(out);
    fclose(err);
    return a;
}

static void options_and_arguments_in_any_order(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "x data add --dir D --json --count 3 --rate=0.5 -o F a b",
        "x data add a --dir=D b --json --count=3 -oF --rate 0.5",
        "x data add a --di D --js b --cou 3 -o F --ra 5e-1",
    };
    for (size_t i = 0; i < 3; i++) {
        answer a = type(lines[i]);
        assert_string_equal(a.err, "");
        assert_string_equal(a.out, "dir=D json=1 count=3 rate=0.5 o=F user=me [a] [b]");
        assert_int_equal(a.exit_code, 0);
    }
    assert_string_equal(type("x data add --dir D -- --json").out, "dir=D json=0 count=-1 rate=-1 o=- user=me [--json]");
    assert_int_equal(type("x status").exit_code, 1);
}

static void wrong_usage_is_one_line_and_exit_code_2(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"x", "cordon-x: a command is missing: try 'cordon-x --help'\n"},
        {"x statsu", "cordon-x: statsu: there is no such command: did you mean 'status'?: try 'cordon-x --help'\n"},
        {"x data ad", "cordon-x: data ad: there is no such command: did you mean 'data add'?: try 'cordon-x --help'\n"},
        {"x data", "cordon-x: data: needs one of: add, list: try 'cordon-x --help'\n"},
        {"x qqqqqq", "cordon-x: qqqqqq: there is no such command: try 'cordon-x --help'\n"},
        {"x data add a", "cordon-x: --dir DIR: is missing: try 'cordon-x data add --help'\n"},
        {"x data add --dir D", "cordon-x: PATH...: 0 given, expected at least 1: try 'cordon-x data add --help'\n"},
        {"x status a", "cordon-x: 'a': one argument too many: try 'cordon-x status --help'\n"},
        {"x data add a --dri D",
         "cordon-x: --dri: there is no such option: did you mean --dir?: try 'cordon-x data add --help'\n"},
        {"x data add a --zzzzzz=4", "cordon-x: --zzzzzz: there is no such option: try 'cordon-x data add --help'\n"},
        {"x data add a --d D", "cordon-x: --d: may mean several options: try 'cordon-x data add --help'\n"},
        {"x data add a --dir", "cordon-x: --dir: needs a value (DIR): try 'cordon-x data add --help'\n"},
        {"x data add a --dir D --json=1", "cordon-x: --json: takes no value: try 'cordon-x data add --help'\n"},
        {"x data add a --dir D --dir E", "cordon-x: --dir: stands twice: try 'cordon-x data add --help'\n"},
        {"x data add a -q", "cordon-x: -q: there is no such option: try 'cordon-x data add --help'\n"},
        {"x data add a --dir D -o", "cordon-x: -o: needs a value (FILE): try 'cordon-x data add --help'\n"},
        {"x data add a --dir D --count 10", "cordon-x: --count: is '10', expected a whole number from 1 to 9\n"},
        {"x data add a --dir D --count 3x", "cordon-x: --count: is '3x', expected a whole number from 1 to 9\n"},
        {"x data add a --dir D --count 99999999999999999999",
         "cordon-x: --count: is '99999999999999999999', expected a whole number from 1 to 9\n"},
        {"x data add a --dir D --rate nan", "cordon-x: --rate: is 'nan', expected a number from 0 to 1\n"},
        {"x data add a --dir D --rate 0x1", "cordon-x: --rate: is '0x1', expected a number from 0 to 1\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        answer a = type(rows[i][0]);
        assert_string_equal(a.err, rows[i][1]);
        assert_string_equal(a.out, "");
        assert_int_equal(a.exit_code, 2);
    }
}

static void help_and_version_are_exit_code_0(void **state)
{
    (void)state;
    answer a = type("x --help");
    assert_int_equal(a.exit_code, 0);
    assert_non_null(strstr(a.out, "  data add   Takes images in\n"));
    assert_non_null(strstr(a.out, "  status     Says what it does\n"));
    a = type("x data --help");
    assert_int_equal(a.exit_code, 0);
    assert_non_null(strstr(a.out, "data list"));
    assert_null(strstr(a.out, "Says what it does"));
    a = type("x data add --help");
    assert_int_equal(a.exit_code, 0);
    assert_non_null(strstr(a.out, "Usage: cordon-x data add [OPTION...] PATH..."));
    assert_non_null(strstr(a.out, "--dir=DIR"));
    assert_non_null(strstr(a.out, "The folder (required)"));
    assert_non_null(strstr(a.out, "-o FILE"));
    assert_string_equal(a.err, "");
    a = type("x --version");
    assert_int_equal(a.exit_code, 0);
    assert_string_equal(a.out, "cordon-x " CORDON_VERSION "\n");
    assert_string_equal(type("x status --version").out, a.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_arguments_in_any_order),
        cmocka_unit_test(wrong_usage_is_one_line_and_exit_code_2),
        cmocka_unit_test(help_and_version_are_exit_code_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
