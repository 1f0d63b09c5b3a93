#include "tests/privacy/ledger_maker.h"

#include "privacy/cosign.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET(field, text) snprintf(field, sizeof(field), "%s", text)

void hash_of(char out[DP_HEX_SIZE], char digit)
{
    memset(out, digit, DP_HEX_SIZE - 1);
    out[DP_HEX_SIZE - 1] = 0;
}

void debit_of(char out[DP_DEBIT_SIZE], unsigned number)
{
    snprintf(out, DP_DEBIT_SIZE, "%032x", number);
}

void update_of(char out[DP_HEX_SIZE], const char *party, unsigned round)
{
    char text[128];
    int n = snprintf(text, sizeof text, "%s/%u", party, round);
    fl_hash hash = fl_sha256(text, (size_t)n);
    dp_hash_text(out, &hash);
}

/* Of a hospital's round: no two hospitals draw the same. */
static void debit_of_party(char out[DP_DEBIT_SIZE], const char *party, unsigned round)
{
    char hex[DP_HEX_SIZE];
    fl_hash hash = fl_sha256(party, strlen(party));
    dp_hash_text(hex, &hash);
    snprintf(out, DP_DEBIT_SIZE, "%.24s%08x", hex, round);
}

void maker_init(ledger_maker *m, const char *party, uint8_t seed)
{
    uint8_t bytes[32];
    char origin[DP_ORIGIN_MAX];
    memset(m, 0, sizeof *m);
    memset(bytes, seed, sizeof bytes);
    fl_buf_init(&m->text, 64 << 20);
    SET(m->party, party);
    dp_tree_init(&m->tree);
    fl_code code = fl_sign_key_from_seed(&m->key, bytes, NULL);
    assert(code == FL_OK);
    dp_origin(origin, party);
    dp_vkey_text(m->vkey, origin, m->key.public_key);
}

void maker_fini(ledger_maker *m)
{
    fl_buf_fini(&m->text);
    fl_sign_key_fini(&m->key);
    for (unsigned i = 0; i < m->n_rounds; i++)
        free(m->rounds[i].released);
    free(m->rounds);
}

static void fill_terms(dp_entry *e)
{
    fl_code code = dp_rate_parse(&e->rate, "0.001", NULL);
    assert(code == FL_OK);
    SET(e->mechanism, e->kind == DP_RESERVE ? DP_MECHANISM_STEP : DP_MECHANISM_RELEASE);
    SET(e->sampling_rate, "0.001");
    SET(e->clip_norm, "1.0");
    e->clip_units = 1 << 16;
    e->noise_variance = dp_variance_for(1100000, e->clip_units);
    SET(e->noise_multiplier, "1.1");
    e->coordinates = 1365; /* 4095 bytes of update */
    e->probe = 65;
    e->update_bits = 24;
    e->steps = 10;
    e->n_terms = 1;
    e->terms[0] = (dp_terms){UINT32_MAX, e->steps, e->clip_units, e->coordinates, e->noise_variance, e->rate};
    if (e->kind == DP_OTHER_RELEASE) {
        e->noise_variance = 400;
        SET(e->noise_multiplier, "20");
        e->cells = 14;
        SET(e->what, "histogram+classes");
    }
    e->cohort = 3;
    hash_of(e->announce_hash, 'a');
}

static void fill_policy(dp_entry *e)
{
    SET(e->dataset, "main");
    SET(e->epsilon, "8");
    SET(e->delta, "1e-5");
    e->order = 8;
    e->rungs = 1;
    SET(e->min_noise_multiplier, "0.8");
    SET(e->max_sampling_rate, "0.1");
    SET(e->max_clip_norm, "2");
    e->max_rounds = 5000;
    e->declared_patients = 500;
    e->min_cohort = 2;
    SET(e->releases, "update+metrics");
}

static void fill_members(const ledger_maker *m, dp_entry *e)
{
    e->n_members = 2;
    SET(e->members[0].node, "north");
    hash_of(e->members[0].hash, '1');
    e->members[0].n = 500;
    SET(e->members[1].node, "south");
    hash_of(e->members[1].hash, '2');
    e->members[1].n = 200;
    SET(e->member, "north");
    SET(e->rule, "fedavg");
    SET(e->role, strcmp(m->party, "hub") == 0 ? "coordinator" : "node");
}

