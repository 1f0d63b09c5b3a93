/*
 * node_labels - a CSV of labels (RFC 4180: quotes, CRLF or LF, an optional UTF-8 mark), and which file each row means.
 *
 * Columns by the names in the first line, in any order and case; others are ignored:
 *     file               relative to the CSV's folder, or absolute. When no such file exists, the base name alone counts,
 *                        as long as one row and one file have it
 *     sop_instance_uid   the DICOM file's; one of these two columns at least, and in each row one of them
 *     label              1 to 63 bytes; a set of classes is their names joined by |
 *     patient_id         whose image it is, for files that do not say it themselves
 *     split              train, val or test; empty: not said
 *
 * A row that cannot be used costs one line on the terminal with its line number, and the other rows count. Patients and
 * UIDs are hashed as they are read: no row keeps them in clear.
 */
#ifndef NODE_LABELS_H
#define NODE_LABELS_H

#include "node/data.h"

#define NODE_LABELS_MAX_BYTES ((size_t)64 << 20)
#define NODE_LABELS_MAX_FIELD 4096 /* of a file's name; a label has its own limit */

typedef struct node_label {
    size_t line; /* in the file, from 1 */
    char *path;  /* absolute when the CSV has a folder; NULL: by UID only */
    bool exists; /* path is a file */
    char text[NODE_LABEL_MAX];
    int split; /* node_split, -1: not said */
    bool has_sop, has_patient;
    bool is_bad; /* contradicts or repeats another row: it answers for no file */
    bool used;
    uint8_t sop[32], patient[32];
} node_label;

typedef struct node_labels {
    char *dir, *file; /* of the CSV, absolute, links resolved; NULL when parsed from memory */
    char *name;       /* as the user wrote it, for messages */
    node_label *rows;
    size_t n, capacity;
    size_t n_bad; /* rows that cannot be used, in rows or not */
    bool has_patient_column, has_split_column;
    node_label **by_path, **by_base, **by_sop; /* good rows, sorted */
    size_t n_by_path, n_by_sop;
} node_labels;

/* FL_EFORMAT: no header, a needed column missing or twice, a quote not closed, not text. Lines about rows go to out (may
 * be NULL). The caller finis l in any case. */
fl_code node_labels_load(node_labels *l, const char *path, const uint8_t key[32], FILE *out, fl_err *err) FL_MUST_USE;
/* dir: what relative files are below; NULL: names are left as they are. text is overwritten; text[n]
 * may be written too. */
fl_code node_labels_parse(node_labels *l, char *text, size_t n, const char *name, const char *dir,
                          const uint8_t key[32], FILE *out, fl_err *err) FL_MUST_USE;
void node_labels_fini(node_labels *l);

/* The row for a file, or NULL. path: absolute, links resolved. base_is_unique: no other file of this call has its base
 * name. */
node_label *node_labels_by_file(node_labels *l, const char *path, bool base_is_unique);
node_label *node_labels_by_sop(node_labels *l, const uint8_t sop[32]);

const char *node_base_name(const char *path);

/*
 * A label's text as training knows it. Single-label plans: the class with that name, in any case, or, if numbers_too,
 * with that number ("0", "1", ...). Multi-label plans: names (numbers) joined by |, as the set of their bits; parts that
 * are no class of the plan ("no finding") set no bit, so every image is of the plan.
 *
 * false: no class of this plan. A text that names several classes is none for a single-label plan.
 */
bool node_label_read(uint32_t *label, const nn_plan *plan, const char *text, bool numbers_too);
bool node_label_is_set(const char *text); /* several names joined by | */

#endif
