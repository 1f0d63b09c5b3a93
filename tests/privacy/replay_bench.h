/* One ledger, one fault: what the replay finds in entries that are fed one by one. */
#ifndef TESTS_REPLAY_BENCH_H
#define TESTS_REPLAY_BENCH_H

#include "tests/privacy/ledger_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SET(field, text) snprintf(field, sizeof(field), "%s", text)

typedef struct bench {
    ledger_maker m;
    dp_replay *r;
    fl_buf findings;
} bench;

extern dp_entry e; /* the entry that is being made; the feed functions leave it as it was fed */

void bench_init(bench *b, const char *party);
void bench_fini(bench *b);
/* Asks whether `e` would be legal, appends it, feeds it, and checks that both answers agree. */
void feed_entry(bench *b);
void feed(bench *b, dp_kind kind);
void start_node(bench *b); /* GENESIS, POLICY, APPROVE_PLAN */
void feed_debit(bench *b, dp_kind kind, unsigned number);
void feed_other(bench *b, unsigned number); /* the counts that travel with that debit */
/* A finding has these words; what was found is forgotten. */
void expect(bench *b, const char *words);
void expect_none(bench *b);

#endif
