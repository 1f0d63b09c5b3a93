/* What a round with metrics counts: every patient once in each partition, whatever the patient is like. */
#include "train/counts.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 8, SIZE = SIDE * SIDE };

static fl_err err;

static nn_plan a_plan(uint32_t n_classes)
{
    nn_plan p = {.n_classes = n_classes,
                 .rounds = 20,
                 .metrics_every = 6,
                 .metrics_bins = 10,
                 .metrics_histogram = true,
                 .metrics_classes = true,
                 .metrics_quality = true,
                 .metrics_noise_variance = 100};
    return p;
}

/* Patient k: 1 to 12 images, some without contrast, labels that disagree; `without` is left out. */
static nn_dataset a_dataset(uint32_t n, uint32_t n_classes, uint64_t seed, uint32_t without)
{
    static float images[12 * SIZE];
    nn_dataset d;
    assert_int_equal(nn_dataset_init(&d, 1, SIDE, SIDE, &err), FL_OK);
    for (uint32_t k = 0; k < n; k++) {
        fl_rng r;
        uint32_t labels[12];
        const uint8_t key[32] = {(uint8_t)k, (uint8_t)seed};
        fl_rng_init(&r, seed, k);
        const uint32_t n_images = 1 + (uint32_t)fl_rng_below(&r, 12);
        const double scale = (double)fl_rng_below(&r, 5) / 4;
        for (uint32_t i = 0; i < n_images * SIZE; i++)
            images[i] = (float)(scale * (2 * fl_rng_uniform(&r) - 1));
        for (uint32_t i = 0; i < n_images; i++)
            labels[i] = (uint32_t)fl_rng_below(&r, n_classes);
        if (k != without)
            assert_int_equal(nn_dataset_append_patient(&d, key, images, labels, n_images, &err), FL_OK);
    }
    return d;
}

/* Scores by the patient's key, so that they stay when another patient goes; every eleventh is no number. */
static float *scores_of(const nn_dataset *d, uint32_t n_classes)
{
    float *p = calloc((size_t)d->n_images * n_classes + 1, sizeof *p);
    assert_non_null(p);
    for (uint32_t k = 0; k < d->n_patients; k++)
        for (uint32_t i = d->patient_first[k]; i < d->patient_first[k + 1]; i++)
            for (uint32_t c = 0; c < n_classes; c++) {
                fl_rng r;
                fl_rng_init(&r, d->patient_key[k][0], (i - d->patient_first[k]) * n_classes + c);
                p[(size_t)i * n_classes + c] = d->patient_key[k][0] % 11 == 3 ? NAN : (float)fl_rng_uniform(&r);
            }
    return p;
}

static int64_t total(const int64_t *cells, uint32_t n)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += cells[i];
    return sum;
}

static void each_partition_holds_every_patient_once(void **state)
{
    (void)state;
    for (uint32_t n_classes = 2; n_classes <= 5; n_classes += 3) {
        const nn_plan p = a_plan(n_classes);
        const nn_counts_layout at = nn_counts_where(&p);
        nn_dataset training = a_dataset(70, n_classes, 1, UINT32_MAX),
                   validation = a_dataset(45, n_classes, 2, UINT32_MAX);
        float *scores = scores_of(&validation, n_classes);
        int64_t cells[400];
        assert_true(nn_counts_cells(&p) <= 400);
        assert_int_equal(at.n_histograms, n_classes == 2 ? 1 : n_classes);
        assert_int_equal(nn_counts_partitions(&p), at.n_histograms + 3);
        memset(cells, 0x5a, sizeof cells);
        nn_counts_make(cells, &p, &training, &validation, scores);
        for (uint32_t h = 0; h < at.n_histograms; h++)
            assert_int_equal(total(cells + 2 * (size_t)h * at.bins, 2 * at.bins), 45);
        assert_int_equal(total(cells + at.classes, n_classes), 70);
        assert_int_equal(total(cells + at.classes + n_classes, n_classes), 45);
        assert_int_equal(total(cells + at.images, NN_COUNTS_BUCKETS), 70);
        assert_int_equal(total(cells + at.contrast, NN_COUNTS_BUCKETS), 70);
        assert_int_equal(at.contrast + NN_COUNTS_BUCKETS, nn_counts_cells(&p));
        for (uint32_t h = 0; h < at.n_histograms; h++) /* a patient's label is the same in every partition */
            assert_int_equal(total(cells + (2 * (size_t)h + 1) * at.bins, at.bins),
                             cells[at.classes + n_classes + nn_counts_class(&p, h)]);
        assert_true(cells[at.contrast] > 0 && cells[at.images] > 0 && cells[at.images + 4] > 0);
        free(scores);
        nn_dataset_fini(&training);
        nn_dataset_fini(&validation);
    }
}

