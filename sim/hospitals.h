/*
 * sim_hospitals - a folder with a manifest.csv as data sets in memory, by hospital and split.
 *
 * Columns: file (relative to the folder), label (number or class name), label_name, patient_id, hospital, split (train,
 * val, test; empty: by a keyed hash of the patient, 70/15/15); more are ignored. Files are decoded by the same child as
 * on a node. A row that cannot be used stops it: a simulation on half of the data is no result.
 */
#ifndef SIM_HOSPITALS_H
#define SIM_HOSPITALS_H

#include "node/data.h"

#define SIM_MAX_HOSPITALS 256

typedef struct sim_hospital {
    char name[WIRE_NAME_MAX];
    nn_dataset split[NODE_N_SPLITS];
    uint64_t declared; /* patients of train, rounded: what a person would type */
} sim_hospital;

typedef struct sim_hospitals {
    uint32_t n;
    sim_hospital *list; /* in the order of their names */
    nn_dataset judge;   /* every hospital's test images, else every hospital's val images */
    const char *judge_name;
} sim_hospitals;

/* plan: input shape and classes. only: take so many hospitals (0: all). Without a manifest.csv, MNIST-style files (idx.h)
 * are taken, as `only` hospitals. */
fl_code sim_hospitals_load(sim_hospitals *out, const char *dir, const nn_plan *plan, uint32_t only,
                           fl_err *err) FL_MUST_USE;
void sim_hospitals_fini(sim_hospitals *h);

/* The nearest of 1, 1.5, 2, 3, 5, 7 times a power of ten at or below n, at least 10. */
uint64_t sim_declared(uint64_t n_patients);

/* One labels.csv per hospital (OUT/NAME.csv: file with its whole path, label, patient_id, split) and OUT/hospitals.txt,
 * a line "name declared" each: how a manifest becomes work for real nodes. Names outside [A-Za-z0-9._-] are refused. */
fl_code sim_split(const char *dir, const char *out_dir, fl_err *err) FL_MUST_USE;

#endif
