/* Fixed features kept beside the images: the same bits as without them, for training and prediction. */
#include "base/file.h"
#include "base/rng.h"
#include "tests/base/test.h"
#include "train/dpsgd.h"
#include "train/predict.h"
#include "train/prefix.h"

enum { SIDE = 16, SIZE = SIDE * SIDE, PATIENTS = 9 };

static nn_plan plan;
static nn_dataset data;
static fl_pool *pool;
static fl_err err;

static void read_plan(const char *layers)
{
    char text[1024], path[FL_PATH_MAX], dir[] = "/tmp/cordon-prefix-XXXXXX";
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/spec", dir);
    FILE *f = fopen(path, "w");
    fputs(layers, f);
    fclose(f);
    snprintf(text, sizeof text,
             "[study]\nname = p\nclasses = a, b\n[input]\nshape = 1x16x16\n[model]\narchitecture = file:spec\n"
             "[rounds]\ncount = 3\n[privacy]\nepsilon = 8\ndelta = 1e-5\nsampling_rate = 1\n");
    assert_ok(nn_plan_from_study(&plan, text, "p", dir, &err), err);
    unlink(path);
    rmdir(dir);
}

static int begin(void **state)
{
    (void)state;
    fl_rng rng;
    float images[3 * SIZE];
    fl_rng_init(&rng, 5, 0);
    assert_ok(fl_pool_create(&pool, 2, &err), err);
    assert_ok(nn_dataset_init(&data, 1, SIDE, SIDE, &err), err);
    for (uint32_t p = 0; p < PATIENTS; p++) {
        const uint8_t key[32] = {(uint8_t)p};
        const uint32_t n = 1 + p % 3, labels[3] = {p % 2, p % 2, p % 2};
        for (uint32_t i = 0; i < n * SIZE; i++)
            images[i] = (float)(2 * fl_rng_uniform(&rng) - 1);
        assert_ok(nn_dataset_append_patient(&data, key, images, labels, n, &err), err);
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    nn_dataset_fini(&data);
    fl_pool_destroy(pool);
    return 0;
}

static void same_with_and_without(const char *layers)
{
    read_plan(layers);
    nn_trainer *t;
    nn_dataset_forget_prefix(&data);
    assert_ok(nn_trainer_create(&t, &plan, &data, pool, &err), err);
    const nn_model *m = nn_trainer_model(t);
    const size_t n = nn_model_n_weights(m);
    float *w = calloc(n, sizeof *w), p[2][40];
    int32_t *z[2] = {calloc(n * PATIENTS, sizeof(int32_t)), calloc(n * PATIENTS, sizeof(int32_t))};
    nn_model_init_weights(m, w, 3);
    for (size_t i = 0; i < n; i++)
        w[i] += (float)(i % 7) * 0.01f;
    for (int kept = 0; kept < 2; kept++) {
        if (kept)
            assert_ok(nn_dataset_prepare(&data, m, pool, &err), err);
        assert_int_equal(nn_prefix_of(&data, m, 0) != NULL, kept);
        for (uint32_t i = 0; i < PATIENTS; i++)
            nn_patient_units(t, z[kept] + i * n, i, w, 1, 0, 0);
        assert_ok(nn_predict(p[kept], m, w, &data, pool, &err), err);
    }
    assert_memory_equal(z[0], z[1], n * PATIENTS * sizeof(int32_t));
    assert_memory_equal(p[0], p[1], 2 * data.n_images * sizeof(float));
    int64_t any = 0;
    for (size_t i = 0; i < n * PATIENTS; i++)
        any |= z[0][i];
    assert_true(any != 0);
    /* what is kept is what is read: another number in it is another gradient */
    data.prefix[0] += 1;
    nn_patient_units(t, z[1], 0, w, 1, 0, 0);
    assert_memory_not_equal(z[0], z[1], n * sizeof(int32_t));
    free(w);
    free(z[0]);
    free(z[1]);
    nn_trainer_destroy(t);
}

static void kept_features_give_the_same_bits(void **state)
{
    (void)state;
    same_with_and_without("scattering 2 4 mirror\ncentre\nunit\nlinear classes\n");
    same_with_and_without("scattering 1 8\nconv 3x3 4 pad 1\ntanh\nlinear classes\n");
}

static void another_model_or_another_image_wants_other_features(void **state)
{
    (void)state;
    nn_model *a, *b, *none, *both;
    assert_ok(nn_model_create(&a, "scattering 2 4\nlinear classes", 1, SIDE, SIDE, 2, &err), err);
    assert_ok(nn_model_create(&b, "scattering 2 4 mirror\nlinear classes", 1, SIDE, SIDE, 2, &err), err);
    assert_ok(nn_model_create(&none, "relu\nlinear classes", 1, SIDE, SIDE, 2, &err), err);
    assert_ok(nn_model_create(&both, "scattering 1 4 as s\nflatten as f\nflatten from image\nconcat f\nlinear classes",
                              1, SIDE, SIDE, 2, &err),
              err);
    nn_dataset_forget_prefix(&data);
    assert_int_equal(nn_prefix_layers(none), 0);
    assert_int_equal(nn_prefix_layers(both), 0);
    assert_ok(nn_dataset_prepare(&data, none, pool, &err), err);
    assert_ok(nn_dataset_prepare(&data, both, pool, &err), err);
    assert_null(data.prefix);
    assert_ok(nn_dataset_prepare(&data, a, pool, &err), err);
    assert_non_null(nn_prefix_of(&data, a, 0));
    assert_null(nn_prefix_of(&data, b, 0));
    nn_dataset more;
    assert_ok(nn_dataset_init(&more, 1, SIDE, SIDE, &err), err);
    assert_ok(nn_dataset_append_all(&more, &data, &err), err);
    assert_null(nn_prefix_of(&more, a, 0));
    assert_ok(nn_dataset_prepare(&more, a, pool, &err), err);
    assert_ok(nn_dataset_append_all(&more, &data, &err), err);
    assert_null(nn_prefix_of(&more, a, 0)); /* half of it is not known */
    nn_dataset_fini(&more);
    nn_model_destroy(a);
    nn_model_destroy(b);
    nn_model_destroy(none);
    nn_model_destroy(both);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_features_give_the_same_bits),
        cmocka_unit_test(another_model_or_another_image_wants_other_features),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
