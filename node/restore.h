/*
 * node_restore - a ledger that is behind what its witness holds, made honest again.
 *
 * The folder was put back from an old copy (or a clone of it went on), so lines are lost, and with them debits. RESTORE
 * names the head that the witness holds; each debit that the lost lines can have held is charged as a RESERVE of its
 * plan's terms and a BURN with the reason "restored"; placeholders make the ledger longer than that head, so that it
 * never seems to have become shorter to anybody who saw it. All in one transaction.
 *
 * What is charged:
 *   received   every debit that the witness received and this ledger does not know, under its own id
 *   guessed    what burned without being received is known to nobody else. With d lines between the last head of ours
 *              that was cosigned and the witness's, and K received debits among them: each of these took 4 lines
 *              (RESERVE, STARTED, RELEASE and ACK or BURN; the last one perhaps without its end), any other at least
 *              3. So at most (d - (4 K - 1)) / 3 others, or d / 3 when K is 0, each at the price of the dearest
 *              phase of an approved plan, with metrics when the plan has any; and never more than the cap has room for, for the lost lines never passed it.
 * A round with metrics is charged with them (OTHER_RELEASE), and took one line more; counting it as 4 errs to our side.
 * Nothing that was released can have been witnessed later than that head: a head with the RELEASE is cosigned before the
 * first byte of its update leaves.
 */
#ifndef NODE_RESTORE_H
#define NODE_RESTORE_H

#include "node/store.h"

#define NODE_KNOWN_MAX 1000000 /* debits of one hospital that a witness may list */

/* What the witness says; its signatures were checked. */
typedef struct node_witness {
    uint64_t size; /* the head it holds of this ledger; 0: none */
    fl_hash root;
    uint64_t sequence; /* the largest number it saw of this node */
    wire_known *known;
    uint32_t n_known;
} node_witness;

typedef struct node_restored {
    bool was_needed; /* false: the ledger holds the witness's head; nothing was written */
    uint64_t lost_lines;
    uint32_t received, guessed; /* debits charged */
    double epsilon_before, epsilon_after;
} node_restored;

/*
 * Appends the lines, closes what was open in this copy (BURN, "restored"), marks received rounds as over, takes back a
 * halt, and lets the program's start counter pass the witness's. FL_EREFUSED, and nothing is written: a received debit
 * belongs to a plan that is not approved here (the approval is among the lost lines: approve it again first), or the
 * policy in force does not cover what was released (it was raised in the lost lines). FL_EFORMAT, likewise: the witness
 * lists a debit twice.
 */
fl_code node_restore(node_restored *out, node_store *s, node_state *state, const node_witness *w,
                     fl_err *err) FL_MUST_USE;

#endif
