/* explain, from a film with a planted lesion to the picture. */
#include "imaging/heat.h"
#include "node/films.h"
#include "tests/node/model_file.h"
#include <math.h>

enum { SIDE = 60, S = IMG_HEAT_MIN };

/* A film of grey noise with a bright square of 12 x 12 at (y, x). */
static void plant(const char *path, unsigned y0, unsigned x0)
{
    uint8_t pixels[SIDE * SIDE];
    for (unsigned i = 0; i < SIDE * SIDE; i++) {
        const unsigned y = i / SIDE, x = i % SIDE;
        const bool inside = y >= y0 && y < y0 + 12 && x >= x0 && x < x0 + 12;
        pixels[i] = (uint8_t)((inside ? 220 : 40) + (x * 7 + y * 13) % 20);
    }
    make_grey_png(path, SIDE, pixels);
}

/* Sees brightness: the mean of 3 x 3 pixels above 0, behind two poolings; the second class is for it, the first against. */
static void lesion_model(const char *path)
{
    float w[9 + 1 + 2 + 2];
    for (int i = 0; i < 9; i++)
        w[i] = 1.0f / 9;
    w[9] = -0.2f;
    w[10] = -8;
    w[11] = 8;
    w[12] = 1;
    w[13] = 0;
    make_model(path, "conv 3x3 1 pad 1\nrelu\navgpool 2 as map\nglobalpool\nlinear classes", (nn_shape){1, 30, 30},
               "clear,lesion", false, w);
}

static void linear_model(const char *path)
{
    float w[2 * 900 + 2];
    for (int i = 0; i < 900; i++) {
        w[i] = -0.01f;
        w[900 + i] = 0.01f;
    }
    w[1800] = w[1801] = 0;
    make_model(path, "linear classes", (nn_shape){1, 30, 30}, "clear,lesion", false, w);
}

typedef struct peak {
    double y, x; /* of the map's largest value, in parts of the height and width */
    double most, least;
    int64_t rows, columns;
} peak;

static peak find_peak(const fl_json *j)
{
    const fl_json *map = fl_json_member(j, "map");
    peak p = {.most = -INFINITY, .least = INFINITY, .rows = (int64_t)fl_json_count(map)};
    p.columns = (int64_t)fl_json_count(fl_json_at(map, 0));
    for (int64_t y = 0; y < p.rows; y++) {
        fl_buf row;
        fl_buf_init(&row, 1 << 16);
        fl_json_print(&row, fl_json_at(map, (size_t)y), 0);
        const char *at = fl_buf_text(&row);
        for (int64_t x = 0; x < p.columns; x++) {
            at = strpbrk(at, "[,") + 1;
            const double value = strtod(at, NULL);
            p.least = fmin(p.least, value);
            if (value <= p.most)
                continue;
            p.most = value;
            p.y = ((double)y + 0.5) / (double)p.rows;
            p.x = ((double)x + 0.5) / (double)p.columns;
        }
        fl_buf_fini(&row);
    }
    return p;
}

/* The picture as our own decoder reads it, in grey. */
static img_image read_picture(const char *path)
{
    img_decoder *decoder;
    img_image image;
    fl_err err;
    const uint8_t key[32] = {1};
    assert_ok(img_decoder_open(&decoder, NULL, key, &err), err);
    assert_ok(img_decode_file(decoder, &image, path, &err), err);
    img_decoder_close(decoder);
    return image;
}

static void a_planted_lesion_lights_up_where_it_is(void **state)
{
    char model[2][FL_PATH_MAX], film[FL_PATH_MAX], picture[FL_PATH_MAX];
    lesion_model(fl_path(model[0], *state, "conv.safetensors"));
    linear_model(fl_path(model[1], *state, "linear.safetensors"));
    fl_path(film, *state, "film.png");
    fl_path(picture, *state, "out.png");
    static const unsigned places[][2] = {{6, 8}, {40, 10}, {24, 42}};
    for (int i = 0; i < 6; i++) {
        const unsigned y = places[i / 2][0], x = places[i / 2][1];
        plant(film, y, x);
        answer a = RUN("explain", "--model", model[i % 2], "--class", "lesion", "-o", picture, "--json", film);
        expect_code(&a, 0);
        fl_json *j = json_of(&a);
        const peak p = find_peak(j);
        assert_string_equal(fl_json_text(j, "method"), i % 2 == 0 ? "Grad-CAM" : "occlusion");
        assert_true(p.rows == (i % 2 == 0 ? 15 : 30) && p.columns == p.rows && p.most > 0);
        assert_true(p.y * SIDE > y && p.y * SIDE < y + 12 && p.x * SIDE > x && p.x * SIDE < x + 12);
        fl_json_free(j);
        forget(&a);

        img_image image = read_picture(picture);
        assert_true(image.height == S && image.width == 2 * S + 2 * 8 + 24);
        uint32_t lines = 0, lines_inside = 0;
        for (uint32_t v = 0; v < S; v++)
            for (uint32_t u = 0; u < S; u++) { /* white lines only in the right panel, and around the lesion */
                const uint16_t left = image.pixels[(size_t)v * image.width + u];
                const uint16_t right = image.pixels[(size_t)v * image.width + S + 8 + u];
                if (right != 255 || left == 255)
                    continue;
                lines++;
                lines_inside += v * SIDE / S + 4 >= y && v * SIDE / S <= y + 16 && u * SIDE / S + 4 >= x &&
                                u * SIDE / S <= x + 16;
            }
        assert_true(lines > 100 && lines_inside * 10 >= lines * 9);
        img_image_fini(&image);
    }
}

