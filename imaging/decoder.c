#include "imaging/image.h"

#include "base/clock.h"
#include "crypto/csprng.h"
#include "imaging/reply.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_LIMIT_MS  20000
#define STOP_LIMIT_MS   2000
#define JOBS_PER_CHILD  512    /* then a fresh one: the child's CPU limit is for its life */
#define CHILD_SPENDS_MS 240000 /* likewise */

struct img_decoder {
    char program[PATH_MAX];
    uint8_t key[32];
    unsigned flags;
    pid_t pid; /* 0: no child */
    int socket;
    unsigned n_jobs;
    int64_t spent_ms;
    int time_limit_ms;
    uint8_t block[65536]; /* a file passes through here piece by piece; wiped behind it */
};

/* One file: bytes in memory, or an open file. */
typedef struct source {
    const uint8_t *bytes; /* NULL: fd */
    int fd;
    size_t n;
} source;

/* CORDON_DECODER, or cordon-decode beside this program. */
static fl_code find_program(char out[PATH_MAX], const char *given, fl_err *err)
{
    const char *named = given ? given : getenv("CORDON_DECODER");
    if (named && *named) {
        if (strlen(named) >= PATH_MAX)
            return fl_fail(err, FL_EENV, "decoder: the path of the program is too long");
        strcpy(out, named);
        return FL_OK;
    }
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    if (n <= 0)
        return fl_fail(err, FL_EENV, "decoder: /proc/self/exe cannot be read: name the program in CORDON_DECODER");
    out[n] = 0;
    char *slash = strrchr(out, '/');
    const char name[] = "cordon-decode";
    if (!slash || (size_t)(slash + 1 - out) + sizeof name > PATH_MAX)
        return fl_fail(err, FL_EENV, "decoder: no place for cordon-decode beside this program");
    strcpy(slash + 1, name);
    return FL_OK;
}

/* Nothing here blocks beyond its deadline. */
typedef enum io_result { IO_DONE, IO_ENDED, IO_LATE, IO_SHORT } io_result;

static io_result wait_ready(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left = deadline_ms - fl_clock_mono_ms();
        if (left <= 0)
            return IO_LATE;
        struct pollfd p = {.fd = fd, .events = events};
        int rc = poll(&p, 1, (int)left);
        if (rc > 0)
            return IO_DONE;
        if (rc < 0 && errno != EINTR)
            return IO_ENDED;
    }
}

static io_result send_all(int fd, const uint8_t *bytes, size_t n, int64_t deadline_ms)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            bytes += sent;
            n -= (size_t)sent;
            continue;
        }
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return IO_ENDED;
        io_result r = wait_ready(fd, POLLOUT, deadline_ms);
        if (r != IO_DONE)
            return r;
    }
    return IO_DONE;
}

/* Through one block, so that no header stays behind in freed memory. */
static io_result send_source(img_decoder *d, const source *from, int64_t deadline_ms)
{
    if (from->bytes)
        return send_all(d->socket, from->bytes, from->n, deadline_ms);
    io_result r = IO_DONE;
    for (size_t at = 0; at < from->n && r == IO_DONE;) {
        size_t want = from->n - at < sizeof d->block ? from->n - at : sizeof d->block;
        ssize_t got = pread(from->fd, d->block, want, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) { /* unreadable, or cut while we read: the child waits for bytes that do not come */
            r = IO_SHORT;
            break;
        }
        r = send_all(d->socket, d->block, (size_t)got, deadline_ms);
        at += (size_t)got;
    }
    fl_wipe(d->block, sizeof d->block);
    return r;
}

static io_result receive_all(int fd, uint8_t *bytes, size_t n, int64_t deadline_ms)
{
    while (n) {
        ssize_t got = recv(fd, bytes, n, MSG_DONTWAIT);
        if (got > 0) {
            bytes += got;
            n -= (size_t)got;
            continue;
        }
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            return IO_ENDED;
        io_result r = wait_ready(fd, POLLIN, deadline_ms);
        if (r != IO_DONE)
            return r;
    }
    return IO_DONE;
}

/* How it ended, in words; the child is gone afterwards. */
static void reap(img_decoder *d, bool kill_it, char *how, size_t size)
{
    int status = 0;
    if (kill_it)
        kill(d->pid, SIGKILL);
    pid_t got;
    do
        got = waitpid(d->pid, &status, 0);
    while (got < 0 && errno == EINTR);
    if (got == d->pid && WIFSIGNALED(status))
        snprintf(how, size, "the decoder died (signal %d)", WTERMSIG(status));
    else if (got == d->pid && WIFEXITED(status))
        snprintf(how, size, "the decoder died (exit %d)", WEXITSTATUS(status));
    else
        snprintf(how, size, "the decoder died");
    close(d->socket);
    d->socket = -1;
    d->pid = 0;
}

