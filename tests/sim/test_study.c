/* A whole study on fixed features: the mean of the features in one round, then a linear head, both under privacy; and the same
 * study without. Two hospitals, images of stripes made here. */
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "sim/federate.h"
#include "tests/base/test.h"

enum { SIDE = 16, TRAIN = 600, TEST = 200 };

static fl_err err;
static char dir[64];

static const char study_text[] = "[study]\nname = stripes\nclasses = across, down\nseed = 1\n[input]\nshape = 1x16x16\n"
                                 "[model]\narchitecture = file:layers\nlearn = head\n"
                                 "[phase centring]\nlearn = centre\nloss = squares:centre\nsampling_rate = 1\n"
                                 "clip_norm = 1\nnoise_multiplier = 5\n"
                                 "[rounds]\ncount = 12\nquorum = 2\ndeadline_s = 600\nslot_ms = 400\n"
                                 "[server]\noptimiser = momentum\nmomentum = 0.5\nlearning_rate = 200\n"
                                 "average = tail:0.5\n[privacy]\nepsilon = 8\ndelta = 1e-5\nsampling_rate = 1\n"
                                 "clip_norm = 0.05\nallowance_rounds = 0\n";

static void write_file(const char *name, const void *bytes, size_t n)
{
    char path[FL_PATH_MAX];
    assert_ok(fl_file_write(fl_path(path, dir, name), bytes, n, 0600, &err), err);
}

/* Weak stripes of a random phase in noise; label 1: they run down. */
static void write_idx(const char *images, const char *labels, uint16_t count, fl_rng *rng)
{
    const size_t n = 16 + (size_t)count * SIDE * SIDE;
    uint8_t *x = calloc(1, n), *y = calloc(1, 8 + (size_t)count);
    const uint8_t head[16] = {0, 0, 8, 3, 0, 0, (uint8_t)(count >> 8), (uint8_t)count, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    memcpy(x, head, 16);
    memcpy(y, head, 8);
    y[3] = 1;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t label = fl_rng_below(rng, 2), phase = (uint32_t)fl_rng_below(rng, 4);
        y[8 + i] = (uint8_t)label;
        for (uint32_t p = 0; p < SIDE * SIDE; p++) {
            const uint32_t along = label ? p % SIDE : p / SIDE;
            x[16 + i * SIDE * SIDE + p] = (uint8_t)(60 * ((along + phase) / 2 % 2) + fl_rng_below(rng, 196));
        }
    }
    write_file(images, x, n);
    write_file(labels, y, 8 + (size_t)count);
    free(x);
    free(y);
}

static int begin(void **state)
{
    static const char layers[] =
        "scattering 2 4 groups 5 as features\ncentre as centre\nunit\nlinear classes as head\n";
    fl_rng rng;
    (void)state;
    fl_rng_init(&rng, 11, 0);
    snprintf(dir, sizeof dir, "/tmp/cordon-study-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    write_file("layers", layers, strlen(layers));
    write_idx("train-images-idx3-ubyte", "train-labels-idx1-ubyte", TRAIN, &rng);
    write_idx("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", TEST, &rng);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static int end(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static fl_json *run(const char *more)
{
    char text[2048], path[FL_PATH_MAX];
    fl_json *j = NULL;
    sim_outcome out;
    snprintf(text, sizeof text, "%s%s", study_text, more);
    write_file("study.ini", text, strlen(text));
    const sim_federate_options o = {
        .study = fl_path(path, dir, "study.ini"), .data = dir, .n_hospitals = 2, .no_local = true, .n_threads = 2};
    assert_ok(sim_federate(&out, &o, &err), err);
    assert_ok(fl_json_parse(&j, fl_buf_text(&out.json), out.json.size, "outcome", &err), err);
    sim_outcome_fini(&out);
    return j;
}

/* Ten runs gave AUROC 1.000 under this noise. Without a head that learned it is 0.5. */
static void a_head_on_fixed_features_learns_under_privacy(void **state)
{
    (void)state;
    fl_json *j = run("");
    double auroc = 0;
    assert_true(fl_json_real(j, "auroc", &auroc));
    assert_true(auroc > 0.9);
    assert_string_equal(fl_json_text(j, "audit"), "verified");
    const fl_json *spent = fl_json_member(j, "epsilon");
    assert_int_equal(fl_json_count(spent), 2);
    for (size_t i = 0; i < 2; i++) {
        const double epsilon = fl_json_real_value(fl_json_at(spent, i));
        assert_true(epsilon > 7.9 && epsilon <= 8);
    }
    fl_json_free(j);
}

static void a_study_may_say_that_it_is_not_private(void **state)
{
    (void)state;
    fl_json *j = run("[simulation]\nprivacy = no\n");
    double auroc = 0;
    assert_true(fl_json_real(j, "auroc", &auroc));
    assert_true(auroc > 0.9);
    assert_string_equal(fl_json_text(j, "audit"), "none");
    fl_json_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_on_fixed_features_learns_under_privacy),
        cmocka_unit_test(a_study_may_say_that_it_is_not_private),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
