/*
 * witness_store - heads of other parties' ledgers, in one text file that only grows. A head is 200 bytes of text: it comes
 * by e-mail or on paper as well as in an export.
 *
 *     cordon witness store 1
 *     cordon/auditor+1f8a2b77+AT...=                  the store's own verifier key, or "no key"
 *
 *     == 1 <chain> 2026-03-01T12:34Z note st-anna export
 *     cordon/st-anna+6ef01d16+AZ...=                  the key that signed it
 *     cordon/st-anna                                  the signed note (privacy/checkpoint.h), with any cosignatures:
 *     17                                              the coordinator's, the store's own
 *     <base64 of the root>
 *
 *     <dash> cordon/st-anna <base64>
 *     <dash> cordon/auditor <base64>
 *
 *     == 2 <chain> 2026-03-01T12:34Z seen st-anna consortium 12
 *     17 <base64 of the root>                         not signed by st-anna: entry 12 of the ledger of consortium says so
 *
 * A record ends with an empty line. Its chain is SHA-256, in hex, over the 32 bytes of the chain before (of SHA-256 of the
 * file's first three lines for the first) and the record's text behind its own chain. There is one way to write a store; any
 * other is refused with the number of the record. Signatures of the ledger's owner and of the store itself are verified when
 * it is read.
 *
 * What a store cannot know is whether its own last records were taken away: keep it where its owner alone writes, or send
 * its heads on.
 */
#ifndef AUDIT_STORE_H
#define AUDIT_STORE_H

#include "privacy/checkpoint.h"

#define WITNESS_STORE_MAX ((size_t)64 << 20)
#define WITNESS_COSIGNERS 8 /* signature lines of a note, the owner's included */

typedef struct witness_head {
    char party[DP_NAME_SIZE];
    char from[DP_NAME_SIZE]; /* "export", "note", or the coordinator in whose ledger it stands */
    char t[24];
    bool is_signed;
    char vkey[DP_VKEY_MAX]; /* is_signed */
    uint64_t size, entry;   /* entry: not is_signed, where it stands */
    fl_hash root;
    size_t note_at, n_note; /* is_signed: the note in the store's text */
} witness_head;

typedef struct witness_store {
    fl_buf text;
    char vkey[DP_VKEY_MAX]; /* "": no key */
    witness_head *heads;
    size_t n, capacity;
    fl_hash last; /* the chain so far */
} witness_store;

/* An empty store. vkey "" or NULL: no key. */
fl_code witness_store_begin(witness_store *s, const char *vkey, fl_err *err) FL_MUST_USE;
/* FL_EFORMAT: damaged, and where. name goes into messages. */
fl_code witness_store_parse(witness_store *s, const void *bytes, size_t n, const char *name, fl_err *err) FL_MUST_USE;
/* Appends a record: party, from, t and, signed, vkey and note, else size, root and entry are read; the rest is set. The note is
 * verified. FL_EFORMAT, FL_EREFUSED: not such a head; the store stays as it was. */
fl_code witness_store_add(witness_store *s, const witness_head *head, const char *note, size_t n_note,
                          fl_err *err) FL_MUST_USE;
void witness_store_fini(witness_store *s);

/* The owner's signature alone, of a note with one or more: verified with vkey. */
fl_code witness_note_verify(const char *note, size_t n, const char *vkey, uint64_t *size, fl_hash *root,
                            fl_err *err) FL_MUST_USE;

#endif
