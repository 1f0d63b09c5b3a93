#include "node/store.h"

#include "base/config.h"
#include "crypto/csprng.h"
#include "ledger/identity.h"
#include "node/data.h"
#include "node/heads.h"
#include "node/policy.h"
#include "proto/msg/envelope.h"
#include "train/counts.h"
#include "train/dpsgd.h"
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE_DB_VERSION 1

static const char node_schema[] =
    "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS plan(idx INTEGER PRIMARY KEY, hash BLOB NOT NULL, study TEXT NOT NULL,"
    " json TEXT NOT NULL, readable INTEGER NOT NULL, approved INTEGER NOT NULL, joined INTEGER NOT NULL,"
    " gone INTEGER NOT NULL, declared INTEGER NOT NULL, refused INTEGER NOT NULL, refused_round INTEGER NOT NULL,"
    " last_round INTEGER NOT NULL, burns INTEGER NOT NULL, burn_round INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS round_now(id INTEGER PRIMARY KEY CHECK(id = 1), phase INTEGER NOT NULL,"
    " plan INTEGER NOT NULL, round INTEGER NOT NULL, model BLOB NOT NULL, announce BLOB NOT NULL,"
    " update_hash BLOB NOT NULL, update_bytes INTEGER NOT NULL, debit TEXT NOT NULL);";

/* clang-format off */
static const fl_config_row settings_rows[] = {
    {.section = "node", .key = "name", .type = FL_CONFIG_TEXT, .offset = offsetof(node_settings, name),
     .size = sizeof ((node_settings *)0)->name, .min = 1, .max = 63,
     .help = "The hospital's name: it stands in every ledger line and is never changed."},
    {.section = "node", .key = "threads", .type = FL_CONFIG_INT, .offset = offsetof(node_settings, threads),
     .size = sizeof(int64_t), .min = 0, .max = 256, .fallback = "0", .help = "Threads for training; 0: one per core."},
};
/* clang-format on */
#define N_SETTINGS (sizeof settings_rows / sizeof settings_rows[0])

fl_code node_settings_load(node_settings *out, const char *dir, fl_err *err)
{
    char path[FL_PATH_MAX];
    memset(out, 0, sizeof *out);
    fl_code rc = fl_config_load(out, settings_rows, N_SETTINGS, fl_path(path, dir, "node.ini"), err);
    if (rc == FL_OK && !wire_name_ok(out->name))
        rc = fl_fail(err, FL_EFORMAT, "%s: [node] name: not a name: 1 to 63 of A-Z a-z 0-9 . _ -", path);
    return rc;
}

/* ---- meta ------------------------------------------------------------------------------------------------------- */

fl_code node_meta_get(node_store *s, const char *key, char *value, size_t size, fl_err *err)
{
    fl_query q;
    value[0] = 0;
    fl_code rc = fl_query_open(&q, s->db, "SELECT value FROM meta WHERE key = ?", err);
    if (rc)
        return rc;
    fl_bind_text(&q, 1, key);
    if (fl_query_row(&q))
        snprintf(value, size, "%s", fl_column_text(&q, 0));
    return fl_query_close(&q, err);
}

fl_code node_meta_put(node_store *s, const char *key, const char *value, fl_err *err)
{
    fl_query q;
    fl_code rc = fl_query_open(&q, s->db, "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)", err);
    if (rc)
        return rc;
    fl_bind_text(&q, 1, key);
    fl_bind_text(&q, 2, value);
    return fl_query_run(&q, err);
}

/* ---- open and make ---------------------------------------------------------------------------------------------- */

static fl_code open_tables(node_store *s, const char *db_path, fl_err *err)
{
    fl_buf schema;
    fl_buf_init(&schema, 1 << 16);
    fl_buf_add_text(&schema, node_schema);
    fl_buf_add_text(&schema, node_data_schema);
    fl_buf_add_text(&schema, node_heads_schema);
    fl_buf_add_text(&schema, led_schema);
    fl_code rc = fl_db_open(&s->db, db_path, FL_DB_LEDGER, fl_buf_text(&schema), NODE_DB_VERSION, err);
    fl_buf_fini(&schema);
    if (rc)
        return rc;
    return s->dir[0] ? led_identity_open(&s->ledger, &s->key, s->dir, s->db, s->name, err)
                     : led_open(&s->ledger, s->db, s->name, &s->key, err);
}

