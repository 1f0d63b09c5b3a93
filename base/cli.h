/*
 * fl_cli - a program is a table of subcommands; a subcommand is a table of options and a function.
 *
 * Built on argp (--help, --version, abbreviations, --opt=value). Output of a command goes to cli->out and messages to
 * cli->err, never straight to stdout: a command may run inside a live daemon that answers through the control socket.
 * Wrong usage is exit code 2 with one line and a hint at --help.
 */
#ifndef BASE_CLI_H
#define BASE_CLI_H

#include "base/buf.h"
#include <stdio.h>

#define FL_CLI_MAX_OPTIONS 24
#define FL_CLI_MAX_ARGS    65536

typedef struct fl_cli_option {
    const char *name;  /* "dir" for --dir; a name of one letter is short: "o" for -o */
    const char *value; /* "DIR", or NULL for a flag */
    const char *help;
    bool required;
} fl_cli_option;

typedef struct fl_cli fl_cli;

typedef struct fl_cli_command {
    const char *name;             /* "data add": one or two words */
    const char *args;             /* "PATH...", for the usage line; "" when there are none */
    const char *help;             /* one line */
    const fl_cli_option *options; /* ends with a zeroed row; NULL when there are none */
    int min_args, max_args;       /* max_args -1: any number */
    int (*run)(fl_cli *cli);      /* returns the exit code */
    const void *context;          /* the program's own, for example how the command may reach a live folder */
} fl_cli_command;

struct fl_cli {
    const char *program;
    const fl_cli_command *command;
    const char *values[FL_CLI_MAX_OPTIONS]; /* NULL: not given; a flag: "" */
    char **args;
    int n_args;
    FILE *out, *err;
    void *user; /* what main or the daemon passes on */
};

/* argv[0] is the program's name. commands end with a zeroed row. user goes to cli->user. */
int fl_cli_main(const char *program, const char *summary, const fl_cli_command *commands, int argc, char **argv,
                void *user);
/* The same without touching the process: for the daemon. Never exits; out and err receive everything. */
int fl_cli_run(const char *program, const fl_cli_command *commands, int argc, char **argv, FILE *out, FILE *err,
               void *user);

const char *fl_cli_value(const fl_cli *cli, const char *name); /* NULL: not given. Asserts that the option exists */
bool fl_cli_flag(const fl_cli *cli, const char *name);
/* Decimal integer in [min, max], or *out unchanged when the option was not given. */
fl_code fl_cli_int(const fl_cli *cli, const char *name, int64_t *out, int64_t min, int64_t max,
                   fl_err *err) FL_MUST_USE;
fl_code fl_cli_real(const fl_cli *cli, const char *name, double *out, double min, double max, fl_err *err) FL_MUST_USE;

/* Prints "program: message" on cli->err and returns fl_exit_code(err->code). */
int fl_cli_fail(fl_cli *cli, const fl_err *err);

#endif
