/* The questions that NIST SP 800-226 makes one ask, with what the ledgers answer. */
#include "audit/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const columns[] = {"Question (in our words)", "Answer", "Evidence, and its date", NULL};

enum { ANSWER_MAX = 1000 };

/* Who is asked: of a second hospital only what its own ledger answers is written. */
typedef struct asked {
    audit_doc *d;
    bool is_first;
} asked;

/* What no ledger tells: evidence says whom to ask. */
#define NOT_IN_A_LEDGER    "Not in a ledger"
#define ASK_THE_HOSPITAL   "Ask the hospital"
#define ASK_THE_CONSORTIUM "Ask the consortium"

/* question, evidence, then the answer as printf. Good: answered by the ledger as one hopes; care: see the answer. */
static void answer(const asked *a, doc_tone tone, const char *question, const char *evidence, const char *format, ...)
    FL_PRINTF(5, 6);
static void answer(const asked *a, doc_tone tone, const char *question, const char *evidence, const char *format, ...)
{
    char text[ANSWER_MAX];
    va_list args;
    bool is_general = strcmp(evidence, NOT_IN_A_LEDGER) == 0 || strcmp(evidence, ASK_THE_HOSPITAL) == 0 ||
                      strcmp(evidence, ASK_THE_CONSORTIUM) == 0;
    if (is_general && !a->is_first)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    audit_doc_add(a->d, DOC_ROW, DOC_PLAIN, "%s", "");
    audit_doc_add(a->d, DOC_CELL, DOC_PLAIN, "%s", question);
    audit_doc_add(a->d, DOC_CELL, tone, "%s", text);
    audit_doc_add(a->d, DOC_CELL, DOC_PLAIN, "%s", evidence);
}

typedef struct totals {
    uint64_t debits, burned, others, declared, commitments;
    double least_noise, largest_q, largest_clip;
    char charges[120], genesis[60], policy[60], until[60];
    bool has_metrics;
} totals;

static double number(const char *decimal)
{
    double value = 0;
    return sscanf(decimal, "%lf", &value) == 1 ? value : 0;
}

static void sum_up(totals *t, const report_hospital *h)
{
    *t = (totals){.least_noise = INFINITY};
    for (size_t i = 0; i < h->n_studies; i++) {
        const report_study *s = &h->studies[i];
        t->debits += s->n_debits;
        t->burned += s->n_burned;
        t->others += s->n_others;
        if (!s->has_terms)
            continue;
        t->least_noise = fmin(t->least_noise, number(s->noise_multiplier));
        t->largest_q = fmax(t->largest_q, number(s->sampling_rate));
        t->largest_clip = fmax(t->largest_clip, number(s->clip_norm));
    }
    for (size_t i = 0; i < h->n_datasets; i++) {
        t->declared += h->datasets[i].declared_patients;
        t->commitments += h->datasets[i].n_contents;
        t->has_metrics |= strstr(h->datasets[i].releases, "metrics") != NULL;
    }
    if (h->n_charges > 0)
        snprintf(t->charges, sizeof t->charges, "Entries %" PRIu64 " to %" PRIu64 ", until %s", h->charges[0].seq,
                 h->charges[h->n_charges - 1].seq, h->file.t_last);
    else
        snprintf(t->charges, sizeof t->charges, "All entries, until %s", h->file.t_last);
    snprintf(t->genesis, sizeof t->genesis, "Entry 1, %s", h->file.t_first);
    snprintf(t->until, sizeof t->until, "All entries, until %s", h->file.t_last);
    snprintf(t->policy, sizeof t->policy, "Entry %" PRIu64 ", %s", h->n_datasets ? h->datasets[0].policy_seq : 0,
             h->n_datasets ? h->datasets[0].t_policy : h->file.t_last);
}

/* --- the top of the pyramid --- */

