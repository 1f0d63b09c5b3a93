/* How to check the report without us; the words. */
#include "audit/report.h"

#include <inttypes.h>
#include <string.h>

static void add_file(audit_doc *d, const report_file *f, const char *whose)
{
    const dp_ledger_state *s = dp_replay_state(f->evidence.replay);
    char hex[DP_HEX_SIZE], root[DP_HEX_SIZE], origin[DP_ORIGIN_MAX], key_hex[DP_HEX_SIZE] = "none";
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    bool is_genesis = strcmp(f->evidence.key_source, "GENESIS") == 0;
    dp_hash_text(hex, &f->hash);
    fl_hash tree_root = dp_tree_root(&s->tree);
    dp_hash_text(root, &tree_root);
    if (dp_vkey_parse(origin, public_key, s->key)) {
        fl_hash key_hash = fl_sha256(public_key, sizeof public_key);
        dp_hash_text(key_hex, &key_hash);
    }
    audit_doc_add(d, DOC_PARA, DOC_PLAIN, "%s: the file %s, %s %s. Its key was believed because of %s.", whose,
                  audit_show(f->name).text, report_count(f->evidence.n_lines).text,
                  report_plural(f->evidence.n_lines, "entry", "entries"),
                  is_genesis ? "the ledger itself" : audit_show(report_base_name(f->evidence.key_source)).text);
    audit_doc_add(d, DOC_CODE, DOC_PLAIN, "SHA-256 of the file %s", hex);
    audit_doc_add(d, DOC_CODE, DOC_PLAIN, "root of the tree    %s", root);
    audit_doc_add(d, DOC_CODE, DOC_PLAIN, "verifier key        %s", s->key[0] ? s->key : "none");
    audit_doc_add(d, DOC_CODE, DOC_PLAIN, "SHA-256 of the key  %s", key_hex);
}

void report_check(audit_doc *d, const report *r)
{
    const report_file *first = r->n_hospitals > 0 ? &r->hospitals[0]->file : &r->coordinator->file;
    audit_doc_add(d, DOC_HEADING, DOC_PLAIN, "How to check this report without us");
    audit_doc_add(
        d, DOC_PARA, DOC_PLAIN,
        "A ledger is a text file, one entry on a line. Compare these fingerprints with those of the files that "
        "you have, and with the key that the hospital tells you by another way.");
    for (size_t i = 0; i < r->n_hospitals; i++)
        add_file(d, &r->hospitals[i]->file, r->hospitals[i]->name);
    if (r->coordinator)
        add_file(d, &r->coordinator->file, r->coordinator->name);
    audit_doc_add(
        d, DOC_PARA, DOC_PLAIN,
        "With standard tools alone (bash, sha256sum, openssl, awk; the script is 30 lines that you can read first):");
    audit_doc_add(d, DOC_CODE, DOC_PLAIN, "sha256sum %s", audit_show(first->name).text);
    audit_doc_add(d, DOC_CODE, DOC_PLAIN, "scripts/verify-ledger %s %s.pub", audit_show(first->name).text,
                  audit_show(first->name).text);
    audit_doc_add(d, DOC_PARA, DOC_PLAIN, "With our program, all rules and the comparison of both sides:");
    for (size_t i = 0; i < r->n_hospitals && i < 8; i++)
        audit_doc_add(d, DOC_CODE, DOC_PLAIN, "cordon-audit verify %s --key %s.pub%s%s",
                      audit_show(r->hospitals[i]->file.name).text, audit_show(r->hospitals[i]->file.name).text,
                      r->coordinator ? " --coordinator " : "",
                      r->coordinator ? audit_show(r->coordinator->file.name).text : "");
    if (r->n_hospitals == 0)
        audit_doc_add(d, DOC_CODE, DOC_PLAIN, "cordon-audit verify %s", audit_show(first->name).text);
    audit_doc_add(d, DOC_PARA, DOC_PLAIN,
                  "Keep what you have seen. A store of your own, a small file, remembers how long this ledger was and "
                  "what it held; a "
                  "later one that does not go on from there was rewritten, and the second command says so:");
    audit_doc_add(d, DOC_CODE, DOC_PLAIN, "cordon-audit witness init STORE && cordon-audit witness add STORE %s",
                  audit_show(first->name).text);
    audit_doc_add(d, DOC_CODE, DOC_PLAIN, "cordon-audit witness check STORE LATER.jsonl");
    const report_hospital *h = r->n_hospitals > 0 ? r->hospitals[0] : NULL;
    if (h && h->n_studies > 0 && h->studies[0].has_terms && !h->studies[0].has_phases) {
        const report_study *s = &h->studies[0];
        audit_doc_add(
            d, DOC_PARA, DOC_PLAIN,
            "The epsilon of a study from its terms alone, with our program, or with any published accountant for "
            "DP-SGD that takes the same three numbers (here: study %s%s). The result should be close to "
            "the numbers in part 6:",
            s->name, s->terms_changed ? ", with the terms of its last round, although they changed on the way" : "");
        audit_doc_add(d, DOC_CODE, DOC_PLAIN,
                      "cordon-audit epsilon --sampling-rate %s --noise-multiplier %s --steps %" PRIu64 " --delta %g",
                      s->sampling_rate, s->noise_multiplier, s->n_steps, h->delta);
    }
    audit_doc_add(d, DOC_PARA, DOC_PLAIN,
                  "This report was made by cordon-audit %s. The same files give the same report, byte for byte. It "
                  "holds no time of "
                  "its own: every date in it is an entry's, as the hospital's clock had it.",
                  CORDON_VERSION);
}

void report_words(audit_doc *d)
{
    static const char *const columns[] = {"Word", "What it means here", NULL};
    static const char *const words[][2] = {
        {"hospital, node",
         "A node is the computer in a hospital that trains on the hospital's images. Images never leave it."},
        {"coordinator",
         "The server of the consortium. It adds the hospitals' updates up and sends the new model back."},
        {"study, plan",
         "A study trains one model. Its plan fixes all terms; a named person of the hospital has to approve it."},
        {"round, update", "In a round, each hospital sends one update: sums over its patients, bounded and noised."},
        {"noise",
         "Random numbers added to each update, so that one patient's part drowns in it. Its size relative to the "
         "bound is the noise multiplier; more is safer."},
        {"sampling rate", "The chance of a patient to be looked at in a step. Less is safer."},
        {"clip norm", "The bound on what one patient can add to a sum."},
        {"debit", "The entry that pays for a round out of the budget. It is written before the round touches a "
                  "patient, and never paid back."},
        {"burned", "Paid for, but the round failed or the update was lost. The budget is gone all the same."},
        {"ledger, entry", "The hospital's account book. Each line holds the fingerprint of the line before, so nothing "
                          "can be changed unseen."},
        {"checkpoint, head", "A signature over the whole ledger at some length."},
        {"budget, filter",
         "The rule that refuses a round if the sum of all costs would pass the limit. Costs are added in a "
         "measure called Renyi divergence, and then turned into epsilon; that is why the epsilons of two "
         "studies do not simply add up within one hospital."},
    };
    audit_doc_add(d, DOC_HEADING, DOC_PLAIN, "Words");
    audit_doc_table(d, "Words used in this report", columns);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        audit_doc_add(d, DOC_ROW, DOC_PLAIN, "%s", "");
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", words[i][0]);
        audit_doc_add(d, DOC_CELL, DOC_PLAIN, "%s", words[i][1]);
    }
}
