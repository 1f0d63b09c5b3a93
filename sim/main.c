#include "base/cli.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/scratch.h"
#include "sim/audit.h"
#include "sim/federate.h"
#include "sim/phantom.h"
#include "sim/world.h"
#include "train/dpsgd.h"
#include "train/pretrained.h"
#include "train/safetensors.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL_MAX ((size_t)1 << 30)

/* ---- federate --------------------------------------------------------------------------------------------------- */

static const fl_cli_option federate_options[] = {
    {"study", "FILE", "the study, as a consortium writes it", true},
    {"data", "DIR", "a folder with a manifest.csv, or with the four MNIST-style files", true},
    {"hospitals", "N", "only the first N of the manifest; MNIST-style: so many equal ones", false},
    {"seed", "S", "of weights, splits and augmentation; never of noise", false},
    {"no-privacy", NULL, "neither noise nor ledgers: for comparison", false},
    {"local", "WHICH", "all (default) or none: hospitals alone, for comparison, take longest", false},
    {"state", "DIR", "keeps what was done: after any end the same command goes on", false},
    {"save-model", "FILE", "the global model with its card FILE.md; FILE.onnx as ONNX, else safetensors", false},
    {"keep-ledgers", "DIR", "coordinator/ledger.jsonl, node-NAME/ledger.jsonl and their keys", false},
    {"threads", "N", "threads; default one per core", false},
    {"json", NULL, "one JSON document", false},
    {0},
};

static atomic_bool stop, cancel;

/* Once: when the training under way is done; again: now. */
static void on_signal(int number)
{
    static const char first[] = "\nstopping after the training under way; once more stops it now\n";
    (void)number;
    if (atomic_exchange(&stop, true))
        atomic_store(&cancel, true);
    else if (write(STDERR_FILENO, first, sizeof first - 1) < 0)
        return;
}

static fl_code parse_which(bool *none, const char *text, fl_err *err)
{
    *none = text && strcmp(text, "none") == 0;
    return !text || *none || strcmp(text, "all") == 0
               ? FL_OK
               : fl_fail(err, FL_EFORMAT, "--local: %s: expected all or none", text);
}

static int federate(fl_cli *cli)
{
    fl_err err;
    int64_t n = 0, seed = 0, threads = 0;
    sim_federate_options o = {.study = fl_cli_value(cli, "study"),
                              .data = fl_cli_value(cli, "data"),
                              .state = fl_cli_value(cli, "state"),
                              .save_model = fl_cli_value(cli, "save-model"),
                              .ledgers = fl_cli_value(cli, "keep-ledgers"),
                              .say = cli->err,
                              .stop = &stop,
                              .cancel = &cancel};
    sim_outcome outcome;
    fl_code rc;
    if ((rc = fl_cli_int(cli, "hospitals", &n, 1, SIM_MAX_HOSPITALS, &err)) ||
        (rc = fl_cli_int(cli, "threads", &threads, 1, 256, &err)) ||
        (rc = fl_cli_int(cli, "seed", &seed, 0, INT64_MAX, &err)) ||
        (rc = parse_which(&o.no_local, fl_cli_value(cli, "local"), &err)))
        return fl_cli_fail(cli, &err);
    o.n_hospitals = (uint32_t)n;
    o.has_seed = fl_cli_value(cli, "seed") != NULL;
    o.seed = (uint64_t)seed;
    o.open = fl_cli_flag(cli, "no-privacy");
    o.n_threads = (unsigned)threads;
    if (o.open && o.ledgers) {
        fl_fail(&err, FL_EFORMAT, "--keep-ledgers: without privacy there are none");
        return fl_cli_fail(cli, &err);
    }
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    fl_scratch_files();
    rc = sim_federate(&outcome, &o, &err);
    int code = rc ? fl_cli_fail(cli, &err) : outcome.has_findings ? 1 : 0;
    if (rc == FL_OK && fl_cli_flag(cli, "json"))
        fprintf(cli->out, "%s\n", fl_buf_text(&outcome.json));
    else if (rc == FL_OK)
        fputs(fl_buf_text(&outcome.text), cli->out);
    sim_outcome_fini(&outcome);
    return code;
}

