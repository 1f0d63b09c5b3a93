/* Objects in memory: a table of chains by the first byte of the hash. One mutex, since two hashes may have two threads. */
#include "crypto/hash.h"
#include "crypto/object_store.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    struct entry *next;
    fl_hash hash;
    object_part part;
    fl_buf bytes;
} entry;

struct object_store {
    pthread_mutex_t mutex;
    entry *chains[256]; /* under mutex */
};

fl_code object_memory_open(object_store **out, fl_err *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return fl_fail(err, FL_EENV, "objects: no memory left");
    pthread_mutex_init(&(*out)->mutex, NULL);
    return FL_OK;
}

static void entry_free(entry *e)
{
    fl_buf_fini(&e->bytes);
    free(e);
}

static void memory_close(object_store *s)
{
    for (size_t i = 0; i < 256; i++) {
        for (entry *e = s->chains[i], *next; e; e = next) {
            next = e->next;
            entry_free(e);
        }
    }
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

/* The link that points to the entry, or the one at the chain's end. */
static entry **find(object_store *s, const fl_hash *hash, object_part part)
{
    entry **link = &s->chains[hash->bytes[0]];
    while (*link && !((*link)->part == part && fl_hash_equal(&(*link)->hash, hash)))
        link = &(*link)->next;
    return link;
}

static void drop(object_store *s, const fl_hash *hash, object_part part)
{
    entry **link = find(s, hash, part), *e = *link;
    if (e) {
        *link = e->next;
        entry_free(e);
    }
}

static bool memory_size(object_store *s, const fl_hash *hash, object_part part, uint64_t *size_bytes)
{
    pthread_mutex_lock(&s->mutex);
    const entry *e = *find(s, hash, part);
    if (e)
        *size_bytes = e->bytes.size;
    pthread_mutex_unlock(&s->mutex);
    return e != NULL;
}

static fl_code memory_read_at(object_store *s, const fl_hash *hash, object_part part, void *bytes, size_t n,
                              uint64_t offset, size_t *n_read, fl_err *err)
{
    char name[OBJECT_NAME_SIZE];
    pthread_mutex_lock(&s->mutex);
    const entry *e = *find(s, hash, part);
    size_t left = e && offset < e->bytes.size ? e->bytes.size - (size_t)offset : 0;
    *n_read = n < left ? n : left;
    if (*n_read)
        memcpy(bytes, e->bytes.bytes + offset, *n_read);
    pthread_mutex_unlock(&s->mutex);
    return e ? FL_OK : fl_fail(err, FL_ENOTFOUND, "%s: is not here", object_name(name, hash));
}

static fl_code add(object_store *s, const fl_hash *hash, object_part part, const void *bytes, size_t n, fl_err *err)
{
    entry **link = find(s, hash, part);
    if (!*link) {
        *link = calloc(1, sizeof **link);
        if (!*link)
            return fl_fail(err, FL_EENV, "objects: no memory left");
        (*link)->hash = *hash;
        (*link)->part = part;
        fl_buf_init(&(*link)->bytes, SIZE_MAX);
    }
    fl_buf_add(&(*link)->bytes, bytes, n);
    fl_code code = fl_buf_check(&(*link)->bytes, "objects", err);
    (*link)->bytes.failed = (*link)->bytes.no_memory = false; /* a failed write changed nothing */
    return code;
}

static fl_code memory_put(object_store *s, const fl_hash *hash, const void *bytes, size_t n, fl_err *err)
{
    pthread_mutex_lock(&s->mutex);
    fl_code code = FL_OK;
    if (!*find(s, hash, OBJECT_WHOLE)) {
        code = add(s, hash, OBJECT_WHOLE, bytes, n, err);
        if (code != FL_OK)
            drop(s, hash, OBJECT_WHOLE);
    }
    pthread_mutex_unlock(&s->mutex);
    return code;
}

static fl_code memory_grow(object_store *s, const fl_hash *hash, uint64_t size, const void *bytes, size_t n,
                           fl_err *err)
{
    (void)size;
    pthread_mutex_lock(&s->mutex);
    fl_code code = add(s, hash, OBJECT_PARTIAL, bytes, n, err);
    pthread_mutex_unlock(&s->mutex);
    return code;
}

static fl_code memory_finish(object_store *s, const fl_hash *hash, fl_err *err)
{
    (void)err;
    pthread_mutex_lock(&s->mutex);
    drop(s, hash, OBJECT_WHOLE);
    entry *e = *find(s, hash, OBJECT_PARTIAL);
    assert(e);
    e->part = OBJECT_WHOLE;
    pthread_mutex_unlock(&s->mutex);
    return FL_OK;
}

static fl_code memory_remove(object_store *s, const fl_hash *hash, object_part part, fl_err *err)
{
    (void)err;
    pthread_mutex_lock(&s->mutex);
    drop(s, hash, part);
    pthread_mutex_unlock(&s->mutex);
    return FL_OK;
}

const object_store_kind object_memory_kind = {
    .close = memory_close,
    .size = memory_size,
    .read_at = memory_read_at,
    .put = memory_put,
    .grow = memory_grow,
    .finish = memory_finish,
    .remove = memory_remove,
};
