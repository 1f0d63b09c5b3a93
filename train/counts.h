/*
 * nn_counts - what a hospital releases besides updates, when a plan asks for metrics and the hospital's policy permits
 * them: noised counts of patients, in rounds 1, every, 2 every, .. and the last, inside the round's update.
 *
 * Each partition below puts a patient into exactly one of its cells, by public rules, so one patient more or less changes
 * one cell of it by one. G partitions have the sensitivity sqrt(G); with N_Z(0, S2) on every cell, drawn before the
 * patients are looked at, their Renyi cost at order a is G a / (2 S2): G releases at sampling rate 1. That is what
 * OTHER_RELEASE debits (its `steps` is G).
 *
 *     histogram   of the round's input model, on the validation split. A patient's score of class c is the mean of the
 *                 model's probability of c over the patient's images; its label is the most frequent one of its images,
 *                 the larger on ties. Two classes: one partition, of c = 1. More: one for each class, against the rest.
 *                 Cells: bins of patients of another label, bins of patients of label c. Bin i holds scores in
 *                 [i / bins, (i + 1) / bins); 1 is in the last, what is no number in the first.
 *     classes     patients of the training split by label, then of the validation split: L + L cells, one partition
 *                 (a patient lies in one split)
 *
 * Multi-label plans: a patient has class c when at least half of its images have it, so it may be in several classes. Each
 * class is a partition of its own: a histogram for every class, also of two; and classes has 4 L cells, for each class the
 * patients without and with it of the training split, then of the validation split: one of the four for every patient.
 *
 *     quality     of the training split, two partitions of 5 cells: images per patient 1, 2, 3 to 4, 5 to 8, more; and
 *                 contrast, the standard deviation of the prepared pixels (-1 to 1), mean over the patient's images:
 *                 0 (an empty picture), below 0.25, below 0.5, below 0.75, more
 *
 * Cells stand in this order. What follows from them at the coordinator is train/noised.h.
 */
#ifndef TRAIN_COUNTS_H
#define TRAIN_COUNTS_H

#include "train/dataset.h"
#include "train/plan.h"

enum { NN_COUNTS_BUCKETS = 5, NN_COUNTS_MAX_BINS = 64 };

bool nn_counts_in(const nn_plan *plan, uint32_t round); /* does this round, from 1, release counts? */
/* How many of the rounds after `after` do. */
uint32_t nn_counts_rounds(const nn_plan *plan, uint32_t after);
uint32_t nn_counts_partitions(const nn_plan *plan); /* G; 0: the plan has no metrics */
uint32_t nn_counts_cells(const nn_plan *plan);
/* The codes of the ledger's `what`: "histogram+classes+quality" or some of them; "" without metrics. */
void nn_counts_what(char out[64], const nn_plan *plan);

/* Where the cells are. */
typedef struct nn_counts_layout {
    uint32_t n_histograms, bins; /* histogram h: negatives at 2 h bins, then positives; of class nn_counts_class */
    uint32_t classes;            /* first cell of the class counts; UINT32_MAX: none */
    uint32_t n_class_cells;      /* 2 L; multi-label 4 L */
    uint32_t images, contrast;   /* first cells of the quality buckets; UINT32_MAX: none */
} nn_counts_layout;
nn_counts_layout nn_counts_where(const nn_plan *plan);
uint32_t nn_counts_class(const nn_plan *plan, uint32_t histogram);
/* The cell of the patients with class c: of the training split, or of the validation split. */
uint32_t nn_counts_cell_of(const nn_plan *plan, uint32_t c, bool is_validation);

/* The exact counts: cells (nn_counts_cells) out, whatever they held. probabilities (images of validation, classes).
 * Every patient is counted once in each partition of its split, whatever its images are. */
void nn_counts_make(int64_t *cells, const nn_plan *plan, const nn_dataset *training, const nn_dataset *validation,
                    const float *probabilities);

#endif
