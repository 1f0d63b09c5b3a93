#include "base/encode.h"

#include <string.h>

static const char hex_digits[] = "0123456789abcdef";

void fl_hex_encode(char *text, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = hex_digits[bytes[i] >> 4];
        text[2 * i + 1] = hex_digits[bytes[i] & 15];
    }
    text[2 * n] = 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool fl_hex_decode(uint8_t *bytes, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_value(text[2 * i]); /* a 0 here stops before the next is read */
        int low = high < 0 ? -1 : hex_value(text[2 * i + 1]);
        if (low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * n] == 0;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void fl_base64_encode(char *text, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= left > 2 ? bytes[i + 2] : 0;
        *text++ = base64_digits[group >> 18];
        *text++ = base64_digits[group >> 12 & 63];
        *text++ = left > 1 ? base64_digits[group >> 6 & 63] : '=';
        *text++ = left > 2 ? base64_digits[group & 63] : '=';
    }
    *text = 0;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t fl_base64_decode(uint8_t *bytes, size_t max, const char *text, size_t text_length)
{
    if (text_length % 4 != 0)
        return SIZE_MAX;
    size_t padding = 0;
    if (text_length)
        padding = text[text_length - 1] != '=' ? 0 : text[text_length - 2] != '=' ? 1 : 2;
    size_t n = text_length / 4 * 3 - padding;
    if (n > max)
        return SIZE_MAX;
    for (size_t i = 0, out = 0; i < text_length; i += 4) {
        uint32_t group = 0;
        size_t keep = n - out < 3 ? n - out : 3;
        for (size_t k = 0; k < 4; k++) {
            int value = k <= keep ? base64_value(text[i + k]) : 0; /* behind it stands the padding */
            if (value < 0)
                return SIZE_MAX;
            group = group << 6 | (uint32_t)value;
        }
        if (group & (keep == 3 ? 0 : keep == 2 ? 0xff : 0xffff)) /* bits that no encoder would set */
            return SIZE_MAX;
        for (size_t k = 0; k < keep; k++)
            bytes[out++] = (uint8_t)(group >> (16 - 8 * k));
    }
    return n;
}
