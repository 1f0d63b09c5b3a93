/* Weights from other people's files: what is taken gives PyTorch's answers, what differs is in the report, what lies is
 * refused. The files are PyTorch's: scripts/gen/pretrained_pytorch.py. */
#include "base/file.h"
#include "train/pretrained.h"
#include "train/safetensors.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER    CORDON_SOURCE_DIR "/tests/data/train/pretrained/"
#define N_WEIGHTS 367 /* 36 + 8 + 296 + 27 */
#define N_HEAD    27

static const char spec[] = "conv 3x3 4 pad 1 nobias as conv1\n"
                           "groupnorm 2 as bn1\n"
                           "relu\n"
                           "maxpool 2\n"
                           "conv 3x3 8 pad 1 as layer1.0.conv\n"
                           "tanh\n"
                           "globalpool\n"
                           "linear classes as fc\n";

typedef struct start {
    nn_model *model;
    float w[N_WEIGHTS], before[N_WEIGHTS];
    fl_buf report;
} start;

static int make(void **state)
{
    start *s = calloc(1, sizeof *s);
    fl_err err;
    if (nn_model_create(&s->model, spec, 1, 12, 12, 3, &err))
        fail_msg("%s", err.text);
    assert_int_equal(nn_model_n_weights(s->model), N_WEIGHTS);
    for (size_t i = 0; i < N_WEIGHTS; i++)
        s->w[i] = s->before[i] = (float)i / 64 - 3;
    fl_buf_init(&s->report, 1 << 16);
    *state = s;
    return 0;
}

static int unmake(void **state)
{
    start *s = *state;
    nn_model_destroy(s->model);
    fl_buf_fini(&s->report);
    free(s);
    return 0;
}

static fl_code read_file(start *s, const char *name, nn_channels channels, fl_err *err)
{
    char path[300];
    snprintf(path, sizeof path, "%s%s.safetensors", FOLDER, name);
    fl_buf file;
    fl_buf_init(&file, NN_PRETRAINED_MAX_BYTES);
    fl_code rc = fl_file_read(&file, path, err);
    if (rc == FL_OK)
        rc = nn_pretrained_take(s->w, s->model, channels, file.bytes, file.size, &s->report, err);
    fl_buf_fini(&file);
    return rc;
}

static void expect(const start *s, const char *words)
{
    if (!strstr(fl_buf_text(&s->report), words))
        fail_msg("not in the report: %s\n%s", words, fl_buf_text(&s->report));
}

static void forward(const start *s, const nn_model *m, float *logits)
{
    float image[144];
    nn_workspace *ws;
    assert_int_equal(nn_workspace_create(&ws, m, NULL), FL_OK);
    for (uint32_t i = 0; i < 144; i++)
        image[i] = (float)((double)(i * 2654435761u >> 8) / (1 << 24) - 0.5);
    nn_forward(m, ws, s->w, logits, image);
    nn_workspace_destroy(ws);
}

/* The numbers behind a file's name in logits.txt. */
static void torch_says(double *out, size_t n, const char *name)
{
    char line[400];
    FILE *f = fopen(FOLDER "logits.txt", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        const size_t length = strlen(name);
        if (strncmp(line, name, length) != 0 || line[length] != ' ')
            continue;
        char *at = line + length;
        for (size_t i = 0; i < n; i++)
            out[i] = strtod(at, &at);
        fclose(f);
        return;
    }
    fail_msg("%s is not in logits.txt", name);
}

static void every_type_gives_what_torch_computes(void **state)
{
    static const char *const names[] = {"plain-f32", "plain-f64", "plain-f16", "plain-bf16"};
    start *s = *state;
    fl_err err;
    for (size_t i = 0; i < 4; i++) {
        float logits[3];
        double theirs[3];
        if (read_file(s, names[i], NN_CHANNELS_REFUSE, &err))
            fail_msg("%s", err.text);
        forward(s, s->model, logits);
        torch_says(theirs, 3, names[i]);
        for (int c = 0; c < 3; c++) {
            if (fabs(logits[c] - theirs[c]) > 2e-6)
                fail_msg("%s: logit %d is %.9g, PyTorch's is %.9g", names[i], c, logits[c], theirs[c]);
        }
    }
    expect(s, "7 of the model's 7 tensors are taken, 367 of 367 weights.\n");
}

