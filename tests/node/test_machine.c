/* The node's machine alone: a state, an event, the actions. */
#include "node/machine.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static node_state s;
static node_actions out;
static node_event ev;
static wire_message reply;
static wire_site roster[2];

static const node_action *find(node_action_kind kind)
{
    for (uint32_t i = 0; i < out.n; i++)
        if (out.list[i].kind == kind)
            return &out.list[i];
    return NULL;
}

static const dp_entry *entry(dp_kind kind)
{
    for (uint32_t i = 0; i < out.n; i++)
        if (out.list[i].kind == NODE_LEDGER && out.list[i].entry.kind == kind)
            return &out.list[i].entry;
    return NULL;
}

static void step(node_event_kind kind, int64_t now_ms)
{
    ev.kind = kind;
    ev.now_ms = now_ms;
    ev.random[0]++;
    out.n = 0;
    node_step(&s, &ev, &out);
}

/* Answers the request that is out. */
static void answer(wire_kind kind, int64_t now_ms)
{
    reply.kind = kind;
    reply.request_id = s.request.request_id;
    ev.reply = &reply;
    step(NODE_EV_REPLY, now_ms);
}

static void announce(uint32_t round, int64_t now_ms)
{
    strcpy(reply.study, "study");
    reply.u.announce = (wire_announce){.round = round, .model_bytes = 400, .n_sites = 2, .sites = roster};
    memset(&reply.u.announce.plan_hash, 7, sizeof reply.u.announce.plan_hash);
    answer(WIRE_ANNOUNCE, now_ms);
}

static int begin(void **state)
{
    (void)state;
    fl_err err;
    memset(&s, 0, sizeof s);
    memset(&ev, 0, sizeof ev);
    memset(&reply, 0, sizeof reply);
    strcpy(s.name, "birch");
    s.ledger_size = 5;
    s.boot = 1;
    s.n_plans = 1;
    s.plans[0] = (node_plan){.readable = true, .approved = true, .joined = true, .within_policy = true, .rounds = 10};
    memset(&s.plans[0].hash, 7, sizeof s.plans[0].hash);
    strcpy(s.plans[0].study, "study");
    s.plans[0].n_terms = 1;
    s.plans[0].terms[0].last = 10;
    s.plans[0].terms[0].local_steps = 1;
    s.plans[0].terms[0].coordinates = 125;
    s.plans[0].terms[0].clip_units = 1024;
    s.plans[0].terms[0].noise_variance = 1u << 24;
    s.plans[0].declared_patients = 100;
    s.plans[0].model_bytes = 400;
    s.plans[0].slot_ms = 1000;
    s.plans[0].terms[0].cost = 0.1;
    s.has_filter = true;
    assert_int_equal(dp_filter_init(&s.filter, 8, 1e-5, 4, 1, &err), FL_OK);
    strcpy(roster[0].name, "alder");
    strcpy(roster[1].name, "birch");
    roster[0].declared_patients = roster[1].declared_patients = 100;
    roster[1].ledger_size = 5;
    ev.is_witnessed = true;
    step(NODE_EV_START, 0);
    assert_int_equal(s.request.kind, WIRE_POLL);
    return 0;
}

static void to_training(uint32_t round, int64_t now_ms)
{
    announce(round, now_ms);
    assert_non_null(find(NODE_FETCH));
    step(NODE_EV_FETCHED, now_ms + 10);
    assert_non_null(find(NODE_TRAIN));
}

static void a_coordinator_that_shows_two_histories_gets_nothing(void **state)
{
    (void)state;
    ev.is_split = true;
    announce(1, 100);
    assert_null(find(NODE_FETCH));
    assert_string_equal(entry(DP_REFUSE)->reason, "split-view");
}

/* After a restore, and after a key was exchanged, the coordinator hears of it before it is asked for anything. */
static void what_changed_is_shown_first(void **state)
{
    (void)state;
    s.show_key = s.show_head = true;
    s.asking = false;
    step(NODE_EV_TIMER, 100);
    assert_int_equal(s.request.kind, WIRE_ROTATED);
    answer(WIRE_OK, 200);
    assert_int_equal(s.request.kind, WIRE_HEAD);
    answer(WIRE_COSIGNED, 300);
    assert_int_equal(s.request.kind, WIRE_POLL);
    assert_false(s.show_key || s.show_head);
}

