/* Between the files of privacy/: parts of ledger.c that replay.c uses. */
#ifndef PRIVACY_ENTRY_H
#define PRIVACY_ENTRY_H

#include "privacy/ledger.h"

/* dp_entry_parse; is_trusted leaves out the comparison with the canonical form. */
fl_code dp_entry_read(dp_entry *e, const char *line, size_t n, bool is_trusted, fl_err *err) FL_MUST_USE;
bool dp_key_rotate_verify(const char *signature, const fl_hash *prev, const char *new_vkey, const char *old_vkey);

#endif
