/* Updates of chosen values, for tests alone: the product has no way to pack what no noise was drawn for. */
#ifndef TESTS_PLAIN_UPDATE_H
#define TESTS_PLAIN_UPDATE_H

#include "base/buf.h"
#include "privacy/update.h"

/* values: coordinates, then cells; within their widths. */
static inline void plain_update(fl_buf *out, const dp_update_shape *shape, const int64_t *values)
{
    for (size_t i = 0; i < (size_t)shape->coordinates + shape->cells; i++) {
        uint8_t bytes[8];
        for (int j = 0; j < 8; j++)
            bytes[j] = (uint8_t)((uint64_t)values[i] >> (8 * j));
        fl_buf_add(out, bytes, i < shape->coordinates ? shape->bits / 8 : 8);
    }
}

#endif
