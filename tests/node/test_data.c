#include "tests/node/images.h"

#include "node/data.h"
#include "node/labels.h"
#include <signal.h>
#include <sys/resource.h>

typedef struct hospital {
    const char *dir;
    node_store store;
    node_policy policy;
    node_data_report report;
    char *lines;
    size_t n_lines;
    fl_err err;
    fl_code rc;
} hospital;

static const uint8_t seed[32] = {9};

static void open_hospital(hospital *h, const char *dir)
{
    memset(h, 0, sizeof *h);
    h->dir = dir;
    assert_ok(node_store_open_memory(&h->store, "anna", seed, &h->err), h->err);
    node_policy_for_memory(&h->policy, "8", "1e-5", 100);
}

static void close_hospital(hospital *h)
{
    free(h->lines);
    node_store_close(&h->store);
}

static char *in(const hospital *h, const char *name)
{
    static char paths[4][FL_PATH_MAX];
    static unsigned next;
    return fl_path(paths[next++ % 4], h->dir, name);
}

static void add_with(hospital *h, const char *labels, const char *path, bool lone)
{
    char *paths[1] = {(char *)path};
    const node_data_options options = {.one_image_per_patient = lone, .decoder = CORDON_BIN_DIR "/cordon-decode"};
    free(h->lines);
    h->lines = NULL;
    FILE *out = open_memstream(&h->lines, &h->n_lines);
    h->rc = node_data_add(&h->store, "main", labels, paths, 1, &options, &h->policy, out, &h->report, &h->err);
    fclose(out);
}

static void add(hospital *h, const char *csv)
{
    make_text(in(h, "labels.csv"), csv);
    add_with(h, NULL, h->dir, false);
}

static int64_t count(hospital *h, const char *sql)
{
    fl_query q;
    assert_ok(fl_query_open(&q, h->store.db, sql, &h->err), h->err);
    int64_t n = fl_query_row(&q) ? fl_column_int(&q, 0) : -1;
    assert_ok(fl_query_close(&q, &h->err), h->err);
    return n;
}

static size_t n_objects(hospital *h)
{
    return (size_t)count(h, "SELECT count(DISTINCT object) FROM image");
}

#define assert_line(h, words)                                                                                          \
    do {                                                                                                               \
        if (!strstr((h)->lines, words))                                                                                \
            fail_msg("no '%s' in:\n%s", words, (h)->lines);                                                            \
    } while (0)

/* A hospital whose store is a folder, beside the folder of its images. */
static void open_folder(hospital *h, const char *dir)
{
    char store[FL_PATH_MAX];
    static char images[FL_PATH_MAX];
    memset(h, 0, sizeof *h);
    assert_ok(node_store_make(fl_path(store, dir, "store"), "anna", &h->err), h->err);
    assert_ok(node_store_open(&h->store, store, &h->err), h->err);
    assert_ok(fl_dir_make(fl_path(images, dir, "images"), &h->err), h->err);
    h->dir = images;
    node_policy_for_memory(&h->policy, "8", "1e-5", 100);
}

static fl_code count_file(void *context, const char *path, fl_err *err)
{
    (void)path, (void)err;
    ++*(size_t *)context;
    return FL_OK;
}

static size_t n_object_files(hospital *h)
{
    char path[FL_PATH_MAX];
    size_t n = 0;
    assert_ok(fl_dir_walk(fl_path(path, h->store.dir, "objects"), count_file, &n, &h->err), h->err);
    return n;
}

/* ---- */

static void takes_png_by_file_and_dicom_by_uid(void **state)
{
    hospital h;
    open_hospital(&h, *state);
    make_png(in(&h, "a.png"), 40, 1);
    make_dicom(in(&h, "b.dcm"), 48, 2, "4711", "ANNA", "1.2.3.4.5");
    add(&h, "file,sop_instance_uid,label,patient_id,split\n"
            "a.png,,normal,p1,train\n"
            ",1.2.3.4.5,pneumonia,,test\n");
    assert_int_equal(h.rc, FL_OK);
    assert_int_equal(node_data_exit(&h.report), 0);
    assert_int_equal(h.report.n_taken, 2);
    assert_string_equal(h.lines, "");
    assert_int_equal(
        count(&h, "SELECT count(*) FROM image WHERE sop IS NULL AND width = 40 AND bits = 8 AND split = 0"), 1);
    assert_int_equal(
        count(&h, "SELECT count(*) FROM image WHERE sop IS NOT NULL AND bits = 12 AND split = 2 AND modality = 'CR'"),
        1);
    close_hospital(&h);
}