static void the_debit_is_stored_in_the_step_that_starts_training(void **state)
{
    (void)state;
    const double before = s.filter.spent;
    to_training(1, 100);
    assert_non_null(entry(DP_RESERVE));
    assert_non_null(entry(DP_STARTED));
    assert_string_equal(entry(DP_RESERVE)->debit, s.now.debit);
    assert_int_equal(entry(DP_RESERVE)->noise_variance, 1u << 24);
    assert_non_null(find(NODE_PUT_ROUND));
    assert_true(s.filter.spent > before);
    assert_int_equal(s.filter.draws, 125); /* coordinates, one step */
}

/* Else a coordinator drains the budget by announcing models whose bytes never come. */
static void nothing_is_debited_before_the_models_bytes_are_here(void **state)
{
    (void)state;
    const double before = s.filter.spent;
    announce(1, 0);
    assert_non_null(find(NODE_FETCH));
    assert_null(entry(DP_RESERVE));
    step(NODE_EV_FETCH_FAILED, 10);
    assert_null(entry(DP_RESERVE));
    step(NODE_EV_TIMER, 100000);
    announce(1, 100010);
    assert_non_null(find(NODE_FETCH));
    step(NODE_EV_MODEL_BAD, 100020);
    assert_non_null(entry(DP_REFUSE));
    assert_null(entry(DP_RESERVE));
    assert_true(s.filter.spent == before);
}

static void nothing_is_said_before_the_slot_whenever_training_ended(void **state)
{
    (void)state;
    static const int64_t ended[] = {111, 500, 1099};
    for (int i = 0; i < 3; i++) {
        begin(NULL);
        to_training(1, 100);
        step(NODE_EV_TRAINED, ended[i]);
        assert_non_null(entry(DP_RELEASE));
        assert_null(find(NODE_SEND));
        assert_int_equal(find(NODE_TIMER)->at_ms, 1100);
        step(NODE_EV_TIMER, 1100);
        assert_int_equal(s.request.kind, WIRE_HEAD);
    }
    begin(NULL);
    to_training(1, 100);
    step(NODE_EV_TRAINED, 1101);
    assert_int_equal(find(NODE_TIMER)->at_ms, 2100);
}

static void the_update_leaves_only_after_the_head_was_cosigned(void **state)
{
    (void)state;
    to_training(1, 0);
    step(NODE_EV_TRAINED, 10);
    step(NODE_EV_TIMER, 1000);
    assert_null(find(NODE_UPLOAD));
    answer(WIRE_COSIGNED, 1010);
    assert_non_null(find(NODE_UPLOAD));
    step(NODE_EV_UPLOADED, 1020);
    assert_int_equal(s.request.kind, WIRE_RELEASED);
    reply.u.receipt.update_hash = s.now.update_hash;
    answer(WIRE_RECEIPT, 1030);
    assert_non_null(entry(DP_ACK));
    assert_int_equal(s.plans[0].last_round, 1);
    assert_int_equal(s.request.kind, WIRE_POLL);
}

static void a_crash_while_training_burns_and_takes_a_new_debit(void **state)
{
    (void)state;
    char first[WIRE_DEBIT_SIZE];
    to_training(1, 0);
    memcpy(first, s.now.debit, sizeof first);
    step(NODE_EV_START, 50);
    assert_string_equal(entry(DP_BURN)->debit, first);
    to_training(1, 60);
    assert_string_not_equal(s.now.debit, first);
    step(NODE_EV_START, 90); /* the second in one round: it is sat out */
    assert_int_equal(s.plans[0].last_round, 1);
    announce(1, 100);
    assert_null(find(NODE_FETCH));
}

static void a_crash_after_release_sends_the_same_bytes(void **state)
{
    (void)state;
    to_training(1, 0);
    memset(&ev.hash, 9, sizeof ev.hash);
    step(NODE_EV_TRAINED, 10);
    step(NODE_EV_START, 5000);
    assert_null(entry(DP_BURN));
    assert_int_equal(s.request.kind, WIRE_HEAD);
    answer(WIRE_COSIGNED, 5010);
    assert_non_null(find(NODE_UPLOAD));
    assert_memory_equal(&s.now.update_hash, &ev.hash, sizeof ev.hash);
}

