/*
 * nn_pretrained - weights to start from, out of a safetensors file of other people's software (or of ours).
 *
 * A tensor is taken when its name and shape are the model's (nn_model_tensor: PyTorch's names and layouts); F32, F16,
 * BF16 and F64 become float. What differs:
 *
 *     the head        the tensors of the model's last layer with weights: when the file has them for another number of
 *                     classes, or has none, they stay as they are
 *     one channel     the first convolution reads 1 channel and the file's reads 3: with NN_PRETRAINED_SUM_CHANNELS its
 *                     kernels are summed over the channels, which is what three equal channels come to
 *     more tensors    in the file: not used (running statistics of batch normalisation, a longer tail)
 *     anything else   is missing, or has another shape: refused, unless NN_PRETRAINED_PARTIAL lets it stay as it is
 *
 * If every name in the file begins with "module." (torch.nn.DataParallel), that is left out. Values that are not finite
 * are refused in what is taken.
 */
#ifndef TRAIN_PRETRAINED_H
#define TRAIN_PRETRAINED_H

#include "base/buf.h"
#include "train/model.h"

#define NN_PRETRAINED_MAX_BYTES ((size_t)1 << 29)

enum { NN_PRETRAINED_SUM_CHANNELS = 1, NN_PRETRAINED_PARTIAL = 2 }; /* rules, or-ed */

/*
 * w (n_weights)  in: the weights as they start (nn_model_init_weights); out: the same with what was taken. When this
 *                fails they are as they were.
 * report         appended: a table with one line for each difference (tensor, the model's shape, the file's, what was
 *                done) and a last line with what was taken; also when this fails on what the table is about. May be NULL.
 *
 * FL_EREFUSED: a tensor is missing or has another shape (the message names the first), or none agrees. FL_EFORMAT: no
 * safetensors file, or a value that is not finite. FL_ENOTFOUND, FL_EENV as fl_file_read.
 */
fl_code nn_pretrained_read(float *w, const nn_model *m, const char *path, fl_buf *report, fl_err *err) FL_MUST_USE;
/* The same with rules, and from bytes in memory. */
fl_code nn_pretrained_read_by(float *w, const nn_model *m, unsigned rules, const char *path, fl_buf *report,
                              fl_err *err) FL_MUST_USE;
fl_code nn_pretrained_take(float *w, const nn_model *m, unsigned rules, const uint8_t *bytes, size_t n, fl_buf *report,
                           fl_err *err) FL_MUST_USE;

#endif
