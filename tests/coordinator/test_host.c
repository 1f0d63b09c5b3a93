#include "coordinator/fold.h"
#include "privacy/cosign.h"
#include "tests/coordinator/world.h"

static world *make(uint32_t n_sites, const char *dir)
{
    world *w = malloc(sizeof *w);
    world_init(w, dir, n_sites);
    return w;
}

static void drop(world *w)
{
    world_fini(w);
    free(w);
}

static void a_round_goes_from_join_to_the_next_announce(void **state)
{
    (void)state;
    fl_err err;
    wire_message r;
    world *w = make(3, NULL);
    world_study(w, "s", "all", 2, 3, "");
    world_start(w);

    uint64_t ticket = world_poll(w, 0, 0); /* the plan comes first */
    assert_int_equal(world_answer_of(w, ticket, &r), WIRE_PLAN);
    assert_int_equal(r.u.plan.index, 0);
    fl_hash hash = fl_sha256(r.u.plan.json, r.u.plan.n_bytes);
    assert_true(fl_hash_equal(&hash, &w->plan.hash));

    uint64_t parked = world_poll(w, 0, 1);
    assert_int_equal(world_answer_of(w, parked, &r), WIRE_NONE);
    for (uint32_t i = 0; i < 3; i++) {
        world_head(w, i);
        world_join(w, i, "s", 100 + i);
    }
    assert_int_equal(world_answer_of(w, parked, &r), WIRE_ANNOUNCE); /* answered when the round opened */
    assert_int_equal(r.u.announce.round, 1);
    assert_int_equal(r.u.announce.n_sites, 3);
    assert_int_equal(r.u.announce.sites[1].declared_patients, 101);
    assert_int_equal(r.u.announce.sites[2].ledger_size, 1);
    const fl_hash first = r.u.announce.model_hash;

    wire_message f = {.kind = WIRE_FETCH, .u.fetch = {.object = first, .max_bytes = WIRE_PIECE_MAX}};
    assert_int_equal(world_call(w, 1, &f, &r), WIRE_BYTES);
    hash = fl_sha256(r.u.bytes.bytes, r.u.bytes.n_bytes);
    assert_true(fl_hash_equal(&hash, &first));

    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(world_contribute(w, i, "s", i, &r), WIRE_RECEIPT);
        char debit[WIRE_DEBIT_SIZE];
        world_debit(debit, i, i + 100000);
        assert_true(wire_receipt_verify(r.u.receipt.signature, w->store.key.public_key, "s", 1, w->names[i], debit,
                                        &r.u.receipt.update_hash));
    }
    const coord_study *st = world_of(w, "s");
    assert_int_equal(st->phase, COORD_OPEN);
    assert_int_equal(st->round, 2);
    assert_false(fl_hash_equal(&st->model_hash, &first));
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(world_contribute(w, i, "s", 10 + i, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->phase, COORD_DONE);

    uint32_t rounds;
    assert_ok(agg_refold(&w->store, &w->plan, NULL, NULL, &rounds, &err), err);
    assert_int_equal(rounds, 2);
    /* GENESIS STUDY ROSTER, ROUND_OPEN 3x RECEIVED AGGREGATE PUBLISH twice */
    assert_int_equal(led_state(w->store.ledger)->n_entries, 3 + 2 * 6);
    drop(w);
}

static world *open_round(uint32_t n, unsigned rounds)
{
    world *w = make(n, NULL);
    world_study(w, "s", "all", rounds, n, "");
    world_start(w);
    for (uint32_t i = 0; i < n; i++)
        world_join(w, i, "s", 100);
    return w;
}

/* Hands in bytes under any peer's name. */
static wire_kind throw_in(world *w, const uint8_t *bytes, size_t n, const char *peer, wire_message *r)
{
    const uint64_t ticket = w->n_tickets++;
    coord_host_request(w->host, ticket, bytes, n, peer);
    assert_true(w->answers[ticket].bytes || w->answers[ticket].ignored); /* nothing of this is parked */
    return world_answer_of(w, ticket, r);
}

