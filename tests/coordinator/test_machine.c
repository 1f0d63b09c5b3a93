/* The rules of a study, seen from outside: what hospitals ask, what they are told, what the state is then. */
#include "base/rng.h"
#include "coordinator/fold.h"
#include "tests/coordinator/world.h"

static int make(void **state)
{
    world *w = malloc(sizeof *w);
    world_init(w, NULL, 4);
    *state = w;
    return 0;
}

static int drop(void **state)
{
    world_fini(*state);
    free(*state);
    return 0;
}

/* Hospitals 0 .. n-1 have joined; the study wants `quorum`. */
static world *open_study_with(void **state, uint32_t n, unsigned rounds, unsigned quorum, const char *more)
{
    world *w = *state;
    world_study(w, "s", "all", rounds, quorum, more);
    world_start(w);
    for (uint32_t i = 0; i < n; i++) {
        world_head(w, i);
        world_join(w, i, "s", 100);
    }
    return w;
}

static world *open_study(void **state, uint32_t n, unsigned rounds, unsigned quorum)
{
    return open_study_with(state, n, rounds, quorum, "");
}

static wire_error_code error_of(wire_kind kind, const wire_message *r)
{
    assert_int_equal(kind, WIRE_ERROR);
    return r->u.error.code;
}

static wire_message released(world *w, uint32_t site, unsigned seed)
{
    const coord_study *st = world_of(w, "s");
    wire_message m = {.kind = WIRE_RELEASED, .study = "s", .round = st->round}, r;
    fl_buf bytes;
    fl_buf_init(&bytes, 1 << 20);
    world_update(w, &bytes, seed);
    world_debit(m.debit, site, seed + 100000 * st->round);
    m.u.released.update_hash = fl_sha256(bytes.bytes, bytes.size);
    m.u.released.update_bytes = bytes.size;
    m.u.released.announce_hash = st->announce_hash;
    fl_buf_fini(&bytes);
    lines_release(&w->lines[site], &m, w->names[site]);
    (void)world_show_lines(w, site, &r);
    lines_prove(&w->lines[site], &m);
    return m;
}

static void a_weight_beyond_measure_is_refused(void **state)
{
    world *w = open_study(state, 1, 2, 2);
    wire_message m = {.kind = WIRE_JOIN, .study = "s"}, r;
    m.u.join.plan_hash = world_of(w, "s")->plan_hash;
    m.u.join.declared_patients = 1000001;
    assert_int_equal(error_of(world_call(w, 1, &m, &r), &r), WIRE_E_BAD_REQUEST);
    m.u.join.declared_patients = 1000000;
    assert_int_equal(world_call(w, 1, &m, &r), WIRE_OK);
}

static void no_round_opens_below_the_quorum(void **state)
{
    world *w = open_study(state, 2, 3, 3);
    assert_int_equal(world_of(w, "s")->phase, COORD_GATHERING);
    world_pass(w, 600000);
    assert_int_equal(world_of(w, "s")->phase, COORD_GATHERING);
    world_join(w, 2, "s", 100);
    assert_int_equal(world_of(w, "s")->phase, COORD_OPEN);
    assert_int_equal(world_of(w, "s")->round, 1);
}

