#include "proto/net/peers.h"
#include "base/clock.h"
#include "base/log.h"
#include "crypto/hash.h"
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STRANGERS_MAX  1024
#define STRANGERS_MANY 256  /* from here on, */
#define HURRY_MS       1000 /* a stranger has so long */
#define MISSING_SWEEPS 5

typedef struct remote { /* a peer's address, comparable */
    uint8_t address[16];
    uint16_t family, port;
} remote;

typedef struct row {
    int id; /* of the pipe */
    nng_pipe pipe;
    wire_peer peer;
    remote from;
    bool kept_alive, closing;
    bool seen;        /* its descriptor, in this sweep */
    unsigned missing; /* sweeps without one */
} row;

typedef struct stranger {
    remote from;
    int64_t since_ms;
    bool seen;
} stranger;

struct wire_peers {
    pthread_mutex_t mutex; /* rows, n_rows, stopping */
    pthread_cond_t wake;
    unsigned n_rows;
    bool stopping;
    row rows[WIRE_PIPES_MAX]; /* in the order of their coming */
    /* the janitor's own */
    pthread_t thread;
    bool has_thread;
    uint16_t port;
    unsigned stranger_ms, n_strangers;
    stranger strangers[STRANGERS_MAX];
};

/* ---- rows ---- */

static remote remote_of_pipe(nng_pipe pipe)
{
    remote r = {0};
    nng_sockaddr a;
    if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &a))
        return r;
    r.family = a.s_family;
    if (a.s_family == NNG_AF_INET) {
        r.port = a.s_in.sa_port;
        memcpy(r.address, &a.s_in.sa_addr, 4);
    } else if (a.s_family == NNG_AF_INET6) {
        r.port = a.s_in6.sa_port;
        memcpy(r.address, a.s_in6.sa_addr, 16);
    }
    return r;
}

bool wire_peers_add(wire_peers *p, nng_pipe pipe, const wire_peer *peer)
{
    row new = {.id = nng_pipe_id(pipe), .pipe = pipe, .peer = *peer, .from = remote_of_pipe(pipe)};
    unsigned same = 0, oldest = 0;
    nng_pipe old = NNG_PIPE_INITIALIZER;
    pthread_mutex_lock(&p->mutex);
    for (unsigned i = p->n_rows; i-- > 0;)
        if (!p->rows[i].closing && fl_hash_equal(&p->rows[i].peer.spki, &peer->spki))
            same++, oldest = i;
    if (same >= WIRE_PIPES_PER_KEY) {
        p->rows[oldest].closing = true;
        old = p->rows[oldest].pipe;
    }
    bool room = p->n_rows < WIRE_PIPES_MAX;
    if (room)
        p->rows[p->n_rows++] = new;
    pthread_mutex_unlock(&p->mutex);
    if (nng_pipe_id(old) > 0)
        nng_pipe_close(old); /* its row goes with it */
    return room;
}

void wire_peers_remove(wire_peers *p, nng_pipe pipe)
{
    int id = nng_pipe_id(pipe);
    pthread_mutex_lock(&p->mutex);
    for (unsigned i = 0; i < p->n_rows; i++)
        if (p->rows[i].id == id) {
            memmove(&p->rows[i], &p->rows[i + 1], (--p->n_rows - i) * sizeof p->rows[0]);
            break;
        }
    pthread_mutex_unlock(&p->mutex);
}

bool wire_peers_find(wire_peers *p, nng_pipe pipe, wire_peer *out)
{
    int id = nng_pipe_id(pipe);
    bool found = false;
    pthread_mutex_lock(&p->mutex);
    for (unsigned i = 0; i < p->n_rows && !found; i++)
        if ((found = p->rows[i].id == id))
            *out = p->rows[i].peer;
    pthread_mutex_unlock(&p->mutex);
    return found;
}

unsigned wire_peers_drop(wire_peers *p, const fl_hash *spki)
{
    nng_pipe pipes[4 * WIRE_PIPES_PER_KEY]; /* a pipe that was told to go may still have its row */
    unsigned n = 0;
    pthread_mutex_lock(&p->mutex);
    for (unsigned i = 0; i < p->n_rows && n < sizeof pipes / sizeof pipes[0]; i++)
        if (fl_hash_equal(&p->rows[i].peer.spki, spki))
            pipes[n++] = p->rows[i].pipe;
    pthread_mutex_unlock(&p->mutex);
    for (unsigned i = 0; i < n; i++)
        nng_pipe_close(pipes[i]);
    return n;
}

unsigned wire_peers_count(wire_peers *p)
{
    pthread_mutex_lock(&p->mutex);
    unsigned n = p->n_rows;
    pthread_mutex_unlock(&p->mutex);
    return n;
}

/* ---- the janitor ---- */

static bool remote_of_fd(remote *out, int fd, uint16_t port)
{
    struct sockaddr_storage local, peer;
    socklen_t n = sizeof local, n_peer = sizeof peer;
    if (getsockname(fd, (struct sockaddr *)&local, &n) || getpeername(fd, (struct sockaddr *)&peer, &n_peer))
        return false;
    *out = (remote){0};
    if (local.ss_family == AF_INET) {
        const struct sockaddr_in *l = (const void *)&local, *r = (const void *)&peer;
        out->family = NNG_AF_INET;
        out->port = r->sin_port;
        memcpy(out->address, &r->sin_addr, 4);
        return ntohs(l->sin_port) == port;
    }
    if (local.ss_family == AF_INET6) {
        const struct sockaddr_in6 *l = (const void *)&local, *r = (const void *)&peer;
        out->family = NNG_AF_INET6;
        out->port = r->sin6_port;
        memcpy(out->address, &r->sin6_addr, 16);
        return ntohs(l->sin6_port) == port;
    }
    return false;
}

