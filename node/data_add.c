/*
 * Taking files into a data set. For each file, in the order of names:
 *
 *     bytes -> keyed hash of the file -> (here already? what we know of it : decoded in the child) -> its row of labels
 *     -> its patient -> the same image here already? -> pixel object -> split -> row
 */
#include "base/grow.h"
#include "crypto/csprng.h" /* fl_wipe */
#include "crypto/hash.h"
#include "node/commands.h"
#include "node/data_rows.h"
#include "node/films.h"
#include "node/labels.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BATCH 64

/* An image that this call took: what a later contradiction takes back. */
typedef struct taken {
    uint8_t patient[32];
    uint8_t file_id[32];
    size_t file;
    bool split_was_said;
} taken;

typedef struct adder {
    node_store *s;
    const char *dataset;
    const node_data_options *options;
    img_decoder *decoder;
    FILE *out;
    node_data_report *report;
    bool multi; /* labels may be sets of classes */
    node_labels labels;
    bool has_labels;
    node_film_list files;
    taken *taken;
    size_t n_taken, cap_taken;
    uint8_t (*torn)[32]; /* patients who are in two splits */
    size_t n_torn, cap_torn;
    fl_buf bytes;
    size_t in_batch;
    fl_hash put[BATCH]; /* objects of this batch */
    size_t n_put;
    uint32_t n_committed; /* of report->n_taken */
    bool changed;
} adder;

/* A row of the table that is the same image. */
typedef struct known {
    bool found, has_sop, is_constant;
    uint8_t patient[32], sop[32];
    char label[NODE_LABEL_MAX];
    int split;
} known;

typedef struct candidate {
    size_t file;
    fl_hash id; /* of the file */
    const node_label *row;
    img_image image;
    fl_hash object;
    bool has_patient, has_sop;
    uint8_t patient[32], sop[32];
    node_split split;
} candidate;

static fl_code no_memory(fl_err *err)
{
    return fl_fail(err, FL_EENV, "data: out of memory");
}

/* ---- which labels ----------------------------------------------------------------------------------------------- */

static fl_code find_labels(adder *a, const char *labels, char *const *paths, size_t n_paths, fl_err *err)
{
    char beside[FL_PATH_MAX];
    if (!labels && n_paths == 1 && strlen(paths[0]) + 16 < sizeof beside) {
        snprintf(beside, sizeof beside, "%s/labels.csv", paths[0]);
        if (fl_file_exists(beside))
            labels = beside;
    }
    if (!labels)
        return FL_OK;
    a->has_labels = true;
    return node_labels_load(&a->labels, labels, a->s->pseudonym_key, a->out, err);
}

/* ---- batches ---------------------------------------------------------------------------------------------------- */

static fl_code end_batch(adder *a, bool last, fl_err *err)
{
    bool appended;
    fl_code rc = last && a->changed ? node_data_record(a->s, a->dataset, &appended, err) : FL_OK;
    if (rc == FL_OK)
        rc = fl_db_commit(a->s->db, err);
    if (rc)
        return rc;
    a->n_committed = a->report->n_taken;
    a->in_batch = a->n_put = 0;
    return last ? FL_OK : fl_db_begin(a->s->db, err);
}

/* After a failure: nothing of the open batch stays, no pixels either. */
static void undo_batch(adder *a)
{
    node_data_undo(a->s);
    a->report->n_taken = a->n_committed;
    for (size_t i = 0; i < a->n_put; i++) {
        fl_query q;
        if (fl_query_open(&q, a->s->db, "SELECT 1 FROM image WHERE object = ?", NULL))
            return;
        fl_bind_blob(&q, 1, a->put[i].bytes, sizeof a->put[i].bytes);
        bool used = fl_query_row(&q);
        if (fl_query_close(&q, NULL) || used)
            continue;
        if (fl_objects_remove(a->s->objects, &a->put[i], NULL))
            return;
    }
}

/* An object that was put although its image is refused now. */
static fl_code orphan(adder *a, const fl_hash *object, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, a->s->db, "INSERT OR IGNORE INTO orphan(object) VALUES(?)", err));
    fl_bind_blob(&q, 1, object->bytes, sizeof object->bytes);
    return fl_query_run(&q, err);
}

/* ---- saying no -------------------------------------------------------------------------------------------------- */

static fl_code put_refused(adder *a, const uint8_t id[32], const char *reason, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, a->s->db, "INSERT OR REPLACE INTO refused(dataset, file, reason) VALUES(?, ?, ?)", err));
    fl_bind_text(&q, 1, a->dataset);
    fl_bind_blob(&q, 2, id, 32);
    fl_bind_text(&q, 3, reason);
    return fl_query_run(&q, err);
}

