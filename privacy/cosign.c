#include "privacy/cosign.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define DASH "\xe2\x80\x94" /* U+2014 */

enum { KEY_HASH_SIZE = 4, BLOB_SIZE = KEY_HASH_SIZE + FL_SIGNATURE_SIZE };

/* The key hash stands in the verifier key: name+hex8+key. */
static void key_hash_of(uint8_t hash[KEY_HASH_SIZE], const char *vkey)
{
    char hex[2 * KEY_HASH_SIZE + 1];
    const char *plus = strchr(vkey, '+');
    assert(plus && strlen(plus) > sizeof hex);
    memcpy(hex, plus + 1, sizeof hex - 1);
    hex[sizeof hex - 1] = 0;
    bool ok = fl_hex_decode(hash, KEY_HASH_SIZE, hex);
    assert(ok);
    (void)ok;
}

/* Length of the signed text: the lines before the empty one. 0 when there is none. */
static size_t signed_length(const char *note, size_t n)
{
    const char *blank = n > 0 ? memmem(note, n, "\n\n", 2) : NULL;
    return blank ? (size_t)(blank - note) + 1 : 0;
}

void dp_checkpoint_cosign(fl_buf *note, const char *origin, const fl_sign_key *key)
{
    uint8_t blob[BLOB_SIZE];
    char vkey[DP_VKEY_MAX], text[FL_BASE64_SIZE(BLOB_SIZE)];
    const size_t n_signed = signed_length(fl_buf_text(note), note->size);
    assert(n_signed > 0);
    dp_vkey_text(vkey, origin, key->public_key);
    key_hash_of(blob, vkey);
    fl_sign(blob + KEY_HASH_SIZE, key, note->bytes, n_signed);
    fl_base64_encode(text, blob, sizeof blob);
    fl_buf_printf(note, DASH " %s %s\n", origin, text);
}

/* Where the last line begins; n when the note has no second line or does not end with a newline. */
static size_t last_line(const char *note, size_t n)
{
    const char *before = n > 1 && note[n - 1] == '\n' ? memrchr(note, '\n', n - 1) : NULL;
    return before ? (size_t)(before - note) + 1 : n;
}

fl_code dp_cosignature_verify(const char *note, size_t n, const char *cosigner_vkey, uint64_t *size, fl_hash *root,
                              fl_err *err)
{
    uint8_t blob[BLOB_SIZE], hash[KEY_HASH_SIZE], public_key[FL_PUBLIC_KEY_SIZE];
    char origin[DP_ORIGIN_MAX], head[DP_ORIGIN_MAX + 8];
    if (!dp_vkey_parse(origin, public_key, cosigner_vkey))
        return fl_fail(err, FL_EFORMAT, "cosigned checkpoint: the cosigner's key is not a verifier key");
    const size_t own = last_line(note, n);
    if (own == n || !dp_checkpoint_peek(note, n, size, root))
        return fl_fail(err, FL_EFORMAT, "cosigned checkpoint: not a signed note");
    const char *line = note + own;
    const size_t n_line = n - own - 1; /* without its newline */
    const size_t n_head = (size_t)snprintf(head, sizeof head, DASH " %s ", origin);
    if (n_line <= n_head || memcmp(line, head, n_head) != 0)
        return fl_fail(err, FL_EREFUSED, "cosigned checkpoint: the second signature is not of %s", origin);
    if (fl_base64_decode(blob, sizeof blob, line + n_head, n_line - n_head) != sizeof blob)
        return fl_fail(err, FL_EFORMAT, "cosigned checkpoint: the second signature is not base64 of %d bytes",
                       BLOB_SIZE);
    key_hash_of(hash, cosigner_vkey);
    if (memcmp(hash, blob, sizeof hash) != 0)
        return fl_fail(err, FL_EREFUSED, "cosigned checkpoint: signed with another key than the one of %s given",
                       origin);
    const size_t n_signed = signed_length(note, n);
    if (n_signed == 0 || !fl_sign_verify(blob + KEY_HASH_SIZE, public_key, note, n_signed))
        return fl_fail(err, FL_EREFUSED, "cosigned checkpoint: the signature of %s is wrong", origin);
    return FL_OK;
}

fl_code dp_checkpoint_verify_cosigned(const char *note, size_t n, const char *vkey, const char *cosigner_vkey,
                                      uint64_t *size, fl_hash *root, fl_err *err)
{
    uint64_t seen;
    const size_t own = last_line(note, n);
    if (own == n)
        return fl_fail(err, FL_EFORMAT, "cosigned checkpoint: not a signed note");
    FL_TRY(dp_checkpoint_verify(note, own, vkey, NULL, size, root, err));
    return dp_cosignature_verify(note, n, cosigner_vkey, &seen, NULL, err);
}
