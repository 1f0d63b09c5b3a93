/*
 * linear OUT [nobias]     as torch.nn.Linear on the flattened input;  "classes" stands for the number of classes
 *
 *     y[o] = b[o] + sum_i w[o, i] x[i]        dw = dy x^T        dx = w^T dy
 *
 * The engine computes it, as a convolution whose kernel is as large as its input: train/convolution.h.
 */
#include "train/layer.h"
#include <math.h>
#include <string.h>

static fl_code linear_read(nn_layer *l, const nn_spec_line *line, fl_err *err)
{
    const char *word = line->n_words > 0 ? line->words[0] : NULL;
    l->has_bias = true;
    if (word && strcmp(word, "classes") == 0) {
        l->channels = line->n_classes;
    } else {
        fl_code rc = nn_spec_number(&l->channels, word, "number of outputs", 1, 65536, err);
        if (rc != FL_OK)
            return rc;
    }
    if (line->n_words == 2 && strcmp(line->words[1], "nobias") == 0)
        l->has_bias = false;
    else if (line->n_words > 1)
        return fl_fail(err, FL_EFORMAT, "unknown word %.20s, expected nobias", line->words[1]);
    return FL_OK;
}

static fl_code linear_infer(nn_layer *l, fl_err *err)
{
    (void)err;
    l->out = (nn_shape){l->channels, 1, 1};
    l->n_bias = l->has_bias ? l->channels : 0;
    l->n_weights = l->n_in * l->channels + l->n_bias;
    l->n_dims = 2;
    l->dims[0] = l->channels, l->dims[1] = (uint32_t)l->n_in;
    l->flops = 2 * (uint64_t)l->n_in * l->channels;
    return FL_OK;
}

static void linear_init(const nn_layer *l, float *w, fl_rng *rng)
{
    nn_fill_uniform(w, l->n_weights, 1 / sqrt((double)l->n_in), rng);
}

const nn_layer_kind nn_linear = {.name = "linear", .read = linear_read, .infer = linear_infer, .init = linear_init};
