/*
 * In which order a training step takes its random numbers, and what it leaves behind. This program brings its own fl_csprng
 * in place of crypto/csprng.c: seeded, and writing down what it is asked for. Nothing is random here.
 */
#include "base/rng.h"
#include "tests/base/test.h"
#include "train/dpsgd.h"

#include <pthread.h>

enum { SIDE = 12, SIZE = SIDE * SIDE, PATIENTS = 37, EVENTS_MAX = 1 << 16, WIPES_MAX = 4096 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards all of these */
static fl_rng rng;
static char events[EVENTS_MAX]; /* N: a block of noise; S: a number of 64 bits, for a patient */
static size_t n_events, n_drawn;
static struct {
    const uint8_t *at;
    size_t n;
} wipes[WIPES_MAX];
static size_t n_wipes;
static atomic_bool stop; /* set when so many patients were asked for; 0: never */
static size_t n_until_stop;

void fl_wipe(void *bytes, size_t n)
{
    memset(bytes, 0, n);
    pthread_mutex_lock(&mutex);
    assert_true(n_wipes < WIPES_MAX);
    wipes[n_wipes].at = bytes;
    wipes[n_wipes++].n = n;
    pthread_mutex_unlock(&mutex);
}

void fl_csprng_init(fl_csprng *r)
{
    memset(r, 0, sizeof *r);
}

void fl_csprng_fini(fl_csprng *r)
{
    (void)r;
}

void fl_csprng_bytes(fl_csprng *r, void *bytes, size_t n)
{
    (void)r;
    pthread_mutex_lock(&mutex);
    assert_true(n > 16 * DP_NOISE_SPARE && n % 16 == 0 && n_events < EVENTS_MAX);
    n_drawn += n / 16 - DP_NOISE_SPARE;
    events[n_events++] = 'N';
    for (uint8_t *at = bytes; n > 0; at += 8, n -= 8) {
        uint64_t x = fl_rng_u64(&rng);
        memcpy(at, &x, 8);
    }
    pthread_mutex_unlock(&mutex);
}

uint64_t fl_csprng_u64(fl_csprng *r)
{
    (void)r;
    pthread_mutex_lock(&mutex);
    assert_true(n_events < EVENTS_MAX);
    events[n_events++] = 'S';
    if (n_until_stop > 0 && --n_until_stop == 0)
        atomic_store(&stop, true);
    uint64_t x = fl_rng_u64(&rng);
    pthread_mutex_unlock(&mutex);
    return x;
}

static const char study_text[] = "[study]\nname = order\nclasses = a,b\n[input]\nshape = 1x12x12\n"
                                 "[model]\narchitecture = cnn-tiny\n[rounds]\ncount = 5\nlocal_steps = 3\n"
                                 "[local]\nlearning_rate = 0.1\n[privacy]\nepsilon = 8\ndelta = 1e-5\n"
                                 "sampling_rate = 0.5\nnoise_multiplier = 3\n";

static void a_dataset(nn_dataset *d)
{
    static float image[SIZE];
    static const uint32_t label[1];
    fl_err err;
    assert_ok(nn_dataset_init(d, 1, SIDE, SIDE, &err), err);
    for (uint8_t i = 0; i < PATIENTS; i++) {
        uint8_t key[32] = {i};
        for (int k = 0; k < SIZE; k++)
            image[k] = (float)((k * 7 + i * 13) % 29) / 29;
        assert_ok(nn_dataset_append_patient(d, key, image, label, 1, &err), err);
    }
}

/* When they are freed: as many wipes of one size as there are threads, of more than the images. The memory is gone by
 * then. */
static void check_that_engines_are_wiped(nn_trainer *t, unsigned threads)
{
    unsigned n_engines = 0;
    n_wipes = 0;
    nn_trainer_destroy(t);
    for (size_t i = 0; i < n_wipes && n_engines != threads; i++) {
        n_engines = 0;
        for (size_t k = 0; k < n_wipes; k++)
            n_engines += wipes[k].n == wipes[i].n && wipes[k].n > 4 * SIZE * sizeof(float);
    }
    assert_int_equal(n_engines, threads);
}

static void run(unsigned threads, const atomic_bool *cancel, fl_code expected, nn_plan *p)
{
    fl_err err;
    nn_dataset d;
    nn_trainer *t;
    fl_pool *pool;
    dp_noised *u;
    fl_csprng r;
    assert_ok(nn_plan_from_study(p, study_text, "study", ".", &err), err);
    a_dataset(&d);
    assert_ok(fl_pool_create(&pool, threads, &err), err);
    assert_ok(nn_trainer_create(&t, p, &d, pool, &err), err);
    assert_ok(dp_noised_create(&u, p->n_weights + p->phases[0].probe, &err), err);
    float *w = calloc(p->n_weights, sizeof *w);
    assert_non_null(w);
    fl_rng_init(&rng, 7, threads);
    fl_csprng_init(&r);
    n_events = n_wipes = n_drawn = 0;
    assert_int_equal(nn_trainer_update(t, u, w, PATIENTS, 1, &r, cancel, &err), expected);
    events[n_events] = 0;
    /* what was wiped is still zero: gradients, weights, choices and the noise; sums are zero between steps */
    size_t all = 0;
    bool noise_is_gone = false;
    for (size_t i = 0; i < n_wipes; i++) {
        if (wipes[i].at == (const uint8_t *)dp_noised_values(u))
            continue; /* what is released */
        all += wipes[i].n;
        noise_is_gone |= wipes[i].n == (p->n_weights + p->phases[0].probe) * sizeof(int64_t);
        for (size_t k = 0; k < wipes[i].n; k++)
            assert_int_equal(wipes[i].at[k], 0);
    }
    assert_true(noise_is_gone);
    assert_true(all >= p->n_weights * (sizeof(float) + threads * sizeof(float)) + PATIENTS * sizeof(uint32_t));
    bool is_zero = true;
    for (size_t i = 0; i < dp_noised_size(u); i++)
        is_zero &= dp_noised_values(u)[i] == 0;
    assert_int_equal(is_zero, expected != FL_OK);
    assert_int_equal(dp_noised_draws(u), expected == FL_OK ? p->phases[0].local_steps : 0);
    free(w);
    dp_noised_destroy(u);
    check_that_engines_are_wiped(t, threads);
    fl_pool_destroy(pool);
    n_wipes = 0;
    nn_dataset_fini(&d);
    assert_int_equal(n_wipes, 3); /* images, labels, keys */
    assert_int_equal(wipes[0].n, PATIENTS * SIZE * sizeof(float));
}

/* Each of the three steps: so many blocks as all its integers need, the probe's included, and only then a number for each
 * patient. The same however many threads draw. */
static void all_noise_of_a_step_is_drawn_before_its_patients(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 3; threads++) {
        nn_plan p;
        run(threads, NULL, FL_OK, &p);
        size_t n_blocks = (p.n_weights + p.phases[0].probe + DP_NOISE_BLOCK - 1) / DP_NOISE_BLOCK;
        const char *at = events;
        assert_true(n_blocks >= 1);
        for (int step = 0; step < 3; step++) {
            assert_int_equal(strspn(at, "N"), n_blocks);
            at += n_blocks;
            assert_int_equal(strspn(at, "S"), PATIENTS);
            at += PATIENTS;
        }
        assert_string_equal(at, "");
        assert_int_equal(n_drawn, 3 * (p.n_weights + p.phases[0].probe));
    }
}

static void a_cancelled_update_leaves_nothing_behind(void **state)
{
    (void)state;
    const atomic_bool cancel = true;
    nn_plan p;
    run(2, &cancel, FL_EBUSY, &p);
    assert_string_equal(events, "");
    /* nor on its way: in the second of three steps, while patients are sampled */
    n_until_stop = 2 * PATIENTS - 3;
    run(2, &stop, FL_EBUSY, &p);
    assert_int_equal(n_until_stop, 0);
    assert_non_null(strchr(events, 'S'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_noise_of_a_step_is_drawn_before_its_patients),
        cmocka_unit_test(a_cancelled_update_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
