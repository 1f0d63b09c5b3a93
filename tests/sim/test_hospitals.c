/* Folders as hospitals: MNIST-style files made here, and manifests that are wrong. */
#include "sim/hospitals.h"
#include "tests/base/test.h"
#include "tests/node/images.h"

static nn_plan plan;
static fl_err err;
static char dir[4096];

static void make_plan(const char *of_study)
{
    char study[500];
    snprintf(study, sizeof study,
             "[study]\nname = s\n%s\n[input]\nshape = 1x8x8\n[model]\narchitecture = linear\n[rounds]\ncount = 1\n"
             "[privacy]\nepsilon = 8\ndelta = 1e-5\nsampling_rate = 0.5\n",
             of_study);
    assert_ok(nn_plan_from_study(&plan, study, "study", ".", &err), err);
}

static int begin(void **state)
{
    (void)state;
    make_plan("classes = a, b");
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
    assert_true(h.by_number);
    assert_int_equal(h.left_out.other_labels, 4 + 2);
    assert_string_equal(h.left_out.labels[0].text, "2");
    sim_hospitals_fini(&h);
    make_plan("classes = 2, 0\nhospitals = west, east"); /* names that are numbers are the labels */
    assert_ok(load(&h, 0), err);
    assert_int_equal(h.n, 2);
    assert_string_equal(h.list[1].name, "east");
    assert_false(h.by_number);
    assert_string_equal(h.left_out.labels[0].text, "1");
    assert_int_equal(h.list[0].split[NODE_SPLIT_TRAIN].labels[0], 1); /* image 0 has label 0, which is class 1 */
    assert_int_equal(h.list[0].split[NODE_SPLIT_TRAIN].labels[1], 0); /* image 2 has label 2 */
    sim_hospitals_fini(&h);
}

static void put_manifest(const char *rows)
{
    char text[2000], name[5000];
    snprintf(text, sizeof text, "file,label,label_name,patient_id,hospital,split\n%s", rows);
    write_file("manifest.csv", text, strlen(text));
    for (char c = 'a'; c <= 'f'; c++) {
        snprintf(name, sizeof name, "%s/%c.png", dir, c);
        make_png(name, 12, (unsigned)(c - 'a') + 1);
    }
}

/* Two of three classes, in another order than the manifest numbers them; one of two hospitals. */
static void classes_choose_rows_by_name_and_hospitals_by_the_study(void **state)
{
    (void)state;
    sim_hospitals h;
    static const char rows[] = "a.png,0,men,p1,north,train\nb.png,1,gli,p2,north,train\nc.png,2,pit,p3,north,train\n"
                               "d.png,2,pit,p4,north,val\ne.png,1,gli,p5,south,val\nf.png,0,men,p6,north,train\n";
    put_manifest(rows);
    make_plan("classes = pit, gli\nhospitals = north");
    assert_ok(load(&h, 0), err);
    assert_int_equal(h.n, 1);
    const nn_dataset *train = &h.list[0].split[NODE_SPLIT_TRAIN];
    assert_int_equal(train->n_images, 2);
    assert_int_equal(train->labels[0] + train->labels[1], 0 + 1);
    assert_int_equal(train->capacity_images, 2); /* no more memory than the rows need */
    assert_int_equal(h.judge.n_images, 1);
    assert_string_equal(h.judge_name, "val");
    assert_int_equal(h.judge.labels[0], 0);
    assert_int_equal(h.left_out.other_labels, 2);
    assert_int_equal(h.left_out.n_labels, 1);
    assert_string_equal(h.left_out.labels[0].text, "men");
    assert_int_equal(h.left_out.other_hospitals, 1);
    sim_hospitals_fini(&h);
    make_plan("classes = zero, one"); /* no name agrees: the numbers count */
    assert_ok(load(&h, 0), err);
    assert_true(h.by_number);
    assert_int_equal(h.n, 2);
    assert_int_equal(h.left_out.other_labels, 2);
    assert_string_equal(h.left_out.labels[0].text, "2");
    sim_hospitals_fini(&h);
    make_plan("classes = pit, gli\nhospitals = north, west");
    assert_int_equal(load(&h, 0), FL_EFORMAT);
    assert_says(err, "no row of hospital west");
}

