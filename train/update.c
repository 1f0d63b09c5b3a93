/* Updates as bytes: fixed width, because sizes must not tell. */
#include "base/arena.h"
#include "train/dpsgd.h"
#include <assert.h>

size_t nn_update_size(size_t n, uint32_t bits)
{
    assert(bits >= 8 && bits <= 64 && bits % 8 == 0);
    return fl_size_mul(n, bits / 8);
}

void nn_update_pack(uint8_t *bytes, const int64_t *u, size_t n, uint32_t bits)
{
    assert(bits >= 8 && bits <= 64 && bits % 8 == 0);
    int64_t high = (int64_t)(UINT64_MAX >> (65 - bits)), low = -high - 1;
    for (size_t i = 0; i < n; i++) {
        uint64_t value = (uint64_t)(u[i] > high ? high : u[i] < low ? low : u[i]);
        for (uint32_t j = 0; j < bits / 8; j++)
            *bytes++ = (uint8_t)(value >> (8 * j));
    }
}

fl_code nn_update_unpack(int64_t *u, size_t n, uint32_t bits, const uint8_t *bytes, size_t n_bytes, fl_err *err)
{
    if (n_bytes != nn_update_size(n, bits))
        return fl_fail(err, FL_EFORMAT, "update: %zu bytes, expected %zu for %zu values of %u bits", n_bytes,
                       nn_update_size(n, bits), n, bits);
    for (size_t i = 0; i < n; i++) {
        uint64_t value = 0;
        for (uint32_t j = 0; j < bits / 8; j++)
            value |= (uint64_t)*bytes++ << (8 * j);
        uint64_t sign = (uint64_t)1 << (bits - 1); /* extended upward */
        u[i] = (int64_t)((value ^ sign) - sign);
    }
    return FL_OK;
}
