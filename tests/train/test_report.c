/* Measures, intervals and reports against scikit-learn's values and DeLong's formula (scripts/gen/metrics_sklearn.py), and
 * what happens where there is nothing to measure. */
#include "base/rng.h"
#include "train/report.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_IMAGES = 256, MAX_CLASSES = 4 };

typedef struct scene {
    float p[MAX_IMAGES * MAX_CLASSES];
    uint32_t labels[MAX_IMAGES], patient[MAX_IMAGES];
    nn_judged j;
} scene;

static void is_close(double got, double expected, const char *what)
{
    if (!(fabs(got - expected) <= 1e-12 + 1e-11 * fabs(expected)))
        fail_msg("%s: %.17g, expected %.17g", what, got, expected);
}

static void read_images(scene *s, FILE *f)
{
    s->j.probabilities = s->p;
    s->j.labels = s->labels;
    s->j.patient = s->patient;
    s->j.n_patients = 0;
    assert_true(s->j.n_images <= MAX_IMAGES && s->j.n_classes <= MAX_CLASSES);
    for (uint32_t i = 0; i < s->j.n_images; i++) {
        assert_int_equal(fscanf(f, " image %u %u", &s->labels[i], &s->patient[i]), 2);
        for (uint32_t c = 0; c < s->j.n_classes; c++)
            assert_int_equal(fscanf(f, "%f", &s->p[i * s->j.n_classes + c]), 1);
        if (s->patient[i] >= s->j.n_patients)
            s->j.n_patients = s->patient[i] + 1;
    }
}

static double measure_named(const nn_value *values, const char *name)
{
    for (int m = 0; m < NN_N_MEASURES; m++)
        if (strcmp(nn_measure_name((nn_measure)m), name) == 0)
            return values[m].value;
    fail_msg("no measure is called %s", name);
    return 0;
}

static double overall_named(const nn_report *r, const char *name)
{
    for (int w = 0; w < NN_N_WHOLE; w++)
        if (strcmp(nn_whole_name((nn_whole)w), name) == 0)
            return r->overall[w].value;
    fail_msg("no figure is called %s", name);
    return 0;
}

static double of_class(const nn_report *r, const nn_judged *j, uint32_t c, const char *name)
{
    const nn_class_report *k = &r->of[c];
    const struct {
        const char *name;
        double value;
    } others[] = {{"tp", k->tp},
                  {"fp", k->fp},
                  {"fn", k->fn},
                  {"tn", k->tn},
                  {"delong_low", k->delong.low},
                  {"delong_high", k->delong.high}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(name, others[i].name) == 0)
            return others[i].value;
    if (strcmp(name, "delong_variance") == 0) {
        double score[MAX_IMAGES], variance;
        uint8_t positive[MAX_IMAGES];
        nn_value value;
        for (uint32_t i = 0; i < j->n_images; i++) {
            score[i] = j->probabilities[i * j->n_classes + c];
            positive[i] = j->multi ? j->labels[i] >> c & 1 : j->labels[i] == c;
        }
        assert_int_equal(nn_delong(&value, &variance, score, positive, j->patient, j->n_images, NULL), FL_OK);
        assert_true(value.value == k->measure[NN_AUROC].value);
        return variance;
    }
    return measure_named(k->measure, name);
}

static double at_path(const nn_report *r, const nn_judged *j, const char *path)
{
    unsigned a, b;
    if (sscanf(path, "confusion/%u/%u", &a, &b) == 2)
        return r->confusion[a][b];
    if (strncmp(path, "overall/", 8) == 0)
        return overall_named(r, path + 8);
    if (strncmp(path, "macro/", 6) == 0)
        return measure_named(r->macro, path + 6);
    if (strncmp(path, "micro/", 6) == 0)
        return measure_named(r->micro, path + 6);
    assert_int_equal(sscanf(path, "%u/", &a), 1);
    return of_class(r, j, a, strchr(path, '/') + 1);
}

static void compare_scenes(const scene *a, const scene *b, const char *path, double expected)
{
    double x[MAX_IMAGES], y[MAX_IMAGES];
    uint8_t positive[MAX_IMAGES];
    nn_comparison c;
    for (uint32_t i = 0; i < a->j.n_images; i++) {
        x[i] = a->p[2 * i + 1];
        y[i] = b->p[2 * i + 1];
        positive[i] = a->labels[i] == 1;
    }
    assert_int_equal(nn_delong_compare(&c, x, y, positive, a->patient, a->j.n_images, NULL), FL_OK);
    const double got = strcmp(path, "difference") == 0 ? c.difference.value
                       : strcmp(path, "variance") == 0 ? c.variance
                       : strcmp(path, "z") == 0        ? c.z
                                                       : c.p;
    is_close(got, expected, path);
    assert_true(c.difference.low < c.difference.value && c.difference.value < c.difference.high);
}

