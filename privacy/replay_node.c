/* The node's half of the rules in replay.h. */
#include "base/grow.h"
#include "privacy/decimal.h"
#include "privacy/replay_state.h"
#include "privacy/update.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char WHY_POLICY[] = "the hospital's own limits were not kept";
static const char WHY_BUDGET[] = "patients were exposed to more than the hospital promised them";
static const char WHY_ORDER[] =
    "a release that was not debited, or debited once and released twice, is not accounted for";
static const char WHY_APPROVAL[] = "nothing may touch patients' data that no named person approved";

/* --- the node's rules: checks, which change nothing --- */

static bool has_code(const char *codes, const char *code)
{
    size_t n = strlen(code);
    for (const char *p = codes; p; p = strchr(p, '+') ? strchr(p, '+') + 1 : NULL) {
        if (strncmp(p, code, n) == 0 && (p[n] == 0 || p[n] == '+'))
            return true;
    }
    return false;
}

static void check_policy(dp_checker *c, const dp_entry *e)
{
    const dp_replay *r = c->r;
    dp_filter filter;
    fl_err err;
    double epsilon = 0, delta = 0;
    if (!dp_decimal_value(&epsilon, e->epsilon) || !dp_decimal_value(&delta, e->delta) ||
        dp_filter_init(&filter, epsilon, delta, e->order, e->rungs, &err) != FL_OK) {
        dp_report(c, WHY_BUDGET, "POLICY has no possible budget (epsilon %s, delta %s, order %u)", e->epsilon, e->delta,
                  e->order);
        return;
    }
    if (!r->state.has_policy)
        return;
    const dp_filter *first = &r->state.filter;
    if (e->order != first->order || delta != first->delta || e->rungs != first->rungs)
        dp_report(c, WHY_BUDGET, "POLICY changes order, delta or rungs, which the first POLICY fixed for life");
    if (epsilon > r->largest_epsilon && r->raises + 1 >= first->rungs)
        dp_report(c, WHY_BUDGET, "POLICY raises epsilon to %s: the first POLICY allowed %u rung(s)", e->epsilon,
                  first->rungs);
}

static const dp_policy *policy_for(const dp_replay *r, const dp_entry *e, const dp_approval *a)
{
    return dp_replay_policy(r, a ? a->dataset : e->dataset);
}

/* a <= b for two decimal texts; equal texts give equal doubles. */
static bool at_most(const char *text, double limit)
{
    double value;
    return dp_decimal_value(&value, text) && value <= limit;
}

static void check_terms(dp_checker *c, const dp_entry *e, const dp_policy *p)
{
    double sigma = 0;
    if (!dp_decimal_value(&sigma, e->noise_multiplier) || sigma < p->min_noise_multiplier)
        dp_report(c, WHY_POLICY, "RESERVE with noise_multiplier %s below the policy's %g", e->noise_multiplier,
                  p->min_noise_multiplier);
    if (!at_most(e->sampling_rate, p->max_sampling_rate))
        dp_report(c, WHY_POLICY, "RESERVE with sampling_rate %s above the policy's %g", e->sampling_rate,
                  p->max_sampling_rate);
    if (!at_most(e->clip_norm, p->max_clip_norm))
        dp_report(c, WHY_POLICY, "RESERVE with clip_norm %s above the policy's %g", e->clip_norm, p->max_clip_norm);
    if (e->round > p->max_rounds)
        dp_report(c, WHY_POLICY, "RESERVE of round %u, the policy allows %u", e->round, p->max_rounds);
    if (e->cohort < p->min_cohort)
        dp_report(c, WHY_POLICY, "RESERVE in a cohort of %u, the policy wants %u", e->cohort, p->min_cohort);
    if (e->declared_patients != p->declared_patients)
        dp_report(c, WHY_POLICY, "RESERVE with %u declared patients, the policy says %u", e->declared_patients,
                  p->declared_patients);
}

