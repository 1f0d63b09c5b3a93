#include "base/object.h"

#include "base/encode.h"
#include "crypto/hash.h"
#include "crypto/object_store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PIECE ((size_t)1 << 18)

const char *object_name(char name[OBJECT_NAME_SIZE], const fl_hash *hash)
{
    memcpy(name, "object ", 7);
    fl_hex_encode(name + 7, hash->bytes, 6);
    return name;
}

static fl_code wrap(fl_objects **out, const object_store_kind *kind, object_store *store, fl_err *err)
{
    fl_objects *o = malloc(sizeof *o);
    if (!o) {
        kind->close(store);
        return fl_fail(err, FL_EENV, "objects: no memory left");
    }
    *o = (fl_objects){.kind = kind, .store = store};
    *out = o;
    return FL_OK;
}

fl_code fl_objects_open(fl_objects **out, const char *dir, fl_err *err)
{
    *out = NULL;
    object_store *store;
    FL_TRY(object_dir_open(&store, dir, err));
    return wrap(out, &object_dir_kind, store, err);
}

fl_code fl_objects_open_memory(fl_objects **out, fl_err *err)
{
    *out = NULL;
    object_store *store;
    FL_TRY(object_memory_open(&store, err));
    return wrap(out, &object_memory_kind, store, err);
}

void fl_objects_close(fl_objects *o)
{
    if (!o)
        return;
    o->kind->close(o->store);
    free(o);
}

fl_code fl_objects_put(fl_objects *o, fl_hash *hash, const void *bytes, size_t n, fl_err *err)
{
    *hash = fl_sha256(bytes, n);
    return o->kind->put(o->store, hash, bytes, n, err);
}

/* Hashes all of a part, and adds it to out when that is not NULL. Ends with the bytes there are, however many. */
static fl_code read_through(fl_objects *o, const fl_hash *hash, object_part part, fl_buf *out, fl_hash *is, fl_err *err)
{
    uint8_t *piece = malloc(PIECE);
    if (!piece)
        return fl_fail(err, FL_EENV, "objects: no memory left");
    fl_sha256_state *state = fl_sha256_create();
    fl_code code = FL_OK;
    size_t n = PIECE;
    for (uint64_t offset = 0; code == FL_OK && n == PIECE; offset += n) {
        code = o->kind->read_at(o->store, hash, part, piece, PIECE, offset, &n, err);
        if (code == FL_OK) {
            fl_sha256_add(state, piece, n);
            if (out)
                fl_buf_add(out, piece, n);
        }
        if (code == FL_OK && out && out->failed)
            code = fl_buf_check(out, "object", err);
    }
    *is = fl_sha256_destroy(state);
    free(piece);
    return code;
}

fl_code fl_objects_get(fl_objects *o, fl_buf *out, const fl_hash *hash, fl_err *err)
{
    char name[OBJECT_NAME_SIZE];
    uint64_t size;
    if (!o->kind->size(o->store, hash, OBJECT_WHOLE, &size))
        return fl_fail(err, FL_ENOTFOUND, "%s: is not here", object_name(name, hash));
    if (size > out->max - out->size)
        return fl_fail(err, FL_EFORMAT, "%s: has %llu bytes, at most %zu are accepted", object_name(name, hash),
                       (unsigned long long)size, out->max - out->size);
    size_t before = out->size;
    fl_hash is;
    fl_code code = read_through(o, hash, OBJECT_WHOLE, out, &is, err);
    if (code == FL_OK && !fl_hash_equal(&is, hash))
        code = fl_fail(err, FL_EENV, "%s: its bytes changed on the disk: remove it and fetch it again",
                       object_name(name, hash));
    if (code != FL_OK && out->bytes) { /* nothing that was not checked stays in out */
        out->size = before;
        out->bytes[before] = 0;
    }
    return code;
}

bool fl_objects_have(fl_objects *o, const fl_hash *hash, uint64_t *size_bytes)
{
    uint64_t size;
    return o->kind->size(o->store, hash, OBJECT_WHOLE, size_bytes ? size_bytes : &size);
}

fl_code fl_objects_read_at(fl_objects *o, void *bytes, size_t n, const fl_hash *hash, uint64_t offset, size_t *n_read,
                           fl_err *err)
{
    *n_read = 0;
    return o->kind->read_at(o->store, hash, OBJECT_WHOLE, bytes, n, offset, n_read, err);
}

fl_code fl_objects_remove(fl_objects *o, const fl_hash *hash, fl_err *err)
{
    FL_TRY(o->kind->remove(o->store, hash, OBJECT_WHOLE, err));
    return o->kind->remove(o->store, hash, OBJECT_PARTIAL, err);
}

uint64_t fl_objects_length(fl_objects *o, const fl_hash *hash)
{
    uint64_t size;
    if (o->kind->size(o->store, hash, OBJECT_WHOLE, &size) || o->kind->size(o->store, hash, OBJECT_PARTIAL, &size))
        return size;
    return 0;
}

static fl_code finish(fl_objects *o, const fl_hash *hash, bool *done, fl_err *err)
{
    fl_hash is;
    FL_TRY(read_through(o, hash, OBJECT_PARTIAL, NULL, &is, err));
    if (!fl_hash_equal(&is, hash)) {
        char name[OBJECT_NAME_SIZE];
        FL_TRY(o->kind->remove(o->store, hash, OBJECT_PARTIAL, err));
        return fl_fail(err, FL_EREFUSED, "%s: the bytes that came have another SHA-256", object_name(name, hash));
    }
    FL_TRY(o->kind->finish(o->store, hash, err));
    *done = true;
    return FL_OK;
}

fl_code fl_objects_append(fl_objects *o, const fl_hash *hash, uint64_t offset, const void *bytes, size_t n,
                          uint64_t total, bool *done, fl_err *err)
{
    char name[OBJECT_NAME_SIZE];
    *done = false;
    uint64_t length = fl_objects_length(o, hash);
    if (length > total || n > total - length)
        return fl_fail(err, FL_EREFUSED, "%s: %llu and %zu more bytes, announced were %llu", object_name(name, hash),
                       (unsigned long long)length, n, (unsigned long long)total);
    if (offset != length)
        return fl_fail(err, FL_EREFUSED, "%s: a piece at offset %llu, expected %llu", object_name(name, hash),
                       (unsigned long long)offset, (unsigned long long)length);
    if (fl_objects_have(o, hash, NULL)) {
        if (n > 0)
            return fl_fail(err, FL_EREFUSED, "%s: is whole already", object_name(name, hash));
        *done = length == total;
        return FL_OK;
    }
    FL_TRY(o->kind->grow(o->store, hash, length, bytes, n, err));
    return length + n == total ? finish(o, hash, done, err) : FL_OK;
}
