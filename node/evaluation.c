#include "node/evaluation.h"

#include <math.h>
#include <string.h>

/* ---- for people ---------------------------------------------------------------------------------------------------- */

/* "0.951  0.931 - 0.968", "-  (there are no images)" */
static void print_value(FILE *out, const char *name, const nn_value *v)
{
    char value[32] = "-";
    if (!isnan(v->value))
        snprintf(value, sizeof value, "%.3f", v->value);
    fprintf(out, "  %-44s %8s", name, value);
    if (!isnan(v->low))
        fprintf(out, "  %.3f - %.3f", v->low, v->high);
    else if (v->reason)
        fprintf(out, "  (%s)", v->reason);
}

static void words(char text[64], const char *name)
{
    size_t i = 0;
    for (; name[i] && i < 63; i++)
        text[i] = name[i] == '_' ? ' ' : name[i];
    text[i] = 0;
}

static void measure_words(char text[64], nn_measure m, const nn_targets *t)
{
    char name[64];
    words(name, nn_measure_name(m));
    snprintf(text, 64, "%s", name);
    if (m == NN_SENSITIVITY_AT)
        snprintf(text, 64, "%.40s %.3g", name, t->specificity);
    else if (m == NN_SPECIFICITY_AT)
        snprintf(text, 64, "%.40s %.3g", name, t->sensitivity);
    else if (m == NN_CALIBRATION_ERROR || m == NN_ADAPTIVE_CALIBRATION_ERROR)
        snprintf(text, 64, "%.40s, %u bins", name, t->bins);
}

static void print_threshold(FILE *out, double threshold)
{
    if (isfinite(threshold))
        fprintf(out, "  from %.4f on", threshold);
    else if (isinf(threshold))
        fputs("  only by never saying yes", out);
}

static void print_class(FILE *out, const nn_report *r, uint32_t c, const char *class)
{
    const nn_class_report *k = &r->of[c];
    fprintf(out, "\nclass %s: %u of %u images; said of %u, rightly of %u\n", class, k->n_positive, r->n_images,
            k->tp + k->fp, k->tp);
    for (int m = 0; m < NN_N_MEASURES; m++) {
        char name[64];
        measure_words(name, (nn_measure)m, &r->targets);
        print_value(out, name, &k->measure[m]);
        if (m == NN_AUROC && !isnan(k->delong.low))
            fprintf(out, "  (DeLong %.3f - %.3f)", k->delong.low, k->delong.high);
        if (m == NN_SENSITIVITY_AT)
            print_threshold(out, k->threshold_at_specificity);
        if (m == NN_SPECIFICITY_AT)
            print_threshold(out, k->threshold_at_sensitivity);
        fputs("\n", out);
    }
}

static void print_averages(FILE *out, const nn_report *r)
{
    fprintf(out, "\nover the classes\n");
    for (int m = 0; m < NN_N_MEASURES; m++) {
        char name[64], line[80];
        measure_words(name, (nn_measure)m, &r->targets);
        snprintf(line, sizeof line, "macro %.60s", name);
        print_value(out, line, &r->macro[m]);
        fputs("\n", out);
        snprintf(line, sizeof line, "micro %.60s", name);
        print_value(out, line, &r->micro[m]);
        fputs("\n", out);
    }
}

static void print_confusion(FILE *out, const node_evaluation *e)
{
    const nn_report *r = &e->whole;
    fprintf(out, "\nconfusion: rows are the truth, columns what the model says\n  %-20s", "");
    for (uint32_t b = 0; b < r->n_classes; b++)
        fprintf(out, " %12.12s", e->classes[b]);
    for (uint32_t a = 0; a < r->n_classes; a++) {
        fprintf(out, "\n  %-20.20s", e->classes[a]);
        for (uint32_t b = 0; b < r->n_classes; b++)
            fprintf(out, " %12u", r->confusion[a][b]);
    }
    fputs("\n", out);
}

static void short_value(char text[48], const nn_value *v)
{
    if (isnan(v->value))
        snprintf(text, 48, "-");
    else if (isnan(v->low))
        snprintf(text, 48, "%.3f", v->value);
    else
        snprintf(text, 48, "%.3f (%.3f - %.3f)", v->value, v->low, v->high);
}

static void print_parts(FILE *out, const node_evaluation *e)
{
    fprintf(out, "\nby %s\n  %-28s %8s %8s  %-24s %-24s %s\n", e->by, "", "images", "patients", "auroc",
            "balanced accuracy", "calibration error");
    for (uint32_t i = 0; i < e->n_parts; i++) {
        const nn_report *r = &e->parts[i].report;
        char text[3][48];
        short_value(text[0], &r->overall[NN_WHOLE_AUROC]);
        short_value(text[1], &r->overall[NN_WHOLE_BALANCED_ACCURACY]);
        short_value(text[2], &r->overall[NN_WHOLE_CALIBRATION_ERROR]);
        fprintf(out, "  %-28.28s %8u %8u  %-24s %-24s %s\n", e->parts[i].name, r->n_images, r->n_patients, text[0],
                text[1], text[2]);
    }
}

static void print_against(FILE *out, const node_evaluation *e)
{
    fprintf(out, "\nauroc less that of the other model, on the same images (DeLong)\n");
    for (uint32_t c = 0; c < e->whole.n_classes; c++) {
        const nn_comparison *k = &e->against[c];
        print_value(out, e->classes[c], &k->difference);
        if (!isnan(k->p))
            fprintf(out, "  p %.3g", k->p);
        fputs("\n", out);
    }
}

