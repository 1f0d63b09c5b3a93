/*
 * inih finds sections, keys and values; this file sees to what it would let pass: it hands inih one checked line at a
 * time, so that no line is longer than inih's buffer and each error has its line number.
 */
#include "base/config.h"

#include "base/file.h"
#include "base/nearest.h"

#include <assert.h>
#include <ini.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_LINE 4000
#define MAX_FILE ((size_t)1 << 20)
#define MAX_NAME 48 /* inih cuts names of sections and keys at 49 bytes */
#define MAX_ROWS 256

typedef struct reader {
    void *out;
    const fl_config_row *rows;
    size_t n_rows;
    const char *next; /* the line that inih asks for next */
    const char *name;
    int line;               /* the number of the line at hand */
    int line_of[MAX_ROWS];  /* where the row's key stands; 0: not yet */
    char section[MAX_LINE]; /* the section at hand, for messages */
    fl_err *err;
    fl_code code;
} reader;

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* -?[0-9]+(.[0-9]+)?([eE][+-]?[0-9]+)? and nothing else: no nan, no inf, no hexadecimal, no spaces. */
static bool is_number(const char *s, bool fraction, bool exponent, size_t *n_digits)
{
    size_t n = 0;
    s += *s == '-';
    if (!is_digit(*s))
        return false;
    for (; is_digit(*s); s++)
        n++;
    if (fraction && *s == '.') {
        if (!is_digit(*++s))
            return false;
        for (; is_digit(*s); s++)
            n++;
    }
    if (exponent && (*s == 'e' || *s == 'E')) {
        s++;
        s += *s == '+' || *s == '-';
        if (!is_digit(*s))
            return false;
        while (is_digit(*s))
            s++;
    }
    *n_digits = n;
    return *s == 0;
}

static bool has_range(const fl_config_row *row)
{
    return row->min != 0 || row->max != 0;
}

static bool in_range(const fl_config_row *row, double value)
{
    return !has_range(row) || (value >= row->min && value <= row->max);
}

/* What may stand there, for messages and the sample. */
static void describe(fl_buf *b, const fl_config_row *row)
{
    switch (row->type) {
    case FL_CONFIG_TEXT:
        fl_buf_printf(b, "text of %.0f to %zu bytes", row->min,
                      row->max > 0 && row->max < (double)row->size ? (size_t)row->max : row->size - 1);
        break;
    case FL_CONFIG_BOOL:
        fl_buf_add_text(b, "yes or no");
        break;
    case FL_CONFIG_CHOICE:
        fl_buf_printf(b, "one of %s", row->choices);
        break;
    case FL_CONFIG_INT:
    case FL_CONFIG_REAL:
    case FL_CONFIG_DECIMAL:
        fl_buf_add_text(b, row->type == FL_CONFIG_INT ? "a whole number" : "a number");
        if (has_range(row))
            fl_buf_printf(b, " from %.15g to %.15g", row->min, row->max);
        if (row->or_auto)
            fl_buf_add_text(b, ", or auto");
        break;
    }
}

static bool set_text(void *at, const fl_config_row *row, const char *value)
{
    size_t n = strlen(value);
    if (n >= row->size || (double)n < row->min || (row->max > 0 && (double)n > row->max))
        return false;
    memcpy(at, value, n + 1);
    return true;
}

static bool set_int(int64_t *at, const fl_config_row *row, const char *value)
{
    size_t n_digits;
    if (row->or_auto && strcmp(value, "auto") == 0) {
        *at = INT64_MIN;
        return true;
    }
    if (!is_number(value, false, false, &n_digits) || n_digits > 18) /* 18 digits always fit */
        return false;
    long long number = strtoll(value, NULL, 10);
    if (!in_range(row, (double)number))
        return false;
    *at = number;
    return true;
}

static bool set_real(double *at, const fl_config_row *row, const char *value)
{
    size_t n_digits;
    if (row->or_auto && strcmp(value, "auto") == 0) {
        *at = NAN;
        return true;
    }
    if (!is_number(value, true, true, &n_digits))
        return false;
    double number = strtod(value, NULL);
    if (!isfinite(number) || !in_range(row, number))
        return false;
    *at = number;
    return true;
}

