#include "privacy/checkpoint.h"

#include "base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DASH "\xe2\x80\x94" /* U+2014 */

enum { KEY_HASH_SIZE = 4, ALGORITHM_ED25519 = 1 };

/* --- RFC 6962, section 2.1 --- */

void dp_tree_init(dp_tree *tree)
{
    memset(tree, 0, sizeof *tree);
}

fl_hash dp_tree_join(const fl_hash *left, const fl_hash *right)
{
    uint8_t bytes[1 + 2 * FL_HASH_SIZE] = {1};
    memcpy(bytes + 1, left->bytes, FL_HASH_SIZE);
    memcpy(bytes + 1 + FL_HASH_SIZE, right->bytes, FL_HASH_SIZE);
    return fl_sha256(bytes, sizeof bytes);
}

fl_hash dp_tree_leaf(const char *line, size_t n)
{
    return fl_sha256_2("", 1, line, n); /* one zero byte, then the line */
}

void dp_tree_append(dp_tree *tree, const char *line, size_t n)
{
    assert(tree->size < UINT64_MAX);
    fl_hash hash = dp_tree_leaf(line, n);
    unsigned level = 0;
    for (uint64_t rest = tree->size; rest & 1; rest >>= 1, level++)
        hash = dp_tree_join(&tree->peaks[level], &hash);
    tree->peaks[level] = hash;
    tree->size++;
}

fl_hash dp_tree_root(const dp_tree *tree)
{
    if (tree->size == 0)
        return fl_sha256("", 0);
    unsigned level = 0;
    while (!(tree->size >> level & 1))
        level++;
    fl_hash root = tree->peaks[level];
    for (level++; level < 64; level++) {
        if (tree->size >> level & 1)
            root = dp_tree_join(&tree->peaks[level], &root);
    }
    return root;
}

/* --- keys --- */

void dp_origin(char origin[DP_ORIGIN_MAX], const char *party)
{
    int n = snprintf(origin, DP_ORIGIN_MAX, "cordon/%s", party);
    assert(n > 0 && n < DP_ORIGIN_MAX);
}

static void key_hash(uint8_t hash[KEY_HASH_SIZE], const char *origin, const uint8_t public_key[FL_PUBLIC_KEY_SIZE])
{
    uint8_t text[DP_ORIGIN_MAX + 2 + FL_PUBLIC_KEY_SIZE];
    size_t n = strlen(origin);
    assert(n < DP_ORIGIN_MAX);
    memcpy(text, origin, n);
    text[n++] = '\n';
    text[n++] = ALGORITHM_ED25519;
    memcpy(text + n, public_key, FL_PUBLIC_KEY_SIZE);
    fl_hash full = fl_sha256(text, n + FL_PUBLIC_KEY_SIZE);
    memcpy(hash, full.bytes, KEY_HASH_SIZE);
}

void dp_vkey_text(char vkey[DP_VKEY_MAX], const char *origin, const uint8_t public_key[FL_PUBLIC_KEY_SIZE])
{
    uint8_t hash[KEY_HASH_SIZE], typed[1 + FL_PUBLIC_KEY_SIZE] = {ALGORITHM_ED25519};
    char hex[2 * KEY_HASH_SIZE + 1], base64[FL_BASE64_SIZE(sizeof typed)];
    key_hash(hash, origin, public_key);
    memcpy(typed + 1, public_key, FL_PUBLIC_KEY_SIZE);
    fl_hex_encode(hex, hash, sizeof hash);
    fl_base64_encode(base64, typed, sizeof typed);
    int n = snprintf(vkey, DP_VKEY_MAX, "%s+%s+%s", origin, hex, base64);
    assert(n > 0 && n < DP_VKEY_MAX);
}

