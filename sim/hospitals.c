#include "sim/hospitals.h"

#include "base/csv.h"
#include "base/file.h"
#include "base/grow.h"
#include "base/nearest.h"
#include "imaging/image.h"
#include "imaging/resize.h"
#include "node/labels.h"
#include "proto/msg/envelope.h"
#include "sim/idx.h"
#include "train/prefix.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MANIFEST_MAX ((size_t)64 << 20)

typedef enum column { FILE_, LABEL, LABEL_NAME, PATIENT, HOSPITAL, SPLIT, N_COLUMNS } column;
static const char *const column_names[N_COLUMNS] = {"file", "label", "label_name", "patient_id", "hospital", "split"};

typedef struct row {
    char *file, *patient, *hospital, *label_text, *label_name;
    size_t line;
    uint32_t label;
    int split;
    uint8_t key[32];
} row;

typedef struct manifest {
    fl_buf text;
    char path[FL_PATH_MAX];
    row *rows;
    size_t n, capacity;
} manifest;

uint64_t sim_declared(uint64_t n)
{
    static const uint64_t steps[] = {70, 50, 30, 20, 15, 10};
    uint64_t unit = 1;
    if (n < 10)
        return 10;
    while (unit * 100 <= n)
        unit *= 10;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (steps[i] * unit <= n)
            return steps[i] * unit;
    return 10 * unit;
}

/* ---- the manifest ----------------------------------------------------------------------------------------------- */

static int parse_split(const char *text, const uint8_t key[32])
{
    for (int s = 0; s < NODE_N_SPLITS; s++)
        if (strcasecmp(text, node_split_name((node_split)s)) == 0)
            return s;
    if (text[0])
        return -1;
    const unsigned part = (unsigned)((key[0] << 8 | key[1]) % 100);
    return part < 70 ? NODE_SPLIT_TRAIN : part < 85 ? NODE_SPLIT_VAL : NODE_SPLIT_TEST;
}

static fl_code add_row(manifest *m, const fl_csv *r, const int columns[N_COLUMNS], fl_err *err)
{
    static const uint8_t key[32] = "a manifest's patients";
    row w = {.line = r->record_line};
    const char *texts[N_COLUMNS];
    for (int c = 0; c < N_COLUMNS; c++)
        texts[c] = columns[c] >= 0 && (size_t)columns[c] < r->n_fields ? r->fields[columns[c]] : "";
    w.file = (char *)texts[FILE_];
    w.label_text = (char *)texts[LABEL];
    w.label_name = (char *)texts[LABEL_NAME];
    w.patient = (char *)texts[PATIENT];
    w.hospital = (char *)texts[HOSPITAL];
    if (r->wrong || r->is_open_quote)
        return fl_fail(err, FL_EFORMAT, "%s:%zu: %s", m->path, r->record_line,
                       r->wrong ? r->wrong : "a quote is not closed");
    if (!w.file[0] || !w.patient[0])
        return fl_fail(err, FL_EFORMAT, "%s:%zu: file or patient_id is empty", m->path, r->record_line);
    if (!wire_name_ok(w.hospital))
        return fl_fail(err, FL_EFORMAT, "%s:%zu: hospital: 1 to 63 of A-Z a-z 0-9 . _ -", m->path, r->record_line);
    img_hmac_patient(w.key, key, w.patient);
    w.split = parse_split(texts[SPLIT], w.key);
    if (w.split < 0)
        return fl_fail(err, FL_EFORMAT, "%s:%zu: split: expected train, val or test", m->path, r->record_line);
    if (!fl_grow(&m->rows, &m->capacity, m->n, sizeof *m->rows))
        return fl_fail(err, FL_EENV, "%s: out of memory", m->path);
    m->rows[m->n++] = w;
    return FL_OK;
}

static int by_place(const void *a, const void *b)
{
    const row *x = a, *y = b;
    int c = strcmp(x->hospital, y->hospital);
    if (c == 0)
        c = memcmp(x->key, y->key, sizeof x->key);
    return c ? c : strcmp(x->file, y->file);
}

