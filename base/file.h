/*
 * Files: whole, atomic, owner-only. No function here follows a path it was not given.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"

/* Appends the file's bytes to out; refuses more than out's maximum before reading. ENOENT gives FL_ENOTFOUND. */
fl_code fl_file_read(fl_buf *out, const char *path, fl_err *err) FL_MUST_USE;

/* Writes path.tmp, fsync, rename, fsync of the folder. mode like 0600. Disk full is FL_EENV and leaves the old file. */
fl_code fl_file_write(const char *path, const void *bytes, size_t n, unsigned mode, fl_err *err) FL_MUST_USE;

/* fsync, unless the files are scratch (base/scratch.h). */
int fl_fsync(int fd);
bool fl_files_are_scratch(void);

/* Renames, over what has that name, and fsync of the folder. Both in one folder. */
fl_code fl_file_move(const char *from, const char *to, fl_err *err) FL_MUST_USE;

/* Makes the folder and its parents, mode 0700 for what is new. */
fl_code fl_dir_make(const char *path, fl_err *err) FL_MUST_USE;
bool fl_file_exists(const char *path); /* true as well where we may not look: opening it says so */
fl_code fl_dir_check(const char *path, fl_err *err) FL_MUST_USE; /* exists and is writable */

/* dir/name into a buffer; asserts that it fits. Returns out. */
#define FL_PATH_MAX 4096
char *fl_path(char out[FL_PATH_MAX], const char *dir, const char *name);

/* flock(DIR/lock): one process at a time. FL_EBUSY when another process holds it. */
typedef struct fl_lock {
    int fd_plus_1; /* 0: not held */
} fl_lock;
fl_code fl_lock_take(fl_lock *lock, const char *dir, fl_err *err) FL_MUST_USE;
void fl_lock_release(fl_lock *lock);

/*
 * Walks files and folders below path in the order of their names (bytewise), without following links to folders,
 * and calls visit with each regular file's path. Stops when visit returns an error.
 */
typedef fl_code (*fl_visit)(void *context, const char *path, fl_err *err);
fl_code fl_dir_walk(const char *path, fl_visit visit, void *context, fl_err *err) FL_MUST_USE;

#endif
