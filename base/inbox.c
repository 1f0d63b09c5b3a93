#include "base/inbox.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct link {
    struct link *next;
    fl_item item;
} link;

struct fl_inbox {
    pthread_mutex_t mutex; /* guards everything below */
    pthread_cond_t filled;
    link *first, **last;
    size_t n_items, n_bytes, max_items, max_bytes;
};

fl_code fl_inbox_create(fl_inbox **out, size_t max_items, size_t max_bytes, fl_err *err)
{
    fl_inbox *in = calloc(1, sizeof *in);
    if (!in)
        return fl_fail(err, FL_EENV, "inbox: out of memory");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&in->mutex, NULL);
    pthread_cond_init(&in->filled, &attr);
    pthread_condattr_destroy(&attr);
    in->last = &in->first;
    in->max_items = max_items;
    in->max_bytes = max_bytes;
    *out = in;
    return FL_OK;
}

void fl_inbox_destroy(fl_inbox *in)
{
    if (!in)
        return;
    for (link *l = in->first; l;) {
        link *next = l->next;
        fl_item_fini(&l->item);
        free(l);
        l = next;
    }
    pthread_cond_destroy(&in->filled);
    pthread_mutex_destroy(&in->mutex);
    free(in);
}

bool fl_inbox_post(fl_inbox *in, int kind, uint64_t ticket, const void *bytes, size_t n, void *pointer)
{
    link *l = calloc(1, sizeof *l);
    if (!l)
        return false;
    l->item = (fl_item){.kind = kind, .ticket = ticket, .size = n, .pointer = pointer};
    if (n) {
        l->item.bytes = malloc(n);
        if (!l->item.bytes) {
            free(l);
            return false;
        }
        memcpy(l->item.bytes, bytes, n);
    }
    pthread_mutex_lock(&in->mutex);
    bool fits = in->n_items < in->max_items && n <= in->max_bytes - in->n_bytes;
    if (fits) {
        *in->last = l;
        in->last = &l->next;
        in->n_items++;
        in->n_bytes += n;
        pthread_cond_signal(&in->filled);
    }
    pthread_mutex_unlock(&in->mutex);
    if (!fits) {
        fl_item_fini(&l->item);
        free(l);
    }
    return fits;
}

bool fl_inbox_take(fl_inbox *in, fl_item *item, int64_t until_ms)
{
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    pthread_mutex_lock(&in->mutex);
    while (!in->first && pthread_cond_timedwait(&in->filled, &in->mutex, &until) != ETIMEDOUT)
        ;
    link *l = in->first;
    if (l) {
        in->first = l->next;
        if (!in->first)
            in->last = &in->first;
        in->n_items--;
        in->n_bytes -= l->item.size;
    }
    pthread_mutex_unlock(&in->mutex);
    if (!l)
        return false;
    *item = l->item;
    free(l);
    return true;
}

void fl_item_fini(fl_item *item)
{
    if (!item)
        return;
    free(item->bytes);
    *item = (fl_item){0};
}
