#include "sim/idx.h"

#include "base/file.h"
#include "crypto/hash.h"
#include "imaging/image.h"
#include "imaging/resize.h"
#include "node/labels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define IDX_MAX_BYTES ((size_t)256 << 20)
#define IDX_MAX_SIDE  512

typedef struct idx {
    uint8_t *bytes;
    size_t size;
    uint32_t count, rows, columns;
    const uint8_t *content;
} idx;

static bool find(char path[FL_PATH_MAX], const char *dir, const char *name)
{
    char gz[64];
    if (fl_file_exists(fl_path(path, dir, name)))
        return true;
    snprintf(gz, sizeof gz, "%s.gz", name);
    return fl_file_exists(fl_path(path, dir, gz));
}

bool sim_idx_is_here(const char *dir)
{
    char path[FL_PATH_MAX];
    return find(path, dir, "train-images-idx3-ubyte");
}

static uint32_t be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The whole file, unpacked if it is packed. */
static fl_code read_all(idx *f, const char *path, fl_err *err)
{
    gzFile in = gzopen(path, "rb");
    if (!in)
        return fl_fail(err, FL_ENOTFOUND, "%s: cannot be opened", path);
    size_t capacity = 1 << 20;
    fl_code rc = FL_OK;
    for (int n = 1; n > 0 && rc == FL_OK;) {
        if (f->size == capacity || !f->bytes) {
            capacity *= 2;
            uint8_t *more = capacity <= IDX_MAX_BYTES ? realloc(f->bytes, capacity) : NULL;
            if (!more) {
                rc = fl_fail(err, FL_EFORMAT, "%s: larger than %zu bytes", path, IDX_MAX_BYTES / 2);
                break;
            }
            f->bytes = more;
        }
        n = gzread(in, f->bytes + f->size, (unsigned)(capacity - f->size));
        if (n < 0)
            rc = fl_fail(err, FL_EFORMAT, "%s: is damaged", path);
        else
            f->size += (size_t)n;
    }
    if (gzclose(in) != Z_OK && rc == FL_OK)
        rc = fl_fail(err, FL_EFORMAT, "%s: is damaged or cut short", path);
    return rc;
}

static fl_code open_idx(idx *f, const char *dir, const char *name, unsigned n_dims, fl_err *err)
{
    char path[FL_PATH_MAX];
    const size_t head = 4 + 4 * (size_t)n_dims;
    if (!find(path, dir, name))
        return fl_fail(err, FL_ENOTFOUND, "%s/%s: no such file, plain or .gz", dir, name);
    FL_TRY(read_all(f, path, err));
    if (f->size < head || be32(f->bytes) != (0x0800 | n_dims))
        return fl_fail(err, FL_EFORMAT, "%s: not an IDX file of bytes with %u dimensions", path, n_dims);
    f->count = be32(f->bytes + 4);
    f->rows = n_dims == 3 ? be32(f->bytes + 8) : 1;
    f->columns = n_dims == 3 ? be32(f->bytes + 12) : 1;
    f->content = f->bytes + head;
    if (f->rows < 1 || f->rows > IDX_MAX_SIDE || f->columns < 1 || f->columns > IDX_MAX_SIDE ||
        (f->size - head) / ((size_t)f->rows * f->columns) < f->count ||
        f->size - head != (size_t)f->count * f->rows * f->columns)
        return fl_fail(err, FL_EFORMAT, "%s: has %zu bytes, which are not %u images of %u x %u", path, f->size,
                       f->count, f->rows, f->columns);
    return FL_OK;
}

static fl_code add_image(nn_dataset *d, const idx *images, uint32_t i, uint32_t label, int split, uint16_t *pixels,
                         float *x, fl_err *err)
{
    const size_t n = (size_t)images->rows * images->columns;
    const uint32_t id[2] = {(uint32_t)split, i};
    img_image image = {.width = images->columns, .height = images->rows, .pixels = pixels, .bits = 8};
    for (size_t p = 0; p < n; p++)
        pixels[p] = images->content[i * n + p];
    img_resize(x, d->channels, d->height, d->width, &image);
    fl_hash key = fl_sha256_2("cordon idx patient", 18, id, sizeof id);
    return nn_dataset_append_patient(d, key.bytes, x, &label, 1, err);
}