static void a_witness_with_another_head_halts_the_node(void **state)
{
    (void)state;
    roster[1].ledger_size = 6; /* ahead */
    announce(1, 10);
    assert_int_equal(s.halted, NODE_R_ROLLBACK);
    assert_null(find(NODE_FETCH));

    begin(NULL);
    ev.is_witnessed = false; /* as long as ours, or shorter, and other lines */
    announce(1, 10);
    assert_int_equal(s.halted, NODE_R_ROLLBACK);
    step(NODE_EV_TIMER, 5000);
    assert_int_equal(out.n, 0);
}

static void a_round_past_the_draws_of_a_life_is_refused(void **state)
{
    (void)state;
    s.filter.draws = DP_DRAWS_MAX - 124;
    announce(3, 10);
    assert_string_equal(entry(DP_REFUSE)->reason, "over-budget");
    assert_null(entry(DP_RESERVE));
}

static void the_last_draws_of_a_life_are_still_taken(void **state)
{
    (void)state;
    s.filter.draws = DP_DRAWS_MAX - 125;
    to_training(1, 10);
    assert_non_null(entry(DP_RESERVE));
    assert_true(s.filter.draws == DP_DRAWS_MAX);
}

static void a_round_over_the_budget_is_refused_and_the_coordinator_told(void **state)
{
    (void)state;
    s.plans[0].terms[0].cost = s.filter.cap * 2;
    announce(3, 10);
    assert_string_equal(entry(DP_REFUSE)->reason, "over-budget");
    assert_int_equal(entry(DP_REFUSE)->round, 3);
    assert_null(entry(DP_RESERVE));
    assert_int_equal(s.request.kind, WIRE_LEAVE);
    answer(WIRE_OK, 20);
    assert_int_equal(s.request.kind, WIRE_POLL);
    s.plans[0].terms[0].cost = 0.1; /* the cap was raised */
    answer(WIRE_NOTHING, 30);
    assert_int_equal(s.request.kind, WIRE_JOIN);
}

static void a_policy_that_no_longer_allows_the_plan_leaves_and_joins_again(void **state)
{
    (void)state;
    s.plans[0].within_policy = false;
    announce(3, 10);
    assert_string_equal(entry(DP_REFUSE)->reason, "outside-policy");
    assert_int_equal(s.request.kind, WIRE_LEAVE);
    answer(WIRE_OK, 20);
    assert_int_equal(s.request.kind, WIRE_POLL);
    s.plans[0].within_policy = true;
    answer(WIRE_NOTHING, 30);
    assert_int_equal(s.request.kind, WIRE_JOIN);
}

static void what_was_not_approved_or_is_outside_the_policy_never_trains(void **state)
{
    (void)state;
    s.plans[0].approved = false;
    announce(1, 10);
    assert_string_equal(entry(DP_REFUSE)->reason, "not-approved");
    begin(NULL);
    s.plans[0].within_policy = false;
    announce(1, 10);
    assert_string_equal(entry(DP_REFUSE)->reason, "outside-policy");
    begin(NULL);
    s.plans[0].min_cohort = 3;
    announce(1, 10);
    assert_string_equal(entry(DP_REFUSE)->reason, "small-cohort");
    begin(NULL);
    roster[1].declared_patients = 99;
    announce(1, 10);
    assert_string_equal(entry(DP_REFUSE)->reason, "not-in-roster");
    begin(NULL);
    announce(11, 10); /* the plan has ten rounds */
    assert_string_equal(entry(DP_REFUSE)->reason, "outside-policy");
}

static void what_a_person_changed_while_the_model_came_counts(void **state)
{
    (void)state;
    announce(1, 10);
    s.plans[0].left = true;
    step(NODE_EV_FETCHED, 20);
    assert_null(find(NODE_TRAIN));
    assert_null(entry(DP_RESERVE));
    assert_string_equal(entry(DP_REFUSE)->reason, "not-approved");
    begin(NULL);
    announce(1, 10);
    s.plans[0].within_policy = false;
    step(NODE_EV_FETCHED, 20);
    assert_null(find(NODE_TRAIN));
    assert_string_equal(entry(DP_REFUSE)->reason, "outside-policy");
    begin(NULL);
    announce(1, 10);
    s.plans[0].min_cohort = 3;
    step(NODE_EV_FETCHED, 20);
    assert_string_equal(entry(DP_REFUSE)->reason, "small-cohort");
}

