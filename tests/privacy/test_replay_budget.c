/* The replay's rules of policy, budget and metrics: one fault each, and the words that find it. */
#include "tests/privacy/replay_bench.h"

#include <math.h>
#include <stdlib.h>

/* Makes a RESERVE with one thing changed and expects these words. */
#define RESERVE_WITH(change, words)                                                                                    \
    do {                                                                                                               \
        bench b;                                                                                                       \
        start_node(&b);                                                                                                \
        maker_entry(&b.m, &e, DP_RESERVE);                                                                             \
        change;                                                                                                        \
        feed_entry(&b);                                                                                                \
        expect(&b, words);                                                                                             \
        bench_fini(&b);                                                                                                \
    } while (0)

static void a_reserve_outside_policy_or_approval_is_found(void **state)
{
    (void)state;
    RESERVE_WITH(hash_of(e.plan_hash, '0'), "not approved");
    RESERVE_WITH(SET(e.study, "lungs"), "not approved for study lungs");
    RESERVE_WITH((e.noise_variance = dp_variance_for(500000, e.clip_units), SET(e.noise_multiplier, "0.5")),
                 "noise_multiplier 0.5 below");
    RESERVE_WITH(((void)!dp_rate_parse(&e.rate, "0.2", NULL), SET(e.sampling_rate, "0.2")), "sampling_rate 0.2 above");
    RESERVE_WITH(SET(e.clip_norm, "2.01"), "clip_norm 2.01 above");
    RESERVE_WITH(SET(e.clip_norm, "0"), "clip_norm 0");
    RESERVE_WITH(e.round = 6000, "round 6000");
    RESERVE_WITH(e.cohort = 1, "cohort of 1");
    RESERVE_WITH(e.declared_patients = 501, "501 declared");
    RESERVE_WITH(e.probe = e.coordinates, "1365 of them without");
    RESERVE_WITH(e.update_bits = 23, "impossible update: 23 bits");
    RESERVE_WITH(e.noise_variance--, "its variance and clip give 1.0");
    RESERVE_WITH(SET(e.noise_multiplier, "1.2"), "says noise_multiplier 1.2");
    RESERVE_WITH(e.rate--, "rate_u64");
    RESERVE_WITH(SET(e.mechanism, "laplace"), "unknown mechanism");
    RESERVE_WITH(e.steps = 100000000, "exceeds the budget");
}

static void feed_large(bench *b, unsigned round)
{
    maker_entry(&b->m, &e, DP_RESERVE);
    debit_of(e.debit, round);
    e.round = round;
    SET(e.sampling_rate, "0.01");
    assert_int_equal(dp_rate_parse(&e.rate, e.sampling_rate, NULL), FL_OK);
    feed_entry(b);
}

static void the_budget_is_kept_at_every_prefix(void **state)
{
    (void)state;
    bench b;
    bench_init(&b, "north");
    feed(&b, DP_GENESIS);
    feed(&b, DP_POLICY);
    maker_entry(&b.m, &e, DP_APPROVE_PLAN);
    assert_int_equal(dp_rate_parse(&e.terms[0].rate, "0.01", NULL), FL_OK);
    feed_entry(&b);
    unsigned round = 1;
    while (round < 2000 && b.findings.size == 0) {
        feed_large(&b, round);
        if (b.findings.size == 0)
            assert_true(dp_replay_state(b.r)->filter.spent <= dp_replay_state(b.r)->filter.cap);
        feed_debit(&b, DP_BURN, round); /* burned or not, it is charged */
        round++;
    }
    assert_true(round > 20 && round < 2000);
    expect(&b, "exceeds the budget");
    feed_large(&b, round); /* what was written is charged, and the next is over too */
    expect(&b, "exceeds the budget");
    bench_fini(&b);
}

static void feed_wide(bench *b, unsigned round, uint32_t coordinates, uint32_t steps)
{
    maker_entry(&b->m, &e, DP_APPROVE_PLAN); /* each its own plan: a plan is its terms */
    hash_of(e.plan_hash, (char)('0' + round));
    e.terms[0].coordinates = coordinates;
    e.terms[0].steps = steps;
    assert_int_equal(dp_rate_parse(&e.terms[0].rate, "0.000001", NULL), FL_OK);
    feed_entry(b);
    maker_entry(&b->m, &e, DP_RESERVE);
    hash_of(e.plan_hash, (char)('0' + round));
    debit_of(e.debit, round);
    e.round = round;
    e.coordinates = coordinates;
    e.steps = steps;
    SET(e.sampling_rate, "0.000001");
    assert_int_equal(dp_rate_parse(&e.rate, e.sampling_rate, NULL), FL_OK);
    feed_entry(b);
}

