/* What fl_objects (base/object.h) needs of the place where the bytes lie: a folder or memory. Only object*.c read this. */
#ifndef CRYPTO_OBJECT_STORE_H
#define CRYPTO_OBJECT_STORE_H

#include "base/object.h"

typedef enum object_part { OBJECT_WHOLE, OBJECT_PARTIAL } object_part;

typedef struct object_store object_store;

typedef struct object_store_kind {
    void (*close)(object_store *s);
    bool (*size)(object_store *s, const fl_hash *hash, object_part part, uint64_t *size_bytes);
    /* Fewer than n only at the end. FL_ENOTFOUND when it is not there. */
    fl_code (*read_at)(object_store *s, const fl_hash *hash, object_part part, void *bytes, size_t n, uint64_t offset,
                       size_t *n_read, fl_err *err);
    /* A whole object whose hash the caller has just computed. */
    fl_code (*put)(object_store *s, const fl_hash *hash, const void *bytes, size_t n, fl_err *err);
    /* n bytes behind the size bytes of the partial, which is made when it is not there; all of them or none. */
    fl_code (*grow)(object_store *s, const fl_hash *hash, uint64_t size, const void *bytes, size_t n, fl_err *err);
    /* The partial, whose hash is right, becomes the object. */
    fl_code (*finish)(object_store *s, const fl_hash *hash, fl_err *err);
    fl_code (*remove)(object_store *s, const fl_hash *hash, object_part part, fl_err *err);
} object_store_kind;

struct fl_objects {
    const object_store_kind *kind;
    object_store *store;
};

extern const object_store_kind object_dir_kind, object_memory_kind;
fl_code object_dir_open(object_store **out, const char *dir, fl_err *err) FL_MUST_USE;
fl_code object_memory_open(object_store **out, fl_err *err) FL_MUST_USE;

/* "object 0123456789ab": how messages call it. */
#define OBJECT_NAME_SIZE 20
const char *object_name(char name[OBJECT_NAME_SIZE], const fl_hash *hash);

#endif
