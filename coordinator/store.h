/*
 * coord_store - everything a coordinator keeps: DIR/coordinator.db (sqlite, WAL, synchronous FULL), DIR/objects, keys.
 *
 *     coordinator.ini                host, port and name; written by init, edited by people
 *     identity.key                   Ed25519: signs envelopes, receipts, cosignatures and the ledger      0600
 *     ca.key ca.crt                  the consortium's CA, which signs the nodes' certificates             0600, 0644
 *     server.key server.crt          the outer wall                                                       0600, 0644
 *     coordinator.db objects/ partial/ lock control.sock
 *
 * Large bytes (models, server states, updates) are objects; rows hold their hashes. One thread: the event loop's, or a
 * command's when nothing runs. Functions that write rows say whether they expect a transaction.
 */
#ifndef COORDINATOR_STORE_H
#define COORDINATOR_STORE_H

#include "base/file.h"
#include "coordinator/machine.h"
#include "ledger/ledger.h"
#include "train/plan.h"

typedef struct coord_store {
    char dir[FL_PATH_MAX];    /* absolute; "" in memory */
    char name[WIRE_NAME_MAX]; /* of the coordinator */
    char host[256];
    int64_t port;
    int64_t max_declared; /* coordinator.ini: max_declared_patients */
    fl_db *db;
    fl_objects *objects;
    led_ledger *ledger;
    fl_sign_key key;
} coord_store;

/* A hospital that enrolled. */
typedef struct coord_site_row {
    char name[WIRE_NAME_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE]; /* Ed25519 */
    char vkey[DP_VKEY_MAX];                 /* of its ledger */
    fl_hash spki;                           /* of its TLS key */
} coord_site_row;

/* Makes the folder: keys, CA, server certificate for host, coordinator.ini, database, GENESIS. Refuses a folder that
 * holds a coordinator already. fingerprint (may be NULL): of the CA's certificate, what people compare. */
fl_code coord_store_make(const char *dir, const char *name, const char *host, int64_t port, fl_hash *fingerprint,
                         fl_err *err) FL_MUST_USE;
/* The caller holds the folder's lock. *s is zeroed when this fails. */
fl_code coord_store_open(coord_store *s, const char *dir, fl_err *err) FL_MUST_USE;
/* For the simulator and tests: the key from the seed, GENESIS written, no CA; database and objects in dir, which is made,
 * or in memory (NULL). What is in dir goes on. */
fl_code coord_store_open_seeded(coord_store *s, const char *dir, const char *name, const uint8_t seed[32],
                                fl_err *err) FL_MUST_USE;
fl_code coord_store_open_memory(coord_store *s, const char *name, const uint8_t seed[32], fl_err *err) FL_MUST_USE;
void coord_store_close(coord_store *s);

/* A file of the folder as text, for certificates and keys (at most FL_PEM_MAX with its 0). */
fl_code coord_store_pem(const coord_store *s, char *pem, const char *file, fl_err *err) FL_MUST_USE;

/* Small numbers by name; 0 when there is none. */
fl_code coord_meta_get(coord_store *s, const char *key, int64_t *value, fl_err *err) FL_MUST_USE;
fl_code coord_meta_put(coord_store *s, const char *key, int64_t value, fl_err *err) FL_MUST_USE;

/* A new site. FL_EREFUSED: the name is taken, or COORD_MAX_SITES are here. In the caller's transaction, if any. */
fl_code coord_site_add(coord_store *s, const coord_site_row *row, fl_err *err) FL_MUST_USE;
/* FL_ENOTFOUND. */
fl_code coord_site_get(coord_store *s, coord_site_row *row, const char *name, fl_err *err) FL_MUST_USE;

/* A study: its row, its first model (round 0) and STUDY in the ledger, in a transaction of its own. The file of a pretrained
 * start must be an object here (plan->initial). FL_EREFUSED: the
 * name is taken, the plan has no privacy, COORD_MAX_STUDIES are here. (study.c) */
fl_code coord_study_add(coord_store *s, const nn_plan *plan, fl_err *err) FL_MUST_USE;
fl_code coord_study_plan(coord_store *s, fl_buf *json, const char *study, fl_err *err) FL_MUST_USE; /* FL_ENOTFOUND */
typedef enum coord_study_word { COORD_PAUSE, COORD_RESUME, COORD_CLOSE } coord_study_word;
fl_code coord_study_say(coord_store *s, const char *study, coord_study_word word, fl_err *err) FL_MUST_USE;

/* The machine's state from the rows: sites in the order of their names, studies in the order of their index; times,
 * tickets and counters are 0. boot is what coord_boot counted last. */
fl_code coord_state_load(coord_state *state, coord_store *s, fl_err *err) FL_MUST_USE;
/* Counts this start: the high half of every sequence number that will be sent. */
fl_code coord_boot(coord_store *s, fl_err *err) FL_MUST_USE;

/* Rows of one step, inside the caller's transaction. */
fl_code coord_put_member(coord_store *s, const coord_state *state, uint32_t study, uint32_t site,
                         fl_err *err) FL_MUST_USE;
fl_code coord_put_round(coord_store *s, const coord_state *state, uint32_t study, fl_err *err) FL_MUST_USE;
fl_code coord_put_contribution(coord_store *s, const coord_state *state, uint32_t study, uint32_t site,
                               fl_err *err) FL_MUST_USE;
fl_code coord_put_model(coord_store *s, const char *study, uint32_t round, const fl_hash *model_hash,
                        const fl_hash *server_hash, const fl_hash *released_hash, fl_err *err) FL_MUST_USE;
/* note: the newest head as cosigned */
fl_code coord_put_head(coord_store *s, const coord_state *state, uint32_t site, const char *note,
                       fl_err *err) FL_MUST_USE;
/* The site's key of its state, as public key and as the vkey of its ledger. */
fl_code coord_put_key(coord_store *s, const coord_state *state, uint32_t site, fl_err *err) FL_MUST_USE;
/* What is remembered of a site's messages, beside whatever else its step writes. */
fl_code coord_put_seen(coord_store *s, const char *site, uint64_t sequence, int64_t wall_s, fl_err *err) FL_MUST_USE;

/* Queries. false: there is no such row (or the database failed: err->code is set then). */
bool coord_contribution(coord_store *s, const char *study, uint32_t round, const char *site, fl_hash *update_hash,
                        char debit[WIRE_DEBIT_SIZE], fl_err *err);
bool coord_model(coord_store *s, const char *study, uint32_t round, fl_hash *model_hash, fl_hash *server_hash,
                 fl_hash *released_hash, fl_err *err); /* NULLs are fine */

extern const char coord_schema[];

#endif
