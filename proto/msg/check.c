/* Every range of a message, in one place. The table in docs/protocol.md says the same in words. */
#include "base/encode.h"
#include "proto/msg/envelope.h"
#include <string.h>

#define DAYS_31_S    2678400u
#define PATIENTS_MAX 1000000000u

static const char *const kind_names[] = {
    [WIRE_NONE] = "?",
    [WIRE_POLL] = "POLL",
    [WIRE_FETCH] = "FETCH",
    [WIRE_JOIN] = "JOIN",
    [WIRE_HEAD] = "HEAD",
    [WIRE_UPLOAD] = "UPLOAD",
    [WIRE_RELEASED] = "RELEASED",
    [WIRE_LEAVE] = "LEAVE",
    [WIRE_WITNESS] = "WITNESS",
    [WIRE_ROTATED] = "ROTATED",
    [WIRE_KEYS] = "KEYS",
    [WIRE_ANNOUNCE] = "ANNOUNCE",
    [WIRE_PLAN] = "PLAN",
    [WIRE_NOTHING] = "NOTHING",
    [WIRE_BYTES] = "BYTES",
    [WIRE_OK] = "OK",
    [WIRE_COSIGNED] = "COSIGNED",
    [WIRE_LENGTH] = "LENGTH",
    [WIRE_RECEIPT] = "RECEIPT",
    [WIRE_WITNESSED] = "WITNESSED",
    [WIRE_KEY_CHAIN] = "KEY_CHAIN",
    [WIRE_ERROR] = "ERROR",
};

static const char *const error_names[] = {
    [WIRE_E_NONE] = "?",
    [WIRE_E_UNKNOWN_STUDY] = "unknown study",
    [WIRE_E_NOT_A_MEMBER] = "not a member",
    [WIRE_E_STALE_ROUND] = "stale round",
    [WIRE_E_NO_OBJECT] = "no such object",
    [WIRE_E_BAD_OFFSET] = "bad offset",
    [WIRE_E_EQUIVOCATION] = "equivocation",
    [WIRE_E_ROLLBACK] = "rollback",
    [WIRE_E_BAD_UPDATE] = "bad update",
    [WIRE_E_BUSY] = "busy",
    [WIRE_E_REVOKED] = "revoked",
    [WIRE_E_BAD_REQUEST] = "bad request",
    [WIRE_E_NO_PROOF] = "no proof",
};

const char *wire_kind_name(wire_kind kind)
{
    return (unsigned)kind <= WIRE_ERROR ? kind_names[kind] : "?";
}

const char *wire_error_name(wire_error_code code)
{
    return (unsigned)code <= WIRE_E_NO_PROOF ? error_names[code] : "?";
}

bool wire_kind_is_request(wire_kind kind)
{
    return kind >= WIRE_POLL && kind <= WIRE_KEYS;
}

bool wire_name_ok(const char *name)
{
    size_t n = strnlen(name, WIRE_NAME_MAX);
    return n >= 1 && n < WIRE_NAME_MAX &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool debit_ok(const char *debit)
{
    uint8_t bytes[16];
    return strnlen(debit, WIRE_DEBIT_SIZE) == 32 && fl_hex_decode(bytes, sizeof bytes, debit);
}

/* One or more lines; no control bytes but the newline. */
static bool text_ok(const char *text, size_t size, bool lines)
{
    size_t n = strnlen(text, size);
    if (n == 0 || n == size)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && !(lines && c == '\n')) || c == 0x7f)
            return false;
    }
    return !lines || text[n - 1] == '\n';
}

static fl_code bad(const wire_message *m, fl_err *err, const char *field, uint64_t value, uint64_t min, uint64_t max)
{
    return fl_fail(err, FL_EFORMAT, "%s: %s is %llu, expected %llu to %llu", wire_kind_name(m->kind), field,
                   (unsigned long long)value, (unsigned long long)min, (unsigned long long)max);
}

static fl_code bad_text(const wire_message *m, fl_err *err, const char *field)
{
    return fl_fail(err, FL_EFORMAT, "%s: %s is not what it may be", wire_kind_name(m->kind), field);
}

#define RANGE(field, value, min, max)                                                                                  \
    do {                                                                                                               \
        if ((value) < (min) || (value) > (max))                                                                        \
            return bad(m, err, field, value, min, max);                                                                \
    } while (0)

static fl_code wire_check_poll(const wire_message *m, fl_err *err)
{
    if (m->u.poll.wait_ms > 30000)
        return bad(m, err, "wait_ms", m->u.poll.wait_ms, 0, 30000);
    return FL_OK;
}

