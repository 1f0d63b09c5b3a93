/*
 * The real machines, hosts, stores, envelopes and ledgers in a virtual world. A seed decides everything but keys'
 * randomness and noise, so a failing seed can be run again with `cordon-sim world --seed`.
 *
 * CORDON_WORLD_SEEDS: how many seeds (default 40; the long form is 100000).
 */
#include "coordinator/counts.h"
#include "privacy/decimal.h"
#include "sim/world.h"
#include "tests/privacy/plain_update.h"
#include "train/counts.h"
#include "train/dpsgd.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UNTIL_MS ((int64_t)3600 * 1000 * 24)

static nn_plan plan;
static unsigned metrics_every; /* of the plans that are made; 0: none */
static fl_err err;

static fl_code train(void *ctx, uint32_t node, const node_training *what, fl_objects *objects, fl_hash *hash,
                     uint64_t *size_bytes, fl_err *e)
{
    const dp_update_shape shape = nn_plan_update(&plan, what->round);
    int64_t u[1024];
    fl_buf bytes;
    (void)ctx;
    assert_true(shape.coordinates + shape.cells <= 1024);
    for (uint32_t i = 0; i < shape.coordinates + shape.cells; i++)
        u[i] = (int64_t)(node + 1) * 100 + what->round + what->debit[i % 32];
    fl_buf_init(&bytes, 8192);
    plain_update(&bytes, &shape, u);
    *size_bytes = bytes.size;
    fl_code rc = fl_objects_put(objects, hash, bytes.bytes, bytes.size, e);
    fl_buf_fini(&bytes);
    return rc;
}

static void make_plan(unsigned rounds, unsigned quorum, unsigned allowance)
{
    char ini[800];
    snprintf(ini, sizeof ini,
             "[study]\nname = world\nclasses = a, b\n[input]\nshape = 1x8x8\n[model]\narchitecture = linear\n"
             "[rounds]\ncount = %u\nquorum = %u\ndeadline_s = 60\n[privacy]\nepsilon = 8\ndelta = 0.00001\n"
             "sampling_rate = 0.5\nclip_norm = 1\nallowance_rounds = %u\n[metrics]\nevery = %u\n",
             rounds, quorum, allowance, metrics_every);
    assert_int_equal(nn_plan_from_study(&plan, ini, "test", ".", &err), FL_OK);
}

static sim_world_config config(uint64_t seed, uint32_t n_nodes, bool faulty)
{
    sim_world_config c = {.seed = seed, .n_nodes = n_nodes, .epsilon = "8", .delta = "0.00001", .train = train};
    if (faulty)
        c.faults = (sim_faults){
            .lose = 0.05, .repeat = 0.05, .crash_node = 0.005, .crash_coordinator = 0.003, .delay_ms = 300};
    return c;
}

static fl_hash run(const sim_world_config *c, uint32_t *crashes)
{
    sim_world *w;
    assert_int_equal(sim_world_create(&w, c, &err), FL_OK);
    assert_int_equal(sim_world_add_study(w, &plan, &err), FL_OK);
    fl_code rc = sim_world_run(w, UNTIL_MS, &err);
    if (rc)
        fail_msg("seed %llu: %s", (unsigned long long)c->seed, err.text);
    if (sim_world_violations(w))
        fail_msg("seed %llu: %s", (unsigned long long)c->seed, sim_world_violation(w, 0));
    *crashes += sim_world_crashes(w);
    fl_hash h = sim_world_hash(w);
    sim_world_destroy(w);
    return h;
}

static void a_calm_world_finishes_every_round(void **state)
{
    (void)state;
    uint32_t crashes = 0;
    make_plan(5, 3, 1);
    sim_world_config c = config(1, 3, false);
    run(&c, &crashes);
    assert_int_equal(crashes, 0);
}