void node_evaluation_print(FILE *out, const node_evaluation *e)
{
    const nn_report *r = &e->whole;
    const bool two = !r->multi && r->n_classes == 2;
    fprintf(out, "%u images of %u patients\n  %-44s %8s  95 %% interval, by patients\n", r->n_images, r->n_patients, "",
            "");
    for (int w = 0; w < NN_N_WHOLE; w++) {
        char name[64];
        words(name, nn_whole_name((nn_whole)w));
        print_value(out, name, &r->overall[w]);
        fputs("\n", out);
    }
    for (uint32_t c = 0; c < r->n_classes; c++)
        print_class(out, r, c, e->classes[c]);
    if (!two)
        print_averages(out, r);
    if (!r->multi)
        print_confusion(out, e);
    if (e->by)
        print_parts(out, e);
    if (e->against)
        print_against(out, e);
}

/* ---- for programs ---------------------------------------------------------------------------------------------------- */

static fl_json *interval_json(double low, double high)
{
    fl_json *a = fl_json_array();
    fl_json_push_real(a, low);
    fl_json_push_real(a, high);
    return a;
}

static fl_json *value_json(const nn_value *v)
{
    fl_json *j = fl_json_object();
    fl_json_set_real(j, "value", v->value);
    if (isnan(v->low))
        fl_json_set_null(j, "interval");
    else
        fl_json_set(j, "interval", interval_json(v->low, v->high));
    if (v->reason)
        fl_json_set_text(j, "reason", v->reason);
    return j;
}

static void measures_json(fl_json *to, const nn_value *values)
{
    for (int m = 0; m < NN_N_MEASURES; m++)
        fl_json_set(to, nn_measure_name((nn_measure)m), value_json(&values[m]));
}

static fl_json *class_json(const nn_class_report *k, const char *class)
{
    fl_json *j = fl_json_object();
    fl_json_set_text(j, "class", class);
    fl_json_set_int(j, "positive", k->n_positive);
    measures_json(j, k->measure);
    fl_json_set(j, "delong", value_json(&k->delong));
    fl_json_set_real(j, "threshold_at_specificity", k->threshold_at_specificity);
    fl_json_set_real(j, "threshold_at_sensitivity", k->threshold_at_sensitivity);
    fl_json_set_int(j, "tp", k->tp);
    fl_json_set_int(j, "fp", k->fp);
    fl_json_set_int(j, "fn", k->fn);
    fl_json_set_int(j, "tn", k->tn);
    return j;
}

static fl_json *confusion_json(const nn_report *r)
{
    fl_json *rows = fl_json_array();
    for (uint32_t a = 0; a < r->n_classes; a++) {
        fl_json *row = fl_json_array();
        for (uint32_t b = 0; b < r->n_classes; b++)
            fl_json_push_int(row, r->confusion[a][b]);
        fl_json_push(rows, row);
    }
    return rows;
}

static void report_json(fl_json *to, const nn_report *r, const char (*classes)[32])
{
    fl_json *overall = fl_json_object(), *macro = fl_json_object(), *micro = fl_json_object(), *of = fl_json_array();
    for (int w = 0; w < NN_N_WHOLE; w++)
        fl_json_set(overall, nn_whole_name((nn_whole)w), value_json(&r->overall[w]));
    measures_json(macro, r->macro);
    measures_json(micro, r->micro);
    for (uint32_t c = 0; c < r->n_classes; c++)
        fl_json_push(of, class_json(&r->of[c], classes[c]));
    fl_json_set_int(to, "images", r->n_images);
    fl_json_set_int(to, "patients", r->n_patients);
    fl_json_set(to, "overall", overall);
    fl_json_set(to, "macro", macro);
    fl_json_set(to, "micro", micro);
    fl_json_set(to, "per_class", of);
    if (!r->multi)
        fl_json_set(to, "confusion", confusion_json(r));
}

static fl_json *parts_json(const node_evaluation *e)
{
    fl_json *j = fl_json_object(), *list = fl_json_array();
    for (uint32_t i = 0; i < e->n_parts; i++) {
        fl_json *part = fl_json_object();
        fl_json_set_text(part, "name", e->parts[i].name);
        report_json(part, &e->parts[i].report, e->classes);
        fl_json_push(list, part);
    }
    fl_json_set_text(j, "column", e->by);
    fl_json_set(j, "parts", list);
    return j;
}

static fl_json *against_json(const node_evaluation *e)
{
    fl_json *list = fl_json_array();
    for (uint32_t c = 0; c < e->whole.n_classes; c++) {
        const nn_comparison *k = &e->against[c];
        fl_json *j = fl_json_object();
        fl_json_set_text(j, "class", e->classes[c]);
        fl_json_set_real(j, "auroc", k->a);
        fl_json_set_real(j, "auroc_of_the_other", k->b);
        fl_json_set(j, "difference", value_json(&k->difference));
        fl_json_set_real(j, "z", k->z);
        fl_json_set_real(j, "p", k->p);
        fl_json_push(list, j);
    }
    return list;
}

void node_evaluation_json(fl_json *to, const node_evaluation *e)
{
    fl_json *targets = fl_json_object();
    fl_json_set_real(targets, "specificity", e->whole.targets.specificity);
    fl_json_set_real(targets, "sensitivity", e->whole.targets.sensitivity);
    fl_json_set_int(targets, "bins", e->whole.targets.bins);
    fl_json_set(to, "targets", targets);
    report_json(to, &e->whole, e->classes);
    if (e->by)
        fl_json_set(to, "by", parts_json(e));
    if (e->against)
        fl_json_set(to, "against", against_json(e));
}