bool dp_vkey_parse(char origin[DP_ORIGIN_MAX], uint8_t public_key[FL_PUBLIC_KEY_SIZE], const char *vkey)
{
    uint8_t typed[1 + FL_PUBLIC_KEY_SIZE];
    const char *first = strchr(vkey, '+'), *second = first ? strchr(first + 1, '+') : NULL;
    if (second == NULL || first == vkey || first - vkey >= DP_ORIGIN_MAX)
        return false;
    if (fl_base64_decode(typed, sizeof typed, second + 1, strlen(second + 1)) != sizeof typed ||
        typed[0] != ALGORITHM_ED25519)
        return false;
    memcpy(origin, vkey, (size_t)(first - vkey));
    origin[first - vkey] = 0;
    for (const char *p = origin; *p; p++) {
        if (*p <= ' ' || *p > '~')
            return false;
    }
    memcpy(public_key, typed + 1, FL_PUBLIC_KEY_SIZE);
    char again[DP_VKEY_MAX];
    dp_vkey_text(again, origin, public_key); /* the key hash, and the canonical form */
    return strcmp(again, vkey) == 0;
}

void dp_export_public(fl_buf *out, const char *vkey)
{
    char origin[DP_ORIGIN_MAX], pem[256];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    bool ok = dp_vkey_parse(origin, public_key, vkey);
    assert(ok);
    fl_sign_public_pem(pem, public_key);
    fl_buf_printf(out, "%s\n%s", vkey, pem);
}

/* --- the note --- */

void dp_checkpoint_note(fl_buf *note, const char *origin, uint64_t size, const fl_hash *root, const fl_sign_key *key)
{
    uint8_t blob[KEY_HASH_SIZE + FL_SIGNATURE_SIZE];
    char root_text[FL_BASE64_SIZE(FL_HASH_SIZE)], blob_text[FL_BASE64_SIZE(sizeof blob)], text[256];
    fl_base64_encode(root_text, root->bytes, FL_HASH_SIZE);
    int n = snprintf(text, sizeof text, "%s\n%" PRIu64 "\n%s\n", origin, size, root_text);
    assert(n > 0 && (size_t)n < sizeof text);
    key_hash(blob, origin, key->public_key);
    fl_sign(blob + KEY_HASH_SIZE, key, text, (size_t)n);
    fl_base64_encode(blob_text, blob, sizeof blob);
    fl_buf_printf(note, "%s\n" DASH " %s %s\n", text, origin, blob_text);
}

/* Takes the next line off *p; false when none is complete or it does not fit. */
static bool next_line(char *line, size_t size, const char **p, const char *end)
{
    const char *newline = memchr(*p, '\n', (size_t)(end - *p));
    size_t n = newline ? (size_t)(newline - *p) : SIZE_MAX;
    if (newline == NULL || n >= size || memchr(*p, 0, n))
        return false;
    memcpy(line, *p, n);
    line[n] = 0;
    *p = newline + 1;
    return true;
}

static bool parse_size(uint64_t *size, const char *text)
{
    size_t n = strlen(text);
    if (n < 1 || n > 18 || strspn(text, "0123456789") != n || (text[0] == '0' && n > 1))
        return false;
    *size = strtoull(text, NULL, 10);
    return true;
}

bool dp_checkpoint_peek(const char *note, size_t n, uint64_t *size, fl_hash *root)
{
    char name[DP_ORIGIN_MAX], size_text[24], root_text[64];
    fl_hash found;
    const char *p = note, *end = note + n;
    if (!next_line(name, sizeof name, &p, end) || !next_line(size_text, sizeof size_text, &p, end) ||
        !next_line(root_text, sizeof root_text, &p, end) || !parse_size(size, size_text) ||
        fl_base64_decode(found.bytes, FL_HASH_SIZE, root_text, strlen(root_text)) != FL_HASH_SIZE)
        return false;
    if (root)
        *root = found;
    return true;
}

