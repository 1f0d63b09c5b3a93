#include "tests/base/test.h"

#include "base/rng.h"
#include "imaging/resize.h"

#include <math.h>

static img_image make(uint32_t width, uint32_t height, unsigned bits, uint64_t seed)
{
    img_image i = {.width = width, .height = height, .bits = (uint8_t)bits};
    i.pixels = malloc((size_t)width * height * 2);
    fl_rng rng;
    fl_rng_init(&rng, seed, 0);
    for (size_t k = 0; k < (size_t)width * height; k++)
        i.pixels[k] = (uint16_t)fl_rng_below(&rng, 1u << bits);
    return i;
}

static void shrinking_is_the_mean_over_the_area(void **state)
{
    (void)state;
    const uint16_t in[] = {0, 10, 20, 30, 40, 50};
    uint16_t out[2];
    img_shrink(out, 2, 1, in, 6, 1);
    assert_int_equal(out[0], 10);
    assert_int_equal(out[1], 40);
    const uint16_t three[] = {0, 30, 90}; /* halves of the middle one go either way: (0 + 15) / 1.5, (15 + 90) / 1.5 */
    img_shrink(out, 2, 1, three, 3, 1);
    assert_int_equal(out[0], 10);
    assert_int_equal(out[1], 70);
    const uint16_t full[] = {65535, 65535, 65535, 65535};
    img_shrink(out, 1, 1, full, 2, 2);
    assert_int_equal(out[0], 65535);
}

/* Against the plain definition in floating point. */
static void any_shrink_agrees_with_the_definition(void **state)
{
    (void)state;
    for (unsigned trial = 0; trial < 20; trial++) {
        fl_rng rng;
        fl_rng_init(&rng, 5, trial);
        uint32_t w = 1 + (uint32_t)fl_rng_below(&rng, 40), h = 1 + (uint32_t)fl_rng_below(&rng, 40);
        uint32_t W = 1 + (uint32_t)fl_rng_below(&rng, w), H = 1 + (uint32_t)fl_rng_below(&rng, h);
        img_image i = make(w, h, 16, trial);
        uint16_t *out = malloc((size_t)W * H * 2);
        img_shrink(out, W, H, i.pixels, w, h);
        for (uint32_t y = 0; y < H; y++)
            for (uint32_t x = 0; x < W; x++) {
                double sum = 0, x0 = (double)x * w / W, x1 = (x + 1.0) * w / W, y0 = (double)y * h / H,
                       y1 = (y + 1.0) * h / H;
                for (uint32_t k = 0; k < h; k++)
                    for (uint32_t j = 0; j < w; j++) {
                        double dx = fmin(x1, j + 1) - fmax(x0, j), dy = fmin(y1, k + 1) - fmax(y0, k);
                        sum += dx > 0 && dy > 0 ? dx * dy * i.pixels[k * w + j] : 0;
                    }
                assert_true(fabs(out[y * W + x] - sum * W * H / ((double)w * h)) < 0.5001);
            }
        free(out);
        img_image_fini(&i);
    }
}

static void the_output_spans_minus_one_to_one(void **state)
{
    (void)state;
    img_image i = make(100, 80, 12, 1);
    float *out = malloc(3 * 100 * 80 * sizeof *out);
    img_resize(out, 3, 80, 100, &i);
    float lo = 9, hi = -9;
    for (unsigned k = 0; k < 8000; k++) {
        lo = fminf(lo, out[k]);
        hi = fmaxf(hi, out[k]);
        assert_true(out[k] == out[8000 + k] && out[k] == out[16000 + k]);
    }
    assert_true(lo == -1 && hi == 1);
    free(out);
    img_image_fini(&i);
}

static void brightness_and_contrast_of_a_machine_do_not_matter(void **state)
{
    (void)state;
    img_image a = make(160, 160, 10, 2), b = make(160, 160, 10, 2);
    for (unsigned k = 0; k < 160 * 160; k++)
        b.pixels[k] = (uint16_t)(3 * b.pixels[k] + 700);
    b.bits = 12;
    float x[32 * 32], y[32 * 32];
    img_resize(x, 1, 32, 32, &a);
    img_resize(y, 1, 32, 32, &b);
    for (unsigned k = 0; k < 32 * 32; k++)
        assert_true(fabsf(x[k] - y[k]) < 1e-6f);
    img_image_fini(&a);
    img_image_fini(&b);
}

static void growing_is_linear_between_centres(void **state)
{
    (void)state;
    uint16_t pixels[] = {0, 100};
    img_image i = {.width = 2, .height = 1, .bits = 8, .pixels = pixels};
    float out[4];
    img_resize(out, 1, 1, 4, &i);
    const float expected[] = {-1, -0.5f, 0.5f, 1};
    for (unsigned k = 0; k < 4; k++)
        assert_true(fabsf(out[k] - expected[k]) < 1e-6f);
}

static void a_blank_image_is_zero(void **state)
{
    (void)state;
    uint16_t pixels[9] = {7, 7, 7, 7, 7, 7, 7, 7, 7};
    img_image i = {.width = 3, .height = 3, .bits = 8, .pixels = pixels};
    float out[4] = {9, 9, 9, 9};
    img_resize(out, 1, 2, 2, &i);
    for (unsigned k = 0; k < 4; k++)
        assert_true(out[k] == 0);
}

static void the_same_bits_every_time(void **state)
{
    (void)state;
    img_image i = make(777, 1024, 16, 3), other = make(64, 64, 8, 4);
    float a[64 * 64], b[64 * 64], c[64 * 64];
    img_resize(a, 1, 64, 64, &i);
    img_resize(c, 1, 64, 64, &other);
    img_resize(b, 1, 64, 64, &i);
    assert_memory_equal(a, b, sizeof a);
    img_image_fini(&i);
    img_image_fini(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shrinking_is_the_mean_over_the_area),
        cmocka_unit_test(any_shrink_agrees_with_the_definition),
        cmocka_unit_test(the_output_spans_minus_one_to_one),
        cmocka_unit_test(brightness_and_contrast_of_a_machine_do_not_matter),
        cmocka_unit_test(growing_is_linear_between_centres),
        cmocka_unit_test(a_blank_image_is_zero),
        cmocka_unit_test(the_same_bits_every_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
