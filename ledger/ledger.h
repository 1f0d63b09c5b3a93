/*
 * led_ledger - a party's own ledger on sqlite: append in the caller's transaction, checkpoint after each line, export.
 *
 *     entry(seq, line)   checkpoint(size, note)   cosignature(size, note)        in the caller's database
 *
 * Nodes and coordinators both keep one. At open every line is replayed and the newest checkpoint must be of exactly
 * these lines and of this key: a ledger that does not verify is not written to. Before each append the auditor's own
 * rules are asked (dp_replay_would), so a line that an audit would complain about is never written.
 *
 * After a transaction that held an append was rolled back, call led_reload. One thread.
 */
#ifndef LEDGER_LEDGER_H
#define LEDGER_LEDGER_H

#include "base/db.h"
#include "privacy/proof.h"
#include "privacy/replay.h"

typedef struct led_ledger led_ledger;

extern const char led_schema[]; /* part of the owner's schema */

/* party: the name in every line. key signs the checkpoints; borrowed. */
fl_code led_open(led_ledger **out, fl_db *db, const char *party, const fl_sign_key *key, fl_err *err) FL_MUST_USE;
void led_close(led_ledger *l);
fl_code led_reload(led_ledger *l, fl_err *err) FL_MUST_USE;

/* The first line of a new ledger, in a transaction of its own. role: "node" or "coordinator". */
fl_code led_genesis(led_ledger *l, const char *role, fl_err *err) FL_MUST_USE;

/* Appends e as the next line (seq, prev, node and, where it is empty, the time are filled in) and its checkpoint.
 * FL_EREFUSED: the rules forbid it; nothing was written. */
fl_code led_append(led_ledger *l, dp_entry *e, fl_err *err) FL_MUST_USE;
/* Would it be legal now? */
fl_code led_would(led_ledger *l, dp_entry *e, fl_err *err) FL_MUST_USE;

const dp_ledger_state *led_state(const led_ledger *l);
const dp_replay *led_replay(const led_ledger *l);
/*
 * KEY_ROTATE, signed by *key, which signed all before it; *next signs from here on. On success *key holds what *next held,
 * *next is empty, and what *key held is wiped; else both are as before. In a transaction of its own. FL_EREFUSED: not now
 * (CLOSE was written).
 */
fl_code led_rotate(led_ledger *l, fl_sign_key *key, fl_sign_key *next, const char *reason, fl_err *err) FL_MUST_USE;
/* The verifier keys so far, 0: GENESIS's; the last one is in force. */
size_t led_n_keys(const led_ledger *l);
const char *led_key(const led_ledger *l, size_t i);
/* Appends the KEY_ROTATE lines after the key with this vkey, each ended by a newline, at most `most`; *n: how many.
 * FL_ENOTFOUND: never a key of this ledger. */
fl_code led_key_chain(led_ledger *l, fl_buf *lines, uint32_t *n, const char *vkey, uint32_t most,
                      fl_err *err) FL_MUST_USE;

/* CLOSE: nothing comes after it. In a transaction of its own. */
fl_code led_finish(led_ledger *l, const char *reason, fl_err *err) FL_MUST_USE;

/* The newest signed checkpoint; "" before the first line. Valid until the next append. */
const char *led_note(const led_ledger *l);
const char *led_vkey(const led_ledger *l);

/* The tree's root when the ledger had `size` lines, 1 to now. */
fl_code led_root_at(led_ledger *l, uint64_t size, fl_hash *root, fl_err *err) FL_MUST_USE;

/* Proofs over the lines that are here (privacy/proof.h): from <= to <= now, seq <= size <= now. */
uint32_t led_consistency(const led_ledger *l, fl_hash proof[DP_PROOF_MAX], uint64_t from, uint64_t to);
uint32_t led_inclusion(const led_ledger *l, fl_hash proof[DP_PROOF_MAX], uint64_t seq, uint64_t size);
/* Appends the line of entry seq, without its newline. FL_ENOTFOUND. */
fl_code led_line(led_ledger *l, fl_buf *line, uint64_t seq, fl_err *err) FL_MUST_USE;

/* A note of ours with another party's signature on it: kept as evidence. */
fl_code led_cosigned(led_ledger *l, uint64_t size, const char *note, fl_err *err) FL_MUST_USE;

/* Writes path (the lines and the last line over their whole size) and path.pub, the verifier key. An EXPORT entry is appended first, in a transaction of its own;
 * not after CLOSE. */
fl_code led_export(led_ledger *l, const char *path, fl_err *err) FL_MUST_USE;

#endif
