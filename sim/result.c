#include "sim/result.h"

#include "base/json.h"
#include "privacy/decimal.h"
#include "train/dpsgd.h"
#include "train/predict.h"
#include "train/server.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a federation in one loop ----------------------------------------------------------------------------------- */

static fl_code one_round(nn_server *server, const nn_plan *plan, nn_trainer **trainers, const uint64_t *declared,
                         uint32_t n, dp_noised *u, int64_t *sum, uint32_t round, fl_csprng *random, fl_err *err)
{
    uint64_t total = 0;
    memset(sum, 0, plan->n_weights * sizeof *sum);
    for (uint32_t i = 0; i < n; i++) {
        fl_code rc = nn_trainer_update(trainers[i], u, nn_server_model(server), declared[i], round + 1, random, NULL,
                                       err);
        if (rc)
            return rc;
        nn_server_sum(sum, dp_noised_values(u), plan->n_weights);
        total += declared[i];
    }
    return nn_server_apply(server, plan, sum, total, round, err);
}

fl_code sim_train(float *weights, const nn_plan *plan, const nn_dataset *const *datasets, const uint64_t *declared,
                  uint32_t n, fl_pool *pool, sim_progress progress, void *ctx, fl_err *err)
{
    nn_server server = {0};
    nn_trainer *trainers[SIM_MAX_HOSPITALS] = {0};
    dp_noised *u = NULL;
    int64_t *sum = malloc(plan->n_weights * sizeof *sum);
    fl_csprng random;
    fl_csprng_init(&random);
    fl_code rc = sum ? dp_noised_create(&u, plan->n_weights + plan->probe, err)
                     : fl_fail(err, FL_EENV, "training: out of memory");
    if (rc == FL_OK)
        rc = nn_server_init(&server, plan, err);
    for (uint32_t i = 0; i < n && rc == FL_OK; i++)
        rc = nn_trainer_create(&trainers[i], plan, datasets[i], pool, err);
    for (uint32_t r = 0; r < plan->rounds && rc == FL_OK; r++) {
        rc = one_round(&server, plan, trainers, declared, n, u, sum, r, &random, err);
        if (progress)
            progress(ctx, r + 1, plan->rounds);
    }
    if (rc == FL_OK)
        nn_server_released_model(&server, weights);
    for (uint32_t i = 0; i < n; i++)
        nn_trainer_destroy(trainers[i]);
    nn_server_fini(&server);
    fl_csprng_fini(&random);
    dp_noised_destroy(u);
    free(sum);
    return rc;
}

/* ---- judging ---------------------------------------------------------------------------------------------------- */

static fl_code score(nn_scores *out, const float *weights, const nn_plan *plan, const nn_model *model,
                     const nn_dataset *d, fl_pool *pool, fl_err *err)
{
    float *p = malloc(((size_t)d->n_images * plan->n_classes + 1) * sizeof *p);
    if (!p)
        return fl_fail(err, FL_EENV, "judging: out of memory");
    fl_code rc = nn_predict(p, model, weights, d, pool, err);
    if (rc == FL_OK)
        rc = nn_evaluate(out, p, d, plan->n_classes, false, plan->seed, err);
    free(p);
    return rc;
}

static void show(const char *what, const char *hospital)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%s %s", what, hospital);
}

static fl_code baseline(double *out, const nn_plan *plan, const nn_model *model, const sim_hospital *h,
                        const nn_dataset *judge, fl_pool *pool, fl_err *err)
{
    const nn_dataset *train = &h->split[NODE_SPLIT_TRAIN];
    float *w = malloc(plan->n_weights * sizeof *w);
    nn_scores s;
    fl_code rc = w ? sim_train(w, plan, &train, &h->declared, 1, pool, NULL, NULL, err)
                   : fl_fail(err, FL_EENV, "judging: out of memory");
    if (rc == FL_OK)
        rc = score(&s, w, plan, model, judge, pool, err);
    if (rc == FL_OK)
        *out = s.value;
    free(w);
    return rc;
}

fl_code sim_judge(sim_result *out, const float *weights, const nn_plan *plan, const sim_hospitals *h, fl_pool *pool,
                  fl_err *err)
{
    nn_model *model = NULL;
    nn_plan *open_plan = malloc(sizeof *open_plan);
    const node_split part = strcmp(h->judge_name, "test") == 0 ? NODE_SPLIT_TEST : NODE_SPLIT_VAL;
    fl_code rc = open_plan ? nn_model_create(&model, plan->spec, plan->channels, plan->height, plan->width,
                                             plan->n_classes, err)
                           : fl_fail(err, FL_EENV, "judging: out of memory");
    if (rc == FL_OK)
        rc = score(&out->global, weights, plan, model, &h->judge, pool, err);
    if (rc == FL_OK) {
        *open_plan = *plan;
        rc = nn_plan_drop_privacy(open_plan, err);
    }
    out->n = h->n;
    for (uint32_t i = 0; i < h->n && rc == FL_OK; i++) {
        nn_scores s;
        out->per_hospital[i] = NAN;
        if (h->list[i].split[part].n_images > 0) {
            rc = score(&s, weights, plan, model, &h->list[i].split[part], pool, err);
            out->per_hospital[i] = rc == FL_OK ? s.value : NAN;
        }
        show("judging: the same plan alone at", h->list[i].name);
        if (rc == FL_OK)
            rc = baseline(&out->local[i], plan, model, &h->list[i], &h->judge, pool, err);
        if (rc == FL_OK)
            rc = baseline(&out->local_nonprivate[i], open_plan, model, &h->list[i], &h->judge, pool, err);
    }
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
    nn_model_destroy(model);
    free(open_plan);
    return rc;
}

