/* Updates from outside, of any shape that a ledger or a plan may name: read, or refused with words. */
#include "privacy/update.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 16 bytes of shape, four little-endian numbers; the rest is the update. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int64_t coordinates[4096], cells[4096];
    uint32_t n[4];
    fl_err err;
    if (size < sizeof n)
        return 0;
    for (int i = 0; i < 4; i++)
        n[i] = data[4 * i] | (uint32_t)data[4 * i + 1] << 8 | (uint32_t)data[4 * i + 2] << 16 |
               (uint32_t)data[4 * i + 3] << 24;
    const dp_update_shape shape = {n[0], n[1], n[2], n[3]};
    data += sizeof n;
    size -= sizeof n;
    const bool fits = shape.coordinates <= 4096 && shape.cells <= 4096;
    if (dp_update_read(fits ? coordinates : NULL, fits ? cells : NULL, &shape, data, size, &err) != FL_OK)
        return 0;
    assert(size == dp_update_size(&shape));
    for (uint32_t i = 0; fits && i < shape.cells; i++)
        assert(cells[i] <= DP_CELL_MAX && cells[i] >= -DP_CELL_MAX);
    return 0;
}
