/*
 * A ledger in which anything was changed is never verified: every bit of every byte, and attacks on the structure, without and
 * with the stolen key. All inside one process.
 *
 *     CORDON_TAMPER_ENTRIES=1000 CORDON_TAMPER_ATTACKS=10000 test_audit_tamper      the long form
 */
#include "audit/witness.h"
#include "base/rng.h"
#include "privacy/replay_state.h"
#include "tests/audit/retell.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { BIT_STEP = 9, ATTACKS = 20 }; /* one bit of each byte: the sanitizers look for other faults */
#else
enum { BIT_STEP = 1, ATTACKS = 150 };
#endif

static long wish(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

/* --- every bit --- */

static void *copy_of(const void *array, size_t n, size_t size)
{
    void *copy = n ? malloc(n * size) : NULL;
    assert_true(copy || n == 0);
    return n ? memcpy(copy, array, n * size) : NULL;
}

/* A replay where another one stands. The tests alone want that; what dp_replay owns is what dp_replay_destroy frees. */
static dp_replay *copy_replay(const dp_replay *r)
{
    dp_replay *c = copy_of(r, 1, sizeof *r);
    c->state.policies = copy_of(r->state.policies, r->cap_policies, sizeof *r->state.policies);
    c->state.approvals = copy_of(r->state.approvals, r->cap_approvals, sizeof *r->state.approvals);
    c->state.debits = copy_of(r->state.debits, r->cap_debits, sizeof *r->state.debits);
    c->state.charges = copy_of(r->state.charges, r->cap_charges, sizeof *r->state.charges);
    c->state.received = copy_of(r->state.received, r->cap_received, sizeof *r->state.received);
    c->studies = copy_of(r->studies, r->cap_studies, sizeof *r->studies);
    for (size_t i = 0; i < r->n_studies; i++)
        c->studies[i].members = copy_of(r->studies[i].members, r->studies[i].n_members, sizeof(dp_member));
    c->names.slots = copy_of(r->names.slots, r->names.capacity, sizeof *r->names.slots);
    return c;
}

static size_t line_length(const char *p, const char *end)
{
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    return newline ? (size_t)(newline - p) : (size_t)(end - p);
}

/*
 * Feeds what follows a prefix: `text` from the changed line on, up to the first finding, at most the lines of `n` bytes and one
 * more, or to the end of the entries, where the root has to be the signed one.
 */
static bool is_found(const dp_replay *prefix, const char *text, size_t n, const char *end, const fl_hash *root)
{
    dp_replay *r = copy_replay(prefix);
    const char *p = text;
    bool found = false, is_past = false;
    while (p < end && !found && !is_past) {
        size_t length = line_length(p, end);
        is_past = p >= text + n; /* the line behind the changed ones holds their hash */
        (void)!dp_replay_line(r, p, length, NULL);
        found = dp_replay_state(r)->n_findings > 0;
        p += length + 1;
    }
    if (!found && p >= end) {
        fl_hash own = dp_tree_root(&dp_replay_state(r)->tree);
        found = !fl_hash_equal(&own, root);
    }
    dp_replay_destroy(r);
    return found;
}

static void flip_each_bit(ledger_maker *m)
{
    fl_hash root = dp_tree_root(&m->tree);
    char *text = (char *)m->text.bytes, *end = text + m->text.size;
    dp_replay *prefix = NULL;
    assert_int_equal(dp_replay_create(&prefix, DP_REPLAY_STRICT, NULL, NULL, NULL), FL_OK);
    for (char *line = text; line < end;) {
        size_t n = line_length(line, end) + 1;
        assert_false(is_found(prefix, line, n, end, &root)); /* as it is */
        for (size_t i = 0; i < 8 * n; i += BIT_STEP) {
            line[i / 8] ^= (char)(1 << i % 8);
            if (!is_found(prefix, line, n, end, &root))
                fail_msg("bit %zu of byte %zu changed and not found: %.60s", i % 8, (size_t)(line - text) + i / 8,
                         line);
            line[i / 8] ^= (char)(1 << i % 8);
        }
        assert_int_equal(dp_replay_line(prefix, line, n - 1, NULL), FL_OK);
        line += n;
    }
    dp_replay_end(prefix);
    assert_int_equal(dp_replay_state(prefix)->n_findings, 0);
    dp_replay_destroy(prefix);
}

static void any_bit_of_a_ledger_of_every_kind_is_found(void **state)
{
    (void)state;
    ledger_maker m;
    long entries = wish("CORDON_TAMPER_ENTRIES", 0);
    if (entries)
        node_ledger(&m, "north", (unsigned)(entries > 9 ? (entries - 9) / 4 : 0));
    else
        every_kind_of_node(&m, "north");
    flip_each_bit(&m);
    maker_fini(&m);
    every_kind_of_coordinator(&m);
    flip_each_bit(&m);
    maker_fini(&m);
}

static bool is_verified(const fl_buf *ledger, const char *vkey)
{
    audit_evidence e = {0};
    fl_err err;
    bool ok = audit_evidence_take(&e, "tampered", ledger->bytes, ledger->size, vkey, &err) == FL_OK &&
              e.findings.n == 0 && e.is_sealed;
    audit_evidence_fini(&e);
    return ok;
}

/* Of the whole file, as verify reads it: the bits of the checkpoint line, and of the lines in steps. */
static void any_bit_of_a_sealed_ledger_is_found(void **state)
{
    (void)state;
    ledger_maker m;
    for (int role = 0; role < 2; role++) {
        if (role == 0)
            every_kind_of_node(&m, "north");
        else
            every_kind_of_coordinator(&m);
        size_t entries = m.text.size;
        maker_seal(&m);
        assert_true(is_verified(&m.text, NULL) && is_verified(&m.text, m.vkey));
        for (size_t i = 0; i < 8 * m.text.size; i += (i / 8 < entries ? 97 : 1 + 2 * (size_t)role) * BIT_STEP) {
            m.text.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
            if (is_verified(&m.text, m.vkey))
                fail_msg("bit %zu of byte %zu changed and verified", i % 8, i / 8);
            m.text.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        }
        maker_fini(&m);
    }
}

/* --- the structure --- */

enum { ROUNDS = 4, LINES_MAX = 64 };

typedef struct lines {
    const char *p[LINES_MAX]; /* each without its newline */
    size_t length[LINES_MAX], n;
} lines;

static void split(lines *l, const fl_buf *text)
{
    l->n = 0;
    for (const char *p = fl_buf_text(text), *end = p + text->size; p < end;) {
        assert_true(l->n < LINES_MAX);
        l->p[l->n] = p;
        l->length[l->n] = line_length(p, end);
        p += l->length[l->n++] + 1;
    }
}

static void take_out(lines *l, size_t at)
{
    l->n--;
    memmove(&l->p[at], &l->p[at + 1], (l->n - at) * sizeof l->p[0]);
    memmove(&l->length[at], &l->length[at + 1], (l->n - at) * sizeof l->length[0]);
}

static void put_in(lines *l, size_t at, const char *p, size_t length)
{
    assert_true(l->n < LINES_MAX);
    memmove(&l->p[at + 1], &l->p[at], (l->n - at) * sizeof l->p[0]);
    memmove(&l->length[at + 1], &l->length[at], (l->n - at) * sizeof l->length[0]);
    l->p[at] = p;
    l->length[at] = length;
    l->n++;
}

/* One attack on the first `limit` lines; lines of `other` may come in. */
static const char *attack(lines *l, const lines *other, size_t limit, fl_rng *r)
{
    size_t i = (size_t)fl_rng_below(r, limit), j = (size_t)fl_rng_below(r, limit), k;
    switch (fl_rng_below(r, 7)) {
    case 0:
        take_out(l, i);
        return "a line taken out";
    case 1:
        put_in(l, j, l->p[i], l->length[i]);
        return "a line twice";
    case 2:
        k = (size_t)fl_rng_below(r, other->n);
        put_in(l, i, other->p[k], other->length[k]);
        return "a line of another ledger put in";
    case 3: {
        const char *p = l->p[i];
        size_t length = l->length[i];
        take_out(l, i);
        put_in(l, j, p, length);
        return "a line moved";
    }
    case 4:
        l->n = i;
        return "cut off";
    case 5:
        for (k = i; k < l->n && k < other->n; k++) {
            l->p[k] = other->p[k];
            l->length[k] = other->length[k];
        }
        return "another ledger from a line on";
    default:
        for (k = 0; k < 1 + fl_rng_below(r, 4) && l->n > i; k++)
            take_out(l, i);
        return "lines taken out";
    }
}

static bool same(const lines *a, const lines *b)
{
    bool ok = a->n == b->n;
    for (size_t i = 0; ok && i < a->n; i++)
        ok = a->length[i] == b->length[i] && memcmp(a->p[i], b->p[i], a->length[i]) == 0;
    return ok;
}

static void join(fl_buf *out, const lines *l)
{
    for (size_t i = 0; i < l->n; i++) {
        fl_buf_add(out, l->p[i], l->length[i]);
        fl_buf_add_text(out, "\n");
    }
}

/* The last line of a sealed text. */
static void add_last_line(fl_buf *out, const fl_buf *sealed)
{
    const char *text = fl_buf_text(sealed), *last = memrchr(text, '\n', sealed->size - 1) + 1;
    fl_buf_add(out, last, (size_t)(text + sealed->size - last));
}

static ledger_maker node, hub, south, sealed_node, sealed_hub, sealed_south, older;

static int make(void **state)
{
    (void)state;
    static const char *const parties[] = {"north", "south"};
    node_ledger(&node, "north", ROUNDS);
    node_ledger(&sealed_node, "north", ROUNDS);
    node_ledger(&south, "south", ROUNDS);
    node_ledger(&sealed_south, "south", ROUNDS);
    coordinator_ledger(&hub, parties, 2, ROUNDS);
    coordinator_ledger(&sealed_hub, parties, 2, ROUNDS);
    maker_init(&older, "north", MAKER_NODE_SEED);
    for (dp_kind kind = DP_GENESIS; kind <= DP_APPROVE_PLAN; kind++)
        maker_add_kind(&older, kind, 1);
    maker_add_kind(&older, DP_RESERVE, 1);
    maker_seal(&older);
    maker_seal(&sealed_node);
    maker_seal(&sealed_south);
    maker_seal(&sealed_hub);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    ledger_maker *const all[] = {&node, &hub, &south, &sealed_node, &sealed_hub, &sealed_south, &older};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        maker_fini(all[i]);
    return 0;
}

/* Without the key: nothing but the file is needed to see it. Checkpoints may be exchanged too. */
static void attacks_without_the_key_are_found(void **state)
{
    (void)state;
    const fl_buf *const seals[] = {&sealed_node.text, &sealed_node.text, &older.text, &sealed_south.text,
                                   &sealed_hub.text};
    lines original, others, l;
    fl_rng r;
    fl_rng_init(&r, 5, 1);
    split(&original, &node.text);
    split(&others, &south.text);
    long wanted = wish("CORDON_TAMPER_ATTACKS", ATTACKS);
    for (long done = 0; done < wanted;) {
        fl_buf text;
        l = original;
        const char *what = "another checkpoint";
        size_t seal = (size_t)fl_rng_below(&r, 6); /* 5: none at all */
        if (seal < 2 || fl_rng_below(&r, 2))
            what = attack(&l, &others, original.n, &r);
        if (same(&l, &original) && seal < 2)
            continue;
        fl_buf_init(&text, 1 << 20);
        join(&text, &l);
        if (seal < 5)
            add_last_line(&text, seals[seal]);
        bool is_older = text.size == older.text.size && memcmp(text.bytes, older.text.bytes, text.size) == 0;
        if (is_older) { /* an older export as it was: true, but not the newest. Only a witness can tell. */
            fl_buf_fini(&text);
            continue;
        }
        if (is_verified(&text, node.vkey))
            fail_msg("attack %ld (%s, checkpoint %zu) verified", done, what, seal);
        fl_buf_fini(&text);
        done++;
    }
}

/* Writes the lines again as the owner of the key would: seq, prev, tree and signature are right. */
static bool sign_again(ledger_maker *m, const lines *l, fl_rng *r)
{
    static dp_entry e;
    size_t changed = fl_rng_below(r, 3) == 0 ? (size_t)fl_rng_below(r, l->n + 1) : SIZE_MAX;
    for (size_t i = 0; i < l->n; i++) {
        if (dp_entry_parse(&e, l->p[i], l->length[i], NULL) != FL_OK)
            return false;
        memcpy(e.node, m->party, sizeof m->party);
        if (i == changed)
            e.t[12] = '3'; /* and says that it was an hour later */
        maker_add(m, &e);
    }
    return true;
}

/* Do the first n lines of both say the same? */
static bool same_lines(const ledger_maker *a, const ledger_maker *b, size_t n)
{
    lines x, y;
    split(&x, &a->text);
    split(&y, &b->text);
    if (x.n < n || y.n < n)
        return false;
    x.n = y.n = n;
    return same(&x, &y);
}

typedef bool (*judge)(const ledger_maker *forged, const void *witness);

/* Attacks with the stolen key on what the witness saw: the first `seen` lines. */
static void attack_with_the_key(const ledger_maker *original, const ledger_maker *other, size_t seen, judge is_caught,
                                const void *witness, uint64_t seed, const char *name)
{
    lines original_lines, others, l;
    fl_rng r;
    fl_rng_init(&r, seed, 2);
    split(&original_lines, &original->text);
    split(&others, &other->text);
    long wanted = wish("CORDON_TAMPER_ATTACKS", ATTACKS);
    for (long done = 0; done < wanted;) {
        ledger_maker forged;
        l = original_lines;
        const char *what = attack(&l, &others, seen, &r);
        if (l.n == 0)
            continue;
        maker_init(&forged, original->party, strcmp(original->party, "hub") == 0 ? MAKER_HUB_SEED : MAKER_NODE_SEED);
        if (sign_again(&forged, &l, &r) && !same_lines(&forged, original, seen)) {
            maker_seal(&forged);
            if (!is_caught(&forged, witness))
                fail_msg("attack %ld (%s) passed %s", done, what, name);
            done++;
        }
        maker_fini(&forged);
    }
}

static bool caught_by_coordinator(const ledger_maker *forged, const void *witness)
{
    return findings_of(NULL, &forged->text, witness) > 0;
}

static bool caught_by_store(const ledger_maker *forged, const void *witness)
{
    audit_evidence e = {0};
    fl_err err;
    bool found = audit_evidence_take(&e, "forged", forged->text.bytes, forged->text.size, NULL, &err) != FL_OK;
    if (!found) {
        audit_check_witness(&e, witness);
        found = e.findings.n > 0;
    }
    audit_evidence_fini(&e);
    return found;
}

/* A store that was shown this sealed ledger. */
static void show(witness_store *s, const ledger_maker *sealed)
{
    fl_buf note;
    char key[DP_VKEY_MAX];
    witness_head h = {.is_signed = true, .t = "2026-03-02T08:00Z", .from = "export"};
    const char *text = fl_buf_text(&sealed->text), *last = (const char *)memrchr(text, '\n', sealed->text.size - 1) + 1;
    fl_buf_init(&note, DP_LINE_MAX);
    assert_true(dp_export_parse(&note, key, last, (size_t)(text + sealed->text.size - last) - 1));
    snprintf(h.party, sizeof h.party, "%s", sealed->party);
    snprintf(h.vkey, sizeof h.vkey, "%s", key);
    assert_int_equal(witness_store_begin(s, NULL, NULL), FL_OK);
    assert_int_equal(witness_store_add(s, &h, fl_buf_text(&note), note.size, NULL), FL_OK);
    fl_buf_fini(&note);
}

static void the_stolen_key_does_not_help_against_the_coordinators_ledger(void **state)
{
    (void)state;
    assert_int_equal(findings_of(NULL, &sealed_node.text, &sealed_hub.text), 0);
    /* its last ROUND_OPEN saw the ledger after the last ACK; what came later nobody saw */
    attack_with_the_key(&node, &south, 4 + 4 * ROUNDS, caught_by_coordinator, &sealed_hub.text, 11,
                        "the coordinator's ledger");
}

static void the_stolen_key_does_not_help_against_a_witness(void **state)
{
    (void)state;
    witness_store newest, old, of_hub;
    show(&newest, &sealed_node);
    show(&old, &older);
    show(&of_hub, &sealed_hub);
    assert_false(caught_by_store(&sealed_node, &newest) || caught_by_store(&sealed_node, &old) ||
                 caught_by_store(&sealed_hub, &of_hub));
    attack_with_the_key(&node, &south, (size_t)node.tree.size, caught_by_store, &newest, 12, "a witness");
    attack_with_the_key(&node, &south, 5, caught_by_store, &old, 13, "a witness of an older export");
    attack_with_the_key(&hub, &south, (size_t)hub.tree.size, caught_by_store, &of_hub, 14,
                        "a witness of the coordinator");
    witness_store_fini(&newest);
    witness_store_fini(&old);
    witness_store_fini(&of_hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bit_of_a_ledger_of_every_kind_is_found),
        cmocka_unit_test(any_bit_of_a_sealed_ledger_is_found),
        cmocka_unit_test(attacks_without_the_key_are_found),
        cmocka_unit_test(the_stolen_key_does_not_help_against_the_coordinators_ledger),
        cmocka_unit_test(the_stolen_key_does_not_help_against_a_witness),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