static void stop_child(img_decoder *d)
{
    if (!d->pid)
        return;
    char how[64];
    shutdown(d->socket, SHUT_WR); /* the child reads the end and leaves; its end of the socket closes with it */
    uint8_t byte;
    io_result r = receive_all(d->socket, &byte, 1, fl_clock_mono_ms() + STOP_LIMIT_MS);
    reap(d, r != IO_ENDED, how, sizeof how);
}

static fl_code spawn_child(img_decoder *d, int child_end, fl_err *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc)
        return fl_fail(err, FL_EENV, "decoder: %s", strerror(rc));
    rc = posix_spawnattr_init(&attributes);
    if (rc) {
        posix_spawn_file_actions_destroy(&actions);
        return fl_fail(err, FL_EENV, "decoder: %s", strerror(rc));
    }
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
#ifdef CORDON_SANITIZED
    char *const *environment = environ; /* the sanitizers' options and reports */
    int last_null = 1;
#else
    char *const environment[] = {NULL};
    int last_null = 2;
#endif
    for (int fd = 0; fd <= last_null; fd++)
        rc |= posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    rc |= posix_spawn_file_actions_adddup2(&actions, child_end, 3);
    rc |= posix_spawn_file_actions_addclosefrom_np(&actions, 4);
    char *const argv[] = {d->program, NULL};
    if (rc == 0)
        rc = posix_spawn(&d->pid, d->program, &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (rc) {
        d->pid = 0;
        return fl_fail(err, FL_EENV, "%s: the decoder cannot be started: %s: set CORDON_DECODER", d->program,
                       strerror(rc));
    }
    return FL_OK;
}

static fl_code start_child(img_decoder *d, fl_err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return fl_fail(err, FL_EENV, "decoder: no socket pair: %s", strerror(errno));
    int child_end = fcntl(pair[1], F_DUPFD_CLOEXEC, 10); /* clear of the numbers that the child's files take */
    close(pair[1]);
    if (child_end < 0) {
        close(pair[0]);
        return fl_fail(err, FL_EENV, "decoder: no socket: %s", strerror(errno));
    }
    fl_code code = spawn_child(d, child_end, err);
    close(child_end);
    if (code != FL_OK) {
        close(pair[0]);
        return code;
    }
    d->socket = pair[0];
    d->n_jobs = 0;
    d->spent_ms = 0;
    uint8_t hello[IMG_HELLO_SIZE];
    io_result r = receive_all(d->socket, hello, sizeof hello, fl_clock_mono_ms() + START_LIMIT_MS);
    if (r == IO_DONE && memcmp(hello, IMG_HELLO, IMG_HELLO_SIZE) == 0)
        return FL_OK;
    char how[64];
    reap(d, r != IO_ENDED, how, sizeof how);
    return fl_fail(err, FL_EENV, "%s: %s before it was ready", d->program, how);
}

fl_code img_decoder_open(img_decoder **out, const char *program_path, const uint8_t key[32], fl_err *err)
{
    *out = NULL;
    img_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return fl_fail(err, FL_EENV, "decoder: out of memory");
    d->socket = -1;
    d->time_limit_ms = IMG_TIME_LIMIT_MS;
    memcpy(d->key, key, sizeof d->key);
    fl_code code = find_program(d->program, program_path, err);
    if (code == FL_OK)
        code = start_child(d, err);
    if (code != FL_OK) {
        img_decoder_close(d);
        return code;
    }
    *out = d;
    return FL_OK;
}

void img_decoder_close(img_decoder *d)
{
    if (!d)
        return;
    stop_child(d);
    fl_wipe(d->key, sizeof d->key);
    free(d);
}

void img_decoder_allow(img_decoder *d, unsigned flags)
{
    d->flags = flags;
}

void img_decoder_limit(img_decoder *d, int time_limit_ms)
{
    d->time_limit_ms = time_limit_ms;
}

int img_decoder_pid(const img_decoder *d)
{
    return d->pid;
}

static fl_code exchange(img_decoder *d, img_image *out, const source *from, io_result *r, fl_err *err)
{
    int64_t deadline = fl_clock_mono_ms() + d->time_limit_ms;
    uint8_t head[IMG_REPLY_SIZE];
    img_job job = {.flags = d->flags, .length = from->n};
    memcpy(job.key, d->key, sizeof job.key);
    img_job_write(head, &job);
    *r = send_all(d->socket, head, IMG_JOB_SIZE, deadline);
    fl_wipe(&job, sizeof job);
    fl_wipe(head, IMG_JOB_SIZE);
    if (*r == IO_DONE)
        *r = send_source(d, from, deadline);
    if (*r == IO_DONE)
        *r = receive_all(d->socket, head, sizeof head, deadline);
    if (*r != IO_DONE)
        return FL_EFORMAT;
    fl_err reason;
    fl_code code = img_reply_parse(out, head, &reason);
    if (code != FL_OK)
        return fl_fail(err, code, "%s", reason.text);
    size_t size = (size_t)out->width * out->height * sizeof *out->pixels;
    out->pixels = malloc(size);
    if (!out->pixels) {
        *r = IO_LATE; /* the pixels stay unread: this child is of no more use */
        return fl_fail(err, FL_EENV, "decoder: out of memory");
    }
    *r = receive_all(d->socket, (uint8_t *)out->pixels, size, deadline);
    if (*r != IO_DONE)
        return FL_EFORMAT;
    unsigned over = 0;
    for (size_t i = 0; i < size / 2; i++) /* the host is little endian: CMake checks */
        over |= out->pixels[i] >> out->bits;
    return over ? fl_fail(err, FL_EENV, "the decoder's answer is not valid") : FL_OK;
}

