#include "audit/evidence.h"

#include "base/file.h"
#include "base/grow.h"
#include "privacy/entry.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 30, KEY_FILE_MAX = 16384 };

static const char WHY_SEALED[] = "without a signed checkpoint over every line, lines can be changed or cut off unseen";
static const char WHY_SIGNED[] = "the ledger is not the one its hospital signed";

static bool room_for_one(audit_findings *list)
{
    return list->n < AUDIT_FINDINGS_MAX && fl_grow(&list->items, &list->capacity, list->n, sizeof *list->items);
}

static void find(audit_findings *list, const char *ledger, uint64_t entry, const char *why, const char *format,
                 va_list args)
{
    char what[400];
    char *copy = NULL;
    if (room_for_one(list)) {
        vsnprintf(what, sizeof what, format, args);
        copy = strdup(what);
    }
    if (copy)
        list->items[list->n++] = (audit_finding){.ledger = ledger, .entry = entry, .what = copy, .why = why};
    else
        list->n_more++;
}

void audit_find(audit_findings *list, uint64_t entry, const char *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    find(list, NULL, entry, why, format, args);
    va_end(args);
}

void audit_find_in(audit_findings *list, const char *ledger, uint64_t entry, const char *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    find(list, ledger, entry, why, format, args);
    va_end(args);
}

void audit_findings_fini(audit_findings *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].what);
    free(list->items);
}

static void on_finding(void *context, uint64_t seq, const char *what, const char *why)
{
    audit_find(context, seq, why, "%s", what);
}

/* --- the trusted key --- */

/* The Ed25519 key in a PEM text (RFC 8410: a fixed head of 12 bytes, then the key); false if it is none. */
static bool pem_key(uint8_t public_key[FL_PUBLIC_KEY_SIZE], const char *text)
{
    static const char begin[] = "-----BEGIN PUBLIC KEY-----\n";
    const char *body = strstr(text, begin);
    if (!body)
        return false;
    body += sizeof begin - 1;
    const char *end = strchr(body, '\n');
    uint8_t der[64];
    size_t n = end ? fl_base64_decode(der, sizeof der, body, (size_t)(end - body)) : SIZE_MAX;
    if (n != 12 + FL_PUBLIC_KEY_SIZE)
        return false;
    memcpy(public_key, der + 12, FL_PUBLIC_KEY_SIZE);
    /* written again it must be the same, which checks head and frame */
    char again[256];
    fl_sign_public_pem(again, public_key);
    return strncmp(strstr(text, begin), again, strlen(again)) == 0;
}

/* A vkey on the first line, or a PEM public key of the ledger's party. */
fl_code audit_read_key(char vkey[DP_VKEY_MAX], const char *path, const char *party, fl_err *err)
{
    fl_buf text;
    char origin[DP_ORIGIN_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    fl_buf_init(&text, KEY_FILE_MAX);
    fl_code code = fl_file_read(&text, path, err);
    if (code == FL_OK) {
        const char *all = fl_buf_text(&text);
        size_t n = strcspn(all, "\r\n");
        snprintf(vkey, DP_VKEY_MAX, "%.*s", (int)(n < DP_VKEY_MAX ? n : 0), all);
        if (pem_key(public_key, all) && vkey[0] == '-') {
            dp_origin(origin, party);
            dp_vkey_text(vkey, origin, public_key);
        } else if (!dp_vkey_parse(origin, public_key, vkey)) {
            code = fl_fail(err, FL_EFORMAT, "%s: not a public key: expected a verifier key line or a PEM of Ed25519",
                           path);
        }
    }
    fl_buf_fini(&text);
    return code;
}

/* The key that is believed, and from where. Without any, the ledger's own. */
static fl_code find_key(audit_evidence *e, char vkey[DP_VKEY_MAX], const char *key_path, fl_err *err)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    char beside[FL_PATH_MAX];
    int n = snprintf(beside, sizeof beside, "%s.pub", e->path);
    if (!key_path && n > 0 && n < FL_PATH_MAX && fl_file_exists(beside))
        key_path = beside;
    if (key_path) {
        snprintf(e->key_source, sizeof e->key_source, "%.255s", key_path);
        return audit_read_key(vkey, key_path, s->node, err);
    }
    snprintf(e->key_source, sizeof e->key_source, "GENESIS");
    memcpy(vkey, s->first_key, DP_VKEY_MAX);
    return FL_OK;
}

/* --- the ledger's own keys --- */

void audit_key_hash(char hash[AUDIT_KEY_HASH], const char *vkey)
{
    const char *plus = strchr(vkey, '+');
    snprintf(hash, AUDIT_KEY_HASH, "%s", plus ? plus + 1 : "");
}

const char *audit_key_named(const audit_evidence *e, const char *hash)
{
    uint32_t position = dp_map_find(&e->key_hashes, 0, hash, "", 0);
    return position == DP_MAP_NONE ? NULL : e->keys[position].vkey;
}