/* ---- judge ------------------------------------------------------------------------------------------------------ */

static const fl_cli_option judge_options[] = {
    {"study", "FILE", "the study", true},
    {"data", "DIR", "the folder with the manifest.csv", true},
    {"model", "FILE", "the federation's model, safetensors", true},
    {"epsilon", "LIST", "what the audit found for each hospital, in the order of their names: 7.9,7.9,7.8", true},
    {"audit", "WORD", "verified or findings", true},
    {"seconds", "T", "how long the federation took", false},
    {"json-file", "FILE", "writes the JSON document there as well", false},
    {"json", NULL, "one JSON document", false},
    {0},
};

static fl_code read_model(float *w, const nn_plan *plan, const char *path, fl_err *err)
{
    fl_buf bytes;
    nn_model *model = NULL;
    fl_buf_init(&bytes, MODEL_MAX);
    fl_code rc = fl_file_read(&bytes, path, err);
    if (rc == FL_OK)
        rc = nn_model_create(&model, plan->spec, plan->channels, plan->height, plan->width, plan->n_classes, err);
    if (rc == FL_OK && (rc = nn_safetensors_read(w, NULL, model, bytes.bytes, bytes.size, err)))
        (void)fl_fail_in(err, "%s", path);
    nn_model_destroy(model);
    fl_buf_fini(&bytes);
    return rc;
}

static fl_code parse_epsilons(sim_result *r, const char *list, uint32_t n, fl_err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        char *end;
        r->epsilon[i] = strtod(list, &end);
        if (end == list || !(r->epsilon[i] >= 0) || (*end != ',' && i + 1 < n) || (*end && i + 1 == n))
            return fl_fail(err, FL_EFORMAT, "--epsilon: expected %u numbers with commas between", n);
        r->epsilon_low[i] = r->epsilon_high[i] = NAN;
        list = end + 1;
    }
    return FL_OK;
}

static fl_code judged(fl_cli *cli, sim_result *r, nn_plan *plan, sim_hospitals *h, float **w, fl_err *err)
{
    fl_pool *pool = NULL;
    double seconds = 0;
    fl_code rc;
    if ((rc = fl_cli_real(cli, "seconds", &seconds, 0, 1e9, err)) ||
        (rc = sim_plan_load(plan, fl_cli_value(cli, "study"), false, 0, err)) ||
        (rc = sim_data_load(h, fl_cli_value(cli, "study"), fl_cli_value(cli, "data"), plan, 0, err)) ||
        (rc = parse_epsilons(r, fl_cli_value(cli, "epsilon"), h->n, err)))
        return rc;
    r->seconds = seconds;
    r->rounds = plan->rounds;
    r->is_private = true;
    r->audit = strcmp(fl_cli_value(cli, "audit"), "verified") == 0 ? "verified" : "findings";
    *w = malloc(plan->n_weights * sizeof **w);
    if (!*w)
        return fl_fail(err, FL_EENV, "out of memory");
    if ((rc = read_model(*w, plan, fl_cli_value(cli, "model"), err)) || (rc = fl_pool_create(&pool, 0, err)))
        return rc;
    sim_baselines baselines = {0};
    const sim_state nowhere = {0};
    fl_buf pretrained;
    fl_buf_init(&pretrained, NN_PRETRAINED_MAX_BYTES);
    rc = sim_pretrained_load(&pretrained, fl_cli_value(cli, "study"), err);
    if (rc == FL_OK)
        rc = sim_baselines_run(&baselines, plan, &pretrained, h, &nowhere, 0, NULL, err);
    fl_buf_fini(&pretrained);
    if (rc == FL_OK)
        rc = sim_judge(r, *w, plan, h, &baselines, pool, err);
    sim_baselines_fini(&baselines);
    fl_pool_destroy(pool);
    return rc;
}