static void ask_parameters(const asked *a, const report_hospital *h, const totals *t)
{
    doc_tone size = h->cap > 10 ? DOC_BAD : h->cap > 3 ? DOC_CARE : DOC_GOOD;
    answer(a, DOC_PLAIN, "How large are epsilon and delta, for everything together?", t->charges,
           "Used: epsilon %s. Limit for life: %s. delta %s.", report_epsilon(h->epsilon).text,
           report_epsilon(h->cap).text, report_delta(h->delta).text);
    answer(a, size, "Is epsilon small enough to mean something?", t->policy,
           "An observer's odds can change by a factor of at most %s so far, and %s if all of the limit is used.%s",
           report_factor(h->epsilon).text, report_factor(h->cap).text,
           h->cap > 10  ? " Above 10 the bound says next to nothing about one patient: the hospital should explain it."
           : h->cap > 3 ? " That limit is formal protection rather than comfort: the hospital should be able to say "
                          "why it chose it."
                        : "");
    double expected = h->delta * (double)t->declared;
    doc_tone tone = t->declared == 0 ? DOC_CARE : expected <= 0.1 ? DOC_GOOD : expected < 1 ? DOC_CARE : DOC_BAD;
    answer(a, tone, "Is delta far below one over the number of patients?", t->policy,
           "%s delta times the declared number of patients (%s) is %.2g; our rule is at most 0.1.",
           t->declared == 0  ? "Nobody declared a number of patients."
           : expected <= 0.1 ? "Yes."
                             : "No.",
           report_count(t->declared).text, expected);
    answer(a, DOC_PLAIN, "Which variant, which accountant?", t->genesis,
           "(epsilon, delta)-differential privacy. Costs are added as Renyi divergences at order %u (%s), and "
           "converted once.%s "
           "Who counts by replacing a patient instead of adding or removing one reads this as at most epsilon %s with "
           "delta %.2g.",
           h->order, h->file.accountant,
           h->bounds.is_known ? " A second accountant (privacy loss distributions) is in part 4." : "",
           report_epsilon(2 * h->epsilon).text, fmin(1, h->delta * (1 + exp(h->epsilon))));
}

static void ask_unit(const asked *a, const report_hospital *h, const totals *t)
{
    answer(a, DOC_GOOD, "Who or what is the unit: a person, or only an image?", t->genesis,
           "A patient, with all images and all their variations. Adjacency: add or remove one patient.");
    if (t->debits > 0)
        answer(a, DOC_GOOD, "Is what one person contributes bounded?", t->charges,
               "Yes: to a norm of at most %g in each step, whatever the number of images, and by being drawn with "
               "probability at most %g.",
               t->largest_clip, t->largest_q);
    answer(a, DOC_CARE, "Can one person be in several databases, or twice in one?", NOT_IN_A_LEDGER,
           "Yes, and then epsilons and deltas add: part 4. A patient with two numbers in one hospital counts as two.");
    (void)h;
}

/* --- the middle --- */

static void ask_composition(const asked *a, const report_hospital *h, const totals *t)
{
    uint64_t n = h->file.evidence.findings.n;
    answer(a, n ? DOC_BAD : DOC_GOOD, "Does epsilon cover all releases together, failed ones too?", t->until,
           "%s %s %s of rounds (%s burned) and %s other %s are all in the sum, over all studies; after each entry the "
           "sum was "
           "compared with the limit.",
           n ? "Not certain, the verification has findings (part 5)." : "Yes.", report_count(t->debits).text,
           report_plural(t->debits, "debit", "debits"), report_count(t->burned).text, report_count(t->others).text,
           report_plural(t->others, "release", "releases"));
    answer(a, DOC_GOOD, "Is it still right when a later round is chosen after looking at earlier ones?", t->policy,
           "Yes: the budget is a filter at an order fixed in advance (order %u), which permits that%s.", h->order,
           h->rungs > 1 ? "; the limit may be raised later, and delta is divided for it" : "");
    answer(a, t->others ? DOC_CARE : DOC_GOOD, "Are quality figures, counts and evaluations paid for, too?", t->policy,
           "%s %s such %s so far.",
           t->has_metrics ? "The policy permits them, with noise and from the same budget."
                          : "The policy permits none.",
           t->others ? report_count(t->others).text : "No",
           report_plural(t->others == 0 ? 2 : t->others, "release", "releases"));
    answer(a, DOC_CARE, "Were settings (learning rate, model) tried out on patients free of charge?", ASK_THE_HOSPITAL,
           "Not through this program: every training on patients is a debit in this ledger. What was done outside is "
           "not answerable from a ledger.");
}

