#include "tests/base/test.h"

#include "base/file.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void expect_content(const char *path, const char *expected)
{
    fl_err err;
    fl_buf b;
    fl_buf_init(&b, 1 << 20);
    assert_ok(fl_file_read(&b, path, &err), err);
    assert_string_equal(fl_buf_text(&b), expected);
    fl_buf_fini(&b);
}

static void a_file_is_replaced_whole(void **state)
{
    fl_err err;
    struct stat st;
    char path[FL_PATH_MAX], tmp[FL_PATH_MAX];
    fl_path(path, *state, "a");
    fl_path(tmp, *state, "a.tmp");
    assert_ok(fl_file_write(path, "one", 3, 0600, &err), err);
    assert_ok(fl_file_write(path, "two", 3, 0640, &err), err);
    expect_content(path, "two");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_false(fl_file_exists(tmp));
}

static void a_planted_link_is_not_followed(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX], tmp[FL_PATH_MAX], victim[FL_PATH_MAX];
    fl_path(path, *state, "a");
    fl_path(tmp, *state, "a.tmp");
    fl_path(victim, *state, "victim");
    assert_ok(fl_file_write(victim, "dear", 4, 0600, &err), err);
    assert_int_equal(symlink(victim, tmp), 0);
    assert_ok(fl_file_write(path, "new", 3, 0600, &err), err);
    expect_content(victim, "dear");
    expect_content(path, "new");
}

static void reading_stops_at_the_maximum(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX];
    fl_path(path, *state, "a");
    assert_ok(fl_file_write(path, "12345678", 8, 0600, &err), err);
    fl_buf b;
    fl_buf_init(&b, 7);
    assert_int_equal(fl_file_read(&b, path, &err), FL_EFORMAT);
    assert_says(err, "8 bytes, at most 7");
    assert_int_equal(b.size, 0);
    fl_buf_fini(&b);
}

static void what_is_not_a_file_is_refused(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX];
    fl_buf b;
    fl_buf_init(&b, 100);
    assert_int_equal(fl_file_read(&b, fl_path(path, *state, "absent"), &err), FL_ENOTFOUND);
    assert_int_equal(fl_file_read(&b, *state, &err), FL_EFORMAT);
    fl_path(path, *state, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(fl_file_read(&b, path, &err), FL_EFORMAT); /* and does not wait for a writer */
    fl_buf_fini(&b);
}

/* A process whose files may not grow past 1000 bytes stands for a full disk. */
static void a_full_disk_leaves_the_old_file(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX], tmp[FL_PATH_MAX];
    fl_path(path, *state, "a");
    fl_path(tmp, *state, "a.tmp");
    assert_ok(fl_file_write(path, "old", 3, 0600, &err), err);
    pid_t pid = fork();
    if (pid == 0) {
        static char large[100000];
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){1000, 1000});
        fl_code code = fl_file_write(path, large, sizeof large, 0600, &err);
        _exit(code == FL_EENV && strstr(err.text, "File too large") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    expect_content(path, "old");
    assert_false(fl_file_exists(tmp));
}

static void writing_where_there_is_no_folder_is_an_error(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX], long_path[FL_PATH_MAX + 10];
    assert_int_equal(fl_file_write(fl_path(path, *state, "no/such"), "x", 1, 0600, &err), FL_ENOTFOUND);
    assert_int_equal(fl_file_write(*state, "x", 1, 0600, &err), FL_EENV); /* a folder stands there */
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = 0;
    assert_int_equal(fl_file_write(long_path, "x", 1, 0600, &err), FL_EFORMAT);
    assert_int_equal(fl_dir_make(long_path, &err), FL_EFORMAT);
}

