#include "tests/base/test.h"

#include "base/encode.h"
#include "crypto/hash.h"

static void expect_hash(const fl_hash *hash, const char *hex)
{
    char text[65];
    fl_hex_encode(text, hash->bytes, 32);
    assert_string_equal(text, hex);
}

static void fips_180_vectors(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < 3; i++) {
        fl_hash hash = fl_sha256(rows[i][0], strlen(rows[i][0]));
        expect_hash(&hash, rows[i][1]);
    }
    fl_sha256_state *s = fl_sha256_create();
    for (int i = 0; i < 100000; i++)
        fl_sha256_add(s, "aaaaaaaaaa", 10);
    fl_hash hash = fl_sha256_destroy(s);
    expect_hash(&hash, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void two_parts_are_one_text(void **state)
{
    (void)state;
    static const char text[] = "any text of thirty-one characters";
    fl_hash whole = fl_sha256(text, sizeof text);
    for (size_t n = 0; n <= sizeof text; n++) {
        fl_hash parts = fl_sha256_2(text, n, text + n, sizeof text - n);
        assert_true(fl_hash_equal(&whole, &parts));
    }
    for (size_t bit = 0; bit < 256; bit++) {
        fl_hash other = whole;
        other.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(fl_hash_equal(&whole, &other));
    }
}

/* Keys shorter than a block are padded by zeros, so a key of 20 bytes and 12 zeros is the key of 20 bytes. */
static void rfc_4231_vectors(void **state)
{
    (void)state;
    uint8_t key[32] = {0}, text[50];
    memset(key, 0x0b, 20);
    fl_hash h = fl_hmac(key, "Hi There", 8);
    expect_hash(&h, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    memset(key, 0, 32);
    memcpy(key, "Jefe", 4);
    h = fl_hmac(key, "what do ya want for nothing?", 28);
    expect_hash(&h, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, 20);
    memset(text, 0xdd, 50);
    h = fl_hmac(key, text, 50);
    expect_hash(&h, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    memset(key, 0, 32);
    for (uint8_t i = 0; i < 25; i++)
        key[i] = (uint8_t)(i + 1);
    memset(text, 0xcd, 50);
    h = fl_hmac(key, text, 50);
    expect_hash(&h, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fips_180_vectors),
        cmocka_unit_test(two_parts_are_one_text),
        cmocka_unit_test(rfc_4231_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