static void skips_what_is_here_already(void **state)
{
    hospital h;
    open_hospital(&h, *state);
    make_png(in(&h, "a.png"), 40, 1);
    make_png(in(&h, "copy.png"), 40, 1);
    add(&h, "file,label,patient_id\na.png,1,p\ncopy.png,1,p\n");
    assert_int_equal(h.report.n_taken, 1);
    assert_int_equal(h.report.n_duplicates, 1);
    assert_int_equal(node_data_exit(&h.report), 0);
    add(&h, "file,label,patient_id\na.png,1,p\ncopy.png,1,p\n");
    assert_int_equal(h.report.n_taken, 0);
    assert_int_equal(h.report.n_duplicates, 2);
    assert_int_equal(node_data_exit(&h.report), 0);
    assert_int_equal(count(&h, "SELECT count(*) FROM image"), 1);
    close_hospital(&h);
}

static void refuses_the_same_image_with_another_label(void **state)
{
    hospital h;
    open_hospital(&h, *state);
    make_png(in(&h, "a.png"), 40, 1);
    make_png(in(&h, "copy.png"), 40, 1);
    make_dicom(in(&h, "d.dcm"), 40, 5, "1", NULL, "1.2.3");
    make_dicom(in(&h, "e.dcm"), 40, 6, "1", NULL, "1.2.3"); /* other pixels under the same UID */
    add(&h, "file,label,patient_id\na.png,1,p\ncopy.png,0,p\nd.dcm,1,\ne.dcm,0,\n");
    assert_int_equal(h.rc, FL_OK);
    assert_int_equal(h.report.n_taken, 2);
    assert_int_equal(h.report.n_refused, 2);
    assert_line(&h, "/copy.png: refused: the same image is here with another label");
    assert_line(&h, "/e.dcm: refused: the same image is here with another label");
    assert_int_equal(node_data_exit(&h.report), 1);
    add(&h, "file,label,patient_id\na.png,1,q\n");
    assert_int_equal(h.report.n_taken, 1); /* what is taken of q does not depend on p */
    close_hospital(&h);
}

static void refuses_files_without_label_or_patient_and_reports_labels_without_image(void **state)
{
    hospital h;
    open_hospital(&h, *state);
    make_png(in(&h, "a.png"), 40, 1);
    make_png(in(&h, "b.png"), 40, 2);
    make_png(in(&h, "c.png"), 40, 3);
    add(&h, "file,label,patient_id\na.png,1,p\nb.png,1,\ngone.png,1,q\n");
    assert_int_equal(h.report.n_taken, 1);
    assert_int_equal(h.report.n_refused, 2);
    assert_int_equal(h.report.n_without_image, 1);
    assert_line(&h, "/b.png: refused: no patient");
    assert_line(&h, "/c.png: refused: no label: no row of the labels names this file");
    assert_line(&h, "labels.csv:4: no image answers this row");
    assert_int_equal(node_data_exit(&h.report), 1);
    add_with(&h, in(&h, "labels.csv"), in(&h, "b.png"), true);
    assert_int_equal(h.report.n_taken, 1);
    assert_int_equal(count(&h, "SELECT count(*) FROM refused"), 1); /* c.png; b.png is in now */
    close_hospital(&h);
}

