/* What a model learns and minimises: learned layers, losses. */
#include "base/rng.h"
#include "tests/base/test.h"
#include "train/model.h"
#include <math.h>

enum { SIDE = 9, IMAGE = 2 * SIDE * SIDE, MAX = 4000 };

static const char spec[] =
    "conv 3x3 4 pad 1\ngroupnorm 2\ntanh\nconv 3x3 5 stride 2\ntanh\nlinear 6\ntanh\nlinear classes";

typedef struct network {
    nn_model *m;
    nn_workspace *ws;
    float w[MAX], image[IMAGE];
} network;

static void aim_at(network *net, const nn_aim *aim)
{
    fl_err err;
    nn_workspace_destroy(net->ws);
    assert_ok(nn_model_aim(net->m, aim, &err), err);
    assert_ok(nn_workspace_create(&net->ws, net->m, &err), err);
}

static void build(network *net)
{
    fl_err err;
    fl_rng rng;
    *net = (network){0};
    assert_ok(nn_model_create(&net->m, spec, 2, SIDE, SIDE, 3, &err), err);
    assert_ok(nn_workspace_create(&net->ws, net->m, &err), err);
    assert_true(nn_model_n_weights(net->m) <= MAX);
    fl_rng_init(&rng, 1, 2);
    for (size_t i = 0; i < MAX; i++)
        net->w[i] = (float)(0.4 * fl_rng_normal(&rng));
    for (size_t i = 0; i < IMAGE; i++)
        net->image[i] = (float)fl_rng_normal(&rng);
}

static void demolish(network *net)
{
    nn_workspace_destroy(net->ws);
    nn_model_destroy(net->m);
}

static void a_part_learns_as_it_would_within_the_whole(void **state)
{
    (void)state;
    static network net;
    static float all[MAX], part[MAX], logits[3], again[3];
    static const char *const lists[] = {"1", "3,7", "0,1,5", "7", "3,5,7"};
    build(&net);
    nn_gradient(net.m, net.ws, net.w, all, NULL, net.image, 1);
    nn_forward(net.m, net.ws, net.w, logits, net.image);
    assert_int_equal(nn_model_n_learned(net.m), nn_model_n_weights(net.m));
    assert_int_equal(nn_model_n_ranges(net.m), 1);
    for (size_t k = 0; k < 5; k++) {
        size_t at = 0, end = 0;
        aim_at(&net, &(nn_aim){.learn = lists[k]});
        nn_gradient(net.m, net.ws, net.w, part, NULL, net.image, 1);
        for (size_t i = 0; i < nn_model_n_ranges(net.m); i++) {
            nn_range r = nn_model_range(net.m, i);
            assert_true(r.size > 0 && (i == 0 || r.offset > end));
            assert_memory_equal(part + at, all + r.offset, r.size * sizeof *part);
            at += r.size;
            end = r.offset + r.size;
        }
        assert_int_equal(at, nn_model_n_learned(net.m));
        assert_true(end <= nn_model_n_weights(net.m));
        nn_forward(net.m, net.ws, net.w, again, net.image);
        assert_memory_equal(logits, again, sizeof logits);
    }
    assert_int_equal(nn_model_n_ranges(net.m), 1); /* 3, 5, 7 follow one another in the vector */
    assert_int_equal(nn_model_range(net.m, 0).offset, 2 * 9 * 4 + 4 + 8);
    demolish(&net);
}

