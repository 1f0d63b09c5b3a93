/* The tables of train/rows.inc. */
#ifndef TRAIN_ROWS_SETS_H
#define TRAIN_ROWS_SETS_H

#include "train/rows.h"

extern const nn_rows nn_rows_portable, nn_rows_avx2, nn_rows_avx512;

#endif
