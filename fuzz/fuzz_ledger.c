/*
 * Ledger lines from outside: parse, compose, replay. What parses must compose to the same bytes, and a whole text must
 * go through both replays and the checkpoint parser.
 */
#include "privacy/replay.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line, size_t n)
{
    static dp_entry e;
    fl_hash prev;
    fl_buf again, note;
    char vkey[DP_VKEY_MAX];
    fl_buf_init(&again, 2 * DP_LINE_MAX);
    fl_buf_init(&note, DP_LINE_MAX);
    if (dp_entry_parse(&e, line, n, NULL) == FL_OK) {
        assert(dp_hash_from_text(&prev, e.prev));
        fl_code code = dp_entry_compose(&again, &e, e.seq, &prev, NULL);
        assert(code == FL_OK && again.size == n && memcmp(again.bytes, line, n) == 0);
    }
    if (dp_export_parse(&note, vkey, line, n))
        (void)!dp_checkpoint_verify((const char *)note.bytes, note.size, vkey, NULL, NULL, NULL, NULL);
    fl_buf_fini(&again);
    fl_buf_fini(&note);
}

static void replay(const char *text, size_t size, dp_replay_trust trust)
{
    dp_replay *r = NULL;
    fl_code code = dp_replay_create(&r, trust, NULL, NULL, NULL);
    assert(code == FL_OK);
    for (const char *p = text, *end = text + size; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = newline ? (size_t)(newline - p) : (size_t)(end - p);
        code = dp_replay_line(r, p, n, NULL);
        assert(code == FL_OK || code == FL_EFORMAT);
        p += n + (newline != NULL);
    }
    dp_replay_end(r);
    const dp_ledger_state *s = dp_replay_state(r);
    /* nobody stays inside the budget without having been debited */
    assert(!s->has_policy || s->filter.spent >= 0);
    dp_replay_destroy(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    for (const char *p = text, *end = text + size; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = newline ? (size_t)(newline - p) : (size_t)(end - p);
        check_line(p, n);
        p += n + (newline != NULL);
    }
    replay(text, size, DP_REPLAY_STRICT);
    replay(text, size, DP_REPLAY_TRUSTED);
    return 0;
}