/* The texts say what the integers say: an accountant may read either. */
static void check_numbers(dp_checker *c, const dp_entry *e)
{
    char multiplier[DP_MICRO_TEXT];
    dp_rate rate;
    double clip;
    dp_multiplier(multiplier, e->noise_variance, e->clip_units);
    if (strcmp(multiplier, e->noise_multiplier) != 0)
        dp_report(c, WHY_BUDGET, "RESERVE says noise_multiplier %s, its variance and clip give %s", e->noise_multiplier,
                  multiplier);
    if (dp_rate_parse(&rate, e->sampling_rate, NULL) != FL_OK || rate != e->rate)
        dp_report(c, WHY_BUDGET, "RESERVE has a rate_u64 that is not its sampling_rate %s", e->sampling_rate);
    if (!dp_decimal_value(&clip, e->clip_norm) || !(clip > 0))
        dp_report(c, WHY_BUDGET, "RESERVE with clip_norm %s", e->clip_norm);
    if (strcmp(e->mechanism, DP_MECHANISM_STEP) != 0)
        dp_report(c, WHY_BUDGET, "RESERVE of the unknown mechanism %s", e->mechanism);
    const dp_update_shape shape = {e->coordinates, e->probe, e->update_bits, 0};
    fl_err err = {.code = FL_OK};
    if (e->v != 1 && dp_update_check(&shape, &err) != FL_OK)
        dp_report(c, WHY_BUDGET, "RESERVE of an impossible %s", err.text);
}

static void check_budget(dp_checker *c, const dp_entry *e, double cost)
{
    const dp_ledger_state *state = &c->r->state;
    if (!state->has_policy) {
        dp_report(c, WHY_POLICY, "%s before any POLICY", dp_kind_name(e->kind));
        return;
    }
    if (dp_filter_admits(&state->filter, cost))
        return;
    dp_filter after = state->filter;
    dp_filter_charge(&after, cost);
    dp_report(c, WHY_BUDGET, "%s exceeds the budget: epsilon would be %.4f, the policy's cap is %g",
              dp_kind_name(e->kind), dp_filter_epsilon_spent(&after), state->filter.epsilon);
}

/* Integers of noise. Version 1 does not say how many; its programs had an exact sampler, whose draws cost no delta. */
static uint64_t draws_of(const dp_entry *e)
{
    if (e->v == 1)
        return 0;
    return e->kind == DP_RESERVE ? (uint64_t)e->coordinates * e->steps : e->cells;
}

static void check_draws(dp_checker *c, const dp_entry *e)
{
    const dp_ledger_state *state = &c->r->state;
    if (!state->has_policy || dp_filter_admits_draws(&state->filter, draws_of(e)))
        return;
    dp_report(c, WHY_BUDGET, "%s draws %" PRIu64 " integers of noise after %" PRIu64 ": delta covers 2^48 in a life",
              dp_kind_name(e->kind), draws_of(e), state->filter.draws);
}

static double cost_of(const dp_replay *r, const dp_entry *e)
{
    uint64_t micro = 0;
    if (e->kind == DP_RESERVE)
        return dp_debit_cost(&r->state.filter, e->rate, e->noise_variance, e->clip_units, e->steps);
    if (!dp_micro_parse(&micro, e->noise_multiplier))
        micro = 0;
    return dp_release_cost(&r->state.filter, micro, e->steps);
}

static uint32_t open_debits(const dp_replay *r, const char *study, uint32_t round)
{
    uint32_t n = dp_find(r, DP_BY_ROUND, study, "", round);
    return n == DP_MAP_NONE ? 0 : n;
}

/* --- the terms of a plan --- */

/* What the plan says of this round; NULL: the plan ends before. */
static const dp_terms *terms_of(const dp_approval *plan, uint32_t round)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < plan->n_terms; i++) {
        end += plan->terms[i].rounds;
        if (plan->terms[i].rounds == 0 || round <= end)
            return &plan->terms[i];
    }
    return NULL;
}

