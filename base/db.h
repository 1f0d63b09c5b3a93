/*
 * fl_db - sqlite, one connection per file, behind one door.
 *
 * FL_DB_LEDGER: journal DELETE, synchronous EXTRA (a node's store). FL_DB_SERVER: WAL, synchronous FULL (a
 * coordinator's). Path ":memory:" for tests and the simulator. A failed statement rolls its transaction back.
 * One thread. A broken constraint is FL_EREFUSED, a file that another process holds FL_EBUSY; disk full, I/O errors and
 * corruption are FL_EENV with sqlite's words.
 *
 *     fl_query q;
 *     FL_TRY(fl_query_open(&q, db, "SELECT hash FROM model WHERE round = ?", err));
 *     fl_bind_int(&q, 1, round);
 *     while (fl_query_row(&q)) ... fl_column_blob(&q, 0, &n) ...
 *     return fl_query_close(&q, err);          // reports whatever went wrong in between
 */
#ifndef BASE_DB_H
#define BASE_DB_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct fl_db fl_db;
typedef enum fl_db_kind { FL_DB_LEDGER, FL_DB_SERVER } fl_db_kind;

/* Opens or makes the file (mode 0600), runs schema (idempotent: CREATE TABLE IF NOT EXISTS ...), and sets or checks
 * user_version: a file of another version is refused with both numbers. */
fl_code fl_db_open(fl_db **out, const char *path, fl_db_kind kind, const char *schema, int version,
                   fl_err *err) FL_MUST_USE;
void fl_db_close(fl_db *db);

fl_code fl_db_exec(fl_db *db, const char *sql, fl_err *err) FL_MUST_USE; /* no results */
fl_code fl_db_begin(fl_db *db, fl_err *err) FL_MUST_USE;                 /* BEGIN IMMEDIATE */
fl_code fl_db_commit(fl_db *db, fl_err *err) FL_MUST_USE;                /* rolls back when it fails */
void fl_db_rollback(fl_db *db);

typedef struct fl_query {
    fl_db *db;
    void *statement;
    int rc;
} fl_query;

fl_code fl_query_open(fl_query *q, fl_db *db, const char *sql, fl_err *err) FL_MUST_USE;
void fl_bind_int(fl_query *q, int index_from_1, int64_t value);
void fl_bind_text(fl_query *q, int index_from_1, const char *text);            /* copied */
void fl_bind_blob(fl_query *q, int index_from_1, const void *bytes, size_t n); /* copied */
bool fl_query_row(fl_query *q);
int64_t fl_column_int(fl_query *q, int index_from_0);
const char *fl_column_text(fl_query *q, int index_from_0); /* "" for NULL; until the next row */
const void *fl_column_blob(fl_query *q, int index_from_0, size_t *n);
fl_code fl_query_close(fl_query *q, fl_err *err) FL_MUST_USE;
/* Runs to the end without rows of interest (INSERT, UPDATE, DELETE) and closes. Closing again does nothing. */
fl_code fl_query_run(fl_query *q, fl_err *err) FL_MUST_USE;
int64_t fl_db_changes(fl_db *db); /* rows changed by the last INSERT, UPDATE, DELETE */

#endif
