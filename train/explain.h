/*
 * nn_explain - which parts of one image speak for a class, as a map.
 *
 * GRADCAM    (Selvaraju et al. 2017) at a layer with a map A (C, H, W), y the logit of the class:
 *
 *                alpha_k = mean over pixels of dy / dA_k        map = max(0, sum_k alpha_k A_k)        (eq. 1 and 2)
 *
 *            Default layer: the last one with more than one pixel, when a convolution stands before it.
 * OCCLUSION  (Zeiler and Fergus 2014) for any model: a grey square (the value 0) of a side of 1/8 of the image, at least 1 pixel, is
 *            moved in steps of half its side; a pixel's value is the mean, over the squares that cover it, of how much the score
 *            falls. Score: log-odds of the class (one label an image), or its logit (bit sets). Values may be below 0: what
 *            speaks against the class. The map has the size of the model's input.
 * AUTO       GRADCAM where there is such a layer, else OCCLUSION: a linear model, or one on fixed features, has no map of
 *            features that were learned.
 *
 * A map says what this model's number hangs on, not where a disease is.
 */
#ifndef TRAIN_EXPLAIN_H
#define TRAIN_EXPLAIN_H

#include "train/model.h"

typedef enum nn_explain_method { NN_EXPLAIN_AUTO, NN_EXPLAIN_GRADCAM, NN_EXPLAIN_OCCLUSION } nn_explain_method;

typedef struct nn_explanation {
    nn_explain_method method; /* never AUTO */
    char layer[NN_MAX_NAME];  /* of GRADCAM; else "" */
    uint32_t H, W;
    float *map; /* (H, W) */
} nn_explanation;

/* image (C, H, W); layer: a name as nn_model_layer gives it, NULL: the default. FL_EREFUSED: no such layer, or it has no
 * map, or the model has none. out is zeroed on failure. */
fl_code nn_explain(nn_explanation *out, const nn_model *m, const float *w, const float *image, uint32_t class,
                   nn_explain_method method, const char *layer, fl_err *err) FL_MUST_USE;
void nn_explanation_fini(nn_explanation *e);

#endif
