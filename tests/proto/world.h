/*
 * A consortium on loopback for the tests of proto/net: a CA, a server certificate for 127.0.0.1, members, strangers, and
 * a server that echoes, parks or ignores requests. Waiting is on conditions, with a deadline that fails the test.
 */
#ifndef TESTS_PROTO_WORLD_H
#define TESTS_PROTO_WORLD_H

#include "base/clock.h"
#include "crypto/cert.h"
#include "crypto/hash.h"
#include "proto/net/client.h"
#include "proto/net/server.h"
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the standard headers that it needs */
#include <cmocka.h>

#define PATIENCE_MS 20000
#define DAY_S       86400

typedef struct identity {
    char cert[FL_PEM_MAX], key[FL_PEM_MAX];
} identity;

typedef enum world_mode { WORLD_ECHO, WORLD_PARK, WORLD_BIG } world_mode;

typedef struct world {
    identity ca, server, node;
    wire_server *s;
    uint16_t port;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    world_mode mode;
    unsigned n_requests, n_parked, n_contexts;
    uint64_t parked[512];
    wire_peer last_peer;
    bool deny;
    fl_hash denied;
} world;

static inline void must(fl_code code, const fl_err *err)
{
    if (code)
        fail_msg("%s", err->text);
}

/* Spins until the expression holds; the test fails when it does not within PATIENCE_MS. */
#define EVENTUALLY(expression)                                                                                         \
    do {                                                                                                               \
        int64_t until_ms_ = fl_clock_mono_ms() + PATIENCE_MS;                                                          \
        while (!(expression)) {                                                                                        \
            if (fl_clock_mono_ms() > until_ms_)                                                                        \
                fail_msg("never came: %s", #expression);                                                               \
            sched_yield();                                                                                             \
        }                                                                                                              \
    } while (0)

static inline void world_ca(identity *ca, const char *name)
{
    fl_err err = {0};
    must(fl_cert_key_make(ca->key, &err), &err);
    must(fl_cert_ca_make(ca->cert, ca->key, name, fl_clock_wall_s() - 60 * DAY_S, 3650, &err), &err);
}

static inline void world_issue(identity *out, const identity *ca, const char *name, fl_cert_use use, int64_t from_s,
                               int64_t valid_s)
{
    char request[FL_PEM_MAX];
    fl_err err = {0};
    must(fl_cert_key_make(out->key, &err), &err);
    must(fl_cert_request_make(request, out->key, name, &err), &err);
    must(fl_cert_issue(out->cert, ca->cert, ca->key, request, name, use, from_s, valid_s, &err), &err);
}

static inline void world_node(identity *out, const identity *ca, const char *name)
{
    world_issue(out, ca, name, FL_CERT_NODE, fl_clock_wall_s(), DAY_S);
}

static inline fl_hash world_spki(const identity *who)
{
    fl_cert_info info;
    fl_err err = {0};
    must(fl_cert_read(&info, who->cert, &err), &err);
    return info.spki;
}

static inline bool world_allow(void *ctx, const wire_peer *peer)
{
    world *w = ctx;
    pthread_mutex_lock(&w->mutex);
    bool yes = !w->deny || !fl_hash_equal(&w->denied, &peer->spki);
    pthread_mutex_unlock(&w->mutex);
    return yes;
}

static inline void world_request(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n, const wire_peer *peer)
{
    world *w = ctx;
    pthread_mutex_lock(&w->mutex);
    world_mode mode = w->mode;
    w->n_requests++;
    w->last_peer = *peer;
    if (mode == WORLD_PARK)
        w->parked[w->n_parked++ % 512] = ticket;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    if (mode == WORLD_ECHO)
        wire_server_reply(w->s, ticket, bytes, n);
    if (mode == WORLD_BIG) {
        uint8_t *big = malloc(WIRE_ENVELOPE_MAX);
        for (size_t i = 0; big && i < WIRE_ENVELOPE_MAX; i++)
            big[i] = (uint8_t)(i % 251);
        wire_server_reply(w->s, ticket, big, WIRE_ENVELOPE_MAX);
        free(big);
    }
}

static inline unsigned world_parked(world *w)
{
    pthread_mutex_lock(&w->mutex);
    unsigned n = w->n_parked;
    pthread_mutex_unlock(&w->mutex);
    return n;
}

static inline void world_mode_set(world *w, world_mode mode)
{
    pthread_mutex_lock(&w->mutex);
    w->mode = mode;
    w->n_parked = 0;
    pthread_mutex_unlock(&w->mutex);
}

static inline void world_start(world *w, unsigned stranger_ms)
{
    fl_err err = {0};
    wire_server_config config = {.host = "127.0.0.1",
                                 .port = w->port,
                                 .ca_pem = w->ca.cert,
                                 .cert_pem = w->server.cert,
                                 .key_pem = w->server.key,
                                 .n_contexts = w->n_contexts,
                                 .stranger_ms = stranger_ms,
                                 .on_request = world_request,
                                 .allow = world_allow,
                                 .ctx = w};
    must(wire_server_start(&w->s, &config, &err), &err);
    w->port = wire_server_port(w->s);
}

static inline world *world_make(unsigned stranger_ms)
{
    world *w = calloc(1, sizeof *w);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    world_ca(&w->ca, "hub");
    world_issue(&w->server, &w->ca, "127.0.0.1", FL_CERT_SERVER, fl_clock_wall_s(), DAY_S);
    world_node(&w->node, &w->ca, "st-anna");
    world_start(w, stranger_ms);
    return w;
}

static inline void world_end(world *w)
{
    wire_server_stop(w->s);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

static inline wire_client_config world_client(const world *w, const identity *who, char address[32])
{
    snprintf(address, 32, "127.0.0.1:%u", w->port);
    return (wire_client_config){.address = address,
                                .ca_pem = w->ca.cert,
                                .cert_pem = who->cert,
                                .key_pem = who->key,
                                .retry_min_ms = 10,
                                .retry_max_ms = 100};
}

/* One request with a fresh connection. */
static inline fl_code world_call(const world *w, const identity *who, const char *text, fl_buf *reply, fl_err *err)
{
    char address[32];
    wire_client_config config = world_client(w, who, address);
    fl_buf_init(reply, WIRE_ENVELOPE_MAX);
    return wire_client_call(&config, (const uint8_t *)text, strlen(text), reply, PATIENCE_MS, err);
}

static inline void world_echoes(const world *w, const identity *who)
{
    fl_err err = {0};
    fl_buf reply;
    must(world_call(w, who, "hello", &reply, &err), &err);
    assert_string_equal(fl_buf_text(&reply), "hello");
    fl_buf_fini(&reply);
}

/* An answer to wait for. */
typedef struct answer {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    unsigned n;
    fl_code code;
    size_t size;
    uint8_t first;
    char why[256];
} answer;

#define ANSWER_INIT                                                                                                    \
    {                                                                                                                  \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER                                           \
    }

static inline void answered(void *ctx, fl_code code, const uint8_t *bytes, size_t n, const char *why)
{
    answer *a = ctx;
    pthread_mutex_lock(&a->mutex);
    a->n++;
    a->code = code;
    a->size = n;
    a->first = n ? bytes[0] : 0;
    snprintf(a->why, sizeof a->why, "%s", why);
    pthread_cond_broadcast(&a->done);
    pthread_mutex_unlock(&a->mutex);
}

static inline void answer_wait(answer *a, unsigned n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&a->mutex);
    int rv = 0;
    while (a->n < n && rv == 0)
        rv = pthread_cond_timedwait(&a->done, &a->mutex, &until);
    pthread_mutex_unlock(&a->mutex);
    if (rv)
        fail_msg("no answer in %d ms", PATIENCE_MS);
}

#endif
