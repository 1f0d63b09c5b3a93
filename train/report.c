#include "train/report.h"

#include "base/arena.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>

const char *nn_whole_name(nn_whole whole)
{
    static const nn_measure same[NN_N_WHOLE] = {
        NN_AUROC,    NN_AVERAGE_PRECISION, NN_BALANCED_ACCURACY,
        NN_ACCURACY, NN_CALIBRATION_ERROR, NN_ADAPTIVE_CALIBRATION_ERROR,
        NN_BRIER,    NN_LOG_LOSS,
    };
    return nn_measure_name(same[whole]);
}

/* The questions of a report, in this order: each class, all pairs, "is the program right?" (not for bit sets). */
typedef struct work {
    const nn_judged *j;
    const nn_targets *targets;
    nn_ranking of[NN_REPORT_MAX_CLASSES + 2];
    double *squares, *losses; /* (n_images) of one label an image: what Brier and cross-entropy sum */
    bool *is_right;           /* (n_images) the same */
    double *score;            /* (n_images x n_classes), scratch */
    uint8_t *positive, *says;
    nn_measured measured[NN_REPORT_MAX_CLASSES + 2];
    bool defined[NN_REPORT_MAX_CLASSES][NN_N_MEASURES]; /* of all images */
    int headline;                                       /* nn_whole: it alone has an interval; -1: all have */
} work;

static bool has(const nn_judged *j, uint32_t image, uint32_t class)
{
    return j->multi ? (j->labels[image] >> class & 1) : j->labels[image] == class;
}

static const float *scores_of(const nn_judged *j, uint32_t image)
{
    return j->probabilities + (size_t)image * j->n_classes;
}

static uint32_t largest(const float *p, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t c = 1; c < n; c++)
        best = p[c] > p[best] ? c : best;
    return best;
}

static bool is_said(const nn_judged *j, uint32_t image, uint32_t class)
{
    const float *p = scores_of(j, image);
    return j->multi ? p[class] >= 0.5f : largest(p, j->n_classes) == class;
}

/* ---- the questions ---------------------------------------------------------------------------------------------- */

static fl_code rank_class(work *k, uint32_t c, fl_err *err)
{
    const nn_judged *j = k->j;
    for (uint32_t i = 0; i < j->n_images; i++) {
        k->score[i] = scores_of(j, i)[c];
        k->positive[i] = has(j, i, c);
        k->says[i] = is_said(j, i, c);
    }
    return nn_ranking_init(&k->of[c], k->score, k->positive, k->says, j->n_images, 1, err);
}

static fl_code rank_pairs(work *k, fl_err *err)
{
    const nn_judged *j = k->j;
    const uint32_t C = j->n_classes;
    for (uint32_t i = 0; i < j->n_images; i++) {
        for (uint32_t c = 0; c < C; c++) {
            const size_t at = (size_t)i * C + c;
            k->score[at] = scores_of(j, i)[c];
            k->positive[at] = has(j, i, c);
            k->says[at] = is_said(j, i, c);
        }
    }
    return nn_ranking_init(&k->of[C], k->score, k->positive, k->says, j->n_images * C, C, err);
}

static fl_code rank_rightness(work *k, fl_err *err)
{
    const nn_judged *j = k->j;
    for (uint32_t i = 0; i < j->n_images; i++) {
        const float *p = scores_of(j, i);
        const uint32_t best = largest(p, j->n_classes);
        k->score[i] = p[best];
        k->positive[i] = k->is_right[i] = best == j->labels[i];
        k->squares[i] = 0;
        for (uint32_t c = 0; c < j->n_classes; c++) {
            const double off = p[c] - (double)has(j, i, c);
            k->squares[i] += off * off;
            if (isnan(p[c]))
                k->score[i] = NAN;
        }
        k->losses[i] = -log(fmax(p[j->labels[i]], 1e-12));
    }
    return nn_ranking_init(&k->of[j->n_classes + 1], k->score, k->positive, NULL, j->n_images, 1, err);
}

