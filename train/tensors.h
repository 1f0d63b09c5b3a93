/*
 * nn_tensors - a safetensors file of anybody, taken apart: which tensors it holds, of which type and shape, and where
 * their bytes lie. (github.com/huggingface/safetensors, "Format".)
 *
 *     0    8  little-endian length N of the header
 *     8    N  JSON: {"NAME": {"dtype": "F32", "shape": [..], "data_offsets": [BEGIN, END]}, .., "__metadata__": {..}}
 *   8+N       tensors, row-major, little-endian; offsets count from here
 *
 * Taken only when: the header fits the file and NN_TENSORS_MAX_HEADER; keys are unique; there are at most
 * NN_TENSORS_MAX tensors of at most NN_TENSORS_MAX_DIMS dimensions; the bytes of a tensor are as many as its shape and
 * type say (types that are not known here: any number of bytes); tensors follow each other without overlap, hole or rest.
 *
 * Everything is checked before anything of that size is allocated. Private to train.
 */
#ifndef TRAIN_TENSORS_H
#define TRAIN_TENSORS_H

#include "base/json.h"
#include <stdint.h>

#define NN_TENSORS_MAX        8192
#define NN_TENSORS_MAX_DIMS   8
#define NN_TENSORS_MAX_HEADER ((size_t)4 << 20)

typedef enum nn_dtype { NN_OTHER, NN_F16, NN_BF16, NN_F32, NN_F64 } nn_dtype;

typedef struct nn_stored {
    const char *name;
    nn_dtype dtype;
    char dtype_name[12]; /* as the file has it, cut */
    uint32_t n_dims;
    uint32_t dims[NN_TENSORS_MAX_DIMS];
    size_t n_values;
    size_t begin, size;   /* bytes, from data */
    const uint8_t *bytes; /* in the caller's */
} nn_stored;

typedef struct nn_tensors {
    fl_json *header;
    size_t n;
    nn_stored *list; /* by name, bytewise */
} nn_tensors;

/* bytes must outlive *t. FL_EFORMAT; *t is zeroed then. */
fl_code nn_tensors_read(nn_tensors *t, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;
void nn_tensors_fini(nn_tensors *t);
const nn_stored *nn_tensors_find(const nn_tensors *t, const char *name);      /* NULL: not there */
const char *nn_tensors_fact(const nn_tensors *t, const char *key);            /* of __metadata__; NULL: not there */
bool nn_stored_is(const nn_stored *s, uint32_t n_dims, const uint32_t *dims); /* has this shape */
/* n_values floats. FL_EFORMAT: another type, or a value that is not finite as float. */
fl_code nn_stored_floats(float *out, const nn_stored *s, fl_err *err) FL_MUST_USE;

#endif
