#include "privacy/map.h"

#include "crypto/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static fl_hash key_of(uint8_t kind, const char *a, const char *b, uint32_t number)
{
    uint8_t text[1 + 256 + 2 + 4];
    size_t n_a = strlen(a) + 1, n_b = strlen(b) + 1;
    assert(1 + n_a + n_b + 4 <= sizeof text);
    text[0] = kind;
    memcpy(text + 1, a, n_a);
    memcpy(text + 1 + n_a, b, n_b);
    memcpy(text + 1 + n_a + n_b, &number, sizeof number);
    return fl_sha256(text, 1 + n_a + n_b + sizeof number);
}

/* Where the key is, or the empty slot where it would be. */
static dp_map_slot *slot_of(dp_map_slot *slots, size_t capacity, const fl_hash *key)
{
    uint64_t start;
    memcpy(&start, key->bytes, sizeof start);
    size_t i = (size_t)start & (capacity - 1);
    while (slots[i].value_plus_1 != 0 && memcmp(&slots[i].key, key, sizeof *key) != 0)
        i = (i + 1) & (capacity - 1);
    return &slots[i];
}

uint32_t dp_map_find(const dp_map *m, uint8_t kind, const char *a, const char *b, uint32_t number)
{
    if (m->capacity == 0)
        return DP_MAP_NONE;
    fl_hash key = key_of(kind, a, b, number);
    return slot_of(m->slots, m->capacity, &key)->value_plus_1 - 1; /* empty: 0 - 1 is DP_MAP_NONE */
}

static bool grow(dp_map *m)
{
    size_t capacity = m->capacity ? 2 * m->capacity : 64;
    dp_map_slot *slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < m->capacity; i++) {
        if (m->slots[i].value_plus_1 != 0)
            *slot_of(slots, capacity, &m->slots[i].key) = m->slots[i];
    }
    free(m->slots);
    m->slots = slots;
    m->capacity = capacity;
    return true;
}

bool dp_map_put(dp_map *m, uint8_t kind, const char *a, const char *b, uint32_t number, uint32_t value)
{
    assert(value != DP_MAP_NONE);
    if (2 * (m->n + 1) > m->capacity && !grow(m))
        return false;
    fl_hash key = key_of(kind, a, b, number);
    dp_map_slot *slot = slot_of(m->slots, m->capacity, &key);
    m->n += slot->value_plus_1 == 0;
    *slot = (dp_map_slot){.key = key, .value_plus_1 = value + 1};
    return true;
}

void dp_map_fini(dp_map *m)
{
    if (m)
        free(m->slots);
}
