/* A node's ledger against the coordinator's: rounds, models, rosters, heads, receipts. One side is written again with its own
 * key, one field otherwise; the other side is honest. */
#include "privacy/budget.h"
#include "tests/audit/retell.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SET(field, text) snprintf(field, sizeof(field), "%s", text)

enum { ROUNDS = 3 };

static ledger_maker node, hub; /* honest, sealed; the node's lines alone in `lines` */
static ledger_maker node_lines, hub_lines;
static const char *const parties[] = {"north", "south"};

static int make(void **state)
{
    (void)state;
    node_ledger(&node_lines, "north", ROUNDS);
    node_ledger(&node, "north", ROUNDS);
    maker_seal(&node);
    coordinator_ledger(&hub_lines, parties, 2, ROUNDS);
    coordinator_ledger(&hub, parties, 2, ROUNDS);
    maker_seal(&hub);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    maker_fini(&node);
    maker_fini(&hub);
    maker_fini(&node_lines);
    maker_fini(&hub_lines);
    return 0;
}

/* What to change: in every entry of the kind (round 0: in all rounds). */
typedef struct change {
    dp_kind kind;
    uint32_t round;
    void (*apply)(dp_entry *e);
} change;

static bool edit(void *context, dp_entry *e, size_t n)
{
    const change *c = context;
    (void)n;
    if (e->kind == c->kind && (c->round == 0 || e->round == c->round))
        c->apply(e);
    return true;
}

static void expect(bool is_node, change c, const char *words)
{
    ledger_maker other;
    fl_buf text;
    fl_buf_init(&text, 1 << 20);
    maker_init(&other, is_node ? "north" : "hub", is_node ? MAKER_NODE_SEED : MAKER_HUB_SEED);
    assert_true(retell(&other, is_node ? &node_lines : &hub_lines, edit, &c) > 0);
    size_t n = findings_of(&text, is_node ? &other.text : &node.text, is_node ? &hub.text : &other.text);
    if (n == 0 || n == SIZE_MAX || !strstr(fl_buf_text(&text), words))
        fail_msg("expected \"%s\", found: %s", words, fl_buf_text(&text));
    fl_buf_fini(&text);
    maker_fini(&other);
}

static void honest_ledgers_agree(void **state)
{
    (void)state;
    fl_buf text;
    fl_buf_init(&text, 1 << 20);
    findings_of(&text, &node.text, &hub.text);
    assert_string_equal(fl_buf_text(&text), "");
    assert_int_equal(findings_of(NULL, &node.text, NULL), 0);
    assert_int_equal(findings_of(NULL, &hub.text, NULL), 0);
    fl_buf_fini(&text);
}

static void other_model(dp_entry *e)
{
    hash_of(e->model_hash, '4');
}

static void other_announce(dp_entry *e)
{
    hash_of(e->announce_hash, '4');
}

static void other_cohort(dp_entry *e)
{
    e->cohort = 7;
}

static void other_plan(dp_entry *e)
{
    hash_of(e->plan_hash, '4');
}

static void other_patients(dp_entry *e)
{
    e->declared_patients = 1000;
}

static void other_receipt(dp_entry *e)
{
    e->receipt[3] = e->receipt[3] == 'A' ? 'B' : 'A';
}

static void no_head(dp_entry *e)
{
    e->checkpoint[0] = 0;
}

static void a_reserve_that_is_not_of_the_coordinators_round_is_found(void **state)
{
    (void)state;
    expect(true, (change){DP_RESERVE, 2, other_model},
           "with another model than the coordinator's ROUND_OPEN of round 2");
    expect(true, (change){DP_RESERVE, 2, other_announce}, "under an announce that the coordinator never made");
    expect(true, (change){DP_RESERVE, 3, other_cohort}, "in a cohort of 7, the coordinator's round has 3");
    expect(true, (change){DP_RESERVE, 0, other_plan}, "of another round or plan");
    expect(true, (change){DP_RESERVE, 0, other_patients},
           "with 1000 declared patients, the coordinator's ROSTER says 500");
}

/* The head that was seen before the RELEASE, genuine as it is. */
static void earlier_head(dp_entry *e)
{
    if (e->round >= 2 && e->round <= ROUNDS)
        SET(e->checkpoint, node_lines.rounds[e->round - 1].released);
}

/* An excuse for lost lines, after the last head that anybody saw. */
static void restored(dp_entry *e)
{
    e->kind = DP_RESTORE;
    SET(e->study, "");
    SET(e->reason, "restored");
    e->missing = 0;
    e->witness_size = e->seq + 5;
    hash_of(e->witness_root, '7');
}

static void a_false_receipt_or_no_witness_is_found(void **state)
{
    (void)state;
    expect(true, (change){DP_ACK, 1, other_receipt}, "the receipt in ACK is not signed by the coordinator hub");
    expect(true, (change){DP_ACK, ROUNDS, no_head}, "ACK without a head");
    expect(true, (change){DP_ACK, ROUNDS, earlier_head}, "ACK saw a head of 11 entries, before the RELEASE");
    expect(true, (change){DP_REFUSE, 0, restored},
           "RESTORE, and the coordinator's ledger holds no head of what came after it");
}

static void fewer_steps(dp_entry *e)
{
    e->terms[0].steps--;
}

static void two_phases(dp_entry *e)
{
    e->terms[0].rounds = 1;
    e->terms[1] = e->terms[0];
    e->terms[e->n_terms++].rounds = 100;
}