static void all_images_of_a_patient_in_two_splits_are_refused(void **state)
{
    hospital h;
    open_hospital(&h, *state);
    for (unsigned i = 1; i <= 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u.png", i);
        make_png(in(&h, name), 40, i);
    }
    add(&h, "file,label,patient_id,split\n1.png,1,p,train\n2.png,1,p,test\n3.png,1,p,train\n4.png,0,q,val\n");
    assert_int_equal(h.rc, FL_OK);
    assert_int_equal(h.report.n_taken, 1);
    assert_int_equal(h.report.n_refused, 3);
    assert_line(&h, "/1.png: refused: its patient is in two splits");
    assert_line(&h, "/2.png: refused: its patient is in two splits");
    assert_line(&h, "/3.png: refused: its patient is in two splits");
    assert_int_equal(count(&h, "SELECT count(*) FROM image"), 1);
    assert_int_equal(count(&h, "SELECT count(*) FROM orphan"), 0);
    /* a patient of an earlier call stays, and the new image is refused */
    make_png(in(&h, "5.png"), 40, 5);
    add(&h, "file,label,patient_id,split\n4.png,0,q,val\n5.png,0,q,train\n");
    assert_line(&h, "/5.png: refused: its patient is already in another split");
    assert_int_equal(count(&h, "SELECT count(*) FROM image WHERE split = 1"), 1);
    close_hospital(&h);
}

static void no_pixels_of_refused_images_stay_in_the_folder(void **state)
{
    hospital h;
    open_folder(&h, *state);
    make_png(in(&h, "1.png"), 40, 1);
    make_png(in(&h, "2.png"), 40, 2);
    make_png(in(&h, "3.png"), 40, 3);
    make_png(in(&h, "4.png"), 40, 4);
    add(&h, "file,label,patient_id,split\n1.png,1,p,train\n2.png,1,p,test\n3.png,1,p,train\n4.png,0,q,val\n");
    assert_int_equal(h.report.n_taken, 1);
    assert_int_equal(n_object_files(&h), 1);
    close_hospital(&h);
}

static void a_full_disk_loses_nothing_and_leaves_nothing(void **state)
{
    hospital h;
    struct rlimit before, small;
    open_folder(&h, *state);
    make_png(in(&h, "1.png"), 40, 1);
    make_png(in(&h, "2.png"), 40, 2); /* still fits, in the batch that is undone */
    make_png(in(&h, "3.png"), 100, 3);
    add(&h, "file,label,patient_id\n1.png,1,p\n");
    assert_int_equal(h.report.n_taken, 1);
    make_text(in(&h, "labels.csv"), "file,label,patient_id\n1.png,1,p\n2.png,1,q\n3.png,1,r\n");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 10000; /* the object of 3.png has 20016 bytes */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    add_with(&h, NULL, h.dir, false);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(h.rc, FL_EENV);
    assert_int_equal(h.report.n_taken, 0);
    assert_int_equal(count(&h, "SELECT count(*) FROM image"), 1);
    assert_int_equal(n_object_files(&h), 1);
    add_with(&h, NULL, h.dir, false);
    assert_int_equal(h.rc, FL_OK);
    assert_int_equal(h.report.n_taken, 2);
    assert_int_equal(h.report.n_duplicates, 1);
    close_hospital(&h);
}

static void a_split_said_for_one_image_holds_for_its_patient(void **state)
{
    hospital h;
    open_hospital(&h, *state);
    make_png(in(&h, "1.png"), 40, 1);
    make_png(in(&h, "2.png"), 40, 2);
    make_png(in(&h, "3.png"), 40, 3);
    add(&h, "file,label,patient_id,split\n1.png,1,p,\n2.png,1,p,test\n3.png,1,p,\n");
    assert_int_equal(h.report.n_taken, 3);
    assert_int_equal(count(&h, "SELECT count(*) FROM image WHERE split = 2"), 3);
    close_hospital(&h);
}