static bool set_decimal(char *at, const fl_config_row *row, const char *value)
{
    size_t n_digits, n = strlen(value);
    bool is_auto = row->or_auto && strcmp(value, "auto") == 0;
    if (n >= row->size)
        return false;
    if (!is_auto && (!is_number(value, true, true, &n_digits) || n_digits > 18 || !in_range(row, strtod(value, NULL))))
        return false;
    memcpy(at, value, n + 1);
    return true;
}

static bool set_bool(bool *at, const char *value)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
    for (size_t i = 0; i < 6; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *at = i % 2;
            return true;
        }
    }
    return false;
}

static bool set_choice(int *at, const fl_config_row *row, const char *value)
{
    size_t n = strlen(value);
    const char *choice = row->choices;
    for (int i = 0; n > 0; i++) {
        size_t length = strcspn(choice, "|");
        if (length == n && memcmp(choice, value, n) == 0) {
            *at = i;
            return true;
        }
        if (choice[length] == 0)
            break;
        choice += length + 1;
    }
    return false;
}

static bool set_value(void *out, const fl_config_row *row, const char *value)
{
    void *at = (char *)out + row->offset;
    switch (row->type) {
    case FL_CONFIG_TEXT:
        return set_text(at, row, value);
    case FL_CONFIG_INT:
        return set_int(at, row, value);
    case FL_CONFIG_REAL:
        return set_real(at, row, value);
    case FL_CONFIG_DECIMAL:
        return set_decimal(at, row, value);
    case FL_CONFIG_BOOL:
        return set_bool(at, value);
    case FL_CONFIG_CHOICE:
        return set_choice(at, row, value);
    }
    return false;
}

static void fail_unknown_section(reader *r)
{
    fl_nearest nearest = {.word = r->section};
    for (size_t i = 0; i < r->n_rows; i++)
        fl_nearest_try(&nearest, r->rows[i].section);
    const char *best = fl_nearest_best(&nearest);
    r->code = fl_fail(r->err, FL_EFORMAT, "%s:%d: [%.60s]: there is no such section%s%s%s", r->name, r->line,
                      r->section, best ? ": did you mean [" : "", best ? best : "", best ? "]?" : "");
}

static void fail_unknown_key(reader *r, const char *section, const char *key)
{
    const char *elsewhere = NULL;
    fl_nearest nearest = {.word = key};
    for (size_t i = 0; i < r->n_rows; i++) {
        if (strcmp(r->rows[i].section, section) == 0)
            fl_nearest_try(&nearest, r->rows[i].key);
        else if (strcmp(r->rows[i].key, key) == 0)
            elsewhere = r->rows[i].section;
    }
    const char *best = fl_nearest_best(&nearest);
    if (elsewhere && !best)
        r->code = fl_fail(r->err, FL_EFORMAT, "%s:%d: [%s] %s: there is no such key here: it belongs to [%s]", r->name,
                          r->line, section, key, elsewhere);
    else
        r->code = fl_fail(r->err, FL_EFORMAT, "%s:%d: [%s] %s: there is no such key%s%s%s", r->name, r->line, section,
                          key, best ? ": did you mean " : "", best ? best : "", best ? "?" : "");
}

static void take_value(reader *r, const fl_config_row *row, const char *value)
{
    if (*value == 0 && !(row->type == FL_CONFIG_TEXT && row->min <= 0)) {
        r->code = fl_fail(r->err, FL_EFORMAT, "%s:%d: [%s] %s: has no value", r->name, r->line, row->section, row->key);
        return;
    }
    if (set_value(r->out, row, value))
        return;
    fl_buf expected;
    fl_buf_init(&expected, 256);
    describe(&expected, row);
    r->code = fl_fail(r->err, FL_EFORMAT, "%s:%d: [%s] %s: is '%.60s', expected %s", r->name, r->line, row->section,
                      row->key, value, fl_buf_text(&expected));
    fl_buf_fini(&expected);
}

