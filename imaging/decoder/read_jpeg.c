/* JPEG through libjpeg. Exif (orientation included) and other markers are ignored. */
#include "imaging/decoder/frame.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jerror.h>
#include <jpeglib.h>

typedef struct jpeg_job {
    struct jpeg_error_mgr errors; /* first: libjpeg hands back a pointer to it */
    jmp_buf escape;
    struct jpeg_decompress_struct jpeg;
    img_frame frame;
    JSAMPLE *row;
    fl_code code;
} jpeg_job;

static void on_error(j_common_ptr jpeg)
{
    longjmp(((jpeg_job *)jpeg->err)->escape, 1);
}

/* level < 0: the data are corrupt and libjpeg would make something up. Padding before a marker is harmless. */
static void on_message(j_common_ptr jpeg, int level)
{
    if (level < 0 && jpeg->err->msg_code != JWRN_EXTRANEOUS_DATA && jpeg->err->msg_code != JWRN_ADOBE_XFORM)
        longjmp(((jpeg_job *)jpeg->err)->escape, 1);
}

static void on_output(j_common_ptr jpeg)
{
    (void)jpeg;
}

static void read_pixels(jpeg_job *job, const uint8_t *bytes, size_t n, fl_err *err)
{
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg_mem_src(jpeg, bytes, n);
    (void)jpeg_read_header(jpeg, TRUE);
    if (jpeg->num_components != 1 && jpeg->num_components != 3) {
        job->code = fl_fail(err, FL_EREFUSED, "JPEG: %d colour components, expected 1 or 3", jpeg->num_components);
        return;
    }
    jpeg->out_color_space = jpeg->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    job->code = img_frame_init(&job->frame, jpeg->image_width, jpeg->image_height, (uint32_t)jpeg->num_components, err);
    if (job->code != FL_OK)
        return;
    job->frame.bits = 8;
    size_t stride = (size_t)jpeg->image_width * (size_t)jpeg->num_components;
    job->row = malloc(stride * sizeof *job->row);
    if (!job->row) {
        job->code = fl_fail(err, FL_EENV, "out of memory");
        return;
    }
    (void)jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        uint16_t *out = job->frame.samples + jpeg->output_scanline * stride;
        (void)jpeg_read_scanlines(jpeg, &job->row, 1);
        for (size_t i = 0; i < stride; i++)
            out[i] = job->row[i];
    }
    (void)jpeg_finish_decompress(jpeg);
}

fl_code img_read_jpeg(img_image *out, const uint8_t *bytes, size_t n, fl_err *err)
{
    jpeg_job *job = calloc(1, sizeof *job);
    if (!job)
        return fl_fail(err, FL_EENV, "out of memory");
    job->jpeg.err = jpeg_std_error(&job->errors);
    job->errors.error_exit = on_error;
    job->errors.emit_message = on_message;
    job->errors.output_message = on_output;
    if (setjmp(job->escape) == 0)
        read_pixels(job, bytes, n, err);
    else
        job->code = fl_fail(err, FL_EFORMAT, "JPEG: damaged, truncated or of a kind that is not supported");
    jpeg_destroy_decompress(&job->jpeg);
    if (job->code == FL_OK) {
        img_frame_measure(out, &job->frame);
        img_frame_to_grey(&job->frame, false);
        out->n_frames = 1;
        job->code = img_frame_finish(out, &job->frame, err);
    }
    fl_code code = job->code;
    img_frame_fini(&job->frame);
    free(job->row);
    free(job);
    return code;
}
