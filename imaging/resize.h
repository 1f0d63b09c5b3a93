/*
 * img_resize - an image as input of a model: C x H x W floats in [-1, 1].
 *
 * The whole image is mapped onto H x W (the aspect ratio is not kept). Along an axis that shrinks, an output pixel is
 * the mean over the area it covers; along an axis that grows, it is interpolated linearly between pixel centres.
 * Then   out = clamp(2 (v - lo) / (hi - lo) - 1, -1, 1)
 * with lo and hi the 1st and 99th percentile of this image's own pixels at native size; an image with lo = hi is all
 * zeros. The C channels are equal.
 *
 * Nothing but this one image and constants enters, so one patient's input never depends on another patient.
 * A pure function: the same bits every time and on any thread (double arithmetic in a fixed order).
 */
#ifndef IMAGING_RESIZE_H
#define IMAGING_RESIZE_H

#include "imaging/image.h"

/* out (C, H, W); C, H, W >= 1; H, W <= 4096. image has pixels. Allocates a little; out of memory aborts. */
void img_resize(float *out, uint32_t C, uint32_t H, uint32_t W, const img_image *image);

/* Area averaging of grey to width x height, both not larger than the original: pixels are rounded to nearest. */
void img_shrink(uint16_t *out, uint32_t out_width, uint32_t out_height, const uint16_t *pixels, uint32_t width,
                uint32_t height);

#endif
