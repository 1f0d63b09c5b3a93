#include "node/labels.h"

#include "base/csv.h"
#include "base/grow.h"
#include "base/nearest.h"
#include "crypto/csprng.h" /* fl_wipe */
#include "imaging/image.h"
#include "node/commands.h"
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_ID  256 /* bytes of a patient_id */
#define MAX_UID 64

typedef enum column { COLUMN_FILE, COLUMN_SOP, COLUMN_LABEL, COLUMN_PATIENT, COLUMN_SPLIT, N_COLUMNS } column;
static const char *const column_names[N_COLUMNS] = {"file", "sop_instance_uid", "label", "patient_id", "split"};

typedef struct parser {
    node_labels *l;
    const uint8_t *key;
    FILE *out;
    int columns[N_COLUMNS]; /* index of the field, -1: not there */
    size_t n_columns;
} parser;

const char *node_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- texts ------------------------------------------------------------------------------------------------------ */

static char *trim(char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    size_t n = strlen(text);
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
        text[--n] = 0;
    return text;
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

/* ---- header ----------------------------------------------------------------------------------------------------- */

static fl_code missing_column(const fl_csv *r, const char *name, const char *wanted, fl_err *err)
{
    fl_nearest n = {.word = wanted};
    for (size_t i = 0; i < r->n_fields; i++)
        if (!has_control(r->fields[i]) && strlen(r->fields[i]) < 64)
            fl_nearest_try(&n, r->fields[i]);
    const char *best = fl_nearest_best(&n);
    return fl_fail(err, FL_EFORMAT, "%s:%zu: no column named %s%s%s%s", name, r->record_line, wanted,
                   best ? " (is it \"" : "", best ? best : "", best ? "\"?)" : "");
}

static fl_code read_header(parser *p, fl_csv *r, fl_err *err)
{
    const char *name = p->l->name;
    do {
        if (!fl_csv_next(r))
            return fl_fail(err, FL_EFORMAT, "%s: is empty: the first line names the columns: file,label", name);
    } while (fl_csv_is_blank(r));
    if (r->wrong || r->is_open_quote)
        return fl_fail(err, FL_EFORMAT, "%s:%zu: %s", name, r->record_line,
                       r->wrong ? r->wrong : "a quote is not closed");
    for (int c = 0; c < N_COLUMNS; c++)
        p->columns[c] = -1;
    for (size_t i = 0; i < r->n_fields; i++) {
        r->fields[i] = trim(r->fields[i]);
        for (int c = 0; c < N_COLUMNS; c++) {
            if (strcasecmp(r->fields[i], column_names[c]) != 0)
                continue;
            if (p->columns[c] >= 0)
                return fl_fail(err, FL_EFORMAT, "%s:%zu: column %s is there twice", name, r->record_line,
                               column_names[c]);
            p->columns[c] = (int)i;
        }
    }
    p->n_columns = r->n_fields;
    p->l->has_patient_column = p->columns[COLUMN_PATIENT] >= 0;
    p->l->has_split_column = p->columns[COLUMN_SPLIT] >= 0;
    if (p->columns[COLUMN_LABEL] < 0)
        return missing_column(r, name, "label", err);
    if (p->columns[COLUMN_FILE] < 0 && p->columns[COLUMN_SOP] < 0)
        return missing_column(r, name, "file", err);
    return FL_OK;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static void say(parser *p, size_t line, const char *what)
{
    p->l->n_bad++;
    if (p->out)
        fprintf(p->out, NODE_PROGRAM ": %s:%zu: %s\n", p->l->name, line, what);
}

static char *field(const parser *p, const fl_csv *r, column c)
{
    static char none[1];
    return p->columns[c] < 0 ? none : trim(r->fields[p->columns[c]]);
}

/* dir/file with links and dots resolved when there is such a file, else as written. */
static char *resolve(const char *dir, char *file, bool *exists)
{
    char joined[FL_PATH_MAX], real[PATH_MAX];
    for (char *c = file; *c; c++)
        if (*c == '\\')
            *c = '/';
    while (strncmp(file, "./", 2) == 0)
        file += 2;
    *exists = false;
    if (!dir)
        return strdup(file);
    int n = snprintf(joined, sizeof joined, "%s%s%s", file[0] == '/' ? "" : dir, file[0] == '/' ? "" : "/", file);
    if (n < 0 || (size_t)n >= sizeof joined)
        return strdup(file);
    *exists = realpath(joined, real) != NULL;
    return strdup(*exists ? real : joined);
}

static const char *fill_row(node_label *row, const parser *p, const fl_csv *r)
{
    static const char *const splits[] = {"train", "val", "test"};
    const char *uid = field(p, r, COLUMN_SOP), *patient = field(p, r, COLUMN_PATIENT);
    const char *label = field(p, r, COLUMN_LABEL), *split = field(p, r, COLUMN_SPLIT);
    char *file = field(p, r, COLUMN_FILE);
    if (!*label)
        return "no label";
    if (strlen(label) >= NODE_LABEL_MAX || has_control(label))
        return "the label is longer than 63 bytes or holds control characters";
    if (!*file && !*uid)
        return "neither a file nor a sop_instance_uid";
    if (strlen(file) > NODE_LABELS_MAX_FIELD / 2 || has_control(file))
        return "the file's name is too long or holds control characters";
    if (strlen(patient) > MAX_ID || has_control(patient))
        return "the patient_id is longer than 256 bytes or holds control characters";
    if (strlen(uid) > MAX_UID || strspn(uid, "0123456789.") != strlen(uid))
        return "the sop_instance_uid is none: at most 64 digits and dots";
    row->split = -1;
    for (int i = 0; i < 3; i++)
        if (strcasecmp(split, splits[i]) == 0)
            row->split = i;
    if (*split && row->split < 0)
        return "the split is none of train, val, test";
    strcpy(row->text, label);
    row->line = r->record_line;
    if ((row->has_sop = *uid != 0))
        img_hmac_sop(row->sop, p->key, uid);
    if ((row->has_patient = *patient != 0))
        img_hmac_patient(row->patient, p->key, patient);
    if (*file && !(row->path = resolve(p->l->dir, file, &row->exists)))
        return "out of memory";
    return NULL;
}

static fl_code add_row(parser *p, const fl_csv *r, fl_err *err)
{
    node_labels *l = p->l;
    if (!fl_grow(&l->rows, &l->capacity, l->n, sizeof *l->rows))
        return fl_fail(err, FL_EENV, "%s: out of memory", l->name);
    node_label *row = &l->rows[l->n];
    memset(row, 0, sizeof *row);
    const char *wrong = r->wrong;
    if (!wrong && r->n_fields != p->n_columns) {
        char text[80];
        snprintf(text, sizeof text, "%zu fields, the header has %zu", r->n_fields, p->n_columns);
        say(p, r->record_line, text);
        return FL_OK;
    }
    if (!wrong)
        wrong = fill_row(row, p, r);
    if (wrong)
        say(p, r->record_line, wrong);
    else
        l->n++;
    return FL_OK;
}

/* ---- which row means which file --------------------------------------------------------------------------------- */

static int by_line(const node_label *a, const node_label *b)
{
    return a->line < b->line ? -1 : a->line > b->line;
}

static int compare_path(const void *a, const void *b)
{
    const node_label *x = *(node_label *const *)a, *y = *(node_label *const *)b;
    int c = strcmp(x->path, y->path);
    return c ? c : by_line(x, y);
}

static int compare_base(const void *a, const void *b)
{
    const node_label *x = *(node_label *const *)a, *y = *(node_label *const *)b;
    int c = strcmp(node_base_name(x->path), node_base_name(y->path));
    return c ? c : by_line(x, y);
}

static int compare_sop(const void *a, const void *b)
{
    const node_label *x = *(node_label *const *)a, *y = *(node_label *const *)b;
    int c = memcmp(x->sop, y->sop, sizeof x->sop);
    return c ? c : by_line(x, y);
}

static bool say_the_same(const node_label *a, const node_label *b)
{
    return strcmp(a->text, b->text) == 0 && a->split == b->split && a->has_patient == b->has_patient &&
           memcmp(a->patient, b->patient, sizeof a->patient) == 0;
}

/* b repeats a: the later row goes when they agree, both when they do not. */
static void settle(parser *p, node_label *a, node_label *b)
{
    char text[120];
    bool same = say_the_same(a, b);
    snprintf(text, sizeof text,
             same ? "says again what line %zu says" : "contradicts line %zu about the same image: neither counts",
             a->line);
    say(p, b->line, text);
    b->is_bad = true;
    if (!same && !a->is_bad) {
        a->is_bad = true;
        p->l->n_bad++;
    }
}

static size_t drop_bad(node_label **list, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!list[i]->is_bad)
            list[kept++] = list[i];
    return kept;
}

static fl_code index_rows(parser *p, fl_err *err)
{
    node_labels *l = p->l;
    size_t n = l->n ? l->n : 1;
    l->by_path = calloc(n, sizeof *l->by_path);
    l->by_base = calloc(n, sizeof *l->by_base);
    l->by_sop = calloc(n, sizeof *l->by_sop);
    if (!l->by_path || !l->by_base || !l->by_sop)
        return fl_fail(err, FL_EENV, "%s: out of memory", l->name);
    for (size_t i = 0; i < l->n; i++) {
        if (l->rows[i].path)
            l->by_path[l->n_by_path++] = &l->rows[i];
        if (l->rows[i].has_sop)
            l->by_sop[l->n_by_sop++] = &l->rows[i];
    }
    qsort(l->by_path, l->n_by_path, sizeof *l->by_path, compare_path);
    qsort(l->by_sop, l->n_by_sop, sizeof *l->by_sop, compare_sop);
    for (size_t i = 1, first = 0; i < l->n_by_path; i++) {
        if (strcmp(l->by_path[first]->path, l->by_path[i]->path) != 0)
            first = i;
        else
            settle(p, l->by_path[first], l->by_path[i]);
    }
    for (size_t i = 1, first = 0; i < l->n_by_sop; i++) {
        if (memcmp(l->by_sop[first]->sop, l->by_sop[i]->sop, 32) != 0)
            first = i;
        else if (!l->by_sop[i]->is_bad)
            settle(p, l->by_sop[first], l->by_sop[i]);
    }
    l->n_by_path = drop_bad(l->by_path, l->n_by_path);
    l->n_by_sop = drop_bad(l->by_sop, l->n_by_sop);
    memcpy(l->by_base, l->by_path, l->n_by_path * sizeof *l->by_base);
    qsort(l->by_base, l->n_by_path, sizeof *l->by_base, compare_base);
    return FL_OK;
}

node_label *node_labels_by_file(node_labels *l, const char *path, bool base_is_unique)
{
    node_label probe = {.path = (char *)path}, *key = &probe; /* line 0: sorts before every row of this path */
    size_t low = 0, high = l->n_by_path;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (compare_path(&l->by_path[mid], &key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < l->n_by_path && strcmp(l->by_path[low]->path, path) == 0)
        return l->by_path[low];
    if (!base_is_unique)
        return NULL;
    const char *base = node_base_name(path);
    for (low = 0, high = l->n_by_path; low < high;) {
        size_t mid = (low + high) / 2;
        if (compare_base(&l->by_base[mid], &key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == l->n_by_path || strcmp(node_base_name(l->by_base[low]->path), base) != 0)
        return NULL;
    if (low + 1 < l->n_by_path && strcmp(node_base_name(l->by_base[low + 1]->path), base) == 0)
        return NULL;
    return l->by_base[low]->exists ? NULL : l->by_base[low]; /* its own file is there, and is another one */
}

node_label *node_labels_by_sop(node_labels *l, const uint8_t sop[32])
{
    size_t low = 0, high = l->n_by_sop;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (memcmp(l->by_sop[mid]->sop, sop, 32) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < l->n_by_sop && memcmp(l->by_sop[low]->sop, sop, 32) == 0 ? l->by_sop[low] : NULL;
}

/* ---- classes of a plan --------------------------------------------------------------------------------------------- */

/* n bytes of text; -1: none. */
static int class_of(const nn_plan *plan, const char *text, size_t n, bool numbers_too)
{
    for (uint32_t i = 0; i < plan->n_classes; i++)
        if (strlen(plan->classes[i]) == n && strncasecmp(text, plan->classes[i], n) == 0)
            return (int)i;
    if (!numbers_too || n < 1 || n > 2 || strspn(text, "0123456789") < n || (n == 2 && text[0] == '0'))
        return -1;
    const int number = n == 1 ? text[0] - '0' : 10 * (text[0] - '0') + text[1] - '0';
    return number < (int)plan->n_classes ? number : -1;
}

bool node_label_is_set(const char *text)
{
    return strchr(text, '|') != NULL;
}

bool node_label_read(uint32_t *label, const nn_plan *plan, const char *text, bool numbers_too)
{
    const bool is_multi = plan->multi;
    *label = 0;
    for (;;) {
        size_t n = is_multi ? strcspn(text, "|") : strlen(text), skip = n;
        while (n > 0 && *text == ' ')
            text++, n--, skip--;
        while (n > 0 && text[n - 1] == ' ')
            n--;
        const int class = class_of(plan, text, n, numbers_too);
        if (!is_multi) {
            *label = class < 0 ? 0 : (uint32_t) class;
            return class >= 0;
        }
        if (class >= 0)
            *label |= UINT32_C(1) << class;
        text += skip;
        if (*text == 0)
            return true;
        text++;
    }
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static fl_code parse_all(parser *p, fl_csv *r, fl_err *err)
{
    FL_TRY(read_header(p, r, err));
    while (fl_csv_next(r)) {
        if (r->is_open_quote)
            return fl_fail(err, FL_EFORMAT, "%s:%zu: a quote is not closed", p->l->name, r->record_line);
        if (!fl_csv_is_blank(r))
            FL_TRY(add_row(p, r, err));
    }
    return index_rows(p, err);
}

fl_code node_labels_parse(node_labels *l, char *text, size_t n, const char *name, const char *dir,
                          const uint8_t key[32], FILE *out, fl_err *err)
{
    memset(l, 0, sizeof *l);
    l->name = strdup(name);
    l->dir = dir ? strdup(dir) : NULL;
    if (!l->name || (dir && !l->dir))
        return fl_fail(err, FL_EENV, "%s: out of memory", name);
    if (memchr(text, 0, n))
        return fl_fail(err, FL_EFORMAT, "%s: holds a zero byte: save it as CSV in UTF-8", name);
    parser p = {.l = l, .key = key, .out = out};
    fl_csv *r = calloc(1, sizeof *r);
    if (!r)
        return fl_fail(err, FL_EENV, "%s: out of memory", name);
    fl_csv_init(r, text, n);
    fl_code rc = parse_all(&p, r, err);
    free(r);
    return rc;
}

fl_code node_labels_load(node_labels *l, const char *path, const uint8_t key[32], FILE *out, fl_err *err)
{
    char real[PATH_MAX], dir[PATH_MAX];
    fl_buf text;
    memset(l, 0, sizeof *l);
    fl_buf_init(&text, NODE_LABELS_MAX_BYTES);
    fl_code rc = fl_file_read(&text, path, err);
    if (rc == FL_OK && !realpath(path, real))
        rc = fl_fail(err, FL_EENV, "%s: cannot be found again", path);
    if (rc == FL_OK) {
        strcpy(dir, real);
        *strrchr(dir, '/') = 0;
        char nothing[1] = "";
        rc = node_labels_parse(l, text.size ? (char *)text.bytes : nothing, text.size, path, dir, key, out, err);
        if (rc == FL_OK && !(l->file = strdup(real)))
            rc = fl_fail(err, FL_EENV, "%s: out of memory", path);
    }
    if (text.bytes)
        fl_wipe(text.bytes, text.size);
    fl_buf_fini(&text);
    return rc;
}

void node_labels_fini(node_labels *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++)
        free(l->rows[i].path);
    free(l->rows);
    free(l->by_path);
    free(l->by_base);
    free(l->by_sop);
    free(l->dir);
    free(l->file);
    free(l->name);
    *l = (node_labels){0};
}
