#include "audit/audit.h"
#include "base/json.h"
#include "privacy/pld.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char *out, *err;

/* "epsilon" and the words of `line`, split at spaces. */
static int run(const char *line)
{
    char text[400], program[] = "cordon-audit", command[] = "epsilon", *argv[24] = {program, command};
    int argc = 2;
    size_t n;
    snprintf(text, sizeof text, "%s", line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    free(out);
    free(err);
    FILE *to_out = open_memstream(&out, &n), *to_err = open_memstream(&err, &n);
    int code = fl_cli_run("cordon-audit", audit_commands, argc, argv, to_out, to_err, NULL);
    fclose(to_out);
    fclose(to_err);
    return code;
}

static fl_json *run_json(const char *line)
{
    fl_json *j = NULL;
    assert_int_equal(run(line), 0);
    assert_int_equal(fl_json_parse(&j, out, strlen(out), "out", NULL), FL_OK);
    return j;
}

static void the_json_is_the_accountants(void **state)
{
    (void)state;
    fl_json *j = run_json("--sampling-rate 0.01 --noise-multiplier 1 --steps 1000 --delta 1e-5 --json");
    double value, low, high, expected, curve[DP_N_REAL_ORDERS];
    dp_segment s = {0.01, 1, 1000};
    assert_int_equal(dp_rdp_curve(curve, &s, 1, dp_real_orders, DP_N_REAL_ORDERS, NULL), FL_OK);
    double order = dp_real_orders[dp_rdp_best(&expected, curve, dp_real_orders, DP_N_REAL_ORDERS, 1e-5)];
    assert_true(fl_json_real(j, "epsilon_rdp", &value) && value == expected);
    assert_true(fl_json_real(j, "rdp_order", &value) && value == order && order == 7.8);
    assert_true(fl_json_real(j, "delta", &value) && value == 1e-5);
    assert_int_equal(dp_pld_epsilon(&low, &high, &s, 1, 1e-5, NULL), FL_OK);
    assert_true(fl_json_real(j, "epsilon_low", &value) && value == low && low > 1.828);
    assert_true(fl_json_real(j, "epsilon_high", &value) && value == high && high < 1.8284);
    assert_null(fl_json_member(j, "bounds_refused"));
    assert_null(fl_json_member(j, "rdp_order_note"));
    assert_int_equal(fl_json_count(fl_json_member(j, "rdp")), DP_N_REAL_ORDERS);
    fl_json_free(j);

    j = run_json("--sampling-rate 0.01 --noise-multiplier 1 --steps 1000 --delta 1e-5 --orders 4,64.0,2.25 --json");
    fl_json *rdp = fl_json_member(j, "rdp");
    static const double orders[] = {4, 64, 2.25};
    int64_t whole;
    assert_int_equal(dp_rdp_curve(curve, &s, 1, orders, 3, NULL), FL_OK);
    assert_int_equal(fl_json_count(rdp), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(fl_json_real(fl_json_at(rdp, i), "order", &value) && value == orders[i]);
        assert_true(fl_json_real(fl_json_at(rdp, i), "value", &value) && value == curve[i]);
    }
    assert_true(fl_json_int(j, "rdp_order", &whole) && whole == 4);
    fl_json_free(j);
}

static void what_cannot_be_certified_is_null_and_says_why(void **state)
{
    (void)state;
    fl_json *j = run_json("--sampling-rate 0.01 --noise-multiplier 0.01 --steps 1000 --delta 1e-5 --json");
    double value;
    assert_non_null(fl_json_member(j, "epsilon_low"));
    assert_non_null(fl_json_member(j, "epsilon_high"));
    assert_false(fl_json_real(j, "epsilon_low", &value));
    assert_false(fl_json_real(j, "epsilon_high", &value));
    assert_non_null(strstr(fl_json_text(j, "bounds_refused"), "noise multiplier 0.01"));
    assert_true(fl_json_real(j, "epsilon_rdp", &value) && value > 0);
    fl_json_free(j);
    assert_int_equal(run("--sampling-rate 0.01 --noise-multiplier 0.01 --steps 1000 --delta 1e-5"), 0);
    assert_non_null(strstr(out, "no certified bounds"));
}

static void an_order_at_an_end_is_said(void **state)
{
    (void)state;
    assert_int_equal(run("--sampling-rate 0.01 --noise-multiplier 1 --steps 1000 --delta 1e-5 --orders 2,3"), 0);
    assert_non_null(strstr(out, "at an end"));
    assert_int_equal(run("--sampling-rate 0.01 --noise-multiplier 1 --steps 1000 --delta 1e-5"), 0);
    assert_null(strstr(out, "at an end"));
}

static void segments_of_a_file_compose(void **state)
{
    (void)state;
    char path[] = "/tmp/cordon-segments-XXXXXX", line[200];
    static const char text[] = "[{\"sampling_rate\":0.01,\"noise_multiplier\":1,\"steps\":400},"
                               "{\"sampling_rate\":1,\"noise_multiplier\":20.5,\"steps\":3}]";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    snprintf(line, sizeof line, "--segments %s --delta 1e-6 --json", path);
    fl_json *j = run_json(line);
    dp_segment s[2] = {{0.01, 1, 400}, {1, 20.5, 3}};
    double epsilon, low, high;
    assert_true(fl_json_real(j, "epsilon_rdp", &epsilon) && epsilon <= dp_epsilon_rdp(s, 2, 1e-6, NULL));
    assert_int_equal(dp_pld_epsilon(&low, &high, s, 2, 1e-6, NULL), FL_OK);
    assert_true(fl_json_real(j, "epsilon_low", &epsilon) && epsilon == low);
    assert_true(fl_json_real(j, "epsilon_high", &epsilon) && epsilon == high);
    fl_json_free(j);
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "[1]",
        "[{\"sampling_rate\":0.01,\"noise_multiplier\":1}]",
        "[{\"sampling_rate\":0.01,\"noise_multiplier\":1,\"steps\":1.5}]",
        "[{\"sampling_rate\":0.01,\"noise_multiplier\":1,\"steps\":0}]",
        "[{\"sampling_rate\":2,\"noise_multiplier\":1,\"steps\":1}]",
        "[{\"sampling_rate\":0.01,\"noise_multiplier\":0,\"steps\":1}]",
        "[{\"sampling_rate\":0.01,\"noise_multiplier\":1,\"steps\":1,\"extra\":1}]",
        "[{\"sampling_rate\":0.01,\"noise_multiplier\":1,\"steps\":1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, bad[i], strlen(bad[i]), 0), (ssize_t)strlen(bad[i]));
        assert_int_equal(run(line), 2);
        assert_string_equal(out, "");
        assert_int_equal(strchr(err, '\n') - err + 1, (long)strlen(err)); /* one line */
    }
    close(fd);
    unlink(path);
    assert_int_equal(run(line), 2);
}

