/* What stored values become: the child's own code, called in this process. */
#include "tests/base/test.h"

#include "imaging/decoder/dicom_shim.h"
#include "imaging/decoder/frame.h"
#include "tests/imaging/make_dicom.h"

static const uint8_t key[32] = "the key of a hospital";

static fl_code read_bytes(img_image *out, const fl_buf *b, unsigned flags, fl_err *err)
{
    *out = (img_image){0};
    fl_code code = img_read_dicom(out, b->bytes, b->size, flags, key, err);
    if (code != FL_OK)
        img_image_fini(out);
    return code;
}

static fl_code read_made(img_image *out, const made *m, unsigned flags, fl_err *err)
{
    fl_buf b;
    fl_buf_init(&b, 1 << 20);
    made_write(&b, m);
    assert_ok(fl_buf_check(&b, "made", err), *err);
    fl_code code = read_bytes(out, &b, flags, err);
    fl_buf_fini(&b);
    return code;
}

#define expect_pixels(m, ...)                                                                                          \
    do {                                                                                                               \
        fl_err e_;                                                                                                     \
        img_image i_;                                                                                                  \
        const uint16_t want_[] = {__VA_ARGS__};                                                                        \
        assert_ok(read_made(&i_, (m), 0, &e_), e_);                                                                    \
        assert_int_equal(i_.width *i_.height, sizeof want_ / 2);                                                       \
        for (size_t k_ = 0; k_ < sizeof want_ / 2; k_++)                                                               \
            assert_int_equal(i_.pixels[k_], want_[k_]);                                                                \
        img_image_fini(&i_);                                                                                           \
    } while (0)

static void expect_refusal(const made *m, unsigned flags, fl_code code, const char *words)
{
    fl_err err;
    img_image image;
    assert_int_equal(read_made(&image, m, flags, &err), code);
    assert_says(err, words);
    assert_null(image.pixels);
}

static void without_a_window_no_value_is_lost(void **state)
{
    (void)state;
    made m = made_default((uint8_t[]){0, 1, 200, 255}, 4);
    expect_pixels(&m, 0, 1, 200, 255);
    m.slope = "2";
    m.intercept = "-1024";
    expect_pixels(&m, 0, 1, 200, 255);
    m.slope = "-1";
    expect_pixels(&m, 255, 254, 55, 0);
}

static void monochrome1_is_inverted(void **state)
{
    (void)state;
    made m = made_default((uint8_t[]){0, 1, 200, 255}, 4);
    m.photometric = "MONOCHROME1";
    expect_pixels(&m, 255, 254, 55, 0);
}

static void signed_samples_are_extended_and_bits_above_stored_masked(void **state)
{
    (void)state;
    /* 12 of 16 bits; the upper four carry an old overlay */
    made m = made_default((uint8_t[]){0x00, 0xf0, 0xff, 0xa7, 0x00, 0x18, 0xff, 0x0f}, 8);
    m.allocated = 16;
    m.stored = 12;
    m.high = 11;
    expect_pixels(&m, 0x000, 0x7ff, 0x800, 0xfff);
    m.is_signed = 1;
    expect_pixels(&m, 0x800, 0xfff, 0x000, 0x7ff);
    fl_err err;
    img_image image;
    assert_ok(read_made(&image, &m, 0, &err), err);
    assert_int_equal(image.raw_min, -2048);
    assert_int_equal(image.raw_max, 2047);
    assert_int_equal(image.bits, 12);
    img_image_fini(&image);
    m.high = 15; /* the samples sit in the upper bits */
    m.is_signed = 0;
    expect_pixels(&m, 0xf00, 0xa7f, 0x180, 0x0ff);
}

