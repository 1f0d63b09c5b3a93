/* Real films with planted identities: after ingest no planted byte string is in any file of the node, nor in what it
 * printed or logged. */
#include "tests/imaging/shared_data.h"

#include "base/encode.h"
#include "node/data.h"
#include "node/store.h"

#include <fcntl.h>

#define FILMS "dicom_phi/files"

static const char *planted_file;
static unsigned n_planted, n_scanned;

/* Every planted string in these bytes is a failure. */
static void scan(const fl_json *planted, const uint8_t *bytes, size_t n, const char *where)
{
    for (size_t i = 0; i < fl_json_count(planted); i++) {
        const fl_json *phi = fl_json_member(fl_json_member(planted, fl_json_key_at(planted, i)), "phi");
        for (size_t k = 0; k < fl_json_count(phi); k++) {
            uint8_t needle[512];
            const char *hex = fl_json_text(fl_json_at(phi, k), "bytes_hex");
            size_t length = strlen(hex) / 2;
            assert_true(length > 0 && length <= sizeof needle && fl_hex_decode(needle, length, hex));
            n_planted++;
            if (n > 0 && memmem(bytes, n, needle, length))
                fail_msg("%s holds a planted %s of %s", where, fl_json_text(fl_json_at(phi, k), "kind"),
                         fl_json_key_at(planted, i));
        }
    }
}

static fl_code scan_file(void *context, const char *path, fl_err *err)
{
    fl_buf bytes;
    fl_buf_init(&bytes, 1 << 28);
    assert_ok(fl_file_read(&bytes, path, err), *err);
    scan(context, bytes.bytes, bytes.size, path);
    n_scanned++;
    fl_buf_fini(&bytes);
    return FL_OK;
}

static void write_labels(const fl_json *planted, const char *path)
{
    char films[FL_PATH_MAX];
    fl_buf csv;
    fl_err err;
    fl_buf_init(&csv, 1 << 16);
    fl_buf_add_text(&csv, "file,label\n");
    for (size_t i = 0; i < fl_json_count(planted); i++) {
        const char *name = fl_json_key_at(planted, i);
        fl_buf_printf(&csv, "%s/%s,%s\n", shared_path(films, FILMS), name,
                      fl_json_text(fl_json_member(planted, name), "label"));
    }
    assert_ok(fl_file_write(path, csv.bytes, csv.size, 0600, &err), err);
    fl_buf_fini(&csv);
}

static int64_t count(node_store *s, const char *sql)
{
    fl_query q;
    fl_err err;
    assert_ok(fl_query_open(&q, s->db, sql, &err), err);
    int64_t n = fl_query_row(&q) ? fl_column_int(&q, 0) : -1;
    assert_ok(fl_query_close(&q, &err), err);
    return n;
}

static void the_scan_finds_what_is_planted_in_the_films(void **state)
{
    (void)state;
    fl_json *planted = shared_json(planted_file);
    char path[FL_PATH_MAX];
    fl_err err;
    fl_buf bytes;
    unsigned found = 0;
    fl_buf_init(&bytes, 1 << 28);
    assert_ok(fl_file_read(&bytes, shared_path(path, FILMS "/phi00.dcm"), &err), err);
    const fl_json *phi = fl_json_member(fl_json_member(planted, "phi00.dcm"), "phi");
    for (size_t k = 0; k < fl_json_count(phi); k++) {
        uint8_t needle[512];
        const char *hex = fl_json_text(fl_json_at(phi, k), "bytes_hex");
        assert_true(fl_hex_decode(needle, strlen(hex) / 2, hex));
        found += memmem(bytes.bytes, bytes.size, needle, strlen(hex) / 2) != NULL;
    }
    assert_true(found > 20);
    fl_buf_fini(&bytes);
    fl_json_free(planted);
}

static void no_planted_identity_enters_the_node(void **state)
{
    fl_json *planted = shared_json(planted_file);
    char dir[FL_PATH_MAX], labels[FL_PATH_MAX], films[FL_PATH_MAX], path[FL_PATH_MAX], log[FL_PATH_MAX], *said;
    char *paths[1] = {shared_path(films, FILMS)};
    const uint8_t key[32] = "a fixed key: the same hashes ev"; /* so that no chance string makes this test fail */
    const node_data_options options = {.decoder = DECODER};
    size_t n_said;
    node_store s;
    node_policy policy;
    node_data_report report;
    fl_err err;
    fl_path(dir, *state, "node");
    write_labels(planted, fl_path(labels, *state, "labels.csv"));
    assert_ok(node_store_make(dir, "anna", &err), err);
    assert_ok(fl_file_write(fl_path(path, dir, "pseudonym.key"), key, sizeof key, 0600, &err), err);
    assert_ok(node_store_open(&s, dir, &err), err);
    assert_ok(node_policy_load(&policy, dir, &err), err);

    FILE *out = open_memstream(&said, &n_said);
    int before = dup(2), to = open(fl_path(log, *state, "log"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_true(before >= 0 && to >= 0 && dup2(to, 2) == 2);
    fl_code rc = node_data_add(&s, "main", labels, paths, 1, &options, &policy, out, &report, &err);
    fclose(out);
    assert_true(dup2(before, 2) == 2);
    close(before);
    close(to);
    assert_ok(rc, err);

    assert_int_equal(report.n_files, 14);
    assert_int_equal(report.n_taken, 13);
    assert_non_null(strstr(said, "phi05.dcm: refused: ")); /* BurnedInAnnotation = YES */
    assert_int_equal(report.n_refused, 1);
    /* phi00 to phi02 are one patient, phi03 and phi04 another */
    assert_int_equal(count(&s, "SELECT count(DISTINCT patient) FROM image"), 10);
    assert_int_equal(count(&s, "SELECT max(n) FROM (SELECT count(*) AS n FROM image GROUP BY patient)"), 3);
    assert_int_equal(count(&s, "SELECT count(*) FROM image WHERE modality IN ('DX', 'CR') AND body_part = 'CHEST'"),
                     13);
    char ledger[FL_PATH_MAX];
    assert_ok(led_export(s.ledger, fl_path(ledger, *state, "ledger.jsonl"), &err), err);
    node_store_close(&s);

    assert_ok(fl_dir_walk(dir, scan_file, planted, &err), err);
    assert_ok(scan_file(planted, ledger, &err), err);
    assert_ok(scan_file(planted, log, &err), err);
    scan(planted, (const uint8_t *)said, n_said, "the terminal");
    assert_true(n_scanned > 15 && n_planted > 15 * 500);
    free(said);
    fl_json_free(planted);
}

int main(void)
{
    planted_file = "dicom_phi/planted_phi.json";
    if (shared_missing(planted_file))
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scan_finds_what_is_planted_in_the_films),
        in_scratch(no_planted_identity_enters_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