static int print_result(fl_cli *cli, const sim_result *r, const nn_plan *plan, const sim_hospitals *h)
{
    fl_buf text;
    fl_buf_init(&text, 4 << 20);
    if (fl_cli_flag(cli, "json")) {
        sim_result_json(&text, r, plan, h);
        fl_buf_add_text(&text, "\n");
    } else
        sim_result_print(&text, r, plan, h);
    fputs(fl_buf_text(&text), cli->out);
    fl_buf_fini(&text);
    return 0;
}

static fl_code write_json(const char *path, const sim_result *r, const nn_plan *plan, const sim_hospitals *h,
                          fl_err *err)
{
    fl_buf json;
    if (!path)
        return FL_OK;
    fl_buf_init(&json, 1 << 20);
    sim_result_json(&json, r, plan, h);
    fl_buf_add_text(&json, "\n");
    fl_code rc = fl_file_write(path, json.bytes, json.size, 0644, err);
    fl_buf_fini(&json);
    return rc;
}

static int judge(fl_cli *cli)
{
    fl_err err;
    sim_result *r = calloc(1, sizeof *r);
    nn_plan *plan = calloc(1, sizeof *plan);
    sim_hospitals h = {0};
    float *w = NULL;
    int code = 3;
    if (!r || !plan)
        fprintf(cli->err, "%s: out of memory\n", cli->program);
    else if (judged(cli, r, plan, &h, &w, &err) || write_json(fl_cli_value(cli, "json-file"), r, plan, &h, &err))
        code = fl_cli_fail(cli, &err);
    else {
        (void)print_result(cli, r, plan, &h);
        code = sim_result_holds(cli->err, r, plan) ? 0 : 1;
    }
    sim_hospitals_fini(&h);
    free(w);
    free(plan);
    free(r);
    return code;
}

/* ---- world ------------------------------------------------------------------------------------------------------ */

static const fl_cli_option world_options[] = {
    {"nodes", "N", "how many (default 5)", false},
    {"rounds", "R", "rounds of the study (default 10)", false},
    {"seed", "S", "decides everything (default 1)", false},
    {"faults", "LIST", "of lose, repeat, delay, crash with commas; all; none (default all)", false},
    {"json", NULL, "one JSON document", false},
    {0},
};

/* Training without data: what a hospital without patients releases, noise. Two attempts at one round never agree. */
static fl_code stub_train(void *ctx, uint32_t node, const node_training *what, fl_objects *objects, fl_hash *hash,
                          uint64_t *size_bytes, fl_err *err)
{
    const nn_plan *plan = ctx;
    const dp_update_shape shape = nn_plan_update(plan, what->round);
    dp_noised *u = NULL, *cells = NULL;
    fl_csprng random;
    (void)node;
    *size_bytes = dp_update_size(&shape);
    uint8_t *bytes = malloc(*size_bytes);
    fl_csprng_init(&random);
    fl_code rc = bytes ? dp_noised_create(&u, shape.coordinates, err) : fl_fail(err, FL_EENV, "out of memory");
    if (rc == FL_OK && shape.cells > 0)
        rc = dp_noised_create(&cells, shape.cells, err);
    if (rc == FL_OK) {
        dp_noised_draw(u, nn_plan_phase(plan, what->round)->noise_variance, &random);
        if (cells)
            dp_noised_draw(cells, plan->metrics_noise_variance, &random);
        dp_update_pack(bytes, &shape, u, cells);
        rc = fl_objects_put(objects, hash, bytes, *size_bytes, err);
    }
    dp_noised_destroy(u);
    dp_noised_destroy(cells);
    fl_csprng_fini(&random);
    free(bytes);
    return rc;
}

