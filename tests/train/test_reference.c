/* Logits, loss and gradients against PyTorch in double precision (scripts/gen/layer_values_pytorch.py). */
#include "train/model.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOLERANCE 3e-5 /* of the largest value: float against double through a dozen layers */

static float value(uint32_t i, uint32_t salt, double scale)
{
    uint32_t mixed = i * 2654435761u + salt * 40503u;
    return (float)(((mixed >> 8) / 16777216.0 - 0.5) * scale);
}

typedef struct network {
    char name[100];
    const char *spec;
    char text[2000]; /* of the spec, unless it is an architecture's */
    unsigned c, h, w, classes, label;
    nn_model *model;
    float *weights, *g, *logits;
    double loss, norm, largest;
    size_t n, n_tensors;
} network;

/* The pass; `line` is "0 softmax", "1 binary", "0 squares NAME". */
static void compute(network *net, const char *line)
{
    static const char *const kinds[] = {"softmax", "binary", "squares"};
    fl_err err;
    nn_workspace *ws;
    float class_weights[32];
    char kind[20], at[NN_MAX_NAME] = "";
    unsigned is_weighted;
    assert_true(sscanf(line, "%u %19s %47s", &is_weighted, kind, at) >= 2);
    for (unsigned i = 0; i < 32; i++)
        class_weights[i] = 0.5f + (float)i;
    nn_aim aim = {.learn = "all", .at = *at ? at : NULL, .class_weights = is_weighted ? class_weights : NULL};
    while (strcmp(kinds[aim.loss], kind) != 0)
        aim.loss++;
    if (nn_model_create(&net->model, net->spec, net->c, net->h, net->w, net->classes, &err) != FL_OK ||
        nn_model_aim(net->model, &aim, &err) != FL_OK || nn_workspace_create(&ws, net->model, &err) != FL_OK)
        fail_msg("%s: %s", net->name, err.text);
    const size_t n_image = (size_t)net->c * net->h * net->w;
    float *image = calloc(n_image, sizeof *image);
    net->n = nn_model_n_weights(net->model);
    net->weights = calloc(net->n, sizeof(float));
    net->g = calloc(net->n, sizeof(float));
    net->logits = calloc(net->classes, sizeof(float));
    for (uint32_t i = 0; i < net->n; i++)
        net->weights[i] = value(i, 1, 0.7);
    for (uint32_t i = 0; i < n_image; i++)
        image[i] = value(i, 2, 3.0);
    nn_forward(net->model, ws, net->weights, net->logits, image);
    nn_gradient(net->model, ws, net->weights, net->g, &net->loss, image, net->label);
    double squares = 0;
    for (size_t i = 0; i < net->n; i++) {
        squares += (double)net->g[i] * net->g[i];
        net->largest = fmax(net->largest, fabsf(net->g[i]));
    }
    net->norm = sqrt(squares);
    free(image);
    nn_workspace_destroy(ws);
}

static void demolish(network *net)
{
    assert_int_equal(net->n_tensors, nn_model_n_tensors(net->model));
    free(net->weights);
    free(net->g);
    free(net->logits);
    nn_model_destroy(net->model);
    *net = (network){0};
}

static void expect_near(const char *name, const char *what, double ours, double theirs, double scale)
{
    if (!(fabs(ours - theirs) <= TOLERANCE * scale))
        fail_msg("%s: %s is %.9g, PyTorch has %.9g", name, what, ours, theirs);
}

static void check_logits(const network *net, char *numbers)
{
    char *rest = NULL, *word = strtok_r(numbers, " \n", &rest);
    for (uint32_t c = 0; c < nn_model_n_classes(net->model); c++, word = strtok_r(NULL, " \n", &rest)) {
        assert_non_null(word);
        expect_near(net->name, "a logit", net->logits[c], atof(word), 1 + fabs(atof(word)));
    }
    assert_null(word);
}

/* Name, size, sum, norm, first, middle and last value of the next tensor's gradient. */
static void check_tensor(network *net, char *line)
{
    char name[100];
    size_t size, at;
    double expected[5], sum = 0, squares = 0;
    assert_int_equal(sscanf(line, "%99s %zu %lf %lf %lf %lf %lf", name, &size, &expected[0], &expected[1], &expected[2],
                            &expected[3], &expected[4]),
                     7);
    assert_true(net->n_tensors < nn_model_n_tensors(net->model));
    nn_tensor t = nn_model_tensor(net->model, net->n_tensors++);
    assert_string_equal(t.name, name);
    assert_int_equal(t.size, size);
    for (at = t.offset; at < t.offset + t.size; at++) {
        sum += net->g[at];
        squares += (double)net->g[at] * net->g[at];
    }
    const double scale = expected[1] + net->largest; /* some gradients are zero but for rounding */
    expect_near(net->name, name, sum, expected[0], scale * sqrt((double)size));
    expect_near(net->name, name, sqrt(squares), expected[1], scale);
    expect_near(net->name, name, net->g[t.offset], expected[2], scale);
    expect_near(net->name, name, net->g[t.offset + size / 2], expected[3], scale);
    expect_near(net->name, name, net->g[t.offset + size - 1], expected[4], scale);
}

