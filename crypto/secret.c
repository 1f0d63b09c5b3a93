#include "crypto/secret.h"

#include "base/log.h"
#include "crypto/csprng.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define HUGE ((size_t)1 << 21)

static void warn_once(atomic_bool *was_said, const char *what, size_t size, int error)
{
    if (atomic_exchange(was_said, true))
        return;
    struct rlimit limit = {0};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    fl_log(FL_WARN, "memory", "%s bytes=%zu limit=%llu cause=\"%s\"", what, size, (unsigned long long)limit.rlim_cur,
           strerror(error));
}

fl_code fl_secret_init(fl_secret *s, size_t size_bytes, fl_err *err)
{
    static atomic_bool said_unlocked, said_kept;
    *s = (fl_secret){.size = size_bytes > 0 ? size_bytes : 1};
    void *bytes = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        return fl_fail(err, FL_EENV, "memory: %zu bytes asked for, not there", size_bytes);
    s->bytes = bytes;
    s->is_dropped_on_fork = madvise(bytes, s->size, MADV_WIPEONFORK) == 0;
    if (!s->is_dropped_on_fork)
        warn_once(&said_kept, "secrets are not dropped on fork", s->size, errno);
    if (madvise(bytes, s->size, MADV_DONTDUMP) != 0)
        warn_once(&said_kept, "secrets are not kept out of core files", s->size, errno);
    if (s->size >= HUGE)
        madvise(bytes, s->size, MADV_HUGEPAGE); /* a wish: long vectors are walked through, page after page */
    /* Each page as it comes into use: what is never touched takes neither time nor memory. */
    s->is_locked = mlock2(bytes, s->size, MLOCK_ONFAULT) == 0;
    if (!s->is_locked)
        warn_once(&said_unlocked, "secrets are not locked, raise LimitMEMLOCK or have no swap", s->size, errno);
    return FL_OK;
}

void fl_secret_wipe(fl_secret *s)
{
    fl_wipe(s->bytes, s->size);
}

void fl_secret_fini(fl_secret *s)
{
    if (!s)
        return;
    if (s->bytes) {
        fl_secret_wipe(s);
        munmap(s->bytes, s->size); /* which unlocks it */
    }
    *s = (fl_secret){0};
}
