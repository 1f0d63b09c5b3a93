/* A checkpoint gives back the state bit for bit; cut, changed, foreign or newer it is refused, with the reason. */
#include "base/file.h"
#include "tests/base/test.h"
#include "train/checkpoint.h"
#include <signal.h>
#include <sys/resource.h>

#define N 130

static fl_err err;

typedef struct kept {
    char path[64];
    nn_plan plan;
    nn_server server;
    fl_buf file;
} kept;

static int make(void **state)
{
    kept *k = calloc(1, sizeof *k);
    k->plan = (nn_plan){.n_classes = 2, .channels = 1, .height = 8, .width = 8, .n_weights = N, .rounds = 8};
    k->plan.hash = (fl_hash){{0xab, 0xcd, 3}};
    strcpy(k->plan.spec, "linear classes");
    nn_plan_settle(&k->plan);
    assert_ok(nn_server_init(&k->server, &k->plan, NULL, 0, NULL, &err), err);
    k->server.rounds_done = 5;
    for (size_t i = 0; i < N; i++) {
        k->server.w[i] = (float)i / 7;
        k->server.momentum[i] = 1.0 / (double)(i + 1);
    }
    strcpy(k->path, "/tmp/cordon-checkpoint-XXXXXX");
    const int fd = mkstemp(k->path);
    assert_true(fd >= 0);
    close(fd);
    assert_ok(nn_checkpoint_save(k->path, &k->server, &err), err);
    fl_buf_init(&k->file, 1 << 16);
    assert_ok(fl_file_read(&k->file, k->path, &err), err);
    *state = k;
    return 0;
}

static int unmake(void **state)
{
    kept *k = *state;
    unlink(k->path);
    nn_server_fini(&k->server);
    fl_buf_fini(&k->file);
    free(k);
    return 0;
}

static void the_state_comes_back_bit_for_bit(void **state)
{
    kept *k = *state;
    nn_server s;
    assert_ok(nn_checkpoint_load(&s, &k->plan, k->path, &err), err);
    assert_int_equal(s.rounds_done, 5);
    assert_memory_equal(s.w, k->server.w, N * sizeof *s.w);
    assert_memory_equal(s.momentum, k->server.momentum, N * sizeof *s.momentum);
    nn_server_fini(&s);
    assert_int_equal(nn_checkpoint_load(&s, &k->plan, "/nonexistent/c", &err), FL_ENOTFOUND);
}

/* As a file of exactly n bytes, so that the sanitizer sees a step outside. */
static void refused(kept *k, const uint8_t *bytes, size_t n, const char *words)
{
    nn_server s;
    uint8_t *copy = malloc(n + !n);
    memcpy(copy, bytes, n);
    assert_int_equal(nn_checkpoint_read(&s, &k->plan, copy, n, &err), FL_EFORMAT);
    assert_null(s.w);
    assert_says(err, words);
    free(copy);
}

static void a_cut_one_is_refused(void **state)
{
    kept *k = *state;
    for (size_t n = 0; n < k->file.size; n++)
        refused(k, k->file.bytes, n, "cut");
}

static void any_changed_bit_is_refused(void **state)
{
    kept *k = *state;
    for (size_t i = 0; i < k->file.size; i++) {
        k->file.bytes[i] ^= (uint8_t)(1u << (i % 8));
        refused(k, k->file.bytes, k->file.size,
                i < 7    ? "none of Cordon"
                : i == 7 ? "version"
                : i < 16 ? "cut"
                         : "changed");
        k->file.bytes[i] ^= (uint8_t)(1u << (i % 8));
    }
}

static void another_plans_and_a_newer_one_are_refused_by_name(void **state)
{
    kept *k = *state;
    k->plan.hash.bytes[0] = 0xff;
    refused(k, k->file.bytes, k->file.size, "is of plan abcd03000000..., this plan is ffcd03000000...");
    k->plan.hash.bytes[0] = 0xab;
    k->file.bytes[7] = '2';
    refused(k, k->file.bytes, k->file.size, "is of version 2, this program reads 1");
    assert_int_equal(nn_checkpoint_load(&(nn_server){0}, &k->plan, "/dev/null", &err), FL_EFORMAT);
}

static void what_is_no_state_inside_is_refused(void **state)
{
    kept *k = *state;
    fl_buf file;
    fl_buf_init(&file, 1 << 16);
    for (size_t n = 0; n < 60; n++) {
        fl_buf_clear(&file);
        nn_checkpoint_wrap(&file, k->file.bytes + 48, n);
        refused(k, file.bytes, file.size, "server state");
    }
    fl_buf_fini(&file);
}

static void a_full_disk_leaves_the_old_one(void **state)
{
    kept *k = *state;
    struct rlimit before;
    nn_server s;
    k->server.rounds_done = 6;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (size_t limit = 0; limit < k->file.size; limit += 101) {
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, before.rlim_max});
        const fl_code rc = nn_checkpoint_save(k->path, &k->server, &err);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_int_equal(rc, FL_EENV);
        assert_ok(nn_checkpoint_load(&s, &k->plan, k->path, &err), err);
        assert_int_equal(s.rounds_done, 5);
        nn_server_fini(&s);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make, unmake)
    const struct CMUnitTest tests[] = {
        TEST(the_state_comes_back_bit_for_bit),   TEST(a_cut_one_is_refused),
        TEST(any_changed_bit_is_refused),         TEST(another_plans_and_a_newer_one_are_refused_by_name),
        TEST(what_is_no_state_inside_is_refused), TEST(a_full_disk_leaves_the_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