static int handle(void *user, const char *section, const char *key, const char *value)
{
    reader *r = user;
    for (size_t i = 0; i < r->n_rows; i++) {
        const fl_config_row *row = &r->rows[i];
        if (strcmp(row->section, section) != 0 || strcmp(row->key, key) != 0)
            continue;
        if (r->line_of[i])
            r->code = fl_fail(r->err, FL_EFORMAT, "%s:%d: [%s] %s: stands a second time, first in line %d", r->name,
                              r->line, section, key, r->line_of[i]);
        else
            take_value(r, row, value);
        r->line_of[i] = r->line;
        return r->code == FL_OK;
    }
    if (*section == 0)
        r->code = fl_fail(r->err, FL_EFORMAT, "%s:%d: %s: stands before the first [section]", r->name, r->line, key);
    else
        fail_unknown_key(r, section, key);
    return 0;
}

/* inih says nothing about a section without keys and about what follows its bracket. */
static void check_section(reader *r, const char *line, size_t n)
{
    const char *end = memchr(line, ']', n);
    if (!end)
        return; /* inih refuses it */
    size_t length = (size_t)(end - line) - 1;
    memcpy(r->section, line + 1, length);
    r->section[length] = 0;
    const char *rest = end + 1, *stop = line + n;
    while (rest < stop && strchr(" \t\r", *rest))
        rest++;
    if (rest < stop && *rest != ';' && *rest != '#') {
        r->code = fl_fail(r->err, FL_EFORMAT, "%s:%d: [%.60s]: is followed by something else", r->name, r->line,
                          r->section);
        return;
    }
    for (size_t i = 0; i < r->n_rows; i++) {
        if (strcmp(r->rows[i].section, r->section) == 0)
            return;
    }
    fail_unknown_section(r);
}

static void check_line(reader *r, const char *line, size_t n)
{
    if (n > MAX_LINE) {
        r->code = fl_fail(r->err, FL_EFORMAT, "%s:%d: %s%s%sthe line has %zu bytes, expected at most %d", r->name,
                          r->line, r->section[0] ? "[" : "", r->section, r->section[0] ? "]: " : "", n, MAX_LINE);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)line[i];
        if ((c < 0x20 && c != '\t' && !(c == '\r' && i + 1 == n)) || c == 0x7f) {
            r->code = fl_fail(r->err, FL_EFORMAT, "%s:%d: a control character (byte %u) in the line", r->name, r->line,
                              c);
            return;
        }
    }
    while (n && (*line == ' ' || *line == '\t')) {
        line++;
        n--;
    }
    if (n && *line == '[')
        check_section(r, line, n);
}

/* Like fgets: one line into text, NULL at the end or when the line is refused. */
static char *next_line(char *text, int size, void *stream)
{
    reader *r = stream;
    if (r->code != FL_OK || *r->next == 0)
        return NULL;
    size_t n = strcspn(r->next, "\n");
    r->line++;
    check_line(r, r->next, n);
    if (r->code != FL_OK)
        return NULL;
    assert(n < (size_t)size); /* MAX_LINE < ini_max_line */
    memcpy(text, r->next, n);
    text[n] = 0;
    r->next += n + (r->next[n] == '\n');
    return text;
}

static pthread_mutex_t inih_mutex = PTHREAD_MUTEX_INITIALIZER; /* inih's settings are global variables */

static int run_inih(reader *r)
{
    pthread_mutex_lock(&inih_mutex);
    ini_use_stack = false;
    ini_allow_realloc = false;
    ini_max_line = ini_initial_alloc = MAX_LINE + 8;
    ini_allow_multiline = false;
    ini_allow_bom = false; /* taken off before */
    ini_allow_no_value = false;
    ini_stop_on_first_error = true;
    int rc = ini_parse_stream(next_line, r, handle, r);
    pthread_mutex_unlock(&inih_mutex);
    return rc;
}

static fl_code fill_missing(reader *r)
{
    for (size_t i = 0; i < r->n_rows; i++) {
        const fl_config_row *row = &r->rows[i];
        if (r->line_of[i])
            continue;
        if (!row->fallback)
            return fl_fail(r->err, FL_EFORMAT, "%s: [%s] %s: is missing: %s", r->name, row->section, row->key,
                           row->help);
        bool ok = set_value(r->out, row, row->fallback);
        assert(ok); /* a default that its own row refuses */
        (void)ok;
    }
    return FL_OK;
}

