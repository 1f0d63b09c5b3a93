#include "node/host.h"

#include "base/clock.h"
#include "base/log.h"
#include "crypto/csprng.h"
#include "node/heads.h"
#include "privacy/cosign.h"
#include "proto/msg/envelope.h"
#include "train/model.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESTART_MS   5000
#define REPLY_MS     15000 /* beyond what a long poll asks for */
#define MAX_FAILURES 8     /* of one transfer without progress; then the machine asks again */

typedef enum transfer { TRANSFER_NONE, TRANSFER_FETCH, TRANSFER_UPLOAD } transfer;

struct node_host {
    node_store *store;
    node_host_config config;
    node_state state;
    node_actions actions;
    wire_decoder decoder;
    fl_csprng random;
    uint64_t last_sequence; /* of the coordinator */
    char cosigned[WIRE_NOTE_MAX];
    bool learning;        /* a reply was not signed with the coordinator's key: has it another one now? */
    uint64_t held;        /* lines under the head of ours that the coordinator holds, as far as is known */
    bool restart;         /* the state was thrown away: START at the next timer */
    const char *new_plan; /* text of the plan that this step stores */
    size_t n_new_plan;

    /* the transfer under way */
    transfer transfer;
    fl_hash object;
    fl_hash fetched; /* the model that was asked for last, whatever came of it */
    bool has_fetched;
    uint64_t total, offset;
    unsigned failures;
    wire_piece piece;
    wire_message asked; /* the request that is out, whoever asked */
    fl_buf bytes;       /* its envelope */
    uint8_t *buffer;
    fl_hash proofs[2][DP_PROOF_MAX]; /* of the HEAD or RELEASED that is out */
    fl_buf entry;                    /* its line, or the lines of a ROTATED, each ended by a 0 */
    const char *lines[WIRE_CHAIN_MAX];
};

static void run(node_host *h, node_event *ev);

