#define ROWS_SET  nn_rows_portable
#define ROWS_NAME "portable"
#include "train/rows.inc"
#include "train/rows_sets.h"
