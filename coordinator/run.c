#include "coordinator/run.h"

#include "base/clock.h"
#include "base/inbox.h"
#include "base/log.h"
#include "base/service.h"
#include "coordinator/commands.h"
#include "coordinator/enrol.h"
#include "proto/net/control.h"
#include "proto/net/live.h"
#include "proto/net/server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INBOX_ITEMS 2048
#define INBOX_BYTES ((size_t)256 << 20)
#define IDLE_MS     3600000

enum { IN_REQUEST, IN_CONTROL, IN_STOP };

typedef struct program {
    fl_lock lock;
    coord_store store;
    coord_host *host;
    fl_inbox *inbox;
    wire_server *server;
    wire_control *control;
    coord_live live;
    int64_t timer_ms; /* INT64_MAX: none */
    bool is_stopping;
    bool shows_progress;
    char progress[200];    /* the line that is on the terminal */
    pthread_mutex_t mutex; /* of the two below: threads of nng read them */
    coord_key *keys;
    size_t n_keys;
} program;

/* ---- threads of others: copy into the inbox and go ---------------------------------------------------------------- */

static void on_request(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n, const wire_peer *peer)
{
    program *p = ctx;
    wire_peer *copy = malloc(sizeof *copy);
    if (copy)
        *copy = *peer;
    if (!copy || !fl_inbox_post(p->inbox, IN_REQUEST, ticket, bytes, n, copy)) {
        free(copy);
        wire_server_ignore(p->server, ticket);
    }
}

static bool on_allow(void *ctx, const wire_peer *peer)
{
    program *p = ctx;
    bool allowed = false;
    pthread_mutex_lock(&p->mutex);
    for (size_t i = 0; i < p->n_keys && !allowed; i++)
        allowed = p->keys[i].is_enrolment == peer->is_enrolment &&
                  memcmp(&p->keys[i].spki, &peer->spki, sizeof peer->spki) == 0;
    pthread_mutex_unlock(&p->mutex);
    return allowed;
}

static void on_control(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n)
{
    program *p = ctx;
    static const uint8_t busy[8] = {3};
    if (!fl_inbox_post(p->inbox, IN_CONTROL, ticket, bytes, n, NULL))
        wire_control_reply(p->control, ticket, busy, sizeof busy);
}

/* ---- the host's world --------------------------------------------------------------------------------------------- */

static void host_reply(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n)
{
    wire_server_reply(((program *)ctx)->server, ticket, bytes, n);
}

static void host_ignore(void *ctx, uint64_t ticket)
{
    wire_server_ignore(((program *)ctx)->server, ticket);
}

static void host_timer(void *ctx, int64_t at_ms)
{
    ((program *)ctx)->timer_ms = at_ms;
}

static int64_t host_now(void *ctx)
{
    (void)ctx;
    return fl_clock_mono_ms();
}

static void clear_progress(program *p)
{
    if (p->progress[0])
        fputs("\r\033[K", stderr);
    p->progress[0] = 0;
}

static void host_say(void *ctx, const char *line)
{
    clear_progress(ctx);
    fl_log(FL_INFO, "round", "%s", line);
}

/* One line on a terminal: where the open rounds stand. */
static void show_progress(program *p)
{
    char line[sizeof p->progress];
    size_t n = 0;
    const coord_state *s = coord_host_state(p->host);
    if (!p->shows_progress)
        return;
    line[0] = 0;
    for (uint32_t k = 0; k < s->n_studies && n + 1 < sizeof line; k++) {
        const coord_study *st = &s->studies[k];
        unsigned roster = 0, in = 0;
        if (st->phase != COORD_OPEN || st->closed)
            continue;
        for (uint32_t i = 0; i < s->n_sites; i++) {
            roster += st->members[i].in_roster;
            in += st->members[i].in_roster && st->members[i].contributed;
        }
        n += (size_t)snprintf(line + n, sizeof line - n, "%s%s: round %u of %u, %u of %u hospitals in", n ? "; " : "",
                              st->name, st->round, st->rounds, in, roster);
    }
    if (strcmp(line, p->progress) == 0)
        return;
    clear_progress(p);
    strcpy(p->progress, line);
    fputs(line, stderr);
}

