#include "base/csv.h"

#include <string.h>
#include <strings.h>

void fl_csv_init(fl_csv *r, char *text, size_t n)
{
    memset(r, 0, sizeof *r);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3, n -= 3;
    r->at = text;
    r->end = text + n;
    r->line = 1;
}

static void end_of_line(fl_csv *r)
{
    if (r->at < r->end && *r->at == '\r')
        r->at++;
    if (r->at < r->end && *r->at == '\n')
        r->at++;
    r->line++;
}

/* At the character behind an opening quote. Returns the end of the text that was moved to `to`. */
static char *quoted(fl_csv *r, char *to)
{
    for (; r->at < r->end; r->at++) {
        if (*r->at == '\n')
            r->line++;
        if (*r->at == '"') {
            if (r->at + 1 >= r->end || r->at[1] != '"') {
                r->at++;
                return to;
            }
            r->at++;
        }
        *to++ = *r->at;
    }
    r->is_open_quote = true;
    return to;
}

static bool ends_field(const fl_csv *r)
{
    if (r->at == r->end || *r->at == ',' || *r->at == '\n')
        return true;
    return *r->at == '\r' && (r->at + 1 == r->end || r->at[1] == '\n');
}

/* Returns whether the record has another field. */
static bool read_field(fl_csv *r)
{
    char *start = r->at, *to = start;
    if (r->at < r->end && *r->at == '"') {
        r->at++;
        to = quoted(r, to);
        if (!ends_field(r))
            r->wrong = "text behind a closing quote";
    }
    for (; !ends_field(r); r->at++) {
        if (*r->at == '"' && !r->wrong)
            r->wrong = "a quote inside a field that does not begin with one";
        *to++ = *r->at;
    }
    if (r->n_fields < FL_CSV_MAX_FIELDS)
        r->fields[r->n_fields++] = start;
    else
        r->wrong = "too many fields";
    const bool more = r->at < r->end && *r->at == ',';
    if (more)
        r->at++;
    else
        end_of_line(r);
    *to = 0; /* to is at or before the character that ended the field, which was read already */
    return more;
}

bool fl_csv_next(fl_csv *r)
{
    if (r->at >= r->end)
        return false;
    r->record_line = r->line;
    r->n_fields = 0;
    r->wrong = NULL;
    while (read_field(r))
        ;
    return true;
}

bool fl_csv_is_blank(const fl_csv *r)
{
    return r->n_fields == 1 && r->fields[0][0] == 0;
}

int fl_csv_find(const fl_csv *r, const char *name)
{
    for (size_t i = 0; i < r->n_fields; i++)
        if (strcasecmp(r->fields[i], name) == 0)
            return (int)i;
    return -1;
}