static void read_line(network *net, const char *word, char *rest)
{
    if (strcmp(word, "case") == 0) {
        *net = (network){0};
        snprintf(net->name, sizeof net->name, "%s", rest);
    } else if (strcmp(word, "spec") == 0) {
        snprintf(net->text, sizeof net->text, "%s", rest);
        for (char *at = net->text; *at; at++)
            *at = *at == ';' ? '\n' : *at;
        net->spec = net->text;
    } else if (strcmp(word, "architecture") == 0) {
        assert_non_null(net->spec = nn_architecture(rest));
    } else if (strcmp(word, "input") == 0) {
        assert_int_equal(sscanf(rest, "%u %u %u %u %u", &net->c, &net->h, &net->w, &net->classes, &net->label), 5);
    } else if (strcmp(word, "minimise") == 0) {
        compute(net, rest);
    } else if (strcmp(word, "weights") == 0) {
        assert_int_equal(net->n, (size_t)atol(rest));
    } else if (strcmp(word, "logits") == 0) {
        check_logits(net, rest);
    } else if (strcmp(word, "loss") == 0) {
        expect_near(net->name, "the loss", net->loss, atof(rest), 1 + fabs(atof(rest)));
    } else if (strcmp(word, "norm") == 0) {
        expect_near(net->name, "the gradient's norm", net->norm, atof(rest), atof(rest));
    } else if (strcmp(word, "g") == 0) {
        char *number;
        size_t at = strtoul(rest, &number, 10);
        assert_true(at < net->n);
        expect_near(net->name, "a gradient", net->g[at], atof(number), net->largest);
    } else if (strcmp(word, "t") == 0) {
        check_tensor(net, rest);
    } else if (strcmp(word, "end") == 0) {
        demolish(net);
    } else {
        fail_msg("unknown line %s", word);
    }
}

static void every_layer_and_architecture_gives_pytorchs_values(void **state)
{
    (void)state;
    static char line[4096];
    static network net;
    int n_cases = 0, n_expected = 0;
    FILE *f = fopen(CORDON_SOURCE_DIR "/tests/data/train/layer_values.txt", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char *rest = strchr(line, ' ');
        line[strcspn(line, "\n")] = '\0';
        if (rest)
            *rest++ = '\0';
        if (strcmp(line, "cases") == 0)
            n_expected = atoi(rest);
        else
            read_line(&net, line, rest);
        n_cases += strcmp(line, "end") == 0;
    }
    fclose(f);
    assert_int_equal(n_cases, n_expected);
    assert_true(n_cases >= 45);
}

static void named_architectures_build_and_have_their_size(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t channels, side, classes;
        size_t n_weights;
    } table[] = {
        {"cnn-small", 1, 64, 4, 241124},     {"cnn-tiny", 1, 32, 2, 6412},
        {"cnn-tanh", 1, 64, 2, 46226},       {"linear", 1, 64, 4, 4100},
        {"resnet18", 1, 64, 4, 11172292},    {"resnet18", 3, 224, 1000, 11689512},
        {"wrn16-4", 3, 32, 10, 2748890},     {"densenet", 1, 64, 4, 102760},
        {"scattering", 1, 64, 2, 20016},     {"scattering-drawn", 1, 28, 10, 43659},
        {"scattering-cnn", 1, 64, 2, 17522},
    };
    size_t n_names = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        nn_model *m;
        fl_err err;
        assert_non_null(nn_architecture(table[i].name));
        assert_int_equal(nn_model_create(&m, nn_architecture(table[i].name), table[i].channels, table[i].side,
                                         table[i].side, table[i].classes, &err),
                         FL_OK);
        assert_int_equal(nn_model_n_weights(m), table[i].n_weights);
        nn_model_destroy(m);
    }
    char names[200] = "";
    for (; nn_architecture_name(n_names); n_names++) {
        assert_non_null(nn_architecture(nn_architecture_name(n_names)));
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", n_names > 0 ? ", " : "",
                 nn_architecture_name(n_names));
    }
    assert_string_equal(names, nn_architecture_names);
    assert_null(nn_architecture("alexnet"));
    assert_null(nn_architecture(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_and_architecture_gives_pytorchs_values),
        cmocka_unit_test(named_architectures_build_and_have_their_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
