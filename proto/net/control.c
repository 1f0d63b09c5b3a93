/*
 * The socket's address is /proc/self/fd/N/control.sock, N being DIR: the kernel makes and finds the file in DIR itself,
 * whatever the length of DIR's path, and no path needs quoting as a URL.
 */
#include "proto/net/control.h"
#include "proto/net/close.h"
#include "proto/net/rep.h"
#include <errno.h>
#include <fcntl.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONTEXTS 16
#define DRAIN_MS 2000

struct wire_control {
    int dir_fd;
    wire_rep *rep;
    wire_on_control on_request;
    void *ctx;
};

static fl_code dir_open(int *fd, char url[64], const char *dir, fl_err *err)
{
    *fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return fl_fail(err, errno == ENOENT ? FL_ENOTFOUND : FL_EENV, "%s: %s", dir, strerror(errno));
    snprintf(url, 64, "ipc:///proc/self/fd/%d/" WIRE_CONTROL_NAME, *fd);
    return FL_OK;
}

static bool request_comes(void *arg, uint64_t ticket, nng_msg *msg)
{
    wire_control *c = arg;
    c->on_request(c->ctx, ticket, nng_msg_body(msg), nng_msg_len(msg));
    return true;
}

static fl_code control_start(wire_control *c, const char *url, const char *dir, fl_err *err)
{
    nng_listener listener;
    fl_code code = wire_rep_open(&c->rep, CONTEXTS, WIRE_CONTROL_REQUEST_MAX, request_comes, c, err);
    if (code || (code = wire_rep_start(c->rep, err)))
        return code;
    if (unlinkat(c->dir_fd, WIRE_CONTROL_NAME, 0) && errno != ENOENT)
        return fl_fail(err, FL_EENV, "%s/" WIRE_CONTROL_NAME ": %s", dir, strerror(errno));
    int rv = nng_listener_create(&listener, wire_rep_socket(c->rep), url);
    if (!rv)
        rv = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, 0600);
    if (!rv)
        rv = nng_listener_start(listener, 0);
    if (rv)
        return fl_fail(err, FL_EENV, "%s/" WIRE_CONTROL_NAME ": cannot listen: %s", dir, nng_strerror(rv));
    return FL_OK;
}

fl_code wire_control_serve(wire_control **out, const char *dir, wire_on_control on_request, void *ctx, fl_err *err)
{
    char url[64];
    wire_control *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return fl_fail(err, FL_EENV, "control: no memory");
    c->on_request = on_request;
    c->ctx = ctx;
    *out = c; /* before the first request can come */
    fl_code code = dir_open(&c->dir_fd, url, dir, err);
    if (!code)
        code = control_start(c, url, dir, err);
    if (code) {
        wire_control_stop(c);
        *out = NULL;
    }
    return code;
}

void wire_control_reply(wire_control *c, uint64_t ticket, const uint8_t *bytes, size_t n)
{
    wire_rep_reply(c->rep, ticket, bytes, n);
}

void wire_control_stop(wire_control *c)
{
    if (!c)
        return;
    if (c->rep)
        wire_rep_drain(c->rep, DRAIN_MS);
    wire_rep_close(c->rep);
    if (c->dir_fd >= 0) {
        unlinkat(c->dir_fd, WIRE_CONTROL_NAME, 0); /* nng does; twice does no harm */
        close(c->dir_fd);
    }
    free(c);
}

/* ---- asking ---- */

static fl_code ask_fail(const char *dir, int rv, unsigned timeout_ms, fl_err *err)
{
    if (rv == NNG_ECONNREFUSED || rv == NNG_ENOENT)
        return fl_fail(err, FL_ENOTFOUND, "%s: nothing is running there", dir);
    if (rv == NNG_EPERM)
        return fl_fail(err, FL_EENV, "%s/" WIRE_CONTROL_NAME ": no permission: it belongs to another user", dir);
    if (rv == NNG_ETIMEDOUT)
        return fl_fail(err, FL_EENV, "%s: the running program did not answer in %u s", dir, (timeout_ms + 999) / 1000);
    return fl_fail(err, FL_EENV, "%s: the running program: %s", dir, nng_strerror(rv));
}

static int exchange(nng_socket socket, const char *url, const uint8_t *bytes, size_t n, nng_msg **reply,
                    unsigned timeout_ms)
{
    nng_msg *msg;
    int rv;
    if ((rv = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, WIRE_CONTROL_REPLY_MAX)) ||
        (rv = nng_socket_set_ms(socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE)) ||
        (rv = nng_socket_set_ms(socket, NNG_OPT_SENDTIMEO, (nng_duration)timeout_ms)) ||
        (rv = nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, (nng_duration)timeout_ms)) ||
        (rv = nng_dial(socket, url, NULL, 0)) || (rv = nng_msg_alloc(&msg, n)))
        return rv;
    memcpy(nng_msg_body(msg), bytes, n);
    if ((rv = nng_sendmsg(socket, msg, 0))) {
        nng_msg_free(msg);
        return rv;
    }
    return nng_recvmsg(socket, reply, 0);
}

fl_code wire_control_call(const char *dir, const uint8_t *bytes, size_t n, fl_buf *reply, unsigned timeout_ms,
                          fl_err *err)
{
    char url[64];
    int fd;
    nng_socket socket;
    nng_msg *msg = NULL;
    if (n > WIRE_CONTROL_REQUEST_MAX)
        return fl_fail(err, FL_EFORMAT, "control: a request of %zu bytes, at most %u are taken", n,
                       WIRE_CONTROL_REQUEST_MAX);
    fl_code code = dir_open(&fd, url, dir, err);
    if (code)
        return code;
    int rv = nng_req0_open(&socket);
    if (!rv) {
        rv = exchange(socket, url, bytes, n, &msg, timeout_ms);
        (void)wire_socket_close(socket);
    }
    close(fd);
    if (rv)
        return ask_fail(dir, rv, timeout_ms, err);
    fl_buf_add(reply, nng_msg_body(msg), nng_msg_len(msg));
    nng_msg_free(msg);
    return fl_buf_check(reply, "reply", err);
}
