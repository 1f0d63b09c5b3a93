#include "base/grow.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool fl_grow(void *items, size_t *capacity, size_t n, size_t size)
{
    void *array;
    if (n < *capacity)
        return true;
    const size_t wanted = *capacity ? 2 * *capacity : 16;
    if (wanted > (size_t)1 << 31 || wanted > SIZE_MAX / size)
        return false;
    memcpy(&array, items, sizeof array); /* a pointer of any type has this form */
    array = realloc(array, wanted * size);
    if (!array)
        return false;
    memcpy(items, &array, sizeof array);
    *capacity = wanted;
    return true;
}