static fl_code wire_check_fetch(const wire_message *m, fl_err *err)
{
    RANGE("max_bytes", m->u.fetch.max_bytes, WIRE_PIECE_MIN, WIRE_PIECE_MAX);
    if (m->u.fetch.offset >= WIRE_OBJECT_MAX)
        return bad(m, err, "offset", m->u.fetch.offset, 0, WIRE_OBJECT_MAX - 1);
    return FL_OK;
}

static fl_code wire_check_join(const wire_message *m, fl_err *err)
{
    RANGE("declared_patients", m->u.join.declared_patients, 1, PATIENTS_MAX);
    return FL_OK;
}

static fl_code check_note(const wire_message *m, const char *note, fl_err *err)
{
    return text_ok(note, WIRE_NOTE_MAX, true) ? FL_OK : bad_text(m, err, "note");
}

static fl_code check_proof(const wire_message *m, const wire_proof *p, fl_err *err)
{
    return p->n > WIRE_PROOF_MAX ? bad(m, err, "number of hashes", p->n, 0, WIRE_PROOF_MAX) : FL_OK;
}

static fl_code check_line(const wire_message *m, const char *line, fl_err *err)
{
    return line && text_ok(line, WIRE_LINE_MAX, false) ? FL_OK : bad_text(m, err, "a ledger line");
}

static fl_code check_lines(const wire_message *m, const wire_lines *lines, uint32_t n_min, fl_err *err)
{
    if (lines->n < n_min || lines->n > WIRE_CHAIN_MAX)
        return bad(m, err, "number of lines", lines->n, n_min, WIRE_CHAIN_MAX);
    for (uint32_t i = 0; i < lines->n; i++)
        FL_TRY(check_line(m, lines->list[i], err));
    return FL_OK;
}

static fl_code wire_check_rotated(const wire_message *m, fl_err *err)
{
    return check_lines(m, &m->u.rotated, 1, err);
}

static fl_code wire_check_key_chain(const wire_message *m, fl_err *err)
{
    return check_lines(m, &m->u.key_chain, 0, err);
}

static fl_code wire_check_witnessed(const wire_message *m, fl_err *err)
{
    const wire_witnessed *w = &m->u.witnessed;
    if (w->note[0])
        FL_TRY(check_note(m, w->note, err));
    if (w->n_known > WIRE_KNOWN_MAX || w->n_known > w->total)
        return bad(m, err, "number of debits", w->n_known, 0, WIRE_KNOWN_MAX);
    for (uint32_t i = 0; i < w->n_known; i++) {
        if (!wire_name_ok(w->known[i].study))
            return bad_text(m, err, "a debit's study");
        if (!debit_ok(w->known[i].debit))
            return bad_text(m, err, "a debit");
        if (w->known[i].round == 0)
            return bad(m, err, "a debit's round", 0, 1, UINT32_MAX);
    }
    return FL_OK;
}

static fl_code wire_check_head(const wire_message *m, fl_err *err)
{
    const wire_head *h = &m->u.head;
    const bool is_restored = h->restore && h->restore[0];
    FL_TRY(check_note(m, h->note, err));
    FL_TRY(check_proof(m, &h->consistency, err));
    FL_TRY(check_proof(m, &h->inclusion, err));
    if (is_restored)
        FL_TRY(check_line(m, h->restore, err));
    if (h->older[0] && !text_ok(h->older, WIRE_NOTE_MAX, true))
        return bad_text(m, err, "older");
    if (!is_restored && (h->older[0] || h->inclusion.n))
        return fl_fail(err, FL_EFORMAT, "HEAD: older and inclusion belong to a restored ledger");
    return FL_OK;
}

static fl_code wire_check_cosigned(const wire_message *m, fl_err *err)
{
    return check_note(m, m->u.cosigned.note, err);
}

static fl_code check_piece(const wire_message *m, uint64_t offset, uint64_t total, uint32_t n, uint32_t n_min,
                           fl_err *err)
{
    RANGE("total", total, 1, WIRE_OBJECT_MAX);
    if (n < n_min || n > WIRE_PIECE_MAX)
        return bad(m, err, "size of the piece", n, n_min, WIRE_PIECE_MAX);
    if (offset > total || n > total - offset)
        return bad(m, err, "offset", offset, 0, total > n ? total - n : 0);
    return FL_OK;
}

/* A piece of no bytes asks for the length that is verified there. */
static fl_code wire_check_upload(const wire_message *m, fl_err *err)
{
    return check_piece(m, m->u.upload.offset, m->u.upload.total, m->u.upload.n_bytes, 0, err);
}

static fl_code wire_check_bytes(const wire_message *m, fl_err *err)
{
    return check_piece(m, m->u.bytes.offset, m->u.bytes.total, m->u.bytes.n_bytes, 1, err);
}

static fl_code wire_check_released(const wire_message *m, fl_err *err)
{
    RANGE("update_bytes", m->u.released.update_bytes, 1, WIRE_OBJECT_MAX);
    FL_TRY(check_proof(m, &m->u.released.inclusion, err));
    return check_line(m, m->u.released.entry, err);
}

