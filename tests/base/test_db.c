#include "tests/base/test.h"

#include "base/db.h"
#include "base/file.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char schema[] = "CREATE TABLE IF NOT EXISTS kind (id INTEGER PRIMARY KEY);"
                             "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, kind INTEGER REFERENCES kind,"
                             " name TEXT UNIQUE, bytes BLOB);";

static fl_db *open_db(const char *path, fl_db_kind kind)
{
    fl_err err;
    fl_db *db;
    assert_ok(fl_db_open(&db, path, kind, schema, 3, &err), err);
    return db;
}

static int64_t ask(fl_db *db, const char *sql)
{
    fl_err err;
    fl_query q;
    assert_ok(fl_query_open(&q, db, sql, &err), err);
    assert_true(fl_query_row(&q));
    int64_t value = fl_column_int(&q, 0);
    assert_ok(fl_query_close(&q, &err), err);
    return value;
}

static fl_code insert(fl_db *db, int64_t id, const char *name, const void *bytes, size_t n, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, db, "INSERT INTO item (id, name, bytes) VALUES (?, ?, ?)", err));
    fl_bind_int(&q, 1, id);
    fl_bind_text(&q, 2, name);
    fl_bind_blob(&q, 3, bytes, n);
    return fl_query_run(&q, err);
}

static void rows_come_back_as_they_went(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX];
    struct stat st;
    size_t n;
    fl_db *db = open_db(fl_path(path, *state, "a.db"), FL_DB_LEDGER);
    assert_ok(insert(db, INT64_MIN, "x", "a\0b", 3, &err), err);
    assert_int_equal(fl_db_changes(db), 1);
    assert_ok(insert(db, 2, NULL, "", 0, &err), err);
    fl_db_close(db);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    db = open_db(path, FL_DB_LEDGER);
    fl_query q;
    assert_ok(fl_query_open(&q, db, "SELECT id, name, bytes FROM item ORDER BY id", &err), err);
    assert_true(fl_query_row(&q));
    assert_true(fl_column_int(&q, 0) == INT64_MIN);
    assert_string_equal(fl_column_text(&q, 1), "x");
    assert_memory_equal(fl_column_blob(&q, 2, &n), "a\0b", 3);
    assert_int_equal(n, 3);
    assert_true(fl_query_row(&q));
    assert_string_equal(fl_column_text(&q, 1), "");
    assert_non_null(fl_column_blob(&q, 2, &n));
    assert_int_equal(n, 0);
    assert_false(fl_query_row(&q));
    assert_ok(fl_query_close(&q, &err), err);
    assert_ok(fl_query_close(&q, &err), err);
    fl_db_close(db);
    fl_db_close(NULL);
}

static void each_kind_has_its_pragmas(void **state)
{
    char path[FL_PATH_MAX];
    for (int kind = FL_DB_LEDGER; kind <= FL_DB_SERVER; kind++) {
        fl_db *db = open_db(fl_path(path, *state, kind == FL_DB_LEDGER ? "ledger" : "server"), (fl_db_kind)kind);
        assert_int_equal(ask(db, "PRAGMA synchronous"), kind == FL_DB_LEDGER ? 3 : 2);
        assert_int_equal(ask(db, "PRAGMA foreign_keys"), 1);
        assert_int_equal(ask(db, "PRAGMA trusted_schema"), 0);
        assert_int_equal(ask(db, "PRAGMA user_version"), 3);
        assert_int_equal(ask(db, kind == FL_DB_LEDGER ? "SELECT journal_mode = 'delete' FROM pragma_journal_mode"
                                                      : "SELECT journal_mode = 'wal' FROM pragma_journal_mode"),
                         1);
        fl_db_close(db);
    }
}

static void a_failed_statement_undoes_its_transaction(void **state)
{
    (void)state;
    fl_err err;
    fl_db *db = open_db(":memory:", FL_DB_SERVER);
    assert_ok(insert(db, 1, "kept", NULL, 0, &err), err);
    assert_ok(fl_db_begin(db, &err), err);
    assert_ok(insert(db, 2, "lost", NULL, 0, &err), err);
    assert_int_equal(insert(db, 1, "PATIENT", NULL, 0, &err), FL_EREFUSED);
    assert_says(err, "UNIQUE");
    assert_null(strstr(err.text, "PATIENT"));
    assert_int_equal(fl_db_commit(db, &err), FL_EENV);
    assert_int_equal(ask(db, "SELECT count(*) FROM item"), 1);
    assert_ok(fl_db_begin(db, &err), err);
    assert_ok(insert(db, 2, "also kept", NULL, 0, &err), err);
    assert_ok(fl_db_commit(db, &err), err);
    assert_ok(fl_db_begin(db, &err), err);
    assert_ok(insert(db, 3, "taken back", NULL, 0, &err), err);
    fl_db_rollback(db);
    fl_db_rollback(db);
    assert_int_equal(ask(db, "SELECT count(*) FROM item"), 2);
    assert_int_equal(fl_db_exec(db, "INSERT INTO item (id, kind) VALUES (9, 77)", &err), FL_EREFUSED);
    assert_says(err, "FOREIGN KEY");
    assert_int_equal(fl_db_exec(db, "no sql", &err), FL_EENV);
    fl_db_close(db);
}

