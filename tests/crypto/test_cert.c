#include "tests/base/test.h"

#include "crypto/cert.h"
#include "crypto/hash.h"

static const int64_t now_s = 1772368440, day_s = 86400;

/* Two CAs, and a certificate of each use from the first. */
static struct {
    char ca_key[FL_PEM_MAX], ca[FL_PEM_MAX], other_key[FL_PEM_MAX], other[FL_PEM_MAX];
    char key[FL_PEM_MAX], request[FL_PEM_MAX], cert[3][FL_PEM_MAX];
} world;

static fl_code issue(char *cert, const char *name, fl_cert_use use, fl_err *err)
{
    return fl_cert_issue(cert, world.ca, world.ca_key, world.request, name, use, now_s, 30 * day_s, err);
}

static int make_world(void **state)
{
    (void)state;
    fl_err err;
    fl_code code = fl_cert_key_make(world.ca_key, &err);
    code = code ? code : fl_cert_ca_make(world.ca, world.ca_key, "consortium", now_s, 365, &err);
    code = code ? code : fl_cert_key_make(world.other_key, &err);
    code = code ? code : fl_cert_ca_make(world.other, world.other_key, "consortium", now_s, 365, &err);
    code = code ? code : fl_cert_key_make(world.key, &err);
    code = code ? code : fl_cert_request_make(world.request, world.key, "asked-for", &err);
    code = code ? code : issue(world.cert[FL_CERT_SERVER], "coordinator.example.org", FL_CERT_SERVER, &err);
    code = code ? code : issue(world.cert[FL_CERT_NODE], "north", FL_CERT_NODE, &err);
    code = code ? code : issue(world.cert[FL_CERT_ENROL], "north", FL_CERT_ENROL, &err);
    if (code)
        fprintf(stderr, "%s\n", err.text);
    return code ? -1 : 0;
}

static void expect_refused(const char *cert, const char *ca, fl_cert_use use, int64_t at_s, const char *words)
{
    fl_err err;
    assert_int_equal(fl_cert_check(cert, ca, use, at_s, &err), FL_EREFUSED);
    assert_says(err, words);
}

static void each_use_opens_its_own_door(void **state)
{
    (void)state;
    for (int is = FL_CERT_SERVER; is <= FL_CERT_ENROL; is++) {
        for (int wanted = FL_CERT_SERVER; wanted <= FL_CERT_ENROL; wanted++) {
            fl_err err;
            fl_code code = fl_cert_check(world.cert[is], world.ca, (fl_cert_use)wanted, now_s, &err);
            assert_int_equal(code, is == wanted ? FL_OK : FL_EREFUSED);
        }
    }
}

static void what_a_certificate_says_is_read(void **state)
{
    (void)state;
    fl_err err;
    fl_cert_info info, enrol, ca;
    assert_ok(fl_cert_read(&info, world.cert[FL_CERT_NODE], &err), err);
    assert_string_equal(info.name, "north"); /* the CA decides, not the request */
    assert_int_equal(info.use, FL_CERT_NODE);
    assert_false(info.is_ca);
    assert_true(info.not_before_s == now_s - 300 && info.not_after_s == now_s + 30 * day_s);
    assert_ok(fl_cert_read(&enrol, world.cert[FL_CERT_ENROL], &err), err);
    assert_int_equal(enrol.use, FL_CERT_ENROL);
    assert_true(fl_hash_equal(&info.spki, &enrol.spki)); /* one key */
    assert_false(fl_hash_equal(&info.fingerprint, &enrol.fingerprint));
    assert_ok(fl_cert_read(&ca, world.ca, &err), err);
    assert_true(ca.is_ca);
    assert_false(fl_hash_equal(&info.spki, &ca.spki));
}