static void torchvisions_file_fits_but_for_its_head(void **state)
{
    start *s = *state;
    fl_err err;
    double features[8];
    float logits[3];
    if (read_file(s, "colour", NN_CHANNELS_SUM, &err))
        fail_msg("%s", err.text);
    expect(s, "conv1.weight                              4x1x3x3           4x3x3x3           summed");
    expect(s, "fc.weight                                 3x8               5x8               the head");
    expect(s, "fc.bias                                   3                 5                 the head");
    expect(s, "module.bn1.running_mean                   -                 4 F32             not used");
    expect(s, "module.bn1.num_batches_tracked            -                 one value I64     not used");
    expect(s, "\n5 of the model's 7 tensors are taken, 340 of 367 weights.\n");
    assert_memory_equal(s->w + N_WEIGHTS - N_HEAD, s->before + N_WEIGHTS - N_HEAD, N_HEAD * sizeof *s->w);
    forward(s, s->model, logits);
    torch_says(features, 8, "colour");
    for (int c = 0; c < 3; c++) {
        double logit = s->w[N_WEIGHTS - 3 + c];
        for (int k = 0; k < 8; k++)
            logit += features[k] * s->w[N_WEIGHTS - N_HEAD + 8 * c + k];
        assert_true(fabs(logits[c] - logit) < 1e-5);
    }
}

static void what_does_not_fit_is_refused_with_a_report(void **state)
{
    start *s = *state;
    fl_err err;
    assert_int_equal(read_file(s, "colour", NN_CHANNELS_REFUSE, &err), FL_EREFUSED);
    if (!strstr(err.text, "conv1.weight is 4x1x3x3, the file's is 4x3x3x3"))
        fail_msg("%s", err.text);
    expect(s, "4x3x3x3           does not fit: pretrained_channels is refuse\n");
    expect(s, "\n0 of the model's 7 tensors are taken");
    assert_memory_equal(s->w, s->before, sizeof s->w);
}

static void our_own_export_starts_another_study(void **state)
{
    start *s = *state;
    fl_err err;
    static nn_facts f = {.study = "one", .input = {1, 12, 12}, .n_classes = 3, .classes = {"a", "b", "c"}};
    fl_buf file;
    float w[N_WEIGHTS];
    fl_buf_init(&file, 1 << 16);
    strcpy(f.spec, spec);
    assert_int_equal(nn_safetensors_write(&file, s->model, s->w, &f, &err), FL_OK);
    memset(w, 0, sizeof w);
    assert_int_equal(nn_pretrained_take(w, s->model, NN_CHANNELS_SUM, file.bytes, file.size, &s->report, &err), FL_OK);
    assert_memory_equal(w, s->w, sizeof w);
    assert_string_equal(fl_buf_text(&s->report), "7 of the model's 7 tensors are taken, 367 of 367 weights.\n");
    fl_buf_fini(&file);
}

/* --- files spelled here ---------------------------------------------------------------------------------------- */

/* Header and data as a file, for the model "linear classes as fc" on 1x1x2 and two classes. */
static fl_code take_text(const char *header, const void *data, size_t n_data, float w[6], fl_err *err)
{
    nn_model *m;
    fl_buf report;
    const size_t n = strlen(header);
    uint8_t *bytes = calloc(1, 8 + n + n_data); /* of exactly this size, so that the sanitizer sees a step outside */
    assert_int_equal(nn_model_create(&m, "linear classes as fc", 1, 1, 2, 2, NULL), FL_OK);
    bytes[0] = (uint8_t)n, bytes[1] = (uint8_t)(n >> 8);
    memcpy(bytes + 8, header, n);
    memcpy(bytes + 8 + n, data, n_data);
    fl_buf_init(&report, 1 << 16);
    fl_code rc = nn_pretrained_take(w, m, NN_CHANNELS_SUM, bytes, 8 + n + n_data, &report, err);
    fl_buf_fini(&report);
    nn_model_destroy(m);
    free(bytes);
    return rc;
}

#define BIAS "\"fc.bias\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]}"

static void halves_are_exact(void **state)
{
    (void)state;
    /* the least subnormal, the largest one, the least normal number, the largest; -0, -2 */
    static const uint8_t halves[] = {0x01, 0x00, 0xff, 0x03, 0x00, 0x04, 0xff, 0x7b, 0x00, 0x80, 0x00, 0xc0};
    float w[6];
    fl_err err;
    const char *header = "{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]}," BIAS "}";
    if (take_text(header, halves, 12, w, &err))
        fail_msg("%s", err.text);
    assert_true(w[0] == 0x1p-24f && w[1] == 1023 * 0x1p-24f && w[2] == 0x1p-14f && w[3] == 65504);
    assert_true(w[4] == 0 && signbit(w[4]) && w[5] == -2);
    static const uint8_t infinite[12] = {[7] = 0x7c}, nan[12] = {[6] = 1, [7] = 0xfc};
    assert_int_equal(take_text(header, infinite, 12, w, &err), FL_EFORMAT);
    assert_non_null(strstr(err.text, "fc.weight: value 3 is not finite"));
    assert_int_equal(take_text(header, nan, 12, w, &err), FL_EFORMAT);
}

