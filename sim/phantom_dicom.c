#include "sim/phantom_dicom.h"

#include <stdio.h>
#include <string.h>

#define CR_STORAGE "1.2.840.10008.5.1.4.1.1.1"

static void add16(fl_buf *b, unsigned v)
{
    uint8_t bytes[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
    fl_buf_add(b, bytes, 2);
}

static void add32(fl_buf *b, uint32_t v)
{
    add16(b, v & 0xffff);
    add16(b, v >> 16);
}

/* Tag, VR and length; the VRs with a 32-bit length are the four that are used here. */
static void add_head(fl_buf *b, uint32_t tag, const char vr[2], uint32_t n)
{
    add16(b, tag >> 16);
    add16(b, tag & 0xffff);
    fl_buf_add(b, vr, 2);
    if (memcmp(vr, "OB", 2) == 0 || memcmp(vr, "OW", 2) == 0 || memcmp(vr, "UN", 2) == 0 || memcmp(vr, "SQ", 2) == 0) {
        add16(b, 0);
        add32(b, n);
    } else {
        add16(b, n);
    }
}

/* A value is padded to even length: UIDs and bytes with zero, texts with a space. */
static void add_value(fl_buf *b, uint32_t tag, const char vr[2], const void *bytes, size_t n)
{
    add_head(b, tag, vr, (uint32_t)(n + n % 2));
    fl_buf_add(b, bytes, n);
    bool with_zero = memcmp(vr, "UI", 2) == 0 || memcmp(vr, "OB", 2) == 0 || memcmp(vr, "UN", 2) == 0;
    if (n % 2)
        fl_buf_add(b, with_zero ? "" : " ", 1);
}

static void add_text(fl_buf *b, uint32_t tag, const char vr[2], const char *text)
{
    add_value(b, tag, vr, text, strlen(text));
}

static void add_us(fl_buf *b, uint32_t tag, unsigned v)
{
    add_head(b, tag, "US", 2);
    add16(b, v);
}

static void add_meta(fl_buf *out, const sim_film *f)
{
    static const uint8_t preamble[128];
    fl_buf meta;
    fl_buf_init(&meta, 4096);
    add_value(&meta, 0x00020001, "OB", "\0\1", 2);
    add_text(&meta, 0x00020002, "UI", CR_STORAGE);
    add_text(&meta, 0x00020003, "UI", f->sop_uid);
    add_text(&meta, 0x00020010, "UI", "1.2.840.10008.1.2.1");
    add_text(&meta, 0x00020012, "UI", "2.25.311472586319174893501");
    fl_buf_add(out, preamble, sizeof preamble);
    fl_buf_add(out, "DICM", 4);
    add_head(out, 0x00020000, "UL", 4);
    add32(out, (uint32_t)meta.size);
    fl_buf_add(out, meta.bytes, meta.size);
    out->failed |= meta.failed;
    fl_buf_fini(&meta);
}

static void add_identity(fl_buf *b, const sim_film *f)
{
    char name[72];
    snprintf(name, sizeof name, "%s^%s", f->family, f->given);
    add_text(b, 0x00100010, "PN", name);
    add_text(b, 0x00100020, "LO", f->patient_id);
    add_text(b, 0x00100030, "DA", "");
    add_text(b, 0x00100040, "CS", "O");
    add_text(b, 0x00101040, "LO", f->address);
    add_text(b, 0x00102154, "SH", f->phone);
}

/* A private block and a nested sequence: where names hide. */
static void add_private(fl_buf *b, const sim_film *f)
{
    add_text(b, 0x00290010, "LO", "CORDON PHANTOM");
    add_text(b, 0x00291001, "LO", f->note);
    add_value(b, 0x00291002, "UN", f->patient_id, strlen(f->patient_id));
    fl_buf item;
    fl_buf_init(&item, 4096);
    add_text(&item, 0x00400007, "LO", f->note);
    add_text(&item, 0x00401001, "SH", f->accession);
    add_head(b, 0x00400275, "SQ", (uint32_t)item.size + 8);
    add32(b, 0xe000fffe);
    add32(b, (uint32_t)item.size);
    fl_buf_add(b, item.bytes, item.size);
    b->failed |= item.failed;
    fl_buf_fini(&item);
}

static void add_pixels(fl_buf *b, const sim_film *f)
{
    add_us(b, 0x00280002, 1);
    add_text(b, 0x00280004, "CS", f->is_monochrome1 ? "MONOCHROME1" : "MONOCHROME2");
    add_us(b, 0x00280010, f->side);
    add_us(b, 0x00280011, f->side);
    add_us(b, 0x00280100, 16);
    add_us(b, 0x00280101, 12);
    add_us(b, 0x00280102, 11);
    add_us(b, 0x00280103, 0);
    add_text(b, 0x00280301, "CS", "NO");
    if (f->has_window) {
        add_text(b, 0x00281050, "DS", "2048");
        add_text(b, 0x00281051, "DS", "4096");
    }
    add_text(b, 0x00281052, "DS", "0");
    add_text(b, 0x00281053, "DS", "1");
    add_text(b, 0x00281054, "LO", "US");
    add_private(b, f);
    size_t n = (size_t)f->side * f->side;
    add_head(b, 0x7fe00010, "OW", (uint32_t)(2 * n));
    for (size_t i = 0; i < n; i++)
        add16(b, f->is_monochrome1 ? 4095u - f->pixels[i] : f->pixels[i]);
}

void sim_film_write(fl_buf *out, const sim_film *f)
{
    char number[16];
    snprintf(number, sizeof number, "%u", f->instance);
    add_meta(out, f);
    add_text(out, 0x00080005, "CS", "ISO_IR 100");
    add_text(out, 0x00080008, "CS", "ORIGINAL\\PRIMARY");
    add_text(out, 0x00080016, "UI", CR_STORAGE);
    add_text(out, 0x00080018, "UI", f->sop_uid);
    add_text(out, 0x00080020, "DA", "");
    add_text(out, 0x00080030, "TM", "");
    add_text(out, 0x00080050, "SH", f->accession);
    add_text(out, 0x00080060, "CS", "CR");
    add_text(out, 0x00080070, "LO", "Cordon phantom");
    add_text(out, 0x00080080, "LO", f->institution);
    add_text(out, 0x00080090, "PN", f->physician);
    add_identity(out, f);
    add_text(out, 0x00180015, "CS", "CHEST");
    add_text(out, 0x00185101, "CS", "PA");
    add_text(out, 0x0020000d, "UI", f->study_uid);
    add_text(out, 0x0020000e, "UI", f->series_uid);
    add_text(out, 0x00200010, "SH", "");
    add_text(out, 0x00200011, "IS", "");
    add_text(out, 0x00200013, "IS", number);
    add_text(out, 0x00200020, "CS", "L\\F");
    add_pixels(out, f);
}

unsigned sim_film_planted(const char *texts[SIM_MAX_PLANTED], const sim_film *f)
{
    const char *const all[] = {f->family,    f->given, f->patient_id, f->accession, f->address,    f->institution,
                               f->physician, f->phone, f->note,       f->study_uid, f->series_uid, f->sop_uid};
    memcpy(texts, all, sizeof all);
    return sizeof all / sizeof all[0];
}
