#include "node/run.h"

#include "base/clock.h"
#include "base/inbox.h"
#include "base/log.h"
#include "base/service.h"
#include "crypto/cert.h"
#include "node/commands.h"
#include "node/host.h"
#include "node/policies.h"
#include "node/worker.h"
#include "proto/net/client.h"
#include "proto/net/control.h"
#include "proto/net/live.h"
#include "train/counts.h"
#include <stdlib.h>
#include <string.h>

#define INBOX_ITEMS 1024
#define INBOX_BYTES (128u << 20)

enum { IN_REPLY, IN_NO_REPLY, IN_TRAINED, IN_TRAIN_FAILED, IN_CONTROL, IN_SIGNAL };

/* What a finished job leaves in the inbox. */
typedef struct outcome {
    char debit[WIRE_DEBIT_SIZE];
    fl_hash hash;
    uint64_t size_bytes;
} outcome;

typedef struct program {
    fl_lock lock;
    node_store store;
    node_settings settings;
    node_policies policies;
    node_host *host;
    fl_inbox *inbox;
    wire_client *client;
    wire_control *control;
    node_worker *worker;
    bool store_open;
    int64_t timer_ms;
    unsigned n_signals;
    char last_why[256]; /* of the network: said once */
} program;

/* ---- threads of others: into the inbox and away ----------------------------------------------------------------- */

static void on_reply(void *ctx, fl_code code, const uint8_t *bytes, size_t n, const char *why)
{
    program *p = ctx;
    bool posted = code == FL_OK ? fl_inbox_post(p->inbox, IN_REPLY, 0, bytes, n, NULL)
                                : fl_inbox_post(p->inbox, IN_NO_REPLY, 0, why, strlen(why) + 1, NULL);
    if (!posted)
        (void)!fl_inbox_post(p->inbox, IN_NO_REPLY, 0, NULL, 0, NULL);
}

static void on_control(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n)
{
    program *p = ctx;
    if (!fl_inbox_post(p->inbox, IN_CONTROL, ticket, bytes, n, NULL))
        wire_control_reply(p->control, ticket, (const uint8_t[8]){3}, 8);
}

static void on_job_done(void *ctx, const char *debit, const fl_hash *hash, uint64_t size_bytes, const char *why)
{
    program *p = ctx;
    outcome o = {.hash = *hash, .size_bytes = size_bytes};
    memcpy(o.debit, debit, sizeof o.debit);
    if (why[0])
        fl_log(FL_ERROR, "train", "%s", why);
    if (!fl_inbox_post(p->inbox, why[0] ? IN_TRAIN_FAILED : IN_TRAINED, 0, &o, sizeof o, NULL))
        fl_log(FL_ERROR, "train", "out of memory: the update is lost and its debit burns at the next start");
}

/* ---- what the host asks for ------------------------------------------------------------------------------------- */

static int64_t now_ms(void *ctx)
{
    (void)ctx;
    return fl_clock_mono_ms();
}

static void send_bytes(void *ctx, const uint8_t *bytes, size_t n, unsigned timeout_ms)
{
    program *p = ctx;
    fl_err err;
    if (wire_client_ask(p->client, bytes, n, timeout_ms, on_reply, p, &err))
        (void)!fl_inbox_post(p->inbox, IN_NO_REPLY, 0, err.text, strlen(err.text) + 1, NULL);
}

static void set_timer(void *ctx, int64_t at_ms)
{
    ((program *)ctx)->timer_ms = at_ms;
}

/* The images that a plan was approved for, and no others. */
static const char *dataset_of(const program *p, uint32_t plan)
{
    return node_plan_dataset(&p->store, &node_host_state(p->host)->plans[plan], &p->policies);
}

