/*
 * nn_server - the coordinator's side: FedAvg as an integer sum, then the server's optimiser in fixed-order doubles.
 *
 *     gradient = gamma * sum_u / (q * sum_declared)               over the sites that contributed
 *     m        = momentum * m + gradient                          (SGD: m = gradient)
 *     w       <- w - lr_t * eta * m - lr_t * eta * weight_decay * w
 *
 * Adam (Kingma and Ba 2015; Reddi et al. 2021, FedAdam), with b = momentum, c = 0.999 and k = t + 1:
 *
 *     m        = b * m + (1 - b) * gradient
 *     v        = c * v + (1 - c) * gradient^2
 *     w       <- w - lr_t * eta * (m / (1 - b^k)) / (sqrt(v / (1 - c^k)) + 1e-8) - lr_t * eta * weight_decay * w
 *
 * eta is the local learning rate, so a server learning rate of 1 with SGD is plain FedAvg. In round t = 0, 1, ..., with
 * N = warmup_rounds,
 *
 *     lr_t = lr * (t + 1) / (N + 1)                                   t < N: so many rounds below lr, none at 0
 *     lr_t = lr * f(t - N)                                            after them, where with s = t - N
 *     f(s) = 1                                                        constant
 *            (1 + cos(pi s / (rounds - N))) / 2                       cosine (Loshchilov and Hutter 2017, without restarts)
 *            factor^floor(s / every)                                  step
 *
 * The released model is w, or its mean over the last `tail` of the rounds, or its exponential mean, which starts at
 * the model after the first round.
 *
 * All of this is of the round's phase (train/plan.h) and of the weights that it learns; the others stay. With each phase t, m,
 * v and the means begin anew; a phase before the last hands its average, if it has one, to the next as w.
 *
 * Same contributions, same bits, in any order of arrival: the sum is exact and everything after it is sequential.
 */
#ifndef TRAIN_SERVER_H
#define TRAIN_SERVER_H

#include "base/buf.h"
#include "train/plan.h"

typedef struct nn_server {
    size_t n_weights;
    uint32_t phase; /* of the last round that was applied; 0 before */
    uint32_t rounds_done;
    uint32_t n_averaged;
    float *w; /* what the next round starts from */
    double *momentum;
    double *second;   /* v; NULL in plans without adam */
    double *average;  /* running mean of what the phase learns; meaningful when n_averaged > 0 */
    nn_range *ranges; /* what phase i learns: first_range[i] .. first_range[i + 1] - 1 */
    size_t first_range[NN_PLAN_MAX_PHASES + 1];
    fl_hash plan_hash;
} nn_server;

/*
 * The first model: nn_model_init_weights with the plan's seed. When the plan has a pretrained start, pretrained (n_bytes) is
 * the file whose SHA-256 is plan->initial (FL_EREFUSED: it is another, or none), and its tensors are taken by
 * train/pretrained.h. report (may be NULL): what was taken and what was not.
 */
fl_code nn_server_init(nn_server *s, const nn_plan *plan, const uint8_t *pretrained, size_t n_bytes, fl_buf *report,
                       fl_err *err) FL_MUST_USE;
void nn_server_fini(nn_server *s);

/* Adds an unpacked update to the sum; n values, the phase's n_learned. Overflow is impossible for 2^15 updates of at most 48 bits. */
void nn_server_sum(int64_t *sum_u, const int64_t *u, size_t n);

/* sum_u has the n_learned values of the round's phase. round must be rounds_done (FL_EREFUSED otherwise); sum_declared >= 1. A result that is not finite is FL_EREFUSED and
 * leaves the state as it was. */
fl_code nn_server_apply(nn_server *s, const nn_plan *plan, const int64_t *sum_u, uint64_t sum_declared, uint32_t round,
                        fl_err *err) FL_MUST_USE;

const float *nn_server_model(const nn_server *s);            /* to send: n_weights floats */
void nn_server_released_model(const nn_server *s, float *w); /* to judge and export */

/*
 * As bytes, for an object:
 *   0   8  "CORDNSV1"; "CORDNSV2" when a phase of the plan uses adam
 *   8  32  plan hash
 *  40   4  n_weights       44  4  rounds_done      48  4  n_averaged      52  4  zero
 *  56  4n  w (f32)         then 8n momentum (f64), in V2 8n second (f64), 8n average (f64); all little-endian
 * Reading refuses another plan, another length, non-finite values, rounds beyond the plan: FL_EFORMAT.
 */
fl_code nn_server_write(fl_buf *out, const nn_server *s, fl_err *err) FL_MUST_USE;
fl_code nn_server_read(nn_server *s, const nn_plan *plan, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;
size_t nn_server_size(const nn_plan *plan);

#endif