static dp_terms terms_of_reserve(const dp_entry *e)
{
    return (dp_terms){.steps = e->steps,
                      .clip_units = e->clip_units,
                      .coordinates = e->coordinates,
                      .noise_variance = e->noise_variance,
                      .rate = e->rate};
}

static double cost_of_terms(const dp_replay *r, const dp_terms *t)
{
    return dp_debit_cost(&r->state.filter, t->rate, t->noise_variance, t->clip_units, t->steps);
}

/* Does the plan have dearer terms than this debit, and is there room for them? */
static bool is_cheap(const dp_replay *r, const dp_entry *e, const dp_approval *plan)
{
    if (!r->state.has_policy || !plan)
        return false;
    const double paid = cost_of(r, e);
    for (uint32_t i = 0; i < plan->n_terms; i++) {
        const double cost = cost_of_terms(r, &plan->terms[i]);
        if (cost > paid && dp_filter_admits(&r->state.filter, cost))
            return true;
    }
    return false;
}

/*
 * A plan is its terms, phase by phase, from its approval on. So a debit that was lost with an older copy cannot be paid with
 * a cheaper one. What was lost and received stands with its round in the coordinator's ledger; of a round no more than one
 * was received, so a second debit of it stands for what nobody saw, in whatever round it was: it costs what the dearest
 * round costs.
 */
static void check_same_terms(dp_checker *c, const dp_entry *e, const dp_approval *plan)
{
    const dp_replay *r = c->r;
    const dp_terms own = terms_of_reserve(e), *terms = terms_of(plan, e->round);
    if (plan->terms_seq == 0)
        return;
    if (!terms)
        dp_report(c, WHY_BUDGET, "RESERVE of round %u, which the plan of entry %" PRIu64 " does not have", e->round,
                  plan->terms_seq);
    else if (!dp_terms_same(&own, terms))
        dp_report(c, WHY_BUDGET, "RESERVE of other terms than entry %" PRIu64 " has under the same plan",
                  plan->terms_seq);
    if (r->state.owed > 0 && dp_find(r, DP_BY_OWED, e->study, "", e->round) == (uint32_t)r->state.restore_seq &&
        is_cheap(r, e, plan))
        dp_report(c, WHY_BUDGET, "a second RESERVE of round %u for one RESTORE, at less than the plan's dearest terms",
                  e->round);
}

static void check_approval(dp_checker *c, const dp_entry *e)
{
    const dp_approval *before = dp_replay_approval(c->r, e->study, e->plan_hash);
    if (e->n_terms == 0 || !before || before->terms_seq == 0)
        return;
    bool same = before->n_terms == e->n_terms;
    for (uint32_t i = 0; same && i < e->n_terms; i++)
        same = dp_terms_same(&e->terms[i], &before->terms[i]);
    if (!same)
        dp_report(c, WHY_BUDGET, "APPROVE_PLAN with other terms than entry %" PRIu64 " has under the same plan",
                  before->terms_seq);
}

static void check_reserve(dp_checker *c, const dp_entry *e)
{
    const dp_replay *r = c->r;
    const dp_approval *approval = dp_replay_approval(r, e->study, e->plan_hash);
    if (!approval)
        dp_report(c, WHY_APPROVAL, "RESERVE under a plan that was not approved for study %s", e->study);
    else
        check_same_terms(c, e, approval);
    const dp_policy *policy = approval ? policy_for(r, e, approval) : NULL;
    const bool is_owed = r->state.owed > 0;
    if (policy && !is_owed)
        check_terms(c, e, policy);
    if (policy && !is_owed && !has_code(policy->releases, "update"))
        dp_report(c, WHY_POLICY, "RESERVE although the policy does not permit updates");
    check_numbers(c, e);
    if (dp_replay_debit(r, e->debit) || dp_find(r, DP_BY_OTHER, e->debit, "", 0) != DP_MAP_NONE)
        dp_report(c, WHY_ORDER, "RESERVE repeats debit %s", e->debit);
    if (open_debits(r, e->study, e->round) > 0)
        dp_report(c, WHY_ORDER, "RESERVE while another debit of round %u is open", e->round);
    check_budget(c, e, r->state.has_policy ? cost_of(r, e) : 0);
    check_draws(c, e);
}