/* id: NULL when the file could not even be read. reason holds neither path nor text of the file. */
static fl_code refuse(adder *a, size_t file, const uint8_t *id, const char *reason, fl_err *err)
{
    a->report->n_refused++;
    if (a->out) {
        fputs(NODE_PROGRAM ": ", a->out);
        node_print_path(a->out, a->files.list[file].path);
        fprintf(a->out, ": refused: %s\n", reason);
    }
    return id ? put_refused(a, id, reason, err) : FL_OK;
}

/* ---- what is here already --------------------------------------------------------------------------------------- */

static bool get_32(uint8_t to[32], fl_query *q, int column)
{
    size_t n;
    const void *bytes = fl_column_blob(q, column, &n);
    if (n == 32)
        memcpy(to, bytes, 32);
    return n == 32;
}

#define KNOWN "SELECT patient, sop, label, split, low = high FROM image WHERE dataset = ?1 AND "

/* A row by one column; prefer: this patient's rows first (NULL: any). */
static fl_code look_up(adder *a, known *k, const char *sql, const uint8_t value[32], const uint8_t *prefer, fl_err *err)
{
    fl_query q;
    memset(k, 0, sizeof *k);
    FL_TRY(fl_query_open(&q, a->s->db, sql, err));
    fl_bind_text(&q, 1, a->dataset);
    fl_bind_blob(&q, 2, value, 32);
    if (prefer)
        fl_bind_blob(&q, 3, prefer, 32);
    if (fl_query_row(&q)) {
        k->found = get_32(k->patient, &q, 0);
        k->has_sop = get_32(k->sop, &q, 1);
        snprintf(k->label, sizeof k->label, "%s", fl_column_text(&q, 2));
        k->split = (int)fl_column_int(&q, 3);
        k->is_constant = fl_column_int(&q, 4) != 0;
    }
    return fl_query_close(&q, err);
}

static fl_code count_patient(adder *a, const uint8_t patient[32], uint32_t *n, int *split, fl_err *err)
{
    fl_query q;
    FL_TRY(
        fl_query_open(&q, a->s->db, "SELECT count(*), min(split) FROM image WHERE dataset = ? AND patient = ?", err));
    fl_bind_text(&q, 1, a->dataset);
    fl_bind_blob(&q, 2, patient, 32);
    *n = 0;
    if (fl_query_row(&q)) {
        *n = (uint32_t)fl_column_int(&q, 0);
        *split = (int)fl_column_int(&q, 1);
    }
    return fl_query_close(&q, err);
}

/* ---- a patient in two splits ------------------------------------------------------------------------------------ */

static const char torn_reason[] = "its patient is in two splits: give all images of a patient the same split";

static bool is_torn(const adder *a, const uint8_t patient[32])
{
    for (size_t i = 0; i < a->n_torn; i++)
        if (memcmp(a->torn[i], patient, 32) == 0)
            return true;
    return false;
}

/* How many of the patient's images this call took, and whether a split was said for any of them. */
static uint32_t taken_of(const adder *a, const uint8_t patient[32], bool *said)
{
    uint32_t n = 0;
    *said = false;
    for (size_t i = 0; i < a->n_taken; i++) {
        if (memcmp(a->taken[i].patient, patient, 32) != 0)
            continue;
        n++;
        *said |= a->taken[i].split_was_said;
    }
    return n;
}

/* Takes back the patient's images of this call. */
static fl_code tear(adder *a, const uint8_t patient[32], fl_err *err)
{
    uint32_t n;
    if (!fl_grow(&a->torn, &a->cap_torn, a->n_torn, sizeof *a->torn))
        return no_memory(err);
    memcpy(a->torn[a->n_torn++], patient, 32);
    FL_TRY(node_patient_delete(a->s, a->dataset, patient, &n, err));
    size_t kept = 0;
    for (size_t i = 0; i < a->n_taken; i++) {
        taken t = a->taken[i];
        if (memcmp(t.patient, patient, 32) == 0) {
            a->report->n_taken--;
            FL_TRY(refuse(a, t.file, t.file_id, torn_reason, err));
        } else
            a->taken[kept++] = t;
    }
    a->n_taken = kept;
    return FL_OK;
}

static fl_code move_split(adder *a, const uint8_t patient[32], int split, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, a->s->db, "UPDATE image SET split = ?3 WHERE dataset = ?1 AND patient = ?2", err));
    fl_bind_text(&q, 1, a->dataset);
    fl_bind_blob(&q, 2, patient, 32);
    fl_bind_int(&q, 3, split);
    return fl_query_run(&q, err);
}

