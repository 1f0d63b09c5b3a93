/* What a model looks at: activations and slopes inside it. */
#include "base/rng.h"
#include "train/model.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct net {
    nn_model *m;
    nn_workspace *ws;
    float *w, *image;
} net;

static net make(const char *spec, uint32_t side, uint64_t seed)
{
    net n;
    fl_err err;
    fl_rng rng;
    assert_int_equal(nn_model_create(&n.m, spec, 1, side, side, 2, &err), FL_OK);
    assert_int_equal(nn_workspace_create(&n.ws, n.m, &err), FL_OK);
    n.w = malloc(nn_model_n_weights(n.m) * sizeof *n.w);
    n.image = malloc((size_t)side * side * sizeof *n.image);
    fl_rng_init(&rng, seed, 5);
    for (size_t i = 0; i < nn_model_n_weights(n.m); i++)
        n.w[i] = (float)(0.3 * fl_rng_normal(&rng));
    for (size_t i = 0; i < (size_t)side * side; i++)
        n.image[i] = (float)fl_rng_normal(&rng);
    return n;
}

static void end(net *n)
{
    nn_workspace_destroy(n->ws);
    nn_model_destroy(n->m);
    free(n->w);
    free(n->image);
}

/* The logit is linear in what a global mean sees: its slope is the weight over the number of pixels, everywhere. */
static void slopes_behind_a_mean_are_the_weights(void **state)
{
    (void)state;
    net n = make("conv 3x3 4 as first\nrelu as map\nglobalpool\nlinear classes", 9, 1);
    float y[4 * 49], slope[4 * 49], logits[2], same[2];
    assert_int_equal(nn_model_n_layers(n.m), 4);
    const nn_layer_view map = nn_model_layer(n.m, 1);
    assert_string_equal(map.name, "map");
    assert_string_equal(map.kind, "relu");
    assert_true(map.out.C == 4 && map.out.H == 7 && map.out.W == 7);
    for (uint32_t class = 0; class < 2; class ++) {
        const float *row = n.w + 4 * 9 + 4 + (size_t) class * 4, *bias = n.w + 4 * 9 + 4 + 8;
        double sum = bias[class];
        assert_int_equal(nn_activation(y, slope, logits, n.m, n.ws, n.w, n.image, 1, class, NULL), FL_OK);
        for (uint32_t i = 0; i < 4 * 49; i++) {
            assert_true(y[i] >= 0 && fabsf(slope[i] - row[i / 49] / 49) < 1e-6f);
            sum += (double)y[i] * slope[i];
        }
        assert_true(fabs(sum - logits[class]) < 1e-5);
    }
    nn_forward(n.m, n.ws, n.w, same, n.image);
    assert_memory_equal(logits, same, sizeof same);
    end(&n);
}

/* Through layers that are not linear: a bias before them moves every pixel of its channel, so the slopes' sum is the change
 * of the score with the bias. Whatever the model learns. */
static void slopes_add_up_to_the_change_of_the_score(void **state)
{
    (void)state;
    net n = make("conv 3x3 4 as first\ngroupnorm 2\ntanh\nconv 3x3 3 stride 2\ntanh\nlinear classes as head", 11, 2);
    fl_err err;
    assert_int_equal(nn_model_aim(n.m, &(nn_aim){.learn = "head"}, &err), FL_OK);
    nn_workspace_destroy(n.ws);
    assert_int_equal(nn_workspace_create(&n.ws, n.m, &err), FL_OK);
    float y[4 * 81], slope[4 * 81], logits[2];
    assert_int_equal(nn_activation(y, slope, logits, n.m, n.ws, n.w, n.image, 0, 1, NULL), FL_OK);
    for (uint32_t c = 0; c < 4; c++) {
        float *bias = n.w + 4 * 9 + c, kept = *bias, up[2], down[2];
        double sum = 0;
        for (uint32_t i = 0; i < 81; i++)
            sum += slope[c * 81 + i];
        *bias = kept + 1e-2f;
        nn_forward(n.m, n.ws, n.w, up, n.image);
        *bias = kept - 1e-2f;
        nn_forward(n.m, n.ws, n.w, down, n.image);
        *bias = kept;
        const double change = (up[1] - down[1]) / 2e-2;
        assert_true(fabs(sum - change) < 1e-3 + 2e-3 * fabs(change));
    }
    end(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slopes_behind_a_mean_are_the_weights),
        cmocka_unit_test(slopes_add_up_to_the_change_of_the_score),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
