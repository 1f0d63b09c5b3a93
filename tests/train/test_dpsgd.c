/* Rounds of a hospital: purity of z_p, exact sums, sampling, noise, steps. Also runs under the thread sanitizer. */
#include "base/rng.h"
#include "privacy/clip.h"
#include "train/dpsgd.h"
#include "train/predict.h"
#include "train/server.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIDE 12
#define SIZE (SIDE * SIDE)

static const char spec[] = "conv 5x5 6 stride 2 pad 2\ngroupnorm 2\ntanh\nmaxpool 2\nconv 2x2 5\nrelu\nlinear classes";

static nn_plan a_plan(void)
{
    nn_plan p = {.n_classes = 2,
                 .channels = 1,
                 .height = SIDE,
                 .width = SIDE,
                 .rounds = 4,
                 .is_private = true,
                 .seed = 11,
                 .n_phases = 1,
                 .phases = {{.local_steps = 1,
                             .local_learning_rate = 0.5,
                             .server_learning_rate = 1,
                             .clip_units = 4096,
                             .noise_variance = 4096u * 4096u,
                             .augmentations = 2,
                             .mirror = true,
                             .shift = 2}}};
    fl_err err;
    nn_model *m;
    strcpy(p.spec, spec);
    strcpy(p.phases[0].clip_norm, "0.5");
    assert_int_equal(dp_rate_parse(&p.phases[0].rate, "1", &err), FL_OK);
    assert_int_equal(nn_model_create(&m, p.spec, 1, SIDE, SIDE, 2, &err), FL_OK);
    p.n_weights = (uint32_t)nn_model_n_weights(m);
    nn_model_destroy(m);
    return p;
}

/* Patient k of the tests: one to three images, all a function of k alone. */
static void add_patient(nn_dataset *d, uint32_t k)
{
    static float images[3 * SIZE];
    uint32_t labels[3];
    uint8_t key[32] = {(uint8_t)k, (uint8_t)(k >> 8), 77};
    fl_rng rng;
    fl_err err;
    fl_rng_init(&rng, k, 1);
    for (size_t i = 0; i < 3 * SIZE; i++)
        images[i] = (float)fl_rng_normal(&rng);
    for (uint32_t i = 0; i < 3; i++)
        labels[i] = (uint32_t)fl_rng_below(&rng, 2);
    assert_int_equal(nn_dataset_append_patient(d, key, images, labels, 1 + k % 3, &err), FL_OK);
}

static nn_dataset a_dataset(const uint32_t *patients, uint32_t n)
{
    nn_dataset d;
    fl_err err;
    assert_int_equal(nn_dataset_init(&d, 1, SIDE, SIDE, &err), FL_OK);
    for (uint32_t i = 0; i < n; i++)
        add_patient(&d, patients[i]);
    return d;
}

static nn_trainer *a_trainer(const nn_plan *p, const nn_dataset *d, fl_pool *pool)
{
    nn_trainer *t;
    fl_err err;
    if (nn_trainer_create(&t, p, d, pool, &err) != FL_OK)
        fail_msg("%s", err.text);
    return t;
}

static fl_pool *a_pool(unsigned n)
{
    fl_pool *pool;
    fl_err err;
    assert_int_equal(fl_pool_create(&pool, n, &err), FL_OK);
    return pool;
}

static void some_weights(float *w, size_t n, uint64_t seed)
{
    fl_rng rng;
    fl_rng_init(&rng, seed, 9);
    for (size_t i = 0; i < n; i++)
        w[i] = (float)(0.3 * fl_rng_normal(&rng));
}

/* u (n_weights + probe) */
static void update(nn_trainer *t, const nn_plan *p, int64_t *u, const float *w, uint64_t declared, uint32_t round)
{
    fl_csprng r;
    fl_err err;
    dp_noised *v;
    fl_csprng_init(&r);
    assert_int_equal(dp_noised_create(&v, p->n_weights + p->phases[0].probe, &err), FL_OK);
    assert_int_equal(nn_trainer_update(t, v, w, declared, round, &r, NULL, &err), FL_OK);
    assert_int_equal(dp_noised_draws(v), p->is_private ? p->phases[0].local_steps : 0);
    memcpy(u, dp_noised_values(v), dp_noised_size(v) * sizeof *u);
    dp_noised_destroy(v);
    fl_csprng_fini(&r);
}