static fl_code keep_key(audit_evidence *e, fl_err *err)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    if (s->key[0] == 0 || (e->n_keys > 0 && strcmp(e->keys[e->n_keys - 1].vkey, s->key) == 0))
        return FL_OK;
    if (!fl_grow(&e->keys, &e->keys_capacity, e->n_keys, sizeof *e->keys))
        return fl_fail(err, FL_EENV, "%s: no memory left", e->path);
    audit_key *key = &e->keys[e->n_keys];
    key->from = e->n_lines;
    memcpy(key->vkey, s->key, sizeof key->vkey);
    char hash[AUDIT_KEY_HASH];
    audit_key_hash(hash, key->vkey);
    if (!dp_map_put(&e->key_hashes, 0, hash, "", 0, (uint32_t)e->n_keys))
        return fl_fail(err, FL_EENV, "%s: no memory left", e->path);
    e->n_keys++;
    return FL_OK;
}

const char *audit_key_at(const audit_evidence *e, uint64_t size, const char **before)
{
    size_t low = 0, high = e->n_keys; /* keys[low].from <= size < keys[high].from */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        *(e->keys[middle].from <= size ? &low : &high) = middle;
    }
    *before = low > 0 && low < e->n_keys && e->keys[low].from == size ? e->keys[low - 1].vkey : NULL;
    return e->n_keys > 0 ? e->keys[low].vkey : "";
}

static bool is_key_of(const audit_evidence *e, const char *vkey)
{
    for (size_t i = 0; i < e->n_keys; i++) {
        if (strcmp(e->keys[i].vkey, vkey) == 0)
            return true;
    }
    return false;
}

bool audit_is_head(const audit_evidence *e, uint64_t size, const fl_hash *root)
{
    return size >= 1 && size <= e->n_lines && fl_hash_equal(root, &e->roots[size - 1]);
}

/* --- the checkpoint --- */

static void check_checkpoint(audit_evidence *e, const char *trusted, const char *line_key)
{
    const fl_buf *note = &e->note;
    const dp_ledger_state *s = dp_replay_state(e->replay);
    uint64_t size = 0;
    fl_hash root, found = dp_tree_root(&s->tree);
    fl_err err;
    bool is_own = is_key_of(e, trusted);
    if (!is_own)
        audit_find(&e->findings, 0, WHY_SIGNED, "the key from %s is not the ledger's", e->key_source);
    if (strcmp(line_key, s->key) != 0)
        audit_find(&e->findings, 0, WHY_SIGNED, "the checkpoint names another key than the ledger's");
    const char *key = is_own ? s->key : trusted; /* follows KEY_ROTATE entries */
    if (dp_checkpoint_verify((const char *)note->bytes, note->size, key, NULL, &size, &root, &err) != FL_OK) {
        audit_find(&e->findings, 0, WHY_SIGNED, "%s", err.text);
        return;
    }
    if (size != e->n_lines)
        audit_find(&e->findings, 0, WHY_SEALED, "the checkpoint covers %llu lines, the file has %llu",
                   (unsigned long long)size, (unsigned long long)e->n_lines);
    else if (!fl_hash_equal(&root, &found))
        audit_find(&e->findings, 0, WHY_SEALED, "the checkpoint is signed over other lines than these");
    else
        e->is_sealed = is_own && strcmp(line_key, s->key) == 0;
}

static fl_code keep_state(audit_evidence *e, fl_err *err)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    size_t capacity = e->capacity; /* of both arrays */
    if (!fl_grow(&e->roots, &capacity, e->n_lines, sizeof *e->roots) ||
        !fl_grow(&e->budgets, &e->capacity, e->n_lines, sizeof *e->budgets))
        return fl_fail(err, FL_EENV, "%s: no memory left", e->path);
    e->budgets[e->n_lines] = (audit_budget){.spent = s->filter.spent, .epsilon = s->filter.epsilon};
    e->roots[e->n_lines++] = dp_tree_root(&s->tree);
    return FL_OK;
}

/* Feeds every line but a last checkpoint line; e->note stays empty when there is none. *n_entries counts real entries. A file
 * of nothing but line feeds has 500 times as many lines as a ledger of its length, so there is an end to what is none. */
