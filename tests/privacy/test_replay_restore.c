/* A plan's terms and phases, and what a RESTORE owes. */
#include "tests/privacy/replay_bench.h"

static void feed_restore(bench *b, const char *reason, uint32_t missing, uint64_t witness_size)
{
    maker_entry(&b->m, &e, DP_RESTORE);
    SET(e.reason, reason);
    e.missing = missing;
    e.witness_size = witness_size;
    feed_entry(b);
}

/* A plan of two phases: round 1 with the terms of the maker, rounds 2 to 11 with noise of multiplier 2, which costs less. */
static void make_cheap(dp_terms *t)
{
    t->noise_variance = dp_variance_for(2000000, t->clip_units);
}

static void approve_two_phases(bench *b, char plan)
{
    maker_entry(&b->m, &e, DP_APPROVE_PLAN);
    hash_of(e.plan_hash, plan);
    e.n_terms = 2;
    e.terms[0].rounds = 1;
    e.terms[1] = e.terms[0];
    e.terms[1].rounds = 10;
    make_cheap(&e.terms[1]);
    feed_entry(b);
}

static void feed_phase(bench *b, dp_kind kind, unsigned debit, unsigned round, bool is_cheap)
{
    maker_entry(&b->m, &e, kind);
    hash_of(e.plan_hash, 'a');
    debit_of(e.debit, debit);
    e.round = round;
    if (is_cheap) {
        e.noise_variance = dp_variance_for(2000000, e.clip_units);
        SET(e.noise_multiplier, "2");
    }
    if (kind == DP_BURN)
        SET(e.reason, "restored");
    feed_entry(b);
}

static void each_round_has_the_terms_of_its_phase(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    approve_two_phases(&b, 'a');
    feed_phase(&b, DP_RESERVE, 1, 1, false);
    feed_phase(&b, DP_RESERVE, 2, 2, true);
    feed_phase(&b, DP_RESERVE, 3, 11, true);
    expect_none(&b);
    feed_phase(&b, DP_RESERVE, 4, 3, false);
    expect(&b, "RESERVE of other terms than entry 4 has under the same plan");
    feed_phase(&b, DP_RESERVE, 5, 12, true);
    expect(&b, "RESERVE of round 12, which the plan of entry 4 does not have");
    maker_entry(&b.m, &e, DP_RESERVE); /* no length, rate or number of steps of its own either */
    hash_of(e.plan_hash, 'a');
    debit_of(e.debit, 6);
    e.round = 1;
    e.coordinates--;
    feed_entry(&b);
    expect(&b, "RESERVE of other terms");
    bench_fini(&b);
}

/* Whoever restores from an older copy charges what was lost himself; and would rather pay less. */
static void what_was_lost_is_not_paid_with_a_cheaper_phase(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    approve_two_phases(&b, 'a');
    feed_restore(&b, "restored", 4, 1);
    feed_phase(&b, DP_RESERVE, 1, 1, true); /* round 1 at the price of another */
    expect(&b, "RESERVE of other terms than entry 4 has under the same plan");
    feed_phase(&b, DP_BURN, 1, 1, true);
    feed_phase(&b, DP_RESERVE, 2, 2, true); /* one of round 2 can have been received */
    feed_phase(&b, DP_BURN, 2, 2, true);
    expect_none(&b);
    assert_true(dp_replay_debit(b.r, "00000000000000000000000000000002")->is_cheap);
    feed_phase(&b, DP_RESERVE, 3, 2, true); /* and no other: this one stands for nobody knows which */
    feed_phase(&b, DP_BURN, 3, 2, true);
    expect(&b, "a second RESERVE of round 2 for one RESTORE, at less than the plan's dearest terms");
    feed_phase(&b, DP_RESERVE, 4, 1, false);
    feed_phase(&b, DP_BURN, 4, 1, false);
    expect_none(&b);
    assert_false(dp_replay_debit(b.r, "00000000000000000000000000000004")->is_cheap);
    assert_int_equal(dp_replay_state(b.r)->owed, 0);
    feed_phase(&b, DP_RESERVE, 5, 2, true); /* later rounds are what they are */
    expect_none(&b);
    bench_fini(&b);
}

