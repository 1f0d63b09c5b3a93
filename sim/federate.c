#include "sim/federate.h"

#include "base/clock.h"
#include "base/json.h"
#include "node/worker.h"
#include "privacy/decimal.h"
#include "sim/tell.h"
#include "sim/world.h"
#include "train/export.h"
#include "train/pretrained.h"
#include "train/server.h"
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STUDY_MAX    65536
#define OUTCOME_MAX  ((size_t)4 << 20)
#define TRAINERS_MAX ((uint64_t)1 << 28) /* floats of gradients in all trainers together, or one is kept at a time */
#define HOUR_MS      ((int64_t)1000 * 3600)
#define WORLD_MS     ((int64_t)1000 * 3600 * 24 * 365)

typedef struct federation {
    const sim_federate_options *options;
    nn_plan *plan;
    fl_buf pretrained; /* the file that the plan starts from; empty when it has none */
    sim_hospitals hospitals;
    sim_state state;
    fl_pool *pool;
    nn_trainer *trainers[SIM_MAX_HOSPITALS];
    float *weights;
    sim_bar bar;
    sim_world *world;
    uint32_t round; /* that the world is in */
    double earlier; /* seconds that other processes worked */
    int64_t began_ms;
} federation;

/* ---- the study --------------------------------------------------------------------------------------------------- */

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

fl_code sim_pretrained_load(fl_buf *bytes, const char *study, fl_err *err)
{
    fl_buf text;
    char *copy = strdup(study), path[FL_PATH_MAX];
    fl_buf_init(&text, STUDY_MAX);
    fl_code rc = copy ? fl_file_read(&text, study, err) : fl_fail(err, FL_EENV, "out of memory");
    if (rc == FL_OK)
        rc = nn_study_pretrained(path, fl_buf_text(&text), study, dirname(copy), err);
    if (rc == FL_OK && path[0])
        rc = fl_file_read(bytes, path, err);
    fl_buf_fini(&text);
    free(copy);
    return rc;
}

/* o->open, when the study says so. */
static fl_code look_for_privacy(sim_federate_options *o, fl_err *err)
{
    fl_buf text;
    bool is_open = false;
    fl_buf_init(&text, STUDY_MAX);
    fl_code rc = fl_file_read(&text, o->study, err);
    if (rc == FL_OK)
        rc = nn_study_is_open(&is_open, fl_buf_text(&text), o->study, err);
    o->open |= is_open;
    fl_buf_fini(&text);
    return rc == FL_OK && o->open && o->ledgers
               ? fl_fail(err, FL_EFORMAT, "--keep-ledgers: without privacy there are none")
               : rc;
}

static fl_code declare(sim_hospitals *h, const char *study, bool is_part, fl_err *err)
{
    nn_declared *list = calloc(NN_PLAN_MAX_SITES, sizeof *list);
    uint32_t n = 0;
    fl_buf text;
    fl_buf_init(&text, STUDY_MAX);
    fl_code rc = list ? fl_file_read(&text, study, err) : fl_fail(err, FL_EENV, "out of memory");
    if (rc == FL_OK)
        rc = nn_study_declared(list, &n, fl_buf_text(&text), study, err);
    if (rc == FL_OK)
        rc = sim_hospitals_declare(h, list, n, is_part, err);
    fl_buf_fini(&text);
    free(list);
    return rc;
}

