/*
 * nn_card - the page beside a model: what it is, which hospitals it learned from under which privacy terms, what it is
 * not for, and how to check all that. Markdown, plain words.
 *
 * It says of a hospital its name, the declared number of patients (a public round number that a person there typed), the
 * rounds it was asked to take part in and sent updates for, and the epsilon of them: what the ledgers say anyway. Figures
 * of quality enter only as `metrics`, which the caller made of noised, released counts.
 */
#ifndef TRAIN_CARD_H
#define TRAIN_CARD_H

#include "base/buf.h"
#include "train/plan.h"

typedef struct nn_card_hospital {
    char name[64];
    uint64_t declared;        /* patients */
    uint32_t rounds, updates; /* asked for, and in the model */
    double epsilon;           /* of the rounds that were asked for, at the plan's delta */
} nn_card_hospital;

typedef struct nn_card {
    const nn_plan *plan;
    uint32_t round;     /* that the model came out of; 0: it has learned nothing */
    const char *file;   /* its name, without folders */
    const char *format; /* "safetensors", "onnx", "cordon" */
    fl_hash hash;       /* SHA-256 of the file */
    const nn_card_hospital *hospitals;
    size_t n_hospitals;
    const char *metrics; /* indented text; NULL: none were released */
    bool is_simulated;   /* all on one machine: no ledgers of hospitals to check */
} nn_card;

void nn_card_write(fl_buf *out, const nn_card *card);

#endif
