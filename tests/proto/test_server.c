/* Who is let in and what a hostile network does to the listener. */
#include "proto/net/server.h"
#include "tests/proto/raw.h"
#include "tests/proto/world.h"

/* nng's greeting: 0 S P 0, protocol req0, 0 0 */
static const uint8_t greeting[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};

static void a_member_is_let_in_and_known_by_name_and_key(void **state)
{
    (void)state;
    world *w = world_make(0);
    world_echoes(w, &w->node);
    fl_hash spki = world_spki(&w->node);
    assert_string_equal(w->last_peer.name, "st-anna");
    assert_memory_equal(&w->last_peer.spki, &spki, sizeof spki);
    assert_false(w->last_peer.is_enrolment);
    EVENTUALLY(wire_server_peers(w->s) == 0);
    world_end(w);
}

static void an_enrolment_certificate_is_known_as_one(void **state)
{
    (void)state;
    world *w = world_make(0);
    identity guest;
    world_issue(&guest, &w->ca, "mercy", FL_CERT_ENROL, fl_clock_wall_s(), DAY_S);
    world_echoes(w, &guest);
    assert_true(w->last_peer.is_enrolment);
    assert_string_equal(w->last_peer.name, "mercy");
    world_end(w);
}

static void refused(world *w, const identity *who, const char *words)
{
    fl_err err = {0};
    fl_buf reply;
    unsigned before = w->n_requests;
    assert_int_equal(world_call(w, who, "hello", &reply, &err), FL_EENV);
    if (!strstr(err.text, words))
        fail_msg("says \"%s\", expected \"%s\"", err.text, words);
    assert_int_equal(w->n_requests, before);
    fl_buf_fini(&reply);
    world_echoes(w, &w->node); /* and the listener lives */
}

static void certificates_of_others_are_refused(void **state)
{
    (void)state;
    world *w = world_make(0);
    identity other_ca, other, self, old, future;
    world_ca(&other_ca, "hub"); /* the same name, another key */
    world_node(&other, &other_ca, "st-anna");
    refused(w, &other, "our certificate was not accepted");
    world_ca(&self, "st-anna"); /* signed by itself */
    refused(w, &self, "our certificate was not accepted");
    world_issue(&old, &w->ca, "st-anna", FL_CERT_NODE, fl_clock_wall_s() - 30 * DAY_S, DAY_S);
    refused(w, &old, "our certificate was not accepted");
    world_issue(&future, &w->ca, "st-anna", FL_CERT_NODE, fl_clock_wall_s() + 30 * DAY_S, DAY_S);
    refused(w, &future, "our certificate was not accepted");
    refused(w, &w->server, "our certificate was not accepted"); /* a server's is not a node's */
    world_end(w);
}

static void no_certificate_and_old_tls_are_refused(void **state)
{
    (void)state;
    world *w = world_make(0);
    raw_tls none = raw_tls_connect(w, NULL, 0);
    assert_true(none.connected); /* TLS 1.3: a client knows only afterwards */
    char byte;
    assert_true(SSL_read(none.ssl, &byte, 1) <= 0);
    raw_tls_expect_end(&none);
    raw_tls_end(&none, false);
    raw_tls old = raw_tls_connect(w, &w->node, TLS1_2_VERSION);
    assert_false(old.connected);
    raw_tls_end(&old, false);
    world_echoes(w, &w->node);
    world_end(w);
}

static void a_key_that_is_not_allowed_is_cut_before_its_first_request(void **state)
{
    (void)state;
    world *w = world_make(0);
    identity revoked;
    world_node(&revoked, &w->ca, "mercy");
    w->deny = true;
    w->denied = world_spki(&revoked);
    refused(w, &revoked, "closed by the coordinator");
    world_end(w);
}

static void a_key_that_is_not_allowed_does_not_become_a_connection(void **state)
{
    (void)state;
    world *w = world_make(0);
    w->deny = true;
    w->denied = world_spki(&w->node);
    raw_tls t = raw_tls_connect(w, &w->node, 0);
    assert_int_equal(SSL_write(t.ssl, greeting, sizeof greeting), sizeof greeting);
    raw_tls_expect_end(&t); /* no request was sent */
    raw_tls_end(&t, false);
    world_end(w);
}

