/* What a node's end does when the network, the coordinator or its own program does not do what it should. */
#include "proto/net/piece.h"
#include "tests/proto/raw.h"
#include "tests/proto/world.h"

static wire_client *client_of(const world *w, answer *a, bool ask)
{
    char address[32];
    fl_err err = {0};
    wire_client *c;
    wire_client_config config = world_client(w, &w->node, address);
    must(wire_client_open(&c, &config, &err), &err);
    if (ask)
        must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, a, &err), &err);
    return c;
}

/* A port on which nobody listens, or somebody who only accepts. */
static int port_take(uint16_t *port, bool listens)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    if (listens)
        assert_int_equal(listen(fd, 8), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static void call_fails(const world *w, const char *address, const char *words)
{
    char own[32];
    fl_err err = {0};
    fl_buf reply;
    wire_client_config config = world_client(w, &w->node, own);
    if (address)
        config.address = address;
    config.connect_ms = 500;
    fl_buf_init(&reply, 100);
    assert_int_equal(wire_client_call(&config, (const uint8_t *)"x", 1, &reply, PATIENCE_MS, &err), FL_EENV);
    if (!strstr(err.text, words))
        fail_msg("says \"%s\", expected \"%s\"", err.text, words);
    fl_buf_fini(&reply);
}

static void each_way_not_to_connect_has_its_words(void **state)
{
    (void)state;
    char address[40];
    uint16_t port;
    world *w = world_make(0);
    int fd = port_take(&port, false);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    call_fails(w, address, "connection refused");
    close(fd);
    fd = port_take(&port, true);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    call_fails(w, address, "no answer to the TLS greeting");
    close(fd);
    call_fails(w, "no-such-host.invalid:7443", "name not found");
    snprintf(address, sizeof address, "localhost:%u", w->port);
    call_fails(w, address, "not for this host name");
    snprintf(address, sizeof address, "127.0.0.2:%u", w->port);
    call_fails(w, address, "connection refused");
    world_end(w);
}

/* The other side of refusing: a node believes no coordinator but its own. */
static void a_false_coordinator_is_refused(void **state)
{
    (void)state;
    world *w = world_make(0), *fake = world_make(0);
    uint16_t port = w->port;
    w->port = fake->port; /* another consortium answers */
    call_fails(w, NULL, "not of this consortium");
    assert_int_equal(fake->n_requests, 0);
    wire_server_stop(fake->s);
    fake->ca = w->ca; /* a member plays coordinator with its own certificate: only a server's will do */
    world_node(&fake->server, &w->ca, "127.0.0.1");
    world_start(fake, 0);
    call_fails(w, NULL, "not of this consortium");
    wire_server_stop(fake->s);
    world_issue(&fake->server, &w->ca, "127.0.0.1", FL_CERT_SERVER, fl_clock_wall_s() - 30 * DAY_S, DAY_S);
    world_start(fake, 0);
    call_fails(w, NULL, "has expired");
    wire_server_stop(fake->s);
    world_issue(&fake->server, &w->ca, "hub.example.org", FL_CERT_SERVER, fl_clock_wall_s(), DAY_S);
    world_start(fake, 0);
    call_fails(w, NULL, "not for this host name");
    assert_int_equal(fake->n_requests, 0);
    w->port = port;
    world_end(fake);
    world_end(w);
}

static void what_cannot_work_is_told_when_it_is_opened(void **state)
{
    (void)state;
    world *w = world_make(0);
    wire_client *c;
    char address[32];
    fl_err err = {0};
    wire_client_config config = world_client(w, &w->node, address);
    config.key_pem = w->server.key;
    assert_int_equal(wire_client_open(&c, &config, &err), FL_EFORMAT);
    assert_non_null(strstr(err.text, "its key is another one's"));
    config = world_client(w, &w->node, address);
    config.ca_pem = "nothing";
    assert_int_equal(wire_client_open(&c, &config, &err), FL_EFORMAT);
    config = world_client(w, &w->node, address);
    config.address = "127.0.0.1";
    assert_int_equal(wire_client_open(&c, &config, &err), FL_EFORMAT);
    world_end(w);
}

static void the_largest_reply_arrives_whole(void **state)
{
    (void)state;
    world *w = world_make(0);
    fl_buf reply;
    fl_err err = {0};
    world_mode_set(w, WORLD_BIG);
    must(world_call(w, &w->node, "big", &reply, &err), &err);
    assert_int_equal(reply.size, WIRE_ENVELOPE_MAX);
    for (size_t i = 0; i < reply.size; i++)
        if (reply.bytes[i] != i % 251)
            fail_msg("byte %zu", i);
    fl_buf_fini(&reply);
    world_end(w);
}

static void a_largest_request_arrives_and_a_larger_one_is_cut(void **state)
{
    (void)state;
    world *w = world_make(0);
    answer a = ANSWER_INIT;
    fl_err err = {0};
    wire_client *c = client_of(w, &a, false);
    uint8_t *bytes = calloc(1, (2 << 20) + 1);
    must(wire_client_ask(c, bytes, WIRE_ENVELOPE_MAX, PATIENCE_MS, answered, &a, &err), &err);
    answer_wait(&a, 1);
    assert_int_equal(a.size, WIRE_ENVELOPE_MAX);
    must(wire_client_ask(c, bytes, 2 << 20, PATIENCE_MS, answered, &a, &err), &err); /* and nng's 4 bytes: too large */
    answer_wait(&a, 2);
    assert_int_equal(a.code, FL_EENV);
    assert_int_equal(wire_client_ask(c, bytes, (2 << 20) + 1, PATIENCE_MS, answered, &a, &err), FL_EENV);
    must(wire_client_ask(c, bytes, 10, PATIENCE_MS, answered, &a, &err), &err);
    answer_wait(&a, 3);
    assert_int_equal(a.code, FL_OK);
    free(bytes);
    wire_client_close(c);
    world_end(w);
}

static void a_restarted_coordinator_is_found_again(void **state)
{
    (void)state;
    world *w = world_make(0);
    answer a = ANSWER_INIT;
    fl_err err = {0};
    wire_client *c = client_of(w, &a, true);
    answer_wait(&a, 1);
    assert_int_equal(a.code, FL_OK);
    for (unsigned i = 0; i < 3; i++) {
        world_mode_set(w, WORLD_PARK);
        must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, &a, &err), &err);
        EVENTUALLY(world_parked(w) == 1);
        wire_server_stop(w->s); /* with a request under way: it ends at once, with an error */
        answer_wait(&a, 2 + 2 * i);
        assert_int_equal(a.code, FL_EENV);
        assert_non_null(strstr(a.why, "closed by the coordinator"));
        world_mode_set(w, WORLD_ECHO);
        must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, &a, &err), &err);
        world_start(w, 0); /* the same port, while the client tries */
        answer_wait(&a, 3 + 2 * i);
        assert_int_equal(a.code, FL_OK);
    }
    wire_client_close(c);
    world_end(w);
}