/* 2^48 integers of noise in a life, and not one more: that many are charged to delta. */
static void the_draws_of_a_life_are_counted(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    feed_wide(&b, 1, UINT32_MAX, 65536);
    feed_debit(&b, DP_BURN, 1);
    feed_wide(&b, 2, 65535, 1);
    feed_debit(&b, DP_BURN, 2);
    expect_none(&b);
    feed_wide(&b, 3, 2, 1);
    expect(&b, "RESERVE draws 2 integers of noise after 281474976710655");
    feed_debit(&b, DP_BURN, 3);
    feed_wide(&b, 4, 1, 1); /* what was written is counted */
    expect(&b, "RESERVE draws 1 integers of noise after 281474976710657");
    bench_fini(&b);

    start_node(&b);
    feed_wide(&b, 1, UINT32_MAX, 65536);
    feed_debit(&b, DP_BURN, 1);
    feed_wide(&b, 2, 65530, 1);
    expect_none(&b);
    feed_other(&b, 2);
    expect(&b, "OTHER_RELEASE draws");
    bench_fini(&b);
}

static void the_first_policy_holds_for_life(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    maker_entry(&b.m, &e, DP_POLICY);
    e.order = 16;
    feed_entry(&b);
    expect(&b, "changes order");
    maker_entry(&b.m, &e, DP_POLICY);
    SET(e.delta, "1e-4");
    feed_entry(&b);
    expect(&b, "changes order, delta");
    maker_entry(&b.m, &e, DP_POLICY);
    SET(e.epsilon, "9");
    feed_entry(&b);
    expect(&b, "raises epsilon");
    assert_true(dp_replay_state(b.r)->filter.epsilon == 8); /* and does not count */
    maker_entry(&b.m, &e, DP_POLICY);
    SET(e.epsilon, "4"); /* lower is always fine */
    feed_entry(&b);
    expect_none(&b);
    assert_true(dp_replay_state(b.r)->filter.epsilon == 4);
    maker_entry(&b.m, &e, DP_POLICY);
    SET(e.epsilon, "0.001");
    feed_entry(&b);
    expect(&b, "no possible budget");
    bench_fini(&b);

    bench_init(&b, "north");
    feed(&b, DP_GENESIS);
    maker_entry(&b.m, &e, DP_POLICY);
    e.rungs = 2;
    feed_entry(&b);
    double cap = dp_replay_state(b.r)->filter.cap;
    SET(e.epsilon, "9");
    feed_entry(&b);
    expect_none(&b);
    assert_true(fabs(dp_replay_state(b.r)->filter.cap - cap - 1) < 1e-9);
    SET(e.epsilon, "10");
    feed_entry(&b);
    expect(&b, "raises epsilon");
    bench_fini(&b);
}

/* Noise of less than a millionth of the clip, in numbers that are each in range. */
static void a_debit_without_noise_is_infinite(void **state)
{
    (void)state;
    double low, high;
    fl_err err;
    bench b;
    for (unsigned i = 0; i < 2; i++) {
        start_node(&b);
        maker_entry(&b.m, &e, i == 0 ? DP_RESERVE : DP_OTHER_RELEASE);
        e.noise_variance = 8;
        e.clip_units = 1u << 30;
        SET(e.noise_multiplier, "0");
        feed_entry(&b);
        expect(&b, i == 0 ? "RESERVE exceeds the budget" : "OTHER_RELEASE without noise");
        assert_true(dp_replay_epsilon(b.r, NULL, 1e-5, NULL) == INFINITY);
        assert_true(dp_filter_epsilon_spent(&dp_replay_state(b.r)->filter) == INFINITY);
        assert_int_equal(dp_replay_bounds(b.r, NULL, 1e-5, &low, &high, &err), FL_EREFUSED);
        assert_true(low == 0 && high == INFINITY);
        bench_fini(&b);
    }
}

