/*
 * nn_place - one thread's place of work in a private step: an engine, and the gradients and the sum of its patients.
 *
 * How many images a block has, and which layers' gradients are kept or made in tiles, follows from the model alone:
 * weights and sums are read once for a block, so it is large where they are large beside the work of an image.
 * CORDON_GRADIENTS in the environment decides otherwise, for tests: "kept" or "tiles", with ":4" for blocks of 4 images.
 * The integers are the same.
 * Private to train.
 */
#ifndef TRAIN_BLOCK_H
#define TRAIN_BLOCK_H

#include "train/engine.h"

typedef struct nn_clip {
    double clip_norm;
    uint32_t clip_units;
    bool is_automatic; /* dp_clip_scale_automatic */
} nn_clip;

typedef struct nn_place {
    nn_engine *engine;
    uint32_t images;            /* of a block, at most */
    float *g;                   /* (images, nn_engine_kept): gradients of the block's patients */
    float *whole;               /* (n_packed): of one patient with more images than a block */
    int32_t *sum;               /* (n_packed), modulo 2^32; zero between steps */
    int32_t *scratch;           /* (NN_COLLECT_SCRATCH): of sums on their way out */
    nn_share *shares;           /* (images) */
    float *scales;              /* (images) */
    unsigned __int128 *squares; /* (images) */
    size_t n_g, n_packed;
    bool used_whole; /* since the last wipe; said before the first block */
} nn_place;

uint32_t nn_block_images(const nn_model *m);
/* Bytes of a place, and how many of them are cut from the arena that init is given. */
size_t nn_place_size(const nn_model *m);
size_t nn_place_secret_size(const nn_model *m);
/* fini takes a place that init has left half done. */
fl_code nn_place_init(nn_place *p, const nn_model *m, fl_arena *arena, fl_err *err) FL_MUST_USE;
void nn_place_fini(nn_place *p);

/* Clips the patients of the first n shares to the grid and adds them to the sum: |z|^2 <= R^2 is checked in integers, a
 * vector that breaks it is made again with a smaller scale, three times at most, and is zero then. After backward. */
void nn_place_add(nn_place *p, const nn_clip *clip, uint32_t n_shares);
/* Zeros in the gradients, their lengths, and where they passed through the engine. */
void nn_place_wipe(nn_place *p);

#endif