static void a_coordinator_that_says_nothing_is_left_and_dialled_anew(void **state)
{
    (void)state;
    world *w = world_make(0);
    answer a = ANSWER_INIT;
    fl_err err = {0};
    wire_client *c = client_of(w, &a, false);
    world_mode_set(w, WORLD_PARK);
    must(wire_client_ask(c, (const uint8_t *)"x", 1, 300, answered, &a, &err), &err);
    answer_wait(&a, 1);
    assert_int_equal(a.code, FL_EENV);
    assert_non_null(strstr(a.why, "no reply in 1 s"));
    EVENTUALLY(wire_server_peers(w->s) == 0); /* the connection was not kept */
    world_mode_set(w, WORLD_ECHO);
    must(wire_client_ask(c, (const uint8_t *)"x", 1, PATIENCE_MS, answered, &a, &err), &err);
    answer_wait(&a, 2);
    assert_int_equal(a.code, FL_OK);
    wire_client_close(c);
    world_end(w);
}

static void one_request_at_a_time(void **state)
{
    (void)state;
    world *w = world_make(0);
    answer a = ANSWER_INIT;
    fl_err err = {0};
    world_mode_set(w, WORLD_PARK);
    wire_client *c = client_of(w, &a, true);
    assert_int_equal(wire_client_ask(c, (const uint8_t *)"y", 1, PATIENCE_MS, answered, &a, &err), FL_EBUSY);
    EVENTUALLY(world_parked(w) == 1);
    assert_true(wire_client_connected(c));
    assert_int_equal(wire_client_ask(c, (const uint8_t *)"y", 1, PATIENCE_MS, answered, &a, &err), FL_EBUSY);
    wire_server_reply(w->s, w->parked[0], (const uint8_t *)"z", 1);
    answer_wait(&a, 1);
    assert_int_equal(a.first, 'z');
    assert_int_equal(a.n, 1);
    wire_client_close(c);
    world_end(w);
}

typedef struct chain {
    wire_client *c;
    answer a;
    unsigned left;
} chain;

static void ask_next(void *ctx, fl_code code, const uint8_t *bytes, size_t n, const char *why)
{
    chain *k = ctx;
    fl_err err;
    if (code || --k->left == 0 || wire_client_ask(k->c, bytes, n, PATIENCE_MS, ask_next, k, &err))
        answered(&k->a, code, bytes, n, why);
}

static void the_next_request_may_be_made_from_the_reply(void **state)
{
    (void)state;
    world *w = world_make(0);
    chain k = {.a = ANSWER_INIT, .left = 200};
    fl_err err = {0};
    k.c = client_of(w, &k.a, false);
    must(wire_client_ask(k.c, (const uint8_t *)"x", 1, PATIENCE_MS, ask_next, &k, &err), &err);
    answer_wait(&k.a, 1);
    assert_int_equal(k.a.code, FL_OK);
    assert_int_equal(k.left, 0);
    assert_int_equal(w->n_requests, 200);
    wire_client_close(k.c);
    world_end(w);
}

