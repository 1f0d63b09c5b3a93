/* A model leaves as a file with its card: both or neither, and what was there stays when it fails. */
#include "base/encode.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "tests/base/test.h"
#include "train/export.h"
#include "train/safetensors.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static fl_err err;

typedef struct made {
    char dir[64], path[100], card_path[104];
    nn_plan plan;
    float w[178];
    nn_card_hospital hospitals[2];
    nn_card card;
} made;

static int make(void **state)
{
    made *k = calloc(1, sizeof *k);
    nn_plan *p = &k->plan;
    strcpy(k->dir, "/tmp/cordon-export-XXXXXX");
    assert_non_null(mkdtemp(k->dir));
    snprintf(k->path, sizeof k->path, "%s/model", k->dir);
    snprintf(k->card_path, sizeof k->card_path, "%s.md", k->path);
    strcpy(p->spec, "conv 3x3 4 pad 1\ngroupnorm 2\nrelu\navgpool 2\nlinear classes");
    strcpy(p->name, "chest");
    strcpy(p->classes[0], "normal");
    strcpy(p->classes[1], "pneumonia");
    strcpy(p->architecture, "file:small");
    strcpy(p->delta, "0.00001");
    strcpy(p->epsilon, "8");
    strcpy(p->phases[0].sampling_rate, "0.1");
    strcpy(p->phases[0].noise_multiplier, "1.25");
    strcpy(p->phases[0].clip_norm, "0.2");
    p->channels = 1, p->height = p->width = 8, p->n_classes = 2, p->n_weights = 178, p->rounds = 20;
    p->is_private = true;
    nn_plan_settle(p);
    for (size_t i = 0; i < 178; i++)
        k->w[i] = (float)i / 7 - 3;
    k->hospitals[0] = (nn_card_hospital){"anna", 400, 20, 19, 7.125};
    k->hospitals[1] = (nn_card_hospital){"berta", 1000, 18, 18, 6.5};
    k->card = (nn_card){.plan = p, .round = 20, .hospitals = k->hospitals, .n_hospitals = 2};
    *state = k;
    return 0;
}

static int unmake(void **state)
{
    made *k = *state;
    unlink(k->path);
    unlink(k->card_path);
    assert_int_equal(rmdir(k->dir), 0); /* nothing else is left */
    free(k);
    return 0;
}

static void read_file(fl_buf *b, const char *path)
{
    fl_buf_init(b, 1 << 20);
    assert_ok(fl_file_read(b, path, &err), err);
}

static void what_was_exported_comes_back_bit_for_bit(void **state)
{
    made *k = *state;
    nn_model_file f;
    assert_ok(nn_export_save(k->path, NN_EXPORT_SAFETENSORS, k->w, &k->card, &err), err);
    assert_ok(nn_model_file_open(&f, k->path, &err), err);
    assert_memory_equal(f.w, k->w, sizeof k->w);
    assert_string_equal(f.facts.study, "chest");
    assert_int_equal(f.facts.round, 20);
    assert_false(f.facts.is_multi);
    nn_model_file_close(&f);
    k->plan.multi = true;
    assert_ok(nn_export_save(k->path, NN_EXPORT_SAFETENSORS, k->w, &k->card, &err), err);
    assert_ok(nn_model_file_open(&f, k->path, &err), err);
    assert_true(f.facts.is_multi);
    nn_model_file_close(&f);
}

static void expect(const fl_buf *card, const char *words)
{
    if (!strstr(fl_buf_text(card), words))
        fail_msg("not in the card: %s\n%s", words, fl_buf_text(card));
}

static void the_card_says_who_and_under_which_terms(void **state)
{
    made *k = *state;
    fl_buf card, file;
    char hex[2 * FL_HASH_SIZE + 1];
    assert_ok(nn_export_save(k->path, NN_EXPORT_ONNX, k->w, &k->card, &err), err);
    read_file(&card, k->card_path);
    read_file(&file, k->path);
    fl_hex_encode(hex, fl_sha256(file.bytes, file.size).bytes, FL_HASH_SIZE);
    expect(&card, hex);
    expect(&card, "| file | model (onnx) |");
    expect(&card, "| anna | 400 | 20 | 19 | 7.125 |\n| berta | 1000 | 18 | 18 | 6.500 |\n");
    expect(&card, "| main | 1 to 20 | 0 | all | 0.1 | 0.2 | 1.25 |");
    expect(&card, "at delta 0.00001");
    expect(&card, "0 normal, 1 pneumonia. Probabilities are the softmax");
    expect(&card, "No figures were released");
    expect(&card, "1st and 99th percentile");
    fl_buf_fini(&card);
    k->card.round = 0;
    strcpy(k->plan.initial, "abcd");
    assert_ok(nn_export_save(k->path, NN_EXPORT_ONNX, k->w, &k->card, &err), err);
    read_file(&card, k->card_path);
    expect(&card, "learned nothing yet");
    expect(&card, "SHA-256 `abcd`");
    fl_buf_fini(&card);
    k->card.round = 20;
    k->plan.is_private = false;
    k->card.metrics = "    AUROC of pneumonia: 0.9\n";
    assert_ok(nn_export_save(k->path, NN_EXPORT_ONNX, k->w, &k->card, &err), err);
    read_file(&card, k->card_path);
    expect(&card, "WITHOUT PRIVACY");
    expect(&card, "AUROC of pneumonia: 0.9");
    assert_null(strstr(fl_buf_text(&card), "epsilon |"));
    fl_buf_fini(&card);
    fl_buf_fini(&file);
}

/* The disk is full at every size of the two files. */
static void a_full_disk_leaves_the_old_pair(void **state)
{
    made *k = *state;
    fl_buf old, old_card, now;
    struct rlimit before;
    assert_ok(nn_export_save(k->path, NN_EXPORT_SAFETENSORS, k->w, &k->card, &err), err);
    read_file(&old, k->path);
    read_file(&old_card, k->card_path);
    k->w[0] = 100;
    k->card.round = 19;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const size_t largest = old.size > old_card.size ? old.size : old_card.size;
    for (size_t limit = 0; limit < largest; limit += 37) {
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, before.rlim_max});
        const fl_code rc = nn_export_save(k->path, NN_EXPORT_SAFETENSORS, k->w, &k->card, &err);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_int_equal(rc, FL_EENV);
        read_file(&now, k->path);
        assert_true(now.size == old.size && memcmp(now.bytes, old.bytes, old.size) == 0);
        fl_buf_fini(&now);
        read_file(&now, k->card_path);
        assert_string_equal(fl_buf_text(&now), fl_buf_text(&old_card));
        fl_buf_fini(&now);
    }
    assert_ok(nn_export_save(k->path, NN_EXPORT_SAFETENSORS, k->w, &k->card, &err), err);
    read_file(&now, k->card_path);
    expect(&now, "model after round 19");
    fl_buf_fini(&now);
    fl_buf_fini(&old);
    fl_buf_fini(&old_card);
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    made *k = *state;
    assert_int_equal(nn_export_save("/nonexistent/m", NN_EXPORT_ONNX, k->w, &k->card, &err), FL_ENOTFOUND);
    assert_non_null(strstr(err.text, "/nonexistent/m"));
    nn_export_format format;
    assert_int_equal(nn_export_format_named(&format, "keras", &err), FL_EFORMAT);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make, unmake)
    const struct CMUnitTest tests[] = {
        TEST(what_was_exported_comes_back_bit_for_bit),
        TEST(the_card_says_who_and_under_which_terms),
        TEST(a_full_disk_leaves_the_old_pair),
        TEST(a_folder_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
