#include "base/file.h"
#include "proto/net/control.h"
#include "tests/proto/world.h"
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char root[] = "/tmp/cordon-control-XXXXXX";

typedef struct host {
    wire_control *c;
    unsigned n;
    bool mute, big;
} host;

static void serve(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n)
{
    host *h = ctx;
    h->n++;
    if (h->mute)
        return;
    if (!h->big) {
        wire_control_reply(h->c, ticket, bytes, n);
        return;
    }
    size_t size = 20 << 20;
    uint8_t *big = malloc(size);
    memset(big, 'b', size);
    wire_control_reply(h->c, ticket, big, size);
    free(big);
}

static void echoes(const char *dir, const char *text)
{
    fl_err err = {0};
    fl_buf reply;
    fl_buf_init(&reply, 1 << 20);
    must(wire_control_call(dir, (const uint8_t *)text, strlen(text), &reply, PATIENCE_MS, &err), &err);
    assert_string_equal(fl_buf_text(&reply), text);
    fl_buf_fini(&reply);
}

static void fails(const char *dir, unsigned timeout_ms, fl_code code, const char *words)
{
    fl_err err = {0};
    fl_buf reply;
    fl_buf_init(&reply, 100);
    assert_int_equal(wire_control_call(dir, (const uint8_t *)"x", 1, &reply, timeout_ms, &err), code);
    if (!strstr(err.text, words))
        fail_msg("says \"%s\", expected \"%s\"", err.text, words);
    fl_buf_fini(&reply);
}

static void asks_and_answers_in_a_folder(const char *dir)
{
    host h = {0};
    struct stat st;
    char path[FL_PATH_MAX];
    fl_err err = {0};
    must(fl_dir_make(dir, &err), &err);
    fails(dir, 1000, FL_ENOTFOUND, "nothing is running");
    must(wire_control_serve(&h.c, dir, serve, &h, &err), &err);
    echoes(dir, "status");
    echoes(dir, "");
    assert_int_equal(stat(fl_path(path, dir, WIRE_CONTROL_NAME), &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    wire_control_stop(h.c);
    assert_int_equal(stat(path, &st), -1);
    fails(dir, 1000, FL_ENOTFOUND, "nothing is running");
    assert_int_equal(h.n, 2);
}

static void a_running_program_answers(void **state)
{
    (void)state;
    char dir[FL_PATH_MAX];
    asks_and_answers_in_a_folder(fl_path(dir, root, "short"));
}

static void a_folder_with_a_very_long_or_odd_path_works_too(void **state)
{
    (void)state;
    char dir[FL_PATH_MAX];
    char name[201];
    memset(name, 'l', 200);
    name[200] = 0;
    fl_path(dir, root, name);
    char deeper[FL_PATH_MAX];
    asks_and_answers_in_a_folder(fl_path(deeper, dir, name));
    asks_and_answers_in_a_folder(fl_path(dir, root, "with space ?#%41:*"));
}

static void a_relative_path_means_the_folder_of_the_moment(void **state)
{
    (void)state;
    host h = {0};
    fl_err err = {0};
    char dir[FL_PATH_MAX], was[FL_PATH_MAX];
    must(fl_dir_make(fl_path(dir, root, "relative"), &err), &err);
    assert_non_null(getcwd(was, sizeof was));
    assert_int_equal(chdir(root), 0);
    must(wire_control_serve(&h.c, "relative", serve, &h, &err), &err);
    assert_int_equal(chdir("/"), 0);
    echoes(dir, "here");
    wire_control_stop(h.c);
    assert_int_equal(chdir(was), 0);
}

static void a_socket_left_by_a_dead_program_is_replaced(void **state)
{
    (void)state;
    host h = {0};
    fl_err err = {0};
    char dir[FL_PATH_MAX];
    must(fl_dir_make(fl_path(dir, root, "dead"), &err), &err);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/dead/" WIRE_CONTROL_NAME, root);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    fails(dir, 1000, FL_ENOTFOUND, "nothing is running");
    must(wire_control_serve(&h.c, dir, serve, &h, &err), &err);
    echoes(dir, "alive");
    wire_control_stop(h.c);
}

static void what_goes_wrong_has_words(void **state)
{
    (void)state;
    host h = {.mute = true};
    fl_err err = {0};
    char dir[FL_PATH_MAX];
    fails("/nowhere/at/all", 1000, FL_ENOTFOUND, "No such file");
    must(fl_dir_make(fl_path(dir, root, "mute"), &err), &err);
    must(wire_control_serve(&h.c, dir, serve, &h, &err), &err);
    fails(dir, 200, FL_EENV, "did not answer in 1 s");
    wire_control_stop(h.c); /* with a request unanswered */
    assert_int_equal(wire_control_serve(&h.c, "/nowhere/at/all", serve, &h, &err), FL_ENOTFOUND);
}

static void a_large_answer_arrives_within_the_callers_maximum(void **state)
{
    (void)state;
    host h = {.big = true};
    fl_err err = {0};
    fl_buf reply;
    char dir[FL_PATH_MAX];
    must(fl_dir_make(fl_path(dir, root, "big"), &err), &err);
    must(wire_control_serve(&h.c, dir, serve, &h, &err), &err);
    fl_buf_init(&reply, 32 << 20);
    must(wire_control_call(dir, (const uint8_t *)"x", 1, &reply, PATIENCE_MS, &err), &err);
    assert_int_equal(reply.size, 20 << 20);
    fl_buf_fini(&reply);
    fl_buf_init(&reply, 1 << 20);
    assert_int_not_equal(wire_control_call(dir, (const uint8_t *)"x", 1, &reply, PATIENCE_MS, &err), FL_OK);
    fl_buf_fini(&reply);
    wire_control_stop(h.c);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_running_program_answers),
        cmocka_unit_test(a_folder_with_a_very_long_or_odd_path_works_too),
        cmocka_unit_test(a_relative_path_means_the_folder_of_the_moment),
        cmocka_unit_test(a_socket_left_by_a_dead_program_is_replaced),
        cmocka_unit_test(what_goes_wrong_has_words),
        cmocka_unit_test(a_large_answer_arrives_within_the_callers_maximum),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
