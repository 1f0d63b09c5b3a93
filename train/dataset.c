#include "train/dataset.h"
#include "base/arena.h"
#include "crypto/csprng.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAX_IMAGES (1u << 30)

fl_code nn_dataset_init(nn_dataset *d, uint32_t channels, uint32_t height, uint32_t width, fl_err *err)
{
    *d = (nn_dataset){.channels = channels, .height = height, .width = width};
    assert(channels >= 1 && height >= 1 && width >= 1 && channels <= 4096 && height <= 4096 && width <= 4096);
    d->patient_first = calloc(1, sizeof *d->patient_first);
    return d->patient_first ? FL_OK : fl_fail(err, FL_EENV, "data set: out of memory");
}

/* What patients' images and labels were in is zero before others get it. */
static void forget(void *block, size_t size)
{
    if (block)
        fl_wipe(block, size);
    free(block);
}

void nn_dataset_fini(nn_dataset *d)
{
    if (!d)
        return;
    nn_dataset_forget_prefix(d);
    forget(d->images, d->n_images * nn_dataset_image_size(d) * sizeof *d->images);
    forget(d->labels, d->n_images * sizeof *d->labels);
    free(d->patient_first);
    forget(d->patient_key, d->n_patients * sizeof *d->patient_key);
    *d = (nn_dataset){0};
}

void nn_dataset_forget_prefix(nn_dataset *d)
{
    forget(d->prefix, d->n_prefix * d->prefix_of.n_out * sizeof *d->prefix);
    d->prefix = NULL;
    d->n_prefix = 0;
}

/* Room for n elements of this size, of which n_old are in use; the block stays as it was when there is no memory. */
static bool grow(void *block, size_t n_old, size_t n, size_t size)
{
    void **at = block, *bigger = malloc(fl_size_mul(n, size));
    if (!bigger)
        return false;
    if (n_old > 0)
        memcpy(bigger, *at, n_old * size);
    forget(*at, n_old * size);
    *at = bigger;
    return true;
}

fl_code nn_dataset_reserve(nn_dataset *d, uint32_t n_images, uint32_t n_patients, fl_err *err)
{
    if (n_images > d->capacity_images) {
        if (!grow(&d->images, d->n_images, n_images, fl_size_mul(nn_dataset_image_size(d), sizeof *d->images)) ||
            !grow(&d->labels, d->n_images, n_images, sizeof *d->labels))
            return fl_fail(err, FL_EENV, "data set: no memory for %u images", n_images);
        d->capacity_images = n_images;
    }
    if (n_patients > d->capacity_patients) {
        if (!grow(&d->patient_first, d->n_patients + (size_t)1, (size_t)n_patients + 1, sizeof *d->patient_first) ||
            !grow(&d->patient_key, d->n_patients, n_patients, sizeof *d->patient_key))
            return fl_fail(err, FL_EENV, "data set: no memory for %u patients", n_patients);
        d->capacity_patients = n_patients;
    }
    return FL_OK;
}

/* Half as many again when it is full. */
static uint32_t more_than(uint32_t capacity, uint32_t n)
{
    return n <= capacity ? n : n + n / 2 + 64;
}

fl_code nn_dataset_append_patient(nn_dataset *d, const uint8_t key[32], const float *images, const uint32_t *labels,
                                  uint32_t n, fl_err *err)
{
    size_t size = nn_dataset_image_size(d);
    assert(n >= 1);
    if (n > MAX_IMAGES - d->n_images)
        return fl_fail(err, FL_EENV, "data set: more than %u images", MAX_IMAGES);
    fl_code rc = nn_dataset_reserve(d, more_than(d->capacity_images, d->n_images + n),
                                    more_than(d->capacity_patients, d->n_patients + 1), err);
    if (rc != FL_OK)
        return rc;
    memcpy(d->images + d->n_images * size, images, n * size * sizeof *images);
    memcpy(d->labels + d->n_images, labels, n * sizeof *labels);
    memcpy(d->patient_key[d->n_patients], key, 32);
    d->n_images += n;
    d->n_patients++;
    d->patient_first[d->n_patients] = d->n_images;
    return FL_OK;
}

fl_code nn_dataset_append_all(nn_dataset *d, const nn_dataset *src, fl_err *err)
{
    assert(d != src && d->channels == src->channels && d->height == src->height && d->width == src->width);
    size_t size = nn_dataset_image_size(src);
    for (uint32_t p = 0; p < src->n_patients; p++) {
        uint32_t first = src->patient_first[p], n = src->patient_first[p + 1] - first;
        fl_code rc = nn_dataset_append_patient(d, src->patient_key[p], src->images + first * size, src->labels + first,
                                               n, err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}