/* Without its RELEASE in a ledger whose head is held here, an update is nobody's. */
static void an_update_whose_ledger_was_not_shown_is_no_contribution(void **state)
{
    wire_message r;
    world *w = open_study(state, 2, 2, 2);
    hospital_lines *l = &w->lines[0];
    const coord_study *st = world_of(w, "s");
    wire_message m = {.kind = WIRE_RELEASED, .study = "s", .round = st->round};
    world_debit(m.debit, 0, 1);
    m.u.released.update_bytes = st->terms[0].update_bytes;
    m.u.released.announce_hash = st->announce_hash;
    lines_release(l, &m, "a");
    assert_int_equal(error_of(world_call(w, 0, &m, &r), &r), WIRE_E_NO_PROOF);
    assert_int_equal(r.u.error.ledger_size, l->held);
    assert_int_equal(world_show_lines(w, 0, &r), WIRE_COSIGNED);
    assert_int_equal(error_of(world_call(w, 0, &m, &r), &r), WIRE_E_NO_PROOF); /* a head alone says nothing */
    lines_prove(l, &m);
    assert_int_equal(error_of(world_call(w, 0, &m, &r), &r), WIRE_E_NO_OBJECT);
    /* the RELEASE of another update, debit or size */
    wire_message other = m;
    other.u.released.update_hash.bytes[0] ^= 1;
    assert_int_equal(error_of(world_call(w, 0, &other, &r), &r), WIRE_E_NO_PROOF);
    other = m;
    world_debit(other.debit, 0, 2);
    assert_int_equal(error_of(world_call(w, 0, &other, &r), &r), WIRE_E_NO_PROOF);
    other = m;
    other.sequence = 0;
    l->inclusion[0].bytes[3] ^= 1;
    assert_int_equal(error_of(world_call(w, 0, &other, &r), &r), WIRE_E_NO_PROOF);
    /* a line that says another length than the update's */
    wire_message shorter = {.kind = WIRE_RELEASED, .study = "s", .round = st->round};
    world_debit(shorter.debit, 1, 1);
    shorter.u.released.announce_hash = st->announce_hash;
    shorter.u.released.update_bytes = st->terms[0].update_bytes - 1;
    lines_release(&w->lines[1], &shorter, "b");
    shorter.u.released.update_bytes++;
    assert_int_equal(world_show_lines(w, 1, &r), WIRE_COSIGNED);
    lines_prove(&w->lines[1], &shorter);
    assert_int_equal(error_of(world_call(w, 1, &shorter, &r), &r), WIRE_E_NO_PROOF);
}

static void a_round_closes_at_its_deadline_with_the_quorum(void **state)
{
    wire_message r;
    world *w = *state;
    world_study(w, "t", "all", 3, 2, "");
    world_start(w);
    for (uint32_t i = 0; i < 3; i++)
        world_join(w, i, "t", 100);
    assert_int_equal(world_of(w, "t")->phase, COORD_OPEN);
    world_pass(w, 61000);
    /* the first two opened round 1 of t; the third takes part from round 2 on */
    assert_int_equal(world_contribute(w, 0, "t", 1, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "t")->round, 1);
    assert_int_equal(world_contribute(w, 1, "t", 2, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "t")->round, 2);
    assert_int_equal(world_contribute(w, 0, "t", 3, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 2, "t", 4, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "t")->round, 2); /* hospital 1 may still come */
    world_pass(w, 61000);
    assert_int_equal(world_of(w, "t")->round, 3); /* it did not */
    assert_non_null(strstr(w->said, "missing=b"));
}

static void a_deadline_without_quorum_is_extended(void **state)
{
    wire_message r;
    world *w = open_study(state, 3, 3, 3);
    assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_RECEIPT);
    world_pass(w, 61000);
    assert_non_null(strstr(w->said, "deadline passed without quorum: extended"));
    assert_int_equal(world_of(w, "s")->phase, COORD_OPEN);
    assert_int_equal(world_of(w, "s")->round, 1);
    assert_true(world_of(w, "s")->deadline_ms > w->now_ms);
    assert_int_equal(world_contribute(w, 1, "s", 2, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 2, "s", 3, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 2); /* what came before the extension counts */
    fl_hash hash;
    char debit[WIRE_DEBIT_SIZE];
    assert_true(coord_contribution(&w->store, "s", 1, "a", &hash, debit, NULL));
}

static void an_update_for_a_round_that_is_over_is_stale(void **state)
{
    wire_message r;
    world *w = open_study(state, 3, 3, 2);
    wire_message late = released(w, 2, 9);
    world_pass(w, 1000);
    assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 1, "s", 2, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 2);
    assert_int_equal(error_of(world_call(w, 2, &late, &r), &r), WIRE_E_STALE_ROUND);
    wire_message early = released(w, 0, 9);
    early.round = 7;
    assert_int_equal(error_of(world_call(w, 0, &early, &r), &r), WIRE_E_STALE_ROUND);
    wire_message other = released(w, 0, 9);
    other.u.released.announce_hash.bytes[0] ^= 1;
    assert_int_equal(error_of(world_call(w, 0, &other, &r), &r), WIRE_E_STALE_ROUND);
}