static void dates_are_kept(void **state)
{
    (void)state;
    const char *node = world.cert[FL_CERT_NODE];
    fl_err err;
    assert_ok(fl_cert_check(node, world.ca, FL_CERT_NODE, now_s - 299, &err), err);
    assert_ok(fl_cert_check(node, world.ca, FL_CERT_NODE, now_s + 30 * day_s - 1, &err), err);
    expect_refused(node, world.ca, FL_CERT_NODE, now_s + 30 * day_s + 1, "expired");
    expect_refused(node, world.ca, FL_CERT_NODE, now_s - 301, "not yet valid");
    char late[FL_PEM_MAX];
    fl_cert_info info;
    assert_ok(fl_cert_issue(late, world.ca, world.ca_key, world.request, "n", FL_CERT_NODE, now_s + 300 * day_s,
                            1000 * day_s, &err),
              err);
    assert_ok(fl_cert_read(&info, late, &err), err);
    assert_true(info.not_after_s == now_s + 365 * day_s); /* with the CA's own */
    assert_int_equal(
        fl_cert_issue(late, world.ca, world.ca_key, world.request, "n", FL_CERT_NODE, now_s + 366 * day_s, 1, &err),
        FL_EREFUSED);
}

static void only_this_ca_counts(void **state)
{
    (void)state;
    const char *node = world.cert[FL_CERT_NODE];
    expect_refused(node, world.other, FL_CERT_NODE, now_s, "certificate of north: "); /* same name, another key */
    expect_refused(world.ca, world.ca, FL_CERT_NODE, now_s, "is a CA's");
    expect_refused(world.cert[FL_CERT_ENROL], node, FL_CERT_ENROL, now_s,
                   "certificate of north: "); /* CA:FALSE issuer */
}

/* Self-signed with CA:FALSE, for enrolment, valid from 2016 to 2036. */
static const char own_issuer[] = "-----BEGIN CERTIFICATE-----\n"
                                 "MIIBsDCCAVWgAwIBAgIUfk2kpWZy6hxr1Em2nvzn/jUg/LUwCgYIKoZIzj0EAwIw\n"
                                 "JDESMBAGA1UECwwJZW5yb2xtZW50MQ4wDAYDVQQDDAVub3J0aDAeFw0xNjExMjIx\n"
                                 "NTI2MzlaFw0zNjExMTgxNTI2MzlaMCQxEjAQBgNVBAsMCWVucm9sbWVudDEOMAwG\n"
                                 "A1UEAwwFbm9ydGgwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT3FZ2YldaG5gFg\n"
                                 "AMDKb3pi4ecyL5T2LL6HUvus1BtooXdk+mfR6vQ0/+IDNzvbnsLh3gaNLcYrM65p\n"
                                 "1WrrblbBo2UwYzAdBgNVHQ4EFgQU77Pld5m36RSugcN9lgpcO0/NVPwwHwYDVR0j\n"
                                 "BBgwFoAU77Pld5m36RSugcN9lgpcO0/NVPwwDAYDVR0TAQH/BAIwADATBgNVHSUE\n"
                                 "DDAKBggrBgEFBQcDAjAKBggqhkjOPQQDAgNJADBGAiEAzQW4e56joEGa431hPSHN\n"
                                 "qf117pnloDn0Z9KCuZAfp2QCIQDM1u0ZSMRBrpLSCi+fNxaCTFmZ7c3FvDKLoDAj\n"
                                 "dOYnig==\n"
                                 "-----END CERTIFICATE-----\n";

static void a_leaf_does_not_vouch_for_itself(void **state)
{
    (void)state;
    fl_err err;
    fl_cert_info info;
    assert_ok(fl_cert_read(&info, own_issuer, &err), err);
    assert_int_equal(info.use, FL_CERT_ENROL);
    expect_refused(own_issuer, own_issuer, FL_CERT_ENROL, now_s, "not one of a CA");
    expect_refused(own_issuer, world.ca, FL_CERT_ENROL, now_s, "certificate of north: ");
}

static void a_node_cannot_issue(void **state)
{
    (void)state;
    fl_err err;
    char forged[FL_PEM_MAX];
    assert_int_equal(fl_cert_issue(forged, world.cert[FL_CERT_NODE], world.key, world.request, "east", FL_CERT_NODE,
                                   now_s, day_s, &err),
                     FL_EREFUSED);
    assert_says(err, "not one of a CA");
    assert_int_equal(
        fl_cert_issue(forged, world.ca, world.other_key, world.request, "east", FL_CERT_NODE, now_s, day_s, &err),
        FL_EREFUSED);
    assert_says(err, "do not belong together");
}

