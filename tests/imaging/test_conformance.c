/*
 * Real DICOM, PNG and JPEG files against what other decoders make of them. expected.json says of each file what must
 * happen: decode, decode_or_reject, reject, reject_no_pixels, no_crash.
 */
#include "imaging/image.h"
#include "tests/imaging/shared_data.h"

#include <math.h>

static img_decoder *decoder;

static void check_values(const char *name, const img_image *i, const fl_json *want, double tolerance)
{
    double min = 0, max = 0, mean = 0;
    assert_true(fl_json_real(want, "min", &min) && fl_json_real(want, "max", &max) &&
                fl_json_real(want, "mean", &mean));
    if (fabs((double)i->raw_min - min) > tolerance || fabs((double)i->raw_max - max) > tolerance ||
        fabs(i->raw_mean - mean) > (tolerance > 0 ? tolerance : 0.0001))
        fail_msg("%s: min %ld max %ld mean %f, expected %f %f %f", name, (long)i->raw_min, (long)i->raw_max,
                 i->raw_mean, min, max, mean);
    assert_true(i->pixels && i->width >= 1 && i->width <= IMG_MAX_SIDE && i->height <= IMG_MAX_SIDE);
}

/* Returns whether it was decoded. */
static bool check_file(const char *dir, const char *name, const fl_json *entry)
{
    char part[FL_PATH_MAX], path[FL_PATH_MAX];
    fl_err err;
    img_image image;
    const char *expect = fl_json_text(entry, "expect");
    bool lossy = false;
    (void)fl_json_bool(entry, "lossy", &lossy);
    fl_code code = img_decode_file(decoder, &image, shared_path(path, fl_path(part, dir, name)), &err);
    if (code != FL_OK && (err.text[0] == 0 || strstr(err.text, "died")))
        fail_msg("%s: %s", name, err.text);
    if (code != FL_OK && strcmp(expect, "decode") == 0)
        fail_msg("%s must be decoded: %s", name, err.text);
    if (code == FL_OK && strncmp(expect, "reject", 6) == 0)
        fail_msg("%s must be refused", name);
    if (code == FL_OK && strncmp(expect, "decode", 6) == 0) {
        const fl_json *frame = fl_json_member(entry, "frame0");
        int64_t samples = 0;
        check_values(name, &image, frame, lossy ? 1 : 0);
        assert_true(fl_json_int(frame, "samples", &samples));
        assert_int_equal(image.raw_count, samples);
    }
    img_image_fini(&image);
    return code == FL_OK;
}

static void check_all(const char *expected, const char *dir, unsigned least_decoded)
{
    fl_json *all = shared_json(expected);
    unsigned n_decoded = 0;
    const char *name;
    for (size_t i = 0; (name = fl_json_key_at(all, i)); i++)
        n_decoded += check_file(dir, name, fl_json_member(all, name));
    assert_true(n_decoded >= least_decoded);
    fl_json_free(all);
}

static void every_dicom_file_gives_its_pixels_or_is_refused(void **state)
{
    (void)state;
    check_all("dicom/expected.json", "dicom/files", 30);
}

static void every_damaged_file_is_refused(void **state)
{
    (void)state;
    check_all("dicom/expected_mutated.json", "dicom/mutated", 0);
}

static void every_png_and_jpeg_gives_its_pixels(void **state)
{
    (void)state;
    fl_json *all = shared_json("formats/expected.json");
    const char *name;
    for (size_t i = 0; (name = fl_json_key_at(all, i)); i++) {
        char part[FL_PATH_MAX], path[FL_PATH_MAX];
        fl_err err;
        img_image image;
        const fl_json *entry = fl_json_member(all, name);
        bool is_nifti = strncmp(fl_json_text(entry, "format"), "nifti", 5) == 0;
        fl_code code = img_decode_file(decoder, &image, shared_path(path, fl_path(part, "formats/files", name)), &err);
        if (is_nifti) {
            assert_int_equal(code, FL_EREFUSED);
            assert_says(err, "not supported yet");
        } else {
            assert_ok(code, err);
            check_values(name, &image, entry, 0);
        }
        img_image_fini(&image);
    }
    fl_json_free(all);
}

int main(void)
{
    if (shared_missing("dicom/expected.json") || shared_missing("formats/expected.json"))
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dicom_file_gives_its_pixels_or_is_refused),
        cmocka_unit_test(every_damaged_file_is_refused),
        cmocka_unit_test(every_png_and_jpeg_gives_its_pixels),
    };
    fl_err err;
    const uint8_t key[32] = {1};
    if (img_decoder_open(&decoder, DECODER, key, &err) != FL_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    img_decoder_allow(decoder, IMG_ALLOW_BURNED_IN | IMG_ALLOW_ULTRASOUND | IMG_ALLOW_CAPTURE);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    img_decoder_close(decoder);
    return failed;
}
