/*
 * The decoder child's inside: one frame of stored samples, and from it the image that is returned.
 * Single-threaded; all functions may be called behind the sandbox.
 */
#ifndef IMAGING_DECODER_FRAME_H
#define IMAGING_DECODER_FRAME_H

#include "imaging/image.h"

#define IMG_MAX_SAMPLES (100u << 20) /* of one frame: rows x columns x samples */

typedef struct img_frame {
    uint32_t width, height, n_samples; /* per pixel: 1 grey or palette index, 2 grey+alpha, 3 colour, 4 colour+alpha */
    unsigned bits;                     /* significant bits of a sample, 1 .. 16 */
    bool is_signed;                    /* samples are two's complement in 16 bits */
    uint16_t *samples;                 /* height x width x n_samples */
} img_frame;

/* Allocates the samples after checking the sizes; on success fini frees them. */
fl_code img_frame_init(img_frame *f, uint32_t width, uint32_t height, uint32_t n_samples, fl_err *err) FL_MUST_USE;
void img_frame_fini(img_frame *f);

/* raw_min, raw_max, raw_mean, raw_count of what is stored. */
void img_frame_measure(img_image *out, const img_frame *f);

/* Colour to grey in place, n_samples becomes 1; RGB is weighted, of YBR the Y is taken. Alpha is dropped. */
void img_frame_to_grey(img_frame *f, bool is_ybr);

/* Takes an unsigned frame of one sample: its samples become out->pixels, reduced to IMG_MAX_SIDE. */
fl_code img_frame_finish(img_image *out, img_frame *f, fl_err *err) FL_MUST_USE;

/* One per format; job's flags and key for DICOM. *out is zeroed by the caller. */
fl_code img_read_png(img_image *out, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;
fl_code img_read_jpeg(img_image *out, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;
fl_code img_read_dicom(img_image *out, const uint8_t *bytes, size_t n, unsigned flags, const uint8_t key[32],
                       fl_err *err) FL_MUST_USE;

#endif
