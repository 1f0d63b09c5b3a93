#include "base/db.h"

#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fl_db {
    sqlite3 *sqlite;
    char *path;
};

static fl_code code_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return FL_EBUSY;
    case SQLITE_CONSTRAINT:
        return FL_EREFUSED;
    default:
        return FL_EENV;
    }
}

/* sqlite's words; its messages name tables and columns, never values. */
static fl_code fail(fl_db *db, int rc, fl_err *err)
{
    const char *words = sqlite3_extended_errcode(db->sqlite) == rc ? sqlite3_errmsg(db->sqlite) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_NOTADB:
        return fl_fail(err, FL_EENV, "%s: is not a database: put the file of a backup in its place", db->path);
    case SQLITE_CORRUPT:
        return fl_fail(err, FL_EENV, "%s: is damaged (%s): put the file of a backup in its place", db->path, words);
    default:
        return fl_fail(err, code_of(rc), "%s: %s", db->path, words);
    }
}

fl_code fl_db_exec(fl_db *db, const char *sql, fl_err *err)
{
    int rc = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return FL_OK;
    fl_code code = fail(db, rc, err);
    fl_db_rollback(db);
    return code;
}

fl_code fl_db_begin(fl_db *db, fl_err *err)
{
    assert(sqlite3_get_autocommit(db->sqlite)); /* transactions do not nest */
    return fl_db_exec(db, "BEGIN IMMEDIATE", err);
}

fl_code fl_db_commit(fl_db *db, fl_err *err)
{
    if (sqlite3_get_autocommit(db->sqlite))
        return fl_fail(err, FL_EENV, "%s: the transaction was rolled back before its commit", db->path);
    return fl_db_exec(db, "COMMIT", err);
}

void fl_db_rollback(fl_db *db)
{
    if (!sqlite3_get_autocommit(db->sqlite))
        sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
}

int64_t fl_db_changes(fl_db *db)
{
    return sqlite3_changes64(db->sqlite);
}

fl_code fl_query_open(fl_query *q, fl_db *db, const char *sql, fl_err *err)
{
    *q = (fl_query){.db = db};
    sqlite3_stmt *statement = NULL;
    const char *tail = NULL;
    int rc = sqlite3_prepare_v2(db->sqlite, sql, -1, &statement, &tail);
    if (rc != SQLITE_OK) {
        fl_code code = fail(db, rc, err);
        fl_db_rollback(db);
        return code;
    }
    assert(statement && tail && tail[strspn(tail, " \n\t;")] == 0); /* one statement */
    q->statement = statement;
    return FL_OK;
}

static void bound(fl_query *q, int rc)
{
    assert(rc != SQLITE_RANGE && rc != SQLITE_MISUSE); /* an index the statement has, before its first row */
    if (q->rc == SQLITE_OK)
        q->rc = rc;
}

void fl_bind_int(fl_query *q, int index_from_1, int64_t value)
{
    bound(q, sqlite3_bind_int64(q->statement, index_from_1, value));
}

void fl_bind_text(fl_query *q, int index_from_1, const char *text)
{
    bound(q, sqlite3_bind_text(q->statement, index_from_1, text, -1, SQLITE_TRANSIENT));
}

void fl_bind_blob(fl_query *q, int index_from_1, const void *bytes, size_t n)
{
    bound(q, sqlite3_bind_blob64(q->statement, index_from_1, n ? bytes : "", n, SQLITE_TRANSIENT));
}

bool fl_query_row(fl_query *q)
{
    if (!q->statement || (q->rc != SQLITE_OK && q->rc != SQLITE_ROW))
        return false;
    q->rc = sqlite3_step(q->statement);
    return q->rc == SQLITE_ROW;
}

int64_t fl_column_int(fl_query *q, int index_from_0)
{
    assert(q->rc == SQLITE_ROW && index_from_0 < sqlite3_column_count(q->statement));
    return sqlite3_column_int64(q->statement, index_from_0);
}

const char *fl_column_text(fl_query *q, int index_from_0)
{
    assert(q->rc == SQLITE_ROW && index_from_0 < sqlite3_column_count(q->statement));
    const unsigned char *text = sqlite3_column_text(q->statement, index_from_0);
    return text ? (const char *)text : "";
}

const void *fl_column_blob(fl_query *q, int index_from_0, size_t *n)
{
    assert(q->rc == SQLITE_ROW && index_from_0 < sqlite3_column_count(q->statement));
    const void *bytes = sqlite3_column_blob(q->statement, index_from_0);
    *n = (size_t)sqlite3_column_bytes(q->statement, index_from_0);
    return bytes ? bytes : "";
}

