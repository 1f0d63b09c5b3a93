/* Films with planted identities: none of the planted texts may come out of the decoder, whatever it answers. */
#include "base/encode.h"
#include "imaging/image.h"
#include "tests/imaging/shared_data.h"

static img_decoder *decoder;
static const uint8_t key[32] = "the key of a hospital";

static void assert_absent(const char *file, const char *where, const void *bytes, size_t n, const fl_json *phi)
{
    for (size_t i = 0; i < fl_json_count(phi); i++) {
        const char *hex = fl_json_text(fl_json_at(phi, i), "bytes_hex");
        uint8_t planted[512];
        size_t n_planted = strlen(hex) / 2;
        assert_true(n_planted <= sizeof planted && fl_hex_decode(planted, n_planted, hex));
        if (n_planted >= 3 && memmem(bytes, n, planted, n_planted))
            fail_msg("%s: planted text %zu is in the %s", file, i, where);
    }
}

static void nothing_planted_comes_out(void **state)
{
    (void)state;
    fl_json *all = shared_json("dicom_phi/planted_phi.json");
    unsigned n_decoded = 0;
    const char *name;
    for (size_t i = 0; (name = fl_json_key_at(all, i)); i++)
        for (unsigned allow = 0; allow < 8; allow += 7) {
            char part[FL_PATH_MAX], path[FL_PATH_MAX];
            const fl_json *entry = fl_json_member(all, name), *phi = fl_json_member(entry, "phi");
            const char *burned_in = fl_json_text(entry, "burned_in_annotation_tag");
            img_image image;
            fl_err err = {0};
            img_decoder_allow(decoder, allow);
            fl_code code = img_decode_file(decoder, &image, shared_path(path, fl_path(part, "dicom_phi/files", name)),
                                           &err);
            if (burned_in && strcmp(burned_in, "YES") == 0 && !allow)
                assert_int_equal(code, FL_EREFUSED);
            else
                assert_ok(code, err);
            assert_true(fl_json_count(phi) > 20);
            assert_absent(name, "message", err.text, sizeof err.text, phi);
            assert_absent(name, "answer", &image, sizeof image, phi);
            if (code == FL_OK) {
                assert_absent(name, "pixels", image.pixels, 2u * image.width * image.height, phi);
                n_decoded++;
            }
            img_image_fini(&image);
        }
    assert_int_equal(n_decoded, 2 * fl_json_count(all) - 1);
    fl_json_free(all);
}

static void what_must_stay_stays(void **state)
{
    (void)state;
    fl_json *all = shared_json("dicom_phi/planted_phi.json");
    img_decoder_allow(decoder, IMG_ALLOW_BURNED_IN);
    const char *name;
    for (size_t i = 0; (name = fl_json_key_at(all, i)); i++) {
        char part[FL_PATH_MAX], path[FL_PATH_MAX];
        fl_err err;
        img_image image;
        double min = 0, max = 0, mean = 0;
        int64_t rows = 0, columns = 0;
        const fl_json *entry = fl_json_member(all, name), *keep = fl_json_member(entry, "must_keep"),
                      *frame = fl_json_member(entry, "frame0");
        assert_ok(img_decode_file(decoder, &image, shared_path(path, fl_path(part, "dicom_phi/files", name)), &err),
                  err);
        assert_true(fl_json_int(keep, "Rows", &rows) && fl_json_int(keep, "Columns", &columns));
        assert_true(fl_json_real(frame, "min", &min) && fl_json_real(frame, "max", &max) &&
                    fl_json_real(frame, "mean", &mean));
        assert_int_equal(image.height, rows);
        assert_int_equal(image.width, columns);
        assert_true(image.raw_min == (int64_t)min && image.raw_max == (int64_t)max);
        assert_true(image.raw_mean - mean < 1e-4 && mean - image.raw_mean < 1e-4);
        assert_string_equal(image.modality, fl_json_text(keep, "Modality"));
        assert_string_equal(image.body_part, fl_json_text(keep, "BodyPartExamined"));
        assert_string_equal(image.view, fl_json_text(keep, "ViewPosition"));
        assert_string_equal(image.photometric, fl_json_text(keep, "PhotometricInterpretation"));
        img_image_fini(&image);
    }
    fl_json_free(all);
}

/* Files of one patient (same_patient_group) have one pseudonym, others have others. */
static void pseudonyms_keep_a_patient_together(void **state)
{
    (void)state;
    fl_json *all = shared_json("dicom_phi/planted_phi.json");
    size_t n = fl_json_count(all);
    uint8_t(*patient)[32] = calloc(n, sizeof *patient);
    const char **group = calloc(n, sizeof *group);
    img_decoder_allow(decoder, IMG_ALLOW_BURNED_IN);
    for (size_t i = 0; i < n; i++) {
        char part[FL_PATH_MAX], path[FL_PATH_MAX];
        fl_err err;
        img_image image;
        const char *name = fl_json_key_at(all, i);
        group[i] = fl_json_text(fl_json_member(all, name), "same_patient_group");
        assert_ok(img_decode_file(decoder, &image, shared_path(path, fl_path(part, "dicom_phi/files", name)), &err),
                  err);
        assert_true(image.has_patient && image.has_sop);
        memcpy(patient[i], image.patient, 32);
        img_image_fini(&image);
        for (size_t j = 0; j < i; j++)
            assert_int_equal(memcmp(patient[i], patient[j], 32) == 0, strcmp(group[i], group[j]) == 0);
    }
    free(patient);
    free(group);
    fl_json_free(all);
}

int main(void)
{
    if (shared_missing("dicom_phi/planted_phi.json"))
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_planted_comes_out),
        cmocka_unit_test(what_must_stay_stays),
        cmocka_unit_test(pseudonyms_keep_a_patient_together),
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
