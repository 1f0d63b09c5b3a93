/* evaluate, from the command line to the figures: on files, and on a node's data set. */
#include "node/films.h"
#include "node/groups.h"
#include "tests/node/model_file.h"
#include "train/measures.h"
#include <math.h>

enum { N_FILMS = 24 };

static const char spec[] = "conv 3x3 3 stride 2\ntanh\nlinear classes";

typedef struct site {
    char model[FL_PATH_MAX], other[FL_PATH_MAX], films[FL_PATH_MAX], node[FL_PATH_MAX];
} site;

static void write_model(const char *path, const char *classes, double phase)
{
    float w[1000];
    for (size_t i = 0; i < 1000; i++)
        w[i] = (float)sin(3.0 * (double)(i + 1) + phase) / 2;
    make_model(path, spec, (nn_shape){1, 16, 16}, classes, false, w);
}

/* 24 films of 12 patients, labels by a rule that no pixel knows. Patients of ages 10, 15, ...; two views. */
static void make_site(site *s, const char *dir)
{
    fl_err err;
    fl_buf csv;
    char path[FL_PATH_MAX], name[32];
    fl_path(s->model, dir, "model.safetensors");
    fl_path(s->other, dir, "other.safetensors");
    fl_path(s->films, dir, "films");
    fl_path(s->node, dir, "node");
    write_model(s->model, "normal,pneumonia", 0);
    write_model(s->other, "normal,pneumonia", 1);
    assert_ok(fl_dir_make(s->films, &err), err);
    fl_buf_init(&csv, 1 << 16);
    fl_buf_add_text(&csv, "file,label,patient_id,split,Age,view\r\n");
    for (unsigned i = 0; i < N_FILMS; i++) {
        const char *label = i * 7 % 5 < 2 ? "pneumonia" : "normal";
        snprintf(name, sizeof name, "f%02u.png", i);
        make_png(fl_path(path, s->films, name), 20 + i, i + 1);
        fl_buf_printf(&csv, "%s,%s,P%u,%s,%u,%s\r\n", name, label, i / 2, i < 16 ? "test" : "train", 10 + 5 * (i / 2),
                      i % 4 == 0   ? "PA"
                      : i % 4 == 1 ? "AP"
                                   : "");
    }
    assert_ok(fl_file_write(fl_path(path, s->films, "labels.csv"), csv.bytes, csv.size, 0600, &err), err);
    fl_buf_fini(&csv);
}

static int64_t integer(const fl_json *j, const char *key)
{
    int64_t value = -1;
    if (!fl_json_int(j, key, &value))
        fail_msg("there is no %s", key);
    return value;
}

static double value_of(const fl_json *parent, const char *group, const char *measure)
{
    double value = NAN;
    const fl_json *at = group ? fl_json_member(parent, group) : parent;
    (void)fl_json_real(fl_json_member(at, measure), "value", &value);
    return value;
}

/* The AUROC that follows from what predict says of the same files. */
static double auroc_by_hand(const site *s, unsigned n)
{
    double score[N_FILMS];
    uint8_t positive[N_FILMS];
    answer a = RUN("predict", "--model", (char *)s->model, (char *)s->films);
    expect_code(&a, 0);
    const char *at = a.out;
    for (unsigned i = 0; i < n; i++) {
        at = strstr(at, ", pneumonia ") + 12;
        score[i] = strtod(at, NULL);
        positive[i] = i * 7 % 5 < 2;
    }
    forget(&a);
    return nn_auroc(score, positive, n);
}

static void files_are_judged_by_their_labels(void **state)
{
    site s;
    make_site(&s, *state);
    answer a = RUN("evaluate", "--model", s.model, "--json", s.films);
    expect_code(&a, 0);
    fl_json *j = json_of(&a);
    assert_int_equal(integer(j, "images"), N_FILMS);
    assert_int_equal(integer(j, "patients"), N_FILMS / 2);
    assert_true(fabs(value_of(j, "overall", "auroc") - auroc_by_hand(&s, N_FILMS)) < 0.01);
    const fl_json *pneumonia = fl_json_at(fl_json_member(j, "per_class"), 1);
    assert_true(value_of(pneumonia, NULL, "auroc") == value_of(j, "overall", "auroc"));
    assert_true(value_of(pneumonia, NULL, "delong") == value_of(j, "overall", "auroc"));
    assert_int_equal(integer(pneumonia, "tp") + integer(pneumonia, "fn"), integer(pneumonia, "positive"));
    fl_json_free(j);
    forget(&a);

    a = RUN("evaluate", "--model", s.model, "--split", "test", s.films);
    expect_code(&a, 0);
    expect_text(a.out, "16 images of 8 patients");
    expect_text(a.out, "8 images left out: they are of other splits");
    expect_text(a.out, "(DeLong 0.");
    forget(&a);
}