static void the_same_update_again_gets_the_same_receipt(void **state)
{
    wire_message r, again;
    world *w = open_study(state, 3, 2, 3);
    assert_int_equal(world_contribute(w, 0, "s", 5, &r), WIRE_RECEIPT);
    wire_message m = released(w, 0, 5);
    assert_int_equal(world_call(w, 0, &m, &again), WIRE_RECEIPT); /* under a new request id */
    assert_memory_equal(r.u.receipt.signature, again.u.receipt.signature, FL_SIGNATURE_SIZE);
    assert_int_equal(world_answer_of(w, world_again(w, 0, &m), &again), WIRE_RECEIPT); /* under the same */
    assert_memory_equal(r.u.receipt.signature, again.u.receipt.signature, FL_SIGNATURE_SIZE);
    const uint64_t lines = led_state(w->store.ledger)->n_entries;
    assert_int_equal(world_contribute(w, 1, "s", 6, &r), WIRE_RECEIPT);
    assert_int_equal(led_state(w->store.ledger)->n_entries, lines + 1);
}

static void a_receipt_that_was_lost_is_given_again_after_the_round(void **state)
{
    wire_message r, again;
    world *w = open_study(state, 3, 3, 3);
    wire_message m = released(w, 2, 7);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(world_contribute(w, i, "s", 5 + i, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 2);
    assert_int_equal(world_call(w, 2, &m, &again), WIRE_RECEIPT);
    assert_memory_equal(r.u.receipt.signature, again.u.receipt.signature, FL_SIGNATURE_SIZE);
    wire_message other = m;
    other.u.released.update_hash.bytes[3] ^= 4;
    assert_int_equal(error_of(world_call(w, 2, &other, &r), &r), WIRE_E_EQUIVOCATION);
}

static void a_second_different_update_is_equivocation(void **state)
{
    wire_message r;
    world *w = open_study(state, 3, 2, 3);
    assert_int_equal(world_contribute(w, 0, "s", 5, &r), WIRE_RECEIPT);
    wire_message m = released(w, 0, 6);
    assert_int_equal(error_of(world_call(w, 0, &m, &r), &r), WIRE_E_EQUIVOCATION);
    wire_message same_bytes_other_debit = released(w, 0, 5);
    same_bytes_other_debit.debit[0] = 'f';
    assert_int_equal(error_of(world_call(w, 0, &same_bytes_other_debit, &r), &r), WIRE_E_EQUIVOCATION);
    assert_int_equal(error_of(world_contribute(w, 0, "s", 8, &r), &r), WIRE_E_EQUIVOCATION); /* the upload already */
    assert_non_null(strstr(w->said, "a sent a second, different update"));
}

static void a_debit_pays_for_one_update(void **state)
{
    wire_message r;
    world *w = open_study(state, 3, 3, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(world_contribute(w, i, "s", 5 + i, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 2);
    wire_message m = released(w, 0, 9);
    world_debit(m.debit, 0, 5 + 100000); /* of round 1 */
    lines_release(&w->lines[0], &m, "a");
    assert_int_equal(world_show_lines(w, 0, &r), WIRE_COSIGNED);
    lines_prove(&w->lines[0], &m);
    const uint64_t lines = led_state(w->store.ledger)->n_entries;
    assert_int_equal(error_of(world_call(w, 0, &m, &r), &r), WIRE_E_BAD_UPDATE);
    assert_int_equal(led_state(w->store.ledger)->n_entries, lines);
    assert_int_equal(coord_host_failed_commits(w->host), 0);
}

static void an_update_that_was_not_uploaded_is_asked_for(void **state)
{
    wire_message r;
    world *w = open_study(state, 3, 2, 3);
    wire_message m = released(w, 0, 5);
    assert_int_equal(error_of(world_call(w, 0, &m, &r), &r), WIRE_E_NO_OBJECT);
    assert_true(r.u.error.retry);
    m.u.released.update_bytes++;
    assert_int_equal(error_of(world_call(w, 0, &m, &r), &r), WIRE_E_BAD_UPDATE);
}

static void who_joins_late_takes_part_from_the_next_round(void **state)
{
    wire_message r;
    world *w = open_study(state, 2, 3, 2);
    assert_int_equal(world_of(w, "s")->round, 1);
    world_join(w, 2, "s", 50);
    const uint64_t ticket = world_poll(w, 2, 1);
    assert_int_equal(world_answer_of(w, ticket, &r), WIRE_NONE);
    assert_int_equal(error_of(world_contribute(w, 2, "s", 9, &r), &r), WIRE_E_STALE_ROUND);
    assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 1, "s", 2, &r), WIRE_RECEIPT);
    assert_int_equal(world_answer_of(w, ticket, &r), WIRE_ANNOUNCE);
    assert_int_equal(r.u.announce.round, 2);
    assert_int_equal(r.u.announce.n_sites, 3);
    assert_int_equal(r.u.announce.sites[2].declared_patients, 50);
}

static void who_leaves_is_not_waited_for(void **state)
{
    wire_message r, leave = {.kind = WIRE_LEAVE, .study = "s"};
    world *w = open_study(state, 3, 3, 2);
    world_pass(w, 1000);
    assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 1, "s", 2, &r), WIRE_RECEIPT); /* of two: the third joined late */
    assert_int_equal(world_of(w, "s")->round, 2);
    assert_int_equal(world_contribute(w, 0, "s", 3, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 1, "s", 4, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 2);
    assert_int_equal(world_call(w, 2, &leave, &r), WIRE_OK);
    assert_int_equal(world_of(w, "s")->round, 3);
    assert_false(world_of(w, "s")->members[2].in_roster);
}

