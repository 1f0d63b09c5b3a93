/*
 * A coordinator in memory with hospitals that are nothing but keys: requests go in as bytes, answers come back by
 * ticket, time stands still until a test moves it. With a folder, the store is a real one.
 */
#ifndef TESTS_COORDINATOR_WORLD_H
#define TESTS_COORDINATOR_WORLD_H

#include "coordinator/host.h"
#include "proto/msg/envelope.h"
#include "tests/coordinator/lines.h"

#define WORLD_SITES   8
#define WORLD_TICKETS 4096

typedef struct world_answer {
    uint8_t *bytes; /* NULL: none yet */
    size_t n;
    bool ignored;
} world_answer;

typedef struct world {
    coord_store store;
    coord_host *host; /* NULL between two starts */
    int64_t now_ms, timer_ms;
    uint32_t n_sites;
    char names[WORLD_SITES][WIRE_NAME_MAX];
    fl_sign_key keys[WORLD_SITES];
    uint64_t boots[WORLD_SITES], sent[WORLD_SITES];
    hospital_lines lines[WORLD_SITES];
    uint64_t n_tickets;
    world_answer answers[WORLD_TICKETS];
    char said[65536]; /* all lines */
    nn_plan plan;     /* of the study added last */
    wire_decoder decoder;
} world;

/* dir NULL: in memory. Sites a, b, c, ... are enrolled; the study is "s". more: further lines of the study's INI. */
void world_init(world *w, const char *dir, uint32_t n_sites);
void world_study(world *w, const char *name, const char *hospitals, unsigned rounds, unsigned quorum, const char *more);
void world_start(world *w); /* opens and starts the host */
void world_crash(world *w); /* the host is gone; rows stay */
void world_fini(world *w);
void world_pass(world *w, int64_t ms); /* time goes on, the timer fires when it is due */

/* Fills in sender, request id and sequence, signs, hands it in; returns the ticket. */
uint64_t world_ask(world *w, uint32_t site, wire_message *m);
/* The same bytes again. */
uint64_t world_again(world *w, uint32_t site, const wire_message *m);
/* The decoded and verified answer; WIRE_NONE: none yet, or ignored. */
wire_kind world_answer_of(world *w, uint64_t ticket, wire_message *out);
wire_kind world_call(world *w, uint32_t site, wire_message *m, wire_message *out);
#define world_error(w, site, m) (world_call(w, site, m, &(wire_message){0}))

void world_join(world *w, uint32_t site, const char *study, uint64_t patients);
uint64_t world_poll(world *w, uint32_t site, uint32_t known);
void world_head(world *w, uint32_t site);
wire_kind world_show_head(world *w, uint32_t site, wire_message *r); /* the same; what came back */
/* The head over the lines that are there, not one more. */
wire_kind world_show_lines(world *w, uint32_t site, wire_message *r);
/* An update of the plan's size filled from seed. */
void world_update(const world *w, fl_buf *bytes, unsigned seed);
/* Uploads and releases for the study's open round; returns the answer's kind. */
wire_kind world_contribute(world *w, uint32_t site, const char *study, unsigned seed, wire_message *out);
const coord_study *world_of(const world *w, const char *study);
void world_debit(char debit[WIRE_DEBIT_SIZE], uint32_t site, unsigned seed);

#endif
