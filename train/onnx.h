/*
 * nn_onnx - a model as an ONNX file, for other people's programs.
 *
 *     image          in:  (batch, C, H, W) float, a picture as imaging/resize.h makes it: -1 to 1
 *     logits         out: (batch, n_classes)
 *     probabilities  out: (batch, n_classes): softmax of the logits, or with labels "multi" the logistic function of each
 *
 * metadata_props are the facts of train/facts.h and "preprocessing", the way from a picture to the input in words. The
 * initialisers have PyTorch's names, as in train/safetensors.h.
 *
 * What a layer becomes (opset 13, IR version 7), in operators that onnxruntime and OpenCV's DNN module both run:
 *
 *     conv           Conv; a standardised one with the standardised weights
 *     groupnorm      Reshape (batch, G, -1), InstanceNormalization, Reshape, Mul, Add
 *     linear         Flatten, Gemm            silu        Sigmoid, Mul
 *     centre         Sub                      unit        Mul, Gemm, Sqrt, Relu, Div
 *     dropout        nothing                  scattering  Pad (reflect), Conv, Sqrt, Log (train/onnx_scattering.c)
 *     the others     the operator of that name
 *
 * The file's bytes are a function of the weights and the facts alone.
 */
#ifndef TRAIN_ONNX_H
#define TRAIN_ONNX_H

#include "train/facts.h"

/* w (n_weights of facts->spec). FL_EFORMAT: the spec is none. FL_EREFUSED: a layer has no counterpart, or the file would
 * pass out's maximum. */
fl_code nn_onnx_write(fl_buf *out, const float *w, const nn_facts *facts, fl_err *err) FL_MUST_USE;

#endif
