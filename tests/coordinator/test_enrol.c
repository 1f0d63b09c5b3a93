#include "base/clock.h"
#include "coordinator/enrol.h"
#include "tests/coordinator/world.h"

/* A hospital at the moment of its enrolment. */
typedef struct bearer {
    wire_invitation invitation;
    wire_peer peer;
    fl_sign_key key;
    char tls_key[FL_PEM_MAX];
    wire_enrol request;
} bearer;

typedef struct consortium {
    coord_store store;
    int64_t now_s;
} consortium;

static consortium *make(void **state)
{
    fl_err err;
    consortium *c = calloc(1, sizeof *c);
    c->now_s = fl_clock_wall_s();
    assert_ok(coord_store_make(*state, "hub", "localhost", 7443, NULL, &err), err);
    assert_ok(coord_store_open(&c->store, *state, &err), err);
    return c;
}

static void drop(consortium *c)
{
    coord_store_close(&c->store);
    free(c);
}

static void invite_again(consortium *c, bearer *b, const char *name, bool renew, int64_t valid_s)
{
    fl_err err;
    fl_buf line;
    fl_cert_info info;
    int64_t expires;
    memset(b, 0, sizeof *b);
    fl_buf_init(&line, WIRE_INVITATION_MAX);
    assert_ok(coord_invite(&c->store, &line, name, renew, c->now_s, valid_s, &expires, &err), err);
    assert_int_equal(expires, c->now_s + valid_s);
    assert_ok(wire_invitation_parse(&b->invitation, fl_buf_text(&line), c->now_s, &err), err);
    fl_buf_fini(&line);
    assert_string_equal(b->invitation.address, "localhost:7443");
    assert_ok(fl_cert_read(&info, b->invitation.cert_pem, &err), err);
    b->peer.spki = info.spki;
    b->peer.is_enrolment = info.use == FL_CERT_ENROL;
    memcpy(b->peer.name, info.name, sizeof b->peer.name);
}

static void invite(consortium *c, bearer *b, const char *name, int64_t valid_s)
{
    invite_again(c, b, name, false, valid_s);
}

/* Fresh keys and a request under this name. */
static void prepare(bearer *b, const char *name)
{
    fl_err err;
    char origin[DP_ORIGIN_MAX], vkey[DP_VKEY_MAX];
    assert_ok(fl_sign_key_make(&b->key, &err), err);
    assert_ok(fl_cert_key_make(b->tls_key, &err), err);
    assert_ok(fl_cert_request_make(b->request.request_pem, b->tls_key, name, &err), err);
    snprintf(b->request.name, sizeof b->request.name, "%s", name);
    dp_origin(origin, name);
    dp_vkey_text(vkey, origin, b->key.public_key);
    snprintf(b->request.vkey, sizeof b->request.vkey, "%s", vkey);
}

static bool ask(consortium *c, bearer *b, wire_enrolled *reply)
{
    fl_err err;
    fl_buf bytes, answer;
    bool is_new;
    fl_buf_init(&bytes, WIRE_ENROL_MAX);
    fl_buf_init(&answer, WIRE_ENROL_MAX);
    assert_ok(wire_enrol_pack(&bytes, &b->request, &b->key, &err), err);
    assert_ok(coord_enrol(&c->store, &answer, &is_new, &b->peer, bytes.bytes, bytes.size, c->now_s, &err), err);
    assert_ok(wire_enrolled_unpack(reply, answer.bytes, answer.size, &err), err);
    fl_buf_fini(&bytes);
    fl_buf_fini(&answer);
    assert_memory_equal(reply->public_key, c->store.key.public_key, FL_PUBLIC_KEY_SIZE);
    assert_true(!is_new || !reply->refused);
    return is_new;
}

static void end(bearer *b)
{
    fl_sign_key_fini(&b->key);
    wire_invitation_fini(&b->invitation);
}

static void assert_refused(consortium *c, bearer *b, const char *words)
{
    wire_enrolled reply;
    assert_false(ask(c, b, &reply));
    assert_true(reply.refused);
    if (!strstr(reply.text, words))
        fail_msg("'%s' does not say '%s'", reply.text, words);
}

static void an_invitation_makes_a_site_with_a_certificate_of_one_year(void **state)
{
    fl_err err;
    bearer b;
    wire_enrolled reply;
    fl_cert_info info;
    coord_site_row row;
    consortium *c = make(state);
    invite(c, &b, "st-anna", 86400);
    prepare(&b, "st-anna");
    assert_true(ask(c, &b, &reply));
    assert_false(reply.refused);
    assert_ok(fl_cert_check(reply.cert_pem, b.invitation.ca_pem, FL_CERT_NODE, c->now_s, &err), err);
    assert_ok(fl_cert_read(&info, reply.cert_pem, &err), err);
    assert_string_equal(info.name, "st-anna");
    assert_true(info.not_after_s - c->now_s > 364 * 86400 && info.not_after_s - c->now_s <= 366 * 86400);
    assert_ok(coord_site_get(&c->store, &row, "st-anna", &err), err);
    assert_memory_equal(row.public_key, b.key.public_key, FL_PUBLIC_KEY_SIZE);
    assert_memory_equal(&row.spki, &info.spki, FL_HASH_SIZE);
    end(&b);
    drop(c);
}

