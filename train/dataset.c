#include "train/dataset.h"
#include "base/arena.h"
#include <assert.h>
#include <math.h>
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

void nn_dataset_fini(nn_dataset *d)
{
    if (!d)
        return;
    free(d->images);
    free(d->labels);
    free(d->patient_first);
    free(d->patient_key);
    *d = (nn_dataset){0};
}

/* At least n elements of this size; the block stays as it was when there is no memory. */
static bool grow(void *block, size_t n, size_t size)
{
    void **at = block, *bigger = realloc(*at, fl_size_mul(n, size));
    if (bigger)
        *at = bigger;
    return bigger != NULL;
}

static fl_code reserve(nn_dataset *d, uint32_t n_images, uint32_t n_patients, fl_err *err)
{
    if (n_images > d->capacity_images) {
        uint32_t n = n_images + n_images / 2 + 64;
        if (!grow(&d->images, n, fl_size_mul(nn_dataset_image_size(d), sizeof *d->images)) ||
            !grow(&d->labels, n, sizeof *d->labels))
            return fl_fail(err, FL_EENV, "data set: no memory for %u images", n_images);
        d->capacity_images = n;
    }
    if (n_patients > d->capacity_patients) {
        uint32_t n = n_patients + n_patients / 2 + 64;
        if (!grow(&d->patient_first, (size_t)n + 1, sizeof *d->patient_first) ||
            !grow(&d->patient_key, n, sizeof *d->patient_key))
            return fl_fail(err, FL_EENV, "data set: no memory for %u patients", n_patients);
        d->capacity_patients = n;
    }
    return FL_OK;
}

fl_code nn_dataset_append_patient(nn_dataset *d, const uint8_t key[32], const float *images, const uint32_t *labels,
                                  uint32_t n, fl_err *err)
{
    size_t size = nn_dataset_image_size(d);
    assert(n >= 1);
    if (n > MAX_IMAGES - d->n_images)
        return fl_fail(err, FL_EENV, "data set: more than %u images", MAX_IMAGES);
    fl_code rc = reserve(d, d->n_images + n, d->n_patients + 1, err);
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

/* --- preparing an image -------------------------------------------------------------------------------------------- */

/* Where target pixel i of n_out begins in n_in source pixels. */
static double edge(uint32_t i, uint32_t n_in, uint32_t n_out)
{
    return (double)i * n_in / n_out;
}

/* Mean of the source over the area of target pixel (i, j); pixels count by the part of them that is inside. */
static double area_mean(const float *pixels, uint32_t h, uint32_t w, uint32_t i, uint32_t j, uint32_t H, uint32_t W)
{
    double top = edge(i, h, H), bottom = edge(i + 1, h, H), left = edge(j, w, W), right = edge(j + 1, w, W);
    double sum = 0, weight = 0;
    for (uint32_t r = (uint32_t)top; r < h && r < bottom; r++) {
        double tall = fmin(bottom, r + 1.0) - fmax(top, r);
        for (uint32_t c = (uint32_t)left; c < w && c < right; c++) {
            double part = tall * (fmin(right, c + 1.0) - fmax(left, c));
            sum += part * pixels[(size_t)r * w + c];
            weight += part;
        }
    }
    return weight > 0 ? sum / weight : 0;
}

static double between(const float *pixels, uint32_t h, uint32_t w, double r, double c)
{
    r = fmin(fmax(r, 0), h - 1.0);
    c = fmin(fmax(c, 0), w - 1.0);
    uint32_t r0 = (uint32_t)r, c0 = (uint32_t)c, r1 = r0 + 1 < h ? r0 + 1 : r0, c1 = c0 + 1 < w ? c0 + 1 : c0;
    double fr = r - r0, fc = c - c0;
    double upper = (1 - fc) * pixels[(size_t)r0 * w + c0] + fc * pixels[(size_t)r0 * w + c1];
    double lower = (1 - fc) * pixels[(size_t)r1 * w + c0] + fc * pixels[(size_t)r1 * w + c1];
    return (1 - fr) * upper + fr * lower;
}

static void resize(float *out, uint32_t H, uint32_t W, const float *pixels, uint32_t h, uint32_t w)
{
    bool is_smaller = H <= h && W <= w;
    for (uint32_t i = 0; i < H; i++) {
        for (uint32_t j = 0; j < W; j++)
            out[(size_t)i * W + j] = (float)(is_smaller ? area_mean(pixels, h, w, i, j, H, W)
                                                        : between(pixels, h, w, (i + 0.5) * h / H - 0.5,
                                                                  (j + 0.5) * w / W - 0.5));
    }
}

static void standardise(float *x, size_t n)
{
    double sum = 0, squares = 0, low = x[0], high = x[0];
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
        low = fmin(low, x[i]);
        high = fmax(high, x[i]);
    }
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    double sd = fmax(sqrt(squares / (double)n), 1e-3 * (high - low));
    bool is_good = isfinite(sd) && isfinite(mean) && sd > 0;
    for (size_t i = 0; i < n; i++)
        x[i] = is_good ? (float)fmin(fmax((x[i] - mean) / sd, -4), 4) : 0;
}

void nn_prepare_image(float *out, uint32_t channels, uint32_t height, uint32_t width, const float *pixels,
                      uint32_t height_in, uint32_t width_in)
{
    assert(channels >= 1 && height >= 1 && width >= 1 && height_in >= 1 && width_in >= 1);
    size_t size = (size_t)height * width;
    resize(out, height, width, pixels, height_in, width_in);
    standardise(out, size);
    for (uint32_t c = 1; c < channels; c++)
        memcpy(out + c * size, out, size * sizeof *out);
}
