#define ROWS_SET  nn_rows_avx512
#define ROWS_NAME "avx512"
#include "train/rows.inc"
#include "train/rows_sets.h"
