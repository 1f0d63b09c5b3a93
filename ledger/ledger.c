#include "ledger/ledger.h"

#include "base/clock.h"
#include "base/file.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char led_schema[] = "CREATE TABLE IF NOT EXISTS entry(seq INTEGER PRIMARY KEY, line TEXT NOT NULL);"
                          "CREATE TABLE IF NOT EXISTS checkpoint(size INTEGER PRIMARY KEY, note TEXT NOT NULL);"
                          "CREATE TABLE IF NOT EXISTS cosignature(size INTEGER PRIMARY KEY, note TEXT NOT NULL);";

struct led_ledger {
    fl_db *db;
    const fl_sign_key *key;
    char party[DP_NAME_SIZE], origin[DP_ORIGIN_MAX], vkey[DP_VKEY_MAX];
    char last_t[24];
    dp_replay *replay;
    dp_forest forest;
    fl_buf note, line;
    char (*keys)[DP_VKEY_MAX]; /* GENESIS's and each that followed */
    uint64_t *key_seqs;
    size_t n_keys;
};

static void remember_time(led_ledger *l, const char *line)
{
    const char *t = strstr(line, "\"t\":\"");
    if (t && strlen(t) > 5 + 17)
        memcpy(l->last_t, t + 5, 17);
}

static void note_finding(void *context, uint64_t seq, const char *what, const char *why)
{
    fl_err *err = context;
    (void)why;
    if (err->code == FL_OK)
        (void)fl_fail(err, FL_EREFUSED, "ledger: entry %llu: %s", (unsigned long long)seq, what);
}

static fl_code check_head(led_ledger *l, fl_err *err)
{
    const dp_ledger_state *st = led_state(l);
    fl_query q;
    fl_code rc = fl_query_open(&q, l->db, "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1", err);
    if (rc)
        return rc;
    uint64_t size = 0;
    if (fl_query_row(&q)) {
        size = (uint64_t)fl_column_int(&q, 0);
        fl_buf_add_text(&l->note, fl_column_text(&q, 1));
    }
    if ((rc = fl_query_close(&q, err)))
        return rc;
    if (size != st->tree.size)
        return fl_fail(err, FL_EREFUSED, "ledger: %llu lines but the newest checkpoint is over %llu: restore a backup",
                       (unsigned long long)st->tree.size, (unsigned long long)size);
    if (size == 0)
        return FL_OK;
    uint64_t noted;
    fl_hash root, own = dp_tree_root(&st->tree);
    rc = dp_checkpoint_verify(fl_buf_text(&l->note), l->note.size, l->vkey, NULL, &noted, &root, err);
    if (rc)
        return fl_fail_in(err, "ledger");
    if (noted != size || !fl_hash_equal(&root, &own))
        return fl_fail(err, FL_EREFUSED, "ledger: the lines are not those of the newest checkpoint: restore a backup");
    return FL_OK;
}

static fl_code take_line(led_ledger *l, const char *line, size_t n, fl_err *err)
{
    if (!dp_forest_append(&l->forest, line, n))
        return fl_fail(err, FL_EENV, "ledger: out of memory");
    FL_TRY(dp_replay_line(l->replay, line, n, err));
    const dp_ledger_state *st = led_state(l);
    if (st->key[0] == 0 || (l->n_keys > 0 && strcmp(l->keys[l->n_keys - 1], st->key) == 0))
        return FL_OK;
    void *keys = realloc(l->keys, (l->n_keys + 1) * sizeof *l->keys);
    if (keys)
        l->keys = keys;
    uint64_t *seqs = keys ? realloc(l->key_seqs, (l->n_keys + 1) * sizeof *seqs) : NULL;
    if (!seqs)
        return fl_fail(err, FL_EENV, "ledger: out of memory");
    l->key_seqs = seqs;
    l->key_seqs[l->n_keys] = st->n_entries;
    memcpy(l->keys[l->n_keys++], st->key, DP_VKEY_MAX);
    return FL_OK;
}

