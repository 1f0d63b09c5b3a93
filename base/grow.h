/*
 * fl_grow - room for one more element in an array that doubles.
 *
 * items     the address of the array's pointer, NULL in an empty array: fl_grow(&list->rows, &list->capacity, list->n, sizeof *list->rows)
 * n         elements in use, of `capacity`, each of `size` bytes
 *
 * false: no memory, or 2^31 elements (positions are kept in 32 bits); nothing has changed then.
 */
#ifndef BASE_GROW_H
#define BASE_GROW_H

#include <stdbool.h>
#include <stddef.h>

bool fl_grow(void *items, size_t *capacity, size_t n, size_t size);

#endif
