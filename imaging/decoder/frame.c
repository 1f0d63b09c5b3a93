#include "imaging/decoder/frame.h"

#include "imaging/resize.h"

#include <assert.h>
#include <stdlib.h>

fl_code img_frame_init(img_frame *f, uint32_t width, uint32_t height, uint32_t n_samples, fl_err *err)
{
    *f = (img_frame){.width = width, .height = height, .n_samples = n_samples};
    if (width == 0 || height == 0 || (uint64_t)width * height > IMG_MAX_SAMPLES / n_samples)
        return fl_fail(err, FL_EREFUSED, "the image is %u x %u, expected 1 to %u samples", width, height,
                       IMG_MAX_SAMPLES);
    f->samples = malloc((size_t)width * height * n_samples * sizeof *f->samples);
    return f->samples ? FL_OK : fl_fail(err, FL_EENV, "out of memory for %u x %u pixels", width, height);
}

void img_frame_fini(img_frame *f)
{
    free(f->samples);
    *f = (img_frame){0};
}

void img_frame_measure(img_image *out, const img_frame *f)
{
    size_t n = (size_t)f->width * f->height * f->n_samples;
    int64_t lo = INT64_MAX, hi = INT64_MIN, sum = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t v = f->is_signed ? (int16_t)f->samples[i] : f->samples[i];
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
        sum += v;
    }
    out->raw_min = lo;
    out->raw_max = hi;
    out->raw_count = n;
    out->raw_mean = (double)sum / (double)n;
}

void img_frame_to_grey(img_frame *f, bool is_ybr)
{
    assert(!f->is_signed);
    size_t n = (size_t)f->width * f->height;
    if (f->n_samples >= 3)
        for (size_t i = 0; i < n; i++) {
            const uint16_t *s = f->samples + i * f->n_samples;
            f->samples[i] = is_ybr ? s[0] : (uint16_t)((299u * s[0] + 587u * s[1] + 114u * s[2] + 500u) / 1000u);
        }
    else if (f->n_samples == 2)
        for (size_t i = 0; i < n; i++)
            f->samples[i] = f->samples[2 * i];
    f->n_samples = 1;
}

fl_code img_frame_finish(img_image *out, img_frame *f, fl_err *err)
{
    assert(f->n_samples == 1 && !f->is_signed && f->bits >= 1 && f->bits <= 16);
    out->bits = (uint8_t)f->bits;
    out->width = f->width;
    out->height = f->height;
    uint32_t longer = f->width > f->height ? f->width : f->height;
    if (longer <= IMG_MAX_SIDE) {
        out->pixels = f->samples;
        f->samples = NULL;
        return FL_OK;
    }
    out->width = (uint32_t)(((uint64_t)f->width * IMG_MAX_SIDE + longer / 2) / longer);
    out->height = (uint32_t)(((uint64_t)f->height * IMG_MAX_SIDE + longer / 2) / longer);
    out->width += out->width == 0;
    out->height += out->height == 0;
    out->pixels = malloc((size_t)out->width * out->height * sizeof *out->pixels);
    if (!out->pixels)
        return fl_fail(err, FL_EENV, "out of memory for %u x %u pixels", out->width, out->height);
    img_shrink(out->pixels, out->width, out->height, f->samples, f->width, f->height);
    return FL_OK;
}
