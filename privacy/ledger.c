#include "privacy/ledger.h"

#include "base/json.h"
#include "privacy/budget.h"
#include "privacy/checkpoint.h"
#include "privacy/decimal.h"
#include "privacy/entry.h"
#include "privacy/noise.h"
#include "privacy/update.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum value_type {
    V_NAME,    /* [A-Za-z0-9._-]{1,63} */
    V_EMPTY,   /* the same, or "" */
    V_CODE,    /* [a-z0-9._-]{1,63} */
    V_CODES,   /* codes joined by + */
    V_PERSON,  /* 1..127 bytes of UTF-8 without control characters */
    V_HASH,    /* 64 hex digits */
    V_HASH_OR, /* the same, or "" */
    V_DEBIT,   /* 32 hex digits */
    V_DECIMAL,
    V_MICRO, /* a decimal with at most 6 places */
    V_TIME,  /* 2026-03-01T12:34Z */
    V_VKEY,
    V_SIGN, /* base64 of 64 bytes */
    V_NOTE, /* base64 of at most DP_NOTE_MAX bytes, or "" */
    V_INT,  /* a JSON integer, min..max; uint32_t or uint64_t by size */
    V_VAR,  /* uint64_t as decimal digits in a string, min..max */
    V_RATE, /* dp_rate as decimal digits in a string */
    V_MEMBERS,
    V_TERMS,
} value_type;

typedef struct field {
    const char *key;
    value_type type;
    size_t offset, size;
    uint32_t kinds; /* bit 1 << kind */
    uint64_t min, max;
    unsigned versions; /* bit 1 << v: the versions of the format that have this row */
} field;

#define K(kind)  (1u << DP_##kind)
#define ALL      ((1u << DP_N_KINDS) - 1)
#define V(v)     (1u << (v))
#define EVERY    (V(1) | V(2) | V(3))
#define FROM_2   (V(2) | V(3))
#define AT(name) offsetof(dp_entry, name), sizeof(((dp_entry *)0)->name)

enum {
    WITH_STUDY = K(APPROVE_PLAN) | K(RESERVE) | K(STARTED) | K(RELEASE) | K(ACK) | K(BURN) | K(OTHER_RELEASE) |
                 K(STUDY) | K(ROSTER) | K(ROUND_OPEN) | K(RECEIVED) | K(AGGREGATE) | K(PUBLISH),
    WITH_ROUND = K(RESERVE) | K(STARTED) | K(RELEASE) | K(ACK) | K(BURN) | K(ROUND_OPEN) | K(RECEIVED) | K(AGGREGATE) |
                 K(PUBLISH),
    WITH_DEBIT = K(RESERVE) | K(STARTED) | K(RELEASE) | K(ACK) | K(BURN) | K(OTHER_RELEASE) | K(RECEIVED),
};

/* Which kind has which fields, in which version of the format: the one table that compose, parse and docs/ledger.md
 * follow. kind, prev, seq and v, which every line has, are apart. */
