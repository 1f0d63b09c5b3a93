#include "base/cli.h"

#include "base/log.h"
#include "base/nearest.h"

#include <argp.h>
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define KEY_OPTION  0x1000 /* + index into the command's table; above every character */
#define KEY_HELP    0x2000
#define KEY_VERSION 0x2001

typedef struct parse {
    fl_cli cli;
    bool wants_help, wants_version;
    bool failed; /* the line about it is written */
} parse;

static void complain(const fl_cli *cli, const char *hint, const char *format, ...) FL_PRINTF(3, 4);

/* "program: what is wrong: try 'program hint --help'" */
static void complain(const fl_cli *cli, const char *hint, const char *format, ...)
{
    fl_buf text;
    fl_err err;
    va_list args;
    va_start(args, format);
    char what[sizeof err.text];
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    fl_buf_init(&text, sizeof err.text);
    fl_buf_printf(&text, "%s%s%s", cli->program, *hint ? " " : "", hint);
    (void)fl_fail(&err, FL_EFORMAT, "%.380s: try '%s --help'", what, fl_buf_text(&text));
    fprintf(cli->err, "%s: %s\n", cli->program, err.text);
    fl_buf_fini(&text);
}

static size_t count_options(const fl_cli_command *command)
{
    size_t n = 0;
    while (command->options && command->options[n].name)
        n++;
    assert(n <= FL_CLI_MAX_OPTIONS);
    return n;
}

/* "--dir", and "-o" for a name of one letter. */
static const char *dashes(const char *name)
{
    return name[1] ? "--" : "-";
}

static error_t take(int key, char *value, struct argp_state *state)
{
    parse *p = state->input;
    fl_cli *cli = &p->cli;
    if (key == KEY_HELP)
        p->wants_help = true;
    else if (key == KEY_VERSION)
        p->wants_version = true;
    else if (key == ARGP_KEY_ARG)
        cli->args[cli->n_args++] = value;
    else {
        size_t n = count_options(cli->command), i = 0;
        while (i < n && key != KEY_OPTION + (int)i &&
               !(cli->command->options[i].name[1] == 0 && key == cli->command->options[i].name[0]))
            i++;
        if (i == n)
            return ARGP_ERR_UNKNOWN;
        const fl_cli_option *option = &cli->command->options[i];
        if (cli->values[i]) {
            complain(cli, cli->command->name, "%s%s: stands twice", dashes(option->name), option->name);
            p->failed = true;
            return EINVAL;
        }
        cli->values[i] = value ? value : "";
    }
    return 0;
}

typedef struct argp_table {
    struct argp_option options[FL_CLI_MAX_OPTIONS + 3];
    char help[FL_CLI_MAX_OPTIONS][200]; /* with "(required)" */
    struct argp argp;
} argp_table;

static void fill_table(argp_table *t, const fl_cli_command *command)
{
    memset(t, 0, sizeof *t);
    size_t n = count_options(command);
    for (size_t i = 0; i < n; i++) {
        const fl_cli_option *o = &command->options[i];
        bool is_letter = o->name[1] == 0;
        snprintf(t->help[i], sizeof t->help[i], "%s%s", o->help ? o->help : "", o->required ? " (required)" : "");
        t->options[i] = (struct argp_option){.name = is_letter ? NULL : o->name,
                                             .key = is_letter ? o->name[0] : KEY_OPTION + (int)i,
                                             .arg = o->value,
                                             .doc = t->help[i]};
    }
    t->options[n] = (struct argp_option){.name = "help", .key = KEY_HELP, .doc = "This text", .group = -1};
    t->options[n + 1] = (struct argp_option){.name = "version", .key = KEY_VERSION, .doc = "The version", .group = -1};
    t->argp = (struct argp){
        .options = t->options,
        .parser = take,
        .args_doc = command->args && *command->args ? command->args : NULL,
        .doc = command->help,
    };
}

