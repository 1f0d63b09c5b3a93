/* Every test runs over a folder and over memory. */
#include "tests/base/test.h"

#include "base/encode.h"
#include "base/file.h"
#include "base/object.h"
#include "crypto/hash.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static fl_objects *open_store(const char *dir, int in_memory)
{
    fl_err err;
    fl_objects *o;
    if (in_memory)
        assert_ok(fl_objects_open_memory(&o, &err), err);
    else
        assert_ok(fl_objects_open(&o, dir, &err), err);
    return o;
}

static void objects_come_back(void **state)
{
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        fl_err err;
        fl_objects *o = open_store(*state, in_memory);
        size_t n = 600000; /* more than one piece of the reader */
        uint8_t *bytes = malloc(n), part[10];
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)(i * i >> 5);
        fl_hash hash, empty, absent = {{1}};
        uint64_t size;
        assert_ok(fl_objects_put(o, &hash, bytes, n, &err), err);
        assert_ok(fl_objects_put(o, &hash, bytes, n, &err), err);
        assert_ok(fl_objects_put(o, &empty, "", 0, &err), err);
        fl_hash expected = fl_sha256(bytes, n);
        assert_true(fl_hash_equal(&hash, &expected));
        assert_true(fl_objects_have(o, &hash, &size) && size == n);
        assert_true(fl_objects_have(o, &empty, &size) && size == 0);
        assert_false(fl_objects_have(o, &absent, NULL));
        fl_buf b;
        fl_buf_init(&b, n + 3);
        fl_buf_add_text(&b, "pre");
        assert_ok(fl_objects_get(o, &b, &hash, &err), err);
        assert_int_equal(b.size, n + 3);
        assert_memory_equal(b.bytes + 3, bytes, n);
        assert_int_equal(fl_objects_get(o, &b, &hash, &err), FL_EFORMAT); /* past the maximum */
        assert_int_equal(b.size, n + 3);
        assert_int_equal(fl_objects_get(o, &b, &absent, &err), FL_ENOTFOUND);
        assert_ok(fl_objects_get(o, &b, &empty, &err), err);
        size_t n_read;
        assert_ok(fl_objects_read_at(o, part, 10, &hash, n - 4, &n_read, &err), err);
        assert_int_equal(n_read, 4);
        assert_memory_equal(part, bytes + n - 4, 4);
        assert_ok(fl_objects_read_at(o, part, 10, &hash, UINT64_MAX, &n_read, &err), err);
        assert_int_equal(n_read, 0);
        assert_int_equal(fl_objects_read_at(o, part, 10, &absent, 0, &n_read, &err), FL_ENOTFOUND);
        assert_ok(fl_objects_remove(o, &hash, &err), err);
        assert_ok(fl_objects_remove(o, &hash, &err), err);
        assert_false(fl_objects_have(o, &hash, NULL));
        fl_buf_fini(&b);
        free(bytes);
        fl_objects_close(o);
    }
    fl_objects_close(NULL);
}

static void a_transfer_resumes_where_it_was(void **state)
{
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        fl_err err;
        fl_objects *o = open_store(*state, in_memory);
        static const char text[] = "0123456789";
        fl_hash hash = fl_sha256(text, 10);
        bool done;
        assert_int_equal(fl_objects_length(o, &hash), 0);
        assert_int_equal(fl_objects_append(o, &hash, 1, text, 3, 10, &done, &err), FL_EREFUSED);
        assert_ok(fl_objects_append(o, &hash, 0, text, 4, 10, &done, &err), err);
        assert_false(done);
        if (!in_memory) { /* the program ends and comes back */
            fl_objects_close(o);
            o = open_store(*state, 0);
        }
        assert_int_equal(fl_objects_length(o, &hash), 4);
        assert_false(fl_objects_have(o, &hash, NULL));
        assert_int_equal(fl_objects_append(o, &hash, 0, text, 4, 10, &done, &err), FL_EREFUSED);
        assert_int_equal(fl_objects_append(o, &hash, 5, text, 4, 10, &done, &err), FL_EREFUSED);
        assert_int_equal(fl_objects_append(o, &hash, 4, text + 4, 7, 10, &done, &err), FL_EREFUSED); /* too much */
        assert_int_equal(fl_objects_append(o, &hash, 4, text + 4, 1, 3, &done, &err), FL_EREFUSED);
        assert_int_equal(fl_objects_length(o, &hash), 4);
        assert_ok(fl_objects_append(o, &hash, 4, text + 4, 6, 10, &done, &err), err);
        assert_true(done && fl_objects_have(o, &hash, NULL));
        assert_ok(fl_objects_append(o, &hash, 10, "", 0, 10, &done, &err), err);
        assert_true(done);
        fl_buf b;
        fl_buf_init(&b, 100);
        assert_ok(fl_objects_get(o, &b, &hash, &err), err);
        assert_string_equal(fl_buf_text(&b), text);
        fl_buf_fini(&b);
        assert_ok(fl_objects_remove(o, &hash, &err), err);
        fl_objects_close(o);
    }
}