static void words_tell_class_method_and_place(void **state)
{
    char model[FL_PATH_MAX], film[FL_PATH_MAX], picture[FL_PATH_MAX];
    lesion_model(fl_path(model, *state, "model.safetensors"));
    plant(fl_path(film, *state, "film.png"), 6, 40);
    answer a = RUN("explain", "--model", model, "-o", fl_path(picture, *state, "out.png"), film);
    expect_code(&a, 0);
    expect_text(a.out, "film.png: clear 0."); /* the predicted class: the mean brightness is low */
    expect_text(a.out, "Grad-CAM at layer map, 15 x 15");
    expect_text(a.out, "nothing in this image speaks for clear"); /* its slope is below 0 everywhere */
    forget(&a);
    a = RUN("explain", "--model", model, "-o", picture, "--class", "1", "--layer", "1", film);
    expect_code(&a, 0);
    expect_text(a.out, "film.png: lesion 0.");
    expect_text(a.out, "Grad-CAM at layer 1, 30 x 30");
    expect_text(a.out, "largest ");
    forget(&a);
    a = RUN("explain", "--model", model, "-o", picture, "--method", "occlusion", "--class", "LESION", film);
    expect_code(&a, 0);
    expect_text(a.out, "occlusion: ");
    forget(&a);
}

static void what_cannot_be_explained_is_refused(void **state)
{
    char model[FL_PATH_MAX], linear[FL_PATH_MAX], film[FL_PATH_MAX], picture[FL_PATH_MAX], bad[FL_PATH_MAX];
    lesion_model(fl_path(model, *state, "model.safetensors"));
    linear_model(fl_path(linear, *state, "linear.safetensors"));
    plant(fl_path(film, *state, "film.png"), 6, 40);
    make_text(fl_path(bad, *state, "bad.png"), "no image");
    fl_path(picture, *state, "out.png");
    const struct {
        char *words[8];
        int code;
        const char *says;
    } rows[] = {
        {{"--class", "mass", film}, 2, "the model has no class \"mass\""},
        {{"--layer", "9", film}, 1, "no layer is called 9: the default is map"},
        {{"--layer", "3", film}, 1, "layer 3 (globalpool) has one pixel only"},
        {{"--method", "lime", film}, 2, "none of auto, gradcam, occlusion"},
        {{"--method", "occlusion", "--layer", "1", film}, 1, "looks at no layer"},
        {{bad}, 2, "bad.png: "},
        {{*state}, 2, "one image at a time"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *words[16] = {"explain", "--model", model, "-o", picture};
        for (int n = 0; n < 8 && rows[i].words[n]; n++)
            words[5 + n] = rows[i].words[n];
        answer a = run(words);
        expect_code(&a, rows[i].code);
        expect_text(a.err, rows[i].says);
        assert_false(fl_file_exists(picture));
        forget(&a);
    }
    answer a = RUN("explain", "--model", linear, "-o", picture, "--method", "gradcam", film);
    expect_code(&a, 1);
    expect_text(a.err, "has no convolution with a map: use occlusion");
    forget(&a);
    a = RUN("explain", "--model", model, "-o", "/nowhere/out.png", film);
    expect_code(&a, 2);
    forget(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(a_planted_lesion_lights_up_where_it_is),
        in_scratch(words_tell_class_method_and_place),
        in_scratch(what_cannot_be_explained_is_refused),
    };
    setenv("CORDON_DECODER", CORDON_BIN_DIR "/cordon-decode", 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