static void pack(fl_buf *b, wire_message *m, const char *sender, uint64_t sequence, const fl_sign_key *key)
{
    fl_err err;
    snprintf(m->sender, sizeof m->sender, "%s", sender);
    m->sequence = sequence;
    m->request_id = sequence * 77;
    fl_buf_clear(b);
    assert_ok(wire_pack(b, m, key, &err), err);
}

static void a_forged_message_changes_nothing(void **state)
{
    (void)state;
    wire_message r, leave = {.kind = WIRE_LEAVE, .study = "s"};
    world *w = open_round(3, 2);
    const uint64_t lines = led_state(w->store.ledger)->n_entries;
    fl_buf b;
    fl_buf_init(&b, WIRE_ENVELOPE_MAX);

    pack(&b, &leave, "b", 1000, &w->keys[0]); /* a signs as b, over its own connection and over b's */
    assert_int_equal(throw_in(w, b.bytes, b.size, "a", &r), WIRE_ERROR);
    assert_int_equal(throw_in(w, b.bytes, b.size, "b", &r), WIRE_ERROR);
    pack(&b, &leave, "b", 1000, &w->keys[1]); /* b's own words, brought by a */
    assert_int_equal(throw_in(w, b.bytes, b.size, "a", &r), WIRE_ERROR);
    pack(&b, &leave, "nobody", 1000, &w->keys[0]);
    assert_int_equal(throw_in(w, b.bytes, b.size, "nobody", &r), WIRE_ERROR);

    pack(&b, &leave, "b", 1000, &w->keys[1]);
    for (size_t i = 0; i < b.size; i++) { /* every byte, turned around */
        b.bytes[i] ^= 0x41;
        const wire_kind kind = throw_in(w, b.bytes, b.size, "b", &r);
        assert_true(kind == WIRE_NONE || kind == WIRE_ERROR);
        b.bytes[i] ^= 0x41;
    }
    for (size_t n = 0; n < b.size; n++)
        assert_int_equal(throw_in(w, b.bytes, n, "b", &r), WIRE_NONE);
    wire_message reply = {.kind = WIRE_OK}; /* a reply is no request */
    pack(&b, &reply, "b", 1000, &w->keys[1]);
    assert_int_equal(throw_in(w, b.bytes, b.size, "b", &r), WIRE_NONE);

    for (uint32_t i = 0; i < 3; i++)
        assert_false(world_of(w, "s")->members[i].left);
    assert_int_equal(led_state(w->store.ledger)->n_entries, lines);
    pack(&b, &leave, "b", 1000, &w->keys[1]); /* and the true one works */
    assert_int_equal(throw_in(w, b.bytes, b.size, "b", &r), WIRE_OK);
    assert_true(world_of(w, "s")->members[1].left);
    fl_buf_fini(&b);
    drop(w);
}

static void what_was_said_once_is_not_done_twice(void **state)
{
    (void)state;
    wire_message r, leave = {.kind = WIRE_LEAVE, .study = "s"}, old;
    world *w = open_round(3, 2);
    assert_int_equal(world_call(w, 1, &leave, &r), WIRE_OK);
    old = leave;
    const uint64_t sequence = r.sequence;
    assert_int_equal(world_answer_of(w, world_again(w, 1, &old), &r), WIRE_OK);
    assert_int_equal(r.sequence, sequence); /* the very bytes of before */
    world_join(w, 1, "s", 100);
    assert_int_equal(world_answer_of(w, world_again(w, 1, &old), &r), WIRE_ERROR); /* replayed */
    assert_true(r.u.error.retry);
    assert_false(world_of(w, "s")->members[1].left);
    world_crash(w);
    world_start(w);
    assert_int_equal(world_answer_of(w, world_again(w, 1, &old), &r), WIRE_ERROR); /* also after a restart */
    assert_false(world_of(w, "s")->members[1].left);
    drop(w);
}