/* A policy changes the cap, never the sum: lower, raised on its rung, and of another data set. */
static void what_is_spent_outlives_every_policy(void **state)
{
    (void)state;
    static const struct {
        const char *dataset, *epsilon;
    } next[] = {{"main", "4"}, {"main", "9"}, {"second", "9"}};
    bench b;
    bench_init(&b, "north");
    feed(&b, DP_GENESIS);
    maker_entry(&b.m, &e, DP_POLICY);
    e.rungs = 2;
    feed_entry(&b);
    feed(&b, DP_APPROVE_PLAN);
    feed_debit(&b, DP_RESERVE, 1);
    const dp_filter *f = &dp_replay_state(b.r)->filter;
    const double spent = f->spent;
    const uint64_t draws = f->draws;
    assert_true(spent > 0 && draws > 0);
    for (size_t i = 0; i < sizeof next / sizeof next[0]; i++) {
        maker_entry(&b.m, &e, DP_POLICY);
        e.rungs = 2;
        SET(e.dataset, next[i].dataset);
        SET(e.epsilon, next[i].epsilon);
        feed_entry(&b);
        expect_none(&b);
        assert_true(f->epsilon == strtod(next[i].epsilon, NULL) && f->spent == spent && f->draws == draws);
    }
    bench_fini(&b);
}

static void the_newest_policy_of_a_data_set_counts(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    maker_entry(&b.m, &e, DP_POLICY);
    SET(e.max_sampling_rate, "0.0001");
    feed_entry(&b);
    feed_debit(&b, DP_RESERVE, 1);
    expect(&b, "sampling_rate 0.001 above");
    maker_entry(&b.m, &e, DP_POLICY);
    SET(e.dataset, "second");
    e.max_rounds = 1;
    feed_entry(&b);
    maker_entry(&b.m, &e, DP_APPROVE_PLAN);
    SET(e.dataset, "third");
    feed_entry(&b);
    expect(&b, "third, which has no POLICY");
    bench_fini(&b);
}

/* A release of metrics with the RESERVE of the same number; `e` is left as it was fed. */
#define OTHER_WITH(change, words)                                                                                      \
    do {                                                                                                               \
        bench b;                                                                                                       \
        start_node(&b);                                                                                                \
        feed_debit(&b, DP_RESERVE, 1);                                                                                 \
        maker_entry(&b.m, &e, DP_OTHER_RELEASE);                                                                       \
        change;                                                                                                        \
        feed_entry(&b);                                                                                                \
        expect(&b, words);                                                                                             \
        bench_fini(&b);                                                                                                \
    } while (0)

static void other_releases_are_charged_or_found(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    feed_debit(&b, DP_RESERVE, 1);
    double before = dp_replay_state(b.r)->filter.spent;
    feed_other(&b, 1); /* 10 partitions at multiplier 20, order 8 */
    expect_none(&b);
    double spent = dp_replay_state(b.r)->filter.spent - before;
    assert_true(fabs(spent / (10 * 8 / (2 * 400.0)) - 1) < 1e-8);
    const dp_debit *d = dp_replay_debit(b.r, "00000000000000000000000000000001");
    assert_true(d->cells == 14 && d->partitions == 10 && fabs(d->other_cost / spent - 1) < 1e-8);
    feed_other(&b, 1);
    expect(&b, "a second OTHER_RELEASE");
    feed_debit(&b, DP_STARTED, 1);
    expect_none(&b);
    maker_entry(&b.m, &e, DP_RELEASE);
    feed_entry(&b);
    expect(&b, "RELEASE of 4095 bytes: what was debited is 4207"); /* 1365 * 3 + 14 * 8 */
    bench_fini(&b);

    start_node(&b);
    feed_debit(&b, DP_RESERVE, 1);
    feed_other(&b, 1);
    feed_debit(&b, DP_RESERVE, 1000001);
    expect(&b, "RESERVE repeats debit");
    bench_fini(&b);
}

