/* A model out to safetensors and back; what is not exactly this model's file is refused. */
#include "train/safetensors.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct made {
    nn_plan plan;
    nn_facts facts;
    nn_model *model;
    float w[400];
    fl_buf file;
    size_t header;
} made;

static int make(void **state)
{
    made *k = calloc(1, sizeof *k);
    fl_err err;
    strcpy(k->plan.spec, "conv 3x3 4 pad 1\ngroupnorm 2\nrelu\navgpool 2\nlinear classes");
    k->plan.n_classes = 2;
    strcpy(k->plan.classes[0], "normal");
    strcpy(k->plan.classes[1], "pneumonia");
    memset(k->plan.hash.bytes, 0xab, sizeof k->plan.hash.bytes);
    strcpy(k->plan.name, "chest-1");
    k->plan.channels = 1, k->plan.height = k->plan.width = 8;
    nn_facts_of(&k->facts, &k->plan, 7);
    assert_int_equal(nn_model_create(&k->model, k->plan.spec, 1, 8, 8, 2, &err), FL_OK);
    assert_int_equal(nn_model_n_weights(k->model), 40 + 8 + 130);
    for (size_t i = 0; i < nn_model_n_weights(k->model); i++)
        k->w[i] = (float)i / 7 - 3;
    fl_buf_init(&k->file, 1 << 20);
    assert_int_equal(nn_safetensors_write(&k->file, k->model, k->w, &k->facts, &err), FL_OK);
    k->header = k->file.bytes[0] | (size_t)k->file.bytes[1] << 8;
    *state = k;
    return 0;
}

static int unmake(void **state)
{
    made *k = *state;
    nn_model_destroy(k->model);
    fl_buf_fini(&k->file);
    free(k);
    return 0;
}

static fl_code read_back(const made *k, const uint8_t *bytes, size_t n, fl_err *err)
{
    float w[400];
    char hash[65];
    uint8_t *copy = malloc(n + 1); /* of exactly this size, so that the sanitizer sees a step outside */
    memcpy(copy, bytes, n);
    fl_code rc = nn_safetensors_read(w, hash, k->model, copy, n, err);
    free(copy);
    return rc;
}

