#include "tests/base/test.h"

#include "base/file.h"
#include "base/json.h"
#include "imaging/image.h"
#include "imaging/resize.h"
#include "sim/phantom.h"

#include <math.h>

#define DECODER CORDON_BIN_DIR "/cordon-decode"
#define SIDE    32
#define D       (SIDE * SIDE)

static const uint8_t key[32] = {3};
static img_decoder *decoder;

typedef struct row {
    char file[80], patient[40], hospital[32], split[8];
    int label;
} row;

static char *read_text(const char *dir, const char *name)
{
    char path[FL_PATH_MAX];
    fl_err err;
    fl_buf b;
    fl_buf_init(&b, 16 << 20);
    assert_ok(fl_file_read(&b, fl_path(path, dir, name), &err), err);
    char *text = strdup(fl_buf_text(&b));
    fl_buf_fini(&b);
    return text;
}

static size_t read_manifest(row **out, const char *dir)
{
    char *text = read_text(dir, "manifest.csv"), *save = NULL;
    size_t n = 0;
    *out = calloc(4096, sizeof **out);
    char *line = strtok_r(text, "\n", &save);
    assert_string_equal(line, "file,label,label_name,patient_id,hospital,split");
    while ((line = strtok_r(NULL, "\n", &save))) {
        row *r = &(*out)[n++];
        char name[16];
        assert_int_equal(sscanf(line, "%79[^,],%d,%15[^,],%39[^,],%31[^,],%7s", r->file, &r->label, name, r->patient,
                                r->hospital, r->split),
                         6);
        assert_string_equal(name, r->label ? "pneumonia" : "normal");
    }
    free(text);
    return n;
}

static void read_image(img_image *image, const char *dir, const char *file)
{
    char path[FL_PATH_MAX];
    fl_err err;
    assert_ok(img_decode_file(decoder, image, fl_path(path, dir, file), &err), err);
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
    char a[FL_PATH_MAX], b[FL_PATH_MAX], c[FL_PATH_MAX];
    fl_err err;
    assert_ok(sim_phantom(fl_path(a, *state, "a"), 2, 4, 9, &err), err);
    assert_ok(sim_phantom(fl_path(b, *state, "b"), 2, 4, 9, &err), err);
    assert_ok(sim_phantom(fl_path(c, *state, "c"), 2, 4, 10, &err), err);
    static const char *const names[] = {"manifest.csv", "planted.json", "alder/labels.csv"};
    for (unsigned i = 0; i < 3; i++) {
        char *x = read_text(a, names[i]), *y = read_text(b, names[i]);
        assert_string_equal(x, y);
        free(x);
        free(y);
    }
    char *x = read_text(a, "planted.json"), *y = read_text(c, "planted.json");
    assert_string_not_equal(x, y);
    free(x);
    free(y);
    char path[FL_PATH_MAX];
    fl_buf p, q;
    fl_buf_init(&p, 1 << 20);
    fl_buf_init(&q, 1 << 20);
    assert_ok(fl_file_read(&p, fl_path(path, a, "birch/IMG0003.dcm"), &err), err);
    assert_ok(fl_file_read(&q, fl_path(path, b, "birch/IMG0003.dcm"), &err), err);
    assert_int_equal(p.size, q.size);
    assert_memory_equal(p.bytes, q.bytes, p.size);
    fl_buf_fini(&p);
    fl_buf_fini(&q);
}

static void hospitals_differ_and_patients_stay_whole(void **state)
{
    fl_err err;
    row *rows;
    assert_ok(sim_phantom(*state, 3, 30, 4, &err), err);
    size_t n = read_manifest(&rows, *state);
    assert_true(n > 95 && n < 160); /* one in five has two or three */
    unsigned diseased[3] = {0}, tests = 0;
    for (size_t i = 0; i < n; i++) {
        img_image image;
        read_image(&image, *state, rows[i].file);
        assert_int_equal(image.bits, 12);
        assert_true(image.has_patient && image.has_sop);
        bool is_birch = strcmp(rows[i].hospital, "birch") == 0;
        assert_string_equal(image.photometric, is_birch ? "MONOCHROME1" : "MONOCHROME2");
        tests += strcmp(rows[i].split, "test") == 0;
        diseased[rows[i].hospital[0] - 'a'] += rows[i].label == 1;
        if (i && strcmp(rows[i].patient, rows[i - 1].patient) == 0) { /* the same person, class and split */
            img_image before;
            read_image(&before, *state, rows[i - 1].file);
            assert_memory_equal(image.patient, before.patient, 32);
            assert_memory_not_equal(image.sop, before.sop, 32);
            assert_int_equal(rows[i].label, rows[i - 1].label);
            assert_string_equal(rows[i].split, rows[i - 1].split);
            img_image_fini(&before);
        }
        /* lungs are darker than the belly: MONOCHROME1 was turned round */
        assert_true(image.pixels[60 * 160 + 45] < image.pixels[150 * 160 + 45]);
        img_image_fini(&image);
    }
    assert_true(tests > n / 12 && tests < n / 4);
    assert_true(diseased[2] > diseased[0] && diseased[0] > diseased[1]); /* cedar, alder, birch */
    free(rows);
}

