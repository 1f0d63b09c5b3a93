/*
 * Ledger lines: composed and parsed here, without I/O. privacy/checkpoint.h has the tree and the signed note,
 * privacy/replay.h the rules of their order.
 *
 * One entry is one line: canonical JSON (keys sorted, no spaces, ASCII), strings, integers and booleans only. Every
 * line has  kind node prev seq study t v  and the fields of its kind, all of them, no others (the table in ledger.c,
 * printed in docs/ledger.md). node is the party that owns the ledger. seq counts from 1. prev is the SHA-256, in hex,
 * of the previous line with its newline; 64 zeros before the first. t is the slot's minute (fl_clock_text). study is
 * "" where an entry belongs to no study. No realised counts, losses, file names or seeds: there is no field for them.
 *
 * v is the version of the format. Versions 1 and 2 are read for ever; what is written is version 3. The table says which
 * field came or went with which; a ledger goes on to a newer one, when its program was renewed, and never back.
 *
 * Names are 1 to 63 of [A-Za-z0-9._-]; hashes 64 lower-case hex digits; a debit 32; codes 1 to 63 of [a-z0-9._-].
 */
#ifndef PRIVACY_LEDGER_H
#define PRIVACY_LEDGER_H

#include "base/buf.h"
#include "base/encode.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "privacy/sample.h"

#define DP_LEDGER_VERSION 3 /* of the lines that are written now */

#define DP_LINE_MAX    65536
#define DP_NAME_SIZE   64
#define DP_HEX_SIZE    65
#define DP_DEBIT_SIZE  33
#define DP_MEMBERS_MAX 256
#define DP_TERMS_MAX   8
#define DP_NOTE_MAX    1024 /* a signed note, in bytes */
#define DP_VKEY_MAX    160

typedef enum dp_kind {
    DP_GENESIS,       /* both ledgers; first line */
    DP_POLICY,        /* the hospital's limits for one data set, from now on */
    DP_DATASET,       /* a data set as it is now: hiding commitment, never a count */
    DP_APPROVE_PLAN,  /* a named person approved a plan's hash */
    DP_RESERVE,       /* budget of one round is debited: epsilon counts from here */
    DP_STARTED,       /* the round's noise and patients are about to be drawn */
    DP_RELEASE,       /* the update exists: its hash */
    DP_ACK,           /* the coordinator's receipt */
    DP_BURN,          /* a debit that will never be released (again); stays charged */
    DP_OTHER_RELEASE, /* the debit of whatever else depends on patients and travels in the round's update: metrics */
    DP_REFUSE,        /* the node said no, and why */
    DP_RESTORE,       /* the ledger was behind a witness; `missing` debits are owed */
    DP_KEY_ROTATE,    /* both ledgers; the old key vouches for the new one */
    DP_EXPORT,        /* an export was made */
    DP_CLOSE,         /* nothing after this */
    DP_STUDY,         /* coordinator: a study's plan */
    DP_ROSTER,        /* coordinator: who takes part, with public keys */
    DP_ROUND_OPEN,    /* coordinator: an announce, with every hospital's ledger head */
    DP_RECEIVED,      /* coordinator: an update was verified and stored */
    DP_AGGREGATE,     /* coordinator: which updates made the new model */
    DP_PUBLISH,       /* coordinator: the new model is out */
    DP_REVOKE,        /* coordinator: a hospital is out */
    DP_N_KINDS
} dp_kind;

const char *dp_kind_name(dp_kind kind); /* "APPROVE_PLAN" */

/* A member of a list. What hash and n mean depends on the kind. Sorted by node, no name twice.
 *     ROSTER      hash: the hospital's Ed25519 public key; n: declared patients
 *     ROUND_OPEN  hash: root of the hospital's newest ledger head, zeros when none is known; n: the head's size
 *     AGGREGATE   hash: the update; n: declared patients, the weight */
typedef struct dp_member {
    char node[DP_NAME_SIZE];
    char hash[DP_HEX_SIZE];
    uint64_t n;
} dp_member;

/* What a plan's RESERVEs debit, for so many rounds in a row; the next terms are of the rounds after these. */
typedef struct dp_terms {
    uint32_t rounds, steps, clip_units, coordinates; /* 1 or more each */
    uint64_t noise_variance;
    dp_rate rate;
} dp_terms;

