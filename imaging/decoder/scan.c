#include "imaging/decoder/scan.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAX_FRAMES (2 * 64 + 2)
#define UNDEFINED  0xffffffffu
#define OPEN_ENDED SIZE_MAX

/* One open sequence or item. */
typedef struct frame {
    size_t end; /* OPEN_ENDED: until its delimiter */
    bool is_item;
    bool is_guess; /* taken for a sequence by its first bytes */
    bool is_implicit;
    bool is_big;
} frame;

typedef struct walk {
    const uint8_t *bytes;
    size_t n, pos;
    frame stack[MAX_FRAMES];
    unsigned n_frames;
    unsigned n_sequences; /* open now */
} walk;

static uint32_t get16(const uint8_t *p, bool is_big)
{
    return is_big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t get32(const uint8_t *p, bool is_big)
{
    return is_big ? get16(p, true) << 16 | get16(p + 2, true) : get16(p + 2, false) << 16 | get16(p, false);
}

static const frame *top(const walk *w)
{
    return &w->stack[w->n_frames - 1];
}

static void pop(walk *w)
{
    assert(w->n_frames > 1);
    if (!top(w)->is_item)
        w->n_sequences--;
    w->n_frames--;
}

static void push(walk *w, frame f)
{
    assert(w->n_frames < MAX_FRAMES);
    if (!f.is_item)
        w->n_sequences++;
    w->stack[w->n_frames++] = f;
}

/* Nonsense inside a guess: it was no sequence; go on behind it. false: nonsense outside any guess. */
static bool recover(walk *w)
{
    while (w->n_frames > 1) {
        frame f = *top(w);
        pop(w);
        if (f.is_guess) {
            w->pos = f.end;
            return true;
        }
    }
    return false;
}

typedef struct element {
    uint32_t tag, length;
    char vr[2]; /* zero when implicit */
    size_t value;
} element;

/* Reads the element at pos; false when there is no room for one. */
static bool read_element(element *e, const walk *w, size_t limit)
{
    const frame *f = top(w);
    const uint8_t *p = w->bytes + w->pos;
    if (limit - w->pos < 8)
        return false;
    *e = (element){.tag = get16(p, f->is_big) << 16 | get16(p + 2, f->is_big)};
    if (e->tag >> 16 == 0xfffe || f->is_implicit) {
        e->length = get32(p + 4, f->is_big);
        e->value = w->pos + 8;
        return true;
    }
    memcpy(e->vr, p + 4, 2);
    static const char *const with_long_length[] = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ",
                                                   "SV", "UC", "UN", "UR", "UT", "UV", "??"};
    for (size_t i = 0; i < sizeof with_long_length / sizeof with_long_length[0]; i++)
        if (memcmp(e->vr, with_long_length[i], 2) == 0) {
            if (limit - w->pos < 12)
                return false;
            e->length = get32(p + 8, f->is_big);
            e->value = w->pos + 12;
            return true;
        }
    if (e->vr[0] < 'A' || e->vr[0] > 'Z' || e->vr[1] < 'A' || e->vr[1] > 'Z')
        return false;
    e->length = get16(p + 6, f->is_big);
    e->value = w->pos + 8;
    return true;
}

/* The fragments of an encapsulated value, up to and with the sequence delimiter. */
static bool skip_fragments(walk *w, bool is_big)
{
    while (w->n - w->pos >= 8) {
        uint32_t tag = get16(w->bytes + w->pos, is_big) << 16 | get16(w->bytes + w->pos + 2, is_big);
        uint32_t length = get32(w->bytes + w->pos + 4, is_big);
        w->pos += 8;
        if (tag == 0xfffee0dd)
            return true;
        if (tag != 0xfffee000 || length > w->n - w->pos)
            return false;
        w->pos += length;
    }
    return false;
}

static bool begins_like_item(const walk *w, const element *e, bool is_big)
{
    return e->length >= 8 && get16(w->bytes + e->value, is_big) == 0xfffe &&
           get16(w->bytes + e->value + 2, is_big) == 0xe000;
}

/* An item or delimiter at pos. */
static bool step_item(walk *w, const element *e, size_t limit)
{
    w->pos = e->value;
    if (e->tag == 0xfffee00d || e->tag == 0xfffee0dd) { /* closes an item, a sequence */
        bool wants_item = e->tag == 0xfffee00d;
        while (w->n_frames > 1 && top(w)->end == OPEN_ENDED) {
            bool is_item = top(w)->is_item;
            pop(w);
            if (is_item == wants_item)
                return true;
        }
        return false;
    }
    if (e->tag != 0xfffee000 || w->n_frames == 1 || top(w)->is_item)
        return false;
    if (e->length != UNDEFINED && e->length > limit - e->value)
        return false;
    frame f = *top(w);
    f.is_item = true;
    f.is_guess = false;
    f.end = e->length == UNDEFINED ? OPEN_ENDED : e->value + e->length;
    push(w, f);
    return true;
}

