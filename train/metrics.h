/*
 * The figure by which a federation is judged, in short: train/report.h has everything.
 *
 * Metrics are about images; the interval is by patients (nn_bootstrap of train/intervals.h).
 */
#ifndef TRAIN_METRICS_H
#define TRAIN_METRICS_H

#include "base/err.h"
#include "train/dataset.h"

#define NN_METRICS_MAX_CLASSES 32

/* Probability that a positive scores above a negative, ties count half (Mann-Whitney). NaN when a class is missing or
 * a score is NaN. Allocates n items; FL_EENV gives NaN too. */
double nn_auroc(const double *score, const uint8_t *positive, size_t n);
double nn_accuracy(const uint32_t *predicted, const uint32_t *labels, size_t n);
/* Mean of the recalls of the classes that occur; recall[c] (may be NULL) is NaN for a class that does not. */
double nn_balanced_accuracy(double *recall, const uint32_t *predicted, const uint32_t *labels, size_t n,
                            uint32_t n_classes);

typedef struct nn_scores {
    const char *metric;      /* "auroc" for two classes and for bit sets, else "balanced_accuracy" */
    double value, low, high; /* of that metric, with its 95 % interval */
    double auroc;            /* two classes: of class 1; else the mean of one-against-rest */
    double balanced_accuracy, accuracy, cross_entropy; /* bit sets: as NN_WHOLE_... of train/report.h */
    double per_class[NN_METRICS_MAX_CLASSES];          /* recall */
    uint32_t n_classes, n_images, n_patients;
} nn_scores;

/* probabilities (n_images, n_classes), for the images of d in order. The predicted class is the first largest. multi: the
 * labels are bit sets, a class is predicted from 1/2 on. FL_EREFUSED: a label that is no class. */
fl_code nn_evaluate(nn_scores *out, const float *probabilities, const nn_dataset *d, uint32_t n_classes, bool multi,
                    uint64_t seed, fl_err *err) FL_MUST_USE;

#endif
