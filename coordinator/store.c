#include "coordinator/store.h"

#include "base/clock.h"
#include "base/config.h"
#include "coordinator/query.h"
#include "crypto/cert.h"
#include "crypto/csprng.h"
#include "ledger/identity.h"
#include "proto/msg/enrol.h"
#include "proto/msg/envelope.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COORD_DB_VERSION 1
#define YEAR_S           (365 * 86400)
#define CA_DAYS          7300
#define SERVER_S         ((int64_t)10 * YEAR_S)

/* clang-format off */
const char coord_schema[] =
    "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS site(name TEXT PRIMARY KEY, public_key BLOB NOT NULL, vkey TEXT NOT NULL,"
    " spki BLOB NOT NULL UNIQUE, enrolled INTEGER NOT NULL, revoked INTEGER NOT NULL DEFAULT 0,"
    " head_size INTEGER NOT NULL DEFAULT 0, head_root BLOB, note TEXT NOT NULL DEFAULT '',"
    " sequence INTEGER NOT NULL DEFAULT 0, seen INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS study(name TEXT PRIMARY KEY, idx INTEGER NOT NULL UNIQUE, plan TEXT NOT NULL,"
    " plan_hash BLOB NOT NULL, phase INTEGER NOT NULL, paused INTEGER NOT NULL, closed INTEGER NOT NULL,"
    " round INTEGER NOT NULL, model_hash BLOB NOT NULL, announce_hash BLOB NOT NULL, added INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS member(study TEXT NOT NULL, site TEXT NOT NULL, joined INTEGER NOT NULL,"
    " gone INTEGER NOT NULL, declared INTEGER NOT NULL, PRIMARY KEY(study, site));"
    "CREATE TABLE IF NOT EXISTS round(study TEXT NOT NULL, round INTEGER NOT NULL, model_hash BLOB NOT NULL,"
    " announce_hash BLOB NOT NULL, opened INTEGER NOT NULL, PRIMARY KEY(study, round));"
    "CREATE TABLE IF NOT EXISTS round_site(study TEXT NOT NULL, round INTEGER NOT NULL, site TEXT NOT NULL,"
    " patients INTEGER NOT NULL, head_size INTEGER NOT NULL, head_root BLOB NOT NULL,"
    " PRIMARY KEY(study, round, site));"
    "CREATE TABLE IF NOT EXISTS contribution(study TEXT NOT NULL, round INTEGER NOT NULL, site TEXT NOT NULL,"
    " debit TEXT NOT NULL UNIQUE, update_hash BLOB NOT NULL, received INTEGER NOT NULL, UNIQUE(study, round, site));"
    "CREATE TABLE IF NOT EXISTS model(study TEXT NOT NULL, round INTEGER NOT NULL, model_hash BLOB NOT NULL,"
    " server_hash BLOB NOT NULL, released_hash BLOB NOT NULL, made INTEGER NOT NULL, PRIMARY KEY(study, round));"
    "CREATE INDEX IF NOT EXISTS model_by_hash ON model(model_hash);"
    "CREATE TABLE IF NOT EXISTS invitation(spki BLOB PRIMARY KEY, hospital TEXT NOT NULL, expires INTEGER NOT NULL,"
    " used INTEGER NOT NULL DEFAULT 0, public_key BLOB, request BLOB, certificate TEXT NOT NULL DEFAULT '');";
/* clang-format on */

typedef struct settings {
    char name[WIRE_NAME_MAX];
    char host[256];
    int64_t port;
    int64_t max_declared;
} settings;

/* clang-format off */
static const fl_config_row settings_rows[] = {
    {.section = "coordinator", .key = "name", .type = FL_CONFIG_TEXT, .offset = offsetof(settings, name),
     .size = sizeof ((settings *)0)->name, .min = 1, .max = 63,
     .help = "The consortium's name: it stands in every ledger line and is never changed."},
    {.section = "coordinator", .key = "host", .type = FL_CONFIG_TEXT, .offset = offsetof(settings, host),
     .size = sizeof ((settings *)0)->host, .min = 1, .max = 255,
     .help = "Host name or address that hospitals dial; the server's certificate carries it."},
    {.section = "coordinator", .key = "port", .type = FL_CONFIG_INT, .offset = offsetof(settings, port),
     .size = sizeof(int64_t), .min = 1, .max = 65535, .fallback = "7443", .help = "The one TCP port."},
    {.section = "coordinator", .key = "max_declared_patients", .type = FL_CONFIG_INT,
     .offset = offsetof(settings, max_declared), .size = sizeof(int64_t), .min = 1, .max = 1e9, .fallback = "1000000",
     .help = "A hospital that declares more patients than this cannot join: the number is its weight."},
};
/* clang-format on */
#define N_SETTINGS (sizeof settings_rows / sizeof settings_rows[0])

