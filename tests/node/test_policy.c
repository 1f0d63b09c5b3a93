#include "tests/node/images.h"

#include <math.h>

#include "imaging/image.h"
#include "node/data.h"
#include "node/policies.h"
#include "privacy/replay.h"

static const uint8_t seed[32] = {5};

/* ---- policy.ini ------------------------------------------------------------------------------------------------- */

static void the_sample_is_the_defaults_and_forbids_to_train(void **state)
{
    (void)state;
    node_policy p;
    fl_err err;
    fl_buf text;
    fl_buf_init(&text, 1 << 16);
    node_policy_sample(&text);
    assert_ok(node_policy_parse(&p, fl_buf_text(&text), "policy.ini", &err), err);
    assert_string_equal(p.dataset, "main");
    assert_string_equal(p.epsilon, "8");
    assert_string_equal(p.delta, "1e-5");
    assert_int_equal(p.renyi_order, 0);
    assert_int_equal(p.rungs, 1);
    assert_int_equal(p.declared_patients, 0);
    assert_int_equal(p.min_cohort, 2);
    assert_string_equal(p.releases, "update");
    assert_int_equal(node_policy_allow(&p), 0);
    fl_buf_fini(&text);
}

static void a_wrong_policy_is_refused_with_line_and_key(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } table[] = {
        {"[budget]\nepsilon = 0\n", "[budget] epsilon"},
        {"[budget]\nepsilon = much\n", "[budget] epsilon"},
        {"[budget]\nepsilon = 08\n", "[budget] epsilon"},
        {"[budget]\ndelta = 0.5\n", "[budget] delta"},
        {"[budget]\ndelta = -1e-5\n", "[budget] delta"},
        {"[budget]\nrenyi_order = 1\n", "[budget] renyi_order"},
        {"[budget]\nepsilom = 8\n", "epsilon"},
        {"[budget]\nepsilon = 8\nepsilon = 9\n", "epsilon"},
        {"[limits]\nmax_sampling_rate = 1.5\n", "[limits] max_sampling_rate"},
        {"[limits]\nmin_cohort = 0\n", "[limits] min_cohort"},
        {"[limits]\nreleases = metrics\n", "[limits] releases"},
        {"[data]\ndeclared_patients = about 100\n", "[data] declared_patients"},
        {"[data]\ndataset = a b\n", "[data] dataset"},
        {"[dataset ct]\nepsilon = 8\n", "dataset ct"},
        {"[images]\nallow_burned_in = perhaps\n", "[images] allow_burned_in"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        node_policy p;
        fl_err err = {0};
        assert_int_equal(node_policy_parse(&p, table[i].text, "policy.ini", &err), FL_EFORMAT);
        assert_says(err, table[i].says);
        assert_says(err, "policy.ini");
    }
}

static void images_are_let_in_only_as_the_policy_says(void **state)
{
    (void)state;
    node_policy p;
    fl_err err;
    assert_ok(node_policy_parse(&p, "[images]\nallow_burned_in = yes\nallow_secondary_capture = yes\n", "p", &err),
              err);
    assert_int_equal(node_policy_allow(&p), IMG_ALLOW_BURNED_IN | IMG_ALLOW_CAPTURE);
}

/* ---- approval --------------------------------------------------------------------------------------------------- */

typedef struct hospital {
    node_store store;
    node_state *state;
    node_policy policy;
    fl_err err;
} hospital;

static void open_hospital(hospital *h, const char *epsilon)
{
    memset(h, 0, sizeof *h);
    h->state = calloc(1, sizeof *h->state);
    assert_ok(node_store_open_memory(&h->store, "anna", seed, &h->err), h->err);
    assert_ok(node_state_load(h->state, &h->store, &h->err), h->err);
    node_policy_for_memory(&h->policy, epsilon, "1e-5", 100);
}

static void close_hospital(hospital *h)
{
    node_store_close(&h->store);
    free(h->state);
}