static void no_promise_is_broken_under_faults(void **state)
{
    (void)state;
    const char *text = getenv("CORDON_WORLD_SEEDS");
    const unsigned long n = text ? strtoul(text, NULL, 10) : 40;
    uint32_t crashes = 0;
    make_plan(4, 2, 16);
    for (unsigned long seed = 1; seed <= n; seed++) {
        sim_world_config c = config(seed, 3, true);
        metrics_every = seed % 2 ? 3 : 0; /* rounds 1, 3 and 4 */
        make_plan(4, 2, 16);
        run(&c, &crashes);
    }
    metrics_every = 0;
    assert_true(crashes > n / 4); /* a world in which nothing fails proves nothing */
}

static void one_seed_is_one_history(void **state)
{
    (void)state;
    uint32_t crashes = 0;
    make_plan(3, 2, 12);
    for (uint64_t seed = 100; seed < 105; seed++) {
        sim_world_config c = config(seed, 3, true);
        fl_hash a = run(&c, &crashes), b = run(&c, &crashes);
        assert_memory_equal(&a, &b, sizeof a);
    }
}

/* The disk of a node loses what was released: it burns, and is never computed again under that debit. */
static fl_code train_and_lose(void *ctx, uint32_t node, const node_training *what, fl_objects *objects, fl_hash *hash,
                              uint64_t *size_bytes, fl_err *e)
{
    fl_code rc = train(ctx, node, what, objects, hash, size_bytes, e);
    if (rc == FL_OK && node == 2)
        rc = fl_objects_remove(objects, hash, e);
    return rc;
}

static void a_released_update_that_is_lost_burns(void **state)
{
    (void)state;
    make_plan(2, 2, 8);
    sim_world_config c = config(7, 3, false);
    c.train = train_and_lose;
    sim_world *w;
    assert_int_equal(sim_world_create(&w, &c, &err), FL_OK);
    assert_int_equal(sim_world_add_study(w, &plan, &err), FL_OK);
    assert_int_equal(sim_world_run(w, UNTIL_MS, &err), FL_OK);
    assert_int_equal(sim_world_violations(w), 0);
    const dp_ledger_state *loser = led_state(sim_world_node(w, 2)->ledger);
    assert_in_range(loser->n_debits, 1, 2); /* it may have joined after the first round */
    for (size_t i = 0; i < loser->n_debits; i++)
        assert_int_equal(loser->debits[i].state, DP_DEBIT_BURNED);
    assert_int_equal(led_state(sim_world_node(w, 0)->ledger)->debits[1].state, DP_DEBIT_ACKED);
    sim_world_destroy(w);
}

static void line_time(char t[24], node_store *store, const char *kind)
{
    fl_query q;
    char like[64];
    snprintf(like, sizeof like, "%%\"kind\":\"%s\"%%", kind);
    assert_int_equal(fl_query_open(&q, store->db, "SELECT line FROM entry WHERE line LIKE ? ORDER BY seq", &err),
                     FL_OK);
    fl_bind_text(&q, 1, like);
    assert_true(fl_query_row(&q));
    const char *at = strstr(fl_column_text(&q, 0), "\"t\":\"");
    assert_non_null(at);
    snprintf(t, 24, "%.17s", at + 5);
    assert_int_equal(fl_query_close(&q, &err), FL_OK);
}

/* Training here takes no time at all, and the slot is ten minutes away. */
static void a_release_bears_the_time_of_its_slot_and_not_of_trainings_end(void **state)
{
    (void)state;
    char started[24], released[24];
    make_plan(1, 2, 1);
    plan.slot_ms = 600000;
    plan.deadline_s = 6000;
    fl_buf json;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    assert_int_equal(nn_plan_write(&json, &plan, &err), FL_OK);
    assert_int_equal(nn_plan_parse(&plan, fl_buf_text(&json), json.size, &err), FL_OK); /* its new hash */
    fl_buf_fini(&json);
    sim_world_config c = config(11, 2, false);
    sim_world *w;
    assert_int_equal(sim_world_create(&w, &c, &err), FL_OK);
    assert_int_equal(sim_world_add_study(w, &plan, &err), FL_OK);
    assert_int_equal(sim_world_run(w, UNTIL_MS, &err), FL_OK);
    line_time(started, sim_world_node(w, 0), "STARTED");
    line_time(released, sim_world_node(w, 0), "RELEASE");
    assert_true(strcmp(started, released) < 0);
    sim_world_destroy(w);
}