static void a_node_that_was_set_back_is_told_so(void **state)
{
    (void)state;
    wire_message r, poll = {.kind = WIRE_POLL, .u.poll.n_plans_known = 0};
    world *w = open_round(3, 2);
    w->boots[0] = 7;
    assert_int_equal(world_call(w, 0, &poll, &r), WIRE_PLAN);
    w->boots[0] = 6; /* an older start than one that was seen */
    assert_int_equal(world_call(w, 0, &poll, &r), WIRE_ERROR);
    assert_int_equal(r.u.error.code, WIRE_E_ROLLBACK);
    w->boots[0] = 8;
    assert_int_equal(world_call(w, 0, &poll, &r), WIRE_PLAN);
    drop(w);
}

static wire_kind send_head(world *w, uint32_t site, uint64_t size, const char *root_of, const fl_sign_key *key,
                           wire_message *r)
{
    wire_message m = {.kind = WIRE_HEAD};
    char origin[DP_ORIGIN_MAX];
    fl_buf note;
    const fl_hash root = fl_sha256(root_of, strlen(root_of));
    fl_buf_init(&note, WIRE_NOTE_MAX);
    dp_origin(origin, w->names[site]);
    dp_checkpoint_note(&note, origin, size, &root, key);
    strcpy(m.u.head.note, fl_buf_text(&note));
    fl_buf_fini(&note);
    return world_call(w, site, &m, r);
}

static void heads_are_cosigned_and_never_go_back(void **state)
{
    (void)state;
    fl_err err;
    wire_message r;
    char origin[DP_ORIGIN_MAX], vkey[DP_VKEY_MAX];
    uint64_t size;
    fl_hash root, expected = fl_sha256("x", 1);
    world *w = open_round(2, 2);
    dp_origin(origin, "a");
    dp_vkey_text(vkey, origin, w->keys[0].public_key);
    assert_int_equal(send_head(w, 0, 10, "x", &w->keys[0], &r), WIRE_COSIGNED);
    const char *hub = led_vkey(w->store.ledger);
    char note[WIRE_NOTE_MAX];
    strcpy(note, r.u.cosigned.note);
    assert_ok(dp_checkpoint_verify_cosigned(note, strlen(note), vkey, hub, &size, &root, &err), err);
    assert_int_equal(size, 10);
    assert_memory_equal(&root, &expected, FL_HASH_SIZE);
    for (size_t i = 0; note[i]; i++) { /* any byte of it matters */
        note[i] ^= 1;
        assert_int_not_equal(dp_checkpoint_verify_cosigned(note, strlen(note), vkey, hub, NULL, NULL, &err), FL_OK);
        note[i] ^= 1;
    }
    assert_int_not_equal(dp_checkpoint_verify_cosigned(note, strlen(note), vkey, vkey, NULL, NULL, &err), FL_OK);
    assert_int_not_equal(dp_checkpoint_verify_cosigned(note, strlen(note) - 1, vkey, hub, NULL, NULL, &err), FL_OK);

    assert_int_equal(send_head(w, 0, 10, "x", &w->keys[0], &r), WIRE_COSIGNED); /* again */
    assert_int_equal(send_head(w, 0, 9, "x", &w->keys[0], &r), WIRE_ERROR);
    assert_int_equal(r.u.error.code, WIRE_E_ROLLBACK);
    assert_int_equal(send_head(w, 0, 10, "y", &w->keys[0], &r), WIRE_ERROR);
    assert_int_equal(r.u.error.code, WIRE_E_EQUIVOCATION);
    assert_int_equal(send_head(w, 0, 11, "y", &w->keys[1], &r), WIRE_ERROR); /* signed by somebody else */
    assert_int_equal(r.u.error.code, WIRE_E_BAD_REQUEST);
    assert_int_equal(send_head(w, 0, 12, "z", &w->keys[0], &r), WIRE_ERROR); /* longer, and nothing to show for it */
    assert_int_equal(r.u.error.code, WIRE_E_NO_PROOF);
    assert_int_equal(r.u.error.ledger_size, 10);
    world_crash(w);
    world_start(w);
    assert_int_equal(send_head(w, 0, 9, "x", &w->keys[0], &r), WIRE_ERROR);
    assert_int_equal(r.u.error.code, WIRE_E_ROLLBACK);
    drop(w);
}