static fl_code check_rows(const manifest *m, fl_err *err)
{
    for (size_t i = 1; i < m->n; i++) {
        const row *a = &m->rows[i - 1], *b = &m->rows[i];
        if (memcmp(a->key, b->key, sizeof a->key) == 0 && strcmp(a->hospital, b->hospital) == 0 && a->split != b->split)
            return fl_fail(err, FL_EFORMAT, "%s: a patient of %s is in two splits", m->path, a->hospital);
    }
    return FL_OK;
}

static fl_code manifest_load(manifest *m, const char *dir, fl_err *err)
{
    fl_csv r;
    int columns[N_COLUMNS];
    fl_buf_init(&m->text, MANIFEST_MAX);
    fl_path(m->path, dir, "manifest.csv");
    fl_code rc = fl_file_read(&m->text, m->path, err);
    if (rc)
        return rc;
    fl_csv_init(&r, (char *)m->text.bytes, m->text.size);
    if (m->text.size == 0 || !fl_csv_next(&r))
        return fl_fail(err, FL_EFORMAT, "%s: is empty", m->path);
    for (int c = 0; c < N_COLUMNS; c++) {
        columns[c] = fl_csv_find(&r, column_names[c]);
        if (columns[c] < 0 && c != SPLIT && c != LABEL_NAME)
            return fl_fail(err, FL_EFORMAT, "%s:1: no column \"%s\"", m->path, column_names[c]);
    }
    while (rc == FL_OK && fl_csv_next(&r))
        if (!fl_csv_is_blank(&r))
            rc = add_row(m, &r, columns, err);
    if (rc == FL_OK && m->n == 0)
        rc = fl_fail(err, FL_EFORMAT, "%s: holds no rows", m->path);
    if (rc)
        return rc;
    qsort(m->rows, m->n, sizeof *m->rows, by_place);
    return check_rows(m, err);
}

static void manifest_fini(manifest *m)
{
    fl_buf_fini(&m->text);
    free(m->rows);
}

/* ---- which rows are of the study -------------------------------------------------------------------------------- */

static bool has_name(const nn_plan *plan, const char *text)
{
    uint32_t label;
    return node_label_read(&label, plan, text, false) && (!plan->multi || label != 0);
}

static const char *label_of(const row *w, bool by_number)
{
    return w->label_name[0] && !by_number ? w->label_name : w->label_text[0] ? w->label_text : w->label_name;
}

void sim_leave_out(sim_left_out *out, const char *label)
{
    out->other_labels++;
    for (uint32_t i = 0; i < out->n_labels; i++)
        if (strncasecmp(out->labels[i].text, label, NODE_LABEL_MAX - 1) == 0) {
            out->labels[i].rows++;
            return;
        }
    if (out->n_labels == SIM_MAX_LEFT_OUT)
        return;
    snprintf(out->labels[out->n_labels].text, NODE_LABEL_MAX, "%s", label);
    out->labels[out->n_labels++].rows = 1;
}

static fl_code check_kind(const manifest *m, const nn_plan *plan, bool by_number, fl_err *err)
{
    for (size_t i = 0; i < m->n; i++)
        if (node_label_is_set(label_of(&m->rows[i], by_number)))
            return plan->multi ? FL_OK
                               : fl_fail(err, FL_EREFUSED,
                                         "%s:%zu: the label names several classes: the study needs labels = multi",
                                         m->path, m->rows[i].line);
    return plan->multi
               ? fl_fail(err, FL_EREFUSED,
                         "%s: no label names several classes (joined by |): the study needs labels = single", m->path)
               : FL_OK;
}

/* Labels become numbers; rows of other classes go. */
static fl_code read_labels(sim_hospitals *out, manifest *m, const nn_plan *plan, fl_err *err)
{
    size_t n = 0;
    out->by_number = true;
    for (size_t i = 0; i < m->n && out->by_number; i++)
        out->by_number = !has_name(plan, m->rows[i].label_name) && !has_name(plan, m->rows[i].label_text);
    FL_TRY(check_kind(m, plan, out->by_number, err));
    for (size_t i = 0; i < m->n; i++) {
        row *w = &m->rows[i];
        const char *text = label_of(w, out->by_number);
        if (!text[0] && !plan->multi)
            return fl_fail(err, FL_EFORMAT, "%s:%zu: the label is empty", m->path, w->line);
        if (node_label_read(&w->label, plan, text, out->by_number))
            m->rows[n++] = *w;
        else
            sim_leave_out(&out->left_out, text);
    }
    m->n = n;
    return n ? FL_OK : fl_fail(err, FL_EFORMAT, "%s: no row has a label of the study's classes", m->path);
}

