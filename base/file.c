#include "base/file.h"

#include "base/scratch.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_bool scratch;

void fl_scratch_files(void)
{
    atomic_store(&scratch, true);
}

bool fl_files_are_scratch(void)
{
    return atomic_load(&scratch);
}

int fl_fsync(int fd)
{
    return fl_files_are_scratch() ? 0 : fsync(fd);
}

/* The sentence for errno; a path that is not there is the user's mistake, the rest is the machine's. */
static fl_code fail_errno(fl_err *err, const char *path, const char *what, int error)
{
    fl_code code = error == ENOENT || error == ENOTDIR ? FL_ENOTFOUND : FL_EENV;
    return fl_fail(err, code, "%s: %s: %s", path, what, strerror(error));
}

char *fl_path(char out[FL_PATH_MAX], const char *dir, const char *name)
{
    size_t n = strlen(dir), n_name = strlen(name);
    bool slash = n > 0 && dir[n - 1] != '/';
    assert(n + slash + n_name < FL_PATH_MAX);
    memmove(out, dir, n);
    if (slash)
        out[n++] = '/';
    memcpy(out + n, name, n_name + 1);
    return out;
}

static ssize_t read_some(int fd, void *bytes, size_t n)
{
    ssize_t k;
    do
        k = read(fd, bytes, n);
    while (k < 0 && errno == EINTR);
    return k;
}

static fl_code read_all(fl_buf *out, int fd, const char *path, fl_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fail_errno(err, path, "cannot read", errno);
    if (!S_ISREG(st.st_mode))
        return fl_fail(err, FL_EFORMAT, "%s: is not a file", path);
    size_t room = out->max - out->size;
    if (st.st_size > 0 && (uint64_t)st.st_size > room)
        return fl_fail(err, FL_EFORMAT, "%s: has %lld bytes, at most %zu are accepted", path, (long long)st.st_size,
                       room);
    uint8_t piece[16384];
    for (;;) {
        ssize_t k = read_some(fd, piece, sizeof piece);
        if (k < 0)
            return fail_errno(err, path, "cannot read", errno);
        if (k == 0)
            return fl_buf_check(out, path, err);
        fl_buf_add(out, piece, (size_t)k);
        if (out->failed)
            return fl_buf_check(out, path, err);
    }
}

fl_code fl_file_read(fl_buf *out, const char *path, fl_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a pipe without a writer must not block */
    if (fd < 0)
        return fail_errno(err, path, "cannot open", errno);
    fl_code code = read_all(out, fd, path, err);
    close(fd);
    return code;
}

static int write_all(int fd, const uint8_t *bytes, size_t n)
{
    while (n) {
        ssize_t k = write(fd, bytes, n < INT_MAX ? n : INT_MAX);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -1;
        bytes += k;
        n -= (size_t)k;
    }
    return 0;
}

static int sync_folder_of(const char *path)
{
    char dir[FL_PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash)
        strcpy(dir, ".");
    else {
        size_t n = slash == path ? 1 : (size_t)(slash - path);
        memcpy(dir, path, n);
        dir[n] = 0;
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = fl_fsync(fd);
    int error = errno;
    close(fd);
    errno = error;
    return rc == 0 || error == EINVAL ? 0 : -1; /* EINVAL: a file system that has no such thing */
}

fl_code fl_file_write(const char *path, const void *bytes, size_t n, unsigned mode, fl_err *err)
{
    char tmp[FL_PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length + sizeof ".tmp" > sizeof tmp)
        return fl_fail(err, FL_EFORMAT, "path: has %zu bytes, expected 1 to %zu", length, sizeof tmp - sizeof ".tmp");
    memcpy(tmp, path, length);
    memcpy(tmp + length, ".tmp", sizeof ".tmp");

    unlink(tmp); /* left by a crash; O_EXCL then never follows a link that somebody put there */
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(err, path, "cannot write", errno);
    bool ok = fchmod(fd, mode) == 0 && write_all(fd, bytes, n) == 0 && fl_fsync(fd) == 0;
    int error = ok ? 0 : errno;
    if (close(fd) != 0 && ok) {
        error = errno;
        ok = false;
    }
    if (ok && rename(tmp, path) != 0) {
        error = errno;
        ok = false;
    }
    if (!ok) {
        unlink(tmp);
        return fl_fail(err, FL_EENV, "%s: cannot write: %s", path, strerror(error));
    }
    if (sync_folder_of(path) != 0)
        return fl_fail(err, FL_EENV, "%s: cannot sync its folder: %s", path, strerror(errno));
    return FL_OK;
}

fl_code fl_file_move(const char *from, const char *to, fl_err *err)
{
    if (rename(from, to) != 0)
        return fl_fail(err, FL_EENV, "%s: cannot write: %s", to, strerror(errno));
    if (sync_folder_of(to) != 0)
        return fl_fail(err, FL_EENV, "%s: cannot sync its folder: %s", to, strerror(errno));
    return FL_OK;
}

static fl_code make_one(const char *path, fl_err *err)
{
    if (mkdir(path, 0700) == 0) {
        if (sync_folder_of(path) != 0)
            return fl_fail(err, FL_EENV, "%s: cannot sync its folder: %s", path, strerror(errno));
        return FL_OK;
    }
    int error = errno;
    struct stat st;
    if (stat(path, &st) == 0) /* also when a parent is read-only: it is there, that is enough */
        return S_ISDIR(st.st_mode) ? FL_OK : fl_fail(err, FL_EFORMAT, "%s: exists and is not a folder", path);
    return fl_fail(err, FL_EENV, "%s: cannot make the folder: %s", path, strerror(error));
}

fl_code fl_dir_make(const char *path, fl_err *err)
{
    char part[FL_PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return fl_fail(err, FL_EFORMAT, "path: has %zu bytes, expected 1 to %zu", n, sizeof part - 1);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (part[i] != '/' || part[i - 1] == '/')
            continue;
        part[i] = 0;
        FL_TRY(make_one(part, err));
        part[i] = '/';
    }
    return make_one(part, err);
}

bool fl_file_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 || errno == EACCES;
}

