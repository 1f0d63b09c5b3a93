/*
 * One thread owns the socket: it alone opens, closes and waits, so nng never sees two of us. What nng's threads do is
 * set a flag under the mutex and signal. No call into nng is made with the mutex held.
 */
#include "proto/net/client.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "proto/msg/enrol.h"
#include "proto/net/close.h"
#include "proto/net/dial.h"
#include "proto/net/tls_engine.h"
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX (2u << 20)
#define SEND_MS     20000
#define LOOK_MS     1000               /* how often a waiting request looks whether its connection is still there */
#define NEVER_MS    (24 * 3600 * 1000) /* nng's own reconnecting: the thread makes a new socket instead */

struct wire_client {
    char address[WIRE_ADDRESS_MAX], host[256];
    uint16_t port;
    char *ca_pem, *cert_pem, *key_pem;
    unsigned connect_ms, retry_min_ms, retry_max_ms;
    bool one_attempt;
    int wake_fd;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* under the mutex */
    bool closing, asking, pipe_up, pipe_lost, tls_failed, aio_done;
    char tls_why[200];
    nng_pipe pipe; /* the last that came up */
    nng_msg *request;
    unsigned timeout_ms;
    wire_on_reply on_reply;
    void *ctx;
    /* the thread's own */
    bool is_open;
    bool is_left; /* a socket of it did not close: close.h */
    nng_socket socket;
    nng_aio *aio;
    wire_tls_config tls;
    unsigned failures;
    int64_t next_try_ms;
    fl_rng rng;
};

/* ---- signals from nng's threads ---- */