static fl_code rank_all(work *k, fl_err *err)
{
    for (uint32_t c = 0; c < k->j->n_classes; c++)
        FL_TRY(rank_class(k, c, err));
    FL_TRY(rank_pairs(k, err));
    return k->j->multi ? FL_OK : rank_rightness(k, err);
}

/* ---- values ------------------------------------------------------------------------------------------------------- */

static double mean_of(const double *sums, const uint32_t *times, uint32_t n)
{
    double sum = 0, total = 0;
    for (uint32_t i = 0; i < n; i++) {
        const double w = times ? times[i] : 1;
        sum += w * sums[i];
        total += w;
    }
    return total > 0 ? sum / total : NAN;
}

/* The mean over the classes where all images give a value. A draw that lacks it for one of them has none: its mean would be
 * about other classes. */
static double macro(const work *k, nn_measure m)
{
    double sum = 0, n = 0;
    for (uint32_t c = 0; c < k->j->n_classes; c++) {
        if (!k->defined[c][m])
            continue;
        sum += k->measured[c].value[m];
        n++;
    }
    return n > 0 ? sum / n : NAN;
}

static double exact_matches(const work *k, const uint32_t *times)
{
    double right = 0, total = 0;
    for (uint32_t i = 0; i < k->j->n_images; i++) {
        const double w = times ? times[i] : 1;
        bool same = true;
        for (uint32_t c = 0; w > 0 && same && c < k->j->n_classes; c++)
            same = has(k->j, i, c) == is_said(k->j, i, c);
        right += same ? w : 0;
        total += w;
    }
    return total > 0 ? right / total : NAN;
}

static void overall(double v[NN_N_WHOLE], const work *k, const uint32_t *times)
{
    const nn_judged *j = k->j;
    const bool two = !j->multi && j->n_classes == 2;
    const double *pooled = k->measured[j->n_classes].value;
    v[NN_WHOLE_AUROC] = two ? k->measured[1].value[NN_AUROC] : macro(k, NN_AUROC);
    v[NN_WHOLE_AVERAGE_PRECISION] = two ? k->measured[1].value[NN_AVERAGE_PRECISION] : macro(k, NN_AVERAGE_PRECISION);
    if (j->multi) {
        v[NN_WHOLE_BALANCED_ACCURACY] = macro(k, NN_BALANCED_ACCURACY);
        v[NN_WHOLE_ACCURACY] = k->of[0].reason ? NAN : exact_matches(k, times);
        v[NN_WHOLE_CALIBRATION_ERROR] = pooled[NN_CALIBRATION_ERROR];
        v[NN_WHOLE_ADAPTIVE_CALIBRATION_ERROR] = pooled[NN_ADAPTIVE_CALIBRATION_ERROR];
        v[NN_WHOLE_BRIER] = pooled[NN_BRIER];
        v[NN_WHOLE_LOG_LOSS] = pooled[NN_LOG_LOSS];
        return;
    }
    const nn_measured *r = &k->measured[j->n_classes + 1];
    const bool none = k->of[j->n_classes + 1].reason != NULL;
    v[NN_WHOLE_BALANCED_ACCURACY] = macro(k, NN_SENSITIVITY);
    v[NN_WHOLE_ACCURACY] = none ? NAN : (r->tp + r->fn) / (r->tp + r->fp + r->fn + r->tn);
    v[NN_WHOLE_CALIBRATION_ERROR] = r->value[NN_CALIBRATION_ERROR];
    v[NN_WHOLE_ADAPTIVE_CALIBRATION_ERROR] = r->value[NN_ADAPTIVE_CALIBRATION_ERROR];
    v[NN_WHOLE_BRIER] = none ? NAN : mean_of(k->squares, times, j->n_images);
    v[NN_WHOLE_LOG_LOSS] = none ? NAN : mean_of(k->losses, times, j->n_images);
}

