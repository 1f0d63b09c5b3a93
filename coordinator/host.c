#include "coordinator/host.h"

#include "base/clock.h"
#include "coordinator/counts.h"
#include "coordinator/fold.h"
#include "coordinator/host_parts.h"
#include "privacy/cosign.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ------------------------------------------------------------------------------------------------------ */

void coord_host_say(coord_host *h, const char *format, ...)
{
    char line[800];
    va_list args;
    if (!h->config.say)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    h->config.say(h->config.ctx, line);
}

/* "study s: round 3: round closed with 2 of 3 hospitals, without b" */
static void say_action(coord_host *h, const coord_action *a)
{
    const coord_study *st = &h->state->studies[a->study];
    const char *site = a->site < h->state->n_sites ? h->state->sites[a->site].name : "";
    coord_host_say(h, "study %s: round %u: %s%s%s", st->name, a->round, site, site[0] ? " " : "", a->text);
}

static void say_folded(coord_host *h, uint32_t study, const agg_result *r)
{
    const coord_study *st = &h->state->studies[study];
    char missing[400] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < h->state->n_sites; i++) {
        const coord_member *m = &st->members[i];
        if (m->in_roster && !m->contributed && n < sizeof missing - WIRE_NAME_MAX - 2)
            n += (size_t)snprintf(missing + n, sizeof missing - n, "%s%s", n ? "," : "", h->state->sites[i].name);
    }
    coord_host_say(h, "study %s: round %u of %u: aggregated contributions=%u patients=%" PRIu64 " missing=%s", st->name,
                   st->round, st->rounds, r->n_contributions, r->sum_declared, n ? missing : "none");
}

/* ---- state ------------------------------------------------------------------------------------------------------ */

static fl_code load_memory(coord_host *h, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, h->store->db, "SELECT name, vkey, note, sequence FROM site ORDER BY name", err));
    coord_memory *fresh = calloc(COORD_MAX_SITES, sizeof *fresh);
    uint32_t n = 0;
    while (fresh && n < h->state->n_sites && fl_query_row(&q)) {
        coord_memory *m = &fresh[n++];
        for (uint32_t i = 0; i < COORD_MAX_SITES; i++)
            if (h->memory[i].name[0] && strcmp(h->memory[i].name, fl_column_text(&q, 0)) == 0) {
                *m = h->memory[i]; /* moves the reply */
                memset(&h->memory[i], 0, sizeof h->memory[i]);
                break;
            }
        const uint64_t sequence = (uint64_t)fl_column_int(&q, 3);
        snprintf(m->name, sizeof m->name, "%s", fl_column_text(&q, 0));
        snprintf(m->vkey, sizeof m->vkey, "%s", fl_column_text(&q, 1));
        snprintf(m->note, sizeof m->note, "%s", fl_column_text(&q, 2));
        if (m->sequence < sequence)
            m->sequence = sequence;
    }
    for (uint32_t i = 0; fresh && i < COORD_MAX_SITES; i++) {
        free(h->memory[i].reply);
        h->memory[i] = fresh[i];
    }
    fl_code rc = fl_query_close(&q, err);
    if (!fresh && rc == FL_OK)
        rc = fl_fail(err, FL_EENV, "coordinator: no memory left");
    free(fresh);
    return rc;
}

/* What rows do not hold goes over from the old state: parked requests, times, counters. */
static void carry_over(coord_host *h, coord_state *next, const coord_state *old)
{
    next->n_sent = old->n_sent;
    next->timer_ms = old->timer_ms;
    for (uint32_t i = 0; i < old->n_sites; i++) {
        const coord_site *from = &old->sites[i];
        const uint32_t at = coord_find_site(next, from->name);
        if (at == UINT32_MAX) {
            if (from->parked)
                h->config.ignore(h->config.ctx, from->ticket);
            continue;
        }
        coord_site *to = &next->sites[at];
        to->seen_ms = from->seen_ms;
        to->parked = from->parked;
        to->ticket = from->ticket;
        to->until_ms = from->until_ms;
        to->poll = from->poll;
    }
    for (uint32_t i = 0; i < old->n_studies; i++) {
        const coord_study *from = &old->studies[i];
        const uint32_t at = coord_find_study(next, from->name);
        if (at != UINT32_MAX && next->studies[at].phase == from->phase && next->studies[at].round == from->round)
            next->studies[at].deadline_ms = from->deadline_ms;
    }
}

