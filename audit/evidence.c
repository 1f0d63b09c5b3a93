#include "audit/evidence.h"

#include "base/file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 30, KEY_FILE_MAX = 16384 };

static const char WHY_SEALED[] = "without a signed checkpoint over every line, lines can be changed or cut off unseen";
static const char WHY_SIGNED[] = "the ledger is not the one its hospital signed";

void audit_find(audit_findings *list, uint64_t entry, const char *why, const char *format, ...)
{
    char what[400];
    va_list args;
    if (list->n == AUDIT_FINDINGS_MAX) {
        list->n_more++;
        return;
    }
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        audit_finding *items = realloc(list->items, capacity * sizeof *items);
        if (!items) {
            list->n_more++;
            return;
        }
        list->items = items;
        list->capacity = capacity;
    }
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    char *copy = strdup(what);
    if (copy)
        list->items[list->n++] = (audit_finding){.entry = entry, .what = copy, .why = why};
    else
        list->n_more++;
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
static fl_code read_key(char vkey[DP_VKEY_MAX], const char *path, const char *party, fl_err *err)
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
        return read_key(vkey, key_path, s->node, err);
    }
    snprintf(e->key_source, sizeof e->key_source, "GENESIS");
    memcpy(vkey, s->first_key, DP_VKEY_MAX);
    return FL_OK;
}

/* --- the checkpoint --- */

static void check_checkpoint(audit_evidence *e, const char *trusted, const fl_buf *note, const char *line_key)
{
    const dp_ledger_state *s = dp_replay_state(e->replay);
    uint64_t size = 0;
    fl_hash root, found = dp_tree_root(&s->tree);
    fl_err err;
    if (strcmp(trusted, s->key) != 0 && strcmp(trusted, s->first_key) != 0)
        audit_find(&e->findings, 0, WHY_SIGNED, "the key from %s is not the ledger's", e->key_source);
    if (strcmp(line_key, s->key) != 0)
        audit_find(&e->findings, 0, WHY_SIGNED, "the checkpoint names another key than the ledger's");
    const char *key = strcmp(trusted, s->first_key) == 0 ? s->key : trusted; /* follows KEY_ROTATE entries */
    if (dp_checkpoint_verify((const char *)note->bytes, note->size, key, NULL, &size, &root, &err) != FL_OK) {
        audit_find(&e->findings, 0, WHY_SIGNED, "%s", err.text);
        return;
    }
    if (size != e->n_lines)
        audit_find(&e->findings, 0, WHY_SEALED, "the checkpoint covers %llu lines, the file has %llu",
                   (unsigned long long)size, (unsigned long long)e->n_lines);
    else if (!fl_hash_equal(&root, &found))
        audit_find(&e->findings, 0, WHY_SEALED, "the checkpoint is signed over other lines than these");
}

static fl_code keep_root(audit_evidence *e, fl_err *err)
{
    if (e->n_lines == e->roots_capacity) {
        size_t capacity = e->roots_capacity ? 2 * e->roots_capacity : 256;
        fl_hash *roots = realloc(e->roots, capacity * sizeof *roots);
        if (!roots)
            return fl_fail(err, FL_EENV, "%s: no memory left", e->path);
        e->roots = roots;
        e->roots_capacity = capacity;
    }
    e->roots[e->n_lines++] = dp_tree_root(&dp_replay_state(e->replay)->tree);
    return FL_OK;
}

/* Feeds every line but a last checkpoint line; note stays empty when there is none. *n_entries counts real entries. */
static fl_code read_lines(audit_evidence *e, fl_buf *note, char line_key[DP_VKEY_MAX], uint64_t *n_entries, fl_err *err)
{
    const char *p = fl_buf_text(&e->file), *end = p + e->file.size;
    *n_entries = 0;
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = newline ? (size_t)(newline - p) : (size_t)(end - p);
        const char *next = newline ? newline + 1 : end;
        if (!newline)
            audit_find(&e->findings, 0, WHY_SEALED, "the last line does not end: the file was cut off");
        if (next == end && dp_export_parse(note, line_key, p, n))
            return FL_OK;
        fl_code code = dp_replay_line(e->replay, p, n, err);
        if (code != FL_OK && code != FL_EFORMAT)
            return code;
        *n_entries += code == FL_OK;
        FL_TRY(keep_root(e, err));
        p = next;
    }
    audit_find(&e->findings, 0, WHY_SEALED, "there is no checkpoint line at the end");
    return FL_OK;
}

fl_code audit_evidence_read(audit_evidence *e, const char *path, const char *key_path, fl_err *err)
{
    *e = (audit_evidence){.path = path};
    char line_key[DP_VKEY_MAX] = "", trusted[DP_VKEY_MAX] = "";
    uint64_t n_entries = 0;
    fl_buf note;
    fl_buf_init(&e->file, FILE_MAX);
    fl_buf_init(&note, DP_LINE_MAX);
    fl_code code = fl_file_read(&e->file, path, err);
    if (code == FL_OK)
        code = dp_replay_create(&e->replay, DP_REPLAY_STRICT, on_finding, &e->findings, err);
    if (code == FL_OK)
        code = read_lines(e, &note, line_key, &n_entries, err);
    if (code == FL_OK && n_entries == 0)
        code = fl_fail(err, FL_EFORMAT, "%s: not a ledger: no line of it is an entry", path);
    if (code == FL_OK) {
        dp_replay_end(e->replay);
        code = find_key(e, trusted, key_path, err);
    }
    if (code == FL_OK && note.size > 0)
        check_checkpoint(e, trusted, &note, line_key);
    fl_buf_fini(&note);
    return code;
}

fl_code audit_evidence_each(const audit_evidence *e, dp_kind kind, audit_visit visit, void *context, fl_err *err)
{
    char mark[40];
    dp_entry *entry = malloc(sizeof *entry);
    if (!entry)
        return fl_fail(err, FL_EENV, "%s: no memory left", e->path);
    int n_mark = snprintf(mark, sizeof mark, "\"kind\":\"%s\"", dp_kind_name(kind));
    for (const char *p = fl_buf_text(&e->file), *end = p + e->file.size; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = newline ? (size_t)(newline - p) : (size_t)(end - p);
        if (memmem(p, n, mark, (size_t)n_mark) && dp_entry_parse(entry, p, n, NULL) == FL_OK && entry->kind == kind)
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
    free(e->roots);
}