static void make_plan(nn_plan *plan, const char *name, unsigned rounds, const char *epsilon, const char *hospitals)
{
    char text[1000];
    fl_err err;
    snprintf(text, sizeof text,
             "[study]\nname = %s\nclasses = normal, pneumonia\nhospitals = %s\n[input]\nshape = 1x32x32\n"
             "[model]\narchitecture = cnn-tiny\n[rounds]\ncount = %u\nquorum = 2\n"
             "[privacy]\nepsilon = %s\ndelta = 1e-5\nsampling_rate = 0.5\nclip_norm = 0.2\n",
             name, hospitals, rounds, epsilon);
    assert_ok(nn_plan_from_study(plan, text, "study.ini", ".", &err), err);
}

/* What the host does when a plan arrives. */
static uint32_t arrives(hospital *h, const nn_plan *plan)
{
    fl_buf json;
    uint32_t i = h->state->n_plans++;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    assert_ok(nn_plan_write(&json, plan, &h->err), h->err);
    node_plan_describe(&h->state->plans[i], plan);
    assert_ok(node_plan_put(&h->store, h->state, i, &h->err), h->err);
    assert_ok(node_plan_keep(&h->store, i, fl_buf_text(&json), json.size, &h->err), h->err);
    fl_buf_fini(&json);
    node_policy_apply(h->state, &h->policy);
    return i;
}

static uint32_t study_arrives(hospital *h, const char *name, unsigned rounds, const char *epsilon)
{
    nn_plan *plan = malloc(sizeof *plan);
    make_plan(plan, name, rounds, epsilon, "all");
    uint32_t i = arrives(h, plan);
    free(plan);
    return i;
}

static fl_code approve(hospital *h, uint32_t plan)
{
    return node_approve(&h->store, h->state, &h->policy, plan, "Dr. Ada L\xc3\xb6w", "main", &h->err);
}

/* Every line of the ledger, in the auditor's strict reading. */
static void ledger_is(hospital *h, const char *kinds)
{
    fl_query q;
    dp_replay *r;
    char seen[400] = "";
    assert_ok(dp_replay_create(&r, DP_REPLAY_STRICT, NULL, NULL, &h->err), h->err);
    assert_ok(fl_query_open(&q, h->store.db, "SELECT line FROM entry ORDER BY seq", &h->err), h->err);
    while (fl_query_row(&q)) {
        const char *line = fl_column_text(&q, 0);
        dp_entry *e = calloc(1, sizeof *e);
        assert_ok(dp_replay_line(r, line, strlen(line), &h->err), h->err);
        assert_ok(dp_entry_parse(e, line, strlen(line), &h->err), h->err);
        strcat(strcat(seen, seen[0] ? " " : ""), dp_kind_name(e->kind));
        free(e);
    }
    assert_ok(fl_query_close(&q, &h->err), h->err);
    dp_replay_end(r);
    assert_int_equal(dp_replay_state(r)->n_findings, 0);
    assert_int_equal(dp_replay_state(r)->n_entries, h->state->ledger_size);
    dp_replay_destroy(r);
    assert_string_equal(seen, kinds);
}

static const char two_sets[] = "[data]\ndeclared_patients = 100\n"
                               "[data ct]\ndeclared_patients = 40\n"
                               "[budget]\nepsilon = 9\nrungs = 2\n"
                               "[limits ct]\nmin_noise_multiplier = 5\n"
                               "[limits]\nmin_cohort = 3\n"
                               "[images ct]\nallow_secondary_capture = yes\n";

