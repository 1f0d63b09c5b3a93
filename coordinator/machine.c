#include "coordinator/machine.h"
#include "proto/msg/envelope.h"
#include "proto/msg/text.h"

#include <assert.h>
#include <string.h>

static coord_action *act(coord_actions *out, coord_action_kind kind)
{
    assert(out->n < COORD_MAX_ACTIONS);
    coord_action *a = &out->list[out->n++];
    memset(a, 0, sizeof *a);
    a->kind = kind;
    return a;
}

static bool same_hash(const fl_hash *a, const fl_hash *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

uint32_t coord_find_site(const coord_state *s, const char *name)
{
    for (uint32_t i = 0; i < s->n_sites; i++)
        if (wire_same_text(s->sites[i].name, name))
            return i;
    return UINT32_MAX;
}

uint32_t coord_find_study(const coord_state *s, const char *name)
{
    for (uint32_t i = 0; i < s->n_studies; i++)
        if (wire_same_text(s->studies[i].name, name))
            return i;
    return UINT32_MAX;
}

static uint32_t study_index(const coord_state *s, const coord_study *st)
{
    return (uint32_t)(st - s->studies);
}

static void say(const coord_state *s, coord_actions *out, const coord_study *st, const char *text)
{
    coord_action *a = act(out, COORD_SAY);
    a->study = study_index(s, st);
    a->site = UINT32_MAX;
    a->round = st->round;
    a->text = text;
}

static void say_of(const coord_state *s, coord_actions *out, const coord_study *st, uint32_t site, const char *text)
{
    say(s, out, st, text);
    out->list[out->n - 1].site = site;
}

/* ---- who counts ------------------------------------------------------------------------------------------------- */

bool coord_takes_part(const coord_state *s, const coord_study *st, uint32_t site)
{
    const coord_member *m = &st->members[site];
    return m->joined && !m->left && !s->sites[site].revoked && (m->listed || !st->listed_only);
}

static uint32_t count_joined(const coord_state *s, const coord_study *st)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_sites; i++)
        n += coord_takes_part(s, st, i);
    return n;
}

/* What the open round can still reach with those who joined since it opened. */
static uint32_t count_reachable(const coord_state *s, const coord_study *st)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_sites; i++)
        n += (st->members[i].in_roster && st->members[i].contributed) || coord_takes_part(s, st, i);
    return n;
}

static uint32_t count_contributed(const coord_state *s, const coord_study *st)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_sites; i++)
        n += st->members[i].in_roster && st->members[i].contributed;
    return n;
}

/* Nobody who is in the roster and could still send is missing. */
static bool everybody_in(const coord_state *s, const coord_study *st)
{
    for (uint32_t i = 0; i < s->n_sites; i++)
        if (st->members[i].in_roster && !st->members[i].contributed && coord_takes_part(s, st, i))
            return false;
    return true;
}

/* ---- replies ---------------------------------------------------------------------------------------------------- */

static wire_message *reply(coord_state *s, coord_actions *out, uint64_t ticket, const wire_message *to, wire_kind kind)
{
    coord_action *a = act(out, COORD_REPLY);
    a->ticket = ticket;
    wire_message *m = &a->u.reply;
    m->kind = kind;
    memcpy(m->sender, s->name, sizeof m->sender);
    memcpy(m->study, to->study, sizeof m->study);
    memcpy(m->debit, to->debit, sizeof m->debit);
    m->round = to->round;
    m->request_id = to->request_id;
    m->sequence = s->boot << 32 | ++s->n_sent;
    return m;
}

static void reply_error(coord_state *s, coord_actions *out, const coord_event *ev, wire_error_code code, bool retry,
                        const char *text)
{
    wire_message *m = reply(s, out, ev->ticket, ev->request, WIRE_ERROR);
    m->u.error.code = code;
    m->u.error.retry = retry;
    wire_put_text(m->u.error.text, sizeof m->u.error.text, text);
}

