/*
 * nn_pretrained - weights to start from, out of a safetensors file of other people's software (or of ours).
 *
 * A tensor is taken when its name and shape are the model's (nn_model_tensor: PyTorch's names and layouts); F32, F16,
 * BF16 and F64 become float. What differs:
 *
 *     the head        the tensors of the model's last layer with weights: when the file has them for another number of
 *                     classes, or has none, they stay as they are
 *     one channel     the first convolution reads 1 channel and the file's reads 3: with NN_CHANNELS_SUM its kernels are
 *                     summed over the channels, which is what three equal channels come to (as timm does with
 *                     in_chans = 1); with NN_CHANNELS_REFUSE that is another shape (as for torchvision)
 *     more tensors    in the file: not used (running statistics of batch normalisation, a longer tail)
 *     anything else   is missing, or has another shape: refused
 *
 * If every name in the file begins with "module." (torch.nn.DataParallel), that is left out. Values that are not finite
 * are refused in what is taken.
 */
#ifndef TRAIN_PRETRAINED_H
#define TRAIN_PRETRAINED_H

#include "base/buf.h"
#include "train/model.h"

#define NN_PRETRAINED_MAX_BYTES ((size_t)1 << 29)

typedef enum nn_channels { NN_CHANNELS_SUM, NN_CHANNELS_REFUSE } nn_channels;

/*
 * bytes (n)      the file
 * w (n_weights)  in: the weights as they start (nn_model_init_weights); out: the same with what was taken. When this
 *                fails they are as they were.
 * report         appended: a table with one line for each difference (tensor, the model's shape, the file's, what was
 *                done) and a last line with what was taken; also when this fails on what the table is about. May be NULL.
 *
 * FL_EREFUSED: a tensor is missing or has another shape (the message names the first), or none agrees. FL_EFORMAT: no
 * safetensors file, or a value that is not finite. FL_EENV: no memory.
 */
fl_code nn_pretrained_take(float *w, const nn_model *m, nn_channels channels, const uint8_t *bytes, size_t n,
                           fl_buf *report, fl_err *err) FL_MUST_USE;

#endif