/* A ledger that goes on from other lines than those that were shown is refused at its first head. */
static void a_forked_ledger_is_never_cosigned(void **state)
{
    (void)state;
    wire_message r;
    world *w = open_round(2, 2);
    hospital_lines *l = &w->lines[0];
    assert_int_equal(world_show_head(w, 0, &r), WIRE_COSIGNED);
    assert_int_equal(world_show_head(w, 0, &r), WIRE_COSIGNED);
    const uint64_t held = l->held;
    dp_forest_fini(&l->forest);
    for (uint64_t i = 0; i < held; i++)
        lines_add(l, i == 1 ? "rewritten" : "a line");
    for (int i = 0; i < 5; i++) {
        assert_int_equal(world_show_head(w, 0, &r), WIRE_ERROR);
        assert_int_equal(r.u.error.code, WIRE_E_NO_PROOF);
        assert_int_equal(r.u.error.ledger_size, held);
        assert_int_equal(coord_host_state(w->host)->sites[0].head_size, held);
    }
    dp_forest_fini(&l->forest); /* the true lines go on */
    for (uint64_t i = 0; i < held; i++)
        lines_add(l, "a line");
    assert_int_equal(world_show_head(w, 0, &r), WIRE_COSIGNED);
    drop(w);
}

/* What a restored hospital sends, and what each case changes of it. */
typedef struct restored_head {
    uint64_t witness_size, shared; /* of RESTORE; lines the new ledger has in common with the one that was seen */
    char root_digit, node[2];      /* root_digit 0: the root that the coordinator holds */
    unsigned n_after;              /* lines after RESTORE */
    bool no_older, breaks_inclusion, breaks_older, has_other_past;
} restored_head;

static void restore_line(char line[WIRE_LINE_MAX], const restored_head *c, const fl_hash *held)
{
    static dp_entry e;
    const fl_hash none = {{0}};
    fl_err err;
    fl_buf text;
    e = (dp_entry){.kind = DP_RESTORE, .witness_size = c->witness_size, .missing = 1};
    strcpy(e.node, c->node);
    strcpy(e.t, "2026-01-01T00:00Z");
    strcpy(e.reason, "restored");
    dp_hash_text(e.witness_root, held);
    if (c->root_digit)
        memset(e.witness_root, c->root_digit, DP_HEX_SIZE - 1);
    fl_buf_init(&text, WIRE_LINE_MAX);
    assert_ok(dp_entry_compose(&text, &e, c->shared + 1, &none, &err), err);
    strcpy(line, fl_buf_text(&text));
    fl_buf_fini(&text);
}

