#include "node/approve.h"

#include "node/data.h"
#include "node/data_rows.h"
#include "privacy/decimal.h"
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MOST 1000000

/* ---- what it costs ---------------------------------------------------------------------------------------------- */

static double number(const char *text)
{
    double value = NAN;
    return dp_decimal_value(&value, text) ? value : NAN;
}

/* Rounds of a plan that are not charged yet. */
static uint64_t rounds_left(const node_state *state, uint32_t i)
{
    const node_plan *p = &state->plans[i];
    uint64_t left = p->rounds > p->last_round ? p->rounds - p->last_round : 0;
    bool is_charged = state->now.plan == i && state->now.phase >= NODE_TRAINING && state->now.phase != NODE_HALTED;
    return is_charged && left > 0 ? left - 1 : left;
}

/* What the noised counts of those rounds cost. */
static double metrics_left(uint32_t *rounds, const dp_filter *f, const node_state *state, uint32_t i)
{
    const node_plan *p = &state->plans[i];
    const uint64_t left = rounds_left(state, i);
    *rounds = 0;
    for (uint32_t round = p->rounds - (uint32_t)left + 1; p->metrics_every > 0 && round <= p->rounds; round++)
        *rounds += dp_counts_in(round, p->metrics_every, p->rounds);
    return *rounds ? dp_release_cost(f, dp_multiplier_micro(p->metrics_variance, 1),
                                     (uint64_t)*rounds * p->metrics_partitions)
                   : 0;
}

static double cost_of(const dp_filter *f, const node_terms *t)
{
    return dp_debit_cost(f, t->rate, t->noise_variance, t->clip_units, t->local_steps);
}

static uint64_t draws_of(const node_terms *t)
{
    return (uint64_t)t->coordinates * t->local_steps;
}

/* Those of the rounds left that belong to one phase. */
static uint64_t rounds_left_in(const node_state *state, uint32_t i, uint32_t phase)
{
    const node_plan *p = &state->plans[i];
    const uint64_t over = p->rounds - rounds_left(state, i), last = p->terms[phase].last,
                   before = phase > 0 ? p->terms[phase - 1].last : 0;
    return last <= over ? 0 : last - (before > over ? before : over);
}

/* Charges what phases from..to-1 of a plan may still take; their rounds. */
static uint64_t charge_phases(dp_filter *f, double *cost, const node_state *state, uint32_t i, uint32_t from,
                              uint32_t to)
{
    const node_plan *p = &state->plans[i];
    uint64_t rounds = 0;
    *cost = 0;
    for (uint32_t k = from; k < to; k++) {
        const uint64_t n = rounds_left_in(state, i, k);
        *cost += (double)n * cost_of(f, &p->terms[k]);
        dp_filter_charge_draws(f, n * draws_of(&p->terms[k]));
        rounds += n;
    }
    return rounds;
}

/* The filter in force once the policy as it stands is recorded. */
static fl_code filter_for(dp_filter *f, const node_state *state, const node_policy *policy, uint32_t plan_order,
                          fl_err *err)
{
    unsigned order = state->has_filter ? state->filter.order : policy->renyi_order ? policy->renyi_order : plan_order;
    double delta = state->has_filter ? state->filter.delta : number(policy->delta);
    unsigned rungs = state->has_filter ? state->filter.rungs : policy->rungs;
    const bool is_free = !state->has_filter && !policy->renyi_order;
    fl_code rc = dp_filter_init(f, number(policy->epsilon), delta, order, rungs, err);
    while (rc == FL_EREFUSED && is_free && order < DP_ORDER_MAX) /* a plan for a far larger epsilon than the policy's */
        rc = dp_filter_init(f, number(policy->epsilon), delta, ++order, rungs, err);
    if (rc)
        return fl_fail_in(err, "policy.ini: [budget]");
    f->spent = state->has_filter ? state->filter.spent : 0;
    f->draws = state->has_filter ? state->filter.draws : 0;
    return FL_OK;
}

/* Rounds of so many integers of noise that the filter still admits. */
static uint64_t room_for_draws(const dp_filter *f, const node_terms *t)
{
    uint64_t each = draws_of(t);
    uint64_t left = f->draws < DP_DRAWS_MAX ? DP_DRAWS_MAX - f->draws : 0;
    return each > 0 ? left / each : left;
}

