/* Whole ledgers, the order of entries, keys, the coordinator's rules and the chain. */
#include "base/clock.h"
#include "base/json.h"
#include "privacy/gauss.h"
#include "privacy/pld.h"
#include "tests/privacy/replay_bench.h"

#include <math.h>
#include <stdlib.h>

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
        cmocka_unit_test(a_debit_goes_its_way_once),
        cmocka_unit_test(nothing_comes_after_close_or_before_genesis),
        cmocka_unit_test(what_genesis_says_is_checked),
        cmocka_unit_test(versions_go_forward_only),
        cmocka_unit_test(a_key_is_handed_on_by_the_old_one_only),
        cmocka_unit_test(a_coordinator_counts_each_update_once),
        cmocka_unit_test(a_coordinators_models_form_a_chain),
        cmocka_unit_test(a_dropped_doubled_or_swapped_line_is_found),
        cmocka_unit_test(also_the_trusted_replay_finds_a_changed_line),
        cmocka_unit_test(no_line_has_a_field_that_was_not_agreed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