/* Central differences of the loss in random directions. */
static void check_differences(network *net, uint32_t label)
{
    static float g[MAX], moved[MAX], unused[MAX];
    size_t n = nn_model_n_learned(net->m);
    fl_rng rng;
    fl_rng_init(&rng, 5, label);
    nn_gradient(net->m, net->ws, net->w, g, NULL, net->image, label);
    for (int direction = 0; direction < 6; direction++) {
        const double step = 2e-3 / sqrt((double)n);
        double expected = 0, loss[2];
        uint64_t seed = fl_rng_u64(&rng);
        for (int side = 0; side < 2; side++) {
            fl_rng d;
            fl_rng_init(&d, seed, 0);
            memcpy(moved, net->w, sizeof moved);
            for (size_t r = 0, at = 0; r < nn_model_n_ranges(net->m); r++) {
                nn_range range = nn_model_range(net->m, r);
                for (size_t i = 0; i < range.size; i++, at++) {
                    double along = fl_rng_normal(&d);
                    moved[range.offset + i] += (float)((side ? step : -step) * along);
                    expected += side ? g[at] * along : 0;
                }
            }
            nn_gradient(net->m, net->ws, moved, unused, &loss[side], net->image, label);
        }
        double measured = (loss[1] - loss[0]) / (2 * step);
        if (fabs(measured - expected) > 4e-3 * (1 + fabs(expected)))
            fail_msg("direction %d: finite difference %g, gradient %g", direction, measured, expected);
    }
}

static void every_loss_agrees_with_finite_differences(void **state)
{
    (void)state;
    static network net;
    static const float v[3] = {0.5f, 3, 1.25f};
    double plain, weighted;
    static float g[MAX];
    build(&net);
    nn_gradient(net.m, net.ws, net.w, g, &plain, net.image, 1);
    aim_at(&net, &(nn_aim){.learn = "all", .class_weights = v});
    nn_gradient(net.m, net.ws, net.w, g, &weighted, net.image, 1);
    assert_true(fabs(weighted - 3 * plain) < 1e-6);
    check_differences(&net, 1);
    aim_at(&net, &(nn_aim){.learn = "all", .loss = NN_LOSS_BINARY, .class_weights = v});
    for (uint32_t set = 0; set < 8; set += 5)
        check_differences(&net, set);
    aim_at(&net, &(nn_aim){.learn = "0,3", .loss = NN_LOSS_SQUARES, .at = "4"});
    check_differences(&net, 0);
    aim_at(&net, &(nn_aim){.learn = "1", .loss = NN_LOSS_SQUARES, .at = "1"});
    check_differences(&net, 0);
    aim_at(&net, &(nn_aim){.learn = "3,7", .loss = NN_LOSS_SQUARES, .at = "4"}); /* 7 is not reached: zeros */
    check_differences(&net, 0);
    demolish(&net);
}

static void aims_that_do_not_fit_are_refused_and_change_nothing(void **state)
{
    (void)state;
    static network net;
    static const float bad[3] = {1, -1, 1}, nan[3] = {1, 1, NAN};
    const nn_aim aims[] = {{.learn = ""},
                           {.learn = "2"},
                           {.learn = "3,"},
                           {.learn = "3,,5"},
                           {.learn = "head"},
                           {.learn = "8"},
                           {.learn = "all", .class_weights = bad},
                           {.learn = "all", .class_weights = nan},
                           {.learn = "all", .loss = NN_LOSS_SQUARES},
                           {.learn = "all", .loss = NN_LOSS_SQUARES, .at = "9"}};
    fl_err err;
    build(&net);
    for (size_t i = 0; i < sizeof aims / sizeof aims[0]; i++) {
        assert_int_equal(nn_model_aim(net.m, &aims[i], &err), FL_EFORMAT);
        assert_int_equal(nn_model_n_learned(net.m), nn_model_n_weights(net.m));
    }
    nn_model *many;
    assert_ok(nn_model_create(&many, "linear classes", 1, 8, 8, 33, &err), err);
    assert_int_equal(nn_model_aim(many, &(nn_aim){.learn = "all", .loss = NN_LOSS_BINARY}, &err), FL_EFORMAT);
    nn_model_destroy(many);
    demolish(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_learns_as_it_would_within_the_whole),
        cmocka_unit_test(every_loss_agrees_with_finite_differences),
        cmocka_unit_test(aims_that_do_not_fit_are_refused_and_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