static const char *const debit_words[] = {"RESERVED", "STARTED", "RELEASED", "ACKED", "BURNED"};

/* The update of a debit, with what travels in it; 0 when there is none so long. */
static uint64_t bytes_of(const dp_debit *d)
{
    const dp_update_shape shape = {d->coordinates, d->probe, d->update_bits, d->cells};
    return dp_update_check(&shape, NULL) == FL_OK ? dp_update_size(&shape) : 0;
}

static void check_debit(dp_checker *c, const dp_entry *e)
{
    const dp_debit *d = dp_replay_debit(c->r, e->debit);
    const char *kind = dp_kind_name(e->kind);
    if (!d) {
        dp_report(c, WHY_ORDER, "%s of debit %s, which was never RESERVED", kind, e->debit);
        return;
    }
    if (d->round != e->round || strcmp(d->study, e->study) != 0)
        dp_report(c, WHY_ORDER, "%s names another round or study than the RESERVE of its debit", kind);
    bool is_legal = (e->kind == DP_STARTED && d->state == DP_DEBIT_RESERVED) ||
                    (e->kind == DP_RELEASE && d->state == DP_DEBIT_STARTED) ||
                    (e->kind == DP_ACK && d->state == DP_DEBIT_RELEASED) ||
                    (e->kind == DP_BURN && d->state <= DP_DEBIT_RELEASED);
    if (!is_legal)
        dp_report(c, WHY_ORDER, "%s of a debit that is %s", kind, debit_words[d->state]);
    if (e->kind == DP_ACK && d->state == DP_DEBIT_RELEASED && strcmp(d->update_hash, e->update_hash) != 0)
        dp_report(c, WHY_ORDER, "ACK of another update than the RELEASE");
    if (e->kind == DP_RELEASE && d->coordinates > 0 && e->bytes != bytes_of(d))
        dp_report(c, WHY_ORDER, "RELEASE of %" PRIu64 " bytes: what was debited is %" PRIu64, e->bytes, bytes_of(d));
    if (e->kind == DP_STARTED && c->r->state.owed > 0)
        dp_report(c, WHY_BUDGET, "STARTED while %u debit(s) from before a RESTORE are still owed", c->r->state.owed);
    if (e->kind == DP_STARTED && d->is_restored)
        dp_report(c, WHY_ORDER, "STARTED of a debit that was charged for a RESTORE");
    if (e->kind == DP_STARTED && c->seq <= c->r->state.witness_size)
        dp_report(c, WHY_ORDER,
                  "STARTED while the ledger is not longer than the head of %" PRIu64 " that was witnessed",
                  c->r->state.witness_size);
}

static bool is_placeholder(const dp_entry *e)
{
    return strcmp(e->reason, "placeholder") == 0;
}

static void check_restore(dp_checker *c, const dp_entry *e)
{
    const dp_ledger_state *s = &c->r->state;
    if (!is_placeholder(e)) {
        if (s->owed > 0)
            dp_report(c, WHY_BUDGET, "RESTORE while %u debit(s) of the one before are still owed", s->owed);
        return;
    }
    if (s->restore_seq == 0 || e->missing > 0 || e->witness_size != s->witness_size ||
        strcmp(e->witness_root, s->witness_root) != 0 || c->seq > s->witness_size + 1)
        dp_report(c, WHY_ORDER, "RESTORE is a placeholder where no line was lost");
}

static bool permits_metrics(const dp_policy *policy)
{
    return policy && has_code(policy->releases, "metrics");
}

/* Version 1 had no position and no debit of the round: nothing ever wrote one, but it stays readable. */
static bool is_permitted(const dp_replay *r, const dp_entry *e, const dp_debit *with)
{
    if (e->v == 1) {
        for (size_t i = 0; i < r->state.n_policies; i++) {
            if (permits_metrics(&r->state.policies[i]))
                return true;
        }
        return false;
    }
    const dp_approval *approval = with ? dp_replay_approval(r, with->study, with->plan_hash) : NULL;
    return approval && permits_metrics(dp_replay_policy(r, approval->dataset));
}

