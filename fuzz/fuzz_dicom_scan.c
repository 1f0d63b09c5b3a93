/* The scan that stands in front of DCMTK: any bytes, any depth. */
#include "imaging/decoder/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fl_err err;
    if (img_scan(data, size, 1 + (size ? data[0] % 32u : 0), &err) != FL_OK && err.text[0] == 0)
        __builtin_trap();
    return 0;
}
