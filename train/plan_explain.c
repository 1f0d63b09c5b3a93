/* The plan in words, for the person at the hospital who approves it. */
#include "base/encode.h"
#include "privacy/budget.h"
#include "privacy/decimal.h"
#include "privacy/rdp.h"
#include "train/counts.h"
#include "train/model.h"
#include "train/plan.h"
#include <math.h>
#include <string.h>

static double multiplier(const nn_phase *p)
{
    return sqrt((double)p->noise_variance) / p->clip_units;
}

/*
 * How many patients of a hospital, all pulling the same way with their whole clipped gradient, are as long as the noise
 * of one step: q n C = S/R C sqrt(d). Averaging over the rounds and hospitals helps afterwards; agreement is never whole.
 */
static double patients_as_long_as_noise(const nn_phase *p)
{
    return multiplier(p) * sqrt((double)p->n_learned) / dp_rate_to_double(p->rate);
}

static void explain_task(fl_buf *out, const nn_plan *p)
{
    fl_buf_printf(out, p->multi ? "Study %s: find each of" : "Study %s: tell", p->name);
    for (uint32_t i = 0; i < p->n_classes; i++)
        fl_buf_printf(out, "%s %s",
                      i == 0                  ? ""
                      : i + 1 == p->n_classes ? (p->multi ? " and" : " from")
                                              : ",",
                      p->classes[i]);
    fl_buf_printf(out, ". Images are reduced to %u x %u pixels%s.\nHospitals: ", p->height, p->width,
                  p->channels == 3 ? " in three equal channels" : "");
    for (uint32_t i = 0; i < p->n_sites; i++)
        fl_buf_printf(out, "%s%s", i == 0 ? "" : ", ", p->sites[i]);
    fl_buf_printf(out, "%s; at least %u in each round.\n", p->n_sites == 0 ? "all that are enrolled" : "", p->quorum);
}

static void explain_loss(fl_buf *out, const nn_plan *p)
{
    bool weighted = false;
    for (uint32_t i = 0; i < p->n_classes; i++)
        weighted |= p->class_weights[i] != 1;
    if (!weighted)
        return;
    fl_buf_add_text(out, " Classes count in the loss by public factors:");
    for (uint32_t i = 0; i < p->n_classes; i++)
        fl_buf_printf(out, "%s %s %g", i == 0 ? "" : ",", p->classes[i], p->class_weights[i]);
    fl_buf_add_text(out, ".");
}

static void explain_rate(fl_buf *out, const nn_phase *f)
{
    fl_buf_printf(out, ", learning rate %g", f->server_learning_rate * f->local_learning_rate);
    if (f->warmup_rounds > 0)
        fl_buf_printf(out, " after a rise in a line over %u round%s%s", f->warmup_rounds,
                      f->warmup_rounds == 1 ? "" : "s", f->schedule == NN_SCHEDULE_CONSTANT ? "" : ",");
    if (f->schedule == NN_SCHEDULE_COSINE)
        fl_buf_add_text(out, " that falls to 0 as a cosine");
    else if (f->schedule == NN_SCHEDULE_STEP)
        fl_buf_printf(out, " that is multiplied by %g every %u round%s", f->schedule_factor, f->schedule_every,
                      f->schedule_every == 1 ? "" : "s");
}

/* What is learned in the rounds of a phase, and how. */
static void explain_phase(fl_buf *out, const nn_plan *p, const nn_phase *f)
{
    static const char *const servers[] = {"sgd", "momentum", "adam"};
    if (p->n_phases > 1)
        fl_buf_printf(out, "Phase %s, round%s %u", f->name, f->rounds == 1 ? "" : "s", f->first);
    if (p->n_phases > 1 && f->rounds > 1)
        fl_buf_printf(out, " to %u", f->first + f->rounds - 1);
    if (p->n_phases > 1)
        fl_buf_printf(out, ":");
    if (f->loss == NN_LOSS_SQUARES)
        fl_buf_printf(out, " so that the output of layer %s becomes small,", f->loss_at);
    if (strcmp(f->learn, "all") == 0)
        fl_buf_add_text(out, " All weights are learned");
    else
        fl_buf_printf(out, " %u of %u weights are learned (%s), the others stay as they are", f->n_learned,
                      p->n_weights, f->learn);
    fl_buf_printf(out, ", in %u round%s of %u step%s.", f->rounds, f->rounds == 1 ? "" : "s", f->local_steps,
                  f->local_steps == 1 ? "" : "s");
    if (f->mirror || f->shift > 0)
        fl_buf_printf(out, " Each step sees %u cop%s of an image%s%s.", f->augmentations,
                      f->augmentations == 1 ? "y" : "ies", f->mirror ? ", at random mirrored" : "",
                      f->shift > 0 ? ", moved a little" : "");
    fl_buf_printf(out, " Server: %s", servers[f->server]);
    explain_rate(out, f);
    fl_buf_printf(out, "%s.",
                  f->average == NN_AVERAGE_NONE           ? ""
                  : f->first + f->rounds - 1 == p->rounds ? ", the released model is an average over rounds"
                                                          : ", what comes out is an average over rounds");
    const dp_update_shape shape = {f->n_learned + f->probe, f->probe, f->update_bits, 0};
    fl_buf_printf(out, " What leaves the hospital in a round: one message of %llu bytes, always of this size.\n",
                  (unsigned long long)dp_update_size(&shape));
    if (f->probe > 0)
        fl_buf_printf(out, "%u of its integers belong to no weight: noise alone, so that an auditor can look for it.\n",
                      f->probe);
}

