/*
 * Architectures by name. docs/layers.md says what each is for.
 */
#include "train/model.h"
#include <string.h>

const char nn_architecture_names[] = "cnn-small, cnn-tiny, linear";

static const char cnn_small[] = "conv 3x3 32 pad 1 nobias\n"
                                "groupnorm 8\n"
                                "relu\n"
                                "conv 3x3 64 stride 2 pad 1 nobias\n"
                                "groupnorm 8\n"
                                "relu\n"
                                "conv 3x3 128 stride 2 pad 1 nobias\n"
                                "groupnorm 8\n"
                                "relu\n"
                                "conv 3x3 128 stride 2 pad 1 nobias\n"
                                "groupnorm 8\n"
                                "relu\n"
                                "globalpool\n"
                                "linear classes\n";

static const char cnn_tiny[] = "groupnorm 1\n"
                               "conv 5x5 12 stride 2 pad 2\n"
                               "groupnorm 4\n"
                               "relu\n"
                               "conv 3x3 16 stride 2 pad 1\n"
                               "groupnorm 4\n"
                               "relu\n"
                               "conv 3x3 24 stride 2 pad 1\n"
                               "groupnorm 8\n"
                               "relu\n"
                               "linear classes\n";

static const char linear[] = "avgpool 2\n"
                             "linear classes\n";

const char *nn_architecture(const char *name)
{
    static const struct {
        const char *name, *spec;
    } known[] = {{"cnn-small", cnn_small}, {"cnn-tiny", cnn_tiny}, {"linear", linear}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) == 0)
            return known[i].spec;
    }
    return NULL;
}
