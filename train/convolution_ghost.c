#include "train/convolution.h"

/* In double, in a fixed order: eight lanes, then a tree. Products of floats are exact in double. */
static double dot(const float *a, const float *b, size_t n)
{
    enum { LANES = 8 };
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++)
            lane[j] += (double)a[i + j] * (double)b[i + j];
    }
    for (size_t j = 0; i < n; i++, j++)
        lane[j] += (double)a[i] * (double)b[i];
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

/* Of one group of the shape, which a depthwise convolution has not in its packed weights. */
static uint32_t group_in(const nn_convolution *c)
{
    return c->shape.C / c->shape.groups;
}

static uint32_t group_out(const nn_convolution *c)
{
    return c->shape.out / c->shape.groups;
}

/* Output pixel number `at` of the images from `first` on: the corner of what it reads, and its slope. */
static void pixel(const nn_convolution *c, const nn_map *x, const nn_map *dy, uint32_t first, size_t at, uint32_t group,
                  const float **x_at, const float **dy_at)
{
    const size_t area = (size_t)c->out_h * c->out_w, image = first + at / area, i = at % area / c->out_w,
                 j = at % c->out_w, stride = c->shape.stride;
    const ptrdiff_t pad = c->shape.pad;
    *x_at = x->at + image * x->image + i * stride * x->row + j * stride * x->cs + (size_t)group * group_in(c) -
            pad * ((ptrdiff_t)x->row + (ptrdiff_t)x->cs);
    *dy_at = dy->at + image * dy->image + i * dy->row + j * dy->cs + (size_t)group * group_out(c);
}

bool nn_conv_is_broad(const nn_convolution *c)
{
    return (uint64_t)c->out_h * c->out_w <= 16 && c->n_packed >= 1u << 17;
}

double nn_conv_ghost_squares(const nn_convolution *c, const nn_map *x, const nn_map *dy, uint32_t first, uint32_t n)
{
    const size_t pixels = (size_t)n * c->out_h * c->out_w;
    const bool is_whole = group_in(c) == x->cs; /* the taps of a kernel row lie back to back */
    const size_t runs = is_whole ? 1 : c->shape.kernel_w,
                 run = is_whole ? (size_t)c->shape.kernel_w * group_in(c) : group_in(c);
    double total = 0;
    for (uint32_t g = 0; g < c->shape.groups; g++) {
        for (size_t p = 0; p < pixels; p++) {
            for (size_t q = 0; q <= p; q++) {
                const float *x_p, *x_q, *dy_p, *dy_q;
                pixel(c, x, dy, first, p, g, &x_p, &dy_p);
                pixel(c, x, dy, first, q, g, &x_q, &dy_q);
                double met = c->shape.has_bias;
                for (size_t u = 0; u < c->shape.kernel_h; u++) {
                    for (size_t v = 0; v < runs; v++)
                        met += dot(x_p + u * x->row + v * x->cs, x_q + u * x->row + v * x->cs, run);
                }
                total += (q < p ? 2 : 1) * met * dot(dy_p, dy_q, group_out(c));
            }
        }
    }
    return total < 0 ? 0 : total; /* of a gradient that cancels out; not a number stays so */
}
