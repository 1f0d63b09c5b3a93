#include "tests/base/test.h"

#include "imaging/reply.h"

static img_image sample(void)
{
    img_image i = {.width = 30,
                   .height = 1024,
                   .bits = 12,
                   .from_dicom = true,
                   .has_patient = true,
                   .n_frames = 3,
                   .raw_min = -5,
                   .raw_max = 4000,
                   .raw_count = 40000,
                   .raw_mean = 17.25};
    strcpy(i.modality, "CR");
    strcpy(i.body_part, "CHEST");
    strcpy(i.photometric, "PALETTE COLOR");
    memset(i.patient, 0xab, 32);
    return i;
}

static void a_reply_comes_back_as_it_was(void **state)
{
    (void)state;
    fl_err err;
    uint8_t bytes[IMG_REPLY_SIZE], again[IMG_REPLY_SIZE];
    img_image a = sample(), b;
    img_reply_write(bytes, FL_OK, &a, "");
    assert_ok(img_reply_parse(&b, bytes, &err), err);
    assert_int_equal(b.width, 30);
    assert_int_equal(b.raw_min, -5);
    assert_string_equal(b.photometric, "PALETTE COLOR");
    assert_memory_equal(a.patient, b.patient, 32);
    img_reply_write(again, FL_OK, &b, "");
    assert_memory_equal(bytes, again, IMG_REPLY_SIZE);
}

static void a_refusal_comes_back_with_its_reason(void **state)
{
    (void)state;
    fl_err err;
    uint8_t bytes[IMG_REPLY_SIZE];
    img_image b;
    img_reply_write(bytes, FL_EREFUSED, NULL, "too wide\n\xff");
    assert_int_equal(img_reply_parse(&b, bytes, &err), FL_EREFUSED);
    assert_string_equal(err.text, "too wide??");
    bytes[20] = 1; /* a refusal carries nothing else */
    assert_int_equal(img_reply_parse(&b, bytes, &err), FL_EENV);
    char long_reason[1000];
    memset(long_reason, 'x', sizeof long_reason - 1);
    long_reason[999] = 0;
    img_reply_write(bytes, FL_EFORMAT, NULL, long_reason);
    assert_int_equal(img_reply_parse(&b, bytes, &err), FL_EFORMAT);
    assert_int_equal(strlen(err.text), IMG_REASON_SIZE - 1);
}

/* A child that was taken over may send anything: whatever is accepted must be what an honest child could send. */
static void any_byte_changed_is_refused_or_harmless(void **state)
{
    (void)state;
    uint8_t bytes[IMG_REPLY_SIZE], again[IMG_REPLY_SIZE];
    img_image a = sample(), b;
    img_reply_write(bytes, FL_OK, &a, "");
    unsigned n_refused = 0;
    for (size_t i = 0; i < IMG_REPLY_SIZE; i++)
        for (unsigned v = 0; v < 256; v++) {
            uint8_t old = bytes[i];
            if (v == old)
                continue;
            bytes[i] = (uint8_t)v;
            fl_err err;
            if (img_reply_parse(&b, bytes, &err) == FL_OK) {
                img_reply_write(again, FL_OK, &b, "");
                assert_memory_equal(bytes, again, IMG_REPLY_SIZE);
                bool is_number = i < 56, is_pseudonym = i < 88;
                bool is_shorter_term = v == 0 || i < 205; /* another term of the table, one letter away */
                assert_true(is_number || is_pseudonym || is_shorter_term);
            } else {
                n_refused++;
            }
            bytes[i] = old;
        }
    assert_true(n_refused > (IMG_REPLY_SIZE - 200) * 250);
}

static void free_text_does_not_pass_as_a_term(void **state)
{
    (void)state;
    fl_err err;
    uint8_t bytes[IMG_REPLY_SIZE];
    img_image a = sample(), b;
    img_reply_write(bytes, FL_OK, &a, "");
    memcpy(bytes + 120 + 17, "NEMO NOBODY", 12); /* body part */
    assert_int_equal(img_reply_parse(&b, bytes, &err), FL_EENV);
    strcpy(a.body_part, "NEMO NOBODY"); /* nor does the writer let it through */
    img_reply_write(bytes, FL_OK, &a, "");
    assert_ok(img_reply_parse(&b, bytes, &err), err);
    assert_string_equal(b.body_part, "");
}

static void a_job_names_its_length(void **state)
{
    (void)state;
    uint8_t bytes[IMG_JOB_SIZE];
    img_job a = {.flags = 5, .length = IMG_MAX_FILE_BYTES, .key = {1, 2, 3}}, b;
    img_job_write(bytes, &a);
    assert_true(img_job_parse(&b, bytes));
    assert_int_equal(b.length, a.length);
    assert_int_equal(b.flags, 5);
    assert_memory_equal(a.key, b.key, 32);
    a.length++;
    img_job_write(bytes, &a);
    assert_false(img_job_parse(&b, bytes));
    bytes[0] = 'X';
    assert_false(img_job_parse(&b, bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_comes_back_as_it_was),
        cmocka_unit_test(a_refusal_comes_back_with_its_reason),
        cmocka_unit_test(any_byte_changed_is_refused_or_harmless),
        cmocka_unit_test(free_text_does_not_pass_as_a_term),
        cmocka_unit_test(a_job_names_its_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