static void without_a_column_a_keyed_hash_splits_patients_70_15_15(void **state)
{
    enum { N = 120 };
    hospital h;
    char csv[8192] = "file,label,patient_id\n";
    open_hospital(&h, *state);
    for (unsigned i = 1; i <= N; i++) {
        char name[16], line[64];
        snprintf(name, sizeof name, "%u.png", i);
        make_png(in(&h, name), 33 + i, i);
        snprintf(line, sizeof line, "%u.png,%u,p%u\n", i, i % 2, i / 2);
        strcat(csv, line);
    }
    add(&h, csv);
    assert_int_equal(h.report.n_taken, N);
    assert_int_equal(count(&h, "SELECT count(*) FROM (SELECT patient FROM image GROUP BY patient"
                               " HAVING count(DISTINCT split) > 1)"),
                     0);
    /* the key is fixed, so these are too: 61 patients, about 43, 9, 9 */
    int64_t train = count(&h, "SELECT count(DISTINCT patient) FROM image WHERE split = 0");
    int64_t val = count(&h, "SELECT count(DISTINCT patient) FROM image WHERE split = 1");
    assert_in_range(train, 33, 53);
    assert_in_range(val, 3, 17);
    close_hospital(&h);
}

static void the_same_pixels_of_a_patient_are_one_image_unless_their_uids_say_two(void **state)
{
    hospital h;
    open_hospital(&h, *state);
    make_png(in(&h, "1.png"), 40, 1);
    make_png(in(&h, "2.png"), 40, 1);
    FILE *f = fopen(in(&h, "2.png"), "a"); /* other bytes, same pixels */
    assert_true(f && fputs("trailing", f) >= 0 && fclose(f) == 0);
    make_dicom(in(&h, "3.dcm"), 48, 3, "1", NULL, "1.2.3");
    make_dicom(in(&h, "4.dcm"), 48, 3, "1", NULL, "1.2.4");
    make_dicom(in(&h, "5.dcm"), 48, 3, "1", NULL, "1.2.5");
    add(&h, "file,label,patient_id\n1.png,1,p\n2.png,1,p\n3.dcm,1,\n4.dcm,1,\n5.dcm,0,\n");
    assert_int_equal(h.report.n_taken, 3);
    assert_int_equal(h.report.n_duplicates, 1);
    assert_line(&h, "/5.dcm: refused: the same pixels are here with another label");
    close_hospital(&h);
}

static void remove_takes_rows_and_objects_that_nobody_else_uses(void **state)
{
    hospital h;
    uint32_t n;
    open_hospital(&h, *state);
    make_dicom(in(&h, "1.dcm"), 40, 1, "4711", "ANNA", "1.2.1");
    make_dicom(in(&h, "2.dcm"), 40, 2, "4711", "ANNA", "1.2.2");
    make_dicom(in(&h, "3.dcm"), 40, 1, "4712", NULL, "1.2.3"); /* the pixels of 1.dcm */
    add(&h, "file,label\n1.dcm,1\n2.dcm,0\n3.dcm,1\n");
    assert_int_equal(h.report.n_taken, 3);
    assert_int_equal(n_objects(&h), 2);
    fl_hash two;
    fl_query q;
    assert_ok(fl_query_open(&q, h.store.db, "SELECT object FROM image WHERE label = '0'", &h.err), h.err);
    assert_true(fl_query_row(&q));
    size_t size;
    memcpy(two.bytes, fl_column_blob(&q, 0, &size), 32);
    assert_ok(fl_query_close(&q, &h.err), h.err);
    assert_true(fl_objects_have(h.store.objects, &two, NULL));

    assert_int_equal(node_data_remove(&h.store, "main", "4711", NULL, &n, &h.err), FL_ENOTFOUND);
    assert_says(h.err, "--issuer");
    assert_int_equal(node_data_remove(&h.store, "main", "4711", "ANNA", &n, &h.err), FL_OK);
    assert_int_equal(n, 2);
    assert_int_equal(count(&h, "SELECT count(*) FROM image"), 1);
    assert_int_equal(count(&h, "SELECT count(*) FROM orphan"), 0);
    assert_false(fl_objects_have(h.store.objects, &two, NULL));
    assert_int_equal(n_objects(&h), 1); /* 3.dcm still has its pixels */
    fl_json *check;
    uint32_t problems;
    assert_ok(node_data_check(&check, &problems, &h.store, "main", &h.policy, &h.err), h.err);
    int64_t missing = -1;
    assert_true(fl_json_int(fl_json_member(check, "quality"), "missing_pixels", &missing));
    assert_int_equal(missing, 0);
    fl_json_free(check);
    close_hospital(&h);
}