static bool is_wanted(const nn_plan *plan, const char *hospital)
{
    for (uint32_t i = 0; i < plan->n_sites; i++)
        if (strcmp(plan->sites[i], hospital) == 0)
            return true;
    return plan->n_sites == 0;
}

static bool has_hospital(const manifest *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->rows[i].hospital, name) == 0)
            return true;
    return false;
}

/* Rows are in the order of their hospitals: those of the study stay, and of these the first `only`. */
static fl_code choose_hospitals(sim_hospitals *out, manifest *m, const nn_plan *plan, uint32_t only, fl_err *err)
{
    size_t n = 0, before = m->n;
    uint32_t hospitals = 0;
    for (uint32_t i = 0; i < plan->n_sites; i++)
        if (!has_hospital(m, plan->sites[i]))
            return fl_fail(err, FL_EFORMAT, "%s: no row of hospital %s, which the study names", m->path,
                           plan->sites[i]);
    for (size_t i = 0; i < m->n; i++) {
        const bool is_next = n == 0 || strcmp(m->rows[n - 1].hospital, m->rows[i].hospital) != 0;
        if (!is_wanted(plan, m->rows[i].hospital) || (is_next && only && hospitals == only))
            continue;
        hospitals += is_next;
        m->rows[n++] = m->rows[i];
    }
    m->n = n;
    out->left_out.other_hospitals = (uint32_t)(before - n);
    return FL_OK;
}

/* ---- images ----------------------------------------------------------------------------------------------------- */

static fl_code add_patient(sim_hospital *h, const row *rows, size_t n, const char *dir, img_decoder *decoder,
                           fl_err *err)
{
    nn_dataset *d = &h->split[rows[0].split];
    const size_t size = nn_dataset_image_size(d);
    float *images = malloc(n * size * sizeof *images);
    uint32_t *labels = malloc(n * sizeof *labels);
    fl_code rc = images && labels ? FL_OK : fl_fail(err, FL_EENV, "out of memory");
    for (size_t i = 0; i < n && rc == FL_OK; i++) {
        char path[FL_PATH_MAX];
        img_image image;
        rc = img_decode_file(decoder, &image, rows[i].file[0] == '/' ? rows[i].file : fl_path(path, dir, rows[i].file),
                             err);
        if (rc)
            break;
        img_resize(images + i * size, d->channels, d->height, d->width, &image);
        img_image_fini(&image);
        labels[i] = rows[i].label;
    }
    if (rc == FL_OK)
        rc = nn_dataset_append_patient(d, rows[0].key, images, labels, (uint32_t)n, err);
    free(images);
    free(labels);
    return rc;
}

/* first: the hospital's first row; room is made for all of them. */
static fl_code begin_hospital(sim_hospitals *out, const manifest *m, size_t first, const nn_plan *plan, fl_err *err)
{
    uint32_t images[NODE_N_SPLITS] = {0};
    for (size_t i = first; i < m->n && strcmp(m->rows[i].hospital, m->rows[first].hospital) == 0; i++)
        images[m->rows[i].split]++;
    if (out->n == SIM_MAX_HOSPITALS)
        return fl_fail(err, FL_EFORMAT, "more than %d hospitals", SIM_MAX_HOSPITALS);
    sim_hospital *h = &out->list[out->n++];
    snprintf(h->name, sizeof h->name, "%s", m->rows[first].hospital);
    for (int s = 0; s < NODE_N_SPLITS; s++) {
        FL_TRY(nn_dataset_init(&h->split[s], plan->channels, plan->height, plan->width, err));
        FL_TRY(nn_dataset_reserve(&h->split[s], images[s], images[s], err));
    }
    return FL_OK;
}

