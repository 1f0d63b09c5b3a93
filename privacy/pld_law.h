/*
 * The privacy loss of one Poisson-subsampled Gaussian step as a law on a lattice, from above and from below. For pld.c.
 *
 * L(x) = ln(1 - q + q exp((2x - 1) / (2 sigma^2))); M = (1-q) N(0,s^2) + q N(1,s^2). A patient is removed: P = M,
 * Q = N(0,s^2), loss L. Added: P = N(0,s^2), Q = M, loss -L. With Y = dP/dQ and a loss law (P, Q),
 *
 *     delta(e) = E_Q[(Y - exp(e))+]        composition: Y = product of the steps' Y, independent under Q.
 *
 * Write A <= B when E f(A) <= E f(B) for every increasing convex f. Products of independent non-negative variables keep
 * that order, so a one-step law above (below) Y gives a composed delta above (below) the true one, for every e.
 *
 * Points are loss c + i h, y_i = exp(c + i h). Of the bin between two edges, P_b and Q_b are the masses, R = P_b/Q_b.
 *
 *   above   edges at the points. The bin's mass goes to its two ends, keeping P_b and Q_b: a mean-preserving spread of Y
 *           (on the grid: connect the dots, Doroshenko et al. 2022). P-mass beyond the right end counts as infinite loss,
 *           `lost` a step; what lies left of the first edge goes up to point 0.
 *   below   edges half way. The bin collapses to its mean R (Jensen), which lies near y_i, not on it. A bin with R > y_i
 *           goes down to y_i and lifts mass t of point i-1 up to y_i, Q_b (R - y_i) = t (y_i - y_{i-1}): together a
 *           mean-preserving contraction. One with R < y_i goes up, and mass of bin i+1 comes down to pay for it. What the
 *           neighbour cannot pay goes down for nothing. Tails are dropped. All of it lowers in the order above.
 *
 * Both are off by O(h^2): the variance of the loss by h^2/6 above and -h^2/12 below.
 *
 * Rounding. Bins are cut at the doubles r_j ~ exp((2x-1)/2s^2); their masses carry a relative error bound each, from
 * erfc (trusted within 8 ulp) or, in narrow bins, from the midpoint and three derivatives; masses are rounded outward by
 * it, and so is R. The cut is off the lattice by at most `slack`: a step's loss is the law's up to that much.
 */
#ifndef PRIVACY_PLD_LAW_H
#define PRIVACY_PLD_LAW_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dp_way { DP_REMOVE, DP_ADD } dp_way;

/* P-masses of the points first .. first + n - 1, at losses offset + i h */
typedef struct dp_law {
    double offset;
    int64_t first;
    size_t n, capacity;
    double *p;
} dp_law;

/* Half-bins [c + j h/2, c + (j+1) h/2] of L, j = first .. first + n - 1: both laws of both ways are made of them. */
typedef struct dp_cells {
    double q, sigma, h, c;
    double lost;  /* mass under M left of the first half-bin, and right of the last: at most this, each */
    double slack; /* see above */
    int64_t first;
    size_t n, capacity;
    double *rest, *mixed, *error; /* (n) mass under N(0,s^2), under M, and the relative error of both */
} dp_cells;

/* The half-bins that a step needs: its tails beyond z standard deviations are cut. */
double dp_cells_count(double q, double sigma, double h, double z);

/* Fills cells (zeroed at first, reused later). dp_cells_count at most 2^27; 0 < q <= 1. FL_EENV: no memory. */
fl_code dp_cells_fill(dp_cells *cells, double q, double sigma, double h, double z, fl_err *err) FL_MUST_USE;
void dp_cells_fini(dp_cells *cells);

/* The law above or below; law is zeroed at first, reused later, free(law->p) in the end. FL_EENV: no memory. */
fl_code dp_law_above(dp_law *law, const dp_cells *cells, dp_way way, fl_err *err) FL_MUST_USE;
fl_code dp_law_below(dp_law *law, const dp_cells *cells, dp_way way, fl_err *err) FL_MUST_USE;

#endif