static void terms_that_are_not_the_studys_are_found(void **state)
{
    (void)state;
    expect(true, (change){DP_APPROVE_PLAN, 0, fewer_steps},
           "APPROVE_PLAN with other terms than the coordinator's STUDY");
    expect(true, (change){DP_APPROVE_PLAN, 0, two_phases},
           "APPROVE_PLAN with other terms than the coordinator's STUDY");
    expect(false, (change){DP_STUDY, 0, two_phases}, "APPROVE_PLAN with other terms than the coordinator's STUDY");
}

/* What burned in lost lines was of nobody knows which phase: it is charged as one of the dearest. */
static void pay(fl_buf *findings, bool cheap)
{
    static const dp_kind kinds[] = {DP_GENESIS, DP_POLICY, DP_APPROVE_PLAN, DP_RESTORE, DP_RESERVE, DP_BURN};
    static dp_entry e;
    ledger_maker m;
    maker_init(&m, "north", MAKER_NODE_SEED);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        maker_entry(&m, &e, kinds[i]);
        two_phases(&e);
        e.terms[1].noise_variance = dp_variance_for(2000000, e.clip_units);
        e.round = cheap ? 2 : 1;
        e.witness_size = 1;
        SET(e.reason, "restored");
        if (cheap) {
            e.noise_variance = e.terms[1].noise_variance;
            SET(e.noise_multiplier, "2");
        }
        maker_add(&m, &e);
    }
    maker_seal(&m);
    assert_true(findings_of(findings, &m.text, &hub.text) != SIZE_MAX);
    maker_fini(&m);
}

static void what_nobody_received_costs_as_much_as_the_dearest_phase(void **state)
{
    (void)state;
    static const char words[] = "stands for a lost one that nobody received, at less than its plan's dearest terms";
    fl_buf cheap, dear;
    fl_buf_init(&cheap, 1 << 20);
    fl_buf_init(&dear, 1 << 20);
    pay(&cheap, true);
    pay(&dear, false);
    assert_non_null(strstr(fl_buf_text(&cheap), words));
    assert_null(strstr(fl_buf_text(&dear), words));
    fl_buf_fini(&cheap);
    fl_buf_fini(&dear);
}

static void two_heads_of_one_size(dp_entry *e)
{
    e->members[0].n = 5;
    hash_of(e->members[0].hash, e->round % 2 ? 'a' : 'b');
}

static void drop_second(dp_entry *e)
{
    memmove(&e->members[1], &e->members[2], (e->n_members - 2) * sizeof e->members[0]);
    e->n_members--;
}

static void drop_first(dp_entry *e)
{
    memmove(&e->members[0], &e->members[1], (e->n_members - 1) * sizeof e->members[0]);
    e->n_members--;
}

static void rename_last(dp_entry *e)
{
    SET(e->members[e->n_members - 1].node, "zz-9");
}

static void heavier(dp_entry *e)
{
    e->members[0].n = 700;
}

static void other_key(dp_entry *e)
{
    hash_of(e->members[0].hash, '5');
}

static void other_head(dp_entry *e)
{
    hash_of(e->members[0].hash, '5');
}

static void older_head(dp_entry *e)
{
    e->members[0].n -= 5;
}

static void longer_head(dp_entry *e)
{
    e->members[0].n += 1000;
}

static void fewer_bytes(dp_entry *e)
{
    e->bytes -= 3;
}

static void a_coordinator_that_changes_members_weights_or_heads_is_found(void **state)
{
    (void)state;
    expect(false, (change){DP_ROUND_OPEN, 2, drop_second}, "ROUND_OPEN with 2 members, the ROSTER has 3");
    expect(false, (change){DP_ROUND_OPEN, 2, rename_last}, "ROUND_OPEN with zz-9, who is not in the ROSTER");
    expect(false, (change){DP_ROUND_OPEN, 2, drop_first}, "RESERVE of round 2, which north was not in");
    expect(false, (change){DP_AGGREGATE, 2, heavier}, "AGGREGATE weighs north with 700 patients, the ROSTER says 500");
    expect(false, (change){DP_ROSTER, 0, other_key}, "the ROSTER names a key of north that is not this ledger's");
    expect(false, (change){DP_ROUND_OPEN, 3, other_head}, "ROUND_OPEN saw other lines up to entry 12");
    expect(false, (change){DP_ROUND_OPEN, 3, older_head},
           "ROUND_OPEN has a head of north of 7 entries, after one of 8");
    expect(false, (change){DP_ROUND_OPEN, 0, two_heads_of_one_size},
           "ROUND_OPEN has another head of north of the same 5 entries than before");
    expect(false, (change){DP_ROUND_OPEN, 4, longer_head}, "ROUND_OPEN saw a head of 1016 entries, this ledger has");
    expect(false, (change){DP_RECEIVED, 1, no_head}, "RECEIVED from north without a head of its ledger");
    expect(false, (change){DP_RECEIVED, 1, fewer_bytes}, "the coordinator RECEIVED 4092 bytes of debit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_ledgers_agree),
        cmocka_unit_test(a_reserve_that_is_not_of_the_coordinators_round_is_found),
        cmocka_unit_test(a_false_receipt_or_no_witness_is_found),
        cmocka_unit_test(terms_that_are_not_the_studys_are_found),
        cmocka_unit_test(what_nobody_received_costs_as_much_as_the_dearest_phase),
        cmocka_unit_test(a_coordinator_that_changes_members_weights_or_heads_is_found),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
