#include "sim/result.h"

#include "base/json.h"
#include "privacy/decimal.h"
#include "train/predict.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- judging ---------------------------------------------------------------------------------------------------- */

/* A model's answers on a data set. */
typedef struct answers {
    nn_judged judged;
    float *probabilities;
    uint32_t *patient;
} answers;

static void answers_fini(answers *a)
{
    free(a->probabilities);
    free(a->patient);
}

static fl_code ask(answers *a, const float *weights, const nn_plan *plan, const nn_model *model, const nn_dataset *d,
                   fl_pool *pool, fl_err *err)
{
    *a = (answers){.probabilities = malloc(((size_t)d->n_images * plan->n_classes + 1) * sizeof *a->probabilities),
                   .patient = malloc(((size_t)d->n_images + 1) * sizeof *a->patient)};
    if (!a->probabilities || !a->patient) {
        answers_fini(a);
        return fl_fail(err, FL_EENV, "judging: out of memory");
    }
    for (uint32_t p = 0; p < d->n_patients; p++)
        for (uint32_t i = d->patient_first[p]; i < d->patient_first[p + 1]; i++)
            a->patient[i] = p;
    a->judged = (nn_judged){.probabilities = a->probabilities,
                            .labels = d->labels,
                            .patient = a->patient,
                            .n_images = d->n_images,
                            .n_patients = d->n_patients,
                            .n_classes = plan->n_classes,
                            .multi = plan->multi};
    fl_code rc = nn_predict(a->probabilities, model, weights, d, pool, err);
    if (rc)
        answers_fini(a);
    return rc;
}

static nn_whole headline(const nn_plan *plan)
{
    return plan->multi || plan->n_classes == 2 ? NN_WHOLE_AUROC : NN_WHOLE_BALANCED_ACCURACY;
}

/* One model on one data set: everything, or the headline with its interval. */
static fl_code score(nn_report *out, bool everything, const float *weights, const nn_plan *plan, const nn_model *model,
                     const nn_dataset *d, fl_pool *pool, fl_err *err)
{
    answers a;
    FL_TRY(ask(&a, weights, plan, model, d, pool, err));
    fl_code rc = everything ? nn_report_make(out, &a.judged, &nn_default_targets, plan->seed, err)
                            : nn_report_headline(out, &a.judged, headline(plan), plan->seed, err);
    answers_fini(&a);
    return rc;
}

static const nn_value no_value = {NAN, NAN, NAN, "no images"};

static fl_code judge_parts(sim_result *out, nn_report *r, const float *weights, const nn_plan *plan,
                           const nn_model *model, const sim_hospitals *h, fl_pool *pool, fl_err *err)
{
    const node_split split = strcmp(h->judge_name, "test") == 0 ? NODE_SPLIT_TEST : NODE_SPLIT_VAL;
    for (uint32_t i = 0; i < h->n; i++) {
        const nn_dataset *d = &h->list[i].split[split];
        sim_part *p = &out->part[i];
        *p = (sim_part){d->n_images, d->n_patients, no_value, no_value, no_value, no_value};
        if (d->n_images == 0)
            continue;
        FL_TRY(score(r, false, weights, plan, model, d, pool, err));
        p->metric = r->overall[headline(plan)];
        p->auroc = r->overall[NN_WHOLE_AUROC];
        p->balanced_accuracy = r->overall[NN_WHOLE_BALANCED_ACCURACY];
        p->accuracy = r->overall[NN_WHOLE_ACCURACY];
    }
    return FL_OK;
}

static fl_code judge_baselines(sim_result *out, nn_report *r, const nn_plan *plan, const nn_model *model,
                               const sim_hospitals *h, const sim_baselines *baselines, fl_pool *pool, fl_err *err)
{
    for (uint32_t i = 0; i < h->n; i++)
        out->local[i] = out->local_nonprivate[i] = NAN;
    out->has_local = baselines != NULL;
    for (uint32_t k = 0; baselines && k < baselines->n; k++) {
        const sim_baseline *b = &baselines->list[k];
        if (!b->weights)
            continue;
        FL_TRY(score(r, false, b->weights, plan, model, &h->judge, pool, err));
        const double value = r->overall[headline(plan)].value;
        if (b->is_private || !plan->is_private)
            out->local[b->hospital] = value;
        if (!b->is_private)
            out->local_nonprivate[b->hospital] = value;
    }
    return FL_OK;
}

fl_code sim_judge(sim_result *out, const float *weights, const nn_plan *plan, const sim_hospitals *h,
                  const sim_baselines *baselines, fl_pool *pool, fl_err *err)
{
    nn_model *model = NULL;
    nn_report *r = malloc(sizeof *r);
    fl_code rc = r ? nn_model_create(&model, plan->spec, plan->channels, plan->height, plan->width, plan->n_classes,
                                     err)
                   : fl_fail(err, FL_EENV, "judging: out of memory");
    const nn_aim aim = {.learn = "all", .loss = plan->multi ? NN_LOSS_BINARY : NN_LOSS_SOFTMAX};
    if (rc == FL_OK)
        rc = nn_model_aim(model, &aim, err);
    if (rc == FL_OK)
        rc = score(&out->report, true, weights, plan, model, &h->judge, pool, err);
    out->n = h->n;
    out->metric = nn_whole_name(headline(plan));
    out->global = out->report.overall[headline(plan)];
    if (rc == FL_OK)
        rc = judge_parts(out, r, weights, plan, model, h, pool, err);
    if (rc == FL_OK)
        rc = judge_baselines(out, r, plan, model, h, baselines, pool, err);
    nn_model_destroy(model);
    free(r);
    return rc;
}