static void a_budget_that_does_not_cover_the_plan_is_refused_at_approval(void **state)
{
    (void)state;
    make_plan(5, 2, 1);
    sim_world_config c = config(3, 2, false);
    c.epsilon = "4";
    sim_world *w;
    assert_int_equal(sim_world_create(&w, &c, &err), FL_OK);
    assert_int_equal(sim_world_add_study(w, &plan, &err), FL_OK);
    assert_int_equal(sim_world_run(w, 60000, &err), FL_EREFUSED); /* nothing ever starts */
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(led_state(sim_world_node(w, i)->ledger)->n_debits, 0);
    sim_world_destroy(w);
}

/* What a round releases besides its update was debited with it, is burned with it, and adds up at the coordinator. */
static void metrics_travel_and_burn_with_their_round(void **state)
{
    (void)state;
    metrics_every = 2;
    make_plan(4, 2, 8);
    sim_world_config c = config(7, 3, false);
    c.train = train_and_lose;
    sim_world *w;
    assert_int_equal(sim_world_create(&w, &c, &err), FL_OK);
    assert_int_equal(sim_world_add_study(w, &plan, &err), FL_OK);
    assert_int_equal(sim_world_run(w, UNTIL_MS, &err), FL_OK);
    assert_int_equal(sim_world_violations(w), 0);
    for (uint32_t node = 0; node < 3; node++) {
        const dp_ledger_state *l = led_state(sim_world_node(w, node)->ledger);
        double cost = 0;
        assert_true(l->n_debits > 0);
        for (size_t i = 0; i < l->n_debits; i++) {
            const dp_debit *d = &l->debits[i];
            assert_int_equal(d->cells, nn_counts_in(&plan, d->round) ? nn_counts_cells(&plan) : 0);
            assert_int_equal(d->state, node == 2 ? DP_DEBIT_BURNED : DP_DEBIT_ACKED);
            assert_true((d->other_cost > 0) == nn_counts_in(&plan, d->round));
            cost += d->cost + d->other_cost;
        }
        assert_true(fabs(l->filter.spent / cost - 1) < 1e-12);
    }
    for (uint32_t round = 1; round <= 4; round++) {
        coord_counts counts;
        assert_int_equal(coord_counts_load(&counts, sim_world_coordinator(w), &plan, round, &err), FL_OK);
        assert_int_equal(counts.n_cells, nn_counts_in(&plan, round) ? 24 : 0);
        assert_int_equal(counts.n_sites, nn_counts_in(&plan, round) ? 2 : 0);
        for (uint32_t k = 0; k < counts.n_cells; k++) {
            assert_in_range(counts.cells[k], 100 + round, 400 + round);
            assert_int_equal(counts.cells[2 * 24 + k], counts.cells[k] + counts.cells[24 + k]);
        }
        coord_counts_fini(&counts);
    }
    metrics_every = 0;
    sim_world_destroy(w);
}

int main(void)
{
    setenv("FL_LOG_LEVEL", "error", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_calm_world_finishes_every_round),
        cmocka_unit_test(no_promise_is_broken_under_faults),
        cmocka_unit_test(one_seed_is_one_history),
        cmocka_unit_test(a_released_update_that_is_lost_burns),
        cmocka_unit_test(metrics_travel_and_burn_with_their_round),
        cmocka_unit_test(a_release_bears_the_time_of_its_slot_and_not_of_trainings_end),
        cmocka_unit_test(a_budget_that_does_not_cover_the_plan_is_refused_at_approval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