/* It is debited with its round, before anything is drawn, and it leaves in the round's update or never. */
static void check_with(dp_checker *c, const dp_entry *e, const dp_debit *with)
{
    char multiplier[DP_MICRO_TEXT];
    if (!with)
        dp_report(c, WHY_ORDER, "OTHER_RELEASE with debit %s, which was never RESERVED", e->with);
    else if (with->state != DP_DEBIT_RESERVED)
        dp_report(c, WHY_ORDER, "OTHER_RELEASE with a debit that is %s", debit_words[with->state]);
    else if (with->round != e->round || strcmp(with->study, e->study) != 0)
        dp_report(c, WHY_ORDER, "OTHER_RELEASE names another round or study than the RESERVE it goes with");
    else if (with->coordinates == 0)
        dp_report(c, WHY_ORDER, "OTHER_RELEASE with a RESERVE of version 1, whose update has no room for it");
    if (with && with->cells > 0)
        dp_report(c, WHY_ORDER, "a second OTHER_RELEASE with debit %s", e->with);
    if (dp_replay_debit(c->r, e->debit) || dp_find(c->r, DP_BY_OTHER, e->debit, "", 0) != DP_MAP_NONE)
        dp_report(c, WHY_ORDER, "OTHER_RELEASE repeats debit %s", e->debit);
    dp_multiplier(multiplier, e->noise_variance, 1);
    if (strcmp(multiplier, e->noise_multiplier) != 0)
        dp_report(c, WHY_BUDGET, "OTHER_RELEASE says noise_multiplier %s, its variance gives %s", e->noise_multiplier,
                  multiplier);
}

static void check_other_release(dp_checker *c, const dp_entry *e)
{
    const dp_debit *with = e->v == 1 ? NULL : dp_replay_debit(c->r, e->with);
    uint64_t micro = 0;
    if (!is_permitted(c->r, e, with))
        dp_report(c, WHY_POLICY, "OTHER_RELEASE although no policy permits metrics");
    if (e->v != 1)
        check_with(c, e, with);
    if (strcmp(e->mechanism, DP_MECHANISM_RELEASE) != 0 || !dp_micro_parse(&micro, e->noise_multiplier) || micro == 0) {
        dp_report(c, "what was released holds no noise, so no epsilon covers it", "OTHER_RELEASE without noise");
        return;
    }
    check_budget(c, e, c->r->state.has_policy ? cost_of(c->r, e) : 0);
    check_draws(c, e);
}

void dp_check_node(dp_checker *c, const dp_entry *e)
{
    const dp_policy *policy;
    switch (e->kind) {
    case DP_POLICY:
        check_policy(c, e);
        break;
    case DP_DATASET:
    case DP_APPROVE_PLAN:
        policy = dp_replay_policy(c->r, e->dataset);
        if (!policy)
            dp_report(c, WHY_POLICY, "%s of data set %s, which has no POLICY", dp_kind_name(e->kind), e->dataset);
        else if (e->kind == DP_DATASET && e->declared_patients != policy->declared_patients)
            dp_report(c, WHY_POLICY, "DATASET with %u declared patients, the policy says %u", e->declared_patients,
                      policy->declared_patients);
        if (e->kind == DP_APPROVE_PLAN)
            check_approval(c, e);
        break;
    case DP_RESERVE:
        check_reserve(c, e);
        break;
    case DP_STARTED:
    case DP_RELEASE:
    case DP_ACK:
    case DP_BURN:
        check_debit(c, e);
        break;
    case DP_OTHER_RELEASE:
        check_other_release(c, e);
        break;
    case DP_RESTORE:
        check_restore(c, e);
        break;
    default: /* REFUSE: nothing more */
        break;
    }
}

/* --- what an entry does to the state, legal or not: what was written happened --- */