static void folders_are_made_with_their_parents(void **state)
{
    fl_err err;
    struct stat st;
    char path[FL_PATH_MAX];
    fl_path(path, *state, "a//b/c/");
    assert_ok(fl_dir_make(path, &err), err);
    assert_ok(fl_dir_make(path, &err), err);
    assert_ok(fl_dir_check(path, &err), err);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    fl_path(path, *state, "file");
    assert_ok(fl_file_write(path, "", 0, 0600, &err), err);
    assert_int_equal(fl_dir_make(path, &err), FL_EFORMAT);
    assert_int_equal(fl_dir_check(path, &err), FL_EFORMAT);
    assert_int_equal(fl_dir_check(fl_path(path, *state, "none"), &err), FL_ENOTFOUND);
}

static void a_lock_has_one_holder(void **state)
{
    fl_err err;
    fl_lock one = {0}, two = {0};
    assert_ok(fl_lock_take(&one, *state, &err), err);
    assert_int_equal(fl_lock_take(&two, *state, &err), FL_EBUSY);
    fl_lock_release(&two);
    fl_lock_release(&one);
    assert_ok(fl_lock_take(&two, *state, &err), err);
    fl_lock_release(&two);
    fl_lock_release(NULL);
}

static fl_code note(void *context, const char *path, fl_err *err)
{
    fl_buf *seen = context;
    const char *name = strrchr(path, '/') + 1;
    fl_buf_printf(seen, "%s ", name);
    return strcmp(name, "stop") == 0 ? fl_fail(err, FL_EREFUSED, "enough") : FL_OK;
}

static void a_walk_goes_by_name_and_not_through_links(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX], to[FL_PATH_MAX];
    static const char *const files[] = {"tree/b", "tree/a/2", "tree/a/10", "tree/B", "other/x"};
    assert_ok(fl_dir_make(fl_path(path, *state, "tree/a"), &err), err);
    assert_ok(fl_dir_make(fl_path(path, *state, "other"), &err), err);
    for (size_t i = 0; i < 5; i++)
        assert_ok(fl_file_write(fl_path(path, *state, files[i]), "", 0, 0600, &err), err);
    assert_int_equal(symlink(fl_path(to, *state, "other"), fl_path(path, *state, "tree/folder-link")), 0);
    assert_int_equal(symlink(*state, fl_path(path, *state, "tree/loop")), 0);
    assert_int_equal(symlink(fl_path(to, *state, "other/x"), fl_path(path, *state, "tree/file-link")), 0);
    assert_int_equal(symlink("nowhere", fl_path(path, *state, "tree/dangling")), 0);
    fl_buf seen;
    fl_buf_init(&seen, 1000);
    assert_ok(fl_dir_walk(fl_path(path, *state, "tree"), note, &seen, &err), err);
    assert_string_equal(fl_buf_text(&seen), "B 10 2 b file-link ");
    fl_buf_clear(&seen);
    assert_ok(fl_dir_walk(fl_path(path, *state, "tree/b"), note, &seen, &err), err);
    assert_string_equal(fl_buf_text(&seen), "b ");
    assert_int_equal(fl_dir_walk(fl_path(path, *state, "none"), note, &seen, &err), FL_ENOTFOUND);
    fl_buf_fini(&seen);
}

static void a_walk_stops_at_an_error(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX];
    static const char *const files[] = {"a", "stop", "z"};
    for (size_t i = 0; i < 3; i++)
        assert_ok(fl_file_write(fl_path(path, *state, files[i]), "", 0, 0600, &err), err);
    fl_buf seen;
    fl_buf_init(&seen, 1000);
    assert_int_equal(fl_dir_walk(*state, note, &seen, &err), FL_EREFUSED);
    assert_string_equal(fl_buf_text(&seen), "a stop ");
    fl_buf_fini(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(a_file_is_replaced_whole),
        in_scratch(a_planted_link_is_not_followed),
        in_scratch(reading_stops_at_the_maximum),
        in_scratch(what_is_not_a_file_is_refused),
        in_scratch(a_full_disk_leaves_the_old_file),
        in_scratch(writing_where_there_is_no_folder_is_an_error),
        in_scratch(folders_are_made_with_their_parents),
        in_scratch(a_lock_has_one_holder),
        in_scratch(a_walk_goes_by_name_and_not_through_links),
        in_scratch(a_walk_stops_at_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