/* ---- who may connect ----------------------------------------------------------------------------------------------- */

static fl_code refresh_keys(program *p, fl_err *err)
{
    coord_key *keys;
    size_t n;
    FL_TRY(coord_allowed(&p->store, &keys, &n, fl_clock_wall_s(), err));
    pthread_mutex_lock(&p->mutex);
    coord_key *old = p->keys;
    p->keys = keys;
    p->n_keys = n;
    pthread_mutex_unlock(&p->mutex);
    free(old);
    return FL_OK;
}

/* A key that is shut out is shut out first, whatever else goes wrong. */
static void forget_key(program *p, const fl_hash *spki)
{
    pthread_mutex_lock(&p->mutex);
    for (size_t i = 0; i < p->n_keys; i++)
        if (memcmp(&p->keys[i].spki, spki, sizeof *spki) == 0)
            p->keys[i--] = p->keys[--p->n_keys];
    pthread_mutex_unlock(&p->mutex);
}

static fl_code on_changed(void *ctx, const fl_hash *drop, fl_err *err)
{
    program *p = ctx;
    if (drop) {
        forget_key(p, drop);
        wire_server_drop(p->server, drop);
    }
    FL_TRY(refresh_keys(p, err));
    return coord_host_changed(p->host, err);
}

/* ---- what comes out of the inbox ----------------------------------------------------------------------------------- */

static void enrol(program *p, const fl_item *item, const wire_peer *peer)
{
    fl_err err = {0};
    fl_buf reply;
    bool is_new = false;
    fl_buf_init(&reply, WIRE_ENROL_MAX);
    fl_code rc = coord_enrol(&p->store, &reply, &is_new, peer, item->bytes, item->size, fl_clock_wall_s(), &err);
    if (rc == FL_OK && is_new && (rc = on_changed(p, NULL, &err)) == FL_OK)
        fl_log(FL_INFO, "enrol", "hospital=%s enrolled", peer->name);
    if (rc == FL_OK && !is_new)
        fl_log(FL_WARN, "enrol", "hospital=%s asked; nothing new", peer->name);
    if (rc) {
        fl_log(FL_ERROR, "enrol", "hospital=%s %s", peer->name, err.text);
        wire_server_ignore(p->server, item->ticket);
    } else
        wire_server_reply(p->server, item->ticket, reply.bytes, reply.size);
    fl_buf_fini(&reply);
}

static void handle(program *p, fl_item *item)
{
    const wire_peer *peer = item->pointer;
    if (item->kind == IN_STOP)
        p->is_stopping = true;
    else if (item->kind == IN_CONTROL) {
        coord_caller caller = {.live = &p->live};
        wire_live_answer(p->control, item->ticket, item->bytes, item->size, COORD_PROGRAM, coord_live_commands,
                         &caller);
    } else if (wire_is_enrol(item->bytes, item->size))
        enrol(p, item, peer);
    else if (peer->is_enrolment)
        wire_server_ignore(p->server, item->ticket);
    else
        coord_host_request(p->host, item->ticket, item->bytes, item->size, peer->name);
    free(item->pointer);
    fl_item_fini(item);
}

static void loop(program *p)
{
    while (!p->is_stopping) {
        const int64_t now = fl_clock_mono_ms();
        fl_item item;
        if (p->timer_ms <= now) {
            p->timer_ms = INT64_MAX;
            coord_host_timer(p->host);
        }
        show_progress(p);
        const int64_t until = p->timer_ms < now + IDLE_MS ? p->timer_ms : now + IDLE_MS;
        if (fl_inbox_take(p->inbox, &item, until))
            handle(p, &item);
    }
}

/* ---- start and stop -------------------------------------------------------------------------------------------------- */