void coord_announce(const coord_state *s, const coord_study *st, wire_announce *a, wire_site roster[COORD_MAX_SITES])
{
    memset(a, 0, sizeof *a);
    a->round = st->round;
    a->plan_hash = st->plan_hash;
    a->model_hash = st->model_hash;
    a->announce_hash = st->announce_hash;
    a->model_bytes = st->model_bytes;
    a->deadline_s = st->deadline_s;
    for (uint32_t i = 0; i < s->n_sites; i++) {
        const coord_member *m = &st->members[i];
        if (!m->in_roster)
            continue;
        wire_site *w = &roster[a->n_sites++];
        memset(w, 0, sizeof *w);
        memcpy(w->name, s->sites[i].name, sizeof w->name);
        w->declared_patients = m->roster_patients;
        w->ledger_size = m->roster_head_size;
        w->ledger_root = m->roster_head_root;
    }
    a->sites = roster;
}

static void reply_announce(coord_state *s, const coord_event *ev, coord_actions *out, const coord_study *st,
                           uint64_t ticket, const wire_message *to)
{
    wire_message *m = reply(s, out, ticket, to, WIRE_ANNOUNCE);
    memcpy(m->study, st->name, sizeof m->study);
    m->round = st->round;
    coord_announce(s, st, &m->u.announce, s->roster[study_index(s, st)]);
    const int64_t left_s = (st->deadline_ms - ev->now_ms) / 1000;
    m->u.announce.deadline_s = left_s < 1 ? 1 : left_s < st->deadline_s ? (uint32_t)left_s : st->deadline_s;
}

/* The first open round that waits for this site. */
static const coord_study *open_for(const coord_state *s, uint32_t site)
{
    for (uint32_t i = 0; i < s->n_studies; i++) {
        const coord_study *st = &s->studies[i];
        const coord_member *m = &st->members[site];
        if (st->phase == COORD_OPEN && !st->paused && !st->closed && m->in_roster && !m->contributed &&
            coord_takes_part(s, st, site))
            return st;
    }
    return NULL;
}

bool coord_may_know(const coord_state *s, const coord_study *st, uint32_t site)
{
    return !s->sites[site].revoked && (!st->listed_only || st->members[site].listed);
}

/* Answers a poll when there is something to say. Plans come first, in their order; a study that is not for this site
 * is skipped by an empty PLAN, so that the count both sides keep stays one number. */
static bool answer_plan(coord_state *s, coord_actions *out, uint32_t site, uint64_t ticket, const wire_message *poll)
{
    const uint32_t known = poll->u.poll.n_plans_known;
    for (uint32_t i = 0; i < s->n_studies; i++) {
        const coord_study *st = &s->studies[i];
        if (st->index != known)
            continue;
        wire_message *m = reply(s, out, ticket, poll, WIRE_PLAN);
        memcpy(m->study, st->name, sizeof m->study);
        m->u.plan.index = st->index;
        m->u.plan.n_bytes = coord_may_know(s, st, site) ? st->plan_bytes : 0; /* the host puts the text in */
        return true;
    }
    return false;
}

static bool answer_poll(coord_state *s, const coord_event *ev, coord_actions *out, uint32_t site, uint64_t ticket,
                        const wire_message *poll)
{
    if (answer_plan(s, out, site, ticket, poll))
        return true;
    const coord_study *st = open_for(s, site);
    if (!st)
        return false;
    reply_announce(s, ev, out, st, ticket, poll);
    return true;
}

static void answer_parked(coord_state *s, const coord_event *ev, coord_actions *out)
{
    for (uint32_t i = 0; i < s->n_sites; i++) {
        coord_site *site = &s->sites[i];
        if (site->parked && answer_poll(s, ev, out, i, site->ticket, &site->poll))
            site->parked = false;
    }
}

/* ---- rounds ----------------------------------------------------------------------------------------------------- */

static dp_entry *entry(coord_state *s, coord_actions *out, dp_kind kind, const coord_study *st)
{
    assert(out->n_entries < sizeof out->entries / sizeof out->entries[0]);
    dp_entry *e = &out->entries[out->n_entries++];
    memset(e, 0, sizeof *e);
    act(out, COORD_LEDGER)->u.entry = e;
    e->kind = kind;
    wire_put_text(e->node, sizeof e->node, s->name);
    wire_put_text(e->study, sizeof e->study, st->name);
    e->round = st->round;
    return e;
}