/* ---- meta ------------------------------------------------------------------------------------------------------- */

fl_code coord_meta_get(coord_store *s, const char *key, int64_t *value, fl_err *err)
{
    fl_query q;
    *value = 0;
    FL_TRY(fl_query_open(&q, s->db, "SELECT value FROM meta WHERE key = ?", err));
    fl_bind_text(&q, 1, key);
    if (fl_query_row(&q))
        *value = fl_column_int(&q, 0);
    return fl_query_close(&q, err);
}

fl_code coord_meta_put(coord_store *s, const char *key, int64_t value, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)", err));
    fl_bind_text(&q, 1, key);
    fl_bind_int(&q, 2, value);
    return fl_query_run(&q, err);
}

fl_code coord_boot(coord_store *s, fl_err *err)
{
    int64_t boot;
    FL_TRY(coord_meta_get(s, "boot", &boot, err));
    return coord_meta_put(s, "boot", boot + 1, err);
}

/* ---- open and make ---------------------------------------------------------------------------------------------- */

static fl_code open_tables(coord_store *s, const char *path, fl_err *err)
{
    fl_buf schema;
    fl_buf_init(&schema, 1 << 16);
    fl_buf_add_text(&schema, coord_schema);
    fl_buf_add_text(&schema, led_schema);
    fl_code rc = fl_buf_check(&schema, "schema", err);
    if (rc == FL_OK)
        rc = fl_db_open(&s->db, path, FL_DB_SERVER, fl_buf_text(&schema), COORD_DB_VERSION, err);
    fl_buf_fini(&schema);
    if (rc)
        return rc;
    return s->dir[0] ? led_identity_open(&s->ledger, &s->key, s->dir, s->db, s->name, err)
                     : led_open(&s->ledger, s->db, s->name, &s->key, err);
}

static fl_code open_files(coord_store *s, fl_err *err)
{
    char path[FL_PATH_MAX];
    settings set = {0};
    if (!fl_file_exists(fl_path(path, s->dir, "coordinator.ini")))
        return fl_fail(err, FL_ENOTFOUND, "%s: holds no coordinator: make one with cordon-coordinator init", s->dir);
    FL_TRY(fl_config_load(&set, settings_rows, N_SETTINGS, path, err));
    if (!wire_name_ok(set.name))
        return fl_fail(err, FL_EFORMAT, "%s: [coordinator] name: not a name: 1 to 63 of A-Z a-z 0-9 . _ -", path);
    memcpy(s->name, set.name, sizeof s->name);
    memcpy(s->host, set.host, sizeof s->host);
    s->port = set.port;
    s->max_declared = set.max_declared;
    FL_TRY(fl_objects_open(&s->objects, s->dir, err));
    FL_TRY(open_tables(s, fl_path(path, s->dir, "coordinator.db"), err));
    const char *owner = led_state(s->ledger)->node;
    if (owner[0] && strcmp(owner, s->name) != 0)
        return fl_fail(err, FL_EREFUSED, "coordinator.ini: [coordinator] name is %s, the ledger is of %s", s->name,
                       owner);
    return owner[0] ? FL_OK : led_genesis(s->ledger, "coordinator", err); /* init was cut short */
}

fl_code coord_store_open(coord_store *s, const char *dir, fl_err *err)
{
    char real[PATH_MAX];
    memset(s, 0, sizeof *s);
    if (!realpath(dir, real))
        return fl_fail(err, FL_ENOTFOUND, "%s: no such folder: make one with cordon-coordinator init", dir);
    snprintf(s->dir, sizeof s->dir, "%s", real);
    fl_code rc = open_files(s, err);
    if (rc)
        coord_store_close(s);
    return rc;
}

