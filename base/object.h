/*
 * fl_objects - large bytes as files named by their SHA-256, below one folder (objects/ab/cdef...).
 *
 * An object is written tmp, fsync, rename, fsync of the folder, and is checked against its name when it is opened
 * whole. Rows elsewhere hold hashes. A partial object (a transfer under way) is a file partial/<hash> that grows at
 * its end; it becomes an object only when its hash is right. One thread at a time for a hash.
 * The source is crypto/object.c, because it needs SHA-256: whoever calls these functions links cordon_crypto.
 * An object that no longer matches its name is FL_EENV.
 */
#ifndef BASE_OBJECT_H
#define BASE_OBJECT_H

#include "base/buf.h"

#define FL_HASH_SIZE 32

typedef struct fl_hash {
    uint8_t bytes[FL_HASH_SIZE];
} fl_hash;

typedef struct fl_objects fl_objects;

fl_code fl_objects_open(fl_objects **out, const char *dir, fl_err *err) FL_MUST_USE;
void fl_objects_close(fl_objects *o);
fl_code fl_objects_put(fl_objects *o, fl_hash *hash, const void *bytes, size_t n, fl_err *err) FL_MUST_USE;
fl_code fl_objects_get(fl_objects *o, fl_buf *out, const fl_hash *hash, fl_err *err) FL_MUST_USE; /* FL_ENOTFOUND */
bool fl_objects_have(fl_objects *o, const fl_hash *hash, uint64_t *size_bytes /* may be NULL */);
fl_code fl_objects_read_at(fl_objects *o, void *bytes, size_t n, const fl_hash *hash, uint64_t offset, size_t *n_read,
                           fl_err *err) FL_MUST_USE;
/* Removes the object and its partial; nothing there is fine. */
fl_code fl_objects_remove(fl_objects *o, const fl_hash *hash, fl_err *err) FL_MUST_USE;

/* Transfers. The length that is already here: of the object if it is whole, else of its partial file, else 0. */
uint64_t fl_objects_length(fl_objects *o, const fl_hash *hash);
/* Appends at offset, which must equal the present length; when the length reaches total the hash is checked and the
 * partial becomes an object (*done). A wrong hash removes the partial and is FL_EREFUSED. */
fl_code fl_objects_append(fl_objects *o, const fl_hash *hash, uint64_t offset, const void *bytes, size_t n,
                          uint64_t total, bool *done, fl_err *err) FL_MUST_USE;

/* In memory instead of in files, for the simulator and tests: the same functions, no folder. */
fl_code fl_objects_open_memory(fl_objects **out, fl_err *err) FL_MUST_USE;

#endif