fl_code fl_dir_check(const char *path, fl_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return fail_errno(err, path, "cannot use the folder", errno);
    if (!S_ISDIR(st.st_mode))
        return fl_fail(err, FL_EFORMAT, "%s: is not a folder", path);
    if (access(path, R_OK | W_OK | X_OK) != 0)
        return fl_fail(err, FL_EENV, "%s: cannot write to the folder: %s", path, strerror(errno));
    return FL_OK;
}

fl_code fl_lock_take(fl_lock *lock, const char *dir, fl_err *err)
{
    assert(lock->fd_plus_1 == 0);
    if (strlen(dir) + sizeof "/lock" > FL_PATH_MAX)
        return fl_fail(err, FL_EFORMAT, "path: longer than %d bytes", FL_PATH_MAX - 6);
    char path[FL_PATH_MAX];
    fl_path(path, dir, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(err, path, "cannot open", errno);
    int rc;
    do
        rc = flock(fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        int error = errno;
        close(fd);
        if (error == EWOULDBLOCK)
            return fl_fail(err, FL_EBUSY, "%s: another process uses this folder", dir);
        return fl_fail(err, FL_EENV, "%s: cannot lock: %s", path, strerror(error));
    }
    lock->fd_plus_1 = fd + 1;
    return FL_OK;
}

void fl_lock_release(fl_lock *lock)
{
    if (!lock || lock->fd_plus_1 == 0)
        return;
    close(lock->fd_plus_1 - 1); /* the file stays: removing it would let two processes lock two files */
    lock->fd_plus_1 = 0;
}

static int not_dots(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

typedef struct walk {
    fl_visit visit;
    void *context;
    char path[FL_PATH_MAX]; /* of the entry at hand; each level cuts it back to its own length */
} walk;

static fl_code walk_folder(walk *w, fl_err *err);

static fl_code walk_entry(walk *w, size_t length, const char *name, fl_err *err)
{
    size_t n = strlen(name);
    bool slash = w->path[length - 1] != '/';
    if (length + slash + n >= sizeof w->path)
        return fl_fail(err, FL_EFORMAT, "%s: a path below it is longer than %zu bytes", w->path, sizeof w->path - 1);
    if (slash)
        w->path[length] = '/';
    memcpy(w->path + length + slash, name, n + 1);

    struct stat st, target;
    fl_code code = FL_OK;
    if (lstat(w->path, &st) != 0)
        code = errno == ENOENT ? FL_OK : fail_errno(err, w->path, "cannot read", errno); /* gone meanwhile */
    else if (S_ISDIR(st.st_mode))
        code = walk_folder(w, err);
    else if (S_ISREG(st.st_mode))
        code = w->visit(w->context, w->path, err);
    else if (S_ISLNK(st.st_mode) && stat(w->path, &target) == 0 && S_ISREG(target.st_mode))
        code = w->visit(w->context, w->path, err);
    w->path[length] = 0;
    return code;
}

static fl_code walk_folder(walk *w, fl_err *err)
{
    struct dirent **entries;
    int n = scandir(w->path, &entries, not_dots, by_bytes);
    if (n < 0)
        return fail_errno(err, w->path, "cannot read the folder", errno);
    fl_code code = FL_OK;
    size_t length = strlen(w->path);
    for (int i = 0; i < n; i++) {
        if (code == FL_OK)
            code = walk_entry(w, length, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    return code;
}

fl_code fl_dir_walk(const char *path, fl_visit visit, void *context, fl_err *err)
{
    struct stat st;
    size_t n = strlen(path);
    if (n == 0 || n >= FL_PATH_MAX)
        return fl_fail(err, FL_EFORMAT, "path: has %zu bytes, expected 1 to %d", n, FL_PATH_MAX - 1);
    if (stat(path, &st) != 0)
        return fail_errno(err, path, "cannot open", errno);
    if (S_ISREG(st.st_mode))
        return visit(context, path, err);
    if (!S_ISDIR(st.st_mode))
        return fl_fail(err, FL_EFORMAT, "%s: is neither a file nor a folder", path);
    walk *w = malloc(sizeof *w);
    if (!w)
        return fl_fail(err, FL_EENV, "%s: no memory left", path);
    w->visit = visit;
    w->context = context;
    memcpy(w->path, path, n + 1);
    fl_code code = walk_folder(w, err);
    free(w);
    return code;
}
