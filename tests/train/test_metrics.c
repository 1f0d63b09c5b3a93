/* Metrics against slow definitions; intervals; prediction. */
#include "base/rng.h"
#include "train/metrics.h"
#include "train/predict.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void auroc_counts_pairs_and_halves_ties(void **state)
{
    (void)state;
    fl_rng rng;
    fl_rng_init(&rng, 1, 1);
    for (int trial = 0; trial < 50; trial++) {
        double score[40], wins = 0, pairs = 0;
        uint8_t positive[40];
        size_t n = 2 + fl_rng_below(&rng, 39);
        for (size_t i = 0; i < n; i++) {
            score[i] = (double)fl_rng_below(&rng, 7); /* many ties */
            positive[i] = i == 0 ? 1 : i == 1 ? 0 : fl_rng_below(&rng, 2) == 1;
        }
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                if (!positive[i] || positive[j])
                    continue;
                pairs++;
                wins += score[i] > score[j] ? 1 : score[i] == score[j] ? 0.5 : 0;
            }
        }
        assert_true(fabs(nn_auroc(score, positive, n) - wins / pairs) < 1e-12);
    }
}

static void auroc_without_both_classes_is_nan(void **state)
{
    (void)state;
    double score[3] = {1, 2, 3};
    uint8_t all[3] = {1, 1, 1}, none[3] = {0, 0, 0}, some[3] = {0, 1, 1};
    assert_true(isnan(nn_auroc(score, all, 3)));
    assert_true(isnan(nn_auroc(score, none, 3)));
    assert_true(isnan(nn_auroc(score, some, 0)));
    assert_true(nn_auroc(score, some, 3) == 1);
    score[1] = NAN;
    assert_true(isnan(nn_auroc(score, some, 3)));
}

static void balanced_accuracy_is_the_mean_recall_of_classes_that_occur(void **state)
{
    (void)state;
    const uint32_t labels[8] = {0, 0, 0, 0, 1, 1, 3, 3}, predicted[8] = {0, 0, 0, 1, 1, 2, 3, 0};
    double recall[4];
    assert_true(fabs(nn_balanced_accuracy(recall, predicted, labels, 8, 4) - (0.75 + 0.5 + 0.5) / 3) < 1e-15);
    assert_true(recall[0] == 0.75 && recall[1] == 0.5 && isnan(recall[2]) && recall[3] == 0.5);
    assert_true(nn_accuracy(predicted, labels, 8) == 5.0 / 8);
    assert_true(isnan(nn_accuracy(predicted, labels, 0)));
}

/* n patients of k images; the score of a positive is higher by `apart` standard deviations. */
static nn_dataset scored_patients(float **probabilities, uint32_t n, uint32_t k, double apart, uint32_t n_classes)
{
    nn_dataset d;
    fl_err err;
    fl_rng rng;
    fl_rng_init(&rng, n * 10 + k, 2);
    assert_int_equal(nn_dataset_init(&d, 1, 1, 1, &err), FL_OK);
    *probabilities = calloc((size_t)n * k * n_classes, sizeof(float));
    for (uint32_t p = 0; p < n; p++) {
        uint8_t key[32] = {(uint8_t)p};
        float images[64] = {0};
        uint32_t labels[64], label = (uint32_t)fl_rng_below(&rng, n_classes);
        double score = 1 / (1 + exp(-fl_rng_normal(&rng) - (label == 1 ? apart : 0)));
        for (uint32_t i = 0; i < k; i++) {
            float *at = *probabilities + ((size_t)p * k + i) * n_classes;
            labels[i] = label;
            for (uint32_t c = 0; c < n_classes; c++)
                at[c] = (float)(c == 1 ? score : (1 - score) / (n_classes - 1));
        }
        assert_int_equal(nn_dataset_append_patient(&d, key, images, labels, k, &err), FL_OK);
    }
    return d;
}

static void intervals_are_drawn_by_patient(void **state)
{
    (void)state;
    float *p1, *p8;
    nn_scores one, eight, again;
    fl_err err;
    nn_dataset single = scored_patients(&p1, 60, 1, 1, 2), copied;
    assert_int_equal(nn_evaluate(&one, p1, &single, 2, false, 5, &err), FL_OK);
    /* every image eight times: the metric and its interval stay, were images drawn it would shrink by 2.8 */
    assert_int_equal(nn_dataset_init(&copied, 1, 1, 1, &err), FL_OK);
    p8 = calloc(60 * 8 * 2, sizeof *p8);
    for (uint32_t p = 0; p < 60; p++) {
        float images[8] = {0};
        uint32_t labels[8];
        for (int i = 0; i < 8; i++) {
            labels[i] = single.labels[p];
            memcpy(p8 + (p * 8 + i) * 2, p1 + p * 2, 2 * sizeof *p8);
        }
        assert_int_equal(nn_dataset_append_patient(&copied, single.patient_key[p], images, labels, 8, &err), FL_OK);
    }
    assert_int_equal(nn_evaluate(&eight, p8, &copied, 2, false, 5, &err), FL_OK);
    assert_true(fabs(one.value - eight.value) < 1e-12);
    assert_true(fabs(one.low - eight.low) < 1e-9 && fabs(one.high - eight.high) < 1e-9);
    assert_true(one.low < one.value && one.value < one.high && one.high - one.low > 0.1);
    assert_string_equal(one.metric, "auroc");
    assert_int_equal(nn_evaluate(&again, p1, &single, 2, false, 5, &err), FL_OK);
    assert_true(one.low == again.low && one.high == again.high);
    nn_dataset_fini(&single);
    nn_dataset_fini(&copied);
    free(p1);
    free(p8);
}