/* Hospital a showed heads of two and of five lines, was put back, and shows what it has now. */
static wire_kind show_restored(world *w, const restored_head *c, wire_message *r)
{
    static const char *const old[] = {"one", "two", "three", "four", "five"};
    wire_message m;
    hospital_lines *l = &w->lines[0], now = {0};
    char older[WIRE_NOTE_MAX] = "", line[WIRE_LINE_MAX];
    for (size_t i = 0; i < 5; i++) {
        lines_add(l, old[i]);
        if (i == 1 || i == 4)
            assert_int_equal(world_show_lines(w, 0, r), WIRE_COSIGNED);
        if (i == 1)
            strcpy(older, r->u.cosigned.note);
    }
    const fl_hash held = dp_forest_root(&l->forest, 5);
    for (size_t i = 0; i < c->shared; i++)
        lines_add(&now, c->has_other_past && i == 0 ? "1" : old[i]);
    restore_line(line, c, &held);
    lines_add(&now, line);
    for (unsigned i = 0; i < c->n_after; i++)
        lines_add(&now, "after");
    now.held = c->no_older ? 0 : 2;
    lines_head(&now, &m, "a", &w->keys[0]);
    if (!c->no_older)
        strcpy(m.u.head.older, older);
    if (c->breaks_older)
        m.u.head.older[strlen(older) - 10] ^= 1;
    m.u.head.restore = line;
    m.u.head.inclusion = (wire_proof){.hashes = now.inclusion};
    m.u.head.inclusion.n = dp_forest_inclusion(&now.forest, now.inclusion, c->shared + 1, now.forest.size);
    if (c->breaks_inclusion)
        now.inclusion[0].bytes[3] ^= 1;
    const wire_kind kind = world_call(w, 0, &m, r);
    dp_forest_fini(&now.forest);
    return kind;
}

/* The one way in which a ledger may go on that does not extend the head held here. */
static void a_restored_ledger_names_the_head_that_was_lost(void **state)
{
    (void)state;
    static const restored_head good = {.witness_size = 5, .shared = 2, .node = "a", .n_after = 3};
    static const restored_head cases[] = {
        {5, 2, 0, "a", 3, .no_older = true}, /* accepted: of the past, nothing need be left */
        {4, 2, 0, "a", 3, .no_older = false},
        {5, 2, '7', "a", 3, .no_older = false},
        {5, 2, 0, "b", 3, .no_older = false},
        {5, 2, 0, "a", 2, .no_older = false}, /* not longer than what was seen */
        {5, 2, 0, "a", 3, .breaks_inclusion = true},
        {5, 2, 0, "a", 3, .breaks_older = true},
        {5, 2, 0, "a", 3, .has_other_past = true},
        {5, 1, 0, "a", 4, .no_older = false}, /* RESTORE stands under the older head */
    };
    wire_message r;
    world *w = open_round(1, 2);
    assert_int_equal(show_restored(w, &good, &r), WIRE_COSIGNED);
    drop(w);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        w = open_round(1, 2);
        const wire_kind kind = show_restored(w, &cases[i], &r);
        if (kind != (i == 0 ? WIRE_COSIGNED : WIRE_ERROR))
            fail_msg("case %zu: %s", i, wire_kind_name(kind));
        drop(w);
    }
}

static void a_node_fetches_models_and_nothing_else(void **state)
{
    (void)state;
    wire_message r, m = {.kind = WIRE_FETCH, .u.fetch = {.max_bytes = WIRE_PIECE_MIN}};
    world *w = open_round(2, 2);
    fl_hash model, server;
    assert_true(coord_model(&w->store, "s", 0, &model, &server, NULL, NULL));
    assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_RECEIPT);
    const fl_hash update = r.u.receipt.update_hash;

    m.u.fetch.object = model;
    m.u.fetch.offset = 100;
    assert_int_equal(world_call(w, 1, &m, &r), WIRE_BYTES);
    assert_int_equal(r.u.bytes.total, 4 * w->plan.n_weights);
    assert_int_equal(r.u.bytes.n_bytes, 4 * w->plan.n_weights - 100);
    m.u.fetch.offset = 4 * w->plan.n_weights;
    assert_int_equal(world_call(w, 1, &m, &r), WIRE_ERROR);
    assert_int_equal(r.u.error.code, WIRE_E_BAD_OFFSET);
    m.u.fetch.offset = 0;
    m.u.fetch.object = server; /* the optimiser's state is nobody's business */
    assert_int_equal(world_call(w, 1, &m, &r), WIRE_ERROR);
    m.u.fetch.object = update; /* nor is another hospital's update */
    assert_int_equal(world_call(w, 1, &m, &r), WIRE_ERROR);
    assert_int_equal(r.u.error.code, WIRE_E_NO_OBJECT);
    drop(w);
}

