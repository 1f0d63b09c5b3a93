/* DICOM: policy, stored samples, modality, window. What DCMTK reads comes through dicom_shim.h. */
#include "imaging/decoder/dicom_shim.h"
#include "imaging/decoder/frame.h"
#include "imaging/decoder/jpeg2000.h"
#include "imaging/decoder/scan.h"

#include "crypto/csprng.h" /* fl_wipe */
#include "imaging/terms.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static fl_code check_policy(const dicom_header *h, unsigned flags, fl_err *err)
{
    static const char capture[] = "1.2.840.10008.5.1.4.1.1.7"; /* and .7.1 to .7.4 */
    if (!(flags & IMG_ALLOW_BURNED_IN) && is(h->burned_in, "YES"))
        return fl_fail(err, FL_EREFUSED,
                       "DICOM: the header says that text is burned into the pixels (BurnedInAnnotation YES): "
                       "remove it at the source");
    if (!(flags & IMG_ALLOW_ULTRASOUND) &&
        (is(h->modality, "US") || is(h->modality, "IVUS") || begins(h->sop_class, "1.2.840.10008.5.1.4.1.1.6.") ||
         begins(h->sop_class, "1.2.840.10008.5.1.4.1.1.3.")))
        return fl_fail(err, FL_EREFUSED,
                       "DICOM: ultrasound, whose pixels often hold names and numbers: not allowed by "
                       "the site's policy");
    bool is_capture = begins(h->sop_class, capture) &&
                      (h->sop_class[sizeof capture - 1] == 0 || h->sop_class[sizeof capture - 1] == '.');
    if (!(flags & IMG_ALLOW_CAPTURE) && (is_capture || is(h->modality, "SC")))
        return fl_fail(err, FL_EREFUSED,
                       "DICOM: secondary capture (a screenshot or scanned paper), which may show "
                       "names: not allowed by the site's policy");
    return FL_OK;
}

static fl_code check_header(const dicom_header *h, fl_err *err)
{
    if (h->coding == DICOM_UNSUPPORTED)
        return fl_fail(err, FL_EREFUSED, "DICOM: the transfer syntax (%s) is not supported", h->syntax_name);
    if (!h->has_pixels)
        return fl_fail(err, FL_EREFUSED, "DICOM: no image in it");
    if (h->rows == 0 || h->columns == 0 || (h->samples != 1 && h->samples != 3))
        return fl_fail(err, FL_EFORMAT, "DICOM: %u rows, %u columns, %u samples per pixel: not an image", h->rows,
                       h->columns, h->samples);
    if (h->allocated != 8 && h->allocated != 16 && !(h->allocated == 1 && h->coding == DICOM_PLAIN))
        return fl_fail(err, FL_EREFUSED, "DICOM: samples of %u bits are not supported", h->allocated);
    if (h->stored < 1 || h->stored > h->allocated || h->high >= h->allocated || h->high + 1 < h->stored ||
        h->is_signed > 1 || h->planar > 1)
        return fl_fail(err, FL_EFORMAT, "DICOM: %u bits stored up to bit %u of %u allocated: the header is wrong",
                       h->stored, h->high, h->allocated);
    if (h->coding != DICOM_PLAIN && h->high + 1 != h->stored)
        return fl_fail(err, FL_EREFUSED, "DICOM: compressed samples that do not start at bit 0 are not supported");
    bool is_grey = begins(h->photometric, "MONOCHROME"), is_palette = h->has_palette;
    if (!*img_term(IMG_TERM_PHOTOMETRIC, h->photometric) || begins(h->photometric, "YBR_PARTIAL"))
        return fl_fail(err, FL_EREFUSED, "DICOM: this kind of pixels (PhotometricInterpretation) is not supported");
    if (is_grey != (h->samples == 1 && !is_palette) || (!is_grey && h->is_signed) || (!is_grey && h->allocated == 1) ||
        (is_palette && h->samples != 1))
        return fl_fail(err, FL_EFORMAT, "DICOM: %u samples per pixel do not fit the kind of pixels", h->samples);
    if (h->is_rle && h->fragments != h->frames)
        return fl_fail(err, FL_EREFUSED, "DICOM: %u RLE fragments for %u frames are not supported", h->fragments,
                       h->frames);
    if (h->fragments && h->fragments < h->frames)
        return fl_fail(err, FL_EFORMAT, "DICOM: %u compressed fragments for %u frames", h->fragments, h->frames);
    return FL_OK;
}

/* BitsStored bits up to HighBit, sign-extended to 16. */
static uint16_t stored_value(const dicom_header *h, uint16_t raw)
{
    unsigned v = (unsigned)raw >> (h->high + 1u - h->stored) & ((1u << h->stored) - 1);
    if (h->is_signed && v >> (h->stored - 1))
        v |= ~((1u << h->stored) - 1);
    return (uint16_t)v;
}