/* The one number of nn_report_headline, without the others: for data sets of many images and classes. */
static void headline(void *context, double *v, const uint32_t *times)
{
    work *k = context;
    const nn_judged *j = k->j;
    if (k->headline == NN_WHOLE_AUROC) {
        for (uint32_t c = !j->multi && j->n_classes == 2; c < j->n_classes; c++)
            nn_measure_all(&k->measured[c], &k->of[c], times, k->targets);
        *v = !j->multi && j->n_classes == 2 ? k->measured[1].value[NN_AUROC] : macro(k, NN_AUROC);
        return;
    }
    double of[NN_REPORT_MAX_CLASSES] = {0}, right[NN_REPORT_MAX_CLASSES] = {0};
    for (uint32_t i = 0; i < j->n_images; i++) {
        of[j->labels[i]] += times[i];
        right[j->labels[i]] += k->is_right[i] ? times[i] : 0;
    }
    for (uint32_t c = 0; c < j->n_classes; c++)
        k->measured[c].value[NN_SENSITIVITY] = of[c] > 0 ? right[c] / of[c] : NAN;
    *v = macro(k, NN_SENSITIVITY);
}

/* All numbers with an interval, one after the other: classes, micro, macro, overall. */
static void values(void *context, double *v, const uint32_t *times)
{
    work *k = context;
    const uint32_t C = k->j->n_classes, n_questions = C + (k->j->multi ? 1 : 2);
    for (uint32_t q = 0; q < n_questions; q++)
        nn_measure_all(&k->measured[q], &k->of[q], times, k->targets);
    for (uint32_t c = 0; !times && c < C; c++)
        for (int m = 0; m < NN_N_MEASURES; m++)
            k->defined[c][m] = !isnan(k->measured[c].value[m]);
    for (uint32_t q = 0; q <= C; q++)
        for (int m = 0; m < NN_N_MEASURES; m++)
            *v++ = k->measured[q].value[m];
    for (int m = 0; m < NN_N_MEASURES; m++)
        *v++ = macro(k, (nn_measure)m);
    overall(v, k, times);
}

static uint32_t n_values(const nn_judged *j)
{
    return (j->n_classes + 2) * NN_N_MEASURES + NN_N_WHOLE;
}

/* ---- the report ----------------------------------------------------------------------------------------------------- */

static const char *reason_of(const work *k, uint32_t at)
{
    const uint32_t C = k->j->n_classes, q = at / NN_N_MEASURES;
    if (k->of[0].reason)
        return k->of[0].reason;
    if (q <= C)
        return nn_measure_reason(&k->of[q], &k->measured[q], (nn_measure)(at % NN_N_MEASURES));
    return "it has no value for any class";
}

static void fill_counts(nn_report *out, const work *k)
{
    const uint32_t C = k->j->n_classes;
    for (uint32_t c = 0; c < C; c++) {
        nn_class_report *r = &out->of[c];
        const nn_measured *m = &k->measured[c];
        r->threshold_at_specificity = m->threshold_at_specificity;
        r->threshold_at_sensitivity = m->threshold_at_sensitivity;
        r->tp = (uint32_t)m->tp;
        r->fp = (uint32_t)m->fp;
        r->fn = (uint32_t)m->fn;
        r->tn = (uint32_t)m->tn;
        for (uint32_t i = 0; i < k->j->n_images; i++)
            r->n_positive += has(k->j, i, c);
    }
    for (uint32_t i = 0; !k->j->multi && !k->of[0].reason && i < k->j->n_images; i++)
        out->confusion[k->j->labels[i]][largest(scores_of(k->j, i), C)]++;
}

static void fill_values(nn_report *out, const work *k, const nn_value *all)
{
    const uint32_t C = k->j->n_classes;
    for (uint32_t q = 0; q < C + 2; q++)
        for (int m = 0; m < NN_N_MEASURES; m++)
            *(q < C ? &out->of[q].measure[m] : q == C ? &out->micro[m] : &out->macro[m]) = *all++;
    for (int w = 0; w < NN_N_WHOLE; w++)
        out->overall[w] = *all++;
}

