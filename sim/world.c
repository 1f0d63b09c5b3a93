#include "sim/world.h"

#include "base/log.h"
#include "base/rng.h"
#include "coordinator/fold.h"
#include "proto/msg/envelope.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VIOLATIONS 32
#define COORDINATOR    UINT32_MAX

typedef enum kind { AT_COORDINATOR, AT_NODE, NO_REPLY, NODE_TIME, COORD_TIME, TRAINED, NODE_UP, COORD_UP } kind;

typedef struct event {
    int64_t at_ms;
    uint64_t order; /* ties are broken by the order of making */
    kind kind;
    uint32_t node, epoch;
    uint64_t ticket;
    size_t n;
    uint8_t *bytes;
    bool failed;
    fl_hash hash;
    uint64_t size_bytes;
    char debit[WIRE_DEBIT_SIZE];
} event;

typedef struct site {
    node_store store;
    node_host *host; /* NULL: down */
    node_policy policy;
    uint32_t epoch;  /* counts lives: what belongs to an earlier one is dropped */
    uint64_t ticket; /* of the request that is out; 0: none */
    int64_t timer_ms;
    sim_world *world;
    uint32_t index;
    bool open;
} site;

/* A debit's update as it was seen on the wire. */
typedef struct seen {
    char debit[WIRE_DEBIT_SIZE];
    fl_hash update;
} seen;

struct sim_world {
    sim_world_config config;
    fl_rng rng;
    int64_t now_ms;
    uint64_t order, tickets, n_events;
    event *heap;
    size_t n_heap, max_heap;
    coord_store coordinator;
    coord_host *host;
    uint32_t coord_epoch, n_crashes;
    int64_t coord_timer_ms;
    bool coordinator_open;
    site *sites;
    uint32_t *ticket_node; /* by ticket */
    size_t max_tickets;
    nn_plan *plans; /* COORD_MAX_STUDIES */
    uint32_t n_plans;
    seen *seen;
    size_t n_seen, max_seen;
    uint32_t n_violations;
    char *violations[MAX_VIOLATIONS];
    fl_sha256_state *hash;
    fl_hash digest;
    wire_decoder decoder;
};

static void violate(sim_world *w, const char *format, ...) FL_PRINTF(2, 3);
static void violate(sim_world *w, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (w->n_violations < MAX_VIOLATIONS)
        w->violations[w->n_violations] = strdup(text);
    w->n_violations++;
}

/* ---- the queue of events: a binary heap ------------------------------------------------------------------------- */

