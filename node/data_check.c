#include "node/data_rows.h"

#include <inttypes.h>
#include <string.h>

/* One number from one row. */
static fl_code count(node_store *s, const char *sql, const char *dataset, int64_t *out, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, sql, err));
    if (dataset)
        fl_bind_text(&q, 1, dataset);
    *out = fl_query_row(&q) ? fl_column_int(&q, 0) : 0;
    return fl_query_close(&q, err);
}

static fl_code put_count(fl_json *to, const char *key, node_store *s, const char *sql, const char *dataset,
                         int64_t *value, fl_err *err)
{
    FL_TRY(count(s, sql, dataset, value, err));
    fl_json_set_int(to, key, *value);
    return FL_OK;
}

/* classes: [{label, train, val, test, patients}]; a set of classes counts for each of them, in any case as node_label_read */
static fl_code put_classes(fl_json *to, node_store *s, const char *dataset, fl_err *err)
{
    fl_query q;
    fl_json *list = fl_json_array();
    fl_json_set(to, "classes", list);
    FL_TRY(fl_query_open(&q, s->db,
                         "WITH RECURSIVE part(patient, split, name, rest) AS ("
                         "SELECT patient, split, '', label || '|' FROM image WHERE dataset = ?"
                         " UNION ALL SELECT patient, split, trim(substr(rest, 1, instr(rest, '|') - 1)),"
                         " substr(rest, instr(rest, '|') + 1) FROM part WHERE rest <> '')"
                         " SELECT max(name), sum(split = 0), sum(split = 1), sum(split = 2), count(DISTINCT patient)"
                         " FROM part WHERE name <> '' GROUP BY lower(name) ORDER BY lower(name)",
                         err));
    fl_bind_text(&q, 1, dataset);
    while (fl_query_row(&q)) {
        fl_json *row = fl_json_object();
        fl_json_set_text(row, "label", fl_column_text(&q, 0));
        for (int i = 0; i < NODE_N_SPLITS; i++)
            fl_json_set_int(row, node_split_name((node_split)i), fl_column_int(&q, 1 + i));
        fl_json_set_int(row, "patients", fl_column_int(&q, 4));
        fl_json_push(list, row);
    }
    return fl_query_close(&q, err);
}

/* labels: single, multi, or "" when the policy does not say; sets: images whose label names several classes */
static fl_code put_labels(fl_json *to, uint32_t *problems, node_store *s, const char *dataset,
                          const node_policy *policy, fl_err *err)
{
    int64_t sets;
    fl_json_set_text(to, "labels", !policy ? "" : policy->multi ? "multi" : "single");
    FL_TRY(put_count(to, "sets", s, "SELECT count(*) FROM image WHERE dataset = ? AND instr(label, '|') > 0", dataset,
                     &sets, err));
    *problems += policy && !policy->multi && sets > 0;
    return FL_OK;
}

static fl_code put_refused(fl_json *to, node_store *s, const char *dataset, int64_t *n_refused, fl_err *err)
{
    fl_query q;
    fl_json *list = fl_json_array();
    fl_json_set(to, "refused", list);
    *n_refused = 0;
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT reason, count(*) FROM refused WHERE dataset = ? GROUP BY reason"
                         " ORDER BY count(*) DESC, reason",
                         err));
    fl_bind_text(&q, 1, dataset);
    while (fl_query_row(&q)) {
        fl_json *row = fl_json_object();
        fl_json_set_text(row, "reason", fl_column_text(&q, 0));
        fl_json_set_int(row, "files", fl_column_int(&q, 1));
        *n_refused += fl_column_int(&q, 1);
        fl_json_push(list, row);
    }
    return fl_query_close(&q, err);
}

/* sizes: {min_width, max_width, min_height, max_height, min_bits, max_bits}; kinds: [{modality, body_part, view, images}] */
static fl_code put_sizes(fl_json *to, node_store *s, const char *dataset, fl_err *err)
{
    static const char *const keys[] = {"min_width", "max_width", "min_height", "max_height", "min_bits", "max_bits"};
    fl_query q;
    fl_json *sizes = fl_json_object();
    fl_json_set(to, "sizes", sizes);
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT min(width), max(width), min(height), max(height), min(bits), max(bits)"
                         " FROM image WHERE dataset = ?",
                         err));
    fl_bind_text(&q, 1, dataset);
    if (fl_query_row(&q)) {
        for (int i = 0; i < 6; i++)
            fl_json_set_int(sizes, keys[i], fl_column_int(&q, i));
    }
    return fl_query_close(&q, err);
}