static fl_code delong_all(nn_report *out, work *k, fl_err *err)
{
    const nn_judged *j = k->j;
    for (uint32_t c = 0; c < j->n_classes; c++) {
        for (uint32_t i = 0; i < j->n_images; i++) {
            k->score[i] = scores_of(j, i)[c];
            k->positive[i] = has(j, i, c);
        }
        FL_TRY(nn_delong(&out->of[c].delong, NULL, k->score, k->positive, j->patient, j->n_images, err));
    }
    return FL_OK;
}

static fl_code measure(nn_report *out, work *k, nn_value *all, double *v, uint64_t seed, fl_err *err)
{
    const nn_judged *j = k->j;
    FL_TRY(rank_all(k, err));
    values(k, v, NULL);
    for (uint32_t i = 0; i < n_values(j); i++)
        all[i] = (nn_value){v[i], NAN, NAN, isnan(v[i]) ? reason_of(k, i) : NULL};
    fill_counts(out, k); /* before the draws overwrite k->measured */
    if (k->headline >= 0)
        FL_TRY(nn_bootstrap(all + n_values(j) - NN_N_WHOLE + k->headline, 1, headline, k, j->patient, j->n_images,
                            j->n_patients, seed, err));
    else
        FL_TRY(nn_bootstrap(all, n_values(j), values, k, j->patient, j->n_images, j->n_patients, seed, err));
    fill_values(out, k, all);
    return k->headline >= 0 ? FL_OK : delong_all(out, k, err);
}

static fl_code check(const nn_judged *j, fl_err *err)
{
    assert(j->n_classes >= 1 && j->n_classes <= NN_REPORT_MAX_CLASSES);
    for (uint32_t i = 0; i < j->n_images; i++) {
        assert(j->patient[i] < j->n_patients);
        if (j->multi ? j->n_classes < 32 && j->labels[i] >> j->n_classes : j->labels[i] >= j->n_classes)
            return fl_fail(err, FL_EREFUSED, "evaluation: a label is %u, the model has %u classes", j->labels[i],
                           j->n_classes);
    }
    if ((uint64_t)j->n_images * j->n_classes > UINT32_MAX)
        return fl_fail(err, FL_EREFUSED, "evaluation: more than %u pairs of image and class", UINT32_MAX);
    return FL_OK;
}

static fl_code make(nn_report *out, const nn_judged *j, const nn_targets *targets, int headline_only, uint64_t seed,
                    fl_err *err)
{
    *out = (nn_report){.n_images = j->n_images,
                       .n_patients = j->n_patients,
                       .n_classes = j->n_classes,
                       .multi = j->multi,
                       .targets = *targets};
    FL_TRY(check(j, err));
    const size_t n = (size_t)j->n_images + 1, pairs = n * j->n_classes;
    work *k = calloc(1, sizeof *k);
    nn_value *all = calloc(n_values(j), sizeof *all);
    double *v = calloc(n_values(j), sizeof *v);
    fl_code rc = FL_OK;
    if (k) {
        k->j = j;
        k->targets = targets;
        k->headline = headline_only;
        k->is_right = calloc(n, sizeof *k->is_right);
        k->squares = calloc(n, sizeof *k->squares);
        k->losses = calloc(n, sizeof *k->losses);
        k->score = calloc(pairs, sizeof *k->score);
        k->positive = calloc(pairs, sizeof *k->positive);
        k->says = calloc(pairs, sizeof *k->says);
    }
    if (!k || !all || !v || !k->is_right || !k->squares || !k->losses || !k->score || !k->positive || !k->says)
        rc = fl_fail(err, FL_EENV, "evaluation: out of memory");
    if (rc == FL_OK)
        rc = measure(out, k, all, v, seed, err);
    for (uint32_t q = 0; k && q < j->n_classes + 2; q++)
        nn_ranking_fini(&k->of[q]);
    if (k) {
        free(k->is_right);
        free(k->squares);
        free(k->losses);
        free(k->score);
        free(k->positive);
        free(k->says);
    }
    free(k);
    free(all);
    free(v);
    return rc;
}