static void an_other_release_out_of_place_is_found(void **state)
{
    (void)state;
    OTHER_WITH(debit_of(e.with, 7), "never RESERVED");
    OTHER_WITH(e.round = 2, "another round or study");
    OTHER_WITH(SET(e.study, "lungs"), "another round or study");
    OTHER_WITH(debit_of(e.debit, 1), "repeats debit");
    OTHER_WITH(SET(e.noise_multiplier, "19"), "its variance gives 20");
    OTHER_WITH(SET(e.mechanism, "none"), "without noise");
    OTHER_WITH((e.noise_variance = 1, SET(e.noise_multiplier, "1")), "exceeds the budget");
    OTHER_WITH(feed_debit(&b, DP_STARTED, 1); maker_entry(&b.m, &e, DP_OTHER_RELEASE), "with a debit that is STARTED");
    OTHER_WITH(feed_debit(&b, DP_BURN, 1); maker_entry(&b.m, &e, DP_OTHER_RELEASE), "with a debit that is BURNED");
}

static void metrics_need_the_policy_of_the_plans_data_set(void **state)
{
    (void)state;
    bench b;
    bench_init(&b, "north");
    feed(&b, DP_GENESIS);
    maker_entry(&b.m, &e, DP_POLICY); /* of another data set than the plan's: its permission does not count */
    SET(e.dataset, "second");
    feed_entry(&b);
    maker_entry(&b.m, &e, DP_POLICY);
    SET(e.releases, "update");
    feed_entry(&b);
    feed(&b, DP_APPROVE_PLAN);
    feed_debit(&b, DP_RESERVE, 1);
    expect_none(&b);
    feed_other(&b, 1);
    expect(&b, "no policy permits metrics");
    bench_fini(&b);
}

static void a_debit_of_metrics_has_one_reserve(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    for (unsigned i = 1; i <= 200; i++) { /* enough that the index grows */
        feed_debit(&b, DP_RESERVE, i);
        maker_entry(&b.m, &e, DP_OTHER_RELEASE);
        debit_of(e.debit, 1000000 + i);
        debit_of(e.with, i);
        e.round = i;
        e.noise_variance = 1000000;
        SET(e.noise_multiplier, "1000");
        feed_entry(&b);
        feed_debit(&b, DP_BURN, i);
    }
    expect_none(&b);
    feed_debit(&b, DP_RESERVE, 201);
    feed_other(&b, 201);
    expect_none(&b);
    feed_debit(&b, DP_BURN, 201);
    feed_debit(&b, DP_RESERVE, 202);
    maker_entry(&b.m, &e, DP_OTHER_RELEASE);
    debit_of(e.debit, 1000003);
    debit_of(e.with, 202);
    e.round = 202;
    feed_entry(&b);
    expect(&b, "OTHER_RELEASE repeats debit");
    bench_fini(&b);
}

/* What the kind was before its second version; nothing wrote it, but a reader of version 1 would have taken it. */
static void another_release_of_version_1_is_still_charged(void **state)
{
    (void)state;
    bench b;
    bench_init(&b, "north");
    for (int i = 0; i < 2; i++) {
        maker_entry(&b.m, &e, i == 0 ? DP_GENESIS : DP_POLICY);
        e.v = 1;
        feed_entry(&b);
    }
    maker_entry(&b.m, &e, DP_OTHER_RELEASE);
    e.v = 1;
    feed_entry(&b);
    expect_none(&b);
    assert_true(fabs(dp_replay_state(b.r)->filter.spent / (10 * 8 / (2 * 400.0)) - 1) < 1e-8);
    bench_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reserve_outside_policy_or_approval_is_found),
        cmocka_unit_test(the_budget_is_kept_at_every_prefix),
        cmocka_unit_test(the_draws_of_a_life_are_counted),
        cmocka_unit_test(the_first_policy_holds_for_life),
        cmocka_unit_test(a_debit_without_noise_is_infinite),
        cmocka_unit_test(what_is_spent_outlives_every_policy),
        cmocka_unit_test(the_newest_policy_of_a_data_set_counts),
        cmocka_unit_test(other_releases_are_charged_or_found),
        cmocka_unit_test(an_other_release_out_of_place_is_found),
        cmocka_unit_test(metrics_need_the_policy_of_the_plans_data_set),
        cmocka_unit_test(a_debit_of_metrics_has_one_reserve),
        cmocka_unit_test(another_release_of_version_1_is_still_charged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
