#include "tests/base/test.h"

#include "base/encode.h"
#include "base/file.h"
#include "crypto/sign.h"

#include <sys/stat.h>

/* RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature. */
static const char *const vectors[][4] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
     "655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
     "b00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
     "c027beceea1ec40a"},
};

static void rfc_8032_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        fl_err err;
        fl_sign_key key;
        uint8_t seed[32], public_key[32], message[2], expected[64], signature[64];
        size_t n = strlen(vectors[i][2]) / 2;
        assert_true(fl_hex_decode(seed, 32, vectors[i][0]) && fl_hex_decode(public_key, 32, vectors[i][1]));
        assert_true(fl_hex_decode(message, n, vectors[i][2]) && fl_hex_decode(expected, 64, vectors[i][3]));
        assert_ok(fl_sign_key_from_seed(&key, seed, &err), err);
        assert_memory_equal(key.public_key, public_key, 32);
        fl_sign(signature, &key, message, n);
        assert_memory_equal(signature, expected, 64);
        assert_true(fl_sign_verify(signature, public_key, message, n));
        fl_sign_key_fini(&key);
    }
}

static void any_changed_bit_is_refused(void **state)
{
    (void)state;
    fl_err err;
    fl_sign_key key;
    uint8_t signature[64], message[16] = "a round's update", public_key[32];
    assert_ok(fl_sign_key_make(&key, &err), err);
    fl_sign(signature, &key, message, 16);
    memcpy(public_key, key.public_key, 32);
    assert_true(fl_sign_verify(signature, public_key, message, 16));
    assert_false(fl_sign_verify(signature, public_key, message, 15));
    for (size_t bit = 0; bit < 512; bit++) {
        signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(fl_sign_verify(signature, public_key, message, 16));
        signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t bit = 0; bit < 256; bit++) {
        public_key[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(fl_sign_verify(signature, public_key, message, 16));
        public_key[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t bit = 0; bit < 128; bit++) {
        message[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(fl_sign_verify(signature, public_key, message, 16));
        message[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    fl_sign_key_fini(&key);
}

/* S + L satisfies the equation as S does; RFC 8032 section 5.1.7 wants S < L. */
static void a_second_spelling_of_a_signature_is_refused(void **state)
{
    (void)state;
    static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,       0xd6,
                                      0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10};
    fl_err err;
    fl_sign_key key;
    uint8_t signature[64];
    assert_ok(fl_sign_key_make(&key, &err), err);
    fl_sign(signature, &key, "x", 1);
    unsigned carry = 0;
    for (size_t i = 0; i < 32; i++) {
        carry += signature[32 + i] + order[i];
        signature[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    assert_int_equal(carry, 0);
    assert_false(fl_sign_verify(signature, key.public_key, "x", 1));
    fl_sign_key_fini(&key);
}

/* Under a key of order 1, 2, 4 or 8 the signature R = identity, S = 0 fits one message in that many. */
static void keys_of_small_order_are_refused(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* y = 1 + p */
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", /* y = p */
    };
    uint8_t signature[64] = {1};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint8_t key[32];
        assert_true(fl_hex_decode(key, 32, keys[i]));
        for (uint8_t message = 0; message < 200; message++)
            assert_false(fl_sign_verify(signature, key, &message, 1));
    }
}

static void a_key_comes_back_from_its_file(void **state)
{
    fl_err err;
    fl_sign_key key, again;
    struct stat st;
    char path[FL_PATH_MAX];
    fl_path(path, *state, "node.key");
    assert_ok(fl_sign_key_make(&key, &err), err);
    assert_ok(fl_sign_key_save(&key, path, &err), err);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_ok(fl_sign_key_load(&again, path, &err), err);
    assert_memory_equal(key.seed, again.seed, 32);
    assert_memory_equal(key.public_key, again.public_key, 32);
    assert_int_equal(fl_sign_key_save(&key, path, &err), FL_EREFUSED);
    fl_sign_key_fini(&again);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(fl_sign_key_load(&again, path, &err), FL_EREFUSED);
    assert_says(err, "chmod 600");
    fl_sign_key_fini(&key);
    static const uint8_t zeros[sizeof key] = {0};
    assert_memory_equal(&key, zeros, sizeof key);
    fl_sign_key_fini(&key);
    fl_sign_key_fini(NULL);
}

static void what_is_not_a_key_is_refused(void **state)
{
    static const char ec[] = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQ==\n"
                             "-----END PRIVATE KEY-----\n";
    fl_err err;
    fl_sign_key key;
    char path[FL_PATH_MAX];
    fl_path(path, *state, "k");
    assert_int_equal(fl_sign_key_load(&key, path, &err), FL_ENOTFOUND);
    assert_ok(fl_file_write(path, "", 0, 0600, &err), err);
    assert_int_equal(fl_sign_key_load(&key, path, &err), FL_EFORMAT);
    assert_ok(fl_file_write(path, ec, strlen(ec), 0600, &err), err);
    assert_int_equal(fl_sign_key_load(&key, path, &err), FL_EFORMAT);
}

static void the_public_key_has_its_pem(void **state)
{
    (void)state;
    char text[200];
    uint8_t public_key[32];
    assert_true(fl_hex_decode(public_key, 32, vectors[0][1]));
    fl_sign_public_pem(text, public_key);
    /* RFC 8410: twelve bytes of header, then the key */
    assert_string_equal(text, "-----BEGIN PUBLIC KEY-----\n"
                              "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                              "-----END PUBLIC KEY-----\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_8032_vectors),
        cmocka_unit_test(any_changed_bit_is_refused),
        cmocka_unit_test(a_second_spelling_of_a_signature_is_refused),
        cmocka_unit_test(keys_of_small_order_are_refused),
        in_scratch(a_key_comes_back_from_its_file),
        in_scratch(what_is_not_a_key_is_refused),
        cmocka_unit_test(the_public_key_has_its_pem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
