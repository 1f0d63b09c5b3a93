/*
 * fl_csprng - random bytes for noise, sampling of patients and keys: OpenSSL's private DRBG (RAND_priv_bytes: AES-256 in
 * counter mode, one per thread), in blocks. A request of a block or more goes straight into the caller's memory.
 *
 * There is no seed and no way to save or copy the state. The block is in memory that is locked, not dumped, and zeroed in
 * a forked child (crypto/secret.h), which therefore finds it empty; fini wipes it. Not thread-safe: one per thread.
 * OpenSSL failing to give bytes, or no memory for the block, is fatal (abort): noise is never weaker.
 */
#ifndef CRYPTO_CSPRNG_H
#define CRYPTO_CSPRNG_H

#include "crypto/secret.h"
#include <stddef.h>
#include <stdint.h>

#define FL_CSPRNG_BLOCK 4080

typedef struct fl_csprng_block { /* one page */
    uint64_t is_mine;            /* zero in a forked child */
    uint64_t used;               /* bytes already given out and wiped */
    uint8_t bytes[FL_CSPRNG_BLOCK];
} fl_csprng_block;

typedef struct fl_csprng {
    fl_secret memory;
    fl_csprng_block *block; /* in memory */
    int64_t pid_plus_1;
} fl_csprng;

void fl_csprng_init(fl_csprng *r);
void fl_csprng_fini(fl_csprng *r);
void fl_csprng_bytes(fl_csprng *r, void *bytes, size_t n);
uint64_t fl_csprng_u64(fl_csprng *r);
uint64_t fl_csprng_below(fl_csprng *r, uint64_t n); /* 0..n-1, n >= 1, by rejection: no bias */

/* Memory that the compiler may not skip wiping. */
void fl_wipe(void *bytes, size_t n);

#endif
