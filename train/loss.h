/*
 * The losses of one image, and their slopes. All of it in double; a slope is rounded to float once, at the end.
 *
 *     softmax   v (log sum_c exp(y_c) - y_label)               d_c = v (softmax(y)_c - [c = label])
 *     binary    1/n sum_c v_c l_c,                             d_c = v_c / n (logistic(y_c) - t_c)
 *               l_c = log(1 + exp(y_c)) - t_c y_c
 *     squares   1/2 sum_i y_i^2                                d_i = y_i
 *
 * as torch.nn.functional.cross_entropy(reduction="sum", weight=v), binary_cross_entropy_with_logits(weight=v) and half of
 * mse_loss(y, 0, reduction="sum"). v is the weight of the label's class, v_c of class c, t_c bit c of the label's set.
 * No exponential overflows: finite y gives finite values, also 1e38. NaN and infinity are carried through, not trapped.
 *
 * y and d (n); d may be y. Pure functions, any thread.
 */
#ifndef TRAIN_LOSS_H
#define TRAIN_LOSS_H

#include <stddef.h>
#include <stdint.h>

/* label < n; class_weights (n) or NULL: ones */
double nn_loss_softmax(float *d, const float *y, uint32_t n, uint32_t label, const float *class_weights);
/* n <= 32; class_weights (n) or NULL: ones */
double nn_loss_binary(float *d, const float *y, uint32_t n, uint32_t set, const float *class_weights);
double nn_loss_squares(float *d, const float *y, size_t n);

/* 1 / (1 + exp(-y)) */
double nn_logistic(double y);

#endif
