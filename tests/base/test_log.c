#include "tests/base/test.h"

#include "base/log.h"

#include <fcntl.h>

/* What one call writes to stderr. */
static const char *logged(const char *dir, fl_level level, const char *text)
{
    static char line[4000];
    char path[4200];
    snprintf(path, sizeof path, "%s/log", dir);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), before = dup(STDERR_FILENO);
    assert_true(file >= 0 && before >= 0);
    dup2(file, STDERR_FILENO);
    fl_log(level, "round", "started text=%s", text);
    dup2(before, STDERR_FILENO);
    close(before);
    ssize_t n = pread(file, line, sizeof line - 1, 0);
    close(file);
    assert_true(n >= 0);
    line[n] = 0;
    return line;
}

static void a_call_is_one_line(void **state)
{
    fl_log_program("cordon-x");
    const char *line = logged(*state, FL_WARN, "a\nb\x1b[2J");
    assert_int_equal(strncmp(line, "cordon-x 20", 11), 0);
    assert_string_equal(strchr(line, 'Z'), "Z warn round started text=a?b?[2J\n");
}

static void a_long_line_is_cut_and_ends(void **state)
{
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    const char *line = logged(*state, FL_ERROR, text);
    size_t n = strlen(line);
    assert_true(n < 1024 && line[n - 1] == '\n' && line[n - 2] == 'x');
}

static void debug_is_silent_unless_asked_for(void **state)
{
    assert_string_equal(logged(*state, FL_DEBUG, "x"), "");
}

int main(void)
{
    unsetenv("FL_LOG_LEVEL");
    const struct CMUnitTest tests[] = {
        in_scratch(a_call_is_one_line),
        in_scratch(a_long_line_is_cut_and_ends),
        in_scratch(debug_is_silent_unless_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
