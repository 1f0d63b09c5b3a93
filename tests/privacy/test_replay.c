#include "base/clock.h"
#include "base/json.h"
#include "privacy/gauss.h"
#include "privacy/pld.h"
#include "privacy/replay.h"
#include "tests/privacy/ledger_maker.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static dp_entry e;

#define SET(field, text) snprintf(field, sizeof(field), "%s", text)

/* --- whole ledgers --- */

static void a_nodes_ledger_without_fault_has_no_finding(void **state)
{
    (void)state;
    ledger_maker m;
    fl_buf findings;
    fl_buf_init(&findings, 1 << 16);
    node_ledger(&m, "north", 20);
    dp_replay *r = replay_text(fl_buf_text(&m.text), m.text.size, DP_REPLAY_STRICT, &findings);
    const dp_ledger_state *s = dp_replay_state(r);
    assert_string_equal(fl_buf_text(&findings), "");
    assert_int_equal(s->n_findings, 0);
    assert_int_equal(s->n_entries, m.seq);
    assert_int_equal(s->n_debits, 21);
    assert_int_equal(s->n_open, 0);
    assert_true(s->is_closed && !s->is_coordinator);
    assert_memory_equal(s->head.bytes, m.head.bytes, 32);
    /* the filter holds 21 debits of 10 steps, the burned one included */
    assert_int_equal(s->n_charges, 1);
    assert_int_equal(s->charges[0].segment.steps, 210);
    double expected = 210 * dp_rdp_order(0.001, 1.1, 8);
    assert_true(fabs(s->filter.spent / expected - 1) < 1e-8 && s->filter.spent >= expected);
    assert_true(dp_replay_epsilon(r, "chest", 1e-5, NULL) <= dp_filter_epsilon_spent(&s->filter));
    assert_true(dp_replay_epsilon(r, "other", 1e-5, NULL) == 0);
    dp_replay_destroy(r);
    fl_buf_fini(&findings);
    maker_fini(&m);
}

static dp_bracket bounds_of(const dp_charge *c, double variance, double delta)
{
    dp_bracket b;
    dp_segment one = {c->segment.q, sqrt(variance) / c->clip_units, c->segment.steps};
    assert_int_equal(dp_pld_epsilon(&b.low, &b.high, &one, 1, delta, NULL), FL_OK);
    return b;
}

/* The multiplier in between is the debited one: below it the high, above it the low; and both are those of S2 -+ 4. */
static void the_bounds_of_a_ledger_hold_the_discrete_correction(void **state)
{
    (void)state;
    for (int coarse = 0; coarse < 2; coarse++) {
        ledger_maker m;
        maker_init(&m, "north", 7);
        maker_entry(&m, &e, DP_GENESIS);
        maker_add(&m, &e);
        maker_entry(&m, &e, DP_RESERVE);
        e.noise_variance = coarse ? 7 : 40;
        e.clip_units = 6;
        dp_multiplier(e.noise_multiplier, e.noise_variance, e.clip_units);
        e.steps = 300;
        maker_add(&m, &e);
        dp_replay *r = replay_text(fl_buf_text(&m.text), m.text.size, DP_REPLAY_STRICT, NULL);
        const dp_ledger_state *s = dp_replay_state(r);
        assert_int_equal(s->n_charges, 1);
        const dp_charge *c = &s->charges[0];
        double low, high, renyi = dp_replay_epsilon(r, NULL, 1e-5, NULL);
        fl_err err;
        if (coarse) {
            assert_int_equal(dp_replay_bounds(r, NULL, 1e-5, &low, &high, &err), FL_EREFUSED);
            assert_non_null(strstr(err.text, "noise variance 7"));
            assert_true(low == 0 && high == renyi);
        } else {
            assert_true(c->coordinate_draws == 300.0 * e.coordinates);
            assert_int_equal(dp_replay_bounds(r, NULL, 1e-5, &low, &high, NULL), FL_OK);
            dp_bracket above = bounds_of(c, 36, 1e-5), below = bounds_of(c, 44, 1e-5), plain = bounds_of(c, 40, 1e-5);
            assert_true(high >= above.low && high <= above.high * (1 + 1e-4)); /* a hair another grid */
            assert_true(low <= below.high && low >= below.low * (1 - 1e-4));
            assert_true(low < plain.low && plain.high < high && high <= renyi);
            assert_int_equal(dp_replay_bounds(r, "nobody", 1e-5, &low, &high, NULL), FL_OK);
            assert_true(low == 0 && high == 0);
        }
        dp_replay_destroy(r);
        maker_fini(&m);
    }
}