static void a_window_is_the_standards(void **state)
{
    (void)state;
    /* PS3.3 C.11.2.1.2: centre 100, width 100 -> 0 up to 50, 255 from 149 on */
    made m = made_default((uint8_t[]){49, 51, 148, 150}, 4);
    m.centre = "100";
    m.width = "100";
    expect_pixels(&m, 0, 3, 252, 255); /* ((x - 99.5) / 99 + 0.5) * 255 */
    m.slope = "2";
    m.intercept = "-100"; /* modality values -2, 2, 196, 200 */
    expect_pixels(&m, 0, 0, 255, 255);
    m = made_default((uint8_t[]){50, 75, 125, 150}, 4);
    m.centre = "100";
    m.width = "100";
    m.function = "LINEAR_EXACT";
    expect_pixels(&m, 0, 64, 191, 255);
    m.function = "SIGMOID";
    expect_pixels(&m, 30, 69, 186, 225); /* 255 / (1 + exp(-4 (x - c) / w)) */
    m.function = NULL;
    m.width = "1"; /* a threshold */
    expect_pixels(&m, 0, 0, 255, 255);
    m.width = "0"; /* nonsense: as if there were none */
    expect_pixels(&m, 50, 75, 125, 150);
}

static void colour_becomes_grey(void **state)
{
    (void)state;
    made m = made_default((uint8_t[]){255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9}, 12);
    m.samples = 3;
    m.photometric = "RGB";
    expect_pixels(&m, 76, 150, 29, 9);
    m.pixels = (uint8_t[]){255, 0, 0, 9, 0, 255, 0, 9, 0, 0, 255, 9};
    m.planar = 1;
    expect_pixels(&m, 76, 150, 29, 9);
    m.photometric = "YBR_FULL";
    m.planar = 0;
    expect_pixels(&m, 255, 9, 0, 0); /* every third is Y */
    m.photometric = "YBR_FULL_422";
    m.pixels = (uint8_t[]){10, 20, 128, 128, 30, 40, 128, 128};
    m.n_pixels = 8;
    expect_pixels(&m, 10, 20, 30, 40);
}

static void bits_of_a_mask_are_unpacked(void **state)
{
    (void)state;
    made m = made_default((uint8_t[]){0x05, 0x01}, 2);
    m.allocated = m.stored = 1;
    m.high = 0;
    m.columns = 5;
    expect_pixels(&m, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0);
}

static void the_first_frame_is_taken(void **state)
{
    (void)state;
    made m = made_default((uint8_t[]){1, 2, 3, 4, 5, 6, 7, 8}, 8);
    m.frames = 2;
    expect_pixels(&m, 1, 2, 3, 4);
    m.n_pixels = 6;
    expect_refusal(&m, 0, FL_EFORMAT, "need 8 bytes, there are 6");
}

static void headers_that_lie_are_refused(void **state)
{
    (void)state;
    const made good = made_default((uint8_t[]){1, 2, 3, 4, 5, 6, 7, 8}, 4);
    made m = good;
    m.rows = 65535;
    expect_refusal(&m, 0, FL_EFORMAT, "need 131070 bytes, there are 4");
    m = good;
    m.rows = m.columns = 65535;
    expect_refusal(&m, 0, FL_EREFUSED, "samples");
    m = good;
    m.rows = 0;
    expect_refusal(&m, 0, FL_EFORMAT, "not an image");
    m = good;
    m.stored = 9;
    expect_refusal(&m, 0, FL_EFORMAT, "header is wrong");
    m = good;
    m.high = 3;
    expect_refusal(&m, 0, FL_EFORMAT, "header is wrong");
    m = good;
    m.allocated = m.stored = 32;
    m.high = 31;
    expect_refusal(&m, 0, FL_EREFUSED, "32 bits are not supported");
    m = good;
    m.photometric = "RGB";
    expect_refusal(&m, 0, FL_EFORMAT, "do not fit");
    m = good;
    m.photometric = "Nemo Nobody";
    expect_refusal(&m, 0, FL_EREFUSED, "PhotometricInterpretation");
    m = good;
    m.no_pixels = true;
    expect_refusal(&m, 0, FL_EREFUSED, "no image");
    m = good;
    m.syntax = "1.2.840.10008.1.2.4.201";
    expect_refusal(&m, 0, FL_EREFUSED, "not supported");
}