static fl_code make_job(program *p, const node_training *what, node_job **out, fl_err *err)
{
    node_job *job = calloc(1, sizeof *job);
    fl_buf json, model;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    fl_buf_init(&model, WIRE_OBJECT_MAX);
    fl_code rc = FL_OK;
    if (!job)
        rc = fl_fail(err, FL_EENV, "training: out of memory");
    else if ((rc = node_plan_text(&p->store, &json, what->plan, err)) == FL_OK &&
             (rc = nn_plan_parse(&job->plan, fl_buf_text(&json), json.size, err)) == FL_OK &&
             (rc = fl_objects_get(p->store.objects, &model, &what->model_hash, err)) == FL_OK) {
        job->weights = malloc(job->plan.n_weights * sizeof *job->weights);
        rc = job->weights ? nn_weights_read(job->weights, job->plan.n_weights, model.bytes, model.size, err)
                          : fl_fail(err, FL_EENV, "training: out of memory");
    }
    if (rc == FL_OK)
        rc = node_data_list_for(&job->rows, &p->store, dataset_of(p, what->plan), &job->plan, NODE_SPLIT_TRAIN, err);
    if (rc == FL_OK && nn_counts_in(&job->plan, what->round))
        rc = node_data_list_for(&job->validation, &p->store, dataset_of(p, what->plan), &job->plan, NODE_SPLIT_VAL,
                                err);
    fl_buf_fini(&json);
    fl_buf_fini(&model);
    if (rc) {
        node_job_free(job);
        return rc;
    }
    job->declared_patients = what->declared_patients;
    job->round = what->round;
    memcpy(job->debit, what->debit, sizeof job->debit);
    *out = job;
    return FL_OK;
}

static void train(void *ctx, const node_training *what)
{
    program *p = ctx;
    fl_err err;
    node_job *job;
    if (make_job(p, what, &job, &err)) {
        fl_hash none = {0};
        on_job_done(p, what->debit, &none, 0, err.text);
        return;
    }
    node_worker_give(p->worker, job);
}

/* The file is read again at each start and after each command, so that an edited policy takes effect. */
static void apply_policy(void *ctx, node_state *state)
{
    program *p = ctx;
    fl_err err;
    bool appended = false;
    fl_code rc = node_policies_load(&p->policies, p->store.dir, &err);
    if (rc == FL_OK && state->has_filter && (rc = fl_db_begin(p->store.db, &err)) == FL_OK) {
        rc = node_policies_record(&p->store, state, &p->policies, &appended, &err);
        if (rc == FL_OK)
            rc = fl_db_commit(p->store.db, &err);
        else
            fl_db_rollback(p->store.db);
        if (rc &&
            led_reload(p->store.ledger, NULL)) /* also when half an append failed: memory is never ahead of disk */
            fl_log(FL_ERROR, "ledger", "cannot be read again");
    }
    state->ledger_size = led_state(p->store.ledger)->n_entries;
    node_policies_apply(&p->store, state, &p->policies);
    if (rc == FL_OK)
        return;
    fl_log(FL_ERROR, "policy", "%s; no round is taken until this is mended", err.text);
    for (uint32_t i = 0; i < state->n_plans; i++)
        state->plans[i].within_policy = false;
}

/* ---- start and stop --------------------------------------------------------------------------------------------- */

static fl_code connect_client(program *p, fl_err *err)
{
    char ca[FL_PEM_MAX], cert[FL_PEM_MAX], key[FL_PEM_MAX];
    fl_code rc;
    if ((rc = fl_pem_read(ca, p->store.dir, "ca.crt", err)) || (rc = fl_pem_read(cert, p->store.dir, "tls.crt", err)) ||
        (rc = fl_pem_read(key, p->store.dir, "tls.key", err)))
        return rc;
    const wire_client_config config = {.address = p->store.address, .ca_pem = ca, .cert_pem = cert, .key_pem = key};
    rc = wire_client_open(&p->client, &config, err);
    fl_wipe(key, sizeof key);
    return rc;
}

static fl_code start(program *p, const char *dir, fl_err *err)
{
    char path[FL_PATH_MAX];
    fl_code rc;
    if (strlen(dir) + 64 >= FL_PATH_MAX)
        return fl_fail(err, FL_EFORMAT, "--dir: is too long");
    if (!fl_file_exists(fl_path(path, dir, "node.ini")))
        return fl_fail(err, FL_ENOTFOUND, "%s: holds no node: make one with `cordon-node init`", dir);
    if ((rc = fl_lock_take(&p->lock, dir, err)) || (rc = node_store_open(&p->store, dir, err)))
        return rc;
    p->store_open = true;
    if (led_state(p->store.ledger)->is_closed)
        return fl_fail(err, FL_EREFUSED, "%s: the ledger was closed: nothing runs here any more", dir);
    if (!p->store.enrolled)
        return fl_fail(err, FL_EREFUSED,
                       "%s: not enrolled: ask the consortium for an invitation, then `cordon-node enrol`", dir);
    const node_host_config config = {.ctx = p,
                                     .now_ms = now_ms,
                                     .send = send_bytes,
                                     .timer = set_timer,
                                     .train = train,
                                     .apply_policy = apply_policy};
    if ((rc = node_settings_load(&p->settings, dir, err)) || (rc = node_policies_load(&p->policies, dir, err)) ||
        (rc = fl_inbox_create(&p->inbox, INBOX_ITEMS, INBOX_BYTES, err)) ||
        (rc = fl_signals_start(p->inbox, IN_SIGNAL, err)) || (rc = connect_client(p, err)) ||
        (rc = node_worker_create(&p->worker, p->store.dir, (unsigned)p->settings.threads, on_job_done, p, err)) ||
        (rc = node_host_open(&p->host, &p->store, &config, err)))
        return rc;
    return wire_control_serve(&p->control, p->store.dir, on_control, p, err);
}

