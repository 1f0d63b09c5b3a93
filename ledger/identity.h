/*
 * The key that signs a party's ledger and messages, as files of its folder, and its exchange for a new one.
 *
 *     identity.key          the key in force                                                     0600
 *     identity.key.next     only while it is exchanged: its successor                            0600
 *
 *     1  the new key is durable in identity.key.next
 *     2  KEY_ROTATE, signed by the old key, and the head after it, signed by the new one: one transaction
 *     3  identity.key is overwritten and replaced by its successor
 *
 * The ledger decides which of the two is in force. Killed between 1 and 2: the old one, and the successor is wiped at the
 * next start. Killed after 2: the new one, and 3 is done at the next start, also when the old file is damaged already.
 * (Overwriting wipes what the file system keeps in place; a copy or a snapshot of the disk still has the old key.)
 */
#ifndef LEDGER_IDENTITY_H
#define LEDGER_IDENTITY_H

#include "ledger/ledger.h"

/* Loads the key in force of DIR and opens the ledger in db with it; ends an exchange that was cut short. *key is the
 * caller's, and stays where it is while the ledger is open. */
fl_code led_identity_open(led_ledger **out, fl_sign_key *key, const char *dir, fl_db *db, const char *party,
                          fl_err *err) FL_MUST_USE;

/* Exchanges the key: reason is a code. *key becomes the new one. Nobody else may hold the folder or the key. */
fl_code led_identity_rotate(led_ledger *l, fl_sign_key *key, const char *dir, const char *reason,
                            fl_err *err) FL_MUST_USE;

#endif
