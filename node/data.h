/*
 * node_data - data sets in a node's store: de-identified pixels, label text, keyed pseudonyms, splits. Nothing else.
 *
 *     image(id, dataset, patient, sop, file, object, width, height, bits, low, high, label, split,
 *           modality, body_part, view, laterality)
 *     refused(dataset, file, reason)
 *
 *     patient  img_hmac_patient: one patient's images stay together
 *     sop      img_hmac_sop, NULL for what is no DICOM
 *     file     HMAC-SHA-256(pseudonym key, "cordon file" 0x00 SHA-256 of the file): finds the same file again
 *     object   SHA-256 of the pixel object, a file of DIR/objects:
 *
 *         offset  size  field
 *              0     4  "CPX1"
 *              4     4  width, u32 little endian, 1 .. IMG_MAX_SIDE
 *              8     4  height
 *             12     4  bits, 1 .. 16
 *             16   2wh  pixels, u16 little endian, row by row, 0 black .. 2^bits - 1 white
 *
 *     low, high  least and greatest pixel; equal: a constant image
 *     split    0 train, 1 val, 2 test: the labels' column, else by a keyed hash of the patient 70/15/15
 *
 * No file name, UID, number or date of an image is stored. Names of files go to the terminal (FILE *out) only, never
 * into an fl_err: commands run in the daemon too, and its log must not hold paths.
 *
 * One thread, the event loop's, but for node_data_build.
 */
#ifndef NODE_DATA_H
#define NODE_DATA_H

#include "base/json.h"
#include "node/policy.h"
#include "node/store.h"
#include "train/dataset.h"
#include <stdio.h>

#define NODE_PIXELS_HEADER 16
#define NODE_LABEL_MAX     64 /* bytes of a label's text, with the terminating 0 */

extern const char node_data_schema[]; /* part of the node's schema */

typedef enum node_split { NODE_SPLIT_TRAIN, NODE_SPLIT_VAL, NODE_SPLIT_TEST, NODE_N_SPLITS } node_split;
const char *node_split_name(node_split split); /* "train" */

typedef struct node_data_options {
    bool one_image_per_patient; /* a file without a patient is a patient of its own */
    const char *decoder;        /* the child program; NULL: beside this program */
} node_data_options;

typedef struct node_data_report {
    uint32_t n_files; /* looked at */
    uint32_t n_taken;
    uint32_t n_duplicates;    /* here already: skipped */
    uint32_t n_refused;       /* each has its line */
    uint32_t n_unreadable;    /* of those, what is no readable image at all */
    uint32_t n_hidden;        /* names that begin with a dot, left alone */
    uint32_t n_bad_rows;      /* of the labels */
    uint32_t n_without_image; /* rows of the labels that no file answered */
} node_data_report;

/*
 * Takes files, and what lies in folders, into the data set. labels may be NULL: then the labels.csv inside the one
 * folder that was named, if there is one.
 *
 * out      one error line for each file or row that is refused; may be NULL
 * policy   its [images] section says what the decoder may let in
 *
 * Batches of files are committed as they go; what was not reported as taken may simply be added again. When anything
 * changed, the last transaction holds a DATASET entry (see node_data_record). A patient in two splits: all images of this call that contradict are refused; those of earlier calls stay.
 *
 * FL_EFORMAT   the labels cannot be read, or nothing at all is a readable image
 * FL_ENOTFOUND a path that does not exist
 * FL_EENV      disk, memory, decoder: what the report counts as taken is in
 */
fl_code node_data_add(node_store *s, const char *dataset, const char *labels, char *const *paths, size_t n_paths,
                      const node_data_options *options, const node_policy *policy, FILE *out, node_data_report *report,
                      fl_err *err) FL_MUST_USE;
/* 0 all taken, 1 some refused (the rest is in), 2 nothing readable. */
int node_data_exit(const node_data_report *report);

/* Removes a patient's rows and the objects that nobody else uses; *n_removed images. issuer: IssuerOfPatientID, or
 * NULL. FL_ENOTFOUND when there is no such patient. */
fl_code node_data_remove(node_store *s, const char *dataset, const char *patient_id, const char *issuer,
                         uint32_t *n_removed, fl_err *err) FL_MUST_USE;

/* The data set's hiding commitment: HMAC-SHA-256(pseudonym key, "cordon dataset" 0x00 and, sorted bytewise, each
 * image's patient (32), object (32), split (1), SHA-256 of its label (32)). */
fl_code node_data_commitment(node_store *s, const char *dataset, fl_hash *out, fl_err *err) FL_MUST_USE;
/* Appends DATASET when the data set, or its declared number of patients, is not what the newest DATASET entry says, in
 * the caller's transaction. Before the first POLICY of the data set there is nothing to append to: approve does it. An
 * empty data set has its entry too: one that is missing would say that nobody is in it. */
fl_code node_data_record(node_store *s, const char *dataset, bool *appended, fl_err *err) FL_MUST_USE;

/* Whether labels are one class or sets of them, counts per class and split, patients, refused files by reason, sizes, constant
 * images, the same pixels under several patients. policy: the data set's own, NULL when policy.ini has none for it. problems:
 * what somebody should look at, 0: nothing. list: one object per data set. */
fl_code node_data_check(fl_json **out, uint32_t *problems, node_store *s, const char *dataset,
                        const node_policy *policy, fl_err *err) FL_MUST_USE;
fl_code node_data_list(fl_json **out, node_store *s, fl_err *err) FL_MUST_USE;
void node_data_print_check(FILE *out, const fl_json *check);
void node_data_print_list(FILE *out, const fl_json *list);

/*
 * From the store to training, in two halves: list on the event loop, build on the training thread.
 *
 * A label is one of the plan's classes by its name, in any case, or by its number "0", "1", ...; images of other labels
 * are left out and counted. Multi-label plans: names joined by |, and label is the set of their bits (node_label_read). Rows are sorted by patient, then object.
 */
typedef struct node_data_row {
    uint8_t patient[32];
    fl_hash object;
    uint32_t label;
} node_data_row;

typedef struct node_data_rows {
    node_data_row *rows;
    size_t n;
    size_t n_other; /* images whose label is no class of the plan */
} node_data_rows;

fl_code node_data_list_for(node_data_rows *out, node_store *s, const char *dataset, const nn_plan *plan,
                           node_split split, fl_err *err) FL_MUST_USE;
void node_data_rows_fini(node_data_rows *rows);
/* Any thread; objects is this thread's own (fl_objects_open on DIR/objects), or the simulator's. *out is initialised
 * here. No rows give an empty data set, which is no error. */
fl_code node_data_build(nn_dataset *out, fl_objects *objects, const node_data_rows *rows, const nn_plan *plan,
                        fl_err *err) FL_MUST_USE;
/* Both, on the event loop's thread. */
fl_code node_data_load(nn_dataset *out, node_store *s, const char *dataset, const nn_plan *plan, node_split split,
                       fl_err *err) FL_MUST_USE;

#endif