/* The dearest terms that there is room for: what was lost never passed the cap. */
static void what_was_lost_costs_no_more_than_there_was_room_for(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    approve_two_phases(&b, 'a');
    maker_entry(&b.m, &e, DP_APPROVE_PLAN); /* another plan takes nearly everything */
    hash_of(e.plan_hash, 'c');
    const dp_filter *f = &dp_replay_state(b.r)->filter;
    const double dear = dp_debit_cost(f, e.terms[0].rate, e.terms[0].noise_variance, e.terms[0].clip_units, 10);
    e.terms[0].steps = (uint32_t)(10 * (f->cap / dear - 0.5));
    const uint32_t steps = e.terms[0].steps;
    feed_entry(&b);
    maker_entry(&b.m, &e, DP_RESERVE);
    hash_of(e.plan_hash, 'c');
    debit_of(e.debit, 9);
    e.steps = steps;
    e.round = 20;
    feed_entry(&b);
    expect_none(&b);
    feed_restore(&b, "restored", 2, 1);
    feed_phase(&b, DP_RESERVE, 1, 2, true);
    feed_phase(&b, DP_BURN, 1, 2, true);
    feed_phase(&b, DP_RESERVE, 2, 2, true);
    expect_none(&b);
    assert_false(dp_replay_debit(b.r, "00000000000000000000000000000002")->is_cheap);
    bench_fini(&b);
}

static void an_approved_plan_is_approved_again_with_the_same_terms(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    approve_two_phases(&b, 'a');
    approve_two_phases(&b, 'a');
    expect_none(&b);
    for (int change = 0; change < 4; change++) {
        maker_entry(&b.m, &e, DP_APPROVE_PLAN);
        hash_of(e.plan_hash, 'a');
        e.n_terms = change == 0 ? 1 : 2;
        e.terms[0].rounds = 1;
        e.terms[1] = e.terms[0];
        e.terms[1].rounds = change == 1 ? 9 : 10;
        make_cheap(&e.terms[1]);
        if (change == 2)
            make_cheap(&e.terms[0]);
        if (change == 3)
            e.terms[1].steps--;
        feed_entry(&b);
        expect(&b, "APPROVE_PLAN with other terms than entry 4 has under the same plan");
    }
    feed_phase(&b, DP_RESERVE, 1, 1, false); /* the first ones stand */
    expect_none(&b);
    bench_fini(&b);
}

/* Approved by a line of version 2, which says no terms: the first debit does. So also by somebody who pays what an older copy
 * lost, or approves the plan once more. */
static void a_plan_keeps_the_terms_of_its_first_debit(void **state)
{
    (void)state;
    static const dp_kind first[] = {DP_GENESIS, DP_POLICY, DP_APPROVE_PLAN};
    bench b;
    bench_init(&b, "north");
    for (size_t i = 0; i < 3; i++) {
        maker_entry(&b.m, &e, first[i]);
        e.v = 2;
        feed_entry(&b);
    }
    feed_debit(&b, DP_RESERVE, 1);
    feed_debit(&b, DP_BURN, 1);
    feed_debit(&b, DP_RESERVE, 2);
    feed_debit(&b, DP_BURN, 2);
    maker_entry(&b.m, &e, DP_APPROVE_PLAN);
    e.terms[0].steps--;
    feed_entry(&b);
    expect(&b, "APPROVE_PLAN with other terms than entry 4 has under the same plan");
    feed(&b, DP_APPROVE_PLAN);
    expect_none(&b);
    maker_entry(&b.m, &e, DP_RESERVE);
    debit_of(e.debit, 3);
    e.round = 3;
    e.steps++;
    feed_entry(&b);
    expect(&b, "RESERVE of other terms than entry 4 has under the same plan");
    feed_debit(&b, DP_BURN, 3);
    maker_entry(&b.m, &e, DP_RESERVE);
    debit_of(e.debit, 4);
    e.round = 4;
    e.noise_variance = dp_variance_for(2000000, e.clip_units);
    SET(e.noise_multiplier, "2");
    feed_entry(&b);
    expect(&b, "RESERVE of other terms than entry 4 has under the same plan");
    bench_fini(&b);
}

static void a_restore_owes_its_missing_debits(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    feed_restore(&b, "restored", 1, 1);
    assert_int_equal(dp_replay_state(b.r)->owed, 1);
    feed_debit(&b, DP_RESERVE, 1);
    expect_none(&b);
    dp_replay_end(b.r);
    expect(&b, "never charged");
    feed_debit(&b, DP_STARTED, 1);
    expect(&b, "still owed");
    feed_debit(&b, DP_RESERVE, 2);
    maker_entry(&b.m, &e, DP_BURN);
    debit_of(e.debit, 2);
    e.round = 2;
    SET(e.reason, "restored");
    feed_entry(&b);
    expect_none(&b);
    assert_int_equal(dp_replay_state(b.r)->owed, 0);
    assert_true(dp_replay_debit(b.r, e.debit)->is_restored);
    feed_debit(&b, DP_RESERVE, 3);
    feed_debit(&b, DP_STARTED, 3);
    expect_none(&b);
    bench_fini(&b);
}