/* The next element; false when the bytes make no sense. */
static bool step(walk *w, size_t limit)
{
    element e;
    if (!read_element(&e, w, limit))
        return false;
    if (e.tag >> 16 == 0xfffe)
        return step_item(w, &e, limit);
    if (w->n_frames > 1 && !top(w)->is_item)
        return false; /* an element between items */
    frame f = *top(w);
    bool is_bytes = e.vr[0] == 'O' || e.tag == 0x7fe00010;
    if (e.length == UNDEFINED) {
        w->pos = e.value;
        if (is_bytes)
            return skip_fragments(w, f.is_big);
        f = (frame){.end = OPEN_ENDED, .is_implicit = f.is_implicit, .is_big = f.is_big};
        if (memcmp(e.vr, "UN", 2) == 0) { /* PS3.5 6.2.2: implicit little endian inside */
            f.is_implicit = true;
            f.is_big = false;
        }
        push(w, f);
        return true;
    }
    if (e.length > limit - e.value)
        return false;
    w->pos = e.value;
    bool is_unknown = f.is_implicit || memcmp(e.vr, "UN", 2) == 0;
    if (memcmp(e.vr, "SQ", 2) == 0 || (is_unknown && !is_bytes && begins_like_item(w, &e, f.is_big))) {
        bool is_guess = e.vr[0] != 'S';
        push(w, (frame){.end = e.value + e.length,
                        .is_guess = is_guess,
                        .is_implicit = f.is_implicit || is_guess,
                        .is_big = f.is_big});
        return true;
    }
    w->pos += e.length;
    return true;
}

static fl_code walk_all(walk *w, unsigned max_depth, fl_err *err)
{
    assert(max_depth < MAX_FRAMES / 2 - 1);
    for (;;) {
        while (w->n_frames > 1 && w->pos >= top(w)->end)
            pop(w);
        if (w->pos >= w->n)
            return FL_OK;
        size_t limit = top(w)->end < w->n ? top(w)->end : w->n;
        if (!step(w, limit) && !recover(w))
            return FL_OK;
        if (w->n_sequences > max_depth)
            return fl_fail(err, FL_EREFUSED, "DICOM: sequences are nested deeper than %u", max_depth);
    }
}

/* Raw deflate (PS3.5 A.5); NULL with *code set when refused. A truncated stream gives what there is. */
static uint8_t *inflate_all(const uint8_t *bytes, size_t n, size_t *n_out, fl_code *code, fl_err *err)
{
    z_stream z = {.next_in = (Bytef *)bytes, .avail_in = (uInt)n};
    size_t capacity = n < 4096 ? 16384 : 4 * n, size = 0;
    uint8_t *out = NULL;
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) {
        *code = fl_fail(err, FL_EENV, "DICOM: out of memory");
        return NULL;
    }
    for (int rc = Z_OK; rc == Z_OK;) {
        if (capacity > IMG_SCAN_MAX_INFLATED)
            capacity = IMG_SCAN_MAX_INFLATED;
        uint8_t *more = realloc(out, capacity);
        if (!more || size == capacity) {
            free(more ? more : out);
            out = NULL;
            *code = more ? fl_fail(err, FL_EREFUSED, "DICOM: the deflated data set is over %u MiB",
                                   IMG_SCAN_MAX_INFLATED >> 20)
                         : fl_fail(err, FL_EENV, "DICOM: out of memory");
            break;
        }
        out = more;
        z.next_out = out + size;
        z.avail_out = (uInt)(capacity - size);
        rc = inflate(&z, Z_NO_FLUSH);
        size = capacity - z.avail_out;
        if (rc == Z_OK && z.avail_out == 0)
            capacity *= 2;
        else if (rc == Z_OK && z.avail_in == 0)
            break;
    }
    inflateEnd(&z);
    *n_out = size;
    return out;
}

/* Behind the file meta group; *syntax gets the transfer syntax, zero-padded ("" when there is none). */
static size_t skip_meta(const uint8_t *bytes, size_t n, char syntax[65])
{
    memset(syntax, 0, 65);
    walk w = {.bytes = bytes, .n = n, .n_frames = 1, .stack = {{.end = OPEN_ENDED}}};
    w.pos = n >= 132 && memcmp(bytes + 128, "DICM", 4) == 0 ? 132 : 0;
    element e;
    while (w.pos < n && read_element(&e, &w, n) && e.tag >> 16 == 2 && e.length <= n - e.value) {
        if (e.tag == 0x00020010)
            memcpy(syntax, bytes + e.value, e.length < 64 ? e.length : 64);
        w.pos = e.value + e.length;
    }
    for (size_t i = strlen(syntax); i && syntax[i - 1] == ' '; i--)
        syntax[i - 1] = 0;
    return w.pos;
}

fl_code img_scan(const uint8_t *bytes, size_t n, unsigned max_depth, fl_err *err)
{
    char syntax[65];
    walk w = {.bytes = bytes, .n = n, .n_frames = 1, .stack = {{.end = OPEN_ENDED}}};
    w.pos = skip_meta(bytes, n, syntax);
    if (strcmp(syntax, "1.2.840.10008.1.2.1.99") == 0) {
        fl_code code = FL_OK;
        size_t size = 0;
        uint8_t *inflated = inflate_all(bytes + w.pos, n - w.pos, &size, &code, err);
        if (inflated) {
            w.bytes = inflated;
            w.n = size;
            w.pos = 0;
            code = walk_all(&w, max_depth, err);
        }
        free(inflated);
        return code;
    }
    w.stack[0].is_big = strcmp(syntax, "1.2.840.10008.1.2.2") == 0;
    if (strcmp(syntax, "1.2.840.10008.1.2") == 0)
        w.stack[0].is_implicit = true;
    else if (!*syntax && n - w.pos >= 6) /* no syntax given: two capitals after the tag are a VR */
        w.stack[0].is_implicit = bytes[w.pos + 4] < 'A' || bytes[w.pos + 4] > 'Z' || bytes[w.pos + 5] < 'A' ||
                                 bytes[w.pos + 5] > 'Z';
    return walk_all(&w, max_depth, err);
}
