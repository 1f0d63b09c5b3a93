#include "imaging/heat.h"

#include "imaging/resize.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GAP       8
#define BAR_WIDTH 24

static const float thin_line = 0.5f, thick_line = 0.8f;

/* Lightness rises evenly from black over violet, red and orange to pale yellow. */
static const uint8_t colours[][3] = {{0, 0, 4},     {40, 11, 84},   {101, 21, 110}, {159, 42, 99},
                                     {212, 72, 66}, {245, 125, 21}, {250, 193, 39}, {252, 255, 164}};
#define N_COLOURS (sizeof colours / sizeof colours[0])

static void colour_of(uint8_t rgb[3], float value)
{
    const float at = fminf(fmaxf(value, 0), 1) * (N_COLOURS - 1);
    const size_t i = at >= N_COLOURS - 1 ? N_COLOURS - 2 : (size_t)at;
    for (int c = 0; c < 3; c++)
        rgb[c] = (uint8_t)lrintf((float)colours[i][c] +
                                 (at - (float)i) * ((float)colours[i + 1][c] - (float)colours[i][c]));
}

/* Where the centre of cell i of n lies among the centres of m cells of the same axis; *t of the way to the next. */
static uint32_t between(float *t, uint32_t i, uint32_t n, uint32_t m)
{
    double at = (i + 0.5) * m / n - 0.5;
    at = at < 0 ? 0 : at > m - 1 ? m - 1 : at;
    const uint32_t k = at >= m - 1 ? (m >= 2 ? m - 2 : 0) : (uint32_t)at;
    *t = (float)(at - k);
    return k;
}

/* out (H, W): the map, the largest value 1; all 0 when no value is above 0. */
static void enlarge(float *out, uint32_t H, uint32_t W, const float *heat, uint32_t h, uint32_t w)
{
    float largest = 0;
    for (size_t i = 0; i < (size_t)h * w; i++)
        largest = fmaxf(largest, heat[i]);
    for (uint32_t y = 0; y < H; y++) {
        float ty, tx;
        const uint32_t j = between(&ty, y, H, h), j2 = j + (h > 1);
        for (uint32_t x = 0; x < W; x++) {
            const uint32_t i = between(&tx, x, W, w), i2 = i + (w > 1);
            const float corner[4] = {heat[(size_t)j * w + i], heat[(size_t)j * w + i2], heat[(size_t)j2 * w + i],
                                     heat[(size_t)j2 * w + i2]};
            const float top = fmaxf(corner[0], 0) * (1 - tx) + fmaxf(corner[1], 0) * tx;
            const float bottom = fmaxf(corner[2], 0) * (1 - tx) + fmaxf(corner[3], 0) * tx;
            out[(size_t)y * W + x] = largest > 0 ? (top * (1 - ty) + bottom * ty) / largest : 0;
        }
    }
}

/* Does the level pass within `reach` pixels to the right of or below this one? */
static bool crosses(const float *heat, uint32_t H, uint32_t W, uint32_t y, uint32_t x, float level, uint32_t reach)
{
    const bool above = heat[(size_t)y * W + x] >= level;
    for (uint32_t d = 1; d <= reach; d++) {
        if (x + d < W && (heat[(size_t)y * W + x + d] >= level) != above)
            return true;
        if (y + d < H && (heat[(size_t)(y + d) * W + x] >= level) != above)
            return true;
    }
    return false;
}

static uint8_t *at(const img_picture *p, uint32_t y, uint32_t x)
{
    return p->rgb + 3 * ((size_t)y * p->width + x);
}

static void draw_panels(img_picture *p, const float *film, const float *heat, uint32_t H, uint32_t W)
{
    for (uint32_t y = 0; y < H; y++) {
        for (uint32_t x = 0; x < W; x++) {
            const float grey = (film[(size_t)y * W + x] + 1) * 127.5f, value = heat[(size_t)y * W + x];
            const float weight = 0.7f * fminf(1, 2 * value); /* little heat leaves the film to be seen */
            uint8_t colour[3], *left = at(p, y, x), *right = at(p, y, W + GAP + x);
            colour_of(colour, value);
            memset(left, (int)lrintf(grey), 3);
            for (int c = 0; c < 3; c++)
                right[c] = (uint8_t)lrintf(grey * (1 - weight) + (float)colour[c] * weight);
            if (crosses(heat, H, W, y, x, thin_line, 1) || crosses(heat, H, W, y, x, thick_line, 3))
                memset(right, 255, 3);
            else if (crosses(heat, H, W, y, x, thin_line, 2) || crosses(heat, H, W, y, x, thick_line, 5))
                memset(right, 0, 3); /* an edge, so that a line is seen on white */
        }
    }
}

static void draw_bar(img_picture *p, uint32_t H, uint32_t left)
{
    for (uint32_t y = 0; y < H; y++) {
        const float value = 1 - ((float)y + 0.5f) / (float)H;
        const float off_thin = fabsf(value - thin_line) * (float)H, off_thick = fabsf(value - thick_line) * (float)H;
        for (uint32_t x = 0; x < BAR_WIDTH; x++) {
            uint8_t *pixel = at(p, y, left + x);
            colour_of(pixel, value);
            if (off_thin < 1 || off_thick < 3)
                memset(pixel, 255, 3);
        }
    }
}

static uint32_t shown(uint32_t side, uint32_t longer)
{
    const uint32_t target = longer < IMG_HEAT_MIN ? IMG_HEAT_MIN : longer;
    const uint32_t size = (uint32_t)((uint64_t)side * target / longer);
    return size < 1 ? 1 : size;
}

fl_code img_heat_draw(img_picture *out, const img_image *film, const float *heat, uint32_t h, uint32_t w, fl_err *err)
{
    assert(h >= 1 && w >= 1 && film->width <= IMG_MAX_SIDE && film->height <= IMG_MAX_SIDE);
    const uint32_t longer = film->width > film->height ? film->width : film->height;
    const uint32_t W = shown(film->width, longer), H = shown(film->height, longer);
    *out = (img_picture){.width = 2 * W + 2 * GAP + BAR_WIDTH, .height = H};
    out->rgb = calloc((size_t)out->width * H, 3);
    float *prepared = malloc((size_t)W * H * sizeof *prepared), *large = malloc((size_t)W * H * sizeof *large);
    fl_code rc = out->rgb && prepared && large ? FL_OK : fl_fail(err, FL_EENV, "picture: out of memory");
    if (rc == FL_OK) {
        memset(out->rgb, 255, (size_t)out->width * H * 3);
        img_resize(prepared, 1, H, W, film);
        enlarge(large, H, W, heat, h, w);
        draw_panels(out, prepared, large, H, W);
        draw_bar(out, H, 2 * W + 2 * GAP);
    } else
        img_picture_fini(out);
    free(prepared);
    free(large);
    return rc;
}

void img_picture_fini(img_picture *p)
{
    if (!p)
        return;
    free(p->rgb);
    *p = (img_picture){0};
}
