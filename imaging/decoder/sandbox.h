/*
 * sandbox - the walls of the decoder child. From img_sandbox_enter on the process can read, write and map memory, and
 * nothing else: opening a file, a socket, a process or a signal kills it (SIGSYS). Everything that needs a file (the
 * DICOM dictionary, codecs, shared libraries) must have been loaded before.
 *
 * img_sandbox_limits first: 1 GiB of address space, 600 s of processor time, 8 open files, no core file, no new
 * privileges, not dumpable, dies with its parent. Address space, dumpability and the filter are off in sanitizer
 * builds (CORDON_SANITIZED), whose runtime needs more.
 */
#ifndef IMAGING_DECODER_SANDBOX_H
#define IMAGING_DECODER_SANDBOX_H

#include <stdbool.h>

bool img_sandbox_limits(void); /* false: the kernel refused; errno says why */
bool img_sandbox_enter(void);

#endif
