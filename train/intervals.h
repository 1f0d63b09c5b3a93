/*
 * Intervals of measures: by drawing patients, and DeLong's for the area under the ROC curve.
 *
 * Bootstrap. Patients, not images, are drawn with replacement, as many as there are (all images of a drawn patient enter
 * with it); the values of the images are computed; the 2.5 % and 97.5 % points of NN_DRAWS draws are taken. A draw in
 * which a value is NaN (a class is missing) is left out of that value's interval. Repeatable: fl_rng with the seed.
 *
 * DeLong. With X_i the scores of m positives and Y_j of n negatives, psi = 1, 1/2, 0 for X > Y, X = Y, X < Y:
 *
 *     V10_i = mean over j of psi(X_i, Y_j)     V01_j = mean over i of psi(X_i, Y_j)      theta = mean of either
 *     Var(theta) = S10/m + S01/n + 2 S11/(m n)
 *
 * with sums over patients c of the images they have, m_c positives and n_c negatives, I10 and I01 patients with any, I in all
 * (Obuchowski 1997):
 *
 *     S10 = I10 / ((I10 - 1) m) sum_c (V10_c - m_c theta)^2          S01 likewise
 *     S11 = I / (I - 1) sum_c (V10_c - m_c theta)(V01_c - n_c theta)
 *
 * which is DeLong, DeLong and Clarke-Pearson 1988 when every patient has one image: images of one patient are not
 * independent, and counting them as if they were makes intervals too short. The components come from midranks in
 * O(n log n) (Sun and Xu 2014). The interval is theta +- 1.96 sqrt(Var), cut to [0, 1]. Two models on the same images: the same
 * formulas on the differences of their components.
 */
#ifndef TRAIN_INTERVALS_H
#define TRAIN_INTERVALS_H

#include "base/err.h"
#include <stdint.h>

#define NN_DRAWS 1000

/* A value with its 95 % interval; NaN where there is none, and then reason says why (else NULL). */
typedef struct nn_value {
    double value, low, high;
    const char *reason;
} nn_value;

/* values (n_values) of the images, image i counted times[i] times. */
typedef void (*nn_values)(void *context, double *values, const uint32_t *times);

/*
 * Fills low and high of out (n_values), whose value and reason the caller has set; a value that is NaN keeps its reason.
 * patient (n_images): whose image it is, 0 .. n_patients - 1. Reasons of our own: one patient; a class that is missing in
 * more than half of the draws. FL_EENV: no memory.
 */
fl_code nn_bootstrap(nn_value *out, uint32_t n_values, nn_values values, void *context, const uint32_t *patient,
                     uint32_t n_images, uint32_t n_patients, uint64_t seed, fl_err *err) FL_MUST_USE;

/* The AUROC of scores with DeLong's interval. patient (n): whose image it is, each below n; NULL: every image is a patient
 * of its own. variance may be NULL. */
fl_code nn_delong(nn_value *out, double *variance, const double *score, const uint8_t *positive,
                  const uint32_t *patient, uint32_t n, fl_err *err) FL_MUST_USE;

/* The AUROC of a less that of b. z = difference / sqrt(variance); p: two-sided, of no difference. Where the two rank all
 * pairs alike, the difference is 0 for certain: z 0, p 1. */
typedef struct nn_comparison {
    double a, b;
    nn_value difference; /* in [-1, 1] */
    double variance, z, p;
} nn_comparison;
fl_code nn_delong_compare(nn_comparison *out, const double *a, const double *b, const uint8_t *positive,
                          const uint32_t *patient, uint32_t n, fl_err *err) FL_MUST_USE;

#endif