/* The split of the candidate's patient; *why: the reason when the image is refused. */
static fl_code find_split(adder *a, candidate *c, const char **why, fl_err *err)
{
    uint32_t here;
    int present = 0;
    bool said;
    *why = NULL;
    if (is_torn(a, c->patient)) {
        *why = torn_reason;
        return FL_OK;
    }
    FL_TRY(count_patient(a, c->patient, &here, &present, err));
    if (here == 0) {
        c->split = c->row->split >= 0 ? (node_split)c->row->split : node_split_of(a->s->pseudonym_key, c->patient);
        return FL_OK;
    }
    c->split = (node_split)present;
    if (c->row->split < 0 || c->row->split == present)
        return FL_OK;
    if (taken_of(a, c->patient, &said) < here) {
        *why = "its patient is already in another split of the data set";
        return FL_OK;
    }
    if (!said) { /* so far the split was ours to choose */
        c->split = (node_split)c->row->split;
        return move_split(a, c->patient, c->row->split, err);
    }
    *why = torn_reason;
    return tear(a, c->patient, err);
}

/* ---- one file --------------------------------------------------------------------------------------------------- */

static const node_label *find_label(adder *a, const candidate *c)
{
    const node_film *f = &a->files.list[c->file];
    node_label *row = a->has_labels ? node_labels_by_file(&a->labels, f->real, f->base_is_unique) : NULL;
    if (!row && a->has_labels && c->has_sop)
        row = node_labels_by_sop(&a->labels, c->sop);
    if (row)
        row->used = true;
    return row;
}

static const char *find_patient(adder *a, candidate *c)
{
    if (c->has_patient)
        return NULL;
    if (c->row->has_patient)
        memcpy(c->patient, c->row->patient, 32);
    else if (a->options->one_image_per_patient) {
        fl_hash alone = node_keyed(a->s->pseudonym_key, "cordon lone image", c->id.bytes, 32);
        memcpy(c->patient, alone.bytes, 32);
    } else
        return "no patient: the labels need a patient_id for it (or say --one-image-per-patient)";
    c->has_patient = true;
    return NULL;
}

static const char set_reason[] = "its label names several classes: that takes labels = multi in [data] of policy.ini";

static const char *no_label(const adder *a)
{
    return a->has_labels ? "no label: no row of the labels names this file" : "no label: give --labels labels.csv";
}

/* Of an image of this patient that is here already. NULL: the same again. Another patient's image is never asked: what
 * is taken of one patient must not depend on another (sensitivity), so doubles across patients are for `data check`. */
static const char *differs(const known *k, const candidate *c)
{
    if (strcmp(k->label, c->row->text) != 0)
        return "the same image is here with another label";
    if (c->row->split >= 0 && c->row->split != k->split)
        return "the same image is here in another split";
    return NULL;
}

