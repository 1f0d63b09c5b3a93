/* Writes every architecture, and texts with every kind of layer, as ONNX, with images and our answers beside it, for
 * tests/train/onnx_opencv.py and onnx_web.mjs. usage: write_onnx DIR
 *
 * Per case NAME.onnx, NAME.safetensors and NAME.f32 (the images, their logits, their probabilities); on stdout a line
 * NAME C H W n_classes n_images labels. */
#include "base/file.h"
#include "base/rng.h"
#include "train/onnx.h"
#include "train/safetensors.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_IMAGES 2

static const struct {
    const char *name, *spec; /* spec NULL: the architecture of that name is in the list below */
    nn_shape input;
    uint32_t n_classes;
    bool is_multi;
} texts[] = {
    {"flat",
     "linear 12\ngroupnorm 3\ntanh\nconv 1x1 5 as odd.name-1\nrelu\nlinear classes nobias",
     {1, 8, 9},
     3,
     false},
    {"odd",
     "groupnorm 1\nconv 5x3 6 stride 2 pad 1\nmaxpool 3 stride 2\nconv 3x3 4\navgpool 2x3 stride 1\nflatten\nlinear "
     "classes",
     {3, 33, 31},
     5,
     true},
    {"all",
     "conv 3x3 6 pad 1 as stem\nsilu\nconv 1x1 6 as a\ngroupnorm 3\nadd stem\ndropout 0.5\nconcat a\ncentre\nunit\n"
     "maxpool 2\ndropout 0.1\nflatten\nlinear 9 as b\nsilu\nadd b\ndropout 0.2\nconcat b\ncentre\nunit\nlinear classes",
     {1, 14, 14},
     3,
     false},
    {"twoways",
     "conv 3x3 6 pad 1 as stem\nglobalpool as v\nlinear 6\nadd v\nconcat v\nunit\nlinear classes",
     {1, 8, 8},
     3,
     false},
    {"image", "conv 3x3 1 pad 1\nadd image\nconcat image\nlinear classes", {1, 8, 8}, 3, false},
    {"centre", "conv 3x3 6 pad 1\ncentre\nrelu\ncentre\nlinear 5\ncentre\nlinear classes", {1, 14, 14}, 3, false},
    {"grouped",
     "conv 3x3 8 pad 1 groups 1 standardised nobias\nconv 3x3 16 stride 2 pad 1 groups 8\nconv 5x3 6 pad 2 groups 2 "
     "standardised\nsilu\nconv 1x1 4 standardised\nlinear classes",
     {3, 15, 14},
     3,
     false},
    {"scattering4", "scattering 4 8 mirror\ncentre\nunit\nlinear classes", {1, 64, 64}, 2, false},
    {"scattering2", "scattering 2 8 groups 27\nlinear classes", {1, 28, 28}, 10, false},
    {"scattering3", "scattering 3 4\nconv 1x1 4\nlinear classes", {1, 33, 47}, 2, false},
    {"scalewise", "scattering 3 4 mirror scalewise\ncentre\nunit\nlinear classes nobias", {1, 33, 47}, 2, false},
    {"graph",
     "conv 3x3 12 pad 1 groups 3 as a\ngroupnorm 3\nsilu as s\nconv 3x3 12 pad 1 groups 12 nobias\nadd a\n"
     "relu as r\nconcat s from r\nconv 1x1 8 nobias\nmaxpool 3 stride 2 pad 1\navgpool 3 stride 2 pad 1\n"
     "dropout 0.25\nconcat 9\ntanh\nlinear classes as fc",
     {3, 20, 17},
     3,
     false},
    {"map", "conv 3x3 8 pad 1 nobias\ngroupnorm 2\nrelu\nconv 1x1 4\nglobalpool", {1, 16, 16}, 4, true},
};

static void fail(const char *name, const fl_err *err)
{
    fprintf(stderr, "%s: %s\n", name, err->text);
    exit(1);
}

