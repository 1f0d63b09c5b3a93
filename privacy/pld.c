#include "privacy/pld.h"

#include "privacy/gauss.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>

/* sqrt(sum steps / sigma^2), with its rounding */
static dp_bracket total_mu(const dp_segment *segments, size_t n)
{
    double square = 0;
    for (size_t i = 0; i < n; i++)
        square += (double)segments[i].steps / (segments[i].sigma * segments[i].sigma);
    double mu = sqrt(square), slack = mu * ((double)n + 8) * DBL_EPSILON;
    return (dp_bracket){.low = mu - slack, .high = mu + slack};
}

fl_code dp_pld_epsilon(double *low, double *high, const dp_segment *segments, size_t n, double delta, fl_err *err)
{
    assert(n >= 1 && delta > 0 && delta < 1);
    *low = 0;
    *high = INFINITY;
    bool is_gaussian = true;
    for (size_t i = 0; i < n; i++)
        is_gaussian &= segments[i].q == 1;
    if (!is_gaussian && !(n == 1 && segments[0].steps == 1))
        return fl_fail(err, FL_EREFUSED, "bounds: none yet for several steps with sampling: use the Renyi bound");
    dp_bracket mu = total_mu(segments, n);
    if (!(mu.low > 1e-9 && mu.high < 1e9))
        return fl_fail(err, FL_EREFUSED, "bounds: noise multipliers out of range: use the Renyi bound");
    dp_bracket epsilon = dp_gauss_epsilon(segments[0].q, mu, delta);
    *low = epsilon.low;
    *high = epsilon.high;
    return FL_OK;
}