static fl_code reload(coord_host *h, fl_err *err)
{
    h->is_broken = true;
    FL_TRY(led_reload(h->store->ledger, err));
    FL_TRY(coord_state_load(h->spare, h->store, err));
    carry_over(h, h->spare, h->state);
    coord_state *old = h->state;
    h->state = h->spare;
    h->spare = old;
    FL_TRY(load_memory(h, err));
    h->is_broken = false;
    return FL_OK;
}

static void set_timer(coord_host *h, int64_t at_ms)
{
    h->state->timer_ms = at_ms;
    h->config.timer(h->config.ctx, at_ms);
}

/* After a commit that failed: the disk's state counts, nobody is answered, and the work is tried again soon. */
static void throw_away(coord_host *h, const fl_err *why)
{
    fl_err err;
    const int64_t soon = h->config.now_ms(h->config.ctx) + COORD_RETRY_MS;
    h->failed_commits++;
    coord_host_say(h, "%s; nothing of it counts, trying again in %d s", why->text, COORD_RETRY_MS / 1000);
    for (uint32_t i = 0; i < h->actions->n; i++)
        if (h->actions->list[i].kind == COORD_REPLY)
            h->config.ignore(h->config.ctx, h->actions->list[i].ticket);
    if (reload(h, &err))
        coord_host_say(h, "%s", err.text);
    else
        for (uint32_t i = 0; i < h->state->n_studies; i++)
            if (h->state->studies[i].deadline_ms == 0)
                h->state->studies[i].deadline_ms = soon;
    set_timer(h, soon);
}

static bool usable(coord_host *h)
{
    fl_err err;
    if (!h->is_broken)
        return true;
    if (reload(h, &err) == FL_OK)
        return true;
    coord_host_say(h, "%s", err.text);
    set_timer(h, h->config.now_ms(h->config.ctx) + COORD_RETRY_MS);
    return false;
}

/* ---- one step: rows ---------------------------------------------------------------------------------------------- */

static fl_code store_entry(coord_host *h, dp_entry *e, fl_err *err)
{
    if (e->kind == DP_RECEIVED) {
        const uint32_t site = coord_find_site(h->state, e->member);
        assert(site != UINT32_MAX);
        const char *note = h->memory[site].note;
        fl_base64_encode(e->checkpoint, (const uint8_t *)note, strlen(note)); /* "" gives "" */
    }
    return led_append(h->store->ledger, e, err);
}

/* The head as the site signed it, with our line behind it. */
static fl_code store_head(coord_host *h, const coord_event *ev, uint32_t site, fl_err *err)
{
    char origin[DP_ORIGIN_MAX];
    assert(ev->request && ev->request->kind == WIRE_HEAD && ev->site == site);
    fl_buf_clear(&h->cosigned);
    fl_buf_add_text(&h->cosigned, ev->request->u.head.note);
    dp_origin(origin, h->store->name);
    dp_checkpoint_cosign(&h->cosigned, origin, &h->store->key);
    FL_TRY(fl_buf_check(&h->cosigned, "cosigned head", err));
    return coord_put_head(h->store, h->state, site, fl_buf_text(&h->cosigned), err);
}

