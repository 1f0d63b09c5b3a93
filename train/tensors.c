#include "train/tensors.h"
#include "train/model.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [NN_OTHER] = {"", 0}, [NN_F16] = {"F16", 2}, [NN_BF16] = {"BF16", 2}, [NN_F32] = {"F32", 4}, [NN_F64] = {"F64", 8}};

/* --- one tensor's description ---------------------------------------------------------------------------------- */

static bool set_dtype(nn_stored *s, const fl_json *j)
{
    const char *text = fl_json_text(j, "dtype");
    if (!text)
        return false;
    snprintf(s->dtype_name, sizeof s->dtype_name, "%s", text);
    for (nn_dtype d = NN_F16; d <= NN_F64; d++) {
        if (strcmp(text, dtypes[d].name) == 0)
            s->dtype = d;
    }
    return true;
}

/* dims and n_values; a product that passes 2^53 is none of a file that we hold */
static bool set_shape(nn_stored *s, const fl_json *shape)
{
    if (!shape || !fl_json_is_array(shape) || fl_json_count(shape) > NN_TENSORS_MAX_DIMS)
        return false;
    uint64_t n = 1;
    s->n_dims = (uint32_t)fl_json_count(shape);
    for (uint32_t i = 0; i < s->n_dims; i++) {
        int64_t size;
        if (!fl_json_int_value(fl_json_at(shape, i), &size) || size < 0 || size > UINT32_MAX)
            return false;
        s->dims[i] = (uint32_t)size;
        if (size > 0 && n > ((uint64_t)1 << 53) / (uint64_t)size)
            return false;
        n *= (uint64_t)size;
    }
    s->n_values = n;
    return true;
}

static bool set_place(nn_stored *s, const fl_json *offsets, const uint8_t *data, size_t n_data)
{
    int64_t begin, end;
    if (!offsets || !fl_json_is_array(offsets) || fl_json_count(offsets) != 2 ||
        !fl_json_int_value(fl_json_at(offsets, 0), &begin) || !fl_json_int_value(fl_json_at(offsets, 1), &end))
        return false;
    if (begin < 0 || end < begin || (uint64_t)end > n_data)
        return false;
    s->begin = (size_t)begin;
    s->size = (size_t)(end - begin);
    s->bytes = data + begin;
    return s->dtype == NN_OTHER || s->size == s->n_values * dtypes[s->dtype].size;
}

static fl_code describe(nn_stored *s, const fl_json *j, const uint8_t *data, size_t n_data, fl_err *err)
{
    if (!j || !fl_json_is_object(j) || fl_json_count(j) != 3)
        return fl_fail(err, FL_EFORMAT, "safetensors: %.80s: is not described by dtype, shape and data_offsets",
                       s->name);
    if (!set_dtype(s, j))
        return fl_fail(err, FL_EFORMAT, "safetensors: %.80s: has no dtype", s->name);
    if (!set_shape(s, fl_json_member(j, "shape")))
        return fl_fail(err, FL_EFORMAT, "safetensors: %.80s: its shape is not one", s->name);
    if (!set_place(s, fl_json_member(j, "data_offsets"), data, n_data))
        return fl_fail(err, FL_EFORMAT, "safetensors: %.80s: its data_offsets do not fit its shape or the file",
                       s->name);
    return FL_OK;
}

/* --- the file -------------------------------------------------------------------------------------------------- */

static fl_code describe_all(nn_tensors *t, const uint8_t *data, size_t n_data, fl_err *err)
{
    size_t n;
    const char **keys = fl_json_keys(t->header, &n);
    fl_code rc = n <= NN_TENSORS_MAX
                     ? FL_OK
                     : fl_fail(err, FL_EFORMAT, "safetensors: %zu tensors, at most %d are accepted", n, NN_TENSORS_MAX);
    if (rc == FL_OK && !(t->list = calloc(n + 1, sizeof *t->list)))
        rc = fl_fail(err, FL_EENV, "safetensors: out of memory");
    for (size_t i = 0; i < n && rc == FL_OK; i++) {
        if (strcmp(keys[i], "__metadata__") == 0)
            continue;
        t->list[t->n].name = keys[i];
        rc = describe(&t->list[t->n], fl_json_member(t->header, keys[i]), data, n_data, err);
        t->n++;
    }
    free(keys);
    return rc;
}

static int by_begin(const void *a, const void *b)
{
    const nn_stored *x = *(const nn_stored *const *)a, *y = *(const nn_stored *const *)b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->size < y->size ? -1 : x->size > y->size; /* empty ones first */
}

