/* What was promised, what the number bounds, what it does not, and who must be trusted for it. */
#include "audit/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool is_own_key(const report_file *f)
{
    return strcmp(f->evidence.key_source, "GENESIS") == 0;
}

/* How large an epsilon is. The borders are ours: no authority has drawn them. */
static const struct {
    double up_to;
    const char *words;
} sizes[] = {
    {1, "this is a small number. Even in the worst case, an observer at fifty-fifty is still wrong in more than one "
        "case of "
        "four."},
    {3, "this is a middling number. In the worst case, an observer at fifty-fifty could come close to knowing; one who "
        "begins with a mere suspicion is left with a suspicion."},
    {10, "this is a large number. As a proof it does not exclude that an observer finds out about one single patient "
         "in the "
         "worst case. Real attacks usually reach far less than the worst case, but that is experience and not proof."},
    {INFINITY,
     "this is a very large number. As a proof it excludes next to nothing for one single patient in the worst "
     "case. Ask why so much was permitted."},
};

static size_t size_of(double epsilon)
{
    size_t i = 0;
    while (epsilon > sizes[i].up_to)
        i++;
    return i;
}

static void add_bound(audit_doc *d, const char *name, double epsilon, double delta)
{
    audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", name);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_epsilon(epsilon).text);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s times", report_factor(epsilon).text);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_suspicion(epsilon).text);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", report_guess(epsilon, delta).text);
}

static void add_meaning(audit_doc *d, const report_hospital *h, bool explains)
{
    static const char *const columns[] = {"Which number",          "epsilon",
                                          "odds change at most",   "a suspicion of 1 in 1,000 becomes at most",
                                          "best guess, from 50 %", NULL};
    audit_doc_table(d, "What the numbers bound, for one patient", columns);
    add_bound(d, "Used so far, as the budget counts it", h->epsilon, h->delta);
    if (h->bounds.is_known && h->bounds.high < h->epsilon)
        add_bound(d, "Used so far, computed more sharply (see part 4)", h->bounds.high, h->delta);
    add_bound(d, "The hospital's limit, for life", h->cap, h->delta);
    if (explains)
        audit_doc_add(
            d, DOC_PARA, DOC_PLAIN,
            DOC_STRONG
            "How to read the table." DOC_STRONG_END
            " Imagine somebody who holds everything that ever left the hospital's node, and who knows the images of "
            "all other patients. This person wants to find out whether one particular patient's images took part, and "
            "begins at fifty-fifty. With what was released so far, no method of guessing, however clever, is right in "
            "more than %s of such cases; 50 %% is a coin, 100 %% is certainty. For any other secret about the patient: "
            "the odds that the observer would bet are at most %s times higher or lower than if the patient had not "
            "taken part at all, apart from the small rest that delta stands for.",
            report_guess(h->epsilon, h->delta).text, report_factor(h->epsilon).text);
    size_t used = size_of(h->epsilon), limit = size_of(h->cap);
    audit_doc_add(d, DOC_PARA, DOC_PLAIN, DOC_STRONG "Is that much?" DOC_STRONG_END " epsilon %s: %s%s",
                  report_epsilon(h->epsilon).text, sizes[used].words,
                  limit == used ? " The limit is of the same kind." : "");
    if (limit != used)
        audit_doc_add(d, DOC_PARA, DOC_PLAIN, "If the whole limit of %s were used: %s", report_epsilon(h->cap).text,
                      sizes[limit].words);
}

static uint64_t declared_of(const report_hospital *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i < h->n_datasets; i++)
        n += h->datasets[i].declared_patients;
    return n;
}

static void add_term(audit_doc *d, const char *term, const char *here)
{
    audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", term);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", here);
}