static fl_code load_coordinator(node_store *s, fl_err *err)
{
    char hex[80];
    fl_code rc;
    if ((rc = node_meta_get(s, "coordinator", s->coordinator, sizeof s->coordinator, err)) ||
        (rc = node_meta_get(s, "address", s->address, sizeof s->address, err)) ||
        (rc = node_meta_get(s, "coordinator_vkey", s->coordinator_vkey, sizeof s->coordinator_vkey, err)) ||
        (rc = node_meta_get(s, "coordinator_key", hex, sizeof hex, err)))
        return rc;
    s->enrolled = s->coordinator[0] && fl_hex_decode(s->coordinator_key, sizeof s->coordinator_key, hex);
    return FL_OK;
}

static fl_code read_secret(uint8_t secret[32], const char *path, fl_err *err)
{
    fl_buf b;
    fl_buf_init(&b, 64);
    fl_code rc = fl_file_read(&b, path, err);
    if (rc == FL_OK && b.size != 32)
        rc = fl_fail(err, FL_EFORMAT, "%s: %zu bytes, expected 32: restore it from a backup", path, b.size);
    if (rc == FL_OK)
        memcpy(secret, b.bytes, 32);
    fl_wipe(b.bytes, b.size);
    fl_buf_fini(&b);
    return rc;
}

static fl_code open_files(node_store *s, fl_err *err)
{
    char path[FL_PATH_MAX];
    node_settings settings;
    if (!fl_file_exists(fl_path(path, s->dir, "node.ini")))
        return fl_fail(err, FL_ENOTFOUND, "%s: holds no node: make one with `cordon-node init`", s->dir);
    fl_code rc = node_settings_load(&settings, s->dir, err);
    if (rc)
        return rc;
    memcpy(s->name, settings.name, sizeof s->name);
    if ((rc = read_secret(s->pseudonym_key, fl_path(path, s->dir, "pseudonym.key"), err)) ||
        (rc = fl_objects_open(&s->objects, fl_path(path, s->dir, "objects"), err)) ||
        (rc = open_tables(s, fl_path(path, s->dir, "node.db"), err)))
        return rc;
    return load_coordinator(s, err);
}

fl_code node_store_open(node_store *s, const char *dir, fl_err *err)
{
    memset(s, 0, sizeof *s);
    char real[PATH_MAX];
    if (!realpath(dir, real))
        return fl_fail(err, FL_ENOTFOUND, "%s: no such folder: make one with `cordon-node init`", dir);
    snprintf(s->dir, sizeof s->dir, "%s", real);
    fl_code rc = open_files(s, err);
    if (rc)
        node_store_close(s);
    return rc;
}