static void who_left_after_contributing_still_counts(void **state)
{
    wire_message r, leave = {.kind = WIRE_LEAVE, .study = "s"};
    uint32_t rounds;
    fl_err err;
    world *w = open_study(state, 3, 1, 3);
    assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_RECEIPT);
    assert_int_equal(world_call(w, 0, &leave, &r), WIRE_OK);
    assert_int_equal(world_contribute(w, 1, "s", 2, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 2, "s", 3, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->phase, COORD_DONE);
    assert_non_null(strstr(w->said, "contributions=3"));
    assert_ok(agg_refold(&w->store, &w->plan, NULL, NULL, &rounds, &err), err);
}

static void shut_out(world *w, const char *name)
{
    fl_err err;
    fl_query q;
    assert_ok(fl_query_open(&q, w->store.db, "UPDATE site SET revoked = 1 WHERE name = ?", &err), err);
    fl_bind_text(&q, 1, name);
    assert_ok(fl_query_run(&q, &err), err);
    assert_ok(coord_host_changed(w->host, &err), err);
}

static void a_hospital_revoked_in_the_middle_of_a_round_is_out(void **state)
{
    wire_message r;
    world *w = open_study(state, 3, 3, 2);
    assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 1, "s", 2, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 2);
    assert_int_equal(world_contribute(w, 0, "s", 3, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 1, "s", 4, &r), WIRE_RECEIPT);
    const uint64_t parked = world_poll(w, 0, 1); /* has nothing to hear: its update is in */
    assert_int_equal(world_answer_of(w, parked, &r), WIRE_NONE);
    shut_out(w, "c"); /* nobody is missing now */
    assert_int_equal(world_of(w, "s")->round, 3);
    assert_int_equal(world_answer_of(w, parked, &r), WIRE_ANNOUNCE);
    assert_int_equal(r.u.announce.n_sites, 2);
    assert_int_equal(error_of(world_contribute(w, 2, "s", 5, &r), &r), WIRE_E_REVOKED);
    wire_message poll = {.kind = WIRE_POLL, .u.poll.n_plans_known = 1};
    assert_int_equal(error_of(world_call(w, 2, &poll, &r), &r), WIRE_E_REVOKED);
    wire_message fetch = {.kind = WIRE_FETCH, .u.fetch = {.max_bytes = WIRE_PIECE_MAX}};
    fetch.u.fetch.object = world_of(w, "s")->model_hash;
    assert_int_equal(error_of(world_call(w, 2, &fetch, &r), &r), WIRE_E_REVOKED);
    /* what it gave before it was revoked, in a round that is over, stays */
    assert_int_equal(world_contribute(w, 0, "s", 6, &r), WIRE_RECEIPT);
    assert_int_equal(world_contribute(w, 1, "s", 7, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->phase, COORD_DONE);
}

