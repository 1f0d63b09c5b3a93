#include "train/intervals.h"

#include "base/arena.h"
#include "base/rng.h"
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define QUANTILE 1.959963984540054 /* of the normal law, at 97.5 % */

static fl_code no_memory(fl_err *err)
{
    return fl_fail(err, FL_EENV, "evaluation: out of memory");
}

/* ---- bootstrap -------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* draws (NN_DRAWS), stride apart; sorted (NN_DRAWS) is scratch. */
static void take_interval(nn_value *out, const double *draws, size_t stride, double *sorted)
{
    size_t n = 0;
    for (size_t i = 0; i < NN_DRAWS; i++)
        if (!isnan(draws[i * stride]))
            sorted[n++] = draws[i * stride];
    if (2 * n < NN_DRAWS) {
        out->reason = "most draws of patients lack a class: too few patients for an interval";
        return;
    }
    qsort(sorted, n, sizeof *sorted, by_value);
    out->low = sorted[(size_t)(0.025 * (double)(n - 1) + 0.5)];
    out->high = sorted[(size_t)(0.975 * (double)(n - 1) + 0.5)];
}

fl_code nn_bootstrap(nn_value *out, uint32_t n_values, nn_values values, void *context, const uint32_t *patient,
                     uint32_t n_images, uint32_t n_patients, uint64_t seed, fl_err *err)
{
    fl_rng rng;
    for (uint32_t v = 0; v < n_values; v++) {
        out[v].low = out[v].high = NAN;
        if (n_patients < 2 && !isnan(out[v].value))
            out[v].reason = "there is one patient only: no interval";
    }
    if (n_patients < 2)
        return FL_OK;
    double *draws = malloc(fl_size_mul(fl_size_mul(n_values, NN_DRAWS), sizeof *draws));
    double *sorted = malloc(NN_DRAWS * sizeof *sorted);
    uint32_t *drawn = malloc(fl_size_mul(n_patients, sizeof *drawn));
    uint32_t *times = malloc(fl_size_mul((size_t)n_images + 1, sizeof *times));
    fl_code rc = draws && sorted && drawn && times ? FL_OK : no_memory(err);
    fl_rng_init(&rng, seed, 0);
    for (uint32_t d = 0; rc == FL_OK && d < NN_DRAWS; d++) {
        memset(drawn, 0, n_patients * sizeof *drawn);
        for (uint32_t i = 0; i < n_patients; i++)
            drawn[fl_rng_below(&rng, n_patients)]++;
        for (uint32_t i = 0; i < n_images; i++)
            times[i] = drawn[patient[i]];
        values(context, draws + (size_t)d * n_values, times);
    }
    for (uint32_t v = 0; rc == FL_OK && v < n_values; v++)
        if (!isnan(out[v].value))
            take_interval(&out[v], draws + v, n_values, sorted);
    free(draws);
    free(sorted);
    free(drawn);
    free(times);
    return rc;
}

/* ---- DeLong ----------------------------------------------------------------------------------------------------- */

typedef struct place {
    double score;
    uint32_t image;
} place;

static int by_score(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->score < y->score ? -1 : x->score > y->score;
}

/*
 * v (n): V10 of a positive, V01 of a negative. In sorted order: a positive beats the negatives below its tie and half of
 * those in it, which is its midrank among all less its midrank among the positives. Returns theta.
 */
static double components(double *v, place *sorted, const double *score, const uint8_t *positive, uint32_t n, double m,
                         double k)
{
    double below[2] = {0, 0}, theta = 0; /* negatives, positives so far */
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = (place){score[i], i};
    qsort(sorted, n, sizeof *sorted, by_score);
    for (uint32_t i = 0, next; i < n; i = next) {
        double tied[2] = {0, 0};
        for (next = i; next < n && sorted[next].score == sorted[i].score; next++)
            tied[positive[sorted[next].image] != 0]++;
        for (uint32_t j = i; j < next; j++) {
            const uint32_t at = sorted[j].image;
            v[at] = positive[at] ? (below[0] + tied[0] / 2) / k : 1 - (below[1] + tied[1] / 2) / m;
        }
        theta += tied[1] * (below[0] + tied[0] / 2);
        below[0] += tied[0];
        below[1] += tied[1];
    }
    return theta / (m * k);
}

typedef struct cluster {
    double sum[2], count[2]; /* of V01 and of V10, and of their images */
} cluster;