static fl_code wire_check_announce(const wire_message *m, fl_err *err)
{
    const wire_announce *a = &m->u.announce;
    if (a->round != m->round)
        return bad(m, err, "round", a->round, m->round, m->round);
    RANGE("model_bytes", a->model_bytes, 1, WIRE_OBJECT_MAX);
    if (a->deadline_s > DAYS_31_S)
        return bad(m, err, "deadline_s", a->deadline_s, 0, DAYS_31_S);
    RANGE("number of sites", a->n_sites, 1, WIRE_SITES_MAX);
    for (uint32_t i = 0; i < a->n_sites; i++) {
        if (!wire_name_ok(a->sites[i].name))
            return bad_text(m, err, "a site's name");
        if (i && strcmp(a->sites[i - 1].name, a->sites[i].name) >= 0)
            return fl_fail(err, FL_EFORMAT, "ANNOUNCE: sites are not in ascending order of their names");
        RANGE("a site's declared_patients", a->sites[i].declared_patients, 1, PATIENTS_MAX);
    }
    return FL_OK;
}

static fl_code wire_check_plan(const wire_message *m, fl_err *err)
{
    RANGE("size of the plan", m->u.plan.n_bytes, 2, WIRE_PLAN_MAX);
    if (memchr(m->u.plan.json, 0, m->u.plan.n_bytes))
        return bad_text(m, err, "json");
    return FL_OK;
}

static fl_code wire_check_length(const wire_message *m, fl_err *err)
{
    if (m->u.length.length > WIRE_OBJECT_MAX)
        return bad(m, err, "length", m->u.length.length, 0, WIRE_OBJECT_MAX);
    return FL_OK;
}

static fl_code wire_check_error(const wire_message *m, fl_err *err)
{
    RANGE("code", (uint64_t)m->u.error.code, WIRE_E_UNKNOWN_STUDY, WIRE_E_NO_PROOF);
    if (m->u.error.code != WIRE_E_NO_PROOF && m->u.error.ledger_size)
        return bad(m, err, "ledger_size", m->u.error.ledger_size, 0, 0);
    return text_ok(m->u.error.text, WIRE_TEXT_MAX, false) ? FL_OK : bad_text(m, err, "text");
}

static fl_code wire_check_empty(const wire_message *m, fl_err *err)
{
    (void)m, (void)err;
    return FL_OK;
}

static const struct {
    fl_code (*check)(const wire_message *m, fl_err *err);
    bool needs_study, needs_debit;
} kinds[] = {
    [WIRE_POLL] = {wire_check_poll, false, false},
    [WIRE_FETCH] = {wire_check_fetch, false, false},
    [WIRE_JOIN] = {wire_check_join, true, false},
    [WIRE_HEAD] = {wire_check_head, false, false},
    [WIRE_UPLOAD] = {wire_check_upload, true, true},
    [WIRE_RELEASED] = {wire_check_released, true, true},
    [WIRE_LEAVE] = {wire_check_empty, true, false},
    [WIRE_ANNOUNCE] = {wire_check_announce, true, false},
    [WIRE_PLAN] = {wire_check_plan, true, false},
    [WIRE_NOTHING] = {wire_check_empty, false, false},
    [WIRE_BYTES] = {wire_check_bytes, false, false},
    [WIRE_OK] = {wire_check_empty, false, false},
    [WIRE_COSIGNED] = {wire_check_cosigned, false, false},
    [WIRE_LENGTH] = {wire_check_length, false, false},
    [WIRE_WITNESS] = {wire_check_empty, false, false},
    [WIRE_ROTATED] = {wire_check_rotated, false, false},
    [WIRE_KEYS] = {wire_check_empty, false, false},
    [WIRE_WITNESSED] = {wire_check_witnessed, false, false},
    [WIRE_KEY_CHAIN] = {wire_check_key_chain, false, false},
    [WIRE_RECEIPT] = {wire_check_empty, true, true},
    [WIRE_ERROR] = {wire_check_error, false, false},
};

fl_code wire_check(const wire_message *m, fl_err *err)
{
    if (m->kind <= WIRE_NONE || m->kind > WIRE_ERROR)
        return fl_fail(err, FL_EFORMAT, "message: unknown kind %d", (int)m->kind);
    if (!wire_name_ok(m->sender))
        return bad_text(m, err, "sender");
    if (m->study[0] ? !wire_name_ok(m->study) : kinds[m->kind].needs_study)
        return bad_text(m, err, "study");
    if (m->debit[0] ? !debit_ok(m->debit) : kinds[m->kind].needs_debit)
        return bad_text(m, err, "debit");
    return kinds[m->kind].check(m, err);
}
