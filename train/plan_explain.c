/* The plan in words, for the person at the hospital who approves it. */
#include "base/encode.h"
#include "privacy/budget.h"
#include "privacy/decimal.h"
#include "privacy/rdp.h"
#include "train/counts.h"
#include "train/model.h"
#include "train/plan.h"
#include <math.h>

/* Above so many patients a hospital hardly learns anything from its noised steps. */
#define MANY_PATIENTS 1000

static double multiplier(const nn_plan *p)
{
    return sqrt((double)p->noise_variance) / p->clip_units;
}

/*
 * How many patients of a hospital, all pulling the same way with their whole clipped gradient, are as long as the noise
 * of one step: q n C = S/R C sqrt(d). Averaging over the rounds and hospitals helps afterwards; agreement is never whole.
 */
static double patients_as_long_as_noise(const nn_plan *p)
{
    return multiplier(p) * sqrt((double)p->n_weights) / dp_rate_to_double(p->rate);
}

static void explain_task(fl_buf *out, const nn_plan *p)
{
    fl_buf_printf(out, "Study %s: tell", p->name);
    for (uint32_t i = 0; i < p->n_classes; i++)
        fl_buf_printf(out, "%s %s", i == 0 ? "" : i + 1 == p->n_classes ? " from" : ",", p->classes[i]);
    fl_buf_printf(out, ". Images are reduced to %u x %u pixels%s.\nHospitals: ", p->height, p->width,
                  p->channels == 3 ? " in three equal channels" : "");
    for (uint32_t i = 0; i < p->n_sites; i++)
        fl_buf_printf(out, "%s%s", i == 0 ? "" : ", ", p->sites[i]);
    fl_buf_printf(out, "%s; at least %u in each round.\n", p->n_sites == 0 ? "all that are enrolled" : "", p->quorum);
}

static void explain_training(fl_buf *out, const nn_plan *p)
{
    fl_buf_printf(out, "Model %s with %u weights, trained in %u rounds of %u step%s.", p->architecture, p->n_weights,
                  p->rounds, p->local_steps, p->local_steps == 1 ? "" : "s");
    if (p->mirror || p->shift > 0)
        fl_buf_printf(out, " Each step sees %u cop%s of an image%s%s.", p->augmentations,
                      p->augmentations == 1 ? "y" : "ies", p->mirror ? ", at random mirrored" : "",
                      p->shift > 0 ? ", moved a little" : "");
    fl_buf_printf(out, " Server: %s, learning rate %g%s.\n", p->server == NN_SERVER_MOMENTUM ? "momentum" : "sgd",
                  p->server_learning_rate * p->local_learning_rate,
                  p->average == NN_AVERAGE_NONE ? "" : ", the released model is an average over rounds");
    fl_buf_printf(
        out, "What leaves the hospital in a round: one message of %llu bytes, always of this size.\n",
        (unsigned long long)dp_update_size(&(dp_update_shape){p->n_weights + p->probe, p->probe, p->update_bits, 0}));
    if (p->probe > 0)
        fl_buf_printf(out, "%u of its integers belong to no weight: noise alone, so that an auditor can look for it.\n",
                      p->probe);
    fl_buf_printf(out,
                  "When it leaves: at a whole multiple of %g s after the round was announced. Training must be shorter "
                  "than that here: otherwise the time tells how many images a round took, which epsilon does not "
                  "cover.\n",
                  p->slot_ms / 1000.0);
}

static void explain_privacy(fl_buf *out, const nn_plan *p)
{
    double epsilon = 0, delta = 0;
    if (!p->is_private) {
        fl_buf_add_text(out, "NO PRIVACY: no noise is added. Only the simulator runs such a plan.\n");
        return;
    }
    bool ok = dp_decimal_value(&epsilon, p->epsilon) && dp_decimal_value(&delta, p->delta);
    dp_segment whole = {dp_rate_to_double(p->rate), multiplier(p), (uint64_t)p->rounds * p->local_steps};
    double rdp = dp_rdp_compose(&whole, 1, p->renyi_order) +
                 nn_plan_metrics_rdp(p, nn_counts_rounds(p, 0), p->renyi_order);
    fl_buf_printf(out,
                  "Privacy, for each patient with all images together: each step takes a patient with probability %s, "
                  "clips what the patient contributes to length %s and adds noise of %s times that length.\n",
                  p->sampling_rate, p->clip_norm, p->noise_multiplier);
    fl_buf_printf(
        out,
        "The whole schedule costs epsilon %.3f at delta %s (limit of the study: %s); %u more round%s may be lost "
        "to crashes within the limit.\n",
        ok ? dp_rdp_to_epsilon(rdp, p->renyi_order, delta) : NAN, p->delta, p->epsilon, p->allowance_rounds,
        p->allowance_rounds == 1 ? "" : "s");
    double patients = patients_as_long_as_noise(p);
    fl_buf_printf(
        out,
        "Signal and noise: in one step the noise is as long as the contributions of %.0f patients who all agree.\n",
        patients);
    if (patients > MANY_PATIENTS)
        fl_buf_printf(
            out,
            "WARNING: a hospital with fewer than %.0f patients hardly contributes anything but noise. Use a model "
            "with fewer weights, more patients or a larger epsilon.\n",
            patients);
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
