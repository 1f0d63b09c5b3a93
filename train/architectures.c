/*
 * Architectures by name. docs/layers.md says what each is for and how many weights it has.
 */
#include "train/model.h"
#include <string.h>

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

/* Papernot et al. 2020 */
static const char cnn_tanh[] = "conv 8x8 16 stride 2 pad 3\n"
                               "tanh\n"
                               "maxpool 2\n"
                               "conv 4x4 32 stride 2\n"
                               "tanh\n"
                               "maxpool 2 stride 1\n"
                               "linear 32\n"
                               "tanh\n"
                               "linear classes\n";

/* torchvision.models.resnet18 and its names, with GroupNorm(32) in the place of BatchNorm2d */
#define RESIDUAL(name, channels, stride)                                                                               \
    "conv 3x3 " channels stride " pad 1 nobias as " name ".conv1\n"                                                    \
    "groupnorm 32 as " name ".bn1\n"                                                                                   \
    "relu\n"                                                                                                           \
    "conv 3x3 " channels " pad 1 nobias as " name ".conv2\n"                                                           \
    "groupnorm 32 as " name ".bn2\n"
#define RESIDUAL_SAME(name, channels, from)                                                                            \
    RESIDUAL(name, channels, "")                                                                                       \
    "add " from "\n"                                                                                                   \
    "relu as " name "\n"
#define RESIDUAL_DOWN(name, channels, from)                                                                            \
    RESIDUAL(name, channels, " stride 2")                                                                              \
    "conv 1x1 " channels " stride 2 nobias as " name ".downsample.0 from " from "\n"                                   \
    "groupnorm 32 as " name ".downsample.1\n"                                                                          \
    "add " name ".bn2\n"                                                                                               \
    "relu as " name "\n"

static const char resnet18[] = "conv 7x7 64 stride 2 pad 3 nobias as conv1\n"
                               "groupnorm 32 as bn1\n"
                               "relu\n"
                               "maxpool 3 stride 2 pad 1 as layer0\n" /* clang-format off */
                               RESIDUAL_SAME("layer1.0", "64", "layer0")
                               RESIDUAL_SAME("layer1.1", "64", "layer1.0")
                               RESIDUAL_DOWN("layer2.0", "128", "layer1.1")
                               RESIDUAL_SAME("layer2.1", "128", "layer2.0")
                               RESIDUAL_DOWN("layer3.0", "256", "layer2.1")
                               RESIDUAL_SAME("layer3.1", "256", "layer3.0")
                               RESIDUAL_DOWN("layer4.0", "512", "layer3.1")
                               RESIDUAL_SAME("layer4.1", "512", "layer4.0") /* clang-format on */
    "globalpool\n"
    "linear classes as fc\n";

/* Zagoruyko and Komodakis 2016, depth 16, width 4, with GroupNorm(16) as in De et al. 2022 */
#define WIDE(name, channels, stride)                                                                                   \
    "groupnorm 16 as " name ".bn1\n"                                                                                   \
    "relu as " name ".relu1\n"                                                                                         \
    "conv 3x3 " channels stride " pad 1 nobias as " name ".conv1\n"                                                    \
    "groupnorm 16 as " name ".bn2\n"                                                                                   \
    "relu\n"                                                                                                           \
    "conv 3x3 " channels " pad 1 nobias as " name ".conv2\n"
#define WIDE_GROUP(name, channels, stride)                                                                             \
    WIDE(name ".layer.0", channels, stride)                                                                            \
    "conv 1x1 " channels stride " nobias as " name ".layer.0.convShortcut from " name ".layer.0.relu1\n"               \
    "add " name ".layer.0.conv2 as " name ".layer.0\n" WIDE(name ".layer.1", channels, "") "add " name ".layer.0\n"

static const char wrn16_4[] = "conv 3x3 16 pad 1 nobias as conv1\n" /* clang-format off */
                              WIDE_GROUP("block1", "64", "")
                              WIDE_GROUP("block2", "128", " stride 2")
                              WIDE_GROUP("block3", "256", " stride 2") /* clang-format on */
    "groupnorm 16 as bn1\n"
    "relu\n"
    "globalpool\n"
    "linear classes as fc\n";

