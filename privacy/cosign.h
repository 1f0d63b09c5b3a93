/*
 * A ledger's head with a second signature: the party that was shown it (a coordinator, a witness) signs the same three
 * lines, and its signature line stands behind the owner's, as C2SP signed-note allows.
 *
 *     cordon/st-anna
 *     17
 *     base64(root)
 *
 *     U+2014 cordon/st-anna base64(key hash (4) || signature (64))
 *     U+2014 cordon/consortium base64(key hash (4) || signature (64))
 */
#ifndef PRIVACY_COSIGN_H
#define PRIVACY_COSIGN_H

#include "privacy/checkpoint.h"

/* Appends the line of `origin` (dp_origin of the cosigner) to a note that dp_checkpoint_verify accepted. */
void dp_checkpoint_cosign(fl_buf *note, const char *origin, const fl_sign_key *key);

/* Strict: exactly these two signature lines, in this order, both right. FL_EREFUSED: a signature is wrong or of
 * another key; FL_EFORMAT: not such a note. size and root may be NULL. */
fl_code dp_checkpoint_verify_cosigned(const char *note, size_t n, const char *vkey, const char *cosigner_vkey,
                                      uint64_t *size, fl_hash *root, fl_err *err) FL_MUST_USE;

/* The last signature line alone, by the key with this vkey: what a witness said, whoever owns the ledger. root may be
 * NULL. */
fl_code dp_cosignature_verify(const char *note, size_t n, const char *cosigner_vkey, uint64_t *size, fl_hash *root,
                              fl_err *err) FL_MUST_USE;

#endif