/* Obuchowski 1997; NaN when a class has fewer than two patients. clusters (n), zeroed. */
static double variance_of(const double *v, double theta, cluster *clusters, const uint8_t *positive,
                          const uint32_t *patient, uint32_t n, double m, double k)
{
    double squares[2] = {0, 0}, products = 0, with[2] = {0, 0}, any = 0;
    for (uint32_t i = 0; i < n; i++) {
        cluster *x = &clusters[patient ? patient[i] : i];
        assert(x < clusters + n);
        x->sum[positive[i] != 0] += v[i];
        x->count[positive[i] != 0]++;
    }
    for (uint32_t c = 0; c < n; c++) {
        const cluster *x = &clusters[c];
        const double off[2] = {x->sum[0] - x->count[0] * theta, x->sum[1] - x->count[1] * theta};
        for (int y = 0; y < 2; y++) {
            squares[y] += off[y] * off[y];
            with[y] += x->count[y] > 0;
        }
        products += off[0] * off[1];
        any += x->count[0] + x->count[1] > 0;
    }
    if (with[0] < 2 || with[1] < 2)
        return NAN;
    const double S10 = with[1] / ((with[1] - 1) * m) * squares[1], S01 = with[0] / ((with[0] - 1) * k) * squares[0];
    const double S11 = any / (any - 1) * products;
    return fmax(S10 / m + S01 / k + 2 * S11 / (m * k), 0);
}

static const char *why_not(const double *score, const uint8_t *positive, uint32_t n, double *m, double *k)
{
    *m = *k = 0;
    for (uint32_t i = 0; i < n; i++) {
        *(positive[i] ? m : k) += 1;
        if (isnan(score[i]))
            return "a score is not a number";
    }
    return n == 0    ? "there are no images"
           : *m == 0 ? "no image has the class"
           : *k == 0 ? "every image has the class"
                     : NULL;
}

static void set_interval(nn_value *out, double variance, double least)
{
    out->low = fmax(least, out->value - QUANTILE * sqrt(variance));
    out->high = fmin(1, out->value + QUANTILE * sqrt(variance));
    if (isnan(variance)) {
        out->low = out->high = NAN;
        out->reason = "a class has one patient only: no interval";
    }
}

/* b NULL: a alone. */
static fl_code delong(nn_comparison *out, const double *a, const double *b, const uint8_t *positive,
                      const uint32_t *patient, uint32_t n, fl_err *err)
{
    double m, k;
    const char *reason = why_not(a, positive, n, &m, &k);
    if (!reason && b)
        reason = why_not(b, positive, n, &m, &k);
    *out = (nn_comparison){NAN, NAN, {NAN, NAN, NAN, reason}, NAN, NAN, NAN};
    if (reason)
        return FL_OK;
    double *v = calloc(n, sizeof *v), *w = calloc(n, sizeof *w);
    place *sorted = calloc(n, sizeof *sorted);
    cluster *clusters = calloc(n, sizeof *clusters);
    fl_code rc = v && w && sorted && clusters ? FL_OK : no_memory(err);
    if (rc == FL_OK) {
        out->a = components(v, sorted, a, positive, n, m, k);
        out->b = b ? components(w, sorted, b, positive, n, m, k) : 0;
        for (uint32_t i = 0; i < n; i++)
            v[i] -= w[i];
        out->difference.value = out->a - out->b;
        out->variance = variance_of(v, out->difference.value, clusters, positive, patient, n, m, k);
        set_interval(&out->difference, out->variance, b ? -1 : 0);
    }
    free(v);
    free(w);
    free(sorted);
    free(clusters);
    return rc;
}

fl_code nn_delong(nn_value *out, double *variance, const double *score, const uint8_t *positive,
                  const uint32_t *patient, uint32_t n, fl_err *err)
{
    nn_comparison c;
    fl_code rc = delong(&c, score, NULL, positive, patient, n, err);
    *out = c.difference;
    if (variance)
        *variance = c.variance;
    return rc;
}

fl_code nn_delong_compare(nn_comparison *out, const double *a, const double *b, const uint8_t *positive,
                          const uint32_t *patient, uint32_t n, fl_err *err)
{
    fl_code rc = delong(out, a, b, positive, patient, n, err);
    if (rc || isnan(out->variance))
        return rc;
    if (out->variance > 0)
        out->z = out->difference.value / sqrt(out->variance);
    else if (out->difference.value == 0)
        out->z = 0;
    else
        out->difference.reason = "every pair is ranked apart in the same way: no test";
    out->p = erfc(fabs(out->z) / sqrt(2));
    return FL_OK;
}
