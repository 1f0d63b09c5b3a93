/*
 * nn_trainer - a hospital's side of a round: K noised steps, released as one vector of integers.
 *
 * For each of the K steps (design: the grid; Abadi et al. 2016 with patients for examples):
 *
 *     noise   N_Z(0, S^2)^(d + probe)             all of it drawn first, in one call, by all threads
 *     sample  every patient with probability q, independently
 *     g_p     mean over the patient's images and their augmentations of the gradient at w
 *     z_p     dp_clip_to_grid(g_p), |z_p| <= R    a pure function of (patient, weights, plan)
 *     y       sum_p z_p + noise                   exact int64; an empty sample releases noise
 *     w  <-   w - eta * gamma / (q * declared) * y
 *
 * and u = sum_k y_k, which goes on as a dp_noised (privacy/update.h): its last `probe` values are noise alone, no patient
 * reaches them. Nothing else about the steps is kept: noise, accumulators and gradients are wiped.
 *
 * When the plan is not private (simulator alone) the same is done with zero noise. The clip stays, as a part of the
 * optimiser: a learning rate is chosen for clipped gradients. Plain SGD is a clip_norm larger than any gradient.
 *
 * An augmented image is mirrored (probability 1/2, when the plan says mirror) and shifted by -shift..shift pixels in
 * each direction, edges repeated; decided by HMAC-SHA-256 keyed by the plan's seed over (patient key, index of the
 * image within the patient, round, step, which augmentation): never by a position in the data set.
 *
 * Memory is allocated in create, and in the first update of another phase: noise, gradients and sums in that of
 * crypto/secret.h. What the engines computed from images is wiped when it is freed. One update at a time per trainer.
 */
#ifndef TRAIN_DPSGD_H
#define TRAIN_DPSGD_H

#include "base/buf.h"
#include "base/pool.h"
#include "crypto/csprng.h"
#include "privacy/update.h"
#include "train/dataset.h"
#include "train/model.h"
#include "train/plan.h"
#include <stdatomic.h>

typedef struct nn_trainer nn_trainer;

/* plan is copied; dataset and pool are borrowed and must outlive the trainer. The data set's shape must be the plan's
 * and its labels below n_classes (FL_EREFUSED); it may be empty. */
fl_code nn_trainer_create(nn_trainer **out, const nn_plan *plan, const nn_dataset *dataset, fl_pool *pool,
                          fl_err *err) FL_MUST_USE;
void nn_trainer_destroy(nn_trainer *t);

/* u (the phase's n_learned + probe) out, whatever it held; weights are not changed. round: of the plan, from 1. declared_patients >= 1 is the public number of the policy.
 * cancel (may be NULL): when it becomes true the update is given up within one patient's time, u is cleared and the
 * answer is FL_EBUSY. csprng is used on the caller's thread only. */
fl_code nn_trainer_update(nn_trainer *t, dp_noised *u, const float *weights, uint64_t declared_patients, uint32_t round,
                          fl_csprng *csprng, const atomic_bool *cancel, fl_err *err) FL_MUST_USE;

/* z_p (n_weights) of one patient: what update adds to the sum. thread < the pool's threads chooses the memory.
 * For tests and audits; the caller keeps it. */
void nn_patient_units(nn_trainer *t, int32_t *z, uint32_t patient, const float *weights, uint32_t round, uint32_t step,
                      unsigned thread);

const nn_model *nn_trainer_model(const nn_trainer *t);

#endif
