/*
 * coord_run - the coordinator as a program: TLS port, control socket, timers, one event loop.
 *
 *     threads of nng --- copies ---> inbox ---> the loop: host, enrolment, commands ---> replies by ticket
 *
 * Only the loop's thread touches store and host. Who may connect is asked on threads of nng and answered from a list in
 * memory behind a mutex, made anew after each enrolment and revocation. SIGTERM and SIGINT end it; what was under way
 * is resumed by the next start.
 */
#ifndef COORDINATOR_RUN_H
#define COORDINATOR_RUN_H

#include "base/err.h"

/* Serves DIR until told to stop: FL_OK. notify: a file, or a waiting pipe, that gets the line "ready" once it serves; may
 * be NULL. FL_EBUSY: another process holds the folder; FL_EENV: a port that is taken. */
fl_code coord_run(const char *dir, const char *notify, fl_err *err) FL_MUST_USE;

#endif
