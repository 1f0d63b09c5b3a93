/* The engine: the same bits with every set of kernels that fuses, any number of threads, any batch; models that do not fit. */
#include "base/arena.h"
#include "base/rng.h"
#include "tests/base/test.h"
#include "train/dpsgd.h"
#include "train/kernels.h"
#include "train/predict.h"

static const char graph[] =
    "conv 3x3 24 pad 1 nobias as stem\ngroupnorm 4\nrelu as x\nconv 3x3 24 pad 1\ngroupnorm 3\nsilu\n"
    "conv 3x3 24 pad 1 nobias\nadd x\nrelu as y\nconv 3x3 40 stride 2 pad 1\ntanh\nconv 1x1 33\nmaxpool 2\n"
    "linear 9\ntanh\nlinear classes";

static void fill(float *x, size_t n, double scale, uint64_t seed)
{
    fl_rng rng;
    fl_rng_init(&rng, seed, 3);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(scale * fl_rng_normal(&rng));
}

static nn_dataset images(uint32_t c, uint32_t side, uint32_t n)
{
    nn_dataset d;
    fl_err err;
    float *image = malloc(sizeof(float) * c * side * side);
    assert_non_null(image);
    assert_ok(nn_dataset_init(&d, c, side, side, &err), err);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t key[32] = {(uint8_t)i};
        const uint32_t label = 0;
        fill(image, (size_t)c * side * side, 1, i);
        assert_ok(nn_dataset_append_patient(&d, key, image, &label, 1, &err), err);
    }
    free(image);
    return d;
}

static void kernels_that_fuse_give_equal_gradients(void **state)
{
    (void)state;
    const nn_kernels *wide = nn_kernels_named("avx512"), *narrow = nn_kernels_named("avx2");
    nn_model *m;
    nn_workspace *ws;
    fl_err err;
    if (!wide || !narrow)
        skip();
    assert_ok(nn_model_create(&m, graph, 3, 21, 19, 3, &err), err);
    assert_ok(nn_workspace_create(&ws, m, &err), err);
    const size_t n = nn_model_n_weights(m);
    float *w = calloc(n, sizeof *w), *a = calloc(n, sizeof *a), *b = calloc(n, sizeof *b), image[3 * 21 * 19];
    assert_true(w && a && b);
    fill(w, n, 0.2, 1);
    fill(image, 3 * 21 * 19, 1, 2);
    nn_kernels_use(wide);
    nn_gradient(m, ws, w, a, NULL, image, 2);
    nn_kernels_use(narrow);
    nn_gradient(m, ws, w, b, NULL, image, 2);
    nn_kernels_use(NULL);
    assert_memory_equal(a, b, n * sizeof *a);
    size_t n_other = 0;
    for (size_t i = 0; i < n; i++)
        n_other += a[i] != 0;
    assert_true(n_other > n / 2); /* the comparison was not of zeros */
    free(w);
    free(a);
    free(b);
    nn_workspace_destroy(ws);
    nn_model_destroy(m);
}

/* Alone, where threads share the rows of an image, or among others. */
static void a_prediction_has_the_same_bits_in_any_company(void **state)
{
    (void)state;
    enum { SIDE = 64, N = 7 };
    static float all[3 * N], one[3];
    nn_model *m;
    fl_err err;
    assert_ok(nn_model_create(&m, graph, 1, SIDE, SIDE, 3, &err), err);
    float *w = calloc(nn_model_n_weights(m), sizeof *w);
    assert_non_null(w);
    fill(w, nn_model_n_weights(m), 0.2, 1);
    nn_dataset d = images(1, SIDE, N);
    for (unsigned threads = 1; threads <= 3; threads++) {
        fl_pool *pool;
        assert_ok(fl_pool_create(&pool, threads, &err), err);
        if (threads == 1)
            assert_ok(nn_predict(all, m, w, &d, pool, &err), err);
        for (uint32_t i = 0; i < N; i++) {
            nn_dataset alone = d;
            alone.images += (size_t)i * SIDE * SIDE;
            alone.n_images = 1;
            assert_ok(nn_predict(one, m, w, &alone, pool, &err), err);
            assert_memory_equal(one, all + (size_t)3 * i, sizeof one);
        }
        float again[3 * N];
        assert_ok(nn_predict(again, m, w, &d, pool, &err), err);
        assert_memory_equal(again, all, sizeof again);
        fl_pool_destroy(pool);
    }
    free(w);
    nn_dataset_fini(&d);
    nn_model_destroy(m);
}

static void a_model_too_large_for_memory_is_refused_with_the_figures(void **state)
{
    (void)state;
    static nn_plan p;
    nn_dataset d = images(1, 64, 1);
    fl_pool *pool;
    nn_trainer *t;
    fl_err err;
    if (fl_memory_available() > (size_t)60 << 30)
        skip();
    p = (nn_plan){.n_classes = 2,
                  .channels = 1,
                  .height = 64,
                  .width = 64,
                  .rounds = 1,
                  .n_weights = 4096 * 32000 + 64000,
                  .n_phases = 1,
                  .phases = {{.local_steps = 1, .local_learning_rate = 1, .clip_units = 1 << 20, .augmentations = 1}}};
    strcpy(p.spec, "linear 32000 nobias\nlinear classes nobias");
    strcpy(p.phases[0].clip_norm, "1");
    assert_ok(dp_rate_parse(&p.phases[0].rate, "1", &err), err);
    assert_ok(fl_pool_create(&pool, 64, &err), err);
    assert_int_equal(nn_trainer_create(&t, &p, &d, pool, &err), FL_EREFUSED);
    assert_null(t);
    assert_says(err, "training: the model needs ");
    assert_says(err, " MiB with 64 threads, ");
    assert_says(err, " MiB are free: fewer threads or a smaller model");
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_that_fuse_give_equal_gradients),
        cmocka_unit_test(a_prediction_has_the_same_bits_in_any_company),
        cmocka_unit_test(a_model_too_large_for_memory_is_refused_with_the_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