static void a_revoked_hospitals_parked_poll_is_told(void **state)
{
    wire_message r;
    world *w = open_study(state, 2, 3, 3);
    const uint64_t parked = world_poll(w, 1, 1);
    assert_int_equal(world_answer_of(w, parked, &r), WIRE_NONE);
    shut_out(w, "b");
    assert_int_equal(error_of(world_answer_of(w, parked, &r), &r), WIRE_E_REVOKED);
}

static void a_round_whose_hospitals_went_opens_again_with_those_who_joined_since(void **state)
{
    wire_message r, leave = {.kind = WIRE_LEAVE, .study = "s"};
    uint32_t rounds;
    fl_err err;
    world *w = open_study(state, 2, 2, 2);
    const fl_hash first = world_of(w, "s")->announce_hash;
    assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_RECEIPT);
    assert_int_equal(world_call(w, 1, &leave, &r), WIRE_OK);
    assert_int_equal(world_of(w, "s")->round, 1); /* one of two is in, and nobody else can come */
    world_join(w, 2, "s", 70);
    assert_int_equal(world_of(w, "s")->round, 1);
    assert_int_equal(world_of(w, "s")->phase, COORD_OPEN);
    assert_false(fl_hash_equal(&world_of(w, "s")->announce_hash, &first));
    assert_true(world_of(w, "s")->members[0].contributed);
    assert_false(world_of(w, "s")->members[1].in_roster);
    world_crash(w); /* the rows say the same */
    world_start(w);
    assert_true(world_of(w, "s")->members[0].contributed);
    assert_false(world_of(w, "s")->members[1].in_roster);
    assert_int_equal(world_answer_of(w, world_poll(w, 2, 1), &r), WIRE_ANNOUNCE);
    assert_int_equal(r.u.announce.round, 1);
    assert_int_equal(r.u.announce.n_sites, 2);
    assert_int_equal(world_contribute(w, 2, "s", 2, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 2);
    assert_non_null(strstr(w->said, "contributions=2 patients=170"));
    assert_ok(agg_refold(&w->store, &w->plan, NULL, NULL, &rounds, &err), err);
    assert_int_equal(rounds, 1);
}

static void who_asks_with_a_ledger_that_became_shorter_is_told(void **state)
{
    wire_message r;
    world *w = open_study(state, 2, 3, 2);
    world_head(w, 0);
    assert_int_equal(world_answer_of(w, world_poll(w, 0, 1), &r), WIRE_ANNOUNCE);
    w->lines[0].held--; /* before it takes the round, and pays for it, again */
    assert_int_equal(error_of(world_answer_of(w, world_poll(w, 0, 1), &r), &r), WIRE_E_ROLLBACK);
}

static void parked_polls_end_in_time_and_only_once(void **state)
{
    wire_message r;
    world *w = open_study(state, 1, 3, 3);
    const uint64_t first = world_poll(w, 0, 1);
    world_pass(w, 24000);
    assert_int_equal(world_answer_of(w, first, &r), WIRE_NONE);
    world_pass(w, 1001);
    assert_int_equal(world_answer_of(w, first, &r), WIRE_NOTHING);
    const uint64_t second = world_poll(w, 0, 1), third = world_poll(w, 0, 1);
    assert_int_equal(world_answer_of(w, second, &r), WIRE_NOTHING); /* its connection is gone */
    assert_int_equal(world_answer_of(w, third, &r), WIRE_NONE);
    world_crash(w);
    assert_true(w->answers[third].ignored);
    world_start(w);
}

