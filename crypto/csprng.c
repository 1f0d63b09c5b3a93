#include "crypto/csprng.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A child must never give out what its parent will give out. The pid that belongs to this process is kept here and set
 * anew in every child by the fork handler, because asking the kernel before each of millions of draws is dear. Each
 * refill asks the kernel all the same.
 */
static _Atomic int64_t own_pid;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void in_child(void)
{
    atomic_store_explicit(&own_pid, getpid(), memory_order_relaxed);
}

static void watch_forks(void)
{
    in_child();
    if (pthread_atfork(NULL, NULL, in_child) != 0)
        abort();
}

void fl_wipe(void *bytes, size_t n)
{
    if (n)
        OPENSSL_cleanse(bytes, n);
}

void fl_csprng_init(fl_csprng *r)
{
    pthread_once(&once, watch_forks);
    memset(r->block, 0, sizeof r->block);
    r->used = sizeof r->block;
    r->pid_plus_1 = (int64_t)getpid() + 1;
}

void fl_csprng_fini(fl_csprng *r)
{
    if (r)
        fl_wipe(r, sizeof *r);
}

static void refill(fl_csprng *r)
{
    if (RAND_priv_bytes(r->block, sizeof r->block) != 1) {
        fputs("random numbers: OpenSSL gives none\n", stderr);
        abort();
    }
    r->used = 0;
    r->pid_plus_1 = (int64_t)getpid() + 1;
    atomic_store_explicit(&own_pid, r->pid_plus_1 - 1, memory_order_relaxed);
}

void fl_csprng_bytes(fl_csprng *r, void *bytes, size_t n)
{
    assert(r->pid_plus_1 > 0 && r->used <= sizeof r->block); /* initialised, and not yet wiped */
    if (r->pid_plus_1 != atomic_load_explicit(&own_pid, memory_order_relaxed) + 1) {
        fl_wipe(r->block, sizeof r->block);
        r->used = sizeof r->block;
    }
    uint8_t *out = bytes;
    while (n) {
        if (r->used == sizeof r->block)
            refill(r);
        size_t left = sizeof r->block - r->used;
        size_t k = n < left ? n : left;
        memcpy(out, r->block + r->used, k);
        memset(r->block + r->used, 0, k);
        __asm__ volatile("" : : "r"(r->block) : "memory"); /* the wipe above has to happen */
        r->used += k;
        out += k;
        n -= k;
    }
}

uint64_t fl_csprng_u64(fl_csprng *r)
{
    uint64_t x;
    fl_csprng_bytes(r, &x, sizeof x);
    return x;
}

uint64_t fl_csprng_below(fl_csprng *r, uint64_t n)
{
    assert(n >= 1);
    uint64_t first = -n % n; /* 2^64 mod n: the values from here on are a whole number of times n */
    for (;;) {
        uint64_t x = fl_csprng_u64(r);
        if (x >= first)
            return x % n;
    }
}

unsigned fl_csprng_bit(fl_csprng *r)
{
    uint8_t x;
    fl_csprng_bytes(r, &x, 1);
    return x & 1;
}
