/* Makes ledgers for tests: a writer that appends entries as a node or a coordinator would, and a sample of every kind. */
#ifndef TESTS_LEDGER_MAKER_H
#define TESTS_LEDGER_MAKER_H

#include "privacy/budget.h"
#include "privacy/replay.h"

/* What others saw of a round. */
typedef struct maker_round {
    char *released; /* base64 of the cosigned head after its RELEASE */
    fl_hash root;   /* after its ACK */
    uint64_t size;
} maker_round;

typedef struct ledger_maker {
    fl_buf text; /* the lines, each with its newline */
    char party[DP_NAME_SIZE];
    uint64_t seq; /* of the last line */
    fl_hash head;
    dp_tree tree;
    fl_sign_key key;
    char vkey[DP_VKEY_MAX];
    struct maker_round *rounds; /* of node_ledger; rounds[0] is unused */
    unsigned n_rounds;
    bool has_other; /* an OTHER_RELEASE travels with the debit that is open */
} ledger_maker;

enum { MAKER_HUB_SEED = 9, MAKER_NODE_SEED = 3 }; /* of coordinator_ledger, of every node_ledger */

/* The key is made of seed: the same bytes in every run. */
void maker_init(ledger_maker *m, const char *party, uint8_t seed);
void maker_fini(ledger_maker *m);
/* An entry of the kind with every field of every kind filled in plausibly, for this maker's party. */
void maker_entry(const ledger_maker *m, dp_entry *e, dp_kind kind);
void maker_add(ledger_maker *m, const dp_entry *e);
/* An entry as node_ledger and coordinator_ledger have it in that round: own debit, hashes, receipt, cosigned head. */
void maker_add_kind(ledger_maker *m, dp_kind kind, unsigned round);
void maker_seal(ledger_maker *m); /* the checkpoint line */

/* hash made of one repeated digit, for readable tests */
void hash_of(char out[DP_HEX_SIZE], char digit);
void debit_of(char out[DP_DEBIT_SIZE], unsigned number);
/* update hash of a hospital's round, as made by node_ledger and coordinator_ledger; "model" and "announce" are those of
 * the round itself */
void update_of(char out[DP_HEX_SIZE], const char *party, unsigned round);

/* A whole legal node ledger: GENESIS, POLICY, DATASET, APPROVE_PLAN, then rounds of RESERVE STARTED RELEASE ACK, one
 * BURN, a REFUSE and a CLOSE; not sealed. Each ACK holds the head as coordinator_ledger cosigned it. */
void node_ledger(ledger_maker *m, const char *party, unsigned rounds);
/* The coordinator's, with the updates of those parties (sorted), at most 3, and that of silent others: three in all. The
 * round after the last is open. It fits node_ledger with as many rounds, in every field. */
void coordinator_ledger(ledger_maker *m, const char *const *parties, unsigned n_parties, unsigned rounds);

/* Legal ledgers with at least one entry of every kind that the role has; not sealed. */
void every_kind_of_node(ledger_maker *m, const char *party);
void every_kind_of_coordinator(ledger_maker *m);

/* Feeds all lines of a text to a new replay; the findings, one per line, go to `findings` (may be NULL). */
dp_replay *replay_text(const char *text, size_t n, dp_replay_trust trust, fl_buf *findings);

#endif
