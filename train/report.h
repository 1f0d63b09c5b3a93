/*
 * nn_report - everything that is said about a model on a set of images: all measures of train/measures.h for each class, over
 * all classes, with 95 % intervals by patients.
 *
 *   classes   each class against the rest, scored by its probability. Said to have it: one label an image: the class of
 *             the largest probability (the first of several); labels that are bit sets: probability >= 1/2.
 *   macro     the mean over the classes of each measure; classes where it is NaN are left out
 *   micro     all pairs (image, class) as one question
 *   overall   accuracy           images whose label, or whole bit set, is what the program says
 *             balanced_accuracy  mean over the classes that occur of the recall (sensitivity); bit sets: of the balanced
 *                                accuracy of the class
 *             auroc, average_precision   two classes, one label an image: of class 1; else macro
 *             calibration_error, adaptive_calibration_error   one label: the largest probability as score for "the
 *                                program is right" (Guo et al. 2017); bit sets: micro
 *             brier              mean over images of the sum over classes of (p - truth)^2 (Brier 1950); bit sets: micro
 *             log_loss           cross-entropy; bit sets: micro
 *   confusion[truth][said]       one label an image
 *
 * The same for any part of the images: nn_report_part. A pure function of its arguments and the seed.
 */
#ifndef TRAIN_REPORT_H
#define TRAIN_REPORT_H

#include "train/intervals.h"
#include "train/measures.h"

#define NN_REPORT_MAX_CLASSES 32

typedef struct nn_judged {
    const float *probabilities; /* (n_images, n_classes) */
    const uint32_t *labels;     /* (n_images): the class, or bit c set: class c is there */
    const uint32_t *patient;    /* (n_images): whose image it is, below n_patients */
    uint32_t n_images, n_patients, n_classes;
    bool multi; /* labels are bit sets */
} nn_judged;

typedef enum nn_whole {
    NN_WHOLE_AUROC,
    NN_WHOLE_AVERAGE_PRECISION,
    NN_WHOLE_BALANCED_ACCURACY,
    NN_WHOLE_ACCURACY,
    NN_WHOLE_CALIBRATION_ERROR,
    NN_WHOLE_ADAPTIVE_CALIBRATION_ERROR,
    NN_WHOLE_BRIER,
    NN_WHOLE_LOG_LOSS,
    NN_N_WHOLE
} nn_whole;
const char *nn_whole_name(nn_whole whole); /* "auroc" */

typedef struct nn_class_report {
    nn_value measure[NN_N_MEASURES];
    nn_value delong; /* the AUROC, with DeLong's interval by patients */
    double threshold_at_specificity, threshold_at_sensitivity;
    uint32_t n_positive, tp, fp, fn, tn;
} nn_class_report;

typedef struct nn_report {
    uint32_t n_images, n_patients, n_classes;
    bool multi;
    nn_targets targets;
    nn_value overall[NN_N_WHOLE];
    nn_value macro[NN_N_MEASURES], micro[NN_N_MEASURES];
    nn_class_report of[NN_REPORT_MAX_CLASSES];
    uint32_t confusion[NN_REPORT_MAX_CLASSES][NN_REPORT_MAX_CLASSES];
} nn_report;

/* FL_EREFUSED: a label that is no class. FL_EENV: no memory. n_classes 1 .. NN_REPORT_MAX_CLASSES. */
fl_code nn_report_make(nn_report *out, const nn_judged *j, const nn_targets *targets, uint64_t seed,
                       fl_err *err) FL_MUST_USE;

/* The same values, but one interval alone, of this figure (AUROC, or balanced accuracy for one label an image), and no
 * DeLong: where many models are judged. Others have NaN for low and high. */
fl_code nn_report_headline(nn_report *out, const nn_judged *j, nn_whole whole, uint64_t seed, fl_err *err) FL_MUST_USE;

/* Of the images whose group is this one (group (n_images)); a hospital, an age band, a view. Patients are counted anew. */
fl_code nn_report_part(nn_report *out, const nn_judged *j, const uint32_t *group, uint32_t which,
                       const nn_targets *targets, uint64_t seed, fl_err *err) FL_MUST_USE;

/* The ROC curve of one class: nn_roc. points (n_images + 1). */
fl_code nn_report_roc(nn_roc_point *points, uint32_t *n_points, const nn_judged *j, uint32_t class,
                      fl_err *err) FL_MUST_USE;

#endif