/* Unpacks one frame of 8- or 16-bit samples (little endian), by pixel or by plane. */
static void unpack(img_frame *f, const dicom_header *h, const uint8_t *bytes)
{
    size_t n = (size_t)f->width * f->height;
    bool by_plane = h->samples > 1 && h->planar == 1;
    for (size_t i = 0; i < n; i++)
        for (uint32_t s = 0; s < f->n_samples; s++) {
            size_t at = by_plane ? s * n + i : i * f->n_samples + s;
            uint16_t raw = h->allocated == 8 ? bytes[at] : (uint16_t)(bytes[2 * at] | bytes[2 * at + 1] << 8);
            f->samples[i * f->n_samples + s] = stored_value(h, raw);
        }
}

/* Y1 Y2 Cb Cr for each two pixels of a row (PS3.3 C.7.6.3.1.2). */
static void unpack_422(img_frame *f, const uint8_t *bytes)
{
    size_t n = (size_t)f->width * f->height;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *pair = bytes + i / 2 * 4;
        f->samples[3 * i] = pair[i % 2];
        f->samples[3 * i + 1] = pair[2];
        f->samples[3 * i + 2] = pair[3];
    }
}

static fl_code read_plain(img_frame *f, const dicom_header *h, dicom_file *file, fl_err *err)
{
    const uint8_t *bytes;
    uint64_t length, n = (uint64_t)f->width * f->height;
    fl_code code = dicom_plain_bytes(&bytes, &length, file, err);
    if (code != FL_OK)
        return code;
    bool is_422 = is(h->photometric, "YBR_FULL_422");
    if (is_422 && (h->allocated != 8 || h->stored != 8 || f->width % 2 || h->planar))
        return fl_fail(err, FL_EREFUSED, "DICOM: this form of subsampled colour is not supported");
    uint64_t n_bits = is_422 ? n * 16 : n * h->samples * h->allocated;
    uint64_t expected = (n_bits * h->frames + 7) / 8;
    if (length < expected)
        return fl_fail(err, FL_EFORMAT, "DICOM: %u x %u pixels in %u frames need %llu bytes, there are %llu", h->rows,
                       h->columns, h->frames, (unsigned long long)expected, (unsigned long long)length);
    if (is_422)
        unpack_422(f, bytes);
    else if (h->allocated == 1)
        for (uint64_t i = 0; i < n; i++)
            f->samples[i] = bytes[i / 8] >> (i % 8) & 1;
    else
        unpack(f, h, bytes);
    return FL_OK;
}

/*
 * The frame header (SOF) of a JPEG or JPEG-LS stream must have the size that the DICOM header says: DCMTK does not
 * compare them in all of its decoders. A stream without one is left to the codec to refuse.
 */
static bool stream_fits(const uint8_t *b, uint64_t n, const dicom_header *h)
{
    uint64_t i = 2;
    while (i + 9 < n && b[i] == 0xff) {
        unsigned marker = b[i + 1];
        if (marker == 0xff) { /* padding */
            i++;
            continue;
        }
        bool is_frame = (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) ||
                        marker == 0xf7;
        if (is_frame)
            return (b[i + 5] << 8 | b[i + 6]) == h->rows && (b[i + 7] << 8 | b[i + 8]) == h->columns &&
                   b[i + 9] == h->samples && b[i + 4] <= h->allocated;
        i += 2 + ((uint64_t)b[i + 2] << 8 | b[i + 3]);
    }
    return true;
}

static fl_code read_codec(img_frame *f, dicom_header *h, dicom_file *file, fl_err *err)
{
    const uint8_t *stream;
    uint64_t n_stream, n = (uint64_t)f->width * f->height * h->samples * h->allocated / 8;
    fl_code code = dicom_fragment(&stream, &n_stream, file, 0, err);
    if (code != FL_OK)
        return code;
    if (!h->is_rle && !stream_fits(stream, n_stream, h))
        return fl_fail(err, FL_EFORMAT, "DICOM: the compressed image is not of the size that the header says");
    uint8_t *bytes = calloc(1, n + 2);
    if (!bytes)
        return fl_fail(err, FL_EENV, "out of memory for %u x %u pixels", f->width, f->height);
    char model[17];
    code = dicom_decode_frame(bytes, (uint32_t)n, model, file, err);
    if (code == FL_OK) {
        if (h->is_jpegls)
            h->planar = 0; /* asked of the codec in dicom_start */
        if (h->samples == 3) {
            memset(h->photometric, 0, sizeof h->photometric);
            memcpy(h->photometric, model, strlen(model));
        }
        unpack(f, h, bytes);
    }
    free(bytes);
    return code;
}

