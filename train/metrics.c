#include "train/metrics.h"
#include "base/rng.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_DRAWS 1000

typedef struct scored {
    double score;
    uint32_t image;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return x->image < y->image ? -1 : x->image > y->image;
}

/* AUROC of images sorted by score, image i counted times[i] times (NULL: once). */
static double sorted_auroc(const scored *sorted, size_t n, const uint8_t *positive, const uint32_t *times)
{
    double n_positive = 0, n_negative = 0, wins = 0; /* wins: (positive, negative) pairs in order, ties half */
    for (size_t i = 0; i < n;) {
        double tied_positive = 0, tied_negative = 0;
        size_t j = i;
        for (; j < n && sorted[j].score == sorted[i].score; j++) {
            double count = times ? times[sorted[j].image] : 1;
            if (positive[sorted[j].image])
                tied_positive += count;
            else
                tied_negative += count;
        }
        wins += tied_positive * (n_negative + tied_negative / 2);
        n_positive += tied_positive;
        n_negative += tied_negative;
        i = j;
    }
    return n_positive > 0 && n_negative > 0 ? wins / (n_positive * n_negative) : NAN;
}

/* false when a score is NaN */
static bool sort_scores(scored *sorted, const double *score, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (isnan(score[i]))
            return false;
        sorted[i] = (scored){score[i], (uint32_t)i};
    }
    qsort(sorted, n, sizeof *sorted, by_score);
    return true;
}

double nn_auroc(const double *score, const uint8_t *positive, size_t n)
{
    assert(n <= UINT32_MAX);
    scored *sorted = calloc(n + 1, sizeof *sorted);
    double value = sorted && sort_scores(sorted, score, n) ? sorted_auroc(sorted, n, positive, NULL) : NAN;
    free(sorted);
    return value;
}

double nn_accuracy(const uint32_t *predicted, const uint32_t *labels, size_t n)
{
    size_t right = 0;
    for (size_t i = 0; i < n; i++)
        right += predicted[i] == labels[i];
    return n > 0 ? (double)right / (double)n : NAN;
}

static double weighted_balanced(double *recall, const uint32_t *predicted, const uint32_t *labels, size_t n,
                                uint32_t n_classes, const uint32_t *times)
{
    double of[NN_METRICS_MAX_CLASSES] = {0}, right[NN_METRICS_MAX_CLASSES] = {0}, sum = 0, present = 0;
    assert(n_classes <= NN_METRICS_MAX_CLASSES);
    for (size_t i = 0; i < n; i++) {
        double count = times ? times[i] : 1;
        assert(labels[i] < n_classes);
        of[labels[i]] += count;
        if (predicted[i] == labels[i])
            right[labels[i]] += count;
    }
    for (uint32_t c = 0; c < n_classes; c++) {
        if (recall)
            recall[c] = of[c] > 0 ? right[c] / of[c] : NAN;
        if (of[c] > 0) {
            sum += right[c] / of[c];
            present++;
        }
    }
    return present > 0 ? sum / present : NAN;
}

double nn_balanced_accuracy(double *recall, const uint32_t *predicted, const uint32_t *labels, size_t n,
                            uint32_t n_classes)
{
    return weighted_balanced(recall, predicted, labels, n, n_classes, NULL);
}

/* --- everything at once ---------------------------------------------------------------------------------------- */

typedef struct work {
    double *score;
    uint8_t *positive;
    scored *sorted;
    uint32_t *predicted, *times;
    double draws[N_DRAWS];
} work;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bool has_all_classes(const nn_dataset *d, uint32_t n_classes, const uint32_t *times)
{
    bool seen[NN_METRICS_MAX_CLASSES] = {false};
    for (uint32_t i = 0; i < d->n_images; i++) {
        if (times[i] > 0)
            seen[d->labels[i]] = true;
    }
    for (uint32_t c = 0; c < n_classes; c++) {
        if (!seen[c])
            return false;
    }
    return true;
}

