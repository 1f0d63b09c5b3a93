#include "train/safetensors.h"
#include "base/encode.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "train/tensors.h"
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

static fl_code read_tensor(float *w, const nn_tensor *t, const nn_tensors *file, fl_err *err)
{
    const nn_stored *s = nn_tensors_find(file, t->name);
    if (!s)
        return fl_fail(err, FL_EFORMAT, "safetensors: there is no tensor %s", t->name);
    if (s->dtype != NN_F32)
        return fl_fail(err, FL_EFORMAT, "safetensors: %s: its type is %s, expected F32", t->name, s->dtype_name);
    if (!nn_stored_is(s, t->n_dims, t->dims))
        return fl_fail(err, FL_EFORMAT, "safetensors: %s: its shape is not the model's", t->name);
    return nn_stored_floats(w + t->offset, s, err);
}

static fl_code read_tensors(float *w, const nn_model *m, const nn_tensors *file, fl_err *err)
{
    const size_t n = nn_model_n_tensors(m);
    if (file->n != n)
        return fl_fail(err, FL_EFORMAT, "safetensors: has %zu tensors, the model %zu", file->n, n);
    for (size_t i = 0; i < n; i++) {
        nn_tensor t = nn_model_tensor(m, i);
        FL_TRY(read_tensor(w, &t, file, err));
    }
    return FL_OK;
}

static fl_code read_plan_hash(char plan_hash[65], const nn_tensors *file, fl_err *err)
{
    const char *text = nn_tensors_fact(file, "plan_hash");
    uint8_t bytes[FL_HASH_SIZE];
    if (text && (strlen(text) != 2 * FL_HASH_SIZE || !fl_hex_decode(bytes, sizeof bytes, text)))
        return fl_fail(err, FL_EFORMAT, "safetensors: the plan hash in its metadata is not one");
    if (plan_hash)
        snprintf(plan_hash, 65, "%s", text ? text : "");
    return FL_OK;
}

fl_code nn_safetensors_read(float *w, char plan_hash[65], const nn_model *m, const uint8_t *bytes, size_t n,
                            fl_err *err)
{
    nn_tensors file;
    fl_code rc = nn_tensors_read(&file, bytes, n, err);
    if (rc == FL_OK)
        rc = read_tensors(w, m, &file, err);
    if (rc == FL_OK)
        rc = read_plan_hash(plan_hash, &file, err);
    nn_tensors_fini(&file);
    return rc;
}

/* --- a file alone ---------------------------------------------------------------------------------------------- */

static fl_code read_model(nn_model_file *f, const nn_tensors *file, size_t n_bytes, fl_err *err)
{
    const nn_facts *facts = &f->facts;
    for (uint32_t i = 0; i < NN_FACTS_KEYS; i++)
        FL_TRY(nn_facts_set(&f->facts, i, nn_tensors_fact(file, nn_facts_key(i)), err));
    fl_code rc = nn_model_create(&f->model, facts->spec, facts->input.C, facts->input.H, facts->input.W,
                                 facts->n_classes, err);
    if (rc != FL_OK)
        return fl_fail_in(err, "metadata: spec");
    const size_t n = nn_model_n_weights(f->model);
    if (4 * n > n_bytes) /* before memory is asked for */
        return fl_fail(err, FL_EFORMAT, "metadata: spec: has %zu weights, more than the file", n);
    f->w = malloc(4 * n);
    if (!f->w)
        return fl_fail(err, FL_EENV, "no memory for %zu weights", n);
    return read_tensors(f->w, f->model, file, err);
}

fl_code nn_model_file_read(nn_model_file *f, const uint8_t *bytes, size_t n, fl_err *err)
{
    fl_err unread;
    err = err ? err : &unread; /* messages are built in steps */
    nn_tensors file;
    memset(f, 0, sizeof *f);
    FL_TRY(nn_tensors_read(&file, bytes, n, err));
    fl_code rc = read_model(f, &file, n, err);
    nn_tensors_fini(&file);
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
