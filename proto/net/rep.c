#include "proto/net/rep.h"
#include "base/clock.h"
#include "proto/net/close.h"
#include <assert.h>
#include <nng/protocol/reqrep0/rep.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef enum slot_state { SLOT_IDLE, SLOT_RECEIVING, SLOT_HELD, SLOT_SENDING } slot_state;

typedef struct slot {
    wire_rep *rep;
    nng_ctx ctx;
    nng_aio *aio;
    uint32_t index, times_held; /* mutex */
    slot_state state;           /* mutex */
} slot;

struct wire_rep {
    nng_socket socket;
    wire_on_msg on_msg;
    void *ctx;
    pthread_mutex_t mutex;
    pthread_cond_t sent;
    unsigned n_sending; /* mutex */
    bool closing;       /* mutex */
    unsigned n_slots;
    slot slots[];
};

static void receive(slot *s)
{
    pthread_mutex_lock(&s->rep->mutex);
    bool closing = s->rep->closing;
    s->state = closing ? SLOT_IDLE : SLOT_RECEIVING;
    pthread_mutex_unlock(&s->rep->mutex);
    if (!closing)
        nng_ctx_recv(s->ctx, s->aio);
}

static uint64_t hold(slot *s)
{
    pthread_mutex_lock(&s->rep->mutex);
    s->state = SLOT_HELD;
    s->times_held++;
    uint64_t ticket = (uint64_t)s->times_held << 32 | s->index;
    pthread_mutex_unlock(&s->rep->mutex);
    return ticket;
}

/* The slot of a ticket, if it is still held, now in the given state. */
static slot *unhold(wire_rep *r, uint64_t ticket, slot_state next)
{
    slot *s = NULL;
    uint32_t index = (uint32_t)ticket;
    pthread_mutex_lock(&r->mutex);
    if (index < r->n_slots && !r->closing && r->slots[index].state == SLOT_HELD &&
        r->slots[index].times_held == ticket >> 32) {
        s = &r->slots[index];
        s->state = next;
        r->n_sending += next == SLOT_SENDING;
    }
    pthread_mutex_unlock(&r->mutex);
    return s;
}

static void received(slot *s)
{
    int rv = nng_aio_result(s->aio);
    if (rv == NNG_ECLOSED || rv == NNG_ECANCELED || rv == NNG_ESTATE) {
        pthread_mutex_lock(&s->rep->mutex);
        s->state = SLOT_IDLE;
        pthread_mutex_unlock(&s->rep->mutex);
        return;
    }
    if (rv) {
        receive(s);
        return;
    }
    nng_msg *msg = nng_aio_get_msg(s->aio);
    uint64_t ticket = hold(s);
    /* From here another thread may already have answered: the slot is looked up by ticket again. */
    if (!s->rep->on_msg(s->rep->ctx, ticket, msg))
        wire_rep_ignore(s->rep, ticket);
    nng_msg_free(msg);
}

static void sent(slot *s)
{
    if (nng_aio_result(s->aio))
        nng_msg_free(nng_aio_get_msg(s->aio)); /* a failed send leaves the message with us */
    pthread_mutex_lock(&s->rep->mutex);
    s->rep->n_sending--;
    pthread_cond_broadcast(&s->rep->sent);
    pthread_mutex_unlock(&s->rep->mutex);
    receive(s);
}

static void done(void *arg)
{
    slot *s = arg;
    pthread_mutex_lock(&s->rep->mutex);
    slot_state state = s->state;
    pthread_mutex_unlock(&s->rep->mutex);
    if (state == SLOT_SENDING)
        sent(s);
    else
        received(s);
}

void wire_rep_ignore(wire_rep *r, uint64_t ticket)
{
    slot *s = unhold(r, ticket, SLOT_RECEIVING);
    if (s)
        nng_ctx_recv(s->ctx, s->aio);
}

void wire_rep_reply(wire_rep *r, uint64_t ticket, const uint8_t *bytes, size_t n)
{
    nng_msg *msg;
    if (nng_msg_alloc(&msg, n)) {
        wire_rep_ignore(r, ticket);
        return;
    }
    memcpy(nng_msg_body(msg), bytes, n);
    slot *s = unhold(r, ticket, SLOT_SENDING);
    if (!s) {
        nng_msg_free(msg);
        return;
    }
    nng_aio_set_msg(s->aio, msg);
    nng_ctx_send(s->ctx, s->aio);
}

fl_code wire_rep_open(wire_rep **out, unsigned n_contexts, size_t max_bytes, wire_on_msg on_msg, void *ctx, fl_err *err)
{
    wire_rep *r = calloc(1, sizeof *r + n_contexts * sizeof r->slots[0]);
    *out = NULL;
    if (!r)
        return fl_fail(err, FL_EENV, "server: no memory");
    int rv = nng_rep0_open(&r->socket);
    if (rv) {
        free(r);
        return fl_fail(err, FL_EENV, "server: %s", nng_strerror(rv));
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->sent, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&r->mutex, NULL);
    r->on_msg = on_msg;
    r->ctx = ctx;
    r->n_slots = n_contexts;
    /* nng allocates what a peer announces: before anything else, say how much that may be */
    if ((rv = nng_socket_set_size(r->socket, NNG_OPT_RECVMAXSZ, max_bytes))) {
        wire_rep_close(r);
        return fl_fail(err, FL_EENV, "server: %s", nng_strerror(rv));
    }
    *out = r;
    return FL_OK;
}

nng_socket wire_rep_socket(const wire_rep *r)
{
    return r->socket;
}

fl_code wire_rep_start(wire_rep *r, fl_err *err)
{
    for (unsigned i = 0; i < r->n_slots; i++) {
        slot *s = &r->slots[i];
        s->rep = r;
        s->index = i;
        int rv = nng_aio_alloc(&s->aio, done, s);
        if (!rv)
            rv = nng_ctx_open(&s->ctx, r->socket);
        if (rv)
            return fl_fail(err, FL_EENV, "server: %s", nng_strerror(rv));
    }
    for (unsigned i = 0; i < r->n_slots; i++)
        receive(&r->slots[i]);
    return FL_OK;
}

void wire_rep_drain(wire_rep *r, unsigned timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L)
        until.tv_sec++, until.tv_nsec -= 1000000000L;
    pthread_mutex_lock(&r->mutex);
    while (r->n_sending && pthread_cond_timedwait(&r->sent, &r->mutex, &until) == 0)
        ;
    pthread_mutex_unlock(&r->mutex);
}

bool wire_rep_close(wire_rep *r)
{
    if (!r)
        return true;
    pthread_mutex_lock(&r->mutex);
    r->closing = true;
    pthread_mutex_unlock(&r->mutex);
    if (!wire_socket_close(r->socket)) /* ends every operation; contexts close with their socket */
        return false;
    for (unsigned i = 0; i < r->n_slots; i++)
        if (r->slots[i].aio) {
            nng_aio_stop(r->slots[i].aio);
            nng_aio_free(r->slots[i].aio);
        }
    pthread_cond_destroy(&r->sent);
    pthread_mutex_destroy(&r->mutex);
    free(r);
    return true;
}