static void feed_restored_burn(bench *b, unsigned debit)
{
    maker_entry(&b->m, &e, DP_BURN);
    debit_of(e.debit, debit);
    e.round = debit;
    SET(e.reason, "restored");
    feed_entry(b);
}

/* A debit that was charged before the RESTORE pays for none of the missing ones. */
static void what_was_charged_before_pays_for_nothing_lost(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    feed_debit(&b, DP_RESERVE, 1);
    feed_restore(&b, "restored", 1, 1);
    feed_restored_burn(&b, 1);
    expect_none(&b);
    assert_int_equal(dp_replay_state(b.r)->owed, 1);
    dp_replay_end(b.r);
    expect(&b, "never charged");
    bench_fini(&b);
}

/* "restored" excuses a debit from having a RELEASE here, so there must be a RESTORE behind it. */
static void a_restored_debit_needs_a_restore(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    feed_debit(&b, DP_RESERVE, 1);
    feed_restored_burn(&b, 1);
    expect_none(&b);
    dp_replay_end(b.r);
    expect(&b, "a RESTORE that is not there");
    feed_restore(&b, "restored", 0, 1);
    dp_replay_end(b.r);
    expect_none(&b);
    bench_fini(&b);
}

/* What happened under a policy that was another then is charged all the same, and is never a debit to train with. */
static void what_a_restore_charges_is_never_started(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    feed_restore(&b, "restored", 1, 1);
    maker_entry(&b.m, &e, DP_RESERVE);
    debit_of(e.debit, 1);
    e.round = 1;
    e.declared_patients++; /* not what the policy says now */
    feed_entry(&b);
    expect_none(&b);
    feed_debit(&b, DP_RESERVE, 2);
    maker_entry(&b.m, &e, DP_BURN);
    debit_of(e.debit, 2);
    e.round = 2;
    SET(e.reason, "restored");
    feed_entry(&b);
    expect_none(&b);
    assert_int_equal(dp_replay_state(b.r)->owed, 0);
    feed_debit(&b, DP_STARTED, 1);
    expect(&b, "charged for a RESTORE");
    maker_entry(&b.m, &e, DP_RESERVE);
    debit_of(e.debit, 3);
    e.round = 3;
    e.declared_patients++;
    feed_entry(&b);
    expect(&b, "declared patients");
    bench_fini(&b);
}

/* Nobody who saw the lost head ever sees the ledger become shorter. */
static void a_restored_ledger_outgrows_the_head_it_lost(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    feed_restore(&b, "placeholder", 0, 100);
    expect(&b, "where no line was lost");
    const uint64_t seq = dp_replay_state(b.r)->n_entries + 1;
    feed_restore(&b, "restored", 0, seq + 2);
    expect_none(&b);
    assert_true(dp_replay_state(b.r)->restore_seq == seq);
    feed_debit(&b, DP_RESERVE, 1);
    expect_none(&b);
    feed_debit(&b, DP_STARTED, 1);
    expect(&b, "not longer than the head");
    feed_restore(&b, "placeholder", 0, seq + 3);
    expect(&b, "where no line was lost"); /* of another head */
    feed_debit(&b, DP_RESERVE, 2);
    feed_debit(&b, DP_STARTED, 2);
    expect_none(&b);
    feed_restore(&b, "placeholder", 0, seq + 2);
    expect(&b, "where no line was lost"); /* long enough already */
    assert_true(dp_replay_state(b.r)->restore_seq == seq && dp_replay_state(b.r)->n_restores == 1);
    bench_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_keeps_the_terms_of_its_first_debit),
        cmocka_unit_test(each_round_has_the_terms_of_its_phase),
        cmocka_unit_test(what_was_lost_is_not_paid_with_a_cheaper_phase),
        cmocka_unit_test(what_was_lost_costs_no_more_than_there_was_room_for),
        cmocka_unit_test(an_approved_plan_is_approved_again_with_the_same_terms),
        cmocka_unit_test(a_restore_owes_its_missing_debits),
        cmocka_unit_test(what_was_charged_before_pays_for_nothing_lost),
        cmocka_unit_test(a_restored_debit_needs_a_restore),
        cmocka_unit_test(what_a_restore_charges_is_never_started),
        cmocka_unit_test(a_restored_ledger_outgrows_the_head_it_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