static void bootstrap(nn_scores *out, work *k, const nn_dataset *d, uint32_t n_classes, uint64_t seed)
{
    fl_rng rng;
    size_t n_draws = 0;
    fl_rng_init(&rng, seed, 0);
    for (int draw = 0; draw < N_DRAWS && d->n_patients > 0; draw++) {
        memset(k->times, 0, d->n_images * sizeof *k->times);
        for (uint32_t i = 0; i < d->n_patients; i++) {
            uint32_t p = (uint32_t)fl_rng_below(&rng, d->n_patients);
            for (uint32_t j = d->patient_first[p]; j < d->patient_first[p + 1]; j++)
                k->times[j]++;
        }
        if (!has_all_classes(d, n_classes, k->times))
            continue;
        double value = n_classes == 2
                           ? sorted_auroc(k->sorted, d->n_images, k->positive, k->times)
                           : weighted_balanced(NULL, k->predicted, d->labels, d->n_images, n_classes, k->times);
        if (!isnan(value))
            k->draws[n_draws++] = value;
    }
    qsort(k->draws, n_draws, sizeof k->draws[0], by_value);
    out->low = n_draws > 0 ? k->draws[(size_t)(0.025 * (double)(n_draws - 1) + 0.5)] : NAN;
    out->high = n_draws > 0 ? k->draws[(size_t)(0.975 * (double)(n_draws - 1) + 0.5)] : NAN;
}

/* AUROC of class c against the others; leaves score, positive and sorted filled with it. */
static double one_against_rest(work *k, const float *probabilities, const nn_dataset *d, uint32_t n_classes, uint32_t c)
{
    for (uint32_t i = 0; i < d->n_images; i++) {
        k->score[i] = probabilities[(size_t)i * n_classes + c];
        k->positive[i] = d->labels[i] == c;
    }
    return sort_scores(k->sorted, k->score, d->n_images) ? sorted_auroc(k->sorted, d->n_images, k->positive, NULL)
                                                         : NAN;
}

static void predict_classes(nn_scores *out, work *k, const float *probabilities, const nn_dataset *d,
                            uint32_t n_classes)
{
    double loss = 0;
    for (uint32_t i = 0; i < d->n_images; i++) {
        const float *p = probabilities + (size_t)i * n_classes;
        uint32_t best = 0;
        for (uint32_t c = 1; c < n_classes; c++)
            best = p[c] > p[best] ? c : best;
        k->predicted[i] = best;
        loss -= log(fmax(p[d->labels[i]], 1e-12));
    }
    out->cross_entropy = d->n_images > 0 ? loss / d->n_images : NAN;
}

static void evaluate(nn_scores *out, work *k, const float *probabilities, const nn_dataset *d, uint32_t n_classes,
                     uint64_t seed)
{
    *out = (nn_scores){.n_classes = n_classes, .n_images = d->n_images, .n_patients = d->n_patients};
    predict_classes(out, k, probabilities, d, n_classes);
    out->accuracy = nn_accuracy(k->predicted, d->labels, d->n_images);
    out->balanced_accuracy = nn_balanced_accuracy(out->per_class, k->predicted, d->labels, d->n_images, n_classes);
    double sum = 0, present = 0;
    for (uint32_t c = n_classes == 2 ? 1 : 0; c < n_classes; c++) {
        double value = one_against_rest(k, probabilities, d, n_classes, c);
        if (!isnan(value)) {
            sum += value;
            present++;
        }
    }
    out->auroc = present > 0 ? sum / present : NAN;
    out->metric = n_classes == 2 ? "auroc" : "balanced_accuracy";
    out->value = n_classes == 2 ? out->auroc : out->balanced_accuracy;
    if (n_classes == 2 && isnan(out->auroc))
        out->low = out->high = NAN;
    else
        bootstrap(out, k, d, n_classes, seed);
}

fl_code nn_evaluate(nn_scores *out, const float *probabilities, const nn_dataset *d, uint32_t n_classes, uint64_t seed,
                    fl_err *err)
{
    assert(n_classes >= 2 && n_classes <= NN_METRICS_MAX_CLASSES);
    size_t n = (size_t)d->n_images + 1;
    work *k = calloc(1, sizeof *k);
    fl_code rc = FL_OK;
    if (k) {
        k->score = calloc(n, sizeof *k->score);
        k->positive = calloc(n, sizeof *k->positive);
        k->sorted = calloc(n, sizeof *k->sorted);
        k->predicted = calloc(n, sizeof *k->predicted);
        k->times = calloc(n, sizeof *k->times);
    }
    for (uint32_t i = 0; i < d->n_images; i++) {
        if (d->labels[i] >= n_classes)
            rc = fl_fail(err, FL_EREFUSED, "evaluation: a label is %u, the model has %u classes", d->labels[i],
                         n_classes);
    }
    if (!k || !k->score || !k->positive || !k->sorted || !k->predicted || !k->times)
        rc = fl_fail(err, FL_EENV, "evaluation: out of memory");
    if (rc == FL_OK)
        evaluate(out, k, probabilities, d, n_classes, seed);
    if (k) {
        free(k->score);
        free(k->positive);
        free(k->sorted);
        free(k->predicted);
        free(k->times);
    }
    free(k);
    return rc;
}
