/* Model specs from outside, and a pass through those that are small. */
#include "train/model.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_WEIGHTS   20000
#define MAX_WORKSPACE 1000000
#define MAX_FLOPS     10000000

static void pass(const nn_model *m)
{
    static float w[MAX_WEIGHTS], g[MAX_WEIGHTS], image[3 * 9 * 11];
    nn_workspace *ws;
    double loss;
    if (nn_model_n_weights(m) > MAX_WEIGHTS || nn_model_flops(m) > MAX_FLOPS ||
        nn_workspace_create(&ws, m, NULL) != FL_OK)
        return;
    if (nn_workspace_size(ws) <= MAX_WORKSPACE) {
        for (size_t i = 0; i < sizeof image / sizeof *image; i++)
            image[i] = (float)(i % 13) - 6;
        nn_model_init_weights(m, w, 1);
        nn_gradient(m, ws, w, g, &loss, image, 1);
    }
    nn_workspace_destroy(ws);
}

/* A text has one hash, and so has the text with a remark after it. */
static void same_again(const nn_model *m, const char *spec)
{
    static const char remark[] = "\n # the end";
    nn_model *again;
    char *longer = malloc(strlen(spec) + sizeof remark);
    if (!longer)
        return;
    strcat(strcpy(longer, spec), remark);
    if (nn_model_create(&again, longer, 3, 9, 11, 2, NULL) == FL_OK) {
        fl_hash a = nn_model_hash(m), b = nn_model_hash(again);
        assert(memcmp(&a, &b, sizeof a) == 0);
        nn_model_destroy(again);
    }
    free(longer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nn_model *m;
    fl_err err;
    char *spec = malloc(size + 1);
    if (!spec)
        return 0;
    memcpy(spec, data, size);
    spec[size] = '\0';
    if (nn_model_create(&m, spec, 3, 9, 11, 2, &err) == FL_OK) {
        size_t at = 0;
        for (size_t i = 0; i < nn_model_n_tensors(m); i++) {
            nn_tensor t = nn_model_tensor(m, i);
            assert(t.offset == at);
            at += t.size;
        }
        assert(at == nn_model_n_weights(m));
        same_again(m, spec);
        pass(m);
        nn_model_destroy(m);
    }
    free(spec);
    return 0;
}