static void permission_is_asked_again_at_each_request(void **state)
{
    (void)state;
    world *w = world_make(0);
    char address[32];
    fl_err err = {0};
    wire_client *c;
    wire_client_config config = world_client(w, &w->node, address);
    config.one_attempt = true;
    answer a = ANSWER_INIT;
    must(wire_client_open(&c, &config, &err), &err);
    must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, &a, &err), &err);
    answer_wait(&a, 1);
    assert_int_equal(a.code, FL_OK);
    fl_hash spki = world_spki(&w->node);
    pthread_mutex_lock(&w->mutex);
    w->deny = true; /* and nobody dropped the connection */
    w->denied = spki;
    pthread_mutex_unlock(&w->mutex);
    must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, &a, &err), &err);
    answer_wait(&a, 2);
    assert_int_equal(a.code, FL_EENV);
    assert_int_equal(w->n_requests, 1);
    wire_client_close(c);
    world_end(w);
}

static void revocation_reaches_live_connections(void **state)
{
    (void)state;
    world *w = world_make(0);
    char address[32];
    fl_err err = {0};
    wire_client *c;
    wire_client_config config = world_client(w, &w->node, address);
    config.one_attempt = true;
    answer a = ANSWER_INIT;
    must(wire_client_open(&c, &config, &err), &err);
    must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, &a, &err), &err);
    answer_wait(&a, 1);
    assert_int_equal(a.code, FL_OK);
    world_mode_set(w, WORLD_PARK); /* a long poll is under way when the key is revoked */
    must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, &a, &err), &err);
    EVENTUALLY(world_parked(w) == 1);
    pthread_mutex_lock(&w->mutex);
    w->deny = true;
    w->denied = world_spki(&w->node);
    pthread_mutex_unlock(&w->mutex);
    assert_int_equal(wire_server_drop(w->s, &w->denied), 1);
    answer_wait(&a, 2);
    assert_int_equal(a.code, FL_EENV);
    must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, &a, &err), &err);
    answer_wait(&a, 3);
    assert_int_equal(a.code, FL_EENV);
    assert_non_null(strstr(a.why, "closed by the coordinator"));
    assert_int_equal(world_parked(w), 1);
    wire_client_close(c);
    EVENTUALLY(wire_server_peers(w->s) == 0);
    world_end(w);
}

static void silent_connections_are_cut_and_members_are_not(void **state)
{
    (void)state;
    world *w = world_make(400);
    char address[32];
    fl_err err = {0};
    wire_client *c;
    wire_client_config config = world_client(w, &w->node, address);
    answer a = ANSWER_INIT;
    world_mode_set(w, WORLD_PARK);
    must(wire_client_open(&c, &config, &err), &err);
    must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, &a, &err), &err);
    EVENTUALLY(world_parked(w) == 1);
    int silent[50];
    for (unsigned i = 0; i < 50; i++)
        silent[i] = raw_connect(w->port);
    raw_tls shy = raw_tls_connect(w, &w->node, 0); /* TLS, and then nothing */
    assert_true(shy.connected);
    int64_t start_ms = fl_clock_mono_ms();
    for (unsigned i = 0; i < 50; i++)
        raw_expect_end(silent[i]);
    raw_tls_expect_end(&shy);
    raw_tls_end(&shy, false);
    assert_true(fl_clock_mono_ms() - start_ms >= 200); /* by the janitor, not at once */
    wire_server_reply(w->s, w->parked[0], (const uint8_t *)"y", 1);
    answer_wait(&a, 1);
    assert_int_equal(a.code, FL_OK);
    wire_client_close(c);
    world_end(w);
}