/* A peer that vanished without a word: found in two minutes instead of the kernel's two hours. */
static void keep_alive(int fd)
{
    int on = 1, idle_s = 60, interval_s = 15, count = 4, silence_ms = 120000;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
}

static bool is_peer(wire_peers *p, const remote *from, int fd)
{
    bool found = false;
    pthread_mutex_lock(&p->mutex);
    for (unsigned i = 0; i < p->n_rows && !found; i++)
        if ((found = memcmp(&p->rows[i].from, from, sizeof *from) == 0)) {
            if (!p->rows[i].kept_alive)
                keep_alive(fd);
            p->rows[i].kept_alive = p->rows[i].seen = true;
        }
    pthread_mutex_unlock(&p->mutex);
    return found;
}

static stranger *stranger_of(wire_peers *p, const remote *from, int64_t now_ms)
{
    for (unsigned i = 0; i < p->n_strangers; i++)
        if (memcmp(&p->strangers[i].from, from, sizeof *from) == 0)
            return &p->strangers[i];
    if (p->n_strangers == STRANGERS_MAX)
        return NULL;
    stranger *s = &p->strangers[p->n_strangers++];
    *s = (stranger){.from = *from, .since_ms = now_ms};
    return s;
}

/* fd is ours (a duplicate): what it stands for cannot change under our hands, and shutdown reaches the original. */
static void look_at(wire_peers *p, int fd, int64_t now_ms, unsigned patience_ms)
{
    remote from;
    if (!remote_of_fd(&from, fd, p->port) || is_peer(p, &from, fd))
        return;
    stranger *s = stranger_of(p, &from, now_ms);
    if (s)
        s->seen = true;
    if (s && now_ms - s->since_ms < patience_ms)
        return;
    shutdown(fd, SHUT_RDWR);
    fl_log(FL_DEBUG, "net", "cut a connection that did not introduce itself");
}

static void forget_gone(wire_peers *p)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->n_strangers; i++)
        if (p->strangers[i].seen) {
            p->strangers[n] = p->strangers[i];
            p->strangers[n++].seen = false;
        }
    p->n_strangers = n;
}

/* A pipe whose connection is gone without nng having noticed. At most one in a sweep: it hardly ever happens. */
static void close_gone(wire_peers *p)
{
    nng_pipe gone = NNG_PIPE_INITIALIZER;
    pthread_mutex_lock(&p->mutex);
    for (unsigned i = 0; i < p->n_rows; i++) {
        row *r = &p->rows[i];
        r->missing = r->seen ? 0 : r->missing + 1;
        r->seen = false;
        if (r->missing >= MISSING_SWEEPS && !r->closing && nng_pipe_id(gone) <= 0) {
            r->closing = true;
            gone = r->pipe;
        }
    }
    pthread_mutex_unlock(&p->mutex);
    if (nng_pipe_id(gone) > 0)
        nng_pipe_close(gone);
}

static void sweep(wire_peers *p)
{
    int64_t now_ms = fl_clock_mono_ms();
    unsigned patience_ms = p->n_strangers >= STRANGERS_MANY && p->stranger_ms > HURRY_MS ? HURRY_MS : p->stranger_ms;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));) {
        char *end;
        long fd = strtol(e->d_name, &end, 10);
        remote from;
        if (*end || end == e->d_name || !remote_of_fd(&from, (int)fd, p->port))
            continue;
        int own = fcntl((int)fd, F_DUPFD_CLOEXEC, 0);
        if (own >= 0) {
            look_at(p, own, now_ms, patience_ms);
            close(own);
        }
    }
    closedir(dir);
    forget_gone(p);
    close_gone(p);
}

static void *janitor(void *arg)
{
    wire_peers *p = arg;
    unsigned pause_ms = p->stranger_ms / 4 < 1000 ? p->stranger_ms / 4 + 1 : 1000;
    pthread_mutex_lock(&p->mutex);
    while (!p->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += pause_ms * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&p->wake, &p->mutex, &until);
        if (p->stopping)
            break;
        pthread_mutex_unlock(&p->mutex);
        sweep(p);
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

fl_code wire_peers_create(wire_peers **out, unsigned stranger_ms, fl_err *err)
{
    wire_peers *p = calloc(1, sizeof *p);
    *out = p;
    if (!p)
        return fl_fail(err, FL_EENV, "server: no memory");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&p->mutex, NULL);
    p->stranger_ms = stranger_ms;
    return FL_OK;
}

fl_code wire_peers_watch(wire_peers *p, uint16_t port, fl_err *err)
{
    p->port = port;
    if (pthread_create(&p->thread, NULL, janitor, p))
        return fl_fail(err, FL_EENV, "server: no thread for the janitor");
    p->has_thread = true;
    return FL_OK;
}

void wire_peers_destroy(wire_peers *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    if (p->has_thread)
        pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}