/* ---- telling ---------------------------------------------------------------------------------------------------- */

static double mean_local(const sim_result *r)
{
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n; i++)
        if (!isnan(r->local[i])) {
            sum += r->local[i];
            n++;
        }
    return n ? sum / n : NAN;
}

static const char *number(char text[24], double value)
{
    if (isnan(value))
        strcpy(text, "-");
    else
        snprintf(text, 24, "%.3f", value);
    return text;
}

static const char *interval(char text[24], const nn_value *v)
{
    if (isnan(v->value) || isnan(v->low))
        number(text, v->value);
    else
        snprintf(text, 24, "%.3f (%.3f-%.3f)", v->value, v->low, v->high);
    return text;
}

static void print_head(fl_buf *out, const sim_result *r, const sim_hospitals *h)
{
    static const struct {
        const char *name;
        nn_whole whole;
    } rows[] = {{"AUROC", NN_WHOLE_AUROC},
                {"average precision", NN_WHOLE_AVERAGE_PRECISION},
                {"balanced accuracy", NN_WHOLE_BALANCED_ACCURACY},
                {"accuracy", NN_WHOLE_ACCURACY},
                {"calibration error", NN_WHOLE_CALIBRATION_ERROR}};
    char text[24];
    fl_buf_printf(
        out, "\nGlobal model, %s split of all hospitals: %u images of %u patients (95 %% interval by patients)\n\n",
        h->judge_name, r->report.n_images, r->report.n_patients);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        fl_buf_printf(out, "  %-20s %s%s\n", rows[i].name, interval(text, &r->report.overall[rows[i].whole]),
                      strcmp(nn_whole_name(rows[i].whole), r->metric) == 0 ? "   *" : "");
}

static void print_classes(fl_buf *out, const sim_result *r, const nn_plan *plan)
{
    char a[24], b[24], c[24], d[24];
    const nn_targets *t = &r->report.targets;
    fl_buf_printf(out, "\n  %-20s %8s %8s %8s %8s   sensitivity at %g %% specificity\n", "class", "images", "AUROC",
                  "av.prec.", "recall", 100 * t->specificity);
    for (uint32_t i = 0; i < plan->n_classes; i++) {
        const nn_class_report *k = &r->report.of[i];
        fl_buf_printf(out, "  %-20s %8u %8s %8s %8s   %s\n", plan->classes[i], k->n_positive,
                      number(a, k->measure[NN_AUROC].value), number(b, k->measure[NN_AVERAGE_PRECISION].value),
                      number(c, k->measure[NN_SENSITIVITY].value), interval(d, &k->measure[NN_SENSITIVITY_AT]));
    }
}

static void print_hospitals(fl_buf *out, const sim_result *r, const sim_hospitals *h)
{
    char a[24], b[24], c[24], d[24], e[24];
    const bool auroc = strcmp(r->metric, "auroc") == 0;
    fl_buf_printf(out, "\n  %-20s %8s %12s %22s %9s %9s\n", "hospital", "alone", "alone, open", "global at", "accuracy",
                  "epsilon");
    for (uint32_t i = 0; i < r->n; i++)
        fl_buf_printf(out, "  %-20s %8s %12s %22s %9s %9s\n", h->list[i].name, number(a, r->local[i]),
                      number(b, r->local_nonprivate[i]), interval(c, &r->part[i].metric),
                      number(d, r->part[i].accuracy.value), number(e, r->epsilon[i]));
    fl_buf_printf(out, "  %-20s %8s\n", "mean of alone", number(a, mean_local(r)));
    fl_buf_printf(
        out,
        "\n  * alone, global at: %s. alone: the same plan with the same privacy on that hospital only, judged\n"
        "  on the split of all; alone, open: without noise; global at: the global model on that hospital's own\n"
        "  images (- where they are of one class)\n",
        auroc ? "AUROC" : "balanced accuracy");
}

void sim_result_print(fl_buf *out, const sim_result *r, const nn_plan *plan, const sim_hospitals *h)
{
    print_head(out, r, h);
    print_classes(out, r, plan);
    print_hospitals(out, r, h);
    fl_buf_printf(out, "\n  rounds %u, %u weights, delta %s, %.0f s, audit: %s\n", r->rounds, plan->n_weights,
                  r->is_private ? plan->delta : "-", r->seconds, r->audit);
}