static void garbage_before_and_after_tls_leaves_the_listener_alive(void **state)
{
    (void)state;
    world *w = world_make(2000);
    uint8_t garbage[4096];
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (uint8_t)(i * 131 + 7);
    int fd = raw_connect(w->port);
    assert_true(send(fd, garbage, sizeof garbage, MSG_NOSIGNAL) > 0);
    raw_expect_end(fd);
    fd = raw_connect(w->port); /* plain nng, as if there were no TLS */
    assert_true(send(fd, greeting, sizeof greeting, MSG_NOSIGNAL) > 0);
    raw_expect_end(fd);
    for (unsigned i = 0; i < 20; i++)
        raw_reset(raw_connect(w->port));
    for (unsigned i = 0; i < 3; i++) { /* the end of TLS before nng's greeting */
        raw_tls t = raw_tls_connect(w, &w->node, 0);
        assert_true(t.connected);
        SSL_shutdown(t.ssl);
        raw_tls_end(&t, false);
        t = raw_tls_connect(w, &w->node, 0);
        raw_tls_end(&t, true);
        world_echoes(w, &w->node);
    }
    raw_tls t = raw_tls_connect(w, &w->node, 0);
    SSL_write(t.ssl, garbage, sizeof garbage);
    raw_tls_expect_end(&t);
    raw_tls_end(&t, false);
    world_echoes(w, &w->node);
    world_end(w);
}

static void a_length_of_2_to_the_63_is_refused_without_allocating(void **state)
{
    (void)state;
    world *w = world_make(2000);
    const uint8_t lengths[][8] = {{0x80, 0, 0, 0, 0, 0, 0, 0},
                                  {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                                  {0, 0, 0, 0, 0, 0x20, 0, 1}}; /* 2 MiB and 1 */
    for (unsigned i = 0; i < 3; i++) {
        raw_tls t = raw_tls_connect(w, &w->node, 0);
        assert_true(t.connected);
        assert_int_equal(SSL_write(t.ssl, greeting, sizeof greeting), sizeof greeting);
        assert_int_equal(SSL_write(t.ssl, lengths[i], 8), 8);
        raw_tls_expect_end(&t);
        raw_tls_end(&t, false);
        world_echoes(w, &w->node);
    }
    world_end(w);
}

static void a_client_killed_in_the_middle_of_a_message_leaves_no_trace(void **state)
{
    (void)state;
    world *w = world_make(2000);
    const uint8_t length[8] = {0, 0, 0, 0, 0, 0x10, 0, 4}; /* 1 MiB and the request's number, of which a little comes */
    for (unsigned i = 0; i < 5; i++) {
        uint8_t bytes[10000] = {0x80, 0, 0, 1};
        raw_tls t = raw_tls_connect(w, &w->node, 0);
        SSL_write(t.ssl, greeting, sizeof greeting);
        SSL_read(t.ssl, bytes + 5000, sizeof greeting);
        SSL_write(t.ssl, length, sizeof length);
        SSL_write(t.ssl, bytes, sizeof bytes);
        EVENTUALLY(wire_server_peers(w->s) == 1);
        raw_tls_end(&t, true);
        EVENTUALLY(wire_server_peers(w->s) == 0);
    }
    assert_int_equal(w->n_requests, 0);
    world_echoes(w, &w->node);
    world_end(w);
}

static void a_port_in_use_is_named(void **state)
{
    (void)state;
    world *w = world_make(0);
    wire_server *second;
    fl_err err = {0};
    wire_server_config config = {.host = "127.0.0.1",
                                 .port = w->port,
                                 .ca_pem = w->ca.cert,
                                 .cert_pem = w->server.cert,
                                 .key_pem = w->server.key,
                                 .on_request = world_request,
                                 .ctx = w};
    assert_int_equal(wire_server_start(&second, &config, &err), FL_EENV);
    assert_non_null(strstr(err.text, "in use by another program"));
    config.host = "192.0.2.1";
    assert_int_equal(wire_server_start(&second, &config, &err), FL_EENV);
    assert_non_null(strstr(err.text, "192.0.2.1"));
    config.key_pem = w->node.key;
    assert_int_equal(wire_server_start(&second, &config, &err), FL_EFORMAT);
    world_echoes(w, &w->node);
    world_end(w);
}

static void a_ticket_answers_once(void **state)
{
    (void)state;
    world *w = world_make(0);
    wire_server_stop(w->s);
    w->n_contexts = 1; /* so that every ticket is of the same place */
    world_start(w, 0);
    char address[32];
    fl_err err = {0};
    wire_client *c;
    wire_client_config config = world_client(w, &w->node, address);
    answer a = ANSWER_INIT;
    world_mode_set(w, WORLD_PARK);
    must(wire_client_open(&c, &config, &err), &err);
    for (unsigned i = 1; i <= 3; i++) {
        must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, &a, &err), &err);
        EVENTUALLY(world_parked(w) == i);
        if (i > 1)
            wire_server_reply(w->s, w->parked[i - 2], (const uint8_t *)"old", 3); /* the ticket before: no-op */
        wire_server_reply(w->s, w->parked[i - 1], (const uint8_t *)"n", 1);
        wire_server_reply(w->s, w->parked[i - 1], (const uint8_t *)"again", 5);
        answer_wait(&a, i);
        assert_int_equal(a.size, 1);
        assert_int_equal(a.first, 'n');
    }
    wire_server_reply(w->s, UINT64_MAX, (const uint8_t *)"n", 1);
    wire_server_ignore(w->s, w->parked[0]);
    wire_client_close(c);
    world_end(w);
}

