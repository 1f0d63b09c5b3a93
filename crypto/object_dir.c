/* Objects in a folder: objects/ab/<62 digits>, partial/<64 digits>. */
#include "base/encode.h"
#include "base/file.h"
#include "crypto/object_store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LONGEST_BELOW 80 /* "/objects/ab/", 62 digits, ".tmp" */

struct object_store {
    char *dir;
};

static const char *part_path(char path[FL_PATH_MAX], const object_store *s, const fl_hash *hash, object_part part)
{
    char hex[2 * FL_HASH_SIZE + 1];
    fl_hex_encode(hex, hash->bytes, FL_HASH_SIZE);
    if (part == OBJECT_WHOLE)
        snprintf(path, FL_PATH_MAX, "%s/objects/%.2s/%s", s->dir, hex, hex + 2);
    else
        snprintf(path, FL_PATH_MAX, "%s/partial/%s", s->dir, hex);
    return path;
}

static fl_code make_folder_of(const object_store *s, const fl_hash *hash, fl_err *err)
{
    char path[FL_PATH_MAX];
    part_path(path, s, hash, OBJECT_WHOLE);
    *strrchr(path, '/') = 0;
    return fl_file_exists(path) ? FL_OK : fl_dir_make(path, err);
}

fl_code object_dir_open(object_store **out, const char *dir, fl_err *err)
{
    char path[FL_PATH_MAX];
    *out = NULL;
    if (strlen(dir) + LONGEST_BELOW >= sizeof path)
        return fl_fail(err, FL_EFORMAT, "path: longer than %zu bytes", sizeof path - LONGEST_BELOW - 1);
    FL_TRY(fl_dir_make(fl_path(path, dir, "objects"), err));
    FL_TRY(fl_dir_make(fl_path(path, dir, "partial"), err));
    object_store *s = malloc(sizeof *s);
    char *copy = strdup(dir);
    if (!s || !copy) {
        free(s);
        free(copy);
        return fl_fail(err, FL_EENV, "%s: no memory left", dir);
    }
    s->dir = copy;
    *out = s;
    return FL_OK;
}

static void dir_close(object_store *s)
{
    free(s->dir);
    free(s);
}

static bool dir_size(object_store *s, const fl_hash *hash, object_part part, uint64_t *size_bytes)
{
    char path[FL_PATH_MAX];
    struct stat st;
    if (lstat(part_path(path, s, hash, part), &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    *size_bytes = (uint64_t)st.st_size;
    return true;
}

static fl_code fail_errno(fl_err *err, const char *path, const char *what, int error)
{
    return fl_fail(err, FL_EENV, "%s: %s: %s", path, what, strerror(error));
}

static fl_code dir_read_at(object_store *s, const fl_hash *hash, object_part part, void *bytes, size_t n,
                           uint64_t offset, size_t *n_read, fl_err *err)
{
    char path[FL_PATH_MAX], name[OBJECT_NAME_SIZE];
    int fd = open(part_path(path, s, hash, part), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return fl_fail(err, FL_ENOTFOUND, "%s: is not here", object_name(name, hash));
    if (fd < 0)
        return fail_errno(err, path, "cannot open", errno);
    size_t done = 0;
    ssize_t k = 1;
    while (done < n && k > 0 && offset <= INT64_MAX - n) {
        k = pread(fd, (uint8_t *)bytes + done, n - done, (off_t)(offset + done));
        if (k < 0 && errno == EINTR)
            k = 1;
        else if (k > 0)
            done += (size_t)k;
    }
    int error = errno;
    close(fd);
    if (k < 0)
        return fail_errno(err, path, "cannot read", error);
    *n_read = done;
    return FL_OK;
}

static fl_code dir_put(object_store *s, const fl_hash *hash, const void *bytes, size_t n, fl_err *err)
{
    char path[FL_PATH_MAX];
    FL_TRY(make_folder_of(s, hash, err));
    return fl_file_write(part_path(path, s, hash, OBJECT_WHOLE), bytes, n, 0600, err);
}

static bool write_behind(int fd, uint64_t size, const uint8_t *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = pwrite(fd, bytes + done, n - done, (off_t)(size + done));
        if (k < 0 && errno != EINTR)
            return false;
        if (k > 0)
            done += (size_t)k;
    }
    return true;
}

static fl_code dir_grow(object_store *s, const fl_hash *hash, uint64_t size, const void *bytes, size_t n, fl_err *err)
{
    char path[FL_PATH_MAX], name[OBJECT_NAME_SIZE];
    if (size > (uint64_t)INT64_MAX - n)
        return fl_fail(err, FL_EREFUSED, "%s: too large", object_name(name, hash));
    int fd = open(part_path(path, s, hash, OBJECT_PARTIAL), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(err, path, "cannot write", errno);
    bool ok = write_behind(fd, size, bytes, n);
    int error = errno;
    if (!ok && ftruncate(fd, (off_t)size) != 0)
        unlink(path); /* half a piece would look like a whole one */
    close(fd);
    return ok ? FL_OK : fail_errno(err, path, "cannot write", error);
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | flags);
    if (fd < 0)
        return -1;
    int rc = fl_fsync(fd);
    int error = errno;
    close(fd);
    errno = error;
    return rc == 0 || (flags && error == EINVAL) ? 0 : -1;
}

static fl_code dir_finish(object_store *s, const fl_hash *hash, fl_err *err)
{
    char from[FL_PATH_MAX], to[FL_PATH_MAX];
    FL_TRY(make_folder_of(s, hash, err));
    part_path(from, s, hash, OBJECT_PARTIAL);
    part_path(to, s, hash, OBJECT_WHOLE);
    if (sync_path(from, 0) != 0 || rename(from, to) != 0)
        return fail_errno(err, to, "cannot write", errno);
    *strrchr(to, '/') = 0;
    *strrchr(from, '/') = 0;
    if (sync_path(to, O_DIRECTORY) != 0 || sync_path(from, O_DIRECTORY) != 0)
        return fail_errno(err, to, "cannot sync the folder", errno);
    return FL_OK;
}

static fl_code dir_remove(object_store *s, const fl_hash *hash, object_part part, fl_err *err)
{
    char path[FL_PATH_MAX];
    if (unlink(part_path(path, s, hash, part)) != 0 && errno != ENOENT)
        return fail_errno(err, path, "cannot remove", errno);
    return FL_OK;
}

const object_store_kind object_dir_kind = {
    .close = dir_close,
    .size = dir_size,
    .read_at = dir_read_at,
    .put = dir_put,
    .grow = dir_grow,
    .finish = dir_finish,
    .remove = dir_remove,
};
