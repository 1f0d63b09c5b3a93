#include "proto/net/dial.h"
#include "base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static fl_code connect_words(int error, unsigned timeout_ms, fl_err *err)
{
    switch (error) {
    case ECONNREFUSED:
        return fl_fail(err, FL_EENV, "connection refused");
    case ETIMEDOUT:
        return fl_fail(err, FL_EENV, "no answer in %u s", (timeout_ms + 999) / 1000);
    case ENETUNREACH:
    case EHOSTUNREACH:
        return fl_fail(err, FL_EENV, "unreachable from here");
    default:
        return fl_fail(err, FL_EENV, "cannot connect: %s", strerror(error));
    }
}

/* 0: connected; an errno; -1: woken */
static int wait_connected(int fd, int wake_fd, int64_t until_ms)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = fd, .events = POLLOUT}, {.fd = wake_fd, .events = POLLIN}};
        int64_t left = until_ms - fl_clock_mono_ms();
        int n = poll(fds, 2, left > 0 ? (int)left : 0);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0 && fds[1].revents)
            return -1;
        if (n > 0) {
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
            return error;
        }
        if (n == 0 && left <= 0)
            return ETIMEDOUT;
    }
}

static int try_address(const struct addrinfo *a, int wake_fd, int64_t until_ms)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int error = connect(fd, a->ai_addr, a->ai_addrlen) ? errno : 0;
    if (error == EINPROGRESS)
        error = wait_connected(fd, wake_fd, until_ms);
    close(fd);
    return error;
}

static fl_code write_url(char url[WIRE_URL_MAX], const struct addrinfo *a, uint16_t port, fl_err *err)
{
    char text[64];
    int rv = getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
    if (rv)
        return fl_fail(err, FL_EENV, "%s", gai_strerror(rv));
    bool v6 = a->ai_family == AF_INET6;
    snprintf(url, WIRE_URL_MAX, "tls+tcp://%s%s%s:%u", v6 ? "[" : "", text, v6 ? "]" : "", port);
    return FL_OK;
}

fl_code wire_dial_probe(char url[WIRE_URL_MAX], const char *host, uint16_t port, unsigned timeout_ms, int wake_fd,
                        fl_err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    int rv = getaddrinfo(host, service, &hints, &list);
    if (rv)
        return fl_fail(err, FL_EENV, "name not found (%s)", gai_strerror(rv));
    int error = ENETUNREACH;
    int64_t until_ms = fl_clock_mono_ms() + timeout_ms;
    unsigned n = 0;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        n++;
    fl_code code = FL_EENV;
    for (const struct addrinfo *a = list; a; a = a->ai_next, n--) {
        int64_t now_ms = fl_clock_mono_ms(); /* what is left is shared among the addresses that are left */
        error = try_address(a, wake_fd, now_ms + (until_ms - now_ms) / n);
        if (error == 0)
            code = write_url(url, a, port, err);
        if (error <= 0)
            break;
    }
    freeaddrinfo(list);
    if (error < 0)
        return fl_fail(err, FL_EBUSY, "closing");
    return error ? connect_words(error, timeout_ms, err) : code;
}