/* Huang et al. 2017: growth 12, three blocks of four, 24 channels at first; torchvision.models.DenseNet(12, (4, 4, 4), 24)
 * with GroupNorm(6), its names without "features." and with shorter words for block and layer */
#define DENSE(name, from)                                                                                              \
    "groupnorm 6 as " name ".norm1 from " from "\n"                                                                    \
    "relu\n"                                                                                                           \
    "conv 1x1 48 nobias as " name ".conv1\n"                                                                           \
    "groupnorm 6 as " name ".norm2\n"                                                                                  \
    "relu\n"                                                                                                           \
    "conv 3x3 12 pad 1 nobias as " name ".conv2\n"                                                                     \
    "concat " name ".conv2 from " from " as " name "\n"
#define DENSE_BLOCK(name, from)                                                                                        \
    DENSE(name ".1", from)                                                                                             \
    DENSE(name ".2", name ".1") DENSE(name ".3", name ".2") DENSE(name ".4", name ".3")
#define TRANSITION(name, channels)                                                                                     \
    "groupnorm 6 as " name ".norm\n"                                                                                   \
    "relu\n"                                                                                                           \
    "conv 1x1 " channels " nobias as " name ".conv\n"                                                                  \
    "avgpool 2 as " name "\n"

static const char densenet[] = "conv 7x7 24 stride 2 pad 3 nobias as conv0\n"
                               "groupnorm 6 as norm0\n"
                               "relu\n"
                               "maxpool 3 stride 2 pad 1 as pool0\n" /* clang-format off */
                               DENSE_BLOCK("block1", "pool0")
                               TRANSITION("transition1", "36")
                               DENSE_BLOCK("block2", "transition1")
                               TRANSITION("transition2", "42")
                               DENSE_BLOCK("block3", "transition2") /* clang-format on */
    "groupnorm 6 as norm5\n"
    "relu\n"
    "globalpool\n"
    "linear classes as classifier\n";

/* Tramer and Boneh 2021; `centre` is learned in a phase of its own, as the mean of the features. The head has no bias: beside
 * features of unit length its gradient would take half of the squared length that clipping leaves to a patient. */
static const char scattering[] = "scattering 4 8 mirror scalewise as features\n"
                                 "centre as centre\n"
                                 "unit\n"
                                 "linear classes nobias as head\n";

/* The same for drawings of 28x28 */
static const char scattering_drawn[] = "scattering 2 8 groups 27 as features\n"
                                       "centre as centre\n"
                                       "unit\n"
                                       "linear classes nobias as head\n";

/* A small learned stage that reads the features' channels at each place */
static const char scattering_cnn[] = "scattering 4 8 mirror as features\n"
                                     "centre as centre\n"
                                     "unit as unit\n"
                                     "conv 1x1 24 as mix\n"
                                     "groupnorm 4 as norm\n"
                                     "tanh\n"
                                     "linear classes as head\n";

static const struct {
    const char *name, *spec;
} known[] = {{"cnn-small", cnn_small},
             {"cnn-tiny", cnn_tiny},
             {"cnn-tanh", cnn_tanh},
             {"linear", linear},
             {"resnet18", resnet18},
             {"wrn16-4", wrn16_4},
             {"densenet", densenet},
             {"scattering", scattering},
             {"scattering-drawn", scattering_drawn},
             {"scattering-cnn", scattering_cnn}};

const char nn_architecture_names[] = "cnn-small, cnn-tiny, cnn-tanh, linear, resnet18, wrn16-4, densenet, "
                                     "scattering, scattering-drawn, scattering-cnn";

const char *nn_architecture_name(size_t index)
{
    return index < sizeof known / sizeof known[0] ? known[index].name : NULL;
}

const char *nn_architecture(const char *name)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) == 0)
            return known[i].spec;
    }
    return NULL;
}
