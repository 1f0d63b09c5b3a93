/* What a witness store says of a ledger: heads that must be heads of these very lines, keys that must be its keys. */
#ifndef AUDIT_WITNESS_H
#define AUDIT_WITNESS_H

#include "audit/evidence.h"
#include "audit/store.h"

/* FL_ENOTFOUND, FL_EENV: the file; FL_EFORMAT: damaged. */
fl_code audit_witness_read(witness_store *s, const char *path, fl_err *err) FL_MUST_USE;
/* Findings go to the evidence. Returns how many heads of its owner the store holds. */
size_t audit_check_witness(audit_evidence *e, const witness_store *s);

#endif
