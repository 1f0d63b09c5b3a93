/*
 * fl_secret - memory for what must not outlive its use: noise, sums of patients' gradients, random bytes.
 *
 *     locked            mlock: it never reaches the swap
 *     not dumped        MADV_DONTDUMP: not in a core file
 *     dropped on fork   MADV_WIPEONFORK: a child finds zeros
 *     wiped             by fini, before it goes back to the system
 *
 * Whole pages of their own, zeroed; huge ones where the system has them. When RLIMIT_MEMLOCK is too small, or the kernel
 * lacks one of these, the memory is given out all the same and a warning is logged, once per process: a hospital's round is
 * not lost for it, and the swap of a hospital's computer should be off or encrypted anyway (docs/operations.md). is_locked
 * and is_dropped_on_fork say what was had. There is no way to write it to a file, and whoever serialises its contents
 * serialises noise.
 *
 * Not thread-safe in itself; the memory may be shared by threads.
 */
#ifndef CRYPTO_SECRET_H
#define CRYPTO_SECRET_H

#include "base/err.h"
#include <stdbool.h>

typedef struct fl_secret {
    void *bytes; /* aligned to a page */
    size_t size;
    bool is_locked, is_dropped_on_fork;
} fl_secret;

fl_code fl_secret_init(fl_secret *s, size_t size_bytes, fl_err *err) FL_MUST_USE; /* FL_EENV: no memory */
void fl_secret_wipe(fl_secret *s);                                                /* zeros now; the memory stays */
void fl_secret_fini(fl_secret *s);

#endif
