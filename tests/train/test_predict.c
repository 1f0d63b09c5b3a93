/* Predictions: the same numbers on any number of threads; what becomes of logits. */
#include "base/rng.h"
#include "train/predict.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static void probabilities_follow_the_models_aim(void **state)
{
    (void)state;
    nn_model *m;
    fl_err err;
    float p[3];
    const float logits[3] = {2, -1, 0}, odd[3] = {1000, NAN, -1000};
    assert_int_equal(nn_model_create(&m, "linear classes", 1, 2, 2, 3, &err), FL_OK);
    nn_probabilities(p, m, logits);
    const double sum = exp(2) + exp(-1) + 1;
    assert_true(fabs(p[0] - exp(2) / sum) < 1e-6 && fabs(p[1] - exp(-1) / sum) < 1e-6);
    nn_probabilities(p, m, odd);
    assert_true(p[0] == p[1] && p[1] == p[2]);
    assert_int_equal(nn_model_aim(m, &(nn_aim){.learn = "all", .loss = NN_LOSS_BINARY}, &err), FL_OK);
    nn_probabilities(p, m, logits);
    assert_true(fabs(p[0] - 1 / (1 + exp(-2))) < 1e-6 && fabs(p[1] - 1 / (1 + exp(1))) < 1e-6 && p[2] == 0.5f);
    nn_probabilities(p, m, odd);
    assert_true(p[0] == 1 && p[1] == 0.5f && p[2] == 0);
    nn_model_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predictions_do_not_depend_on_threads),
        cmocka_unit_test(probabilities_follow_the_models_aim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
