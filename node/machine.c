#include "node/machine.h"
#include "proto/msg/text.h"

#include <assert.h>
#include <string.h>

static const char *const reason_texts[] = {
    [NODE_R_NONE] = "none",
    [NODE_R_NOT_APPROVED] = "not-approved",
    [NODE_R_OVER_BUDGET] = "over-budget",
    [NODE_R_POLICY] = "outside-policy",
    [NODE_R_SMALL_COHORT] = "small-cohort",
    [NODE_R_NOT_IN_ROSTER] = "not-in-roster",
    [NODE_R_ROLLBACK] = "ledger-behind-witness",
    [NODE_R_REVOKED] = "revoked",
    [NODE_R_EQUIVOCATION] = "equivocation",
    [NODE_R_TRAINING] = "training-failed",
    [NODE_R_BURNS] = "crash",
    [NODE_R_ROUND_CLOSED] = "round-closed",
    [NODE_R_MODEL] = "bad-model",
    [NODE_R_LOST] = "update-lost",
    [NODE_R_SPLIT_VIEW] = "split-view",
};

const char *node_reason_text(node_reason reason)
{
    return reason_texts[reason];
}

static node_action *act(node_actions *out, node_action_kind kind)
{
    assert(out->n < NODE_MAX_ACTIONS);
    node_action *a = &out->list[out->n++];
    memset(a, 0, sizeof *a);
    a->kind = kind;
    return a;
}

static void timer_in(node_actions *out, const node_event *ev, int64_t ms)
{
    act(out, NODE_TIMER)->at_ms = ev->now_ms + ms;
}

static void say(node_actions *out, node_reason reason, uint32_t plan)
{
    node_action *a = act(out, NODE_SAY);
    a->reason = reason;
    a->plan = plan;
}

/* ---- ledger entries --------------------------------------------------------------------------------------------- */

static dp_entry *entry(node_state *s, node_actions *out, dp_kind kind, const node_plan *p)
{
    dp_entry *e = &act(out, NODE_LEDGER)->entry;
    e->kind = kind;
    wire_put_text(e->node, sizeof e->node, s->name);
    wire_put_text(e->study, sizeof e->study, p->study);
    s->ledger_size++;
    return e;
}

static void entry_debit(node_state *s, node_actions *out, dp_kind kind, const char *reason)
{
    dp_entry *e = entry(s, out, kind, &s->plans[s->now.plan]);
    memcpy(e->debit, s->now.debit, sizeof e->debit);
    e->round = s->now.round;
    if (reason)
        wire_put_text(e->reason, sizeof e->reason, reason);
}

const node_terms *node_terms_of(const node_plan *p, uint32_t round)
{
    uint32_t i = 0;
    while (i + 1 < p->n_terms && round > p->terms[i].last)
        i++;
    return &p->terms[i];
}

void node_fill_reserve(dp_entry *e, const node_plan *p, uint32_t round)
{
    const node_terms *t = node_terms_of(p, round);
    e->steps = t->local_steps;
    wire_put_text(e->mechanism, sizeof e->mechanism, DP_MECHANISM_STEP);
    wire_put_text(e->sampling_rate, sizeof e->sampling_rate, t->sampling_rate);
    e->rate = t->rate;
    wire_put_text(e->clip_norm, sizeof e->clip_norm, t->clip_norm);
    e->clip_units = t->clip_units;
    e->noise_variance = t->noise_variance;
    dp_multiplier(e->noise_multiplier, t->noise_variance, t->clip_units);
    e->coordinates = t->coordinates;
    e->probe = t->probe;
    e->update_bits = t->update_bits;
    e->declared_patients = (uint32_t)p->declared_patients;
    fl_hex_encode(e->plan_hash, p->hash.bytes, FL_HASH_SIZE);
}

static void entry_reserve(node_state *s, node_actions *out, uint32_t cohort)
{
    const node_plan *p = &s->plans[s->now.plan];
    dp_entry *e = entry(s, out, DP_RESERVE, p);
    node_fill_reserve(e, p, s->now.round);
    memcpy(e->debit, s->now.debit, sizeof e->debit);
    e->round = s->now.round;
    e->cohort = cohort;
    fl_hex_encode(e->model_hash, s->now.model_hash.bytes, FL_HASH_SIZE);
    fl_hex_encode(e->announce_hash, s->now.announce_hash.bytes, FL_HASH_SIZE);
}

