#include "audit/audit.h"

const fl_cli_command audit_commands[] = {
    {"verify", "LEDGER.jsonl...", "check ledgers: chain, signature, order of entries, budget, completeness",
     audit_verify_options, 1, -1, audit_verify, NULL},
    {"epsilon", "", "epsilon of a training schedule, from its numbers alone", audit_epsilon_options, 0, 0,
     audit_epsilon, NULL},
    {"report", "LEDGER.jsonl...", "what patients were exposed to, in plain language: one HTML page, or text",
     audit_report_options, 1, 64, audit_report, NULL},
    {0},
};