static void a_coordinators_ledger_without_fault_has_no_finding(void **state)
{
    (void)state;
    static const char *const parties[] = {"east", "north", "south"};
    ledger_maker m;
    fl_buf findings;
    fl_buf_init(&findings, 1 << 16);
    coordinator_ledger(&m, parties, 3, 7);
    dp_replay *r = replay_text(fl_buf_text(&m.text), m.text.size, DP_REPLAY_STRICT, &findings);
    const dp_ledger_state *s = dp_replay_state(r);
    assert_string_equal(fl_buf_text(&findings), "");
    assert_true(s->is_coordinator);
    assert_int_equal(s->n_received, 21);
    for (size_t i = 0; i < s->n_received; i++)
        assert_true(s->received[i].is_aggregated);
    dp_replay_destroy(r);
    fl_buf_fini(&findings);
    maker_fini(&m);
}

static void strict_and_trusted_reach_the_same_state(void **state)
{
    (void)state;
    ledger_maker m;
    node_ledger(&m, "north", 5);
    dp_replay *a = replay_text(fl_buf_text(&m.text), m.text.size, DP_REPLAY_STRICT, NULL);
    dp_replay *b = replay_text(fl_buf_text(&m.text), m.text.size, DP_REPLAY_TRUSTED, NULL);
    assert_memory_equal(&dp_replay_state(a)->filter, &dp_replay_state(b)->filter, sizeof(dp_filter));
    assert_memory_equal(dp_replay_state(a)->head.bytes, dp_replay_state(b)->head.bytes, 32);
    dp_replay_destroy(a);
    dp_replay_destroy(b);
    maker_fini(&m);
}

/* Half a second for 10,000 lines in a release build; the sanitizers take several times as long. */
static void ten_thousand_lines_are_replayed_quickly(void **state)
{
    (void)state;
    ledger_maker m;
    node_ledger(&m, "north", 2500);
    int64_t start = fl_clock_mono_ms();
    dp_replay *r = replay_text(fl_buf_text(&m.text), m.text.size, DP_REPLAY_TRUSTED, NULL);
    int64_t took = fl_clock_mono_ms() - start;
    assert_true(dp_replay_state(r)->n_entries > 10000);
    print_message("%llu lines in %lld ms\n", (unsigned long long)m.seq, (long long)took);
    assert_true(took < 10000);
    dp_replay_destroy(r);
    maker_fini(&m);
}

/* --- one fault each: the finding has these words --- */

typedef struct bench {
    ledger_maker m;
    dp_replay *r;
    fl_buf findings;
} bench;

static void on_finding(void *context, uint64_t seq, const char *what, const char *why)
{
    bench *b = context;
    assert_true(strlen(what) > 0 && strlen(why) > 0);
    fl_buf_printf(&b->findings, "%llu %s\n", (unsigned long long)seq, what);
}

static void bench_init(bench *b, const char *party)
{
    memset(b, 0, sizeof *b);
    maker_init(&b->m, party, 3);
    fl_buf_init(&b->findings, 1 << 16);
    assert_int_equal(dp_replay_create(&b->r, DP_REPLAY_STRICT, on_finding, b, NULL), FL_OK);
}

static void bench_fini(bench *b)
{
    dp_replay_destroy(b->r);
    fl_buf_fini(&b->findings);
    maker_fini(&b->m);
}

/* Asks whether `e` would be legal, appends it, feeds it, and checks that both answers agree. */
static void feed_entry(bench *b)
{
    fl_err err = {.code = FL_OK};
    size_t before = b->m.text.size;
    uint64_t n_before = dp_replay_state(b->r)->n_findings;
    fl_code would = dp_replay_would(b->r, &e, &err);
    assert_int_equal(dp_replay_state(b->r)->n_findings, n_before);
    maker_add(&b->m, &e);
    assert_int_equal(dp_replay_line(b->r, (const char *)b->m.text.bytes + before, b->m.text.size - before - 1, NULL),
                     FL_OK);
    assert_int_equal(would == FL_OK, dp_replay_state(b->r)->n_findings == n_before);
}

