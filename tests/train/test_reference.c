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
    nn_model *model;
    nn_workspace *ws;
    float *w, *g, *image, *logits;
    double loss, norm, largest;
    size_t n;
} network;

static void build(network *net, char *spec, const char *input, char *name)
{
    unsigned c, h, w, classes, label;
    fl_err err;
    assert_int_equal(sscanf(input, "%u %u %u %u %u", &c, &h, &w, &classes, &label), 5);
    for (char *at = spec; *at; at++)
        *at = *at == ';' ? '\n' : *at;
    if (nn_model_create(&net->model, spec, c, h, w, classes, &err) != FL_OK)
        fail_msg("%s: %s", name, err.text);
    net->n = nn_model_n_weights(net->model);
    assert_int_equal(nn_workspace_create(&net->ws, net->model, &err), FL_OK);
    net->w = calloc(net->n, sizeof(float));
    net->g = calloc(net->n, sizeof(float));
    net->image = calloc((size_t)c * h * w, sizeof(float));
    net->logits = calloc(classes, sizeof(float));
    for (uint32_t i = 0; i < net->n; i++)
        net->w[i] = value(i, 1, 0.7);
    for (uint32_t i = 0; i < c * h * w; i++)
        net->image[i] = value(i, 2, 3.0);
    nn_forward(net->model, net->ws, net->w, net->logits, net->image);
    nn_gradient(net->model, net->ws, net->w, net->g, &net->loss, net->image, label);
    double squares = 0;
    for (size_t i = 0; i < net->n; i++) {
        squares += (double)net->g[i] * net->g[i];
        net->largest = fmax(net->largest, fabsf(net->g[i]));
    }
    net->norm = sqrt(squares);
}

static void demolish(network *net)
{
    free(net->w);
    free(net->g);
    free(net->image);
    free(net->logits);
    nn_workspace_destroy(net->ws);
    nn_model_destroy(net->model);
    *net = (network){0};
}

static void expect_near(const char *name, const char *what, double ours, double theirs, double scale)
{
    if (!(fabs(ours - theirs) <= TOLERANCE * scale))
        fail_msg("%s: %s is %.9g, PyTorch has %.9g", name, what, ours, theirs);
}

static void check_logits(const network *net, const char *name, char *numbers)
{
    char *rest = NULL, *word = strtok_r(numbers, " \n", &rest);
    for (uint32_t c = 0; c < nn_model_n_classes(net->model); c++, word = strtok_r(NULL, " \n", &rest)) {
        assert_non_null(word);
        expect_near(name, "a logit", net->logits[c], atof(word), 1 + fabs(atof(word)));
    }
    assert_null(word);
}

static void every_layer_gives_pytorchs_values(void **state)
{
    (void)state;
    char line[4096], name[200] = "", spec[2000] = "";
    network net = {0};
    int n_cases = 0, n_values = 0;
    FILE *f = fopen(CORDON_SOURCE_DIR "/tests/data/train/layer_values.txt", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char *rest = strchr(line, ' ');
        line[strcspn(line, "\n")] = '\0';
        if (rest)
            *rest++ = '\0';
        if (strcmp(line, "case") == 0)
            snprintf(name, sizeof name, "%s", rest);
        else if (strcmp(line, "spec") == 0)
            snprintf(spec, sizeof spec, "%s", rest);
        else if (strcmp(line, "input") == 0)
            build(&net, spec, rest, name);
        else if (strcmp(line, "weights") == 0)
            assert_int_equal(net.n, (size_t)atol(rest));
        else if (strcmp(line, "logits") == 0)
            check_logits(&net, name, rest);
        else if (strcmp(line, "loss") == 0)
            expect_near(name, "the loss", net.loss, atof(rest), 1 + fabs(atof(rest)));
        else if (strcmp(line, "norm") == 0)
            expect_near(name, "the gradient's norm", net.norm, atof(rest), atof(rest));
        else if (strcmp(line, "g") == 0) {
            char *number;
            size_t at = strtoul(rest, &number, 10);
            assert_true(at < net.n);
            expect_near(name, "a gradient", net.g[at], atof(number), net.largest);
            n_values++;
        } else if (strcmp(line, "end") == 0) {
            demolish(&net);
            n_cases++;
        } else {
            fail_msg("unknown line %s", line);
        }
    }
    fclose(f);
    assert_int_equal(n_cases, 16);
    assert_true(n_values > 600);
}

static void named_architectures_build_and_cnn_tiny_is_small(void **state)
{
    (void)state;
    nn_model *m;
    fl_err err;
    assert_int_equal(nn_model_create(&m, nn_architecture("cnn-small"), 1, 64, 64, 4, &err), FL_OK);
    assert_int_equal(nn_model_n_weights(m), 240608 + 4 * 128 + 4);
    nn_model_destroy(m);
    for (uint32_t side = 32; side <= 64; side += 32) {
        for (uint32_t classes = 2; classes <= 4; classes++) {
            assert_int_equal(nn_model_create(&m, nn_architecture("cnn-tiny"), 1, side, side, classes, &err), FL_OK);
            if (side == 32 || classes == 2)
                assert_true(nn_model_n_weights(m) <= 10000);
            nn_model_destroy(m);
            assert_int_equal(nn_model_create(&m, nn_architecture("linear"), 1, side, side, classes, &err), FL_OK);
            nn_model_destroy(m);
        }
    }
    assert_null(nn_architecture("resnet18"));
    assert_null(nn_architecture(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_gives_pytorchs_values),
        cmocka_unit_test(named_architectures_build_and_cnn_tiny_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
