/*
 * nn_dataset - the images of one split in memory: resized, normalised, grouped by patient.
 *
 * Patient p owns images patient_first[p] .. patient_first[p+1]-1. A patient's key is its pseudonym (32 bytes), the only
 * name training ever sees; augmentation is keyed by it. The order of patients carries no meaning.
 */
#ifndef TRAIN_DATASET_H
#define TRAIN_DATASET_H

#include "base/err.h"
#include "train/scattering.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct nn_dataset {
    uint32_t channels, height, width;
    uint32_t n_images, n_patients;
    float *images;              /* (n_images, C, H, W) */
    uint32_t *labels;           /* (n_images) */
    uint32_t *patient_first;    /* (n_patients + 1) */
    uint8_t (*patient_key)[32]; /* (n_patients) */
    uint32_t capacity_images, capacity_patients;
    /* features of the first n_prefix images, when train/prefix.h has computed them */
    float *prefix; /* (n_prefix, prefix_of.n_out) */
    uint32_t n_prefix;
    nn_scattering prefix_of;
} nn_dataset;

fl_code nn_dataset_init(nn_dataset *d, uint32_t channels, uint32_t height, uint32_t width, fl_err *err) FL_MUST_USE;
void nn_dataset_fini(nn_dataset *d);
void nn_dataset_forget_prefix(nn_dataset *d);
static inline size_t nn_dataset_image_size(const nn_dataset *d)
{
    return (size_t)d->channels * d->height * d->width;
}

/* Room for so many images and patients in all, exactly: for who knows the numbers. FL_EENV when there is no memory. */
fl_code nn_dataset_reserve(nn_dataset *d, uint32_t n_images, uint32_t n_patients, fl_err *err) FL_MUST_USE;
/* A patient with n >= 1 images (n, C, H, W) and labels; copied. FL_EENV when there is no memory (d is unchanged). */
fl_code nn_dataset_append_patient(nn_dataset *d, const uint8_t key[32], const float *images, const uint32_t *labels,
                                  uint32_t n, fl_err *err) FL_MUST_USE;
/* Every patient of src, in its order: for the pooled test split. Shapes must agree. */
fl_code nn_dataset_append_all(nn_dataset *d, const nn_dataset *src, fl_err *err) FL_MUST_USE;

#endif