static fl_code decode(img_decoder *d, img_image *out, const source *from, fl_err *err)
{
    *out = (img_image){0};
    if (from->n == 0)
        return fl_fail(err, FL_EFORMAT, "the file is empty");
    if (from->n > IMG_MAX_FILE_BYTES)
        return fl_fail(err, FL_EREFUSED, "the file has %zu bytes, at most %u are read", from->n, IMG_MAX_FILE_BYTES);
    if (d->pid && (d->n_jobs >= JOBS_PER_CHILD || d->spent_ms >= CHILD_SPENDS_MS))
        stop_child(d);
    if (!d->pid) {
        fl_code started = start_child(d, err);
        if (started != FL_OK)
            return started;
    }
    int64_t start = fl_clock_mono_ms();
    io_result r;
    fl_code code = exchange(d, out, from, &r, err);
    d->n_jobs++;
    d->spent_ms += fl_clock_mono_ms() - start;
    if (r != IO_DONE) {
        char how[64];
        reap(d, r != IO_ENDED, how, sizeof how);
        if (r == IO_SHORT)
            (void)fl_fail(err, code = FL_EENV, "the file could not be read to its end: was it changed meanwhile?");
        else if (code == FL_EFORMAT && r == IO_LATE)
            (void)fl_fail(err, code, "the decoder needed more than %d ms and was stopped", d->time_limit_ms);
        else if (code == FL_EFORMAT)
            (void)fl_fail(err, code, "%s", how);
    } else if (code == FL_EENV) { /* no memory for this file, or not an answer: start the next with a fresh child */
        char how[64];
        reap(d, true, how, sizeof how);
    }
    if (code != FL_OK)
        img_image_fini(out);
    return code;
}

fl_code img_decode(img_decoder *d, img_image *out, const uint8_t *bytes, size_t n, fl_err *err)
{
    return decode(d, out, &(source){.bytes = bytes, .fd = -1, .n = n}, err);
}

static const char *format_of_name(const char *path)
{
    /* clang-format off */
    static const struct { const char *end, *format; } rows[] = {
        {".dcm", "DICOM"}, {".dicom", "DICOM"}, {".ima", "DICOM"}, {".png", "PNG"}, {".jpg", "JPEG"}, {".jpeg", "JPEG"},
        {".nii", "NIfTI"}, {".nii.gz", "gzip"},
    };
    /* clang-format on */
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t k = strlen(rows[i].end);
        if (n > k && strcasecmp(path + n - k, rows[i].end) == 0)
            return rows[i].format;
    }
    return NULL;
}

/* The name, where it says something, against the first bytes. */
static fl_code check_name(img_decoder *d, const char *path, const source *from, fl_err *err)
{
    const char *named = format_of_name(path);
    if (!named || from->n == 0)
        return FL_OK;
    ssize_t got = pread(from->fd, d->block, 512, 0);
    const char *found = img_format_name(d->block, got > 0 ? (size_t)got : 0);
    fl_wipe(d->block, 512);
    if (got < 0)
        return fl_fail(err, FL_EENV, "%s: %s", path, strerror(errno));
    if (found && strcmp(named, found) == 0)
        return FL_OK;
    return fl_fail(err, FL_EFORMAT, "%s: the name says %s, the content is %s", path, named,
                   found ? found : "no image format that is known here");
}

fl_code img_decode_file(img_decoder *d, img_image *out, const char *path, fl_err *err)
{
    *out = (img_image){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold us */
    if (fd < 0)
        return fl_fail(err, errno == ENOENT || errno == ENOTDIR ? FL_ENOTFOUND : FL_EENV, "%s: %s", path,
                       strerror(errno));
    struct stat st;
    fl_code code;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        code = fl_fail(err, FL_EFORMAT, "%s: not a regular file", path);
        goto out;
    }
    const source from = {.fd = fd, .n = (size_t)st.st_size};
    code = check_name(d, path, &from, err);
    if (code == FL_OK) {
        code = decode(d, out, &from, err);
        if (code != FL_OK && err)
            (void)fl_fail_in(err, "%s", path);
    }
out:
    close(fd);
    return code;
}
