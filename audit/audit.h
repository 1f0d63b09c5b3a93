/* cordon-audit: what hospitals' patients were exposed to, checked offline from ledgers alone. */
#ifndef AUDIT_AUDIT_H
#define AUDIT_AUDIT_H

#include "base/cli.h"
#include "privacy/rdp.h"

int audit_verify(fl_cli *cli); /* 0 verified, 1 findings, 2 not a ledger */
int audit_epsilon(fl_cli *cli);
/* Keeps heads of other parties' ledgers (store.h): 0 done or verified, 1 a ledger that does not fit, 2 no store, no ledger. */
int audit_witness_init(fl_cli *cli);
int audit_witness_add(fl_cli *cli);
int audit_witness_check(fl_cli *cli);
int audit_witness_list(fl_cli *cli);
int audit_report(fl_cli *cli); /* 0 verified, 1 findings: the report tells them; 2 not a ledger: no report */

extern const fl_cli_command audit_commands[];
extern const fl_cli_option audit_verify_options[];
extern const fl_cli_option audit_epsilon_options[];
extern const fl_cli_option audit_witness_init_options[];
extern const fl_cli_option audit_witness_add_options[];
extern const fl_cli_option audit_witness_check_options[];
extern const fl_cli_option audit_witness_list_options[];
extern const fl_cli_option audit_report_options[];

/*
 * A schedule as --segments has it: [{"sampling_rate":q,"noise_multiplier":s,"steps":T},...], 1 to 100000 of them, nothing
 * else in it. *out (*n) is the caller's to free. FL_EFORMAT: it is none; name begins the message. FL_EENV: no memory.
 */
fl_code audit_segments_read(dp_segment **out, size_t *n, const char *text, size_t size, const char *name,
                            fl_err *err) FL_MUST_USE;

#endif
