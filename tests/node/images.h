/* Image files that the tests make themselves: PNG without compression, DICOM of the plainest syntax. */
#ifndef TESTS_NODE_IMAGES_H
#define TESTS_NODE_IMAGES_H

#include "base/file.h"
#include "tests/base/test.h"

static inline void be32(fl_buf *b, uint32_t v)
{
    const uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    fl_buf_add(b, bytes, 4);
}

static inline void le16(fl_buf *b, unsigned v)
{
    const uint8_t bytes[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
    fl_buf_add(b, bytes, 2);
}

static inline void le32(fl_buf *b, uint32_t v)
{
    le16(b, v & 0xffff);
    le16(b, v >> 16);
}

/* PNG specification, annex D: CRC-32 of a chunk's type and data */
static inline uint32_t png_crc(const uint8_t *bytes, size_t n)
{
    uint32_t c = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        c ^= bytes[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320 ^ c >> 1 : c >> 1;
    }
    return ~c;
}

static inline void png_chunk(fl_buf *b, const char *type, const uint8_t *data, size_t n)
{
    be32(b, (uint32_t)n);
    size_t at = b->size;
    fl_buf_add_text(b, type);
    fl_buf_add(b, data, n);
    be32(b, png_crc(b->bytes + at, b->size - at));
}

static inline uint8_t pixel_of(unsigned seed, unsigned x, unsigned y)
{
    return (uint8_t)(seed * 37 + x * 5 + y * (3 + seed % 4));
}

/* side x side grey pixels, row by row. */
static inline void make_grey_png(const char *path, unsigned side, const uint8_t *pixels)
{
    fl_buf file, raw, idat, ihdr;
    fl_err err;
    fl_buf_init(&file, 1 << 20);
    fl_buf_init(&raw, 60000);
    fl_buf_init(&idat, 1 << 20);
    fl_buf_init(&ihdr, 64);
    uint32_t a = 1, c = 0; /* Adler-32 */
    for (unsigned y = 0; y < side; y++) {
        fl_buf_add(&raw, "", 1); /* filter: none */
        fl_buf_add(&raw, pixels + (size_t)y * side, side);
    }
    for (size_t i = 0; i < raw.size; i++) {
        a = (a + raw.bytes[i]) % 65521;
        c = (c + a) % 65521;
    }
    fl_buf_add(&idat, "\x78\x01\x01", 3); /* zlib, one stored block (RFC 1951 3.2.4) */
    le16(&idat, (unsigned)raw.size);
    le16(&idat, ~(unsigned)raw.size & 0xffff);
    fl_buf_add(&idat, raw.bytes, raw.size);
    be32(&idat, c << 16 | a);
    be32(&ihdr, side);
    be32(&ihdr, side);
    fl_buf_add(&ihdr, "\x08\x00\x00\x00\x00", 5);
    fl_buf_add(&file, "\x89PNG\r\n\x1a\n", 8);
    png_chunk(&file, "IHDR", ihdr.bytes, ihdr.size);
    png_chunk(&file, "IDAT", idat.bytes, idat.size);
    png_chunk(&file, "IEND", (const uint8_t *)"", 0);
    assert_ok(fl_file_write(path, file.bytes, file.size, 0600, &err), err);
    fl_buf_fini(&file);
    fl_buf_fini(&raw);
    fl_buf_fini(&idat);
    fl_buf_fini(&ihdr);
}

/* Pixels made of the seed; seed 0: all 7. */
static inline void make_png(const char *path, unsigned side, unsigned seed)
{
    uint8_t *pixels = malloc((size_t)side * side);
    for (unsigned i = 0; i < side * side; i++)
        pixels[i] = seed ? pixel_of(seed, i % side, i / side) : 7;
    make_grey_png(path, side, pixels);
    free(pixels);
}

static inline void dicom_text(fl_buf *b, unsigned group, unsigned element, const char *vr, const char *text)
{
    size_t n = strlen(text), padded = n + n % 2;
    le16(b, group);
    le16(b, element);
    fl_buf_add(b, vr, 2);
    le16(b, (unsigned)padded);
    fl_buf_add_text(b, text);
    if (padded > n)
        fl_buf_add(b, strcmp(vr, "UI") == 0 ? "" : " ", 1);
}

static inline void dicom_us(fl_buf *b, unsigned group, unsigned element, unsigned value)
{
    le16(b, group);
    le16(b, element);
    fl_buf_add_text(b, "US");
    le16(b, 2);
    le16(b, value);
}

/* Explicit little endian, computed radiography, 12 bits in 16 (PS3.5 7.1.2, PS3.10 7.1). issuer may be NULL. */
static inline void make_dicom(const char *path, unsigned side, unsigned seed, const char *patient, const char *issuer,
                              const char *uid)
{
    fl_buf b, meta;
    fl_err err;
    const uint8_t preamble[128] = {0};
    fl_buf_init(&b, 1 << 20);
    fl_buf_init(&meta, 4096);
    dicom_text(&meta, 2, 2, "UI", "1.2.840.10008.5.1.4.1.1.1");
    dicom_text(&meta, 2, 3, "UI", uid);
    dicom_text(&meta, 2, 0x10, "UI", "1.2.840.10008.1.2.1");
    dicom_text(&meta, 2, 0x12, "UI", "1.2.3.4");
    fl_buf_add(&b, preamble, sizeof preamble);
    fl_buf_add_text(&b, "DICM");
    le16(&b, 2);
    le16(&b, 0);
    fl_buf_add_text(&b, "UL");
    le16(&b, 4);
    le32(&b, (uint32_t)meta.size);
    fl_buf_add(&b, meta.bytes, meta.size);
    dicom_text(&b, 8, 0x16, "UI", "1.2.840.10008.5.1.4.1.1.1");
    dicom_text(&b, 8, 0x18, "UI", uid);
    dicom_text(&b, 8, 0x60, "CS", "CR");
    dicom_text(&b, 0x10, 0x10, "PN", "Mustermann^Erika");
    dicom_text(&b, 0x10, 0x20, "LO", patient);
    if (issuer)
        dicom_text(&b, 0x10, 0x21, "LO", issuer);
    dicom_us(&b, 0x28, 2, 1);
    dicom_text(&b, 0x28, 4, "CS", "MONOCHROME2");
    dicom_us(&b, 0x28, 0x10, side);
    dicom_us(&b, 0x28, 0x11, side);
    dicom_us(&b, 0x28, 0x100, 16);
    dicom_us(&b, 0x28, 0x101, 12);
    dicom_us(&b, 0x28, 0x102, 11);
    dicom_us(&b, 0x28, 0x103, 0);
    le16(&b, 0x7fe0);
    le16(&b, 0x10);
    fl_buf_add(&b, "OW\0\0", 4);
    le32(&b, 2 * side * side);
    for (unsigned y = 0; y < side; y++)
        for (unsigned x = 0; x < side; x++)
            le16(&b, 16u * pixel_of(seed, x, y));
    assert_ok(fl_file_write(path, b.bytes, b.size, 0600, &err), err);
    fl_buf_fini(&b);
    fl_buf_fini(&meta);
}

static inline void make_text(const char *path, const char *text)
{
    fl_err err;
    assert_ok(fl_file_write(path, text, strlen(text), 0600, &err), err);
}

#endif
