/*
 * node_store - everything a node keeps: DIR/node.db (sqlite, journal DELETE, synchronous EXTRA), DIR/objects, keys.
 *
 *     node.ini policy.ini            written by init, edited by people
 *     identity.key                   Ed25519: signs envelopes and the ledger         0600
 *     tls.key tls.crt ca.crt         the outer wall; the last two come with enrolment
 *     pseudonym.key                  32 random bytes: patients' pseudonyms; never changes in the ledger's life   0600
 *     node.db objects/ lock control.sock
 *
 * One thread: the event loop's (or a command's, when nothing runs). Functions that change rows expect a transaction
 * only where they say so.
 */
#ifndef NODE_STORE_H
#define NODE_STORE_H

#include "base/file.h"
#include "ledger/ledger.h"
#include "node/machine.h"
#include "train/plan.h"

/* node.ini */
typedef struct node_settings {
    char name[WIRE_NAME_MAX];
    int64_t threads;
} node_settings;
fl_code node_settings_load(node_settings *out, const char *dir, fl_err *err) FL_MUST_USE;

typedef struct node_store {
    char dir[FL_PATH_MAX];    /* absolute; "" in memory */
    char name[WIRE_NAME_MAX]; /* of the hospital */
    fl_db *db;
    fl_objects *objects;
    led_ledger *ledger;
    fl_sign_key key;
    uint8_t pseudonym_key[32];
    /* of the coordinator; empty before enrolment */
    char coordinator[WIRE_NAME_MAX], address[300], coordinator_vkey[DP_VKEY_MAX];
    uint8_t coordinator_key[FL_PUBLIC_KEY_SIZE];
    bool enrolled;
} node_store;

/* Makes the folder: keys, node.ini and policy.ini with safe defaults, database, GENESIS. Refuses a folder that holds a
 * node already. */
fl_code node_store_make(const char *dir, const char *name, fl_err *err) FL_MUST_USE;
/* The caller holds the folder's lock. */
fl_code node_store_open(node_store *s, const char *dir, fl_err *err) FL_MUST_USE;
/* For the simulator and tests: keys from the seed, GENESIS written; database and objects in dir, which is made, or in
 * memory (NULL). What is in dir goes on. */
fl_code node_store_open_seeded(node_store *s, const char *dir, const char *name, const uint8_t seed[32],
                               fl_err *err) FL_MUST_USE;
fl_code node_store_open_memory(node_store *s, const char *name, const uint8_t seed[32], fl_err *err) FL_MUST_USE;
void node_store_close(node_store *s);

/* Small texts by key: what enrolment learnt, counters. "" when there is none. */
fl_code node_meta_get(node_store *s, const char *key, char *value, size_t size, fl_err *err) FL_MUST_USE;
fl_code node_meta_put(node_store *s, const char *key, const char *value, fl_err *err) FL_MUST_USE;
/* Remembers the coordinator (enrolment) and writes ca.crt, tls.crt, tls.key. */
fl_code node_store_enrolled(node_store *s, const char *coordinator, const char *address,
                            const uint8_t key[FL_PUBLIC_KEY_SIZE], const char *vkey, const char *ca_pem,
                            const char *cert_pem, const char *tls_key_pem, fl_err *err) FL_MUST_USE;

/* The key of ours that the coordinator knows, as a vkey; what it is told of newer ones. */
fl_code node_key_told(node_store *s, char vkey[DP_VKEY_MAX], fl_err *err) FL_MUST_USE;
fl_code node_key_tell(node_store *s, fl_err *err) FL_MUST_USE; /* it knows the newest now */
/* The coordinator's key changed to the one of this vkey. */
fl_code node_store_new_coordinator_key(node_store *s, const char *vkey, fl_err *err) FL_MUST_USE;

/* Counts a start of the program: sequence numbers never repeat. Before node_state_load. */
fl_code node_store_count_start(node_store *s, fl_err *err) FL_MUST_USE;
/* The machine's state from the rows and the ledger. Whether a plan is within the policy is for node_policy_apply. */
fl_code node_state_load(node_state *state, node_store *s, fl_err *err) FL_MUST_USE;
/* Rows of one step, inside the caller's transaction. */
fl_code node_plan_put(node_store *s, const node_state *state, uint32_t plan, fl_err *err) FL_MUST_USE;
fl_code node_round_put(node_store *s, const node_state *state, fl_err *err) FL_MUST_USE;

/* A plan's text, by its place in the list; kept when it arrives. FL_ENOTFOUND. */
fl_code node_plan_text(node_store *s, fl_buf *json, uint32_t plan, fl_err *err) FL_MUST_USE;
fl_code node_plan_keep(node_store *s, uint32_t plan, const char *json, size_t n, fl_err *err) FL_MUST_USE;

/* A node_plan from a parsed plan: what the machine needs to know. */
void node_plan_describe(node_plan *out, const nn_plan *plan);
/* From a plan's text as it arrived for a study. FL_EFORMAT: this version cannot read it; *out is its unreadable place. */
fl_code node_plan_read(node_plan *out, const char *study, const char *json, size_t n, fl_err *err) FL_MUST_USE;

#endif
