/*
 * JSON (jansson). Reading refuses duplicate keys, trailing bytes, more than 32 levels and more than
 * FL_JSON_MAX bytes. The top is an object or an array.
 * Canonical text: keys sorted bytewise, no spaces, ASCII only (others as \uXXXX), only objects, arrays, strings,
 * integers and booleans: what the ledger and the plan are written in. A real number there is a decimal string.
 * It is the text of Python's json.dumps(x, sort_keys=True, separators=(",", ":")).
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"

#define FL_JSON_MAX ((size_t)64 << 20)

typedef struct json_t fl_json; /* jansson's own type; its header stays in json.c */

fl_code fl_json_parse(fl_json **out, const char *text, size_t n, const char *name, fl_err *err) FL_MUST_USE;
void fl_json_free(fl_json *j); /* NULL is fine */

fl_json *fl_json_object(void);
fl_json *fl_json_array(void);
/* Setters take ownership of value objects, copy texts; out of memory aborts the program. Text that is not UTF-8 is
 * replaced by "?". */
void fl_json_set(fl_json *object, const char *key, fl_json *value);
void fl_json_set_text(fl_json *object, const char *key, const char *text);
void fl_json_set_int(fl_json *object, const char *key, int64_t value);
void fl_json_set_bool(fl_json *object, const char *key, bool value);
void fl_json_set_real(fl_json *object, const char *key, double value); /* not finite: null */
void fl_json_set_null(fl_json *object, const char *key);
void fl_json_push(fl_json *array, fl_json *value);
void fl_json_push_text(fl_json *array, const char *text);
void fl_json_push_int(fl_json *array, int64_t value);
void fl_json_push_real(fl_json *array, double value);

/* Getters; a missing key or another type gives NULL / false and leaves *out alone. */
const char *fl_json_text(const fl_json *object, const char *key);
bool fl_json_int(const fl_json *object, const char *key, int64_t *out);
bool fl_json_bool(const fl_json *object, const char *key, bool *out);
bool fl_json_real(const fl_json *object, const char *key, double *out); /* integers too */
fl_json *fl_json_member(const fl_json *object, const char *key);        /* borrowed */
bool fl_json_is_object(const fl_json *j);
bool fl_json_is_array(const fl_json *j);
size_t fl_json_count(const fl_json *array_or_object);
fl_json *fl_json_at(const fl_json *array, size_t index);      /* borrowed */
const char *fl_json_text_value(const fl_json *string);        /* NULL if not a string */
double fl_json_real_value(const fl_json *number);             /* integers too; NaN if not a number */
bool fl_json_int_value(const fl_json *integer, int64_t *out); /* false if not an integer; NULL is fine */
/* All keys in sorted order; the array is the caller's to free, the texts are the object's. */
const char **fl_json_keys(const fl_json *object, size_t *n);
/* The key at position i in sorted order, NULL past the end: to refuse unknown members. */
const char *fl_json_key_at(const fl_json *object, size_t index);

/* Canonical text; a real or null inside is FL_EFORMAT. */
fl_code fl_json_canonical(fl_buf *out, const fl_json *j, fl_err *err) FL_MUST_USE;
/* For people and pipes: reals with %.17g shortened, sorted keys, indented when indent > 0. */
void fl_json_print(fl_buf *out, const fl_json *j, int indent);

#endif
