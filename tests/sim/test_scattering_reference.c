/* Features of real images against values of others, where both are at hand: CORDON_REFERENCE, else ../shared/reference, and
 * CORDON_DATA, else ../shared/data. */
#include "base/file.h"
#include "base/json.h"
#include "imaging/image.h"
#include "tests/base/test.h"
#include "train/scattering.h"
#include <math.h>
#include <zlib.h>

static fl_err err;

static const char *folder(const char *variable, const char *otherwise)
{
    const char *dir = getenv(variable);
    return dir ? dir : otherwise;
}

static const char *reference_dir(void)
{
    return folder("CORDON_REFERENCE", CORDON_SOURCE_DIR "/../shared/reference");
}

static const char *data_dir(void)
{
    return folder("CORDON_DATA", CORDON_SOURCE_DIR "/../shared/data");
}

static float *read_floats(const char *name, size_t n)
{
    char path[FL_PATH_MAX], dir[FL_PATH_MAX];
    fl_buf b;
    fl_buf_init(&b, 1 << 20);
    assert_ok(fl_file_read(&b, fl_path(path, fl_path(dir, reference_dir(), "scattering"), name), &err), err);
    assert_int_equal(b.size, n * sizeof(float));
    float *x = malloc(b.size);
    memcpy(x, b.bytes, b.size);
    fl_buf_fini(&b);
    return x;
}

/* x (64, 64) in 0..1: 2x2 means of a 128x128 file */
static void read_image(float *x, img_decoder *decoder, const char *set, const char *name)
{
    char path[FL_PATH_MAX], dir[FL_PATH_MAX];
    img_image image;
    assert_ok(img_decode_file(decoder, &image, fl_path(path, fl_path(dir, data_dir(), set), name), &err), err);
    assert_true(image.width == 128 && image.height == 128 && image.bits == 8);
    for (int i = 0; i < 4096; i++) {
        const uint16_t *at = image.pixels + i / 64 * 256 + i % 64 * 2;
        x[i] = (float)(at[0] + at[1] + at[128] + at[129]) / 1020;
    }
    img_image_fini(&image);
}

static double worst; /* difference over the largest value of its image */

static void compare(const float *ours, const float *theirs, size_t n, const char *what)
{
    double largest = 0, difference = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabsf(theirs[i]));
        difference = fmax(difference, fabs((double)ours[i] - theirs[i]));
    }
    worst = fmax(worst, difference / largest);
    if (!(difference <= 1e-4 * largest))
        fail_msg("%s: off by %g, the largest value is %g", what, difference, largest);
}

/* x in 0..1 */
static void check(nn_scattering s, float *x, const float *raw, const float *features, const char *set)
{
    const size_t n = (size_t)s.height * s.width;
    assert_ok(nn_scattering_init(&s, &err), err);
    float *out = malloc(s.n_out * sizeof(float)), *scratch = malloc(s.n_scratch * sizeof(float));
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    const double scale = 1 / (sqrt(squares / (double)(n - 1)) + 0.05);
    float *y = malloc(n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        y[i] = s.groups ? x[i] : (float)((x[i] - mean) * scale);
    nn_scattering_raw(&s, out, scratch, y);
    compare(out, raw, s.n_out, set);
    for (size_t i = 0; i < n; i++)
        y[i] = 2 * x[i] - 1;
    nn_scattering_features(&s, out, scratch, y);
    compare(out, features, s.n_out, set);
    free(out);
    free(scratch);
    free(y);
}

static void check_set(const char *set, int n)
{
    static const uint8_t key[32] = "any";
    char name[FL_PATH_MAX];
    fl_buf text;
    fl_json *index = NULL;
    img_decoder *decoder = NULL;
    float x[4096], *raw, *features;
    fl_buf_init(&text, 1 << 16);
    assert_ok(img_decoder_open(&decoder, CORDON_BIN_DIR "/cordon-decode", key, &err), err);
    assert_ok(fl_file_read(&text, fl_path(name, reference_dir(), "scattering/index.json"), &err), err);
    assert_ok(fl_json_parse(&index, fl_buf_text(&text), text.size, "index", &err), err);
    snprintf(name, sizeof name, "%s_J4_raw.f32", set);
    raw = read_floats(name, (size_t)n * 6672);
    snprintf(name, sizeof name, "%s_J4_features.f32", set);
    features = read_floats(name, (size_t)n * 6672);
    for (size_t e = 0; e < fl_json_count(index); e++) {
        const fl_json *images = fl_json_member(fl_json_at(index, e), "images");
        if (strcmp(fl_json_text(fl_json_at(index, e), "set"), set) != 0)
            continue;
        for (int i = 0; i < n; i++) {
            read_image(x, decoder, set, fl_json_text_value(fl_json_at(images, (size_t)i)));
            check((nn_scattering){.scales = 4, .angles = 8, .height = 64, .width = 64, .mirror = true}, x,
                  raw + i * 6672, features + i * 6672, set);
        }
    }
    free(raw);
    free(features);
    fl_json_free(index);
    fl_buf_fini(&text);
    img_decoder_close(decoder);
}

static void radiographs_and_slices_agree(void **state)
{
    (void)state;
    check_set("chest", 3);
    check_set("brain", 2);
}

static void digits_agree(void **state)
{
    (void)state;
    char path[FL_PATH_MAX];
    uint8_t bytes[16 + 3 * 784];
    float x[784], *raw = read_floats("mnist_J2_raw.f32", 3 * 3969),
                  *features = read_floats("mnist_J2_features.f32", 3 * 3969);
    gzFile f = gzopen(fl_path(path, data_dir(), "mnist/train-images-idx3-ubyte.gz"), "rb");
    assert_non_null(f);
    assert_int_equal(gzread(f, bytes, sizeof bytes), sizeof bytes);
    gzclose(f);
    for (int i = 0; i < 3; i++) {
        for (int p = 0; p < 784; p++)
            x[p] = (float)bytes[16 + i * 784 + p] / 255;
        check((nn_scattering){.scales = 2, .angles = 8, .height = 28, .width = 28, .groups = 27}, x, raw + i * 3969,
              features + i * 3969, "mnist");
    }
    free(raw);
    free(features);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(radiographs_and_slices_agree),
        cmocka_unit_test(digits_agree),
    };
    char path[FL_PATH_MAX];
    if (!fl_file_exists(fl_path(path, reference_dir(), "scattering/index.json")) ||
        !fl_file_exists(fl_path(path, data_dir(), "mnist/train-images-idx3-ubyte.gz")))
        return 77;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    printf("largest difference, of the largest value: %.2g\n", worst);
    return failed;
}