static void ask_mechanism(const asked *a, const report_hospital *h, const totals *t)
{
    if (t->debits > 0)
        answer(
            a, DOC_GOOD, "Which mechanism makes the noise, and how much is it?", t->charges,
            "Discrete Gaussian noise on integers, on sums over Poisson-sampled patients; noise multiplier at least %g. "
            "Whole numbers, so rounding of floating point tells nothing.",
            t->least_noise);
    answer(a, DOC_PLAIN, "Are bounds and normalisers chosen from the data?", t->charges,
           "No: clip norm, sampling rate and the number of patients that sums are divided by are in the plan or typed "
           "by people, and "
           "stand in each debit.");
    answer(a, DOC_CARE, "Can the noise be predicted or repeated?", NOT_IN_A_LEDGER,
           "It comes from a cryptographic generator that the operating system keys, and has no seed that could be kept "
           "or set; "
           "that rests on the program and the processor (part 2).");
    if (h->n_released > 0 && h->least_probe > 0)
        answer(
            a, DOC_PLAIN, "Is the noise really there?", t->charges,
            "Each update ends with at least %s numbers that belong to no weight and are noise alone. Whoever has the "
            "updates "
            "(the coordinator, the hospital) can test there that the noise is as large as the ledger says; the ledger "
            "alone cannot show it.",
            report_count(h->least_probe).text);
    else
        answer(
            a, DOC_CARE, "Is the noise really there?", NOT_IN_A_LEDGER,
            "Can be tested with the released updates, which are not part of a ledger: ask the coordinator for them.");
    answer(a, DOC_CARE, "Was the program tested against leaks in practice?", t->genesis,
           "Not answerable from a ledger. Software: %s. Its tests are listed in docs/privacy.md of the source.",
           audit_show(h->file.software).text);
}

static void ask_security(const asked *a, const report *r, const report_hospital *h, const totals *t)
{
    uint64_t n = h->file.evidence.findings.n;
    answer(a, DOC_GOOD, "Trust model: who sees data without noise?", t->genesis,
           "Only the hospital itself. The coordinator is not trusted: the number holds for each update by itself, "
           "before anything is added up, "
           "whether or not there is encryption.");
    answer(a, DOC_GOOD, "What may the adversary see?", t->until,
           "Every update of every round, all models between, and anything else known about anybody; any number of "
           "parties together.");
    answer(
        a,
        n                ? DOC_BAD
        : r->coordinator ? DOC_GOOD
                         : DOC_CARE,
        "Could the record itself be forged, cut or set back?", t->until, "%s %s",
        n ? "There are findings: part 5." : "Chain, tree and signatures are unbroken.",
        r->coordinator
            ? "Each update's place in the ledger was witnessed by the coordinator and compared."
            : "A ledger that its owner wrote anew is found only with the coordinator's ledger, which was not given.");
    if (h->n_restores > 0)
        answer(a, DOC_CARE, "Did the node ever run from an old copy?", t->until, "Yes, %s %s: part 5.",
               report_count(h->n_restores).text, report_plural(h->n_restores, "time", "times"));
    answer(a, DOC_CARE, "Do timing, sizes or error messages tell something?", NOT_IN_A_LEDGER,
           "Sizes are fixed by the plan and updates leave at fixed times. Other programs on the same computer are not "
           "covered: ask the hospital.");
    answer(a, DOC_CARE, "Who can reach the images and the keys?", ASK_THE_HOSPITAL, "Not answerable from a ledger.");
    answer(a, DOC_CARE, "How much accuracy is lost, and for whom? Are small groups worse off?", ASK_THE_CONSORTIUM,
           "Not answerable from a ledger. Noise weighs more on what is rare: ask for quality figures for each class "
           "and each hospital, with and "
           "without noise (the model's card).");
}