/* As they start, but nothing is zero or one: what is not read would not be missed. */
static void make_weights(float *w, const nn_model *m)
{
    fl_rng rng;
    nn_model_init_weights(m, w, 5);
    fl_rng_init(&rng, 6, 0);
    const size_t n = nn_model_n_tensors(m);
    for (size_t i = 0; i < n; i++) {
        const nn_tensor t = nn_model_tensor(m, i);
        const size_t fan = i + 2 >= n && t.n_dims > 1 ? t.size / t.dims[0] : 25;
        const double bound = t.n_dims == 1 || i + 2 >= n ? 1 / sqrt((double)fan) : 0;
        for (size_t k = 0; k < t.size; k++)
            w[t.offset + k] += (float)((2 * fl_rng_uniform(&rng) - 1) * bound);
    }
}

static void answer(float *logits, float *p, const nn_model *m, const float *w, const float *image, bool is_multi)
{
    nn_workspace *ws;
    fl_err err;
    const uint32_t n = nn_model_n_classes(m);
    if (nn_workspace_create(&ws, m, &err))
        fail("workspace", &err);
    nn_forward(m, ws, w, logits, image);
    nn_workspace_destroy(ws);
    for (uint32_t c = 0; is_multi && c < n; c++)
        p[c] = (float)(1 / (1 + exp(-(double)logits[c])));
    if (!is_multi)
        nn_softmax(p, logits, n);
}

static void write_file(const char *dir, const char *name, const char *ending, const void *bytes, size_t n)
{
    char path[FL_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.%s", dir, name, ending);
    FILE *f = fopen(path, "wb"); /* not fl_file_write: nobody needs these tomorrow */
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static void write_case(const char *dir, const char *name, const char *spec, nn_shape in, uint32_t n_classes,
                       bool is_multi)
{
    fl_err err;
    nn_model *m;
    fl_buf file;
    fl_rng rng;
    static nn_facts f;
    f = (nn_facts){.study = "others", .round = 3, .input = in, .n_classes = n_classes, .is_multi = is_multi};
    snprintf(f.spec, sizeof f.spec, "%s", spec);
    for (uint32_t c = 0; c < n_classes; c++)
        snprintf(f.classes[c], sizeof f.classes[c], "class%u", c);
    if (nn_model_create(&m, spec, in.C, in.H, in.W, n_classes, &err))
        fail(name, &err);
    const size_t n_in = (size_t)in.C * in.H * in.W, n_all = N_IMAGES * (n_in + 2 * n_classes);
    float *w = malloc(4 * nn_model_n_weights(m)), *all = malloc(4 * n_all);
    make_weights(w, m);
    fl_rng_init(&rng, 7, 0);
    for (size_t i = 0; i < N_IMAGES * n_in; i++)
        all[i] = (float)(2 * fl_rng_uniform(&rng) - 1);
    float *logits = all + N_IMAGES * n_in, *p = logits + N_IMAGES * n_classes;
    for (uint32_t k = 0; k < N_IMAGES; k++)
        answer(logits + k * n_classes, p + k * n_classes, m, w, all + k * n_in, is_multi);
    fl_buf_init(&file, (size_t)1 << 29);
    if (nn_onnx_write(&file, w, &f, &err))
        fail(name, &err);
    write_file(dir, name, "onnx", file.bytes, file.size);
    fl_buf_clear(&file);
    if (nn_safetensors_write(&file, m, w, &f, &err))
        fail(name, &err);
    write_file(dir, name, "safetensors", file.bytes, file.size);
    write_file(dir, name, "f32", all, 4 * n_all);
    printf("%s %u %u %u %u %d %s\n", name, in.C, in.H, in.W, n_classes, N_IMAGES, is_multi ? "multi" : "single");
    fl_buf_fini(&file);
    free(w);
    free(all);
    nn_model_destroy(m);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    char names[400];
    snprintf(names, sizeof names, "%s", nn_architecture_names);
    for (char *rest = NULL, *name = strtok_r(names, ", ", &rest); name; name = strtok_r(NULL, ", ", &rest))
        write_case(argv[1], name, nn_architecture(name),
                   strncmp(name, "wrn", 3) == 0 ? (nn_shape){3, 32, 32} : (nn_shape){1, 64, 64}, 3, false);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        write_case(argv[1], texts[i].name, texts[i].spec, texts[i].input, texts[i].n_classes, texts[i].is_multi);
    return 0;
}