/* ---- telling ---------------------------------------------------------------------------------------------------- */

static double mean_local(const sim_result *r)
{
    double sum = 0;
    for (uint32_t i = 0; i < r->n; i++)
        sum += r->local[i];
    return sum / r->n;
}

static const char *number(char text[16], double value)
{
    if (isnan(value))
        strcpy(text, "-");
    else
        snprintf(text, 16, "%.3f", value);
    return text;
}

void sim_result_print(FILE *out, const sim_result *r, const nn_plan *plan, const sim_hospitals *h)
{
    char a[16], b[16], c[16], d[16];
    fprintf(out, "\n%s, %s split of all hospitals: %u images of %u patients\n\n",
            strcmp(r->global.metric, "auroc") == 0 ? "AUROC" : "balanced accuracy", h->judge_name, r->global.n_images,
            r->global.n_patients);
    fprintf(out, "  %-24s %10s  %s\n", "", "", "95 % interval");
    fprintf(out, "  %-24s %10s  %.3f - %.3f\n\n", "global model", number(a, r->global.value), r->global.low,
            r->global.high);
    fprintf(out, "  %-24s %10s %12s %10s %10s\n", "hospital", "alone", "alone, open", "global at", "epsilon");
    for (uint32_t i = 0; i < r->n; i++)
        fprintf(out, "  %-24s %10s %12s %10s %10s\n", h->list[i].name, number(a, r->local[i]),
                number(b, r->local_nonprivate[i]), number(c, r->per_hospital[i]), number(d, r->epsilon[i]));
    fprintf(out, "  %-24s %10s\n\n", "mean of alone", number(a, mean_local(r)));
    fprintf(out, "  alone: the same plan with the same privacy on that hospital only; alone, open: without noise;\n"
                 "  global at: the global model on that hospital's own images (- where it has one class only)\n\n");
    fprintf(out, "  recall by class:");
    for (uint32_t i = 0; i < r->global.n_classes; i++)
        fprintf(out, "  %s %s", plan->classes[i], number(a, r->global.per_class[i]));
    fprintf(out, "\n  rounds %u, %u weights, delta %s, %.0f s, audit: %s\n", r->rounds, plan->n_weights,
            r->is_private ? plan->delta : "-", r->seconds, r->audit);
}

static fl_json *reals(const double *values, uint32_t n)
{
    fl_json *a = fl_json_array();
    for (uint32_t i = 0; i < n; i++)
        fl_json_push_real(a, values[i]);
    return a;
}

void sim_result_json(fl_buf *out, const sim_result *r, const nn_plan *plan, const sim_hospitals *h)
{
    const double interval[2] = {r->global.low, r->global.high};
    double delta = 0;
    fl_json *j = fl_json_object(), *names = fl_json_array();
    for (uint32_t i = 0; i < r->n; i++)
        fl_json_push_text(names, h->list[i].name);
    fl_json_set_text(j, "metric", r->global.metric);
    fl_json_set_real(j, "global", r->global.value);
    fl_json_set(j, "interval", reals(interval, 2));
    fl_json_set(j, "hospitals", names);
    fl_json_set(j, "local", reals(r->local, r->n));
    fl_json_set(j, "local_nonprivate", reals(r->local_nonprivate, r->n));
    fl_json_set(j, "per_hospital", reals(r->per_hospital, r->n));
    fl_json_set(j, "per_class", reals(r->global.per_class, r->global.n_classes));
    fl_json_set(j, "epsilon", reals(r->epsilon, r->n));
    if (r->is_private && dp_decimal_value(&delta, plan->delta))
        fl_json_set_real(j, "delta", delta);
    else
        fl_json_set_null(j, "delta");
    fl_json_set_int(j, "rounds", r->rounds);
    fl_json_set_real(j, "seconds", r->seconds);
    fl_json_set_text(j, "audit", r->audit);
    fl_json_set_real(j, "auroc", r->global.auroc);
    fl_json_set_real(j, "balanced_accuracy", r->global.balanced_accuracy);
    fl_json_set_real(j, "accuracy", r->global.accuracy);
    fl_json_set_text(j, "split", h->judge_name);
    fl_json_set_int(j, "images", r->global.n_images);
    fl_json_set_int(j, "patients", r->global.n_patients);
    fl_json_print(out, j, 0);
    fl_json_free(j);
}

bool sim_result_holds(FILE *out, const sim_result *r, const nn_plan *plan)
{
    bool ok = true;
    double promised = 0;
    if (strcmp(r->audit, "verified") != 0) {
        fprintf(out, "NOT HELD: the audit of the ledgers says \"%s\"\n", r->audit);
        ok = false;
    }
    if (r->is_private && dp_decimal_value(&promised, plan->epsilon))
        for (uint32_t i = 0; i < r->n; i++)
            if (!(r->epsilon[i] <= promised)) {
                fprintf(out, "NOT HELD: epsilon of hospital %u is %.4f, the plan promises %s\n", i + 1, r->epsilon[i],
                        plan->epsilon);
                ok = false;
            }
    if (!(r->global.value > mean_local(r))) {
        fprintf(out, "NOT HELD: the global model (%.3f) does not beat the mean of the hospitals alone (%.3f)\n",
                r->global.value, mean_local(r));
        ok = false;
    }
    return ok;
}
