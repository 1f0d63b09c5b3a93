#include "imaging/resize.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *need(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p)
        abort();
    return p;
}

/*
 * Output cell i covers [i * in, (i + 1) * in) of an axis on which input cell k covers [k * out, (k + 1) * out):
 * all overlaps are integers, and the weights of a cell sum to `in`.
 */
static uint64_t overlap(uint32_t i, uint32_t k, uint32_t in, uint32_t out)
{
    uint64_t lo = (uint64_t)i * in, hi = lo + in, a = (uint64_t)k * out, b = a + out;
    return (b < hi ? b : hi) - (a > lo ? a : lo);
}

void img_shrink(uint16_t *out, uint32_t out_width, uint32_t out_height, const uint16_t *pixels, uint32_t width,
                uint32_t height)
{
    assert(out_width >= 1 && out_width <= width && out_height >= 1 && out_height <= height);
    assert((uint64_t)width * height <= UINT32_MAX); /* sums of weight * pixel stay below 2^48 */
    uint64_t *row = need(out_width, sizeof *row);
    uint64_t area = (uint64_t)width * height;
    for (uint32_t y = 0; y < out_height; y++) {
        memset(row, 0, out_width * sizeof *row);
        uint32_t k_last = (uint32_t)((((uint64_t)y + 1) * height - 1) / out_height);
        for (uint32_t k = (uint32_t)((uint64_t)y * height / out_height); k <= k_last; k++) {
            uint64_t wy = overlap(y, k, height, out_height);
            const uint16_t *in = pixels + (size_t)k * width;
            for (uint32_t x = 0; x < out_width; x++) {
                uint64_t sum = 0;
                uint32_t j_last = (uint32_t)((((uint64_t)x + 1) * width - 1) / out_width);
                for (uint32_t j = (uint32_t)((uint64_t)x * width / out_width); j <= j_last; j++)
                    sum += overlap(x, j, width, out_width) * in[j];
                row[x] += wy * sum;
            }
        }
        for (uint32_t x = 0; x < out_width; x++)
            out[(size_t)y * out_width + x] = (uint16_t)((row[x] + area / 2) / area);
    }
    free(row);
}

/* One axis as a table: output cell i is the sum over k of weight[k] * input[first + k], the weights summing to 1. */
typedef struct axis {
    uint32_t *first, *count;
    double *weight; /* stride per cell */
    uint32_t stride;
} axis;

static void axis_init(axis *a, uint32_t in, uint32_t out)
{
    a->stride = in / out + 2;
    a->first = need(out, sizeof *a->first);
    a->count = need(out, sizeof *a->count);
    a->weight = need((size_t)out * a->stride, sizeof *a->weight);
    for (uint32_t i = 0; i < out; i++) {
        double *w = a->weight + (size_t)i * a->stride;
        if (out <= in) {
            uint32_t first = (uint32_t)((uint64_t)i * in / out);
            uint32_t last = (uint32_t)((((uint64_t)i + 1) * in - 1) / out);
            assert(last - first < a->stride);
            a->first[i] = first;
            a->count[i] = last - first + 1;
            for (uint32_t k = first; k <= last; k++)
                w[k - first] = (double)overlap(i, k, in, out) / in;
        } else { /* between pixel centres, the border repeated */
            double centre = (i + 0.5) * in / out - 0.5;
            centre = centre < 0 ? 0 : centre > in - 1 ? in - 1 : centre;
            a->first[i] = (uint32_t)centre;
            double t = centre - a->first[i];
            a->count[i] = t > 0 ? 2 : 1;
            w[0] = 1 - t;
            w[1] = t;
        }
    }
}

static void axis_fini(axis *a)
{
    free(a->first);
    free(a->count);
    free(a->weight);
}

/* The pixel value at the given rank, from a histogram of all 2^16 values. */
static unsigned value_at_rank(const uint32_t *histogram, uint64_t rank)
{
    uint64_t seen = 0;
    for (unsigned v = 0; v < 65536; v++) {
        seen += histogram[v];
        if (seen > rank)
            return v;
    }
    return 65535;
}

static void percentiles(double *lo, double *hi, const img_image *image)
{
    uint32_t *histogram = need(65536, sizeof *histogram);
    uint64_t n = (uint64_t)image->width * image->height;
    for (uint64_t i = 0; i < n; i++)
        histogram[image->pixels[i]]++;
    *lo = value_at_rank(histogram, n / 100);
    *hi = value_at_rank(histogram, n - 1 - n / 100);
    free(histogram);
}

void img_resize(float *out, uint32_t C, uint32_t H, uint32_t W, const img_image *image)
{
    assert(C >= 1 && H >= 1 && W >= 1 && H <= 4096 && W <= 4096);
    assert(image->pixels && image->width >= 1 && image->height >= 1);
    double lo, hi;
    percentiles(&lo, &hi, image);
    axis ax, ay;
    axis_init(&ax, image->width, W);
    axis_init(&ay, image->height, H);
    double *row = need(image->width, sizeof *row);
    for (uint32_t y = 0; y < H; y++) {
        memset(row, 0, image->width * sizeof *row);
        for (uint32_t k = 0; k < ay.count[y]; k++) {
            const uint16_t *in = image->pixels + (size_t)(ay.first[y] + k) * image->width;
            double w = ay.weight[(size_t)y * ay.stride + k];
            for (uint32_t x = 0; x < image->width; x++)
                row[x] += w * in[x];
        }
        for (uint32_t x = 0; x < W; x++) {
            double sum = 0;
            for (uint32_t k = 0; k < ax.count[x]; k++)
                sum += ax.weight[(size_t)x * ax.stride + k] * row[ax.first[x] + k];
            double v = hi > lo ? 2 * (sum - lo) / (hi - lo) - 1 : 0;
            out[(size_t)y * W + x] = (float)(v < -1 ? -1 : v > 1 ? 1 : v);
        }
    }
    for (uint32_t c = 1; c < C; c++)
        memcpy(out + (size_t)c * H * W, out, (size_t)H * W * sizeof *out);
    free(row);
    axis_fini(&ax);
    axis_fini(&ay);
}
