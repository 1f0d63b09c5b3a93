/* predict, from the command line to the numbers, on files that the tests make. */
#include "imaging/resize.h"
#include "node/films.h"
#include "tests/node/model_file.h"
#include <math.h>

static const char spec[] = "conv 3x3 3 stride 2\ntanh\nlinear classes";

static char *in(const char *dir, const char *name)
{
    static char paths[16][FL_PATH_MAX];
    static unsigned next;
    return fl_path(paths[next++ % 16], dir, name);
}

/* Weights that tell images apart. */
static void fill(float *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w[i] = (float)sin(3.0 * (double)(i + 1)) / 2;
}

static char *simple_model(const char *dir, bool multi)
{
    float w[1000];
    char *path = in(dir, multi ? "multi.safetensors" : "model.safetensors");
    fill(w, 1000);
    make_model(path, spec, (nn_shape){1, 16, 16}, "normal,pneumonia", multi, w);
    return path;
}

/* What the engine says of the image that make_png and make_dicom draw. */
static void logits_of(float logits[2], unsigned side, unsigned seed)
{
    nn_model *m;
    nn_workspace *ws;
    fl_err err;
    float w[1000], input[256];
    uint16_t *pixels = malloc((size_t)side * side * sizeof *pixels);
    for (unsigned i = 0; i < side * side; i++)
        pixels[i] = pixel_of(seed, i % side, i / side);
    const img_image image = {.width = side, .height = side, .bits = 8, .pixels = pixels};
    img_resize(input, 1, 16, 16, &image);
    fill(w, 1000);
    assert_ok(nn_model_create(&m, spec, 1, 16, 16, 2, &err), err);
    assert_ok(nn_workspace_create(&ws, m, &err), err);
    nn_forward(m, ws, w, logits, input);
    nn_workspace_destroy(ws);
    nn_model_destroy(m);
    free(pixels);
}

static double probability(const fl_json *j, size_t image, size_t class)
{
    const fl_json *p = fl_json_member(fl_json_at(fl_json_member(j, "images"), image), "probabilities");
    double value = NAN;
    assert_non_null(p);
    fl_buf text; /* reals in arrays have no getter of their own: through their text */
    fl_buf_init(&text, 1000);
    fl_json_print(&text, p, 0);
    const char *at = strchr(fl_buf_text(&text), '[') + 1;
    for (size_t c = 0; c < class; c++)
        at = strchr(at, ',') + 1;
    value = strtod(at, NULL);
    fl_buf_fini(&text);
    return value;
}

static void probabilities_are_those_of_the_prepared_pixels(void **state)
{
    const char *dir = *state;
    char *png = in(dir, "a.png"), *dicom = in(dir, "b.dcm"), *csv = in(dir, "out.csv");
    fl_buf text;
    fl_err err;
    make_png(png, 40, 1);
    make_dicom(dicom, 24, 2, "PAT-77", NULL, "1.2.3");
    answer a = RUN("predict", "--model", simple_model(dir, false), "--json", "--csv", csv, png, dicom);
    expect_code(&a, 0);
    fl_json *j = json_of(&a);
    for (unsigned i = 0; i < 2; i++) {
        float logits[2];
        logits_of(logits, i == 0 ? 40 : 24, i + 1);
        const double p = 1 / (1 + exp((double)logits[0] - logits[1]));
        assert_true(fabs(probability(j, i, 1) - p) < 1e-5 && fabs(probability(j, i, 0) - (1 - p)) < 1e-5);
        assert_string_equal(fl_json_text(fl_json_at(fl_json_member(j, "images"), i), "predicted"),
                            p > 0.5 ? "pneumonia" : "normal");
    }
    assert_string_equal(fl_json_text(fl_json_member(j, "model"), "study"), "chest-1");
    assert_null(strstr(a.out, "PAT-77"));
    assert_null(strstr(a.out, "Mustermann"));
    fl_buf_init(&text, 10000);
    assert_ok(fl_file_read(&text, csv, &err), err);
    expect_text(fl_buf_text(&text), "file,predicted,p_normal,p_pneumonia,refused\r\n");
    char row[200];
    snprintf(row, sizeof row, ",%.9g,%.9g,\r\n", (double)(float)probability(j, 1, 0),
             (double)(float)probability(j, 1, 1));
    expect_text(fl_buf_text(&text), row);
    fl_buf_fini(&text);
    fl_json_free(j);
    forget(&a);
}

static void each_class_of_a_multi_label_model_has_its_own_probability(void **state)
{
    const char *dir = *state;
    char *png = in(dir, "a.png");
    float logits[2];
    make_png(png, 40, 1);
    logits_of(logits, 40, 1);
    answer a = RUN("predict", "--model", simple_model(dir, true), "--json", png);
    expect_code(&a, 0);
    fl_json *j = json_of(&a);
    for (int c = 0; c < 2; c++)
        assert_true(fabs(probability(j, 0, (size_t)c) - 1 / (1 + exp(-(double)logits[c]))) < 1e-5);
    fl_json_free(j);
    forget(&a);
}