static void explain_training(fl_buf *out, const nn_plan *p)
{
    fl_buf_printf(out, "Model %s with %u weights, trained in %u rounds", p->architecture, p->n_weights, p->rounds);
    if (p->initial[0])
        fl_buf_printf(out, ", from pretrained weights: the file with SHA-256 %.16s...%s", p->initial,
                      p->channels == 3                               ? ""
                      : p->pretrained_channels == NN_CHANNELS_REFUSE ? " (refused if it reads colours)"
                                                                     : " (kernels of colours are summed)");
    fl_buf_add_text(out, ".");
    explain_loss(out, p);
    if (p->n_phases > 1)
        fl_buf_add_text(out, "\n");
    for (uint32_t i = 0; i < p->n_phases; i++)
        explain_phase(out, p, &p->phases[i]);
    fl_buf_printf(out,
                  "When it leaves: at a whole multiple of %g s after the round was announced. Training must be shorter "
                  "than that here: otherwise the time tells how many images a round took, which epsilon does not "
                  "cover.\n",
                  p->slot_ms / 1000.0);
}

static void explain_noise(fl_buf *out, const nn_plan *p, const nn_phase *f, double delta)
{
    const dp_segment alone = {dp_rate_to_double(f->rate), multiplier(f), (uint64_t)f->rounds * f->local_steps};
    fl_buf_printf(out,
                  "%s%s%seach step takes a patient with probability %s, %s length %s and adds noise of %s times that "
                  "length.",
                  p->n_phases > 1 ? "Phase " : "", p->n_phases > 1 ? f->name : "", p->n_phases > 1 ? ": " : "",
                  f->sampling_rate,
                  f->clipping == NN_CLIP_FLAT ? "clips what the patient contributes to"
                                              : "scales what the patient contributes to at most",
                  f->clip_norm, f->noise_multiplier);
    if (p->n_phases > 1)
        fl_buf_printf(out, " By itself epsilon %.3f.",
                      dp_rdp_to_epsilon(dp_rdp_compose(&alone, 1, p->renyi_order), p->renyi_order, delta));
    fl_buf_add_text(out, "\n");
}

static void explain_privacy(fl_buf *out, const nn_plan *p)
{
    double delta = 0;
    if (!p->is_private) {
        fl_buf_add_text(out, "NO PRIVACY: no noise is added. Only the simulator runs such a plan.\n");
        return;
    }
    const bool ok = dp_decimal_value(&delta, p->delta);
    double rdp = nn_plan_metrics_rdp(p, nn_counts_rounds(p, 0), p->renyi_order);
    fl_buf_printf(out, "Privacy, for each patient with all images together:%s", p->n_phases > 1 ? "\n" : " ");
    for (uint32_t i = 0; i < p->n_phases; i++) {
        const nn_phase *f = &p->phases[i];
        const dp_segment part = {dp_rate_to_double(f->rate), multiplier(f), (uint64_t)f->rounds * f->local_steps};
        rdp += dp_rdp_compose(&part, 1, p->renyi_order);
        explain_noise(out, p, f, delta);
    }
    fl_buf_printf(
        out,
        "The whole schedule costs epsilon %.3f at delta %s (limit of the study: %s); %u more round%s%s may be lost "
        "to crashes within the limit.\n",
        ok ? dp_rdp_to_epsilon(rdp, p->renyi_order, delta) : NAN, p->delta, p->epsilon, p->allowance_rounds,
        p->allowance_rounds == 1 ? "" : "s", p->n_phases > 1 ? " of the last phase" : "");
    const nn_phase *last = nn_plan_main(p);
    fl_buf_printf(out,
                  "Signal and noise: in one step the noise is as long as the contributions of %.0f patients who all "
                  "agree. All hospitals together want about %llu patients, or next to nothing is learned.\n",
                  patients_as_long_as_noise(last), (unsigned long long)nn_plan_patients_needed(p, 0));
    nn_plan_warn(out, p, p->patients, 0);
}

static void explain_metrics(fl_buf *out, const nn_plan *p)
{
    char what[64];
    double delta = 0;
    if (p->metrics_every == 0 || !p->is_private) {
        fl_buf_add_text(out, "Nothing else leaves: no metrics.\n");
        return;
    }
    const uint32_t n = nn_counts_rounds(p, 0);
    const double rdp = nn_plan_metrics_rdp(p, n, p->renyi_order);
    nn_counts_what(what, p);
    fl_buf_printf(
        out,
        "Metrics (%s): in %u of the rounds %u noised counts of patients leave in the same message. Each patient "
        "is in at most %u of them, and each has noise of standard deviation %s.",
        what, n, nn_counts_cells(p), nn_counts_partitions(p), p->metrics_noise_multiplier);
    if (p->metrics_histogram)
        fl_buf_printf(out, " %u of them say how the model's scores of the validation patients lie, by label.",
                      2 * nn_counts_where(p).n_histograms * p->metrics_bins);
    bool ok = dp_decimal_value(&delta, p->delta);
    fl_buf_printf(out,
                  " By themselves they cost epsilon %.3f; the policy must permit them (releases = update+metrics).\n",
                  ok ? dp_rdp_to_epsilon(rdp, p->renyi_order, delta) : NAN);
}

void nn_plan_explain(fl_buf *out, const nn_plan *plan)
{
    char hex[2 * FL_HASH_SIZE + 1];
    fl_hex_encode(hex, plan->hash.bytes, FL_HASH_SIZE);
    explain_task(out, plan);
    explain_training(out, plan);
    explain_privacy(out, plan);
    explain_metrics(out, plan);
    fl_buf_printf(out, "Plan %s\n", hex);
}
