/* PNG through libpng. Gamma, colour profiles and text chunks are ignored; alpha is dropped. */
#include "imaging/decoder/frame.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

typedef struct source {
    const uint8_t *bytes;
    size_t n, pos;
    jmp_buf escape;
} source;

static void on_error(png_structp png, png_const_charp message)
{
    (void)message; /* may hold bytes of the file */
    source *s = png_get_error_ptr(png);
    longjmp(s->escape, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep out, size_t n)
{
    source *s = png_get_io_ptr(png);
    if (n > s->n - s->pos)
        png_error(png, "end");
    memcpy(out, s->bytes + s->pos, n);
    s->pos += n;
}

/* Asks for grey, grey+alpha, RGB or RGBA at 8 or 16 bits, native byte order. */
static void set_transforms(png_structp png, png_infop info)
{
    int colour = png_get_color_type(png, info);
    if (colour == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    if (colour == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    if (png_get_bit_depth(png, info) == 16)
        png_set_swap(png);
    (void)png_set_interlace_handling(png);
    png_read_update_info(png, info);
}

static void widen(uint16_t *out, const uint8_t *bytes, size_t n, bool is_16)
{
    if (is_16)
        memcpy(out, bytes, 2 * n);
    else
        for (size_t i = 0; i < n; i++)
            out[i] = bytes[i];
}

/* What must survive the longjmp lives here. */
typedef struct png_job {
    source source;
    png_structp png;
    png_infop info;
    img_frame frame;
    uint8_t *block;
    png_bytep *rows;
    fl_code code;
} png_job;

static void read_pixels(png_job *job, fl_err *err)
{
    png_structp png = job->png;
    png_set_read_fn(png, &job->source, on_read);
    png_set_user_limits(png, 65535, 65535);
    png_set_chunk_malloc_max(png, 16u << 20);
    png_read_info(png, job->info);
    set_transforms(png, job->info);
    uint32_t width = png_get_image_width(png, job->info), height = png_get_image_height(png, job->info);
    job->code = img_frame_init(&job->frame, width, height, png_get_channels(png, job->info), err);
    if (job->code != FL_OK)
        return;
    bool is_16 = png_get_bit_depth(png, job->info) == 16;
    job->frame.bits = is_16 ? 16 : 8;
    size_t stride = png_get_rowbytes(png, job->info);
    job->block = malloc(stride * height);
    job->rows = malloc(height * sizeof *job->rows);
    if (!job->block || !job->rows) {
        job->code = fl_fail(err, FL_EENV, "out of memory for %u x %u pixels", width, height);
        return;
    }
    for (uint32_t y = 0; y < height; y++)
        job->rows[y] = job->block + y * stride;
    png_read_image(png, job->rows);
    png_read_end(png, NULL);
    size_t n = (size_t)width * job->frame.n_samples;
    for (uint32_t y = 0; y < height; y++)
        widen(job->frame.samples + y * n, job->rows[y], n, is_16);
}

fl_code img_read_png(img_image *out, const uint8_t *bytes, size_t n, fl_err *err)
{
    png_job *job = calloc(1, sizeof *job);
    if (!job)
        return fl_fail(err, FL_EENV, "out of memory");
    job->source.bytes = bytes;
    job->source.n = n;
    job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &job->source, on_error, on_warning);
    job->info = job->png ? png_create_info_struct(job->png) : NULL;
    if (!job->info)
        job->code = fl_fail(err, FL_EENV, "out of memory");
    else if (setjmp(job->source.escape) == 0)
        read_pixels(job, err);
    else
        job->code = fl_fail(err, FL_EFORMAT, "PNG: damaged or truncated");
    if (job->code == FL_OK) {
        img_frame_measure(out, &job->frame);
        img_frame_to_grey(&job->frame, false);
        out->n_frames = 1;
        job->code = img_frame_finish(out, &job->frame, err);
    }
    fl_code code = job->code;
    png_destroy_read_struct(&job->png, &job->info, NULL);
    img_frame_fini(&job->frame);
    free(job->block);
    free(job->rows);
    free(job);
    return code;
}