static void the_same_request_again_gets_the_same_certificate(void **state)
{
    bearer b;
    wire_enrolled first, again;
    consortium *c = make(state);
    invite(c, &b, "st-anna", 86400);
    prepare(&b, "st-anna");
    assert_true(ask(c, &b, &first));
    assert_false(ask(c, &b, &again));
    assert_string_equal(first.cert_pem, again.cert_pem);
    c->now_s += 90000; /* the answer was lost for a day */
    assert_false(ask(c, &b, &again));
    assert_false(again.refused);
    assert_string_equal(first.cert_pem, again.cert_pem);
    end(&b);
    drop(c);
}

static void a_node_that_lost_its_tls_key_half_way_may_ask_once_more(void **state)
{
    fl_err err;
    bearer b;
    wire_enrolled first, second;
    coord_site_row row;
    fl_cert_info info;
    consortium *c = make(state);
    invite(c, &b, "st-anna", 86400);
    prepare(&b, "st-anna");
    assert_true(ask(c, &b, &first));
    assert_ok(fl_cert_key_make(b.tls_key, &err), err);
    assert_ok(fl_cert_request_make(b.request.request_pem, b.tls_key, "st-anna", &err), err);
    assert_true(ask(c, &b, &second));
    assert_false(second.refused);
    assert_ok(fl_cert_read(&info, second.cert_pem, &err), err);
    assert_ok(coord_site_get(&c->store, &row, "st-anna", &err), err);
    assert_memory_equal(&row.spki, &info.spki, FL_HASH_SIZE); /* the old one opens nothing now */
    c->now_s += 90000;
    assert_ok(fl_cert_request_make(b.request.request_pem, b.tls_key, "st-anna", &err), err);
    end(&b);
    drop(c);
}

static void an_invitation_is_good_once(void **state)
{
    bearer b, thief;
    wire_enrolled reply;
    consortium *c = make(state);
    invite(c, &b, "st-anna", 86400);
    prepare(&b, "st-anna");
    thief = b;
    prepare(&thief, "st-anna"); /* the same invitation, another key */
    assert_true(ask(c, &b, &reply));
    assert_refused(c, &thief, "was used already");
    fl_sign_key_fini(&thief.key);
    end(&b);
    drop(c);
}

static void an_expired_invitation_opens_nothing(void **state)
{
    bearer b;
    consortium *c = make(state);
    invite(c, &b, "st-anna", 3600);
    prepare(&b, "st-anna");
    c->now_s += 3601;
    assert_refused(c, &b, "has expired");
    end(&b);
    drop(c);
}

static void an_invitation_is_for_its_own_name(void **state)
{
    bearer b;
    consortium *c = make(state);
    invite(c, &b, "st-anna", 3600);
    prepare(&b, "st-bertha");
    assert_refused(c, &b, "another name");
    end(&b);
    drop(c);
}

static void a_second_node_with_the_same_name_is_refused(void **state)
{
    fl_err err;
    bearer a, b;
    fl_buf line;
    int64_t expires;
    wire_enrolled reply;
    consortium *c = make(state);
    invite(c, &a, "st-anna", 3600);
    invite(c, &b, "st-anna", 3600); /* before anybody enrolled */
    prepare(&a, "st-anna");
    prepare(&b, "st-anna");
    assert_true(ask(c, &a, &reply));
    assert_refused(c, &b, "of this name is enrolled already");
    fl_buf_init(&line, WIRE_INVITATION_MAX);
    assert_int_equal(coord_invite(&c->store, &line, "st-anna", false, c->now_s, 60, &expires, &err), FL_EREFUSED);
    assert_says(err, "enrolled already");
    assert_int_equal(coord_invite(&c->store, &line, "hub", false, c->now_s, 60, &expires, &err), FL_EREFUSED);
    assert_int_equal(coord_invite(&c->store, &line, "no/name", false, c->now_s, 60, &expires, &err), FL_EFORMAT);
    fl_buf_fini(&line);
    end(&a);
    end(&b);
    drop(c);
}