/* clang-format off */
static const field fields[] = {
    {"node",                 V_NAME,    AT(node),                 ALL, 0, 0, EVERY},
    {"study",                V_NAME,    AT(study),                WITH_STUDY, 0, 0, EVERY},
    {"study",                V_EMPTY,   AT(study),                ALL & ~WITH_STUDY, 0, 0, EVERY},
    {"t",                    V_TIME,    AT(t),                    ALL, 0, 0, EVERY},

    {"role",                 V_CODE,    AT(role),                 K(GENESIS), 0, 0, EVERY},
    {"key",                  V_VKEY,    AT(key),                  K(GENESIS) | K(KEY_ROTATE), 0, 0, EVERY},
    {"software",             V_CODE,    AT(software),             K(GENESIS), 0, 0, EVERY},
    {"accountant",           V_CODE,    AT(accountant),           K(GENESIS), 0, 0, EVERY},
    {"adjacency",            V_CODE,    AT(adjacency),            K(GENESIS), 0, 0, EVERY},
    {"unit",                 V_CODE,    AT(unit),                 K(GENESIS), 0, 0, EVERY},

    {"dataset",              V_NAME,    AT(dataset),              K(POLICY) | K(DATASET) | K(APPROVE_PLAN), 0, 0, EVERY},
    {"epsilon",              V_DECIMAL, AT(epsilon),              K(POLICY), 0, 0, EVERY},
    {"delta",                V_DECIMAL, AT(delta),                K(POLICY), 0, 0, EVERY},
    {"order",                V_INT,     AT(order),                K(POLICY), DP_ORDER_MIN, DP_ORDER_MAX, EVERY},
    {"rungs",                V_INT,     AT(rungs),                K(POLICY), 1, 100, EVERY},
    {"min_noise_multiplier", V_DECIMAL, AT(min_noise_multiplier), K(POLICY), 0, 0, EVERY},
    {"max_sampling_rate",    V_DECIMAL, AT(max_sampling_rate),    K(POLICY), 0, 0, EVERY},
    {"max_clip_norm",        V_DECIMAL, AT(max_clip_norm),        K(POLICY), 0, 0, EVERY},
    {"max_rounds",           V_INT,     AT(max_rounds),           K(POLICY), 0, UINT32_MAX, EVERY},
    {"declared_patients",    V_INT,     AT(declared_patients),    K(POLICY) | K(DATASET) | K(RESERVE), 1, UINT32_MAX, EVERY},
    {"min_cohort",           V_INT,     AT(min_cohort),           K(POLICY), 0, UINT32_MAX, EVERY},
    {"releases",             V_CODES,   AT(releases),             K(POLICY), 0, 0, EVERY},
    {"commitment",           V_HASH,    AT(commitment),           K(DATASET), 0, 0, EVERY},

    {"plan_hash",            V_HASH,    AT(plan_hash),            K(APPROVE_PLAN) | K(RESERVE) | K(STUDY) | K(ROUND_OPEN), 0, 0, EVERY},
    {"plan_hash",            V_HASH_OR, AT(plan_hash),            K(REFUSE), 0, 0, EVERY},
    {"approver",             V_PERSON,  AT(approver),             K(APPROVE_PLAN), 0, 0, EVERY},
    {"terms",                V_TERMS,   AT(terms),                K(APPROVE_PLAN) | K(STUDY), 0, 0, V(3)},

    {"debit",                V_DEBIT,   AT(debit),                WITH_DEBIT, 0, 0, EVERY},
    {"with",                 V_DEBIT,   AT(with),                 K(OTHER_RELEASE), 0, 0, FROM_2},
    {"round",                V_INT,     AT(round),                WITH_ROUND, 1, UINT32_MAX, EVERY},
    {"round",                V_INT,     AT(round),                K(OTHER_RELEASE), 1, UINT32_MAX, FROM_2},
    {"round",                V_INT,     AT(round),                K(REFUSE), 0, UINT32_MAX, EVERY},
    {"steps",                V_INT,     AT(steps),                K(RESERVE) | K(OTHER_RELEASE), 1, UINT32_MAX, EVERY},
    {"mechanism",            V_CODE,    AT(mechanism),            K(RESERVE) | K(OTHER_RELEASE), 0, 0, EVERY},
    {"sampling_rate",        V_DECIMAL, AT(sampling_rate),        K(RESERVE), 0, 0, EVERY},
    {"rate_u64",             V_RATE,    AT(rate),                 K(RESERVE), 0, 0, EVERY},
    {"clip_norm",            V_DECIMAL, AT(clip_norm),            K(RESERVE), 0, 0, EVERY},
    {"clip_units",           V_INT,     AT(clip_units),           K(RESERVE), 1, 1u << 30, EVERY},
    {"noise_variance",       V_VAR,     AT(noise_variance),       K(RESERVE), 1, DP_NOISE_VARIANCE_MAX, EVERY},
    {"noise_variance",       V_VAR,     AT(noise_variance),       K(OTHER_RELEASE), 1, DP_NOISE_VARIANCE_MAX, FROM_2},
    {"noise_multiplier",     V_MICRO,   AT(noise_multiplier),     K(RESERVE) | K(OTHER_RELEASE), 0, 0, EVERY},
    {"coordinates",          V_INT,     AT(coordinates),          K(RESERVE), 1, UINT32_MAX, FROM_2},
    {"probe",                V_INT,     AT(probe),                K(RESERVE), 0, UINT32_MAX, FROM_2},
    {"update_bits",          V_INT,     AT(update_bits),          K(RESERVE), 8, 64, FROM_2},
    {"cells",                V_INT,     AT(cells),                K(OTHER_RELEASE), 1, DP_UPDATE_MAX_CELLS, FROM_2},
    {"what",                 V_CODES,   AT(what),                 K(OTHER_RELEASE), 0, 0, FROM_2},
    {"cohort",               V_INT,     AT(cohort),               K(RESERVE), 1, UINT32_MAX, EVERY},
    {"model_hash",           V_HASH,    AT(model_hash),           K(RESERVE) | K(ROUND_OPEN) | K(AGGREGATE) | K(PUBLISH), 0, 0, EVERY},
    {"announce_hash",        V_HASH,    AT(announce_hash),        K(RESERVE) | K(ROUND_OPEN), 0, 0, EVERY},
    {"update_hash",          V_HASH,    AT(update_hash),          K(RELEASE) | K(ACK) | K(RECEIVED), 0, 0, EVERY},
    {"update_hash",          V_HASH,    AT(update_hash),          K(OTHER_RELEASE), 0, 0, V(1)},
    {"bytes",                V_INT,     AT(bytes),                K(RELEASE) | K(RECEIVED), 0, INT64_MAX, EVERY},
    {"bytes",                V_INT,     AT(bytes),                K(OTHER_RELEASE), 0, INT64_MAX, V(1)},
    {"receipt",              V_SIGN,    AT(receipt),              K(ACK), 0, 0, EVERY},
    {"checkpoint",           V_NOTE,    AT(checkpoint),           K(ACK) | K(RECEIVED), 0, 0, EVERY},
    {"reason",               V_CODE,    AT(reason),               K(BURN) | K(REFUSE) | K(RESTORE) | K(KEY_ROTATE) | K(CLOSE) | K(REVOKE), 0, 0, EVERY},

    {"missing",              V_INT,     AT(missing),              K(RESTORE), 0, UINT32_MAX, EVERY},
    {"witness_size",         V_INT,     AT(witness_size),         K(RESTORE), 0, INT64_MAX, EVERY},
    {"witness_root",         V_HASH,    AT(witness_root),         K(RESTORE), 0, 0, EVERY},
    {"signature",            V_SIGN,    AT(signature),            K(KEY_ROTATE), 0, 0, EVERY},

    {"member",               V_NAME,    AT(member),               K(RECEIVED) | K(REVOKE), 0, 0, EVERY},
    {"rule",                 V_CODE,    AT(rule),                 K(AGGREGATE), 0, 0, EVERY},
    {"members",              V_MEMBERS, AT(members),              K(ROSTER) | K(ROUND_OPEN) | K(AGGREGATE), 0, 0, EVERY},
};
/* clang-format on */

