#include "train/safetensors.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/json.h"
#include "crypto/hash.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- writing --------------------------------------------------------------------------------------------------- */

static fl_json *tensor_json(const nn_tensor *t)
{
    fl_json *j = fl_json_object(), *shape = fl_json_array(), *offsets = fl_json_array();
    for (uint32_t i = 0; i < t->n_dims; i++)
        fl_json_push_int(shape, t->dims[i]);
    fl_json_push_int(offsets, (int64_t)(4 * t->offset));
    fl_json_push_int(offsets, (int64_t)(4 * (t->offset + t->size)));
    fl_json_set_text(j, "dtype", "F32");
    fl_json_set(j, "shape", shape);
    fl_json_set(j, "data_offsets", offsets);
    return j;
}

static fl_json *header_json(const nn_model *m, const nn_facts *facts)
{
    fl_json *j = fl_json_object(), *metadata = fl_json_object();
    fl_buf value;
    fl_buf_init(&value, NN_SAFETENSORS_MAX_HEADER);
    fl_json_set_text(metadata, "format", "pt");
    for (uint32_t i = 0; i < NN_FACTS_KEYS; i++) {
        fl_buf_clear(&value);
        nn_facts_value(&value, facts, i);
        fl_json_set_text(metadata, nn_facts_key(i), fl_buf_text(&value));
    }
    fl_buf_fini(&value);
    fl_json_set(j, "__metadata__", metadata);
    for (size_t i = 0; i < nn_model_n_tensors(m); i++) {
        nn_tensor t = nn_model_tensor(m, i);
        fl_json_set(j, t.name, tensor_json(&t));
    }
    return j;
}

static void add_weights(fl_buf *out, const float *w, size_t n)
{
    uint8_t bytes[4 * 1024];
    for (size_t i = 0; i < n; i += 1024) {
        const size_t k = n - i < 1024 ? n - i : 1024;
        nn_weights_write(bytes, w + i, k);
        fl_buf_add(out, bytes, 4 * k);
    }
}

fl_code nn_safetensors_write(fl_buf *out, const nn_model *m, const float *w, const nn_facts *facts, fl_err *err)
{
    fl_buf header;
    fl_buf_init(&header, NN_SAFETENSORS_MAX_HEADER - 8);
    fl_json *j = header_json(m, facts);
    fl_code rc = fl_json_canonical(&header, j, err);
    fl_json_free(j);
    while (rc == FL_OK && header.size % 8 != 0 && !header.failed)
        fl_buf_add_text(&header, " ");
    if (rc == FL_OK)
        rc = fl_buf_check(&header, "safetensors header", err);
    if (rc == FL_OK) {
        uint8_t length[8];
        for (int i = 0; i < 8; i++)
            length[i] = (uint8_t)((uint64_t)header.size >> (8 * i));
        fl_buf_add(out, length, sizeof length);
        fl_buf_add(out, header.bytes, header.size);
        add_weights(out, w, nn_model_n_weights(m));
        rc = fl_buf_check(out, "safetensors", err);
    }
    fl_buf_fini(&header);
    return rc;
}

/* --- reading --------------------------------------------------------------------------------------------------- */

static bool is_shape(const fl_json *array, const nn_tensor *t)
{
    if (!array || !fl_json_is_array(array) || fl_json_count(array) != t->n_dims)
        return false;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        int64_t size;
        if (!fl_json_int_value(fl_json_at(array, i), &size) || size != t->dims[i])
            return false;
    }
    return true;
}

/* Where a tensor begins is the file's choice; that it has as many bytes as its shape, all inside the file, is not. */
static bool get_begin(size_t *begin, const fl_json *offsets, const nn_tensor *t, size_t n_data)
{
    int64_t first, last;
    if (!offsets || !fl_json_is_array(offsets) || fl_json_count(offsets) != 2 ||
        !fl_json_int_value(fl_json_at(offsets, 0), &first) || !fl_json_int_value(fl_json_at(offsets, 1), &last))
        return false;
    if (first < 0 || last < first || (uint64_t)last > n_data || (uint64_t)(last - first) != 4 * (uint64_t)t->size)
        return false;
    *begin = (size_t)first;
    return true;
}

