#include "base/json.h"

#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LEVELS 32

/* jansson's own limit of levels is fixed when it is built, so they are counted before it sees the text. */
static bool too_deep(const char *text, size_t n)
{
    size_t level = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"')
            in_string = true;
        else if ((c == '[' || c == '{') && ++level > MAX_LEVELS)
            return true;
        else if ((c == ']' || c == '}') && level > 0)
            level--;
    }
    return false;
}

fl_code fl_json_parse(fl_json **out, const char *text, size_t n, const char *name, fl_err *err)
{
    *out = NULL;
    if (n > FL_JSON_MAX)
        return fl_fail(err, FL_EFORMAT, "%s: %zu bytes of JSON, expected at most %zu", name, n, FL_JSON_MAX);
    if (too_deep(text, n))
        return fl_fail(err, FL_EFORMAT, "%s: JSON of more than %d levels", name, MAX_LEVELS);
    json_error_t error;
    /* What jansson says about the text may quote it, and a value may be anything: only the place is passed on. */
    *out = json_loadb(n ? text : "", n, JSON_REJECT_DUPLICATES, &error);
    if (*out)
        return FL_OK;
    switch (json_error_code(&error)) {
    case json_error_out_of_memory:
        return fl_fail(err, FL_EENV, "%s: no memory left", name);
    case json_error_duplicate_key:
        return fl_fail(err, FL_EFORMAT, "%s: line %d: a key stands twice in one object", name, error.line);
    case json_error_end_of_input_expected:
        return fl_fail(err, FL_EFORMAT, "%s: line %d: bytes after the end of the JSON", name, error.line);
    case json_error_premature_end_of_input:
        return fl_fail(err, FL_EFORMAT, "%s: line %d: the JSON ends too early", name, error.line);
    case json_error_invalid_utf8:
        return fl_fail(err, FL_EFORMAT, "%s: line %d: not UTF-8", name, error.line);
    case json_error_numeric_overflow:
        return fl_fail(err, FL_EFORMAT, "%s: line %d: a number out of range", name, error.line);
    default:
        return fl_fail(err, FL_EFORMAT, "%s: line %d column %d: not JSON", name, error.line, error.column);
    }
}

void fl_json_free(fl_json *j)
{
    json_decref(j);
}

static fl_json *must(fl_json *j)
{
    if (!j) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return j;
}

fl_json *fl_json_object(void)
{
    return must(json_object());
}

fl_json *fl_json_array(void)
{
    return must(json_array());
}

/* Text that jansson does not take as UTF-8 becomes ASCII, with "?" for every byte above it. */
static char *plain_copy(const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        must(NULL);
    for (char *p = copy; *p; p++) {
        if (*p & 0x80)
            *p = '?';
    }
    return copy;
}

static fl_json *make_text(const char *text)
{
    fl_json *j = json_string(text);
    if (j)
        return j;
    char *copy = plain_copy(text);
    j = must(json_string(copy));
    free(copy);
    return j;
}

static fl_json *make_real(double value)
{
    return must(isfinite(value) ? json_real(value) : json_null());
}

void fl_json_set(fl_json *object, const char *key, fl_json *value)
{
    assert(json_is_object(object) && value && value != object);
    json_incref(value); /* jansson drops one reference also when it fails */
    if (json_object_set_new(object, key, value) == 0) {
        json_decref(value);
        return;
    }
    char *copy = plain_copy(key);
    if (json_object_set_new(object, copy, value) != 0)
        must(NULL);
    free(copy);
}

void fl_json_set_text(fl_json *object, const char *key, const char *text)
{
    fl_json_set(object, key, make_text(text));
}

void fl_json_set_int(fl_json *object, const char *key, int64_t value)
{
    fl_json_set(object, key, must(json_integer(value)));
}

void fl_json_set_bool(fl_json *object, const char *key, bool value)
{
    fl_json_set(object, key, json_boolean(value));
}

void fl_json_set_real(fl_json *object, const char *key, double value)
{
    fl_json_set(object, key, make_real(value));
}

void fl_json_set_null(fl_json *object, const char *key)
{
    fl_json_set(object, key, json_null());
}

void fl_json_push(fl_json *array, fl_json *value)
{
    assert(json_is_array(array) && value && value != array);
    if (json_array_append_new(array, value) != 0)
        must(NULL);
}

void fl_json_push_text(fl_json *array, const char *text)
{
    fl_json_push(array, make_text(text));
}

void fl_json_push_int(fl_json *array, int64_t value)
{
    fl_json_push(array, must(json_integer(value)));
}

void fl_json_push_real(fl_json *array, double value)
{
    fl_json_push(array, make_real(value));
}