fl_code led_reload(led_ledger *l, fl_err *err)
{
    fl_err finding = {0};
    dp_replay_destroy(l->replay);
    dp_forest_fini(&l->forest);
    l->replay = NULL;
    l->n_keys = 0;
    l->last_t[0] = 0;
    fl_buf_clear(&l->note);
    fl_code rc = dp_replay_create(&l->replay, DP_REPLAY_TRUSTED, note_finding, &finding, err);
    if (rc)
        return rc;
    fl_query q;
    if ((rc = fl_query_open(&q, l->db, "SELECT line FROM entry ORDER BY seq", err)))
        return rc;
    while (rc == FL_OK && fl_query_row(&q)) {
        const char *line = fl_column_text(&q, 0);
        rc = take_line(l, line, strlen(line), err);
        remember_time(l, line);
    }
    fl_code closed = fl_query_close(&q, rc ? NULL : err);
    if (rc || (rc = closed))
        return rc;
    if (finding.code) {
        if (err)
            *err = finding;
        return FL_EREFUSED;
    }
    return check_head(l, err);
}

fl_code led_open(led_ledger **out, fl_db *db, const char *party, const fl_sign_key *key, fl_err *err)
{
    led_ledger *l = calloc(1, sizeof *l);
    if (!l)
        return fl_fail(err, FL_EENV, "ledger: out of memory");
    l->db = db;
    l->key = key;
    strncpy(l->party, party, sizeof l->party - 1);
    dp_origin(l->origin, party);
    dp_vkey_text(l->vkey, l->origin, key->public_key);
    fl_buf_init(&l->note, DP_NOTE_MAX);
    fl_buf_init(&l->line, DP_LINE_MAX);
    fl_code rc = led_reload(l, err);
    if (rc) {
        led_close(l);
        return rc;
    }
    *out = l;
    return FL_OK;
}

void led_close(led_ledger *l)
{
    if (!l)
        return;
    dp_replay_destroy(l->replay);
    dp_forest_fini(&l->forest);
    fl_buf_fini(&l->note);
    fl_buf_fini(&l->line);
    free(l->keys);
    free(l->key_seqs);
    free(l);
}

static void complete(led_ledger *l, dp_entry *e)
{
    memset(e->node, 0, sizeof e->node);
    strcpy(e->node, l->party);
    if (!e->t[0]) {
        fl_clock_text(e->t, fl_clock_wall_s());
        if (strcmp(e->t, l->last_t) < 0) /* the clock went back: times in a ledger do not */
            strcpy(e->t, l->last_t);
    }
}

fl_code led_would(led_ledger *l, dp_entry *e, fl_err *err)
{
    complete(l, e);
    return dp_replay_would(l->replay, e, err);
}

static fl_code insert(led_ledger *l, const char *sql, uint64_t number, const char *text, fl_err *err)
{
    fl_query q;
    fl_code rc = fl_query_open(&q, l->db, sql, err);
    if (rc)
        return rc;
    fl_bind_int(&q, 1, (int64_t)number);
    fl_bind_text(&q, 2, text);
    return fl_query_run(&q, err);
}

fl_code led_append(led_ledger *l, dp_entry *e, fl_err *err)
{
    const dp_ledger_state *st = led_state(l);
    fl_code rc = led_would(l, e, err);
    if (rc)
        return rc;
    const uint64_t seq = st->n_entries + 1;
    fl_buf_clear(&l->line);
    if ((rc = dp_entry_compose(&l->line, e, seq, &st->head, err)) ||
        (rc = fl_buf_check(&l->line, "ledger line", err)) ||
        (rc = insert(l, "INSERT INTO entry(seq, line) VALUES(?, ?)", seq, fl_buf_text(&l->line), err)) ||
        (rc = take_line(l, fl_buf_text(&l->line), l->line.size, err)))
        return rc;
    strcpy(l->last_t, e->t);
    fl_hash root = dp_tree_root(&st->tree);
    fl_buf_clear(&l->note);
    dp_checkpoint_note(&l->note, l->origin, seq, &root, l->key);
    if ((rc = fl_buf_check(&l->note, "ledger checkpoint", err)))
        return rc;
    return insert(l, "INSERT INTO checkpoint(size, note) VALUES(?, ?)", seq, fl_buf_text(&l->note), err);
}

