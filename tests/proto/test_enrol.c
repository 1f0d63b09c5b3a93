#include "base/encode.h"
#include "crypto/hash.h"
#include "proto/msg/enrol.h"
#include "proto/msg/envelope.h"
#include "tests/proto/sample.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* after the standard headers that it needs */
#include <cmocka.h>

#define NOW 1800000000

static fl_sign_key key;
static char ca_key[FL_PEM_MAX], ca[FL_PEM_MAX];
static wire_invitation sent;

static void must(fl_code code, const fl_err *err)
{
    if (code)
        fail_msg("%s", err->text);
}

static void issue(char cert[FL_PEM_MAX], char own_key[FL_PEM_MAX], const char *ca_cert, const char *ca_cert_key,
                  const char *name, fl_cert_use use)
{
    char request[FL_PEM_MAX];
    fl_err err = {0};
    must(fl_cert_key_make(own_key, &err), &err);
    must(fl_cert_request_make(request, own_key, name, &err), &err);
    must(fl_cert_issue(cert, ca_cert, ca_cert_key, request, name, use, NOW, 86400, &err), &err);
}

static int make_invitation(void **state)
{
    (void)state;
    fl_err err = {0};
    sample_key(&key, 0x40);
    must(fl_cert_key_make(ca_key, &err), &err);
    must(fl_cert_ca_make(ca, ca_key, "hub", NOW, 3650, &err), &err);
    strcpy(sent.address, "coordinator.example.org:7443");
    strcpy(sent.name, "st-anna");
    strcpy(sent.ca_pem, ca);
    sent.expires_s = NOW + 86400;
    issue(sent.cert_pem, sent.key_pem, ca, ca_key, "st-anna", FL_CERT_ENROL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fl_sign_key_fini(&key);
    return 0;
}

static void write_line(fl_buf *line, const wire_invitation *v)
{
    fl_err err = {0};
    fl_buf_init(line, WIRE_INVITATION_MAX * 2);
    must(wire_invitation_write(line, v, &err), &err);
}

static void parse_fails(const char *text, int64_t now_s, fl_code code, const char *words)
{
    static wire_invitation v, zero;
    fl_err err = {0};
    assert_int_equal(wire_invitation_parse(&v, text, now_s, &err), code);
    if (!strstr(err.text, words))
        fail_msg("says \"%s\", expected \"%s\"", err.text, words);
    assert_memory_equal(&v, &zero, sizeof v); /* no key left behind */
}

static void an_invitation_is_one_line_and_comes_back_whole(void **state)
{
    (void)state;
    static wire_invitation v;
    fl_buf line;
    fl_err err = {0};
    fl_cert_info info;
    write_line(&line, &sent);
    assert_memory_equal(line.bytes, "cordon1:", 8);
    assert_null(memchr(line.bytes, '\n', line.size));
    fl_buf_add_text(&line, "\r\n");
    must(wire_invitation_parse(&v, fl_buf_text(&line), NOW + 60, &err), &err);
    assert_string_equal(v.address, sent.address);
    assert_string_equal(v.name, sent.name);
    assert_string_equal(v.ca_pem, sent.ca_pem);
    assert_string_equal(v.cert_pem, sent.cert_pem);
    assert_string_equal(v.key_pem, sent.key_pem);
    assert_true(v.expires_s == sent.expires_s);
    must(fl_cert_read(&info, ca, &err), &err);
    assert_memory_equal(&v.fingerprint, &info.fingerprint, 32);
    fl_buf_fini(&line);
}

static void what_is_no_invitation_is_named(void **state)
{
    (void)state;
    parse_fails("", NOW, FL_EFORMAT, "not an invitation");
    parse_fails("https://coordinator.example.org", NOW, FL_EFORMAT, "not an invitation");
    parse_fails("cordon2:AAAA", NOW, FL_EFORMAT, "not an invitation");
    parse_fails("cordon1:", NOW, FL_EFORMAT, "damaged");
    parse_fails("cordon1:AAAA", NOW, FL_EFORMAT, "damaged");
    parse_fails("cordon1:AAA=AAA=", NOW, FL_EFORMAT, "damaged");
}

static void every_damaged_character_is_seen(void **state)
{
    (void)state;
    fl_buf line;
    static wire_invitation v;
    write_line(&line, &sent);
    for (size_t i = 8; i < line.size; i += 7) {
        uint8_t was = line.bytes[i];
        line.bytes[i] = was == 'A' ? 'B' : 'A';
        assert_int_equal(wire_invitation_parse(&v, fl_buf_text(&line), NOW, NULL), FL_EFORMAT);
        line.bytes[i] = was;
    }
    for (size_t n = 8; n < line.size; n += 13) {
        uint8_t was = line.bytes[n];
        line.bytes[n] = 0;
        parse_fails(fl_buf_text(&line), NOW, FL_EFORMAT, "damaged");
        line.bytes[n] = ' '; /* wrapped by a mail program */
        parse_fails(fl_buf_text(&line), NOW, FL_EFORMAT, "damaged");
        line.bytes[n] = was;
    }
    fl_buf_fini(&line);
}

static void an_expired_or_foreign_invitation_is_refused(void **state)
{
    (void)state;
    fl_buf line;
    static wire_invitation v;
    write_line(&line, &sent);
    parse_fails(fl_buf_text(&line), NOW + 86400, FL_EREFUSED, "expired at 2027-");
    fl_buf_fini(&line);
    static char other_ca[FL_PEM_MAX], other_key[FL_PEM_MAX];
    fl_err err = {0};
    must(fl_cert_key_make(other_key, &err), &err);
    must(fl_cert_ca_make(other_ca, other_key, "hub", NOW, 3650, &err), &err);
    v = sent;
    strcpy(v.ca_pem, other_ca);
    write_line(&line, &v);
    parse_fails(fl_buf_text(&line), NOW, FL_EREFUSED, "invitation: ");
    fl_buf_fini(&line);
    v = sent;
    issue(v.cert_pem, v.key_pem, ca, ca_key, "st-anna", FL_CERT_NODE); /* not good for enrolment */
    write_line(&line, &v);
    parse_fails(fl_buf_text(&line), NOW, FL_EREFUSED, "invitation: ");
    fl_buf_fini(&line);
    v = sent;
    strcpy(v.name, "mercy");
    write_line(&line, &v);
    parse_fails(fl_buf_text(&line), NOW, FL_EREFUSED, "another hospital");
    fl_buf_fini(&line);
}

static void an_address_is_split_strictly(void **state)
{
    (void)state;
    char host[256];
    uint16_t port;
    assert_int_equal(wire_address_split(host, &port, "a.example:7443", NULL), FL_OK);
    assert_string_equal(host, "a.example");
    assert_int_equal(port, 7443);
    assert_int_equal(wire_address_split(host, &port, "[2001:db8::1]:1", NULL), FL_OK);
    assert_string_equal(host, "2001:db8::1");
    const char *const wrong[] = {"",      "a",     "a:",        ":1",   "a:0",  "a:65536", "a:+1", "a:1 ",
                                 "a b:1", "a/b:1", "2001::1:1", "[]:1", "[a:1", "a]:1",    "a:1:", "a:000001"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (wire_address_split(host, &port, wrong[i], NULL) != FL_EFORMAT)
            fail_msg("taken: %s", wrong[i]);
}

static void fill_request(wire_enrol *r)
{
    memset(r, 0, sizeof *r);
    strcpy(r->name, "st-anna");
    strcpy(r->request_pem, "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n");
    strcpy(r->vkey, "cordon/st-anna+00000000+AAAA");
}

static void a_request_proves_its_key(void **state)
{
    (void)state;
    static wire_enrol r, again;
    fl_buf out;
    fl_err err = {0};
    fill_request(&r);
    fl_buf_init(&out, WIRE_ENROL_MAX);
    must(wire_enrol_pack(&out, &r, &key, &err), &err);
    assert_true(wire_is_enrol(out.bytes, out.size));
    must(wire_enrol_unpack(&again, out.bytes, out.size, &err), &err);
    assert_string_equal(again.name, r.name);
    assert_string_equal(again.request_pem, r.request_pem);
    assert_string_equal(again.vkey, r.vkey);
    assert_memory_equal(again.public_key, key.public_key, 32);
    for (size_t i = 0; i < out.size; i++) {
        out.bytes[i] ^= 1;
        assert_int_not_equal(wire_enrol_unpack(&again, out.bytes, out.size, NULL), FL_OK);
        out.bytes[i] ^= 1;
    }
    for (size_t n = 0; n < out.size; n++)
        assert_int_not_equal(wire_enrol_unpack(&again, out.bytes, n, NULL), FL_OK);
    fl_buf_fini(&out);
}

/* The public key of somebody else in a request that is otherwise in order. */
static void a_request_with_a_stolen_public_key_is_refused(void **state)
{
    (void)state;
    static wire_enrol r, again;
    fl_sign_key other;
    fl_buf out;
    fl_err err = {0};
    sample_key(&other, 0x80);
    fill_request(&r);
    fl_buf_init(&out, WIRE_ENROL_MAX);
    must(wire_enrol_pack(&out, &r, &key, &err), &err);
    uint8_t *at = memmem(out.bytes, out.size, key.public_key, 32);
    assert_non_null(at);
    memcpy(at, other.public_key, 32);
    uint8_t text[64];
    fl_hash hash = fl_sha256(out.bytes + 68, out.size - 68);
    memcpy(text, "cordon enrol v1\n", 16);
    memcpy(text + 16, hash.bytes, 32);
    fl_sign(out.bytes + 4, &key, text, 48); /* signed afresh, but by the wrong key */
    assert_int_equal(wire_enrol_unpack(&again, out.bytes, out.size, NULL), FL_EREFUSED);
    fl_sign(out.bytes + 4, &other, text, 48);
    assert_int_equal(wire_enrol_unpack(&again, out.bytes, out.size, NULL), FL_OK);
    fl_buf_fini(&out);
    fl_sign_key_fini(&other);
}

static void requests_out_of_range_are_refused(void **state)
{
    (void)state;
    static wire_enrol r;
    fl_buf out;
    fl_buf_init(&out, WIRE_ENROL_MAX);
    fill_request(&r);
    r.name[0] = '/';
    assert_int_equal(wire_enrol_pack(&out, &r, &key, NULL), FL_EFORMAT);
    fill_request(&r);
    r.request_pem[0] = 0;
    assert_int_equal(wire_enrol_pack(&out, &r, &key, NULL), FL_EFORMAT);
    fill_request(&r);
    memset(r.request_pem, 'a', sizeof r.request_pem);
    assert_int_equal(wire_enrol_pack(&out, &r, &key, NULL), FL_EFORMAT);
    fill_request(&r);
    r.vkey[3] = '\n';
    assert_int_equal(wire_enrol_pack(&out, &r, &key, NULL), FL_EFORMAT);
    assert_int_equal(out.size, 0);
    fl_buf_fini(&out);
}

static void a_reply_brings_a_certificate_or_a_reason(void **state)
{
    (void)state;
    static wire_enrolled reply, again;
    fl_buf out;
    fl_err err = {0};
    strcpy(reply.name, "hub");
    strcpy(reply.vkey, "cordon/hub+00000000+AAAA");
    strcpy(reply.cert_pem, ca);
    fl_buf_init(&out, WIRE_ENROL_MAX);
    must(wire_enrolled_pack(&out, &reply, &key, &err), &err);
    must(wire_enrolled_unpack(&again, out.bytes, out.size, &err), &err);
    assert_false(again.refused);
    assert_string_equal(again.cert_pem, ca);
    assert_memory_equal(again.public_key, key.public_key, 32);
    out.bytes[70] ^= 1;
    assert_int_not_equal(wire_enrolled_unpack(&again, out.bytes, out.size, NULL), FL_OK);
    fl_buf_clear(&out);
    reply.refused = true;
    strcpy(reply.text, "the invitation was used before");
    must(wire_enrolled_pack(&out, &reply, &key, &err), &err);
    must(wire_enrolled_unpack(&again, out.bytes, out.size, &err), &err);
    assert_true(again.refused);
    assert_string_equal(again.text, reply.text);
    assert_string_equal(again.cert_pem, "");
    fl_buf_fini(&out);
}

static void a_message_is_no_enrolment_and_the_reverse(void **state)
{
    (void)state;
    static wire_enrol r;
    wire_decoder d = {0};
    wire_message m = sample(WIRE_POLL);
    fl_buf out;
    fl_err err = {0};
    fl_buf_init(&out, WIRE_ENVELOPE_MAX);
    must(wire_pack(&out, &m, &key, &err), &err);
    assert_false(wire_is_enrol(out.bytes, out.size));
    assert_int_equal(wire_enrol_unpack(&r, out.bytes, out.size, NULL), FL_EFORMAT);
    fl_buf_clear(&out);
    fill_request(&r);
    must(wire_enrol_pack(&out, &r, &key, &err), &err);
    assert_int_equal(wire_unpack(&m, &d, out.bytes, out.size, NULL), FL_EFORMAT);
    fl_buf_fini(&out);
    wire_decoder_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_invitation_is_one_line_and_comes_back_whole),
        cmocka_unit_test(what_is_no_invitation_is_named),
        cmocka_unit_test(every_damaged_character_is_seen),
        cmocka_unit_test(an_expired_or_foreign_invitation_is_refused),
        cmocka_unit_test(an_address_is_split_strictly),
        cmocka_unit_test(a_request_proves_its_key),
        cmocka_unit_test(a_request_with_a_stolen_public_key_is_refused),
        cmocka_unit_test(requests_out_of_range_are_refused),
        cmocka_unit_test(a_reply_brings_a_certificate_or_a_reason),
        cmocka_unit_test(a_message_is_no_enrolment_and_the_reverse),
    };
    return cmocka_run_group_tests(tests, make_invitation, end);
}
