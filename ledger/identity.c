#include "ledger/identity.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_NAME  "identity.key"
#define NEXT_NAME "identity.key.next"

static fl_code failed(fl_err *err, const char *path, const char *what)
{
    return fl_fail(err, FL_EENV, "%s: %s: %s", path, what, strerror(errno));
}

/* Zeros over the whole file, on the disk. A file that is not there is wiped. */
static fl_code wipe_file(const char *path, fl_err *err)
{
    static const uint8_t zeros[512];
    struct stat st;
    const int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? FL_OK : failed(err, path, "cannot be wiped");
    bool ok = fstat(fd, &st) == 0;
    for (off_t left = ok ? st.st_size : 0; ok && left > 0;) {
        const size_t n = left < (off_t)sizeof zeros ? (size_t)left : sizeof zeros;
        ok = write(fd, zeros, n) == (ssize_t)n;
        left -= (off_t)n;
    }
    ok = ok && fsync(fd) == 0;
    fl_code rc = ok ? FL_OK : failed(err, path, "cannot be wiped");
    close(fd);
    return rc;
}

static fl_code sync_folder(const char *dir, fl_err *err)
{
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool ok = fd >= 0 && fsync(fd) == 0;
    fl_code rc = ok ? FL_OK : failed(err, dir, "cannot be synchronised");
    if (fd >= 0)
        close(fd);
    return rc;
}

/* The successor takes the place; the old key is wiped first. */
static fl_code promote(const char *dir, fl_err *err)
{
    char old[FL_PATH_MAX], next[FL_PATH_MAX];
    FL_TRY(wipe_file(fl_path(old, dir, KEY_NAME), err));
    if (rename(fl_path(next, dir, NEXT_NAME), old) != 0)
        return failed(err, next, "cannot be renamed");
    return sync_folder(dir, err);
}

static fl_code drop_next(const char *dir, fl_err *err)
{
    char next[FL_PATH_MAX];
    if (!fl_file_exists(fl_path(next, dir, NEXT_NAME)))
        return FL_OK;
    FL_TRY(wipe_file(next, err));
    if (unlink(next) != 0 && errno != ENOENT)
        return failed(err, next, "cannot be removed");
    return sync_folder(dir, err);
}

static fl_code open_with(led_ledger **out, fl_sign_key *key, const char *path, fl_db *db, const char *party,
                         fl_err *err)
{
    FL_TRY(fl_sign_key_load(key, path, err));
    fl_code rc = led_open(out, db, party, key, err);
    if (rc)
        fl_sign_key_fini(key);
    return rc;
}

fl_code led_identity_open(led_ledger **out, fl_sign_key *key, const char *dir, fl_db *db, const char *party,
                          fl_err *err)
{
    char path[FL_PATH_MAX];
    fl_code rc = open_with(out, key, fl_path(path, dir, KEY_NAME), db, party, err);
    if (rc == FL_OK)
        rc = drop_next(dir, err);
    else if (fl_file_exists(fl_path(path, dir, NEXT_NAME)) && open_with(out, key, path, db, party, NULL) == FL_OK)
        rc = promote(dir, err);
    else
        return rc;
    if (rc) {
        led_close(*out);
        *out = NULL;
        fl_sign_key_fini(key);
    }
    return rc;
}

fl_code led_identity_rotate(led_ledger *l, fl_sign_key *key, const char *dir, const char *reason, fl_err *err)
{
    char path[FL_PATH_MAX];
    fl_sign_key next = {0};
    fl_err ignored;
    FL_TRY(drop_next(dir, err));
    FL_TRY(fl_sign_key_make(&next, err));
    fl_code rc = fl_sign_key_save(&next, fl_path(path, dir, NEXT_NAME), err);
    if (rc == FL_OK)
        rc = led_rotate(l, key, &next, reason, err);
    if (rc) {
        fl_sign_key_fini(&next);
        if (rc == FL_EREFUSED) /* a disk that failed may have kept the entry after all: the next start looks */
            (void)!drop_next(dir, &ignored);
        return rc;
    }
    return promote(dir, err);
}
