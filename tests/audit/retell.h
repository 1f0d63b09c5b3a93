/* Somebody with the stolen key writes a ledger again: other lines, but chain, tree and signature are whole. */
#ifndef TESTS_AUDIT_RETELL_H
#define TESTS_AUDIT_RETELL_H

#include "audit/evidence.h"
#include "tests/privacy/ledger_maker.h"

/* Asked for each entry in order (n from 1); may change it. false: leave the entry out. */
typedef bool (*retell_edit)(void *context, dp_entry *e, size_t n);

/* m: initialised, of the same party and key as `original`; gets the edited entries, sealed. Entries that cannot be composed
 * are left out. Returns how many lines differ from the original's, or are more or fewer. */
size_t retell(ledger_maker *m, const ledger_maker *original, retell_edit edit, void *context);

/* The findings of a node's ledger, alone (hub NULL) or with the coordinator's: each as "[ledger ]entry: what\n". Those of the
 * coordinator's own follow. Returns their number; text may be NULL. SIZE_MAX: not a ledger. */
size_t findings_of(fl_buf *text, const fl_buf *node, const fl_buf *hub);

#endif