static fl_json *reals(const double *values, uint32_t n)
{
    fl_json *a = fl_json_array();
    for (uint32_t i = 0; i < n; i++)
        fl_json_push_real(a, values[i]);
    return a;
}

static fl_json *ends(const nn_value *v)
{
    const double both[2] = {v->low, v->high};
    return reals(both, 2);
}

static fl_json *per_class(const sim_result *r, nn_measure m)
{
    fl_json *a = fl_json_array();
    for (uint32_t c = 0; c < r->report.n_classes; c++)
        fl_json_push_real(a, r->report.of[c].measure[m].value);
    return a;
}

static void set_value(fl_json *j, const char *name, const nn_value *v)
{
    char ending[64];
    snprintf(ending, sizeof ending, "%s_interval", name);
    fl_json_set_real(j, name, v->value);
    fl_json_set(j, ending, ends(v));
}

/* What train/report.h says of the whole, of each class and of each hospital's own part. */
static void set_report(fl_json *j, const sim_result *r, const nn_plan *plan, const sim_hospitals *h)
{
    const nn_report *report = &r->report;
    fl_json *classes = fl_json_array(), *at = fl_json_object(), *groups = fl_json_array();
    for (nn_whole k = 0; k < NN_N_WHOLE; k++)
        set_value(j, nn_whole_name(k), &report->overall[k]);
    fl_json_set_real(j, "auprc", report->overall[NN_WHOLE_AVERAGE_PRECISION].value);
    for (uint32_t c = 0; c < plan->n_classes; c++)
        fl_json_push_text(classes, plan->classes[c]);
    fl_json_set(j, "classes", classes);
    fl_json_set(j, "per_class_auroc", per_class(r, NN_AUROC));
    fl_json_set(j, "per_class_auprc", per_class(r, NN_AVERAGE_PRECISION));
    fl_json_set_real(at, "specificity", report->targets.specificity);
    fl_json_set(at, "sensitivity", per_class(r, NN_SENSITIVITY_AT));
    fl_json_set(j, "sensitivity_at_specificity", at);
    if (!plan->multi) {
        fl_json *rows = fl_json_array();
        for (uint32_t truth = 0; truth < plan->n_classes; truth++) {
            fl_json *row = fl_json_array();
            for (uint32_t said = 0; said < plan->n_classes; said++)
                fl_json_push_int(row, report->confusion[truth][said]);
            fl_json_push(rows, row);
        }
        fl_json_set(j, "confusion", rows);
    }
    for (uint32_t i = 0; i < r->n; i++) {
        fl_json *g = fl_json_object();
        fl_json_set_text(g, "hospital", h->list[i].name);
        fl_json_set_int(g, "images", r->part[i].n_images);
        fl_json_set_int(g, "patients", r->part[i].n_patients);
        set_value(g, r->metric, &r->part[i].metric);
        fl_json_set_real(g, "auroc", r->part[i].auroc.value);
        fl_json_set_real(g, "balanced_accuracy", r->part[i].balanced_accuracy.value);
        fl_json_set_real(g, "accuracy", r->part[i].accuracy.value);
        fl_json_push(groups, g);
    }
    fl_json_set(j, "subgroups", groups);
}

void sim_result_json(fl_buf *out, const sim_result *r, const nn_plan *plan, const sim_hospitals *h)
{
    double delta = 0;
    fl_json *j = fl_json_object(), *names = fl_json_array(), *own = fl_json_array(), *intervals = fl_json_array();
    for (uint32_t i = 0; i < r->n; i++) {
        fl_json_push_text(names, h->list[i].name);
        fl_json_push_real(own, r->part[i].metric.value);
        fl_json_push(intervals, ends(&r->part[i].metric));
    }
    set_report(j, r, plan, h);
    fl_json_set_text(j, "metric", r->metric);
    fl_json_set_real(j, "global", r->global.value);
    fl_json_set(j, "interval", ends(&r->global));
    fl_json_set(j, "hospitals", names);
    fl_json_set(j, "local", reals(r->local, r->n));
    fl_json_set(j, "local_nonprivate", reals(r->local_nonprivate, r->n));
    fl_json_set(j, "per_hospital", own);
    fl_json_set(j, "per_hospital_interval", intervals);
    fl_json_set(j, "per_class", per_class(r, NN_SENSITIVITY));
    fl_json_set(j, "epsilon", reals(r->epsilon, r->n));
    fl_json_set(j, "epsilon_low", reals(r->epsilon_low, r->n));
    fl_json_set(j, "epsilon_high", reals(r->epsilon_high, r->n));
    if (r->is_private && dp_decimal_value(&delta, plan->delta))
        fl_json_set_real(j, "delta", delta);
    else
        fl_json_set_null(j, "delta");
    fl_json_set_int(j, "rounds", r->rounds);
    fl_json_set_real(j, "seconds", r->seconds);
    fl_json_set_text(j, "audit", r->audit);
    fl_json_set_text(j, "split", h->judge_name);
    fl_json_set_int(j, "images", r->report.n_images);
    fl_json_set_int(j, "patients", r->report.n_patients);
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
