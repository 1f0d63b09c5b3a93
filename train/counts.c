#include "train/counts.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- what a plan asks for ---------------------------------------------------------------------------------------- */

bool nn_counts_in(const nn_plan *p, uint32_t round)
{
    return dp_counts_in(round, p->metrics_every, p->rounds);
}

uint32_t nn_counts_rounds(const nn_plan *p, uint32_t after)
{
    uint32_t n = 0;
    for (uint32_t round = after + 1; p->metrics_every > 0 && round <= p->rounds; round++)
        n += nn_counts_in(p, round);
    return n;
}

static uint32_t n_histograms(const nn_plan *p)
{
    return !p->metrics_histogram ? 0 : p->n_classes == 2 && !p->multi ? 1 : p->n_classes;
}

static uint32_t n_class_cells(const nn_plan *p)
{
    return !p->metrics_classes ? 0 : p->multi ? 4 * p->n_classes : 2 * p->n_classes;
}

uint32_t nn_counts_partitions(const nn_plan *p)
{
    const uint32_t classes = !p->metrics_classes ? 0 : p->multi ? p->n_classes : 1;
    return p->metrics_every == 0 ? 0 : n_histograms(p) + classes + 2 * p->metrics_quality;
}

nn_counts_layout nn_counts_where(const nn_plan *p)
{
    nn_counts_layout at = {n_histograms(p), p->metrics_bins, UINT32_MAX, n_class_cells(p), UINT32_MAX, UINT32_MAX};
    uint32_t next = 2 * at.n_histograms * at.bins;
    if (p->metrics_classes) {
        at.classes = next;
        next += at.n_class_cells;
    }
    if (p->metrics_quality) {
        at.images = next;
        at.contrast = next + NN_COUNTS_BUCKETS;
    }
    return at;
}

uint32_t nn_counts_cells(const nn_plan *p)
{
    if (p->metrics_every == 0)
        return 0;
    return 2 * n_histograms(p) * p->metrics_bins + n_class_cells(p) + 2 * NN_COUNTS_BUCKETS * p->metrics_quality;
}

uint32_t nn_counts_class(const nn_plan *p, uint32_t histogram)
{
    return p->n_classes == 2 && !p->multi ? 1 : histogram;
}

uint32_t nn_counts_cell_of(const nn_plan *p, uint32_t c, bool is_validation)
{
    const uint32_t first = nn_counts_where(p).classes;
    return first + (p->multi ? 4 * c + 2 * is_validation + 1 : is_validation * p->n_classes + c);
}

void nn_counts_what(char out[64], const nn_plan *p)
{
    snprintf(out, 64, "%s%s%s%s%s", p->metrics_histogram ? "histogram" : "",
             p->metrics_histogram && (p->metrics_classes || p->metrics_quality) ? "+" : "",
             p->metrics_classes ? "classes" : "", p->metrics_classes && p->metrics_quality ? "+" : "",
             p->metrics_quality ? "quality" : "");
}

/* --- counting ---------------------------------------------------------------------------------------------------- */

/* Classes of a patient as bits: the most frequent one of its images; multi-label: those of at least half of them. */
static uint32_t classes_of(const nn_dataset *d, uint32_t patient, const nn_plan *p)
{
    uint32_t count[NN_PLAN_MAX_CLASSES] = {0}, best = 0, set = 0;
    const uint32_t first = d->patient_first[patient], end = d->patient_first[patient + 1];
    for (uint32_t i = first; i < end; i++)
        for (uint32_t c = 0; c < p->n_classes; c++)
            count[c] += p->multi ? d->labels[i] >> c & 1 : d->labels[i] == c;
    for (uint32_t c = 0; c < p->n_classes; c++) {
        best = count[c] >= count[best] ? c : best;
        set |= (uint32_t)(2 * count[c] >= end - first) << c;
    }
    return p->multi ? set : UINT32_C(1) << best;
}

static double score_of(const nn_dataset *d, uint32_t patient, const float *probabilities, uint32_t n_classes,
                       uint32_t c)
{
    double sum = 0;
    const uint32_t first = d->patient_first[patient], end = d->patient_first[patient + 1];
    for (uint32_t i = first; i < end; i++)
        sum += probabilities[(size_t)i * n_classes + c];
    return sum / (end - first);
}

static uint32_t bin_of(double score, uint32_t bins)
{
    if (!(score > 0)) /* a NaN too: every patient has a cell */
        return 0;
    return score >= 1 ? bins - 1 : (uint32_t)(score * bins);
}

static uint32_t bucket_of_images(uint32_t n)
{
    return n <= 1 ? 0 : n == 2 ? 1 : n <= 4 ? 2 : n <= 8 ? 3 : 4;
}

static double contrast_of(const nn_dataset *d, uint32_t image)
{
    const size_t n = nn_dataset_image_size(d);
    const float *x = d->images + image * n;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
    return sqrt(squares / (double)n);
}

static uint32_t bucket_of_contrast(const nn_dataset *d, uint32_t patient)
{
    double sum = 0;
    const uint32_t first = d->patient_first[patient], end = d->patient_first[patient + 1];
    for (uint32_t i = first; i < end; i++)
        sum += contrast_of(d, i);
    const double mean = sum / (end - first);
    return !(mean > 0) ? 0 : mean < 0.25 ? 1 : mean < 0.5 ? 2 : mean < 0.75 ? 3 : 4;
}

static void count_classes(int64_t *cells, const nn_plan *p, uint32_t classes, bool is_validation)
{
    for (uint32_t c = 0; c < p->n_classes; c++) {
        const bool has = classes >> c & 1;
        if (has || p->multi)
            cells[nn_counts_cell_of(p, c, is_validation) - !has]++;
    }
}

void nn_counts_make(int64_t *cells, const nn_plan *p, const nn_dataset *training, const nn_dataset *validation,
                    const float *probabilities)
{
    const nn_counts_layout at = nn_counts_where(p);
    memset(cells, 0, nn_counts_cells(p) * sizeof *cells);
    for (uint32_t i = 0; i < validation->n_patients; i++) {
        const uint32_t classes = classes_of(validation, i, p);
        for (uint32_t h = 0; h < at.n_histograms; h++) {
            const uint32_t c = nn_counts_class(p, h);
            const uint32_t bin = bin_of(score_of(validation, i, probabilities, p->n_classes, c), at.bins);
            cells[(2 * h + (classes >> c & 1)) * at.bins + bin]++;
        }
        if (at.classes != UINT32_MAX)
            count_classes(cells, p, classes, true);
    }
    for (uint32_t i = 0; i < training->n_patients; i++) {
        if (at.classes != UINT32_MAX)
            count_classes(cells, p, classes_of(training, i, p), false);
        if (at.images == UINT32_MAX)
            continue;
        cells[at.images + bucket_of_images(training->patient_first[i + 1] - training->patient_first[i])]++;
        cells[at.contrast + bucket_of_contrast(training, i)]++;
    }
}