static double epsilon_at(const dp_filter *f, double spent)
{
    dp_filter copy = *f;
    copy.spent = spent;
    return dp_filter_epsilon_spent(&copy);
}

/* What the other approved plans may still take. */
static void charge_others(node_cost *out, dp_filter *f, const node_state *state, uint32_t plan)
{
    for (uint32_t i = 0; i < state->n_plans; i++) {
        const node_plan *p = &state->plans[i];
        uint32_t metrics;
        double cost;
        if (i == plan || !p->readable || !p->approved || p->left)
            continue;
        charge_phases(f, &cost, state, i, 0, p->n_terms);
        out->promised += cost + metrics_left(&metrics, f, state, i);
        dp_filter_charge_draws(f, (uint64_t)p->metrics_cells * metrics);
    }
}

fl_code node_plan_cost(node_cost *out, const node_state *state, const node_policy *policy, uint32_t plan,
                       uint32_t plan_order, fl_err *err)
{
    dp_filter f;
    double others = 0, whole = 0;
    assert(plan < state->n_plans && state->plans[plan].n_terms > 0);
    const node_plan *p = &state->plans[plan];
    const node_terms *last = &p->terms[p->n_terms - 1];
    memset(out, 0, sizeof *out);
    FL_TRY(filter_for(&f, state, policy, plan_order, err));
    out->order = f.order;
    out->cap = f.cap;
    out->spent = f.spent;
    out->delta = f.delta;
    out->epsilon_cap = f.epsilon;
    out->is_first = !state->has_filter;
    charge_others(out, &f, state, plan);
    out->cost = cost_of(&f, last);
    out->rounds = rounds_left(state, plan);
    out->metrics = metrics_left(&out->metrics_rounds, &f, state, plan);
    out->n_phases = p->n_terms;
    for (uint32_t k = 0; k < p->n_terms; k++) {
        node_phase_cost *c = &out->phases[k];
        c->rounds = rounds_left_in(state, plan, k);
        c->epsilon = epsilon_at(&f, (double)c->rounds * cost_of(&f, &p->terms[k]));
        whole += (double)c->rounds * cost_of(&f, &p->terms[k]);
    }
    out->epsilon_spent = epsilon_at(&f, f.spent);
    out->epsilon_promised = epsilon_at(&f, f.spent + out->promised);
    out->epsilon_after = epsilon_at(&f, f.spent + out->promised + out->metrics + whole);
    out->epsilon_metrics = epsilon_at(&f, out->metrics);
    const uint64_t n_others = charge_phases(&f, &others, state, plan, 0, p->n_terms - 1);
    const double before = out->promised + out->metrics + others;
    if (n_others == 0 || dp_filter_admits(&f, before)) {
        dp_filter_charge(&f, before);
        out->room = dp_filter_room(&f, out->cost, ROOM_MOST);
        if (room_for_draws(&f, last) < out->room)
            out->room = room_for_draws(&f, last);
        out->room += n_others;
    }
    out->fits = out->room >= out->rounds;
    return FL_OK;
}

/* ---- approving -------------------------------------------------------------------------------------------------- */

static fl_code read_plan(node_store *s, uint32_t index, nn_plan *plan, fl_err *err)
{
    fl_buf json;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    fl_code rc = node_plan_text(s, &json, index, err);
    if (rc == FL_OK)
        rc = nn_plan_parse(plan, fl_buf_text(&json), json.size, err);
    fl_buf_fini(&json);
    return rc;
}

static bool names_us(const nn_plan *plan, const char *name)
{
    for (uint32_t i = 0; i < plan->n_sites; i++)
        if (strcmp(plan->sites[i], name) == 0)
            return true;
    return plan->n_sites == 0;
}