fl_code coord_store_open_seeded(coord_store *s, const char *dir, const char *name, const uint8_t seed[32], fl_err *err)
{
    char path[FL_PATH_MAX];
    memset(s, 0, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    s->max_declared = 1000000;
    fl_code rc = dir ? fl_dir_make(dir, err) : FL_OK;
    if (rc == FL_OK)
        rc = fl_sign_key_from_seed(&s->key, seed, err);
    if (rc == FL_OK)
        rc = dir ? fl_objects_open(&s->objects, dir, err) : fl_objects_open_memory(&s->objects, err);
    if (rc == FL_OK)
        rc = open_tables(s, dir ? fl_path(path, dir, "coordinator.db") : ":memory:", err);
    if (rc == FL_OK && !led_state(s->ledger)->node[0])
        rc = led_genesis(s->ledger, "coordinator", err);
    if (rc)
        coord_store_close(s);
    return rc;
}

fl_code coord_store_open_memory(coord_store *s, const char *name, const uint8_t seed[32], fl_err *err)
{
    return coord_store_open_seeded(s, NULL, name, seed, err);
}

void coord_store_close(coord_store *s)
{
    if (!s)
        return;
    led_close(s->ledger);
    fl_db_close(s->db);
    fl_objects_close(s->objects);
    fl_sign_key_fini(&s->key);
    memset(s, 0, sizeof *s);
}

static fl_code put_pem(const char *dir, const char *file, const char *pem, unsigned mode, fl_err *err)
{
    char path[FL_PATH_MAX];
    return fl_file_write(fl_path(path, dir, file), pem, strlen(pem), mode, err);
}

typedef struct pems {
    char ca_key[FL_PEM_MAX], ca[FL_PEM_MAX], key[FL_PEM_MAX], request[FL_PEM_MAX], certificate[FL_PEM_MAX];
} pems;

/* From five minutes ago: a hospital's clock may be a little behind. */
static fl_code make_certificates(pems *p, const char *dir, const char *name, const char *host, fl_hash *fingerprint,
                                 fl_err *err)
{
    fl_cert_info info;
    const int64_t now = fl_clock_wall_s() - 300;
    FL_TRY(fl_cert_key_make(p->ca_key, err));
    FL_TRY(fl_cert_ca_make(p->ca, p->ca_key, name, now, CA_DAYS, err));
    FL_TRY(fl_cert_key_make(p->key, err));
    FL_TRY(fl_cert_request_make(p->request, p->key, name, err));
    FL_TRY(fl_cert_issue(p->certificate, p->ca, p->ca_key, p->request, host, FL_CERT_SERVER, now, SERVER_S, err));
    FL_TRY(fl_cert_read(&info, p->ca, err));
    if (fingerprint)
        *fingerprint = info.fingerprint;
    FL_TRY(put_pem(dir, "ca.key", p->ca_key, 0600, err));
    FL_TRY(put_pem(dir, "ca.crt", p->ca, 0644, err));
    FL_TRY(put_pem(dir, "server.key", p->key, 0600, err));
    return put_pem(dir, "server.crt", p->certificate, 0644, err);
}

static fl_code make_files(const char *dir, const settings *set, fl_hash *fingerprint, fl_err *err)
{
    char path[FL_PATH_MAX];
    fl_sign_key key = {0};
    fl_buf ini;
    fl_buf_init(&ini, 1 << 16);
    fl_config_sample(&ini, settings_rows, N_SETTINGS, set);
    pems *p = calloc(1, sizeof *p);
    fl_code rc = p ? make_certificates(p, dir, set->name, set->host, fingerprint, err)
                   : fl_fail(err, FL_EENV, "coordinator: no memory left");
    if (rc == FL_OK && (rc = fl_sign_key_make(&key, err)) == FL_OK &&
        (rc = fl_sign_key_save(&key, fl_path(path, dir, "identity.key"), err)) == FL_OK &&
        (rc = fl_buf_check(&ini, "coordinator.ini", err)) == FL_OK)
        rc = fl_file_write(fl_path(path, dir, "coordinator.ini"), ini.bytes, ini.size, 0600, err); /* last */
    if (p)
        fl_wipe(p, sizeof *p);
    free(p);
    fl_sign_key_fini(&key);
    fl_buf_fini(&ini);
    return rc;
}

fl_code coord_store_make(const char *dir, const char *name, const char *host, int64_t port, fl_hash *fingerprint,
                         fl_err *err)
{
    char path[FL_PATH_MAX], address[WIRE_ADDRESS_MAX + 16], host_again[256];
    uint16_t port_again;
    settings set = {.port = port, .max_declared = 1000000};
    if (!wire_name_ok(name))
        return fl_fail(err, FL_EFORMAT, "%.80s: not a name: 1 to 63 of A-Z a-z 0-9 . _ -", name);
    if (strlen(host) > 253)
        return fl_fail(err, FL_EFORMAT, "--host: longer than 253 bytes");
    snprintf(address, sizeof address, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, (int)port);
    FL_TRY(wire_address_split(host_again, &port_again, address, err));
    FL_TRY(fl_dir_make(dir, err));
    FL_TRY(fl_dir_check(dir, err));
    if (fl_file_exists(fl_path(path, dir, "coordinator.ini")) || fl_file_exists(fl_path(path, dir, "identity.key")))
        return fl_fail(err, FL_EREFUSED, "%s: holds a coordinator already: take another folder", dir);
    snprintf(set.name, sizeof set.name, "%s", name);
    snprintf(set.host, sizeof set.host, "%s", host);
    FL_TRY(make_files(dir, &set, fingerprint, err));
    coord_store s;
    FL_TRY(coord_store_open(&s, dir, err)); /* writes GENESIS */
    coord_store_close(&s);
    return FL_OK;
}

fl_code coord_store_pem(const coord_store *s, char *pem, const char *file, fl_err *err)
{
    return fl_pem_read(pem, s->dir, file, err);
}

/* ---- sites ------------------------------------------------------------------------------------------------------ */

fl_code coord_site_add(coord_store *s, const coord_site_row *row, fl_err *err)
{
    fl_query q;
    int64_t n = 0, same = 0;
    assert(wire_name_ok(row->name));
    FL_TRY(fl_query_open(&q, s->db, "SELECT count(*), count(*) FILTER (WHERE name = ?) FROM site", err));
    fl_bind_text(&q, 1, row->name);
    if (fl_query_row(&q)) {
        n = fl_column_int(&q, 0);
        same = fl_column_int(&q, 1);
    }
    FL_TRY(fl_query_close(&q, err));
    if (same)
        return fl_fail(err, FL_EREFUSED, "%s: a hospital of this name is enrolled already: take another name",
                       row->name);
    if (n >= COORD_MAX_SITES)
        return fl_fail(err, FL_EREFUSED, "%s: %d hospitals are enrolled, more are not taken", row->name,
                       COORD_MAX_SITES);
    FL_TRY(fl_query_open(&q, s->db, "INSERT INTO site(name, public_key, vkey, spki, enrolled) VALUES(?, ?, ?, ?, ?)",
                         err));
    fl_bind_text(&q, 1, row->name);
    fl_bind_blob(&q, 2, row->public_key, sizeof row->public_key);
    fl_bind_text(&q, 3, row->vkey);
    coord_bind_hash(&q, 4, &row->spki);
    fl_bind_int(&q, 5, fl_clock_wall_s());
    return fl_query_run(&q, err);
}

fl_code coord_site_get(coord_store *s, coord_site_row *row, const char *name, fl_err *err)
{
    fl_query q;
    size_t n;
    memset(row, 0, sizeof *row);
    FL_TRY(fl_query_open(&q, s->db, "SELECT name, public_key, vkey, spki FROM site WHERE name = ?", err));
    fl_bind_text(&q, 1, name);
    const bool found = fl_query_row(&q);
    if (found) {
        snprintf(row->name, sizeof row->name, "%s", fl_column_text(&q, 0));
        const void *key = fl_column_blob(&q, 1, &n);
        if (n == sizeof row->public_key)
            memcpy(row->public_key, key, n);
        snprintf(row->vkey, sizeof row->vkey, "%s", fl_column_text(&q, 2));
        coord_column_hash(&row->spki, &q, 3);
    }
    FL_TRY(fl_query_close(&q, err));
    return found ? FL_OK : fl_fail(err, FL_ENOTFOUND, "%.63s: no such hospital: see cordon-coordinator status", name);
}