static void headers_that_lie_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header, *words;
        fl_code code;
    } cases[] = {
        {"{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]}," BIAS "}", "", FL_OK},
        {"{\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,8]}," BIAS "}", "data_offsets",
         FL_EFORMAT},
        {"{\"fc.weight\":{\"dtype\":\"I16\",\"shape\":[2,2],\"data_offsets\":[0,8]}," BIAS "}", "type is I16",
         FL_EFORMAT},
        {"{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,8]}," BIAS "}", "data_offsets",
         FL_EFORMAT},
        {"{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[2,-2],\"data_offsets\":[0,8]}," BIAS "}", "its shape is not one",
         FL_EFORMAT},
        {"{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[4294967295,4294967295,4294967295],\"data_offsets\":[0,8]}," BIAS
         "}",
         "its shape is not one", FL_EFORMAT},
        {"{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[2,2,1,1,1,1,1,1,1],\"data_offsets\":[0,8]}," BIAS "}",
         "its shape is not one", FL_EFORMAT},
        {"{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,9]}," BIAS "}", "data_offsets",
         FL_EFORMAT},
        {"{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[8,16]}," BIAS "}", "data_offsets",
         FL_EFORMAT},
        {"{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[2,10]}," BIAS "}", "overlap", FL_EFORMAT},
        {"{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[8,0]}," BIAS "}", "data_offsets",
         FL_EFORMAT},
        {"{\"fc.weight\":{\"dtype\":\"F16\",\"shape\":[2,2]}," BIAS "}", "not described", FL_EFORMAT},
        {"{\"fc.weight\":[]," BIAS "}", "not described", FL_EFORMAT},
        {"{" BIAS "," BIAS "}", "header", FL_EFORMAT},
        {"[]", "no object", FL_EFORMAT},
        {"{" BIAS, "header", FL_EFORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static const uint8_t data[12];
        float w[6];
        fl_err err = {0};
        const fl_code rc = take_text(cases[i].header, data, 12, w, &err);
        if (rc != cases[i].code || !strstr(err.text, cases[i].words))
            fail_msg("%s: %d %s", cases[i].header, rc, err.text);
    }
}

static void a_file_of_something_else_is_refused(void **state)
{
    start *s = *state;
    fl_err err;
    uint8_t data[4] = {0};
    float w[6];
    assert_int_equal(take_text("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", data, 4, w, &err),
                     FL_EREFUSED);
    assert_non_null(strstr(err.text, "no tensor has a name and a shape of it"));
    assert_int_equal(take_text("{}", data, 0, w, &err), FL_EREFUSED);
    static const uint8_t words[] = "the logits of five files";
    assert_int_equal(nn_pretrained_take(s->w, s->model, NN_CHANNELS_SUM, words, sizeof words, NULL, &err), FL_EFORMAT);
    assert_memory_equal(s->w, s->before, sizeof s->w);
}

static void no_cut_file_is_taken(void **state)
{
    start *s = *state;
    fl_buf file;
    fl_buf_init(&file, 1 << 16);
    assert_int_equal(fl_file_read(&file, FOLDER "plain-f32.safetensors", NULL), FL_OK);
    for (size_t n = 0; n < file.size; n += n < 700 ? 1 : 97) {
        uint8_t *cut = malloc(n + 1);
        memcpy(cut, file.bytes, n);
        assert_int_equal(nn_pretrained_take(s->w, s->model, NN_CHANNELS_SUM, cut, n, NULL, NULL), FL_EFORMAT);
        free(cut);
    }
    fl_buf_add(&file, "more", 4);
    assert_int_equal(nn_pretrained_take(s->w, s->model, NN_CHANNELS_SUM, file.bytes, file.size, NULL, NULL),
                     FL_EFORMAT);
    assert_memory_equal(s->w, s->before, sizeof s->w);
    fl_buf_fini(&file);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make, unmake)
    const struct CMUnitTest tests[] = {
        TEST(every_type_gives_what_torch_computes),
        TEST(torchvisions_file_fits_but_for_its_head),
        TEST(what_does_not_fit_is_refused_with_a_report),
        TEST(our_own_export_starts_another_study),
        TEST(halves_are_exact),
        TEST(headers_that_lie_are_refused),
        TEST(a_file_of_something_else_is_refused),
        TEST(no_cut_file_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