/* What speaks against approving, apart from the budget; "" when nothing does. */
static void objection(char why[320], const node_state *state, const node_policy *policy, uint32_t index,
                      const nn_plan *plan)
{
    const node_plan *p = &state->plans[index];
    char broken[200];
    why[0] = 0;
    for (uint32_t i = 0; i < state->n_plans && !why[0]; i++) {
        const node_plan *other = &state->plans[i];
        if (i != index && other->approved && !other->left && strcmp(other->study, p->study) == 0)
            snprintf(why, 320, "another plan of study %s is approved: leave that one first", p->study);
    }
    if (why[0])
        return;
    if (p->left)
        snprintf(why, 320, "this hospital left the study");
    else if (!plan->is_private)
        snprintf(why, 320, "the plan adds no noise: only the simulator runs such a plan");
    else if (!names_us(plan, state->name))
        snprintf(why, 320, "the plan is not for this hospital (%s)", state->name);
    else if (policy->declared_patients == 0)
        snprintf(why, 320,
                 "policy.ini: [data] declared_patients is not typed yet: write the round number of patients "
                 "that this hospital makes public");
    else if (node_policy_breaks(policy, p, broken))
        snprintf(why, 320, "outside the policy: %s", broken);
    else if (p->approved && p->joined && p->declared_patients != policy->declared_patients)
        snprintf(why, 320, "joined with %" PRIu64 " declared patients, the policy now says %u", p->declared_patients,
                 policy->declared_patients);
}

static void budget_objection(char why[320], const node_cost *c)
{
    why[0] = 0;
    if (!c->fits)
        snprintf(why, 320,
                 "over the budget: its %" PRIu64
                 " rounds would bring epsilon to %.3f, the policy allows %g at delta %g "
                 "for life (spent %.3f, promised to approved plans %.3f); %" PRIu64 " such rounds fit",
                 c->rounds, c->epsilon_after, c->epsilon_cap, c->delta, c->epsilon_spent,
                 c->epsilon_promised - c->epsilon_spent, c->room);
}

bool node_approval_stands(const node_store *s, const node_plan *p, const node_policy *policy)
{
    char hash[DP_HEX_SIZE];
    dp_hash_text(hash, &p->hash);
    const dp_approval *a = dp_replay_approval(led_replay(s->ledger), p->study, hash);
    return p->approved && a && strcmp(a->dataset, policy->dataset) == 0 &&
           p->declared_patients == policy->declared_patients;
}

static fl_code append_approval(node_store *s, const node_plan *p, const char *dataset, const char *by, fl_err *err)
{
    dp_entry *e = calloc(1, sizeof *e);
    if (!e)
        return fl_fail(err, FL_EENV, "approve: out of memory");
    e->kind = DP_APPROVE_PLAN;
    strcpy(e->study, p->study);
    snprintf(e->dataset, sizeof e->dataset, "%s", dataset);
    snprintf(e->approver, sizeof e->approver, "%s", by);
    dp_hash_text(e->plan_hash, &p->hash);
    e->n_terms = p->n_terms;
    for (uint32_t i = 0; i < p->n_terms; i++) {
        const node_terms *t = &p->terms[i];
        e->terms[i] = (dp_terms){.rounds = t->last - (i > 0 ? p->terms[i - 1].last : 0),
                                 .steps = t->local_steps,
                                 .clip_units = t->clip_units,
                                 .coordinates = t->coordinates,
                                 .noise_variance = t->noise_variance,
                                 .rate = t->rate};
    }
    fl_code rc = led_append(s->ledger, e, err);
    free(e);
    return rc;
}

static fl_code write_approval(node_store *s, node_state *state, const node_policy *policy, uint32_t index,
                              const char *by, uint32_t order, fl_err *err)
{
    node_plan *p = &state->plans[index];
    bool appended;
    FL_TRY(node_policy_record(s, state, policy, order, &appended, err));
    FL_TRY(node_data_record(s, policy->dataset, &appended, err));
    FL_TRY(append_approval(s, p, policy->dataset, by, err));
    state->ledger_size = led_state(s->ledger)->n_entries;
    p->approved = true;
    p->declared_patients = policy->declared_patients;
    node_policy_apply(state, policy);
    return node_plan_put(s, state, index, err);
}

static fl_code commit_approval(node_store *s, node_state *state, const node_policy *policy, uint32_t index,
                               const char *by, uint32_t order, fl_err *err)
{
    node_state *before = malloc(sizeof *before);
    if (!before)
        return fl_fail(err, FL_EENV, "approve: out of memory");
    *before = *state;
    fl_code rc = fl_db_begin(s->db, err);
    if (rc == FL_OK) {
        rc = write_approval(s, state, policy, index, by, order, err);
        if (rc == FL_OK)
            rc = fl_db_commit(s->db, err);
        if (rc) {
            node_data_undo(s);
            *state = *before;
        }
    }
    free(before);
    return rc;
}

