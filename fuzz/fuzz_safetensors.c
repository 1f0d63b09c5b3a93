/* Model files from outside: what is taken has finite weights. */
#include "train/safetensors.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static nn_model *model;
    static float w[178];
    char hash[65];
    if (!model &&
        nn_model_create(&model, "conv 3x3 4 pad 1\ngroupnorm 2\nrelu\navgpool 2\nlinear classes", 1, 8, 8, 2, NULL))
        abort();
    assert(nn_model_n_weights(model) == 178);
    if (nn_safetensors_read(w, hash, model, data, size, NULL) == FL_OK) {
        for (size_t i = 0; i < 178; i++)
            assert(isfinite(w[i]));
    }
    nn_model_file f;
    if (nn_model_file_read(&f, data, size, NULL) == FL_OK) {
        for (size_t i = 0; i < nn_model_n_weights(f.model); i++)
            assert(isfinite(f.w[i]));
        assert(f.facts.n_classes == nn_model_n_classes(f.model));
        nn_model_file_close(&f);
    }
    return 0;
}