static void a_patient_alone_or_in_any_company_gives_the_same_bits(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    static const uint32_t alone[] = {5}, some[] = {9, 5, 2, 40}, many[] = {1, 2, 3, 4, 6, 7, 8, 10, 11, 5};
    const struct {
        const uint32_t *patients;
        uint32_t n, at;
    } companies[] = {{alone, 1, 0}, {some, 4, 1}, {many, 10, 9}};
    static float w[2000];
    static int32_t first[2000], z[2000];
    size_t bytes = p.n_weights * sizeof *z;
    some_weights(w, p.n_weights, 1);
    for (size_t c = 0; c < 3; c++) {
        nn_dataset d = a_dataset(companies[c].patients, companies[c].n);
        for (unsigned threads = 1; threads <= 2; threads++) {
            fl_pool *pool = a_pool(threads);
            nn_trainer *t = a_trainer(&p, &d, pool);
            for (unsigned on = 0; on < threads; on++) {
                /* another patient before it leaves its traces in the memory */
                nn_patient_units(t, z, companies[c].n - 1 - companies[c].at, w, 3, 1, on);
                nn_patient_units(t, z, companies[c].at, w, 2, 0, on);
                if (c == 0 && threads == 1)
                    memcpy(first, z, bytes);
                assert_memory_equal(first, z, bytes);
            }
            nn_trainer_destroy(t);
            fl_pool_destroy(pool);
        }
        nn_dataset_fini(&d);
    }
    int32_t largest = 0;
    for (uint32_t i = 0; i < p.n_weights; i++)
        largest = abs(first[i]) > largest ? abs(first[i]) : largest;
    assert_true(largest > 100); /* the comparison was not of zeros */
}

/* Kept or made twice in tiles, in blocks of any size, with every set of kernels that fuses: the same integers. */
static void every_way_of_making_gradients_gives_the_same_integers(void **state)
{
    (void)state;
    static const char *const specs[] = {
        spec,
        "linear classes",
        "conv 3x3 20 stride 2 pad 1\nsilu\nconv 3x3 70\ngroupnorm 2\nrelu\nlinear 9\ntanh\nlinear classes",
        "conv 3x3 16 pad 1 as a\nrelu\nconv 3x3 16 pad 1 nobias\ngroupnorm 4\nadd a\nrelu\ndropout "
        "0.3\nglobalpool\nlinear classes",
        "conv 3x3 12 pad 1 standardised as a\nsilu as s\nconv 3x3 12 pad 1 groups 3 standardised nobias\ngroupnorm "
        "3\nconcat "
        "s\ntanh\nmaxpool 3 stride 2 pad 1\ncentre\nunit\nlinear classes",
        "conv 3x3 16 pad 1 nobias\nrelu as x\nconv 3x3 32 stride 2 pad 1 nobias as y\nconv 1x1 32 stride 2 nobias from "
        "x\nadd y\nrelu\nglobalpool\nlinear classes"}; /* the shortcut of a residual network: pixels without a tap */
    static const char *const ways[] = {"kept:1", "kept:8", "tiles:1", "tiles:2", "tiles:16", "chosen:4"};
    static const uint32_t patients[] = {1, 2, 3, 5, 8};
    static float w[30000];
    static int32_t z[30000], first[30000];
    static int64_t u[30000], first_u[30000];
    nn_dataset d = a_dataset(patients, 5);
    fl_pool *pool = a_pool(2);
    some_weights(w, 30000, 8);
    for (size_t k = 0; k < sizeof specs / sizeof specs[0]; k++) {
        nn_plan p = a_plan();
        nn_model *m;
        fl_err err;
        strcpy(p.spec, specs[k]);
        p.is_private = false;
        if (nn_model_create(&m, p.spec, 1, SIDE, SIDE, 2, &err) != FL_OK)
            fail_msg("%s", err.text);
        p.n_weights = (uint32_t)nn_model_n_weights(m);
        nn_model_destroy(m);
        assert_true(p.n_weights <= 30000);
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            setenv("CORDON_GRADIENTS", ways[i], 1);
            nn_trainer *t = a_trainer(&p, &d, pool);
            nn_patient_units(t, z, 1, w, 2, 0, i % 2); /* three images, two copies each */
            update(t, &p, u, w, 5, 1);
            if (i == 0) {
                memcpy(first, z, sizeof z);
                memcpy(first_u, u, sizeof u);
            }
            if (memcmp(first, z, p.n_weights * sizeof *z) != 0 || memcmp(first_u, u, p.n_weights * sizeof *u) != 0)
                fail_msg("%s: %s differs from %s", specs[k], ways[i], ways[0]);
            nn_trainer_destroy(t);
        }
        int n_large = 0;
        for (uint32_t i = 0; i < p.n_weights; i++)
            n_large += abs(first[i]) > 10;
        assert_true(n_large > 20);
    }
    unsetenv("CORDON_GRADIENTS");
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

