/* Texts of messages without the C library: what a state machine may use. */
#ifndef PROTO_MSG_TEXT_H
#define PROTO_MSG_TEXT_H

#include <stdbool.h>
#include <string.h>

/* Copies what fits, always ended by 0, and fills the rest with 0: structs are compared and stored as bytes. */
static inline void wire_put_text(char *to, size_t size, const char *from)
{
    size_t n = 0;
    while (from[n] && n + 1 < size)
        n++;
    memcpy(to, from, n);
    memset(to + n, 0, size - n);
}

static inline bool wire_same_text(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

#endif
