/* nn_predict - class probabilities of every image of a data set; images are spread over the pool's threads, each is
 * computed alone, so the result does not depend on their number. */
#ifndef TRAIN_PREDICT_H
#define TRAIN_PREDICT_H

#include "base/pool.h"
#include "train/dataset.h"
#include "train/model.h"

/* From logits (n_classes) to probabilities, which may be the same array: the softmax, or, for a model that is aimed at bit
 * sets (NN_LOSS_BINARY), the logistic function of each. NaN in gives equal probabilities; 1/2 for bit sets. */
void nn_probabilities(float *p, const nn_model *m, const float *logits);

/* probabilities (n_images, n_classes). The data set's shape must be the model's (FL_EREFUSED). */
fl_code nn_predict(float *probabilities, const nn_model *m, const float *weights, const nn_dataset *d, fl_pool *pool,
                   fl_err *err) FL_MUST_USE;

/* The same for many calls: weights are packed once and memory is taken once. One call at a time. The model, the weights
 * (n_weights) and the pool are borrowed. */
typedef struct nn_predictor nn_predictor;
fl_code nn_predictor_create(nn_predictor **out, const nn_model *m, const float *weights, fl_pool *pool,
                            fl_err *err) FL_MUST_USE;
void nn_predictor_destroy(nn_predictor *p);
fl_code nn_predictor_run(nn_predictor *p, float *probabilities, const nn_dataset *d, fl_err *err) FL_MUST_USE;

#endif