static fl_code apply_policy(dp_replay *r, const dp_entry *e, fl_err *err)
{
    dp_ledger_state *s = &r->state;
    double epsilon = 0, delta = 0;
    dp_filter filter;
    bool is_possible = dp_decimal_value(&epsilon, e->epsilon) && dp_decimal_value(&delta, e->delta) &&
                       dp_filter_init(&filter, epsilon, delta, e->order, e->rungs, NULL) == FL_OK;
    if (is_possible && !s->has_policy) {
        s->filter = filter;
        s->has_policy = true;
        r->largest_epsilon = epsilon;
    } else if (is_possible &&
               dp_filter_init(&filter, epsilon, s->filter.delta, s->filter.order, s->filter.rungs, NULL) == FL_OK) {
        bool is_raise = epsilon > r->largest_epsilon;
        if (!is_raise || r->raises + 1 < s->filter.rungs) { /* a raise that was not allowed counts for nothing */
            filter.spent = s->filter.spent;
            filter.draws = s->filter.draws;
            s->filter = filter;
        }
        if (is_raise) {
            r->largest_epsilon = epsilon;
            r->raises++;
        }
    }

    uint32_t at = dp_find(r, DP_BY_DATASET, e->dataset, "", 0);
    if (at == DP_MAP_NONE) {
        if (!fl_grow(&s->policies, &r->cap_policies, s->n_policies, sizeof *s->policies))
            return dp_no_memory(err);
        FL_TRY(dp_remember(r, DP_BY_DATASET, e->dataset, "", 0, s->n_policies, err));
        at = (uint32_t)s->n_policies++;
    }
    dp_policy *policy = &s->policies[at];
    memset(policy, 0, sizeof *policy);
    DP_COPY(policy->dataset, e->dataset);
    DP_COPY(policy->releases, e->releases);
    bool ok = dp_decimal_value(&policy->min_noise_multiplier, e->min_noise_multiplier) &&
              dp_decimal_value(&policy->max_sampling_rate, e->max_sampling_rate) &&
              dp_decimal_value(&policy->max_clip_norm, e->max_clip_norm);
    assert(ok); /* dp_entry_read checked the texts */
    policy->max_rounds = e->max_rounds;
    policy->declared_patients = e->declared_patients;
    policy->min_cohort = e->min_cohort;
    return FL_OK;
}

static fl_code apply_approval(dp_replay *r, const dp_entry *e, fl_err *err)
{
    dp_ledger_state *s = &r->state;
    const uint32_t before = dp_find(r, DP_BY_APPROVAL, e->study, e->plan_hash, 0);
    if (!fl_grow(&s->approvals, &r->cap_approvals, s->n_approvals, sizeof *s->approvals))
        return dp_no_memory(err);
    dp_approval *a = &s->approvals[s->n_approvals++];
    *a = before == DP_MAP_NONE ? (dp_approval){0} : s->approvals[before];
    DP_COPY(a->plan_hash, e->plan_hash);
    DP_COPY(a->study, e->study);
    DP_COPY(a->dataset, e->dataset);
    DP_COPY(a->approver, e->approver);
    /* the terms of a RESERVE are of all rounds: an approval that agrees says of which */
    const bool tells = a->terms_seq > 0 && a->terms[0].rounds == 0 && e->n_terms == 1 &&
                       dp_terms_same(&a->terms[0], &e->terms[0]);
    if (tells || (e->n_terms > 0 && a->terms_seq == 0)) {
        a->terms_seq = tells ? a->terms_seq : e->seq;
        a->n_terms = e->n_terms;
        DP_COPY(a->terms, e->terms);
    }
    return dp_remember(r, DP_BY_APPROVAL, e->study, e->plan_hash, 0, s->n_approvals - 1, err);
}

/* Steps of the same terms are one segment. Only the newest charges are looked at, so that a hostile ledger stays
 * linear; a segment that appears twice composes to the same. */