static void add_terms(audit_doc *d, const report_hospital *h)
{
    static const char *const columns[] = {"Question", "Answer", NULL};
    char text[900];
    audit_doc_table(d, "The promise, word by word", columns);
    snprintf(
        text, sizeof text,
        "Every patient whose images are in the node of %s; the hospital declares about %s patients. A patient counts "
        "once, with all images, however many (unit: patient).",
        h->name, report_count(declared_of(h)).text);
    add_term(d, "Whom does it protect?", text);
    add_term(
        d, "Against whom?",
        "Everybody outside the hospital: the coordinator that collects the updates, the other hospitals, the network, "
        "and whoever gets the finished model; also all of them together, and whatever else they know.");
    add_term(d, "What is compared?",
             "The hospital with this one patient, and the hospital without (adjacency: add or remove one patient). The "
             "numbers bound how well anybody could tell the two apart.");
    snprintf(text, sizeof text,
             "How well the two can be told apart. 0 would be not at all. Limit for life: %s. It counts everything that "
             "leaves: all studies, all rounds, also those that failed.",
             report_epsilon(h->cap).text);
    add_term(d, "What is epsilon?", text);
    uint64_t patients = declared_of(h);
    snprintf(text, sizeof text,
             "A rest that epsilon does not cover: %s. It has to be far below one over the number of patients%s.",
             report_delta(h->delta).text,
             patients == 0 ? ""
             : h->delta * (double)patients < 1
                 ? ", and is"
                 : ", AND IS NOT: a promise with this delta would permit to publish a patient");
    add_term(d, "What is delta?", text);
    add_term(d, "For how long?",
             "For the life of the ledger. What was released cannot be taken back; the exposure stays, and further "
             "rounds add to it.");
}

static void add_gaps_in_promise(audit_doc *d)
{
    audit_doc_add(d, DOC_SUBHEADING, DOC_PLAIN, "What the promise does not cover");
    static const char *const items[] = {
        "What is learned about everybody. If the model finds that a shadow means a disease, that holds for a patient "
        "whose "
        "images took no part, too.",
        "Facts about the hospital as a whole, such as its mix of diagnoses, its declared number of patients, and when "
        "it "
        "took part.",
        "People inside the hospital, and whoever breaks into it. The images are there; the promise is about what "
        "leaves "
        "through the node.",
        "The same patient in several hospitals, or under two numbers in one hospital: the exposures add up (part 4).",
        "Data that leave the hospital in any other way, for example another study without this program.",
        "A hospital that runs another program than it says. The ledger is the node's own account; part 2 says what can "
        "and "
        "what cannot be checked.",
        "How long a computer takes. Updates leave at fixed times to hide that, but the proof does not cover clocks.",
    };
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++)
        audit_doc_add(d, DOC_ITEM, DOC_PLAIN, "%s", items[i]);
}

void report_promise(audit_doc *d, const report *r)
{
    audit_doc_add(d, DOC_HEADING, DOC_PLAIN, "What was promised, and how much of it is used");
    for (size_t i = 0; i < r->n_hospitals; i++) {
        const report_hospital *h = r->hospitals[i];
        if (r->n_hospitals > 1)
            audit_doc_add(d, DOC_SUBHEADING, DOC_PLAIN, "Hospital %s", h->name);
        if (!h->has_budget) {
            audit_doc_add(d, DOC_PARA, DOC_CARE,
                          "%s has promised nothing yet: its ledger holds no policy, so no round can have been taken.",
                          h->name);
            continue;
        }
        audit_doc_add(
            d, DOC_PARA, DOC_PLAIN,
            "Hospital %s promised each of its patients: whatever leaves the hospital's node for the training of "
            "common models will expose the patient by at most " DOC_STRONG "epsilon %s" DOC_STRONG_END
            " with delta %s, in all studies together. Up to the ledger's last entry (%s) it has used " DOC_STRONG
            "epsilon %s" DOC_STRONG_END ", %.1f %% of the budget.",
            h->name, report_epsilon(h->cap).text, report_delta(h->delta).text, h->file.t_last,
            report_epsilon(h->epsilon).text, ceil(1000 * fmin(h->share, 1e6)) / 10);
        if (h->epsilon > h->cap)
            audit_doc_add(d, DOC_PARA, DOC_BAD, "That is more than was promised: the promise was broken.");
        if (h->cap > h->first_cap)
            audit_doc_add(d, DOC_PARA, DOC_BAD, "The limit was %s at first, and was raised later (part 5).",
                          report_epsilon(h->first_cap).text);
        add_meaning(d, h, i == 0);
        if (i == 0)
            add_terms(d, h);
    }
    if (r->n_hospitals == 0)
        audit_doc_add(
            d, DOC_PARA, DOC_CARE,
            "Only the coordinator's ledger was given. Promises are made by hospitals and stand in their ledgers: "
            "give those, to learn what patients were exposed to.");
    add_gaps_in_promise(d);
}

