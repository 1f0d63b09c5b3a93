/*
 * dp_map - what a ledger said under which name: from two texts and a number to a position, in one step.
 *
 * A ledger's author chooses the names, so they are looked up by SHA-256(kind, a, 0, b, 0, number): he cannot choose
 * slots, and no number of entries makes a look-up slow. Open addressing, at most half full: at most 144 bytes a key. No I/O.
 * One thread.
 */
#ifndef PRIVACY_MAP_H
#define PRIVACY_MAP_H

#include "base/object.h"

typedef struct dp_map_slot {
    fl_hash key;
    uint32_t value_plus_1; /* 0: empty */
} dp_map_slot;

typedef struct dp_map {
    dp_map_slot *slots;
    size_t capacity, n;
} dp_map;

#define DP_MAP_NONE UINT32_MAX

/* kind tells names of different meaning apart; a and b are at most 255 bytes together. DP_MAP_NONE: not there. */
uint32_t dp_map_find(const dp_map *m, uint8_t kind, const char *a, const char *b, uint32_t number);
/* Sets or replaces; value < DP_MAP_NONE. false: no memory, and nothing changed. */
bool dp_map_put(dp_map *m, uint8_t kind, const char *a, const char *b, uint32_t number, uint32_t value);
void dp_map_fini(dp_map *m);

#endif
