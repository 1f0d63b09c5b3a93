/* Folders as hospitals: MNIST-style files made here, and manifests that are wrong. */
#include "sim/hospitals.h"
#include "tests/base/test.h"

static nn_plan plan;
static fl_err err;
static char dir[4096];

static int begin(void **state)
{
    static const char study[] =
        "[study]\nname = s\nclasses = a, b\n[input]\nshape = 1x8x8\n[model]\narchitecture = linear\n"
        "[rounds]\ncount = 1\n[privacy]\nepsilon = 8\ndelta = 1e-5\nsampling_rate = 0.5\n";
    (void)state;
    assert_ok(nn_plan_from_study(&plan, study, "study", ".", &err), err);
    snprintf(dir, sizeof dir, "/tmp/cordon-hospitals-XXXXXX");
    return mkdtemp(dir) ? 0 : 1;
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

static void write_file(const char *name, const void *bytes, size_t n)
{
    char path[5000];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(fl_file_write(path, bytes, n, 0600, &err), err);
}

/* count images of 4 x 4, image i filled with i; labels 0 1 2 0 1 2 ... */
static void write_idx(const char *images, const char *labels, uint8_t count)
{
    uint8_t bytes[16 + 16 * 32] = {0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 4, 0, 0, 0, 4},
                            l[8 + 32] = {0, 0, 8, 1, 0, 0, 0, count};
    for (int i = 0; i < count; i++) {
        for (int p = 0; p < 16; p++)
            bytes[16 + 16 * i + p] = (uint8_t)(i * p);
        l[8 + i] = (uint8_t)(i % 3);
    }
    write_file(images, bytes, 16 + 16 * (size_t)count);
    write_file(labels, l, 8 + (size_t)count);
}

static fl_code load(sim_hospitals *h, uint32_t n)
{
    fl_code rc = sim_hospitals_load(h, dir, &plan, n, &err);
    if (rc)
        assert_null(h->list);
    return rc;
}

static void mnist_style_files_are_dealt_out_and_other_labels_left_out(void **state)
{
    (void)state;
    sim_hospitals h;
    write_idx("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 12);
    write_idx("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 6);
    assert_ok(load(&h, 2), err);
    assert_int_equal(h.n, 2);
    assert_int_equal(h.list[0].split[NODE_SPLIT_TRAIN].n_patients + h.list[1].split[NODE_SPLIT_TRAIN].n_patients, 8);
    assert_int_equal(h.judge.n_images, 4);
    assert_string_equal(h.judge_name, "test");
    sim_hospitals_fini(&h);
}

static void damaged_mnist_style_files_are_refused(void **state)
{
    (void)state;
    sim_hospitals h;
    write_idx("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 12);
    assert_int_equal(load(&h, 1), FL_ENOTFOUND); /* no t10k */
    write_idx("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 6);
    write_idx("t10k-images-idx3-ubyte", "elsewhere", 5);
    assert_int_equal(load(&h, 1), FL_EFORMAT); /* 5 images, 6 labels */
    const uint8_t short_one[] = {0, 0, 8, 3, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 4, 0, 0, 0, 4, 1, 2, 3};
    for (size_t n = 0; n <= sizeof short_one; n++) {
        write_file("t10k-images-idx3-ubyte", short_one, n);
        assert_int_equal(load(&h, 1), FL_EFORMAT);
    }
    const uint8_t gzip_cut[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x63, 0x60};
    write_file("t10k-images-idx3-ubyte", gzip_cut, sizeof gzip_cut);
    assert_int_equal(load(&h, 1), FL_EFORMAT);
}

static void a_manifest_that_is_wrong_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *csv, *words;
    } wrong[] = {
        {"", "is empty"},
        {"file,label,hospital\n", "no column \"patient_id\""},
        {"file,label,patient_id,hospital\na.png,0,,h\n", "manifest.csv:2: file, label or patient_id is empty"},
        {"file,label,patient_id,hospital\na.png,0,p,h 1\n", "manifest.csv:2: hospital:"},
        {"file,label,patient_id,hospital,split\na.png,0,p,h,soon\n", "manifest.csv:2: split:"},
        {"file,label,patient_id,hospital,split\na.png,0,p,h,train\nb.png,0,p,h,val\n", "in two splits"},
        {"file,label,patient_id,hospital\n\"a.png,0,p,h\n", "a quote is not closed"},
        {"file,label,patient_id,hospital\na.png,7,p,h\n", "no row has a label of the study's classes"},
    };
    sim_hospitals h;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        write_file("manifest.csv", wrong[i].csv, strlen(wrong[i].csv));
        assert_int_equal(load(&h, 0), FL_EFORMAT);
        assert_says(err, wrong[i].words);
    }
}

static void declared_patients_are_round_and_never_more(void **state)
{
    (void)state;
    for (uint64_t n = 10; n < 100000; n = n * 11 / 10 + 1) {
        const uint64_t d = sim_declared(n);
        assert_true(d <= n && 2 * d >= n);
    }
    assert_int_equal(sim_declared(3), 10);
    assert_int_equal(sim_declared(1187), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mnist_style_files_are_dealt_out_and_other_labels_left_out, begin, end),
        cmocka_unit_test_setup_teardown(damaged_mnist_style_files_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(a_manifest_that_is_wrong_is_refused_with_its_line, begin, end),
        cmocka_unit_test(declared_patients_are_round_and_never_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
