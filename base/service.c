#include "base/service.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static sem_t told;
static atomic_bool over;
static bool started;
static pthread_t thread;
static fl_inbox *to;
static int kind_posted;

static void on_signal(int number)
{
    const int saved = errno;
    (void)number;
    sem_post(&told); /* the one thing that a handler may do here */
    errno = saved;
}

static void *carry(void *ctx)
{
    (void)ctx;
    for (;;) {
        while (sem_wait(&told) != 0)
            ;
        if (atomic_load(&over))
            return NULL;
        while (!fl_inbox_post(to, kind_posted, 0, NULL, 0, NULL) && !atomic_load(&over))
            sched_yield(); /* full: the loop is emptying it */
    }
}

fl_code fl_signals_start(fl_inbox *inbox, int kind, fl_err *err)
{
    const struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, ignore = {.sa_handler = SIG_IGN};
    to = inbox;
    kind_posted = kind;
    atomic_store(&over, false);
    if (sem_init(&told, 0, 0) != 0 || pthread_create(&thread, NULL, carry, NULL) != 0)
        return fl_fail(err, FL_EENV, "run: cannot start a thread: %s", strerror(errno));
    started = true;
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    return FL_OK;
}

void fl_signals_stop(void)
{
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    if (!started)
        return;
    sigaction(SIGTERM, &usual, NULL);
    sigaction(SIGINT, &usual, NULL);
    atomic_store(&over, true);
    sem_post(&told);
    pthread_join(thread, NULL);
    started = false; /* the semaphore stays: a handler may still be running on another thread */
}

void fl_keep_memory_private(void)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0); /* also where cores go to a program instead of a file */
    struct rlimit lock;
    if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0) {
        lock.rlim_cur = lock.rlim_max;
        setrlimit(RLIMIT_MEMLOCK, &lock);
    }
}

fl_code fl_say_ready(const char *path, fl_err *err)
{
    static const char line[] = "ready\n";
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    const bool ok = fd >= 0 && write(fd, line, sizeof line - 1) == (ssize_t)(sizeof line - 1);
    if (!ok)
        (void)fl_fail(err, FL_EENV, "%s: cannot be told that the program is ready: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok ? FL_OK : FL_EENV;
}