static void planted_texts_are_in_the_files_and_in_nothing_else(void **state)
{
    char path[FL_PATH_MAX];
    fl_err err;
    row *rows;
    assert_ok(sim_phantom(*state, 2, 6, 5, &err), err);
    size_t n = read_manifest(&rows, *state);
    char *text = read_text(*state, "planted.json"), *manifest = read_text(*state, "manifest.csv"),
         *labels = read_text(*state, "birch/labels.csv");
    fl_json *planted;
    assert_ok(fl_json_parse(&planted, text, strlen(text), "planted.json", &err), err);
    const fl_json *files = fl_json_member(planted, "files"), *strings = fl_json_member(planted, "strings");
    assert_int_equal(fl_json_count(files), n);
    for (size_t i = 0; i < n; i++) {
        const fl_json *list = fl_json_member(files, rows[i].file);
        img_image image;
        read_image(&image, *state, rows[i].file);
        fl_buf b;
        fl_buf_init(&b, 1 << 20);
        assert_ok(fl_file_read(&b, fl_path(path, *state, rows[i].file), &err), err);
        assert_true(fl_json_count(list) >= 10);
        for (size_t k = 0; k < fl_json_count(list); k++) {
            const char *s = fl_json_text_value(fl_json_at(list, k));
            assert_true(strlen(s) >= 8);
            assert_non_null(memmem(b.bytes, b.size, s, strlen(s)));
            assert_null(memmem(&image, sizeof image, s, strlen(s)));
            assert_null(memmem(image.pixels, 2u * 160 * 160, s, strlen(s)));
        }
        fl_buf_fini(&b);
        img_image_fini(&image);
    }
    for (size_t k = 0; k < fl_json_count(strings); k++) {
        const char *s = fl_json_text_value(fl_json_at(strings, k));
        assert_null(strstr(manifest, s));
        assert_null(strstr(labels, s));
    }
    fl_json_free(planted);
    free(text);
    free(manifest);
    free(labels);
    free(rows);
}

/* 150 steps of logistic regression by gradient descent on the train split. */
static void fit(double *w, const float *x, const row *rows, size_t n)
{
    double *g = calloc(D + 1, sizeof *g);
    for (unsigned step = 0; step < 150; step++) {
        memset(g, 0, (D + 1) * sizeof *g);
        for (size_t i = 0; i < n; i++) {
            if (strcmp(rows[i].split, "train") != 0)
                continue;
            double z = w[D];
            for (unsigned k = 0; k < D; k++)
                z += w[k] * x[i * D + k];
            double error = (1 / (1 + exp(-z)) - rows[i].label) / (double)n;
            for (unsigned k = 0; k < D; k++)
                g[k] += error * x[i * D + k];
            g[D] += error;
        }
        for (unsigned k = 0; k <= D; k++)
            w[k] -= 0.05 * (g[k] + 1e-3 * w[k]);
    }
    free(g);
}

/* The lesions can be seen at 32 x 32: even a linear model, pooled, tells the classes of unseen patients apart. */
static void the_classes_can_be_learned(void **state)
{
    fl_err err;
    row *rows;
    assert_ok(sim_phantom(*state, 3, 60, 6, &err), err);
    size_t n = read_manifest(&rows, *state);
    float *x = malloc(n * D * sizeof *x);
    double *w = calloc(D + 1, sizeof *w), *score = calloc(n, sizeof *score), wins = 0, pairs = 0;
    for (size_t i = 0; i < n; i++) {
        img_image image;
        read_image(&image, *state, rows[i].file);
        img_resize(x + i * D, 1, SIDE, SIDE, &image);
        img_image_fini(&image);
    }
    fit(w, x, rows, n);
    for (size_t i = 0; i < n; i++)
        for (unsigned k = 0; k < D; k++)
            score[i] += w[k] * x[i * D + k];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            if (rows[i].label && !rows[j].label && strcmp(rows[i].split, "train") != 0 &&
                strcmp(rows[j].split, "train") != 0) {
                pairs++;
                wins += score[i] > score[j];
            }
    printf("auroc of a linear model on unseen patients: %.4f\n", wins / pairs);
    assert_true(wins / pairs > 0.95);
    free(x);
    free(w);
    free(score);
    free(rows);
}

static void numbers_out_of_range_are_refused(void **state)
{
    fl_err err;
    assert_int_equal(sim_phantom(*state, 0, 5, 1, &err), FL_EFORMAT);
    assert_int_equal(sim_phantom(*state, SIM_PHANTOM_MAX_HOSPITALS + 1, 5, 1, &err), FL_EFORMAT);
    assert_int_equal(sim_phantom(*state, 1, 0, 1, &err), FL_EFORMAT);
    assert_int_equal(sim_phantom("/proc/nothing/here", 1, 1, 1, &err), FL_EENV);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(the_same_seed_gives_the_same_bytes),
        in_scratch(hospitals_differ_and_patients_stay_whole),
        in_scratch(planted_texts_are_in_the_files_and_in_nothing_else),
        in_scratch(the_classes_can_be_learned),
        in_scratch(numbers_out_of_range_are_refused),
    };
    fl_err err;
    if (img_decoder_open(&decoder, DECODER, key, &err) != FL_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    img_decoder_close(decoder);
    return failed;
}