/* All fragments of a single frame, or the one fragment of the first of several. */
static fl_code read_jpeg2000(img_frame *f, const dicom_header *h, dicom_file *file, fl_err *err)
{
    if (h->frames > 1 && h->fragments != h->frames)
        return fl_fail(err, FL_EREFUSED, "DICOM: %u JPEG 2000 fragments for %u frames are not supported", h->fragments,
                       h->frames);
    uint32_t n_fragments = h->frames > 1 ? 1 : h->fragments;
    uint64_t total = 0, n;
    const uint8_t *bytes;
    fl_code code;
    for (uint32_t i = 0; i < n_fragments; i++) {
        if ((code = dicom_fragment(&bytes, &n, file, i, err)) != FL_OK)
            return code;
        total += n;
    }
    uint8_t *all = malloc(total + 1);
    if (!all)
        return fl_fail(err, FL_EENV, "out of memory for a code stream of %llu bytes", (unsigned long long)total);
    total = 0;
    for (uint32_t i = 0; i < n_fragments; i++) {
        if ((code = dicom_fragment(&bytes, &n, file, i, err)) != FL_OK)
            goto out;
        memcpy(all + total, bytes, n);
        total += n;
    }
    code = img_read_jpeg2000(f, h->allocated, all, total, err);
    if (code != FL_OK)
        goto out;
    /* Some writers say more bits in the code stream than in the header, or another sign: fine as long as every value
     * is one that the header allows. */
    if (f->is_signed && !h->is_signed)
        code = fl_fail(err, FL_EREFUSED, "DICOM: signed and unsigned samples disagree between header and code stream");
    for (size_t i = 0; code == FL_OK && i < (size_t)f->width * f->height * f->n_samples; i++) {
        uint16_t v = stored_value(h, f->samples[i]);
        bool reinterpreted = !f->is_signed && h->is_signed && f->bits == h->stored;
        if (v != f->samples[i] && !reinterpreted)
            code = fl_fail(err, FL_EFORMAT, "DICOM: %u bits in the code stream, %u in the header", f->bits, h->stored);
        f->samples[i] = v;
    }
out:
    free(all);
    return code;
}

/* Palette indexes to grey of 8 bits. */
static void look_up_palette(img_frame *f, const dicom_header *h)
{
    uint16_t highest = 0;
    for (unsigned c = 0; c < 3; c++)
        for (uint32_t i = 0; i < h->palette[c].n; i++)
            highest = h->palette[c].data[i] > highest ? h->palette[c].data[i] : highest;
    unsigned shift = highest < 256 ? 0 : h->palette[0].bits - 8; /* "16 bits" that hold 8 are common */
    for (size_t i = 0; i < (size_t)f->width * f->height; i++) {
        unsigned rgb[3];
        for (unsigned c = 0; c < 3; c++) {
            const dicom_table *t = &h->palette[c];
            int64_t at = (int64_t)f->samples[i] - t->first;
            at = at < 0 ? 0 : at >= t->n ? t->n - 1 : at;
            rgb[c] = t->data[at] >> shift;
            rgb[c] = rgb[c] > 255 ? 255 : rgb[c];
        }
        f->samples[i] = (uint16_t)((299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2] + 500) / 1000);
    }
    f->bits = 8;
}

/* PS3.3 C.11.2.1.2 and C.11.2.1.3: a modality value to [0, 1]. */
static double window_value(const dicom_header *h, double x)
{
    double y;
    if (is(h->window_function, "SIGMOID"))
        y = 1 / (1 + exp(-4 * (x - h->centre) / h->width));
    else if (is(h->window_function, "LINEAR_EXACT"))
        y = (x - h->centre) / h->width + 0.5;
    else if (h->width <= 1) /* a threshold */
        y = x <= h->centre - 0.5 ? 0 : 1;
    else
        y = (x - (h->centre - 0.5)) / (h->width - 1) + 0.5;
    return y < 0 ? 0 : y > 1 ? 1 : y;
}