/* 0 rounds or coordinates are those of a line that does not say: they agree with any. */
bool dp_terms_same(const dp_terms *a, const dp_terms *b);

/*
 * All fields of all kinds; (1), (2), (3): in that version of the format alone; (2+): from that version on. Start from {0} and set what the kind has (right column; c. = coordinator ledger):
 * dp_entry_compose refuses a field that is missing or malformed and ignores fields of other kinds.
 */
/* clang-format off */
typedef struct dp_entry {
    dp_kind kind;
    uint32_t v;                            /* set by parse; compose writes this version, 0: the newest */
    uint64_t seq;                          /* set by parse; compose takes its argument */
    char prev[DP_HEX_SIZE];                /* set by parse */
    char node[DP_NAME_SIZE];               /* all: the ledger's owner */
    char study[DP_NAME_SIZE];              /* all; "" for GENESIS POLICY DATASET RESTORE KEY_ROTATE EXPORT CLOSE REVOKE */
    char t[24];                            /* all: 2026-03-01T12:34Z */

    char role[16];                         /* GENESIS: "node" or "coordinator" */
    char key[DP_VKEY_MAX];                 /* GENESIS KEY_ROTATE: the ledger's vkey (dp_vkey_text) */
    char software[DP_NAME_SIZE];           /* GENESIS: "cordon-0.1.0" */
    char accountant[DP_NAME_SIZE];         /* GENESIS: code, DP_ACCOUNTANT */
    char adjacency[DP_NAME_SIZE];          /* GENESIS: "add_remove" */
    char unit[DP_NAME_SIZE];               /* GENESIS: "patient" */

    char dataset[DP_NAME_SIZE];            /* POLICY DATASET APPROVE_PLAN */
    char epsilon[DP_NAME_SIZE];            /* POLICY: cap for life, decimal */
    char delta[DP_NAME_SIZE];              /* POLICY: decimal */
    uint32_t order;                        /* POLICY: the filter's order */
    uint32_t rungs;                        /* POLICY: 1, unless epsilon may be raised later (budget.h) */
    char min_noise_multiplier[DP_NAME_SIZE]; /* POLICY: decimal */
    char max_sampling_rate[DP_NAME_SIZE];  /* POLICY: decimal */
    char max_clip_norm[DP_NAME_SIZE];      /* POLICY: decimal */
    uint32_t max_rounds;                   /* POLICY: largest round number of a study */
    uint32_t declared_patients;            /* POLICY DATASET RESERVE: public, typed by a person */
    uint32_t min_cohort;                   /* POLICY */
    char releases[DP_NAME_SIZE];           /* POLICY: permitted releases, codes joined by "+": "update", "update+metrics" */
    char commitment[DP_HEX_SIZE];          /* DATASET: hiding hash of the contents; its key stays at the hospital */

    char plan_hash[DP_HEX_SIZE];           /* APPROVE_PLAN RESERVE REFUSE("" allowed) STUDY ROUND_OPEN */
    char approver[128];                    /* APPROVE_PLAN: a person's name, UTF-8, no control characters */
    uint32_t n_terms;                      /* APPROVE_PLAN (3) STUDY (3): "terms", of all rounds of the plan */
    dp_terms terms[DP_TERMS_MAX];

    char debit[DP_DEBIT_SIZE];             /* RESERVE STARTED RELEASE ACK BURN OTHER_RELEASE RECEIVED */
    char with[DP_DEBIT_SIZE];              /* OTHER_RELEASE (2+): the debit of the round in whose update it travels */
    uint32_t round;                        /* OTHER_RELEASE (2) RESERVE STARTED RELEASE ACK BURN REFUSE ROUND_OPEN RECEIVED AGGREGATE PUBLISH; from 1 (REFUSE: 0 when none) */
    uint32_t steps;                        /* RESERVE: local steps K; OTHER_RELEASE: partitions G that each patient is counted in */
    char mechanism[DP_NAME_SIZE];          /* RESERVE: DP_MECHANISM_STEP; OTHER_RELEASE: DP_MECHANISM_RELEASE */
    char sampling_rate[DP_NAME_SIZE];      /* RESERVE: decimal, as in the plan */
    dp_rate rate;                          /* RESERVE: Q, "rate_u64" in the line, decimal digits */
    char clip_norm[DP_NAME_SIZE];          /* RESERVE: decimal */
    uint32_t clip_units;                   /* RESERVE: R */
    uint64_t noise_variance;               /* RESERVE OTHER_RELEASE (2+): S^2, decimal digits in the line */
    char noise_multiplier[DP_NAME_SIZE];   /* RESERVE: exactly dp_multiplier(S2, R); OTHER_RELEASE: dp_multiplier(S2, 1) */
    uint32_t coordinates;                  /* RESERVE (2+): integers drawn in a step, weights and probe */
    uint32_t probe;                        /* RESERVE (2+): how many of them, the last ones, are no weights: pure noise */
    uint32_t update_bits;                  /* RESERVE (2+): width of one packed integer of the update */
    uint32_t cells;                        /* OTHER_RELEASE (2+): integers released */
    char what[DP_NAME_SIZE];               /* OTHER_RELEASE (2+): codes joined by "+": "histogram+classes+quality" */
    uint32_t cohort;                       /* RESERVE: hospitals in the announce's roster */
    char model_hash[DP_HEX_SIZE];          /* RESERVE ROUND_OPEN: the model that went in; AGGREGATE PUBLISH: the new one */
    char announce_hash[DP_HEX_SIZE];       /* RESERVE ROUND_OPEN: A */
    char update_hash[DP_HEX_SIZE];         /* RELEASE ACK RECEIVED OTHER_RELEASE (1) */
    uint64_t bytes;                        /* RELEASE RECEIVED OTHER_RELEASE (1): length of the update */
    char receipt[DP_NAME_SIZE * 2];        /* ACK: base64 of the coordinator's 64-byte signature */
    char checkpoint[FL_BASE64_SIZE(DP_NOTE_MAX)];       /* ACK RECEIVED: base64 of a signed note (node's head, as cosigned), or "" */
    char reason[DP_NAME_SIZE];             /* BURN REFUSE RESTORE KEY_ROTATE CLOSE REVOKE: code, never free text */

    uint32_t missing;                      /* RESTORE: debits the witness knows and this ledger does not */
    uint64_t witness_size;                 /* RESTORE: the head that was ahead */
    char witness_root[DP_HEX_SIZE];        /* RESTORE */
    char signature[DP_NAME_SIZE * 2];      /* KEY_ROTATE: dp_key_rotate_sign, by the old key */

    char member[DP_NAME_SIZE];             /* c. RECEIVED REVOKE: the hospital */
    char rule[DP_NAME_SIZE];               /* c. AGGREGATE: code, "fedavg" */
    uint32_t n_members;                    /* c. ROSTER ROUND_OPEN AGGREGATE */
    dp_member members[DP_MEMBERS_MAX];
} dp_entry;
/* clang-format on */