static wire_kind piece(world *w, uint32_t site, const fl_buf *bytes, uint64_t offset, uint32_t n, wire_message *r)
{
    wire_message m = {.kind = WIRE_UPLOAD, .study = "s", .round = world_of(w, "s")->round};
    world_debit(m.debit, site, 5);
    m.u.upload.object = fl_sha256(bytes->bytes, bytes->size);
    m.u.upload.offset = offset;
    m.u.upload.total = bytes->size;
    m.u.upload.bytes = bytes->bytes + offset;
    m.u.upload.n_bytes = n;
    return world_call(w, site, &m, r);
}

static void an_upload_is_taken_up_where_it_was_cut(void **state)
{
    (void)state;
    wire_message r;
    fl_buf bytes;
    world *w = open_round(2, 2);
    fl_buf_init(&bytes, 1 << 20);
    world_update(w, &bytes, 5);
    assert_int_equal(piece(w, 0, &bytes, 0, 40, &r), WIRE_LENGTH);
    assert_int_equal(r.u.length.length, 40);
    assert_int_equal(piece(w, 0, &bytes, 0, 40, &r), WIRE_LENGTH); /* the answer was lost */
    assert_int_equal(r.u.length.length, 40);
    assert_int_equal(piece(w, 0, &bytes, 60, 10, &r), WIRE_LENGTH); /* a hole is not made */
    assert_int_equal(r.u.length.length, 40);
    world_crash(w);
    world_start(w);
    assert_int_equal(piece(w, 0, &bytes, 0, 0, &r), WIRE_LENGTH); /* what is there? */
    assert_int_equal(r.u.length.length, 40);
    assert_int_equal(piece(w, 0, &bytes, 40, (uint32_t)bytes.size - 40, &r), WIRE_LENGTH);
    assert_int_equal(r.u.length.length, bytes.size);
    assert_int_equal(piece(w, 0, &bytes, 0, 10, &r), WIRE_LENGTH); /* whole */
    assert_int_equal(r.u.length.length, bytes.size);
    assert_int_equal(world_contribute(w, 0, "s", 5, &r), WIRE_RECEIPT);
    fl_buf_fini(&bytes);
    drop(w);
}

static void bytes_that_are_not_their_hash_are_thrown_away(void **state)
{
    (void)state;
    wire_message r;
    fl_buf bytes;
    world *w = open_round(2, 2);
    fl_buf_init(&bytes, 1 << 20);
    world_update(w, &bytes, 5);
    wire_message m = {.kind = WIRE_UPLOAD, .study = "s", .round = 1};
    world_debit(m.debit, 0, 5);
    m.u.upload.object = fl_sha256(bytes.bytes, bytes.size);
    m.u.upload.total = bytes.size;
    m.u.upload.n_bytes = (uint32_t)bytes.size;
    m.u.upload.bytes = bytes.bytes;
    bytes.bytes[17] ^= 1;
    assert_int_equal(world_call(w, 0, &m, &r), WIRE_ERROR);
    assert_int_equal(r.u.error.code, WIRE_E_BAD_OFFSET);
    assert_true(r.u.error.retry);
    bytes.bytes[17] ^= 1;
    assert_int_equal(world_call(w, 0, &m, &r), WIRE_LENGTH);
    assert_int_equal(r.u.length.length, bytes.size);
    m.u.upload.total = bytes.size + 1; /* another size than the plan's */
    m.u.upload.object.bytes[0] ^= 1;
    assert_int_equal(world_call(w, 0, &m, &r), WIRE_ERROR);
    assert_int_equal(r.u.error.code, WIRE_E_BAD_UPDATE);
    fl_buf_fini(&bytes);
    drop(w);
}