/* Each begins where the one before ends, and the last ends the file: nothing is hidden between or behind them. */
static fl_code check_cover(const nn_tensors *t, size_t n_data, fl_err *err)
{
    size_t at = 0;
    const nn_stored **order = calloc(t->n + 1, sizeof *order);
    if (!order)
        return fl_fail(err, FL_EENV, "safetensors: out of memory");
    for (size_t i = 0; i < t->n; i++)
        order[i] = &t->list[i];
    qsort(order, t->n, sizeof *order, by_begin);
    bool ok = true;
    for (size_t i = 0; i < t->n; i++) {
        ok = ok && order[i]->begin == at;
        at = order[i]->begin + order[i]->size;
    }
    free(order);
    if (!ok || at != n_data)
        return fl_fail(err, FL_EFORMAT, "safetensors: tensors overlap, or there are bytes outside them");
    return FL_OK;
}

fl_code nn_tensors_read(nn_tensors *t, const uint8_t *bytes, size_t n, fl_err *err)
{
    uint64_t length = 0;
    *t = (nn_tensors){0};
    for (int i = 0; i < 8 && n >= 8; i++)
        length |= (uint64_t)bytes[i] << (8 * i);
    if (n < 8 || length > NN_TENSORS_MAX_HEADER || length > n - 8)
        return fl_fail(err, FL_EFORMAT,
                       "safetensors: the length of the header does not fit the file: is it a safetensors file?");
    const size_t n_data = n - 8 - (size_t)length;
    fl_code rc = fl_json_parse(&t->header, (const char *)bytes + 8, (size_t)length, "safetensors header", err);
    if (rc == FL_OK && !fl_json_is_object(t->header))
        rc = fl_fail(err, FL_EFORMAT, "safetensors: the header is no object");
    if (rc == FL_OK)
        rc = describe_all(t, bytes + 8 + length, n_data, err);
    if (rc == FL_OK)
        rc = check_cover(t, n_data, err);
    if (rc != FL_OK)
        nn_tensors_fini(t);
    return rc;
}

void nn_tensors_fini(nn_tensors *t)
{
    if (!t)
        return;
    fl_json_free(t->header);
    free(t->list);
    *t = (nn_tensors){0};
}

static int by_name(const void *name, const void *stored)
{
    return strcmp(name, ((const nn_stored *)stored)->name);
}

const nn_stored *nn_tensors_find(const nn_tensors *t, const char *name)
{
    return bsearch(name, t->list, t->n, sizeof *t->list, by_name);
}

const char *nn_tensors_fact(const nn_tensors *t, const char *key)
{
    const fl_json *metadata = fl_json_member(t->header, "__metadata__");
    return metadata ? fl_json_text(metadata, key) : NULL;
}

/* --- values ---------------------------------------------------------------------------------------------------- */

bool nn_stored_is(const nn_stored *s, uint32_t n_dims, const uint32_t *dims)
{
    return s->n_dims == n_dims && memcmp(s->dims, dims, n_dims * sizeof *dims) == 0;
}

/* IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction; every value is a float. */
static float from_half(uint16_t h)
{
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const float sign = h >> 15 ? -1.0f : 1.0f;
    if (exponent == 31)
        return fraction ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexpf((float)(1024 + fraction), exponent - 25) : ldexpf((float)fraction, -24));
}

static float value_at(const nn_stored *s, size_t i)
{
    const uint8_t *at = s->bytes + i * dtypes[s->dtype].size;
    uint64_t bits = 0;
    for (size_t k = 0; k < dtypes[s->dtype].size; k++)
        bits |= (uint64_t)at[k] << (8 * k);
    if (s->dtype == NN_F16)
        return from_half((uint16_t)bits);
    if (s->dtype == NN_F64) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return (float)value;
    }
    const uint32_t word = (uint32_t)(s->dtype == NN_BF16 ? bits << 16 : bits);
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

fl_code nn_stored_floats(float *out, const nn_stored *s, fl_err *err)
{
    if (s->dtype == NN_OTHER)
        return fl_fail(err, FL_EFORMAT, "safetensors: %.80s: its type is %s, expected F32, F16, BF16 or F64", s->name,
                       s->dtype_name);
    for (size_t i = 0; i < s->n_values; i++) {
        out[i] = value_at(s, i);
        if (!isfinite(out[i]))
            return fl_fail(err, FL_EFORMAT, "safetensors: %.80s: value %zu is not finite", s->name, i);
    }
    return FL_OK;
}