static fl_code world_plan(nn_plan *plan, uint32_t nodes, uint32_t rounds, fl_err *err)
{
    char ini[1024];
    snprintf(ini, sizeof ini,
             "[study]\nname = world\nlabels = single\nclasses = normal, pneumonia\nhospitals = all\n"
             "[input]\nshape = 1x8x8\n[model]\narchitecture = linear\n"
             "[rounds]\ncount = %u\nlocal_steps = 1\nquorum = %u\ndeadline_s = 60\n"
             "[local]\nlearning_rate = 0.1\n[server]\noptimiser = sgd\nlearning_rate = 1\n"
             "[privacy]\nepsilon = 8\ndelta = 0.00001\nsampling_rate = 0.5\nnoise_multiplier = auto\nclip_norm = 1\n"
             "allowance_rounds = %u\n[metrics]\nevery = 3\nwhat = histogram+classes+quality\n",
             rounds, nodes > 1 ? (nodes + 1) / 2 : 1, 4 * rounds);
    return nn_plan_from_study(plan, ini, "world", ".", err);
}

static fl_code parse_faults(sim_faults *f, const char *list, fl_err *err)
{
    const sim_faults all = {
        .lose = 0.05, .repeat = 0.05, .crash_node = 0.004, .crash_coordinator = 0.002, .delay_ms = 400};
    char copy[128], *save = NULL;
    snprintf(copy, sizeof copy, "%s", list ? list : "all");
    for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        if (strcmp(word, "all") == 0)
            *f = all;
        else if (strcmp(word, "none") == 0)
            *f = (sim_faults){0};
        else if (strcmp(word, "lose") == 0)
            f->lose = all.lose;
        else if (strcmp(word, "repeat") == 0)
            f->repeat = all.repeat;
        else if (strcmp(word, "delay") == 0)
            f->delay_ms = all.delay_ms;
        else if (strcmp(word, "crash") == 0) {
            f->crash_node = all.crash_node;
            f->crash_coordinator = all.crash_coordinator;
        } else
            return fl_fail(err, FL_EFORMAT, "--faults: %s: expected lose, repeat, delay, crash, all or none", word);
    }
    return FL_OK;
}

static int print_world(fl_cli *cli, sim_world *w, int64_t seed, const nn_plan *plan)
{
    char hex[DP_HEX_SIZE];
    fl_hash hash = sim_world_hash(w);
    const uint32_t n = sim_world_violations(w);
    fl_hex_encode(hex, hash.bytes, FL_HASH_SIZE);
    if (fl_cli_flag(cli, "json")) {
        fl_buf text;
        fl_json *j = fl_json_object(), *list = fl_json_array();
        for (uint32_t i = 0; i < n && sim_world_violation(w, i)[0]; i++)
            fl_json_push_text(list, sim_world_violation(w, i));
        fl_json_set_int(j, "seed", seed);
        fl_json_set_text(j, "hash", hex);
        fl_json_set_int(j, "rounds", plan->rounds);
        fl_json_set_int(j, "crashes", sim_world_crashes(w));
        fl_json_set_int(j, "events", (int64_t)sim_world_events(w));
        fl_json_set(j, "violations", list);
        fl_buf_init(&text, 1 << 20);
        fl_json_print(&text, j, 0);
        fprintf(cli->out, "%s\n", fl_buf_text(&text));
        fl_buf_fini(&text);
        fl_json_free(j);
    } else {
        fprintf(cli->out, "seed %lld: %u rounds, %llu events, %u crashes, %lld virtual seconds, hash %s\n",
                (long long)seed, plan->rounds, (unsigned long long)sim_world_events(w), sim_world_crashes(w),
                (long long)(sim_world_now(w) / 1000), hex);
        for (uint32_t i = 0; i < n && sim_world_violation(w, i)[0]; i++)
            fprintf(cli->out, "violation: %s\n", sim_world_violation(w, i));
        fprintf(cli->out, "%u violations\n", n);
    }
    return n ? 1 : 0;
}