static void policy_refuses_what_may_show_a_name(void **state)
{
    (void)state;
    fl_err err;
    img_image image;
    made m = made_default((uint8_t[]){1, 2, 3, 4}, 4);
    m.burned_in = "YES";
    expect_refusal(&m, IMG_ALLOW_ULTRASOUND | IMG_ALLOW_CAPTURE, FL_EREFUSED, "BurnedInAnnotation");
    assert_ok(read_made(&image, &m, IMG_ALLOW_BURNED_IN, &err), err);
    img_image_fini(&image);
    m.burned_in = "NO";
    m.modality = "US";
    expect_refusal(&m, IMG_ALLOW_BURNED_IN | IMG_ALLOW_CAPTURE, FL_EREFUSED, "ultrasound");
    assert_ok(read_made(&image, &m, IMG_ALLOW_ULTRASOUND, &err), err);
    img_image_fini(&image);
    m.modality = "CR";
    m.sop_class = "1.2.840.10008.5.1.4.1.1.7.2";
    expect_refusal(&m, IMG_ALLOW_BURNED_IN | IMG_ALLOW_ULTRASOUND, FL_EREFUSED, "secondary capture");
    assert_ok(read_made(&image, &m, IMG_ALLOW_CAPTURE, &err), err);
    img_image_fini(&image);
    m.sop_class = "1.2.840.10008.5.1.4.1.1.77.1.4"; /* begins alike */
    expect_pixels(&m, 1, 2, 3, 4);
}

static void only_terms_of_the_standard_pass(void **state)
{
    (void)state;
    fl_err err;
    img_image image;
    made m = made_default((uint8_t[]){1, 2, 3, 4}, 4);
    m.body_part = "CHEST";
    assert_ok(read_made(&image, &m, 0, &err), err);
    assert_string_equal(image.body_part, "CHEST");
    assert_string_equal(image.modality, "CR");
    img_image_fini(&image);
    m.body_part = "CHEST OF NEMO";
    m.modality = "NEMO";
    assert_ok(read_made(&image, &m, 0, &err), err);
    assert_string_equal(image.body_part, "");
    assert_string_equal(image.modality, "");
    img_image_fini(&image);
}

static void one_patient_has_one_pseudonym(void **state)
{
    (void)state;
    fl_err err;
    img_image a, b, c;
    uint8_t from_csv[32];
    made m = made_default((uint8_t[]){1, 2, 3, 4}, 4);
    assert_ok(read_made(&a, &m, 0, &err), err);
    m.patient_id = " P-17  ";
    assert_ok(read_made(&b, &m, 0, &err), err);
    m.issuer = "another registry";
    assert_ok(read_made(&c, &m, 0, &err), err);
    img_hmac_patient(from_csv, key, "P-17 ");
    assert_true(a.has_patient);
    assert_memory_equal(a.patient, b.patient, 32);
    assert_memory_equal(a.patient, from_csv, 32);
    assert_memory_not_equal(a.patient, c.patient, 32);
    img_hmac_sop(from_csv, key, "2.25.7");
    assert_memory_equal(a.sop, from_csv, 32);
    img_image_fini(&a);
    img_image_fini(&b);
    img_image_fini(&c);
    m.patient_id = "  ";
    assert_ok(read_made(&a, &m, 0, &err), err);
    assert_false(a.has_patient);
    img_image_fini(&a);
}

/* A modality table and a palette, as elements in front of the pixels. */
static void tables_are_looked_up(void **state)
{
    (void)state;
    fl_buf item, extra;
    fl_buf_init(&item, 4096);
    fl_buf_init(&extra, 4096);
    made_element(&item, 0x00283002, "US", (uint8_t[]){3, 0, 10, 0, 10, 0}, 6); /* 3 entries from 10 on, of 10 bits */
    made_element(&item, 0x00283006, "OW", (uint8_t[]){100, 0, 44, 1, 255, 3}, 6);
    fl_buf sequence;
    fl_buf_init(&sequence, 4096);
    made_item(&sequence, 0xfffee000, (uint32_t)item.size);
    fl_buf_add(&sequence, item.bytes, item.size);
    made_element(&extra, 0x00283000, "SQ", sequence.bytes, sequence.size);
    made m = made_default((uint8_t[]){0, 10, 11, 200}, 4);
    m.extra = extra.bytes;
    m.n_extra = extra.size;
    expect_pixels(&m, 100, 100, 300, 1023);
    fl_buf_clear(&extra);
    for (unsigned c = 0; c < 3; c++)
        made_element(&extra, 0x00281101 + c, "US", (uint8_t[]){4, 0, 0, 0, 16, 0}, 6);
    for (unsigned c = 0; c < 3; c++) {
        uint8_t data[8] = {0};
        data[2 * c + 1] = 255; /* entry c is pure red, green, blue */
        data[7] = 100;
        made_element(&extra, 0x00281201 + c, "OW", data, 8);
    }
    m = made_default((uint8_t[]){0, 1, 2, 9}, 4);
    m.photometric = "PALETTE COLOR";
    m.extra = extra.bytes;
    m.n_extra = extra.size;
    expect_pixels(&m, 76, 150, 29, 100);
    m.n_extra = 0;
    expect_refusal(&m, 0, FL_EREFUSED, "palette");
    fl_buf_fini(&item);
    fl_buf_fini(&sequence);
    fl_buf_fini(&extra);
}