static void check_sees_constant_images_and_pixels_under_two_patients(void **state)
{
    hospital h;
    fl_json *check;
    uint32_t problems;
    int64_t n = 0;
    open_hospital(&h, *state);
    make_png(in(&h, "flat.png"), 40, 0);
    make_dicom(in(&h, "1.dcm"), 40, 1, "1", NULL, "1.2.1");
    make_dicom(in(&h, "2.dcm"), 40, 1, "2", NULL, "1.2.2");
    make_text(in(&h, "broken.png"), "no image");
    add(&h, "file,label,patient_id\nflat.png,1,p\n1.dcm,1,\n2.dcm,1,\nbroken.png,1,p\n");
    assert_int_equal(h.report.n_taken, 3);
    assert_int_equal(h.report.n_unreadable, 1);
    assert_ok(node_data_check(&check, &problems, &h.store, "main", &h.policy, &h.err), h.err);
    assert_int_equal(problems, 3);
    assert_true(fl_json_int(fl_json_member(check, "quality"), "constant", &n));
    assert_int_equal(n, 1);
    assert_true(fl_json_int(fl_json_member(check, "quality"), "same_pixels", &n));
    assert_int_equal(n, 1);
    assert_int_equal(fl_json_count(fl_json_member(check, "refused")), 1);
    fl_json_free(check);
    close_hospital(&h);
}

static void nothing_readable_is_an_error_and_a_missing_path_too(void **state)
{
    hospital h;
    open_hospital(&h, *state);
    make_text(in(&h, "broken.png"), "no image");
    make_text(in(&h, "notes.txt"), "no image either");
    add(&h, "file,label\nbroken.png,1\n");
    assert_int_equal(h.rc, FL_EFORMAT);
    assert_int_equal(node_data_exit(&h.report), 2);
    assert_says(h.err, "none of the files is a readable image");
    add_with(&h, NULL, in(&h, "nowhere"), false);
    assert_int_equal(h.rc, FL_ENOTFOUND);
    add_with(&h, in(&h, "nolabels.csv"), h.dir, false);
    assert_int_equal(h.rc, FL_ENOTFOUND);
    close_hospital(&h);
}

static void without_a_decoder_nothing_is_half_taken(void **state)
{
    hospital h;
    open_hospital(&h, *state);
    make_png(in(&h, "a.png"), 40, 1);
    make_text(in(&h, "labels.csv"), "file,label,patient_id\na.png,1,p\n");
    char *paths[1] = {in(&h, "a.png")};
    const node_data_options options = {.decoder = "/nonexistent/decoder"};
    h.rc = node_data_add(&h.store, "main", in(&h, "labels.csv"), paths, 1, &options, &h.policy, NULL, &h.report,
                         &h.err);
    assert_int_equal(h.rc, FL_EENV);
    assert_int_equal(count(&h, "SELECT count(*) FROM image"), 0);
    close_hospital(&h);
}

static void the_commitment_is_of_the_content_not_of_its_order(void **state)
{
    hospital a, b;
    fl_hash one, two;
    open_hospital(&a, *state);
    open_hospital(&b, *state);
    make_png(in(&a, "1.png"), 40, 1);
    make_png(in(&a, "2.png"), 40, 2);
    make_text(in(&a, "l.csv"), "file,label,patient_id\n1.png,1,p\n2.png,0,q\n");
    add_with(&a, in(&a, "l.csv"), in(&a, "1.png"), false);
    assert_int_equal(a.report.n_taken, 1);
    assert_ok(node_data_commitment(&a.store, "main", &one, &a.err), a.err);
    add_with(&a, in(&a, "l.csv"), in(&a, "2.png"), false);
    add_with(&b, in(&a, "l.csv"), in(&a, "2.png"), false);
    add_with(&b, in(&a, "l.csv"), in(&a, "1.png"), false);
    assert_ok(node_data_commitment(&b.store, "main", &two, &a.err), a.err);
    assert_memory_not_equal(one.bytes, two.bytes, 32);
    assert_ok(node_data_commitment(&a.store, "main", &one, &a.err), a.err);
    assert_memory_equal(one.bytes, two.bytes, 32);
    close_hospital(&a);
    close_hospital(&b);
}