static fl_code put_kinds(fl_json *to, node_store *s, const char *dataset, fl_err *err)
{
    fl_query q;
    fl_json *list = fl_json_array();
    fl_json_set(to, "kinds", list);
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT modality, body_part, view, count(*) FROM image WHERE dataset = ?"
                         " GROUP BY modality, body_part, view ORDER BY count(*) DESC, modality, body_part, view",
                         err));
    fl_bind_text(&q, 1, dataset);
    while (fl_query_row(&q)) {
        fl_json *row = fl_json_object();
        fl_json_set_text(row, "modality", fl_column_text(&q, 0));
        fl_json_set_text(row, "body_part", fl_column_text(&q, 1));
        fl_json_set_text(row, "view", fl_column_text(&q, 2));
        fl_json_set_int(row, "images", fl_column_int(&q, 3));
        fl_json_push(list, row);
    }
    return fl_query_close(&q, err);
}

/* Rows whose pixels are not there any more. */
static fl_code count_missing(node_store *s, const char *dataset, int64_t *missing, fl_err *err)
{
    fl_query q;
    *missing = 0;
    FL_TRY(fl_query_open(&q, s->db, "SELECT object FROM image WHERE dataset = ?", err));
    fl_bind_text(&q, 1, dataset);
    while (fl_query_row(&q)) {
        size_t n;
        fl_hash hash;
        const void *bytes = fl_column_blob(&q, 0, &n);
        bool ok = n == sizeof hash.bytes;
        if (ok)
            memcpy(hash.bytes, bytes, n);
        *missing += !ok || !fl_objects_have(s->objects, &hash, NULL);
    }
    return fl_query_close(&q, err);
}

/* Tables of problems: how many, of what. */
static const struct {
    const char *key, *sql, *words;
} problem_counts[] = {
    {"constant", "SELECT count(*) FROM image WHERE dataset = ? AND low = high",
     "images of one single grey value: they teach nothing"},
    {"small", "SELECT count(*) FROM image WHERE dataset = ? AND (width < 32 OR height < 32)",
     "images with a side below 32 pixels"},
    {"few_values", "SELECT count(*) FROM image WHERE dataset = ? AND low < high AND high - low < 16",
     "images with fewer than 16 grey values between darkest and lightest"},
    {"repeated",
     "SELECT ifnull(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM image WHERE dataset = ? AND low < high"
     " GROUP BY object, patient HAVING n > 1)",
     "images that repeat another one of the same patient, pixel by pixel"},
    {"same_pixels",
     "SELECT count(*) FROM (SELECT object FROM image WHERE dataset = ? AND low < high GROUP BY object"
     " HAVING count(DISTINCT patient) > 1)",
     "images whose pixels stand under several patients: is one patient registered twice?"},
    {"same_pixels_two_splits",
     "SELECT count(*) FROM (SELECT object FROM image WHERE dataset = ? AND low < high GROUP BY object"
     " HAVING count(DISTINCT split) > 1)",
     "images whose pixels stand in two splits: a test on them proves less"},
};
#define N_PROBLEMS (sizeof problem_counts / sizeof problem_counts[0])

static fl_code put_quality(fl_json *to, uint32_t *problems, node_store *s, const char *dataset, fl_err *err)
{
    fl_json *quality = fl_json_object();
    fl_json_set(to, "quality", quality);
    int64_t n;
    for (size_t i = 0; i < N_PROBLEMS; i++) {
        FL_TRY(put_count(quality, problem_counts[i].key, s, problem_counts[i].sql, dataset, &n, err));
        *problems += n > 0;
    }
    FL_TRY(count_missing(s, dataset, &n, err));
    fl_json_set_int(quality, "missing_pixels", n);
    *problems += n > 0;
    return FL_OK;
}

