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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round_goes_from_join_to_the_next_announce),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