static fl_code check_words(const char *by, const char *dataset, const node_policy *policy, fl_err *err)
{
    size_t n = strlen(by);
    bool is_blank = strspn(by, " ") == n;
    for (size_t i = 0; i < n; i++)
        is_blank |= (unsigned char)by[i] < 0x20 || by[i] == 0x7f;
    if (is_blank || n > 127)
        return fl_fail(err, FL_EFORMAT, "--by: must be a person's name, 1 to 127 bytes");
    if (strcmp(dataset, policy->dataset) != 0)
        return fl_fail(err, FL_EREFUSED, "data set %.63s: has no policy: policy.ini is for %s", dataset,
                       policy->dataset);
    return FL_OK;
}

fl_code node_approve(node_store *s, node_state *state, const node_policy *policy, uint32_t index, const char *by,
                     const char *dataset, fl_err *err)
{
    char why[320];
    node_cost cost;
    assert(index < state->n_plans);
    const node_plan *p = &state->plans[index];
    FL_TRY(check_words(by, dataset, policy, err));
    if (!p->readable)
        return fl_fail(err, FL_EREFUSED, "study %s: the plan cannot be read by this version: install a newer one",
                       p->study);
    nn_plan *plan = malloc(sizeof *plan);
    if (!plan)
        return fl_fail(err, FL_EENV, "approve: out of memory");
    fl_code rc = read_plan(s, index, plan, err);
    const uint32_t order = rc ? 0 : plan->renyi_order;
    if (rc == FL_OK)
        objection(why, state, policy, index, plan);
    free(plan);
    if (rc)
        return rc;
    if (why[0])
        return fl_fail(err, FL_EREFUSED, "study %s: %s", p->study, why);
    if (node_approval_stands(s, p, policy))
        return FL_OK;
    FL_TRY(node_plan_cost(&cost, state, policy, index, order, err));
    budget_objection(why, &cost);
    if (why[0])
        return fl_fail(err, FL_EREFUSED, "study %s: %s", p->study, why);
    return commit_approval(s, state, policy, index, by, cost.order, err);
}

/* ---- showing ---------------------------------------------------------------------------------------------------- */

typedef struct view {
    nn_plan plan;
    node_cost cost;
    char why[320];
} view;

/* Everything that `plan show` says, computed once. */
static fl_code look(view *v, node_store *s, const node_state *state, const node_policy *policy, uint32_t index,
                    fl_err *err)
{
    FL_TRY(read_plan(s, index, &v->plan, err));
    objection(v->why, state, policy, index, &v->plan);
    FL_TRY(node_plan_cost(&v->cost, state, policy, index, v->plan.renyi_order, err));
    if (!v->why[0])
        budget_objection(v->why, &v->cost);
    return FL_OK;
}

/* The study may say how many patients it expects; else the other hospitals are taken to be like this one. */
static void warn_of_noise(FILE *out, const node_policy *policy, const nn_plan *plan)
{
    fl_buf words;
    const uint64_t hospitals = plan->n_sites > plan->quorum ? plan->n_sites : plan->quorum;
    fl_buf_init(&words, 4096);
    if (plan->patients == 0 && nn_plan_warn(&words, plan, policy->declared_patients * hospitals, 0))
        fprintf(out, "%sThat is if every hospital declares %u patients, as this one does.\n", fl_buf_text(&words),
                policy->declared_patients);
    fl_buf_fini(&words);
}

static void limit_row(FILE *out, const char *name, const char *plan, const char *limit, const char *policy, bool ok)
{
    fprintf(out, "  %-18s %-14s %-9s %-14s %s\n", name, plan, limit, policy, ok ? "ok" : "REFUSED");
}