static fl_code fill(fl_json *out, uint32_t *problems, node_store *s, const char *dataset, const node_policy *policy,
                    fl_err *err)
{
    int64_t n, refused;
    fl_json_set_text(out, "dataset", dataset);
    FL_TRY(put_count(out, "images", s, "SELECT count(*) FROM image WHERE dataset = ?", dataset, &n, err));
    FL_TRY(
        put_count(out, "patients", s, "SELECT count(DISTINCT patient) FROM image WHERE dataset = ?", dataset, &n, err));
    FL_TRY(
        put_count(out, "largest_patient", s,
                  "SELECT ifnull(max(n), 0) FROM (SELECT count(*) AS n FROM image WHERE dataset = ? GROUP BY patient)",
                  dataset, &n, err));
    FL_TRY(put_labels(out, problems, s, dataset, policy, err));
    FL_TRY(put_classes(out, s, dataset, err));
    FL_TRY(put_sizes(out, s, dataset, err));
    FL_TRY(put_kinds(out, s, dataset, err));
    FL_TRY(put_refused(out, s, dataset, &refused, err));
    *problems += refused > 0;
    return put_quality(out, problems, s, dataset, err);
}

fl_code node_data_check(fl_json **out, uint32_t *problems, node_store *s, const char *dataset,
                        const node_policy *policy, fl_err *err)
{
    *out = fl_json_object();
    *problems = 0;
    fl_code rc = fill(*out, problems, s, dataset, policy, err);
    int64_t n = 0;
    if (rc == FL_OK && fl_json_int(*out, "images", &n) && n == 0 && fl_json_count(fl_json_member(*out, "refused")) == 0)
        rc = fl_fail(err, FL_ENOTFOUND, "data set %.63s: is empty: add images with `cordon-node data add`", dataset);
    if (rc) {
        fl_json_free(*out);
        *out = NULL;
    } else
        fl_json_set_int(*out, "problems", *problems);
    return rc;
}

fl_code node_data_list(fl_json **out, node_store *s, fl_err *err)
{
    fl_query q;
    fl_json *list = fl_json_array();
    fl_code rc = fl_query_open(&q, s->db,
                               "SELECT dataset, count(*), count(DISTINCT patient), count(DISTINCT label),"
                               " sum(split = 0), sum(split = 1), sum(split = 2) FROM image GROUP BY dataset"
                               " ORDER BY dataset",
                               err);
    if (rc == FL_OK) {
        while (fl_query_row(&q)) {
            fl_json *row = fl_json_object();
            fl_json_set_text(row, "dataset", fl_column_text(&q, 0));
            fl_json_set_int(row, "images", fl_column_int(&q, 1));
            fl_json_set_int(row, "patients", fl_column_int(&q, 2));
            fl_json_set_int(row, "labels", fl_column_int(&q, 3));
            for (int i = 0; i < NODE_N_SPLITS; i++)
                fl_json_set_int(row, node_split_name((node_split)i), fl_column_int(&q, 4 + i));
            fl_json_push(list, row);
        }
        rc = fl_query_close(&q, err);
    }
    if (rc) {
        fl_json_free(list);
        return rc;
    }
    *out = list;
    return FL_OK;
}

/* ---- for people ------------------------------------------------------------------------------------------------- */

static long long number(const fl_json *j, const char *key)
{
    int64_t n = 0;
    (void)fl_json_int(j, key, &n);
    return n;
}

static const char *or_dash(const char *text)
{
    return text && *text ? text : "-";
}

/* "labels: sets of classes (labels = multi in policy.ini): effusion, mass; 3 images have several" */
static void print_labels(FILE *out, const fl_json *check)
{
    enum { NAMED = 12 };
    const fl_json *list = fl_json_member(check, "classes");
    const char *kind = fl_json_text(check, "labels");
    const size_t n = fl_json_count(list);
    if (!*kind)
        fprintf(out,
                "  labels: policy.ini has no section for this data set, which says whether they are single or multi:");
    else
        fprintf(out, "  labels: %s (labels = %s in policy.ini):",
                strcmp(kind, "multi") == 0 ? "sets of classes" : "one class an image", kind);
    for (size_t i = 0; i < n && i < NAMED; i++)
        fprintf(out, "%s %s", i ? "," : "", fl_json_text(fl_json_at(list, i), "label"));
    if (n > NAMED)
        fprintf(out, " and %zu more", n - NAMED);
    if (number(check, "sets") || strcmp(kind, "multi") == 0)
        fprintf(out, "; %lld image%s several", number(check, "sets"), number(check, "sets") == 1 ? " has" : "s have");
    fputc('\n', out);
}