static void a_label_of_several_classes_needs_a_study_of_several(void **state)
{
    (void)state;
    sim_hospitals h;
    put_manifest("a.png,,gli|men,p1,north,train\nb.png,,men,p2,north,val\n");
    make_plan("classes = men, gli");
    assert_int_equal(load(&h, 0), FL_EREFUSED);
    assert_says(err, "manifest.csv:2: the label names several classes");
    plan.multi = true;
    put_manifest("a.png,,gli|men,p1,north,train\nb.png,,men,p2,north,val\nc.png,,,p3,north,train\n"
                 "d.png,,pit,p3,north,train\n");
    assert_ok(load(&h, 0), err);
    const nn_dataset *train = &h.list[0].split[NODE_SPLIT_TRAIN];
    assert_int_equal(train->n_images, 3); /* nobody is left out: no class is an answer too */
    assert_int_equal(train->labels[0] + train->labels[1] + train->labels[2], 3);
    assert_int_equal(h.judge.labels[0], 1);
    assert_int_equal(h.left_out.other_labels, 0);
    sim_hospitals_fini(&h);
    put_manifest("a.png,,gli,p1,north,train\nb.png,,men,p2,north,val\n");
    assert_int_equal(load(&h, 0), FL_EREFUSED);
    assert_says(err, "the study needs labels = single");
}

/* What hospitals would type: by rule, or as the study says. */
static void declared_patients_are_the_studys_if_it_says_them(void **state)
{
    (void)state;
    sim_hospitals h;
    static nn_declared list[NN_PLAN_MAX_SITES];
    static const char ini[] =
        "[study]\nname = s\nclasses = a, b\n[input]\nshape = 1x8x8\n[model]\narchitecture = linear\n"
        "[rounds]\ncount = 1\n[privacy]\nepsilon = 8\ndelta = 1e-5\nsampling_rate = 0.5\n";
    char with[600];
    uint32_t n;
    write_idx("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 12);
    write_idx("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 6);
    assert_ok(load(&h, 2), err);
    assert_int_equal(h.list[0].declared, 10);
    assert_ok(nn_study_declared(list, &n, ini, "s", &err), err);
    assert_int_equal(n, 0);
    snprintf(with, sizeof with, "%s[simulation]\ndeclared = site-002:250, site-001:1100\n", ini);
    assert_ok(nn_study_declared(list, &n, with, "s", &err), err);
    assert_int_equal(n, 2);
    assert_ok(sim_hospitals_declare(&h, list, n, false, &err), err);
    assert_int_equal(h.list[0].declared, 1100);
    assert_int_equal(h.list[1].declared, 250);
    strcpy(list[1].hospital, "site-0002");
    assert_int_equal(sim_hospitals_declare(&h, list, n, false, &err), FL_EFORMAT);
    assert_says(err, "did you mean site-002?");
    assert_ok(sim_hospitals_declare(&h, list, n, true, &err), err);
    sim_hospitals_fini(&h);
    static const char *const wrong[] = {"a", "a:", "a:0", "a:-1", "a:1x", "a b:3", ":4", "a:1,", "a:1000000001"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(with, sizeof with, "%s[simulation]\ndeclared = %s\n", ini, wrong[i]);
        assert_int_equal(nn_study_declared(list, &n, with, "s", &err), FL_EFORMAT);
        assert_says(err, "[simulation] declared: expected NAME:COUNT");
    }
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
        {"file,label,patient_id,hospital\na.png,0,,h\n", "manifest.csv:2: file or patient_id is empty"},
        {"file,label,patient_id,hospital\na.png,,p,h\nb.png,0,q,h\n", "manifest.csv:2: the label is empty"},
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
        cmocka_unit_test_setup_teardown(classes_choose_rows_by_name_and_hospitals_by_the_study, begin, end),
        cmocka_unit_test_setup_teardown(a_label_of_several_classes_needs_a_study_of_several, begin, end),
        cmocka_unit_test_setup_teardown(declared_patients_are_the_studys_if_it_says_them, begin, end),
        cmocka_unit_test(declared_patients_are_round_and_never_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
