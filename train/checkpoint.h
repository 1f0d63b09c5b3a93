/*
 * nn_checkpoint - a server's state (train/server.h) as a file of its own: for whoever stops and goes on without a
 * database, and for `export --format cordon`.
 *
 *      0   8  "CORDNCP1"
 *      8   8  length n of the state, little-endian
 *     16  32  SHA-256 of the state
 *     48   n  the state, as nn_server_write has it: with the plan's hash, rounds done, weights, momentum, mean
 *
 * Written whole beside the old one and renamed (fl_file_write): after any end there is the old file or the new one.
 * A file that is cut, changed in any bit, of another plan or of a newer version is refused with a message that says which.
 */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "train/server.h"

/* Appends head and state: state is what nn_server_write gave. */
void nn_checkpoint_wrap(fl_buf *out, const uint8_t *state, size_t n);

fl_code nn_checkpoint_save(const char *path, const nn_server *s, fl_err *err) FL_MUST_USE;
/* FL_ENOTFOUND: no such file. FL_EFORMAT: not this plan's whole checkpoint. */
fl_code nn_checkpoint_load(nn_server *s, const nn_plan *plan, const char *path, fl_err *err) FL_MUST_USE;
fl_code nn_checkpoint_read(nn_server *s, const nn_plan *plan, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;

#endif