static int world(fl_cli *cli)
{
    fl_err err;
    int64_t nodes = 5, rounds = 10, seed = 1;
    fl_code rc;
    nn_plan *plan = calloc(1, sizeof *plan);
    sim_world *w = NULL;
    sim_world_config config = {.epsilon = "8", .delta = "0.00001", .train = stub_train, .ctx = plan};
    if (!plan)
        rc = fl_fail(&err, FL_EENV, "out of memory");
    else if ((rc = fl_cli_int(cli, "nodes", &nodes, 1, COORD_MAX_SITES, &err)) == FL_OK &&
             (rc = fl_cli_int(cli, "rounds", &rounds, 1, 10000, &err)) == FL_OK &&
             (rc = fl_cli_int(cli, "seed", &seed, 0, INT64_MAX, &err)) == FL_OK &&
             (rc = parse_faults(&config.faults, fl_cli_value(cli, "faults"), &err)) == FL_OK &&
             (rc = world_plan(plan, (uint32_t)nodes, (uint32_t)rounds, &err)) == FL_OK) {
        config.seed = (uint64_t)seed;
        config.n_nodes = (uint32_t)nodes;
        if ((rc = sim_world_create(&w, &config, &err)) == FL_OK && (rc = sim_world_add_study(w, plan, &err)) == FL_OK)
            rc = sim_world_run(w, rounds * 600000, &err);
    }
    int code = rc ? fl_cli_fail(cli, &err) : print_world(cli, w, seed, plan);
    sim_world_destroy(w);
    free(plan);
    return code;
}

/* ---- audit ------------------------------------------------------------------------------------------------------ */

static const fl_cli_option audit_options[] = {
    {"canaries", "M", "patients that are in or out by a coin (default 50000)", false},
    {"guesses", "R", "how many of them are guessed (default 1500)", false},
    {"sampling-rate", "Q", "chance of each patient to be in a step (default 1)", false},
    {"noise-multiplier", "S", "noise over clip (default 2)", false},
    {"steps", "T", "steps in the release (default 1)", false},
    {"delta", "D", "of the claim (default 1e-5)", false},
    {"confidence", "P", "of the bound (default 0.95)", false},
    {"trials", "N", "how often (default 1)", false},
    {"seed", "S", "of the coins; never of noise (default 1)", false},
    {"threads", "N", "threads; default one per core", false},
    {"json", NULL, "one JSON document", false},
    {0},
};

static void show_hospital(void *ctx, uint32_t hospital, uint32_t hospitals)
{
    (void)ctx;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Khospital %u of %u%s", hospital, hospitals, hospital == hospitals ? "\n" : "");
}

static const char *value_or(const fl_cli *cli, const char *name, const char *otherwise)
{
    const char *value = fl_cli_value(cli, name);
    return value ? value : otherwise;
}

static int print_audit(fl_cli *cli, const sim_audit_result *r, const sim_audit_options *o)
{
    if (fl_cli_flag(cli, "json")) {
        fl_buf json;
        fl_buf_init(&json, 1 << 20);
        sim_audit_json(&json, r, o);
        fprintf(cli->out, "%s\n", fl_buf_text(&json));
        fl_buf_fini(&json);
    } else
        sim_audit_print(cli->out, r, o);
    return sim_audit_holds(r) ? 0 : 1;
}