static void print_phase_limits(FILE *out, const node_policy *policy, const node_terms *t, const char *name)
{
    char multiplier[DP_MICRO_TEXT];
    dp_multiplier(multiplier, t->noise_variance, t->clip_units);
    if (name)
        fprintf(out, "  phase %s\n", name);
    limit_row(out, "noise_multiplier", multiplier, "at least", policy->min_noise_multiplier,
              number(multiplier) >= number(policy->min_noise_multiplier));
    limit_row(out, "sampling_rate", t->sampling_rate, "at most", policy->max_sampling_rate,
              number(t->sampling_rate) <= number(policy->max_sampling_rate));
    limit_row(out, "clip_norm", t->clip_norm, "at most", policy->max_clip_norm,
              number(t->clip_norm) <= number(policy->max_clip_norm));
}

static void print_limits(FILE *out, const node_policy *policy, const node_plan *p, const nn_plan *plan)
{
    char rounds[16], most[16];
    fprintf(out, "\nBeside the policy of data set %s\n  %-18s %-14s %s\n", policy->dataset, "", "plan", "policy");
    for (uint32_t i = 0; i < p->n_terms; i++)
        print_phase_limits(out, policy, &p->terms[i], p->n_terms > 1 ? plan->phases[i].name : NULL);
    if (p->n_terms > 1)
        fputs("  all phases\n", out);
    snprintf(rounds, sizeof rounds, "%u", p->rounds);
    snprintf(most, sizeof most, "%u", policy->max_rounds);
    limit_row(out, "rounds", rounds, "at most", most, p->rounds <= policy->max_rounds);
    snprintf(rounds, sizeof rounds, "%u", p->slot_ms);
    snprintf(most, sizeof most, "%u", policy->min_slot_ms);
    limit_row(out, "slot_ms", rounds, "at least", most, p->slot_ms >= policy->min_slot_ms);
    limit_row(out, "releases", p->metrics_every > 0 ? "update+metrics" : "update", "of", policy->releases,
              p->metrics_every == 0 || strcmp(policy->releases, "update+metrics") == 0);
    limit_row(out, "labels", p->multi ? "multi" : "single", "of", policy->multi ? "multi" : "single",
              p->multi == policy->multi);
    fprintf(out, "  rounds with fewer than %u hospitals are not taken; declared patients: %u%s\n", policy->min_cohort,
            policy->declared_patients, policy->declared_patients ? "" : " (not typed yet)");
}

static void print_cost(FILE *out, const node_cost *c, const nn_plan *plan)
{
    fprintf(out, "\nThe budget of this hospital's patients, for life: epsilon %g at delta %g, counted at order %u%s\n",
            c->epsilon_cap, c->delta, c->order, c->is_first ? " (this plan would fix the order)" : "");
    fprintf(out, "  spent so far                epsilon %.3f\n", c->epsilon_spent);
    if (c->promised > 0)
        fprintf(out, "  with the approved plans     epsilon %.3f\n", c->epsilon_promised);
    fprintf(out, "  with this plan as well      epsilon %.3f\n", c->epsilon_after);
    for (uint32_t i = 0; c->n_phases > 1 && i < c->n_phases; i++)
        fprintf(out, "  of that, phase %-12s %" PRIu64 " round%s, epsilon %.3f by %s\n", plan->phases[i].name,
                c->phases[i].rounds, c->phases[i].rounds == 1 ? "" : "s", c->phases[i].epsilon,
                c->phases[i].rounds == 1 ? "itself" : "themselves");
    if (c->metrics_rounds > 0)
        fprintf(out, "  of that, its metrics        %u releases of noised counts, epsilon %.3f by themselves\n",
                c->metrics_rounds, c->epsilon_metrics);
    fprintf(out, "  rounds that it may run      %" PRIu64 ", and %s%" PRIu64 " such rounds fit\n", c->rounds,
            c->room == ROOM_MOST ? "at least " : "", c->room);
}