static void each_data_set_has_its_limits_and_all_have_one_budget(void **state)
{
    (void)state;
    fl_err err;
    node_policies *p = malloc(sizeof *p);
    const node_policy *ct;
    assert_ok(node_policies_parse(p, two_sets, "p", &err), err);
    assert_int_equal(p->n, 2);
    assert_string_equal(p->list[0].dataset, "main");
    assert_int_equal(p->list[0].min_cohort, 3);
    assert_string_equal(p->list[0].min_noise_multiplier, "0.3");
    assert_int_equal(node_policy_allow(&p->list[0]), 0);
    assert_ok(node_policy_of(&ct, p, "ct", &err), err);
    assert_int_equal(ct->declared_patients, 40);
    assert_string_equal(ct->min_noise_multiplier, "5");
    assert_int_equal(ct->min_cohort, 2); /* what is not typed is the default, not main's */
    assert_string_equal(ct->epsilon, "9");
    assert_int_equal(ct->rungs, 2);
    assert_int_equal(node_policy_allow(ct), IMG_ALLOW_CAPTURE);
    assert_int_equal(node_policy_of(&ct, p, "mr", &err), FL_EREFUSED);
    assert_says(err, "write [data mr] into policy.ini");
    const struct {
        const char *text, *says;
    } wrong[] = {
        {"[data]\n[budget ct]\nepsilon = 3\n", "p:2: [budget ct]: the budget is one"},
        {"[limits ct]\nmin_cohort = 2\n", "p:1: [limits ct]: there is no [data ct]"},
        {"[data ct]\n[data ct]\n", "p:2: [data ct]: the data set is there already"},
        {"[data main]\ndeclared_patients = 1\n", "[data main]: the data set is there already"},
        {"[data ct]\n\ndeclared_patient = 5\n", "p:3: [data] declared_patient"},
        {"[data ct]\ndataset = mr\n", "the name stands in the section"},
        {"[data c/t]\n", "p:1: [data c/t]"},
        {"[limit ct]\n", "p:1: [limit ct]"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(node_policies_parse(p, wrong[i].text, "p", &err), FL_EFORMAT);
        assert_says(err, wrong[i].says);
    }
    free(p);
}

/* Two studies on two data sets: each by its own limits, both in one filter. */
static void data_sets_share_the_budget(void **state)
{
    (void)state;
    hospital h;
    node_policies *p = malloc(sizeof *p);
    const node_policy *ct;
    open_hospital(&h, "9");
    const uint32_t a = study_arrives(&h, "chest", 30, "8"), b = study_arrives(&h, "head", 30, "2"),
                   c = study_arrives(&h, "back", 30, "8");
    assert_ok(node_policies_parse(p, two_sets, "p", &h.err), h.err);
    assert_ok(node_policy_of(&ct, p, "ct", &h.err), h.err);
    p->list[0].min_cohort = p->list[1].min_cohort = 1;
    node_policies_apply(&h.store, h.state, p);
    /* the same plan is outside ct's limits and within main's */
    assert_int_equal(node_approve(&h.store, h.state, ct, a, "Pat", "ct", &h.err), FL_EREFUSED);
    assert_says(h.err, "noise_multiplier");
    assert_ok(node_approve(&h.store, h.state, &p->list[0], a, "Pat", "main", &h.err), h.err);
    strcpy(p->list[1].min_noise_multiplier, "0.3");
    assert_ok(node_approve(&h.store, h.state, ct, b, "Pat", "ct", &h.err), h.err);
    node_policies_apply(&h.store, h.state, p);
    assert_true(h.state->plans[a].within_policy && h.state->plans[b].within_policy);
    assert_int_equal(h.state->plans[a].declared_patients, 100);
    assert_int_equal(h.state->plans[b].declared_patients, 40);
    assert_string_equal(node_plan_dataset(&h.store, &h.state->plans[a], p), "main");
    assert_string_equal(node_plan_dataset(&h.store, &h.state->plans[b], p), "ct");
    /* what is promised on one data set is not there for the other */
    assert_int_equal(node_approve(&h.store, h.state, ct, c, "Pat", "ct", &h.err), FL_EREFUSED);
    assert_says(h.err, "over the budget");
    /* a section that is gone stops its plans, and no others */
    p->n = 1;
    node_policies_apply(&h.store, h.state, p);
    assert_true(h.state->plans[a].within_policy);
    assert_false(h.state->plans[b].within_policy);
    ledger_is(&h, "GENESIS POLICY DATASET APPROVE_PLAN POLICY DATASET APPROVE_PLAN");
    /* an edited budget is one POLICY for all, and one rung */
    bool appended;
    p->n = 2;
    for (uint32_t i = 0; i < 2; i++)
        strcpy(p->list[i].epsilon, "10");
    assert_ok(node_policies_record(&h.store, h.state, p, &appended, &h.err), h.err);
    assert_true(appended);
    ledger_is(&h, "GENESIS POLICY DATASET APPROVE_PLAN POLICY DATASET APPROVE_PLAN POLICY");
    strcpy(p->list[0].epsilon, "11");
    assert_int_equal(node_policies_record(&h.store, h.state, p, &appended, &h.err), FL_EREFUSED);
    free(p);
    close_hospital(&h);
}

static void approval_writes_policy_and_plan_and_fixes_the_order(void **state)
{
    (void)state;
    hospital h;
    open_hospital(&h, "8");
    uint32_t i = study_arrives(&h, "chest", 30, "8");
    ledger_is(&h, "GENESIS");
    assert_false(h.state->has_filter);
    assert_ok(approve(&h, i), h.err);
    const node_plan *p = &h.state->plans[i];
    assert_true(p->approved && p->within_policy && h.state->has_filter);
    assert_int_equal(p->declared_patients, 100);
    assert_int_equal(p->min_cohort, 2);
    assert_true(p->terms[0].cost > 0 && p->terms[0].cost * 30 <= h.state->filter.cap);
    ledger_is(&h, "GENESIS POLICY DATASET APPROVE_PLAN");
    assert_ok(approve(&h, i), h.err); /* again: nothing */
    ledger_is(&h, "GENESIS POLICY DATASET APPROVE_PLAN");
    /* the same after a restart */
    double cost = p->terms[0].cost;
    assert_ok(node_state_load(h.state, &h.store, &h.err), h.err);
    node_policy_apply(h.state, &h.policy);
    assert_true(h.state->plans[i].approved && h.state->plans[i].within_policy);
    assert_true(h.state->plans[i].terms[0].cost == cost);
    close_hospital(&h);
}

/* RESERVE, STARTED and BURN or RELEASE of one round. */
static void live_through(hospital *h, uint32_t plan, uint32_t round, bool is_released)
{
    const node_plan *p = &h->state->plans[plan];
    dp_entry *e = calloc(1, sizeof *e);
    const dp_kind kinds[] = {DP_RESERVE, DP_STARTED, is_released ? DP_RELEASE : DP_BURN};
    assert_ok(fl_db_begin(h->store.db, &h->err), h->err);
    for (size_t i = 0; i < 3; i++) {
        memset(e, 0, sizeof *e);
        e->kind = kinds[i];
        strcpy(e->study, p->study);
        snprintf(e->debit, sizeof e->debit, "%032x", round);
        e->round = round;
        e->steps = p->terms[0].local_steps;
        strcpy(e->mechanism, DP_MECHANISM_STEP);
        strcpy(e->sampling_rate, p->terms[0].sampling_rate);
        e->rate = p->terms[0].rate;
        strcpy(e->clip_norm, p->terms[0].clip_norm);
        e->clip_units = p->terms[0].clip_units;
        e->noise_variance = p->terms[0].noise_variance;
        dp_multiplier(e->noise_multiplier, p->terms[0].noise_variance, p->terms[0].clip_units);
        e->coordinates = p->terms[0].coordinates;
        e->update_bits = p->terms[0].update_bits;
        e->declared_patients = (uint32_t)p->declared_patients;
        e->cohort = 2;
        fl_hex_encode(e->plan_hash, p->hash.bytes, FL_HASH_SIZE);
        memset(e->model_hash, 'a', 64);
        memset(e->announce_hash, 'b', 64);
        memset(e->update_hash, 'c', 64);
        e->bytes = dp_update_size(
            &(dp_update_shape){p->terms[0].coordinates, p->terms[0].probe, p->terms[0].update_bits, 0});
        strcpy(e->reason, "crash");
        assert_ok(led_append(h->store.ledger, e, &h->err), h->err);
    }
    assert_ok(fl_db_commit(h->store.db, &h->err), h->err);
    free(e);
}

static void crashes_in_a_row_stop_the_plan_until_a_person_looks(void **state)
{
    (void)state;
    hospital h;
    open_hospital(&h, "8");
    uint32_t plan = study_arrives(&h, "lungs", 100, "8");
    assert_ok(approve(&h, plan), h.err);
    live_through(&h, plan, 1, true);
    for (uint32_t round = 2; round < 2 + NODE_MAX_CRASHES; round++) {
        assert_ok(node_state_load(h.state, &h.store, &h.err), h.err);
        assert_int_equal(h.state->plans[plan].failures, 0);
        node_policy_apply(h.state, &h.policy);
        live_through(&h, plan, round, false);
    }
    assert_ok(node_state_load(h.state, &h.store, &h.err), h.err);
    assert_int_equal(h.state->plans[plan].failures, NODE_MAX_FAILURES);
    node_policy_apply(h.state, &h.policy);
    live_through(&h, plan, 50, true);
    assert_ok(node_state_load(h.state, &h.store, &h.err), h.err);
    assert_int_equal(h.state->plans[plan].failures, 0);
    close_hospital(&h);
}

static void a_plan_over_the_budget_is_refused_as_a_whole_with_numbers(void **state)
{
    (void)state;
    hospital h;
    node_cost cost;
    open_hospital(&h, "2");
    uint32_t i = study_arrives(&h, "chest", 30, "8");
    assert_int_equal(approve(&h, i), FL_EREFUSED);
    assert_says(h.err, "over the budget: its 30 rounds would bring epsilon to ");
    assert_says(h.err, "allows 2 at delta 1e-05");
    ledger_is(&h, "GENESIS");
    assert_false(h.state->plans[i].approved);
    assert_ok(node_plan_cost(&cost, h.state, &h.policy, i, 8, &h.err), h.err);
    assert_false(cost.fits);
    assert_true(cost.room < 30);
    close_hospital(&h);
}

static void a_second_study_must_fit_beside_what_the_first_may_still_take(void **state)
{
    (void)state;
    hospital h;
    node_cost alone, beside;
    open_hospital(&h, "8");
    uint32_t first = study_arrives(&h, "chest", 30, "6"), second = study_arrives(&h, "brain", 30, "6");
    assert_ok(approve(&h, first), h.err);
    assert_ok(node_plan_cost(&beside, h.state, &h.policy, second, 8, &h.err), h.err);
    assert_true(beside.promised > 0);
    assert_true(beside.epsilon_promised > beside.epsilon_spent);
    assert_int_equal(approve(&h, second), FL_EREFUSED);
    assert_says(h.err, "promised to approved plans");
    h.state->plans[first].left = true; /* the operator leaves the first */
    assert_ok(node_plan_cost(&alone, h.state, &h.policy, second, 8, &h.err), h.err);
    assert_true(alone.promised == 0);
    assert_ok(approve(&h, second), h.err);
    ledger_is(&h, "GENESIS POLICY DATASET APPROVE_PLAN APPROVE_PLAN");
    close_hospital(&h);
}

static void approval_is_refused_outside_the_policy(void **state)
{
    (void)state;
    static const struct {
        const char *policy, *says;
    } table[] = {
        {"[data]\ndeclared_patients = 0\n", "declared_patients is not typed yet"},
        {"[limits]\nmin_noise_multiplier = 50\n", "the policy wants at least 50"},
        {"[limits]\nmax_sampling_rate = 0.1\n", "sampling_rate is 0.5, the policy allows at most 0.1"},
        {"[limits]\nmin_slot_ms = 80000000\n", "the policy wants at least 80000000"},
        {"[limits]\nmax_clip_norm = 0.1\n", "clip_norm is 0.2, the policy allows at most 0.1"},
        {"[limits]\nmax_rounds = 10\n", "rounds are 30, the policy allows at most 10"},
        {"labels = multi\n", "labels are one class each, those of the data set are sets of classes"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        hospital h;
        char text[200];
        open_hospital(&h, "8");
        snprintf(text, sizeof text, "%s%s", i ? "[data]\ndeclared_patients = 100\n" : "", table[i].policy);
        assert_ok(node_policy_parse(&h.policy, text, "policy.ini", &h.err), h.err);
        uint32_t plan = study_arrives(&h, "chest", 30, "8");
        assert_false(h.state->plans[plan].within_policy);
        assert_int_equal(approve(&h, plan), FL_EREFUSED);
        assert_says(h.err, table[i].says);
        ledger_is(&h, "GENESIS");
        close_hospital(&h);
    }
}

static void approval_wants_a_person_this_hospital_and_its_data_set(void **state)
{
    (void)state;
    hospital h;
    nn_plan *plan = malloc(sizeof *plan);
    open_hospital(&h, "8");
    make_plan(plan, "chest", 30, "8", "berta, carla");
    uint32_t i = arrives(&h, plan);
    assert_int_equal(approve(&h, i), FL_EREFUSED);
    assert_says(h.err, "not for this hospital");
    make_plan(plan, "open", 30, "8", "anna, berta");
    i = arrives(&h, plan);
    assert_int_equal(node_approve(&h.store, h.state, &h.policy, i, " ", "main", &h.err), FL_EFORMAT);
    assert_int_equal(node_approve(&h.store, h.state, &h.policy, i, "a\nb", "main", &h.err), FL_EFORMAT);
    assert_int_equal(node_approve(&h.store, h.state, &h.policy, i, "Ada", "ct", &h.err), FL_EREFUSED);
    assert_int_equal(node_approve(&h.store, h.state, &h.policy, i, "\xff", "main", &h.err), FL_EFORMAT);
    ledger_is(&h, "GENESIS"); /* the last one was rolled back, POLICY included */
    assert_false(h.state->has_filter);
    free(plan);
    assert_ok(approve(&h, i), h.err);
    close_hospital(&h);
}

static void a_plan_without_noise_is_refused(void **state)
{
    (void)state;
    hospital h;
    nn_plan *plan = malloc(sizeof *plan);
    open_hospital(&h, "8");
    make_plan(plan, "chest", 30, "8", "all");
    assert_ok(nn_plan_drop_privacy(plan, &h.err), h.err);
    uint32_t i = arrives(&h, plan);
    assert_int_equal(approve(&h, i), FL_EREFUSED);
    assert_says(h.err, "the plan adds no noise");
    ledger_is(&h, "GENESIS");
    free(plan);
    close_hospital(&h);
}

static fl_code record(hospital *h, bool *appended)
{
    assert_ok(fl_db_begin(h->store.db, &h->err), h->err);
    fl_code rc = node_policy_record(&h->store, h->state, &h->policy, 0, appended, &h->err);
    if (rc == FL_OK)
        assert_ok(fl_db_commit(h->store.db, &h->err), h->err);
    else
        fl_db_rollback(h->store.db);
    return rc;
}

static void an_edited_policy_is_recorded_but_what_stands_for_life_is_not_changed(void **state)
{
    (void)state;
    hospital h;
    bool appended;
    open_hospital(&h, "8");
    uint32_t i = study_arrives(&h, "chest", 30, "8");
    assert_ok(approve(&h, i), h.err);
    assert_ok(record(&h, &appended), h.err);
    assert_false(appended);

    strcpy(h.policy.epsilon, "7"); /* lowered: at once, and the approved plan no longer fits */
    assert_ok(record(&h, &appended), h.err);
    assert_true(appended);
    assert_true(h.state->filter.epsilon == 7);
    ledger_is(&h, "GENESIS POLICY DATASET APPROVE_PLAN POLICY");

    strcpy(h.policy.epsilon, "9");
    assert_int_equal(record(&h, &appended), FL_EREFUSED);
    assert_says(h.err, "raises epsilon to 9");
    strcpy(h.policy.epsilon, "8");
    strcpy(h.policy.delta, "1e-6");
    assert_int_equal(record(&h, &appended), FL_EREFUSED);
    assert_says(h.err, "for life");
    strcpy(h.policy.delta, "0.00001"); /* the same number */
    h.policy.renyi_order = h.state->filter.order + 1;
    assert_int_equal(record(&h, &appended), FL_EREFUSED);
    h.policy.renyi_order = 0;
    h.policy.rungs = 2;
    assert_int_equal(record(&h, &appended), FL_EREFUSED);
    h.policy.rungs = 1;

    h.policy.declared_patients = 200; /* of an approved plan: it must be approved again */
    assert_ok(record(&h, &appended), h.err);
    node_policy_apply(h.state, &h.policy);
    assert_false(h.state->plans[i].within_policy);
    assert_ok(approve(&h, i), h.err);
    assert_true(h.state->plans[i].within_policy);
    assert_int_equal(h.state->plans[i].declared_patients, 200);
    ledger_is(&h, "GENESIS POLICY DATASET APPROVE_PLAN POLICY POLICY DATASET APPROVE_PLAN");
    close_hospital(&h);
}

static void an_approval_is_for_one_data_set(void **state)
{
    (void)state;
    hospital h;
    open_hospital(&h, "8");
    uint32_t i = study_arrives(&h, "chest", 30, "8");
    assert_ok(approve(&h, i), h.err);
    node_policies policies = {.n = 1, .list = {h.policy}};
    node_policies_apply(&h.store, h.state, &policies);
    assert_true(h.state->plans[i].within_policy);
    strcpy(h.policy.dataset, "ct"); /* the policy file now speaks of other images, which nobody approved */
    policies.list[0] = h.policy;
    node_policies_apply(&h.store, h.state, &policies);
    assert_false(h.state->plans[i].within_policy);
    assert_ok(node_approve(&h.store, h.state, &h.policy, i, "Ada", "ct", &h.err), h.err);
    node_policies_apply(&h.store, h.state, &policies);
    assert_true(h.state->plans[i].within_policy);
    ledger_is(&h, "GENESIS POLICY DATASET APPROVE_PLAN POLICY DATASET APPROVE_PLAN");
    close_hospital(&h);
}

static void a_plan_whose_text_was_changed_on_disk_is_not_the_approved_one(void **state)
{
    (void)state;
    hospital h;
    fl_query q;
    open_hospital(&h, "8");
    uint32_t i = study_arrives(&h, "chest", 30, "8");
    assert_ok(approve(&h, i), h.err);
    assert_ok(
        fl_query_open(&q, h.store.db, "UPDATE plan SET json = replace(json, '\"shift\":0', '\"shift\":1')", &h.err),
        h.err);
    assert_ok(fl_query_run(&q, &h.err), h.err);
    assert_ok(node_state_load(h.state, &h.store, &h.err), h.err);
    node_policy_apply(h.state, &h.policy);
    assert_false(h.state->plans[i].readable);
    assert_false(h.state->plans[i].within_policy);
    close_hospital(&h);
}

static void the_data_set_enters_the_ledger_with_the_approval_and_after_each_change(void **state)
{
    hospital h;
    char path[FL_PATH_MAX], labels[FL_PATH_MAX], *paths[1] = {path};
    node_data_report report;
    const node_data_options options = {.decoder = CORDON_BIN_DIR "/cordon-decode"};
    open_hospital(&h, "8");
    make_text(fl_path(labels, *state, "l.csv"), "file,label,patient_id\n1.png,1,p\n2.png,0,q\n");
    make_png(fl_path(path, *state, "1.png"), 40, 1);
    assert_ok(node_data_add(&h.store, "main", labels, paths, 1, &options, &h.policy, NULL, &report, &h.err), h.err);
    ledger_is(&h, "GENESIS");
    uint32_t i = study_arrives(&h, "chest", 30, "8"), n;
    assert_ok(approve(&h, i), h.err);
    ledger_is(&h, "GENESIS POLICY DATASET APPROVE_PLAN");
    make_png(fl_path(path, *state, "2.png"), 40, 2);
    assert_ok(node_data_add(&h.store, "main", labels, paths, 1, &options, &h.policy, NULL, &report, &h.err), h.err);
    assert_int_equal(report.n_taken, 1);
    assert_ok(node_data_add(&h.store, "main", labels, paths, 1, &options, &h.policy, NULL, &report, &h.err), h.err);
    assert_int_equal(report.n_duplicates, 1);
    assert_ok(node_data_remove(&h.store, "main", "p", NULL, &n, &h.err), h.err);
    h.state->ledger_size = led_state(h.store.ledger)->n_entries;
    ledger_is(&h, "GENESIS POLICY DATASET APPROVE_PLAN DATASET DATASET");
    close_hospital(&h);
}

static void plan_show_says_what_it_costs_and_what_stands_against_it(void **state)
{
    (void)state;
    hospital h;
    char *text;
    size_t n;
    open_hospital(&h, "8");
    uint32_t i = study_arrives(&h, "chest", 30, "8");
    FILE *out = open_memstream(&text, &n);
    assert_ok(node_plan_against_policy(out, &h.store, h.state, &h.policy, i, &h.err), h.err);
    fclose(out);
    assert_non_null(strstr(text, "May be approved: cordon-node plan approve "));
    assert_non_null(strstr(text, "rounds that it may run      30, and "));
    free(text);
    strcpy(h.policy.epsilon, "2");
    fl_json *j;
    assert_ok(node_plan_json(&j, &h.store, h.state, &h.policy, i, &h.err), h.err);
    bool fits = true;
    assert_true(fl_json_bool(fl_json_member(j, "budget"), "fits", &fits));
    assert_false(fits);
    assert_non_null(strstr(fl_json_text(j, "why_not"), "over the budget"));
    fl_json_free(j);
    close_hospital(&h);
}

/* A plan that asks for noised counts needs a policy that permits them; their cost stands beside the rounds'. */
static void metrics_need_a_policy_that_permits_them(void **state)
{
    (void)state;
    char text[1000], why[200];
    nn_plan *plan = malloc(sizeof *plan);
    hospital h;
    node_cost cost;
    open_hospital(&h, "8");
    snprintf(text, sizeof text,
             "[study]\nname = counted\nclasses = normal, pneumonia\n[input]\nshape = 1x32x32\n"
             "[model]\narchitecture = cnn-tiny\n[rounds]\ncount = 30\nquorum = 2\n[metrics]\nevery = 10\n"
             "[privacy]\nepsilon = 8\ndelta = 1e-5\nsampling_rate = 0.5\nclip_norm = 0.2\n");
    assert_ok(nn_plan_from_study(plan, text, "study.ini", ".", &h.err), h.err);
    const uint32_t i = arrives(&h, plan);
    assert_false(h.state->plans[i].within_policy);
    assert_true(node_policy_breaks(&h.policy, &h.state->plans[i], why));
    assert_string_equal(why, "releases metrics (histogram+classes), the policy permits only updates");
    assert_int_equal(approve(&h, i), FL_EREFUSED);
    assert_says(h.err, "the policy permits only updates");

    strcpy(h.policy.releases, "update+metrics");
    node_policy_apply(h.state, &h.policy);
    assert_ok(node_plan_cost(&cost, h.state, &h.policy, i, plan->renyi_order, &h.err), h.err);
    assert_int_equal(cost.metrics_rounds, 4); /* 1, 10, 20, 30 */
    assert_true(cost.fits && cost.metrics > 0 && cost.epsilon_metrics > 0.1 && cost.epsilon_after <= 8);
    assert_true(fabs(cost.metrics / nn_plan_metrics_rdp(plan, 4, plan->renyi_order) - 1) < 1e-6);
    assert_ok(approve(&h, i), h.err);
    const node_plan *p = &h.state->plans[i];
    assert_true(p->within_policy && p->metrics_cost > 0);
    assert_true(fabs(4 * p->metrics_cost / cost.metrics - 1) < 1e-12);
    /* the whole schedule, its metrics and the lost rounds that the plan allows for, stays within the cap */
    dp_filter f = h.state->filter;
    for (uint32_t round = 1; round <= 30 + plan->allowance_rounds; round++) {
        const double one = node_terms_of(p, round)->cost, counts = node_round_counts(p, round);
        assert_true(dp_filter_admits_round(&f, one, counts));
        dp_filter_charge_round(&f, one, counts);
    }
    close_hospital(&h);
    free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sample_is_the_defaults_and_forbids_to_train),
        cmocka_unit_test(a_wrong_policy_is_refused_with_line_and_key),
        cmocka_unit_test(images_are_let_in_only_as_the_policy_says),
        cmocka_unit_test(metrics_need_a_policy_that_permits_them),
        cmocka_unit_test(each_data_set_has_its_limits_and_all_have_one_budget),
        cmocka_unit_test(data_sets_share_the_budget),
        cmocka_unit_test(approval_writes_policy_and_plan_and_fixes_the_order),
        cmocka_unit_test(crashes_in_a_row_stop_the_plan_until_a_person_looks),
        cmocka_unit_test(a_plan_over_the_budget_is_refused_as_a_whole_with_numbers),
        cmocka_unit_test(a_second_study_must_fit_beside_what_the_first_may_still_take),
        cmocka_unit_test(approval_is_refused_outside_the_policy),
        cmocka_unit_test(approval_wants_a_person_this_hospital_and_its_data_set),
        cmocka_unit_test(a_plan_without_noise_is_refused),
        cmocka_unit_test(an_edited_policy_is_recorded_but_what_stands_for_life_is_not_changed),
        cmocka_unit_test(an_approval_is_for_one_data_set),
        cmocka_unit_test(a_plan_whose_text_was_changed_on_disk_is_not_the_approved_one),
        in_scratch(the_data_set_enters_the_ledger_with_the_approval_and_after_each_change),
        cmocka_unit_test(plan_show_says_what_it_costs_and_what_stands_against_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
