#include "train/metrics.h"
#include "train/report.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>

double nn_auroc(const double *score, const uint8_t *positive, size_t n)
{
    nn_ranking r;
    nn_measured m;
    assert(n <= UINT32_MAX);
    double value = NAN;
    if (nn_ranking_init(&r, score, positive, NULL, (uint32_t)n, 1, NULL) == FL_OK) {
        nn_measure_all(&m, &r, NULL, &nn_default_targets);
        value = m.value[NN_AUROC];
    }
    nn_ranking_fini(&r);
    return value;
}

double nn_accuracy(const uint32_t *predicted, const uint32_t *labels, size_t n)
{
    size_t right = 0;
    for (size_t i = 0; i < n; i++)
        right += predicted[i] == labels[i];
    return n > 0 ? (double)right / (double)n : NAN;
}

double nn_balanced_accuracy(double *recall, const uint32_t *predicted, const uint32_t *labels, size_t n,
                            uint32_t n_classes)
{
    double of[NN_METRICS_MAX_CLASSES] = {0}, right[NN_METRICS_MAX_CLASSES] = {0}, sum = 0, present = 0;
    assert(n_classes <= NN_METRICS_MAX_CLASSES);
    for (size_t i = 0; i < n; i++) {
        assert(labels[i] < n_classes);
        of[labels[i]]++;
        right[labels[i]] += predicted[i] == labels[i];
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

fl_code nn_evaluate(nn_scores *out, const float *probabilities, const nn_dataset *d, uint32_t n_classes, bool multi,
                    uint64_t seed, fl_err *err)
{
    assert(n_classes >= 1 && n_classes <= NN_METRICS_MAX_CLASSES);
    const bool by_auroc = multi || n_classes == 2;
    const nn_whole headline = by_auroc ? NN_WHOLE_AUROC : NN_WHOLE_BALANCED_ACCURACY;
    nn_report *r = calloc(1, sizeof *r);
    uint32_t *patient = calloc((size_t)d->n_images + 1, sizeof *patient);
    fl_code rc = r && patient ? FL_OK : fl_fail(err, FL_EENV, "evaluation: out of memory");
    for (uint32_t p = 0; rc == FL_OK && p < d->n_patients; p++)
        for (uint32_t i = d->patient_first[p]; i < d->patient_first[p + 1]; i++)
            patient[i] = p;
    const nn_judged j = {probabilities, d->labels, patient, d->n_images, d->n_patients, n_classes, multi};
    if (rc == FL_OK)
        rc = nn_report_headline(r, &j, headline, seed, err);
    if (rc == FL_OK) {
        *out = (nn_scores){.metric = nn_whole_name(headline),
                           .value = r->overall[headline].value,
                           .low = r->overall[headline].low,
                           .high = r->overall[headline].high,
                           .auroc = r->overall[NN_WHOLE_AUROC].value,
                           .balanced_accuracy = r->overall[NN_WHOLE_BALANCED_ACCURACY].value,
                           .accuracy = r->overall[NN_WHOLE_ACCURACY].value,
                           .cross_entropy = r->overall[NN_WHOLE_LOG_LOSS].value,
                           .n_classes = n_classes,
                           .n_images = d->n_images,
                           .n_patients = d->n_patients};
        for (uint32_t c = 0; c < n_classes; c++)
            out->per_class[c] = r->of[c].measure[NN_SENSITIVITY].value;
    }
    free(r);
    free(patient);
    return rc;
}