static void values_are_those_of_scikit_learn_and_delong(void **state)
{
    (void)state;
    static scene now, before;
    static nn_report r;
    static nn_roc_point points[MAX_IMAGES + 1];
    char word[32], name[64], kind[16], path[64];
    uint32_t n_values = 0, n_points = 0, at_point = 0;
    FILE *f = fopen(CORDON_SOURCE_DIR "/tests/data/train/metrics_values.txt", "r");
    assert_non_null(f);
    while (fscanf(f, "%31s", word) == 1) {
        double x, y, z;
        if (strcmp(word, "case") == 0) {
            before = now;
            before.j.probabilities = before.p;
            assert_int_equal(fscanf(f, "%63s %u %u %15s", name, &now.j.n_images, &now.j.n_classes, kind), 4);
            now.j.multi = strcmp(kind, "multi") == 0;
            read_images(&now, f);
            assert_int_equal(nn_report_make(&r, &now.j, &nn_default_targets, 1, NULL), FL_OK);
            assert_int_equal(nn_report_roc(points, &n_points, &now.j, 1, NULL), FL_OK);
        } else if (strcmp(word, "value") == 0) {
            assert_int_equal(fscanf(f, "%63s %lf", path, &x), 2);
            is_close(at_path(&r, &now.j, path), x, path);
            n_values++;
        } else if (strcmp(word, "roc") == 0) {
            assert_int_equal(fscanf(f, "%*u %lf %lf %lf", &x, &y, &z), 3);
            assert_true(at_point < n_points);
            is_close(points[at_point].fpr, x, "fpr");
            is_close(points[at_point].tpr, y, "tpr");
            assert_true(at_point == 0 ? isinf(points[0].threshold) : points[at_point].threshold == z);
            at_point++;
        } else {
            assert_string_equal(word, "compare");
            assert_int_equal(fscanf(f, "%63s %lf", path, &x), 2);
            compare_scenes(&now, &before, path, x);
            n_values++;
        }
    }
    fclose(f);
    assert_true(n_values > 300 && at_point > 5);
}

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

/* patients with one image each, two classes; positives score higher by `apart` */
static void make_scene(scene *s, uint32_t n, double apart, uint64_t seed)
{
    fl_rng rng;
    fl_rng_init(&rng, seed, 3);
    s->j = (nn_judged){s->p, s->labels, s->patient, n, n, 2, false};
    for (uint32_t i = 0; i < n; i++) {
        s->labels[i] = i < 2 ? i : (uint32_t)fl_rng_below(&rng, 2);
        s->patient[i] = i;
        s->p[2 * i + 1] = (float)(1 / (1 + exp(-fl_rng_normal(&rng) - apart * (s->labels[i] - 0.5))));
        s->p[2 * i] = 1 - s->p[2 * i + 1];
    }
}

static void every_number_has_an_interval_around_it(void **state)
{
    (void)state;
    static scene s;
    static nn_report r;
    make_scene(&s, 200, 1.5, 1);
    assert_int_equal(nn_report_make(&r, &s.j, &nn_default_targets, 1, NULL), FL_OK);
    for (int m = 0; m < NN_N_MEASURES; m++) {
        const nn_value *v = &r.of[1].measure[m];
        assert_null(v->reason);
        assert_true(v->low < v->high && v->high - v->low < 0.6);
        if (m != NN_CALIBRATION_ERROR && m != NN_ADAPTIVE_CALIBRATION_ERROR) /* these grow when patients repeat */
            assert_true(v->low <= v->value && v->value <= v->high);
    }
    /* two ways to one interval: they differ by the bootstrap's 1000 draws and by the normal law */
    const nn_value *drawn = &r.of[1].measure[NN_AUROC], *computed = &r.of[1].delong;
    assert_true(fabs(drawn->low - computed->low) < 0.015 && fabs(drawn->high - computed->high) < 0.015);
}