/* The option that a word like --di=D means, the way getopt_long reads it; *n_fits: how many it could mean. */
static const fl_cli_option *resolve(const fl_cli_command *command, const char *word, size_t *n_fits)
{
    static const fl_cli_option common[] = {{.name = "help"}, {.name = "version"}};
    size_t n = count_options(command), dash = strspn(word, "-");
    size_t length = dash == 1 ? 1 : strcspn(word + dash, "=");
    const fl_cli_option *found = NULL;
    *n_fits = 0;
    for (size_t i = 0; i < n + 2; i++) {
        const fl_cli_option *o = i < n ? &command->options[i] : &common[i - n];
        size_t full = strlen(o->name);
        if ((dash == 1) != (full == 1) || length > full || memcmp(o->name, word + dash, length) != 0)
            continue;
        found = o;
        ++*n_fits;
        if (length == full) {
            *n_fits = 1;
            break;
        }
    }
    return found;
}

/* What is wrong with this word; false when nothing is. *skip: its value is the next word. */
static bool complain_about_word(const parse *p, const char *word, bool is_last, bool *skip)
{
    const fl_cli *cli = &p->cli;
    const fl_cli_command *command = cli->command;
    size_t n_fits, dash = strspn(word, "-"), length = dash == 1 ? 1 : strcspn(word + dash, "=");
    const fl_cli_option *o = resolve(command, word, &n_fits);
    bool has_value = word[dash + length] != 0;
    int shown = length < 80 ? (int)(dash + length) : 80;
    *skip = o && o->value && !has_value;
    if (n_fits > 1)
        complain(cli, command->name, "%.*s: may mean several options", shown, word);
    else if (o && *skip && is_last)
        complain(cli, command->name, "%s%s: needs a value (%s)", dashes(o->name), o->name, o->value);
    else if (o && !o->value && has_value)
        complain(cli, command->name, "%s%s: takes no value", dashes(o->name), o->name);
    else if (!o) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", length < 63 ? (int)length : 63, word + dash);
        fl_nearest nearest = {.word = name};
        for (size_t i = 0; i < count_options(command); i++)
            fl_nearest_try(&nearest, command->options[i].name);
        const char *best = fl_nearest_best(&nearest);
        complain(cli, command->name, "%.*s: there is no such option%s%s%s%s", shown, word,
                 best ? ": did you mean " : "", best ? dashes(best) : "", best ? best : "", best ? "?" : "");
    } else
        return false;
    return true;
}

/* argp is kept silent, since it writes to the process's stderr, and then does not tell which word it disliked. */
static void explain(const parse *p, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        bool skip;
        if (argv[i][0] != '-' || argv[i][1] == 0)
            continue;
        if (complain_about_word(p, argv[i], i + 1 == argc, &skip))
            return;
        i += skip;
    }
    complain(&p->cli, p->cli.command->name, "options: cannot be read");
}

static bool check_given(const parse *p)
{
    const fl_cli *cli = &p->cli;
    const fl_cli_command *command = cli->command;
    for (size_t i = 0; i < count_options(command); i++) {
        const fl_cli_option *o = &command->options[i];
        if (o->required && !cli->values[i]) {
            complain(cli, command->name, "%s%s%s%s: is missing", dashes(o->name), o->name, o->value ? " " : "",
                     o->value ? o->value : "");
            return false;
        }
    }
    if (cli->n_args < command->min_args) {
        complain(cli, command->name, "%s: %d given, expected %s%d",
                 command->args && *command->args ? command->args : "arguments", cli->n_args,
                 command->max_args == command->min_args ? "" : "at least ", command->min_args);
        return false;
    }
    if (command->max_args >= 0 && cli->n_args > command->max_args) {
        complain(cli, command->name, "'%.80s': one argument too many", cli->args[command->max_args]);
        return false;
    }
    return true;
}

static void print_version(const parse *p)
{
    fprintf(p->cli.out, "%s %s\n", p->cli.program, CORDON_VERSION);
}