static fl_code add_charge(dp_replay *r, const char *study, const dp_charge *charge, fl_err *err)
{
    enum { LOOK_BACK = 32 };
    dp_ledger_state *s = &r->state;
    for (size_t i = s->n_charges; i-- > 0 && s->n_charges - i <= LOOK_BACK;) {
        dp_charge *c = &s->charges[i];
        if (c->segment.q == charge->segment.q && c->noise_variance == charge->noise_variance &&
            c->clip_units == charge->clip_units && c->segment.sigma == charge->segment.sigma &&
            strcmp(c->study, study) == 0) {
            c->segment.steps += charge->segment.steps;
            c->coordinate_draws += charge->coordinate_draws;
            return FL_OK;
        }
    }
    if (!fl_grow(&s->charges, &r->cap_charges, s->n_charges, sizeof *s->charges))
        return dp_no_memory(err);
    dp_charge *c = &s->charges[s->n_charges++];
    *c = *charge;
    snprintf(c->study, sizeof c->study, "%s", study);
    return FL_OK;
}

/* How many integers a step draws. Version 1 does not say: no update has more than this. */
static double coordinates_or_most(uint64_t known)
{
    return known > 0 ? (double)known : 4294967296.0;
}

static void note_terms(dp_replay *r, const dp_entry *e)
{
    const uint32_t at = dp_find(r, DP_BY_APPROVAL, e->study, e->plan_hash, 0);
    dp_approval *plan = at == DP_MAP_NONE ? NULL : &r->state.approvals[at];
    if (!plan || plan->terms_seq > 0)
        return;
    plan->terms_seq = e->seq;
    plan->n_terms = 1;
    plan->terms[0] = terms_of_reserve(e);
}

static fl_code apply_reserve(dp_replay *r, const dp_entry *e, fl_err *err)
{
    dp_ledger_state *s = &r->state;
    double cost = s->has_policy ? cost_of(r, e) : 0;
    const bool is_owed = s->owed > 0, cheap = is_owed && is_cheap(r, e, dp_replay_approval(r, e->study, e->plan_hash));
    if (is_owed)
        FL_TRY(dp_remember(r, DP_BY_OWED, e->study, "", e->round, (uint32_t)s->restore_seq, err));
    if (s->has_policy) {
        dp_filter_charge(&s->filter, cost);
        dp_filter_charge_draws(&s->filter, draws_of(e));
    }
    dp_charge charge = {
        .segment = {.q = dp_rate_to_double(e->rate),
                    .sigma = (double)dp_multiplier_micro(e->noise_variance, e->clip_units) / 1e6,
                    .steps = e->steps},
        .noise_variance = e->noise_variance,
        .clip_units = e->clip_units,
        .coordinate_draws = coordinates_or_most(e->coordinates) * e->steps,
    };
    FL_TRY(add_charge(r, e->study, &charge, err));
    note_terms(r, e);
    if (dp_replay_debit(r, e->debit))
        return FL_OK; /* repeated: charged again, the first one stays */
    if (!fl_grow(&s->debits, &r->cap_debits, s->n_debits, sizeof *s->debits))
        return dp_no_memory(err);
    dp_debit *d = &s->debits[s->n_debits];
    *d = (dp_debit){.seq = e->seq, .round = e->round, .steps = e->steps, .state = DP_DEBIT_RESERVED, .cost = cost};
    d->is_restored = is_owed;
    d->is_cheap = cheap;
    d->coordinates = e->coordinates; /* 0 in a line of version 1 */
    d->probe = e->probe;
    d->update_bits = e->update_bits;
    DP_COPY(d->id, e->debit);
    DP_COPY(d->study, e->study);
    DP_COPY(d->plan_hash, e->plan_hash);
    s->n_debits++;
    s->n_open++;
    FL_TRY(dp_remember(r, DP_BY_DEBIT, e->debit, "", 0, s->n_debits - 1, err));
    return dp_remember(r, DP_BY_ROUND, d->study, "", d->round, open_debits(r, d->study, d->round) + 1, err);
}