typedef struct span {
    size_t begin, size;
} span;

static fl_code read_tensor(float *w, span *at, const nn_tensor *t, const fl_json *j, const uint8_t *data, size_t n_data,
                           fl_err *err)
{
    if (!j || !fl_json_is_object(j) || fl_json_count(j) != 3)
        return fl_fail(err, FL_EFORMAT, "safetensors: there is no tensor %s, or it is not described as it should be",
                       t->name);
    const char *dtype = fl_json_text(j, "dtype");
    if (!dtype || strcmp(dtype, "F32") != 0)
        return fl_fail(err, FL_EFORMAT, "safetensors: %s: its type is not F32", t->name);
    if (!is_shape(fl_json_member(j, "shape"), t))
        return fl_fail(err, FL_EFORMAT, "safetensors: %s: its shape is not the model's", t->name);
    if (!get_begin(&at->begin, fl_json_member(j, "data_offsets"), t, n_data))
        return fl_fail(err, FL_EFORMAT, "safetensors: %s: its data_offsets do not fit", t->name);
    at->size = 4 * t->size;
    fl_code rc = nn_weights_read(w + t->offset, t->size, data + at->begin, at->size, err);
    return rc == FL_OK ? rc : fl_fail_in(err, "safetensors: %s", t->name);
}

/* No two share bytes and together they are all bytes: then nothing is hidden between them. */
static bool covers(const span *spans, size_t n, size_t n_data)
{
    size_t total = 0;
    for (size_t a = 0; a < n; a++) {
        total += spans[a].size;
        for (size_t b = 0; b < a; b++) {
            if (spans[a].begin < spans[b].begin + spans[b].size && spans[b].begin < spans[a].begin + spans[a].size)
                return false;
        }
    }
    return total == n_data;
}

static fl_code read_plan_hash(char plan_hash[65], const fl_json *j, fl_err *err)
{
    fl_json *metadata = fl_json_member(j, "__metadata__");
    const char *text = metadata ? fl_json_text(metadata, "plan_hash") : NULL;
    uint8_t bytes[FL_HASH_SIZE];
    if (text && (strlen(text) != 2 * FL_HASH_SIZE || !fl_hex_decode(bytes, sizeof bytes, text)))
        return fl_fail(err, FL_EFORMAT, "safetensors: the plan hash in its metadata is not one");
    if (plan_hash)
        snprintf(plan_hash, 65, "%s", text ? text : "");
    return FL_OK;
}

static fl_code read_tensors(float *w, const nn_model *m, const fl_json *j, const uint8_t *data, size_t n_data,
                            fl_err *err)
{
    span spans[2 * NN_MAX_LAYERS];
    size_t n = nn_model_n_tensors(m);
    if (!fl_json_is_object(j) || fl_json_count(j) != n + (fl_json_member(j, "__metadata__") != NULL))
        return fl_fail(err, FL_EFORMAT, "safetensors: has not the %zu tensors of the model", n);
    for (size_t i = 0; i < n; i++) {
        nn_tensor t = nn_model_tensor(m, i);
        fl_code rc = read_tensor(w, &spans[i], &t, fl_json_member(j, t.name), data, n_data, err);
        if (rc != FL_OK)
            return rc;
    }
    if (!covers(spans, n, n_data))
        return fl_fail(err, FL_EFORMAT, "safetensors: tensors overlap, or there are bytes outside them");
    return FL_OK;
}

/* *header is the caller's to free, also when this fails; *data lies in bytes. */
static fl_code split(fl_json **header, const uint8_t **data, size_t *n_data, const uint8_t *bytes, size_t n,
                     fl_err *err)
{
    uint64_t length = 0;
    *header = NULL;
    for (int i = 0; i < 8 && n >= 8; i++)
        length |= (uint64_t)bytes[i] << (8 * i);
    if (n < 8 || length > NN_SAFETENSORS_MAX_HEADER || length > n - 8)
        return fl_fail(err, FL_EFORMAT, "safetensors: the length of the header does not fit the file");
    *data = bytes + 8 + length;
    *n_data = n - 8 - (size_t)length;
    return fl_json_parse(header, (const char *)bytes + 8, (size_t)length, "safetensors header", err);
}

