/*
 * nn_noised_auroc - the area under the ROC curve, with its interval, from score histograms that hold noise.
 *
 * a_i positives and b_i negatives in bin i of public edges, each the exact count plus independent noise of variance S2
 * (several hospitals' cells added up: of variance S2 times their number). With k_ij = 1 for i > j, 1/2 for i = j, else 0:
 *
 *     auroc = sum k_ij a_i b_j / (sum a_i  sum b_j)          the binned one: scores in one bin count as ties
 *
 * The interval is the set of values t that a test does not reject (Fieller 1954, for a ratio whose denominator is noisy):
 *
 *     T(t) = sum (k_ij - t) a_i b_j      has the mean 0 at the population's value t, because the noises are independent
 *     T(t)^2 <= 1.96^2 V(t)
 *     V(t) = sum_i (max(a_i, 0) + S2) (sum_j (k_ij - t) b_j)^2 + sum_j (max(b_j, 0) + S2) (sum_i (k_ij - t) a_i)^2
 *
 * V has the variance of drawing these patients (the terms with a_i and b_j: DeLong et al. 1988) and that of the noise (the
 * terms with S2, which hold the noise's product term twice): it errs to the wide side. No random numbers: the same cells
 * give the same interval. t runs over a grid of 1/2000; the ends are those of the accepted values. Where the noise drowns
 * the patients nearly everything is accepted, which is the honest answer: has_signal is false then.
 *
 * Coverage of the population's binned auroc at the nominal 95 %, by simulation: tests/train/test_noised.c.
 */
#ifndef TRAIN_NOISED_H
#define TRAIN_NOISED_H

#include <stdbool.h>
#include <stdint.h>

enum { NN_NOISED_MAX_BINS = 64 };

typedef struct nn_auroc_interval {
    double value;                /* clamped to [0, 1]; NaN without signal */
    double low, high;            /* 95 %; 0 and 1 without signal */
    double positives, negatives; /* the noised sums: may be below 0 */
    bool has_signal; /* both sums are above 3 of their noise's deviations, and the interval is shorter than 0.9 */
} nn_auroc_interval;

/* positives, negatives (bins), 1 .. NN_NOISED_MAX_BINS of them; variance >= 0 of each cell. */
nn_auroc_interval nn_noised_auroc(const int64_t *positives, const int64_t *negatives, uint32_t bins, double variance);

#endif
