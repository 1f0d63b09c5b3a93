/* The parent and its child: restarts, deaths, time, and files that are not what they seem. */
#include "tests/base/test.h"

#include "base/file.h"
#include "imaging/image.h"
#include "sim/phantom_dicom.h"
#include "tests/imaging/make_dicom.h"

#include <dirent.h>
#include <png.h>
#include <signal.h>
#include <sys/stat.h>

#define DECODER CORDON_BIN_DIR "/cordon-decode"

static const uint8_t key[32] = {7};
static img_decoder *decoder;
static uint16_t pixels[16 * 16];

/* A small film by the phantoms' writer. */
static fl_buf film(void)
{
    sim_film f = {.pixels = pixels,
                  .side = 16,
                  .has_window = true,
                  .family = "Nobodyson",
                  .patient_id = "ABC-1",
                  .sop_uid = "2.25.11",
                  .study_uid = "2.25.12",
                  .series_uid = "2.25.13"};
    for (unsigned i = 0; i < 256; i++)
        pixels[i] = (uint16_t)(i * 16);
    fl_buf b;
    fl_buf_init(&b, 1 << 20);
    sim_film_write(&b, &f);
    assert_false(b.failed);
    return b;
}

static void expect_film(const fl_buf *b)
{
    fl_err err;
    img_image image;
    assert_ok(img_decode(decoder, &image, b->bytes, b->size, &err), err);
    assert_int_equal(image.width, 16);
    assert_int_equal(image.pixels[17], 17 * 16);
    img_image_fini(&image);
}

static void a_film_comes_through(void **state)
{
    (void)state;
    fl_buf b = film();
    expect_film(&b);
    fl_buf_fini(&b);
}

static void a_killed_child_is_replaced(void **state)
{
    (void)state;
    fl_buf b = film();
    int first = img_decoder_pid(decoder);
    assert_int_equal(kill(first, SIGKILL), 0);
    fl_err err = {0};
    img_image image;
    /* It may be dead before the job or during it: that file is lost, with a reason. */
    assert_int_equal(img_decode(decoder, &image, b.bytes, b.size, &err), FL_EFORMAT);
    assert_string_equal(err.text, "the decoder died (signal 9)");
    assert_null(image.pixels);
    expect_film(&b);
    assert_int_not_equal(img_decoder_pid(decoder), first);
    fl_buf_fini(&b);
}

static void a_child_that_hangs_is_stopped(void **state)
{
    (void)state;
    fl_buf b = film();
    expect_film(&b);
    fl_err err;
    img_image image;
    img_decoder_limit(decoder, 200);
    assert_int_equal(kill(img_decoder_pid(decoder), SIGSTOP), 0);
    assert_int_equal(img_decode(decoder, &image, b.bytes, b.size, &err), FL_EFORMAT);
    assert_says(err, "more than 200 ms");
    img_decoder_limit(decoder, IMG_TIME_LIMIT_MS);
    expect_film(&b);
    fl_buf_fini(&b);
}

