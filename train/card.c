#include "train/card.h"
#include "base/encode.h"
#include "train/facts.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- what it is ------------------------------------------------------------------------------------------------ */

static const char *released(const nn_plan *p, uint32_t round)
{
    const nn_average average = round == 0 ? NN_AVERAGE_NONE : nn_plan_phase(p, round)->average;
    return average == NN_AVERAGE_NONE  ? "the weights after that round"
           : average == NN_AVERAGE_EMA ? "the exponential mean of the weights over the rounds"
                                       : "the mean of the weights over the last rounds";
}

static void write_head(fl_buf *out, const nn_card *c)
{
    const nn_plan *p = c->plan;
    char hex[2 * FL_HASH_SIZE + 1];
    fl_buf_printf(out, "# %s: model after round %" PRIu32 " of %" PRIu32 "\n\n", p->name, c->round, p->rounds);
    fl_buf_printf(out, "It looks at one picture and tells%s",
                  p->multi ? ", for each of these, whether it is there:" : " which of these it shows:");
    for (uint32_t i = 0; i < p->n_classes; i++)
        fl_buf_printf(out, "%s %s", i ? "," : "", p->classes[i]);
    if (c->round == 0)
        fl_buf_add_text(out, ".\nIt has learned nothing yet: these are the weights that training starts from.\n\n");
    else
        fl_buf_printf(out, ".\nIt was learned by %zu hospital%s together; %s.\n\n", c->n_hospitals,
                      c->n_hospitals == 1 ? "" : "s",
                      p->is_private ? "the pictures never left them, and what did leave them was clipped and noised"
                                    : "WITHOUT PRIVACY: no noise was added, and the model may give away patients");
    fl_hex_encode(hex, c->hash.bytes, FL_HASH_SIZE);
    fl_buf_printf(out, "| | |\n|---|---|\n| file | %s (%s) |\n| SHA-256 of the file | `%s` |\n", c->file, c->format,
                  hex);
    fl_hex_encode(hex, p->hash.bytes, FL_HASH_SIZE);
    fl_buf_printf(out, "| SHA-256 of the plan | `%s` |\n| architecture | %s, %" PRIu32 " weights |\n", hex,
                  p->architecture, p->n_weights);
    fl_buf_printf(out, "| what was released | %s |\n", released(p, c->round));
    if (p->initial[0])
        fl_buf_printf(out, "| training started from | a file of weights, SHA-256 `%s`: its licence counts too |\n",
                      p->initial);
    fl_buf_add_text(out, "\n");
}

static void write_use(fl_buf *out, const nn_card *c)
{
    const nn_plan *p = c->plan;
    fl_buf_printf(out,
                  "## Input and output\n\n"
                  "The input is %" PRIu32 " x %" PRIu32 " x %" PRIu32
                  " (channels, height, width) numbers from -1 to 1, made of a picture so:\n%s.\n"
                  "Nothing of another picture enters. `cordon-node predict` does it, from DICOM, PNG and JPEG.\n\n",
                  p->channels, p->height, p->width, nn_facts_preprocessing);
    if (strcmp(c->format, "cordon") == 0)
        fl_buf_add_text(
            out, "The file is the coordinator's own state, for resuming: take safetensors or onnx to predict.\n\n");
    fl_buf_printf(out, "There is one output for each class, in this order:");
    for (uint32_t i = 0; i < p->n_classes; i++)
        fl_buf_printf(out, "%s %" PRIu32 " %s", i ? "," : "", i, p->classes[i]);
    fl_buf_printf(out, ". Probabilities are %s.%s\n\n",
                  p->multi ? "the logistic function of each output" : "the softmax of the outputs",
                  strcmp(c->format, "onnx") == 0 ? " The file gives both: `logits` and `probabilities`." : "");
}

/* --- privacy --------------------------------------------------------------------------------------------------- */

static void write_phases(fl_buf *out, const nn_plan *p)
{
    fl_buf_add_text(out, "| phase | rounds | steps in a round | layers learned | a patient is drawn with probability | "
                         "clipped to | noise, in clips |\n|---|---|---|---|---|---|---|\n");
    for (uint32_t i = 0; i < p->n_phases; i++) {
        const nn_phase *f = &p->phases[i];
        fl_buf_printf(out, "| %s | %" PRIu32 " to %" PRIu32 " | %" PRIu32 " | %s | %s | %s%s | %s |\n", f->name,
                      f->first, f->first + f->rounds - 1, f->local_steps, f->learn, f->sampling_rate, f->clip_norm,
                      f->clipping == NN_CLIP_AUTOMATIC ? " (automatic clipping)" : "", f->noise_multiplier);
    }
    fl_buf_add_text(out, "\n");
}