static void a_coordinator_with_plans_without_end_does_not_make_it_spin(void **state)
{
    (void)state;
    const node_plan another = {.study = "another"};
    ev.plan = &another;
    for (int i = 0; i < NODE_MAX_PLANS + 3; i++)
        step(NODE_EV_PLAN, i);
    assert_int_equal(s.n_plans, NODE_MAX_PLANS);
    assert_null(find(NODE_SEND));
    assert_non_null(find(NODE_TIMER));
}

static void a_study_that_cannot_be_joined_does_not_keep_it_from_the_others(void **state)
{
    (void)state;
    s.plans[0].joined = false;
    step(NODE_EV_START, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s.request.kind, WIRE_JOIN);
        reply.u.error.code = WIRE_E_UNKNOWN_STUDY; /* the coordinator was set back */
        answer(WIRE_ERROR, 10);
        step(NODE_EV_TIMER, 1100);
        assert_int_equal(s.request.kind, WIRE_POLL);
        answer(WIRE_NOTHING, 1200);
    }
}

static void an_upload_that_contradicts_an_earlier_one_halts_the_node(void **state)
{
    (void)state;
    to_training(1, 0);
    step(NODE_EV_TRAINED, 10);
    step(NODE_EV_TIMER, 1000);
    answer(WIRE_COSIGNED, 1010);
    ev.halt = NODE_R_EQUIVOCATION;
    step(NODE_EV_UPLOAD_FAILED, 1020);
    assert_int_equal(s.halted, NODE_R_EQUIVOCATION);
    assert_null(entry(DP_BURN));
    step(NODE_EV_TIMER, 5000);
    assert_int_equal(out.n, 0);
}

static void training_that_cannot_work_does_not_eat_the_budget(void **state)
{
    (void)state;
    for (uint32_t round = 1; round <= NODE_MAX_FAILURES; round++) { /* an image that the disk lost, no memory */
        to_training(round, 10 * round);
        step(NODE_EV_TRAIN_FAILED, 10 * round + 5);
        assert_string_equal(entry(DP_BURN)->reason, "training-failed");
    }
    const double spent = s.filter.spent;
    announce(5, 100);
    assert_string_equal(entry(DP_REFUSE)->reason, "training-failed");
    assert_null(find(NODE_FETCH));
    assert_true(s.filter.spent == spent);
    step(NODE_EV_POLICY, 110); /* a person did something about it */
    to_training(6, 120);
    step(NODE_EV_TRAINED, 130);
    assert_int_equal(s.plans[0].failures, 0);
}

static void a_round_that_closed_without_it_burns(void **state)
{
    (void)state;
    to_training(1, 0);
    step(NODE_EV_TRAINED, 10);
    step(NODE_EV_TIMER, 1000);
    answer(WIRE_COSIGNED, 1010);
    ev.round_closed = true;
    step(NODE_EV_UPLOAD_FAILED, 1020);
    assert_string_equal(entry(DP_BURN)->reason, "round-closed");
    assert_int_equal(s.plans[0].last_round, 1);
}

static void an_old_round_again_is_not_taken(void **state)
{
    (void)state;
    s.plans[0].last_round = 4;
    announce(4, 10);
    assert_null(find(NODE_FETCH));
    assert_null(find(NODE_SEND));
    assert_non_null(find(NODE_TIMER));
}

