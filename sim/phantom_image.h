/*
 * The pixels of a phantom: a drawn chest, not a simulation of X-rays. Thorax, lungs, heart, spine, ribs, clavicles,
 * vessels and texture are added as brightness; consolidations brighten the lung. Coordinates run from -1 to 1 across
 * the film, v downwards; 80 pixels are 1.
 */
#ifndef SIM_PHANTOM_IMAGE_H
#define SIM_PHANTOM_IMAGE_H

#include "base/rng.h"
#include "sim/phantom.h"
#include <stdbool.h>

#define SIM_MAX_LESIONS 3
#define SIM_NOISE_SIDE  41 /* of the patient's texture lattice */

/* How a hospital's machine renders. */
typedef struct sim_look {
    double gain, offset, gamma; /* brightness y = offset + gain * x^gamma, 1 is white */
    double noise;               /* standard deviation, in units of y */
    unsigned n_blur;            /* passes of a 3 x 3 binomial filter */
    unsigned border;            /* pixels of black collimator at the edges */
} sim_look;

typedef struct sim_lesion {
    double u, v, radius, amplitude, phase[2];
} sim_lesion;

/* One patient: the same in all the patient's images. */
typedef struct sim_body {
    double scale, lung_width, lung_height, heart, rib_phase, rib_step, tilt, diaphragm, vessel_phase[2];
    sim_lesion lesions[SIM_MAX_LESIONS];
    unsigned n_lesions; /* 0: healthy */
    float texture[SIM_NOISE_SIDE][SIM_NOISE_SIDE];
} sim_body;

void sim_body_draw(sim_body *b, fl_rng *rng, bool diseased);

/* SIM_PHANTOM_SIDE squared values 0 (black) .. 4095; rng draws this image's position and noise. */
void sim_body_render(uint16_t *pixels, const sim_body *b, const sim_look *look, fl_rng *rng);

#endif
