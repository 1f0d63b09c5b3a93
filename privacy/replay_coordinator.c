/* The coordinator's half of the rules in replay.h. */
#include "base/grow.h"
#include "privacy/replay_state.h"

#include <stdlib.h>
#include <string.h>

static const char WHY_ROUND[] = "the chain of models cannot be followed";
static const char WHY_COUNT[] = "a contribution must be in the model exactly once or not at all";
static const char WHY_ROSTER[] = "updates from somebody who was not invited could be in the model";

static dp_study *find_study(const dp_replay *r, const char *name)
{
    uint32_t position = dp_find(r, DP_BY_STUDY, name, "", 0);
    return position == DP_MAP_NONE ? NULL : &r->studies[position];
}

static const dp_member *find_member(const dp_member *members, uint32_t n, const char *node)
{
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(members[i].node, node) == 0)
            return &members[i];
    }
    return NULL;
}

/* Of the open round; an older one with its number does not count. */
static dp_received *find_received(const dp_replay *r, const dp_study *s, const char *member)
{
    uint32_t position = dp_find(r, DP_BY_RECEIVED, s->name, member, s->round);
    return position == DP_MAP_NONE || position < s->first_received ? NULL : &r->state.received[position];
}

static void check_round_open(dp_checker *c, const dp_entry *e, const dp_study *s)
{
    if (!s->has_roster)
        dp_report(c, WHY_ROSTER, "ROUND_OPEN without a ROSTER of the study");
    if (strcmp(e->plan_hash, s->plan_hash) != 0)
        dp_report(c, "hospitals approved another plan", "ROUND_OPEN with a plan that is not the study's");
    bool again = s->is_open && e->round == s->round;
    if (!again && (s->is_open || e->round != s->round + 1))
        dp_report(c, WHY_ROUND, "ROUND_OPEN of round %u after round %u%s", e->round, s->round,
                  s->is_open ? ", which is still open" : "");
    if (s->model_hash[0] && strcmp(e->model_hash, s->model_hash) != 0)
        dp_report(c, WHY_ROUND, "ROUND_OPEN with a model that was not the last one published");
}

static void check_received(dp_checker *c, const dp_entry *e, const dp_study *s)
{
    if (!s->is_open || s->is_aggregated || e->round != s->round)
        dp_report(c, WHY_COUNT, "RECEIVED in round %u, which is not open", e->round);
    if (!find_member(s->members, s->n_members, e->member))
        dp_report(c, WHY_ROSTER, "RECEIVED from %s, who is not in the round", e->member);
    if (s->is_open && e->round == s->round && find_received(c->r, s, e->member))
        dp_report(c, WHY_COUNT, "RECEIVED a second time from %s in round %u", e->member, e->round);
    if (dp_find(c->r, DP_BY_DEBIT, e->debit, "", 0) != DP_MAP_NONE)
        dp_report(c, WHY_COUNT, "RECEIVED debit %s a second time", e->debit);
}

static void check_aggregate(dp_checker *c, const dp_entry *e, const dp_study *s)
{
    if (!s->is_open || e->round != s->round || s->is_aggregated) {
        dp_report(c, WHY_COUNT, "AGGREGATE of round %u, which is not open or was aggregated before", e->round);
        return;
    }
    for (uint32_t i = 0; i < e->n_members; i++) {
        const dp_received *received = find_received(c->r, s, e->members[i].node);
        if (!received || strcmp(received->update_hash, e->members[i].hash) != 0)
            dp_report(c, WHY_COUNT, "AGGREGATE of an update of %s that was not RECEIVED", e->members[i].node);
    }
}

void dp_check_coordinator(dp_checker *c, const dp_entry *e)
{
    const dp_study *s = find_study(c->r, e->study);
    switch (e->kind) {
    case DP_STUDY:
        if (s)
            dp_report(c, "what hospitals approved could be exchanged", "STUDY %s a second time", e->study);
        return;
    case DP_REVOKE:
    case DP_RESTORE:
        return;
    default:
        break;
    }
    if (!s) {
        dp_report(c, "nobody approved it", "%s for study %s, of which there is no STUDY", dp_kind_name(e->kind),
                  e->study);
        return;
    }
    switch (e->kind) {
    case DP_ROUND_OPEN:
        check_round_open(c, e, s);
        break;
    case DP_RECEIVED:
        check_received(c, e, s);
        break;
    case DP_AGGREGATE:
        check_aggregate(c, e, s);
        break;
    case DP_PUBLISH:
        if (!s->is_aggregated || e->round != s->round || strcmp(e->model_hash, s->aggregate_hash) != 0)
            dp_report(c, WHY_ROUND, "PUBLISH of a model that round %u did not AGGREGATE", e->round);
        break;
    default:
        break;
    }
}