static void tls_failed(void *arg, const char *why)
{
    wire_client *c = arg;
    pthread_mutex_lock(&c->mutex);
    if (!c->tls_failed)
        snprintf(c->tls_why, sizeof c->tls_why, "%s", why);
    c->tls_failed = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static void pipe_event(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    wire_client *c = arg;
    pthread_mutex_lock(&c->mutex);
    if (event == NNG_PIPE_EV_ADD_POST)
        c->pipe = pipe;
    c->pipe_up = event == NNG_PIPE_EV_ADD_POST;
    c->pipe_lost |= event == NNG_PIPE_EV_REM_POST;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static void aio_event(void *arg)
{
    wire_client *c = arg;
    pthread_mutex_lock(&c->mutex);
    c->aio_done = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

/* The mutex is held. false: the time is over. */
static bool wait_until(wire_client *c, int64_t until_ms)
{
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    return pthread_cond_timedwait(&c->changed, &c->mutex, &until) == 0 || fl_clock_mono_ms() < until_ms;
}

/* ---- the connection ---- */

static void disconnect(wire_client *c)
{
    if (!c->is_open)
        return;
    if (wire_socket_close(c->socket))
        wire_tls_config_fini(&c->tls);
    else
        c->is_left = true; /* the old socket has the configuration, and may still call back */
    c->is_open = false;
}

static int dialer_start(wire_client *c, const char *url)
{
    nng_dialer dialer;
    int rv = nng_dialer_create(&dialer, c->socket, url);
    if (!rv)
        rv = nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, c->tls.config);
    if (!rv)
        rv = nng_dialer_set_ms(dialer, NNG_OPT_RECONNMINT, NEVER_MS);
    if (!rv)
        rv = nng_dialer_set_ms(dialer, NNG_OPT_RECONNMAXT, NEVER_MS);
    return rv ? rv : nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
}

static fl_code socket_open(wire_client *c, const char *url, fl_err *err)
{
    wire_tls_params params = {.host = c->host,
                              .ca_pem = c->ca_pem,
                              .cert_pem = c->cert_pem,
                              .key_pem = c->key_pem,
                              .failed = tls_failed,
                              .ctx = c};
    fl_code code = wire_tls_config_init(&c->tls, &params, err);
    if (code)
        return code;
    int rv = nng_req0_open(&c->socket);
    if (rv) {
        wire_tls_config_fini(&c->tls);
        return fl_fail(err, FL_EENV, "%s", nng_strerror(rv));
    }
    c->is_open = true;
    pthread_mutex_lock(&c->mutex);
    c->pipe_up = c->pipe_lost = c->tls_failed = false;
    pthread_mutex_unlock(&c->mutex);
    if ((rv = nng_socket_set_size(c->socket, NNG_OPT_RECVMAXSZ, MESSAGE_MAX)) ||
        (rv = nng_socket_set_ms(c->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE)) ||
        (rv = nng_pipe_notify(c->socket, NNG_PIPE_EV_ADD_POST, pipe_event, c)) ||
        (rv = nng_pipe_notify(c->socket, NNG_PIPE_EV_REM_POST, pipe_event, c)) || (rv = dialer_start(c, url)))
        return fl_fail(err, FL_EENV, "%s", nng_strerror(rv));
    return FL_OK;
}

/* Waits for the pipe, the reason why there is none, or the watchdog's time. */
static fl_code pipe_wait(wire_client *c, int64_t until_ms, fl_err *err)
{
    fl_code code = FL_OK;
    pthread_mutex_lock(&c->mutex);
    while (!c->pipe_up && !c->pipe_lost && !c->tls_failed && !c->closing && wait_until(c, until_ms))
        ;
    if (c->closing)
        code = fl_fail(err, FL_EBUSY, "closing");
    else if (c->tls_failed)
        code = fl_fail(err, FL_EENV, "%s", c->tls_why);
    else if (c->pipe_lost)
        code = fl_fail(err, FL_EENV, "closed by the coordinator");
    else if (!c->pipe_up)
        code = fl_fail(err, FL_EENV, "no answer to the TLS greeting");
    pthread_mutex_unlock(&c->mutex);
    return code;
}

static fl_code attempt(wire_client *c, int64_t deadline_ms, fl_err *err)
{
    char url[WIRE_URL_MAX];
    int64_t until_ms = fl_clock_mono_ms() + c->connect_ms;
    if (until_ms > deadline_ms)
        until_ms = deadline_ms;
    int64_t left = until_ms - fl_clock_mono_ms();
    fl_code code = wire_dial_probe(url, c->host, c->port, left > 0 ? (unsigned)left : 1, c->wake_fd, err);
    if (!code)
        code = socket_open(c, url, err);
    if (!code)
        code = pipe_wait(c, until_ms, err);
    if (code)
        disconnect(c);
    return code;
}

/* Twice as long after each failure, and up to half of it less: a hundred nodes do not come back in the same second. */
static void schedule_retry(wire_client *c)
{
    uint64_t pause = c->retry_min_ms;
    for (unsigned i = 0; i < c->failures && pause < c->retry_max_ms; i++)
        pause *= 2;
    if (pause > c->retry_max_ms)
        pause = c->retry_max_ms;
    c->failures++;
    c->next_try_ms = fl_clock_mono_ms() + (int64_t)(pause - fl_rng_below(&c->rng, pause / 2 + 1));
}

static bool retry_wait(wire_client *c, int64_t deadline_ms)
{
    pthread_mutex_lock(&c->mutex);
    int64_t until_ms = c->next_try_ms < deadline_ms ? c->next_try_ms : deadline_ms;
    while (!c->closing && fl_clock_mono_ms() < until_ms)
        wait_until(c, until_ms);
    bool go = !c->closing && fl_clock_mono_ms() < deadline_ms;
    pthread_mutex_unlock(&c->mutex);
    return go;
}

/* A TCP connection that ends just after a reply, before nng asks TLS for the next, leaves a pipe that nng believes in. */
static bool tcp_gone(const wire_client *c)
{
    nng_sockaddr address;
    return nng_pipe_get_addr(c->pipe, NNG_OPT_REMADDR, &address) != 0;
}

static bool still_up(wire_client *c)
{
    pthread_mutex_lock(&c->mutex);
    bool up = c->is_open && c->pipe_up;
    pthread_mutex_unlock(&c->mutex);
    return up && !tcp_gone(c);
}

/* A connection, however many attempts it takes, until the deadline. err keeps the last attempt's reason. */
static fl_code connect_until(wire_client *c, int64_t deadline_ms, fl_err *err)
{
    if (still_up(c))
        return FL_OK;
    disconnect(c);
    fl_fail(err, FL_EENV, "no connection yet");
    while (retry_wait(c, deadline_ms)) {
        fl_code code = attempt(c, deadline_ms, err);
        if (!code)
            return FL_OK;
        schedule_retry(c);
        if (c->one_attempt || code == FL_EBUSY)
            break;
        fl_log(FL_DEBUG, "net", "no connection to %s: %s", c->address, err->text);
    }
    return FL_EENV;
}

/* ---- one exchange ---- */

/* Starts one operation and waits for its end. A lost pipe or a closing client closes the socket, which ends it. */
static int operate(wire_client *c, void (*start)(nng_socket, nng_aio *), int64_t until_ms)
{
    int64_t left = until_ms - fl_clock_mono_ms();
    pthread_mutex_lock(&c->mutex);
    c->aio_done = false;
    pthread_mutex_unlock(&c->mutex);
    nng_aio_set_timeout(c->aio, left > 0 ? (nng_duration)left : 1);
    start(c->socket, c->aio);
    pthread_mutex_lock(&c->mutex);
    bool gone = false;
    while (!c->aio_done && !c->closing && !c->pipe_lost && !gone) {
        if (wait_until(c, fl_clock_mono_ms() + LOOK_MS))
            continue;
        pthread_mutex_unlock(&c->mutex);
        gone = tcp_gone(c);
        pthread_mutex_lock(&c->mutex);
    }
    bool done = c->aio_done;
    pthread_mutex_unlock(&c->mutex);
    if (!done) {
        nng_aio_cancel(c->aio);
        disconnect(c);
    }
    nng_aio_wait(c->aio);
    return nng_aio_result(c->aio);
}

static fl_code lost(wire_client *c, int rv, unsigned waited_ms, fl_err *err)
{
    pthread_mutex_lock(&c->mutex);
    if (c->closing)
        fl_fail(err, FL_EENV, "closing");
    else if (c->tls_failed)
        fl_fail(err, FL_EENV, "%s", c->tls_why);
    else if (rv == NNG_ETIMEDOUT)
        fl_fail(err, FL_EENV, "no reply in %u s", (waited_ms + 999) / 1000);
    else if (rv == NNG_EMSGSIZE)
        fl_fail(err, FL_EENV, "a reply that is too large");
    else
        fl_fail(err, FL_EENV, "closed by the coordinator");
    pthread_mutex_unlock(&c->mutex);
    disconnect(c);
    schedule_retry(c);
    return FL_EENV;
}

static fl_code exchange(wire_client *c, nng_msg *request, int64_t deadline_ms, nng_msg **reply, fl_err *err)
{
    int64_t now_ms = fl_clock_mono_ms();
    nng_aio_set_msg(c->aio, request);
    int rv = operate(c, nng_send_aio, deadline_ms - now_ms > SEND_MS ? now_ms + SEND_MS : deadline_ms);
    if (rv) {
        nng_msg_free(nng_aio_get_msg(c->aio));
        return lost(c, rv, SEND_MS, err);
    }
    rv = operate(c, nng_recv_aio, deadline_ms);
    if (rv)
        return lost(c, rv, c->timeout_ms, err);
    *reply = nng_aio_get_msg(c->aio);
    c->failures = 0;
    c->next_try_ms = 0;
    return FL_OK;
}

static void serve_one(wire_client *c)
{
    fl_err err = {0}, why = {0};
    nng_msg *reply = NULL;
    int64_t deadline_ms = fl_clock_mono_ms() + c->timeout_ms;
    fl_code code = connect_until(c, deadline_ms, &err);
    if (code)
        nng_msg_free(c->request);
    else
        code = exchange(c, c->request, deadline_ms, &reply, &err);
    pthread_mutex_lock(&c->mutex);
    if (code && c->closing)
        fl_fail(&err, FL_EENV, "closing");
    wire_on_reply on_reply = c->on_reply;
    void *ctx = c->ctx;
    c->request = NULL;
    c->asking = false; /* on_reply may ask again */
    pthread_mutex_unlock(&c->mutex);
    if (code) {
        fl_fail(&why, code, "%s: %s", c->address, err.text);
        on_reply(ctx, code, NULL, 0, why.text);
    } else {
        on_reply(ctx, FL_OK, nng_msg_body(reply), nng_msg_len(reply), "");
        nng_msg_free(reply);
    }
}

static void *client_main(void *arg)
{
    wire_client *c = arg;
    pthread_mutex_lock(&c->mutex);
    for (;;) {
        while (!c->asking && !c->closing)
            pthread_cond_wait(&c->changed, &c->mutex);
        if (!c->asking)
            break;
        pthread_mutex_unlock(&c->mutex);
        serve_one(c);
        pthread_mutex_lock(&c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    disconnect(c);
    return NULL;
}

/* ---- from outside ---- */

static void client_free(wire_client *c)
{
    if (c->is_left) { /* all but the key stays for what may still call */
        explicit_bzero(c->key_pem, strlen(c->key_pem));
        return;
    }
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    if (c->aio)
        nng_aio_free(c->aio);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->mutex);
    if (c->key_pem)
        explicit_bzero(c->key_pem, strlen(c->key_pem));
    free(c->ca_pem);
    free(c->cert_pem);
    free(c->key_pem);
    free(c);
}

static fl_code client_fill(wire_client *c, const wire_client_config *config, fl_err *err)
{
    fl_code code = wire_address_split(c->host, &c->port, config->address, err);
    if (code)
        return code;
    strcpy(c->address, config->address); /* wire_address_split saw that it fits */
    c->connect_ms = config->connect_ms ? config->connect_ms : 20000;
    c->retry_min_ms = config->retry_min_ms ? config->retry_min_ms : 1000;
    c->retry_max_ms = config->retry_max_ms ? config->retry_max_ms : 60000;
    c->one_attempt = config->one_attempt;
    c->ca_pem = strdup(config->ca_pem);
    c->cert_pem = strdup(config->cert_pem);
    c->key_pem = strdup(config->key_pem);
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!c->ca_pem || !c->cert_pem || !c->key_pem || c->wake_fd < 0 || nng_aio_alloc(&c->aio, aio_event, c))
        return fl_fail(err, FL_EENV, "client: no memory or descriptors");
    /* a certificate that cannot be read is told now, not at the first request */
    wire_tls_params params = {.host = c->host, .ca_pem = c->ca_pem, .cert_pem = c->cert_pem, .key_pem = c->key_pem};
    wire_tls_config tls;
    if ((code = wire_tls_config_init(&tls, &params, err)))
        return code;
    wire_tls_config_fini(&tls);
    return FL_OK;
}

fl_code wire_client_open(wire_client **out, const wire_client_config *config, fl_err *err)
{
    wire_client *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return fl_fail(err, FL_EENV, "client: no memory");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&c->mutex, NULL);
    c->wake_fd = -1;
    fl_rng_init(&c->rng, (uint64_t)fl_clock_mono_ms(), (uint64_t)getpid());
    fl_code code = client_fill(c, config, err);
    if (!code && pthread_create(&c->thread, NULL, client_main, c))
        code = fl_fail(err, FL_EENV, "client: no thread");
    if (code)
        client_free(c);
    else
        *out = c;
    return code;
}

fl_code wire_client_ask(wire_client *c, const uint8_t *bytes, size_t n, unsigned timeout_ms, wire_on_reply on_reply,
                        void *ctx, fl_err *err)
{
    nng_msg *msg;
    if (n > MESSAGE_MAX || nng_msg_alloc(&msg, n))
        return fl_fail(err, FL_EENV, "client: no memory for a request of %zu bytes", n);
    memcpy(nng_msg_body(msg), bytes, n);
    pthread_mutex_lock(&c->mutex);
    bool busy = c->asking || c->closing;
    if (!busy) {
        c->request = msg;
        c->timeout_ms = timeout_ms;
        c->on_reply = on_reply;
        c->ctx = ctx;
        c->asking = true;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->mutex);
    if (!busy)
        return FL_OK;
    nng_msg_free(msg);
    return fl_fail(err, FL_EBUSY, "client: another request is under way");
}

bool wire_client_connected(wire_client *c)
{
    pthread_mutex_lock(&c->mutex);
    bool up = c->pipe_up;
    pthread_mutex_unlock(&c->mutex);
    return up;
}

void wire_client_close(wire_client *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->mutex);
    c->closing = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    if (eventfd_write(c->wake_fd, 1))
        fl_log(FL_WARN, "net", "the client's thread could not be woken: it ends when its connection attempt does");
    pthread_join(c->thread, NULL);
    client_free(c);
}

