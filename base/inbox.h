/*
 * fl_inbox - where the threads of a program leave events for its one event loop.
 *
 * An item is a kind, a ticket and a copy of some bytes. Any thread posts; one thread takes. The inbox has a maximum:
 * a post that would pass it returns false and leaves nothing.
 */
#ifndef BASE_INBOX_H
#define BASE_INBOX_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct fl_inbox fl_inbox;

typedef struct fl_item {
    int kind;
    uint64_t ticket;
    size_t size;
    unsigned char *bytes; /* owned by whoever took the item: fl_item_fini */
    void *pointer;        /* passed on as it is */
} fl_item;

fl_code fl_inbox_create(fl_inbox **out, size_t max_items, size_t max_bytes, fl_err *err) FL_MUST_USE;
void fl_inbox_destroy(fl_inbox *inbox);
/* bytes may be NULL when n is 0 */
bool fl_inbox_post(fl_inbox *inbox, int kind, uint64_t ticket, const void *bytes, size_t n, void *pointer);
/* Waits until there is an item or fl_clock_mono_ms() reaches until_ms; false: nothing came. */
bool fl_inbox_take(fl_inbox *inbox, fl_item *item, int64_t until_ms);
void fl_item_fini(fl_item *item);

#endif
