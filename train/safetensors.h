/*
 * safetensors: 8 bytes little-endian length of the header, a JSON header, then the tensors. Names and layouts are
 * PyTorch's for an nn.Sequential of the spec's lines ("0.weight" is (out, in, kh, kw)). __metadata__ carries format
 * "pt", the plan's hash, the spec and the classes.
 */
#ifndef TRAIN_SAFETENSORS_H
#define TRAIN_SAFETENSORS_H

#include "base/buf.h"
#include "train/model.h"
#include "train/plan.h"

#define NN_SAFETENSORS_MAX_HEADER 65536

fl_code nn_safetensors_write(fl_buf *out, const nn_model *m, const float *w, const nn_plan *plan,
                             fl_err *err) FL_MUST_USE;
/* w (n_weights) out. The file must hold exactly the model's tensors, float32, with these shapes, back to back without
 * holes, all finite; anything else is FL_EFORMAT. plan_hash (may be NULL) receives the text of the metadata, "" when
 * there is none. */
fl_code nn_safetensors_read(float *w, char plan_hash[65], const nn_model *m, const uint8_t *bytes, size_t n,
                            fl_err *err) FL_MUST_USE;

#endif
