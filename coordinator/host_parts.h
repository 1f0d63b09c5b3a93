/* Between the files of the host: host.c (steps), transfer.c (objects in and out). */
#ifndef COORDINATOR_HOST_PARTS_H
#define COORDINATOR_HOST_PARTS_H

#include "coordinator/host.h"
#include "proto/msg/envelope.h"

#define COORD_RETRY_MS    5000
#define COORD_UPDATES_MAX 4 /* different updates that a site may begin to send in one round */

/* What is known of a site beside the machine's state; in the order of the state's sites. */
typedef struct coord_memory {
    char name[WIRE_NAME_MAX];
    char vkey[DP_VKEY_MAX];
    char note[WIRE_NOTE_MAX]; /* its newest head, cosigned; "" before the first */
    uint64_t sequence;        /* the largest seen */
    /* the last answered request that changed something, and its answer */
    uint64_t request_id, request_sequence;
    uint8_t *reply;
    size_t n_reply;
    /* what it began to upload in each study's round */
    struct {
        uint32_t round, n;
        fl_hash list[COORD_UPDATES_MAX];
    } uploads[COORD_MAX_STUDIES];
} coord_memory;

struct coord_host {
    coord_store *store;
    coord_host_config config;
    coord_state *state, *spare;
    coord_actions *actions;
    coord_memory memory[COORD_MAX_SITES];
    wire_decoder decoder;
    fl_buf out, plan_text, cosigned;
    nn_plan *plan;    /* scratch of fold */
    uint8_t *piece;   /* WIRE_PIECE_MAX, scratch of fetch */
    dp_entry *entry;  /* scratch of complete */
    uint32_t to_fold; /* bit per study */
    bool is_broken;   /* the state could not be loaded */
    uint64_t failed_commits;
};

void coord_host_say(coord_host *h, const char *format, ...) FL_PRINTF(2, 3);
void coord_host_send(coord_host *h, uint64_t ticket, const wire_message *m);
void coord_host_refuse(coord_host *h, uint64_t ticket, const wire_message *to, wire_error_code code, bool retry,
                       const char *text);
void coord_begin_reply(coord_host *h, wire_message *m, const wire_message *to, wire_kind kind);
bool coord_debit_known(coord_store *s, const char *debit);
void coord_serve_fetch(coord_host *h, uint64_t ticket, const wire_message *m, uint32_t site);
void coord_serve_upload(coord_host *h, uint64_t ticket, const wire_message *m, uint32_t site);

/* witness.c */
void coord_check_head(coord_host *h, coord_event *ev); /* note_size and note_root are there; sets extends */
/* The line is the RELEASE of exactly this update, and stands under the head that is held of this hospital. */
bool coord_has_entry(coord_host *h, const coord_event *ev);
/* The key at the end of a ROTATED's chain, if it begins with the one that is known, vkey; else *key stays. */
void coord_follow_keys(uint8_t key[FL_PUBLIC_KEY_SIZE], const char *vkey, const wire_message *m);
void coord_serve_keys(coord_host *h, uint64_t ticket, const wire_message *m);
void coord_serve_witness(coord_host *h, uint64_t ticket, const wire_message *m, uint32_t site);

#endif