/* The classes of the 256 labels; -1: none. A class named after a number has that label; without any such class the
 * label is the class's place. */
static void class_table(int classes[256], bool *by_number, const nn_plan *plan)
{
    uint32_t c;
    char text[8];
    *by_number = true;
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned label = 0; label < 256; label++) {
            snprintf(text, sizeof text, "%u", label);
            const bool is_class = node_label_read(&c, plan, text, pass == 1 && *by_number);
            classes[label] = is_class ? (int)c : -1;
            *by_number &= pass == 1 || !is_class;
        }
}

static fl_code add_split(sim_hospitals *out, const idx *images, const idx *labels, node_split split,
                         const nn_plan *plan, fl_err *err)
{
    const size_t size = (size_t)plan->channels * plan->height * plan->width;
    uint16_t *pixels = malloc((size_t)images->rows * images->columns * sizeof *pixels);
    float *x = malloc(size * sizeof *x);
    int classes[256];
    fl_code rc = FL_OK;
    class_table(classes, &out->by_number, plan);
    if (!pixels || !x)
        rc = fl_fail(err, FL_EENV, "out of memory");
    else if (images->count != labels->count)
        rc = fl_fail(err, FL_EFORMAT, "%u images and %u labels", images->count, labels->count);
    const uint32_t each = images->count / out->n + 1;
    for (uint32_t i = 0; i < out->n && rc == FL_OK; i++)
        rc = nn_dataset_reserve(&out->list[i].split[split], each, each, err);
    for (uint32_t i = 0; rc == FL_OK && i < images->count; i++) {
        const uint8_t label = labels->content[i];
        char text[8];
        snprintf(text, sizeof text, "%u", label);
        if (classes[label] < 0)
            sim_leave_out(&out->left_out, text);
        else
            rc = add_image(&out->list[i % out->n].split[split], images, i, (uint32_t)classes[label], (int)split, pixels,
                           x, err);
    }
    free(pixels);
    free(x);
    return rc;
}

static fl_code load_split(sim_hospitals *out, const char *dir, const char *images_name, const char *labels_name,
                          node_split split, const nn_plan *plan, fl_err *err)
{
    idx images = {0}, labels = {0};
    fl_code rc = open_idx(&images, dir, images_name, 3, err);
    if (rc == FL_OK)
        rc = open_idx(&labels, dir, labels_name, 1, err);
    if (rc == FL_OK)
        rc = add_split(out, &images, &labels, split, plan, err);
    free(images.bytes);
    free(labels.bytes);
    return rc;
}

fl_code sim_idx_load(sim_hospitals *out, const char *dir, const nn_plan *plan, uint32_t n_hospitals, fl_err *err)
{
    if (plan->multi)
        return fl_fail(err, FL_EREFUSED, "%s: an MNIST-style label is one class: the study needs labels = single", dir);
    if (plan->n_sites > 0 && (n_hospitals == 0 || n_hospitals > plan->n_sites))
        n_hospitals = plan->n_sites;
    for (out->n = 0; out->n < (n_hospitals ? n_hospitals : 1); out->n++) {
        sim_hospital *h = &out->list[out->n];
        snprintf(h->name, sizeof h->name, "site-%03u", out->n + 1);
        if (plan->n_sites > 0)
            snprintf(h->name, sizeof h->name, "%s", plan->sites[out->n]);
        for (int s = 0; s < NODE_N_SPLITS; s++)
            FL_TRY(nn_dataset_init(&h->split[s], plan->channels, plan->height, plan->width, err));
    }
    FL_TRY(load_split(out, dir, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", NODE_SPLIT_TRAIN, plan, err));
    return load_split(out, dir, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", NODE_SPLIT_TEST, plan, err);
}
