/* What a model looks at: activations and slopes inside it. */
#include "base/rng.h"
#include "train/explain.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
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

/* ---- maps ------------------------------------------------------------------------------------------------------------ */

/* Behind a global mean Grad-CAM is the head's weights on the maps (Zhou et al. 2016), over the number of pixels. */
static void a_map_is_what_the_formula_says(void **state)
{
    (void)state;
    net n = make("conv 3x3 4\nrelu as map\nglobalpool\nlinear classes", 9, 3);
    float y[4 * 49], slope[4 * 49];
    nn_explanation e;
    fl_err err;
    for (uint32_t class = 0; class < 2; class ++) {
        const float *row = n.w + 4 * 9 + 4 + (size_t) class * 4;
        assert_int_equal(nn_activation(y, slope, NULL, n.m, n.ws, n.w, n.image, 1, class, &err), FL_OK);
        assert_int_equal(nn_explain(&e, n.m, n.w, n.image, class, NN_EXPLAIN_AUTO, NULL, &err), FL_OK);
        assert_true(e.method == NN_EXPLAIN_GRADCAM && e.H == 7 && e.W == 7);
        assert_string_equal(e.layer, "map");
        double above = 0;
        for (int i = 0; i < 49; i++) {
            double sum = 0;
            for (int k = 0; k < 4; k++)
                sum += row[k] / 49 * y[k * 49 + i];
            assert_true(fabs(e.map[i] - fmax(sum, 0)) < 1e-6);
            above += e.map[i];
        }
        assert_true(above > 0);
        nn_explanation_fini(&e);
    }
    end(&n);
}

/* A linear score falls by the covered weights times the image: the map is that, blurred by the squares; its sum is the
 * score's own when squares cover every pixel as often. */
static void occlusion_of_a_linear_model_is_weight_times_image(void **state)
{
    (void)state;
    net n = make("linear classes", 9, 4); /* squares of 2 x 2, one pixel apart */
    nn_explanation e;
    fl_err err;
    memset(n.w, 0, nn_model_n_weights(n.m) * sizeof *n.w);
    for (int i = 0; i < 81; i++)
        n.image[i] = 0.25f;
    n.w[81 + 4 * 9 + 6] = 2; /* class 1 looks at row 4, column 6 alone */
    n.w[81 + 2 * 9 + 1] = -3;
    assert_int_equal(nn_explain(&e, n.m, n.w, n.image, 1, NN_EXPLAIN_AUTO, NULL, &err), FL_OK);
    assert_true(e.method == NN_EXPLAIN_OCCLUSION && e.H == 9 && e.W == 9 && e.layer[0] == 0);
    for (int y = 0; y < 9; y++)
        for (int x = 0; x < 9; x++) {
            /* 4 squares cover a pixel; those it shares with the pixel that counts */
            const double for_it = fmax(0, 2 - abs(y - 4)) * fmax(0, 2 - abs(x - 6)) / 4 * 0.5;
            const double against = fmax(0, 2 - abs(y - 2)) * fmax(0, 2 - abs(x - 1)) / 4 * -0.75;
            if (y > 0 && x > 0) /* the first row and column lie in fewer squares */
                assert_true(fabs(e.map[y * 9 + x] - (for_it + against)) < 1e-5);
        }
    nn_explanation_fini(&e);
    end(&n);
}

static void layers_without_a_map_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        const char *spec, *layer;
        nn_explain_method method;
        const char *says;
    } rows[] = {
        {"linear classes", NULL, NN_EXPLAIN_GRADCAM, "has no convolution with a map"},
        {"avgpool 3\nlinear classes", "7", NN_EXPLAIN_AUTO, "no layer is called 7"},
        {"conv 3x3 4\nglobalpool as mean\nlinear classes", "mean", NN_EXPLAIN_AUTO,
         "layer mean (globalpool) has one pixel"},
        {"conv 9x9 4\nrelu\nlinear classes", NULL, NN_EXPLAIN_GRADCAM, "has no convolution with a map"},
        {"conv 3x3 4\nlinear classes", "0", NN_EXPLAIN_OCCLUSION, "looks at no layer"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nn_explanation e;
        fl_err err;
        net n = make(rows[i].spec, 9, 5);
        assert_int_equal(nn_explain(&e, n.m, n.w, n.image, 0, rows[i].method, rows[i].layer, &err), FL_EREFUSED);
        if (!strstr(err.text, rows[i].says))
            fail_msg("%s", err.text);
        assert_null(e.map);
        end(&n);
    }
}

static void values_that_are_not_finite_are_no_map(void **state)
{
    (void)state;
    nn_explanation e;
    fl_err err;
    net n = make("conv 3x3 4\nrelu\nglobalpool\nlinear classes", 9, 6);
    n.image[40] = NAN;
    assert_int_equal(nn_explain(&e, n.m, n.w, n.image, 0, NN_EXPLAIN_OCCLUSION, NULL, &err), FL_EREFUSED);
    n.image[40] = INFINITY;
    assert_int_equal(nn_explain(&e, n.m, n.w, n.image, 0, NN_EXPLAIN_OCCLUSION, NULL, &err), FL_EREFUSED);
    end(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slopes_behind_a_mean_are_the_weights),
        cmocka_unit_test(slopes_add_up_to_the_change_of_the_score),
        cmocka_unit_test(a_map_is_what_the_formula_says),
        cmocka_unit_test(occlusion_of_a_linear_model_is_weight_times_image),
        cmocka_unit_test(layers_without_a_map_are_refused_by_name),
        cmocka_unit_test(values_that_are_not_finite_are_no_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