/* --- who must be trusted --- */

static void add_trust(audit_doc *d, const char *who, const char *trusted_for, const char *limits)
{
    audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", who);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", trusted_for);
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", limits);
}

static void add_key_row(audit_doc *d, const report_file *f, const char *name)
{
    char who[120], trusted[AUDIT_SHOWN_MAX + 100];
    snprintf(who, sizeof who, "The key of %s, from where you have it", name);
    if (is_own_key(f))
        snprintf(trusted, sizeof trusted,
                 "Everything: the key came out of the ledger itself. Whoever made the file could have made the key.");
    else
        snprintf(trusted, sizeof trusted, "That it is the hospital's or consortium's. It came from the file %s.",
                 audit_show(report_base_name(f->evidence.key_source)).text);
    audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
    audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", who);
    audit_doc_add(d, DOC_CELL, is_own_key(f) ? DOC_CARE : DOC_PLAIN, "%s", trusted);
    audit_doc_add(
        d, DOC_CELL, DOC_PLAIN,
        "Compare the fingerprint in part 8 with one that you were told in another way, for example by telephone.");
}

void report_trust(audit_doc *d, const report *r)
{
    static const char *const columns[] = {"Who or what", "must be trusted for",
                                          "need not be trusted for; what limits the damage", NULL};
    audit_doc_add(d, DOC_HEADING, DOC_PLAIN, "Who must be trusted, and for what");
    audit_doc_add(
        d, DOC_PARA, DOC_PLAIN,
        "The promise is kept inside the hospital: noise is added there, before anything leaves. So a patient has to "
        "trust their own hospital, and nobody else, for privacy.");
    audit_doc_table(d, "Trust", columns);
    add_trust(
        d, "The hospital's node (the program cordon-node)",
        "That it bounds each patient's influence, draws unpredictable noise as written, and writes the debit down "
        "before it looks at a patient. The ledger is its own account of this.",
        "Its sums: every number here was computed again from the ledger's lines. Tests for the presence of the noise "
        "need the released updates, which are not in a ledger.");
    add_trust(
        d, "The hospital's administrators",
        "That they run the unchanged program and protect the images. Who controls the machine has the images anyway.",
        r->coordinator ? "Changing the ledger afterwards: each update's place in it was signed by the coordinator, and "
                         "compared here."
                       : "Changing the ledger afterwards shows when the coordinator's ledger is compared; it was not "
                         "given here.");
    add_trust(
        d, "The coordinator (the consortium's server)",
        "Nothing, for privacy: epsilon counts as if it read every update and chose every model to attack with. For "
        "the model's quality, and for keeping what it has seen of each ledger.",
        "It can waste budget within an approved plan. Together with a lying hospital it could hide a release.");
    add_trust(d, "The other hospitals", "Nothing, for privacy. For the model's quality.",
              "They see models, never updates of others.");
    add_trust(d, "The network", "Nothing.", "Encrypted and signed; who took part and when can be seen.");
    for (size_t i = 0; i < r->n_hospitals && i < 8; i++)
        add_key_row(d, &r->hospitals[i]->file, r->hospitals[i]->name);
    if (r->coordinator)
        add_key_row(d, &r->coordinator->file, r->coordinator->name);
    add_trust(d, "This program (cordon-audit) and the computer that ran it", "The numbers in this report.",
              "Part 8 tells how to check ledger and numbers with other people's tools.");
    add_trust(d, "Debian and its libraries, the compiler",
              "That the programs do what their source says, in node and audit alike.",
              "The source is open; the number of libraries is small.");
    add_trust(d, "The processor and its random numbers",
              "That the noise cannot be predicted, and that no other program on the node's computer watches.",
              "Cannot be seen in a ledger.");
}
