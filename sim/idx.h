/*
 * MNIST-style IDX files (LeCun, Cortes, Burges) as hospitals: train-images-idx3-ubyte, train-labels-idx1-ubyte and the two
 * t10k files, plain or with .gz. An image is a patient; patient i belongs to hospital i mod N; the t10k images are the
 * test split. Hospitals have the names that the study gives, else site-001, site-002, ... A class named "3" has the labels 3;
 * when no class has such a name, label 3 is class 3. Labels that are no class of the plan are left out and counted.
 *
 *     images   0  4  00 00 08 03   4  4  count   8  4  rows   12  4  columns   16  count * rows * columns bytes
 *     labels   0  4  00 00 08 01   4  4  count   8  count bytes                 numbers are big-endian
 */
#ifndef SIM_IDX_H
#define SIM_IDX_H

#include "sim/hospitals.h"

bool sim_idx_is_here(const char *dir);
/* Fills the splits of n_hospitals (0: as many as the study names, at least 1; out->list has room for them). Anything but these four files, whole, is FL_EFORMAT. */
fl_code sim_idx_load(sim_hospitals *out, const char *dir, const nn_plan *plan, uint32_t n_hospitals,
                     fl_err *err) FL_MUST_USE;

#endif