fl_code nn_report_make(nn_report *out, const nn_judged *j, const nn_targets *targets, uint64_t seed, fl_err *err)
{
    return make(out, j, targets, -1, seed, err);
}

fl_code nn_report_headline(nn_report *out, const nn_judged *j, nn_whole whole, uint64_t seed, fl_err *err)
{
    assert(whole == NN_WHOLE_AUROC || (whole == NN_WHOLE_BALANCED_ACCURACY && !j->multi));
    return make(out, j, &nn_default_targets, (int)whole, seed, err);
}

/* ---- a part, a curve ------------------------------------------------------------------------------------------------ */

typedef struct part {
    float *probabilities;
    uint32_t *labels, *patient, *number; /* number (n_patients): of a patient in the part, from 1 */
    nn_judged judged;
} part;

static void collect(part *p, const nn_judged *j, const uint32_t *group, uint32_t which)
{
    p->judged = (nn_judged){.probabilities = p->probabilities,
                            .labels = p->labels,
                            .patient = p->patient,
                            .n_classes = j->n_classes,
                            .multi = j->multi};
    for (uint32_t i = 0; i < j->n_images; i++) {
        if (group[i] != which)
            continue;
        uint32_t *number = &p->number[j->patient[i]], at = p->judged.n_images++;
        if (*number == 0)
            *number = ++p->judged.n_patients;
        for (uint32_t c = 0; c < j->n_classes; c++)
            p->probabilities[(size_t)at * j->n_classes + c] = scores_of(j, i)[c];
        p->labels[at] = j->labels[i];
        p->patient[at] = *number - 1;
    }
}

fl_code nn_report_part(nn_report *out, const nn_judged *j, const uint32_t *group, uint32_t which,
                       const nn_targets *targets, uint64_t seed, fl_err *err)
{
    const size_t n = (size_t)j->n_images + 1;
    part p = {.probabilities = calloc(fl_size_mul(n, j->n_classes), sizeof(float)),
              .labels = calloc(n, sizeof(uint32_t)),
              .patient = calloc(n, sizeof(uint32_t)),
              .number = calloc((size_t)j->n_patients + 1, sizeof(uint32_t))};
    fl_code rc = FL_OK;
    if (!p.probabilities || !p.labels || !p.patient || !p.number)
        rc = fl_fail(err, FL_EENV, "evaluation: out of memory");
    if (rc == FL_OK) {
        collect(&p, j, group, which);
        rc = nn_report_make(out, &p.judged, targets, seed, err);
    }
    free(p.probabilities);
    free(p.labels);
    free(p.patient);
    free(p.number);
    return rc;
}

fl_code nn_report_roc(nn_roc_point *points, uint32_t *n_points, const nn_judged *j, uint32_t class, fl_err *err)
{
    nn_ranking r = {0};
    const size_t n = (size_t)j->n_images + 1;
    double *score = calloc(n, sizeof *score);
    uint8_t *positive = calloc(n, sizeof *positive);
    fl_code rc = score && positive ? FL_OK : fl_fail(err, FL_EENV, "evaluation: out of memory");
    for (uint32_t i = 0; rc == FL_OK && i < j->n_images; i++) {
        score[i] = scores_of(j, i)[class];
        positive[i] = has(j, i, class);
    }
    if (rc == FL_OK)
        rc = nn_ranking_init(&r, score, positive, NULL, j->n_images, 1, err);
    *n_points = rc == FL_OK ? nn_roc(points, &r) : 0;
    nn_ranking_fini(&r);
    free(score);
    free(positive);
    return rc;
}