/* Each byte of the PEM changed by one bit: the certificate is unreadable or refused, or the same to the last bit. */
static void a_changed_certificate_is_refused(void **state)
{
    (void)state;
    char pem[FL_PEM_MAX];
    fl_cert_info original, info;
    assert_int_equal(fl_cert_read(&original, world.cert[FL_CERT_NODE], NULL), FL_OK);
    size_t n = strlen(world.cert[FL_CERT_NODE]), n_refused = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(pem, world.cert[FL_CERT_NODE], n + 1);
        pem[i] ^= 1;
        if (fl_cert_check(pem, world.ca, FL_CERT_NODE, now_s, NULL) != FL_OK)
            n_refused++;
        else {
            assert_int_equal(fl_cert_read(&info, pem, NULL), FL_OK);
            assert_true(fl_hash_equal(&original.fingerprint, &info.fingerprint));
        }
    }
    assert_true(n_refused > n - 40);
}

static void a_request_proves_its_key(void **state)
{
    (void)state;
    fl_err err;
    char request[FL_PEM_MAX], cert[FL_PEM_MAX];
    size_t n = strlen(world.request), n_issued = 0;
    for (size_t i = 30; i + 45 < n; i += 3) { /* not the padding, which is outside the request */
        memcpy(request, world.request, n + 1);
        request[i] = request[i] == 'A' ? 'B' : 'A';
        if (memcmp(request, world.request, n) == 0 || world.request[i] == '\n')
            continue;
        n_issued += fl_cert_issue(cert, world.ca, world.ca_key, request, "x", FL_CERT_NODE, now_s, 1, &err) == FL_OK;
    }
    assert_int_equal(n_issued, 0);
    assert_int_equal(fl_cert_issue(cert, world.ca, world.ca_key, "", "x", FL_CERT_NODE, now_s, 1, &err), FL_EFORMAT);
    assert_int_equal(fl_cert_issue(cert, world.ca, world.ca_key, world.ca, "x", FL_CERT_NODE, now_s, 1, &err),
                     FL_EFORMAT);
}

static void names_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",     "a b",      "a,DNS:evil",    "a/CN=b",
        "a\nb", "\xc3\xa4", "*.example.org", "0123456789012345678901234567890123456789012345678901234567890123"};
    fl_err err;
    char pem[FL_PEM_MAX];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(issue(pem, bad[i], FL_CERT_NODE, &err), FL_EFORMAT);
        assert_int_equal(issue(pem, bad[i], FL_CERT_SERVER, &err), FL_EFORMAT);
        assert_int_equal(fl_cert_ca_make(pem, world.ca_key, bad[i], now_s, 1, &err), FL_EFORMAT);
        assert_int_equal(fl_cert_request_make(pem, world.key, bad[i], &err), FL_EFORMAT);
    }
    assert_int_equal(issue(pem, "::1", FL_CERT_NODE, &err), FL_EFORMAT);
    assert_ok(issue(pem, "::1", FL_CERT_SERVER, &err), err);
    assert_ok(fl_cert_check(pem, world.ca, FL_CERT_SERVER, now_s, &err), err);
    assert_ok(issue(pem, "127.0.0.1", FL_CERT_SERVER, &err), err);
}

static void what_is_not_pem_is_refused(void **state)
{
    (void)state;
    fl_err err;
    fl_cert_info info;
    char *endless = malloc(FL_PEM_MAX + 100);
    memset(endless, 'x', FL_PEM_MAX + 99);
    endless[FL_PEM_MAX + 99] = 0;
    const char *bad[] = {"", "x", "-----BEGIN CERTIFICATE-----\n", world.key, endless};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(fl_cert_read(&info, bad[i], &err), FL_EFORMAT);
        assert_int_equal(fl_cert_check(world.cert[0], bad[i], FL_CERT_SERVER, now_s, &err), FL_EFORMAT);
        if (bad[i] != world.key)
            assert_int_equal(fl_cert_ca_make(endless, bad[i], "n", now_s, 1, &err), FL_EFORMAT);
    }
    free(endless);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_use_opens_its_own_door),
        cmocka_unit_test(what_a_certificate_says_is_read),
        cmocka_unit_test(dates_are_kept),
        cmocka_unit_test(only_this_ca_counts),
        cmocka_unit_test(a_leaf_does_not_vouch_for_itself),
        cmocka_unit_test(a_node_cannot_issue),
        cmocka_unit_test(a_changed_certificate_is_refused),
        cmocka_unit_test(a_request_proves_its_key),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(what_is_not_pem_is_refused),
    };
    return cmocka_run_group_tests(tests, make_world, NULL);
}