fl_code fl_config_parse(void *out, const fl_config_row *rows, size_t n_rows, const char *text, const char *name,
                        fl_err *err)
{
    assert(n_rows <= MAX_ROWS);
    for (size_t i = 0; i < n_rows; i++)
        assert(strlen(rows[i].section) <= MAX_NAME && strlen(rows[i].key) <= MAX_NAME);
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3;
    reader r = {.out = out, .rows = rows, .n_rows = n_rows, .next = text, .name = name, .err = err};
    int rc = run_inih(&r);
    if (r.code != FL_OK)
        return r.code;
    if (rc == -2)
        return fl_fail(err, FL_EENV, "%s: no memory left", name);
    if (rc != 0)
        return fl_fail(err, FL_EFORMAT, "%s:%d: expected [section], key = value or a comment", name, rc);
    return fill_missing(&r);
}

fl_code fl_config_load(void *out, const fl_config_row *rows, size_t n_rows, const char *path, fl_err *err)
{
    fl_buf text;
    fl_buf_init(&text, MAX_FILE);
    fl_code code = fl_file_read(&text, path, err);
    if (code == FL_OK && strlen(fl_buf_text(&text)) != text.size)
        code = fl_fail(err, FL_EFORMAT, "%s: has a NUL byte: is not a text file", path);
    if (code == FL_OK)
        code = fl_config_parse(out, rows, n_rows, fl_buf_text(&text), path, err);
    fl_buf_fini(&text);
    return code;
}

static void print_real(fl_buf *out, double value)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    fl_buf_add_text(out, text);
}

static void print_choice(fl_buf *out, const char *choices, int index)
{
    for (; index > 0; index--)
        choices += strcspn(choices, "|") + 1;
    fl_buf_add(out, choices, strcspn(choices, "|"));
}

static void print_value(fl_buf *out, const fl_config_row *row, const void *values)
{
    const void *at = (const char *)values + row->offset;
    switch (row->type) {
    case FL_CONFIG_TEXT:
    case FL_CONFIG_DECIMAL:
        fl_buf_add_text(out, at);
        break;
    case FL_CONFIG_INT:
        if (row->or_auto && *(const int64_t *)at == INT64_MIN)
            fl_buf_add_text(out, "auto");
        else
            fl_buf_printf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case FL_CONFIG_REAL:
        if (row->or_auto && isnan(*(const double *)at))
            fl_buf_add_text(out, "auto");
        else
            print_real(out, *(const double *)at);
        break;
    case FL_CONFIG_BOOL:
        fl_buf_add_text(out, *(const bool *)at ? "yes" : "no");
        break;
    case FL_CONFIG_CHOICE:
        print_choice(out, row->choices, *(const int *)at);
        break;
    }
}

void fl_config_sample(fl_buf *out, const fl_config_row *rows, size_t n_rows, const void *values)
{
    const char *section = "";
    for (size_t i = 0; i < n_rows; i++) {
        const fl_config_row *row = &rows[i];
        if (strcmp(section, row->section) != 0)
            fl_buf_printf(out, "%s[%s]\n", i ? "\n" : "", row->section);
        section = row->section;
        fl_buf_printf(out, "# %s\n# ", row->help);
        describe(out, row);
        if (!row->fallback)
            fl_buf_add_text(out, "; must be given\n");
        else if (*row->fallback)
            fl_buf_printf(out, "; default %s\n", row->fallback);
        else
            fl_buf_add_text(out, "; default empty\n");
        fl_buf value;
        fl_buf_init(&value, MAX_LINE);
        if (values)
            print_value(&value, row, values);
        else
            fl_buf_add_text(&value, row->fallback ? row->fallback : "");
        const char *text = fl_buf_text(&value); /* " ;" would begin a comment */
        fl_buf_printf(out, "%s =%s%s\n", row->key, *text && *text != ';' ? " " : "", text);
        out->failed |= value.failed;
        fl_buf_fini(&value);
    }
}