static void a_study_for_others_takes_its_place_in_the_count(void **state)
{
    wire_message r, fetch = {.kind = WIRE_FETCH, .u.fetch = {.max_bytes = WIRE_PIECE_MAX}};
    world *w = *state;
    world_study(w, "theirs", "b, c", 2, 2, "");
    world_study(w, "ours", "all", 2, 2, "");
    world_start(w);
    uint64_t ticket = world_poll(w, 0, 0);
    assert_int_equal(world_answer_of(w, ticket, &r), WIRE_PLAN);
    assert_int_equal(r.u.plan.n_bytes, 2); /* {} */
    ticket = world_poll(w, 0, 1);
    assert_int_equal(world_answer_of(w, ticket, &r), WIRE_PLAN);
    assert_string_equal(r.study, "ours");
    assert_true(r.u.plan.n_bytes > 100);
    fetch.u.fetch.object = world_of(w, "theirs")->model_hash;
    if (!fl_hash_equal(&fetch.u.fetch.object, &world_of(w, "ours")->model_hash))
        assert_int_equal(error_of(world_call(w, 0, &fetch, &r), &r), WIRE_E_NO_OBJECT);
    wire_message join = {.kind = WIRE_JOIN, .study = "theirs", .u.join = {.declared_patients = 5}};
    join.u.join.plan_hash = world_of(w, "theirs")->plan_hash;
    assert_int_equal(error_of(world_call(w, 0, &join, &r), &r), WIRE_E_NOT_A_MEMBER);
}

static void a_listed_study_waits_for_all_it_names_until_the_deadline(void **state)
{
    world *w = *state;
    world_study(w, "s", "a, b, c", 2, 2, "");
    world_start(w);
    world_join(w, 0, "s", 10);
    world_join(w, 1, "s", 10);
    assert_int_equal(world_of(w, "s")->phase, COORD_GATHERING);
    world_pass(w, 61000);
    assert_int_equal(world_of(w, "s")->phase, COORD_OPEN);
}

static void pause_and_close_are_obeyed(void **state)
{
    fl_err err;
    wire_message r;
    world *w = open_study(state, 2, 3, 2);
    assert_ok(coord_study_say(&w->store, "s", COORD_PAUSE, &err), err);
    assert_ok(coord_host_changed(w->host, &err), err);
    assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_RECEIPT); /* what was begun may end */
    assert_int_equal(world_contribute(w, 1, "s", 2, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 1);
    assert_ok(coord_study_say(&w->store, "s", COORD_RESUME, &err), err);
    assert_ok(coord_host_changed(w->host, &err), err);
    assert_int_equal(world_of(w, "s")->round, 2);
    assert_ok(coord_study_say(&w->store, "s", COORD_CLOSE, &err), err);
    assert_ok(coord_host_changed(w->host, &err), err);
    assert_int_equal(error_of(world_contribute(w, 0, "s", 3, &r), &r), WIRE_E_STALE_ROUND);
    assert_int_equal(coord_study_say(&w->store, "s", COORD_RESUME, &err), FL_EREFUSED);
    assert_says(err, "was closed");
}

