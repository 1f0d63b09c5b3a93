/* Specs, shapes, finite differences, purity. */
#include "base/encode.h"
#include "base/rng.h"
#include "train/model.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX 70000

static nn_model *build(const char *spec, uint32_t c, uint32_t h, uint32_t w, uint32_t classes)
{
    nn_model *m;
    fl_err err;
    if (nn_model_create(&m, spec, c, h, w, classes, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_true(nn_model_n_weights(m) <= MAX);
    return m;
}

static void fill(float *x, size_t n, double scale, uint64_t seed)
{
    fl_rng rng;
    fl_rng_init(&rng, seed, 7);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(fl_rng_normal(&rng) * scale);
}

/* Central differences of the loss in random directions: catches a wrong factor in any tensor. */
static void check_gradient(const char *spec, uint32_t c, uint32_t h, uint32_t w, uint32_t classes)
{
    static float weights[MAX], moved[MAX], g[MAX], direction[MAX], image[4096], logits[64];
    nn_model *m = build(spec, c, h, w, classes);
    nn_workspace *ws;
    fl_err err;
    assert_int_equal(nn_workspace_create(&ws, m, &err), FL_OK);
    size_t n = nn_model_n_weights(m);
    fill(weights, n, 0.3, 1);
    fill(image, (size_t)c * h * w, 1, 2);
    for (uint32_t label = 0; label < classes; label++) {
        nn_gradient(m, ws, weights, g, NULL, image, label);
        for (size_t t = 0; t < nn_model_n_tensors(m); t++) { /* each tensor alone, then a lie in one cannot hide */
            nn_tensor tensor = nn_model_tensor(m, t);
            double expected = 0, loss[2], step = 2e-3;
            memset(direction, 0, sizeof direction);
            fill(direction + tensor.offset, tensor.size, 1 / sqrt((double)tensor.size), 100 + t);
            for (size_t i = 0; i < n; i++)
                expected += (double)g[i] * direction[i];
            for (int side = 0; side < 2; side++) {
                for (size_t i = 0; i < n; i++)
                    moved[i] = weights[i] + (float)(side ? step : -step) * direction[i];
                nn_forward(m, ws, moved, logits, image);
                double largest = logits[0], sum = 0;
                for (uint32_t k = 0; k < classes; k++)
                    largest = fmax(largest, logits[k]);
                for (uint32_t k = 0; k < classes; k++)
                    sum += exp(logits[k] - largest);
                loss[side] = largest + log(sum) - logits[label];
            }
            double measured = (loss[1] - loss[0]) / (2 * step);
            if (fabs(measured - expected) > 2e-3 * (1 + fabs(expected)))
                fail_msg("%s: %s: finite difference %g, backward %g", spec, tensor.name, measured, expected);
        }
    }
    nn_workspace_destroy(ws);
    nn_model_destroy(m);
}

static void backward_agrees_with_finite_differences(void **state)
{
    (void)state;
    check_gradient("linear classes", 1, 4, 5, 3);
    check_gradient("conv 3x3 4 pad 1\ntanh\nconv 3x2 5 stride 2\ntanh\nlinear classes", 2, 7, 9, 3);
    check_gradient("conv 1x1 4\ntanh\nconv 1x1 3\ntanh\nlinear classes", 3, 4, 4, 2);
    check_gradient("conv 3x3 4 nobias\ngroupnorm 2\ntanh\nlinear classes nobias", 1, 6, 6, 2);
    check_gradient("groupnorm 1\nconv 3x3 4\ntanh\navgpool 2\nlinear 6\ntanh\nlinear classes", 1, 8, 9, 3);
    check_gradient("conv 3x3 6\ntanh\nmaxpool 2 stride 1\ngroupnorm 3\nglobalpool\nlinear classes", 1, 9, 8, 2);
    /* kinks of relu and maxpool make finite differences rough: cnn-tiny itself is compared with PyTorch */
    check_gradient("groupnorm 1\navgpool 2\nconv 5x5 8 pad 2\ngroupnorm 4\ntanh\navgpool 2\nconv 3x3 8 pad 1\n"
                   "groupnorm 8\ntanh\navgpool 2\nlinear classes",
                   1, 32, 32, 2);
    check_gradient(nn_architecture("linear"), 3, 8, 8, 3);
    check_gradient("conv 3x3 6\nsilu\nconv 3x3 4 pad 1 groups 2 stride 2\ntanh\nlinear classes", 2, 7, 6, 2);
    check_gradient("conv 3x3 4 pad 1 standardised\ntanh\nconv 3x3 4 groups 4 standardised nobias\ntanh\nlinear classes",
                   2, 7, 6, 2);
    check_gradient(
        "conv 3x3 4 pad 1 as a\ntanh\nconv 3x3 4 pad 1\nadd a\ntanh as b\nconv 1x1 3\nconcat b\nadd 6 from 6\n"
        "linear classes",
        1, 6, 5, 3);
    check_gradient("conv 3x3 20 stride 2\ncentre\nunit\nlinear classes", 1, 8, 7, 3);
}

static void what_stands_on_scattering_features_learns(void **state)
{
    (void)state;
    check_gradient("scattering 2 4 mirror\nconv 3x3 4 pad 1\ntanh\nlinear classes", 1, 19, 16, 3);
    nn_model *m;
    fl_err err;
    assert_int_equal(nn_model_create(&m, "scattering 4 8 mirror\nlinear classes", 1, 64, 64, 2, &err), FL_OK);
    assert_int_equal(nn_model_n_weights(m), 2 * 6672 + 2);
    nn_model_destroy(m);
    assert_int_equal(nn_model_create(&m, "scattering 2 8\nlinear classes", 3, 64, 64, 2, &err), FL_EFORMAT);
}

static void specs_that_do_not_fit_are_refused_with_layer_and_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *words;
    } table[] = {
        {"", "no layers"},
        {"# nothing\n\n  \n", "no layers"},
        {"flatten", "layer 1 (flatten): gives 64x1x1 values, expected one for each of 2 classes"},
        {"tanh\ndense 4", "layer 2 (dense): unknown kind"},
        {"relu 3\nlinear classes", "layer 1 (relu, input 1x8x8): nothing may follow, found 3"},
        {"conv 9x9 4\nlinear classes", "layer 1 (conv, input 1x8x8): kernel 9x9 is larger"},
        {"conv 3x3\nlinear classes", "output channels is missing"},
        {"conv\nlinear classes", "kernel is missing"},
        {"conv 3x3 4 stride\nlinear classes", "stride is missing"},
        {"conv 3x3 4 stride 0\nlinear classes", "stride is 0, expected 1 to 64"},
        {"conv 3x3 4 pad 3\nlinear classes", "pad 3 is not smaller"},
        {"conv 3x3 4 strid 2\nlinear classes", "unknown word strid"},
        {"conv 3x3x3 4\nlinear classes", "kernel is 3x3x3"},
        {"conv 3x3 -4\nlinear classes", "output channels is -4"},
        {"conv 3x3 99999999999\nlinear classes", "output channels is 99999999999"},
        {"conv 3x3 6\ngroupnorm 4\nlinear classes", "layer 2 (groupnorm, input 6x6x6): 4 groups do not divide 6"},
        {"maxpool 9\nlinear classes", "layer 1 (maxpool, input 1x8x8): window 9x9 is larger"},
        {"maxpool 2x3\nlinear classes", "window 2x3 needs a stride"},
        {"avgpool 2 step 2\nlinear classes", "unknown word step"},
        {"linear\nlinear classes", "number of outputs is missing"},
        {"linear classes bias", "unknown word bias"},
        {"linear 65536\nlinear 65536\nlinear classes", "more than 134217728 weights"},
        {"globalpool\nlinear 3", "gives 3x1x1 values"},
        {"linear classes a b c d e f g h i j k l m n o p", "too many words"},
        {"scattering\nlinear classes", "layer 1 (scattering, input 1x8x8): number of scales is missing"},
        {"scattering 2\nlinear classes", "number of angles is missing"},
        {"scattering 2 8 mirrored\nlinear classes", "expected J L, and mirror, scalewise or groups G, found mirrored"},
        {"scattering 2 8 mirror groups 3\nlinear classes", "found groups"},
        {"scattering 2 8 scalewise groups 3\nlinear classes", "found groups"},
        {"scattering 2 8 scalewise mirror\nlinear classes", "found mirror"},
        {"scattering 2 8 groups\nlinear classes", "number of groups is missing"},
        {"scattering 2 7\nlinear classes", "7 angles, expected an even number"},
        {"scattering 3 8\nlinear classes", "layer 1 (scattering, input 1x8x8): 3 scales need sides of 16"},
        {"scattering 1 4 groups 2\nlinear classes", "2 groups do not divide 5 channels"},
        {"relu\nscattering 1 4\nlinear classes", "layer 2 (scattering, input 1x8x8): its input must be a grey image"},
        {"relu as a from", "layer 1 (relu): a name must follow from"},
        {"relu as", "a name must follow as"},
        {"relu as a/b\nlinear classes", "a/b is no name"},
        {"relu as image\nlinear classes", "image is no name"},
        {"relu as a as b\nlinear classes", "as stands twice"},
        {"relu from image from image\nlinear classes", "from stands twice"},
        {"relu as abcdefghijklmnopqrstuvwxyz0123456789abcdefghijkl\nlinear classes", "is no name"},
        {"relu from b\ntanh as c\nlinear classes", "layer 1 (relu): its input b is no layer's name"},
        {"relu as a from a\nlinear classes", "layer 1 a (relu): its input a is its own output"},
        {"relu as a from b\ntanh as b\nlinear classes", "layer 1 a (relu): its input b is a later line: an input"},
        {"relu as a\ntanh as a\nlinear classes", "layer 2 a (tanh): layer 1 has the name a already"},
        {"relu as 1\ntanh\nlinear classes", "layer 2 (tanh): layer 1 has the name 1 already"},
        {"relu as a\ntanh from image\nlinear classes", "layer 1 a (relu): nobody uses its output"},
        {"conv 3x3 4 groups 3\nlinear classes", "3 groups do not divide 1 input channels and 4 output channels"},
        {"conv 1x1 4\nconv 3x3 6 groups 4\nlinear classes", "layer 2 (conv, input 4x8x8): 4 groups do not divide 4"},
        {"conv 3x3 4 groups\nlinear classes", "groups is missing"},
        {"conv 3x3 4 standardized\nlinear classes", "unknown word standardized"},
        {"maxpool 3 pad 2\nlinear classes", "pad 2 is more than half of the window 3x3"},
        {"avgpool 4x1 stride 1 pad 1\nlinear classes", "pad 1 is more than half of the window 4x1"},
        {"avgpool 12 pad 1\nlinear classes", "window 12x12 is larger than the padded input"},
        {"maxpool 2 stride\nlinear classes", "stride is missing"},
        {"dropout\nlinear classes", "probability is missing"},
        {"dropout 1\nlinear classes", "probability is 1, expected a number from 0 to below 1"},
        {"dropout -0.1\nlinear classes", "probability is -0.1"},
        {"dropout 0.1.2\nlinear classes", "probability is 0.1.2"},
        {"dropout .\nlinear classes", "probability is ."},
        {"dropout 1e-3\nlinear classes", "probability is 1e-3"},
        {"dropout 0.5 twice\nlinear classes", "unknown word twice"},
        {"silu 3\nlinear classes", "nothing may follow, found 3"},
        {"centre 3\nlinear classes", "nothing may follow, found 3"},
        {"unit 3\nlinear classes", "nothing may follow, found 3"},
        {"relu\nadd\nlinear classes", "layer 2 (add): the name of its second input is missing"},
        {"relu\nadd b\nlinear classes", "layer 2 (add): its input b is no layer's name"},
        {"relu as a\nadd a b\nlinear classes", "nothing may follow, found b"},
        {"add b\nrelu as b\nlinear classes", "layer 1 (add): its input b is a later line"},
        {"conv 3x3 4\nadd image\nlinear classes",
         "layer 2 (add, inputs 4x6x6 and 1x8x8): both inputs must have the same"},
        {"conv 3x3 4\nconcat image as b\nlinear classes",
         "layer 2 b (concat, inputs 4x6x6 and 1x8x8): both inputs must"},
        {"conv 3x3 4 as first\ngroupnorm 3 as second\nlinear classes", "layer 2 second (groupnorm, input 4x6x6)"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        nn_model *m;
        fl_err err = {0};
        assert_int_equal(nn_model_create(&m, table[i].spec, 1, 8, 8, 2, &err), FL_EFORMAT);
        assert_null(m);
        if (!strstr(err.text, table[i].words))
            fail_msg("'%s' gives: %s", table[i].spec, err.text);
    }
    char long_spec[5 * NN_MAX_LAYERS + 10] = "";
    for (int i = 0; i < NN_MAX_LAYERS + 1; i++)
        strcat(long_spec, "tanh\n");
    nn_model *m;
    fl_err err;
    assert_int_equal(nn_model_create(&m, long_spec, 1, 8, 8, 2, &err), FL_EFORMAT);
    assert_int_equal(nn_model_create(&m, "linear classes", 1, 0, 8, 2, &err), FL_EFORMAT);
    assert_int_equal(nn_model_create(&m, "linear classes", 1, 8, 8, 1, &err), FL_EFORMAT);
    /* activations that would not fit are refused before anything is allocated */
    assert_int_equal(nn_model_create(&m, "conv 3x3 65536 pad 1\nglobalpool\nlinear classes", 3, 1024, 1024, 2, &err),
                     FL_EFORMAT);
}

static void a_gradient_does_not_depend_on_what_came_before(void **state)
{
    (void)state;
    static float w[MAX], first[MAX], again[MAX], image[1024], other[1024], logits[4];
    nn_model *m = build("conv 5x5 8 stride 2 pad 2\ngroupnorm 2\nrelu\nmaxpool 2\nconv 3x3 8\ntanh\nlinear classes", 1,
                        32, 32, 2);
    nn_workspace *a, *b;
    fl_err err;
    assert_int_equal(nn_workspace_create(&a, m, &err), FL_OK);
    assert_int_equal(nn_workspace_create(&b, m, &err), FL_OK);
    size_t n = nn_model_n_weights(m);
    fill(w, n, 0.3, 3);
    fill(image, 1024, 1, 4);
    nn_gradient(m, a, w, first, NULL, image, 1);
    for (size_t i = 0; i < 1024; i++)
        other[i] = i % 3 ? NAN : 1e30f; /* leaves rubbish in b */
    nn_gradient(m, b, w, again, NULL, other, 0);
    memset(again, 0xff, n * sizeof *again);
    nn_gradient(m, b, w, again, NULL, image, 1);
    assert_memory_equal(first, again, n * sizeof *first);
    nn_forward(m, a, w, logits, image);
    nn_gradient(m, a, w, again, NULL, image, 1);
    assert_memory_equal(first, again, n * sizeof *first);
    nn_workspace_destroy(a);
    nn_workspace_destroy(b);
    nn_model_destroy(m);
}

static void a_broken_image_gives_a_gradient_that_is_not_finite(void **state)
{
    (void)state;
    static float w[MAX], g[MAX], image[1024];
    static const char *const specs[] = {"cnn-tiny", "linear"};
    for (size_t k = 0; k < 2; k++) {
        nn_model *m = build(nn_architecture(specs[k]), 1, 32, 32, 2);
        nn_workspace *ws;
        fl_err err;
        assert_int_equal(nn_workspace_create(&ws, m, &err), FL_OK);
        size_t n = nn_model_n_weights(m), n_bad = 0;
        fill(w, n, 0.1, 5);
        fill(image, 1024, 1, 6);
        image[500] = NAN;
        nn_gradient(m, ws, w, g, NULL, image, 1);
        for (size_t i = 0; i < n; i++)
            n_bad += !isfinite(g[i]);
        assert_true(n_bad > 0);
        nn_workspace_destroy(ws);
        nn_model_destroy(m);
    }
}

/* Values that group normalisation, pools and unit length could divide by zero on. */
static void constant_images_have_finite_gradients(void **state)
{
    (void)state;
    static const float constants[] = {0, 1, -255};
    for (size_t k = 0; nn_architecture_name(k); k++) {
        nn_model *m;
        nn_workspace *ws;
        fl_err err;
        double loss;
        float *image = calloc(32 * 32, sizeof *image), logits[2];
        assert_int_equal(nn_model_create(&m, nn_architecture(nn_architecture_name(k)), 1, 32, 32, 2, &err), FL_OK);
        assert_int_equal(nn_workspace_create(&ws, m, &err), FL_OK);
        float *w = calloc(nn_model_n_weights(m), sizeof *w), *g = calloc(nn_model_n_weights(m), sizeof *g);
        nn_model_init_weights(m, w, 1);
        for (size_t v = 0; v < 3; v++) {
            for (size_t i = 0; i < 32 * 32; i++)
                image[i] = constants[v];
            nn_gradient(m, ws, w, g, &loss, image, 1);
            nn_forward(m, ws, w, logits, image);
            assert_true(isfinite(loss) && isfinite(logits[0]) && isfinite(logits[1]));
            for (size_t i = 0; i < nn_model_n_weights(m); i++)
                assert_true(isfinite(g[i]));
        }
        free(image);
        free(w);
        free(g);
        nn_workspace_destroy(ws);
        nn_model_destroy(m);
    }
}

static void first_weights_are_repeatable_and_start_with_equal_classes(void **state)
{
    (void)state;
    static float a[MAX], b[MAX], image[1024], logits[2];
    nn_model *m = build(nn_architecture("cnn-tiny"), 1, 32, 32, 2);
    nn_workspace *ws;
    fl_err err;
    assert_int_equal(nn_workspace_create(&ws, m, &err), FL_OK);
    size_t n = nn_model_n_weights(m);
    nn_model_init_weights(m, a, 1);
    nn_model_init_weights(m, b, 1);
    assert_memory_equal(a, b, n * sizeof *a);
    nn_model_init_weights(m, b, 2);
    assert_memory_not_equal(a, b, n * sizeof *a);
    fill(image, 1024, 1, 6);
    nn_forward(m, ws, a, logits, image);
    assert_true(logits[0] == 0 && logits[1] == 0);
    nn_workspace_destroy(ws);
    nn_model_destroy(m);
}

static void tensors_cover_the_vector_and_have_pytorchs_names(void **state)
{
    (void)state;
    nn_model *m = build("conv 3x2 4\ngroupnorm 2\nrelu\nlinear 5 nobias\nlinear classes", 1, 5, 5, 3);
    static const char *const names[] = {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias"};
    size_t at = 0;
    assert_int_equal(nn_model_n_tensors(m), 7);
    for (size_t i = 0; i < 7; i++) {
        nn_tensor t = nn_model_tensor(m, i);
        size_t size = 1;
        for (uint32_t k = 0; k < t.n_dims; k++)
            size *= t.dims[k];
        assert_string_equal(t.name, names[i]);
        assert_int_equal(t.offset, at);
        assert_int_equal(t.size, size);
        at += size;
    }
    assert_int_equal(at, nn_model_n_weights(m));
    nn_model_destroy(m);
}

static void names_are_the_tensors_names_and_the_hash_is_of_the_text_without_its_looks(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "conv 3x3 4 as layer1.0.conv1\nrelu from layer1.0.conv1\nlinear classes as fc",
        " conv  3x3 4\tas layer1.0.conv1 # first\n\nrelu from layer1.0.conv1\r\nlinear classes as fc\n\n",
        "conv 3x3 4 as layer1.0.conv1\nrelu\nlinear classes as fc",
        "conv 3x3 4 as layer1.0.conv2\nrelu from layer1.0.conv2\nlinear classes as fc",
    };
    /* python3: hashlib.sha256(b"1x5x5 3\nconv 3x3 4 as layer1.0.conv1\nrelu from layer1.0.conv1\nlinear classes as fc\n") */
    char hex[65];
    fl_hash hash[4];
    for (size_t i = 0; i < 4; i++) {
        nn_model *m = build(texts[i], 1, 5, 5, 3);
        hash[i] = nn_model_hash(m);
        if (i == 0) {
            assert_string_equal(nn_model_tensor(m, 0).name, "layer1.0.conv1.weight");
            assert_string_equal(nn_model_tensor(m, 3).name, "fc.bias");
        }
        nn_model_destroy(m);
    }
    fl_hex_encode(hex, hash[0].bytes, 32);
    assert_string_equal(hex, "41c3075196dcd72d2d6ed8685f1cb9ea42558ada3b7b7e57ec399676cfe54f7f");
    assert_memory_equal(&hash[0], &hash[1], sizeof hash[0]);
    for (size_t i = 2; i < 4; i++)
        assert_memory_not_equal(&hash[0], &hash[i], sizeof hash[0]);
}

static void weights_on_the_wire_are_little_endian_and_finite(void **state)
{
    (void)state;
    float w[3] = {1.0f, -2.5f, 0}, back[3];
    uint8_t bytes[12];
    fl_err err;
    nn_weights_write(bytes, w, 3);
    static const uint8_t golden[12] = {0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, 0, 0, 0, 0};
    assert_memory_equal(bytes, golden, 12);
    assert_int_equal(nn_weights_read(back, 3, bytes, 12, &err), FL_OK);
    assert_memory_equal(back, w, sizeof w);
    assert_int_equal(nn_weights_read(back, 3, bytes, 11, &err), FL_EFORMAT);
    assert_int_equal(nn_weights_read(back, 3, bytes, 13, &err), FL_EFORMAT);
    assert_int_equal(nn_weights_read(back, 2, bytes, 12, &err), FL_EFORMAT);
    bytes[3] = 0x7f; /* 0x7f800000: infinity */
    assert_int_equal(nn_weights_read(back, 3, bytes, 12, &err), FL_EFORMAT);
    bytes[2] = 0xc0; /* NaN */
    assert_int_equal(nn_weights_read(back, 3, bytes, 12, &err), FL_EFORMAT);
}

/* Answers, and slopes of what is looked at, are the same with dropout and without; gradients are not. */
static void only_training_drops(void **state)
{
    (void)state;
    static const char *const specs[] = {"conv 3x3 4 pad 1\ntanh\nlinear classes",
                                        "conv 3x3 4 pad 1\ntanh\ndropout 0.5\nlinear classes"};
    enum { N = 40 + 2 * 144 + 2 };
    float w[N], x[36], logits[2][2], seen[2][2], y[2][144], slope[2][144], g[2][N];
    fill(w, N, 0.5, 1);
    fill(x, 36, 1, 2);
    for (int i = 0; i < 2; i++) {
        nn_model *m = build(specs[i], 1, 6, 6, 2);
        nn_workspace *ws;
        assert_int_equal(nn_model_n_weights(m), N);
        assert_int_equal(nn_workspace_create(&ws, m, NULL), FL_OK);
        nn_forward(m, ws, w, logits[i], x);
        assert_int_equal(nn_activation(y[i], slope[i], seen[i], m, ws, w, x, 0, 1, NULL), FL_OK);
        nn_gradient(m, ws, w, g[i], NULL, x, 1);
        nn_workspace_destroy(ws);
        nn_model_destroy(m);
    }
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
    assert_memory_equal(seen[0], logits[0], sizeof logits[0]);
    assert_memory_equal(seen[1], logits[0], sizeof logits[0]);
    assert_memory_equal(slope[0], slope[1], sizeof slope[0]);
    assert_memory_not_equal(g[0], g[1], 40 * sizeof g[0][0]);
}

static void softmax_is_a_distribution_whatever_comes_in(void **state)
{
    (void)state;
    float p[3], extreme[3] = {1e30f, -1e30f, 0}, broken[3] = {NAN, 1, 2}, endless[3] = {INFINITY, 0, 0};
    nn_softmax(p, extreme, 3);
    assert_true(p[0] == 1 && p[1] == 0 && p[2] == 0);
    nn_softmax(p, broken, 3);
    assert_true(p[0] == p[1] && p[1] == p[2] && fabs(p[0] - 1.0 / 3) < 1e-6);
    nn_softmax(p, endless, 3);
    assert_true(isfinite(p[0]) && fabs(p[0] + p[1] + p[2] - 1) < 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backward_agrees_with_finite_differences),
        cmocka_unit_test(what_stands_on_scattering_features_learns),
        cmocka_unit_test(specs_that_do_not_fit_are_refused_with_layer_and_shapes),
        cmocka_unit_test(a_gradient_does_not_depend_on_what_came_before),
        cmocka_unit_test(a_broken_image_gives_a_gradient_that_is_not_finite),
        cmocka_unit_test(constant_images_have_finite_gradients),
        cmocka_unit_test(first_weights_are_repeatable_and_start_with_equal_classes),
        cmocka_unit_test(tensors_cover_the_vector_and_have_pytorchs_names),
        cmocka_unit_test(names_are_the_tensors_names_and_the_hash_is_of_the_text_without_its_looks),
        cmocka_unit_test(weights_on_the_wire_are_little_endian_and_finite),
        cmocka_unit_test(only_training_drops),
        cmocka_unit_test(softmax_is_a_distribution_whatever_comes_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