/* A table over all values of 16 bits: stored to what is returned. Sets the bits of the result. */
static void build_display(uint16_t *table, unsigned *bits, const dicom_header *h, const img_frame *f)
{
    const dicom_table *m = &h->modality_table;
    bool linear = h->width >= (is(h->window_function, "") || is(h->window_function, "LINEAR") ? 1 : 1e-9);
    bool use_window = h->has_window && isfinite(h->centre) && isfinite(h->width) && linear;
    bool use_slope = !m->data && isfinite(h->slope) && isfinite(h->intercept) && h->slope != 0;
    double slope = use_slope ? h->slope : 1, intercept = use_slope ? h->intercept : 0;
    *bits = m->data ? m->bits : f->bits;
    int32_t lo = f->is_signed ? -(1 << (f->bits - 1)) : 0, top = (int32_t)((1u << *bits) - 1);
    for (uint32_t raw = 0; raw < 65536; raw++) {
        int32_t v = f->is_signed ? (int16_t)raw : (int32_t)raw, out;
        int64_t at = (int64_t)v - m->first;
        double x = m->data ? m->data[at < 0 ? 0 : at >= m->n ? m->n - 1 : at] : slope * v + intercept;
        if (use_window)
            out = (int32_t)floor(window_value(h, x) * top + 0.5);
        else if (m->data)
            out = (int32_t)x;
        else
            out = slope > 0 ? v - lo : top - (v - lo);
        out = out < 0 ? 0 : out > top ? top : out; /* raw values that no sample has fall outside */
        table[raw] = (uint16_t)(is(h->photometric, "MONOCHROME1") ? top - out : out);
    }
}

static fl_code apply_display(img_frame *f, const dicom_header *h, fl_err *err)
{
    uint16_t *table = malloc(65536 * sizeof *table);
    if (!table)
        return fl_fail(err, FL_EENV, "out of memory");
    unsigned bits;
    build_display(table, &bits, h, f);
    for (size_t i = 0; i < (size_t)f->width * f->height; i++)
        f->samples[i] = table[f->samples[i]];
    f->bits = bits;
    f->is_signed = false;
    free(table);
    return FL_OK;
}

static fl_code to_pixels(img_image *out, dicom_header *h, dicom_file *file, fl_err *err)
{
    img_frame f;
    fl_code code = img_frame_init(&f, h->columns, h->rows, h->samples, err);
    if (code != FL_OK)
        return code;
    code = h->coding == DICOM_PLAIN   ? read_plain(&f, h, file, err)
           : h->coding == DICOM_CODEC ? read_codec(&f, h, file, err)
                                      : read_jpeg2000(&f, h, file, err);
    if (code == FL_OK) {
        f.bits = h->stored;
        f.is_signed = h->is_signed;
        img_frame_measure(out, &f);
        if (h->has_palette)
            look_up_palette(&f, h);
        else if (f.n_samples == 3)
            img_frame_to_grey(&f, begins(h->photometric, "YBR_FULL"));
        else
            code = apply_display(&f, h, err);
    }
    if (code == FL_OK)
        code = img_frame_finish(out, &f, err);
    img_frame_fini(&f);
    return code;
}

static void set_terms(img_image *out, const dicom_header *h)
{
    strcpy(out->modality, img_term(IMG_TERM_MODALITY, h->modality));
    strcpy(out->body_part, img_term(IMG_TERM_BODY_PART, h->body_part));
    strcpy(out->view, img_term(IMG_TERM_VIEW, h->view));
    strcpy(out->laterality, img_term(IMG_TERM_LATERALITY, h->laterality));
    strcpy(out->photometric, img_term(IMG_TERM_PHOTOMETRIC, h->photometric));
}

static void set_identity(img_image *out, dicom_file *file, const uint8_t key[32])
{
    char id[4096], issuer[4096];
    dicom_identify(id, sizeof id, file, DICOM_PATIENT_ID);
    dicom_identify(issuer, sizeof issuer, file, DICOM_PATIENT_ISSUER);
    out->has_patient = id[0] != 0;
    if (out->has_patient)
        img_hmac_patient_bytes(out->patient, key, id, strlen(id), issuer, strlen(issuer));
    dicom_identify(id, sizeof id, file, DICOM_SOP_UID);
    out->has_sop = id[0] != 0;
    if (out->has_sop)
        img_hmac_sop(out->sop, key, id);
    fl_wipe(id, sizeof id);
    fl_wipe(issuer, sizeof issuer);
}

fl_code img_read_dicom(img_image *out, const uint8_t *bytes, size_t n, unsigned flags, const uint8_t key[32],
                       fl_err *err)
{
    fl_code code = img_scan(bytes, n, IMG_SCAN_MAX_DEPTH, err);
    if (code != FL_OK)
        return code;
    dicom_file *file;
    dicom_header h;
    code = dicom_open(&file, &h, bytes, n, err);
    if (code == FL_OK)
        code = check_policy(&h, flags, err);
    if (code == FL_OK)
        code = check_header(&h, err);
    if (code == FL_OK) {
        set_terms(out, &h);
        set_identity(out, file, key);
        out->from_dicom = true;
        out->n_frames = h.frames;
        code = to_pixels(out, &h, file, err);
    }
    dicom_close(file, &h);
    return code;
}
