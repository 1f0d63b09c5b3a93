/*
 * safetensors: 8 bytes little-endian length of the header, a JSON header, then the tensors. Names and layouts are
 * PyTorch's: a layer that the spec names (`as NAME`) has NAME.weight and NAME.bias, another one its place in an
 * nn.Sequential ("0.weight" is (out, in, kh, kw)). __metadata__ carries format "pt" and the facts of train/facts.h, so
 * that the file alone is enough to predict.
 */
#ifndef TRAIN_SAFETENSORS_H
#define TRAIN_SAFETENSORS_H

#include "base/buf.h"
#include "train/facts.h"
#include "train/model.h"

#define NN_SAFETENSORS_MAX_HEADER 65536

fl_code nn_safetensors_write(fl_buf *out, const nn_model *m, const float *w, const nn_facts *facts,
                             fl_err *err) FL_MUST_USE;
/* w (n_weights) out. The file must hold exactly the model's tensors, float32, with these shapes, back to back without
 * holes, all finite; anything else is FL_EFORMAT. plan_hash (may be NULL) receives the text of the metadata, "" when
 * there is none. */
fl_code nn_safetensors_read(float *w, char plan_hash[65], const nn_model *m, const uint8_t *bytes, size_t n,
                            fl_err *err) FL_MUST_USE;

/* A file as nn_safetensors_write makes it, without knowing the model: as strict, and the metadata must have all facts,
 * which the model is built from. *f is zeroed when this fails. */
typedef struct nn_model_file {
    nn_facts facts;
    nn_model *model;
    float *w;     /* nn_model_n_weights */
    fl_hash hash; /* SHA-256 of the file */
} nn_model_file;

fl_code nn_model_file_open(nn_model_file *f, const char *path, fl_err *err) FL_MUST_USE;
fl_code nn_model_file_read(nn_model_file *f, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;
void nn_model_file_close(nn_model_file *f);

#endif
