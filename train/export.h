/*
 * nn_export - a model leaves: as a file that other people's software opens, with its card (train/card.h) beside it.
 *
 * Both files are whole and on the disk before either gets its name, so there is never half a file, and a failure leaves
 * what was there before.
 */
#ifndef TRAIN_EXPORT_H
#define TRAIN_EXPORT_H

#include "train/card.h"

#define NN_EXPORT_MAX ((size_t)1 << 30)

typedef enum nn_export_format { NN_EXPORT_SAFETENSORS, NN_EXPORT_ONNX } nn_export_format;

/* "safetensors" or "onnx"; FL_EFORMAT. */
fl_code nn_export_format_named(nn_export_format *out, const char *name, fl_err *err) FL_MUST_USE;

/* The model as `path` and its card as `path`.md. w (plan->n_weights) is what is released; card->file, format and hash are
 * filled in here. */
fl_code nn_export_save(const char *path, nn_export_format format, const float *w, const nn_card *card,
                       fl_err *err) FL_MUST_USE;
/* The same for bytes that are made already; format stands in the card. */
fl_code nn_export_save_bytes(const char *path, const char *format, const fl_buf *bytes, const nn_card *card,
                             fl_err *err) FL_MUST_USE;

#endif
