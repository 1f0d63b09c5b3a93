#include "train/measures.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define LEAST     1e-12 /* of a probability under a logarithm */
#define TOLERANCE 1e-9

const nn_targets nn_default_targets = {.specificity = 0.9, .sensitivity = 0.9, .bins = 15};

struct nn_ranked {
    double score, loss;
    uint32_t image;
    uint8_t positive, says;
};
typedef struct nn_ranked item;

const char *nn_measure_name(nn_measure measure)
{
    static const char *const names[NN_N_MEASURES] = {
        [NN_AUROC] = "auroc",
        [NN_AVERAGE_PRECISION] = "average_precision",
        [NN_SENSITIVITY_AT] = "sensitivity_at_specificity",
        [NN_SPECIFICITY_AT] = "specificity_at_sensitivity",
        [NN_SENSITIVITY] = "sensitivity",
        [NN_SPECIFICITY] = "specificity",
        [NN_PRECISION] = "precision",
        [NN_F1] = "f1",
        [NN_BALANCED_ACCURACY] = "balanced_accuracy",
        [NN_ACCURACY] = "accuracy",
        [NN_CALIBRATION_ERROR] = "calibration_error",
        [NN_ADAPTIVE_CALIBRATION_ERROR] = "adaptive_calibration_error",
        [NN_BRIER] = "brier",
        [NN_LOG_LOSS] = "log_loss",
    };
    assert(measure < NN_N_MEASURES);
    return names[measure];
}

/* ---- ranking ---------------------------------------------------------------------------------------------------- */

static int by_falling_score(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->image < y->image ? -1 : x->image > y->image;
}

fl_code nn_ranking_init(nn_ranking *r, const double *score, const uint8_t *positive, const uint8_t *says, uint32_t n,
                        uint32_t per_image, fl_err *err)
{
    *r = (nn_ranking){.n = n, .reason = n == 0 ? "there are no images" : NULL};
    assert(per_image >= 1);
    r->items = calloc((size_t)n + 1, sizeof *r->items);
    if (!r->items)
        return fl_fail(err, FL_EENV, "evaluation: out of memory");
    for (uint32_t i = 0; i < n; i++) {
        const double truth = positive[i] ? score[i] : 1 - score[i];
        if (isnan(score[i]))
            r->reason = "a score is not a number";
        r->items[i] = (item){.score = score[i],
                             .loss = -log(fmin(fmax(truth, LEAST), 1 - LEAST)),
                             .image = i / per_image,
                             .positive = positive[i] != 0,
                             .says = says ? says[i] != 0 : score[i] >= 0.5};
    }
    if (!r->reason)
        qsort(r->items, n, sizeof *r->items, by_falling_score);
    return FL_OK;
}

void nn_ranking_fini(nn_ranking *r)
{
    if (!r)
        return;
    free(r->items);
    *r = (nn_ranking){0};
}

/* ---- measuring -------------------------------------------------------------------------------------------------- */

typedef struct totals {
    double P, N;                 /* positives, negatives */
    double tp, fp;               /* of what the program says */
    double squares, losses;      /* sums */
    double apart[NN_MAX_BINS];   /* per bin of equal width: sum of score - truth */
    double apart_a[NN_MAX_BINS]; /* per bin of equal size */
} totals;

static uint32_t width_bin(double score, uint32_t bins)
{
    const double at = ceil(score * bins) - 1;
    return at < 1 ? 0 : at >= bins ? bins - 1 : (uint32_t)at;
}

/* What needs no order, and the total that the bins of equal size need. */
static void count(totals *s, const nn_ranking *r, const uint32_t *times, const nn_targets *t)
{
    for (uint32_t i = 0; i < r->n; i++) {
        const item *x = &r->items[i];
        const double w = times ? times[x->image] : 1, apart = x->score - x->positive;
        if (w == 0)
            continue;
        *(x->positive ? &s->P : &s->N) += w;
        if (x->says)
            *(x->positive ? &s->tp : &s->fp) += w;
        s->squares += w * apart * apart;
        s->losses += w * x->loss;
        s->apart[width_bin(x->score, t->bins)] += w * apart;
    }
}

/* One threshold's items, i up to the returned index: how many positives and negatives share the score. */
static uint32_t tied(const nn_ranking *r, const uint32_t *times, uint32_t i, double *positives, double *negatives)
{
    const double score = r->items[i].score;
    *positives = *negatives = 0;
    for (; i < r->n && r->items[i].score == score; i++)
        *(r->items[i].positive ? positives : negatives) += times ? times[r->items[i].image] : 1;
    return i;
}

