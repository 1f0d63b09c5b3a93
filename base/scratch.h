/*
 * The files of this process need to survive its end, also kill -9, and not the machine's: fsync is left out from here on,
 * in databases too. For simulations, whose debits are nobody's; a hospital's node may never say so: only sim may include this
 * header (scripts/check-floors).
 */
#ifndef BASE_SCRATCH_H
#define BASE_SCRATCH_H

void fl_scratch_files(void);

#endif