static void the_file_gives_back_the_weights_and_the_plans_hash(void **state)
{
    const made *k = *state;
    float w[400];
    char hash[65];
    fl_err err;
    assert_int_equal(k->header % 8, 0);
    assert_int_equal(k->file.size, 8 + k->header + 4 * 178);
    if (nn_safetensors_read(w, hash, k->model, k->file.bytes, k->file.size, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_memory_equal(w, k->w, 178 * sizeof *w);
    assert_int_equal(strlen(hash), 64);
    assert_int_equal(strspn(hash, "ab"), 64);
    /* names and shapes as torch.nn.Sequential has them */
    const char *header = (const char *)k->file.bytes + 8;
    assert_non_null(strstr(header, "\"0.weight\":{\"data_offsets\":[0,144],\"dtype\":\"F32\",\"shape\":[4,1,3,3]}"));
    assert_non_null(strstr(header, "\"0.bias\":{\"data_offsets\":[144,160],\"dtype\":\"F32\",\"shape\":[4]}"));
    assert_non_null(strstr(header, "\"4.weight\":{\"data_offsets\":[192,704],\"dtype\":\"F32\",\"shape\":[2,64]}"));
    assert_non_null(strstr(header, "\"classes\":\"normal,pneumonia\""));
}

static void the_file_alone_gives_the_model_and_its_facts(void **state)
{
    const made *k = *state;
    nn_model_file f;
    fl_err err;
    if (nn_model_file_read(&f, k->file.bytes, k->file.size, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_int_equal(nn_model_n_weights(f.model), 178);
    assert_memory_equal(f.w, k->w, 178 * sizeof *k->w);
    assert_memory_equal(&f.facts, &k->facts, sizeof f.facts);
    assert_string_equal(f.facts.study, "chest-1");
    assert_int_equal(f.facts.round, 7);
    assert_string_equal(f.facts.classes[1], "pneumonia");
    nn_model_file_close(&f);
    for (size_t n = 0; n < k->file.size; n++)
        assert_int_equal(nn_model_file_read(&f, k->file.bytes, n, NULL), FL_EFORMAT);
    assert_int_equal(nn_model_file_open(&f, "/nowhere/model.safetensors", &err), FL_ENOTFOUND);
}

/* `from` in the metadata becomes `to`, of the same length. */
static void not_a_model(const made *k, const char *from, const char *to, const char *words)
{
    nn_model_file f;
    fl_err err = {0};
    uint8_t *copy = malloc(k->file.size + 1);
    memcpy(copy, k->file.bytes, k->file.size + 1);
    char *at = strstr((char *)copy + 8, from);
    assert_non_null(at);
    assert_int_equal(strlen(from), strlen(to));
    memcpy(at, to, strlen(to));
    assert_int_equal(nn_model_file_read(&f, copy, k->file.size, &err), FL_EFORMAT);
    assert_null(f.model);
    if (!strstr(err.text, words))
        fail_msg("%s: %s", to, err.text);
    free(copy);
}

static void facts_that_lie_are_refused(void **state)
{
    const made *k = *state;
    not_a_model(k, "\"cordon\":\"1\"", "\"cordon\":\"2\"", "newer program");
    not_a_model(k, "\"cordon\"", "\"gordon\"", "has no cordon");
    not_a_model(k, "\"1x8x8\"", "\"2x8x8\"", "input");
    not_a_model(k, "\"1x8x8\"", "\"3x8x8\"", "shape");
    not_a_model(k, "\"1x8x8\"", "\"1x8x7\"", "input");
    not_a_model(k, "\"1x8x8\"", "\"1x8 8\"", "input");
    not_a_model(k, "normal,pneumonia", "normal_pneumonia", "classes");
    not_a_model(k, "normal,pneumonia", ",ormal,pneumonia", "classes");
    not_a_model(k, "normal,pneumonia", "normal,pne,monia", "tensors");
    not_a_model(k, "\"labels\":\"single\"", "\"labels\":\"singly\"", "labels");
    not_a_model(k, "\"round\":\"7\"", "\"round\":\"-\"", "round");
    not_a_model(k, "chest-1", "chest 1", "study");
    not_a_model(k, "abababab", "abababaB", "plan_hash");
    not_a_model(k, "groupnorm 2", "groupnorm 3", "3 groups do not divide");
    not_a_model(k, "groupnorm 2", "groupnurm 2", "unknown kind");
}

static void truncated_files_are_refused(void **state)
{
    const made *k = *state;
    fl_err err;
    for (size_t n = 0; n < k->file.size; n++)
        assert_int_equal(read_back(k, k->file.bytes, n, &err), FL_EFORMAT);
}

/* `from` in the header becomes `to`, of the same length. */
static void refused(const made *k, const char *from, const char *to, const char *words)
{
    fl_err err = {0};
    uint8_t *copy = malloc(k->file.size + 1);
    memcpy(copy, k->file.bytes, k->file.size + 1);
    char *at = strstr((char *)copy + 8, from);
    assert_non_null(at);
    assert_int_equal(strlen(from), strlen(to));
    memcpy(at, to, strlen(to));
    assert_int_equal(read_back(k, copy, k->file.size, &err), FL_EFORMAT);
    if (!strstr(err.text, words))
        fail_msg("%s: %s", to, err.text);
    free(copy);
}

static void headers_that_lie_are_refused(void **state)
{
    const made *k = *state;
    refused(k, "\"F32\"", "\"F16\"", "data_offsets");
    refused(k, "\"F32\"", "\"I32\"", "type is I32");
    refused(k, "[4,1,3,3]", "[4,3,1,3]", "shape");
    refused(k, "[4,1,3,3]", "[4,1,3.0]", "shape");
    refused(k, "[0,144]", "[4,148]", "overlap");
    refused(k, "[0,144]", "[0,140]", "data_offsets");
    refused(k, "[0,144]", "[9,144]", "data_offsets");
    refused(k, "[144,160]", "[704,720]", "data_offsets");
    refused(k, "[144,160]", "[-16,000]", "header");
    refused(k, "\"0.bias\"", "\"0.bios\"", "0.bias");
    refused(k, "\"0.bias\"", "\"1.bias\"", "header");
    refused(k, "\"dtype\"", "\"dtipe\"", "no dtype");
    refused(k, "abababab", "abababax", "plan hash");
}

static void values_that_are_not_finite_are_refused(void **state)
{
    const made *k = *state;
    fl_err err;
    uint8_t *copy = malloc(k->file.size);
    memcpy(copy, k->file.bytes, k->file.size);
    copy[k->file.size - 1] = 0x7f;
    copy[k->file.size - 2] = 0x80;
    copy[k->file.size - 3] = copy[k->file.size - 4] = 0;
    assert_int_equal(read_back(k, copy, k->file.size, &err), FL_EFORMAT);
    assert_non_null(strstr(err.text, "4.bias"));
    free(copy);
}

static void another_length_of_the_header_is_refused(void **state)
{
    const made *k = *state;
    fl_err err;
    uint8_t *copy = malloc(k->file.size + 8);
    for (int byte = 0; byte < 8; byte++) {
        memcpy(copy, k->file.bytes, k->file.size);
        copy[byte] ^= 0x81;
        assert_int_equal(read_back(k, copy, k->file.size, &err), FL_EFORMAT);
    }
    memcpy(copy, k->file.bytes, k->file.size);
    assert_int_equal(read_back(k, copy, k->file.size + 4, &err), FL_EFORMAT); /* bytes after the last tensor */
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_file_gives_back_the_weights_and_the_plans_hash, make, unmake),
        cmocka_unit_test_setup_teardown(the_file_alone_gives_the_model_and_its_facts, make, unmake),
        cmocka_unit_test_setup_teardown(facts_that_lie_are_refused, make, unmake),
        cmocka_unit_test_setup_teardown(truncated_files_are_refused, make, unmake),
        cmocka_unit_test_setup_teardown(headers_that_lie_are_refused, make, unmake),
        cmocka_unit_test_setup_teardown(values_that_are_not_finite_are_refused, make, unmake),
        cmocka_unit_test_setup_teardown(another_length_of_the_header_is_refused, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