/* Closing never waits for a time-out, wherever the client's thread is; the request under way ends exactly once. */
static void closes_promptly(wire_client *c, answer *a)
{
    int64_t start_ms = fl_clock_mono_ms();
    wire_client_close(c);
    assert_true(fl_clock_mono_ms() - start_ms < PATIENCE_MS / 2);
    assert_int_equal(a->n, 1);
    assert_int_equal(a->code, FL_EENV);
    assert_non_null(strstr(a->why, "closing"));
}

static void closing_is_prompt_while_waiting_for_a_reply(void **state)
{
    (void)state;
    world *w = world_make(0);
    answer a = ANSWER_INIT;
    world_mode_set(w, WORLD_PARK);
    wire_client *c = client_of(w, &a, true);
    EVENTUALLY(world_parked(w) == 1);
    closes_promptly(c, &a);
    wire_client_close(client_of(w, NULL, false)); /* idle */
    wire_client_close(NULL);
    world_end(w);
}

static void closing_is_prompt_in_the_tls_greeting(void **state)
{
    (void)state;
    world *w = world_make(0);
    answer a = ANSWER_INIT;
    uint16_t own = w->port;
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int fd = port_take(&w->port, true);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    wire_client *c = client_of(w, &a, true);
    int probe = accept(fd, NULL, NULL), dial = accept(fd, NULL, NULL);
    assert_true(probe >= 0 && dial >= 0);
    closes_promptly(c, &a);
    close(probe);
    close(dial);
    close(fd);
    w->port = own;
    world_end(w);
}

static void closing_is_prompt_between_two_attempts(void **state)
{
    (void)state;
    world *w = world_make(0);
    answer a = ANSWER_INIT;
    uint16_t own = w->port;
    int fd = port_take(&w->port, false);
    char address[32];
    fl_err err = {0};
    wire_client *c;
    wire_client_config config = world_client(w, &w->node, address);
    config.retry_min_ms = config.retry_max_ms = 2 * PATIENCE_MS;
    must(wire_client_open(&c, &config, &err), &err);
    must(wire_client_ask(c, (const uint8_t *)"x", 1, 2 * PATIENCE_MS, answered, &a, &err), &err);
    closes_promptly(c, &a);
    close(fd);
    w->port = own;
    world_end(w);
}

static void a_piece_halves_after_a_cut_and_doubles_after_successes(void **state)
{
    (void)state;
    wire_piece p = {0};
    assert_int_equal(wire_piece_size(&p), WIRE_PIECE_START);
    assert_int_equal(wire_piece_take(&p, 5), 5);
    assert_int_equal(wire_piece_take(&p, UINT64_MAX), WIRE_PIECE_START);
    for (unsigned i = 0; i < 40; i++) {
        uint32_t before = wire_piece_size(&p);
        wire_piece_cut(&p);
        assert_int_equal(wire_piece_size(&p), before / 2 < WIRE_PIECE_MIN ? WIRE_PIECE_MIN : before / 2);
    }
    for (unsigned i = 0; i < 40; i++) {
        uint32_t before = wire_piece_size(&p);
        wire_piece_done(&p);
        wire_piece_done(&p);
        wire_piece_done(&p);
        assert_int_equal(wire_piece_size(&p), before);
        wire_piece_done(&p);
        assert_int_equal(wire_piece_size(&p), before * 2 > WIRE_PIECE_MAX ? WIRE_PIECE_MAX : before * 2);
    }
    wire_piece_done(&p);
    wire_piece_done(&p);
    wire_piece_done(&p);
    wire_piece_cut(&p); /* a cut forgets the successes before it */
    wire_piece_done(&p);
    assert_int_equal(wire_piece_size(&p), WIRE_PIECE_MAX / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_way_not_to_connect_has_its_words),
        cmocka_unit_test(a_false_coordinator_is_refused),
        cmocka_unit_test(what_cannot_work_is_told_when_it_is_opened),
        cmocka_unit_test(the_largest_reply_arrives_whole),
        cmocka_unit_test(a_largest_request_arrives_and_a_larger_one_is_cut),
        cmocka_unit_test(a_restarted_coordinator_is_found_again),
        cmocka_unit_test(a_coordinator_that_says_nothing_is_left_and_dialled_anew),
        cmocka_unit_test(one_request_at_a_time),
        cmocka_unit_test(the_next_request_may_be_made_from_the_reply),
        cmocka_unit_test(closing_is_prompt_while_waiting_for_a_reply),
        cmocka_unit_test(closing_is_prompt_in_the_tls_greeting),
        cmocka_unit_test(closing_is_prompt_between_two_attempts),
        cmocka_unit_test(a_piece_halves_after_a_cut_and_doubles_after_successes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