static void a_hundred_requests_wait_at_once_and_are_released_together(void **state)
{
    (void)state;
    enum { N = 100 };
    world *w = world_make(0);
    static identity nodes[N];
    wire_client *clients[N];
    answer a = ANSWER_INIT;
    fl_err err = {0};
    world_mode_set(w, WORLD_PARK);
    for (unsigned i = 0; i < N; i++) {
        char address[32], name[16];
        snprintf(name, sizeof name, "site-%u", i);
        world_node(&nodes[i], &w->ca, name);
        wire_client_config config = world_client(w, &nodes[i], address);
        must(wire_client_open(&clients[i], &config, &err), &err);
        must(wire_client_ask(clients[i], (const uint8_t *)"poll", 4, 3 * PATIENCE_MS, answered, &a, &err), &err);
    }
    EVENTUALLY(world_parked(w) == N);
    assert_int_equal(wire_server_peers(w->s), N);
    for (unsigned i = 0; i < N; i++)
        wire_server_reply(w->s, w->parked[i], (const uint8_t *)"go", 2);
    answer_wait(&a, N);
    for (unsigned i = 0; i < N; i++)
        wire_client_close(clients[i]);
    EVENTUALLY(wire_server_peers(w->s) == 0);
    world_end(w);
}

static void a_key_has_at_most_four_connections(void **state)
{
    (void)state;
    world *w = world_make(0);
    raw_tls t[7];
    for (unsigned i = 0; i < 7; i++) {
        uint8_t bytes[8];
        t[i] = raw_tls_connect(w, &w->node, 0);
        assert_int_equal(SSL_write(t[i].ssl, greeting, sizeof greeting), sizeof greeting);
        assert_int_equal(SSL_read(t[i].ssl, bytes, sizeof bytes), sizeof greeting);
        if (i < 4)
            EVENTUALLY(wire_server_peers(w->s) == i + 1); /* so that they are known in this order */
    }
    for (unsigned i = 0; i < 3; i++) /* the oldest are gone */
        raw_tls_expect_end(&t[i]);
    for (unsigned i = 0; i < 7; i++)
        raw_tls_end(&t[i], false);
    EVENTUALLY(wire_server_peers(w->s) == 0);
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_member_is_let_in_and_known_by_name_and_key),
        cmocka_unit_test(an_enrolment_certificate_is_known_as_one),
        cmocka_unit_test(certificates_of_others_are_refused),
        cmocka_unit_test(no_certificate_and_old_tls_are_refused),
        cmocka_unit_test(a_key_that_is_not_allowed_is_cut_before_its_first_request),
        cmocka_unit_test(a_key_that_is_not_allowed_does_not_become_a_connection),
        cmocka_unit_test(permission_is_asked_again_at_each_request),
        cmocka_unit_test(revocation_reaches_live_connections),
        cmocka_unit_test(silent_connections_are_cut_and_members_are_not),
        cmocka_unit_test(garbage_before_and_after_tls_leaves_the_listener_alive),
        cmocka_unit_test(a_length_of_2_to_the_63_is_refused_without_allocating),
        cmocka_unit_test(a_client_killed_in_the_middle_of_a_message_leaves_no_trace),
        cmocka_unit_test(a_port_in_use_is_named),
        cmocka_unit_test(a_ticket_answers_once),
        cmocka_unit_test(a_hundred_requests_wait_at_once_and_are_released_together),
        cmocka_unit_test(a_key_has_at_most_four_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