static dp_member *entry_member(dp_entry *e, const char *name, const fl_hash *hash, uint64_t n)
{
    dp_member *m = &e->members[e->n_members++];
    wire_put_text(m->node, sizeof m->node, name);
    fl_hex_encode(m->hash, hash->bytes, FL_HASH_SIZE);
    m->n = n;
    return m;
}

/* Freezes who takes part; false when they are the same as in the round before, with the same weights. again: the round
 * was open before, and whoever has contributed to it stays as he is. */
static bool freeze_roster(coord_state *s, coord_study *st, bool again)
{
    bool changed = st->round <= 1;
    for (uint32_t i = 0; i < s->n_sites; i++) {
        coord_member *m = &st->members[i];
        const bool in = coord_takes_part(s, st, i);
        if (again && m->in_roster && m->contributed)
            continue;
        changed |= in != m->in_roster || (in && m->roster_patients != m->declared_patients);
        m->in_roster = in;
        m->contributed = false;
        m->roster_patients = in ? m->declared_patients : 0;
        m->roster_head_size = in ? s->sites[i].head_size : 0;
        memset(&m->roster_head_root, 0, sizeof m->roster_head_root);
        if (in)
            m->roster_head_root = s->sites[i].head_root;
        memset(m->debit, 0, sizeof m->debit);
        memset(&m->update_hash, 0, sizeof m->update_hash);
    }
    return changed;
}

static void entry_roster(coord_state *s, coord_actions *out, const coord_study *st)
{
    dp_entry *e = entry(s, out, DP_ROSTER, st);
    for (uint32_t i = 0; i < s->n_sites; i++) {
        const coord_member *m = &st->members[i];
        if (!m->in_roster)
            continue;
        fl_hash key;
        memcpy(key.bytes, s->sites[i].public_key, sizeof key.bytes);
        entry_member(e, s->sites[i].name, &key, m->roster_patients);
    }
}

static void open_round(coord_state *s, const coord_event *ev, coord_actions *out, coord_study *st, uint32_t round)
{
    const bool again = st->phase == COORD_OPEN;
    assert(!again || round == st->round);
    st->phase = COORD_OPEN;
    st->round = round;
    st->deadline_ms = ev->now_ms + (int64_t)st->deadline_s * 1000;
    if (freeze_roster(s, st, again))
        entry_roster(s, out, st);
    wire_announce a;
    wire_site *roster = s->roster[study_index(s, st)];
    memset(&st->announce_hash, 0, sizeof st->announce_hash);
    coord_announce(s, st, &a, roster);
    st->announce_hash = wire_announce_hash(&a);
    dp_entry *e = entry(s, out, DP_ROUND_OPEN, st);
    fl_hex_encode(e->plan_hash, st->plan_hash.bytes, FL_HASH_SIZE);
    fl_hex_encode(e->model_hash, st->model_hash.bytes, FL_HASH_SIZE);
    fl_hex_encode(e->announce_hash, st->announce_hash.bytes, FL_HASH_SIZE);
    for (uint32_t i = 0; i < a.n_sites; i++)
        entry_member(e, roster[i].name, &roster[i].ledger_root, roster[i].ledger_size);
    act(out, COORD_PUT_ROUND)->study = study_index(s, st);
    say(s, out, st, again ? "round opened again, with the hospitals that joined since" : "round opened");
}

static void begin_fold(coord_state *s, coord_actions *out, coord_study *st)
{
    st->phase = COORD_FOLDING;
    act(out, COORD_PUT_ROUND)->study = study_index(s, st);
    act(out, COORD_FOLD)->study = study_index(s, st);
}

