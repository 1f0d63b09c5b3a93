/*
 * INI files (inih), read through a table.
 *
 * A key is one row: section, key, type, where it goes, range, default, a sentence. The checker, the commented sample
 * (fl_config_sample) and the manual's table are printed from the rows. An unknown section or key, a key twice, a line
 * too long (more than 4000 bytes), a control character, a key without value (a text whose min is 0 may be empty), a
 * missing key without default, a value of another type or out of range is FL_EFORMAT:
 *      path:line: [section] key: what is wrong (with the nearest known key).
 * A comment stands on its own line behind # or ;, or behind a value and " ;".
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include "base/buf.h"

typedef enum fl_config_type {
    FL_CONFIG_TEXT,    /* char[size]; min..max is the length */
    FL_CONFIG_INT,     /* int64_t */
    FL_CONFIG_REAL,    /* double, finite decimal */
    FL_CONFIG_DECIMAL, /* char[size]: the decimal text itself, 0.05 or 5e-2, checked as a number in [min, max]; at most 18
                        * digits before the e */
    FL_CONFIG_BOOL,    /* bool: yes, no, true, false, on, off */
    FL_CONFIG_CHOICE, /* int: index into choices, "a|b|c" */
} fl_config_type;

typedef struct fl_config_row {
    const char *section, *key;
    fl_config_type type;
    size_t offset, size;  /* in the caller's struct */
    double min, max;      /* both 0: no range (a text: as long as fits) */
    const char *fallback; /* NULL: the key must be there */
    const char *choices;
    const char *help; /* one sentence */
    bool or_auto;     /* INT, REAL, DECIMAL: also the word "auto"; INT: INT64_MIN, REAL: NaN, DECIMAL: "auto" */
} fl_config_row;

/* Fills *out (caller zeroes it). text is the file's content, name stands in messages. */
fl_code fl_config_parse(void *out, const fl_config_row *rows, size_t n_rows, const char *text, const char *name,
                        fl_err *err) FL_MUST_USE;
fl_code fl_config_load(void *out, const fl_config_row *rows, size_t n_rows, const char *path, fl_err *err) FL_MUST_USE;
/* The commented sample: each key with its sentence, range and default, or with the value of *values (may be NULL; a text in it
 * has no line break and no " ;"). */
void fl_config_sample(fl_buf *out, const fl_config_row *rows, size_t n_rows, const void *values);

#endif