static bool before(const event *a, const event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

/* In a folder, what was trained is put on disk before anybody else trains: whoever kills the program burns one debit. */
static bool is_next(const sim_world *w, const event *e)
{
    return e->kind == TRAINED && w->config.dir;
}

static void push(sim_world *w, event e)
{
    if (w->n_heap == w->max_heap) {
        w->max_heap = w->max_heap ? 2 * w->max_heap : 256;
        w->heap = realloc(w->heap, w->max_heap * sizeof *w->heap);
        if (!w->heap)
            abort();
    }
    e.order = is_next(w, &e) ? 0 : ++w->order;
    size_t i = w->n_heap++;
    while (i > 0 && before(&e, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = e;
}

static event pop(sim_world *w)
{
    event top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->n_heap)
            break;
        if (child + 1 < w->n_heap && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

static bool chance(sim_world *w, double p)
{
    return p > 0 && fl_rng_uniform(&w->rng) < p;
}

static int64_t delay(sim_world *w)
{
    return w->config.faults.delay_ms > 0 ? 1 + (int64_t)fl_rng_below(&w->rng, (uint64_t)w->config.faults.delay_ms) : 1;
}

static uint8_t *copy(const uint8_t *bytes, size_t n)
{
    uint8_t *c = malloc(n ? n : 1);
    if (!c)
        abort();
    memcpy(c, bytes, n);
    return c;
}

/* ---- the network ------------------------------------------------------------------------------------------------ */

static int64_t world_now(void *ctx)
{
    return ((sim_world *)ctx)->now_ms;
}

static int64_t site_now(void *ctx)
{
    return ((site *)ctx)->world->now_ms;
}

static void node_sends(void *ctx, const uint8_t *bytes, size_t n, unsigned timeout_ms)
{
    site *s = ctx;
    sim_world *w = s->world;
    const uint64_t ticket = ++w->tickets;
    if (ticket >= w->max_tickets) {
        w->max_tickets = w->max_tickets ? 2 * w->max_tickets : 1024;
        w->ticket_node = realloc(w->ticket_node, w->max_tickets * sizeof *w->ticket_node);
        if (!w->ticket_node)
            abort();
    }
    w->ticket_node[ticket] = s->index;
    s->ticket = ticket;
    if (w->config.sent)
        w->config.sent(w->config.ctx, s->index, true, w->now_ms, bytes, n);
    for (int copies = chance(w, w->config.faults.repeat) ? 2 : 1; copies > 0; copies--)
        if (!chance(w, w->config.faults.lose))
            push(w, (event){.at_ms = w->now_ms + delay(w),
                            .kind = AT_COORDINATOR,
                            .node = s->index,
                            .ticket = ticket,
                            .n = n,
                            .bytes = copy(bytes, n)});
    push(w,
         (event){
             .at_ms = w->now_ms + timeout_ms, .kind = NO_REPLY, .node = s->index, .epoch = s->epoch, .ticket = ticket});
}

static void coordinator_replies(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n)
{
    sim_world *w = ctx;
    site *s = &w->sites[w->ticket_node[ticket]];
    if (w->config.sent)
        w->config.sent(w->config.ctx, s->index, false, w->now_ms, bytes, n);
    if (chance(w, w->config.faults.lose))
        return;
    push(w, (event){.at_ms = w->now_ms + delay(w),
                    .kind = AT_NODE,
                    .node = s->index,
                    .epoch = s->epoch,
                    .ticket = ticket,
                    .n = n,
                    .bytes = copy(bytes, n)});
}

static void coordinator_ignores(void *ctx, uint64_t ticket)
{
    (void)ctx;
    (void)ticket; /* the node's time-out tells it */
}

static void node_timer(void *ctx, int64_t at_ms)
{
    site *s = ctx;
    s->timer_ms = at_ms;
    push(s->world, (event){.at_ms = at_ms, .kind = NODE_TIME, .node = s->index, .epoch = s->epoch});
}

static void coordinator_timer(void *ctx, int64_t at_ms)
{
    sim_world *w = ctx;
    w->coord_timer_ms = at_ms;
    push(w, (event){.at_ms = at_ms, .kind = COORD_TIME, .node = COORDINATOR, .epoch = w->coord_epoch});
}

static void node_trains(void *ctx, const node_training *what)
{
    site *s = ctx;
    sim_world *w = s->world;
    fl_err err;
    event e = {.at_ms = w->now_ms, .kind = TRAINED, .node = s->index, .epoch = s->epoch};
    if (!is_next(w, &e))
        e.at_ms += 50 + delay(w);
    memcpy(e.debit, what->debit, sizeof e.debit);
    if (w->config.train_ms)
        e.at_ms += w->config.train_ms(w->config.ctx, s->index);
    if (w->config.train(w->config.ctx, s->index, what, s->store.objects, &e.hash, &e.size_bytes, &err)) {
        fl_log(FL_ERROR, "train", "%s: %s", s->store.name, err.text);
        e.failed = true;
    }
    push(w, e);
}

static void apply_policy(void *ctx, node_state *state)
{
    node_policy_apply(state, &((site *)ctx)->policy);
}

/* ---- what is watched -------------------------------------------------------------------------------------------- */

static void watch_update(sim_world *w, const site *s, const wire_message *m)
{
    const dp_debit *d = dp_replay_debit(led_replay(s->store.ledger), m->debit);
    char hex[DP_HEX_SIZE];
    fl_hex_encode(hex, m->u.upload.object.bytes, FL_HASH_SIZE);
    if (!d || d->state < DP_DEBIT_RELEASED || strcmp(d->update_hash, hex) != 0)
        violate(w, "%s: an update is on the wire without RESERVE, STARTED and RELEASE", s->store.name);
    for (uint32_t i = 0; d && i < w->n_plans; i++) {
        if (strcmp(w->plans[i].name, m->study) != 0)
            continue;
        const dp_update_shape shape = nn_plan_update(&w->plans[i], m->round);
        if ((d->cells != shape.cells || m->u.upload.total != dp_update_size(&shape)))
            violate(w, "%s: an update of round %u holds other counts than were debited", s->store.name, m->round);
    }
    for (size_t i = 0; i < w->n_seen; i++)
        if (strcmp(w->seen[i].debit, m->debit) == 0) {
            if (!fl_hash_equal(&w->seen[i].update, &m->u.upload.object))
                violate(w, "%s: two byte strings for debit %s", s->store.name, m->debit);
            return;
        }
    if (w->n_seen == w->max_seen) {
        w->max_seen = w->max_seen ? 2 * w->max_seen : 256;
        w->seen = realloc(w->seen, w->max_seen * sizeof *w->seen);
        if (!w->seen)
            abort();
    }
    w->seen[w->n_seen] = (seen){.update = m->u.upload.object};
    memcpy(w->seen[w->n_seen++].debit, m->debit, sizeof m->debit);
}

static void watch_request(sim_world *w, const site *s, const uint8_t *bytes, size_t n)
{
    wire_message m;
    fl_err err;
    if (wire_unpack(&m, &w->decoder, bytes, n, &err))
        violate(w, "%s: sent what cannot be read: %s", s->store.name, err.text);
    else if (m.kind == WIRE_UPLOAD)
        watch_update(w, s, &m);
}

static void watch_reply(sim_world *w, const site *s, const uint8_t *bytes, size_t n)
{
    wire_message m;
    fl_hash update;
    char debit[WIRE_DEBIT_SIZE];
    fl_err err = {0};
    if (wire_unpack(&m, &w->decoder, bytes, n, &err))
        violate(w, "%s: was sent what cannot be read: %s", s->store.name, err.text);
    else if (m.kind == WIRE_RECEIPT &&
             (!coord_contribution(&w->coordinator, m.study, m.round, s->store.name, &update, debit, &err) ||
              !fl_hash_equal(&update, &m.u.receipt.update_hash)))
        violate(w, "%s: a receipt for an update that is no contribution", s->store.name);
}

/* ---- lives ------------------------------------------------------------------------------------------------------ */

static fl_code node_up(sim_world *w, site *s, fl_err *err)
{
    const node_host_config config = {.ctx = s,
                                     .now_ms = site_now,
                                     .send = node_sends,
                                     .timer = node_timer,
                                     .train = node_trains,
                                     .apply_policy = apply_policy};
    s->epoch++;
    s->ticket = 0;
    s->timer_ms = 0;
    (void)w;
    fl_code rc = led_reload(s->store.ledger, err); /* what a start does */
    if (rc == FL_OK)
        rc = node_host_open(&s->host, &s->store, &config, err);
    if (rc == FL_OK)
        node_host_start(s->host);
    return rc;
}

static void node_down(sim_world *w, site *s)
{
    node_host_close(s->host);
    s->host = NULL;
    s->epoch++;
    w->n_crashes++;
    push(w, (event){.at_ms = w->now_ms + 100 + delay(w), .kind = NODE_UP, .node = s->index, .epoch = s->epoch});
}

static fl_code coordinator_up(sim_world *w, fl_err *err)
{
    const coord_host_config config = {.ctx = w,
                                      .reply = coordinator_replies,
                                      .ignore = coordinator_ignores,
                                      .timer = coordinator_timer,
                                      .now_ms = world_now};
    w->coord_epoch++;
    w->coord_timer_ms = 0;
    fl_code rc = led_reload(w->coordinator.ledger, err);
    if (rc == FL_OK)
        rc = coord_host_open(&w->host, &w->coordinator, &config, err);
    if (rc == FL_OK)
        coord_host_start(w->host);
    return rc;
}

static void coordinator_down(sim_world *w)
{
    coord_host_close(w->host);
    w->host = NULL;
    w->coord_epoch++;
    w->n_crashes++;
    push(w,
         (event){.at_ms = w->now_ms + 100 + delay(w), .kind = COORD_UP, .node = COORDINATOR, .epoch = w->coord_epoch});
}

/* The person at each hospital says yes to whatever arrives. */
static void approve_new(sim_world *w, site *s)
{
    node_state *state = node_host_state(s->host);
    for (uint32_t i = 0; i < state->n_plans; i++) {
        fl_err err;
        const node_plan *p = &state->plans[i];
        if (!p->readable || p->approved || p->left)
            continue;
        if (node_approve(&s->store, state, &s->policy, i, "Pat Simulated", s->policy.dataset, &err)) {
            violate(w, "%s: approval refused: %s", s->store.name, err.text);
            state->plans[i].left = true; /* said once */
        } else
            node_host_changed(s->host);
    }
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void deliver(sim_world *w, event *e)
{
    site *s = e->node != COORDINATOR ? &w->sites[e->node] : NULL;
    fl_err err;
    fl_code rc = FL_OK;
    switch (e->kind) {
    case AT_COORDINATOR:
        watch_request(w, s, e->bytes, e->n);
        if (w->host)
            coord_host_request(w->host, e->ticket, e->bytes, e->n, s->store.name);
        break;
    case AT_NODE:
        watch_reply(w, s, e->bytes, e->n);
        if (s->host && e->epoch == s->epoch && e->ticket == s->ticket) {
            s->ticket = 0;
            node_host_reply(s->host, e->bytes, e->n);
            approve_new(w, s);
        }
        break;
    case NO_REPLY:
        if (s->host && e->epoch == s->epoch && e->ticket == s->ticket) {
            s->ticket = 0;
            node_host_no_reply(s->host);
        }
        break;
    case NODE_TIME:
        if (s->host && e->epoch == s->epoch && e->at_ms == s->timer_ms) {
            s->timer_ms = 0;
            node_host_timer(s->host);
        }
        break;
    case COORD_TIME:
        if (w->host && e->epoch == w->coord_epoch && e->at_ms == w->coord_timer_ms) {
            w->coord_timer_ms = 0;
            coord_host_timer(w->host);
        }
        break;
    case TRAINED:
        if (s->host && e->epoch == s->epoch && e->failed)
            node_host_train_failed(s->host, e->debit);
        else if (s->host && e->epoch == s->epoch)
            node_host_trained(s->host, e->debit, &e->hash, e->size_bytes);
        break;
    case NODE_UP:
        rc = node_up(w, s, &err);
        break;
    case COORD_UP:
        rc = coordinator_up(w, &err);
        break;
    }
    if (rc)
        violate(w, "a start failed: %s", err.text);
}

static void remember(sim_world *w, const event *e)
{
    uint8_t line[16] = {(uint8_t)e->kind};
    memcpy(line + 4, &e->node, 4);
    memcpy(line + 8, &e->at_ms, 8);
    fl_sha256_add(w->hash, line, sizeof line);
}

static bool finished(const sim_world *w)
{
    if (!w->host)
        return false;
    const coord_state *state = coord_host_state(w->host);
    for (uint32_t i = 0; i < state->n_studies; i++)
        if (state->studies[i].phase != COORD_DONE)
            return false;
    for (uint32_t i = 0; i < w->config.n_nodes; i++)
        if (!w->sites[i].host || node_host_state(w->sites[i].host)->now.phase != NODE_POLLING)
            return false;
    return true;
}

static uint32_t rounds_done(const sim_world *w)
{
    uint32_t n = 0;
    const coord_state *state = w->host ? coord_host_state(w->host) : NULL;
    for (uint32_t i = 0; state && i < state->n_studies; i++)
        n += state->studies[i].round;
    return n;
}

static void collect(void *context, uint64_t seq, const char *what, const char *why)
{
    (void)why;
    violate(context, "ledger entry %llu: %s", (unsigned long long)seq, what);
}

static void check_ledger(sim_world *w, led_ledger *l, fl_db *db)
{
    dp_replay *r;
    fl_err err;
    fl_query q;
    if (dp_replay_create(&r, DP_REPLAY_STRICT, collect, w, &err) ||
        fl_query_open(&q, db, "SELECT line FROM entry ORDER BY seq", &err)) {
        violate(w, "%s", err.text);
        return;
    }
    while (fl_query_row(&q)) {
        const char *line = fl_column_text(&q, 0);
        if (dp_replay_line(r, line, strlen(line), &err))
            violate(w, "%s", err.text);
    }
    if (fl_query_close(&q, &err))
        violate(w, "%s", err.text);
    dp_replay_end(r);
    const dp_ledger_state *st = dp_replay_state(r);
    if (st->has_policy && st->filter.spent > st->filter.cap)
        violate(w, "%s spent more than its cap", st->node);
    if (st->n_entries != led_state(l)->n_entries)
        violate(w, "%s: the store and its replay differ", st->node);
    dp_replay_destroy(r);
}

static void check_all(sim_world *w)
{
    fl_err err;
    for (uint32_t i = 0; i < w->config.n_nodes; i++)
        check_ledger(w, w->sites[i].store.ledger, w->sites[i].store.db);
    check_ledger(w, w->coordinator.ledger, w->coordinator.db);
    for (uint32_t i = 0; i < w->n_plans; i++) {
        uint32_t n_rounds;
        if (agg_refold(&w->coordinator, &w->plans[i], NULL, NULL, &n_rounds, &err))
            violate(w, "refold of %s: %s", w->plans[i].name, err.text);
        else if (n_rounds != w->plans[i].rounds)
            violate(w, "refold of %s: %u rounds of %u", w->plans[i].name, n_rounds, w->plans[i].rounds);
    }
}

static bool is_stopped(const sim_world *w)
{
    return w->config.stop && atomic_load(w->config.stop);
}

/* What was trained is not lost: it becomes RELEASE and an object. A training that was given up is a crash: it burns at the
 * next start, and its round goes on. */
static fl_code put_down(sim_world *w, fl_err *err)
{
    while (w->n_heap > 0) {
        event e = pop(w);
        if (e.kind == TRAINED && !e.failed)
            deliver(w, &e);
        free(e.bytes);
    }
    return fl_fail(err, FL_EBUSY, "stopped");
}

fl_code sim_world_run(sim_world *w, int64_t until_ms, fl_err *err)
{
    uint32_t rounds = rounds_done(w);
    int64_t closed_ms = w->now_ms;
    while (w->n_heap > 0 && !finished(w)) {
        if (is_stopped(w))
            return put_down(w, err);
        if (w->config.patience_ms > 0 && w->now_ms - closed_ms > w->config.patience_ms)
            return fl_fail(err, FL_EREFUSED, "world: no round closed for %lld virtual seconds",
                           (long long)(w->config.patience_ms / 1000));
        if (w->heap[0].at_ms > until_ms)
            return fl_fail(err, FL_EREFUSED, "world: not finished after %lld virtual seconds",
                           (long long)(until_ms / 1000));
        event e = pop(w);
        w->now_ms = e.at_ms;
        w->n_events++;
        remember(w, &e);
        if (e.kind != NODE_UP && e.kind != COORD_UP) {
            if (e.node != COORDINATOR && w->sites[e.node].host && chance(w, w->config.faults.crash_node))
                node_down(w, &w->sites[e.node]);
            if (w->host && chance(w, w->config.faults.crash_coordinator))
                coordinator_down(w);
        }
        deliver(w, &e);
        free(e.bytes);
        if (w->host && rounds_done(w) != rounds) {
            rounds = rounds_done(w);
            closed_ms = w->now_ms;
            if (w->config.progress)
                w->config.progress(w->config.ctx, coord_host_state(w->host));
        }
    }
    check_all(w);
    return FL_OK;
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

static void seed_bytes(uint8_t out[32], uint64_t seed, uint64_t index)
{
    uint64_t words[2] = {seed, index};
    fl_hash h = fl_sha256_2("cordon sim key", 14, words, sizeof words);
    memcpy(out, h.bytes, 32);
}

static fl_code make_site(sim_world *w, uint32_t i, fl_err *err)
{
    site *s = &w->sites[i];
    char made[WIRE_NAME_MAX], folder[FL_PATH_MAX + WIRE_NAME_MAX + 8];
    uint8_t seed[32];
    fl_code rc;
    s->world = w;
    s->index = i;
    snprintf(made, sizeof made, "node-%03u", i);
    const char *name = w->config.names ? w->config.names[i] : made;
    node_policy_for_memory(&s->policy, w->config.epsilon, w->config.delta,
                           (uint32_t)(w->config.declared ? w->config.declared[i] : 1000));
    s->policy.min_cohort = 1;
    s->policy.multi = w->config.multi;
    strcpy(s->policy.releases, "update+metrics");
    seed_bytes(seed, w->config.seed, i + 1);
    if (w->config.dir)
        snprintf(folder, sizeof folder, "%s/node-%s", w->config.dir, name);
    if ((rc = node_store_open_seeded(&s->store, w->config.dir ? folder : NULL, name, seed, err)))
        return rc;
    s->open = true;
    node_store *n = &s->store;
    strcpy(n->coordinator, w->coordinator.name);
    strcpy(n->coordinator_vkey, led_vkey(w->coordinator.ledger));
    memcpy(n->coordinator_key, w->coordinator.key.public_key, sizeof n->coordinator_key);
    n->enrolled = true;
    coord_site_row row = {0};
    rc = coord_site_get(&w->coordinator, &row, n->name, err);
    if (rc != FL_ENOTFOUND)
        return rc; /* it was enrolled in an earlier life of this world */
    memcpy(row.name, n->name, sizeof row.name);
    memcpy(row.public_key, n->key.public_key, sizeof row.public_key);
    strcpy(row.vkey, led_vkey(n->ledger));
    memcpy(row.spki.bytes, seed, sizeof row.spki.bytes);
    return coord_site_add(&w->coordinator, &row, err);
}

fl_code sim_world_create(sim_world **out, const sim_world_config *config, fl_err *err)
{
    sim_world *w = calloc(1, sizeof *w);
    uint8_t seed[32];
    if (!w || !(w->sites = calloc(config->n_nodes, sizeof *w->sites)) ||
        !(w->plans = calloc(COORD_MAX_STUDIES, sizeof *w->plans))) {
        if (w)
            free(w->sites);
        free(w);
        return fl_fail(err, FL_EENV, "world: out of memory");
    }
    w->config = *config;
    w->hash = fl_sha256_create();
    fl_rng_init(&w->rng, config->seed, 1);
    seed_bytes(seed, config->seed, 0);
    char folder[FL_PATH_MAX + 16];
    snprintf(folder, sizeof folder, "%s/coordinator", config->dir ? config->dir : "");
    fl_code rc = coord_store_open_seeded(&w->coordinator, config->dir ? folder : NULL, "consortium", seed, err);
    w->coordinator_open = rc == FL_OK;
    for (uint32_t i = 0; i < config->n_nodes && rc == FL_OK; i++)
        rc = make_site(w, i, err);
    if (rc == FL_OK)
        rc = coordinator_up(w, err);
    for (uint32_t i = 0; i < config->n_nodes && rc == FL_OK; i++)
        rc = node_up(w, &w->sites[i], err);
    if (rc) {
        sim_world_destroy(w);
        return rc;
    }
    *out = w;
    return FL_OK;
}

void sim_world_destroy(sim_world *w)
{
    if (!w)
        return;
    coord_host_close(w->host);
    if (w->coordinator_open)
        coord_store_close(&w->coordinator);
    for (uint32_t i = 0; i < w->config.n_nodes; i++) {
        node_host_close(w->sites[i].host);
        if (w->sites[i].open)
            node_store_close(&w->sites[i].store);
    }
    for (size_t i = 0; i < w->n_heap; i++)
        free(w->heap[i].bytes);
    for (uint32_t i = 0; i < MAX_VIOLATIONS; i++)
        free(w->violations[i]);
    if (w->hash)
        (void)fl_sha256_destroy(w->hash);
    wire_decoder_fini(&w->decoder);
    free(w->heap);
    free(w->ticket_node);
    free(w->seen);
    free(w->sites);
    free(w->plans);
    free(w);
}

/* FL_OK: it was added in an earlier life. */
static fl_code is_there(sim_world *w, const nn_plan *plan, fl_err *err)
{
    fl_buf json;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    fl_code rc = coord_study_plan(&w->coordinator, &json, plan->name, err);
    if (rc == FL_OK) {
        const fl_hash hash = fl_sha256(json.bytes, json.size);
        if (!fl_hash_equal(&hash, &plan->hash))
            rc = fl_fail(err, FL_EREFUSED, "%s: began with another plan: take another folder", w->config.dir);
    }
    fl_buf_fini(&json);
    return rc;
}

fl_code sim_world_add_study(sim_world *w, const nn_plan *plan, fl_err *err)
{
    fl_code rc = is_there(w, plan, err);
    if (rc == FL_ENOTFOUND)
        rc = coord_study_add(&w->coordinator, plan, err); /* refuses more than COORD_MAX_STUDIES */
    if (rc)
        return rc;
    w->plans[w->n_plans++] = *plan;
    return coord_host_changed(w->host, err);
}

const coord_study *sim_world_study(const sim_world *w)
{
    return &coord_host_state(w->host)->studies[0];
}

coord_store *sim_world_coordinator(sim_world *w)
{
    return &w->coordinator;
}

node_store *sim_world_node(sim_world *w, uint32_t node)
{
    return &w->sites[node].store;
}

uint32_t sim_world_violations(const sim_world *w)
{
    return w->n_violations;
}

const char *sim_world_violation(const sim_world *w, uint32_t index)
{
    return index < MAX_VIOLATIONS && index < w->n_violations ? w->violations[index] : "";
}

uint64_t sim_world_events(const sim_world *w)
{
    return w->n_events;
}

uint32_t sim_world_crashes(const sim_world *w)
{
    return w->n_crashes;
}

int64_t sim_world_now(const sim_world *w)
{
    return w->now_ms;
}

fl_hash sim_world_hash(sim_world *w)
{
    if (w->hash) {
        w->digest = fl_sha256_destroy(w->hash);
        w->hash = NULL;
    }
    return w->digest;
}