/* Whatever time or a message has made possible in this study. */
static void advance(coord_state *s, const coord_event *ev, coord_actions *out, coord_study *st)
{
    if (st->paused || st->closed)
        return;
    const bool late = ev->now_ms >= st->deadline_ms;
    if (st->phase == COORD_GATHERING) {
        const uint32_t n = count_joined(s, st);
        const bool all = st->listed_only ? n == st->n_listed : n >= st->quorum;
        if (n >= st->quorum && (all || late))
            open_round(s, ev, out, st, st->round + 1);
        else if (late)
            st->deadline_ms = ev->now_ms + (int64_t)st->deadline_s * 1000;
    } else if (st->phase == COORD_OPEN) {
        const uint32_t n = count_contributed(s, st);
        if (n >= st->quorum && (late || everybody_in(s, st)))
            begin_fold(s, out, st);
        else if (n < st->quorum && everybody_in(s, st) && count_reachable(s, st) >= st->quorum)
            open_round(s, ev, out, st, st->round); /* nobody of its roster is left to wait for */
        else if (late) {
            st->deadline_ms = ev->now_ms + (int64_t)st->deadline_s * 1000;
            say(s, out, st, "deadline passed without quorum: extended");
        }
    }
}

static void set_timer(coord_state *s, const coord_event *ev, coord_actions *out)
{
    int64_t at = INT64_MAX;
    for (uint32_t i = 0; i < s->n_sites; i++)
        if (s->sites[i].parked && s->sites[i].until_ms < at)
            at = s->sites[i].until_ms;
    for (uint32_t i = 0; i < s->n_studies; i++) {
        const coord_study *st = &s->studies[i];
        if (!st->paused && !st->closed && (st->phase == COORD_OPEN || st->phase == COORD_GATHERING) &&
            st->deadline_ms < at)
            at = st->deadline_ms;
    }
    (void)ev;
    if (at == INT64_MAX || at == s->timer_ms)
        return;
    s->timer_ms = at;
    act(out, COORD_TIMER)->at_ms = at;
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static void on_poll(coord_state *s, const coord_event *ev, coord_actions *out)
{
    coord_site *site = &s->sites[ev->site];
    if (ev->request->u.poll.ledger_size < site->head_size && !answer_plan(s, out, ev->site, ev->ticket, ev->request)) {
        reply_error(s, out, ev, WIRE_E_ROLLBACK, false, "this ledger was longer before: it was restored or cloned");
        return;
    }
    if (ev->request->u.poll.ledger_size < site->head_size)
        return;         /* plans are for everybody: a restore may need them */
    if (site->parked) { /* the connection behind the old one is gone */
        reply(s, out, site->ticket, &site->poll, WIRE_NOTHING);
        site->parked = false;
    }
    if (answer_poll(s, ev, out, ev->site, ev->ticket, ev->request))
        return;
    uint32_t wait_ms = ev->request->u.poll.wait_ms;
    if (wait_ms > 30000)
        wait_ms = 30000;
    site->parked = true;
    site->ticket = ev->ticket;
    site->until_ms = ev->now_ms + wait_ms;
    site->poll = *ev->request;
}

static void on_join(coord_state *s, const coord_event *ev, coord_actions *out, coord_study *st)
{
    coord_member *m = &st->members[ev->site];
    if (!same_hash(&ev->request->u.join.plan_hash, &st->plan_hash) || ev->request->u.join.declared_patients == 0) {
        reply_error(s, out, ev, WIRE_E_BAD_REQUEST, false, "join: another plan, or no declared patients");
        return;
    }
    if (ev->request->u.join.declared_patients > s->max_declared) {
        reply_error(s, out, ev, WIRE_E_BAD_REQUEST, false, "join: more declared patients than this consortium takes");
        return;
    }
    if (!m->joined || m->left || m->declared_patients != ev->request->u.join.declared_patients) {
        m->joined = true;
        m->left = false;
        m->declared_patients = ev->request->u.join.declared_patients;
        coord_action *a = act(out, COORD_PUT_MEMBER);
        a->study = study_index(s, st);
        a->site = ev->site;
    }
    reply(s, out, ev->ticket, ev->request, WIRE_OK);
    advance(s, ev, out, st);
}

static void on_leave(coord_state *s, const coord_event *ev, coord_actions *out, coord_study *st)
{
    coord_member *m = &st->members[ev->site];
    m->left = true;
    coord_action *a = act(out, COORD_PUT_MEMBER);
    a->study = study_index(s, st);
    a->site = ev->site;
    reply(s, out, ev->ticket, ev->request, WIRE_OK);
    advance(s, ev, out, st);
}

/* Tells where the proof has to start from. */
static void reply_no_proof(coord_state *s, coord_actions *out, const coord_event *ev, const char *text)
{
    reply_error(s, out, ev, WIRE_E_NO_PROOF, true, text);
    out->list[out->n - 1].u.reply.u.error.ledger_size = s->sites[ev->site].head_size;
}

static void on_head(coord_state *s, const coord_event *ev, coord_actions *out)
{
    coord_site *site = &s->sites[ev->site];
    if (ev->note_size < site->head_size) {
        reply_error(s, out, ev, WIRE_E_ROLLBACK, false, "this ledger was longer before: it was restored or cloned");
        return;
    }
    if (ev->note_size == site->head_size && !same_hash(&ev->note_root, &site->head_root)) {
        reply_error(s, out, ev, WIRE_E_EQUIVOCATION, false, "another ledger of this size was shown before");
        return;
    }
    if (ev->note_size > site->head_size && !ev->extends) {
        reply_no_proof(s, out, ev, "this head was not shown to extend the one held here");
        return;
    }
    site->head_size = ev->note_size;
    site->head_root = ev->note_root;
    act(out, COORD_PUT_SITE)->site = ev->site;
    wire_message *m = reply(s, out, ev->ticket, ev->request, WIRE_COSIGNED); /* the host adds its signature */
    memcpy(m->u.cosigned.note, ev->request->u.head.note, sizeof m->u.cosigned.note);
}

static void receipt(coord_state *s, const coord_event *ev, coord_actions *out, const fl_hash *update_hash)
{
    wire_message *r = reply(s, out, ev->ticket, ev->request, WIRE_RECEIPT); /* the host signs */
    r->u.receipt.update_hash = *update_hash;
}

static void equivocated(coord_state *s, const coord_event *ev, coord_actions *out, const coord_study *st)
{
    reply_error(s, out, ev, WIRE_E_EQUIVOCATION, false, "another update was received for this round");
    say_of(s, out, st, ev->site, "sent a second, different update for a round: refused, look into it");
}

uint64_t coord_update_bytes(const coord_study *st)
{
    uint32_t i = 0;
    while (i + 1 < st->n_terms && st->round > st->terms[i].last)
        i++;
    return st->terms[i].update_bytes + (coord_has_counts(st) ? (uint64_t)st->metrics_cells * DP_CELL_BYTES : 0);
}

bool coord_has_counts(const coord_study *st)
{
    return dp_counts_in(st->round, st->metrics_every, st->rounds);
}

static void on_released(coord_state *s, const coord_event *ev, coord_actions *out, coord_study *st)
{
    coord_member *m = &st->members[ev->site];
    const wire_message *r = ev->request;
    const bool this_round = r->round == st->round && m->in_roster;
    if (this_round && m->contributed) {
        if (same_hash(&m->update_hash, &r->u.released.update_hash) && wire_same_text(m->debit, r->debit))
            receipt(s, ev, out, &m->update_hash); /* asked again: the same answer, also after the round is over */
        else
            equivocated(s, ev, out, st);
        return;
    }
    if (r->round < st->round && ev->has_earlier) {
        if (same_hash(&ev->earlier_update, &r->u.released.update_hash) && wire_same_text(ev->earlier_debit, r->debit))
            receipt(s, ev, out, &ev->earlier_update);
        else
            equivocated(s, ev, out, st);
        return;
    }
    if (!this_round || st->phase != COORD_OPEN || st->closed || !coord_takes_part(s, st, ev->site) ||
        !same_hash(&r->u.released.announce_hash, &st->announce_hash)) {
        reply_error(s, out, ev, WIRE_E_STALE_ROUND, false, "this round is over");
        return;
    }
    if (r->u.released.update_bytes != coord_update_bytes(st)) {
        reply_error(s, out, ev, WIRE_E_BAD_UPDATE, false, "the update has another size than the plan says");
        return;
    }
    if (!ev->has_entry) { /* no entry, no contribution */
        reply_no_proof(s, out, ev, "this release was not shown to stand in the ledger whose head is held here");
        return;
    }
    if (ev->debit_known) {
        reply_error(s, out, ev, WIRE_E_BAD_UPDATE, false, "this debit stands for another update already");
        return;
    }
    if (!ev->has_object) {
        reply_error(s, out, ev, WIRE_E_NO_OBJECT, true, "the update is not here yet");
        return;
    }
    if (ev->has_bad_counts) {
        reply_error(s, out, ev, WIRE_E_BAD_UPDATE, false, "a noised count is larger than any can be");
        return;
    }
    m->contributed = true;
    m->update_hash = r->u.released.update_hash;
    memcpy(m->debit, r->debit, sizeof m->debit);
    dp_entry *e = entry(s, out, DP_RECEIVED, st);
    wire_put_text(e->member, sizeof e->member, s->sites[ev->site].name);
    memcpy(e->debit, m->debit, sizeof m->debit);
    fl_hex_encode(e->update_hash, m->update_hash.bytes, FL_HASH_SIZE);
    e->bytes = coord_update_bytes(st);
    coord_action *a = act(out, COORD_PUT_CONTRIBUTION);
    a->study = study_index(s, st);
    a->site = ev->site;
    receipt(s, ev, out, &m->update_hash);
    advance(s, ev, out, st);
}

static void on_request(coord_state *s, const coord_event *ev, coord_actions *out)
{
    coord_site *site = &s->sites[ev->site];
    const wire_message *r = ev->request;
    site->seen_ms = ev->now_ms;
    if (site->revoked) {
        reply_error(s, out, ev, WIRE_E_REVOKED, false, "this hospital was revoked");
        return;
    }
    if (r->kind == WIRE_POLL) {
        on_poll(s, ev, out);
        return;
    }
    if (r->kind == WIRE_HEAD) {
        on_head(s, ev, out);
        return;
    }
    const uint32_t index = coord_find_study(s, r->study);
    if (index == UINT32_MAX) {
        reply_error(s, out, ev, WIRE_E_UNKNOWN_STUDY, false, "no such study here");
        return;
    }
    coord_study *st = &s->studies[index];
    if (!coord_may_know(s, st, ev->site)) {
        reply_error(s, out, ev, WIRE_E_NOT_A_MEMBER, false, "this study does not name this hospital");
        return;
    }
    if (r->kind == WIRE_JOIN)
        on_join(s, ev, out, st);
    else if (r->kind == WIRE_LEAVE)
        on_leave(s, ev, out, st);
    else if (r->kind == WIRE_RELEASED)
        on_released(s, ev, out, st);
    else
        reply_error(s, out, ev, WIRE_E_BAD_REQUEST, false, "not a request");
}

/* Whoever is in a roster is in it with the new key from now on: a line for each such study. */
static void on_rotated(coord_state *s, const coord_event *ev, coord_actions *out)
{
    coord_site *site = &s->sites[ev->site];
    site->seen_ms = ev->now_ms;
    if (site->revoked) {
        reply_error(s, out, ev, WIRE_E_REVOKED, false, "this hospital was revoked");
        return;
    }
    if (memcmp(site->public_key, ev->public_key, sizeof site->public_key) != 0) {
        memcpy(site->public_key, ev->public_key, sizeof site->public_key);
        act(out, COORD_PUT_KEY)->site = ev->site;
        for (uint32_t i = 0; i < s->n_studies; i++)
            if (s->studies[i].members[ev->site].in_roster && !s->studies[i].closed)
                entry_roster(s, out, &s->studies[i]);
    }
    reply(s, out, ev->ticket, ev->request, WIRE_OK);
}

static void on_folded(coord_state *s, const coord_event *ev, coord_actions *out)
{
    coord_study *st = &s->studies[ev->study];
    if (st->phase != COORD_FOLDING)
        return;
    dp_entry *e = entry(s, out, DP_AGGREGATE, st);
    wire_put_text(e->rule, sizeof e->rule, "fedavg");
    fl_hex_encode(e->model_hash, ev->model_hash.bytes, FL_HASH_SIZE);
    for (uint32_t i = 0; i < s->n_sites; i++)
        if (st->members[i].in_roster && st->members[i].contributed)
            entry_member(e, s->sites[i].name, &st->members[i].update_hash, st->members[i].roster_patients);
    e = entry(s, out, DP_PUBLISH, st);
    fl_hex_encode(e->model_hash, ev->model_hash.bytes, FL_HASH_SIZE);
    coord_action *a = act(out, COORD_PUT_MODEL);
    a->study = ev->study;
    a->round = st->round;
    a->model_hash = ev->model_hash;
    a->server_hash = ev->server_hash;
    a->released_hash = ev->released_hash;
    st->model_hash = ev->model_hash;
    if (st->round >= st->rounds) {
        st->phase = COORD_DONE;
        act(out, COORD_PUT_ROUND)->study = ev->study;
        say(s, out, st, "study finished");
        return;
    }
    if (!st->paused && !st->closed && count_joined(s, st) >= st->quorum) {
        open_round(s, ev, out, st, st->round + 1);
        return;
    }
    st->phase = COORD_GATHERING;
    st->deadline_ms = ev->now_ms + (int64_t)st->deadline_s * 1000;
    act(out, COORD_PUT_ROUND)->study = ev->study;
    say(s, out, st, "waiting for hospitals");
}

static void expire_polls(coord_state *s, const coord_event *ev, coord_actions *out)
{
    for (uint32_t i = 0; i < s->n_sites; i++) {
        coord_site *site = &s->sites[i];
        if (site->parked && ev->now_ms >= site->until_ms) {
            reply(s, out, site->ticket, &site->poll, WIRE_NOTHING);
            site->parked = false;
        }
    }
}

static void expire_revoked(coord_state *s, coord_actions *out)
{
    for (uint32_t i = 0; i < s->n_sites; i++) {
        coord_site *site = &s->sites[i];
        if (!site->parked || !site->revoked)
            continue;
        wire_message *m = reply(s, out, site->ticket, &site->poll, WIRE_ERROR);
        m->u.error.code = WIRE_E_REVOKED;
        wire_put_text(m->u.error.text, sizeof m->u.error.text, "this hospital was revoked");
        site->parked = false;
    }
}

void coord_step(coord_state *s, const coord_event *ev, coord_actions *out)
{
    switch (ev->kind) {
    case COORD_EV_START:
    case COORD_EV_CHANGED:
        expire_revoked(s, out);
        for (uint32_t i = 0; i < s->n_studies; i++) {
            coord_study *st = &s->studies[i];
            if (ev->kind == COORD_EV_START || st->deadline_ms == 0)
                st->deadline_ms = ev->now_ms + (int64_t)st->deadline_s * 1000;
            if (st->phase == COORD_FOLDING && !st->paused)
                act(out, COORD_FOLD)->study = i;
            else
                advance(s, ev, out, st);
        }
        break;
    case COORD_EV_REQUEST:
        on_request(s, ev, out);
        break;
    case COORD_EV_ROTATED:
        on_rotated(s, ev, out);
        break;
    case COORD_EV_FOLDED:
        on_folded(s, ev, out);
        break;
    case COORD_EV_FOLD_FAILED:
    case COORD_EV_TIMER:
        s->timer_ms = 0;
        for (uint32_t i = 0; i < s->n_studies; i++)
            if (s->studies[i].phase == COORD_FOLDING && !s->studies[i].paused && ev->kind == COORD_EV_TIMER)
                act(out, COORD_FOLD)->study = i;
            else
                advance(s, ev, out, &s->studies[i]);
        expire_polls(s, ev, out);
        if (ev->kind == COORD_EV_FOLD_FAILED) {
            s->timer_ms = ev->now_ms + 5000;
            act(out, COORD_TIMER)->at_ms = s->timer_ms;
            return;
        }
        break;
    }
    answer_parked(s, ev, out);
    set_timer(s, ev, out);
}