fl_code fl_query_close(fl_query *q, fl_err *err)
{
    if (!q || !q->statement)
        return FL_OK;
    int rc = q->rc;
    bool failed = rc != SQLITE_OK && rc != SQLITE_ROW && rc != SQLITE_DONE;
    fl_code code = failed ? fail(q->db, rc, err) : FL_OK;
    sqlite3_finalize(q->statement);
    if (failed)
        fl_db_rollback(q->db);
    *q = (fl_query){0};
    return code;
}

fl_code fl_query_run(fl_query *q, fl_err *err)
{
    while (fl_query_row(q))
        ;
    return fl_query_close(q, err);
}

/* The first column of the first row. */
static fl_code ask_int(fl_db *db, const char *sql, int64_t *out, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, db, sql, err));
    if (fl_query_row(&q))
        *out = fl_column_int(&q, 0);
    return fl_query_close(&q, err);
}

static fl_code expect_text(fl_db *db, const char *sql, const char *expected, fl_err *err)
{
    char is[200] = "";
    fl_query q;
    FL_TRY(fl_query_open(&q, db, sql, err));
    if (fl_query_row(&q))
        snprintf(is, sizeof is, "%s", fl_column_text(&q, 0));
    FL_TRY(fl_query_close(&q, err));
    if (strcmp(is, expected) != 0)
        return fl_fail(err, FL_EENV, "%s: %s gives '%s', expected '%s'", db->path, sql, is, expected);
    return FL_OK;
}

static fl_code set_up(fl_db *db, fl_db_kind kind, fl_err *err)
{
    bool in_memory = strcmp(db->path, ":memory:") == 0;
    sqlite3_busy_timeout(db->sqlite, 2000);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    FL_TRY(fl_db_exec(db, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA foreign_keys = ON", err));
    if (kind == FL_DB_LEDGER) {
        /* withdrawn rows are overwritten, not only forgotten */
        FL_TRY(fl_db_exec(db, "PRAGMA synchronous = EXTRA; PRAGMA secure_delete = ON", err));
        FL_TRY(expect_text(db, "PRAGMA journal_mode = DELETE", in_memory ? "memory" : "delete", err));
    } else {
        FL_TRY(fl_db_exec(db, "PRAGMA synchronous = FULL", err));
        FL_TRY(expect_text(db, "PRAGMA journal_mode = WAL", in_memory ? "memory" : "wal", err));
    }
    if (fl_files_are_scratch())
        FL_TRY(fl_db_exec(db, "PRAGMA synchronous = OFF", err));
    return expect_text(db, "PRAGMA quick_check(1)", "ok", err);
}

static fl_code make_schema(fl_db *db, const char *schema, int version, fl_err *err)
{
    int64_t is = 0, n_tables = 0;
    FL_TRY(ask_int(db, "PRAGMA user_version", &is, err));
    FL_TRY(ask_int(db, "SELECT count(*) FROM sqlite_schema", &n_tables, err));
    if (is != version && (is != 0 || n_tables != 0))
        return fl_fail(err, FL_EENV, "%s: has format version %lld, this program needs %d: use the program that made it",
                       db->path, (long long)is, version);
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", version);
    FL_TRY(fl_db_begin(db, err));
    FL_TRY(fl_db_exec(db, schema, err));
    if (is != version)
        FL_TRY(fl_db_exec(db, sql, err));
    return fl_db_commit(db, err);
}

/* sqlite would make it with the umask's rights; its journals take the rights of the file. */
static fl_code make_file(const char *path, fl_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno != EEXIST)
        return fl_fail(err, FL_EENV, "%s: cannot make the database: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return FL_OK;
}

fl_code fl_db_open(fl_db **out, const char *path, fl_db_kind kind, const char *schema, int version, fl_err *err)
{
    assert(version >= 1);
    *out = NULL;
    if (strcmp(path, ":memory:") != 0)
        FL_TRY(make_file(path, err));
    fl_db *db = calloc(1, sizeof *db);
    if (db)
        db->path = strdup(path);
    if (!db || !db->path) {
        free(db);
        return fl_fail(err, FL_EENV, "%s: no memory left", path);
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(path, &db->sqlite, flags, NULL);
    fl_code code = rc == SQLITE_OK ? FL_OK
                   : db->sqlite    ? fail(db, rc, err)
                                   : fl_fail(err, FL_EENV, "%s: no memory left", path);
    if (code == FL_OK)
        code = set_up(db, kind, err);
    if (code == FL_OK)
        code = make_schema(db, schema, version, err);
    if (code != FL_OK) {
        fl_db_close(db);
        return code;
    }
    *out = db;
    return FL_OK;
}

void fl_db_close(fl_db *db)
{
    if (!db)
        return;
    int rc = sqlite3_close(db->sqlite);
    assert(rc == SQLITE_OK); /* every query was closed */
    (void)rc;
    free(db->path);
    free(db);
}