void maker_entry(const ledger_maker *m, dp_entry *e, dp_kind kind)
{
    uint8_t signature[FL_SIGNATURE_SIZE];
    memset(e, 0, sizeof *e);
    e->kind = kind;
    SET(e->node, m->party);
    SET(e->t, "2026-03-01T12:34Z");
    SET(e->study, "chest");
    SET(e->key, m->vkey);
    SET(e->software, "cordon-0.1.0");
    SET(e->accountant, DP_ACCOUNTANT);
    SET(e->adjacency, "add_remove");
    SET(e->unit, "patient");
    fill_policy(e);
    fill_terms(e);
    fill_members(m, e);
    hash_of(e->commitment, 'c');
    hash_of(e->plan_hash, 'b');
    SET(e->approver, "Dr. J\xc3\xb6rg \"Jo\" M\xc3\xbcller");
    debit_of(e->debit, kind == DP_OTHER_RELEASE ? 1000001 : 1);
    debit_of(e->with, 1);
    e->round = 1;
    hash_of(e->model_hash, 'd');
    hash_of(e->update_hash, 'e');
    e->bytes = 4095;
    memset(signature, 7, sizeof signature);
    fl_base64_encode(e->receipt, signature, sizeof signature);
    SET(e->reason, "crash");
    e->missing = 1;
    e->witness_size = 77;
    hash_of(e->witness_root, 'f');
    dp_key_rotate_sign(e->signature, &m->head, m->vkey, &m->key);
}

void maker_add(ledger_maker *m, const dp_entry *e)
{
    fl_err err;
    size_t start = m->text.size;
    if (dp_entry_compose(&m->text, e, m->seq + 1, &m->head, &err) != FL_OK) {
        fprintf(stderr, "%s\n", err.text);
        assert(!"composes");
    }
    const char *line = (const char *)m->text.bytes + start;
    size_t n = m->text.size - start;
    m->head = dp_line_hash(line, n);
    dp_tree_append(&m->tree, line, n);
    m->seq++;
    fl_buf_add_text(&m->text, "\n");
}

void maker_seal(ledger_maker *m)
{
    fl_buf note;
    fl_buf_init(&note, DP_NOTE_MAX);
    char origin[DP_ORIGIN_MAX];
    dp_origin(origin, m->party);
    fl_hash root = dp_tree_root(&m->tree);
    dp_checkpoint_note(&note, origin, m->tree.size, &root, &m->key);
    fl_code code = dp_export_line(&m->text, fl_buf_text(&note), m->vkey, NULL);
    assert(code == FL_OK);
    fl_buf_add_text(&m->text, "\n");
    fl_buf_fini(&note);
}

/* The head as it is now, signed by the maker and by "hub". */
static char *cosigned_head(const ledger_maker *m)
{
    fl_buf note;
    ledger_maker hub;
    char origin[DP_ORIGIN_MAX], *text = malloc(FL_BASE64_SIZE(DP_NOTE_MAX));
    assert(text);
    fl_buf_init(&note, DP_NOTE_MAX);
    maker_init(&hub, "hub", MAKER_HUB_SEED);
    dp_origin(origin, m->party);
    fl_hash root = dp_tree_root(&m->tree);
    dp_checkpoint_note(&note, origin, m->tree.size, &root, &m->key);
    dp_checkpoint_cosign(&note, "cordon/hub", &hub.key);
    assert(!note.failed);
    fl_base64_encode(text, note.bytes, note.size);
    maker_fini(&hub);
    fl_buf_fini(&note);
    return text;
}

/* As proto/msg/envelope.h says. */
static void add_receipt(dp_entry *e)
{
    char text[512];
    uint8_t signature[FL_SIGNATURE_SIZE];
    ledger_maker hub;
    int n = snprintf(text, sizeof text, "cordon receipt v1\n%s\n%u\n%s\n%s\n%s\n", e->study, e->round, e->node,
                     e->debit, e->update_hash);
    maker_init(&hub, "hub", MAKER_HUB_SEED);
    fl_sign(signature, &hub.key, text, (size_t)n);
    fl_base64_encode(e->receipt, signature, sizeof signature);
    maker_fini(&hub);
}

static void remember_round(ledger_maker *m, dp_kind kind, unsigned round)
{
    if (round >= m->n_rounds) {
        m->rounds = realloc(m->rounds, (round + 1) * sizeof *m->rounds);
        assert(m->rounds);
        memset(m->rounds + m->n_rounds, 0, (round + 1 - m->n_rounds) * sizeof *m->rounds);
        m->n_rounds = round + 1;
    }
    if (kind == DP_RELEASE) {
        m->rounds[round].released = cosigned_head(m);
    } else {
        m->rounds[round].root = dp_tree_root(&m->tree);
        m->rounds[round].size = m->tree.size;
    }
}

