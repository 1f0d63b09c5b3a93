/*
 * nn_sgd - gradient descent on a whole data set with the engine of the private training, without patients, clip and
 * noise: what privacy is compared with (cordon-bench). Nothing here may ever release anything.
 *
 *     w <- w - learning_rate * mean over the images of d loss / d w
 */
#ifndef TRAIN_SGD_H
#define TRAIN_SGD_H

#include "base/pool.h"
#include "train/dataset.h"
#include "train/model.h"

typedef struct nn_sgd nn_sgd;

/* All is borrowed. FL_EENV: no memory. */
fl_code nn_sgd_create(nn_sgd **out, const nn_model *m, const nn_dataset *d, fl_pool *pool, fl_err *err) FL_MUST_USE;
void nn_sgd_destroy(nn_sgd *s);
/* w (n_weights) is moved. Returns the mean loss at the old w. */
double nn_sgd_step(nn_sgd *s, float *w, double learning_rate);

#endif
