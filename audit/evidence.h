/*
 * audit_evidence - one ledger file, read and checked: form, chain, rules, checkpoint, signature.
 *
 * Findings are collected, not printed. What makes a file evidence at all: at least one line is a ledger entry, and at
 * most AUDIT_FINDINGS_MAX are none; otherwise audit_evidence_read is FL_EFORMAT.
 */
#ifndef AUDIT_EVIDENCE_H
#define AUDIT_EVIDENCE_H

#include "privacy/map.h"
#include "privacy/replay.h"

typedef struct audit_finding {
    const char *ledger; /* whose entry it is when it stands in another ledger than this one, else NULL; borrowed */
    uint64_t entry;     /* seq; 0: the file as a whole */
    char *what;
    const char *why; /* lives as long as the program */
} audit_finding;

typedef struct audit_findings {
    audit_finding *items;
    size_t n, capacity;
    uint64_t n_more; /* past the limit of AUDIT_FINDINGS_MAX only counted */
} audit_findings;

#define AUDIT_FINDINGS_MAX 1000

void audit_find(audit_findings *list, uint64_t entry, const char *why, const char *format, ...) FL_PRINTF(4, 5);
/* Of an entry that stands in the ledger of somebody else. */
void audit_find_in(audit_findings *list, const char *ledger, uint64_t entry, const char *why, const char *format, ...)
    FL_PRINTF(5, 6);
void audit_findings_fini(audit_findings *list);

/* A key of the ledger: GENESIS's, then that of each KEY_ROTATE which the key before it signed. */
typedef struct audit_key {
    char vkey[DP_VKEY_MAX];
    uint64_t from; /* seq of its entry; a head over exactly that many lines may still be signed by the key before */
} audit_key;

/* Where the filter stood: the sum of the costs at its order, and the cap as an epsilon; zeros before a POLICY. */
typedef struct audit_budget {
    double spent, epsilon;
} audit_budget;

typedef struct audit_evidence {
    const char *path;
    dp_replay *replay;
    audit_findings findings;
    fl_buf file, note; /* note: the checkpoint, empty without one */
    bool is_sealed;    /* it is signed by the key in force over exactly these lines */
    audit_key *keys;
    size_t n_keys, keys_capacity;
    dp_map key_hashes;     /* "6ef01d16", the key hash in a vkey: position in keys */
    bool has_witness;      /* heads of a witness store were asked for */
    uint64_t n_witnessed;  /* and it holds so many of this ledger */
    uint64_t n_lines;      /* without the checkpoint line */
    fl_hash *roots;        /* of the tree after 1, 2, .. n_lines lines */
    audit_budget *budgets; /* after the same lines */
    size_t capacity;
    uint64_t lost_to; /* heads up to here may be of lines that a RESTORE charged for; 0: none (audit_check_restore) */
    char key_source[256]; /* where the trusted key came from */
} audit_evidence;

/* key_path NULL: PATH.pub if it is there, else the key in GENESIS. FL_ENOTFOUND, FL_EENV: the file; FL_EFORMAT: not a
 * ledger, or an unreadable key. */
fl_code audit_evidence_read(audit_evidence *out, const char *path, const char *key_path, fl_err *err) FL_MUST_USE;
/* audit_evidence_read of bytes that are here already; they are copied. vkey: the key to believe, NULL: the one in GENESIS. */
fl_code audit_evidence_take(audit_evidence *out, const char *path, const void *bytes, size_t n, const char *vkey,
                            fl_err *err) FL_MUST_USE;
/* The verifier key in a file: a vkey on the first line, or a PEM public key of that party. */
fl_code audit_read_key(char vkey[DP_VKEY_MAX], const char *path, const char *party, fl_err *err) FL_MUST_USE;
/* Calls visit with each entry of these kinds, in order. member: only lines of this "member" (RECEIVED); NULL: all. */
#define AUDIT_KIND(name) (1u << DP_##name)
typedef void (*audit_visit)(void *context, const dp_entry *e);
fl_code audit_evidence_each(const audit_evidence *e, uint32_t kinds, const char *member, audit_visit visit,
                            void *context, fl_err *err) FL_MUST_USE;
/* The key that signs a head over so many lines; with its predecessor in *before where both may, else NULL. */
const char *audit_key_at(const audit_evidence *e, uint64_t size, const char **before);
void audit_evidence_fini(audit_evidence *e); /* NULL and zeroed are fine */

/*
 * Everything below that a node's ledger and, where it is known, the coordinator's say of one another. The coordinator's own
 * findings are its own: audit_check_coordinator finds them.
 */
fl_code audit_check_node(audit_evidence *node, const audit_evidence *coordinator /* may be NULL */,
                         fl_err *err) FL_MUST_USE;
/*
 * What a coordinator's ledger says that replay.h does not ask: the members of a ROUND_OPEN are the ROSTER's, an AGGREGATE
 * weighs them as the ROSTER declares, a RECEIVED (of version 2) holds a head, and no hospital's head in it goes back or
 * changes under the same size.
 */
fl_code audit_check_coordinator(audit_evidence *coordinator, fl_err *err) FL_MUST_USE;

/* The key hash in a vkey, "6ef01d16"; and the newest of the ledger's keys with that hash, NULL: none. */
#define AUDIT_KEY_HASH 9
void audit_key_hash(char hash[AUDIT_KEY_HASH], const char *vkey);
const char *audit_key_named(const audit_evidence *e, const char *hash);
/* A head of these very lines: size within, and the root as it was then. */
bool audit_is_head(const audit_evidence *e, uint64_t size, const fl_hash *root);

/*
 * Rounds, both ways: each RESERVE of the node is of a ROUND_OPEN (study, round, announce, model, plan, number of members)
 * that the node is in, with the patients that the ROSTER declares; the ROSTER's key of the node is one of its keys; the node's
 * heads in the ROUND_OPENs are heads of these lines; each RECEIVED is as long as the RELEASE. Findings go to the node's.
 */
fl_code audit_check_rounds(audit_evidence *node, const audit_evidence *coordinator, fl_err *err) FL_MUST_USE;

/*
 * Ledgers of several hospitals beside one another, with or without a coordinator's: a round of a study has the same plan, terms
 * and model in each, a plan the same terms, and one announce one cohort. A coordinator that tells two hospitals different
 * things is found without its own ledger. Findings go to the later one's. What a RESTORE charged is not compared.
 */
fl_code audit_check_together(audit_evidence *const *nodes, size_t n, fl_err *err) FL_MUST_USE;

/* A RESTORE explains heads that are not of these lines, if the coordinator accepted it: a head after it stands in the
 * coordinator's ledger. Before the checks that ask audit_is_lost. */
fl_code audit_check_restore(audit_evidence *node, const audit_evidence *coordinator, fl_err *err) FL_MUST_USE;
bool audit_is_lost(const audit_evidence *node, uint64_t size, const fl_hash *root);

/* Completeness: every update that one side has, the other must have, with the same bytes. Findings go to the node's. */
fl_code audit_compare(audit_evidence *node, const audit_evidence *coordinator, fl_err *err) FL_MUST_USE;

/*
 * Heads that others hold. A node's ACK and a coordinator's RECEIVED carry the node's head as the coordinator cosigned it
 * before the update went out: it must be a head of these very lines, holding the RELEASE. Whoever rewrites or cuts his
 * ledger afterwards cannot make it fit. The receipt of an ACK is the coordinator's signature too. coordinator may be NULL:
 * then its signatures are not checked.
 */
fl_code audit_check_heads(audit_evidence *node, const audit_evidence *coordinator, fl_err *err) FL_MUST_USE;

#endif
