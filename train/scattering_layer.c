/*
 * scattering J L [mirror] [scalewise]       y = the features of train/scattering.h
 * scattering J L groups G
 *
 * No weights, no gradient: what stands before it must learn nothing. The input is one grey image, the output of unit length.
 */
#include "train/layer.h"
#include <string.h>

static fl_code scattering_read(nn_layer *l, const nn_spec_line *line, fl_err *err)
{
    uint32_t used = 2;
    nn_scattering *s = &l->scattering;
    FL_TRY(nn_spec_number(&s->scales, line->n_words > 0 ? line->words[0] : NULL, "number of scales", 1,
                          NN_SCATTERING_MAX_SCALES, err));
    FL_TRY(nn_spec_number(&s->angles, line->n_words > 1 ? line->words[1] : NULL, "number of angles", 2,
                          NN_SCATTERING_MAX_ANGLES, err));
    if (used < line->n_words && strcmp(line->words[used], "mirror") == 0) {
        s->mirror = true;
        used++;
    }
    if (used < line->n_words && strcmp(line->words[used], "scalewise") == 0) {
        s->scalewise = true;
        used++;
    } else if (!s->mirror && used < line->n_words && strcmp(line->words[used], "groups") == 0) {
        FL_TRY(nn_spec_number(&s->groups, used + 1 < line->n_words ? line->words[used + 1] : NULL, "number of groups",
                              1, 65536, err));
        used += 2;
    }
    if (used < line->n_words)
        return fl_fail(err, FL_EFORMAT, "expected J L, and mirror, scalewise or groups G, found %.20s",
                       line->words[used]);
    return FL_OK;
}

static fl_code scattering_infer(nn_layer *l, fl_err *err)
{
    nn_scattering *s = &l->scattering;
    if (l->from[0] != -1 || l->in.C != 1)
        return fl_fail(err, FL_EFORMAT, "its input must be a grey image itself: it comes first, with shape 1xHxW");
    s->height = l->in.H;
    s->width = l->in.W;
    FL_TRY(nn_scattering_init(s, err));
    l->out = (nn_shape){s->out_channels, s->out_height, s->out_width};
    l->n_scratch = s->n_scratch + (uint64_t)s->height * s->width + s->n_out;
    l->flops = s->flops;
    return FL_OK;
}

static void scattering_run(const nn_layer *l, const nn_pass *p)
{
    const nn_scattering *s = &l->scattering;
    float *image = p->scratch + s->n_scratch, *features = image + (size_t)s->height * s->width;
    for (uint32_t i = 0; i < s->height; i++) {
        for (uint32_t j = 0; j < s->width; j++)
            image[(size_t)i * s->width + j] = p->x[0].at[i * p->x[0].row + j * p->x[0].cs];
    }
    nn_scattering_features(s, features, p->scratch, image);
    const size_t each = (size_t)s->out_height * s->out_width;
    for (uint32_t i = 0; i < s->out_height; i++) {
        for (uint32_t j = 0; j < s->out_width; j++) {
            float *to = p->y.at + i * p->y.row + j * p->y.cs;
            for (uint32_t c = 0; c < p->y.cs; c++)
                to[c] = c < p->y.C ? features[c * each + i * s->out_width + j] : 0;
        }
    }
}

/* Its input is the image, which nobody wants a gradient of. */
static void scattering_back(const nn_layer *l, const nn_pass *p)
{
    (void)l, (void)p;
}

const nn_layer_kind nn_scattering_kind = {.name = "scattering",
                                          .read = scattering_read,
                                          .infer = scattering_infer,
                                          .run = scattering_run,
                                          .back = scattering_back};