void maker_add_kind(ledger_maker *m, dp_kind kind, unsigned round)
{
    static dp_entry entry;
    dp_entry *e = &entry;
    maker_entry(m, e, kind);
    e->round = round;
    debit_of_party(e->debit, m->party, round);
    if (kind == DP_RESERVE) {
        update_of(e->announce_hash, "announce", round);
        update_of(e->model_hash, "model", round);
    }
    if (kind == DP_OTHER_RELEASE) {
        memcpy(e->with, e->debit, sizeof e->with);
        debit_of_party(e->debit, m->party, 1000000 + round);
    }
    if (kind == DP_RELEASE || kind == DP_ACK)
        update_of(e->update_hash, m->party, round);
    if (kind == DP_RELEASE && m->has_other)
        e->bytes += 14 * 8; /* its cells */
    m->has_other = kind == DP_OTHER_RELEASE || (m->has_other && kind == DP_STARTED);
    if (kind == DP_ACK) {
        SET(e->checkpoint, m->rounds[round].released);
        add_receipt(e);
    }
    maker_add(m, e);
    if (kind == DP_RELEASE || kind == DP_ACK)
        remember_round(m, kind, round);
}

void node_ledger(ledger_maker *m, const char *party, unsigned rounds)
{
    static const dp_kind first[] = {DP_GENESIS, DP_POLICY, DP_DATASET, DP_APPROVE_PLAN};
    static const dp_kind each[] = {DP_RESERVE, DP_STARTED, DP_RELEASE, DP_ACK};
    maker_init(m, party, MAKER_NODE_SEED);
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        maker_add_kind(m, first[i], 1);
    for (unsigned round = 1; round <= rounds; round++) {
        for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
            maker_add_kind(m, each[i], round);
    }
    maker_add_kind(m, DP_RESERVE, rounds + 1);
    maker_add_kind(m, DP_STARTED, rounds + 1);
    maker_add_kind(m, DP_BURN, rounds + 1);
    maker_add_kind(m, DP_REFUSE, 0);
    maker_add_kind(m, DP_CLOSE, 0);
}

enum { IN_ROUND = 3 };

/* The parties and silent ones after them. */
static void fill_round(dp_entry *e, const char *const *parties, unsigned n_parties)
{
    e->n_members = IN_ROUND;
    for (unsigned i = 0; i < IN_ROUND; i++) {
        if (i < n_parties)
            SET(e->members[i].node, parties[i]);
        else
            snprintf(e->members[i].node, sizeof e->members[i].node, "zz-%u", i);
        hash_of(e->members[i].hash, '0');
        e->members[i].n = 0;
    }
}

static void add_roster(ledger_maker *m, const char *const *parties, unsigned n_parties)
{
    static dp_entry e;
    ledger_maker node;
    maker_entry(m, &e, DP_ROSTER);
    fill_round(&e, parties, n_parties);
    maker_init(&node, parties[0], MAKER_NODE_SEED); /* one key for all: who splices has the stolen one */
    for (unsigned i = 0; i < IN_ROUND; i++) {
        fl_hex_encode(e.members[i].hash, node.key.public_key, FL_PUBLIC_KEY_SIZE);
        e.members[i].n = 500;
    }
    maker_fini(&node);
    maker_add(m, &e);
}

static void open_round(ledger_maker *m, const ledger_maker *nodes, const char *const *parties, unsigned n_parties,
                       unsigned round)
{
    static dp_entry e;
    maker_entry(m, &e, DP_ROUND_OPEN);
    e.round = round;
    fill_round(&e, parties, n_parties);
    for (unsigned i = 0; i < n_parties && round > 1; i++) {
        dp_hash_text(e.members[i].hash, &nodes[i].rounds[round - 1].root);
        e.members[i].n = nodes[i].rounds[round - 1].size;
    }
    update_of(e.announce_hash, "announce", round);
    update_of(e.model_hash, "model", round);
    maker_add(m, &e);
}

