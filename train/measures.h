/*
 * nn_measure - what scores are worth for one yes-or-no question: does this image show the class?
 *
 * n items: a score (the probability of yes, 0 .. 1), the truth, and whether the program says yes. P items are positive and N negative;
 * times[image] counts an item so many times (NULL: once): the bootstrap's draws go through the same code as the values.
 *
 *   auroc                       P(score of a positive > score of a negative) + 1/2 P(equal)    (Mann-Whitney)
 *   average_precision           sum over thresholds k from the top of (R_k - R_k-1) P_k, without interpolation, as
 *                               scikit-learn's average_precision_score; items of equal score share one threshold
 *   sensitivity_at_specificity  the largest TP/P of a threshold (yes: score >= threshold) with TN/N >= the target
 *   specificity_at_sensitivity  the largest TN/N of a threshold with TP/P >= the target
 *   sensitivity, specificity    TP/P, TN/N of what the program says
 *   precision, f1               TP/(TP+FP), 2TP/(2TP+FP+FN); undefined (not 0) when the denominator is 0
 *   balanced_accuracy           (sensitivity + specificity) / 2
 *   accuracy                    (TP+TN)/(P+N)
 *   calibration_error           sum over bins b of |sum of scores - positives| / n: bins of equal width, ((b-1)/B, b/B],
 *                               the first one with 0                                           (Guo et al. 2017, ECE)
 *   adaptive_calibration_error  the same with bins of equal size: an item's bin is floor(B * items above / n); items of
 *                               equal score share one bin, so the order of the items is nothing   (Nixon et al. 2019)
 *   brier                       mean of (score - truth)^2
 *   log_loss                    mean of -log(score of the truth), scores held within [1e-12, 1 - 1e-12]
 *
 * A measure that has no value is NaN, and nn_measure_reason says why in words: never a crash, never a made-up 0.
 * Everything is a pure function; sums are doubles in the order of the scores.
 */
#ifndef TRAIN_MEASURES_H
#define TRAIN_MEASURES_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum nn_measure {
    NN_AUROC,
    NN_AVERAGE_PRECISION,
    NN_SENSITIVITY_AT,
    NN_SPECIFICITY_AT,
    NN_SENSITIVITY,
    NN_SPECIFICITY,
    NN_PRECISION,
    NN_F1,
    NN_BALANCED_ACCURACY,
    NN_ACCURACY,
    NN_CALIBRATION_ERROR,
    NN_ADAPTIVE_CALIBRATION_ERROR,
    NN_BRIER,
    NN_LOG_LOSS,
    NN_N_MEASURES
} nn_measure;

const char *nn_measure_name(nn_measure measure); /* as above */

#define NN_MAX_BINS 100

/* What stands in the definitions above. */
typedef struct nn_targets {
    double specificity, sensitivity; /* in (0, 1]; a threshold that misses by less than 1e-9 meets them */
    uint32_t bins;                   /* B, 1 .. NN_MAX_BINS */
} nn_targets;

extern const nn_targets nn_default_targets; /* 0.9, 0.9, 15 bins */

/* Items sorted by falling score. */
typedef struct nn_ranking {
    struct nn_ranked *items;
    uint32_t n;
    const char *reason; /* why there is nothing to measure: no items, a score that is not a number; else NULL */
} nn_ranking;

/*
 * score, positive (n); says (n): the program's answer, NULL: score >= 1/2. per_image items in a row belong to one image
 * (1, or the number of classes when questions are pooled). FL_EENV: no memory. nn_ranking_fini takes NULL and zeroes.
 */
fl_code nn_ranking_init(nn_ranking *r, const double *score, const uint8_t *positive, const uint8_t *says, uint32_t n,
                        uint32_t per_image, fl_err *err) FL_MUST_USE;
void nn_ranking_fini(nn_ranking *r);

typedef struct nn_measured {
    double value[NN_N_MEASURES];
    double threshold_at_specificity, threshold_at_sensitivity; /* infinite: only by never saying yes; NaN: none */
    double tp, fp, fn, tn;
} nn_measured;

void nn_measure_all(nn_measured *out, const nn_ranking *r, const uint32_t *times, const nn_targets *t);
/* Why out->value[measure] is NaN; NULL when it is a number. */
const char *nn_measure_reason(const nn_ranking *r, const nn_measured *of, nn_measure measure);

/* The area alone. NaN when a class is missing, a score is NaN, or there is no memory. */
double nn_auroc(const double *score, const uint8_t *positive, size_t n);

/* The ROC curve: from (0, 0) at an infinite threshold to (1, 1), one point per distinct score, falling thresholds. points
 * (n + 1). Returns how many; 0 when a class is missing. */
typedef struct nn_roc_point {
    double threshold, fpr, tpr;
} nn_roc_point;
uint32_t nn_roc(nn_roc_point *points, const nn_ranking *r);

#endif