fl_code node_plan_against_policy(FILE *out, node_store *s, const node_state *state, const node_policy *policy,
                                 uint32_t index, fl_err *err)
{
    const node_plan *p = &state->plans[index];
    char hash[DP_HEX_SIZE];
    view *v = calloc(1, sizeof *v);
    if (!v)
        return fl_fail(err, FL_EENV, "plan: out of memory");
    dp_hash_text(hash, &p->hash);
    fl_code rc = p->readable ? look(v, s, state, policy, index, err)
                             : fl_fail(err, FL_EREFUSED,
                                       "study %s: the plan cannot be read by this version: install a "
                                       "newer one",
                                       p->study);
    if (rc == FL_OK) {
        fl_buf words;
        fl_buf_init(&words, 1 << 20);
        nn_plan_explain(&words, &v->plan);
        fprintf(out, "plan %s\n\n%s", hash, fl_buf_text(&words));
        fl_buf_fini(&words);
        warn_of_noise(out, policy, &v->plan);
        print_limits(out, policy, p, &v->plan);
        print_cost(out, &v->cost, &v->plan);
        if (p->approved && !v->why[0])
            fprintf(out, "\nApproved%s.\n", p->left ? ", and left" : "");
        else if (v->why[0])
            fprintf(out, "\n%s: %s\n", p->approved ? "Approved, but now refused" : "Would be refused", v->why);
        else
            fprintf(out, "\nMay be approved: cordon-node plan approve %.12s --by NAME\n", hash);
    }
    free(v);
    return rc;
}

static void put_cost(fl_json *to, const node_cost *c)
{
    fl_json *b = fl_json_object();
    fl_json_set_int(b, "order", c->order);
    fl_json_set_real(b, "delta", c->delta);
    fl_json_set_real(b, "epsilon_cap", c->epsilon_cap);
    fl_json_set_real(b, "epsilon_spent", c->epsilon_spent);
    fl_json_set_real(b, "epsilon_promised", c->epsilon_promised);
    fl_json_set_real(b, "epsilon_after", c->epsilon_after);
    fl_json_set_int(b, "rounds", (int64_t)c->rounds);
    fl_json_set_int(b, "rounds_that_fit", (int64_t)c->room);
    fl_json_set_bool(b, "fits", c->fits);
    fl_json_set_int(b, "metrics_rounds", c->metrics_rounds);
    fl_json_set_real(b, "epsilon_metrics", c->epsilon_metrics);
    fl_json *phases = fl_json_array();
    for (uint32_t i = 0; i < c->n_phases; i++) {
        fl_json *phase = fl_json_object();
        fl_json_set_int(phase, "rounds", (int64_t)c->phases[i].rounds);
        fl_json_set_real(phase, "epsilon", c->phases[i].epsilon);
        fl_json_push(phases, phase);
    }
    fl_json_set(b, "phases", phases);
    fl_json_set(to, "budget", b);
}

static void put_terms(fl_json *to, const node_plan *p)
{
    char hash[DP_HEX_SIZE], multiplier[DP_MICRO_TEXT];
    dp_hash_text(hash, &p->hash);
    fl_json_set_text(to, "hash", hash);
    fl_json_set_text(to, "study", p->study);
    fl_json_set_bool(to, "readable", p->readable);
    fl_json_set_bool(to, "approved", p->approved);
    fl_json_set_bool(to, "joined", p->joined);
    fl_json_set_bool(to, "left", p->left);
    if (!p->readable)
        return;
    const node_terms *t = &p->terms[p->n_terms - 1]; /* of the last phase; `budget` has all */
    dp_multiplier(multiplier, t->noise_variance, t->clip_units);
    fl_json_set_text(to, "noise_multiplier", multiplier);
    fl_json_set_text(to, "sampling_rate", t->sampling_rate);
    fl_json_set_text(to, "clip_norm", t->clip_norm);
    fl_json_set_int(to, "rounds", p->rounds);
    fl_json_set_int(to, "last_round", p->last_round);
    fl_json_set_int(to, "local_steps", t->local_steps);
}

fl_code node_plan_json(fl_json **out, node_store *s, const node_state *state, const node_policy *policy, uint32_t index,
                       fl_err *err)
{
    const node_plan *p = &state->plans[index];
    fl_json *j = fl_json_object();
    put_terms(j, p);
    fl_code rc = FL_OK;
    if (p->readable) {
        view *v = calloc(1, sizeof *v);
        rc = v ? look(v, s, state, policy, index, err) : fl_fail(err, FL_EENV, "plan: out of memory");
        if (rc == FL_OK) {
            put_cost(j, &v->cost);
            fl_json_set_int(j, "declared_patients", policy->declared_patients);
            fl_json_set_text(j, "why_not", v->why);
        }
        free(v);
    }
    if (rc) {
        fl_json_free(j);
        return rc;
    }
    *out = j;
    return FL_OK;
}