static fl_code start_server(program *p, fl_err *err)
{
    char *pems = malloc(3 * (size_t)FL_PEM_MAX);
    if (!pems)
        return fl_fail(err, FL_EENV, "coordinator: no memory left");
    char *ca = pems, *cert = pems + FL_PEM_MAX, *key = pems + 2 * FL_PEM_MAX;
    fl_code rc = coord_store_pem(&p->store, ca, "ca.crt", err);
    if (rc == FL_OK)
        rc = coord_store_pem(&p->store, cert, "server.crt", err);
    if (rc == FL_OK)
        rc = coord_store_pem(&p->store, key, "server.key", err);
    if (rc == FL_OK) {
        const wire_server_config config = {.host = "*",
                                           .port = (uint16_t)p->store.port,
                                           .ca_pem = ca,
                                           .cert_pem = cert,
                                           .key_pem = key,
                                           .n_contexts = 2 * COORD_MAX_SITES,
                                           .on_request = on_request,
                                           .allow = on_allow,
                                           .ctx = p};
        rc = wire_server_start(&p->server, &config, err);
    }
    fl_wipe(pems, 3 * (size_t)FL_PEM_MAX);
    free(pems);
    return rc;
}

static fl_code start(program *p, const char *dir, fl_err *err)
{
    const coord_host_config config = {
        .ctx = p, .reply = host_reply, .ignore = host_ignore, .timer = host_timer, .now_ms = host_now, .say = host_say};
    char path[FL_PATH_MAX];
    if (strlen(dir) > FL_PATH_MAX - 64)
        return fl_fail(err, FL_EFORMAT, "--dir: too long");
    if (!fl_file_exists(fl_path(path, dir, "coordinator.ini")))
        return fl_fail(err, FL_ENOTFOUND, "%s: holds no coordinator: make one with " COORD_PROGRAM " init", dir);
    FL_TRY(coord_lock_take(&p->lock, dir, err));
    FL_TRY(coord_store_open(&p->store, dir, err));
    if (led_state(p->store.ledger)->is_closed)
        return fl_fail(err, FL_EREFUSED, "%s: the ledger was closed: nothing runs here any more", dir);
    FL_TRY(fl_inbox_create(&p->inbox, INBOX_ITEMS, INBOX_BYTES, err));
    FL_TRY(fl_signals_start(p->inbox, IN_STOP, err));
    FL_TRY(refresh_keys(p, err));
    FL_TRY(coord_host_open(&p->host, &p->store, &config, err));
    p->live = (coord_live){.store = &p->store, .host = p->host, .ctx = p, .changed = on_changed};
    FL_TRY(start_server(p, err));
    return wire_control_serve(&p->control, p->store.dir, on_control, p, err);
}

static void stop(program *p)
{
    fl_item item;
    if (p->control)
        wire_control_stop(p->control);
    if (p->host) /* parked requests are given up while the server is still there */
        coord_host_close(p->host);
    wire_server_stop(p->server);
    fl_signals_stop();
    while (p->inbox && fl_inbox_take(p->inbox, &item, 0)) {
        free(item.pointer);
        fl_item_fini(&item);
    }
    fl_inbox_destroy(p->inbox);
    coord_store_close(&p->store);
    free(p->keys);
    fl_lock_release(&p->lock);
}

fl_code coord_run(const char *dir, const char *notify, fl_err *err)
{
    program *p = calloc(1, sizeof *p);
    if (!p)
        return fl_fail(err, FL_EENV, "coordinator: no memory left");
    pthread_mutex_init(&p->mutex, NULL);
    p->timer_ms = INT64_MAX;
    p->shows_progress = isatty(STDERR_FILENO) == 1;
    fl_code rc = start(p, dir, err);
    if (rc == FL_OK && notify)
        rc = fl_say_ready(notify, err);
    if (rc == FL_OK) {
        fl_log(FL_INFO, "run", "serving name=%s port=%d dir=%s", p->store.name, (int)wire_server_port(p->server),
               p->store.dir);
        coord_host_start(p->host);
        loop(p);
        clear_progress(p);
        fl_log(FL_INFO, "run", "stopped name=%s", p->store.name);
    }
    stop(p);
    pthread_mutex_destroy(&p->mutex);
    free(p);
    return rc;
}
