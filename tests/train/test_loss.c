/* The losses against PyTorch, finite differences, and logits that no exponential holds. */
#include "base/rng.h"
#include "train/loss.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX 32

static double value_of(const char *kind, float *d, const float *y, uint32_t n, uint32_t label, const float *weights)
{
    if (strcmp(kind, "softmax") == 0)
        return nn_loss_softmax(d, y, n, label, weights);
    if (strcmp(kind, "binary") == 0)
        return nn_loss_binary(d, y, n, label, weights);
    assert_string_equal(kind, "squares");
    return nn_loss_squares(d, y, n);
}

/* n numbers of a line */
static char *read_numbers(float *out, char *text, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = strtof(text, &text);
    return text;
}

static void expect_near(const char *line, double ours, double theirs)
{
    if (!(fabs(ours - theirs) <= 1e-6 * fabs(theirs) + 1e-7)) /* the slopes are floats */
        fail_msg("%s: %.9g, PyTorch has %.9g", line, ours, theirs);
}

/* Lines of tests/data/train/loss_values.txt: kind n label, n logits, n weights, the loss, n slopes. */
static void values_and_slopes_are_pytorchs(void **state)
{
    (void)state;
    char line[4096];
    int n_lines = 0;
    FILE *f = fopen(CORDON_SOURCE_DIR "/tests/data/train/loss_values.txt", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char kind[20];
        unsigned n, label;
        int at;
        float y[MAX], weights[MAX], d[MAX], expected[MAX];
        assert_int_equal(sscanf(line, "%19s %u %u%n", kind, &n, &label, &at), 3);
        assert_true(n <= MAX);
        char *rest = read_numbers(weights, read_numbers(y, line + at, n), n);
        double loss = strtod(rest, &rest);
        read_numbers(expected, rest, n);
        line[60] = '\0';
        expect_near(line, value_of(kind, d, y, n, label, weights), loss);
        for (uint32_t i = 0; i < n; i++)
            expect_near(line, d[i], expected[i]);
        float same[MAX];
        memcpy(same, y, sizeof same);
        value_of(kind, same, same, n, label, weights); /* in place */
        assert_memory_equal(same, d, n * sizeof *d);
        n_lines++;
    }
    fclose(f);
    assert_true(n_lines >= 20);
}

static void slopes_are_those_of_finite_differences(void **state)
{
    (void)state;
    static const char *const kinds[] = {"softmax", "binary", "squares"};
    fl_rng rng;
    fl_rng_init(&rng, 5, 5);
    for (int k = 0; k < 300; k++) {
        float y[7], weights[7], d[7], ignored[7];
        for (int i = 0; i < 7; i++) {
            y[i] = (float)(3 * fl_rng_normal(&rng));
            weights[i] = (float)fl_rng_uniform(&rng) * 3;
        }
        uint32_t label = (uint32_t)fl_rng_below(&rng, 7);
        value_of(kinds[k % 3], d, y, 7, label, k % 2 ? weights : NULL);
        for (int i = 0; i < 7; i++) {
            float old = y[i], up = old + 0x1p-9f, down = old - 0x1p-9f;
            y[i] = up;
            double above = value_of(kinds[k % 3], ignored, y, 7, label, k % 2 ? weights : NULL);
            y[i] = down;
            double below = value_of(kinds[k % 3], ignored, y, 7, label, k % 2 ? weights : NULL);
            y[i] = old;
            assert_true(fabs((above - below) / ((double)up - down) - d[i]) < 1e-5 * (1 + fabs(d[i])));
        }
    }
}

static void huge_logits_have_finite_losses_and_slopes(void **state)
{
    (void)state;
    static const float huge[] = {1e38f, -1e38f, 800, -800, 90, -90, 0};
    for (uint32_t label = 0; label < 128; label++) {
        float d[7];
        double loss = nn_loss_binary(d, huge, 7, label, NULL);
        assert_true(isfinite(loss) && loss >= 0);
        for (int i = 0; i < 7; i++)
            assert_true(isfinite(d[i]) && fabsf(d[i]) <= 1.0f / 7);
        if (label < 7) {
            loss = nn_loss_softmax(d, huge, 7, label, NULL);
            assert_true(isfinite(loss) && loss >= 0);
            for (uint32_t i = 0; i < 7; i++)
                assert_true(d[i] == (float)(i == 0) - (float)(i == label));
        }
    }
    float d[2], sure[2] = {40, -40}, equal[2] = {1e20f, 1e20f};
    assert_true(fabs(nn_loss_softmax(d, equal, 2, 0, NULL) - log(2)) < 1e-15);
    assert_true(nn_loss_binary(d, sure, 2, 1, NULL) > 4e-18); /* log1p(exp(-40)), not 0 */
    assert_true(nn_logistic(-700) > 0 && nn_logistic(700) == 1 && nn_logistic(-1e308) == 0 && nn_logistic(0) == 0.5);
}

static void what_is_no_number_goes_through(void **state)
{
    (void)state;
    static const float broken[] = {NAN, INFINITY};
    for (int k = 0; k < 2; k++) {
        for (uint32_t at = 0; at < 3; at++) {
            float y[3] = {1, 2, 3}, d[3];
            y[at] = broken[k];
            assert_false(isfinite(nn_loss_softmax(d, y, 3, 1, NULL)));
            assert_false(isfinite(d[0]) && isfinite(d[1]) && isfinite(d[2]));
            assert_false(isfinite(nn_loss_squares(d, y, 3)));
            if (k == 0) {
                assert_true(isnan(nn_loss_binary(d, y, 3, 2, NULL)));
                assert_true(isnan(d[at]));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_slopes_are_pytorchs),
        cmocka_unit_test(slopes_are_those_of_finite_differences),
        cmocka_unit_test(huge_logits_have_finite_losses_and_slopes),
        cmocka_unit_test(what_is_no_number_goes_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