fl_code node_store_open_seeded(node_store *s, const char *dir, const char *name, const uint8_t seed[32], fl_err *err)
{
    char path[FL_PATH_MAX];
    memset(s, 0, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    fl_hash pseudonym = fl_sha256_2("pseudonym", 9, seed, 32);
    memcpy(s->pseudonym_key, pseudonym.bytes, 32);
    fl_code rc = dir ? fl_dir_make(dir, err) : FL_OK;
    if (rc == FL_OK)
        rc = fl_sign_key_from_seed(&s->key, seed, err);
    if (rc == FL_OK)
        rc = dir ? fl_objects_open(&s->objects, fl_path(path, dir, "objects"), err)
                 : fl_objects_open_memory(&s->objects, err);
    if (rc == FL_OK)
        rc = open_tables(s, dir ? fl_path(path, dir, "node.db") : ":memory:", err);
    if (rc == FL_OK && !led_state(s->ledger)->node[0])
        rc = led_genesis(s->ledger, "node", err);
    if (rc)
        node_store_close(s);
    return rc;
}

fl_code node_store_open_memory(node_store *s, const char *name, const uint8_t seed[32], fl_err *err)
{
    return node_store_open_seeded(s, NULL, name, seed, err);
}

void node_store_close(node_store *s)
{
    if (!s)
        return;
    led_close(s->ledger);
    fl_db_close(s->db);
    fl_objects_close(s->objects);
    fl_sign_key_fini(&s->key);
    fl_wipe(s, sizeof *s);
}

static fl_code make_files(const char *dir, const char *name, fl_err *err)
{
    char path[FL_PATH_MAX];
    fl_code rc;
    fl_sign_key key = {0};
    fl_csprng r;
    uint8_t secret[32];
    node_settings settings = {0};
    fl_buf policy, ini;
    fl_buf_init(&policy, 1 << 16);
    fl_buf_init(&ini, 1 << 16);
    node_policy_sample(&policy);
    snprintf(settings.name, sizeof settings.name, "%s", name);
    fl_config_sample(&ini, settings_rows, N_SETTINGS, &settings);
    fl_csprng_init(&r);
    fl_csprng_bytes(&r, secret, sizeof secret);
    if ((rc = fl_sign_key_make(&key, err)) == FL_OK &&
        (rc = fl_sign_key_save(&key, fl_path(path, dir, "identity.key"), err)) == FL_OK &&
        (rc = fl_file_write(fl_path(path, dir, "pseudonym.key"), secret, sizeof secret, 0600, err)) == FL_OK &&
        (rc = fl_file_write(fl_path(path, dir, "policy.ini"), policy.bytes, policy.size, 0600, err)) == FL_OK)
        rc = fl_file_write(fl_path(path, dir, "node.ini"), ini.bytes, ini.size, 0600, err); /* last: now it is a node */
    fl_wipe(secret, sizeof secret);
    fl_csprng_fini(&r);
    fl_sign_key_fini(&key);
    fl_buf_fini(&policy);
    fl_buf_fini(&ini);
    return rc;
}

fl_code node_store_make(const char *dir, const char *name, fl_err *err)
{
    char path[FL_PATH_MAX];
    if (!wire_name_ok(name))
        return fl_fail(err, FL_EFORMAT, "%.80s: not a name: 1 to 63 of A-Z a-z 0-9 . _ -", name);
    fl_code rc = fl_dir_make(dir, err);
    if (rc == FL_OK)
        rc = fl_dir_check(dir, err);
    if (rc)
        return rc;
    if (fl_file_exists(fl_path(path, dir, "node.ini")) || fl_file_exists(fl_path(path, dir, "identity.key")))
        return fl_fail(err, FL_EREFUSED, "%s: holds a node already: take another folder", dir);
    if ((rc = make_files(dir, name, err)))
        return rc;
    node_store s;
    if ((rc = node_store_open(&s, dir, err)))
        return rc;
    rc = led_genesis(s.ledger, "node", err);
    node_store_close(&s);
    return rc;
}

fl_code node_store_enrolled(node_store *s, const char *coordinator, const char *address,
                            const uint8_t key[FL_PUBLIC_KEY_SIZE], const char *vkey, const char *ca_pem,
                            const char *cert_pem, const char *tls_key_pem, fl_err *err)
{
    char path[FL_PATH_MAX], hex[2 * FL_PUBLIC_KEY_SIZE + 1];
    fl_hex_encode(hex, key, FL_PUBLIC_KEY_SIZE);
    fl_code rc;
    if ((rc = fl_file_write(fl_path(path, s->dir, "tls.key"), tls_key_pem, strlen(tls_key_pem), 0600, err)) ||
        (rc = fl_file_write(fl_path(path, s->dir, "tls.crt"), cert_pem, strlen(cert_pem), 0600, err)) ||
        (rc = fl_file_write(fl_path(path, s->dir, "ca.crt"), ca_pem, strlen(ca_pem), 0600, err)) ||
        (rc = fl_db_begin(s->db, err)))
        return rc;
    if ((rc = node_meta_put(s, "address", address, err)) || (rc = node_meta_put(s, "coordinator_key", hex, err)) ||
        (rc = node_meta_put(s, "coordinator_vkey", vkey, err)) || (rc = node_key_tell(s, err)) ||
        (rc = node_meta_put(s, "coordinator", coordinator, err))) {
        fl_db_rollback(s->db);
        return rc;
    }
    if ((rc = fl_db_commit(s->db, err)))
        return rc;
    return load_coordinator(s, err);
}

fl_code node_key_told(node_store *s, char vkey[DP_VKEY_MAX], fl_err *err)
{
    FL_TRY(node_meta_get(s, "told_vkey", vkey, DP_VKEY_MAX, err));
    if (vkey[0] == 0) /* never enrolled, or by a version that had one key for life */
        snprintf(vkey, DP_VKEY_MAX, "%s", led_key(s->ledger, 0));
    return FL_OK;
}

fl_code node_key_tell(node_store *s, fl_err *err)
{
    return node_meta_put(s, "told_vkey", led_vkey(s->ledger), err);
}

fl_code node_store_new_coordinator_key(node_store *s, const char *vkey, fl_err *err)
{
    char origin[DP_ORIGIN_MAX], hex[2 * FL_PUBLIC_KEY_SIZE + 1];
    uint8_t key[FL_PUBLIC_KEY_SIZE];
    if (!dp_vkey_parse(origin, key, vkey))
        return fl_fail(err, FL_EFORMAT, "coordinator: not a verifier key");
    fl_hex_encode(hex, key, sizeof key);
    FL_TRY(fl_db_begin(s->db, err));
    fl_code rc = node_meta_put(s, "coordinator_key", hex, err);
    if (rc == FL_OK)
        rc = node_meta_put(s, "coordinator_vkey", vkey, err);
    if (rc == FL_OK)
        rc = fl_db_commit(s->db, err);
    if (rc) {
        fl_db_rollback(s->db);
        return rc;
    }
    return load_coordinator(s, err);
}

/* ---- plans ------------------------------------------------------------------------------------------------------ */

static void describe_phase(node_terms *out, const nn_phase *p)
{
    *out = (node_terms){.last = p->first + p->rounds - 1,
                        .local_steps = p->local_steps,
                        .clip_units = p->clip_units,
                        .coordinates = p->n_learned + p->probe,
                        .probe = p->probe,
                        .update_bits = p->update_bits,
                        .noise_variance = p->noise_variance,
                        .rate = p->rate};
    strcpy(out->sampling_rate, p->sampling_rate);
    strcpy(out->clip_norm, p->clip_norm);
}

void node_plan_describe(node_plan *out, const nn_plan *plan)
{
    _Static_assert(NODE_MAX_TERMS >= NN_PLAN_MAX_PHASES, "room");
    memset(out, 0, sizeof *out);
    out->readable = true;
    out->hash = plan->hash;
    strcpy(out->study, plan->name);
    out->multi = plan->multi;
    out->rounds = plan->rounds;
    out->slot_ms = plan->slot_ms;
    out->n_terms = plan->n_phases;
    for (uint32_t i = 0; i < plan->n_phases; i++)
        describe_phase(&out->terms[i], &plan->phases[i]);
    out->metrics_every = plan->metrics_every;
    out->metrics_cells = nn_counts_cells(plan);
    out->metrics_partitions = nn_counts_partitions(plan);
    out->metrics_variance = plan->metrics_noise_variance;
    nn_counts_what(out->metrics_what, plan);
    out->model_bytes = 4 * (uint64_t)plan->n_weights;
}

fl_code node_plan_read(node_plan *out, const char *study, const char *json, size_t n, fl_err *err)
{
    nn_plan *plan = malloc(sizeof *plan);
    memset(out, 0, sizeof *out);
    out->hash = fl_sha256(json, n);
    snprintf(out->study, sizeof out->study, "%s", study);
    fl_code rc = plan ? nn_plan_parse(plan, json, n, err) : fl_fail(err, FL_EENV, "plan: out of memory");
    if (rc == FL_OK && (strcmp(plan->name, study) != 0 || !plan->is_private))
        rc = fl_fail(err, FL_EFORMAT, "plan: is of another study, or without privacy");
    if (rc == FL_OK)
        node_plan_describe(out, plan);
    free(plan);
    return rc;
}

fl_code node_plan_text(node_store *s, fl_buf *json, uint32_t plan, fl_err *err)
{
    fl_query q;
    fl_code rc = fl_query_open(&q, s->db, "SELECT json FROM plan WHERE idx = ?", err);
    if (rc)
        return rc;
    fl_bind_int(&q, 1, plan);
    bool found = fl_query_row(&q);
    if (found)
        fl_buf_add_text(json, fl_column_text(&q, 0));
    if ((rc = fl_query_close(&q, err)))
        return rc;
    if (!found)
        return fl_fail(err, FL_ENOTFOUND, "plan %u: not here", plan);
    return fl_buf_check(json, "plan", err);
}

fl_code node_plan_keep(node_store *s, uint32_t plan, const char *json, size_t n, fl_err *err)
{
    fl_buf text;
    fl_buf_init(&text, NN_PLAN_MAX_BYTES);
    fl_buf_add(&text, json, n);
    fl_query q;
    fl_code rc = fl_buf_check(&text, "plan", err);
    if (rc == FL_OK)
        rc = fl_query_open(&q, s->db, "UPDATE plan SET json = ? WHERE idx = ?", err);
    if (rc == FL_OK) {
        fl_bind_text(&q, 1, fl_buf_text(&text));
        fl_bind_int(&q, 2, plan);
        rc = fl_query_run(&q, err);
    }
    fl_buf_fini(&text);
    return rc;
}

fl_code node_plan_put(node_store *s, const node_state *state, uint32_t plan, fl_err *err)
{
    const node_plan *p = &state->plans[plan];
    fl_query q;
    fl_code rc = fl_query_open(&q, s->db,
                               "INSERT INTO plan(idx, hash, study, json, readable, approved, joined, gone, declared,"
                               " refused, refused_round, last_round, burns, burn_round)"
                               " VALUES(?1, ?2, ?3, '', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
                               " ON CONFLICT(idx) DO UPDATE SET approved = ?5, joined = ?6, gone = ?7, declared = ?8,"
                               " refused = ?9, refused_round = ?10, last_round = ?11, burns = ?12, burn_round = ?13",
                               err);
    if (rc)
        return rc;
    fl_bind_int(&q, 1, plan);
    fl_bind_blob(&q, 2, p->hash.bytes, sizeof p->hash.bytes);
    fl_bind_text(&q, 3, p->study);
    const int64_t numbers[] = {p->readable, p->approved,      p->joined,     p->left,  (int64_t)p->declared_patients,
                               p->refused,  p->refused_round, p->last_round, p->burns, p->burn_round};
    for (int i = 0; i < (int)(sizeof numbers / sizeof numbers[0]); i++)
        fl_bind_int(&q, 4 + i, numbers[i]);
    return fl_query_run(&q, err);
}

static void plan_from_row(node_plan *p, fl_query *q, nn_plan *scratch)
{
    size_t n;
    memset(p, 0, sizeof *p);
    const void *hash = fl_column_blob(q, 0, &n);
    const char *json = fl_column_text(q, 2);
    if (fl_column_int(q, 3) && nn_plan_parse(scratch, json, strlen(json), NULL) == FL_OK && n == FL_HASH_SIZE &&
        memcmp(scratch->hash.bytes, hash, n) == 0) /* another text under the approved hash is no plan */
        node_plan_describe(p, scratch);
    if (n == FL_HASH_SIZE)
        memcpy(p->hash.bytes, hash, n);
    snprintf(p->study, sizeof p->study, "%s", fl_column_text(q, 1));
    p->approved = fl_column_int(q, 4);
    p->joined = fl_column_int(q, 5);
    p->left = fl_column_int(q, 6);
    p->declared_patients = (uint64_t)fl_column_int(q, 7);
    p->refused = (node_reason)fl_column_int(q, 8);
    p->refused_round = (uint32_t)fl_column_int(q, 9);
    p->last_round = (uint32_t)fl_column_int(q, 10);
    p->burns = (uint32_t)fl_column_int(q, 11);
    p->burn_round = (uint32_t)fl_column_int(q, 12);
}

static fl_code load_plans(node_state *state, node_store *s, fl_err *err)
{
    fl_query q;
    nn_plan *scratch = malloc(sizeof *scratch);
    if (!scratch)
        return fl_fail(err, FL_EENV, "node: out of memory");
    fl_code rc = fl_query_open(&q, s->db,
                               "SELECT hash, study, json, readable, approved, joined, gone, declared, refused,"
                               " refused_round, last_round, burns, burn_round FROM plan ORDER BY idx",
                               err);
    if (rc == FL_OK) {
        while (state->n_plans < NODE_MAX_PLANS && fl_query_row(&q))
            plan_from_row(&state->plans[state->n_plans++], &q, scratch);
        rc = fl_query_close(&q, err);
    }
    free(scratch);
    return rc;
}

/* ---- the round under way ---------------------------------------------------------------------------------------- */

/* These are facts about the ledger; a revoked hospital is told again at the next start. */
static bool lasts(node_reason halted)
{
    return halted == NODE_R_ROLLBACK || halted == NODE_R_EQUIVOCATION;
}

static fl_code load_halt(node_state *state, node_store *s, fl_err *err)
{
    char text[64];
    FL_TRY(node_meta_get(s, "halted", text, sizeof text, err));
    for (node_reason r = NODE_R_NONE; r <= NODE_R_SPLIT_VIEW; r++)
        if (lasts(r) && strcmp(text, node_reason_text(r)) == 0)
            state->halted = r;
    if (state->halted != NODE_R_NONE && state->now.phase == NODE_POLLING)
        state->now.phase = NODE_HALTED;
    return FL_OK;
}

fl_code node_round_put(node_store *s, const node_state *state, fl_err *err)
{
    const node_round *r = &state->now;
    fl_query q;
    fl_code rc = fl_query_open(&q, s->db,
                               "INSERT OR REPLACE INTO round_now(id, phase, plan, round, model, announce, update_hash,"
                               " update_bytes, debit) VALUES(1, ?, ?, ?, ?, ?, ?, ?, ?)",
                               err);
    if (rc)
        return rc;
    fl_bind_int(&q, 1, r->phase == NODE_HALTED ? NODE_POLLING : r->phase); /* the halt has a row of its own */
    fl_bind_int(&q, 2, r->plan);
    fl_bind_int(&q, 3, r->round);
    fl_bind_blob(&q, 4, r->model_hash.bytes, FL_HASH_SIZE);
    fl_bind_blob(&q, 5, r->announce_hash.bytes, FL_HASH_SIZE);
    fl_bind_blob(&q, 6, r->update_hash.bytes, FL_HASH_SIZE);
    fl_bind_int(&q, 7, (int64_t)r->update_bytes);
    fl_bind_text(&q, 8, r->debit);
    FL_TRY(fl_query_run(&q, err));
    return node_meta_put(s, "halted", lasts(state->halted) ? node_reason_text(state->halted) : "", err);
}

static void get_hash(fl_hash *out, fl_query *q, int column)
{
    size_t n;
    const void *bytes = fl_column_blob(q, column, &n);
    if (n == FL_HASH_SIZE)
        memcpy(out->bytes, bytes, n);
}

static fl_code load_round(node_state *state, node_store *s, fl_err *err)
{
    fl_query q;
    fl_code rc = fl_query_open(
        &q, s->db, "SELECT phase, plan, round, model, announce, update_hash, update_bytes, debit FROM round_now", err);
    if (rc)
        return rc;
    node_round *r = &state->now;
    if (fl_query_row(&q)) {
        r->phase = (node_phase)fl_column_int(&q, 0);
        r->plan = (uint32_t)fl_column_int(&q, 1);
        r->round = (uint32_t)fl_column_int(&q, 2);
        get_hash(&r->model_hash, &q, 3);
        get_hash(&r->announce_hash, &q, 4);
        get_hash(&r->update_hash, &q, 5);
        r->update_bytes = (uint64_t)fl_column_int(&q, 6);
        snprintf(r->debit, sizeof r->debit, "%s", fl_column_text(&q, 7));
    }
    if ((rc = fl_query_close(&q, err)))
        return rc;
    if (r->phase != NODE_POLLING && (r->plan >= state->n_plans || !state->plans[r->plan].readable))
        return fl_fail(err, FL_EENV, "node.db: the round under way names a plan that is not there: restore a backup");
    return FL_OK;
}

/* A node that is killed in every training (by the system, for memory, say) must not burn the budget to its end: the
 * ledger remembers what a restart forgets. */
static void count_crashes(node_state *state, const dp_ledger_state *ledger)
{
    for (uint32_t i = 0; i < state->n_plans; i++) {
        unsigned n = 0;
        for (size_t d = ledger->n_debits; d > 0 && n < NODE_MAX_CRASHES; d--) {
            const dp_debit *debit = &ledger->debits[d - 1];
            if (strcmp(debit->study, state->plans[i].study) != 0)
                continue;
            if (debit->state != DP_DEBIT_BURNED || debit->release_seq != 0)
                break;
            n++;
        }
        if (n == NODE_MAX_CRASHES)
            state->plans[i].failures = NODE_MAX_FAILURES;
    }
}

fl_code node_state_load(node_state *state, node_store *s, fl_err *err)
{
    char boot[32];
    memset(state, 0, sizeof *state);
    memcpy(state->name, s->name, sizeof state->name);
    const dp_ledger_state *ledger = led_state(s->ledger);
    state->ledger_size = ledger->n_entries;
    state->has_filter = ledger->has_policy;
    if (ledger->has_policy)
        state->filter = ledger->filter;
    fl_code rc;
    if ((rc = load_plans(state, s, err)) || (rc = load_round(state, s, err)) || (rc = load_halt(state, s, err)) ||
        (rc = node_meta_get(s, "boot", boot, sizeof boot, err)))
        return rc;
    state->boot = strtoull(boot, NULL, 10);
    count_crashes(state, ledger);
    return FL_OK;
}

fl_code node_store_count_start(node_store *s, fl_err *err)
{
    char boot[32];
    fl_code rc = node_meta_get(s, "boot", boot, sizeof boot, err);
    if (rc)
        return rc;
    snprintf(boot, sizeof boot, "%llu", strtoull(boot, NULL, 10) + 1);
    return node_meta_put(s, "boot", boot, err);
}