#define DP_ACCOUNTANT        "rdp-integer-1"
#define DP_MECHANISM_STEP    "poisson-discrete-gaussian"
#define DP_MECHANISM_RELEASE "discrete-gaussian"

/* The line without its newline, appended to `line`. FL_EFORMAT names the field that is missing or malformed. */
fl_code dp_entry_compose(fl_buf *line, const dp_entry *e, uint64_t seq, const fl_hash *prev, fl_err *err) FL_MUST_USE;
/* Strict: parses only what dp_entry_compose would write, byte for byte. line has no newline. */
fl_code dp_entry_parse(dp_entry *e, const char *line, size_t n, fl_err *err) FL_MUST_USE;

/* SHA-256 of the line and a newline: what the next entry's prev holds. */
fl_hash dp_line_hash(const char *line, size_t n);
void dp_hash_text(char text[DP_HEX_SIZE], const fl_hash *hash);
bool dp_hash_from_text(fl_hash *hash, const char *text);

/* KEY_ROTATE: signature (base64) over "cordon/key-rotate/1\n" prev "\n" new vkey "\n" with the old key. */
void dp_key_rotate_sign(char signature[DP_NAME_SIZE * 2], const fl_hash *prev, const char *new_vkey,
                        const fl_sign_key *old_key);

/* Follows one KEY_ROTATE line of the ledger of `party`: true and *vkey is the new key, if the old one, *vkey, signed it. */
bool dp_key_follow(char vkey[DP_VKEY_MAX], const char *party, const char *line, size_t n);

#endif