static void loads_classes_by_name_or_number_and_groups_by_patient(void **state)
{
    hospital h;
    nn_dataset d;
    node_data_rows rows;
    open_hospital(&h, *state);
    for (unsigned i = 1; i <= 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u.png", i);
        make_png(in(&h, name), 30 + i, i);
    }
    add(&h, "file,label,patient_id,split\n1.png,0,p,train\n2.png,PNEUMONIA,p,train\n3.png,1,q,train\n"
            "4.png,effusion,q,train\n5.png,Normal,r,val\n6.png,01,q,train\n");
    assert_int_equal(h.report.n_taken, 6);
    nn_plan *plan = calloc(1, sizeof *plan);
    plan->n_classes = 2;
    strcpy(plan->classes[0], "normal");
    strcpy(plan->classes[1], "pneumonia");
    plan->channels = 1;
    plan->height = plan->width = 16;
    assert_ok(node_data_list_for(&rows, &h.store, "main", plan, NODE_SPLIT_TRAIN, &h.err), h.err);
    assert_int_equal(rows.n, 3);
    assert_int_equal(rows.n_other, 2);
    node_data_rows_fini(&rows);
    assert_ok(node_data_load(&d, &h.store, "main", plan, NODE_SPLIT_TRAIN, &h.err), h.err);
    assert_int_equal(d.n_patients, 2);
    assert_int_equal(d.n_images, 3);
    assert_true(memcmp(d.patient_key[0], d.patient_key[1], 32) < 0);
    for (uint32_t p = 0; p < 2; p++) {
        uint32_t n = d.patient_first[p + 1] - d.patient_first[p], sum = 0;
        for (uint32_t i = d.patient_first[p]; i < d.patient_first[p + 1]; i++)
            sum += d.labels[i];
        assert_int_equal(sum, 1); /* p has 0 and 1, q has 1 */
        assert_in_range(n, 1, 2);
    }
    for (size_t i = 0; i < 3 * nn_dataset_image_size(&d); i++)
        assert_true(d.images[i] >= -8 && d.images[i] <= 8);
    nn_dataset_fini(&d);
    assert_ok(node_data_load(&d, &h.store, "main", plan, NODE_SPLIT_TEST, &h.err), h.err);
    assert_int_equal(d.n_images, 0);
    nn_dataset_fini(&d);
    free(plan);
    close_hospital(&h);
}

static int64_t class_count(const fl_json *check, const char *label, const char *key)
{
    const fl_json *list = fl_json_member(check, "classes");
    int64_t n = -1;
    for (size_t i = 0; i < fl_json_count(list); i++)
        if (strcmp(fl_json_text(fl_json_at(list, i), "label"), label) == 0)
            (void)fl_json_int(fl_json_at(list, i), key, &n);
    return n;
}

static void says_of_labels(const fl_json *check, const char *words)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    node_data_print_check(f, check);
    fclose(f);
    if (!strstr(text, words))
        fail_msg("%s is not in\n%s", words, text);
    free(text);
}

