/* predict, evaluate and explain on real films: formats of all kinds, films with planted identities, the chest set. */
#include "tests/imaging/shared_data.h"

#include "base/encode.h"
#include "tests/node/model_file.h"
#include <math.h>

static char *model_in(const char *dir)
{
    static char path[FL_PATH_MAX];
    float w[1000];
    for (size_t i = 0; i < 1000; i++)
        w[i] = (float)sin(3.0 * (double)(i + 1)) / 2;
    make_model(fl_path(path, dir, "model.safetensors"), "conv 5x5 4 stride 2\ntanh\nglobalpool\nlinear classes",
               (nn_shape){1, 32, 32}, "normal,pneumonia", false, w);
    return path;
}

/* No planted byte string is in the text. Returns how many were looked for. */
static unsigned scan(const fl_json *planted, const void *bytes, size_t n, const char *where)
{
    unsigned n_strings = 0;
    for (size_t i = 0; i < fl_json_count(planted); i++) {
        const fl_json *phi = fl_json_member(fl_json_member(planted, fl_json_key_at(planted, i)), "phi");
        for (size_t k = 0; k < fl_json_count(phi); k++, n_strings++) {
            uint8_t needle[512];
            const char *hex = fl_json_text(fl_json_at(phi, k), "bytes_hex");
            size_t length = strlen(hex) / 2;
            assert_true(length > 0 && length <= sizeof needle && fl_hex_decode(needle, length, hex));
            if (n > 0 && memmem(bytes, n, needle, length))
                fail_msg("%s holds a planted %s", where, fl_json_text(fl_json_at(phi, k), "kind"));
        }
    }
    return n_strings;
}

static void scan_file(const fl_json *planted, const char *path)
{
    fl_buf bytes;
    fl_err err;
    fl_buf_init(&bytes, 1 << 28);
    assert_ok(fl_file_read(&bytes, path, &err), err);
    assert_true(bytes.size > 0);
    scan(planted, bytes.bytes, bytes.size, path);
    fl_buf_fini(&bytes);
}

static void scan_answer(const fl_json *planted, answer *a)
{
    assert_true(scan(planted, a->out, strlen(a->out), "standard output") > 100);
    scan(planted, a->err, strlen(a->err), "standard error");
    forget(a);
}

static void nothing_planted_in_a_header_comes_out(void **state)
{
    if (shared_missing("dicom_phi"))
        skip();
    char folder[FL_PATH_MAX], film[FL_PATH_MAX], csv[FL_PATH_MAX], png[FL_PATH_MAX], labels[FL_PATH_MAX];
    char *model = model_in(*state);
    fl_json *planted = shared_json("dicom_phi/planted_phi.json");
    fl_buf rows;
    fl_err err;
    shared_path(folder, "dicom_phi/files");
    fl_buf_init(&rows, 1 << 16);
    fl_buf_add_text(&rows, "file,label\n");
    for (size_t i = 0; i < fl_json_count(planted); i++)
        fl_buf_printf(&rows, "%s/%s,%s\n", folder, fl_json_key_at(planted, i), i % 2 ? "normal" : "pneumonia");
    assert_ok(fl_file_write(fl_path(labels, *state, "labels.csv"), rows.bytes, rows.size, 0600, &err), err);
    fl_buf_fini(&rows);

    answer a = RUN("predict", "--model", model, "--csv", fl_path(csv, *state, "out.csv"), "--json", folder);
    fl_json *j = json_of(&a);
    assert_true(fl_json_count(fl_json_member(j, "images")) > 5);
    fl_json_free(j);
    scan_answer(planted, &a);
    scan_file(planted, csv);
    a = RUN("evaluate", "--model", model, "--labels", labels, folder);
    expect_text(a.out, " images of ");
    scan_answer(planted, &a);
    fl_path(film, folder, fl_json_key_at(planted, 0));
    a = RUN("explain", "--model", model, "--allow", "burned_in,ultrasound,capture", "-o", fl_path(png, *state, "o.png"),
            film);
    expect_code(&a, 0);
    scan_answer(planted, &a);
    scan_file(planted, png);
    fl_json_free(planted);
}

static void every_file_is_answered_or_refused(void **state)
{
    if (shared_missing("formats") || shared_missing("dicom"))
        skip();
    char formats[FL_PATH_MAX], dicom[FL_PATH_MAX];
    answer a = RUN("predict", "--model", model_in(*state), "--json", shared_path(formats, "formats/files"),
                   shared_path(dicom, "dicom/files"));
    expect_code(&a, 1);
    fl_json *j = json_of(&a), *images = fl_json_member(j, "images"), *refused = fl_json_member(j, "refused");
    fl_json *of_formats = shared_json("formats/expected.json"), *of_dicom = shared_json("dicom/expected.json");
    assert_int_equal(fl_json_count(images) + fl_json_count(refused),
                     fl_json_count(of_formats) + fl_json_count(of_dicom));
    size_t n_pictures = 0, n_answered = 0;
    for (size_t i = 0; i < fl_json_count(of_formats); i++) {
        const char *format = fl_json_text(fl_json_member(of_formats, fl_json_key_at(of_formats, i)), "format");
        n_pictures += format && (strcmp(format, "PNG") == 0 || strcmp(format, "JPEG") == 0);
    }
    for (size_t i = 0; i < fl_json_count(images); i++)
        n_answered += strstr(fl_json_text(fl_json_at(images, i), "file"), "formats/files") != NULL;
    assert_true(n_pictures > 5);
    assert_int_equal(n_answered, n_pictures);
    assert_true(fl_json_count(images) > n_pictures + 10); /* DICOM too */
    for (size_t i = 0; i < fl_json_count(refused); i++)
        assert_true(strlen(fl_json_text(fl_json_at(refused, i), "reason")) > 10);
    fl_json_free(of_formats);
    fl_json_free(of_dicom);
    fl_json_free(j);
    forget(&a);
}

static void films_are_judged_by_hospital(void **state)
{
    if (shared_missing("chest"))
        skip();
    char manifest[FL_PATH_MAX], film[40][FL_PATH_MAX];
    char *words[64] = {"evaluate", "--model",  model_in(*state), "--json",
                       "--by",     "hospital", "--labels",       shared_path(manifest, "chest/manifest.csv")};
    int n = 8;
    for (int i = 1; n < 48; i++) { /* the first 40 numbers that there are */
        char name[64];
        snprintf(name, sizeof name, "chest/images/ch%05d.png", i);
        if (fl_file_exists(shared_path(film[n - 8], name))) {
            words[n] = film[n - 8];
            n++;
        }
    }
    answer a = run(words);
    expect_code(&a, 0);
    fl_json *j = json_of(&a), *parts = fl_json_member(fl_json_member(j, "by"), "parts");
    int64_t images, positive, total = 0;
    assert_true(fl_json_int(j, "images", &images) && images == 40);
    assert_true(fl_json_int(fl_json_at(fl_json_member(j, "per_class"), 1), "positive", &positive));
    assert_true(positive > 5 && positive < 35); /* the labels "0" and "1" are the classes' numbers */
    assert_true(fl_json_count(parts) >= 3);
    for (size_t i = 0; i < fl_json_count(parts); i++) {
        assert_true(fl_json_int(fl_json_at(parts, i), "images", &images));
        total += images;
    }
    assert_int_equal(total, 40);
    fl_json_free(j);
    forget(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(nothing_planted_in_a_header_comes_out),
        in_scratch(every_file_is_answered_or_refused),
        in_scratch(films_are_judged_by_hospital),
    };
    setenv("CORDON_DECODER", DECODER, 0);
    if (shared_missing("formats"))
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
