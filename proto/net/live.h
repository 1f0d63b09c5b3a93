/*
 * A command on a folder whose program is running is executed by that program: the command line travels through the
 * control socket, the answer is exit code, standard output and standard error. So there is one implementation of a
 * command, and one process at a time that touches the state.
 *
 * request   u32 LE count of texts, then each text: the caller's working folder, then argv[1..]; each as u32 length, bytes
 * reply     u32 LE exit code, u32 length of out, out, rest: err
 */
#ifndef PROTO_NET_LIVE_H
#define PROTO_NET_LIVE_H

#include "base/cli.h"
#include "proto/net/control.h"

/* Asks the program that runs on dir to execute the command. Returns its exit code with its output copied to out and
 * err, or -1 when none runs there. */
int wire_live_call(const char *dir, const char *program, int argc, char **argv, FILE *out, FILE *err);

/* In the running program's event loop: executes a request and answers the ticket. commands: those allowed on a live
 * folder. Changes the working folder to the caller's for the time of the command: the program's own paths are
 * absolute. */
void wire_live_answer(wire_control *control, uint64_t ticket, const uint8_t *bytes, size_t n, const char *program,
                      const fl_cli_command *commands, void *user);

#endif