enum { N_FIELDS = sizeof fields / sizeof fields[0] };

static bool belongs(const field *f, dp_kind kind, unsigned v)
{
    return (f->kinds >> kind & 1) && (f->versions >> v & 1);
}

static const char *const kind_names[DP_N_KINDS] = {
    "GENESIS", "POLICY",        "DATASET",  "APPROVE_PLAN", "RESERVE",    "STARTED", "RELEASE", "ACK",
    "BURN",    "OTHER_RELEASE", "REFUSE",   "RESTORE",      "KEY_ROTATE", "EXPORT",  "CLOSE",   "STUDY",
    "ROSTER",  "ROUND_OPEN",    "RECEIVED", "AGGREGATE",    "PUBLISH",    "REVOKE",
};

const char *dp_kind_name(dp_kind kind)
{
    assert((unsigned)kind < DP_N_KINDS);
    return kind_names[kind];
}

/* --- what a value may look like --- */

static bool is_name(const char *text, const char *alphabet)
{
    size_t n = strlen(text);
    return n >= 1 && n < DP_NAME_SIZE && strspn(text, alphabet) == n;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789._-"
#define ANY   LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

static bool is_hex(const char *text, size_t n)
{
    return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

static bool is_codes(const char *text)
{
    if (!is_name(text, LOWER "+") || text[0] == '+' || text[strlen(text) - 1] == '+')
        return false;
    return strstr(text, "++") == NULL;
}

/* Well-formed UTF-8 (no overlong forms, no surrogates), no control characters. */
static bool is_person(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    if (*p == 0)
        return false;
    while (*p) {
        unsigned extra = *p < 0x80                 ? 0
                         : *p >= 0xc2 && *p < 0xe0 ? 1
                         : (*p & 0xf0) == 0xe0     ? 2
                         : *p >= 0xf0 && *p < 0xf5 ? 3
                                                   : 4;
        if (extra == 4 || *p < 0x20 || *p == 0x7f)
            return false;
        uint32_t point = extra == 0 ? *p : *p & (0x3fu >> extra);
        for (unsigned i = 0; i < extra; i++) {
            if ((*++p & 0xc0) != 0x80)
                return false;
            point = point << 6 | (*p & 0x3f);
        }
        static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
        if (point < least[extra] || (point >= 0xd800 && point < 0xe000) || point > 0x10ffff ||
            (point >= 0x80 && point < 0xa0))
            return false;
        p++;
    }
    return true;
}

static bool two_digits(const char *p, int min, int max)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return false;
    int value = (p[0] - '0') * 10 + (p[1] - '0');
    return value >= min && value <= max;
}

static bool is_time(const char *t)
{
    return strlen(t) == 17 && two_digits(t, 19, 99) && two_digits(t + 2, 0, 99) && t[4] == '-' &&
           two_digits(t + 5, 1, 12) && t[7] == '-' && two_digits(t + 8, 1, 31) && t[10] == 'T' &&
           two_digits(t + 11, 0, 23) && t[13] == ':' && two_digits(t + 14, 0, 59) && t[16] == 'Z';
}

static bool is_base64(const char *text, size_t min_bytes, size_t max_bytes)
{
    uint8_t bytes[DP_NOTE_MAX];
    assert(max_bytes <= sizeof bytes);
    size_t n = fl_base64_decode(bytes, max_bytes, text, strlen(text));
    return n != SIZE_MAX && n >= min_bytes;
}

static bool text_is(value_type type, const char *text)
{
    dp_decimal d;
    uint64_t micro;
    char origin[DP_ORIGIN_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    switch (type) {
    case V_NAME:
        return is_name(text, ANY);
    case V_EMPTY:
        return text[0] == 0 || is_name(text, ANY);
    case V_CODE:
        return is_name(text, LOWER);
    case V_CODES:
        return is_codes(text);
    case V_PERSON:
        return is_person(text);
    case V_HASH:
        return is_hex(text, 64);
    case V_HASH_OR:
        return text[0] == 0 || is_hex(text, 64);
    case V_DEBIT:
        return is_hex(text, 32);
    case V_DECIMAL:
        return dp_decimal_parse(&d, text);
    case V_MICRO:
        return dp_micro_parse(&micro, text);
    case V_TIME:
        return is_time(text);
    case V_VKEY:
        return dp_vkey_parse(origin, public_key, text);
    case V_SIGN:
        return is_base64(text, FL_SIGNATURE_SIZE, FL_SIGNATURE_SIZE);
    case V_NOTE:
        return is_base64(text, 0, DP_NOTE_MAX);
    default:
        assert(!"a text type");
        return false;
    }
}

static fl_code bad_field(fl_err *err, dp_kind kind, const field *f)
{
    return fl_fail(err, FL_EFORMAT, "ledger entry %s: field \"%s\" is missing or malformed", kind_names[kind], f->key);
}

/* --- struct to JSON --- */

static bool set_members(fl_json *object, const dp_entry *e)
{
    if (e->n_members < 1 || e->n_members > DP_MEMBERS_MAX)
        return false;
    fl_json *list = fl_json_array();
    bool ok = true;
    for (uint32_t i = 0; i < e->n_members && ok; i++) {
        const dp_member *m = &e->members[i];
        ok = is_name(m->node, ANY) && is_hex(m->hash, 64) && m->n <= INT64_MAX &&
             (i == 0 || strcmp(e->members[i - 1].node, m->node) < 0);
        fl_json *item = fl_json_object();
        fl_json_set_text(item, "hash", m->hash);
        fl_json_set_int(item, "n", ok ? (int64_t)m->n : 0);
        fl_json_set_text(item, "node", m->node);
        fl_json_push(list, item);
    }
    fl_json_set(object, "members", list);
    return ok;
}

static bool terms_ok(const dp_terms *t)
{
    return t->rounds >= 1 && t->steps >= 1 && t->clip_units >= 1 && t->clip_units <= 1u << 30 && t->coordinates >= 1 &&
           t->noise_variance >= 1 && t->noise_variance <= DP_NOISE_VARIANCE_MAX && t->rate >= 1 &&
           t->rate <= DP_RATE_ONE;
}

static bool set_terms(fl_json *object, const dp_entry *e)
{
    if (e->n_terms < 1 || e->n_terms > DP_TERMS_MAX)
        return false;
    fl_json *list = fl_json_array();
    bool ok = true;
    for (uint32_t i = 0; i < e->n_terms; i++) {
        const dp_terms *t = &e->terms[i];
        char digits[DP_RATE_TEXT];
        fl_json *item = fl_json_object();
        if (terms_ok(t)) {
            fl_json_set_int(item, "clip_units", t->clip_units);
            fl_json_set_int(item, "coordinates", t->coordinates);
            snprintf(digits, sizeof digits, "%" PRIu64, t->noise_variance);
            fl_json_set_text(item, "noise_variance", digits);
            dp_rate_text(digits, t->rate);
            fl_json_set_text(item, "rate_u64", digits);
            fl_json_set_int(item, "rounds", t->rounds);
            fl_json_set_int(item, "steps", t->steps);
        } else {
            ok = false;
        }
        fl_json_push(list, item);
    }
    fl_json_set(object, "terms", list);
    return ok;
}

static bool set_field(fl_json *object, const dp_entry *e, const field *f)
{
    const char *at = (const char *)e + f->offset;
    char digits[DP_RATE_TEXT];
    uint64_t value = 0;
    switch (f->type) {
    case V_INT:
    case V_VAR:
        if (f->size == sizeof(uint32_t))
            value = *(const uint32_t *)(const void *)at;
        else
            value = *(const uint64_t *)(const void *)at;
        if (value < f->min || value > f->max)
            return false;
        if (f->type == V_INT) {
            fl_json_set_int(object, f->key, (int64_t)value);
            return true;
        }
        snprintf(digits, sizeof digits, "%" PRIu64, value);
        fl_json_set_text(object, f->key, digits);
        return true;
    case V_RATE:
        if (e->rate < 1 || e->rate > DP_RATE_ONE)
            return false;
        dp_rate_text(digits, e->rate);
        fl_json_set_text(object, f->key, digits);
        return true;
    case V_MEMBERS:
        return set_members(object, e);
    case V_TERMS:
        return set_terms(object, e);
    default:
        if (memchr(at, 0, f->size) == NULL || !text_is(f->type, at))
            return false;
        fl_json_set_text(object, f->key, at);
        return true;
    }
}

fl_code dp_entry_compose(fl_buf *line, const dp_entry *e, uint64_t seq, const fl_hash *prev, fl_err *err)
{
    assert((unsigned)e->kind < DP_N_KINDS && seq >= 1 && seq <= INT64_MAX && e->v <= DP_LEDGER_VERSION);
    const unsigned v = e->v ? e->v : DP_LEDGER_VERSION;
    char prev_text[DP_HEX_SIZE];
    fl_json *object = fl_json_object();
    dp_hash_text(prev_text, prev);
    fl_json_set_text(object, "kind", kind_names[e->kind]);
    fl_json_set_text(object, "prev", prev_text);
    fl_json_set_int(object, "seq", (int64_t)seq);
    fl_json_set_int(object, "v", v);
    fl_code code = FL_OK;
    for (size_t i = 0; i < N_FIELDS && code == FL_OK; i++) {
        if (belongs(&fields[i], e->kind, v) && !set_field(object, e, &fields[i]))
            code = bad_field(err, e->kind, &fields[i]);
    }
    size_t before = line->size;
    if (code == FL_OK)
        code = fl_json_canonical(line, object, err);
    if (code == FL_OK)
        code = fl_buf_check(line, "ledger line", err);
    if (code == FL_OK && line->size - before > DP_LINE_MAX)
        code = fl_fail(err, FL_EFORMAT, "ledger entry %s: longer than %d bytes", kind_names[e->kind], DP_LINE_MAX);
    fl_json_free(object);
    return code;
}

/* --- JSON to struct --- */

static bool get_text(char *at, size_t size, const fl_json *object, const char *key)
{
    const char *text = fl_json_text(object, key);
    if (text == NULL || strlen(text) >= size)
        return false;
    strcpy(at, text);
    return true;
}

static bool get_members(dp_entry *e, const fl_json *object)
{
    fl_json *list = fl_json_member(object, "members");
    if (!fl_json_is_array(list) || fl_json_count(list) < 1 || fl_json_count(list) > DP_MEMBERS_MAX)
        return false;
    e->n_members = (uint32_t)fl_json_count(list);
    for (uint32_t i = 0; i < e->n_members; i++) {
        const fl_json *item = fl_json_at(list, i);
        dp_member *m = &e->members[i];
        int64_t n;
        if (!fl_json_is_object(item) || fl_json_count(item) != 3 || !fl_json_int(item, "n", &n) || n < 0 ||
            !get_text(m->node, sizeof m->node, item, "node") || !get_text(m->hash, sizeof m->hash, item, "hash"))
            return false;
        m->n = (uint64_t)n;
        if (!is_name(m->node, ANY) || !is_hex(m->hash, 64) || (i > 0 && strcmp(m[-1].node, m->node) >= 0))
            return false;
    }
    return true;
}

/* Decimal digits without leading zero; false past 2^63. */
static bool digits_value(uint64_t *value, const char *text)
{
    size_t n = strlen(text);
    if (n < 1 || n > 18 || strspn(text, "0123456789") != n || (text[0] == '0' && n > 1))
        return false;
    *value = strtoull(text, NULL, 10);
    return true;
}

static bool get_number(uint32_t *out, const fl_json *object, const char *key)
{
    int64_t value;
    if (!fl_json_int(object, key, &value) || value < 0 || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool get_terms(dp_entry *e, const fl_json *object)
{
    fl_json *list = fl_json_member(object, "terms");
    if (!fl_json_is_array(list) || fl_json_count(list) < 1 || fl_json_count(list) > DP_TERMS_MAX)
        return false;
    e->n_terms = (uint32_t)fl_json_count(list);
    for (uint32_t i = 0; i < e->n_terms; i++) {
        const fl_json *item = fl_json_at(list, i);
        dp_terms *t = &e->terms[i];
        if (!fl_json_is_object(item) || fl_json_count(item) != 6 || !get_number(&t->clip_units, item, "clip_units") ||
            !get_number(&t->coordinates, item, "coordinates") || !get_number(&t->rounds, item, "rounds") ||
            !get_number(&t->steps, item, "steps"))
            return false;
        const char *variance = fl_json_text(item, "noise_variance"), *rate = fl_json_text(item, "rate_u64");
        if (!variance || !digits_value(&t->noise_variance, variance) || !rate || !dp_rate_from_text(&t->rate, rate) ||
            !terms_ok(t))
            return false;
    }
    return true;
}

static bool get_field(dp_entry *e, const fl_json *object, const field *f)
{
    char *at = (char *)e + f->offset;
    const char *text;
    int64_t number = 0;
    uint64_t value = 0;
    switch (f->type) {
    case V_INT:
    case V_VAR:
        if (f->type == V_INT) {
            if (!fl_json_int(object, f->key, &number) || number < 0)
                return false;
            value = (uint64_t)number;
        } else {
            text = fl_json_text(object, f->key);
            if (text == NULL || !digits_value(&value, text))
                return false;
        }
        if (value < f->min || value > f->max)
            return false;
        if (f->size == sizeof(uint32_t))
            *(uint32_t *)(void *)at = (uint32_t)value;
        else
            *(uint64_t *)(void *)at = value;
        return true;
    case V_RATE:
        text = fl_json_text(object, f->key);
        return text != NULL && dp_rate_from_text(&e->rate, text);
    case V_MEMBERS:
        return get_members(e, object);
    case V_TERMS:
        return get_terms(e, object);
    default:
        return get_text(at, f->size, object, f->key) && text_is(f->type, at);
    }
}

static fl_code read_entry(dp_entry *e, const fl_json *object, fl_err *err)
{
    int64_t v, seq;
    const char *kind = fl_json_text(object, "kind");
    memset(e, 0, offsetof(dp_entry, members));
    if (!fl_json_is_object(object) || kind == NULL || !fl_json_int(object, "v", &v))
        return fl_fail(err, FL_EFORMAT, "ledger line: no kind or no version");
    if (v < 1 || v > DP_LEDGER_VERSION)
        return fl_fail(err, FL_EFORMAT, "ledger line: version is %" PRId64 ", expected 1 to %d", v, DP_LEDGER_VERSION);
    e->v = (uint32_t)v;
    for (e->kind = 0; e->kind < DP_N_KINDS && strcmp(kind, kind_names[e->kind]) != 0; e->kind++)
        ;
    if (e->kind == DP_N_KINDS)
        return fl_fail(err, FL_EFORMAT, "ledger line: unknown kind");
    if (!fl_json_int(object, "seq", &seq) || seq < 1 || !get_text(e->prev, sizeof e->prev, object, "prev") ||
        !is_hex(e->prev, 64))
        return fl_fail(err, FL_EFORMAT, "ledger entry %s: no seq or no prev", kind);
    e->seq = (uint64_t)seq;
    size_t n_expected = 4;
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (!belongs(&fields[i], e->kind, e->v))
            continue;
        n_expected++;
        if (!get_field(e, object, &fields[i]))
            return bad_field(err, e->kind, &fields[i]);
    }
    /* each expected key is there and keys are unique, so another count means another key */
    if (fl_json_count(object) != n_expected)
        return fl_fail(err, FL_EFORMAT, "ledger entry %s: has a field that does not belong to it", kind);
    return FL_OK;
}

static fl_code check_canonical(const dp_entry *e, const char *line, size_t n, fl_err *err)
{
    fl_hash prev;
    fl_buf again;
    fl_buf_init(&again, 2 * DP_LINE_MAX);
    bool ok = dp_hash_from_text(&prev, e->prev);
    assert(ok);
    fl_code code = dp_entry_compose(&again, e, e->seq, &prev, err);
    if (code == FL_OK && (again.size != n || memcmp(again.bytes, line, n) != 0))
        code = fl_fail(err, FL_EFORMAT, "ledger entry %s: not in canonical form", kind_names[e->kind]);
    fl_buf_fini(&again);
    return code;
}

fl_code dp_entry_read(dp_entry *e, const char *line, size_t n, bool is_trusted, fl_err *err)
{
    fl_json *object = NULL;
    if (n > DP_LINE_MAX)
        return fl_fail(err, FL_EFORMAT, "ledger line: longer than %d bytes", DP_LINE_MAX);
    FL_TRY(fl_json_parse(&object, line, n, "ledger line", err));
    fl_code code = read_entry(e, object, err);
    fl_json_free(object);
    if (code == FL_OK && !is_trusted)
        code = check_canonical(e, line, n, err);
    return code;
}

fl_code dp_entry_parse(dp_entry *e, const char *line, size_t n, fl_err *err)
{
    return dp_entry_read(e, line, n, false, err);
}

bool dp_terms_same(const dp_terms *a, const dp_terms *b)
{
    return a->noise_variance == b->noise_variance && a->clip_units == b->clip_units && a->steps == b->steps &&
           a->rate == b->rate && (a->coordinates == b->coordinates || a->coordinates == 0 || b->coordinates == 0) &&
           (a->rounds == b->rounds || a->rounds == 0 || b->rounds == 0);
}

/* --- hashes, keys --- */

fl_hash dp_line_hash(const char *line, size_t n)
{
    return fl_sha256_2(line, n, "\n", 1);
}

void dp_hash_text(char text[DP_HEX_SIZE], const fl_hash *hash)
{
    fl_hex_encode(text, hash->bytes, FL_HASH_SIZE);
}

bool dp_hash_from_text(fl_hash *hash, const char *text)
{
    return fl_hex_decode(hash->bytes, FL_HASH_SIZE, text);
}

static void key_rotate_message(fl_buf *out, const fl_hash *prev, const char *new_vkey)
{
    char prev_text[DP_HEX_SIZE];
    dp_hash_text(prev_text, prev);
    fl_buf_init(out, 1024);
    fl_buf_printf(out, "cordon/key-rotate/1\n%s\n%s\n", prev_text, new_vkey);
}

void dp_key_rotate_sign(char signature[DP_NAME_SIZE * 2], const fl_hash *prev, const char *new_vkey,
                        const fl_sign_key *old_key)
{
    uint8_t bytes[FL_SIGNATURE_SIZE];
    fl_buf message;
    key_rotate_message(&message, prev, new_vkey);
    fl_sign(bytes, old_key, message.bytes, message.size);
    fl_base64_encode(signature, bytes, sizeof bytes);
    fl_buf_fini(&message);
}

bool dp_key_rotate_verify(const char *signature, const fl_hash *prev, const char *new_vkey, const char *old_vkey)
{
    uint8_t bytes[FL_SIGNATURE_SIZE], public_key[FL_PUBLIC_KEY_SIZE];
    char origin[DP_ORIGIN_MAX];
    fl_buf message;
    if (!dp_vkey_parse(origin, public_key, old_vkey) ||
        fl_base64_decode(bytes, sizeof bytes, signature, strlen(signature)) != sizeof bytes)
        return false;
    key_rotate_message(&message, prev, new_vkey);
    bool ok = !message.failed && fl_sign_verify(bytes, public_key, message.bytes, message.size);
    fl_buf_fini(&message);
    return ok;
}

bool dp_key_follow(char vkey[DP_VKEY_MAX], const char *party, const char *line, size_t n)
{
    char origin[DP_ORIGIN_MAX], new_origin[DP_ORIGIN_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    fl_hash prev;
    dp_entry *e = malloc(sizeof *e);
    const bool ok = e && dp_entry_parse(e, line, n, NULL) == FL_OK && e->kind == DP_KEY_ROTATE &&
                    strcmp(e->node, party) == 0 && dp_hash_from_text(&prev, e->prev) &&
                    dp_vkey_parse(origin, public_key, vkey) && dp_vkey_parse(new_origin, public_key, e->key) &&
                    strcmp(origin, new_origin) == 0 && dp_key_rotate_verify(e->signature, &prev, e->key, vkey);
    if (ok)
        memcpy(vkey, e->key, sizeof e->key);
    free(e);
    return ok;
}