/* The chance of a false alarm: 400 intervals at 95 % cover fewer than 340 with probability below 1e-12. */
static void delongs_interval_covers_as_often_as_it_says(void **state)
{
    (void)state;
    static scene s;
    double score[MAX_IMAGES];
    uint8_t positive[MAX_IMAGES];
    const double truth = 0.5 * erfc(-1.5 / sqrt(2) / sqrt(2)); /* Phi(apart / sqrt 2) */
    int covered = 0;
    for (uint64_t trial = 0; trial < 400; trial++) {
        nn_value v;
        make_scene(&s, 120, 1.5, 100 + trial);
        for (uint32_t i = 0; i < 120; i++) {
            score[i] = s.p[2 * i + 1];
            positive[i] = s.labels[i] == 1;
        }
        assert_int_equal(nn_delong(&v, NULL, score, positive, NULL, 120, NULL), FL_OK);
        covered += v.low <= truth && truth <= v.high;
    }
    assert_true(covered >= 340 && covered < 400);
}

static void images_of_a_patient_count_together(void **state)
{
    (void)state;
    static scene s;
    static nn_report once, fourfold;
    make_scene(&s, 50, 1, 2);
    assert_int_equal(nn_report_make(&once, &s.j, &nn_default_targets, 1, NULL), FL_OK);
    for (uint32_t i = 50; i < 200; i++) { /* every image four times */
        s.labels[i] = s.labels[i % 50];
        s.patient[i] = s.patient[i % 50];
        s.p[2 * i] = s.p[2 * (i % 50)];
        s.p[2 * i + 1] = s.p[2 * (i % 50) + 1];
    }
    s.j.n_images = 200;
    assert_int_equal(nn_report_make(&fourfold, &s.j, &nn_default_targets, 1, NULL), FL_OK);
    const nn_class_report *a = &once.of[1], *b = &fourfold.of[1];
    assert_true(fabs(a->delong.low - b->delong.low) < 1e-12 && fabs(a->delong.high - b->delong.high) < 1e-12);
    assert_true(fabs(a->measure[NN_AUROC].low - b->measure[NN_AUROC].low) < 1e-12);
    assert_true(fabs(a->measure[NN_BRIER].high - b->measure[NN_BRIER].high) < 1e-12);
}

static void the_order_of_the_images_is_nothing(void **state)
{
    (void)state;
    static scene s, t;
    static nn_report a, b;
    make_scene(&s, 100, 1, 3);
    for (uint32_t i = 0; i < 100; i++) /* coarse scores: many ties */
        s.p[2 * i] = 1 - (s.p[2 * i + 1] = roundf(s.p[2 * i + 1] * 8) / 8);
    t = s;
    t.j.probabilities = t.p;
    t.j.labels = t.labels;
    t.j.patient = t.patient;
    for (uint32_t i = 0; i < 100; i++) {
        t.p[2 * i] = s.p[2 * (99 - i)];
        t.p[2 * i + 1] = s.p[2 * (99 - i) + 1];
        t.labels[i] = s.labels[99 - i];
        t.patient[i] = s.patient[99 - i];
    }
    assert_int_equal(nn_report_make(&a, &s.j, &nn_default_targets, 7, NULL), FL_OK);
    assert_int_equal(nn_report_make(&b, &t.j, &nn_default_targets, 7, NULL), FL_OK);
    for (int m = 0; m < NN_N_MEASURES; m++) {
        is_close(b.of[1].measure[m].value, a.of[1].measure[m].value, nn_measure_name((nn_measure)m));
        is_close(b.of[1].measure[m].low, a.of[1].measure[m].low, nn_measure_name((nn_measure)m));
    }
    assert_memory_equal(a.confusion, b.confusion, sizeof a.confusion);
}

/* Every figure is a number or has a reason, and is never anything else. */
static void all_have_a_reason(const nn_value *v, int n, bool may_be_numbers)
{
    for (int i = 0; i < n; i++) {
        assert_true(may_be_numbers || isnan(v[i].value));
        if (isnan(v[i].value) || isnan(v[i].low)) {
            assert_non_null(v[i].reason);
            assert_true(isnan(v[i].low) && isnan(v[i].high));
        }
    }
}

static void check_reasons(const nn_report *r, bool may_be_numbers)
{
    for (uint32_t c = 0; c < r->n_classes; c++) {
        all_have_a_reason(r->of[c].measure, NN_N_MEASURES, may_be_numbers);
        all_have_a_reason(&r->of[c].delong, 1, may_be_numbers);
    }
    all_have_a_reason(r->macro, NN_N_MEASURES, may_be_numbers);
    all_have_a_reason(r->micro, NN_N_MEASURES, may_be_numbers);
    all_have_a_reason(r->overall, NN_N_WHOLE, may_be_numbers);
}