/* In rounds 1, 4, 8 and 10 noised counts travel too: their debit stands between RESERVE and STARTED, in the same step. */
static void metrics_are_debited_with_their_round(void **state)
{
    (void)state;
    node_plan *p = &s.plans[0];
    p->terms[0].coordinates = 100;
    p->terms[0].update_bits = 32;
    p->metrics_every = 4;
    p->metrics_cells = 24;
    p->metrics_partitions = 2;
    p->metrics_variance = 36;
    p->metrics_cost = 0.03;
    strcpy(p->metrics_what, "histogram+classes");
    for (uint8_t i = 0; i < sizeof ev.random; i++)
        ev.random[i] = (uint8_t)(i * 7);
    const double before = s.filter.spent;
    to_training(1, 100);
    uint32_t at[3] = {0}, n = 0;
    static const dp_kind order[] = {DP_RESERVE, DP_OTHER_RELEASE, DP_STARTED};
    for (uint32_t i = 0; i < out.n; i++)
        if (out.list[i].kind == NODE_LEDGER) {
            assert_true(n < 3 && out.list[i].entry.kind == order[n]);
            at[n++] = i;
        }
    assert_int_equal(n, 3);
    const dp_entry *e = &out.list[at[1]].entry;
    assert_string_equal(e->with, s.now.debit);
    assert_string_not_equal(e->debit, e->with);
    assert_true(e->round == 1 && e->steps == 2 && e->cells == 24 && e->noise_variance == 36);
    assert_string_equal(e->noise_multiplier, "6");
    assert_string_equal(e->what, "histogram+classes");
    assert_true(fabs(s.filter.spent - before - 0.13) < 1e-12);

    for (uint32_t round = 1; round <= 10; round++)
        assert_true(node_round_counts(p, round) == (round == 1 || round == 4 || round == 8 || round == 10 ? 0.03 : 0));
    begin(NULL); /* a round without: as ever */
    p->metrics_every = 4;
    p->metrics_cost = 0.03;
    to_training(2, 100);
    assert_null(entry(DP_OTHER_RELEASE));
    assert_non_null(entry(DP_RESERVE));

    begin(NULL); /* what is left covers the update and not the counts: the round is not taken at all */
    p->metrics_every = 4;
    p->metrics_cost = 0.03;
    s.filter.spent = s.filter.cap - 0.12;
    announce(4, 100);
    assert_null(find(NODE_FETCH));
    assert_string_equal(entry(DP_REFUSE)->reason, "over-budget");
    begin(NULL);
    p->metrics_every = 4;
    p->metrics_cost = 0.03;
    s.filter.spent = s.filter.cap - 0.12;
    announce(5, 100);
    assert_non_null(find(NODE_FETCH));

    /* two debits, each rounded up: the ledger has no room where their sum, rounded once, would have some */
    begin(NULL);
    p->metrics_every = 4;
    p->metrics_cost = 0.25;
    p->terms[0].cost = 0.5;
    s.filter.spent = 0;
    s.filter.cap = nextafter(0.75, 1);
    assert_true(nextafter(nextafter(0.5, 1) + 0.25, 1) > s.filter.cap);
    announce(4, 100);
    assert_null(find(NODE_FETCH));
    assert_string_equal(entry(DP_REFUSE)->reason, "over-budget");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_coordinator_that_shows_two_histories_gets_nothing, begin),
        cmocka_unit_test_setup(what_changed_is_shown_first, begin),
        cmocka_unit_test_setup(the_debit_is_stored_in_the_step_that_starts_training, begin),
        cmocka_unit_test_setup(nothing_is_debited_before_the_models_bytes_are_here, begin),
        cmocka_unit_test_setup(nothing_is_said_before_the_slot_whenever_training_ended, begin),
        cmocka_unit_test_setup(the_update_leaves_only_after_the_head_was_cosigned, begin),
        cmocka_unit_test_setup(a_crash_while_training_burns_and_takes_a_new_debit, begin),
        cmocka_unit_test_setup(a_crash_after_release_sends_the_same_bytes, begin),
        cmocka_unit_test_setup(a_witness_with_another_head_halts_the_node, begin),
        cmocka_unit_test_setup(a_round_past_the_draws_of_a_life_is_refused, begin),
        cmocka_unit_test_setup(the_last_draws_of_a_life_are_still_taken, begin),
        cmocka_unit_test_setup(a_round_over_the_budget_is_refused_and_the_coordinator_told, begin),
        cmocka_unit_test_setup(a_policy_that_no_longer_allows_the_plan_leaves_and_joins_again, begin),
        cmocka_unit_test_setup(what_was_not_approved_or_is_outside_the_policy_never_trains, begin),
        cmocka_unit_test_setup(what_a_person_changed_while_the_model_came_counts, begin),
        cmocka_unit_test_setup(a_coordinator_with_plans_without_end_does_not_make_it_spin, begin),
        cmocka_unit_test_setup(a_study_that_cannot_be_joined_does_not_keep_it_from_the_others, begin),
        cmocka_unit_test_setup(an_upload_that_contradicts_an_earlier_one_halts_the_node, begin),
        cmocka_unit_test_setup(training_that_cannot_work_does_not_eat_the_budget, begin),
        cmocka_unit_test_setup(a_round_that_closed_without_it_burns, begin),
        cmocka_unit_test_setup(metrics_are_debited_with_their_round, begin),
        cmocka_unit_test_setup(an_old_round_again_is_not_taken, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