static void a_certificate_is_renewed_for_the_same_identity_alone(void **state)
{
    fl_err err;
    bearer first, again, other;
    fl_buf line;
    int64_t expires;
    wire_enrolled reply;
    coord_site_row before, after;
    fl_cert_info info;
    consortium *c = make(state);
    fl_buf_init(&line, WIRE_INVITATION_MAX);
    assert_int_equal(coord_invite(&c->store, &line, "st-anna", true, c->now_s, 60, &expires, &err), FL_ENOTFOUND);
    invite(c, &first, "st-anna", 3600);
    prepare(&first, "st-anna");
    assert_true(ask(c, &first, &reply));
    assert_ok(coord_site_get(&c->store, &before, "st-anna", &err), err);
    c->now_s += 300 * 86400;
    invite_again(c, &other, "st-anna", true, 3600);
    prepare(&other, "st-anna");
    assert_refused(c, &other, "of this name is enrolled already");
    invite_again(c, &again, "st-anna", true, 3600);
    prepare(&again, "st-anna"); /* a new TLS key, the same identity */
    fl_sign_key_fini(&again.key);
    assert_ok(fl_sign_key_from_seed(&again.key, first.key.seed, &err), err);
    again.request = first.request;
    assert_ok(fl_cert_request_make(again.request.request_pem, again.tls_key, "st-anna", &err), err);
    assert_true(ask(c, &again, &reply));
    assert_false(reply.refused);
    assert_ok(coord_site_get(&c->store, &after, "st-anna", &err), err);
    assert_memory_equal(before.public_key, after.public_key, sizeof before.public_key);
    assert_memory_not_equal(&before.spki, &after.spki, sizeof before.spki);
    assert_ok(fl_cert_read(&info, reply.cert_pem, &err), err);
    assert_true(info.not_after_s > c->now_s + 300 * 86400);
    fl_buf_fini(&line);
    end(&first);
    end(&again);
    end(&other);
    drop(c);
}

static void a_key_that_was_never_invited_is_refused(void **state)
{
    bearer b;
    consortium *c = make(state);
    invite(c, &b, "st-anna", 3600);
    prepare(&b, "st-anna");
    b.peer.spki.bytes[0] ^= 1;
    assert_refused(c, &b, "not known here");
    b.peer.spki.bytes[0] ^= 1;
    b.peer.is_enrolment = false; /* a node's certificate */
    assert_refused(c, &b, "not known here");
    end(&b);
    drop(c);
}

static void the_ledgers_key_must_be_the_identity_of_that_name(void **state)
{
    bearer b, other;
    consortium *c = make(state);
    invite(c, &b, "st-anna", 3600);
    prepare(&b, "st-anna");
    other = b;
    prepare(&other, "st-anna");
    memcpy(b.request.vkey, other.request.vkey, sizeof b.request.vkey);
    assert_refused(c, &b, "ledger's key");
    fl_sign_key_fini(&other.key);
    end(&b);
    drop(c);
}

static void what_is_no_certificate_request_is_refused(void **state)
{
    bearer b;
    wire_enrolled reply;
    consortium *c = make(state);
    invite(c, &b, "st-anna", 3600);
    prepare(&b, "st-anna");
    char good[FL_PEM_MAX];
    memcpy(good, b.request.request_pem, sizeof good);
    strcpy(b.request.request_pem, "-----BEGIN NOTHING-----\n");
    assert_false(ask(c, &b, &reply));
    assert_true(reply.refused);
    memcpy(b.request.request_pem, good, sizeof good); /* the invitation is still good */
    assert_true(ask(c, &b, &reply));
    end(&b);
    drop(c);
}

static void a_revoked_hospital_is_off_the_list_and_stays_out(void **state)
{
    fl_err err;
    bearer b;
    wire_enrolled reply;
    coord_key *keys;
    size_t n;
    fl_hash spki;
    consortium *c = make(state);
    invite(c, &b, "st-anna", 3600);
    prepare(&b, "st-anna");
    assert_true(ask(c, &b, &reply));
    assert_ok(coord_allowed(&c->store, &keys, &n, c->now_s, &err), err);
    assert_int_equal(n, 2); /* the site, and its invitation until it expires: for a retry */
    free(keys);
    const uint64_t lines = led_state(c->store.ledger)->n_entries;
    assert_ok(coord_revoke(&c->store, &spki, "st-anna", &err), err);
    assert_int_equal(led_state(c->store.ledger)->n_entries, lines + 1);
    assert_ok(coord_allowed(&c->store, &keys, &n, c->now_s, &err), err);
    assert_int_equal(n, 0);
    free(keys);
    assert_refused(c, &b, "not known here");
    assert_int_equal(coord_revoke(&c->store, &spki, "st-anna", &err), FL_EREFUSED);
    assert_int_equal(coord_revoke(&c->store, &spki, "nobody", &err), FL_ENOTFOUND);
    assert_int_equal(led_state(c->store.ledger)->n_entries, lines + 1);
    end(&b);
    drop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(an_invitation_makes_a_site_with_a_certificate_of_one_year),
        in_scratch(the_same_request_again_gets_the_same_certificate),
        in_scratch(a_node_that_lost_its_tls_key_half_way_may_ask_once_more),
        in_scratch(an_invitation_is_good_once),
        in_scratch(an_expired_invitation_opens_nothing),
        in_scratch(an_invitation_is_for_its_own_name),
        in_scratch(a_second_node_with_the_same_name_is_refused),
        in_scratch(a_certificate_is_renewed_for_the_same_identity_alone),
        in_scratch(a_key_that_was_never_invited_is_refused),
        in_scratch(the_ledgers_key_must_be_the_identity_of_that_name),
        in_scratch(what_is_no_certificate_request_is_refused),
        in_scratch(a_revoked_hospital_is_off_the_list_and_stays_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
