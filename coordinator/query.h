/* Small helps for the coordinator's SQL: hashes are 32-byte blobs. */
#ifndef COORDINATOR_QUERY_H
#define COORDINATOR_QUERY_H

#include "base/db.h"
#include "base/object.h"

#include <string.h>

static inline void coord_bind_hash(fl_query *q, int index_from_1, const fl_hash *hash)
{
    fl_bind_blob(q, index_from_1, hash->bytes, FL_HASH_SIZE);
}

/* Zeros when the column holds none. */
static inline void coord_column_hash(fl_hash *hash, fl_query *q, int index_from_0)
{
    size_t n;
    const void *bytes = fl_column_blob(q, index_from_0, &n);
    memset(hash, 0, sizeof *hash);
    if (n == FL_HASH_SIZE)
        memcpy(hash->bytes, bytes, n);
}

#endif
