/*
 * The head of a ledger: an RFC 6962 Merkle tree over the lines (without newline), signed as a C2SP tlog-checkpoint
 * inside a C2SP signed note with Ed25519.
 *
 *     leaf = SHA-256(0x00 || line)      node = SHA-256(0x01 || left || right)      empty tree = SHA-256("")
 *
 *     cordon/st-anna                              the origin, and the key's name
 *     17                                          size, in decimal
 *     base64(root)
 *                                                 (empty line)
 *     U+2014 cordon/st-anna base64(key hash (4) || signature (64))
 *
 * each line ends with \n; the signature covers the first three lines. Key hash: the first 4 bytes of
 * SHA-256(name || 0x0A || 0x01 || public key). vkey text: name+hex8(key hash)+base64(0x01 || public key).
 */
#ifndef PRIVACY_CHECKPOINT_H
#define PRIVACY_CHECKPOINT_H

#include "privacy/ledger.h"

typedef struct dp_tree {
    uint64_t size;
    fl_hash peaks[64]; /* roots of the full subtrees, by level; level i is in use when bit i of size is set */
} dp_tree;

void dp_tree_init(dp_tree *tree);
void dp_tree_append(dp_tree *tree, const char *line, size_t n);
fl_hash dp_tree_root(const dp_tree *tree);
fl_hash dp_tree_leaf(const char *line, size_t n);
fl_hash dp_tree_join(const fl_hash *left, const fl_hash *right);

#define DP_ORIGIN_MAX 80
void dp_origin(char origin[DP_ORIGIN_MAX], const char *party); /* "cordon/" party */
void dp_vkey_text(char vkey[DP_VKEY_MAX], const char *origin, const uint8_t public_key[FL_PUBLIC_KEY_SIZE]);
bool dp_vkey_parse(char origin[DP_ORIGIN_MAX], uint8_t public_key[FL_PUBLIC_KEY_SIZE], const char *vkey);

/* Appends the note. */
void dp_checkpoint_note(fl_buf *note, const char *origin, uint64_t size, const fl_hash *root, const fl_sign_key *key);
/* Strict: one signature line, of the key with that vkey. FL_EREFUSED: the signature is wrong or of another key;
 * FL_EFORMAT: not a note. origin, size and root may be NULL. */
fl_code dp_checkpoint_verify(const char *note, size_t n, const char *vkey, char origin[DP_ORIGIN_MAX], uint64_t *size,
                             fl_hash *root, fl_err *err) FL_MUST_USE;

/* Size and root as the note says, not verified; false when it is not even in the form of one. root may be NULL. */
bool dp_checkpoint_peek(const char *note, size_t n, uint64_t *size, fl_hash *root);

/* The last line of an export, without newline: {"checkpoint":note,"key":vkey}. The note covers all lines before. */
fl_code dp_export_line(fl_buf *line, const char *note, const char *vkey, fl_err *err) FL_MUST_USE;
/* true and copies if this is such a line, canonical; the note is not empty. */
bool dp_export_parse(fl_buf *note, char vkey[DP_VKEY_MAX], const char *line, size_t n);
/* Content of FILE.pub: the vkey on the first line, the PEM public key after it. */
void dp_export_public(fl_buf *out, const char *vkey);

#endif