/* Labels that are sets of classes: only where the policy says so; a bit for each class of the plan. */
static void sets_of_classes_are_bits(void **state)
{
    static const char csv[] = "file,label,patient_id,split\n1.png,mass|Effusion,p,train\n2.png,none,p,train\n"
                              "3.png,hernia | mass,q,train\n4.png,EFFUSION,r,train\n5.png,mass|effusion,s,val\n";
    hospital h;
    nn_dataset d;
    fl_json *check;
    uint32_t problems, seen = 0;
    open_hospital(&h, *state);
    for (unsigned i = 1; i <= 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u.png", i);
        make_png(in(&h, name), 30 + i, i);
    }
    add(&h, csv);
    assert_int_equal(h.report.n_taken, 2);
    assert_line(&h,
                "/1.png: refused: its label names several classes: that takes labels = multi in [data] of policy.ini");
    h.policy.multi = true;
    add(&h, csv);
    assert_int_equal(h.report.n_taken, 3);
    assert_ok(node_data_check(&check, &problems, &h.store, "main", &h.policy, &h.err), h.err);
    assert_int_equal(class_count(check, "mass", "train"), 2);
    assert_int_equal(class_count(check, "mass", "val"), 1);
    assert_int_equal(class_count(check, "mass", "patients"), 3);
    assert_int_equal(class_count(check, "hernia", "train"), 1);
    assert_int_equal(class_count(check, "none", "patients"), 1);
    says_of_labels(
        check,
        "labels: sets of classes (labels = multi in policy.ini): effusion, hernia, mass, none; 3 images have several");
    assert_string_equal(fl_json_text(check, "labels"), "multi");
    int64_t sets = 0;
    assert_true(fl_json_int(check, "sets", &sets) && sets == 3);
    fl_json_free(check);
    const uint32_t before = problems;
    h.policy.multi = false; /* changed afterwards */
    assert_ok(node_data_check(&check, &problems, &h.store, "main", &h.policy, &h.err), h.err);
    assert_string_equal(fl_json_text(check, "labels"), "single");
    assert_int_equal(problems, before + 1);
    says_of_labels(check, "labels: one class an image (labels = single in policy.ini): effusion, hernia");
    says_of_labels(check, "3 images have several classes while policy.ini says labels = single");
    fl_json_free(check);
    assert_ok(node_data_check(&check, &problems, &h.store, "main", NULL, &h.err), h.err);
    assert_string_equal(fl_json_text(check, "labels"), "");
    says_of_labels(check, "labels: policy.ini has no section for this data set");
    assert_int_equal(problems, before);
    fl_json_free(check);
    nn_plan *plan = calloc(1, sizeof *plan);
    plan->multi = true;
    plan->n_classes = 2;
    strcpy(plan->classes[0], "effusion");
    strcpy(plan->classes[1], "mass");
    plan->channels = 1;
    plan->height = plan->width = 16;
    assert_ok(node_data_load(&d, &h.store, "main", plan, NODE_SPLIT_TRAIN, &h.err), h.err);
    assert_int_equal(d.n_images, 4); /* nothing is left out: "none" has no class */
    for (uint32_t i = 0; i < d.n_images; i++)
        seen |= 1u << d.labels[i];
    assert_int_equal(seen, 1u << 3 | 1u << 0 | 1u << 2 | 1u << 1);
    nn_dataset_fini(&d);
    plan->multi = false; /* a study of one class each takes what has one class */
    assert_ok(node_data_load(&d, &h.store, "main", plan, NODE_SPLIT_TRAIN, &h.err), h.err);
    assert_int_equal(d.n_images, 1);
    nn_dataset_fini(&d);
    free(plan);
    close_hospital(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(takes_png_by_file_and_dicom_by_uid),
        in_scratch(skips_what_is_here_already),
        in_scratch(refuses_the_same_image_with_another_label),
        in_scratch(refuses_files_without_label_or_patient_and_reports_labels_without_image),
        in_scratch(all_images_of_a_patient_in_two_splits_are_refused),
        in_scratch(no_pixels_of_refused_images_stay_in_the_folder),
        in_scratch(a_full_disk_loses_nothing_and_leaves_nothing),
        in_scratch(a_split_said_for_one_image_holds_for_its_patient),
        in_scratch(without_a_column_a_keyed_hash_splits_patients_70_15_15),
        in_scratch(the_same_pixels_of_a_patient_are_one_image_unless_their_uids_say_two),
        in_scratch(remove_takes_rows_and_objects_that_nobody_else_uses),
        in_scratch(check_sees_constant_images_and_pixels_under_two_patients),
        in_scratch(nothing_readable_is_an_error_and_a_missing_path_too),
        in_scratch(without_a_decoder_nothing_is_half_taken),
        in_scratch(the_commitment_is_of_the_content_not_of_its_order),
        in_scratch(loads_classes_by_name_or_number_and_groups_by_patient),
        in_scratch(sets_of_classes_are_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