static void a_site_cannot_fill_the_disk_with_updates(void **state)
{
    (void)state;
    wire_message r;
    fl_buf bytes;
    world *w = open_round(2, 2);
    unsigned taken = 0;
    fl_buf_init(&bytes, 1 << 20);
    for (unsigned seed = 0; seed < 20; seed++) {
        fl_buf_clear(&bytes);
        world_update(w, &bytes, seed);
        taken += piece(w, 0, &bytes, 0, 50, &r) == WIRE_LENGTH;
    }
    assert_int_equal(taken, 4);
    assert_int_equal(world_contribute(w, 1, "s", 99, &r), WIRE_RECEIPT); /* the other hospital is not touched by it */
    fl_buf_fini(&bytes);
    drop(w);
}

static wire_kind begin_upload(world *w, uint32_t site, const char *study, unsigned seed, fl_hash *object)
{
    wire_message r, m = {.kind = WIRE_UPLOAD, .round = world_of(w, study)->round};
    fl_buf bytes;
    fl_buf_init(&bytes, 1 << 20);
    world_update(w, &bytes, seed);
    strcpy(m.study, study);
    world_debit(m.debit, site, seed);
    *object = m.u.upload.object = fl_sha256(bytes.bytes, bytes.size);
    m.u.upload.total = bytes.size;
    m.u.upload.bytes = bytes.bytes;
    m.u.upload.n_bytes = 50;
    const wire_kind kind = world_call(w, site, &m, &r);
    fl_buf_fini(&bytes);
    return kind;
}

static void nor_by_going_to_and_fro_between_two_studies(void **state)
{
    (void)state;
    fl_hash object;
    unsigned taken = 0;
    world *w = make(2, NULL);
    world_study(w, "s", "all", 3, 2, "");
    world_study(w, "t", "all", 3, 2, "");
    world_start(w);
    for (uint32_t i = 0; i < 2; i++) {
        world_join(w, i, "s", 100);
        world_join(w, i, "t", 100);
    }
    for (unsigned seed = 0; seed < 20; seed++)
        taken += begin_upload(w, 0, seed % 2 ? "t" : "s", seed, &object) == WIRE_LENGTH;
    assert_int_equal(taken, 8);
    drop(w);
}

static void what_was_never_finished_goes_with_its_round(void **state)
{
    (void)state;
    wire_message r;
    fl_hash object, next;
    world *w = open_round(2, 2);
    assert_int_equal(begin_upload(w, 0, "s", 41, &object), WIRE_LENGTH); /* given up: it burned this one */
    assert_int_equal(world_contribute(w, 0, "s", 42, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 1, "s", 43, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 2);
    assert_int_equal(fl_objects_length(w->store.objects, &object), 50);
    assert_int_equal(begin_upload(w, 0, "s", 44, &next), WIRE_LENGTH);
    assert_int_equal(fl_objects_length(w->store.objects, &object), 0);
    assert_int_equal(fl_objects_length(w->store.objects, &next), 50);
    uint32_t rounds;
    fl_err err;
    assert_ok(agg_refold(&w->store, &w->plan, NULL, NULL, &rounds, &err), err); /* contributions stay */
    drop(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round_goes_from_join_to_the_next_announce),
        cmocka_unit_test(a_forged_message_changes_nothing),
        cmocka_unit_test(what_was_said_once_is_not_done_twice),
        cmocka_unit_test(a_node_that_was_set_back_is_told_so),
        cmocka_unit_test(heads_are_cosigned_and_never_go_back),
        cmocka_unit_test(a_forked_ledger_is_never_cosigned),
        cmocka_unit_test(a_restored_ledger_names_the_head_that_was_lost),
        cmocka_unit_test(a_node_fetches_models_and_nothing_else),
        cmocka_unit_test(an_upload_is_taken_up_where_it_was_cut),
        cmocka_unit_test(bytes_that_are_not_their_hash_are_thrown_away),
        cmocka_unit_test(a_site_cannot_fill_the_disk_with_updates),
        cmocka_unit_test(nor_by_going_to_and_fro_between_two_studies),
        cmocka_unit_test(what_was_never_finished_goes_with_its_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
