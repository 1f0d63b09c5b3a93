#define ROWS_SET  nn_rows_avx2
#define ROWS_NAME "avx2"
#include "train/rows.inc"
#include "train/rows_sets.h"