/* The standard error of an AUROC of 0.76 from 1000 patients is 0.015: the interval is about 0.06 wide. */
static void an_interval_has_the_width_that_theory_gives(void **state)
{
    (void)state;
    float *p;
    nn_scores s;
    fl_err err;
    nn_dataset d = scored_patients(&p, 1000, 1, 1, 2);
    assert_int_equal(nn_evaluate(&s, p, &d, 2, false, 1, &err), FL_OK);
    assert_true(fabs(s.value - 0.76) < 0.06); /* Phi(1 / sqrt 2) = 0.760 */
    assert_true(s.high - s.low > 0.04 && s.high - s.low < 0.08);
    nn_dataset_fini(&d);
    free(p);
}

static void more_than_two_classes_are_judged_by_balanced_accuracy(void **state)
{
    (void)state;
    float *p;
    nn_scores s;
    fl_err err;
    nn_dataset d = scored_patients(&p, 90, 2, 2, 3);
    assert_int_equal(nn_evaluate(&s, p, &d, 3, false, 1, &err), FL_OK);
    assert_string_equal(s.metric, "balanced_accuracy");
    assert_true(s.value == s.balanced_accuracy && s.low <= s.value && s.value <= s.high);
    assert_int_equal(s.n_images, 180);
    assert_int_equal(s.n_patients, 90);
    assert_int_equal(nn_evaluate(&s, p, &d, 2, false, 1, &err), FL_EREFUSED); /* a label is 2 */
    nn_dataset_fini(&d);
    free(p);
}

static void nothing_to_judge_gives_nan_and_no_crash(void **state)
{
    (void)state;
    nn_dataset d;
    nn_scores s;
    fl_err err;
    float none = 0;
    assert_int_equal(nn_dataset_init(&d, 1, 2, 2, &err), FL_OK);
    assert_int_equal(nn_evaluate(&s, &none, &d, 2, false, 1, &err), FL_OK);
    assert_true(isnan(s.value) && isnan(s.low) && isnan(s.high));
    nn_dataset_fini(&d);
}

static void predictions_do_not_depend_on_threads(void **state)
{
    (void)state;
    nn_dataset d;
    nn_model *m;
    fl_err err;
    fl_rng rng;
    static float w[2000], images[5 * 64], p1[600], p2[600];
    fl_rng_init(&rng, 4, 4);
    assert_int_equal(nn_dataset_init(&d, 1, 8, 8, &err), FL_OK);
    for (uint32_t p = 0; p < 20; p++) {
        uint8_t key[32] = {(uint8_t)p};
        uint32_t labels[5] = {0};
        for (int i = 0; i < 5 * 64; i++)
            images[i] = (float)fl_rng_normal(&rng);
        assert_int_equal(nn_dataset_append_patient(&d, key, images, labels, 1 + p % 5, &err), FL_OK);
    }
    assert_int_equal(nn_model_create(&m, "conv 3x3 8\ngroupnorm 2\nrelu\nlinear classes", 1, 8, 8, 3, &err), FL_OK);
    for (size_t i = 0; i < nn_model_n_weights(m); i++)
        w[i] = (float)(0.2 * fl_rng_normal(&rng));
    for (unsigned threads = 1; threads <= 3; threads++) {
        fl_pool *pool;
        assert_int_equal(fl_pool_create(&pool, threads, &err), FL_OK);
        memset(p2, 0, sizeof p2);
        assert_int_equal(nn_predict(threads == 1 ? p1 : p2, m, w, &d, pool, &err), FL_OK);
        if (threads > 1)
            assert_memory_equal(p1, p2, d.n_images * 3 * sizeof *p1);
        fl_pool_destroy(pool);
    }
    for (uint32_t i = 0; i < d.n_images; i++)
        assert_true(fabsf(p1[3 * i] + p1[3 * i + 1] + p1[3 * i + 2] - 1) < 1e-5f);
    nn_model_destroy(m);
    nn_dataset_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auroc_counts_pairs_and_halves_ties),
        cmocka_unit_test(auroc_without_both_classes_is_nan),
        cmocka_unit_test(balanced_accuracy_is_the_mean_recall_of_classes_that_occur),
        cmocka_unit_test(intervals_are_drawn_by_patient),
        cmocka_unit_test(an_interval_has_the_width_that_theory_gives),
        cmocka_unit_test(more_than_two_classes_are_judged_by_balanced_accuracy),
        cmocka_unit_test(nothing_to_judge_gives_nan_and_no_crash),
        cmocka_unit_test(predictions_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
