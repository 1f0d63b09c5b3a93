/*
 * nn_prefix - what a model computes before its first weight, kept beside the images of a data set.
 *
 * Scattering features cost far more than the head that learns from them, and are the same in every round: they are
 * computed once for each image. What is kept is what the layer itself gives, so results have the same bits with and
 * without it. A data set that was not prepared, or for another model, is computed from its images each time.
 */
#ifndef TRAIN_PREFIX_H
#define TRAIN_PREFIX_H

#include "base/pool.h"
#include "train/dataset.h"
#include "train/model.h"

#define NN_PREFIX_MAX_BYTES ((size_t)4 << 30) /* a larger data set is left as it is */

/* Layers of m that need not be computed again: 1 when the first is scattering and alone reads the image, else 0. */
uint32_t nn_prefix_layers(const nn_model *m);

/* Computes the prefix of every image of d, on all threads of pool; what d has from before goes, unless it is the same.
 * Does nothing for a model without prefix, or when there is not the memory for it. */
fl_code nn_dataset_prepare(nn_dataset *d, const nn_model *m, fl_pool *pool, fl_err *err) FL_MUST_USE;

/* The prefix of image i of d, (C, H, W) of layer nn_prefix_layers - 1; NULL when d is not prepared for m. */
const float *nn_prefix_of(const nn_dataset *d, const nn_model *m, size_t i);

#endif