void node_fill_other(dp_entry *e, const node_plan *p)
{
    e->steps = p->metrics_partitions;
    e->cells = p->metrics_cells;
    e->noise_variance = p->metrics_variance;
    dp_multiplier(e->noise_multiplier, p->metrics_variance, 1);
    wire_put_text(e->mechanism, sizeof e->mechanism, DP_MECHANISM_RELEASE);
    wire_put_text(e->what, sizeof e->what, p->metrics_what);
}

/* The debit of the noised counts that travel in the same update: with its round, or never. */
static void entry_other(node_state *s, const node_event *ev, node_actions *out)
{
    const node_plan *p = &s->plans[s->now.plan];
    if (!dp_counts_in(s->now.round, p->metrics_every, p->rounds))
        return;
    dp_entry *e = entry(s, out, DP_OTHER_RELEASE, p);
    node_fill_other(e, p);
    fl_hex_encode(e->debit, ev->random + 24, 16);
    memcpy(e->with, s->now.debit, sizeof e->with);
    e->round = s->now.round;
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static void send(node_state *s, const node_event *ev, node_actions *out, wire_message *m)
{
    memcpy(m->sender, s->name, sizeof m->sender);
    memcpy(&m->request_id, ev->random, sizeof m->request_id);
    m->sequence = s->boot << 32 | ++s->n_sent;
    s->request = *m;
    s->asking = true;
    act(out, NODE_SEND);
}

/* A request about the round under way. */
static wire_message about_round(const node_state *s, wire_kind kind)
{
    wire_message m;
    memset(&m, 0, sizeof m);
    m.kind = kind;
    memcpy(m.study, s->plans[s->now.plan].study, sizeof m.study);
    m.round = s->now.round;
    memcpy(m.debit, s->now.debit, sizeof m.debit);
    return m;
}

uint64_t node_round_draws(const node_plan *p, uint32_t round)
{
    const node_terms *t = node_terms_of(p, round);
    return (uint64_t)t->coordinates * t->local_steps +
           (dp_counts_in(round, p->metrics_every, p->rounds) ? p->metrics_cells : 0);
}

double node_round_counts(const node_plan *p, uint32_t round)
{
    return dp_counts_in(round, p->metrics_every, p->rounds) ? p->metrics_cost : 0;
}

/* This round of the plan does not fit the filter: neither its cost nor its integers of noise may pass. */
static bool is_over_budget(const node_state *s, const node_plan *p, uint32_t round)
{
    return !s->has_filter ||
           !dp_filter_admits_round(&s->filter, node_terms_of(p, round)->cost, node_round_counts(p, round)) ||
           !dp_filter_admits_draws(&s->filter, node_round_draws(p, round));
}

/* A round was refused because of budget or policy, and that still stands: the coordinator need not wait for this site
 * until it joins again. */
static bool is_shut_out(const node_state *s, const node_plan *p)
{
    return (p->refused == NODE_R_OVER_BUDGET && is_over_budget(s, p, p->refused_round)) ||
           (p->refused == NODE_R_POLICY && !p->within_policy);
}

static void ask_next(node_state *s, const node_event *ev, node_actions *out)
{
    wire_message m;
    memset(&m, 0, sizeof m);
    bool any_joined = false;
    if (s->show_key) {
        m.kind = WIRE_ROTATED; /* the host puts the lines in */
        send(s, ev, out, &m);
        return;
    }
    if (s->show_head) {
        m.kind = WIRE_HEAD; /* the host puts the note and its proofs in */
        send(s, ev, out, &m);
        return;
    }
    for (uint32_t i = 0; i < s->n_plans; i++) {
        const node_plan *p = &s->plans[i];
        any_joined |= p->joined && !p->left;
        const bool out_of_it = p->left || is_shut_out(s, p);
        const bool join = p->approved && p->within_policy && !p->joined && !out_of_it;
        const bool leave = p->joined && out_of_it;
        if ((!join && !leave) || s->poll_next)
            continue;
        m.kind = join ? WIRE_JOIN : WIRE_LEAVE;
        memcpy(m.study, p->study, sizeof m.study);
        if (join) {
            m.u.join.plan_hash = p->hash;
            m.u.join.declared_patients = p->declared_patients;
        }
        send(s, ev, out, &m);
        return;
    }
    s->poll_next = false;
    m.kind = WIRE_POLL;
    m.u.poll.n_plans_known = s->n_plans;
    m.u.poll.wait_ms = any_joined ? NODE_POLL_MS : NODE_POLL_NEW_MS;
    m.u.poll.ledger_size = s->ledger_size;
    send(s, ev, out, &m);
}

static void send_head(node_state *s, const node_event *ev, node_actions *out)
{
    wire_message m = about_round(s, WIRE_HEAD); /* the host puts the note in: it signs it */
    send(s, ev, out, &m);
}

static void send_released(node_state *s, const node_event *ev, node_actions *out)
{
    wire_message m = about_round(s, WIRE_RELEASED);
    m.u.released.update_hash = s->now.update_hash;
    m.u.released.update_bytes = s->now.update_bytes;
    m.u.released.announce_hash = s->now.announce_hash;
    send(s, ev, out, &m);
}

/* ---- the round -------------------------------------------------------------------------------------------------- */

static void end_round(node_state *s, const node_event *ev, node_actions *out, bool over)
{
    node_plan *p = &s->plans[s->now.plan];
    uint32_t plan = s->now.plan;
    if (over && p->last_round < s->now.round)
        p->last_round = s->now.round;
    memset(&s->now, 0, sizeof s->now);
    s->now.phase = NODE_POLLING;
    act(out, NODE_PUT_PLAN)->plan = plan;
    act(out, NODE_PUT_ROUND);
    ask_next(s, ev, out);
}

static void burn(node_state *s, const node_event *ev, node_actions *out, node_reason reason, bool over)
{
    node_plan *p = &s->plans[s->now.plan];
    entry_debit(s, out, DP_BURN, node_reason_text(reason));
    say(out, reason, s->now.plan);
    if (p->burn_round != s->now.round) {
        p->burn_round = s->now.round;
        p->burns = 0;
    }
    p->burns++;
    end_round(s, ev, out, over || p->burns >= NODE_MAX_BURNS);
}

static void halt(node_state *s, node_actions *out, node_reason reason)
{
    if (s->now.phase == NODE_POLLING || s->now.phase == NODE_FETCHING)
        s->now.phase = NODE_HALTED; /* later phases stay on disk: the released bytes are still owed */
    s->halted = reason;
    s->asking = false;
    act(out, NODE_PUT_ROUND); /* a restart must not forget it */
    say(out, reason, UINT32_MAX);
}

/* Says no to this round, once in the ledger for each (plan, round, reason). */
static void refuse(node_state *s, const node_event *ev, node_actions *out, uint32_t plan, uint32_t round,
                   node_reason reason)
{
    node_plan *p = &s->plans[plan];
    if (p->refused != reason || p->refused_round != round) {
        dp_entry *e = entry(s, out, DP_REFUSE, p);
        fl_hex_encode(e->plan_hash, p->hash.bytes, FL_HASH_SIZE);
        e->round = round;
        wire_put_text(e->reason, sizeof e->reason, node_reason_text(reason));
        p->refused = reason;
        p->refused_round = round;
        say(out, reason, plan);
    }
    if (p->last_round < round)
        p->last_round = round;
    act(out, NODE_PUT_PLAN)->plan = plan;
    ask_next(s, ev, out);
}

static void on_announce(node_state *s, const node_event *ev, node_actions *out)
{
    const wire_announce *a = &ev->reply->u.announce;
    uint32_t plan = 0;
    while (plan < s->n_plans && (memcmp(&s->plans[plan].hash, &a->plan_hash, sizeof a->plan_hash) ||
                                 !wire_same_text(s->plans[plan].study, ev->reply->study)))
        plan++;
    if (plan == s->n_plans || !s->plans[plan].readable || a->round <= s->plans[plan].last_round) {
        timer_in(out, ev, NODE_RETRY_MS); /* nothing we know, or an old round again: do not spin */
        return;
    }
    const node_plan *p = &s->plans[plan];
    const wire_site *self = NULL;
    for (uint32_t i = 0; i < a->n_sites; i++)
        if (wire_same_text(a->sites[i].name, s->name))
            self = &a->sites[i];
    node_reason no = NODE_R_NONE;
    if (self && (self->ledger_size > s->ledger_size || !ev->is_witnessed)) {
        halt(s, out, NODE_R_ROLLBACK);
        return;
    }
    if (!p->approved || !p->joined || p->left)
        no = NODE_R_NOT_APPROVED;
    else if (!self || self->declared_patients != p->declared_patients)
        no = NODE_R_NOT_IN_ROSTER;
    else if (!p->within_policy || a->round > p->rounds || a->model_bytes != p->model_bytes)
        no = NODE_R_POLICY;
    else if (ev->is_split)
        no = NODE_R_SPLIT_VIEW;
    else if (a->n_sites < p->min_cohort)
        no = NODE_R_SMALL_COHORT;
    else if (is_over_budget(s, p, a->round))
        no = NODE_R_OVER_BUDGET;
    else if (p->failures >= NODE_MAX_FAILURES)
        no = NODE_R_TRAINING;
    if (no != NODE_R_NONE) {
        refuse(s, ev, out, plan, a->round, no);
        return;
    }
    memset(&s->now, 0, sizeof s->now);
    s->now.phase = NODE_FETCHING;
    s->now.plan = plan;
    s->now.round = a->round;
    s->now.model_hash = a->model_hash;
    s->now.announce_hash = a->announce_hash;
    s->announced_at_ms = ev->now_ms;
    s->cohort = a->n_sites;
    act(out, NODE_FETCH)->size_bytes = a->model_bytes;
}

static void on_fetched(node_state *s, const node_event *ev, node_actions *out)
{
    const node_plan *p = &s->plans[s->now.plan];
    /* while the model came, a person may have left the study or changed the policy */
    const node_reason no = !p->approved || !p->joined || p->left ? NODE_R_NOT_APPROVED
                           : !p->within_policy                   ? NODE_R_POLICY
                           : s->cohort < p->min_cohort           ? NODE_R_SMALL_COHORT
                           : is_over_budget(s, p, s->now.round)  ? NODE_R_OVER_BUDGET
                                                                 : NODE_R_NONE;
    if (no != NODE_R_NONE) {
        const uint32_t plan = s->now.plan, round = s->now.round;
        memset(&s->now, 0, sizeof s->now);
        refuse(s, ev, out, plan, round, no);
        return;
    }
    fl_hex_encode(s->now.debit, ev->random, 16);
    dp_filter_charge_round(&s->filter, node_terms_of(p, s->now.round)->cost, node_round_counts(p, s->now.round));
    dp_filter_charge_draws(&s->filter, node_round_draws(p, s->now.round));
    entry_reserve(s, out, s->cohort);
    entry_other(s, ev, out);
    entry_debit(s, out, DP_STARTED, NULL);
    s->now.phase = NODE_TRAINING;
    act(out, NODE_PUT_ROUND);
    act(out, NODE_TRAIN);
}

/* Released: the head goes first, at the slot; the update follows once it is cosigned. */
static void on_slot(node_state *s, const node_event *ev, node_actions *out)
{
    if (ev->now_ms < s->slot_at_ms)
        act(out, NODE_TIMER)->at_ms = s->slot_at_ms;
    else
        send_head(s, ev, out);
}

static void upload(node_state *s, node_actions *out)
{
    s->now.phase = NODE_UPLOADING;
    act(out, NODE_UPLOAD)->size_bytes = s->now.update_bytes;
}

static void on_trained(node_state *s, const node_event *ev, node_actions *out)
{
    s->now.update_hash = ev->hash;
    s->now.update_bytes = ev->size_bytes;
    entry_debit(s, out, DP_RELEASE, NULL);
    dp_entry *e = &out->list[out->n - 1].entry;
    fl_hex_encode(e->update_hash, ev->hash.bytes, FL_HASH_SIZE);
    e->bytes = ev->size_bytes;
    s->now.phase = NODE_RELEASED;
    /* Nothing is said, not even the head, before the next whole slot: when training ended depends on the patients. */
    const int64_t slot = s->plans[s->now.plan].slot_ms;
    s->slot_at_ms = s->announced_at_ms;
    if (slot > 0)
        s->slot_at_ms += (ev->now_ms - s->announced_at_ms + slot) / slot * slot;
    act(out, NODE_PUT_ROUND);
    on_slot(s, ev, out);
}

static void on_receipt(node_state *s, const node_event *ev, node_actions *out)
{
    if (memcmp(&ev->reply->u.receipt.update_hash, &s->now.update_hash, sizeof s->now.update_hash)) {
        timer_in(out, ev, NODE_RETRY_MS);
        return;
    }
    entry_debit(s, out, DP_ACK, NULL); /* the host adds the cosigned checkpoint it holds */
    dp_entry *e = &out->list[out->n - 1].entry;
    fl_hex_encode(e->update_hash, s->now.update_hash.bytes, FL_HASH_SIZE);
    fl_base64_encode(e->receipt, ev->reply->u.receipt.signature, FL_SIGNATURE_SIZE);
    end_round(s, ev, out, true);
}

static void on_error(node_state *s, const node_event *ev, node_actions *out)
{
    const bool released = s->now.phase >= NODE_RELEASED && s->now.phase <= NODE_DELIVERING;
    s->poll_next = s->request.kind == WIRE_JOIN || s->request.kind == WIRE_LEAVE;
    switch (ev->reply->u.error.code) {
    case WIRE_E_ROLLBACK:
        halt(s, out, NODE_R_ROLLBACK);
        return;
    case WIRE_E_REVOKED:
        halt(s, out, NODE_R_REVOKED);
        return;
    case WIRE_E_EQUIVOCATION:
        halt(s, out, NODE_R_EQUIVOCATION);
        return;
    case WIRE_E_STALE_ROUND:
    case WIRE_E_UNKNOWN_STUDY:
    case WIRE_E_NOT_A_MEMBER:
    case WIRE_E_BAD_UPDATE:
        if (released) {
            burn(s, ev, out, NODE_R_ROUND_CLOSED, true);
            return;
        }
        break;
    case WIRE_E_NO_OBJECT:
        if (s->now.phase == NODE_DELIVERING) { /* the upload did not survive over there */
            upload(s, out);
            return;
        }
        break;
    default:
        break;
    }
    timer_in(out, ev, NODE_RETRY_MS);
}

static void on_plan(node_state *s, const node_event *ev, node_actions *out)
{
    if (s->n_plans == NODE_MAX_PLANS) { /* no coordinator of ours has so many: do not spin */
        timer_in(out, ev, NODE_RETRY_MS);
        return;
    }
    s->plans[s->n_plans] = *ev->plan;
    act(out, NODE_PUT_PLAN)->plan = s->n_plans++;
    ask_next(s, ev, out);
}

static void on_ok(node_state *s, const node_event *ev, node_actions *out)
{
    for (uint32_t i = 0; i < s->n_plans; i++) {
        node_plan *p = &s->plans[i];
        if (!wire_same_text(p->study, s->request.study))
            continue;
        p->joined = s->request.kind == WIRE_JOIN;
        act(out, NODE_PUT_PLAN)->plan = i;
        break;
    }
    ask_next(s, ev, out);
}

static void resume(node_state *s, const node_event *ev, node_actions *out);

static void on_reply(node_state *s, const node_event *ev, node_actions *out)
{
    if (!s->asking || ev->reply->request_id != s->request.request_id)
        return;
    s->asking = false;
    s->failures = 0;
    const wire_kind asked = s->request.kind, got = ev->reply->kind;
    if (got == WIRE_ERROR)
        on_error(s, ev, out);
    else if (asked == WIRE_POLL && got == WIRE_ANNOUNCE && s->now.phase == NODE_POLLING)
        on_announce(s, ev, out);
    else if (asked == WIRE_POLL && got == WIRE_NOTHING)
        ask_next(s, ev, out);
    else if ((asked == WIRE_JOIN || asked == WIRE_LEAVE) && got == WIRE_OK)
        on_ok(s, ev, out);
    else if (asked == WIRE_ROTATED && got == WIRE_OK) {
        s->show_key = false;
        resume(s, ev, out);
    } else if (asked == WIRE_HEAD && got == WIRE_COSIGNED && s->now.phase == NODE_POLLING) {
        s->show_head = false;
        ask_next(s, ev, out);
    } else if (asked == WIRE_HEAD && got == WIRE_COSIGNED && s->now.phase == NODE_RELEASED) {
        s->now.phase = NODE_COSIGNED;
        act(out, NODE_PUT_ROUND);
        upload(s, out);
    } else if (asked == WIRE_RELEASED && got == WIRE_RECEIPT && s->now.phase == NODE_DELIVERING)
        on_receipt(s, ev, out);
    else
        timer_in(out, ev, NODE_RETRY_MS); /* an answer to another question */
}

/* Takes up what this phase is about; also after a start and after a failure. */
static void resume(node_state *s, const node_event *ev, node_actions *out)
{
    if (s->show_key && s->now.phase != NODE_TRAINING && s->now.phase != NODE_HALTED) {
        ask_next(s, ev, out);
        return;
    }
    switch (s->now.phase) {
    case NODE_POLLING:
        ask_next(s, ev, out);
        break;
    case NODE_FETCHING:
        act(out, NODE_FETCH)->size_bytes = s->plans[s->now.plan].model_bytes;
        break;
    case NODE_RELEASED:
        on_slot(s, ev, out);
        break;
    case NODE_COSIGNED:
    case NODE_UPLOADING:
        upload(s, out);
        break;
    case NODE_DELIVERING:
        send_released(s, ev, out);
        break;
    case NODE_TRAINING:
    case NODE_HALTED:
        break;
    }
}

static void on_start(node_state *s, const node_event *ev, node_actions *out)
{
    s->asking = false;
    if (s->now.phase == NODE_FETCHING)
        s->now.phase = NODE_POLLING;
    if (s->now.phase == NODE_TRAINING) /* STARTED without RELEASE: the debit is lost, never computed again */
        burn(s, ev, out, NODE_R_BURNS, false);
    else
        resume(s, ev, out);
}

void node_step(node_state *s, const node_event *ev, node_actions *out)
{
    if (s->halted != NODE_R_NONE && ev->kind != NODE_EV_TRAINED && ev->kind != NODE_EV_TRAIN_FAILED)
        return;
    switch (ev->kind) {
    case NODE_EV_START:
        on_start(s, ev, out);
        break;
    case NODE_EV_REPLY:
        on_reply(s, ev, out);
        break;
    case NODE_EV_NO_REPLY:
        s->asking = false;
        s->failures++;
        timer_in(out, ev, NODE_RETRY_MS);
        break;
    case NODE_EV_PLAN:
        s->asking = false;
        on_plan(s, ev, out);
        break;
    case NODE_EV_FETCHED:
        if (s->now.phase == NODE_FETCHING)
            on_fetched(s, ev, out);
        break;
    case NODE_EV_MODEL_BAD:
        if (s->now.phase == NODE_FETCHING) {
            const uint32_t plan = s->now.plan, round = s->now.round;
            memset(&s->now, 0, sizeof s->now);
            refuse(s, ev, out, plan, round, NODE_R_MODEL);
        }
        break;
    case NODE_EV_FETCH_FAILED: /* the round may be over: ask again what there is */
        if (s->now.phase == NODE_FETCHING) {
            memset(&s->now, 0, sizeof s->now);
            timer_in(out, ev, NODE_RETRY_MS);
        }
        break;
    case NODE_EV_TRAINED:
        if (s->now.phase == NODE_TRAINING) {
            s->plans[s->now.plan].failures = 0;
            on_trained(s, ev, out);
        }
        break;
    case NODE_EV_TRAIN_FAILED:
        if (s->now.phase == NODE_TRAINING) {
            s->plans[s->now.plan].failures++;
            burn(s, ev, out, NODE_R_TRAINING, true);
        }
        break;
    case NODE_EV_UPLOADED:
        if (s->now.phase == NODE_UPLOADING) {
            s->now.phase = NODE_DELIVERING;
            send_released(s, ev, out);
        }
        break;
    case NODE_EV_UPLOAD_FAILED:
        if (s->now.phase == NODE_UPLOADING && ev->halt != NODE_R_NONE)
            halt(s, out, ev->halt);
        else if (s->now.phase == NODE_UPLOADING && (ev->round_closed || ev->lost))
            burn(s, ev, out, ev->lost ? NODE_R_LOST : NODE_R_ROUND_CLOSED, true); /* never computed again */
        else if (s->now.phase == NODE_UPLOADING)
            timer_in(out, ev, NODE_RETRY_MS);
        break;
    case NODE_EV_TIMER:
        if (!s->asking)
            resume(s, ev, out);
        break;
    case NODE_EV_POLICY: /* plans changed; a parked poll ends soon enough, and then the change is told */
        for (uint32_t i = 0; i < s->n_plans; i++)
            s->plans[i].failures = 0; /* a person was here */
        if (!s->asking && s->now.phase == NODE_POLLING)
            ask_next(s, ev, out);
        break;
    }
}