const dp_ledger_state *led_state(const led_ledger *l)
{
    return dp_replay_state(l->replay);
}

const dp_replay *led_replay(const led_ledger *l)
{
    return l->replay;
}

const char *led_note(const led_ledger *l)
{
    return fl_buf_text(&l->note);
}

const char *led_vkey(const led_ledger *l)
{
    return l->vkey;
}

fl_code led_root_at(led_ledger *l, uint64_t size, fl_hash *root, fl_err *err)
{
    if (size > l->forest.size)
        return fl_fail(err, FL_EFORMAT, "ledger: has %llu lines, not %llu", (unsigned long long)l->forest.size,
                       (unsigned long long)size);
    *root = dp_forest_root(&l->forest, size);
    return FL_OK;
}

uint32_t led_consistency(const led_ledger *l, fl_hash proof[DP_PROOF_MAX], uint64_t from, uint64_t to)
{
    return dp_forest_consistency(&l->forest, proof, from, to);
}

uint32_t led_inclusion(const led_ledger *l, fl_hash proof[DP_PROOF_MAX], uint64_t seq, uint64_t size)
{
    return dp_forest_inclusion(&l->forest, proof, seq, size);
}

fl_code led_line(led_ledger *l, fl_buf *line, uint64_t seq, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, l->db, "SELECT line FROM entry WHERE seq = ?", err));
    fl_bind_int(&q, 1, (int64_t)seq);
    const bool found = fl_query_row(&q);
    if (found)
        fl_buf_add_text(line, fl_column_text(&q, 0));
    FL_TRY(fl_query_close(&q, err));
    if (!found)
        return fl_fail(err, FL_ENOTFOUND, "ledger: has no entry %llu", (unsigned long long)seq);
    return fl_buf_check(line, "ledger line", err);
}

fl_code led_cosigned(led_ledger *l, uint64_t size, const char *note, fl_err *err)
{
    return insert(l, "INSERT OR REPLACE INTO cosignature(size, note) VALUES(?, ?)", size, note, err);
}

/* A line in a transaction of its own. */
static fl_code append_alone(led_ledger *l, dp_entry *e, fl_err *err)
{
    fl_code rc = fl_db_begin(l->db, err);
    if (rc)
        return rc;
    rc = led_append(l, e, err);
    if (rc == FL_OK)
        rc = fl_db_commit(l->db, err);
    else
        fl_db_rollback(l->db);
    fl_err again;
    if (rc != FL_OK && led_reload(l, &again) != FL_OK && err)
        *err = again;
    return rc;
}

fl_code led_genesis(led_ledger *l, const char *role, fl_err *err)
{
    dp_entry *e = calloc(1, sizeof *e);
    if (!e)
        return fl_fail(err, FL_EENV, "ledger: out of memory");
    e->kind = DP_GENESIS;
    strncpy(e->role, role, sizeof e->role - 1);
    strcpy(e->key, l->vkey);
    strcpy(e->software, "cordon-" CORDON_VERSION);
    strcpy(e->accountant, DP_ACCOUNTANT);
    strcpy(e->adjacency, "add_remove");
    strcpy(e->unit, "patient");
    fl_code rc = append_alone(l, e, err);
    free(e);
    return rc;
}

static void use_key(led_ledger *l, const fl_sign_key *key)
{
    l->key = key;
    dp_vkey_text(l->vkey, l->origin, key->public_key);
}

