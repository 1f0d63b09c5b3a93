/*
 * nn_augment - the image a step really sees: mirrored (probability 1/2, when mirror is set) and shifted by
 * -shift..shift pixels in each direction, edges repeated. HMAC-SHA-256 keyed by the plan's seed over (patient key, index
 * of the image within the patient, round, step, which copy) decides: never a position in the data set.
 */
#ifndef TRAIN_AUGMENT_H
#define TRAIN_AUGMENT_H

#include "base/object.h"
#include "train/dataset.h"
#include "train/map.h"

typedef struct nn_augment {
    fl_hash key; /* of the seed */
    bool mirror;
    uint32_t shift;
    bool draws; /* a layer wants the number */
} nn_augment;

typedef struct nn_augment_at {
    uint32_t patient, image /* of the patient */, copy, round, step;
} nn_augment_at;

fl_hash nn_augment_key(uint64_t seed);
/* Fills map; *dropout is a number of the same hash for layers that draw, 0 when none does. */
void nn_augment_image(const nn_augment *a, nn_map *map, uint64_t *dropout, const nn_dataset *d, nn_augment_at at);

#endif