fl_code sim_data_load(sim_hospitals *h, const char *study, const char *data, const nn_plan *plan, uint32_t only,
                      fl_err *err)
{
    FL_TRY(sim_hospitals_load(h, data, plan, only, err));
    fl_code rc = declare(h, study, only > 0, err);
    if (rc)
        sim_hospitals_fini(h);
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

/* ---- with privacy: the world ------------------------------------------------------------------------------------- */

/* Three files of a model for each round would fill memory or disk; the last two rounds' are enough to go on, and the check
 * at the end folds from contributions. */
static void forget_models(federation *f, uint32_t round)
{
    coord_store *store = sim_world_coordinator(f->world);
    fl_hash hashes[3];
    fl_err none;
    if (!coord_model(store, f->plan->name, round, &hashes[0], &hashes[1], &hashes[2], &none))
        return;
    for (int i = 0; i < 3; i++)
        if (fl_objects_remove(store->objects, &hashes[i], &none))
            return; /* it stays: only room is lost */
}

static void round_closed(void *ctx, const coord_state *state)
{
    federation *f = ctx;
    f->round = state->studies[0].round;
    if (f->round >= 3)
        forget_models(f, f->round - 3);
}

/* Trainers hold gradients for every thread: of large models one at a time. */
static fl_code trainer_of(federation *f, uint32_t node, fl_err *err)
{
    uint64_t learned = 0;
    for (uint32_t i = 0; i < f->plan->n_phases; i++)
        learned = f->plan->phases[i].n_learned > learned ? f->plan->phases[i].n_learned : learned;
    if (f->trainers[node])
        return FL_OK;
    if (6 * learned * fl_pool_threads(f->pool) * f->hospitals.n > TRAINERS_MAX)
        for (uint32_t i = 0; i < f->hospitals.n; i++) {
            nn_trainer_destroy(f->trainers[i]);
            f->trainers[i] = NULL;
        }
    return nn_trainer_create(&f->trainers[node], f->plan, &f->hospitals.list[node].split[NODE_SPLIT_TRAIN], f->pool,
                             err);
}

static fl_code train(void *ctx, uint32_t node, const node_training *what, fl_objects *objects, fl_hash *hash,
                     uint64_t *size_bytes, fl_err *err)
{
    federation *f = ctx;
    const nn_dataset *split = f->hospitals.list[node].split;
    const node_splits splits = {&split[NODE_SPLIT_TRAIN], &split[NODE_SPLIT_VAL], f->pool};
    fl_buf model;
    fl_buf_init(&model, (size_t)4 * f->plan->n_weights);
    fl_code rc = fl_objects_get(objects, &model, &what->model_hash, err);
    if (rc == FL_OK)
        rc = nn_weights_read(f->weights, f->plan->n_weights, model.bytes, model.size, err);
    if (rc == FL_OK)
        rc = trainer_of(f, node, err);
    if (rc == FL_OK)
        rc = node_update_make(hash, size_bytes, f->trainers[node], f->plan, &splits, f->weights,
                              what->declared_patients, what->round, objects, f->options->cancel, err);
    fl_buf_fini(&model);
    sim_bar_step(&f->bar, nn_plan_phase(f->plan, what->round)->name);
    return rc;
}

/* The released model of the last round, from the coordinator's server state. */
static fl_code released(federation *f, coord_store *store, fl_err *err)
{
    nn_server server = {0};
    fl_hash hash;
    fl_buf bytes;
    fl_buf_init(&bytes, nn_server_size(f->plan));
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

/* What the ledgers say, and whether somebody may rely on them. */
static fl_code read_ledgers(federation *f, sim_result *out, sim_world *w, fl_err *err)
{
    double delta = 0;
    if (!dp_decimal_value(&delta, f->plan->delta))
        return fl_fail(err, FL_EFORMAT, "delta is no number");
    for (uint32_t i = 0; i < f->hospitals.n; i++) {
        const dp_replay *replay = led_replay(sim_world_node(w, i)->ledger);
        fl_err why;
        out->epsilon[i] = dp_replay_epsilon(replay, NULL, delta, NULL);
        if (dp_replay_bounds(replay, NULL, delta, &out->epsilon_low[i], &out->epsilon_high[i], &why))
            out->epsilon_low[i] = out->epsilon_high[i] = NAN; /* no certified bounds for such a schedule */
    }
    out->audit = sim_world_violations(w) ? "findings" : "verified";
    for (uint32_t i = 0; i < sim_world_violations(w) && sim_world_violation(w, i)[0]; i++)
        fprintf(stderr, "finding: %s\n", sim_world_violation(w, i));
    return FL_OK;
}

static fl_code export_ledger(led_ledger *l, const char *dir, const char *party, const char *name, fl_err *err)
{
    char folder[FL_PATH_MAX], path[FL_PATH_MAX], sub[WIRE_NAME_MAX + 16];
    snprintf(sub, sizeof sub, "%s%s", party, name);
    fl_path(folder, dir, sub);
    FL_TRY(fl_dir_make(folder, err));
    return led_export(l, fl_path(path, folder, "ledger.jsonl"), err);
}

static fl_code export_ledgers(federation *f, sim_world *w, fl_err *err)
{
    const char *dir = f->options->ledgers;
    FL_TRY(export_ledger(sim_world_coordinator(w)->ledger, dir, "coordinator", "", err));
    for (uint32_t i = 0; i < f->hospitals.n; i++)
        FL_TRY(export_ledger(sim_world_node(w, i)->ledger, dir, "node-", f->hospitals.list[i].name, err));
    return FL_OK;
}

static fl_code open_world(federation *f, sim_world **w, fl_err *err)
{
    const char *names[SIM_MAX_HOSPITALS];
    uint64_t declared[SIM_MAX_HOSPITALS];
    for (uint32_t i = 0; i < f->hospitals.n; i++) {
        names[i] = f->hospitals.list[i].name;
        declared[i] = f->hospitals.list[i].declared;
    }
    const sim_world_config config = {.seed = f->plan->seed,
                                     .n_nodes = f->hospitals.n,
                                     .names = names,
                                     .declared = declared,
                                     .epsilon = f->plan->epsilon,
                                     .delta = f->plan->delta,
                                     .multi = f->plan->multi,
                                     .dir = sim_state_is_kept(&f->state) ? f->state.dir : NULL,
                                     .stop = f->options->stop,
                                     .patience_ms = 5000 * (int64_t)f->plan->deadline_s + HOUR_MS,
                                     .train = train,
                                     .ctx = f,
                                     .progress = round_closed};
    fl_hash hash;
    FL_TRY(sim_world_create(w, &config, err));
    f->world = *w;
    if (f->plan->initial[0])
        FL_TRY(fl_objects_put(sim_world_coordinator(*w)->objects, &hash, f->pretrained.bytes, f->pretrained.size, err));
    return sim_world_add_study(*w, f->plan, err);
}

static fl_code private_world(federation *f, sim_result *out, fl_err *err)
{
    sim_world *w = NULL;
    fl_code rc = open_world(f, &w, err);
    if (rc == FL_OK) {
        const coord_study *study = sim_world_study(w);
        const uint32_t done = study->phase == COORD_DONE ? study->rounds : study->round > 0 ? study->round - 1 : 0;
        f->round = done + 1;
        sim_bar_begin(&f->bar, "federation", "round", f->plan->rounds, done, f->hospitals.n);
        rc = sim_world_run(w, WORLD_MS, err);
        sim_bar_end(&f->bar);
        if (rc == FL_EREFUSED)
            rc = fl_fail(err, rc,
                         "round %u of %u does not reach its quorum (%s): has a hospital spent its budget? A training "
                         "that was cut"
                         " short is charged: [privacy] allowance_rounds leaves room for some",
                         f->round, f->plan->rounds, err->text);
    }
    if (rc == FL_EBUSY)
        rc = fl_fail(err, rc, "stopped in round %u of %u", f->round, f->plan->rounds);
    if (rc == FL_OK)
        rc = released(f, sim_world_coordinator(w), err);
    if (rc == FL_OK)
        rc = read_ledgers(f, out, w, err);
    if (rc == FL_OK && f->options->ledgers)
        rc = export_ledgers(f, w, err);
    sim_world_destroy(w);
    return rc;
}

/* ---- without privacy: a loop ------------------------------------------------------------------------------------- */

static void loop_resumed(void *ctx, uint32_t rounds_done)
{
    federation *f = ctx;
    f->round = rounds_done;
    sim_bar_was(&f->bar, rounds_done);
}

static void loop_round(void *ctx, uint32_t rounds_done)
{
    federation *f = ctx;
    f->round = rounds_done;
    sim_bar_step(&f->bar, nn_plan_phase(f->plan, rounds_done)->name);
}

static fl_code open_loop(federation *f, sim_result *out, fl_err *err)
{
    const nn_dataset *datasets[SIM_MAX_HOSPITALS];
    uint64_t declared[SIM_MAX_HOSPITALS];
    char path[FL_PATH_MAX];
    for (uint32_t i = 0; i < f->hospitals.n; i++) {
        datasets[i] = &f->hospitals.list[i].split[NODE_SPLIT_TRAIN];
        declared[i] = f->hospitals.list[i].declared;
        out->epsilon[i] = out->epsilon_low[i] = out->epsilon_high[i] = NAN;
    }
    out->audit = "none";
    const sim_loop loop = {.plan = f->plan,
                           .datasets = datasets,
                           .declared = declared,
                           .n = f->hospitals.n,
                           .pretrained = f->pretrained.size ? f->pretrained.bytes : NULL,
                           .n_pretrained = f->pretrained.size,
                           .pool = f->pool,
                           .keep = sim_state_path(&f->state, path, "global", NULL, "state"),
                           .stop = f->options->stop,
                           .resumed = loop_resumed,
                           .progress = loop_round,
                           .ctx = f};
    sim_bar_begin(&f->bar, "federation, no privacy", "round", f->plan->rounds, 0, 1);
    fl_code rc = sim_loop_run(f->weights, &loop, err);
    sim_bar_end(&f->bar);
    return rc == FL_EBUSY ? fl_fail(err, rc, "stopped after round %u of %u", f->round, f->plan->rounds) : rc;
}

/* ---- the federation is over: it is kept -------------------------------------------------------------------------- */

static fl_json *reals(const double *values, uint32_t n)
{
    fl_json *a = fl_json_array();
    for (uint32_t i = 0; i < n; i++)
        fl_json_push_real(a, values[i]);
    return a;
}

static double worked(const federation *f)
{
    return f->earlier + (double)(fl_clock_mono_ms() - f->began_ms) / 1000;
}

static fl_code keep_federation(const federation *f, const sim_result *r, fl_err *err)
{
    fl_buf bytes, text;
    fl_json *j = fl_json_object();
    const size_t n = (size_t)4 * f->plan->n_weights;
    uint8_t *raw = malloc(n);
    if (!raw) {
        fl_json_free(j);
        return fl_fail(err, FL_EENV, "out of memory");
    }
    nn_weights_write(raw, f->weights, f->plan->n_weights);
    fl_buf_init(&bytes, n);
    fl_buf_add(&bytes, raw, n);
    fl_buf_init(&text, 1 << 20);
    fl_json_set_text(j, "audit", r->audit);
    fl_json_set_real(j, "seconds", worked(f));
    fl_json_set(j, "epsilon", reals(r->epsilon, f->hospitals.n));
    fl_json_set(j, "epsilon_low", reals(r->epsilon_low, f->hospitals.n));
    fl_json_set(j, "epsilon_high", reals(r->epsilon_high, f->hospitals.n));
    fl_json_print(&text, j, 2);
    fl_code rc = sim_state_put(&f->state, "global.weights", &bytes, err);
    if (rc == FL_OK)
        rc = sim_state_put(&f->state, "federation.json", &text, err); /* last: now it is over */
    fl_buf_fini(&bytes);
    fl_buf_fini(&text);
    fl_json_free(j);
    free(raw);
    return rc;
}

static bool get_reals(double *values, uint32_t n, const fl_json *j, const char *key)
{
    const fl_json *a = fl_json_member(j, key);
    if (!fl_json_is_array(a) || fl_json_count(a) != n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        values[i] = fl_json_real_value(fl_json_at(a, i));
    return true;
}

/* FL_ENOTFOUND: not over yet. */
static fl_code kept_federation(federation *f, sim_result *r, fl_err *err)
{
    fl_buf bytes, text;
    fl_json *j = NULL;
    const uint32_t n = f->hospitals.n;
    fl_buf_init(&bytes, (size_t)4 * f->plan->n_weights);
    fl_buf_init(&text, 1 << 20);
    fl_code rc = sim_state_get(&f->state, "federation.json", &text, err);
    if (rc == FL_OK)
        rc = fl_json_parse(&j, fl_buf_text(&text), text.size, "federation.json", err);
    if (rc == FL_OK && (rc = sim_state_get(&f->state, "global.weights", &bytes, err)) == FL_OK)
        rc = nn_weights_read(f->weights, f->plan->n_weights, bytes.bytes, bytes.size, err);
    if (rc == FL_OK) {
        const char *audit = fl_json_text(j, "audit");
        if (!audit || !fl_json_real(j, "seconds", &f->earlier) || !get_reals(r->epsilon, n, j, "epsilon") ||
            !get_reals(r->epsilon_low, n, j, "epsilon_low") || !get_reals(r->epsilon_high, n, j, "epsilon_high"))
            rc = fl_fail(err, FL_EFORMAT, "%s: federation.json is damaged: remove it", f->state.dir);
        else
            r->audit = strcmp(audit, "verified") == 0 ? "verified" : strcmp(audit, "none") == 0 ? "none" : "findings";
    }
    fl_json_free(j);
    fl_buf_fini(&bytes);
    fl_buf_fini(&text);
    return rc;
}

/* A federation that is over is not run again; ledgers that are asked for later come from its stores. */
static fl_code federate(federation *f, sim_result *r, fl_err *err)
{
    fl_code rc = kept_federation(f, r, err);
    if (rc == FL_ENOTFOUND) {
        rc = f->options->open ? open_loop(f, r, err) : private_world(f, r, err);
        return rc ? rc : keep_federation(f, r, err);
    }
    if (rc == FL_OK && f->options->ledgers && !f->options->open) {
        sim_world *w = NULL;
        rc = open_world(f, &w, err);
        if (rc == FL_OK)
            rc = export_ledgers(f, w, err);
        sim_world_destroy(w);
    }
    return rc;
}

/* ---- the model as a file ----------------------------------------------------------------------------------------- */

/* As ONNX when the file is called so, else as safetensors; with its card. */
static fl_code save_model(const federation *f, const sim_result *r, fl_err *err)
{
    const char *path = f->options->save_model, *dot = strrchr(path, '.');
    nn_card_hospital *list = calloc(f->hospitals.n, sizeof *list);
    if (!list)
        return fl_fail(err, FL_EENV, "out of memory");
    for (uint32_t i = 0; i < f->hospitals.n; i++) {
        const sim_hospital *h = &f->hospitals.list[i];
        list[i] = (nn_card_hospital){
            .declared = h->declared, .rounds = f->plan->rounds, .updates = f->plan->rounds, .epsilon = r->epsilon[i]};
        snprintf(list[i].name, sizeof list[i].name, "%.63s", h->name);
    }
    const nn_card card = {.plan = f->plan,
                          .round = f->plan->rounds,
                          .hospitals = list,
                          .n_hospitals = f->hospitals.n,
                          .is_simulated = true};
    fl_code rc = nn_export_save(path, dot && strcmp(dot, ".onnx") == 0 ? NN_EXPORT_ONNX : NN_EXPORT_SAFETENSORS,
                                f->weights, &card, err);
    free(list);
    return rc;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static const char *which(const sim_federate_options *o)
{
    return o->no_local ? "none" : "all";
}

static fl_code keep_outcome(const federation *f, const sim_outcome *out, fl_err *err)
{
    char name[32];
    snprintf(name, sizeof name, "result-%s.txt", which(f->options));
    FL_TRY(sim_state_put(&f->state, name, &out->text, err));
    snprintf(name, sizeof name, "result-%s.json", which(f->options));
    return sim_state_put(&f->state, name, &out->json, err); /* last: now it is finished */
}

/* FL_ENOTFOUND: not finished, or more is asked for than words. */
static fl_code kept_outcome(const federation *f, sim_outcome *out, fl_err *err)
{
    char name[32];
    if (f->options->save_model || f->options->ledgers)
        return fl_fail(err, FL_ENOTFOUND, "more is wanted");
    snprintf(name, sizeof name, "result-%s.json", which(f->options));
    FL_TRY(sim_state_get(&f->state, name, &out->json, err));
    snprintf(name, sizeof name, "result-%s.txt", which(f->options));
    FL_TRY(sim_state_get(&f->state, name, &out->text, err));
    out->has_findings = strstr(fl_buf_text(&out->json), "\"audit\":\"findings\"") != NULL;
    return FL_OK;
}

static fl_code judge(federation *f, sim_result *r, fl_err *err)
{
    sim_baselines baselines = {0};
    fl_code rc = FL_OK;
    if (!f->options->no_local) {
        rc = sim_baselines_run(&baselines, f->plan, &f->pretrained, &f->hospitals, &f->state, f->options->n_threads,
                               f->options->stop, err);
        if (rc == FL_EBUSY)
            rc = fl_fail(err, rc, "stopped while hospitals were training alone");
    }
    if (rc == FL_OK)
        rc = sim_judge(r, f->weights, f->plan, &f->hospitals, f->options->no_local ? NULL : &baselines, f->pool, err);
    sim_baselines_fini(&baselines);
    return rc;
}

static fl_code run(federation *f, sim_result *r, sim_outcome *out, fl_err *err)
{
    const sim_federate_options *o = f->options;
    fl_code rc = fl_pool_create(&f->pool, o->n_threads, err);
    f->weights = malloc(f->plan->n_weights * sizeof *f->weights);
    if (rc == FL_OK && !f->weights)
        rc = fl_fail(err, FL_EENV, "out of memory");
    if (rc == FL_OK)
        rc = sim_hospitals_prepare(&f->hospitals, f->plan, f->pool, err);
    if (rc == FL_OK)
        rc = federate(f, r, err);
    for (uint32_t i = 0; i < f->hospitals.n; i++)
        nn_trainer_destroy(f->trainers[i]);
    if (rc == FL_OK)
        rc = judge(f, r, err);
    if (rc == FL_OK && o->save_model)
        rc = save_model(f, r, err);
    fl_pool_destroy(f->pool);
    free(f->weights);
    if (rc)
        return rc;
    r->rounds = f->plan->rounds;
    r->is_private = f->plan->is_private;
    r->seconds = worked(f);
    sim_result_print(&out->text, r, f->plan, &f->hospitals);
    sim_result_json(&out->json, r, f->plan, &f->hospitals);
    out->has_findings = strcmp(r->audit, "findings") == 0;
    return keep_outcome(f, out, err);
}

static fl_code with_data(federation *f, sim_outcome *out, fl_err *err)
{
    const sim_federate_options *o = f->options;
    sim_hospitals *h = &f->hospitals;
    FL_TRY(sim_data_load(h, o->study, o->data, f->plan, o->n_hospitals, err));
    fl_code rc = sim_state_data(&f->state, h, err);
    if (rc == FL_OK && f->plan->quorum > h->n)
        rc = fl_fail(err, FL_EREFUSED, "%s: the quorum is %u and there are %u hospitals", o->study, f->plan->quorum,
                     h->n);
    if (rc == FL_OK)
        rc = name_hospitals(f->plan, h, err);
    if (rc == FL_OK && o->open)
        rc = nn_plan_drop_privacy(f->plan, err);
    if (rc == FL_OK && o->say)
        sim_tell(o->say, f->plan, h);
    sim_result *r = rc == FL_OK ? calloc(1, sizeof *r) : NULL;
    if (rc == FL_OK)
        rc = r ? run(f, r, out, err) : fl_fail(err, FL_EENV, "out of memory");
    free(r);
    sim_hospitals_fini(h);
    return rc;
}

static fl_hash run_hash(const nn_plan *plan, const sim_federate_options *o)
{
    char text[PATH_MAX + 64], real[PATH_MAX];
    snprintf(text, sizeof text, "%u %d %s", o->n_hospitals, o->open, realpath(o->data, real) ? real : o->data);
    return fl_sha256_2(plan->hash.bytes, sizeof plan->hash.bytes, text, strlen(text));
}

static fl_code say_how_to_go_on(const federation *f, fl_err *err)
{
    return sim_state_is_kept(&f->state)
               ? fl_fail(err, FL_EBUSY, "%s: the same command goes on from there (--state %s)", err->text, f->state.dir)
               : fl_fail(err, FL_EBUSY, "%s: nothing of it was kept: with --state DIR the next run goes on", err->text);
}

fl_code sim_federate(sim_outcome *out, const sim_federate_options *given, fl_err *err)
{
    sim_federate_options copy = *given, *options = &copy;
    federation *f = calloc(1, sizeof *f);
    fl_buf_init(&out->text, OUTCOME_MAX);
    fl_buf_init(&out->json, OUTCOME_MAX);
    out->has_findings = false;
    if (!f || !(f->plan = calloc(1, sizeof *f->plan))) {
        free(f);
        return fl_fail(err, FL_EENV, "out of memory");
    }
    f->options = options;
    f->began_ms = fl_clock_mono_ms();
    fl_buf_init(&f->pretrained, NN_PRETRAINED_MAX_BYTES);
    fl_code rc = sim_plan_load(f->plan, options->study, options->has_seed, options->seed, err);
    if (rc == FL_OK)
        rc = look_for_privacy(options, err);
    if (rc == FL_OK)
        rc = sim_pretrained_load(&f->pretrained, options->study, err);
    if (rc == FL_OK) {
        const fl_hash hash = run_hash(f->plan, options);
        rc = sim_state_open(&f->state, options->state, &hash, err);
    }
    if (rc == FL_OK && (rc = kept_outcome(f, out, err)) == FL_ENOTFOUND) {
        fl_buf_clear(&out->text);
        fl_buf_clear(&out->json);
        rc = with_data(f, out, err);
    }
    if (rc == FL_EBUSY && options->stop && atomic_load(options->stop))
        rc = say_how_to_go_on(f, err);
    sim_state_close(&f->state);
    fl_buf_fini(&f->pretrained);
    free(f->plan);
    free(f);
    return rc;
}

void sim_outcome_fini(sim_outcome *out)
{
    fl_buf_fini(&out->text);
    fl_buf_fini(&out->json);
}