static void nothing_to_measure_has_a_reason_and_no_number(void **state)
{
    (void)state;
    static scene s;
    static nn_report r;
    make_scene(&s, 20, 1, 4);
    s.j.n_images = s.j.n_patients = 0;
    assert_int_equal(nn_report_make(&r, &s.j, &nn_default_targets, 1, NULL), FL_OK);
    check_reasons(&r, false);
    assert_string_equal(r.overall[NN_WHOLE_AUROC].reason, "there are no images");

    make_scene(&s, 20, 1, 4); /* a score that is not a number */
    s.p[7] = s.p[6] = NAN;
    assert_int_equal(nn_report_make(&r, &s.j, &nn_default_targets, 1, NULL), FL_OK);
    check_reasons(&r, false);
    assert_string_equal(r.of[1].delong.reason, "a score is not a number");

    make_scene(&s, 20, 1, 4); /* one class */
    for (uint32_t i = 0; i < 20; i++)
        s.labels[i] = 1;
    assert_int_equal(nn_report_make(&r, &s.j, &nn_default_targets, 1, NULL), FL_OK);
    check_reasons(&r, true);
    assert_string_equal(r.of[1].measure[NN_AUROC].reason, "every image has the class");
    assert_string_equal(r.of[0].measure[NN_AUROC].reason, "no image has the class");
    assert_string_equal(r.of[0].measure[NN_AUROC].reason, r.of[0].delong.reason);
    assert_true(isnan(r.of[1].threshold_at_specificity) && isnan(r.of[1].threshold_at_sensitivity));
    assert_false(isnan(r.overall[NN_WHOLE_ACCURACY].value));

    make_scene(&s, 20, 1, 4); /* one patient */
    for (uint32_t i = 0; i < 20; i++)
        s.patient[i] = 0;
    s.j.n_patients = 1;
    assert_int_equal(nn_report_make(&r, &s.j, &nn_default_targets, 1, NULL), FL_OK);
    check_reasons(&r, true);
    assert_false(isnan(r.of[1].measure[NN_AUROC].value));
    assert_string_equal(r.of[1].measure[NN_AUROC].reason, "there is one patient only: no interval");
    assert_string_equal(r.of[1].delong.reason, "a class has one patient only: no interval");

    make_scene(&s, 20, 1, 4); /* all scores alike: 0.5 is yes for neither class but the first */
    for (uint32_t i = 0; i < 40; i++)
        s.p[i] = 0.5f;
    assert_int_equal(nn_report_make(&r, &s.j, &nn_default_targets, 1, NULL), FL_OK);
    check_reasons(&r, true);
    assert_true(r.of[1].measure[NN_AUROC].value == 0.5 && r.of[1].delong.low == 0.5 && r.of[1].delong.high == 0.5);
    assert_true(r.of[1].measure[NN_SENSITIVITY_AT].value == 0 && isinf(r.of[1].threshold_at_specificity));
    assert_string_equal(r.of[1].measure[NN_PRECISION].reason, "no image is said to have the class");
    assert_true(r.overall[NN_WHOLE_BALANCED_ACCURACY].value == 0.5);
}

static void few_patients_of_many_classes_have_no_interval(void **state)
{
    (void)state;
    static nn_report r;
    float p[16];
    uint32_t each[4] = {0, 1, 2, 3};
    for (int i = 0; i < 16; i++)
        p[i] = i % 5 == 0 ? 0.7f : 0.1f;
    /* a draw of 4 patients has all 4 classes with probability 4!/4^4 = 0.09 */
    const nn_judged j = {p, each, each, 4, 4, 4, false};
    assert_int_equal(nn_report_make(&r, &j, &nn_default_targets, 1, NULL), FL_OK);
    const nn_value *v = &r.overall[NN_WHOLE_BALANCED_ACCURACY];
    assert_true(v->value == 1 && isnan(v->low) && isnan(v->high));
    assert_string_equal(v->reason, "most draws of patients lack a class: too few patients for an interval");
}

static void a_score_on_an_edge_belongs_to_the_bin_below(void **state)
{
    (void)state;
    nn_ranking r;
    nn_measured m;
    const nn_targets four = {0.9, 0.9, 4};
    /* bins (0, 1/4] and (1/4, 1/2]: |1/4 + 1/8 - 1| + |1/2 - 0|, over 3; the other way round the first would share with
     * the last */
    const double score[3] = {0.25, 0.125, 0.5};
    const uint8_t positive[3] = {1, 0, 0};
    assert_int_equal(nn_ranking_init(&r, score, positive, NULL, 3, 1, NULL), FL_OK);
    nn_measure_all(&m, &r, NULL, &four);
    is_close(m.value[NN_CALIBRATION_ERROR], (0.625 + 0.5) / 3, "calibration error");
    nn_ranking_fini(&r);
}

