#include "sim/tell.h"

#include <string.h>

static void tell_phases(FILE *out, const nn_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_phases; i++) {
        const nn_phase *p = &plan->phases[i];
        fprintf(out, "  %s: %u rounds of %u steps, learns %s (%u weights), ", plan->n_phases > 1 ? p->name : "training",
                p->rounds, p->local_steps, p->learn, p->n_learned);
        if (plan->is_private)
            fprintf(out, "q %s, noise %s, clip %s\n", p->sampling_rate, p->noise_multiplier, p->clip_norm);
        else
            fprintf(out, "q %s, no noise, clip %s\n", p->sampling_rate, p->clip_norm);
    }
}

static void tell_hospitals(FILE *out, const sim_hospitals *h)
{
    fprintf(out, "  %-24s %18s %9s %15s %15s\n", "hospital", "train images/pat.", "declared", "val", "test");
    for (uint32_t i = 0; i < h->n; i++) {
        const sim_hospital *s = &h->list[i];
        fprintf(out, "  %-24s", s->name);
        for (int k = 0; k < NODE_N_SPLITS; k++) {
            fprintf(out, "%*u/%u", k == 0 ? 13 : 10, s->split[k].n_images, s->split[k].n_patients);
            if (k == 0)
                fprintf(out, " %9llu", (unsigned long long)s->declared);
        }
        fputc('\n', out);
    }
}

static void tell_left_out(FILE *out, const nn_plan *plan, const sim_hospitals *h)
{
    const sim_left_out *l = &h->left_out;
    if (h->by_number)
        fprintf(out, "  labels are taken by number: 0 is %s\n", plan->classes[0]);
    if (l->other_labels > 0) {
        uint32_t named = 0;
        fprintf(out, "  left out: %u images of labels that are no class of the study:", l->other_labels);
        for (uint32_t i = 0; i < l->n_labels; i++) {
            fprintf(out, "%s %u of %s", i ? "," : "", l->labels[i].rows, l->labels[i].text);
            named += l->labels[i].rows;
        }
        fprintf(out, "%s\n", named < l->other_labels ? ", others" : "");
    }
    if (l->other_hospitals > 0)
        fprintf(out, "  left out: %u images of other hospitals\n", l->other_hospitals);
}

/* Classes that nobody has, and hospitals with nothing to train on: not wrong, but seldom meant. */
static void warn(FILE *out, const nn_plan *plan, const sim_hospitals *h)
{
    uint64_t has[NN_PLAN_MAX_CLASSES] = {0};
    for (uint32_t i = 0; i < h->n; i++) {
        const nn_dataset *d = &h->list[i].split[NODE_SPLIT_TRAIN];
        if (d->n_patients == 0)
            fprintf(out, "  warning: %s has nobody in the training split: it sends noise alone\n", h->list[i].name);
        for (uint32_t k = 0; k < d->n_images; k++)
            for (uint32_t c = 0; c < plan->n_classes; c++)
                has[c] += plan->multi ? d->labels[k] >> c & 1 : d->labels[k] == c;
    }
    for (uint32_t c = 0; c < plan->n_classes; c++)
        if (has[c] == 0)
            fprintf(out, "  warning: no image of class %s in any training split\n", plan->classes[c]);
    uint64_t declared = 0;
    fl_buf words;
    for (uint32_t i = 0; i < h->n; i++)
        declared += h->list[i].declared;
    fl_buf_init(&words, 4096);
    if (nn_plan_warn(&words, plan, declared, h->n))
        fputs(fl_buf_text(&words), out);
    fl_buf_fini(&words);
}

void sim_tell(FILE *out, const nn_plan *plan, const sim_hospitals *h)
{
    fprintf(out, "study %s: %s on %ux%ux%u, %u weights, %u %s\n", plan->name, plan->architecture, plan->channels,
            plan->height, plan->width, plan->n_weights, plan->n_classes,
            plan->multi ? "classes, any of them" : "classes");
    tell_phases(out, plan);
    if (plan->is_private)
        fprintf(out, "  epsilon %s at delta %s for each patient\n", plan->epsilon, plan->delta);
    tell_hospitals(out, h);
    fprintf(out, "  judged on the %s split: %u images of %u patients\n", h->judge_name, h->judge.n_images,
            h->judge.n_patients);
    tell_left_out(out, plan, h);
    warn(out, plan, h);
    fflush(out);
}