fl_code dp_checkpoint_verify(const char *note, size_t n, const char *vkey, char origin[DP_ORIGIN_MAX], uint64_t *size,
                             fl_hash *root, fl_err *err)
{
    char name[DP_ORIGIN_MAX], size_text[24], root_text[64], empty[1], sign_line[256], key_name[DP_ORIGIN_MAX];
    uint8_t blob[KEY_HASH_SIZE + FL_SIGNATURE_SIZE], hash[KEY_HASH_SIZE], public_key[FL_PUBLIC_KEY_SIZE];
    fl_hash found_root;
    uint64_t found_size;
    const char *p = note, *end = note + n;
    if (!dp_vkey_parse(key_name, public_key, vkey))
        return fl_fail(err, FL_EFORMAT, "checkpoint: the key is not a verifier key (name+hash+key)");
    bool ok = next_line(name, sizeof name, &p, end) && next_line(size_text, sizeof size_text, &p, end) &&
              next_line(root_text, sizeof root_text, &p, end);
    size_t n_signed = (size_t)(p - note);
    ok = ok && next_line(empty, sizeof empty, &p, end) && next_line(sign_line, sizeof sign_line, &p, end) && p == end &&
         parse_size(&found_size, size_text) &&
         fl_base64_decode(found_root.bytes, FL_HASH_SIZE, root_text, strlen(root_text)) == FL_HASH_SIZE;
    char head[DP_ORIGIN_MAX + 8];
    size_t n_head = (size_t)snprintf(head, sizeof head, DASH " %s ", ok ? name : "");
    ok = ok && strncmp(sign_line, head, n_head) == 0 &&
         fl_base64_decode(blob, sizeof blob, sign_line + n_head, strlen(sign_line + n_head)) == sizeof blob;
    if (!ok)
        return fl_fail(err, FL_EFORMAT, "checkpoint: not a signed note of origin, size, root and one signature");

    if (strcmp(name, key_name) != 0)
        return fl_fail(err, FL_EREFUSED, "checkpoint: is of %s, the key belongs to %s", name, key_name);
    key_hash(hash, key_name, public_key);
    if (memcmp(hash, blob, KEY_HASH_SIZE) != 0)
        return fl_fail(err, FL_EREFUSED, "checkpoint: signed with another key than the one of %s given", key_name);
    if (!fl_sign_verify(blob + KEY_HASH_SIZE, public_key, note, n_signed))
        return fl_fail(err, FL_EREFUSED, "checkpoint: the signature of %s is wrong", key_name);
    if (origin)
        strcpy(origin, name);
    if (size)
        *size = found_size;
    if (root)
        *root = found_root;
    return FL_OK;
}

/* --- the last line of an export --- */

fl_code dp_export_line(fl_buf *line, const char *note, const char *vkey, fl_err *err)
{
    fl_json *object = fl_json_object();
    fl_json_set_text(object, "checkpoint", note);
    fl_json_set_text(object, "key", vkey);
    fl_code code = fl_json_canonical(line, object, err);
    fl_json_free(object);
    return code;
}

static bool same_as_composed(const char *note, const char *vkey, const char *line, size_t n)
{
    fl_buf again;
    fl_buf_init(&again, DP_LINE_MAX);
    bool ok = dp_export_line(&again, note, vkey, NULL) == FL_OK && !again.failed && again.size == n &&
              memcmp(again.bytes, line, n) == 0;
    fl_buf_fini(&again);
    return ok;
}

bool dp_export_parse(fl_buf *note, char vkey[DP_VKEY_MAX], const char *line, size_t n)
{
    fl_json *object = NULL;
    if (n > DP_LINE_MAX || fl_json_parse(&object, line, n, "checkpoint line", NULL) != FL_OK)
        return false;
    const char *note_text = fl_json_text(object, "checkpoint"), *key_text = fl_json_text(object, "key");
    bool ok = fl_json_count(object) == 2 && note_text && note_text[0] && key_text && strlen(key_text) < DP_VKEY_MAX &&
              same_as_composed(note_text, key_text, line, n);
    if (ok) {
        fl_buf_add_text(note, note_text);
        strcpy(vkey, key_text);
        ok = !note->failed;
    }
    fl_json_free(object);
    return ok;
}