static fl_code read_lines(audit_evidence *e, char line_key[DP_VKEY_MAX], uint64_t *n_entries, fl_err *err)
{
    const char *p = fl_buf_text(&e->file), *end = p + e->file.size;
    *n_entries = 0;
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = newline ? (size_t)(newline - p) : (size_t)(end - p);
        const char *next = newline ? newline + 1 : end;
        if (!newline)
            audit_find(&e->findings, 0, WHY_SEALED, "the last line does not end: the file was cut off");
        if (next == end && dp_export_parse(&e->note, line_key, p, n))
            return FL_OK;
        fl_code code = dp_replay_line(e->replay, p, n, err);
        if (code != FL_OK && code != FL_EFORMAT)
            return code;
        *n_entries += code == FL_OK;
        FL_TRY(keep_state(e, err));
        FL_TRY(keep_key(e, err));
        if (e->n_lines - *n_entries > AUDIT_FINDINGS_MAX)
            return fl_fail(err, FL_EFORMAT, "%s: not a ledger: more than %d lines of it are no entries", e->path,
                           AUDIT_FINDINGS_MAX);
        p = next;
    }
    audit_find(&e->findings, 0, WHY_SEALED, "there is no checkpoint line at the end");
    return FL_OK;
}

/* Everything but the choice of the key. */
static fl_code read_ledger(audit_evidence *e, char line_key[DP_VKEY_MAX], fl_err *err)
{
    uint64_t n_entries = 0;
    FL_TRY(dp_replay_create(&e->replay, DP_REPLAY_STRICT, on_finding, &e->findings, err));
    FL_TRY(read_lines(e, line_key, &n_entries, err));
    if (n_entries == 0)
        return fl_fail(err, FL_EFORMAT, "%s: not a ledger: no line of it is an entry", e->path);
    dp_replay_end(e->replay);
    return FL_OK;
}

fl_code audit_evidence_read(audit_evidence *e, const char *path, const char *key_path, fl_err *err)
{
    *e = (audit_evidence){.path = path};
    char line_key[DP_VKEY_MAX] = "", trusted[DP_VKEY_MAX] = "";
    fl_buf_init(&e->file, FILE_MAX);
    fl_buf_init(&e->note, DP_LINE_MAX);
    fl_code code = fl_file_read(&e->file, path, err);
    if (code == FL_OK)
        code = read_ledger(e, line_key, err);
    if (code == FL_OK)
        code = find_key(e, trusted, key_path, err);
    if (code == FL_OK && e->note.size > 0)
        check_checkpoint(e, trusted, line_key);
    return code;
}

fl_code audit_evidence_take(audit_evidence *e, const char *path, const void *bytes, size_t n, const char *vkey,
                            fl_err *err)
{
    *e = (audit_evidence){.path = path};
    char line_key[DP_VKEY_MAX] = "";
    fl_buf_init(&e->file, FILE_MAX);
    fl_buf_init(&e->note, DP_LINE_MAX);
    fl_buf_add(&e->file, bytes, n);
    snprintf(e->key_source, sizeof e->key_source, "%s", vkey ? "the caller" : "GENESIS");
    fl_code code = fl_buf_check(&e->file, path, err);
    if (code == FL_OK)
        code = read_ledger(e, line_key, err);
    if (code == FL_OK && e->note.size > 0)
        check_checkpoint(e, vkey ? vkey : dp_replay_state(e->replay)->first_key, line_key);
    return code;
}

/* A look at the kind before the dear parsing. The mark cannot stand inside a string: quotes there are escaped. */
static bool looks_like(const char *line, size_t n, uint32_t kinds)
{
    static const char mark[] = "\"kind\":\"";
    const char *at = memmem(line, n, mark, sizeof mark - 1);
    if (!at)
        return false;
    at += sizeof mark - 1;
    size_t rest = (size_t)(line + n - at);
    for (unsigned kind = 0; kind < DP_N_KINDS; kind++) {
        const char *name = dp_kind_name((dp_kind)kind);
        size_t length = strlen(name);
        if ((kinds >> kind & 1) && rest > length && memcmp(at, name, length) == 0 && at[length] == '"')
            return true;
    }
    return false;
}

fl_code audit_evidence_each(const audit_evidence *e, uint32_t kinds, const char *member, audit_visit visit,
                            void *context, fl_err *err)
{
    char second[100] = "";
    dp_entry *entry = malloc(sizeof *entry);
    if (!entry)
        return fl_fail(err, FL_EENV, "%s: no memory left", e->path);
    size_t n_second = member ? (size_t)snprintf(second, sizeof second, "\"member\":\"%s\"", member) : 0;
    for (const char *p = fl_buf_text(&e->file), *end = p + e->file.size; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = newline ? (size_t)(newline - p) : (size_t)(end - p);
        /* the strict reading is done, and what is not canonical was found: this one is only for the values */
        if (looks_like(p, n, kinds) && memmem(p, n, second, n_second) &&
            dp_entry_read(entry, p, n, true, NULL) == FL_OK)
            visit(context, entry);
        p += n + (newline != NULL);
    }
    free(entry);
    return FL_OK;
}

void audit_evidence_fini(audit_evidence *e)
{
    if (!e)
        return;
    dp_replay_destroy(e->replay);
    audit_findings_fini(&e->findings);
    fl_buf_fini(&e->file);
    fl_buf_fini(&e->note);
    free(e->roots);
    free(e->keys);
    dp_map_fini(&e->key_hashes);
    free(e->budgets);
}
