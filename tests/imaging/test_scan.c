#include "tests/base/test.h"

#include "imaging/decoder/scan.h"
#include "tests/imaging/make_dicom.h"

#include <zlib.h>

#define EXPLICIT "1.2.840.10008.1.2.1"
#define IMPLICIT "1.2.840.10008.1.2"
#define DEFLATED "1.2.840.10008.1.2.1.99"

/* depth sequences of undefined length, one in another */
static void add_nested(fl_buf *b, unsigned depth, bool is_implicit)
{
    for (unsigned i = 0; i < depth; i++) {
        if (is_implicit)
            made_item(b, 0x00081140, 0xffffffff);
        else
            made_undefined(b, 0x00081140, "SQ");
        made_item(b, 0xfffee000, 0xffffffff);
    }
    for (unsigned i = 0; i < depth; i++) {
        made_item(b, 0xfffee00d, 0);
        made_item(b, 0xfffee0dd, 0);
    }
}

/* depth sequences of defined length, built from the inside; in implicit files nothing says that they are sequences */
static void add_nested_defined(fl_buf *b, unsigned depth, bool is_implicit)
{
    fl_buf inner[2];
    fl_buf_init(&inner[0], 1 << 20);
    fl_buf_init(&inner[1], 1 << 20);
    for (unsigned i = 0; i < depth; i++) {
        fl_buf *from = &inner[i % 2], *to = &inner[1 - i % 2];
        fl_buf_clear(to);
        if (is_implicit) {
            made_item(to, 0x00081140, (uint32_t)from->size + 8);
        } else {
            made_undefined(to, 0x00081140, "SQ");
            uint32_t n = (uint32_t)from->size + 8;
            memcpy(to->bytes + to->size - 4, (uint8_t[]){(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), 0}, 4);
        }
        made_item(to, 0xfffee000, (uint32_t)from->size);
        if (from->size)
            fl_buf_add(to, from->bytes, from->size);
    }
    fl_buf_add(b, inner[depth % 2].bytes, inner[depth % 2].size);
    fl_buf_fini(&inner[0]);
    fl_buf_fini(&inner[1]);
}

static void check_depth(const char *syntax, unsigned depth, bool is_defined, fl_code expected)
{
    fl_err err;
    fl_buf b;
    fl_buf_init(&b, 8 << 20);
    made_head(&b, syntax);
    bool is_implicit = strcmp(syntax, IMPLICIT) == 0;
    (is_defined ? add_nested_defined : add_nested)(&b, depth, is_implicit);
    assert_ok(fl_buf_check(&b, "nested", &err), err);
    assert_int_equal(img_scan(b.bytes, b.size, IMG_SCAN_MAX_DEPTH, &err), expected);
    if (expected != FL_OK)
        assert_says(err, "nested deeper than 32");
    fl_buf_fini(&b);
}

static void thirty_two_levels_pass_and_one_more_does_not(void **state)
{
    (void)state;
    for (unsigned is_defined = 0; is_defined < 2; is_defined++) {
        check_depth(EXPLICIT, 32, is_defined, FL_OK);
        check_depth(EXPLICIT, 33, is_defined, FL_EREFUSED);
        check_depth(IMPLICIT, 32, is_defined, FL_OK);
        check_depth(IMPLICIT, 33, is_defined, FL_EREFUSED);
    }
    check_depth(EXPLICIT, 20000, false, FL_EREFUSED);
    check_depth(IMPLICIT, 20000, false, FL_EREFUSED);
}

static void big_endian_nests_too(void **state)
{
    (void)state;
    fl_err err;
    fl_buf b;
    fl_buf_init(&b, 1 << 20);
    made_head(&b, "1.2.840.10008.1.2.2");
    for (unsigned i = 0; i < 40; i++)
        fl_buf_add(&b, "\x00\x08\x11\x40SQ\0\0\xff\xff\xff\xff\xff\xfe\xe0\0\xff\xff\xff\xff", 20);
    assert_int_equal(img_scan(b.bytes, b.size, 32, &err), FL_EREFUSED);
    fl_buf_fini(&b);
}

