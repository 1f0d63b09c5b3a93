#include "sim/federate.h"

#include "base/clock.h"
#include "node/worker.h"
#include "privacy/decimal.h"
#include "sim/world.h"
#include "train/server.h"
#include <libgen.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STUDY_MAX 65536
#define WORLD_MS  ((int64_t)1000 * 3600 * 24 * 365)

typedef struct federation {
    const nn_plan *plan;
    const sim_hospitals *hospitals;
    fl_pool *pool;
    nn_trainer *trainers[SIM_MAX_HOSPITALS];
    float *weights;
} federation;

/* A changed plan through its text, so that the hash is that of this plan. */
static fl_code seal(nn_plan *plan, fl_err *err)
{
    fl_buf json;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    fl_code rc = nn_plan_write(&json, plan, err);
    if (rc == FL_OK)
        rc = nn_plan_parse(plan, fl_buf_text(&json), json.size, err);
    fl_buf_fini(&json);
    return rc;
}

/* "all" are those who are here, by name: so the first round waits for all of them, not for a quorum. */
static fl_code name_hospitals(nn_plan *plan, const sim_hospitals *h, fl_err *err)
{
    plan->n_sites = h->n;
    for (uint32_t i = 0; i < h->n; i++)
        snprintf(plan->sites[i], sizeof plan->sites[i], "%s", h->list[i].name);
    return seal(plan, err);
}

fl_code sim_plan_load(nn_plan *plan, const char *study, bool has_seed, uint64_t seed, fl_err *err)
{
    fl_buf text;
    char *path = strdup(study);
    fl_buf_init(&text, STUDY_MAX);
    fl_code rc = path ? fl_file_read(&text, study, err) : fl_fail(err, FL_EENV, "out of memory");
    if (rc == FL_OK)
        rc = nn_plan_from_study(plan, fl_buf_text(&text), study, dirname(path), err);
    if (rc == FL_OK && has_seed) {
        plan->seed = seed;
        rc = seal(plan, err);
    }
    fl_buf_fini(&text);
    free(path);
    return rc;
}

static fl_code declare(sim_hospitals *h, const sim_federate_options *o, fl_err *err)
{
    nn_declared *list = calloc(NN_PLAN_MAX_SITES, sizeof *list);
    uint32_t n = 0;
    fl_buf text;
    fl_buf_init(&text, STUDY_MAX);
    fl_code rc = list ? fl_file_read(&text, o->study, err) : fl_fail(err, FL_EENV, "out of memory");
    if (rc == FL_OK)
        rc = nn_study_declared(list, &n, fl_buf_text(&text), o->study, err);
    if (rc == FL_OK)
        rc = sim_hospitals_declare(h, list, n, o->n_hospitals > 0, err);
    fl_buf_fini(&text);
    free(list);
    return rc;
}

static void show_round(void *ctx, uint32_t round, uint32_t rounds)
{
    (void)ctx;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kround %u of %u%s", round, rounds, round == rounds ? "\n" : "");
}

static void show_progress(void *ctx, const coord_state *state)
{
    const coord_study *st = &state->studies[0];
    show_round(ctx, st->phase == COORD_DONE ? st->rounds : st->round - 1, st->rounds);
}

static fl_code train(void *ctx, uint32_t node, const node_training *what, fl_objects *objects, fl_hash *hash,
                     uint64_t *size_bytes, fl_err *err)
{
    federation *f = ctx;
    const nn_dataset *split = f->hospitals->list[node].split;
    const node_splits splits = {&split[NODE_SPLIT_TRAIN], &split[NODE_SPLIT_VAL], f->pool};
    fl_buf model;
    fl_buf_init(&model, (size_t)4 * f->plan->n_weights);
    fl_code rc = fl_objects_get(objects, &model, &what->model_hash, err);
    if (rc == FL_OK)
        rc = nn_weights_read(f->weights, f->plan->n_weights, model.bytes, model.size, err);
    if (rc == FL_OK)
        rc = node_update_make(hash, size_bytes, f->trainers[node], f->plan, &splits, f->weights,
                              what->declared_patients, what->round, objects, NULL, err);
    fl_buf_fini(&model);
    return rc;
}

/* The released model of the last round, from the coordinator's server state. */
static fl_code released(federation *f, coord_store *store, fl_err *err)
{
    nn_server server = {0};
    fl_hash hash;
    fl_buf bytes;
    fl_buf_init(&bytes, nn_server_size(f->plan->n_weights));
    fl_code rc = FL_OK;
    if (!coord_model(store, f->plan->name, f->plan->rounds, NULL, &hash, NULL, err))
        rc = fl_fail(err, FL_EENV, "the last round's model is missing");
    if (rc == FL_OK)
        rc = fl_objects_get(store->objects, &bytes, &hash, err);
    if (rc == FL_OK)
        rc = nn_server_read(&server, f->plan, bytes.bytes, bytes.size, err);
    if (rc == FL_OK)
        nn_server_released_model(&server, f->weights);
    nn_server_fini(&server);
    fl_buf_fini(&bytes);
    return rc;
}

