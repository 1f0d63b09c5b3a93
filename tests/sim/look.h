/*
 * What whoever sees the ledgers, the logs and the wire of a federation sees of a hospital: the real node (machine, host, store
 * with images, ledger, training, metrics) in the virtual world with a coordinator and a second hospital, as a text.
 *
 *     ledger lines    kinds, order, lengths, keys; values too, but for hashes, signatures, debits, notes and the minute
 *     messages        party, direction, kind, size and the millisecond
 *     log lines       all words, but for hashes and the time at the head
 *
 * Training takes as long as there are images.
 */
#ifndef TESTS_SIM_LOOK_H
#define TESTS_SIM_LOOK_H

#include "node/data.h"
#include <stdatomic.h>

enum { LOOK_MAX_IMAGES = 4000 };

typedef struct picture {
    uint32_t patient, split;
    const char *label;
    uint16_t contrast; /* 0: one grey */
    bool is_lost;      /* the row is there, its pixels are not: a consent was withdrawn meanwhile */
} picture;

typedef struct hospital {
    picture list[LOOK_MAX_IMAGES];
    uint32_t n;
} hospital;

void hospital_add(hospital *h, picture p, uint32_t copies);

typedef struct look_at {
    const nn_plan *plan;
    const hospital *hospital;
    void (*spoil)(nn_dataset *split); /* of what was loaded for training; may be NULL */
    void (*begins)(void);             /* a training; may be NULL */
    const atomic_bool *cancel;        /* of every training; may be NULL */
} look_at;

/* The caller finis it. Fails the test when the world finds a violation. */
fl_buf look(const look_at *what);
/* Fails the test with the first line in which they differ. */
void look_must_agree(const fl_buf *a, const fl_buf *b, const char *what);

#endif