static void write_privacy(fl_buf *out, const nn_card *c)
{
    const nn_plan *p = c->plan;
    fl_buf_add_text(out, "## Hospitals and privacy\n\n");
    if (!p->is_private)
        fl_buf_add_text(out,
                        "There was no privacy in this training: nothing was noised. Do not pass the model on.\n\n");
    else
        fl_buf_printf(
            out,
            "The unit is the patient: one patient more or less in a hospital, with all images. In each step a\n"
            "patient's contribution was cut to a fixed length and discrete Gaussian noise was added inside the\n"
            "hospital, before anything was sent. Epsilon is at delta %s, for the rounds a hospital was asked to\n"
            "take part in; patients are the round number that the hospital declared.\n\n",
            p->delta);
    fl_buf_printf(out, "| hospital | patients, declared | rounds | updates in the model |%s\n|---|---|---|---|%s\n",
                  p->is_private ? " epsilon |" : "", p->is_private ? "---|" : "");
    for (size_t i = 0; i < c->n_hospitals; i++) {
        const nn_card_hospital *h = &c->hospitals[i];
        fl_buf_printf(out, "| %s | %" PRIu64 " | %" PRIu32 " | %" PRIu32 " |", h->name, h->declared, h->rounds,
                      h->updates);
        if (p->is_private)
            fl_buf_printf(out, " %.3f |", h->epsilon);
        fl_buf_add_text(out, "\n");
    }
    fl_buf_add_text(out, "\n");
    if (!p->is_private)
        return;
    write_phases(out, p);
    fl_buf_printf(
        out,
        "The study's limit is epsilon %s. A patient who was seen in several hospitals is exposed to the sum of\n"
        "their epsilons.%s\n\n",
        p->epsilon, c->is_simulated ? "" : " What a hospital spent over all studies stands in its own ledger.");
}

static void write_metrics(fl_buf *out, const nn_card *c)
{
    fl_buf_add_text(out, "## Quality\n\n");
    if (c->metrics)
        fl_buf_printf(
            out, "The hospitals released noised counts, paid for from the same budget. Figures made of them:\n\n%s\n",
            c->metrics);
    else
        fl_buf_add_text(out,
                        "No figures were released by the hospitals, so none stand here: a figure without noise would\n"
                        "tell about patients. Judge the model on pictures of your own: `cordon-node evaluate`.\n\n");
}

/* --- limits ---------------------------------------------------------------------------------------------------- */

static void write_limits(fl_buf *out, const nn_card *c)
{
    fl_buf_printf(
        out,
        "## Limits, and what it is not for\n\n"
        "- It is for research. It is no medical device and no diagnosis follows from it.\n"
        "- It knows the classes above and nothing else: a picture of something else gets an answer too.\n"
        "- It saw %" PRIu32 " x %" PRIu32 " pixels: what is smaller than a pixel of that size is not in it.\n"
        "- It learned from the hospitals above. Other devices, populations and ways of taking pictures can make\n"
        "  it worse without a sign: evaluate it where it will be used, also for groups of patients.\n"
        "- Labels were taken as the hospitals gave them.\n",
        c->plan->height, c->plan->width);
    if (c->plan->is_private)
        fl_buf_add_text(
            out, "- Noise makes it less sharp than a model trained without privacy, most of all on rare classes.\n"
                 "- Privacy bounds what the model can tell about one patient. It does not hide what is true of\n"
                 "  patients in general, and the declared numbers of patients are public.\n");
    fl_buf_printf(
        out, "\n## Licence\n\nThe consortium decides under which terms the model may be used: ask it (study %s).\n\n",
        c->plan->name);
}

static void write_verify(fl_buf *out, const nn_card *c)
{
    fl_buf_printf(out, "## How to check\n\n    sha256sum %s        # the sum above\n", c->file);
    if (c->is_simulated)
        fl_buf_add_text(out,
                        "\nAll hospitals were simulated on one machine: there are no ledgers of others to check.\n");
    else
        fl_buf_add_text(
            out,
            "    cordon-audit verify HOSPITAL.jsonl --coordinator CONSORTIUM.jsonl\n"
            "\nThe second needs the ledgers (`cordon-node ledger export` of each hospital, `cordon-coordinator ledger\n"
            "export`): chain, signatures and order of entries, epsilon by two accountants, and that the plan with the\n"
            "sum above is what ran.\n");
}

void nn_card_write(fl_buf *out, const nn_card *card)
{
    write_head(out, card);
    write_use(out, card);
    write_privacy(out, card);
    write_metrics(out, card);
    write_limits(out, card);
    write_verify(out, card);
}