static fl_code store_action(coord_host *h, const coord_event *ev, const coord_action *a, fl_err *err)
{
    switch (a->kind) {
    case COORD_LEDGER:
        return store_entry(h, a->u.entry, err);
    case COORD_PUT_SITE:
        return store_head(h, ev, a->site, err);
    case COORD_PUT_KEY:
        return coord_put_key(h->store, h->state, a->site, err);
    case COORD_PUT_MEMBER:
        return coord_put_member(h->store, h->state, a->study, a->site, err);
    case COORD_PUT_ROUND:
        return coord_put_round(h->store, h->state, a->study, err);
    case COORD_PUT_CONTRIBUTION:
        return coord_put_contribution(h->store, h->state, a->study, a->site, err);
    case COORD_PUT_MODEL:
        return coord_put_model(h->store, h->state->studies[a->study].name, a->round, &a->model_hash, &a->server_hash,
                               &a->released_hash, err);
    default:
        return FL_OK;
    }
}

static fl_code store_all(coord_host *h, const coord_event *ev, fl_err *err)
{
    bool any = false;
    for (uint32_t i = 0; i < h->actions->n; i++)
        any |= h->actions->list[i].kind <= COORD_PUT_MODEL;
    if (!any)
        return FL_OK;
    FL_TRY(fl_db_begin(h->store->db, err));
    fl_code rc = FL_OK;
    for (uint32_t i = 0; i < h->actions->n && rc == FL_OK; i++)
        rc = store_action(h, ev, &h->actions->list[i], err);
    if (rc == FL_OK && (ev->kind == COORD_EV_REQUEST || ev->kind == COORD_EV_ROTATED))
        rc = coord_put_seen(h->store, h->state->sites[ev->site].name, h->memory[ev->site].sequence, fl_clock_wall_s(),
                            err);
    if (rc) {
        fl_db_rollback(h->store->db);
        return rc;
    }
    return fl_db_commit(h->store->db, err);
}

/* ---- one step: the world ----------------------------------------------------------------------------------------- */

static fl_code fill_plan(coord_host *h, wire_message *m, fl_err *err)
{
    fl_buf_clear(&h->plan_text);
    if (m->u.plan.n_bytes == 0) /* not for this hospital: an empty object holds the study's place in the count */
        fl_buf_add_text(&h->plan_text, "{}");
    else
        FL_TRY(coord_study_plan(h->store, &h->plan_text, m->study, err));
    m->u.plan.json = fl_buf_text(&h->plan_text);
    m->u.plan.n_bytes = (uint32_t)h->plan_text.size;
    return FL_OK;
}

/* What only the host can put into a reply. */
static fl_code fill_reply(coord_host *h, const coord_event *ev, wire_message *m, fl_err *err)
{
    if (m->kind == WIRE_PLAN)
        return fill_plan(h, m, err);
    if (m->kind == WIRE_RECEIPT)
        wire_receipt_sign(m->u.receipt.signature, &h->store->key, m->study, m->round, h->state->sites[ev->site].name,
                          m->debit, &m->u.receipt.update_hash);
    if (m->kind == WIRE_COSIGNED) {
        if (h->cosigned.size >= sizeof m->u.cosigned.note)
            return fl_fail(err, FL_EREFUSED, "cosigned head of %zu bytes", h->cosigned.size);
        strcpy(m->u.cosigned.note, fl_buf_text(&h->cosigned));
        strcpy(h->memory[ev->site].note, fl_buf_text(&h->cosigned)); /* its row is committed */
    }
    return FL_OK;
}

/* A retry of what changed something gets the same bytes. */
static void remember(coord_host *h, const coord_event *ev)
{
    coord_memory *m = &h->memory[ev->site];
    uint8_t *copy = malloc(h->out.size);
    if (!copy)
        return; /* the machine answers a retry in the same sense */
    memcpy(copy, h->out.bytes, h->out.size);
    free(m->reply);
    m->reply = copy;
    m->n_reply = h->out.size;
    m->request_id = ev->request->request_id;
    m->request_sequence = ev->request->sequence;
}

static bool is_kept(wire_kind kind)
{
    return kind == WIRE_JOIN || kind == WIRE_LEAVE || kind == WIRE_HEAD || kind == WIRE_RELEASED;
}

