/*
 * One composition for pld.c: a schedule, one way, one grid and one tilt give a bracket for epsilon. Correct for any
 * window; how close depends on it.
 *
 * The one-step laws (pld_law.h) are multiplied by exp(tilt loss) and normalised, which moves the tail that delta lives in
 * to the middle, so that round-off is relative to it. Then the Fourier transform, the power of the number of steps, the
 * product over the segments, and back; on a window of N points, into which the law is folded. What is added to the upper
 * bound, and taken from the lower:
 *
 *   masses       rounded outward, with the library functions' errors (pld_law.h); normalisers may be any numbers
 *   transform    |error of F| <= e for each frequency (dp_fft_error), so |error of F^T| <= T e (|F| + e)^(T-1); with the
 *                powers' own rounding summed over all frequencies, it bounds the error of every mass; the inverse likewise
 *   folding      P(S outside the window) under the tilted law, by Chernoff's bound with the law's own sums
 *   tails cut    their mass counts as infinite loss above, as nothing below
 *   sums, logs   a number of units in the last place that grows with their length
 *   grid         the loss of a step is off the lattice by its `slack`; all steps' together shift epsilon
 */
#ifndef PRIVACY_PLD_COMPOSE_H
#define PRIVACY_PLD_COMPOSE_H

#include "privacy/gauss.h"
#include "privacy/pld_law.h"

/* Equal steps */
typedef struct dp_group {
    double q, sigma, steps;
} dp_group;

typedef struct dp_window {
    double h;    /* distance of points */
    double from; /* loss at the left end */
    unsigned log2_size;
    double tilt_step;             /* tilt * h */
    double right_step, left_step; /* slopes of the tail bounds * h; all three in 26 bits: dp_few_bits */
} dp_window;

typedef struct dp_composed {
    dp_bracket epsilon;
    bool found_low,
        found_high;       /* false: delta is not reached inside the window; low is 0, high what its left end has */
    double noise, folded; /* what round-off of masses, and mass outside the window, moved epsilon.high by, about */
} dp_composed;

/* x rounded to 26 bits: its product with an index below 2^27 is exact. */
double dp_few_bits(double x);

/* max over u > 0 of exp(-tilt u) (1 - exp(-u)): what mass at most weighs in delta */
double dp_largest_weight(double tilt);

/* A step's tails are cut beyond z standard deviations. FL_EREFUSED: beyond what doubles hold. FL_EENV: no memory. */
fl_code dp_compose(dp_composed *out, const dp_group *groups, size_t n, dp_way way, const dp_window *window, double z,
                   double delta, fl_err *err) FL_MUST_USE;

#endif