/* The sensitivity that the ledger's cost stands on: one patient less moves one cell of each partition by one. */
static void one_patient_moves_one_cell_of_each_partition(void **state)
{
    (void)state;
    for (uint32_t n_classes = 2; n_classes <= 4; n_classes += 2) {
        const nn_plan p = a_plan(n_classes);
        const uint32_t n = nn_counts_cells(&p);
        nn_dataset none = a_dataset(0, n_classes, 1, UINT32_MAX), all = a_dataset(40, n_classes, 2, UINT32_MAX);
        float *scores = scores_of(&all, n_classes);
        int64_t with[400], without[400];
        for (uint32_t k = 0; k < 40; k++) {
            nn_dataset less = a_dataset(40, n_classes, 2, k);
            float *fewer = scores_of(&less, n_classes);
            for (int split = 0; split < 2; split++) {
                int64_t squares = 0;
                nn_counts_make(with, &p, split ? &all : &none, split ? &none : &all, scores);
                nn_counts_make(without, &p, split ? &less : &none, split ? &none : &less, fewer);
                for (uint32_t i = 0; i < n; i++) {
                    assert_true(with[i] - without[i] == 0 || with[i] - without[i] == 1);
                    squares += with[i] - without[i];
                }
                assert_int_equal(squares, split ? 3 : nn_counts_partitions(&p) - 2);
            }
            free(fewer);
            nn_dataset_fini(&less);
        }
        free(scores);
        nn_dataset_fini(&none);
        nn_dataset_fini(&all);
    }
}

static uint64_t sum_of_squares(const int64_t *a, const int64_t *b, uint32_t n)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (uint64_t)((a[i] - b[i]) * (a[i] - b[i]));
    return sum;
}

/* Sets of classes: every class is a partition of its own, and one patient moves one cell of each. */
static void a_patient_with_several_classes_moves_one_cell_of_each_partition(void **state)
{
    (void)state;
    for (uint32_t n_classes = 2; n_classes <= 5; n_classes += 3) {
        nn_plan p = a_plan(n_classes);
        p.multi = true;
        const nn_counts_layout at = nn_counts_where(&p);
        const uint32_t n = nn_counts_cells(&p), both = 2 * n_classes;
        assert_int_equal(nn_counts_partitions(&p), both + 2);
        assert_int_equal(at.n_histograms, n_classes);
        assert_int_equal(at.images, 2 * n_classes * at.bins + 4 * n_classes);
        nn_dataset none = a_dataset(0, 1u << n_classes, 1, UINT32_MAX),
                   all = a_dataset(40, 1u << n_classes, 2, UINT32_MAX);
        float *scores = scores_of(&all, n_classes);
        int64_t with[400], without[400];
        assert_true(n <= 400);
        nn_counts_make(with, &p, &all, &all, scores);
        for (uint32_t c = 0; c < n_classes; c++)
            for (int is_validation = 0; is_validation < 2; is_validation++) {
                const int64_t *cell = with + nn_counts_cell_of(&p, c, is_validation);
                assert_int_equal(cell[0] + cell[-1], 40);
                assert_true(cell[0] > 5 && cell[-1] > 5);
            }
        for (uint32_t k = 0; k < 40; k++) {
            nn_dataset less = a_dataset(40, 1u << n_classes, 2, k);
            float *fewer = scores_of(&less, n_classes);
            nn_counts_make(with, &p, &none, &all, scores);
            nn_counts_make(without, &p, &none, &less, fewer);
            assert_int_equal(sum_of_squares(with, without, n), both);
            nn_counts_make(with, &p, &all, &none, scores);
            nn_counts_make(without, &p, &less, &none, fewer);
            assert_int_equal(sum_of_squares(with, without, n), n_classes + 2);
            free(fewer);
            nn_dataset_fini(&less);
        }
        free(scores);
        nn_dataset_fini(&none);
        nn_dataset_fini(&all);
    }
}

static void empty_splits_count_nobody(void **state)
{
    (void)state;
    const nn_plan p = a_plan(2);
    nn_dataset none = a_dataset(0, 2, 1, UINT32_MAX);
    int64_t cells[100];
    nn_counts_make(cells, &p, &none, &none, NULL);
    assert_int_equal(total(cells, nn_counts_cells(&p)), 0);
    nn_dataset_fini(&none);
}

static void rounds_are_the_first_every_so_manieth_and_the_last(void **state)
{
    (void)state;
    const nn_plan p = a_plan(2);
    char got[64] = "";
    for (uint32_t round = 0; round <= 25; round++)
        if (nn_counts_in(&p, round))
            snprintf(got + strlen(got), sizeof got - strlen(got), " %u", round);
    assert_string_equal(got, " 1 6 12 18 20");
    assert_int_equal(nn_counts_rounds(&p, 0), 5);
    assert_int_equal(nn_counts_rounds(&p, 6), 3);
    assert_int_equal(nn_counts_rounds(&p, 20), 0);
    nn_plan off = {.rounds = 20};
    assert_false(nn_counts_in(&off, 1));
    assert_int_equal(nn_counts_cells(&off), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_partition_holds_every_patient_once),
        cmocka_unit_test(one_patient_moves_one_cell_of_each_partition),
        cmocka_unit_test(a_patient_with_several_classes_moves_one_cell_of_each_partition),
        cmocka_unit_test(empty_splits_count_nobody),
        cmocka_unit_test(rounds_are_the_first_every_so_manieth_and_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
