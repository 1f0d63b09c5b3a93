/*
 * fl_csprng - random bytes for noise, sampling of patients and keys: OpenSSL's private DRBG (RAND_priv_bytes), read
 * in blocks. There is no seed and no way to save or copy the state: fini wipes the block, and a forked child finds it
 * empty. Not thread-safe: one per thread. OpenSSL failing to give bytes is fatal (abort): noise is never weaker.
 */
#ifndef CRYPTO_CSPRNG_H
#define CRYPTO_CSPRNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct fl_csprng {
    uint8_t block[4096];
    size_t used; /* bytes of block already given out and wiped */
    int64_t pid_plus_1;
} fl_csprng;

void fl_csprng_init(fl_csprng *r);
void fl_csprng_fini(fl_csprng *r);
void fl_csprng_bytes(fl_csprng *r, void *bytes, size_t n);
uint64_t fl_csprng_u64(fl_csprng *r);
uint64_t fl_csprng_below(fl_csprng *r, uint64_t n); /* 0..n-1, n >= 1, by rejection: no bias */
unsigned fl_csprng_bit(fl_csprng *r);

/* Memory that the compiler may not skip wiping. */
void fl_wipe(void *bytes, size_t n);

#endif