static void a_roster_entry_stands_before_each_change_of_hospitals(void **state)
{
    wire_message r;
    fl_err err;
    fl_query q;
    world *w = open_study(state, 2, 4, 2);
    for (unsigned round = 1; round <= 2; round++)
        for (uint32_t i = 0; i < 2; i++)
            assert_int_equal(world_contribute(w, i, "s", 10 * round + i, &r), WIRE_RECEIPT);
    world_join(w, 2, "s", 30); /* from round 4 on: round 3 is open */
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(world_contribute(w, i, "s", 30 + i, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 4);
    int n = 0;
    assert_ok(
        fl_query_open(&q, w->store.db, "SELECT line FROM entry WHERE line LIKE '%\"ROSTER\"%' ORDER BY seq", &err),
        err);
    while (fl_query_row(&q))
        assert_true((strstr(fl_column_text(&q, 0), "\"c\"") != NULL) == (n++ == 1));
    assert_ok(fl_query_close(&q, &err), err);
    assert_int_equal(n, 2); /* before round 1, before round 4 */
}

/* ---- resume from rows ------------------------------------------------------------------------------------------------ */

static void assert_same_state(const coord_state *a, const coord_state *b, bool with_times)
{
    assert_int_equal(a->n_sites, b->n_sites);
    assert_int_equal(a->n_studies, b->n_studies);
    for (uint32_t i = 0; i < a->n_sites; i++) {
        assert_string_equal(a->sites[i].name, b->sites[i].name);
        assert_int_equal(a->sites[i].revoked, b->sites[i].revoked);
        assert_int_equal(a->sites[i].head_size, b->sites[i].head_size);
        assert_memory_equal(&a->sites[i].head_root, &b->sites[i].head_root, FL_HASH_SIZE);
        if (with_times) {
            assert_int_equal(a->sites[i].parked, b->sites[i].parked);
            assert_int_equal(a->sites[i].seen_ms, b->sites[i].seen_ms);
        }
    }
    for (uint32_t k = 0; k < a->n_studies; k++) {
        const coord_study *s = &a->studies[k], *t = &b->studies[k];
        assert_int_equal(s->phase, t->phase);
        assert_int_equal(s->round, t->round);
        assert_memory_equal(&s->model_hash, &t->model_hash, FL_HASH_SIZE);
        assert_memory_equal(&s->announce_hash, &t->announce_hash, FL_HASH_SIZE);
        if (with_times)
            assert_int_equal(s->deadline_ms, t->deadline_ms);
        for (uint32_t i = 0; i < a->n_sites; i++)
            assert_memory_equal(&s->members[i], &t->members[i], sizeof s->members[i]);
    }
}

static void random_act(world *w, fl_rng *rng, bool time_passes)
{
    wire_message r;
    const uint32_t site = (uint32_t)fl_rng_below(rng, w->n_sites);
    const char *study = fl_rng_below(rng, 2) ? "s" : "t";
    const unsigned seed = (unsigned)fl_rng_below(rng, 3); /* few, so that the same comes twice */
    switch (fl_rng_below(rng, 8)) {
    case 0: { /* c is not named by t: refused */
        wire_message join = {.kind = WIRE_JOIN, .u.join = {.plan_hash = world_of(w, study)->plan_hash}};
        strcpy(join.study, study);
        join.u.join.declared_patients = 10 + fl_rng_below(rng, 3);
        (void)world_call(w, site, &join, &r);
        break;
    }
    case 1:
        if (fl_rng_below(rng, 4) == 0) {
            wire_message leave = {.kind = WIRE_LEAVE};
            strcpy(leave.study, study);
            (void)world_call(w, site, &leave, &r);
        }
        break;
    case 2:
        world_head(w, site);
        break;
    case 3:
        (void)world_poll(w, site, 2);
        break;
    case 4:
        if (time_passes)
            world_pass(w, (int64_t)fl_rng_below(rng, 70000));
        break;
    default:
        (void)world_contribute(w, site, study, seed, &r);
        break;
    }
}

typedef enum again { NEVER, RELOAD, RESTART } again;

static void take_up(world *w, again how)
{
    fl_err err;
    if (how == RELOAD)
        assert_ok(coord_host_changed(w->host, &err), err);
    if (how == RESTART) {
        world_crash(w);
        world_start(w);
    }
}

/* Returns how many rounds were opened. */
static unsigned compare_with(again how, uint64_t seed)
{
    world *a = malloc(sizeof *a), *b = malloc(sizeof *b);
    fl_rng rng_a, rng_b;
    world *both[] = {a, b};
    for (int i = 0; i < 2; i++) {
        world_init(both[i], NULL, 4);
        world_study(both[i], "s", "all", 12, 2, "[server]\noptimiser = momentum\naverage = tail:0.5\n");
        world_study(both[i], "t", "a, b, d", 12, 3, "");
        world_start(both[i]);
    }
    fl_rng_init(&rng_a, seed, 0);
    fl_rng_init(&rng_b, seed, 0);
    for (int i = 0; i < 200; i++) {
        random_act(a, &rng_a, how == RELOAD);
        random_act(b, &rng_b, how == RELOAD);
        take_up(b, how);
        assert_same_state(coord_host_state(a->host), coord_host_state(b->host), how == RELOAD);
    }
    const unsigned rounds = world_of(a, "s")->round + world_of(a, "t")->round;
    assert_int_equal(led_state(a->store.ledger)->n_entries, led_state(b->store.ledger)->n_entries);
    for (int i = 0; i < 2; i++) {
        world_fini(both[i]);
        free(both[i]);
    }
    return rounds;
}

static void a_state_loaded_from_rows_after_every_step_is_the_same(void **state)
{
    (void)state;
    unsigned rounds = 0;
    for (uint64_t seed = 1; seed <= 4; seed++)
        rounds += compare_with(RELOAD, seed);
    assert_true(rounds > 12); /* the schedules did something */
}

static void a_coordinator_restarted_after_every_step_goes_the_same_way(void **state)
{
    (void)state;
    unsigned rounds = 0;
    for (uint64_t seed = 1; seed <= 3; seed++)
        rounds += compare_with(RESTART, seed);
    assert_true(rounds > 9);
}

/* A hospital may say any number of patients, below 0 too, but none that would make the sums wrong. */
static void noised_counts_out_of_all_range_are_refused(void **state)
{
    wire_message r;
    world *w = open_study_with(state, 2, 2, 2, "[metrics]\nevery = 1\n");
    const coord_study *st = world_of(w, "s");
    assert_int_equal(coord_update_bytes(st), st->terms[0].update_bytes + 8 * 24);
    fl_buf bytes;
    fl_buf_init(&bytes, 1 << 20);
    world_update(w, &bytes, 5);
    bytes.bytes[bytes.size - 1] = 0x01; /* 2^56 */
    wire_message up = {.kind = WIRE_UPLOAD, .study = "s", .round = 1},
                 m = {.kind = WIRE_RELEASED, .study = "s", .round = 1};
    up.u.upload.object = fl_sha256(bytes.bytes, bytes.size);
    up.u.upload.total = up.u.upload.n_bytes = (uint32_t)bytes.size;
    up.u.upload.bytes = bytes.bytes;
    world_debit(up.debit, 0, 1);
    world_debit(m.debit, 0, 1);
    m.u.released.update_hash = up.u.upload.object;
    m.u.released.update_bytes = bytes.size;
    m.u.released.announce_hash = st->announce_hash;
    lines_release(&w->lines[0], &m, w->names[0]);
    assert_int_equal(world_show_lines(w, 0, &r), WIRE_COSIGNED);
    assert_int_equal(world_call(w, 0, &up, &r), WIRE_LENGTH);
    lines_prove(&w->lines[0], &m);
    assert_int_equal(error_of(world_call(w, 0, &m, &r), &r), WIRE_E_BAD_UPDATE);
    assert_int_equal(world_contribute(w, 1, "s", 6, &r), WIRE_RECEIPT);
    fl_buf_fini(&bytes);
}

#define rule(test) cmocka_unit_test_setup_teardown(test, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        rule(a_weight_beyond_measure_is_refused),
        rule(no_round_opens_below_the_quorum),
        rule(an_update_whose_ledger_was_not_shown_is_no_contribution),
        rule(a_round_closes_at_its_deadline_with_the_quorum),
        rule(a_deadline_without_quorum_is_extended),
        rule(an_update_for_a_round_that_is_over_is_stale),
        rule(the_same_update_again_gets_the_same_receipt),
        rule(a_receipt_that_was_lost_is_given_again_after_the_round),
        rule(a_second_different_update_is_equivocation),
        rule(a_debit_pays_for_one_update),
        rule(noised_counts_out_of_all_range_are_refused),
        rule(an_update_that_was_not_uploaded_is_asked_for),
        rule(who_joins_late_takes_part_from_the_next_round),
        rule(who_leaves_is_not_waited_for),
        rule(who_left_after_contributing_still_counts),
        rule(a_hospital_revoked_in_the_middle_of_a_round_is_out),
        rule(a_revoked_hospitals_parked_poll_is_told),
        rule(a_round_whose_hospitals_went_opens_again_with_those_who_joined_since),
        rule(who_asks_with_a_ledger_that_became_shorter_is_told),
        rule(parked_polls_end_in_time_and_only_once),
        rule(a_study_for_others_takes_its_place_in_the_count),
        rule(a_listed_study_waits_for_all_it_names_until_the_deadline),
        rule(pause_and_close_are_obeyed),
        rule(a_roster_entry_stands_before_each_change_of_hospitals),
        cmocka_unit_test(a_state_loaded_from_rows_after_every_step_is_the_same),
        cmocka_unit_test(a_coordinator_restarted_after_every_step_goes_the_same_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
