#include "tests/imaging/make_dicom.h"

#include <stdio.h>
#include <string.h>

static void add16(fl_buf *b, unsigned v)
{
    fl_buf_add(b, (uint8_t[2]){(uint8_t)v, (uint8_t)(v >> 8)}, 2);
}

static void add32(fl_buf *b, uint32_t v)
{
    add16(b, v & 0xffff);
    add16(b, v >> 16);
}

static void add_tag(fl_buf *b, uint32_t tag)
{
    add16(b, tag >> 16);
    add16(b, tag & 0xffff);
}

static bool is_long(const char *vr)
{
    return vr[0] == 'O' || strcmp(vr, "SQ") == 0 || strcmp(vr, "UN") == 0;
}

void made_element(fl_buf *out, uint32_t tag, const char *vr, const void *bytes, size_t n)
{
    add_tag(out, tag);
    fl_buf_add(out, vr, 2);
    if (is_long(vr)) {
        add16(out, 0);
        add32(out, (uint32_t)(n + n % 2));
    } else {
        add16(out, (unsigned)(n + n % 2));
    }
    fl_buf_add(out, bytes, n);
    if (n % 2)
        fl_buf_add(out, vr[0] == 'O' || vr[0] == 'U' ? "" : " ", 1);
}

void made_text(fl_buf *out, uint32_t tag, const char *vr, const char *text)
{
    if (text)
        made_element(out, tag, vr, text, strlen(text));
}

void made_item(fl_buf *out, uint32_t tag, uint32_t length)
{
    add_tag(out, tag);
    add32(out, length);
}

void made_undefined(fl_buf *out, uint32_t tag, const char *vr)
{
    add_tag(out, tag);
    fl_buf_add(out, vr, 2);
    add16(out, 0);
    add32(out, 0xffffffff);
}

static void add_us(fl_buf *b, uint32_t tag, unsigned v)
{
    made_element(b, tag, "US", (uint8_t[2]){(uint8_t)v, (uint8_t)(v >> 8)}, 2);
}

void made_head(fl_buf *out, const char *syntax)
{
    fl_buf meta;
    fl_buf_init(&meta, 1024);
    made_element(&meta, 0x00020001, "OB", "\0\1", 2);
    made_text(&meta, 0x00020002, "UI", "1.2.840.10008.5.1.4.1.1.1");
    made_text(&meta, 0x00020003, "UI", "2.25.7");
    made_text(&meta, 0x00020010, "UI", syntax);
    static const uint8_t preamble[128];
    fl_buf_add(out, preamble, sizeof preamble);
    fl_buf_add(out, "DICM", 4);
    uint8_t n[4] = {(uint8_t)meta.size, (uint8_t)(meta.size >> 8), 0, 0};
    made_element(out, 0x00020000, "UL", n, 4);
    fl_buf_add(out, meta.bytes, meta.size);
    fl_buf_fini(&meta);
}

made made_default(const void *pixels, size_t n_pixels)
{
    return (made){.syntax = "1.2.840.10008.1.2.1",
                  .photometric = "MONOCHROME2",
                  .modality = "CR",
                  .sop_class = "1.2.840.10008.5.1.4.1.1.1",
                  .patient_id = "P-17",
                  .rows = 2,
                  .columns = 2,
                  .samples = 1,
                  .allocated = 8,
                  .stored = 8,
                  .high = 7,
                  .pixels = pixels,
                  .n_pixels = n_pixels};
}

static void add_frames(fl_buf *out, unsigned frames)
{
    char text[12];
    snprintf(text, sizeof text, "%u", frames);
    if (frames)
        made_text(out, 0x00280008, "IS", text);
}

void made_write(fl_buf *out, const made *m)
{
    made_head(out, m->syntax);
    made_text(out, 0x00080016, "UI", m->sop_class);
    made_text(out, 0x00080018, "UI", "2.25.7");
    made_text(out, 0x00080060, "CS", m->modality);
    made_text(out, 0x00100010, "PN", "Nobody^Nemo");
    made_text(out, 0x00100020, "LO", m->patient_id);
    made_text(out, 0x00100021, "LO", m->issuer);
    made_text(out, 0x00180015, "CS", m->body_part);
    add_us(out, 0x00280002, m->samples);
    made_text(out, 0x00280004, "CS", m->photometric);
    if (m->samples > 1)
        add_us(out, 0x00280006, m->planar);
    add_frames(out, m->frames);
    add_us(out, 0x00280010, m->rows);
    add_us(out, 0x00280011, m->columns);
    add_us(out, 0x00280100, m->allocated);
    add_us(out, 0x00280101, m->stored);
    add_us(out, 0x00280102, m->high);
    add_us(out, 0x00280103, m->is_signed);
    made_text(out, 0x00280301, "CS", m->burned_in);
    made_text(out, 0x00281050, "DS", m->centre);
    made_text(out, 0x00281051, "DS", m->width);
    made_text(out, 0x00281052, "DS", m->intercept);
    made_text(out, 0x00281053, "DS", m->slope);
    made_text(out, 0x00281056, "CS", m->function);
    if (m->extra)
        fl_buf_add(out, m->extra, m->n_extra);
    if (!m->no_pixels)
        made_element(out, 0x7fe00010, m->allocated > 8 ? "OW" : "OB", m->pixels, m->n_pixels);
}