static void a_file_that_cannot_be_read_costs_its_own_line(void **state)
{
    const char *dir = *state;
    char *model, folder[FL_PATH_MAX], name[32];
    fl_err err;
    fl_path(folder, dir, "films");
    assert_ok(fl_dir_make(folder, &err), err);
    for (unsigned i = 0; i < 2 * NODE_FILM_BATCH + 3; i++) { /* more than one batch */
        snprintf(name, sizeof name, "f%03u.png", i);
        make_png(in(folder, name), 20, 1 + i % 5);
    }
    make_text(in(folder, "g.png"), "no image");
    make_text(in(folder, "labels.csv"), "file,label\n");
    make_text(in(folder, ".hidden"), "x");
    model = simple_model(dir, false); /* in() keeps a few names only */
    answer a = RUN("predict", "--model", model, folder, "--json");
    expect_code(&a, 1);
    expect_text(a.err, "g.png: refused: ");
    fl_json *j = json_of(&a);
    assert_int_equal(fl_json_count(fl_json_member(j, "images")), 2 * NODE_FILM_BATCH + 3);
    assert_int_equal(fl_json_count(fl_json_member(j, "refused")), 1);
    for (unsigned i = 5; i < 2 * NODE_FILM_BATCH + 3; i++) /* the same picture, the same numbers, in any batch */
        assert_true(probability(j, i, 0) == probability(j, i % 5, 0));
    assert_true(probability(j, 0, 0) != probability(j, 1, 0));
    fl_json_free(j);
    forget(&a);

    model = simple_model(dir, false);
    a = RUN("predict", "--model", model, in(folder, "f000.png"), in(folder, "g.png"));
    expect_code(&a, 1);
    expect_text(a.out, "f000.png: ");
    expect_text(a.out, "(normal 0.");
    forget(&a);
    a = RUN("predict", "--model", model, in(folder, "g.png")); /* nothing readable */
    expect_code(&a, 2);
    forget(&a);
}

static void what_is_no_model_or_no_image_is_refused_in_one_line(void **state)
{
    const char *dir = *state;
    char *model = simple_model(dir, false), *png = in(dir, "a.png"), *broken = in(dir, "broken.safetensors");
    fl_buf file;
    fl_err err;
    make_png(png, 20, 1);
    fl_buf_init(&file, 1 << 20);
    assert_ok(fl_file_read(&file, model, &err), err);

    assert_ok(fl_file_write(broken, file.bytes, file.size - 4, 0600, &err), err); /* cut */
    answer a = RUN("predict", "--model", broken, png);
    expect_code(&a, 2);
    expect_text(a.err, "broken.safetensors: safetensors: ");
    forget(&a);

    memset(file.bytes + file.size - 4, 0xff, 4); /* a weight that is no number */
    assert_ok(fl_file_write(broken, file.bytes, file.size, 0600, &err), err);
    a = RUN("predict", "--model", broken, png);
    expect_code(&a, 2);
    expect_text(a.err, "not finite");
    forget(&a);

    fl_buf_clear(&file);
    assert_ok(fl_file_read(&file, model, &err), err);
    char *input = memmem(file.bytes, file.size, "1x16x16", 7); /* a shape that the tensors do not fit */
    assert_non_null(input);
    memcpy(input, "3x16x16", 7);
    assert_ok(fl_file_write(broken, file.bytes, file.size, 0600, &err), err);
    a = RUN("predict", "--model", broken, png);
    expect_code(&a, 2);
    expect_text(a.err, "safetensors: ");
    forget(&a);

    a = RUN("predict", "--model", in(dir, "nowhere"), png);
    expect_code(&a, 2);
    forget(&a);
    a = RUN("predict", "--model", model, in(dir, "nowhere.png"));
    expect_code(&a, 2);
    expect_text(a.err, "nowhere.png: no such file or folder");
    forget(&a);
    assert_ok(fl_dir_make(in(dir, "empty"), &err), err);
    a = RUN("predict", "--model", model, in(dir, "empty"));
    expect_code(&a, 2);
    expect_text(a.err, "there are no files");
    forget(&a);
    a = RUN("predict", "--model", model, "--allow", "everything", png);
    expect_code(&a, 2);
    expect_text(a.err, "none of burned_in, ultrasound, capture");
    forget(&a);
    fl_buf_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(probabilities_are_those_of_the_prepared_pixels),
        in_scratch(each_class_of_a_multi_label_model_has_its_own_probability),
        in_scratch(a_file_that_cannot_be_read_costs_its_own_line),
        in_scratch(what_is_no_model_or_no_image_is_refused_in_one_line),
    };
    setenv("CORDON_DECODER", CORDON_BIN_DIR "/cordon-decode", 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
