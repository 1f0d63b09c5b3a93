/*
 * Hexadecimal (lower case) and base64 (RFC 4648 section 4, padded). Decoders are canonical: they accept a text only if
 * encoding the result gives the same text.
 */
#ifndef BASE_ENCODE_H
#define BASE_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void fl_hex_encode(char *text /* 2n+1 */, const uint8_t *bytes, size_t n);
bool fl_hex_decode(uint8_t *bytes, size_t n, const char *text); /* text must be exactly 2n digits */

#define FL_BASE64_SIZE(n) (((n) + 2) / 3 * 4 + 1)
void fl_base64_encode(char *text /* FL_BASE64_SIZE(n) */, const uint8_t *bytes, size_t n);
/* Returns the number of bytes, or SIZE_MAX when text is not canonical or needs more than max. */
size_t fl_base64_decode(uint8_t *bytes, size_t max, const char *text, size_t text_length);

#endif