static void parts_are_judged_alone(void **state)
{
    site s;
    make_site(&s, *state);
    answer a = RUN("evaluate", "--model", s.model, "--json", "--by", "age:30,50", s.films);
    expect_code(&a, 0);
    fl_json *j = json_of(&a), *parts = fl_json_member(fl_json_member(j, "by"), "parts");
    static const char *const names[] = {"under 30", "30 to under 50", "50 and over"};
    assert_int_equal(fl_json_count(parts), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(fl_json_text(fl_json_at(parts, i), "name"), names[i]);
        assert_int_equal(integer(fl_json_at(parts, i), "images"), 8);
        assert_int_equal(integer(fl_json_at(parts, i), "patients"), 4);
    }
    fl_json_free(j);
    forget(&a);
    a = RUN("evaluate", "--model", s.model, "--json", "--by", "view", s.films);
    expect_code(&a, 0);
    j = json_of(&a);
    parts = fl_json_member(fl_json_member(j, "by"), "parts");
    assert_int_equal(fl_json_count(parts), 3); /* "-", "AP", "PA" */
    assert_int_equal(integer(fl_json_at(parts, 0), "images"), 12);
    assert_string_equal(fl_json_text(fl_json_at(parts, 1), "name"), "AP");
    fl_json_free(j);
    forget(&a);
    a = RUN("evaluate", "--model", s.model, "--by", "colour", s.films);
    expect_code(&a, 2);
    expect_text(a.err, "no column named colour");
    forget(&a);
}

static void what_cannot_be_judged_is_left_out_and_said(void **state)
{
    site s;
    char path[FL_PATH_MAX];
    make_site(&s, *state);
    make_text(fl_path(path, s.films, "x.png"), "no image");
    make_png(fl_path(path, s.films, "y.png"), 20, 3); /* without a row */
    answer a = RUN("evaluate", "--model", s.model, "--json", s.films);
    expect_code(&a, 1);
    expect_text(a.err, "x.png: refused: ");
    expect_text(a.err, "y.png: refused: no label");
    fl_json *j = json_of(&a);
    assert_int_equal(integer(j, "images"), N_FILMS);
    assert_int_equal(fl_json_count(fl_json_member(j, "refused")), 2);
    fl_json_free(j);
    forget(&a);

    write_model(s.other, "normal,tuberculosis", 0);
    a = RUN("evaluate", "--model", s.other, "--json", fl_path(path, s.films, "f00.png"), "--labels",
            (char[FL_PATH_MAX]){0}); /* an empty name */
    expect_code(&a, 2);
    forget(&a);
    char labels[FL_PATH_MAX];
    fl_path(labels, s.films, "labels.csv");
    a = RUN("evaluate", "--model", s.other, "--labels", labels, fl_path(path, s.films, "f00.png"));
    expect_code(&a, 1); /* the only label is no class of the model */
    expect_text(a.err, "there are no images to judge");
    forget(&a);
    a = RUN("evaluate", "--model", s.model, "--against", s.other, s.films);
    expect_code(&a, 1);
    expect_text(a.err, "the other model has other classes");
    forget(&a);
    a = RUN("evaluate", "--model", s.model, "--dir", s.node, s.films);
    expect_code(&a, 2);
    expect_text(a.err, "not both");
    forget(&a);
    a = RUN("evaluate", "--model", s.model, "--split", "tests", s.films);
    expect_code(&a, 2);
    forget(&a);
    a = RUN("evaluate", "--model", s.model, fl_path(path, s.films, "f00.png")); /* no labels named, none beside */
    expect_code(&a, 2);
    expect_text(a.err, "--labels");
    forget(&a);
}