static void labels_that_are_no_class_are_refused(void **state)
{
    (void)state;
    static scene s;
    static nn_report r;
    fl_err err = {0};
    make_scene(&s, 20, 1, 4);
    s.labels[3] = 2;
    assert_int_equal(nn_report_make(&r, &s.j, &nn_default_targets, 1, &err), FL_EREFUSED);
    assert_string_equal(err.text, "evaluation: a label is 2, the model has 2 classes");
    s.j.multi = true; /* as bit sets: the second class */
    assert_int_equal(nn_report_make(&r, &s.j, &nn_default_targets, 1, &err), FL_OK);
    s.labels[3] = 4;
    assert_int_equal(nn_report_make(&r, &s.j, &nn_default_targets, 1, &err), FL_EREFUSED);
}

static void a_part_is_judged_like_a_set_of_its_own(void **state)
{
    (void)state;
    static scene s, t;
    static nn_report part, alone;
    uint32_t group[MAX_IMAGES], n = 0;
    make_scene(&s, 120, 1, 5);
    make_scene(&t, 120, 1, 5);
    for (uint32_t i = 0; i < 120; i++) {
        group[i] = i % 3;
        if (group[i] != 1)
            continue;
        t.labels[n] = s.labels[i];
        t.p[2 * n] = s.p[2 * i];
        t.p[2 * n + 1] = s.p[2 * i + 1];
        n++;
    }
    t.j.n_images = t.j.n_patients = n;
    assert_int_equal(nn_report_part(&part, &s.j, group, 1, &nn_default_targets, 9, NULL), FL_OK);
    assert_int_equal(nn_report_make(&alone, &t.j, &nn_default_targets, 9, NULL), FL_OK);
    assert_int_equal(part.n_images, 40);
    assert_int_equal(part.n_patients, 40);
    assert_memory_equal(&part.confusion, &alone.confusion, sizeof part.confusion);
    for (int m = 0; m < NN_N_MEASURES; m++) {
        assert_true(part.of[1].measure[m].value == alone.of[1].measure[m].value);
        assert_true(part.of[1].measure[m].low == alone.of[1].measure[m].low);
    }
    assert_int_equal(nn_report_part(&part, &s.j, group, 7, &nn_default_targets, 9, NULL), FL_OK);
    assert_int_equal(part.n_images, 0);
    check_reasons(&part, false);
}

static void the_headline_is_the_reports(void **state)
{
    (void)state;
    static scene s;
    static nn_report whole, brief;
    make_scene(&s, 120, 1, 6);
    assert_int_equal(nn_report_make(&whole, &s.j, &nn_default_targets, 9, NULL), FL_OK);
    const nn_whole figures[] = {NN_WHOLE_AUROC, NN_WHOLE_BALANCED_ACCURACY};
    for (int i = 0; i < 2; i++) {
        const nn_value *a = &whole.overall[figures[i]], *b = &brief.overall[figures[i]];
        assert_int_equal(nn_report_headline(&brief, &s.j, figures[i], 9, NULL), FL_OK);
        assert_true(a->value == b->value && a->low == b->low && a->high == b->high);
        assert_true(isnan(brief.overall[NN_WHOLE_BRIER].low));
        assert_true(brief.overall[NN_WHOLE_BRIER].value == whole.overall[NN_WHOLE_BRIER].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_scikit_learn_and_delong),
        cmocka_unit_test(auroc_counts_pairs_and_halves_ties),
        cmocka_unit_test(auroc_without_both_classes_is_nan),
        cmocka_unit_test(every_number_has_an_interval_around_it),
        cmocka_unit_test(delongs_interval_covers_as_often_as_it_says),
        cmocka_unit_test(images_of_a_patient_count_together),
        cmocka_unit_test(the_order_of_the_images_is_nothing),
        cmocka_unit_test(nothing_to_measure_has_a_reason_and_no_number),
        cmocka_unit_test(few_patients_of_many_classes_have_no_interval),
        cmocka_unit_test(a_score_on_an_edge_belongs_to_the_bin_below),
        cmocka_unit_test(labels_that_are_no_class_are_refused),
        cmocka_unit_test(a_part_is_judged_like_a_set_of_its_own),
        cmocka_unit_test(the_headline_is_the_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