/* Layers whose norms come from pairs of pixels when the patient has one image, and from the gradient when there are more: whatever is kept,
 * in blocks of any size, with neighbours or alone. */
static void a_broad_layer_gives_the_same_integers_in_every_way(void **state)
{
    (void)state;
    enum { MOST = 1 << 18, PATIENTS = 5 };
    static const char *const ways[] = {"kept:1", "kept:8", "tiles:1", "tiles:8", "chosen:4"};
    static const uint32_t patients[PATIENTS] = {3, 1, 6, 2, 9}, alone[] = {3}; /* 1, 2, 1, 3, 1 images */
    static float w[MOST];
    static int32_t z[MOST], first[PATIENTS][MOST];
    static int64_t u[MOST], first_u[MOST];
    nn_plan p = a_plan();
    nn_model *m;
    fl_err err;
    strcpy(p.spec, "conv 3x3 64 stride 4 pad 1\nrelu\nconv 3x3 256 pad 1\nrelu\nglobalpool\nlinear classes");
    p.is_private = false;
    p.phases[0].augmentations = 1;
    p.phases[0].mirror = false;
    p.phases[0].shift = 0;
    assert_int_equal(nn_model_create(&m, p.spec, 1, SIDE, SIDE, 2, &err), FL_OK);
    p.n_weights = (uint32_t)nn_model_n_weights(m);
    p.phases[0].clip_units = 1 << 16;
    strcpy(p.phases[0].clip_norm, "0.00001");
    nn_model_destroy(m);
    assert_true(p.n_weights <= MOST);
    some_weights(w, MOST, 8);
    fl_pool *pool = a_pool(2);
    nn_dataset d = a_dataset(patients, PATIENTS), one = a_dataset(alone, 1);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        setenv("CORDON_GRADIENTS", ways[i], 1);
        nn_trainer *t = a_trainer(&p, &d, pool), *t1 = a_trainer(&p, &one, pool);
        for (uint32_t k = 0; k < PATIENTS; k++) {
            nn_patient_units(t, z, k, w, 2, 0, i % 2);
            if (i == 0)
                memcpy(first[k], z, sizeof z);
            if (memcmp(first[k], z, p.n_weights * sizeof *z) != 0)
                fail_msg("patient %u: %s differs from %s", k, ways[i], ways[0]);
        }
        nn_patient_units(t1, z, 0, w, 2, 0, 0);
        assert_memory_equal(first[0], z, p.n_weights * sizeof *z);
        update(t, &p, u, w, PATIENTS, 1);
        if (i == 0)
            memcpy(first_u, u, sizeof u);
        assert_memory_equal(first_u, u, p.n_weights * sizeof *u);
        nn_trainer_destroy(t);
        nn_trainer_destroy(t1);
    }
    unsetenv("CORDON_GRADIENTS");
    for (uint32_t k = 0; k < PATIENTS; k++) {
        double square = 0;
        for (uint32_t i = 0; i < p.n_weights; i++)
            square += (double)first[k][i] * first[k][i];
        if (!(square <= 4294967296.0 && square > 0.98 * 4294967296.0)) /* clipped, and to its length */
            fail_msg("patient %u: %g of R^2", k, square / 4294967296.0);
    }
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
    nn_dataset_fini(&one);
}

