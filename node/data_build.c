#include "base/grow.h"
#include "crypto/csprng.h"
#include "imaging/resize.h"
#include "node/data_rows.h"
#include "node/labels.h"

#include <stdlib.h>
#include <string.h>

/* ---- list: rows of hashes, on the event loop's thread ------------------------------------------------------------ */

static bool read_row(node_data_row *row, fl_query *q)
{
    size_t n_patient, n_object;
    const void *patient = fl_column_blob(q, 0, &n_patient);
    if (n_patient == sizeof row->patient)
        memcpy(row->patient, patient, n_patient);
    const void *object = fl_column_blob(q, 1, &n_object);
    if (n_object == sizeof row->object)
        memcpy(row->object.bytes, object, n_object);
    return n_patient == sizeof row->patient && n_object == sizeof row->object;
}

static fl_code read_rows(node_data_rows *out, fl_query *q, const nn_plan *plan, fl_err *err)
{
    size_t capacity = 0;
    while (fl_query_row(q)) {
        uint32_t label;
        if (!node_label_read(&label, plan, fl_column_text(q, 2), true)) {
            out->n_other++;
            continue;
        }
        if (!fl_grow(&out->rows, &capacity, out->n, sizeof *out->rows))
            return fl_fail(err, FL_EENV, "data: out of memory");
        if (!read_row(&out->rows[out->n], q))
            return fl_fail(err, FL_EENV, "node.db: a row of the data set is damaged: restore a backup");
        out->rows[out->n++].label = label;
    }
    return FL_OK;
}

fl_code node_data_list_for(node_data_rows *out, node_store *s, const char *dataset, const nn_plan *plan,
                           node_split split, fl_err *err)
{
    fl_query q;
    memset(out, 0, sizeof *out);
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT patient, object, label FROM image WHERE dataset = ? AND split = ?"
                         " ORDER BY patient, object, label",
                         err));
    fl_bind_text(&q, 1, dataset);
    fl_bind_int(&q, 2, split);
    fl_code rc = read_rows(out, &q, plan, err);
    fl_code closed = fl_query_close(&q, rc ? NULL : err);
    rc = rc ? rc : closed;
    if (rc)
        node_data_rows_fini(out);
    return rc;
}

void node_data_rows_fini(node_data_rows *rows)
{
    if (!rows)
        return;
    free(rows->rows);
    memset(rows, 0, sizeof *rows);
}

/* ---- build: pixels, on any thread -------------------------------------------------------------------------------- */

typedef struct builder {
    fl_objects *objects;
    const nn_plan *plan;
    fl_buf scratch;
    uint16_t *pixels; /* of one stored image */
    float *images;    /* of one patient, prepared */
    uint32_t *labels;
    size_t image_size;
} builder;

/* *n grows by one, unless the object was removed since the rows were listed (a consent withdrawn). */
static fl_code add_image(builder *b, const node_data_row *row, uint32_t *n, fl_err *err)
{
    node_pixels p;
    fl_code rc = node_pixels_get(b->objects, &row->object, &b->scratch, &p, err);
    if (rc)
        return rc == FL_ENOTFOUND ? FL_OK : rc;
    img_image image = {.width = p.width, .height = p.height, .bits = (uint8_t)p.bits, .pixels = b->pixels};
    for (size_t i = 0; i < (size_t)p.width * p.height; i++)
        b->pixels[i] = (uint16_t)(p.words[2 * i] | p.words[2 * i + 1] << 8);
    img_resize(b->images + *n * b->image_size, b->plan->channels, b->plan->height, b->plan->width, &image);
    b->labels[(*n)++] = row->label;
    return FL_OK;
}

static size_t same_patient(const node_data_rows *rows, size_t first)
{
    size_t n = 1;
    while (first + n < rows->n && memcmp(rows->rows[first].patient, rows->rows[first + n].patient, 32) == 0)
        n++;
    return n;
}

static fl_code add_patients(nn_dataset *out, builder *b, const node_data_rows *rows, fl_err *err)
{
    for (size_t first = 0, n; first < rows->n; first += n) {
        uint32_t here = 0;
        n = same_patient(rows, first);
        for (size_t i = 0; i < n; i++)
            FL_TRY(add_image(b, &rows->rows[first + i], &here, err));
        if (here > 0)
            FL_TRY(nn_dataset_append_patient(out, rows->rows[first].patient, b->images, b->labels, here, err));
    }
    return FL_OK;
}

fl_code node_data_build(nn_dataset *out, fl_objects *objects, const node_data_rows *rows, const nn_plan *plan,
                        fl_err *err)
{
    builder b = {.objects = objects, .plan = plan};
    size_t most = 1;
    for (size_t first = 0, n; first < rows->n; first += n) {
        n = same_patient(rows, first);
        most = n > most ? n : most;
    }
    b.image_size = (size_t)plan->channels * plan->height * plan->width;
    fl_buf_init(&b.scratch, NODE_PIXELS_HEADER + 2 * (size_t)IMG_MAX_SIDE * IMG_MAX_SIDE);
    b.pixels = malloc((size_t)IMG_MAX_SIDE * IMG_MAX_SIDE * sizeof *b.pixels);
    b.images = calloc(most, b.image_size * sizeof *b.images);
    b.labels = calloc(most, sizeof *b.labels);
    fl_code rc = nn_dataset_init(out, plan->channels, plan->height, plan->width, err);
    if (rc == FL_OK && (!b.pixels || !b.images || !b.labels))
        rc = fl_fail(err, FL_EENV, "data: out of memory");
    if (rc == FL_OK)
        rc = add_patients(out, &b, rows, err);
    if (rc)
        nn_dataset_fini(out);
    if (b.scratch.bytes)
        fl_wipe(b.scratch.bytes, b.scratch.size);
    fl_buf_fini(&b.scratch);
    free(b.pixels);
    free(b.images);
    free(b.labels);
    return rc;
}

fl_code node_data_load(nn_dataset *out, node_store *s, const char *dataset, const nn_plan *plan, node_split split,
                       fl_err *err)
{
    node_data_rows rows;
    FL_TRY(node_data_list_for(&rows, s, dataset, plan, split, err));
    fl_code rc = node_data_build(out, s->objects, &rows, plan, err);
    node_data_rows_fini(&rows);
    return rc;
}
