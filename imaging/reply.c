#include "imaging/reply.h"

#include "imaging/terms.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void put(uint8_t *out, uint64_t value, unsigned n_bytes)
{
    for (unsigned i = 0; i < n_bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *in, unsigned n_bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < n_bytes; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

void img_job_write(uint8_t out[IMG_JOB_SIZE], const img_job *job)
{
    memcpy(out, "CJOB", 4);
    put(out + 4, job->flags, 4);
    put(out + 8, job->length, 8);
    memcpy(out + 16, job->key, 32);
}

bool img_job_parse(img_job *out, const uint8_t bytes[IMG_JOB_SIZE])
{
    *out = (img_job){.flags = (unsigned)get(bytes + 4, 4), .length = get(bytes + 8, 8)};
    memcpy(out->key, bytes + 16, 32);
    return memcmp(bytes, "CJOB", 4) == 0 && out->length <= IMG_MAX_FILE_BYTES;
}

static char (*term_at(img_image *image, unsigned kind))[IMG_TERM_SIZE]
{
    char(*const terms[IMG_TERM_KINDS])[IMG_TERM_SIZE] = {
        [IMG_TERM_MODALITY] = &image->modality,
        [IMG_TERM_BODY_PART] = &image->body_part,
        [IMG_TERM_VIEW] = &image->view,
        [IMG_TERM_LATERALITY] = &image->laterality,
        [IMG_TERM_PHOTOMETRIC] = &image->photometric,
    };
    return terms[kind];
}

void img_reply_write(uint8_t out[IMG_REPLY_SIZE], fl_code code, const img_image *image, const char *reason)
{
    assert(image || code != FL_OK);
    memset(out, 0, IMG_REPLY_SIZE);
    memcpy(out, "CREP", 4);
    put(out + 4, code, 4);
    for (unsigned i = 0; code != FL_OK && reason[i] && i < IMG_REASON_SIZE - 1; i++)
        out[208 + i] = reason[i] >= 0x20 && reason[i] < 0x7f ? (uint8_t)reason[i] : '?';
    if (code != FL_OK)
        return;
    put(out + 8, image->width, 4);
    put(out + 12, image->height, 4);
    put(out + 16, image->n_frames, 4);
    out[20] = image->bits;
    out[21] = image->from_dicom;
    out[22] = image->has_patient;
    out[23] = image->has_sop;
    put(out + 24, (uint64_t)image->raw_min, 8);
    put(out + 32, (uint64_t)image->raw_max, 8);
    put(out + 40, image->raw_count, 8);
    memcpy(out + 48, &image->raw_mean, 8);
    if (image->has_patient)
        memcpy(out + 56, image->patient, 32);
    if (image->has_sop)
        memcpy(out + 88, image->sop, 32);
    for (unsigned kind = 0; kind < IMG_TERM_KINDS; kind++) {
        const char *term = img_term(kind, *term_at((img_image *)image, kind));
        memcpy(out + 120 + kind * IMG_TERM_SIZE, term, strlen(term));
    }
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

/* A zero-filled field of printable ASCII with at least one zero at its end. */
static bool clean_text(const uint8_t *bytes, size_t size)
{
    size_t n = 0;
    while (n < size && bytes[n] >= 0x20 && bytes[n] < 0x7f)
        n++;
    return n < size && all_zero(bytes + n, size - n);
}

static bool terms_ok(img_image *out, const uint8_t *bytes)
{
    for (unsigned kind = 0; kind < IMG_TERM_KINDS; kind++) {
        const uint8_t *field = bytes + 120 + kind * IMG_TERM_SIZE;
        if (!clean_text(field, IMG_TERM_SIZE) || strcmp(img_term(kind, (const char *)field), (const char *)field) != 0)
            return false;
        memcpy(*term_at(out, kind), field, IMG_TERM_SIZE);
    }
    return all_zero(bytes + 205, 3);
}

static bool numbers_ok(const img_image *image)
{
    return image->width >= 1 && image->width <= IMG_MAX_SIDE && image->height >= 1 && image->height <= IMG_MAX_SIDE &&
           image->n_frames >= 1 && image->bits >= 1 && image->bits <= 16 && image->raw_min <= image->raw_max &&
           image->raw_min >= INT16_MIN && image->raw_max <= UINT16_MAX && image->raw_count >= 1 &&
           isfinite(image->raw_mean) && image->raw_mean >= (double)image->raw_min &&
           image->raw_mean <= (double)image->raw_max && (image->has_patient || all_zero(image->patient, 32)) &&
           (image->has_sop || all_zero(image->sop, 32));
}

fl_code img_reply_parse(img_image *out, const uint8_t bytes[IMG_REPLY_SIZE], fl_err *err)
{
    *out = (img_image){0};
    uint64_t code = get(bytes + 4, 4);
    bool is_reply = memcmp(bytes, "CREP", 4) == 0 && clean_text(bytes + 208, IMG_REASON_SIZE);
    if (is_reply && (code == FL_EREFUSED || code == FL_EFORMAT || code == FL_EENV) && all_zero(bytes + 8, 200) &&
        bytes[208])
        return fl_fail(err, (fl_code)code, "%s", (const char *)bytes + 208);
    if (is_reply && code == FL_OK && bytes[208] == 0 && bytes[21] <= 1 && bytes[22] <= 1 && bytes[23] <= 1) {
        out->width = (uint32_t)get(bytes + 8, 4);
        out->height = (uint32_t)get(bytes + 12, 4);
        out->n_frames = (uint32_t)get(bytes + 16, 4);
        out->bits = bytes[20];
        out->from_dicom = bytes[21];
        out->has_patient = bytes[22];
        out->has_sop = bytes[23];
        out->raw_min = (int64_t)get(bytes + 24, 8);
        out->raw_max = (int64_t)get(bytes + 32, 8);
        out->raw_count = get(bytes + 40, 8);
        memcpy(&out->raw_mean, bytes + 48, 8);
        memcpy(out->patient, bytes + 56, 32);
        memcpy(out->sop, bytes + 88, 32);
        if (terms_ok(out, bytes) && numbers_ok(out))
            return FL_OK;
    }
    *out = (img_image){0};
    return fl_fail(err, FL_EENV, "the decoder's answer is not valid");
}
