/*
 * img_heat - a heat map over the film it belongs to, as a picture for people.
 *
 *     +------------+------------+----+
 *     |    film    | film+heat  |bar |        film: as the model sees it, 1st to 99th percentile from black to white
 *     +------------+------------+----+        bar: the colours from 0 (below) to the largest value (above)
 *
 * The map covers the whole film, whatever its own size, and is interpolated linearly between the centres of its cells. Values
 * below 0 are 0, and the largest is 1. Colours grow brighter with the value, and two lines stand at 1/2 (thin) and 4/5
 * (thick) of the largest value, in the picture and in the bar, so that a print in grey can be read too.
 *
 * The longer side of the film becomes IMG_HEAT_MIN .. IMG_MAX_SIDE pixels; its aspect is kept. No text, no metadata.
 */
#ifndef IMAGING_HEAT_H
#define IMAGING_HEAT_H

#include "imaging/image.h"

#define IMG_HEAT_MIN 480 /* smaller films are enlarged */

typedef struct img_picture {
    uint32_t width, height;
    uint8_t *rgb; /* height x width x 3 */
} img_picture;

/* heat (h, w), finite, h and w >= 1. A map without a value above 0 leaves the film as it is. */
fl_code img_heat_draw(img_picture *out, const img_image *film, const float *heat, uint32_t h, uint32_t w,
                      fl_err *err) FL_MUST_USE;
void img_picture_fini(img_picture *p);

/* As a PNG (libpng), whole or not at all, readable by its owner alone. FL_EENV: disk, memory. */
fl_code img_png_write(const char *path, const img_picture *p, fl_err *err) FL_MUST_USE;

#endif