const char *fl_json_text(const fl_json *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

bool fl_json_int(const fl_json *object, const char *key, int64_t *out)
{
    const json_t *j = json_object_get(object, key);
    if (!json_is_integer(j))
        return false;
    *out = json_integer_value(j);
    return true;
}

bool fl_json_bool(const fl_json *object, const char *key, bool *out)
{
    const json_t *j = json_object_get(object, key);
    if (!json_is_boolean(j))
        return false;
    *out = json_is_true(j);
    return true;
}

bool fl_json_real(const fl_json *object, const char *key, double *out)
{
    const json_t *j = json_object_get(object, key);
    if (!json_is_number(j))
        return false;
    *out = json_number_value(j);
    return true;
}

fl_json *fl_json_member(const fl_json *object, const char *key)
{
    return json_object_get(object, key);
}

bool fl_json_is_object(const fl_json *j)
{
    return json_is_object(j);
}

bool fl_json_is_array(const fl_json *j)
{
    return json_is_array(j);
}

size_t fl_json_count(const fl_json *array_or_object)
{
    return json_is_object(array_or_object) ? json_object_size(array_or_object) : json_array_size(array_or_object);
}

fl_json *fl_json_at(const fl_json *array, size_t index)
{
    return json_array_get(array, index);
}

const char *fl_json_text_value(const fl_json *string)
{
    return json_string_value(string);
}

double fl_json_real_value(const fl_json *number)
{
    return json_is_number(number) ? json_number_value(number) : NAN;
}

bool fl_json_int_value(const fl_json *integer, int64_t *out)
{
    if (!json_is_integer(integer))
        return false;
    *out = json_integer_value(integer);
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **fl_json_keys(const fl_json *object, size_t *n)
{
    size_t count = json_object_size(object), i = 0;
    const char **keys = malloc((count ? count : 1) * sizeof *keys);
    if (!keys)
        must(NULL);
    json_t *reader = (json_t *)object; /* jansson's iterator wants it writable and does not write */
    for (void *it = json_object_iter(reader); it; it = json_object_iter_next(reader, it))
        keys[i++] = json_object_iter_key(it);
    assert(i == count);
    qsort(keys, count, sizeof *keys, by_bytes);
    *n = count;
    return keys;
}

const char *fl_json_key_at(const fl_json *object, size_t index)
{
    if (index >= json_object_size(object))
        return NULL;
    size_t n;
    const char **keys = fl_json_keys(object, &n);
    const char *key = keys[index];
    free(keys);
    return key;
}

/* One code point from text that jansson has accepted as UTF-8. */
static uint32_t next_point(const unsigned char **p)
{
    const unsigned char *s = *p;
    unsigned extra = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
    uint32_t point = extra == 0 ? s[0] : s[0] & (0x3fu >> extra);
    for (unsigned i = 1; i <= extra; i++)
        point = point << 6 | (s[i] & 0x3f);
    *p = s + 1 + extra;
    return point;
}

static void write_text(fl_buf *out, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    fl_buf_add(out, "\"", 1);
    while (*p) {
        static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: the character, its letter */
        uint32_t c = next_point(&p);
        const char *pair = NULL;
        for (size_t i = 0; i + 1 < sizeof shorts; i += 2) {
            if (c == (unsigned char)shorts[i])
                pair = &shorts[i];
        }
        if (pair)
            fl_buf_printf(out, "\\%c", pair[1]);
        else if (c >= 0x20 && c < 0x7f)
            fl_buf_add(out, &(char){(char)c}, 1);
        else if (c < 0x10000)
            fl_buf_printf(out, "\\u%04x", (unsigned)c);
        else
            fl_buf_printf(out, "\\u%04x\\u%04x", 0xd800 + (unsigned)((c - 0x10000) >> 10),
                          0xdc00 + (unsigned)((c - 0x10000) & 0x3ff));
    }
    fl_buf_add(out, "\"", 1);
}

/* The shortest of 15 to 17 digits that reads back as the same number. */
static void write_real(fl_buf *out, double value)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    fl_buf_add_text(out, text);
    if (!strpbrk(text, ".e"))
        fl_buf_add_text(out, ".0"); /* stays a real for the next reader */
}

typedef struct writer {
    fl_buf *out;
    int indent; /* 0: on one line */
    bool canonical;
    bool refused; /* canonical, and there is a real or a null */
} writer;

static void new_line(const writer *w, int level)
{
    if (w->indent > 0)
        fl_buf_printf(w->out, "\n%*s", level * w->indent, "");
}

static void write_value(writer *w, const json_t *j, int level);

static void write_object(writer *w, const json_t *j, int level)
{
    size_t n;
    const char **keys = fl_json_keys(j, &n);
    fl_buf_add_text(w->out, "{");
    for (size_t i = 0; i < n; i++) {
        if (i)
            fl_buf_add_text(w->out, ",");
        new_line(w, level + 1);
        write_text(w->out, keys[i]);
        fl_buf_add_text(w->out, w->indent > 0 ? ": " : ":");
        write_value(w, json_object_get(j, keys[i]), level + 1);
    }
    if (n)
        new_line(w, level);
    fl_buf_add_text(w->out, "}");
    free(keys);
}

static void write_array(writer *w, const json_t *j, int level)
{
    size_t n = json_array_size(j);
    fl_buf_add_text(w->out, "[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            fl_buf_add_text(w->out, ",");
        new_line(w, level + 1);
        write_value(w, json_array_get(j, i), level + 1);
    }
    if (n)
        new_line(w, level);
    fl_buf_add_text(w->out, "]");
}

static void write_value(writer *w, const json_t *j, int level)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        write_object(w, j, level);
        break;
    case JSON_ARRAY:
        write_array(w, j, level);
        break;
    case JSON_STRING:
        write_text(w->out, json_string_value(j));
        break;
    case JSON_INTEGER:
        fl_buf_printf(w->out, "%lld", (long long)json_integer_value(j));
        break;
    case JSON_TRUE:
        fl_buf_add_text(w->out, "true");
        break;
    case JSON_FALSE:
        fl_buf_add_text(w->out, "false");
        break;
    case JSON_REAL:
        w->refused |= w->canonical;
        write_real(w->out, json_real_value(j));
        break;
    case JSON_NULL:
        w->refused |= w->canonical;
        fl_buf_add_text(w->out, "null");
        break;
    }
}

fl_code fl_json_canonical(fl_buf *out, const fl_json *j, fl_err *err)
{
    writer w = {.out = out, .canonical = true};
    write_value(&w, j, 0);
    if (w.refused)
        return fl_fail(err, FL_EFORMAT, "canonical JSON: a real number or a null inside");
    return fl_buf_check(out, "canonical JSON", err);
}

void fl_json_print(fl_buf *out, const fl_json *j, int indent)
{
    writer w = {.out = out, .indent = indent};
    write_value(&w, j, 0);
}
