/* Chi-squared for the statistical tests. */
#ifndef TESTS_STATISTICS_H
#define TESTS_STATISTICS_H

#include <math.h>
#include <stddef.h>

/*
 * The value that a chi-squared variable of df degrees of freedom passes with probability below 1e-9: Wilson and
 * Hilferty's cube with z = 6.4 (1e-9 is 6.0; their error in the tail is below 0.3 for df >= 3).
 */
static inline double chi_squared_limit(double df)
{
    double cube = 1 - 2 / (9 * df) + 6.4 * sqrt(2 / (9 * df));
    return df * cube * cube * cube;
}

/* Sum of (count - n p)^2 / (n p); p sums to 1. */
static inline double chi_squared(const size_t *count, const double *p, size_t n_bins, double n)
{
    double sum = 0;
    for (size_t i = 0; i < n_bins; i++) {
        double difference = (double)count[i] - n * p[i];
        sum += difference * difference / (n * p[i]);
    }
    return sum;
}

#endif