static void feed(bench *b, dp_kind kind)
{
    maker_entry(&b->m, &e, kind);
    feed_entry(b);
}

/* GENESIS, POLICY, APPROVE_PLAN. */
static void start_node(bench *b)
{
    bench_init(b, "north");
    feed(b, DP_GENESIS);
    feed(b, DP_POLICY);
    feed(b, DP_APPROVE_PLAN);
    assert_string_equal(fl_buf_text(&b->findings), "");
}

static void feed_debit(bench *b, dp_kind kind, unsigned number)
{
    maker_entry(&b->m, &e, kind);
    debit_of(e.debit, number);
    e.round = number;
    feed_entry(b);
}

static void expect(bench *b, const char *words)
{
    if (!strstr(fl_buf_text(&b->findings), words))
        fail_msg("expected a finding \"%s\", got: %s", words, fl_buf_text(&b->findings));
    fl_buf_clear(&b->findings);
}

static void expect_none(bench *b)
{
    assert_string_equal(fl_buf_text(&b->findings), "");
}

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

static void feed_other(bench *b, unsigned number)
{
    maker_entry(&b->m, &e, DP_OTHER_RELEASE);
    debit_of(e.debit, 1000000 + number);
    debit_of(e.with, number);
    e.round = number;
    feed_entry(b);
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

static void a_debit_goes_its_way_once(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    feed_debit(&b, DP_STARTED, 1);
    expect(&b, "never RESERVED");
    feed_debit(&b, DP_RESERVE, 1);
    expect_none(&b);
    feed_debit(&b, DP_RELEASE, 1);
    expect(&b, "RELEASE of a debit that is RESERVED");
    bench_fini(&b);

    start_node(&b);
    feed_debit(&b, DP_RESERVE, 1);
    feed_debit(&b, DP_STARTED, 1);
    expect_none(&b);
    feed_debit(&b, DP_STARTED, 1);
    expect(&b, "STARTED of a debit that is STARTED");
    feed_debit(&b, DP_RESERVE, 1);
    expect(&b, "repeats debit");
    maker_entry(&b.m, &e, DP_RESERVE); /* another debit, the same round */
    debit_of(e.debit, 99);
    feed_entry(&b);
    expect(&b, "another debit of round 1 is open");
    feed_debit(&b, DP_RELEASE, 1);
    expect_none(&b);
    feed_debit(&b, DP_RELEASE, 1);
    expect(&b, "RELEASE of a debit that is RELEASED");
    maker_entry(&b.m, &e, DP_ACK);
    hash_of(e.update_hash, '9');
    feed_entry(&b);
    expect(&b, "another update");
    feed_debit(&b, DP_BURN, 1);
    expect(&b, "BURN of a debit that is ACKED");
    feed_debit(&b, DP_ACK, 1);
    expect(&b, "ACK of a debit that is BURNED");
    bench_fini(&b);
}

static void nothing_comes_after_close_or_before_genesis(void **state)
{
    (void)state;
    bench b;
    start_node(&b);
    feed(&b, DP_CLOSE);
    expect_none(&b);
    feed_debit(&b, DP_RESERVE, 1);
    expect(&b, "after CLOSE");
    bench_fini(&b);

    bench_init(&b, "north");
    feed(&b, DP_POLICY);
    expect(&b, "expected GENESIS");
    feed(&b, DP_GENESIS);
    expect(&b, "second GENESIS");
    bench_fini(&b);

    bench_init(&b, "north");
    dp_replay_end(b.r);
    expect(&b, "no GENESIS");
    bench_fini(&b);

    start_node(&b);
    maker_entry(&b.m, &e, DP_REFUSE);
    SET(e.t, "2026-03-01T12:33Z");
    feed_entry(&b);
    expect(&b, "time goes back");
    maker_entry(&b.m, &e, DP_REFUSE);
    SET(e.node, "south");
    feed_entry(&b);
    expect(&b, "the entry is of south");
    feed(&b, DP_PUBLISH);
    expect(&b, "does not belong");
    bench_fini(&b);
}

static void what_genesis_says_is_checked(void **state)
{
    (void)state;
    bench b;
    ledger_maker other;
    maker_init(&other, "south", 4);
    bench_init(&b, "north");
    maker_entry(&b.m, &e, DP_GENESIS);
    SET(e.key, other.vkey);
    feed_entry(&b);
    expect(&b, "key of another ledger");
    bench_fini(&b);
    bench_init(&b, "north");
    maker_entry(&b.m, &e, DP_GENESIS);
    SET(e.unit, "image");
    feed_entry(&b);
    expect(&b, "GENESIS counts by");
    bench_fini(&b);
    maker_fini(&other);
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

/* A node whose program was renewed goes on to a newer version, also within a round; there is no way back. */
static void versions_go_forward_only(void **state)
{
    (void)state;
    bench b;
    bench_init(&b, "north");
    for (int i = 0; i < 3; i++) {
        static const dp_kind kinds[] = {DP_GENESIS, DP_POLICY, DP_APPROVE_PLAN};
        maker_entry(&b.m, &e, kinds[i]);
        e.v = 1;
        feed_entry(&b);
    }
    maker_entry(&b.m, &e, DP_RESERVE);
    e.v = 1;
    feed_entry(&b);
    assert_int_equal(dp_replay_state(b.r)->version, 1);
    maker_entry(&b.m, &e, DP_BURN);
    e.v = 2;
    feed_entry(&b);
    assert_int_equal(dp_replay_state(b.r)->version, 2);
    expect_none(&b);
    bench_fini(&b);

    bench_init(&b, "north");
    for (int i = 0; i < 4; i++) {
        static const dp_kind kinds[] = {DP_GENESIS, DP_POLICY, DP_APPROVE_PLAN, DP_RESERVE};
        maker_entry(&b.m, &e, kinds[i]);
        e.v = 1;
        feed_entry(&b);
    }
    feed_other(&b, 1);
    expect(&b, "a RESERVE of version 1");
    feed_debit(&b, DP_STARTED, 1);
    expect_none(&b);
    assert_int_equal(dp_replay_state(b.r)->version, 3);
    maker_entry(&b.m, &e, DP_RELEASE);
    e.v = 2;
    feed_entry(&b);
    expect(&b, "a line of version 2 after one of version 3");
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

static void a_key_is_handed_on_by_the_old_one_only(void **state)
{
    (void)state;
    bench b;
    ledger_maker next;
    maker_init(&next, "north", 77);
    start_node(&b);
    maker_entry(&b.m, &e, DP_KEY_ROTATE);
    SET(e.key, next.vkey); /* the signature is over another key */
    feed_entry(&b);
    expect(&b, "not signed by the key before");
    assert_string_equal(dp_replay_state(b.r)->key, b.m.vkey);
    maker_entry(&b.m, &e, DP_KEY_ROTATE);
    SET(e.key, next.vkey);
    dp_key_rotate_sign(e.signature, &b.m.head, next.vkey, &b.m.key);
    feed_entry(&b);
    expect_none(&b);
    assert_string_equal(dp_replay_state(b.r)->key, next.vkey);
    assert_string_equal(dp_replay_state(b.r)->first_key, b.m.vkey);
    bench_fini(&b);
    maker_fini(&next);
}

/* --- the coordinator's rules --- */

static void start_hub(bench *b)
{
    bench_init(b, "hub");
    feed(b, DP_GENESIS);
    feed(b, DP_STUDY);
    feed(b, DP_ROSTER);
    feed(b, DP_ROUND_OPEN);
    expect_none(b);
}

static void feed_received(bench *b, const char *member, unsigned debit, char hash)
{
    maker_entry(&b->m, &e, DP_RECEIVED);
    SET(e.member, member);
    debit_of(e.debit, debit);
    hash_of(e.update_hash, hash);
    feed_entry(b);
}

static void a_coordinator_counts_each_update_once(void **state)
{
    (void)state;
    bench b;
    start_hub(&b);
    feed_received(&b, "north", 1, '1');
    expect_none(&b);
    feed_received(&b, "north", 2, '1');
    expect(&b, "second time from north");
    feed_received(&b, "south", 1, '2');
    expect(&b, "debit 00000000000000000000000000000001 a second time");
    feed_received(&b, "west", 7, '2');
    expect(&b, "west, who is not in the round");
    feed(&b, DP_PUBLISH);
    expect(&b, "did not AGGREGATE");
    bench_fini(&b);

    start_hub(&b);
    feed_received(&b, "north", 1, '1');
    feed(&b, DP_AGGREGATE); /* of north and south */
    expect(&b, "an update of south that was not RECEIVED");
    bench_fini(&b);

    start_hub(&b);
    feed_received(&b, "north", 1, '1');
    feed_received(&b, "south", 2, '2');
    feed(&b, DP_ROUND_OPEN); /* announced again before it was aggregated */
    feed(&b, DP_AGGREGATE);
    expect_none(&b);
    feed(&b, DP_AGGREGATE);
    expect(&b, "aggregated before");
    feed_received(&b, "south", 3, '2');
    expect(&b, "not open");
    bench_fini(&b);
}

static void a_coordinators_models_form_a_chain(void **state)
{
    (void)state;
    bench b;
    start_hub(&b);
    maker_entry(&b.m, &e, DP_ROUND_OPEN);
    e.round = 2;
    feed_entry(&b);
    expect(&b, "round 2 after round 1, which is still open");
    bench_fini(&b);

    start_hub(&b);
    feed_received(&b, "north", 1, '1');
    feed_received(&b, "south", 2, '2');
    feed(&b, DP_AGGREGATE);
    maker_entry(&b.m, &e, DP_PUBLISH);
    hash_of(e.model_hash, '0');
    feed_entry(&b);
    expect(&b, "did not AGGREGATE");
    maker_entry(&b.m, &e, DP_ROUND_OPEN);
    e.round = 2;
    hash_of(e.model_hash, '5');
    feed_entry(&b);
    expect(&b, "not the last one published");
    maker_entry(&b.m, &e, DP_ROUND_OPEN);
    e.round = 2;
    hash_of(e.plan_hash, '5');
    feed_entry(&b);
    expect(&b, "a plan that is not the study's");
    maker_entry(&b.m, &e, DP_RECEIVED);
    SET(e.study, "lungs");
    feed_entry(&b);
    expect(&b, "there is no STUDY");
    feed(&b, DP_STUDY);
    expect(&b, "a second time");
    feed(&b, DP_RESERVE);
    expect(&b, "does not belong");
    bench_fini(&b);
}

/* --- the chain --- */

static void a_dropped_doubled_or_swapped_line_is_found(void **state)
{
    (void)state;
    ledger_maker m;
    node_ledger(&m, "north", 3);
    const char *text = fl_buf_text(&m.text);
    size_t n = m.text.size;
    for (const char *line = text; line < text + n;) {
        const char *end = strchr(line, '\n') + 1;
        size_t before = (size_t)(line - text), length = (size_t)(end - line);
        char *other = malloc(2 * n);
        assert_non_null(other);
        memcpy(other, text, before);
        memcpy(other + before, end, n - before - length);
        if (end < text + n) { /* cutting the end off is the checkpoint's to find */
            dp_replay *r = replay_text(other, n - length, DP_REPLAY_STRICT, NULL);
            assert_true(dp_replay_state(r)->n_findings > 0);
            dp_replay_destroy(r);
        }
        memcpy(other, text, n);
        memcpy(other + before + length, line, n - before);
        dp_replay *r = replay_text(other, n + length, DP_REPLAY_STRICT, NULL);
        assert_true(dp_replay_state(r)->n_findings > 0);
        dp_replay_destroy(r);
        free(other);
        line = end;
    }
    maker_fini(&m);
}

/* The trusted replay leaves out the canonical form, not the chain. */
static void also_the_trusted_replay_finds_a_changed_line(void **state)
{
    (void)state;
    ledger_maker m;
    node_ledger(&m, "north", 3);
    char *steps = strstr((char *)m.text.bytes, "\"steps\":10");
    steps[9] = '1'; /* 10 becomes 11 */
    dp_replay *r = replay_text(fl_buf_text(&m.text), m.text.size, DP_REPLAY_TRUSTED, NULL);
    assert_true(dp_replay_state(r)->n_findings > 0);
    dp_replay_destroy(r);
    maker_fini(&m);
}

/* What a ledger may say at all. A new field is a decision about patients' privacy, so it has to be written here too:
 * nothing that was counted or measured on the data (patients in a sample, losses, norms, files, seeds) belongs. */
static bool is_allowed(const char *key)
{
    static const char allowed[] =
        " accountant adjacency announce_hash approver bytes cells checkpoint clip_norm clip_units cohort commitment "
        "coordinates dataset debit declared_patients delta epsilon key kind max_clip_norm max_rounds max_sampling_rate "
        "mechanism member "
        "members min_cohort min_noise_multiplier missing model_hash node noise_multiplier noise_variance order "
        "plan_hash prev probe rate_u64 reason receipt releases role round rule rungs sampling_rate seq signature "
        "software "
        "steps study t unit update_bits update_hash v what with witness_root witness_size ";
    char word[80];
    snprintf(word, sizeof word, " %s ", key);
    return strstr(allowed, word) != NULL;
}

static void no_line_has_a_field_that_was_not_agreed(void **state)
{
    (void)state;
    ledger_maker m;
    maker_init(&m, "north", 1);
    for (unsigned round = 0; round < 2 * DP_N_KINDS; round++) {
        fl_json *line = NULL;
        fl_buf_clear(&m.text);
        maker_entry(&m, &e, (dp_kind)(round / 2));
        e.v = 1 + round % 2;
        maker_add(&m, &e);
        assert_int_equal(fl_json_parse(&line, fl_buf_text(&m.text), m.text.size, "line", NULL), FL_OK);
        for (size_t i = 0; fl_json_key_at(line, i); i++)
            assert_true(is_allowed(fl_json_key_at(line, i)));
        fl_json_free(line);
    }
    maker_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_nodes_ledger_without_fault_has_no_finding),
        cmocka_unit_test(the_bounds_of_a_ledger_hold_the_discrete_correction),
        cmocka_unit_test(a_coordinators_ledger_without_fault_has_no_finding),
        cmocka_unit_test(strict_and_trusted_reach_the_same_state),
        cmocka_unit_test(ten_thousand_lines_are_replayed_quickly),
        cmocka_unit_test(a_reserve_outside_policy_or_approval_is_found),
        cmocka_unit_test(the_budget_is_kept_at_every_prefix),
        cmocka_unit_test(the_draws_of_a_life_are_counted),
        cmocka_unit_test(a_plan_keeps_the_terms_of_its_first_debit),
        cmocka_unit_test(each_round_has_the_terms_of_its_phase),
        cmocka_unit_test(what_was_lost_is_not_paid_with_a_cheaper_phase),
        cmocka_unit_test(what_was_lost_costs_no_more_than_there_was_room_for),
        cmocka_unit_test(an_approved_plan_is_approved_again_with_the_same_terms),
        cmocka_unit_test(a_debit_goes_its_way_once),
        cmocka_unit_test(nothing_comes_after_close_or_before_genesis),
        cmocka_unit_test(what_genesis_says_is_checked),
        cmocka_unit_test(the_first_policy_holds_for_life),
        cmocka_unit_test(a_debit_without_noise_is_infinite),
        cmocka_unit_test(what_is_spent_outlives_every_policy),
        cmocka_unit_test(the_newest_policy_of_a_data_set_counts),
        cmocka_unit_test(other_releases_are_charged_or_found),
        cmocka_unit_test(an_other_release_out_of_place_is_found),
        cmocka_unit_test(metrics_need_the_policy_of_the_plans_data_set),
        cmocka_unit_test(a_debit_of_metrics_has_one_reserve),
        cmocka_unit_test(versions_go_forward_only),
        cmocka_unit_test(another_release_of_version_1_is_still_charged),
        cmocka_unit_test(a_restore_owes_its_missing_debits),
        cmocka_unit_test(what_was_charged_before_pays_for_nothing_lost),
        cmocka_unit_test(a_restored_debit_needs_a_restore),
        cmocka_unit_test(what_a_restore_charges_is_never_started),
        cmocka_unit_test(a_restored_ledger_outgrows_the_head_it_lost),
        cmocka_unit_test(a_key_is_handed_on_by_the_old_one_only),
        cmocka_unit_test(a_coordinator_counts_each_update_once),
        cmocka_unit_test(a_coordinators_models_form_a_chain),
        cmocka_unit_test(a_dropped_doubled_or_swapped_line_is_found),
        cmocka_unit_test(also_the_trusted_replay_finds_a_changed_line),
        cmocka_unit_test(no_line_has_a_field_that_was_not_agreed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