static fl_code private_world(federation *f, sim_result *out, fl_err *err)
{
    const char *names[SIM_MAX_HOSPITALS];
    uint64_t declared[SIM_MAX_HOSPITALS];
    double delta = 0;
    for (uint32_t i = 0; i < f->hospitals->n; i++) {
        names[i] = f->hospitals->list[i].name;
        declared[i] = f->hospitals->list[i].declared;
    }
    const sim_world_config config = {.seed = f->plan->seed,
                                     .n_nodes = f->hospitals->n,
                                     .names = names,
                                     .declared = declared,
                                     .epsilon = f->plan->epsilon,
                                     .delta = f->plan->delta,
                                     .train = train,
                                     .ctx = f,
                                     .progress = show_progress};
    sim_world *w = NULL;
    fl_code rc = sim_world_create(&w, &config, err);
    if (rc == FL_OK)
        rc = sim_world_add_study(w, f->plan, err);
    if (rc == FL_OK)
        rc = sim_world_run(w, WORLD_MS, err);
    if (rc == FL_OK)
        rc = released(f, sim_world_coordinator(w), err);
    if (rc == FL_OK && !dp_decimal_value(&delta, f->plan->delta))
        rc = fl_fail(err, FL_EFORMAT, "delta is no number");
    for (uint32_t i = 0; i < f->hospitals->n && rc == FL_OK; i++)
        out->epsilon[i] = dp_replay_epsilon(led_replay(sim_world_node(w, i)->ledger), NULL, delta, NULL);
    if (rc == FL_OK) {
        out->audit = sim_world_violations(w) ? "findings" : "verified";
        for (uint32_t i = 0; i < sim_world_violations(w) && sim_world_violation(w, i)[0]; i++)
            fprintf(stderr, "finding: %s\n", sim_world_violation(w, i));
    }
    sim_world_destroy(w);
    return rc;
}

static fl_code open_loop(federation *f, sim_result *out, fl_err *err)
{
    const nn_dataset *datasets[SIM_MAX_HOSPITALS];
    uint64_t declared[SIM_MAX_HOSPITALS];
    for (uint32_t i = 0; i < f->hospitals->n; i++) {
        datasets[i] = &f->hospitals->list[i].split[NODE_SPLIT_TRAIN];
        declared[i] = f->hospitals->list[i].declared;
        out->epsilon[i] = NAN;
    }
    out->audit = "none";
    return sim_train(f->weights, f->plan, datasets, declared, f->hospitals->n, f->pool, show_round, NULL, err);
}

static fl_code run(federation *f, sim_result *out, const sim_federate_options *options, fl_err *err)
{
    fl_code rc = fl_pool_create(&f->pool, options->n_threads, err);
    f->weights = malloc(f->plan->n_weights * sizeof *f->weights);
    if (rc == FL_OK && !f->weights)
        rc = fl_fail(err, FL_EENV, "out of memory");
    for (uint32_t i = 0; i < f->hospitals->n && rc == FL_OK && !options->open; i++)
        rc = nn_trainer_create(&f->trainers[i], f->plan, &f->hospitals->list[i].split[NODE_SPLIT_TRAIN], f->pool, err);
    if (rc == FL_OK)
        rc = options->open ? open_loop(f, out, err) : private_world(f, out, err);
    if (rc == FL_OK)
        rc = sim_judge(out, f->weights, f->plan, f->hospitals, f->pool, err);
    for (uint32_t i = 0; i < f->hospitals->n; i++)
        nn_trainer_destroy(f->trainers[i]);
    fl_pool_destroy(f->pool);
    free(f->weights);
    return rc;
}

fl_code sim_federate(sim_result *out, nn_plan *plan, sim_hospitals *hospitals, const sim_federate_options *options,
                     fl_err *err)
{
    const int64_t started = fl_clock_mono_ms();
    memset(out, 0, sizeof *out);
    fl_code rc = sim_plan_load(plan, options->study, options->has_seed, options->seed, err);
    if (rc == FL_OK)
        rc = sim_hospitals_load(hospitals, options->data, plan, options->n_hospitals, err);
    if (rc)
        return rc;
    if ((rc = declare(hospitals, options, err))) {
        sim_hospitals_fini(hospitals);
        return rc;
    }
    if (plan->quorum > hospitals->n) {
        sim_hospitals_fini(hospitals);
        return fl_fail(err, FL_EREFUSED, "%s: the quorum is %u and there are %u hospitals", options->study,
                       plan->quorum, hospitals->n);
    }
    if ((rc = name_hospitals(plan, hospitals, err)) || (options->open && (rc = nn_plan_drop_privacy(plan, err)))) {
        sim_hospitals_fini(hospitals);
        return rc;
    }
    out->is_private = plan->is_private;
    out->rounds = plan->rounds;
    federation f = {.plan = plan, .hospitals = hospitals};
    rc = run(&f, out, options, err);
    out->seconds = (double)(fl_clock_mono_ms() - started) / 1000;
    if (rc)
        sim_hospitals_fini(hospitals);
    return rc;
}