void coord_host_send(coord_host *h, uint64_t ticket, const wire_message *m)
{
    fl_err err;
    fl_buf_clear(&h->out);
    if (wire_pack(&h->out, m, &h->store->key, &err)) {
        coord_host_say(h, "reply %s: %s", wire_kind_name(m->kind), err.text);
        h->config.ignore(h->config.ctx, ticket);
        return;
    }
    h->config.reply(h->config.ctx, ticket, h->out.bytes, h->out.size);
}

static void perform(coord_host *h, const coord_event *ev)
{
    fl_err err;
    for (uint32_t i = 0; i < h->actions->n; i++) {
        coord_action *a = &h->actions->list[i];
        if (a->kind == COORD_REPLY) {
            if (fill_reply(h, ev, &a->u.reply, &err)) {
                coord_host_say(h, "%s", err.text);
                h->config.ignore(h->config.ctx, a->ticket);
                continue;
            }
            coord_host_send(h, a->ticket, &a->u.reply);
            if (ev->kind == COORD_EV_REQUEST && a->ticket == ev->ticket && is_kept(ev->request->kind) && !h->out.failed)
                remember(h, ev);
        } else if (a->kind == COORD_TIMER)
            h->config.timer(h->config.ctx, a->at_ms);
        else if (a->kind == COORD_SAY)
            say_action(h, a);
        else if (a->kind == COORD_FOLD)
            h->to_fold |= 1u << a->study;
    }
}

static bool step(coord_host *h, coord_event *ev)
{
    fl_err err = {0};
    ev->now_ms = h->config.now_ms(h->config.ctx);
    h->actions->n = 0;
    h->actions->n_entries = 0;
    coord_step(h->state, ev, h->actions);
    if (store_all(h, ev, &err)) {
        throw_away(h, &err);
        return false;
    }
    perform(h, ev);
    return true;
}

/* What was received cannot be aggregated: a person has to look. */
static bool pause_study(coord_host *h, uint32_t study)
{
    char name[WIRE_NAME_MAX];
    fl_err err;
    memcpy(name, h->state->studies[study].name, sizeof name);
    if (coord_study_say(h->store, name, COORD_PAUSE, &err) || reload(h, &err)) {
        coord_host_say(h, "%s", err.text);
        return false;
    }
    coord_host_say(h, "study %s: paused: its round cannot be aggregated; `study resume` tries again", name);
    return true;
}

static void fold(coord_host *h, uint32_t study)
{
    coord_event ev = {.kind = COORD_EV_FOLDED, .study = study};
    agg_result result;
    fl_err err = {0};
    fl_buf json;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    const coord_study *st = &h->state->studies[study];
    fl_code rc = coord_study_plan(h->store, &json, st->name, &err);
    if (rc == FL_OK)
        rc = nn_plan_parse(h->plan, fl_buf_text(&json), json.size, &err);
    if (rc == FL_OK)
        rc = agg_fedavg(h->store, h->plan, st->round, &result, &err);
    fl_buf_fini(&json);
    if (rc == FL_OK) {
        say_folded(h, study, &result);
        ev.model_hash = result.model;
        ev.server_hash = result.server;
        ev.released_hash = result.released;
    } else {
        coord_host_say(h, "%s", err.text);
        ev.kind = COORD_EV_FOLD_FAILED;
        if (rc == FL_EREFUSED && pause_study(h, study)) /* the same numbers would be refused again, for ever */
            ev.kind = COORD_EV_CHANGED;
    }
    step(h, &ev);
}