static fl_code apply_debit(dp_replay *r, const dp_entry *e, fl_err *err)
{
    uint32_t position = dp_find(r, DP_BY_DEBIT, e->debit, "", 0);
    if (position == DP_MAP_NONE)
        return FL_OK;
    dp_debit *d = &r->state.debits[position];
    bool was_open = d->state < DP_DEBIT_ACKED;
    bool was_reserved = d->state == DP_DEBIT_RESERVED;
    switch (e->kind) {
    case DP_STARTED:
        d->state = DP_DEBIT_STARTED;
        break;
    case DP_RELEASE:
        d->state = DP_DEBIT_RELEASED;
        d->bytes = e->bytes;
        d->release_seq = e->seq;
        DP_COPY(d->update_hash, e->update_hash);
        break;
    case DP_ACK:
        d->state = DP_DEBIT_ACKED;
        break;
    default:
        d->state = DP_DEBIT_BURNED;
        if (strcmp(e->reason, "restored") != 0)
            break;
        if (was_reserved && d->is_restored && r->state.owed > 0)
            r->state.owed--;
        if (!d->is_restored)
            r->unexplained = e->seq;
        d->is_restored = true;
        break;
    }
    bool is_open = d->state < DP_DEBIT_ACKED;
    r->state.n_open += is_open;
    r->state.n_open -= was_open;
    if (is_open == was_open)
        return FL_OK;
    uint32_t n = open_debits(r, d->study, d->round);
    return dp_remember(r, DP_BY_ROUND, d->study, "", d->round, is_open ? n + 1 : n - 1, err);
}

static fl_code apply_other_release(dp_replay *r, const dp_entry *e, fl_err *err)
{
    uint64_t micro = 0;
    double cost = r->state.has_policy ? cost_of(r, e) : 0;
    if (r->state.has_policy) {
        dp_filter_charge(&r->state.filter, cost);
        dp_filter_charge_draws(&r->state.filter, draws_of(e));
    }
    uint32_t position = e->v == 1 ? DP_MAP_NONE : dp_find(r, DP_BY_DEBIT, e->with, "", 0);
    dp_debit *with = position == DP_MAP_NONE ? NULL : &r->state.debits[position];
    if (with && with->cells == 0) {
        DP_COPY(with->other, e->debit);
        with->cells = e->cells;
        with->partitions = e->steps;
        with->other_cost = cost;
        FL_TRY(dp_remember(r, DP_BY_OTHER, e->debit, "", 0, position, err));
    }
    if (!dp_micro_parse(&micro, e->noise_multiplier))
        micro = 0; /* as in cost_of: no noise */
    double sigma = (double)micro / 1e6;
    dp_charge charge = {
        .segment = {.q = 1, .sigma = sigma, .steps = e->steps},
        .noise_variance = e->noise_variance > 0 ? e->noise_variance : (uint64_t)(sigma * sigma),
        .clip_units = 1,                                   /* one patient moves one cell by one */
        .coordinate_draws = coordinates_or_most(e->cells), /* of all steps together */
    };
    return add_charge(r, e->study, &charge, err);
}

static void apply_restore(dp_ledger_state *s, const dp_entry *e)
{
    s->owed += e->missing;
    if (is_placeholder(e))
        return;
    s->n_restores++;
    s->restore_seq = e->seq;
    s->witness_size = e->witness_size;
    DP_COPY(s->witness_root, e->witness_root);
}

fl_code dp_apply_node(dp_replay *r, const dp_entry *e, fl_err *err)
{
    switch (e->kind) {
    case DP_POLICY:
        return apply_policy(r, e, err);
    case DP_APPROVE_PLAN:
        return apply_approval(r, e, err);
    case DP_RESERVE:
        return apply_reserve(r, e, err);
    case DP_STARTED:
    case DP_RELEASE:
    case DP_ACK:
    case DP_BURN:
        return apply_debit(r, e, err);
    case DP_OTHER_RELEASE:
        return apply_other_release(r, e, err);
    case DP_RESTORE:
        apply_restore(&r->state, e);
        return FL_OK;
    default:
        return FL_OK;
    }
}