/* argv[0] is the last word of the command. */
static int run_command(parse *p, int argc, char **argv)
{
    const fl_cli_command *command = p->cli.command;
    if (argc > FL_CLI_MAX_ARGS) {
        complain(&p->cli, command->name, "arguments: %d given, expected at most %d", argc, FL_CLI_MAX_ARGS);
        return fl_exit_code(FL_EFORMAT);
    }
    argp_table *table = malloc(sizeof *table);
    p->cli.args = calloc((size_t)argc + 1, sizeof *p->cli.args);
    int exit_code = fl_exit_code(FL_EENV);
    if (!table || !p->cli.args) {
        fprintf(p->cli.err, "%s: no memory left\n", p->cli.program);
        goto out;
    }
    fill_table(table, command);
    /* In order: arguments are not moved about in the caller's argv, and POSIXLY_CORRECT changes nothing. */
    unsigned flags = ARGP_NO_EXIT | ARGP_NO_ERRS | ARGP_NO_HELP | ARGP_IN_ORDER;
    exit_code = fl_exit_code(FL_EFORMAT);
    if (argp_parse(&table->argp, argc, argv, flags, NULL, p) != 0) {
        if (!p->failed)
            explain(p, argc, argv);
    } else if (p->wants_help) {
        char name[128];
        snprintf(name, sizeof name, "%s %s", p->cli.program, command->name);
        argp_help(&table->argp, p->cli.out, ARGP_HELP_SHORT_USAGE | ARGP_HELP_PRE_DOC | ARGP_HELP_LONG, name);
        exit_code = 0;
    } else if (p->wants_version) {
        print_version(p);
        exit_code = 0;
    } else if (check_given(p))
        exit_code = command->run(&p->cli);
out:
    free(p->cli.args);
    free(table);
    return exit_code;
}

/* How many of the words are the command's name: 0 when it is not this command. */
static int match(const char *name, int argc, char **argv)
{
    const char *space = strchr(name, ' ');
    if (!space)
        return argc > 0 && strcmp(argv[0], name) == 0 ? 1 : 0;
    size_t n = (size_t)(space - name);
    bool same = argc > 1 && strlen(argv[0]) == n && memcmp(argv[0], name, n) == 0 && strcmp(argv[1], space + 1) == 0;
    return same ? 2 : 0;
}

/* "data" is a group when there are "data add" and "data list". */
static bool in_group(const char *name, const char *word)
{
    size_t n = strlen(word);
    return strncmp(name, word, n) == 0 && name[n] == ' ';
}

static void list_commands(const parse *p, const char *summary, const fl_cli_command *commands, const char *group)
{
    FILE *out = p->cli.out;
    int width = 0;
    for (const fl_cli_command *c = commands; c->name; c++) {
        if ((!group || in_group(c->name, group)) && (int)strlen(c->name) > width)
            width = (int)strlen(c->name);
    }
    fprintf(out, "Usage: %s %s%sCOMMAND [OPTION...]\n", p->cli.program, group ? group : "", group ? " " : "");
    if (summary)
        fprintf(out, "%s\n", summary);
    fputs("\n", out);
    for (const fl_cli_command *c = commands; c->name; c++) {
        if (!group || in_group(c->name, group))
            fprintf(out, "  %-*s  %s\n", width, c->name, c->help ? c->help : "");
    }
    fprintf(out, "\n'%s COMMAND --help' lists the options of a command; '%s --version' prints the version.\n",
            p->cli.program, p->cli.program);
}

static void complain_about_command(const parse *p, const fl_cli_command *commands, int argc, char **argv)
{
    char typed[128];
    bool is_group = false;
    for (const fl_cli_command *c = commands; c->name; c++)
        is_group |= in_group(c->name, argv[0]);
    bool two = argc > 1 && argv[1][0] != '-';
    snprintf(typed, sizeof typed, "%.60s%s%.60s", argv[0], is_group && two ? " " : "", is_group && two ? argv[1] : "");
    if (is_group && !two) {
        fl_buf list;
        fl_buf_init(&list, 300);
        for (const fl_cli_command *c = commands; c->name; c++) {
            if (in_group(c->name, argv[0]))
                fl_buf_printf(&list, "%s%s", list.size ? ", " : "", c->name + strlen(argv[0]) + 1);
        }
        complain(&p->cli, "", "%s: needs one of: %s", typed, fl_buf_text(&list));
        fl_buf_fini(&list);
        return;
    }
    fl_nearest nearest = {.word = typed};
    for (const fl_cli_command *c = commands; c->name; c++)
        fl_nearest_try(&nearest, c->name);
    const char *best = fl_nearest_best(&nearest);
    complain(&p->cli, "", "%s: there is no such command%s%s%s", typed, best ? ": did you mean '" : "", best ? best : "",
             best ? "'?" : "");
}