static fl_code insert(adder *a, const candidate *c, uint16_t low, uint16_t high, fl_err *err)
{
    const img_image *m = &c->image;
    fl_query q;
    FL_TRY(fl_query_open(&q, a->s->db,
                         "INSERT INTO image(dataset, patient, sop, file, object, width, height, bits, low, high, label,"
                         " split, modality, body_part, view, laterality)"
                         " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                         err));
    fl_bind_text(&q, 1, a->dataset);
    fl_bind_blob(&q, 2, c->patient, 32);
    if (c->has_sop)
        fl_bind_blob(&q, 3, c->sop, 32);
    fl_bind_blob(&q, 4, c->id.bytes, 32);
    fl_bind_blob(&q, 5, c->object.bytes, 32);
    const int64_t numbers[] = {m->width, m->height, m->bits, low, high};
    for (int i = 0; i < 5; i++)
        fl_bind_int(&q, 6 + i, numbers[i]);
    fl_bind_text(&q, 11, c->row->text);
    fl_bind_int(&q, 12, c->split);
    fl_bind_text(&q, 13, m->modality);
    fl_bind_text(&q, 14, m->body_part);
    fl_bind_text(&q, 15, m->view);
    fl_bind_text(&q, 16, m->laterality);
    FL_TRY(fl_query_run(&q, err));
    FL_TRY(fl_query_open(&q, a->s->db, "DELETE FROM refused WHERE dataset = ? AND file = ?", err));
    fl_bind_text(&q, 1, a->dataset);
    fl_bind_blob(&q, 2, c->id.bytes, 32);
    return fl_query_run(&q, err);
}

static fl_code remember(adder *a, const candidate *c, fl_err *err)
{
    if (!fl_grow(&a->taken, &a->cap_taken, a->n_taken, sizeof *a->taken))
        return no_memory(err);
    taken *t = &a->taken[a->n_taken++];
    memcpy(t->patient, c->patient, 32);
    memcpy(t->file_id, c->id.bytes, 32);
    t->file = c->file;
    t->split_was_said = c->row->split >= 0;
    a->report->n_taken++;
    a->changed = true;
    return FL_OK;
}

static void range(const img_image *m, uint16_t *low, uint16_t *high)
{
    *low = *high = m->pixels[0];
    for (size_t i = 1; i < (size_t)m->width * m->height; i++) {
        *low = m->pixels[i] < *low ? m->pixels[i] : *low;
        *high = m->pixels[i] > *high ? m->pixels[i] : *high;
    }
}

/* An image with label and patient that is not here yet as a file. */
static fl_code take(adder *a, candidate *c, fl_err *err)
{
    known same;
    const char *why = NULL;
    uint16_t low, high;
    if (c->has_sop) {
        FL_TRY(look_up(a, &same, KNOWN "sop = ?2 AND patient = ?3", c->sop, c->patient, err));
        if (same.found && !(why = differs(&same, c))) {
            a->report->n_duplicates++;
            return FL_OK;
        }
        if (why)
            return refuse(a, c->file, c->id.bytes, why, err);
    }
    range(&c->image, &low, &high);
    FL_TRY(node_pixels_put(a->s->objects, &c->object, &c->image, err));
    assert(a->n_put < BATCH);
    a->put[a->n_put++] = c->object;
    FL_TRY(look_up(a, &same, KNOWN "object = ?2 AND patient = ?3 LIMIT 1", c->object.bytes, c->patient, err));
    if (same.found && !same.is_constant) { /* constant images are all alike: they say nothing about a label */
        if (strcmp(same.label, c->row->text) != 0)
            return refuse(a, c->file, c->id.bytes, "the same pixels are here with another label", err);
        bool are_two = same.has_sop && c->has_sop; /* two instances by their UIDs: both are taken, `check` shows them */
        if (!are_two) {
            a->report->n_duplicates++;
            return FL_OK;
        }
    }
    FL_TRY(find_split(a, c, &why, err));
    if (why) {
        FL_TRY(orphan(a, &c->object, err));
        return refuse(a, c->file, c->id.bytes, why, err);
    }
    FL_TRY(insert(a, c, low, high, err));
    return remember(a, c, err);
}

/* The file is here already: no need to decode it again, unless it is another patient's now (*is_other). */
static fl_code again(adder *a, candidate *c, const known *k, bool *is_other, fl_err *err)
{
    *is_other = false;
    c->has_sop = k->has_sop;
    memcpy(c->sop, k->sop, 32);
    c->row = find_label(a, c);
    if (!c->row)
        return refuse(a, c->file, NULL, no_label(a), err);
    if (!k->has_sop && c->row->has_patient) { /* a DICOM file says its own */
        memcpy(c->patient, c->row->patient, 32);
        c->has_patient = true;
        if ((*is_other = memcmp(k->patient, c->patient, 32) != 0))
            return FL_OK;
    }
    const char *why = differs(k, c);
    if (why)
        return refuse(a, c->file, NULL, why, err);
    a->report->n_duplicates++;
    return FL_OK;
}

static fl_code decode(adder *a, candidate *c, bool *ok, fl_err *err)
{
    const char *path = a->files.list[c->file].real;
    fl_err e = {0};
    fl_code rc = img_decode_file(a->decoder, &c->image, path, &e);
    *ok = rc == FL_OK;
    if (rc == FL_EENV || rc == FL_EBUSY)
        return fl_fail(err, rc, "decoder: %s", node_film_reason(&e, path));
    if (rc == FL_OK) {
        c->has_patient = c->image.has_patient;
        c->has_sop = c->image.has_sop;
        memcpy(c->patient, c->image.patient, 32);
        memcpy(c->sop, c->image.sop, 32);
        return FL_OK;
    }
    if (rc != FL_EREFUSED)
        a->report->n_unreadable++;
    node_label *row = a->has_labels ? node_labels_by_file(&a->labels, path, a->files.list[c->file].base_is_unique)
                                    : NULL;
    if (row)
        row->used = true; /* the image has its line already */
    return refuse(a, c->file, c->id.bytes, node_film_reason(&e, path), err);
}

static fl_code add_file(adder *a, candidate *c, fl_err *err)
{
    known same;
    bool ok;
    fl_err e = {0};
    a->report->n_files++;
    fl_buf_clear(&a->bytes);
    if (fl_file_read(&a->bytes, a->files.list[c->file].real, &e)) {
        a->report->n_unreadable++;
        return refuse(a, c->file, NULL, node_film_reason(&e, a->files.list[c->file].real), err);
    }
    fl_hash content = fl_sha256(a->bytes.bytes, a->bytes.size);
    if (a->bytes.size)
        fl_wipe(a->bytes.bytes, a->bytes.size);
    c->id = node_keyed(a->s->pseudonym_key, "cordon file", content.bytes, sizeof content.bytes);
    FL_TRY(look_up(a, &same, KNOWN "file = ?2", c->id.bytes, NULL, err));
    if (same.found) {
        bool is_other;
        FL_TRY(again(a, c, &same, &is_other, err));
        if (!is_other)
            return FL_OK;
        c->has_patient = false;
    }
    FL_TRY(decode(a, c, &ok, err));
    if (!ok)
        return FL_OK;
    c->row = find_label(a, c);
    const char *why = !c->row                                        ? no_label(a)
                      : !a->multi && node_label_is_set(c->row->text) ? set_reason
                                                                     : find_patient(a, c);
    return why ? refuse(a, c->file, c->id.bytes, why, err) : take(a, c, err);
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

/* Rows of the labels that no file answered: whose file does not exist, or whose UID is in no file of this data set. */
static fl_code report_unused(adder *a, fl_err *err)
{
    known k;
    for (size_t i = 0; a->has_labels && i < a->labels.n; i++) {
        const node_label *row = &a->labels.rows[i];
        if (row->used || row->is_bad || row->exists)
            continue;
        k.found = false;
        if (row->has_sop)
            FL_TRY(look_up(a, &k, KNOWN "sop = ?2", row->sop, NULL, err));
        if (k.found)
            continue;
        a->report->n_without_image++;
        if (a->out)
            fprintf(a->out, NODE_PROGRAM ": %s:%zu: no image answers this row\n", a->labels.name, row->line);
    }
    return FL_OK;
}

static fl_code add_all(adder *a, fl_err *err)
{
    FL_TRY(fl_db_begin(a->s->db, err));
    for (size_t i = 0; i < a->files.n; i++) {
        candidate c = {.file = i};
        fl_code rc = add_file(a, &c, err);
        img_image_fini(&c.image);
        FL_TRY(rc);
        if (++a->in_batch == BATCH)
            FL_TRY(end_batch(a, false, err));
    }
    FL_TRY(report_unused(a, err));
    return end_batch(a, true, err);
}

static void adder_fini(adder *a)
{
    node_film_list_fini(&a->files);
    free(a->taken);
    free(a->torn);
    img_decoder_close(a->decoder);
    node_labels_fini(&a->labels);
    fl_buf_fini(&a->bytes);
}

fl_code node_data_add(node_store *s, const char *dataset, const char *labels, char *const *paths, size_t n_paths,
                      const node_data_options *options, const node_policy *policy, FILE *out, node_data_report *report,
                      fl_err *err)
{
    memset(report, 0, sizeof *report);
    if (strcmp(dataset, policy->dataset) != 0)
        return fl_fail(err, FL_EREFUSED, "data set %.63s: the policy is for %s", dataset, policy->dataset);
    adder a = {.s = s, .dataset = dataset, .options = options, .out = out, .report = report, .multi = policy->multi};
    fl_buf_init(&a.bytes, IMG_MAX_FILE_BYTES);
    fl_code rc = node_orphans_drop(s, err);
    if (rc == FL_OK)
        rc = find_labels(&a, labels, paths, n_paths, err);
    if (rc == FL_OK)
        rc = node_film_list_find(&a.files, paths, n_paths, a.labels.file, false, err);
    report->n_hidden = a.files.n_hidden;
    if (rc == FL_OK)
        rc = img_decoder_open(&a.decoder, options->decoder, s->pseudonym_key, err);
    if (rc == FL_OK) {
        report->n_bad_rows = (uint32_t)a.labels.n_bad;
        img_decoder_allow(a.decoder, node_policy_allow(policy));
        rc = add_all(&a, err);
        if (rc)
            undo_batch(&a);
        else
            rc = node_orphans_drop(s, err);
    }
    if (rc == FL_OK && node_data_exit(report) == 2)
        rc = fl_fail(err, FL_EFORMAT, "data add: %s",
                     report->n_files ? "none of the files is a readable image" : "no files there");
    adder_fini(&a);
    return rc;
}

int node_data_exit(const node_data_report *r)
{
    if (r->n_files == r->n_unreadable)
        return 2;
    return r->n_refused || r->n_bad_rows || r->n_without_image ? 1 : 0;
}