static fl_code load_rows(sim_hospitals *out, const manifest *m, const char *dir, const nn_plan *plan,
                         img_decoder *decoder, fl_err *err)
{
    fl_code rc = FL_OK;
    for (size_t i = 0; i < m->n && rc == FL_OK;) {
        size_t n = 1;
        while (i + n < m->n && memcmp(m->rows[i].key, m->rows[i + n].key, sizeof m->rows[i].key) == 0 &&
               strcmp(m->rows[i].hospital, m->rows[i + n].hospital) == 0)
            n++;
        if (out->n == 0 || strcmp(out->list[out->n - 1].name, m->rows[i].hospital) != 0)
            rc = begin_hospital(out, m, i, plan, err);
        if (rc == FL_OK)
            rc = add_patient(&out->list[out->n - 1], &m->rows[i], n, dir, decoder, err);
        i += n;
    }
    return rc;
}

static fl_code gather(sim_hospitals *out, const nn_plan *plan, fl_err *err)
{
    uint64_t n_test = 0;
    fl_code rc = nn_dataset_init(&out->judge, plan->channels, plan->height, plan->width, err);
    for (uint32_t i = 0; i < out->n; i++) {
        out->list[i].declared = sim_declared(out->list[i].split[NODE_SPLIT_TRAIN].n_patients);
        n_test += out->list[i].split[NODE_SPLIT_TEST].n_images;
    }
    const node_split split = n_test ? NODE_SPLIT_TEST : NODE_SPLIT_VAL;
    out->judge_name = node_split_name(split);
    for (uint32_t i = 0; i < out->n && rc == FL_OK; i++)
        rc = nn_dataset_append_all(&out->judge, &out->list[i].split[split], err);
    if (rc == FL_OK && out->judge.n_images == 0)
        rc = fl_fail(err, FL_EFORMAT, "manifest.csv: neither a test nor a val split to judge on");
    return rc;
}

fl_code sim_hospitals_load(sim_hospitals *out, const char *dir, const nn_plan *plan, uint32_t only, fl_err *err)
{
    static const uint8_t key[32] = "a manifest's patients";
    manifest m = {0};
    img_decoder *decoder = NULL;
    memset(out, 0, sizeof *out);
    out->list = calloc(SIM_MAX_HOSPITALS, sizeof *out->list);
    fl_code rc = out->list ? FL_OK : fl_fail(err, FL_EENV, "out of memory");
    if (rc == FL_OK && !fl_file_exists(fl_path(m.path, dir, "manifest.csv")) && sim_idx_is_here(dir))
        rc = sim_idx_load(out, dir, plan, only, err);
    else if (rc == FL_OK && (rc = manifest_load(&m, dir, err)) == FL_OK &&
             (rc = read_labels(out, &m, plan, err)) == FL_OK &&
             (rc = choose_hospitals(out, &m, plan, only, err)) == FL_OK &&
             (rc = img_decoder_open(&decoder, NULL, key, err)) == FL_OK)
        rc = load_rows(out, &m, dir, plan, decoder, err);
    if (rc == FL_OK)
        rc = gather(out, plan, err);
    img_decoder_close(decoder);
    manifest_fini(&m);
    if (rc)
        sim_hospitals_fini(out);
    return rc;
}

fl_code sim_hospitals_prepare(sim_hospitals *h, const nn_plan *plan, fl_pool *pool, fl_err *err)
{
    nn_model *m;
    FL_TRY(nn_model_create(&m, plan->spec, plan->channels, plan->height, plan->width, plan->n_classes, err));
    fl_code rc = nn_dataset_prepare(&h->judge, m, pool, err);
    for (uint32_t i = 0; i < h->n && rc == FL_OK; i++) {
        for (int s = 0; s < NODE_N_SPLITS && rc == FL_OK; s++)
            rc = nn_dataset_prepare(&h->list[i].split[s], m, pool, err);
    }
    nn_model_destroy(m);
    return rc;
}

