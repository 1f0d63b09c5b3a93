#include "audit/store.h"

#include "base/grow.h"
#include "privacy/cosign.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char TITLE[] = "cordon witness store 1\n", NO_KEY[] = "no key";

enum { NOTE_MAX = 4096, RECORD_MAX = NOTE_MAX + 1024 };

/* --- notes with several signatures --- */

/* Length of the note up to the end of its signature line number `lines` (from 1); 0 when it has fewer. */
static size_t length_with(const char *note, size_t n, unsigned lines)
{
    const char *blank = n > 1 ? memmem(note, n, "\n\n", 2) : NULL, *end = note + n;
    const char *p = blank ? blank + 2 : end;
    for (unsigned i = 0; i < lines; i++) {
        const char *newline = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
        if (!newline)
            return 0;
        p = newline + 1;
    }
    return (size_t)(p - note);
}

fl_code witness_note_verify(const char *note, size_t n, const char *vkey, uint64_t *size, fl_hash *root, fl_err *err)
{
    size_t own = length_with(note, n, 1);
    return own ? dp_checkpoint_verify(note, own, vkey, NULL, size, root, err)
               : fl_fail(err, FL_EFORMAT, "head: not a signed note");
}

/* Further signature lines: in form, and right where they are the store's. */
static fl_code check_cosignatures(const char *note, size_t n, const char *vkey, const char *own_vkey, fl_err *err)
{
    static const char dash[] = "\xe2\x80\x94 cordon/";
    size_t start = length_with(note, n, 1);
    char origin[DP_ORIGIN_MAX] = "", two[NOTE_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    if (own_vkey[0] && !dp_vkey_parse(origin, public_key, own_vkey))
        return fl_fail(err, FL_EFORMAT, "head: the store's key is none");
    for (unsigned i = 1; start < n; i++) {
        size_t end = length_with(note, n, i + 1), n_line = end - start, n_origin = strlen(origin);
        if (end == 0 || i >= WITNESS_COSIGNERS || n_line < sizeof dash || n_line > 256 ||
            memcmp(note + start, dash, sizeof dash - 1) != 0)
            return fl_fail(err, FL_EFORMAT, "head: signature line %u is none", i + 1);
        size_t first = length_with(note, n, 1);
        if (n_origin > 0 && n_line > 5 + n_origin && memcmp(note + start + 4, origin, n_origin) == 0 &&
            note[start + 4 + n_origin] == ' ') {
            memcpy(two, note, first);
            memcpy(two + first, note + start, n_line);
            FL_TRY(dp_checkpoint_verify_cosigned(two, first + n_line, vkey, own_vkey, NULL, NULL, err));
        }
        start = end;
    }
    return FL_OK;
}

/* --- records --- */

static bool is_name(const char *text)
{
    size_t n = strlen(text);
    return n >= 1 && n < DP_NAME_SIZE &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool is_minute(const char *t)
{
    static const char form[] = "dddd-dd-ddTdd:ddZ";
    if (strlen(t) != sizeof form - 1)
        return false;
    for (size_t i = 0; form[i]; i++) {
        if (form[i] == 'd' ? t[i] < '0' || t[i] > '9' : t[i] != form[i])
            return false;
    }
    return true;
}

/* Checks a head and sets what follows from its note. */
static fl_code complete(witness_head *h, const witness_store *s, const char *note, size_t n_note, fl_err *err)
{
    char origin[DP_ORIGIN_MAX], expected[DP_ORIGIN_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    if (!is_name(h->party) || !is_name(h->from) || !is_minute(h->t))
        return fl_fail(err, FL_EFORMAT, "head: party, source or time is none");
    if (!h->is_signed)
        return h->size >= 1 && h->size <= INT64_MAX && h->entry <= INT64_MAX
                   ? FL_OK
                   : fl_fail(err, FL_EFORMAT, "head: of no entries");
    dp_origin(expected, h->party);
    if (n_note == 0 || n_note > NOTE_MAX || memchr(note, 0, n_note) || note[n_note - 1] != '\n')
        return fl_fail(err, FL_EFORMAT, "head: not a signed note of at most %d bytes", NOTE_MAX);
    if (!dp_vkey_parse(origin, public_key, h->vkey) || strcmp(origin, expected) != 0)
        return fl_fail(err, FL_EFORMAT, "head: the key is not one of %s", h->party);
    FL_TRY(witness_note_verify(note, n_note, h->vkey, &h->size, &h->root, err));
    if (h->size < 1)
        return fl_fail(err, FL_EFORMAT, "head: of no entries");
    return check_cosignatures(note, n_note, h->vkey, s->vkey, err);
}

/* Appends the record and says what its successor's hash starts from. */
static void compose(fl_buf *out, fl_hash *chain, const witness_store *s, const witness_head *h, const char *note,
                    size_t n_note)
{
    char hex[DP_HEX_SIZE], root[FL_BASE64_SIZE(FL_HASH_SIZE)];
    fl_buf body;
    fl_buf_init(&body, RECORD_MAX);
    fl_buf_printf(&body, "%s %s %s %s", h->t, h->is_signed ? "note" : "seen", h->party, h->from);
    if (h->is_signed) {
        fl_buf_printf(&body, "\n%s\n", h->vkey);
        fl_buf_add(&body, note, n_note);
        fl_buf_add_text(&body, "\n");
    } else {
        fl_base64_encode(root, h->root.bytes, FL_HASH_SIZE);
        fl_buf_printf(&body, " %" PRIu64 "\n%" PRIu64 " %s\n\n", h->entry, h->size, root);
    }
    *chain = fl_sha256_2(s->last.bytes, FL_HASH_SIZE, body.bytes, body.size);
    dp_hash_text(hex, chain);
    fl_buf_printf(out, "== %zu %s ", s->n + 1, hex);
    fl_buf_add(out, body.bytes, body.size);
    out->failed |= body.failed;
    fl_buf_fini(&body);
}

/* Puts a composed record, whose head is complete, behind the text. */
static fl_code keep(witness_store *s, const witness_head *h, const fl_buf *record, const fl_hash *chain, fl_err *err)
{
    if (!fl_grow(&s->heads, &s->capacity, s->n, sizeof *s->heads))
        return fl_fail(err, FL_EENV, "witness store: no memory left");
    witness_head *kept = &s->heads[s->n];
    *kept = *h;
    if (h->is_signed) {
        const char *line = memchr(record->bytes, '\n', record->size);
        size_t before = (size_t)(line - fl_buf_text(record)) + 1 + strlen(h->vkey) + 1;
        kept->note_at = s->text.size + before;
        kept->n_note = record->size - before - 1;
    }
    fl_buf_add(&s->text, record->bytes, record->size);
    FL_TRY(fl_buf_check(&s->text, "witness store", err));
    s->last = *chain;
    s->n++;
    return FL_OK;
}

fl_code witness_store_add(witness_store *s, const witness_head *head, const char *note, size_t n_note, fl_err *err)
{
    fl_buf record;
    fl_hash chain;
    witness_head h = *head;
    FL_TRY(complete(&h, s, note, n_note, err));
    fl_buf_init(&record, RECORD_MAX);
    compose(&record, &chain, s, &h, note, n_note);
    fl_code code = fl_buf_check(&record, "witness record", err);
    if (code == FL_OK)
        code = keep(s, &h, &record, &chain, err);
    fl_buf_fini(&record);
    return code;
}

/* --- reading --- */

fl_code witness_store_begin(witness_store *s, const char *vkey, fl_err *err)
{
    *s = (witness_store){0};
    fl_buf_init(&s->text, WITNESS_STORE_MAX);
    snprintf(s->vkey, sizeof s->vkey, "%s", vkey ? vkey : "");
    fl_buf_printf(&s->text, "%s%s\n\n", TITLE, s->vkey[0] ? s->vkey : NO_KEY);
    FL_TRY(fl_buf_check(&s->text, "witness store", err));
    s->last = fl_sha256(s->text.bytes, s->text.size);
    return FL_OK;
}

/* Title and key; *used is their length. */
static fl_code parse_start(witness_store *s, const char *text, size_t n, size_t *used, const char *name, fl_err *err)
{
    char line[DP_VKEY_MAX], origin[DP_ORIGIN_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    size_t n_title = sizeof TITLE - 1;
    if (n < n_title || memcmp(text, TITLE, n_title) != 0)
        return fl_fail(err, FL_EFORMAT, "%s: not a witness store: its first line is not \"%.*s\"", name,
                       (int)n_title - 1, TITLE);
    const char *newline = memchr(text + n_title, '\n', n - n_title);
    size_t n_line = newline ? (size_t)(newline - text) - n_title : sizeof line;
    if (n_line >= sizeof line || memchr(text, 0, n_title + n_line))
        return fl_fail(err, FL_EFORMAT, "%s: damaged: the second line is no key", name);
    memcpy(line, text + n_title, n_line);
    line[n_line] = 0;
    bool has_key = strcmp(line, NO_KEY) != 0;
    if (has_key && !dp_vkey_parse(origin, public_key, line))
        return fl_fail(err, FL_EFORMAT, "%s: damaged: the second line is no key", name);
    FL_TRY(witness_store_begin(s, has_key ? line : NULL, err));
    *used = s->text.size;
    if (n < *used || memcmp(text, s->text.bytes, *used) != 0)
        return fl_fail(err, FL_EFORMAT, "%s: damaged: the third line is not empty", name);
    return FL_OK;
}

/* The next of at most five words of a line; NULL when there is none, or it does not fit. */
static const char *take_word(char *word, size_t size, const char *p, const char *end)
{
    const char *space = p < end ? memchr(p, ' ', (size_t)(end - p)) : NULL;
    size_t n = p < end ? (size_t)((space ? space : end) - p) : size;
    if (n == 0 || n >= size || memchr(p, 0, n))
        return NULL;
    memcpy(word, p, n);
    word[n] = 0;
    return space ? space + 1 : end;
}

static bool take_number(uint64_t *number, const char *word)
{
    size_t n = strlen(word);
    if (n < 1 || n > 18 || strspn(word, "0123456789") != n)
        return false;
    *number = strtoull(word, NULL, 10);
    return true;
}

/* "== 1 <chain> T note PARTY FROM" or "== 2 <chain> T seen PARTY FROM ENTRY"; number and chain are compared when composed again. */
static bool parse_first_line(witness_head *h, const char *p, const char *end)
{
    char word[80], kind[8];
    p = take_word(word, sizeof word, p, end);            /* == */
    p = p ? take_word(word, sizeof word, p, end) : NULL; /* number */
    p = p ? take_word(word, sizeof word, p, end) : NULL; /* chain */
    p = p ? take_word(h->t, sizeof h->t, p, end) : NULL;
    p = p ? take_word(kind, sizeof kind, p, end) : NULL;
    p = p ? take_word(h->party, sizeof h->party, p, end) : NULL;
    p = p ? take_word(h->from, sizeof h->from, p, end) : NULL;
    if (!p || (strcmp(kind, "note") != 0 && strcmp(kind, "seen") != 0))
        return false;
    h->is_signed = kind[0] == 'n';
    if (h->is_signed)
        return p == end;
    p = take_word(word, sizeof word, p, end);
    return p == end && take_number(&h->entry, word);
}

static bool parse_seen(witness_head *h, const char *p, const char *end)
{
    char size[24], root[64];
    const char *newline = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
    p = newline ? take_word(size, sizeof size, p, newline) : NULL;
    p = p ? take_word(root, sizeof root, p, newline) : NULL;
    return p && take_number(&h->size, size) &&
           fl_base64_decode(h->root.bytes, FL_HASH_SIZE, root, strlen(root)) == FL_HASH_SIZE;
}

/* One record, from its "== " to its empty line: read, completed, composed again and compared. */
static fl_code parse_record(witness_store *s, const char *text, size_t n, fl_err *err)
{
    witness_head h = {0};
    const char *end = text + n, *newline = memchr(text, '\n', n), *note = end;
    if (!newline || !parse_first_line(&h, text, newline))
        return fl_fail(err, FL_EFORMAT, "its first line is not as it should be");
    if (h.is_signed) {
        const char *second = memchr(newline + 1, '\n', (size_t)(end - newline - 1));
        size_t n_key = second ? (size_t)(second - newline) - 1 : sizeof h.vkey;
        if (n_key >= sizeof h.vkey || end - second < 3)
            return fl_fail(err, FL_EFORMAT, "it has no key");
        memcpy(h.vkey, newline + 1, n_key);
        note = second + 1;
    } else if (!parse_seen(&h, newline + 1, end)) {
        return fl_fail(err, FL_EFORMAT, "its second line is no size and root");
    }
    size_t n_note = h.is_signed ? (size_t)(end - note) - 1 : 0;
    FL_TRY(complete(&h, s, note, n_note, err));
    fl_buf again;
    fl_hash chain;
    fl_buf_init(&again, RECORD_MAX);
    compose(&again, &chain, s, &h, note, n_note);
    bool same = !again.failed && again.size == n && memcmp(again.bytes, text, n) == 0;
    fl_code code = same ? keep(s, &h, &again, &chain, err)
                        : fl_fail(err, FL_EFORMAT,
                                  "its number, or the hash of the record before it, is wrong: records were "
                                  "changed, moved or taken away");
    fl_buf_fini(&again);
    return code;
}

fl_code witness_store_parse(witness_store *s, const void *bytes, size_t n, const char *name, fl_err *err)
{
    const char *text = bytes, *end = text + n;
    fl_err why = {.code = FL_OK};
    size_t used = 0;
    *s = (witness_store){0};
    if (n > WITNESS_STORE_MAX)
        return fl_fail(err, FL_EFORMAT, "%s: not a witness store: longer than %zu bytes", name, WITNESS_STORE_MAX);
    FL_TRY(parse_start(s, text, n, &used, name, err));
    for (const char *p = text + used; p < end;) {
        size_t rest = (size_t)(end - p);
        const char *next = memmem(p, rest, "\n\n== ", 5);
        size_t length = next ? (size_t)(next - p) + 2 : rest;
        fl_code code = length > RECORD_MAX ? fl_fail(&why, FL_EFORMAT, "it is too long")
                                           : parse_record(s, p, length, &why);
        if (code == FL_EENV)
            return fl_fail(err, code, "%s: %s", name, why.text);
        if (code != FL_OK)
            return fl_fail(err, FL_EFORMAT, "%s: damaged: record %zu: %s: bring back a copy", name, s->n + 1, why.text);
        p += length;
    }
    return FL_OK;
}

void witness_store_fini(witness_store *s)
{
    if (!s)
        return;
    fl_buf_fini(&s->text);
    free(s->heads);
}
