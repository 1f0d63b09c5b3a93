/* Model files that the tests make, and commands run on them. */
#ifndef TESTS_NODE_MODEL_FILE_H
#define TESTS_NODE_MODEL_FILE_H

#include "base/json.h"
#include "node/commands.h"
#include "node/commands_parts.h"
#include "tests/node/images.h"
#include "train/safetensors.h"

/* A model of this text with these weights, of classes joined by commas. */
static inline void make_model(const char *path, const char *spec, nn_shape input, const char *classes, bool multi,
                              const float *w)
{
    nn_facts f = {.study = "chest-1", .round = 7, .input = input, .is_multi = multi};
    nn_model *m;
    fl_buf file;
    fl_err err;
    char list[200], *at = list, *name;
    snprintf(list, sizeof list, "%s", classes);
    while ((name = strsep(&at, ",")))
        snprintf(f.classes[f.n_classes++], sizeof f.classes[0], "%s", name);
    memset(f.plan_hash, 'a', 64);
    snprintf(f.spec, sizeof f.spec, "%s", spec);
    assert_ok(nn_model_create(&m, spec, input.C, input.H, input.W, f.n_classes, &err), err);
    fl_buf_init(&file, 1 << 24);
    assert_ok(nn_safetensors_write(&file, m, w, &f, &err), err);
    assert_ok(fl_file_write(path, file.bytes, file.size, 0600, &err), err);
    fl_buf_fini(&file);
    nn_model_destroy(m);
}

typedef struct answer {
    int code;
    char *out, *err;
} answer;

static inline void forget(answer *a)
{
    free(a->out);
    free(a->err);
    *a = (answer){0};
}

/* cordon-node with these words, the last one NULL. */
static inline answer run(char *const *words)
{
    answer a = {0};
    size_t n_out, n_err;
    int argc = 0;
    char *argv[256] = {"cordon-node"};
    for (argc = 1; words[argc - 1]; argc++)
        argv[argc] = words[argc - 1];
    FILE *out = open_memstream(&a.out, &n_out), *err = open_memstream(&a.err, &n_err);
    node_words typed = {argc, argv};
    a.code = fl_cli_run("cordon-node", node_commands, argc, argv, out, err, &typed);
    fclose(out);
    fclose(err);
    return a;
}
#define RUN(...) run((char *const[]){__VA_ARGS__, NULL})

static inline void expect_code(const answer *a, int code)
{
    if (a->code != code)
        fail_msg("exit %d, expected %d:\n%s%s", a->code, code, a->out, a->err);
}

static inline void expect_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

static inline fl_json *json_of(const answer *a)
{
    fl_json *j = NULL;
    fl_err err;
    assert_ok(fl_json_parse(&j, a->out, strlen(a->out), "answer", &err), err);
    return j;
}

#endif