void sim_hospitals_fini(sim_hospitals *h)
{
    for (uint32_t i = 0; h->list && i < h->n; i++)
        for (int s = 0; s < NODE_N_SPLITS; s++)
            nn_dataset_fini(&h->list[i].split[s]);
    nn_dataset_fini(&h->judge);
    free(h->list);
    memset(h, 0, sizeof *h);
}

fl_code sim_hospitals_declare(sim_hospitals *h, const nn_declared *list, uint32_t n, bool is_part, fl_err *err)
{
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = 0;
        fl_nearest near = {.word = list[k].hospital};
        for (; i < h->n && strcmp(h->list[i].name, list[k].hospital) != 0; i++)
            fl_nearest_try(&near, h->list[i].name);
        const char *best = fl_nearest_best(&near);
        if (i == h->n && !is_part)
            return fl_fail(err, FL_EFORMAT, "[simulation] declared: %s is no hospital of the data%s%s%s",
                           list[k].hospital, best ? ": did you mean " : "", best ? best : "", best ? "?" : "");
        if (i < h->n)
            h->list[i].declared = list[k].patients;
    }
    return FL_OK;
}

/* ---- work for real nodes ---------------------------------------------------------------------------------------- */

static void csv_field(fl_buf *out, const char *text, const char *end)
{
    fl_buf_add_text(out, "\"");
    for (; *text; text++) {
        if (*text == '"')
            fl_buf_add_text(out, "\"");
        fl_buf_add(out, text, 1);
    }
    fl_buf_add_text(out, "\"");
    fl_buf_add_text(out, end);
}

static fl_code write_hospital(const manifest *m, size_t from, size_t to, const char *dir, const char *out_dir,
                              fl_buf *list, fl_err *err)
{
    char path[FL_PATH_MAX], file[FL_PATH_MAX], name[80];
    uint64_t n_train = 0;
    fl_buf csv;
    fl_buf_init(&csv, MANIFEST_MAX);
    fl_buf_add_text(&csv, "file,label,patient_id,split\n");
    for (size_t i = from; i < to; i++) {
        const row *w = &m->rows[i];
        csv_field(&csv, w->file[0] == '/' ? w->file : fl_path(file, dir, w->file), ",");
        csv_field(&csv, w->label_text[0] ? w->label_text : w->label_name, ",");
        csv_field(&csv, w->patient, ",");
        csv_field(&csv, node_split_name((node_split)w->split), "\n");
        n_train += w->split == NODE_SPLIT_TRAIN && (i == from || memcmp(w->key, w[-1].key, sizeof w->key) != 0);
    }
    fl_buf_printf(list, "%s %llu\n", m->rows[from].hospital, (unsigned long long)sim_declared(n_train));
    snprintf(name, sizeof name, "%s.csv", m->rows[from].hospital);
    fl_code rc = fl_buf_check(&csv, name, err);
    if (rc == FL_OK)
        rc = fl_file_write(fl_path(path, out_dir, name), csv.bytes, csv.size, 0600, err);
    fl_buf_fini(&csv);
    return rc;
}

fl_code sim_split(const char *dir, const char *out_dir, fl_err *err)
{
    manifest m = {0};
    char real[PATH_MAX], path[FL_PATH_MAX];
    fl_buf list;
    fl_buf_init(&list, 1 << 20);
    fl_code rc = realpath(dir, real) ? manifest_load(&m, real, err)
                                     : fl_fail(err, FL_ENOTFOUND, "%s: no such folder", dir);
    if (rc == FL_OK)
        rc = fl_dir_make(out_dir, err);
    for (size_t i = 0; i < m.n && rc == FL_OK;) {
        size_t end = i;
        while (end < m.n && strcmp(m.rows[end].hospital, m.rows[i].hospital) == 0)
            end++;
        rc = write_hospital(&m, i, end, real, out_dir, &list, err);
        i = end;
    }
    if (rc == FL_OK)
        rc = fl_file_write(fl_path(path, out_dir, "hospitals.txt"), list.bytes, list.size, 0600, err);
    fl_buf_fini(&list);
    manifest_fini(&m);
    return rc;
}