static void run(coord_host *h, coord_event *ev)
{
    if (!step(h, ev))
        h->to_fold = 0; /* comes again with the timer */
    for (uint32_t i = 0; h->to_fold && !h->is_broken; i = (i + 1) % COORD_MAX_STUDIES)
        if (h->to_fold >> i & 1) {
            h->to_fold &= ~(1u << i);
            fold(h, i);
        }
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void complete(coord_host *h, coord_event *ev)
{
    const wire_message *m = ev->request;
    fl_err none;
    uint64_t size;
    ev->has_object = fl_objects_have(h->store->objects, &m->u.released.update_hash, &size) &&
                     size == m->u.released.update_bytes;
    ev->has_bad_counts = ev->has_object && !coord_counts_are_sane(h->store, h->state, m);
    ev->debit_known = coord_debit_known(h->store, m->debit);
    ev->has_earlier = coord_contribution(h->store, m->study, m->round, m->sender, &ev->earlier_update,
                                         ev->earlier_debit, &none);
    ev->has_entry = coord_has_entry(h, ev);
}

static void to_machine(coord_host *h, uint64_t ticket, const wire_message *m, uint32_t site)
{
    coord_event ev = {.kind = COORD_EV_REQUEST, .ticket = ticket, .site = site, .request = m};
    if (m->kind == WIRE_HEAD) {
        fl_err err;
        const char *note = m->u.head.note;
        if (dp_checkpoint_verify(note, strlen(note), h->memory[site].vkey, NULL, &ev.note_size, &ev.note_root, &err)) {
            coord_host_refuse(h, ticket, m, WIRE_E_BAD_REQUEST, false, err.text);
            return;
        }
        coord_check_head(h, &ev);
    } else if (m->kind == WIRE_RELEASED)
        complete(h, &ev);
    run(h, &ev);
}

/* false: answered already. */
static bool authentic(coord_host *h, uint64_t ticket, const wire_message *m, const char *peer_name, uint32_t site)
{
    if (site == UINT32_MAX) {
        coord_host_refuse(h, ticket, m, WIRE_E_BAD_REQUEST, false, "no hospital of this name is enrolled here");
        return false;
    }
    if (strcmp(peer_name, m->sender) != 0) {
        coord_host_refuse(h, ticket, m, WIRE_E_BAD_REQUEST, false, "the certificate belongs to another hospital");
        return false;
    }
    uint8_t key[FL_PUBLIC_KEY_SIZE];
    memcpy(key, h->state->sites[site].public_key, sizeof key);
    if (m->kind == WIRE_ROTATED)
        coord_follow_keys(key, h->memory[site].vkey, m);
    if (wire_verify(&h->decoder, key, NULL)) {
        coord_host_refuse(h, ticket, m, WIRE_E_BAD_REQUEST, false, "the signature is not of this hospital's key");
        return false;
    }
    coord_memory *memory = &h->memory[site];
    if (m->kind == WIRE_WITNESS) /* who asks does not know its own past: it may have said more than it remembers */
        return true;
    if (memory->reply && memory->request_id == m->request_id && memory->request_sequence == m->sequence) {
        h->config.reply(h->config.ctx, ticket, memory->reply, memory->n_reply);
        return false;
    }
    const bool is_older_start = m->sequence >> 32 < memory->sequence >> 32;
    if (wire_check_fresh(&memory->sequence, m, NULL)) {
        if (is_older_start)
            coord_host_refuse(h, ticket, m, WIRE_E_ROLLBACK, false,
                              "this hospital has started more often than it says: it was restored or cloned");
        else
            coord_host_refuse(h, ticket, m, WIRE_E_BAD_REQUEST, true, "this sequence number was passed already");
        return false;
    }
    return true;
}

static void take_rotated(coord_host *h, uint64_t ticket, const wire_message *m, uint32_t site)
{
    coord_event ev = {.kind = COORD_EV_ROTATED, .ticket = ticket, .site = site, .request = m};
    char origin[DP_ORIGIN_MAX];
    memcpy(ev.public_key, h->state->sites[site].public_key, sizeof ev.public_key);
    coord_follow_keys(ev.public_key, h->memory[site].vkey, m);
    run(h, &ev);
    if (memcmp(h->state->sites[site].public_key, ev.public_key, sizeof ev.public_key) != 0)
        return; /* not committed */
    dp_origin(origin, m->sender);
    dp_vkey_text(h->memory[site].vkey, origin, ev.public_key);
    coord_host_say(h, "%s has a new key, signed by the one before", m->sender);
}

void coord_host_request(coord_host *h, uint64_t ticket, const uint8_t *bytes, size_t n, const char *peer_name)
{
    wire_message m;
    fl_err err;
    if (!usable(h) || wire_unpack(&m, &h->decoder, bytes, n, &err) || !wire_kind_is_request(m.kind)) {
        h->config.ignore(h->config.ctx, ticket);
        return;
    }
    const uint32_t site = coord_find_site(h->state, m.sender);
    if (!authentic(h, ticket, &m, peer_name, site))
        return;
    h->state->sites[site].seen_ms = h->config.now_ms(h->config.ctx);
    if (m.kind == WIRE_FETCH)
        coord_serve_fetch(h, ticket, &m, site);
    else if (m.kind == WIRE_UPLOAD)
        coord_serve_upload(h, ticket, &m, site);
    else if (m.kind == WIRE_WITNESS)
        coord_serve_witness(h, ticket, &m, site);
    else if (m.kind == WIRE_KEYS)
        coord_serve_keys(h, ticket, &m);
    else if (m.kind == WIRE_ROTATED)
        take_rotated(h, ticket, &m, site);
    else
        to_machine(h, ticket, &m, site);
}

void coord_host_timer(coord_host *h)
{
    coord_event ev = {.kind = COORD_EV_TIMER};
    if (usable(h))
        run(h, &ev);
}

void coord_host_start(coord_host *h)
{
    coord_event ev = {.kind = COORD_EV_START};
    run(h, &ev);
}

fl_code coord_host_changed(coord_host *h, fl_err *err)
{
    coord_event ev = {.kind = COORD_EV_CHANGED};
    fl_code rc = reload(h, err);
    if (rc) {
        set_timer(h, h->config.now_ms(h->config.ctx) + COORD_RETRY_MS);
        return rc;
    }
    run(h, &ev);
    return FL_OK;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

fl_code coord_host_open(coord_host **out, coord_store *store, const coord_host_config *config, fl_err *err)
{
    assert(config->reply && config->ignore && config->timer && config->now_ms);
    coord_host *h = calloc(1, sizeof *h);
    if (!h)
        return fl_fail(err, FL_EENV, "coordinator: no memory left");
    h->store = store;
    h->config = *config;
    h->state = calloc(1, sizeof *h->state);
    h->spare = calloc(1, sizeof *h->spare);
    h->actions = calloc(1, sizeof *h->actions);
    h->plan = calloc(1, sizeof *h->plan);
    h->piece = malloc(WIRE_PIECE_MAX);
    h->entry = malloc(sizeof *h->entry);
    fl_buf_init(&h->out, WIRE_ENVELOPE_MAX);
    fl_buf_init(&h->plan_text, NN_PLAN_MAX_BYTES);
    fl_buf_init(&h->cosigned, WIRE_NOTE_MAX);
    fl_code rc = h->state && h->spare && h->actions && h->plan && h->piece && h->entry
                     ? coord_boot(store, err)
                     : fl_fail(err, FL_EENV, "coordinator: no memory left");
    if (rc == FL_OK)
        rc = reload(h, err);
    if (rc) {
        coord_host_close(h);
        return rc;
    }
    *out = h;
    return FL_OK;
}

void coord_host_close(coord_host *h)
{
    if (!h)
        return;
    for (uint32_t i = 0; h->state && i < h->state->n_sites; i++)
        if (h->state->sites[i].parked)
            h->config.ignore(h->config.ctx, h->state->sites[i].ticket);
    for (uint32_t i = 0; i < COORD_MAX_SITES; i++)
        free(h->memory[i].reply);
    wire_decoder_fini(&h->decoder);
    fl_buf_fini(&h->out);
    fl_buf_fini(&h->plan_text);
    fl_buf_fini(&h->cosigned);
    free(h->state);
    free(h->spare);
    free(h->actions);
    free(h->plan);
    free(h->piece);
    free(h->entry);
    free(h);
}

const coord_state *coord_host_state(const coord_host *h)
{
    return h->state;
}

uint64_t coord_host_failed_commits(const coord_host *h)
{
    return h->failed_commits;
}
