/*
 * nn_map - a view of images inside the engine: rows, columns, channels (NHWC), channels last in memory.
 *
 *     value (n, i, j, c) of a map is at[n * image + i * row + j * cs + c]
 *
 * cs, the floats from one pixel to the next, is C when C < 8, else C rounded up to 16; the channels from C to cs are zero
 * in every buffer that the engine hands out, and stay zero. Around the H x W pixels a buffer has as many rows and columns
 * of zeros (its halo) as its readers reach into; nobody writes them, ever. Flat vectors are maps of 1 x 1 pixel.
 *
 * A view owns nothing and dies with the workspace it points into. Private to train.
 */
#ifndef TRAIN_MAP_H
#define TRAIN_MAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct nn_map {
    float *at;         /* pixel (0, 0) of image 0 */
    uint32_t C, H, W;  /* what is real */
    uint32_t cs;       /* floats from pixel to pixel */
    size_t row, image; /* floats from row to row, from image to image */
} nn_map;

static inline uint32_t nn_map_channels(uint32_t C)
{
    return C < 8 ? C : (C + 15) / 16 * 16;
}

/* Pixel (i, j) of image 0. */
static inline float *nn_map_pixel(const nn_map *m, uint32_t i, uint32_t j)
{
    return m->at + i * m->row + (size_t)j * m->cs;
}

/* Image 0: zeros in the channels from C to cs. */
void nn_map_clear_padding(const nn_map *m);
/* Image 0: zeros inside H x W. */
void nn_map_clear(const nn_map *m);

#endif
