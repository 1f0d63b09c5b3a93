#include "imaging/decoder/jpeg2000.h"

#include <openjpeg.h>
#include <string.h>

typedef struct source {
    const uint8_t *bytes;
    size_t n, pos;
} source;

static OPJ_SIZE_T on_read(void *out, OPJ_SIZE_T n, void *user)
{
    source *s = user;
    size_t left = s->n - s->pos;
    if (left == 0)
        return (OPJ_SIZE_T)-1;
    if (n > left)
        n = left;
    memcpy(out, s->bytes + s->pos, n);
    s->pos += n;
    return n;
}

static OPJ_OFF_T on_skip(OPJ_OFF_T n, void *user)
{
    source *s = user;
    if (n < 0 || (uint64_t)n > s->n - s->pos)
        return -1;
    s->pos += (size_t)n;
    return n;
}

static OPJ_BOOL on_seek(OPJ_OFF_T to, void *user)
{
    source *s = user;
    if (to < 0 || (uint64_t)to > s->n)
        return OPJ_FALSE;
    s->pos = (size_t)to;
    return OPJ_TRUE;
}

static fl_code check(const opj_image_t *image, const img_frame *f, unsigned max_bits, fl_err *err)
{
    if (image->numcomps != f->n_samples)
        return fl_fail(err, FL_EFORMAT, "JPEG 2000: %u components, the header says %u", image->numcomps, f->n_samples);
    for (uint32_t c = 0; c < image->numcomps; c++) {
        const opj_image_comp_t *comp = &image->comps[c];
        if (comp->w != f->width || comp->h != f->height || comp->dx != 1 || comp->dy != 1)
            return fl_fail(err, FL_EFORMAT, "JPEG 2000: %u x %u pixels, the header says %u x %u", comp->w, comp->h,
                           f->width, f->height);
        if (comp->prec < 1 || comp->prec > max_bits || comp->prec != image->comps[0].prec ||
            comp->sgnd != image->comps[0].sgnd)
            return fl_fail(err, FL_EFORMAT, "JPEG 2000: %u bits, the header says %u", comp->prec, max_bits);
    }
    return FL_OK;
}

/* The codec may overshoot the range of lossy values by its rounding: they are clamped to it. */
static void copy(img_frame *f, const opj_image_t *image)
{
    f->bits = image->comps[0].prec;
    f->is_signed = image->comps[0].sgnd;
    int32_t lo = f->is_signed ? -(1 << (f->bits - 1)) : 0, hi = lo + (int32_t)((1u << f->bits) - 1);
    size_t n = (size_t)f->width * f->height;
    for (uint32_t c = 0; c < f->n_samples; c++)
        for (size_t i = 0; i < n; i++) {
            int32_t v = image->comps[c].data[i];
            f->samples[i * f->n_samples + c] = (uint16_t)(v < lo ? lo : v > hi ? hi : v);
        }
}

fl_code img_read_jpeg2000(img_frame *f, unsigned max_bits, const uint8_t *bytes, size_t n, fl_err *err)
{
    static const uint8_t jp2[8] = {0, 0, 0, 12, 'j', 'P', ' ', ' '};
    source s = {bytes, n, 0};
    bool is_file = n >= 8 && memcmp(bytes, jp2, 8) == 0;
    fl_code code = fl_fail(err, FL_EFORMAT, "JPEG 2000: damaged or truncated");
    opj_image_t *image = NULL;
    opj_codec_t *codec = opj_create_decompress(is_file ? OPJ_CODEC_JP2 : OPJ_CODEC_J2K);
    opj_stream_t *stream = opj_stream_create(65536, OPJ_TRUE);
    opj_dparameters_t parameters;
    opj_set_default_decoder_parameters(&parameters);
    if (!codec || !stream) {
        code = fl_fail(err, FL_EENV, "JPEG 2000: out of memory");
        goto out;
    }
    opj_stream_set_user_data(stream, &s, NULL);
    opj_stream_set_user_data_length(stream, n);
    opj_stream_set_read_function(stream, on_read);
    opj_stream_set_skip_function(stream, on_skip);
    opj_stream_set_seek_function(stream, on_seek);
    if (!opj_setup_decoder(codec, &parameters) || !opj_decoder_set_strict_mode(codec, OPJ_TRUE) ||
        !opj_read_header(stream, codec, &image))
        goto out;
    fl_code checked = check(image, f, max_bits, err); /* before anything of its size is allocated */
    if (checked != FL_OK) {
        code = checked;
        goto out;
    }
    if (!opj_decode(codec, stream, image) || !opj_end_decompress(codec, stream)) {
        code = fl_fail(err, FL_EFORMAT, "JPEG 2000: damaged or truncated");
        goto out;
    }
    code = check(image, f, max_bits, err);
    for (uint32_t c = 0; code == FL_OK && c < image->numcomps; c++)
        if (!image->comps[c].data)
            code = fl_fail(err, FL_EFORMAT, "JPEG 2000: damaged or truncated");
    if (code == FL_OK)
        copy(f, image);
out:
    opj_image_destroy(image);
    if (stream)
        opj_stream_destroy(stream);
    if (codec)
        opj_destroy_codec(codec);
    return code;
}