static void walk(nn_measured *out, totals *s, const nn_ranking *r, const uint32_t *times, const nn_targets *t)
{
    const bool both = s->P > 0 && s->N > 0;
    double tp = 0, fp = 0, wins = 0, precision = 0, at_specificity = 0, at_sensitivity = NAN;
    out->threshold_at_specificity = both ? INFINITY : NAN;
    for (uint32_t i = 0, next; i < r->n; i = next) {
        const double score = r->items[i].score, total = s->P + s->N;
        double p, n;
        next = tied(r, times, i, &p, &n);
        if (p + n == 0)
            continue;
        const uint32_t bin = (uint32_t)((tp + fp) * t->bins / total);
        s->apart_a[bin < t->bins ? bin : t->bins - 1] += (p + n) * score - p;
        wins += n * (tp + p / 2);
        tp += p;
        fp += n;
        precision += p * tp / (tp + fp);
        if (both && s->N - fp >= (t->specificity - TOLERANCE) * s->N) {
            at_specificity = tp / s->P;
            out->threshold_at_specificity = score;
        }
        if (both && isnan(at_sensitivity) && tp >= (t->sensitivity - TOLERANCE) * s->P) {
            at_sensitivity = (s->N - fp) / s->N;
            out->threshold_at_sensitivity = score;
        }
    }
    if (both) {
        out->value[NN_AUROC] = wins / (s->P * s->N);
        out->value[NN_AVERAGE_PRECISION] = precision / s->P;
        out->value[NN_SENSITIVITY_AT] = at_specificity;
        out->value[NN_SPECIFICITY_AT] = at_sensitivity;
    }
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

static double mean_apart(const double *apart, uint32_t bins, double total)
{
    double sum = 0;
    for (uint32_t b = 0; b < bins; b++)
        sum += fabs(apart[b]);
    return ratio(sum, total);
}

void nn_measure_all(nn_measured *out, const nn_ranking *r, const uint32_t *times, const nn_targets *t)
{
    totals s = {0};
    assert(t->bins >= 1 && t->bins <= NN_MAX_BINS);
    *out = (nn_measured){.threshold_at_specificity = NAN, .threshold_at_sensitivity = NAN};
    for (int m = 0; m < NN_N_MEASURES; m++)
        out->value[m] = NAN;
    if (r->reason)
        return;
    count(&s, r, times, t);
    walk(out, &s, r, times, t);
    const double total = s.P + s.N, tn = s.N - s.fp, fn = s.P - s.tp;
    out->tp = s.tp;
    out->fp = s.fp;
    out->fn = fn;
    out->tn = tn;
    double *v = out->value;
    v[NN_SENSITIVITY] = ratio(s.tp, s.P);
    v[NN_SPECIFICITY] = ratio(tn, s.N);
    v[NN_PRECISION] = ratio(s.tp, s.tp + s.fp);
    v[NN_F1] = ratio(2 * s.tp, 2 * s.tp + s.fp + fn);
    v[NN_BALANCED_ACCURACY] = (v[NN_SENSITIVITY] + v[NN_SPECIFICITY]) / 2;
    v[NN_ACCURACY] = ratio(s.tp + tn, total);
    v[NN_CALIBRATION_ERROR] = mean_apart(s.apart, t->bins, total);
    v[NN_ADAPTIVE_CALIBRATION_ERROR] = mean_apart(s.apart_a, t->bins, total);
    v[NN_BRIER] = ratio(s.squares, total);
    v[NN_LOG_LOSS] = ratio(s.losses, total);
}

const char *nn_measure_reason(const nn_ranking *r, const nn_measured *of, nn_measure measure)
{
    if (!isnan(of->value[measure]))
        return NULL;
    if (r->reason)
        return r->reason;
    if (measure == NN_F1)
        return "no image has the class, and none is said to have it";
    if (of->tp + of->fn == 0 && measure != NN_SPECIFICITY && measure != NN_PRECISION)
        return "no image has the class";
    return measure == NN_PRECISION ? "no image is said to have the class" : "every image has the class";
}

double nn_auroc(const double *score, const uint8_t *positive, size_t n)
{
    nn_ranking r;
    nn_measured m;
    double value = NAN;
    assert(n <= UINT32_MAX);
    if (nn_ranking_init(&r, score, positive, NULL, (uint32_t)n, 1, NULL) == FL_OK) {
        nn_measure_all(&m, &r, NULL, &nn_default_targets);
        value = m.value[NN_AUROC];
    }
    nn_ranking_fini(&r);
    return value;
}

uint32_t nn_roc(nn_roc_point *points, const nn_ranking *r)
{
    uint32_t n_points = 1;
    double tp = 0, fp = 0;
    points[0] = (nn_roc_point){INFINITY, 0, 0};
    for (uint32_t i = 0, next; !r->reason && i < r->n; i = next) {
        double p, n;
        next = tied(r, NULL, i, &p, &n);
        tp += p;
        fp += n;
        points[n_points++] = (nn_roc_point){r->items[i].score, fp, tp};
    }
    if (tp == 0 || fp == 0)
        return 0;
    for (uint32_t i = 0; i < n_points; i++) {
        points[i].fpr /= fp;
        points[i].tpr /= tp;
    }
    return n_points;
}
