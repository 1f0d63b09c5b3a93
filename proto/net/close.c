#include "proto/net/close.h"

#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* Whoever comes last frees it. */
typedef struct closing {
    nng_socket socket;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_closed, is_left; /* under mutex */
} closing;

static void closing_free(closing *k)
{
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->mutex);
    free(k);
}

static void *close_main(void *arg)
{
    closing *k = arg;
    nng_close(k->socket);
    pthread_mutex_lock(&k->mutex);
    k->is_closed = true;
    bool is_left = k->is_left;
    pthread_cond_signal(&k->changed);
    pthread_mutex_unlock(&k->mutex);
    if (is_left)
        closing_free(k);
    return NULL;
}

static closing *closing_create(nng_socket socket)
{
    closing *k = calloc(1, sizeof *k);
    pthread_condattr_t attr;
    if (!k)
        return NULL;
    k->socket = socket;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&k->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&k->mutex, NULL);
    return k;
}

bool wire_socket_close(nng_socket socket)
{
    pthread_t thread;
    struct timespec until;
    closing *k = closing_create(socket);
    if (!k || pthread_create(&thread, NULL, close_main, k)) {
        if (k)
            closing_free(k);
        nng_close(socket); /* no memory or thread for better */
        return true;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WIRE_CLOSE_MS / 1000;
    pthread_mutex_lock(&k->mutex);
    while (!k->is_closed && pthread_cond_timedwait(&k->changed, &k->mutex, &until) == 0)
        ;
    bool is_closed = k->is_closed;
    k->is_left = !is_closed;
    pthread_mutex_unlock(&k->mutex);
    if (!is_closed) {
        pthread_detach(thread);
        fl_log(FL_WARN, "net", "a connection did not close in %d s and is left behind", WIRE_CLOSE_MS / 1000);
        return false;
    }
    pthread_join(thread, NULL);
    closing_free(k);
    return true;
}
