/*
 * What comes from outside (files, peers, people) fails with an fl_code and a sentence.
 *
 * A function that can fail returns an fl_code, which the compiler objects to ignoring, and fills an fl_err (may be NULL)
 * with a message of the form  <thing>: <what is wrong>[: <what to do>].  A message never says anything about a patient.
 * The code decides the exit code of a program (fl_exit_code).
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

typedef enum fl_code {
    FL_OK = 0,
    FL_EREFUSED,  /* understood, and refused; a check failed        exit 1 */
    FL_EFORMAT,   /* unreadable input, wrong usage                  exit 2 */
    FL_ENOTFOUND, /* a thing the user named does not exist          exit 2 */
    FL_EENV,      /* disk, network, permission, memory              exit 3 */
    FL_EBUSY,     /* somebody else holds it; try again              exit 3 */
} fl_code;

typedef struct fl_err {
    fl_code code;
    char text[480];
} fl_err;

#define FL_MUST_USE     __attribute__((warn_unused_result))
#define FL_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* For functions that have nothing to clean up. */
#define FL_TRY(call)                                                                                                   \
    do {                                                                                                               \
        fl_code fl_try_code_ = (call);                                                                                 \
        if (fl_try_code_)                                                                                              \
            return fl_try_code_;                                                                                       \
    } while (0)

/* Fills err (NULL is fine) and returns code. An argument may point into err->text.
 * The message is one line: control characters become '?'. */
fl_code fl_fail(fl_err *err, fl_code code, const char *format, ...) FL_PRINTF(3, 4);

/* Puts "prefix: " before the message that is in err; returns err->code. */
fl_code fl_fail_in(fl_err *err, const char *format, ...) FL_PRINTF(2, 3);

/* 0 done, 1 refused or a check failed, 2 wrong usage or unreadable input, 3 environment. */
int fl_exit_code(fl_code code);

#endif