/* ---- one request and its reply, waiting ---- */

typedef struct call {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool is_done;
    fl_buf *reply;
    fl_code code;
    fl_err *err;
} call;

static void call_done(void *arg, fl_code code, const uint8_t *bytes, size_t n, const char *why)
{
    call *k = arg;
    pthread_mutex_lock(&k->mutex);
    k->code = code;
    if (code) {
        fl_fail(k->err, code, "%s", why);
    } else {
        fl_buf_add(k->reply, bytes, n);
        k->code = fl_buf_check(k->reply, "reply", k->err);
    }
    k->is_done = true;
    pthread_cond_signal(&k->done);
    pthread_mutex_unlock(&k->mutex);
}

fl_code wire_client_call(const wire_client_config *config, const uint8_t *bytes, size_t n, fl_buf *reply,
                         unsigned timeout_ms, fl_err *err)
{
    wire_client *c;
    wire_client_config once = *config;
    once.one_attempt = true;
    fl_code code = wire_client_open(&c, &once, err);
    if (code)
        return code;
    call k = {.mutex = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER, .reply = reply, .err = err};
    code = wire_client_ask(c, bytes, n, timeout_ms, call_done, &k, err);
    if (!code) {
        pthread_mutex_lock(&k.mutex);
        while (!k.is_done)
            pthread_cond_wait(&k.done, &k.mutex);
        pthread_mutex_unlock(&k.mutex);
        code = k.code;
    }
    wire_client_close(c);
    return code;
}