static void other_bytes_than_announced_are_refused(void **state)
{
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        fl_err err;
        fl_objects *o = open_store(*state, in_memory);
        fl_hash hash = fl_sha256("right", 5), empty = fl_sha256("", 0);
        bool done = true;
        assert_ok(fl_objects_append(o, &hash, 0, "wr", 2, 5, &done, &err), err);
        assert_int_equal(fl_objects_append(o, &hash, 2, "ong", 3, 5, &done, &err), FL_EREFUSED);
        assert_false(done);
        assert_int_equal(fl_objects_length(o, &hash), 0);
        assert_ok(fl_objects_append(o, &hash, 0, "right", 5, 5, &done, &err), err);
        assert_true(done);
        assert_ok(fl_objects_append(o, &empty, 0, NULL, 0, 0, &done, &err), err);
        assert_true(done && fl_objects_have(o, &empty, NULL));
        fl_objects_close(o);
    }
}

static void a_changed_file_is_not_given_out(void **state)
{
    fl_err err;
    fl_hash hash;
    char path[FL_PATH_MAX], name[100], hex[65];
    fl_objects *o = open_store(*state, 0);
    assert_ok(fl_objects_put(o, &hash, "weights", 7, &err), err);
    fl_hex_encode(hex, hash.bytes, 32);
    snprintf(name, sizeof name, "objects/%.2s/%s", hex, hex + 2);
    fl_path(path, *state, name);
    assert_ok(fl_file_write(path, "Weights", 7, 0600, &err), err);
    fl_buf b;
    fl_buf_init(&b, 100);
    fl_buf_add_text(&b, "pre");
    assert_int_equal(fl_objects_get(o, &b, &hash, &err), FL_EENV);
    assert_says(err, "changed on the disk");
    assert_string_equal(fl_buf_text(&b), "pre");
    assert_ok(fl_objects_put(o, &hash, "weights", 7, &err), err); /* mends it */
    assert_ok(fl_objects_get(o, &b, &hash, &err), err);
    fl_buf_fini(&b);
    fl_objects_close(o);
}

/* A process whose files may not grow past 1000 bytes stands for a full disk: no half piece stays. */
static void a_full_disk_keeps_the_partial_as_it_was(void **state)
{
    fl_err err;
    static uint8_t large[5000];
    fl_hash hash = fl_sha256(large, sizeof large), other;
    bool done;
    fl_objects *o = open_store(*state, 0);
    assert_ok(fl_objects_append(o, &hash, 0, large, 500, sizeof large, &done, &err), err);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){1000, 1000});
        bool ok = fl_objects_append(o, &hash, 500, large, 4500, sizeof large, &done, &err) == FL_EENV && !done &&
                  fl_objects_put(o, &other, large, 4000, &err) == FL_EENV && !fl_objects_have(o, &other, NULL);
        _exit(!ok);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(fl_objects_length(o, &hash), 500);
    assert_ok(fl_objects_append(o, &hash, 500, large, 4500, sizeof large, &done, &err), err);
    assert_true(done);
    fl_objects_close(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(objects_come_back),
        in_scratch(a_transfer_resumes_where_it_was),
        in_scratch(other_bytes_than_announced_are_refused),
        in_scratch(a_changed_file_is_not_given_out),
        in_scratch(a_full_disk_keeps_the_partial_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
