#include "crypto/csprng.h"

#include <assert.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <unistd.h>

enum { REQUEST_MAX = 1 << 16 }; /* the DRBG's own limit for one request */
static const uint64_t MINE = 0x636f72646f6e2121;

/*
 * A child must never give out what its parent will give out. Three things see to it: the kernel zeroes the block in the
 * child, is_mine included; the pid that belongs to this process is kept here and set anew in every child by the fork
 * handler, for kernels that do not; and OpenSSL's DRBG seeds itself anew when it finds another pid. Asking the kernel
 * before each of millions of draws would be dear; each refill asks all the same.
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
    if (n == 0)
        return;
    memset(bytes, 0, n);
    __asm__ volatile("" : : "r"(bytes) : "memory"); /* somebody may read it: the zeros must be there */
}

static noreturn void give_up(const char *why)
{
    fprintf(stderr, "random numbers: %s\n", why);
    abort();
}

static void fetch(void *bytes, size_t n)
{
    for (uint8_t *at = bytes; n > 0;) {
        size_t k = n < REQUEST_MAX ? n : REQUEST_MAX;
        if (RAND_priv_bytes(at, (int)k) != 1)
            give_up("OpenSSL gives none");
        at += k;
        n -= k;
    }
}

/* An empty block of this process. */
static void forget(fl_csprng *r)
{
    fl_wipe(r->block, sizeof *r->block);
    r->block->is_mine = MINE;
    r->block->used = FL_CSPRNG_BLOCK;
    r->pid_plus_1 = (int64_t)getpid() + 1;
}

void fl_csprng_init(fl_csprng *r)
{
    fl_err err;
    pthread_once(&once, watch_forks);
    if (fl_secret_init(&r->memory, sizeof *r->block, &err) != FL_OK)
        give_up(err.text);
    r->block = r->memory.bytes;
    forget(r);
}

void fl_csprng_fini(fl_csprng *r)
{
    if (!r)
        return;
    fl_secret_fini(&r->memory);
    fl_wipe(r, sizeof *r);
}

static void refill(fl_csprng *r)
{
    forget(r);
    fetch(r->block->bytes, FL_CSPRNG_BLOCK);
    r->block->used = 0;
    atomic_store_explicit(&own_pid, r->pid_plus_1 - 1, memory_order_relaxed);
}

void fl_csprng_bytes(fl_csprng *r, void *bytes, size_t n)
{
    assert(r->pid_plus_1 > 0); /* initialised, and not yet wiped */
    fl_csprng_block *block = r->block;
    if (block->is_mine != MINE || r->pid_plus_1 != atomic_load_explicit(&own_pid, memory_order_relaxed) + 1)
        forget(r);
    assert(block->used <= FL_CSPRNG_BLOCK);
    if (n >= FL_CSPRNG_BLOCK) {
        fetch(bytes, n);
        return;
    }
    uint8_t *out = bytes;
    while (n) {
        if (block->used == FL_CSPRNG_BLOCK)
            refill(r);
        size_t left = FL_CSPRNG_BLOCK - block->used;
        size_t k = n < left ? n : left;
        memcpy(out, block->bytes + block->used, k);
        memset(block->bytes + block->used, 0, k);
        __asm__ volatile("" : : "r"(block) : "memory"); /* the wipe above has to happen */
        block->used += k;
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
