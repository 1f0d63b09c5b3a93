/* The picture of a heat map: panels, colours, lines, sizes. */
#include "imaging/heat.h"
#include "tests/base/test.h"

#include <math.h>

static img_image film_of(uint32_t width, uint32_t height)
{
    img_image f = {.width = width, .height = height, .bits = 8};
    f.pixels = calloc((size_t)width * height, sizeof *f.pixels);
    for (uint32_t i = 0; i < width * height; i++)
        f.pixels[i] = (uint16_t)(i % width * 200 / width);
    return f;
}

static const uint8_t *at(const img_picture *p, uint32_t y, uint32_t x)
{
    return p->rgb + 3 * ((size_t)y * p->width + x);
}

static void the_left_panel_is_the_film_and_the_right_one_is_it_where_there_is_no_heat(void **state)
{
    (void)state;
    fl_err err;
    img_picture p;
    img_image film = film_of(700, 600);
    float heat[16] = {0};
    heat[5] = 3; /* row 1, column 1 of 4 */
    heat[15] = -7;
    assert_ok(img_heat_draw(&p, &film, heat, 4, 4, &err), err);
    assert_int_equal(p.height, 600);
    assert_int_equal(p.width, 2 * 700 + 2 * 8 + 24);
    const uint32_t right = 700 + 8;
    for (uint32_t y = 0; y < 600; y++) {
        for (uint32_t x = 0; x < 700; x++) {
            const uint8_t *a = at(&p, y, x), *b = at(&p, y, right + x);
            assert_true(a[0] == a[1] && a[1] == a[2]);
            if (y > 400 || x > 450) /* beyond the neighbours of that cell */
                assert_memory_equal(a, b, 3);
        }
    }
    const uint8_t *hot = at(&p, 225, right + 262); /* the cell's centre: the brightest colour over the film */
    assert_true(hot[0] > 150 && hot[0] > hot[2] + 40);
    /* film: black on the left, white on the right, as its percentiles say */
    assert_true(at(&p, 300, 0)[0] == 0 && at(&p, 300, 699)[0] == 255);
    img_picture_fini(&p);
    free(film.pixels);
}

/* In grey, by the usual weights: each colour of the bar is brighter than the one below it. */
static void colours_grow_brighter(void **state)
{
    (void)state;
    fl_err err;
    img_picture p;
    img_image film = film_of(64, 64);
    const float heat = 1;
    assert_ok(img_heat_draw(&p, &film, &heat, 1, 1, &err), err);
    assert_int_equal(p.height, IMG_HEAT_MIN); /* small films are enlarged */
    assert_int_equal(p.width, 2 * IMG_HEAT_MIN + 2 * 8 + 24);
    double last = -1;
    uint32_t n_white = 0;
    for (uint32_t y = IMG_HEAT_MIN; y-- > 0;) {
        const uint8_t *c = at(&p, y, p.width - 1);
        const double grey = 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2];
        if (grey > 254.9) { /* a line */
            n_white++;
            continue;
        }
        assert_true(grey >= last - 0.5);
        last = fmax(last, grey);
    }
    assert_true(last > 225 && n_white >= 6 && n_white <= 10);
    img_picture_fini(&p);
    free(film.pixels);
}

static void a_map_without_heat_and_films_of_one_pixel_are_drawn(void **state)
{
    (void)state;
    fl_err err;
    const uint32_t sizes[][2] = {{1, 1}, {1024, 1}, {1, 1024}, {3, 2}};
    for (size_t i = 0; i < 4; i++) {
        img_picture p;
        img_image film = film_of(sizes[i][0], sizes[i][1]);
        const float cold[6] = {0, -1, 0, 0, -2, 0};
        assert_ok(img_heat_draw(&p, &film, cold, 2, 3, &err), err);
        const uint32_t W = (p.width - 2 * 8 - 24) / 2;
        for (uint32_t y = 0; y < p.height; y++)
            assert_memory_equal(at(&p, y, 0), at(&p, y, W + 8), 3 * (size_t)W);
        img_picture_fini(&p);
        free(film.pixels);
    }
}

static void a_picture_is_written_whole_or_not_at_all(void **state)
{
    fl_err err;
    uint8_t rgb[12] = {255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3};
    const img_picture p = {2, 2, rgb};
    char path[4096];
    snprintf(path, sizeof path, "%s/p.png", (char *)*state);
    assert_ok(img_png_write(path, &p, &err), err);
    FILE *f = fopen(path, "rb");
    uint8_t head[24];
    assert_int_equal(fread(head, 1, 24, f), 24);
    fclose(f);
    assert_memory_equal(head, "\x89PNG\r\n\x1a\n", 8);
    assert_memory_equal(head + 16, "\0\0\0\2\0\0\0\2", 8);
    assert_int_equal(img_png_write("/nowhere/p.png", &p, &err), FL_ENOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_left_panel_is_the_film_and_the_right_one_is_it_where_there_is_no_heat),
        cmocka_unit_test(colours_grow_brighter),
        cmocka_unit_test(a_map_without_heat_and_films_of_one_pixel_are_drawn),
        in_scratch(a_picture_is_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
