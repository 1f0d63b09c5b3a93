/*
 * nn_spec - the text of a model read into a graph of layers: what feeds what, every shape, where the weights lie.
 *
 *     KIND words.. [as NAME] [from NAME]           one line, one layer; blank lines and what follows a # are ignored
 *
 * as      a name for the layer's output and, as PyTorch names them, for its tensors: NAME.weight, NAME.bias.
 *         [A-Za-z0-9._-], 1 to 47 characters, once in a text. Without it a layer is called by its number from 0, as in
 *         nn.Sequential.
 * from    the input is the output of that layer, or the image ("image"), instead of the line before.
 *
 * A kind with two inputs has the name of the second as its first word: `add NAME`. Inputs are outputs of lines above, so
 * there are no cycles; every output but the last is somebody's input. Messages name the layer's number (from 1), its
 * name when it has one, its kind and its shapes.
 *
 * Private to train. Reading allocates nothing that stays; an nn_spec is a plain value.
 */
#ifndef TRAIN_SPEC_H
#define TRAIN_SPEC_H

#include "base/object.h"
#include "train/layer.h"

typedef struct nn_spec {
    nn_shape input;
    uint32_t n_classes, n_layers;
    size_t n_weights;
    uint64_t n_values; /* outputs and kept values of all layers, for one image */
    uint64_t flops;
    fl_hash hash; /* nn_model_hash */
    nn_layer layers[NN_MAX_LAYERS];
} nn_spec;

fl_code nn_spec_read(nn_spec *s, const char *text, nn_shape input, uint32_t n_classes, fl_err *err) FL_MUST_USE;

size_t nn_spec_n_tensors(const nn_spec *s);
nn_tensor nn_spec_tensor(const nn_spec *s, size_t index);

#endif