static void unknown_elements_nest_too(void **state)
{
    (void)state;
    fl_err err;
    fl_buf b;
    fl_buf_init(&b, 1 << 20);
    made_head(&b, EXPLICIT);
    made_undefined(&b, 0x00091001, "UN"); /* implicit inside (PS3.5 6.2.2) */
    made_item(&b, 0xfffee000, 0xffffffff);
    add_nested(&b, 40, true);
    assert_int_equal(img_scan(b.bytes, b.size, 32, &err), FL_EREFUSED);
    fl_buf_fini(&b);
}

static void deflate_all(fl_buf *out, const uint8_t *bytes, size_t n)
{
    z_stream z = {.next_in = (Bytef *)bytes, .avail_in = (uInt)n};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY), Z_OK);
    uint8_t block[65536];
    int rc;
    do {
        z.next_out = block;
        z.avail_out = sizeof block;
        rc = deflate(&z, Z_FINISH);
        fl_buf_add(out, block, sizeof block - z.avail_out);
    } while (rc == Z_OK);
    deflateEnd(&z);
}

static void deflated_files_are_looked_into(void **state)
{
    (void)state;
    for (unsigned depth = 32; depth <= 33; depth++) {
        fl_err err;
        fl_buf set, b;
        fl_buf_init(&set, 1 << 20);
        fl_buf_init(&b, 1 << 20);
        add_nested(&set, depth, false);
        made_head(&b, DEFLATED);
        deflate_all(&b, set.bytes, set.size);
        assert_int_equal(img_scan(b.bytes, b.size, 32, &err), depth == 32 ? FL_OK : FL_EREFUSED);
        for (size_t n = 0; n < b.size; n++)
            if (img_scan(b.bytes, n, 32, &err) != FL_OK)
                assert_says(err, "nested deeper");
        fl_buf_fini(&set);
        fl_buf_fini(&b);
    }
}

static void a_deflate_bomb_is_refused(void **state)
{
    (void)state;
    fl_err err;
    fl_buf b;
    fl_buf_init(&b, 1 << 20);
    made_head(&b, DEFLATED);
    size_t n = (size_t)IMG_SCAN_MAX_INFLATED + 1;
    uint8_t *zeros = calloc(1, n);
    assert_non_null(zeros);
    deflate_all(&b, zeros, n);
    free(zeros);
    assert_int_equal(img_scan(b.bytes, b.size, 32, &err), FL_EREFUSED);
    assert_says(err, "over 256 MiB");
    fl_buf_fini(&b);
}

static void bytes_that_look_like_an_item_are_no_trap(void **state)
{
    (void)state;
    fl_err err;
    fl_buf b;
    fl_buf_init(&b, 1 << 20);
    made_head(&b, EXPLICIT);
    made_element(&b, 0x00091001, "UN", "\xfe\xff\x00\xe0garbage garbage!", 20);
    add_nested(&b, 33, false); /* still seen behind it */
    assert_int_equal(img_scan(b.bytes, b.size, 32, &err), FL_EREFUSED);
    fl_buf_fini(&b);
}

static void every_cut_of_a_file_is_survived(void **state)
{
    (void)state;
    for (unsigned is_implicit = 0; is_implicit < 2; is_implicit++) {
        fl_buf b;
        fl_buf_init(&b, 1 << 20);
        made_head(&b, is_implicit ? IMPLICIT : EXPLICIT);
        add_nested(&b, 5, is_implicit);
        add_nested_defined(&b, 5, is_implicit);
        for (size_t n = 0; n <= b.size; n++) {
            uint8_t *exact = malloc(n ? n : 1); /* its end is where the sanitizer watches */
            memcpy(exact, b.bytes, n);
            assert_int_equal(img_scan(exact, n, 32, NULL), FL_OK);
            free(exact);
        }
        fl_buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thirty_two_levels_pass_and_one_more_does_not),
        cmocka_unit_test(big_endian_nests_too),
        cmocka_unit_test(unknown_elements_nest_too),
        cmocka_unit_test(deflated_files_are_looked_into),
        cmocka_unit_test(a_deflate_bomb_is_refused),
        cmocka_unit_test(bytes_that_look_like_an_item_are_no_trap),
        cmocka_unit_test(every_cut_of_a_file_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