static void an_update_is_the_exact_sum_of_the_patients(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    static const uint32_t patients[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
    nn_dataset d = a_dataset(patients, 13);
    static float w[2000];
    static int32_t z[2000];
    static int64_t u[2000], naive[2000];
    p.is_private = false;
    p.phases[0].noise_variance = 0;
    some_weights(w, p.n_weights, 2);
    for (unsigned i = 0; i < 6; i++) {
        const unsigned threads = 1 + i % 3;
        p.phases[0].clip_units = i < 3 ? p.phases[0].clip_units
                                       : DP_CLIP_UNITS_MAX / 2; /* three patients may be added up in 32 bits */
        fl_pool *pool = a_pool(threads);
        nn_trainer *t = a_trainer(&p, &d, pool);
        memset(naive, 0, sizeof naive);
        for (uint32_t k = 0; k < 13; k++) {
            unsigned __int128 squares = 0;
            nn_patient_units(t, z, k, w, 1, 0, 0);
            for (uint32_t j = 0; j < p.n_weights; j++) {
                naive[j] += z[j];
                squares += (unsigned __int128)((int64_t)z[j] * z[j]);
            }
            assert_true(squares <= (unsigned __int128)p.phases[0].clip_units * p.phases[0].clip_units);
        }
        update(t, &p, u, w, 13, 1);
        assert_memory_equal(u, naive, p.n_weights * sizeof *u);
        update(t, &p, u, w, 13, 1); /* again: nothing is left over */
        assert_memory_equal(u, naive, p.n_weights * sizeof *u);

        nn_trainer_destroy(t);
        fl_pool_destroy(pool);
    }
    nn_dataset_fini(&d);
}

/* Two steps of plain gradient descent written out, from nn_gradient alone. */
static void without_noise_and_clip_it_is_plain_sgd(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    static const uint32_t patients[] = {3, 6, 9, 12}; /* 1 + k % 3 = 1 image each */
    nn_dataset d = a_dataset(patients, 4);
    static float w[2000], g[2000], plain[2000];
    static int64_t u[2000];
    fl_pool *pool = a_pool(1);
    fl_err err;
    nn_workspace *ws;
    p.is_private = p.phases[0].mirror = false;
    p.phases[0].shift = 0;
    p.phases[0].augmentations = 1;
    p.phases[0].local_steps = 2;
    p.phases[0].clip_units = 1u << 30; /* a fine grid under a clip that clips nothing */
    strcpy(p.phases[0].clip_norm, "1000");
    nn_trainer *t = a_trainer(&p, &d, pool);
    assert_int_equal(nn_workspace_create(&ws, nn_trainer_model(t), &err), FL_OK);
    some_weights(w, p.n_weights, 3);
    memcpy(plain, w, sizeof plain);
    for (int step = 0; step < 2; step++) {
        static double sum[2000];
        memset(sum, 0, sizeof sum);
        for (uint32_t i = 0; i < d.n_images; i++) {
            nn_gradient(nn_trainer_model(t), ws, plain, g, NULL, d.images + i * SIZE, d.labels[i]);
            for (uint32_t j = 0; j < p.n_weights; j++)
                sum[j] += g[j];
        }
        for (uint32_t j = 0; j < p.n_weights; j++)
            plain[j] = (float)(plain[j] - 0.5 * sum[j] / 4);
    }
    update(t, &p, u, w, 4, 1);
    for (uint32_t j = 0; j < p.n_weights; j++) {
        double ours = w[j] - 0.5 * nn_phase_grid(&p.phases[0]) * (double)u[j] / 4;
        assert_true(fabs(ours - plain[j]) < 2e-6);
    }
    nn_workspace_destroy(ws);
    nn_trainer_destroy(t);
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

static void a_patients_gradient_is_the_mean_over_images(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    static const uint32_t patients[] = {2}; /* three images */
    nn_dataset d = a_dataset(patients, 1);
    static float w[2000], g[2000];
    static double mean[2000];
    static int32_t z[2000];
    fl_pool *pool = a_pool(1);
    fl_err err;
    nn_workspace *ws;
    p.phases[0].mirror = false;
    p.phases[0].shift = 0;
    p.phases[0].augmentations = 1;
    strcpy(p.phases[0].clip_norm, "100");
    p.phases[0].clip_units = 1u << 28;
    nn_trainer *t = a_trainer(&p, &d, pool);
    assert_int_equal(nn_workspace_create(&ws, nn_trainer_model(t), &err), FL_OK);
    some_weights(w, p.n_weights, 4);
    for (uint32_t i = 0; i < 3; i++) {
        nn_gradient(nn_trainer_model(t), ws, w, g, NULL, d.images + i * SIZE, d.labels[i]);
        for (uint32_t j = 0; j < p.n_weights; j++)
            mean[j] += g[j] / 3.0;
    }
    nn_patient_units(t, z, 0, w, 1, 0, 0);
    for (uint32_t j = 0; j < p.n_weights; j++)
        assert_true(fabs(z[j] * nn_phase_grid(&p.phases[0]) - mean[j]) < 1e-5);
    nn_workspace_destroy(ws);
    nn_trainer_destroy(t);
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

static void augmentation_follows_patient_round_and_step_and_nothing_else(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    static const uint32_t patients[] = {4, 7};
    nn_dataset d = a_dataset(patients, 2);
    static float w[2000];
    static int32_t a[2000], b[2000];
    fl_pool *pool = a_pool(1);
    some_weights(w, p.n_weights, 5);
    nn_trainer *t = a_trainer(&p, &d, pool);
    int n_different = 0;
    for (uint32_t step = 0; step < 8; step++) {
        nn_patient_units(t, a, 0, w, 1, 0, 0);
        nn_patient_units(t, b, 0, w, 1 + step / 4, step % 4, 0);
        n_different += memcmp(a, b, p.n_weights * sizeof *a) != 0;
    }
    assert_true(n_different >= 6); /* 50 images an image can become: two may agree, most may not */
    /* the same pictures under another pseudonym are changed in another way */
    nn_patient_units(t, a, 0, w, 1, 0, 0);
    d.patient_key[0][5] ^= 1;
    nn_patient_units(t, b, 0, w, 1, 0, 0);
    assert_memory_not_equal(a, b, p.n_weights * sizeof *a);
    nn_trainer_destroy(t);
    p.seed++;
    d.patient_key[0][5] ^= 1;
    t = a_trainer(&p, &d, pool);
    nn_patient_units(t, b, 0, w, 1, 0, 0);
    assert_memory_not_equal(a, b, p.n_weights * sizeof *a);
    nn_trainer_destroy(t);
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

/* The mean square of n > 300 draws has a relative standard deviation below 8.2 %: 60 % is more than 7 of them, which
 * happens once in 1e11. */
static void expect_pure_noise(const nn_plan *p, const int64_t *u, double steps)
{
    double squares = 0, expected = steps * (double)p->phases[0].noise_variance;
    for (uint32_t i = 0; i < p->n_weights; i++)
        squares += (double)u[i] * (double)u[i];
    assert_true(p->n_weights > 300);
    assert_true(fabs(squares / p->n_weights / expected - 1) < 0.6);
}

static void an_empty_data_set_releases_noise_of_the_same_size(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    nn_dataset d = a_dataset(NULL, 0);
    static float w[2000];
    static int64_t u[2000], again[2000];
    fl_pool *pool = a_pool(2);
    p.phases[0].local_steps = 3;
    nn_trainer *t = a_trainer(&p, &d, pool);
    update(t, &p, u, w, 100, 1);
    expect_pure_noise(&p, u, 3);
    update(t, &p, again, w, 100, 1);
    assert_memory_not_equal(u, again, p.n_weights * sizeof *u); /* fresh noise each time */
    nn_trainer_destroy(t);
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

static void a_broken_patient_adds_nothing_and_changes_nothing_else(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    static const uint32_t patients[] = {1, 2, 3}, others[] = {1, 3};
    nn_dataset d = a_dataset(patients, 3), without = a_dataset(others, 2);
    static float w[2000];
    static int32_t z[2000], zeros[2000];
    static int64_t u[2000], expected[2000];
    fl_pool *pool = a_pool(2);
    p.is_private = false;
    some_weights(w, p.n_weights, 6);
    /* one value of one of the patient's images; shifts may move it out of an edge, so it is in the middle */
    d.images[d.patient_first[1] * SIZE + SIZE / 2 + SIDE / 2] = NAN;
    nn_trainer *t = a_trainer(&p, &d, pool), *t_without = a_trainer(&p, &without, pool);
    memset(z, 1, sizeof z);
    nn_patient_units(t, z, 1, w, 1, 0, 0);
    assert_memory_equal(z, zeros, p.n_weights * sizeof *z);
    update(t, &p, u, w, 3, 1);
    update(t_without, &p, expected, w, 3, 1);
    assert_memory_equal(u, expected, p.n_weights * sizeof *u);
    nn_trainer_destroy(t);
    nn_trainer_destroy(t_without);
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
    nn_dataset_fini(&without);
}

/* With q = 1/2 and 200 patients a step takes 100 on average, standard deviation 7: 50 to 150 but for 1e-12. */
static void sampling_takes_each_patient_with_its_probability(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    nn_dataset d = a_dataset(NULL, 0);
    static float w[2000];
    static int32_t z[2000];
    static int64_t u[2000];
    fl_pool *pool = a_pool(2);
    fl_err err;
    for (uint32_t k = 0; k < 200; k++)
        add_patient(&d, 3); /* all alike, so that the sum counts them */
    p.is_private = false;
    some_weights(w, p.n_weights, 7);
    assert_int_equal(dp_rate_parse(&p.phases[0].rate, "0.5", &err), FL_OK);
    nn_trainer *t = a_trainer(&p, &d, pool);
    nn_patient_units(t, z, 0, w, 1, 0, 0);
    uint32_t at = 0;
    while (z[at] == 0)
        at++;
    int64_t counts[6];
    bool is_always_the_same = true;
    for (int i = 0; i < 6; i++) {
        update(t, &p, u, w, 200, 1);
        counts[i] = u[at] / z[at];
        assert_int_equal(u[at] % z[at], 0);
        assert_in_range(counts[i], 50, 150);
        is_always_the_same &= counts[i] == counts[0];
    }
    assert_false(is_always_the_same);
    nn_trainer_destroy(t);
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

static void a_cancelled_update_leaves_nothing(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    static const uint32_t patients[] = {1, 2, 3};
    nn_dataset d = a_dataset(patients, 3);
    static float w[2000];
    static int64_t zeros[2000];
    dp_noised *u;
    fl_pool *pool = a_pool(1);
    fl_csprng r;
    fl_err err;
    atomic_bool cancel = true;
    nn_trainer *t = a_trainer(&p, &d, pool);
    fl_csprng_init(&r);
    assert_int_equal(dp_noised_create(&u, p.n_weights, &err), FL_OK);
    dp_noised_draw(u, 100, &r);
    assert_int_equal(nn_trainer_update(t, u, w, 3, 1, &r, &cancel, &err), FL_EBUSY);
    assert_memory_equal(dp_noised_values(u), zeros, p.n_weights * sizeof *zeros);
    assert_int_equal(dp_noised_draws(u), 0);
    dp_noised_destroy(u);
    fl_csprng_fini(&r);
    nn_trainer_destroy(t);
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

static void data_that_do_not_fit_the_plan_are_refused(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    static const uint32_t patients[] = {1, 2};
    nn_dataset d = a_dataset(patients, 2);
    fl_pool *pool = a_pool(1);
    nn_trainer *t;
    fl_err err;
    d.labels[1] = 2;
    assert_int_equal(nn_trainer_create(&t, &p, &d, pool, &err), FL_EREFUSED);
    assert_null(t);
    d.labels[1] = 1;
    p.width++;
    assert_int_equal(nn_trainer_create(&t, &p, &d, pool, &err), FL_EREFUSED);
    assert_non_null(strstr(err.text, "1x12x12"));
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

/* The noised counts of a round come from its probabilities: those of a set of classes do not add up to one. */
/* Also when the other weights are 1: a class that counts nothing is no plan without weights. */
static void a_class_of_weight_zero_teaches_nothing(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    fl_pool *pool;
    fl_err err;
    nn_dataset d;
    float image[SIDE * SIDE], *w = calloc(p.n_weights, sizeof *w);
    int32_t *z = calloc(p.n_weights, sizeof *z);
    p.class_weights[1] = 1;
    assert_true(w && z);
    assert_int_equal(fl_pool_create(&pool, 1, &err), FL_OK);
    assert_int_equal(nn_dataset_init(&d, 1, SIDE, SIDE, &err), FL_OK);
    for (size_t i = 0; i < SIDE * SIDE; i++)
        image[i] = (float)(i % 7) / 7;
    for (uint32_t label = 0; label < 2; label++) {
        const uint8_t key[32] = {(uint8_t)label};
        assert_int_equal(nn_dataset_append_patient(&d, key, image, &label, 1, &err), FL_OK);
    }
    nn_trainer *t = a_trainer(&p, &d, pool);
    nn_model_init_weights(nn_trainer_model(t), w, 5);
    for (uint32_t patient = 0; patient < 2; patient++) {
        bool moves = false;
        nn_patient_units(t, z, patient, w, 1, 0, 0);
        for (uint32_t i = 0; i < p.n_weights; i++)
            moves |= z[i] != 0;
        assert_int_equal(moves, patient == 1);
    }
    nn_trainer_destroy(t);
    nn_dataset_fini(&d);
    fl_pool_destroy(pool);
    free(z);
    free(w);
}

static void the_trainers_model_predicts_what_the_labels_are(void **state)
{
    (void)state;
    static const uint32_t patients[] = {1, 2};
    static float w[2000], probabilities[2 * 6];
    nn_plan p = a_plan();
    nn_dataset d = a_dataset(patients, 2);
    fl_pool *pool = a_pool(1);
    fl_err err;
    w[p.n_weights - 2] = w[p.n_weights - 1] = 5; /* the biases of both classes */
    for (int multi = 0; multi < 2; multi++) {
        p.multi = multi;
        p.phases[0].loss = multi ? NN_LOSS_BINARY : NN_LOSS_SOFTMAX;
        nn_trainer *t = a_trainer(&p, &d, pool);
        assert_int_equal(nn_predict(probabilities, nn_trainer_model(t), w, &d, pool, &err), FL_OK);
        for (uint32_t i = 0; i < 2 * d.n_images; i++)
            assert_true(fabs(probabilities[i] - (multi ? 0.9933 : 0.5)) < 1e-4);
        nn_trainer_destroy(t);
    }
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

/* The last values of an update belong to no weight: no patient is in them, and the steps' noise is. */
static void the_probe_holds_noise_and_no_patient(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    static const uint32_t patients[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    enum { PROBE = 4000 };
    nn_dataset d = a_dataset(patients, 10);
    static float w[2000];
    static int64_t u[6000];
    p.phases[0].probe = PROBE;
    p.phases[0].local_steps = 3;
    some_weights(w, p.n_weights, 2);
    fl_pool *pool = a_pool(2);
    nn_trainer *t = a_trainer(&p, &d, pool);
    update(t, &p, u, w, 10, 1);
    double squares = 0, expected = PROBE * 3.0 * (double)p.phases[0].noise_variance;
    for (uint32_t i = 0; i < PROBE; i++)
        squares += (double)u[p.n_weights + i] * (double)u[p.n_weights + i];
    /* chi-square with 4000 degrees of freedom: its relative standard deviation is 0.0224, so 0.16 is 7 of them, < 1e-10 */
    assert_true(fabs(squares / expected - 1) < 0.16);
    nn_trainer_destroy(t);

    p.is_private = false;
    p.phases[0].noise_variance = 0;
    t = a_trainer(&p, &d, pool);
    update(t, &p, u, w, 10, 1);
    for (uint32_t i = 0; i < PROBE; i++)
        assert_true(u[p.n_weights + i] == 0);
    nn_trainer_destroy(t);
    fl_pool_destroy(pool);
    nn_dataset_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_patient_alone_or_in_any_company_gives_the_same_bits),
        cmocka_unit_test(every_way_of_making_gradients_gives_the_same_integers),
        cmocka_unit_test(a_broad_layer_gives_the_same_integers_in_every_way),
        cmocka_unit_test(an_update_is_the_exact_sum_of_the_patients),
        cmocka_unit_test(without_noise_and_clip_it_is_plain_sgd),
        cmocka_unit_test(a_patients_gradient_is_the_mean_over_images),
        cmocka_unit_test(augmentation_follows_patient_round_and_step_and_nothing_else),
        cmocka_unit_test(an_empty_data_set_releases_noise_of_the_same_size),
        cmocka_unit_test(a_broken_patient_adds_nothing_and_changes_nothing_else),
        cmocka_unit_test(sampling_takes_each_patient_with_its_probability),
        cmocka_unit_test(a_cancelled_update_leaves_nothing),
        cmocka_unit_test(data_that_do_not_fit_the_plan_are_refused),
        cmocka_unit_test(a_class_of_weight_zero_teaches_nothing),
        cmocka_unit_test(the_trainers_model_predicts_what_the_labels_are),
        cmocka_unit_test(the_probe_holds_noise_and_no_patient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