static void two_models_are_compared_on_the_same_images(void **state)
{
    site s;
    make_site(&s, *state);
    for (int same = 0; same < 2; same++) {
        answer a = RUN("evaluate", "--model", s.model, "--json", "--against", same ? s.model : s.other, s.films);
        expect_code(&a, 0);
        fl_json *j = json_of(&a);
        const fl_json *k = fl_json_at(fl_json_member(j, "against"), 1);
        double p = 0, first = 0, second = 0;
        assert_true(fl_json_real(k, "p", &p) && fl_json_real(k, "auroc", &first) &&
                    fl_json_real(k, "auroc_of_the_other", &second));
        assert_true(first == value_of(j, "overall", "auroc"));
        assert_true(same ? p == 1 && first == second : p > 0 && p < 1 && first != second);
        assert_true(fabs(value_of(k, NULL, "difference") - (first - second)) < 1e-12);
        fl_json_free(j);
        forget(&a);
    }
}

static void a_data_set_is_judged_like_its_files(void **state)
{
    site s;
    make_site(&s, *state);
    answer a = RUN("init", "--dir", s.node, "--name", "anna");
    expect_code(&a, 0);
    forget(&a);
    a = RUN("evaluate", "--model", s.model, "--dir", s.node);
    expect_code(&a, 1); /* nothing there yet */
    expect_text(a.err, "there are no images to judge in this split");
    forget(&a);
    a = RUN("data", "add", "--dir", s.node, s.films);
    expect_code(&a, 0);
    forget(&a);
    answer files = RUN("evaluate", "--model", s.model, "--json", "--split", "test", "--against", s.other, s.films);
    a = RUN("evaluate", "--model", s.model, "--json", "--against", s.other, "--by", "view", "--dir", s.node);
    expect_code(&files, 0);
    expect_code(&a, 0);
    fl_json *j = json_of(&a), *k = json_of(&files);
    assert_string_equal(fl_json_text(j, "split"), "test");
    assert_int_equal(integer(j, "images"), 16);
    assert_int_equal(integer(j, "patients"), 8);
    static const char *const figures[] = {"auroc", "average_precision", "brier", "log_loss", "accuracy"};
    for (size_t i = 0; i < 5; i++)
        assert_true(fabs(value_of(j, "overall", figures[i]) - value_of(k, "overall", figures[i])) < 1e-9);
    double p, q;
    assert_true(fl_json_real(fl_json_at(fl_json_member(j, "against"), 1), "p", &p));
    assert_true(fl_json_real(fl_json_at(fl_json_member(k, "against"), 1), "p", &q));
    assert_true(fabs(p - q) < 1e-9);
    assert_int_equal(fl_json_count(fl_json_member(fl_json_member(j, "by"), "parts")), 1); /* a PNG has no view */
    fl_json_free(j);
    fl_json_free(k);
    forget(&files);
    forget(&a);
    a = RUN("evaluate", "--model", s.model, "--by", "hospital", "--dir", s.node);
    expect_code(&a, 2);
    expect_text(a.err, "keeps modality, body_part, view and laterality");
    forget(&a);
}

static void bands_hold_numbers_and_ages(void **state)
{
    (void)state;
    node_groups g;
    fl_err err;
    uint32_t group;
    const struct {
        const char *text, *name;
    } rows[] = {{"17.9", "under 18"},
                {"18", "18 to under 65"},
                {"065Y", "65 and over"},
                {"006M", "under 18"},
                {"1300D", "under 18"},
                {"", "-"},
                {"old", "-"},
                {"12Q", "-"}};
    assert_ok(node_groups_init(&g, "age:18,65", &err), err);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_ok(node_groups_add(&g, &group, rows[i].text, &err), err);
        assert_string_equal(g.names[group], rows[i].name);
    }
    static const char *const wrong[] = {":5", "age:", "age:5,", "age:5,5", "age:x", "age:1;2", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(node_groups_init(&g, wrong[i], &err), FL_EFORMAT);
    assert_ok(node_groups_init(&g, "n", &err), err);
    fl_code rc = FL_OK;
    for (int i = 0; i <= NODE_MAX_GROUPS && rc == FL_OK; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        rc = node_groups_add(&g, &group, text, &err);
    }
    assert_int_equal(rc, FL_EREFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(files_are_judged_by_their_labels),           in_scratch(parts_are_judged_alone),
        in_scratch(what_cannot_be_judged_is_left_out_and_said), in_scratch(two_models_are_compared_on_the_same_images),
        in_scratch(a_data_set_is_judged_like_its_files),        cmocka_unit_test(bands_hold_numbers_and_ages),
    };
    setenv("CORDON_DECODER", CORDON_BIN_DIR "/cordon-decode", 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