/* A 2 x 2 frame of RLE: one segment of four literal bytes. */
static void add_rle_fragment(fl_buf *b, uint8_t first)
{
    uint8_t bytes[70] = {1, 0, 0, 0, 64, 0, 0, 0};
    memcpy(bytes + 64, (uint8_t[]){3, first, (uint8_t)(first + 1), (uint8_t)(first + 2), (uint8_t)(first + 3), 128}, 6);
    made_item(b, 0xfffee000, sizeof bytes);
    fl_buf_add(b, bytes, sizeof bytes);
}

static void rle_in_several_fragments_is_refused(void **state)
{
    (void)state;
    for (unsigned n_fragments = 1; n_fragments <= 2; n_fragments++) {
        fl_err err;
        img_image image;
        fl_buf b;
        fl_buf_init(&b, 4096);
        made m = made_default(NULL, 0);
        m.syntax = "1.2.840.10008.1.2.5";
        m.no_pixels = true;
        made_write(&b, &m);
        made_undefined(&b, 0x7fe00010, "OB");
        made_item(&b, 0xfffee000, 0);
        for (unsigned i = 0; i < n_fragments; i++)
            add_rle_fragment(&b, (uint8_t)(10 * (i + 1)));
        made_item(&b, 0xfffee0dd, 0);
        fl_code code = read_bytes(&image, &b, 0, &err);
        assert_int_equal(code, n_fragments == 1 ? FL_OK : FL_EREFUSED);
        if (code == FL_OK)
            assert_int_equal(image.pixels[3], 13);
        else
            assert_says(err, "2 RLE fragments for 1 frames");
        img_image_fini(&image);
        fl_buf_fini(&b);
    }
}

static void a_large_image_comes_back_at_1024(void **state)
{
    (void)state;
    fl_err err;
    img_image image;
    size_t n = 2048u * 3000;
    uint8_t *pixels = malloc(n);
    memset(pixels, 77, n);
    fl_buf b;
    fl_buf_init(&b, 8 << 20);
    made m = made_default(pixels, n);
    m.rows = 2048;
    m.columns = 3000;
    made_write(&b, &m);
    assert_ok(read_bytes(&image, &b, 0, &err), err);
    assert_int_equal(image.width, 1024);
    assert_int_equal(image.height, 699);
    assert_int_equal(image.pixels[1024 * 699 - 1], 77);
    assert_int_equal(image.raw_count, n);
    img_image_fini(&image);
    fl_buf_fini(&b);
    free(pixels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_window_no_value_is_lost),
        cmocka_unit_test(monochrome1_is_inverted),
        cmocka_unit_test(signed_samples_are_extended_and_bits_above_stored_masked),
        cmocka_unit_test(a_window_is_the_standards),
        cmocka_unit_test(colour_becomes_grey),
        cmocka_unit_test(bits_of_a_mask_are_unpacked),
        cmocka_unit_test(the_first_frame_is_taken),
        cmocka_unit_test(headers_that_lie_are_refused),
        cmocka_unit_test(policy_refuses_what_may_show_a_name),
        cmocka_unit_test(only_terms_of_the_standard_pass),
        cmocka_unit_test(one_patient_has_one_pseudonym),
        cmocka_unit_test(tables_are_looked_up),
        cmocka_unit_test(rle_in_several_fragments_is_refused),
        cmocka_unit_test(a_large_image_comes_back_at_1024),
    };
    if (!dicom_start())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