fl_code nn_safetensors_read(float *w, char plan_hash[65], const nn_model *m, const uint8_t *bytes, size_t n,
                            fl_err *err)
{
    fl_err unread;
    err = err ? err : &unread; /* messages are built in steps */
    fl_json *j;
    const uint8_t *data;
    size_t n_data;
    fl_code rc = split(&j, &data, &n_data, bytes, n, err);
    if (rc == FL_OK)
        rc = read_tensors(w, m, j, data, n_data, err);
    if (rc == FL_OK)
        rc = read_plan_hash(plan_hash, j, err);
    fl_json_free(j);
    return rc;
}

/* --- a file alone ---------------------------------------------------------------------------------------------- */

static fl_code read_facts(nn_facts *f, const fl_json *header, fl_err *err)
{
    const fl_json *metadata = fl_json_member(header, "__metadata__");
    fl_code rc = FL_OK;
    for (uint32_t i = 0; i < NN_FACTS_KEYS && rc == FL_OK; i++)
        rc = nn_facts_set(f, i, metadata ? fl_json_text(metadata, nn_facts_key(i)) : NULL, err);
    return rc == FL_OK ? rc : fl_fail_in(err, "safetensors");
}

static fl_code read_model(nn_model_file *f, const fl_json *header, const uint8_t *data, size_t n_data, fl_err *err)
{
    const nn_facts *facts = &f->facts;
    FL_TRY(read_facts(&f->facts, header, err));
    fl_code rc = nn_model_create(&f->model, facts->spec, facts->input.C, facts->input.H, facts->input.W,
                                 facts->n_classes, err);
    if (rc != FL_OK)
        return fl_fail_in(err, "safetensors: metadata: spec");
    const size_t n = nn_model_n_weights(f->model);
    if (n_data != 4 * n) /* before memory is asked for */
        return fl_fail(err, FL_EFORMAT, "safetensors: %zu bytes of tensors, expected %zu", n_data, 4 * n);
    f->w = malloc(4 * n);
    if (!f->w)
        return fl_fail(err, FL_EENV, "safetensors: no memory for %zu weights", n);
    return read_tensors(f->w, f->model, header, data, n_data, err);
}

fl_code nn_model_file_read(nn_model_file *f, const uint8_t *bytes, size_t n, fl_err *err)
{
    fl_err unread;
    err = err ? err : &unread;
    fl_json *j;
    const uint8_t *data;
    size_t n_data;
    memset(f, 0, sizeof *f);
    fl_code rc = split(&j, &data, &n_data, bytes, n, err);
    if (rc == FL_OK)
        rc = read_model(f, j, data, n_data, err);
    fl_json_free(j);
    if (rc != FL_OK)
        nn_model_file_close(f);
    else
        f->hash = fl_sha256(bytes, n);
    return rc;
}

fl_code nn_model_file_open(nn_model_file *f, const char *path, fl_err *err)
{
    fl_err unread;
    err = err ? err : &unread;
    fl_buf bytes;
    memset(f, 0, sizeof *f);
    fl_buf_init(&bytes, 8 + NN_SAFETENSORS_MAX_HEADER + (size_t)4 * NN_MAX_WEIGHTS);
    fl_code rc = fl_file_read(&bytes, path, err);
    if (rc == FL_OK && (rc = nn_model_file_read(f, bytes.bytes, bytes.size, err)) != FL_OK)
        rc = fl_fail_in(err, "%s", path);
    fl_buf_fini(&bytes);
    return rc;
}

void nn_model_file_close(nn_model_file *f)
{
    if (!f)
        return;
    nn_model_destroy(f->model);
    free(f->w);
    memset(f, 0, sizeof *f);
}