fl_code led_rotate(led_ledger *l, fl_sign_key *key, fl_sign_key *next, const char *reason, fl_err *err)
{
    assert(l->key == key);
    dp_entry *e = calloc(1, sizeof *e);
    if (!e)
        return fl_fail(err, FL_EENV, "ledger: out of memory");
    e->kind = DP_KEY_ROTATE;
    snprintf(e->reason, sizeof e->reason, "%s", reason);
    dp_vkey_text(e->key, l->origin, next->public_key);
    dp_key_rotate_sign(e->signature, &led_state(l)->head, e->key, key);
    use_key(l, next); /* signs the head after its own entry */
    fl_code rc = fl_db_begin(l->db, err);
    if (rc == FL_OK) {
        rc = led_append(l, e, err);
        if (rc == FL_OK)
            rc = fl_db_commit(l->db, err);
        if (rc)
            fl_db_rollback(l->db);
    }
    free(e);
    if (rc == FL_OK) {
        fl_sign_key_fini(key);
        *key = *next;
        *next = (fl_sign_key){0};
    }
    use_key(l, key);
    fl_err again;
    if (rc && led_reload(l, &again) && err)
        *err = again;
    return rc;
}

size_t led_n_keys(const led_ledger *l)
{
    return l->n_keys;
}

const char *led_key(const led_ledger *l, size_t i)
{
    return l->keys[i];
}

fl_code led_key_chain(led_ledger *l, fl_buf *lines, uint32_t *n, const char *vkey, uint32_t most, fl_err *err)
{
    size_t i = 0;
    *n = 0;
    while (i < l->n_keys && strcmp(l->keys[i], vkey) != 0)
        i++;
    if (i == l->n_keys)
        return fl_fail(err, FL_ENOTFOUND, "ledger: this was never its key");
    for (i++; i < l->n_keys && *n < most; i++, ++*n) {
        FL_TRY(led_line(l, lines, l->key_seqs[i], err));
        fl_buf_add_text(lines, "\n");
    }
    return fl_buf_check(lines, "keys", err);
}

fl_code led_finish(led_ledger *l, const char *reason, fl_err *err)
{
    dp_entry *e = calloc(1, sizeof *e);
    if (!e)
        return fl_fail(err, FL_EENV, "ledger: out of memory");
    e->kind = DP_CLOSE;
    snprintf(e->reason, sizeof e->reason, "%s", reason);
    fl_code rc = append_alone(l, e, err);
    free(e);
    return rc;
}

static fl_code append_export(led_ledger *l, fl_err *err)
{
    if (led_state(l)->is_closed)
        return FL_OK;
    dp_entry *e = calloc(1, sizeof *e);
    if (!e)
        return fl_fail(err, FL_EENV, "ledger: out of memory");
    e->kind = DP_EXPORT;
    fl_code rc = append_alone(l, e, err);
    free(e);
    return rc;
}

static fl_code gather(led_ledger *l, fl_buf *text, fl_err *err)
{
    fl_query q;
    fl_code rc = fl_query_open(&q, l->db, "SELECT line FROM entry ORDER BY seq", err);
    if (rc)
        return rc;
    while (fl_query_row(&q)) {
        fl_buf_add_text(text, fl_column_text(&q, 0));
        fl_buf_add_text(text, "\n");
    }
    if ((rc = fl_query_close(&q, err)) || (rc = dp_export_line(text, led_note(l), l->vkey, err)))
        return rc;
    fl_buf_add_text(text, "\n");
    return fl_buf_check(text, "ledger export", err);
}

fl_code led_export(led_ledger *l, const char *path, fl_err *err)
{
    fl_buf text, pub;
    fl_buf_init(&text, (size_t)1 << 31);
    fl_buf_init(&pub, 4096);
    char pub_path[FL_PATH_MAX];
    fl_code rc = FL_OK;
    if (snprintf(pub_path, sizeof pub_path, "%s.pub", path) >= (int)sizeof pub_path)
        rc = fl_fail(err, FL_EFORMAT, "%.64s...: path too long", path);
    else {
        dp_export_public(&pub, l->vkey);
        if ((rc = append_export(l, err)) == FL_OK && (rc = gather(l, &text, err)) == FL_OK &&
            (rc = fl_file_write(path, text.bytes, text.size, 0644, err)) == FL_OK)
            rc = fl_file_write(pub_path, pub.bytes, pub.size, 0644, err);
    }
    fl_buf_fini(&text);
    fl_buf_fini(&pub);
    return rc;
}
