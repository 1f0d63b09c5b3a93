/*
 * What every long-running program does the same: being told to stop, and telling that it serves.
 *
 * Libraries have threads from before main that block no signal, so a blocked signal and sigwait would not do: a handler
 * runs on whichever thread gets it and posts a semaphore, and a thread of ours carries that into the inbox.
 */
#ifndef BASE_SERVICE_H
#define BASE_SERVICE_H

#include "base/inbox.h"

/* From now on each SIGTERM or SIGINT posts an item of this kind; SIGPIPE is ignored. One per process. */
fl_code fl_signals_start(fl_inbox *inbox, int kind, fl_err *err) FL_MUST_USE;
/* Nothing is posted after this returned. Harmless when nothing was started. */
void fl_signals_stop(void);

/* No core file and no other process of this user sees the memory of this one: it holds patients' images and gradients. As
 * much of it may be locked as the hard limit allows. */
void fl_keep_memory_private(void);

/* Writes the line "ready" to a file or a waiting pipe: the program answers from now on. */
fl_code fl_say_ready(const char *path, fl_err *err) FL_MUST_USE;

#endif