static void wrong_usage_is_one_line_and_exit_2(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "--delta 1e-5",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 1000",
        "--sampling-rate 0 --noise-multiplier 1 --steps 1000 --delta 1e-5",
        "--sampling-rate 1.1 --noise-multiplier 1 --steps 1000 --delta 1e-5",
        "--sampling-rate nan --noise-multiplier 1 --steps 1000 --delta 1e-5",
        "--sampling-rate 0.01 --noise-multiplier 0 --steps 1000 --delta 1e-5",
        "--sampling-rate 0.01 --noise-multiplier -1 --steps 1000 --delta 1e-5",
        "--sampling-rate 0.01 --noise-multiplier inf --steps 1000 --delta 1e-5",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 0 --delta 1e-5",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 1.5 --delta 1e-5",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 10 --delta 0",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 10 --delta 1",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 10 --delta 1e-5 --orders 2.5x",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 10 --delta 1e-5 --orders 1",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 10 --delta 1e-5 --orders 2,2",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 10 --delta 1e-5 --orders 2,",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 10 --delta 1e-5 --orders 2000",
        "--sampling-rate 0.01 --noise-multiplier 1 --steps 10 --delta 1e-5 --segments x.json",
        "--segments /nonexistent.json --delta 1e-5",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int code = run(bad[i]);
        if (code != 2 || strlen(out) != 0 || !strchr(err, '\n') || strchr(err, '\n')[1] != 0)
            fail_msg("%s: exit %d: %s%s", bad[i], code, out, err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_json_is_the_accountants),
        cmocka_unit_test(what_cannot_be_certified_is_null_and_says_why),
        cmocka_unit_test(an_order_at_an_end_is_said),
        cmocka_unit_test(segments_of_a_file_compose),
        cmocka_unit_test(wrong_usage_is_one_line_and_exit_2),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(out);
    free(err);
    return failed;
}