static void print_classes(FILE *out, const fl_json *list)
{
    fprintf(out, "\n  %-24s %8s %8s %8s %9s\n", "label", "train", "val", "test", "patients");
    for (size_t i = 0; i < fl_json_count(list); i++) {
        const fl_json *row = fl_json_at(list, i);
        fprintf(out, "  %-24s %8lld %8lld %8lld %9lld\n", fl_json_text(row, "label"), number(row, "train"),
                number(row, "val"), number(row, "test"), number(row, "patients"));
    }
}

static void print_kinds(FILE *out, const fl_json *check)
{
    const fl_json *kinds = fl_json_member(check, "kinds"), *sizes = fl_json_member(check, "sizes");
    fprintf(out, "\n  %lld x %lld to %lld x %lld pixels, %lld to %lld bits\n", number(sizes, "min_width"),
            number(sizes, "min_height"), number(sizes, "max_width"), number(sizes, "max_height"),
            number(sizes, "min_bits"), number(sizes, "max_bits"));
    for (size_t i = 0; i < fl_json_count(kinds); i++) {
        const fl_json *row = fl_json_at(kinds, i);
        fprintf(out, "  %6lld of modality %s, body part %s, view %s\n", number(row, "images"),
                or_dash(fl_json_text(row, "modality")), or_dash(fl_json_text(row, "body_part")),
                or_dash(fl_json_text(row, "view")));
    }
}

static void print_problems(FILE *out, const fl_json *check)
{
    const fl_json *refused = fl_json_member(check, "refused"), *quality = fl_json_member(check, "quality");
    for (size_t i = 0; i < fl_json_count(refused); i++) {
        const fl_json *row = fl_json_at(refused, i);
        fprintf(out, "%s  %6lld refused: %s\n", i ? "" : "\n", number(row, "files"), fl_json_text(row, "reason"));
    }
    fputs("\n", out);
    if (number(check, "sets") && strcmp(fl_json_text(check, "labels"), "single") == 0)
        fprintf(out,
                "  %6lld images have several classes while policy.ini says labels = single: studies leave them out\n",
                number(check, "sets"));
    for (size_t i = 0; i < N_PROBLEMS; i++)
        if (number(quality, problem_counts[i].key))
            fprintf(out, "  %6lld %s\n", number(quality, problem_counts[i].key), problem_counts[i].words);
    if (number(quality, "missing_pixels"))
        fprintf(out, "  %6lld images whose pixels are gone from the store: restore a backup, or remove and add them\n",
                number(quality, "missing_pixels"));
    fprintf(out, number(check, "problems") ? "  look at these before you train\n" : "  nothing to look at\n");
}

void node_data_print_check(FILE *out, const fl_json *check)
{
    fprintf(out, "data set %s: %lld images of %lld patients, at most %lld of one\n", fl_json_text(check, "dataset"),
            number(check, "images"), number(check, "patients"), number(check, "largest_patient"));
    if (number(check, "images")) {
        print_labels(out, check);
        print_classes(out, fl_json_member(check, "classes"));
        print_kinds(out, check);
    }
    print_problems(out, check);
}

void node_data_print_list(FILE *out, const fl_json *list)
{
    if (fl_json_count(list) == 0)
        fprintf(out, "no data set yet: add images with `cordon-node data add`\n");
    for (size_t i = 0; i < fl_json_count(list); i++) {
        const fl_json *row = fl_json_at(list, i);
        fprintf(out, "%s: %lld images of %lld patients, %lld labels; train %lld, val %lld, test %lld\n",
                fl_json_text(row, "dataset"), number(row, "images"), number(row, "patients"), number(row, "labels"),
                number(row, "train"), number(row, "val"), number(row, "test"));
    }
}