static void close_round(ledger_maker *m, const ledger_maker *nodes, const char *const *parties, unsigned n_parties,
                        unsigned round)
{
    static dp_entry e;
    for (unsigned i = 0; i < n_parties; i++) {
        maker_entry(m, &e, DP_RECEIVED);
        SET(e.member, parties[i]);
        e.round = round;
        debit_of_party(e.debit, parties[i], round);
        update_of(e.update_hash, parties[i], round);
        SET(e.checkpoint, nodes[i].rounds[round].released);
        maker_add(m, &e);
    }
    maker_entry(m, &e, DP_AGGREGATE);
    e.round = round;
    e.n_members = n_parties;
    for (unsigned i = 0; i < n_parties; i++) {
        SET(e.members[i].node, parties[i]);
        update_of(e.members[i].hash, parties[i], round);
        e.members[i].n = 500;
    }
    update_of(e.model_hash, "model", round + 1);
    maker_add(m, &e);
    e.kind = DP_PUBLISH;
    maker_add(m, &e);
}

void coordinator_ledger(ledger_maker *m, const char *const *parties, unsigned n_parties, unsigned rounds)
{
    ledger_maker nodes[IN_ROUND];
    assert(n_parties >= 1 && n_parties <= IN_ROUND);
    for (unsigned i = 0; i < n_parties; i++)
        node_ledger(&nodes[i], parties[i], rounds);
    maker_init(m, "hub", MAKER_HUB_SEED);
    maker_add_kind(m, DP_GENESIS, 1);
    maker_add_kind(m, DP_STUDY, 1);
    add_roster(m, parties, n_parties);
    for (unsigned round = 1; round <= rounds; round++) {
        open_round(m, nodes, parties, n_parties, round);
        close_round(m, nodes, parties, n_parties, round);
    }
    open_round(m, nodes, parties, n_parties, rounds + 1);
    for (unsigned i = 0; i < n_parties; i++)
        maker_fini(&nodes[i]);
}

/* The old key vouches for a new one, which signs from now on. */
static void rotate_key(ledger_maker *m, uint8_t seed)
{
    static dp_entry e;
    ledger_maker next;
    maker_init(&next, m->party, seed);
    maker_entry(m, &e, DP_KEY_ROTATE);
    SET(e.key, next.vkey);
    dp_key_rotate_sign(e.signature, &m->head, next.vkey, &m->key);
    maker_add(m, &e);
    fl_sign_key key = m->key; /* the makers exchange keys, so that each is freed once */
    m->key = next.key;
    next.key = key;
    SET(m->vkey, next.vkey);
    maker_fini(&next);
}

static void add_reason(ledger_maker *m, dp_kind kind, unsigned round, const char *reason)
{
    static dp_entry e;
    maker_entry(m, &e, kind);
    e.round = round;
    debit_of_party(e.debit, m->party, round);
    SET(e.reason, reason);
    maker_add(m, &e);
}

void every_kind_of_node(ledger_maker *m, const char *party)
{
    static const dp_kind kinds[] = {DP_GENESIS,       DP_POLICY,  DP_DATASET, DP_APPROVE_PLAN, DP_RESERVE,
                                    DP_OTHER_RELEASE, DP_STARTED, DP_RELEASE, DP_ACK,          DP_REFUSE};
    maker_init(m, party, MAKER_NODE_SEED);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        maker_add_kind(m, kinds[i], 1);
    rotate_key(m, 40);
    add_reason(m, DP_RESTORE, 1, "witness");
    maker_add_kind(m, DP_RESERVE, 2);
    add_reason(m, DP_BURN, 2, "restored");
    maker_add_kind(m, DP_EXPORT, 1);
    maker_add_kind(m, DP_CLOSE, 1);
}

void every_kind_of_coordinator(ledger_maker *m)
{
    static const char *const parties[] = {"north"};
    coordinator_ledger(m, parties, 1, 1);
    maker_add_kind(m, DP_REVOKE, 1);
    rotate_key(m, 41);
    maker_add_kind(m, DP_EXPORT, 1);
    maker_add_kind(m, DP_CLOSE, 1);
}

static void note_finding(void *context, uint64_t seq, const char *what, const char *why)
{
    if (context)
        fl_buf_printf(context, "%llu: %s: %s\n", (unsigned long long)seq, what, why);
}

dp_replay *replay_text(const char *text, size_t n, dp_replay_trust trust, fl_buf *findings)
{
    dp_replay *r = NULL;
    fl_code code = dp_replay_create(&r, trust, note_finding, findings, NULL);
    assert(code == FL_OK);
    for (const char *p = text, *end = text + n; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t length = newline ? (size_t)(newline - p) : (size_t)(end - p);
        code = dp_replay_line(r, p, length, NULL);
        assert(code == FL_OK || code == FL_EFORMAT);
        p += length + (newline != NULL);
    }
    dp_replay_end(r);
    return r;
}
