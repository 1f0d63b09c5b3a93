/*
 * fl_csv - records of a CSV (RFC 4180): quoted fields, "" for a quote, LF or CRLF, an optional UTF-8 mark.
 *
 * Reads in place: text must be writable and text[n] a byte of it (as fl_buf keeps it); fields are 0-terminated texts
 * inside it that die with it.
 */
#ifndef BASE_CSV_H
#define BASE_CSV_H

#include "base/err.h"
#include <stdbool.h>

#define FL_CSV_MAX_FIELDS 512

typedef struct fl_csv {
    char *at, *end;
    size_t line;        /* of the next record, from 1 */
    size_t record_line; /* of this one */
    char *fields[FL_CSV_MAX_FIELDS];
    size_t n_fields;
    const char *wrong;  /* why this record cannot be used; NULL: it can */
    bool is_open_quote; /* the file ends inside quotes */
} fl_csv;

void fl_csv_init(fl_csv *r, char *text, size_t n);
bool fl_csv_next(fl_csv *r);           /* false: no more */
bool fl_csv_is_blank(const fl_csv *r); /* an empty line */
/* The index of the field of this record whose text is name (any case), or -1: for the header. */
int fl_csv_find(const fl_csv *r, const char *name);

#endif