static int dispatch(parse *p, const char *summary, const fl_cli_command *commands, int argc, char **argv)
{
    argc = argc > 0 ? argc - 1 : 0;
    argv++;
    if (argc == 0) {
        complain(&p->cli, "", "a command is missing");
        return fl_exit_code(FL_EFORMAT);
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-?") == 0) {
        list_commands(p, summary, commands, NULL);
        return 0;
    }
    if (strcmp(argv[0], "--version") == 0) {
        print_version(p);
        return 0;
    }
    const fl_cli_command *best = NULL;
    int n_words = 0;
    for (const fl_cli_command *c = commands; c->name; c++) {
        int n = match(c->name, argc, argv);
        if (n > n_words) {
            best = c;
            n_words = n;
        }
    }
    if (best) {
        p->cli.command = best;
        return run_command(p, argc - n_words + 1, argv + n_words - 1);
    }
    for (const fl_cli_command *c = commands; c->name && argc > 1; c++) {
        if (in_group(c->name, argv[0]) && strcmp(argv[1], "--help") == 0) {
            list_commands(p, NULL, commands, argv[0]);
            return 0;
        }
    }
    complain_about_command(p, commands, argc, argv);
    return fl_exit_code(FL_EFORMAT);
}

int fl_cli_run(const char *program, const fl_cli_command *commands, int argc, char **argv, FILE *out, FILE *err,
               void *user)
{
    parse p = {.cli = {.program = program, .out = out, .err = err, .user = user}};
    return dispatch(&p, NULL, commands, argc, argv);
}

int fl_cli_main(const char *program, const char *summary, const fl_cli_command *commands, int argc, char **argv,
                void *user)
{
    fl_log_program(program);
    parse p = {.cli = {.program = program, .out = stdout, .err = stderr, .user = user}};
    int exit_code = dispatch(&p, summary, commands, argc, argv);
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "%s: output: cannot be written: %s\n", program, errno ? strerror(errno) : "an error before");
        if (exit_code == 0)
            exit_code = fl_exit_code(FL_EENV);
    }
    return exit_code;
}

const char *fl_cli_value(const fl_cli *cli, const char *name)
{
    for (size_t i = 0; i < count_options(cli->command); i++) {
        if (strcmp(cli->command->options[i].name, name) == 0)
            return cli->values[i];
    }
    assert(!"an option of this command");
    return NULL;
}

bool fl_cli_flag(const fl_cli *cli, const char *name)
{
    return fl_cli_value(cli, name) != NULL;
}

static bool is_decimal(const char *text, const char *also)
{
    text += *text == '-';
    bool digits = *text >= '0' && *text <= '9';
    return digits && text[strspn(text, also)] == 0;
}

fl_code fl_cli_int(const fl_cli *cli, const char *name, int64_t *out, int64_t min, int64_t max, fl_err *err)
{
    const char *text = fl_cli_value(cli, name);
    if (!text)
        return FL_OK;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (!is_decimal(text, "0123456789") || *end || errno || value < min || value > max)
        return fl_fail(err, FL_EFORMAT, "%s%s: is '%.60s', expected a whole number from %lld to %lld", dashes(name),
                       name, text, (long long)min, (long long)max);
    *out = value;
    return FL_OK;
}

fl_code fl_cli_real(const fl_cli *cli, const char *name, double *out, double min, double max, fl_err *err)
{
    const char *text = fl_cli_value(cli, name);
    if (!text)
        return FL_OK;
    char *end;
    double value = strtod(text, &end);
    if (!is_decimal(text, "0123456789.eE+-") || *end || !isfinite(value) || value < min || value > max)
        return fl_fail(err, FL_EFORMAT, "%s%s: is '%.60s', expected a number from %.15g to %.15g", dashes(name), name,
                       text, min, max);
    *out = value;
    return FL_OK;
}

int fl_cli_fail(fl_cli *cli, const fl_err *err)
{
    fprintf(cli->err, "%s: %s\n", cli->program, err->text);
    return fl_exit_code(err->code);
}