/* --- the base --- */

static void ask_collection(const asked *a, const report_hospital *h, const totals *t)
{
    answer(a, DOC_CARE, "Were the images collected for this purpose, lawfully, and with consent where it is needed?",
           ASK_THE_HOSPITAL,
           "Not answerable from a ledger. Differential privacy is no substitute for a reason to have the data.");
    answer(a, DOC_PLAIN, "Which data took part?", t->policy,
           "%zu %s, about %s patients as declared; contents recorded %s %s as a keyed fingerprint that tells nothing "
           "about a patient.",
           h->n_datasets, report_plural(h->n_datasets, "data set", "data sets"), report_count(t->declared).text,
           report_count(t->commitments).text, report_plural(t->commitments, "time", "times"));
    answer(a, DOC_CARE, "Is the same data released elsewhere without such protection?", ASK_THE_HOSPITAL,
           "Not answerable from a ledger. No number here covers it.");
    answer(a, DOC_CARE, "How are the images stored, and for how long?", ASK_THE_HOSPITAL,
           "Not answerable from a ledger. Removing a patient ends future use; what was released stays, and was covered "
           "by epsilon.");
}

static void ask_hospital(audit_doc *d, const report *r, const report_hospital *h)
{
    totals t;
    const asked a = {.d = d, .is_first = h == r->hospitals[0]};
    sum_up(&t, h);
    if (r->n_hospitals > 1)
        audit_doc_add(d, DOC_SUBHEADING, DOC_PLAIN, "Hospital %s", h->name);
    if (!h->has_budget) {
        audit_doc_add(d, DOC_PARA, DOC_CARE, "No policy, no promise: the questions have no answers yet.");
        return;
    }
    audit_doc_table(d, "Top of the pyramid: the numbers and what they count", columns);
    ask_parameters(&a, h, &t);
    ask_unit(&a, h, &t);
    audit_doc_table(d, "Middle: what can undermine the numbers", columns);
    ask_composition(&a, h, &t);
    ask_mechanism(&a, h, &t);
    ask_security(&a, r, h, &t);
    audit_doc_table(d, "Base: where the data come from", columns);
    ask_collection(&a, h, &t);
}

void report_questions(audit_doc *d, const report *r)
{
    audit_doc_add(d, DOC_HEADING, DOC_PLAIN, "The questions of NIST SP 800-226");
    audit_doc_add(
        d, DOC_PARA, DOC_PLAIN,
        "NIST Special Publication 800-226, Guidelines for Evaluating Differential Privacy Guarantees (March 2025, "
        "doi.org/10.6028/NIST.SP.800-226), describes a pyramid: at the top the numbers, in the middle what can "
        "undermine them, at the base "
        "how the data were collected; each level is only as good as those below it. The questions here are our "
        "paraphrase of what it "
        "makes one ask, not its words, and NIST has not seen this report.");
    audit_doc_add(
        d, DOC_PARA, DOC_PLAIN,
        "Answers with entry numbers were computed from the ledger. Where the evidence is \"not in a ledger\" or "
        "\"ask\", the answer tells how the program is made, or that somebody has to be asked.");
    if (r->n_hospitals > 1)
        audit_doc_add(d, DOC_PARA, DOC_PLAIN,
                      "What no ledger answers is written for the first hospital, and holds for all.");
    for (size_t i = 0; i < r->n_hospitals; i++)
        ask_hospital(d, r, r->hospitals[i]);
    if (r->n_hospitals == 0)
        audit_doc_add(d, DOC_PARA, DOC_CARE, "The answers are in the ledgers of hospitals. None was given.");
}