static void stop(program *p)
{
    wire_control_stop(p->control);
    wire_client_close(p->client);
    node_worker_stop(p->worker);
    fl_signals_stop();
    node_host_close(p->host);
    fl_inbox_destroy(p->inbox);
    if (p->store_open)
        node_store_close(&p->store);
    fl_lock_release(&p->lock);
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void no_reply(program *p, const char *why)
{
    if (strcmp(why, p->last_why) != 0) {
        fl_log(FL_WARN, "network", "%s; trying again", why);
        snprintf(p->last_why, sizeof p->last_why, "%s", why);
    }
    node_host_no_reply(p->host);
}

static void control(program *p, const fl_item *item)
{
    struct node_live live = {.store = &p->store, .state = node_host_state(p->host)};
    wire_live_answer(p->control, item->ticket, item->bytes, item->size, "cordon-node", node_live_commands, &live);
    if (live.changed)
        node_host_changed(p->host);
}

static void take(program *p, const fl_item *item)
{
    const outcome *o = (const outcome *)item->bytes;
    switch (item->kind) {
    case IN_REPLY:
        if (p->last_why[0])
            fl_log(FL_INFO, "network", "connected to %s", p->store.address);
        p->last_why[0] = 0;
        node_host_reply(p->host, item->bytes, item->size);
        break;
    case IN_NO_REPLY:
        no_reply(p, item->size ? (const char *)item->bytes : "out of memory");
        break;
    case IN_TRAINED:
        node_host_trained(p->host, o->debit, &o->hash, o->size_bytes);
        break;
    case IN_TRAIN_FAILED:
        node_host_train_failed(p->host, o->debit);
        break;
    case IN_CONTROL:
        control(p, item);
        break;
    case IN_SIGNAL:
        if (++p->n_signals == 1 && node_worker_busy(p->worker))
            fl_log(FL_INFO, "run", "finishing the round's training first; a second signal burns its debit");
        break;
    }
}

static void loop(program *p)
{
    node_host_start(p->host);
    while (p->n_signals == 0 || (p->n_signals == 1 && node_worker_busy(p->worker))) {
        fl_item item;
        const int64_t now = fl_clock_mono_ms(), at = p->timer_ms ? p->timer_ms : now + 3600000;
        if (fl_inbox_take(p->inbox, &item, p->n_signals ? now + 100 : at)) {
            take(p, &item);
            fl_item_fini(&item);
        }
        if (p->timer_ms && fl_clock_mono_ms() >= p->timer_ms) {
            p->timer_ms = 0;
            node_host_timer(p->host);
        }
    }
    /* what a finished job left, so that its update is released and not burned */
    fl_item item;
    while (fl_inbox_take(p->inbox, &item, 0)) {
        if (item.kind == IN_TRAINED)
            take(p, &item);
        fl_item_fini(&item);
    }
}

int node_run(const char *dir, const char *notify, fl_err *err)
{
    fl_keep_memory_private();
    program *p = calloc(1, sizeof *p);
    if (!p)
        return fl_exit_code(fl_fail(err, FL_EENV, "run: out of memory"));
    fl_code rc = start(p, dir, err);
    if (rc == FL_OK && notify)
        rc = fl_say_ready(notify, err);
    if (rc == FL_OK) {
        fl_log(FL_INFO, "run", "started hospital=%s coordinator=%s", p->store.name, p->store.address);
        loop(p);
        fl_log(FL_INFO, "run", "stopped");
    }
    stop(p);
    free(p);
    return fl_exit_code(rc);
}