static void a_file_of_another_version_is_refused(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX];
    fl_db *db = open_db(fl_path(path, *state, "a.db"), FL_DB_SERVER);
    fl_db_close(db);
    assert_int_equal(fl_db_open(&db, path, FL_DB_SERVER, schema, 4, &err), FL_EENV);
    assert_null(db);
    assert_says(err, "version 3, this program needs 4");
    db = open_db(path, FL_DB_SERVER);
    assert_ok(fl_db_exec(db, "PRAGMA user_version = 0", &err), err);
    fl_db_close(db);
    assert_int_equal(fl_db_open(&db, path, FL_DB_SERVER, schema, 3, &err), FL_EENV); /* tables of somebody else */
}

static void what_is_not_a_database_is_named(void **state)
{
    fl_err err;
    fl_db *db;
    char path[FL_PATH_MAX];
    char text[2000];
    memset(text, 'x', sizeof text);
    fl_path(path, *state, "a.db");
    assert_ok(fl_file_write(path, text, sizeof text, 0600, &err), err);
    assert_int_equal(fl_db_open(&db, path, FL_DB_LEDGER, schema, 3, &err), FL_EENV);
    assert_says(err, "a.db: is not a database");
    assert_int_equal(fl_db_open(&db, fl_path(path, *state, "no/a.db"), FL_DB_LEDGER, schema, 3, &err), FL_EENV);
    assert_int_equal(fl_db_open(&db, *state, FL_DB_LEDGER, schema, 3, &err), FL_EENV);
}

static void a_damaged_file_is_named(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX];
    fl_db *db = open_db(fl_path(path, *state, "a.db"), FL_DB_LEDGER);
    static char filler[3000];
    for (int i = 0; i < 50; i++)
        assert_ok(insert(db, i, NULL, filler, sizeof filler, &err), err);
    fl_db_close(db);
    fl_buf b;
    fl_buf_init(&b, 1 << 24);
    assert_ok(fl_file_read(&b, path, &err), err);
    memset(b.bytes + 2 * 4096, 0xff, b.size / 2);
    assert_ok(fl_file_write(path, b.bytes, b.size, 0600, &err), err);
    fl_buf_fini(&b);
    assert_int_equal(fl_db_open(&db, path, FL_DB_LEDGER, schema, 3, &err), FL_EENV);
    assert_says(err, "a.db");
}

/* A process whose files may not grow past 64 KiB stands for a full disk: the transaction is gone, the file is sound. */
static void a_full_disk_loses_the_transaction_only(void **state)
{
    char path[FL_PATH_MAX];
    fl_err err;
    fl_db *db = open_db(fl_path(path, *state, "a.db"), FL_DB_LEDGER);
    assert_ok(insert(db, 1, "kept", NULL, 0, &err), err);
    fl_db_close(db);
    pid_t pid = fork();
    if (pid == 0) {
        static char filler[200000];
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){65536, 65536});
        if (fl_db_open(&db, path, FL_DB_LEDGER, schema, 3, &err) != FL_OK || fl_db_begin(db, &err) != FL_OK ||
            insert(db, 2, "lost", NULL, 0, &err) != FL_OK)
            _exit(1);
        fl_code code = insert(db, 3, "large", filler, sizeof filler, &err);
        if (code == FL_OK)
            code = fl_db_commit(db, &err);
        _exit(code == FL_EENV && strstr(err.text, "a.db") ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    db = open_db(path, FL_DB_LEDGER);
    assert_int_equal(ask(db, "SELECT count(*) FROM item"), 1);
    fl_db_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(rows_come_back_as_they_went),
        in_scratch(each_kind_has_its_pragmas),
        cmocka_unit_test(a_failed_statement_undoes_its_transaction),
        in_scratch(a_file_of_another_version_is_refused),
        in_scratch(what_is_not_a_database_is_named),
        in_scratch(a_damaged_file_is_named),
        in_scratch(a_full_disk_loses_the_transaction_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