static void transfer_ended(node_host *h, node_event ev)
{
    h->transfer = TRANSFER_NONE;
    run(h, &ev);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static void start_again(node_host *h)
{
    h->config.timer(h->config.ctx, h->config.now_ms(h->config.ctx) + RESTART_MS);
    h->restart = true;
}

static void send_request(node_host *h, const wire_message *m)
{
    wire_message keys = {.kind = WIRE_KEYS};
    if (h->learning) { /* first; the machine asks again */
        memcpy(keys.sender, h->state.name, sizeof keys.sender);
        memcpy(keys.u.keys.public_key, h->store->coordinator_key, sizeof keys.u.keys.public_key);
        keys.request_id = fl_csprng_u64(&h->random);
        keys.sequence = h->state.boot << 32 | ++h->state.n_sent;
        m = &keys;
    }
    fl_err err;
    h->asked = *m;
    fl_buf_clear(&h->bytes);
    if (wire_pack(&h->bytes, m, &h->store->key, &err)) {
        fl_log(FL_ERROR, "wire", "request=%s %s", wire_kind_name(m->kind), err.text);
        start_again(h);
        return;
    }
    unsigned timeout = REPLY_MS + (m->kind == WIRE_POLL ? m->u.poll.wait_ms : 0);
    h->config.send(h->config.ctx, h->bytes.bytes, h->bytes.size, timeout);
}

/* The coordinator still holds a head of the lines that were lost. */
static bool is_unshown(const node_host *h)
{
    const dp_ledger_state *l = led_state(h->store->ledger);
    return l->restore_seq > 0 && h->held < l->restore_seq;
}

/* RESTORE names the head the coordinator holds; what we share with it is the head that it signed last for these lines. */
static void fill_restored(node_host *h, wire_head *head)
{
    fl_err err;
    led_ledger *l = h->store->ledger;
    const uint64_t seq = led_state(l)->restore_seq;
    fl_buf_clear(&h->entry);
    if (led_line(l, &h->entry, seq, &err)) {
        fl_log(FL_ERROR, "ledger", "%s", err.text);
        return;
    }
    head->restore = fl_buf_text(&h->entry);
    head->inclusion = (wire_proof){.hashes = h->proofs[1],
                                   .n = led_inclusion(l, h->proofs[1], seq, led_state(l)->n_entries)};
    if (h->held > 0)
        strcpy(head->older, h->cosigned);
}

/* Our head, and that it grew out of the one the coordinator holds. */
static void fill_head(node_host *h, wire_head *head)
{
    const led_ledger *l = h->store->ledger;
    const char *note = led_note(l);
    const uint64_t size = led_state(l)->n_entries;
    assert(strlen(note) < sizeof head->note);
    strcpy(head->note, note);
    if (is_unshown(h))
        fill_restored(h, head);
    if (h->held <= size)
        head->consistency = (wire_proof){.hashes = h->proofs[0], .n = led_consistency(l, h->proofs[0], h->held, size)};
}

/* Every KEY_ROTATE since the key of ours that the coordinator knows. */
static fl_code fill_rotated(node_host *h, wire_lines *lines, fl_err *err)
{
    char known[DP_VKEY_MAX];
    uint32_t n;
    fl_buf_clear(&h->entry);
    FL_TRY(node_key_told(h->store, known, err));
    FL_TRY(led_key_chain(h->store->ledger, &h->entry, &n, known, WIRE_CHAIN_MAX, err));
    char *at = (char *)h->entry.bytes;
    for (uint32_t i = 0; i < n; i++) {
        char *end = strchr(at, '\n');
        h->lines[i] = at;
        *end = 0;
        at = end + 1;
    }
    *lines = (wire_lines){.list = h->lines, .n = n};
    return FL_OK;
}

/* The RELEASE line, and that it stands under the head the coordinator holds. */
static fl_code fill_released(node_host *h, wire_message *m, fl_err *err)
{
    led_ledger *l = h->store->ledger;
    const dp_debit *d = dp_replay_debit(led_replay(l), m->debit);
    if (!d || d->release_seq == 0)
        return fl_fail(err, FL_EREFUSED, "debit %s has no RELEASE here: restore a backup", m->debit);
    fl_buf_clear(&h->entry);
    FL_TRY(led_line(l, &h->entry, d->release_seq, err));
    m->u.released.entry = fl_buf_text(&h->entry);
    if (d->release_seq <= h->held && h->held <= led_state(l)->n_entries)
        m->u.released.inclusion = (wire_proof){.hashes = h->proofs[0],
                                               .n = led_inclusion(l, h->proofs[0], d->release_seq, h->held)};
    return FL_OK;
}

static void send_machine_request(node_host *h)
{
    wire_message m = h->state.request;
    fl_err err;
    if (m.kind == WIRE_HEAD)
        fill_head(h, &m.u.head);
    if (m.kind == WIRE_ROTATED && fill_rotated(h, &m.u.rotated, &err)) {
        fl_log(FL_ERROR, "ledger", "%s", err.text);
        start_again(h);
        return;
    }
    if (m.kind == WIRE_RELEASED && fill_released(h, &m, &err)) {
        fl_log(FL_ERROR, "ledger", "%s", err.text);
        start_again(h);
        return;
    }
    send_request(h, &m);
}

/* The bytes are a model of the plan: looked at before any budget is reserved for it. */
static bool model_ok(node_host *h)
{
    fl_err err = {.text = "out of memory"};
    fl_buf bytes;
    fl_buf_init(&bytes, WIRE_OBJECT_MAX);
    float *w = malloc(h->total ? h->total : 1);
    bool ok = w && fl_objects_get(h->store->objects, &bytes, &h->object, &err) == FL_OK &&
              nn_weights_read(w, h->total / 4, bytes.bytes, bytes.size, &err) == FL_OK;
    if (!ok)
        fl_log(FL_ERROR, "fetch", "the model cannot be used: %s", err.text);
    free(w);
    fl_buf_fini(&bytes);
    return ok;
}

/* The next piece, or its end. */
static void transfer_next(node_host *h)
{
    wire_message m = {0};
    const node_plan *p = &h->state.plans[h->state.now.plan];
    if (h->transfer == TRANSFER_FETCH) {
        if (fl_objects_have(h->store->objects, &h->object, NULL)) {
            transfer_ended(h, (node_event){.kind = model_ok(h) ? NODE_EV_FETCHED : NODE_EV_MODEL_BAD});
            return;
        }
        m.kind = WIRE_FETCH;
        m.u.fetch.object = h->object;
        m.u.fetch.offset = h->offset = fl_objects_length(h->store->objects, &h->object);
        m.u.fetch.max_bytes = wire_piece_size(&h->piece);
    } else {
        fl_err err = {.text = "shorter than it was"};
        size_t n;
        uint32_t want = wire_piece_take(&h->piece, h->total - h->offset);
        if (fl_objects_read_at(h->store->objects, h->buffer, want, &h->object, h->offset, &n, &err) || n != want) {
            fl_log(FL_ERROR, "upload", "the update cannot be read: %s", err.text);
            transfer_ended(h, (node_event){.kind = NODE_EV_UPLOAD_FAILED});
            return;
        }
        m.kind = WIRE_UPLOAD;
        m.u.upload.object = h->object;
        m.u.upload.offset = h->offset;
        m.u.upload.total = h->total;
        m.u.upload.bytes = h->buffer;
        m.u.upload.n_bytes = want;
    }
    memcpy(m.sender, h->state.name, sizeof m.sender);
    memcpy(m.study, p->study, sizeof m.study);
    m.round = h->state.now.round;
    memcpy(m.debit, h->state.now.debit, sizeof m.debit);
    m.request_id = fl_csprng_u64(&h->random);
    m.sequence = h->state.boot << 32 | ++h->state.n_sent;
    send_request(h, &m);
}

/* The released bytes are here and are those of their name. */
static bool update_ok(node_host *h, const fl_hash *object, uint64_t total)
{
    fl_err err = {.text = "another size"};
    fl_buf bytes;
    fl_buf_init(&bytes, WIRE_OBJECT_MAX);
    bool ok = fl_objects_get(h->store->objects, &bytes, object, &err) == FL_OK && bytes.size == total;
    if (!ok)
        fl_log(FL_ERROR, "upload", "the released update is lost: %s", err.text);
    fl_buf_fini(&bytes);
    return ok;
}

static void transfer_begin(node_host *h, transfer kind, const fl_hash *object, uint64_t total)
{
    fl_err err;
    if (kind == TRANSFER_FETCH) { /* what came of another model, whole or in part, is of no use any more */
        if (h->has_fetched && !fl_hash_equal(&h->fetched, object) &&
            fl_objects_remove(h->store->objects, &h->fetched, &err))
            fl_log(FL_WARN, "store", "%s", err.text);
        h->fetched = *object;
        h->has_fetched = true;
    }
    h->transfer = kind;
    h->object = *object;
    h->total = total;
    h->offset = 0;
    h->failures = 0;
    if (kind == TRANSFER_UPLOAD && !update_ok(h, object, total)) {
        transfer_ended(h, (node_event){.kind = NODE_EV_UPLOAD_FAILED, .lost = true});
        return;
    }
    transfer_next(h);
}

static void transfer_retry(node_host *h)
{
    wire_piece_cut(&h->piece);
    if (++h->failures >= MAX_FAILURES) {
        transfer_ended(
            h, (node_event){.kind = h->transfer == TRANSFER_FETCH ? NODE_EV_FETCH_FAILED : NODE_EV_UPLOAD_FAILED});
        return;
    }
    h->config.timer(h->config.ctx, h->config.now_ms(h->config.ctx) + NODE_RETRY_MS);
}

static void fetch_reply(node_host *h, const wire_message *m)
{
    bool done;
    fl_err err;
    if (m->kind == WIRE_ERROR) {
        transfer_ended(h, (node_event){.kind = NODE_EV_FETCH_FAILED});
        return;
    }
    if (m->u.bytes.total != h->total) { /* a model of another size than the plan's */
        transfer_ended(h, (node_event){.kind = NODE_EV_MODEL_BAD});
        return;
    }
    fl_code rc = fl_objects_append(h->store->objects, &h->object, m->u.bytes.offset, m->u.bytes.bytes,
                                   m->u.bytes.n_bytes, h->total, &done, &err);
    if (rc) {
        fl_log(FL_WARN, "fetch", "%s", err.text);
        transfer_retry(h);
        return;
    }
    h->failures = 0;
    wire_piece_done(&h->piece);
    transfer_next(h);
}

static void upload_reply(node_host *h, const wire_message *m)
{
    if (m->kind == WIRE_ERROR) {
        const wire_error_code code = m->u.error.code;
        const bool over = code == WIRE_E_STALE_ROUND || code == WIRE_E_UNKNOWN_STUDY || code == WIRE_E_NOT_A_MEMBER ||
                          code == WIRE_E_BAD_UPDATE || code == WIRE_E_REVOKED;
        if (over) {
            transfer_ended(h, (node_event){.kind = NODE_EV_UPLOAD_FAILED, .round_closed = true});
            return;
        }
        if (code == WIRE_E_EQUIVOCATION || code == WIRE_E_ROLLBACK) {
            transfer_ended(h, (node_event){.kind = NODE_EV_UPLOAD_FAILED,
                                           .halt = code == WIRE_E_ROLLBACK ? NODE_R_ROLLBACK : NODE_R_EQUIVOCATION});
            return;
        }
        transfer_retry(h);
        return;
    }
    if (m->u.length.length <= h->offset && ++h->failures >= MAX_FAILURES) { /* it takes nothing */
        transfer_ended(h, (node_event){.kind = NODE_EV_UPLOAD_FAILED});
        return;
    }
    if (m->u.length.length > h->offset) {
        h->failures = 0;
        wire_piece_done(&h->piece);
    }
    h->offset = m->u.length.length; /* what is verified over there, also after its restart */
    if (h->offset >= h->total)
        transfer_ended(h, (node_event){.kind = NODE_EV_UPLOADED});
    else
        transfer_next(h);
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

/* When the update leaves, not when training ended: that depends on the patients. */
static void set_slot_time(node_host *h, dp_entry *e)
{
    const int64_t left_ms = h->state.slot_at_ms - h->config.now_ms(h->config.ctx);
    const char *last = led_state(h->store->ledger)->t;
    fl_clock_text(e->t, fl_clock_wall_s() + (left_ms > 0 ? (left_ms + 999) / 1000 : 0));
    if (strcmp(e->t, last) < 0)
        strcpy(e->t, last);
}

static fl_code store_entry(node_host *h, dp_entry *e, fl_err *err)
{
    if (e->kind == DP_RELEASE)
        set_slot_time(h, e);
    if (e->kind == DP_ACK)
        fl_base64_encode(e->checkpoint, (const uint8_t *)h->cosigned, strlen(h->cosigned));
    return led_append(h->store->ledger, e, err);
}

static bool is_store(const node_action *a)
{
    return a->kind == NODE_LEDGER || a->kind == NODE_PUT_PLAN || a->kind == NODE_PUT_ROUND;
}

static fl_code commit(node_host *h, fl_err *err)
{
    bool any = false;
    for (uint32_t i = 0; i < h->actions.n; i++)
        any |= is_store(&h->actions.list[i]);
    if (!any)
        return FL_OK;
    fl_code rc = fl_db_begin(h->store->db, err);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < h->actions.n && rc == FL_OK; i++) {
        node_action *a = &h->actions.list[i];
        if (a->kind == NODE_LEDGER)
            rc = store_entry(h, &a->entry, err);
        else if (a->kind == NODE_PUT_ROUND)
            rc = node_round_put(h->store, &h->state, err);
        else if (a->kind == NODE_PUT_PLAN) {
            rc = node_plan_put(h->store, &h->state, a->plan, err);
            if (rc == FL_OK && h->new_plan)
                rc = node_plan_keep(h->store, a->plan, h->new_plan, h->n_new_plan, err);
        }
    }
    if (rc) {
        fl_db_rollback(h->store->db);
        return rc;
    }
    return fl_db_commit(h->store->db, err);
}

static void throw_away(node_host *h, const fl_err *why)
{
    fl_err err;
    fl_log(FL_ERROR, "store", "%s; nothing was sent, trying again", why->text);
    h->transfer = TRANSFER_NONE;
    h->restart = true;
    if (led_reload(h->store->ledger, &err) || node_state_load(&h->state, h->store, &err))
        fl_log(FL_ERROR, "store", "%s", err.text); /* restart loads again */
    h->config.timer(h->config.ctx, h->config.now_ms(h->config.ctx) + RESTART_MS);
}

static void say_halted(node_reason reason)
{
    fl_log(FL_ERROR, "ledger", "halted reason=%s: %s", node_reason_text(reason),
           reason == NODE_R_REVOKED ? "the consortium shut this hospital out"
                                    : "this folder was put back from an old copy, or a copy of it runs elsewhere: stop "
                                      "the node, see to it that "
                                      "no other copy runs, and run `cordon-node restore`");
}

static void say(node_host *h, const node_action *a)
{
    if (a->plan == UINT32_MAX) {
        say_halted(a->reason);
        return;
    }
    const node_plan *p = a->plan < h->state.n_plans ? &h->state.plans[a->plan] : NULL;
    const bool refused = p && p->refused == a->reason;
    fl_log(refused ? FL_WARN : FL_ERROR, "round", "%s reason=%s study=%s round=%u%s", refused ? "refused" : "lost",
           node_reason_text(a->reason), p ? p->study : "-",
           !p        ? 0
           : refused ? p->refused_round
                     : p->burn_round,
           a->reason == NODE_R_OVER_BUDGET ? " (the budget of this hospital's patients does not cover another round)"
                                           : "");
}

static void perform(node_host *h)
{
    /* An action may lead to another step, which overwrites h->actions: at most one that does stands in a step, and it
     * comes last but for what only logs. */
    node_action last = {0};
    bool leads = false;
    for (uint32_t i = 0; i < h->actions.n; i++) {
        node_action *a = &h->actions.list[i];
        if (a->kind == NODE_TIMER)
            h->config.timer(h->config.ctx, a->at_ms);
        else if (a->kind == NODE_SAY)
            say(h, a);
        else if (!is_store(a)) {
            assert(!leads);
            leads = true;
            last.kind = a->kind;
            last.size_bytes = a->size_bytes;
        }
    }
    if (!leads)
        return;
    const node_round *now = &h->state.now;
    if (last.kind == NODE_SEND)
        send_machine_request(h);
    else if (last.kind == NODE_FETCH)
        transfer_begin(h, TRANSFER_FETCH, &now->model_hash, last.size_bytes);
    else if (last.kind == NODE_UPLOAD)
        transfer_begin(h, TRANSFER_UPLOAD, &now->update_hash, last.size_bytes);
    else if (last.kind == NODE_TRAIN) {
        node_training what = {.plan = now->plan,
                              .round = now->round,
                              .declared_patients = h->state.plans[now->plan].declared_patients,
                              .model_hash = now->model_hash};
        memcpy(what.debit, now->debit, sizeof what.debit);
        h->config.train(h->config.ctx, &what);
    }
}

static void run(node_host *h, node_event *ev)
{
    fl_err err;
    ev->now_ms = h->config.now_ms(h->config.ctx);
    fl_csprng_bytes(&h->random, ev->random, sizeof ev->random);
    h->actions.n = 0;
    const fl_hash old_update = h->state.now.update_hash, old_model = h->state.now.model_hash;
    const node_phase before = h->state.now.phase;
    node_step(&h->state, ev, &h->actions);
    if (commit(h, &err)) {
        throw_away(h, &err);
        return;
    }
    if (before == NODE_DELIVERING && ev->reply && ev->reply->kind == WIRE_RECEIPT && h->state.now.phase == NODE_POLLING)
        fl_log(FL_INFO, "round", "done study=%s round=%u epsilon_spent=%.4f", ev->reply->study, ev->reply->round,
               dp_filter_epsilon_spent(&h->state.filter));
    if (before >= NODE_TRAINING && before <= NODE_DELIVERING && h->state.now.phase == NODE_POLLING) {
        /* the round is over: its bytes are no longer owed to anybody */
        if (before >= NODE_RELEASED && fl_objects_remove(h->store->objects, &old_update, &err))
            fl_log(FL_WARN, "store", "%s", err.text);
        if (fl_objects_have(h->store->objects, &old_model, NULL) &&
            fl_objects_remove(h->store->objects, &old_model, &err))
            fl_log(FL_WARN, "store", "%s", err.text);
    }
    perform(h);
}

static bool is_untold(node_host *h)
{
    char known[DP_VKEY_MAX];
    fl_err err;
    return node_key_told(h->store, known, &err) == FL_OK && strcmp(known, led_vkey(h->store->ledger)) != 0;
}

static void restart(node_host *h)
{
    fl_err err;
    if (led_reload(h->store->ledger, &err) || node_state_load(&h->state, h->store, &err)) {
        fl_log(FL_ERROR, "store", "%s", err.text);
        h->config.timer(h->config.ctx, h->config.now_ms(h->config.ctx) + RESTART_MS);
        return;
    }
    h->config.apply_policy(h->config.ctx, &h->state);
    h->restart = false;
    h->state.show_head = is_unshown(h);
    h->state.show_key = is_untold(h);
    h->state.n_sent = (uint32_t)(h->asked.sequence & 0xffffffff); /* this start has used these */
    node_event ev = {.kind = NODE_EV_START};
    run(h, &ev);
}

/* ---- what comes in ---------------------------------------------------------------------------------------------- */

static void plan_arrived(node_host *h, const wire_message *m)
{
    node_plan described;
    fl_err err;
    if (m->u.plan.index != h->state.n_plans) {
        node_event no = {.kind = NODE_EV_NO_REPLY};
        run(h, &no);
        return;
    }
    const bool is_place = m->u.plan.n_bytes == 2 && memcmp(m->u.plan.json, "{}", 2) == 0;
    if (node_plan_read(&described, m->study, m->u.plan.json, m->u.plan.n_bytes, &err) == FL_OK)
        fl_log(FL_INFO, "plan", "study=%s arrived: see `cordon-node plan list`", m->study);
    else if (is_place)
        fl_log(FL_INFO, "plan", "study=%s is for other hospitals", m->study);
    else
        fl_log(FL_ERROR, "plan", "study=%s cannot be read by this version: %s", m->study, err.text);
    h->new_plan = m->u.plan.json;
    h->n_new_plan = m->u.plan.n_bytes;
    node_event ev = {.kind = NODE_EV_PLAN, .plan = &described};
    run(h, &ev);
    h->new_plan = NULL;
}

/* The coordinator's signature on exactly our note. */
static bool cosigned_ok(node_host *h, const char *note, fl_err *err)
{
    const char *own = led_note(h->store->ledger);
    if (strncmp(note, own, strlen(own)) != 0)
        return fl_fail(err, FL_EREFUSED, "the cosigned note is not our head"), false;
    return dp_checkpoint_verify_cosigned(note, strlen(note), led_vkey(h->store->ledger), h->store->coordinator_vkey,
                                         NULL, NULL, err) == FL_OK;
}

static bool accept_evidence(node_host *h, const wire_message *m, fl_err *err)
{
    if (m->kind == WIRE_RECEIPT)
        return wire_receipt_verify(m->u.receipt.signature, h->store->coordinator_key, h->asked.study, h->asked.round,
                                   h->state.name, h->asked.debit, &m->u.receipt.update_hash) ||
               (fl_fail(err, FL_EREFUSED, "the receipt's signature is wrong"), false);
    if (m->kind == WIRE_OK && h->asked.kind == WIRE_ROTATED)
        return node_key_tell(h->store, err) == FL_OK;
    if (m->kind != WIRE_COSIGNED)
        return true;
    if (!cosigned_ok(h, m->u.cosigned.note, err))
        return false;
    strcpy(h->cosigned, m->u.cosigned.note);
    const uint64_t size = h->held = led_state(h->store->ledger)->n_entries;
    return node_meta_put(h->store, "cosigned", h->cosigned, err) == FL_OK &&
           led_cosigned(h->store->ledger, size, h->cosigned, err) == FL_OK;
}

/* The coordinator's key is the one at the end of a chain that begins with the one we believe. What is not such a chain
 * changes nothing, and then the signature is wrong. */
static fl_code learn_key(node_host *h, const wire_message *m, fl_err *err)
{
    char vkey[DP_VKEY_MAX], origin[DP_ORIGIN_MAX];
    uint8_t key[FL_PUBLIC_KEY_SIZE];
    snprintf(vkey, sizeof vkey, "%s", h->store->coordinator_vkey);
    for (uint32_t i = 0; i < m->u.key_chain.n; i++) {
        const char *line = m->u.key_chain.list[i];
        if (!dp_key_follow(vkey, h->store->coordinator, line, strlen(line)))
            return fl_fail(err, FL_EREFUSED, "KEY_CHAIN: is not signed by the key that is known of %s",
                           h->store->coordinator);
    }
    if (m->u.key_chain.n == 0)
        return FL_OK;
    if (!dp_vkey_parse(origin, key, vkey) || wire_verify(&h->decoder, key, NULL))
        return fl_fail(err, FL_EREFUSED, "KEY_CHAIN: its newest key did not sign it");
    FL_TRY(node_store_new_coordinator_key(h->store, vkey, err));
    fl_log(FL_WARN, "wire", "%s has a new key, signed by the one before", h->store->coordinator);
    return FL_OK;
}

static fl_code open_reply(node_host *h, wire_message *m, const uint8_t *bytes, size_t n, fl_err *err)
{
    fl_code rc = wire_unpack(m, &h->decoder, bytes, n, err);
    if (rc)
        return rc;
    if (m->kind == WIRE_KEY_CHAIN && h->asked.kind == WIRE_KEYS)
        FL_TRY(learn_key(h, m, err));
    rc = wire_verify(&h->decoder, h->store->coordinator_key, err);
    h->learning = rc != FL_OK && h->asked.kind != WIRE_KEYS;
    if (rc || /* an answer to KEYS that does not help is not asked for again before the next reply */
        (rc = wire_check_reply(&h->asked, m, h->store->coordinator, err)) ||
        (rc = wire_check_fresh(&h->last_sequence, m, err)))
        return rc;
    return accept_evidence(h, m, err) ? FL_OK : FL_EREFUSED;
}

/* A copy of this folder that was put back, or runs twice, has other lines under the head that was shown before, however
 * long it has grown since. */
static bool is_witnessed(node_host *h, const wire_message *m)
{
    fl_hash root;
    fl_err err;
    if (m->kind != WIRE_ANNOUNCE)
        return true;
    for (uint32_t i = 0; i < m->u.announce.n_sites; i++) {
        const wire_site *site = &m->u.announce.sites[i];
        if (strcmp(site->name, h->state.name) != 0 || site->ledger_size == 0 ||
            site->ledger_size > h->state.ledger_size)
            continue; /* longer than ours: the machine sees that */
        if (led_root_at(h->store->ledger, site->ledger_size, &root, &err)) {
            fl_log(FL_ERROR, "ledger", "%s", err.text);
            return false;
        }
        if (fl_hash_equal(&root, &site->ledger_root))
            return true;
        /* a round that opened before the restore shows a head of the lost lines; their debits were charged */
        const dp_ledger_state *l = led_state(h->store->ledger);
        return l->restore_seq > 0 && site->ledger_size <= l->witness_size;
    }
    return true;
}

/* Fail closed: what cannot be compared is not taken. */
static bool is_split(node_host *h, const wire_message *m)
{
    bool split;
    char why[200];
    fl_err err;
    if (node_heads_see(h->store, m->study, &m->u.announce, &split, why, &err)) {
        fl_log(FL_ERROR, "store", "%s", err.text);
        return true;
    }
    if (split)
        fl_log(FL_ERROR, "ledger", "the coordinator shows two histories: %s; compare with the other hospitals", why);
    return split;
}

/* The coordinator holds another head than we thought: its answer was lost, say. Then the proof starts there. But when it
 * started there already, or that head is longer than ours, our lines are not the ones that were shown before. */
static void no_proof(node_host *h, wire_message *m)
{
    if (m->u.error.ledger_size == h->held || m->u.error.ledger_size > led_state(h->store->ledger)->n_entries)
        m->u.error.code = WIRE_E_ROLLBACK;
    else
        h->held = m->u.error.ledger_size;
    node_event ev = {.kind = NODE_EV_REPLY, .reply = m};
    run(h, &ev);
}

void node_host_reply(node_host *h, const uint8_t *bytes, size_t n)
{
    fl_err err = {0};
    wire_message m;
    if (h->restart)
        return;
    if (open_reply(h, &m, bytes, n, &err)) {
        fl_log(FL_WARN, "wire", "reply to %s refused: %s", wire_kind_name(h->asked.kind), err.text);
        node_host_no_reply(h);
        return;
    }
    if (h->asked.kind == WIRE_KEYS) {
        node_host_no_reply(h); /* what was asked before is asked again */
        return;
    }
    if (m.kind == WIRE_ERROR)
        fl_log(FL_WARN, "wire", "coordinator answers %s: %s: %s", wire_kind_name(h->asked.kind),
               wire_error_name(m.u.error.code), m.u.error.text);
    if (h->transfer == TRANSFER_FETCH)
        fetch_reply(h, &m);
    else if (h->transfer == TRANSFER_UPLOAD)
        upload_reply(h, &m);
    else if (m.kind == WIRE_ERROR && m.u.error.code == WIRE_E_NO_PROOF)
        no_proof(h, &m);
    else if (m.kind == WIRE_PLAN && h->asked.kind == WIRE_POLL)
        plan_arrived(h, &m);
    else {
        node_event ev = {.kind = NODE_EV_REPLY, .reply = &m, .is_witnessed = is_witnessed(h, &m)};
        if (m.kind == WIRE_ANNOUNCE)
            ev.is_split = is_split(h, &m);
        run(h, &ev);
    }
}

void node_host_no_reply(node_host *h)
{
    if (h->restart)
        return;
    if (h->transfer != TRANSFER_NONE) {
        transfer_retry(h);
        return;
    }
    node_event ev = {.kind = NODE_EV_NO_REPLY};
    run(h, &ev);
}

void node_host_timer(node_host *h)
{
    if (h->restart)
        restart(h);
    else if (h->transfer != TRANSFER_NONE)
        transfer_next(h);
    else {
        node_event ev = {.kind = NODE_EV_TIMER};
        run(h, &ev);
    }
}

void node_host_trained(node_host *h, const char *debit, const fl_hash *update_hash, uint64_t size_bytes)
{
    node_event ev = {.kind = NODE_EV_TRAINED, .hash = *update_hash, .size_bytes = size_bytes};
    if (!h->restart && strcmp(debit, h->state.now.debit) == 0)
        run(h, &ev);
}

void node_host_train_failed(node_host *h, const char *debit)
{
    node_event ev = {.kind = NODE_EV_TRAIN_FAILED};
    if (!h->restart && strcmp(debit, h->state.now.debit) == 0)
        run(h, &ev);
}

void node_host_changed(node_host *h)
{
    const dp_ledger_state *ledger = led_state(h->store->ledger);
    h->state.ledger_size = ledger->n_entries;
    h->state.has_filter = ledger->has_policy;
    if (ledger->has_policy)
        h->state.filter = ledger->filter;
    h->config.apply_policy(h->config.ctx, &h->state);
    node_event ev = {.kind = NODE_EV_POLICY};
    if (!h->restart && h->transfer == TRANSFER_NONE)
        run(h, &ev);
}

void node_host_start(node_host *h)
{
    if (h->state.halted != NODE_R_NONE)
        say_halted(h->state.halted);
    node_event ev = {.kind = NODE_EV_START};
    run(h, &ev);
}

node_state *node_host_state(node_host *h)
{
    return &h->state;
}

fl_code node_host_open(node_host **out, node_store *store, const node_host_config *config, fl_err *err)
{
    node_host *h = calloc(1, sizeof *h);
    if (!h || !(h->buffer = malloc(WIRE_PIECE_MAX))) {
        free(h);
        return fl_fail(err, FL_EENV, "node: out of memory");
    }
    h->store = store;
    h->config = *config;
    fl_csprng_init(&h->random);
    fl_buf_init(&h->bytes, WIRE_ENVELOPE_MAX);
    fl_buf_init(&h->entry, DP_LINE_MAX);
    fl_code rc;
    if ((rc = node_store_count_start(store, err)) || (rc = node_state_load(&h->state, store, err)) ||
        (rc = node_meta_get(store, "cosigned", h->cosigned, sizeof h->cosigned, err))) {
        node_host_close(h);
        return rc;
    }
    if (!dp_checkpoint_peek(h->cosigned, strlen(h->cosigned), &h->held, NULL))
        h->held = 0;
    h->state.show_head = is_unshown(h);
    h->state.show_key = is_untold(h);
    config->apply_policy(config->ctx, &h->state);
    *out = h;
    return FL_OK;
}

void node_host_close(node_host *h)
{
    if (!h)
        return;
    fl_csprng_fini(&h->random);
    wire_decoder_fini(&h->decoder);
    fl_buf_fini(&h->bytes);
    fl_buf_fini(&h->entry);
    free(h->buffer);
    free(h);
}
