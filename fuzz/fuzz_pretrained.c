/* Weights of other people: what is taken is finite, and a refusal changes nothing. */
#include "train/pretrained.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N 367

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static nn_model *model;
    static const float start[N];
    static float w[N];
    fl_buf report;
    if (!model && nn_model_create(&model,
                                  "conv 3x3 4 pad 1 nobias as conv1\ngroupnorm 2 as bn1\nrelu\nmaxpool 2\n"
                                  "conv 3x3 8 pad 1 as layer1.0.conv\ntanh\nglobalpool\nlinear classes as fc",
                                  1, 12, 12, 3, NULL))
        abort();
    assert(nn_model_n_weights(model) == N);
    for (int channels = NN_CHANNELS_SUM; channels <= NN_CHANNELS_REFUSE; channels++) {
        memset(w, 0, sizeof w);
        fl_buf_init(&report, 1 << 20);
        const fl_code rc = nn_pretrained_take(w, model, (nn_channels)channels, data, size, &report, NULL);
        assert(rc == FL_OK || memcmp(w, start, sizeof w) == 0);
        for (size_t i = 0; i < N; i++)
            assert(isfinite(w[i]));
        for (size_t i = 0; i < report.size; i++)
            assert(report.bytes[i] == '\n' || (report.bytes[i] >= 0x20 && report.bytes[i] < 0x7f));
        fl_buf_fini(&report);
    }
    return 0;
}