static unsigned count_files(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void nothing_leaks_when_children_die(void **state)
{
    (void)state;
    fl_buf b = film();
    expect_film(&b);
    unsigned before = count_files();
    for (unsigned i = 0; i < 5; i++) {
        img_image image;
        kill(img_decoder_pid(decoder), SIGKILL);
        assert_int_equal(img_decode(decoder, &image, b.bytes, b.size, NULL), FL_EFORMAT);
        expect_film(&b);
    }
    assert_int_equal(count_files(), before);
    fl_buf_fini(&b);
}

static void programs_that_are_no_decoder_are_refused(void **state)
{
    (void)state;
    fl_err err;
    img_decoder *d;
    assert_int_equal(img_decoder_open(&d, "/nowhere/cordon-decode", key, &err), FL_EENV);
    assert_says(err, "cannot be started");
    assert_null(d);
    assert_int_equal(img_decoder_open(&d, "/bin/true", key, &err), FL_EENV);
    assert_says(err, "before it was ready");
    img_decoder_close(NULL);
}

static void the_environment_may_name_the_program(void **state)
{
    (void)state;
    fl_err err;
    img_decoder *d;
    setenv("CORDON_DECODER", DECODER, 1);
    assert_ok(img_decoder_open(&d, NULL, key, &err), err);
    img_decoder_close(d);
    setenv("CORDON_DECODER", "/nowhere/else", 1);
    assert_int_equal(img_decoder_open(&d, NULL, key, &err), FL_EENV);
    unsetenv("CORDON_DECODER");
}

/* Every cut of a valid film is refused; none of them harms the child. */
static void every_cut_is_refused(void **state)
{
    (void)state;
    fl_buf b = film();
    expect_film(&b);
    int pid = img_decoder_pid(decoder);
    for (size_t n = 1; n < b.size; n += n < 200 || n > b.size - 20 ? 1 : 13) {
        fl_err err;
        img_image image;
        fl_code code = img_decode(decoder, &image, b.bytes, n, &err);
        if (code == FL_OK || strstr(err.text, "died"))
            fail_msg("cut at %zu: code %d %s", n, code, code == FL_OK ? "" : err.text);
        assert_null(strstr(err.text, "Nobodyson"));
    }
    expect_film(&b);
    assert_int_equal(img_decoder_pid(decoder), pid);
    fl_buf_fini(&b);
}

/* One byte changed, anywhere: pixels or a reason, and the next file is read. */
static void any_byte_may_be_wrong(void **state)
{
    (void)state;
    fl_buf b = film();
    for (size_t i = 128; i < b.size; i += i < 1200 ? 3 : 50) {
        fl_err err;
        img_image image;
        uint8_t old = b.bytes[i];
        b.bytes[i] ^= 0x81;
        if (img_decode(decoder, &image, b.bytes, b.size, &err) == FL_OK)
            assert_true(image.width >= 1 && image.height >= 1);
        else
            assert_true(err.text[0] && !strstr(err.text, "Nobodyson"));
        img_image_fini(&image);
        b.bytes[i] = old;
    }
    expect_film(&b);
    fl_buf_fini(&b);
}

static void twenty_thousand_sequences_do_no_harm(void **state)
{
    (void)state;
    fl_buf b;
    fl_buf_init(&b, 8 << 20);
    made_head(&b, "1.2.840.10008.1.2.1");
    for (unsigned i = 0; i < 20000; i++) {
        made_undefined(&b, 0x00081140, "SQ");
        made_item(&b, 0xfffee000, 0xffffffff);
    }
    fl_err err;
    img_image image;
    int pid = img_decoder_pid(decoder);
    assert_int_equal(img_decode(decoder, &image, b.bytes, b.size, &err), FL_EREFUSED);
    assert_says(err, "nested deeper than 32");
    assert_int_equal(img_decoder_pid(decoder), pid);
    fl_buf_fini(&b);
}

static void what_is_no_image_is_said_to_be_none(void **state)
{
    (void)state;
    fl_err err;
    img_image image;
    assert_int_equal(img_decode(decoder, &image, (const uint8_t *)"", 0, &err), FL_EFORMAT);
    assert_says(err, "empty");
    assert_int_equal(img_decode(decoder, &image, (const uint8_t *)"file,label\n", 11, &err), FL_EFORMAT);
    assert_says(err, "not an image");
    uint8_t nifti[352] = {92, 1};
    memcpy(nifti + 344, "n+1", 4);
    assert_int_equal(img_decode(decoder, &image, nifti, sizeof nifti, &err), FL_EREFUSED);
    assert_says(err, "NIfTI is not supported yet");
}

static fl_buf grey_png(unsigned side)
{
    png_image p = {.version = PNG_IMAGE_VERSION, .width = side, .height = side, .format = PNG_FORMAT_GRAY};
    uint8_t *grey = malloc((size_t)side * side);
    for (size_t i = 0; i < (size_t)side * side; i++)
        grey[i] = (uint8_t)i;
    fl_buf b;
    fl_buf_init(&b, 1 << 20);
    static uint8_t bytes[1 << 20];
    size_t n = sizeof bytes;
    assert_true(png_image_write_to_memory(&p, bytes, &n, 0, grey, 0, NULL));
    fl_buf_add(&b, bytes, n);
    free(grey);
    return b;
}

static void a_png_comes_through_and_its_cuts_do_not(void **state)
{
    (void)state;
    fl_err err;
    img_image image;
    fl_buf b = grey_png(64);
    assert_ok(img_decode(decoder, &image, b.bytes, b.size, &err), err);
    assert_int_equal(image.bits, 8);
    assert_int_equal(image.pixels[65], 65);
    assert_false(image.from_dicom || image.has_patient);
    img_image_fini(&image);
    for (size_t n = 1; n < b.size; n++)
        assert_int_not_equal(img_decode(decoder, &image, b.bytes, n, &err), FL_OK);
    b.bytes[b.size / 2] ^= 1; /* the checksum sees it */
    assert_int_equal(img_decode(decoder, &image, b.bytes, b.size, &err), FL_EFORMAT);
    fl_buf_fini(&b);
}

static void a_name_must_not_lie(void **state)
{
    fl_err err;
    img_image image;
    char path[FL_PATH_MAX];
    fl_buf png = grey_png(8), dicom = film();
    assert_ok(fl_file_write(fl_path(path, *state, "a.dcm"), png.bytes, png.size, 0600, &err), err);
    assert_int_equal(img_decode_file(decoder, &image, path, &err), FL_EFORMAT);
    assert_says(err, "the name says DICOM, the content is PNG");
    assert_ok(fl_file_write(fl_path(path, *state, "b.PNG"), png.bytes, png.size, 0600, &err), err);
    assert_ok(img_decode_file(decoder, &image, path, &err), err);
    img_image_fini(&image);
    assert_ok(fl_file_write(fl_path(path, *state, "IM000001"), dicom.bytes, dicom.size, 0600, &err), err);
    assert_ok(img_decode_file(decoder, &image, path, &err), err);
    img_image_fini(&image);
    assert_int_equal(img_decode_file(decoder, &image, fl_path(path, *state, "missing.dcm"), &err), FL_ENOTFOUND);
    assert_int_equal(img_decode_file(decoder, &image, *state, &err), FL_EFORMAT);
    assert_says(err, "not a regular file");
    assert_int_equal(mkfifo(fl_path(path, *state, "pipe"), 0600), 0);
    assert_int_equal(img_decode_file(decoder, &image, path, &err), FL_EFORMAT);
    assert_ok(fl_file_write(fl_path(path, *state, "c.dcm"), "", 0, 0600, &err), err);
    assert_int_equal(img_decode_file(decoder, &image, path, &err), FL_EFORMAT);
    assert_says(err, "the file is empty");
    fl_buf_fini(&png);
    fl_buf_fini(&dicom);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_film_comes_through),
        cmocka_unit_test(a_killed_child_is_replaced),
        cmocka_unit_test(a_child_that_hangs_is_stopped),
        cmocka_unit_test(nothing_leaks_when_children_die),
        cmocka_unit_test(programs_that_are_no_decoder_are_refused),
        cmocka_unit_test(the_environment_may_name_the_program),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(any_byte_may_be_wrong),
        cmocka_unit_test(twenty_thousand_sequences_do_no_harm),
        cmocka_unit_test(what_is_no_image_is_said_to_be_none),
        cmocka_unit_test(a_png_comes_through_and_its_cuts_do_not),
        in_scratch(a_name_must_not_lie),
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
