/*
 * audit_evidence - one ledger file, read and checked: form, chain, rules, checkpoint, signature.
 *
 * Findings are collected, not printed. What makes a file evidence at all: at least one line is a ledger entry;
 * otherwise audit_evidence_read is FL_EFORMAT.
 */
#ifndef AUDIT_EVIDENCE_H
#define AUDIT_EVIDENCE_H

#include "privacy/replay.h"

typedef struct audit_finding {
    uint64_t entry; /* seq; 0: the file as a whole */
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
void audit_findings_fini(audit_findings *list);

typedef struct audit_evidence {
    const char *path;
    dp_replay *replay;
    audit_findings findings;
    fl_buf file;
    uint64_t n_lines; /* without the checkpoint line */
    fl_hash *roots;   /* of the tree after 1, 2, .. n_lines lines */
    size_t roots_capacity;
    char key_source[256]; /* where the trusted key came from */
} audit_evidence;

/* key_path NULL: PATH.pub if it is there, else the key in GENESIS. FL_ENOTFOUND, FL_EENV: the file; FL_EFORMAT: not a
 * ledger, or an unreadable key. */
fl_code audit_evidence_read(audit_evidence *out, const char *path, const char *key_path, fl_err *err) FL_MUST_USE;
/* Calls visit with each entry of this kind, in order. */
typedef void (*audit_visit)(void *context, const dp_entry *e);
fl_code audit_evidence_each(const audit_evidence *e, dp_kind kind, audit_visit visit, void *context,
                            fl_err *err) FL_MUST_USE;
void audit_evidence_fini(audit_evidence *e);

/* Completeness: every update that one side has, the other must have, with the same bytes. Findings go to the node's. */
fl_code audit_compare(audit_evidence *node, const audit_evidence *coordinator, fl_err *err) FL_MUST_USE;

/*
 * Heads that others hold. A node's ACK and a coordinator's RECEIVED carry the node's head as the coordinator cosigned it
 * before the update went out: it must be a head of these very lines, holding the RELEASE. Whoever rewrites or cuts his
 * ledger afterwards cannot make it fit. coordinator may be NULL: then its signatures are not checked.
 */
fl_code audit_check_heads(audit_evidence *node, const audit_evidence *coordinator, fl_err *err) FL_MUST_USE;

#endif