static int audit(fl_cli *cli)
{
    fl_err err;
    fl_code rc;
    int64_t canaries = 50000, guesses = 1500, steps = 1, trials = 1, seed = 1, threads = 0;
    sim_audit_options o = {.sampling_rate = value_or(cli, "sampling-rate", "1"),
                           .noise_multiplier = value_or(cli, "noise-multiplier", "2"),
                           .delta = value_or(cli, "delta", "1e-5"),
                           .confidence = 0.95,
                           .progress = show_hospital};
    if ((rc = fl_cli_int(cli, "canaries", &canaries, 16, SIM_AUDIT_MAX_CANARIES, &err)) ||
        (rc = fl_cli_int(cli, "guesses", &guesses, 2, SIM_AUDIT_MAX_CANARIES, &err)) ||
        (rc = fl_cli_int(cli, "steps", &steps, 1, SIM_AUDIT_MAX_STEPS, &err)) ||
        (rc = fl_cli_int(cli, "trials", &trials, 1, SIM_AUDIT_MAX_TRIALS, &err)) ||
        (rc = fl_cli_real(cli, "confidence", &o.confidence, 0.51, 1 - 1e-12, &err)) ||
        (rc = fl_cli_int(cli, "threads", &threads, 0, 256, &err)) ||
        (rc = fl_cli_int(cli, "seed", &seed, 0, INT64_MAX, &err)))
        return fl_cli_fail(cli, &err);
    o.canaries = (uint32_t)canaries;
    o.guesses = (uint32_t)guesses;
    o.steps = (uint32_t)steps;
    o.trials = (uint32_t)trials;
    o.seed = (uint64_t)seed;
    o.n_threads = (unsigned)threads;
    sim_audit_result *r = calloc(1, sizeof *r);
    if (!r)
        rc = fl_fail(&err, FL_EENV, "out of memory");
    else
        rc = sim_audit(r, &o, &err);
    int code = rc ? fl_cli_fail(cli, &err) : print_audit(cli, r, &o);
    free(r);
    return code;
}

/* ---- phantom, split --------------------------------------------------------------------------------------------- */

static const fl_cli_option phantom_options[] = {
    {"out", "DIR", "where to", true},
    {"hospitals", "N", "how many", true},
    {"patients", "P", "in each hospital", true},
    {"seed", "S", "decides every pixel (default 1)", false},
    {0},
};

static int phantom(fl_cli *cli)
{
    fl_err err;
    int64_t n = 0, patients = 0, seed = 1;
    if (fl_cli_int(cli, "hospitals", &n, 1, SIM_PHANTOM_MAX_HOSPITALS, &err) ||
        fl_cli_int(cli, "patients", &patients, 1, SIM_PHANTOM_MAX_PATIENTS, &err) ||
        fl_cli_int(cli, "seed", &seed, 0, INT64_MAX, &err) ||
        sim_phantom(fl_cli_value(cli, "out"), (unsigned)n, (unsigned)patients, (uint64_t)seed, &err))
        return fl_cli_fail(cli, &err);
    fprintf(cli->out, "%lld hospitals of %lld invented patients in %s\n", (long long)n, (long long)patients,
            fl_cli_value(cli, "out"));
    return 0;
}

static const fl_cli_option split_options[] = {
    {"data", "DIR", "a folder with a manifest.csv", true},
    {"out", "DIR", "where NAME.csv and hospitals.txt go", true},
    {0},
};

static int split(fl_cli *cli)
{
    fl_err err;
    if (sim_split(fl_cli_value(cli, "data"), fl_cli_value(cli, "out"), &err))
        return fl_cli_fail(cli, &err);
    return 0;
}

static const fl_cli_command commands[] = {
    {"federate", "", "a whole study on this machine: real training, no network", federate_options, 0, 0, federate,
     NULL},
    {"world", "", "nodes and a coordinator in a faulty virtual world", world_options, 0, 0, world, NULL},
    {"audit", "", "canaries against our own training: the least epsilon that explains what is seen", audit_options, 0,
     0, audit, NULL},
    {"phantom", "", "synthetic radiographs as DICOM with planted identities", phantom_options, 0, 0, phantom, NULL},
    {"judge", "", "a federation's model on the pooled split, beside each hospital alone", judge_options, 0, 0, judge,
     NULL},
    {"split", "", "a manifest as one labels.csv per hospital, for `cordon-node data add`", split_options, 0, 0, split,
     NULL},
    {0},
};

int main(int argc, char **argv)
{
    setenv("FL_LOG_LEVEL", "error", 0); /* what nodes say in a simulation is noise */
    return fl_cli_main("cordon-sim", "simulations: federations, faults and phantoms on one machine", commands, argc,
                       argv, NULL);
}