static fl_code apply_round_open(dp_replay *r, const dp_entry *e, dp_study *s, fl_err *err)
{
    dp_member *members = malloc(e->n_members * sizeof *members);
    if (!members)
        return dp_no_memory(err);
    memcpy(members, e->members, e->n_members * sizeof *members);
    free(s->members);
    s->members = members;
    s->n_members = e->n_members;
    if (!(s->is_open && e->round == s->round))
        s->first_received = r->state.n_received;
    s->round = e->round;
    s->is_open = true;
    s->is_aggregated = false;
    return FL_OK;
}

static fl_code apply_received(dp_replay *r, const dp_entry *e, fl_err *err)
{
    dp_ledger_state *state = &r->state;
    if (!fl_grow(&state->received, &r->cap_received, state->n_received, sizeof *state->received))
        return dp_no_memory(err);
    dp_received *received = &state->received[state->n_received];
    memset(received, 0, sizeof *received);
    memcpy(received->study, e->study, sizeof received->study);
    memcpy(received->member, e->member, sizeof received->member);
    memcpy(received->debit, e->debit, sizeof received->debit);
    memcpy(received->update_hash, e->update_hash, sizeof received->update_hash);
    received->seq = e->seq;
    received->round = e->round;
    state->n_received++;
    FL_TRY(dp_remember(r, DP_BY_RECEIVED, e->study, e->member, e->round, state->n_received - 1, err));
    if (dp_find(r, DP_BY_DEBIT, e->debit, "", 0) != DP_MAP_NONE)
        return FL_OK;
    return dp_remember(r, DP_BY_DEBIT, e->debit, "", 0, state->n_received - 1, err);
}

static void apply_aggregate(dp_replay *r, const dp_entry *e, dp_study *s)
{
    memcpy(s->aggregate_hash, e->model_hash, sizeof s->aggregate_hash);
    s->is_aggregated = true;
    for (uint32_t i = 0; i < e->n_members; i++) {
        dp_received *received = find_received(r, s, e->members[i].node);
        if (received)
            received->is_aggregated = true;
    }
}

static fl_code apply_study(dp_replay *r, const dp_entry *e, fl_err *err)
{
    if (!fl_grow(&r->studies, &r->cap_studies, r->n_studies, sizeof *r->studies))
        return dp_no_memory(err);
    dp_study *s = &r->studies[r->n_studies++];
    memset(s, 0, sizeof *s);
    memcpy(s->name, e->study, sizeof s->name);
    memcpy(s->plan_hash, e->plan_hash, sizeof s->plan_hash);
    return dp_remember(r, DP_BY_STUDY, s->name, "", 0, r->n_studies - 1, err);
}

fl_code dp_apply_coordinator(dp_replay *r, const dp_entry *e, fl_err *err)
{
    dp_study *s = find_study(r, e->study);
    if (e->kind == DP_STUDY)
        return apply_study(r, e, err);
    if (!s)
        return FL_OK;
    switch (e->kind) {
    case DP_ROSTER:
        s->has_roster = true;
        return FL_OK;
    case DP_ROUND_OPEN:
        return apply_round_open(r, e, s, err);
    case DP_RECEIVED:
        return apply_received(r, e, err);
    case DP_AGGREGATE:
        apply_aggregate(r, e, s);
        return FL_OK;
    case DP_PUBLISH:
        memcpy(s->model_hash, e->model_hash, sizeof s->model_hash);
        s->is_open = false;
        return FL_OK;
    default:
        return FL_OK;
    }
}

void dp_studies_free(dp_replay *r)
{
    for (size_t i = 0; i < r->n_studies; i++)
        free(r->studies[i].members);
    free(r->studies);
}
