#include "audit/audit.h"

const fl_cli_command audit_commands[] = {
    {"verify", "LEDGER.jsonl...", "check ledgers: chain, signature, order of entries, budget, completeness",
     audit_verify_options, 1, -1, audit_verify, NULL},
    {"epsilon", "", "epsilon of a training schedule, from its numbers alone", audit_epsilon_options, 0, 0,
     audit_epsilon, NULL},
    {"report", "LEDGER.jsonl...", "what patients were exposed to, in plain language: one HTML page, or text",
     audit_report_options, 1, 64, audit_report, NULL},
    {"witness init", "STORE", "begin a store of other parties' ledger heads", audit_witness_init_options, 1, 1,
     audit_witness_init, NULL},
    {"witness add", "STORE LEDGER.jsonl|HEAD...", "record heads that extend what the store holds",
     audit_witness_add_options, 2, -1, audit_witness_add, NULL},
    {"witness check", "STORE LEDGER.jsonl...", "compare ledgers with the heads in the store",
     audit_witness_check_options, 2, -1, audit_witness_check, NULL},
    {"witness list", "STORE", "the heads in the store", audit_witness_list_options, 1, 1, audit_witness_list, NULL},
    {0},
};
