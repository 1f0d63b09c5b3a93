/*
 * sim_hospitals - a folder with a manifest.csv as data sets in memory, by hospital and split.
 *
 * Columns: file (relative to the folder), label (number or class name), label_name, patient_id, hospital, split (train,
 * val, test; empty: by a keyed hash of the patient, 70/15/15); more are ignored. Files are decoded by the same child as
 * on a node. A row that cannot be used stops it: a simulation on half of the data is no result.
 *
 * Classes choose rows. When any row has a name (label_name, or label) of the study's classes, names decide and numbers
 * mean nothing: a study of two of a manifest's four classes takes the rows of those two, whatever their numbers are. Else
 * the number in label is the class. Rows of no class of the study are left out and counted; so are hospitals that the
 * study does not name. Multi-label studies (labels = multi): names joined by |, and no row is left out; an image whose
 * label is empty or of no class has none of the classes. FL_EREFUSED: a single-label study on a manifest whose labels
 * name several classes, and the reverse.
 */
#ifndef SIM_HOSPITALS_H
#define SIM_HOSPITALS_H

#include "node/data.h"

#define SIM_MAX_HOSPITALS 256

typedef struct sim_hospital {
    char name[WIRE_NAME_MAX];
    nn_dataset split[NODE_N_SPLITS];
    uint64_t declared; /* patients of train: what the study says, else rounded as a person would type it */
} sim_hospital;

#define SIM_MAX_LEFT_OUT 8

/* Rows that no hospital here has, by why. */
typedef struct sim_left_out {
    uint32_t n_labels; /* the first labels of no class, by name */
    struct {
        char text[NODE_LABEL_MAX];
        uint32_t rows;
    } labels[SIM_MAX_LEFT_OUT];
    uint32_t other_labels;    /* rows of all labels of no class */
    uint32_t other_hospitals; /* rows of hospitals that the study does not name, or beyond --hospitals */
} sim_left_out;

typedef struct sim_hospitals {
    uint32_t n;
    sim_hospital *list; /* in the order of their names */
    nn_dataset judge;   /* every hospital's test images, else every hospital's val images */
    const char *judge_name;
    bool by_number; /* the classes are those of the labels' numbers */
    sim_left_out left_out;
} sim_hospitals;

void sim_leave_out(sim_left_out *out, const char *label); /* a row, because of its label */

/* plan: input shape, classes, hospitals. only: take so many hospitals (0: all). Without a manifest.csv, MNIST-style files (idx.h)
 * are taken, as `only` hospitals. */
fl_code sim_hospitals_load(sim_hospitals *out, const char *dir, const nn_plan *plan, uint32_t only,
                           fl_err *err) FL_MUST_USE;
/* Fixed features of the plan's model, once for every image (train/prefix.h). */
fl_code sim_hospitals_prepare(sim_hospitals *h, const nn_plan *plan, fl_pool *pool, fl_err *err) FL_MUST_USE;
void sim_hospitals_fini(sim_hospitals *h);

/* What the study's [simulation] declared says. FL_EFORMAT: a hospital of that list is not here, unless is_part (only some
 * were taken). */
fl_code sim_hospitals_declare(sim_hospitals *h, const nn_declared *list, uint32_t n, bool is_part,
                              fl_err *err) FL_MUST_USE;

/* The nearest of 1, 1.5, 2, 3, 5, 7 times a power of ten at or below n, at least 10. */
uint64_t sim_declared(uint64_t n_patients);

/* One labels.csv per hospital (OUT/NAME.csv: file with its whole path, label, patient_id, split) and OUT/hospitals.txt,
 * a line "name declared" each: how a manifest becomes work for real nodes. Names outside [A-Za-z0-9._-] are refused. */
fl_code sim_split(const char *dir, const char *out_dir, fl_err *err) FL_MUST_USE;

#endif
