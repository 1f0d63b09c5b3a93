#include "train/convolution.h"
#include "privacy/clip.h"
#include "train/kernels.h"
#include <assert.h>
#include <string.h>

enum {
    BAND = 192,         /* output pixels that share one pass over the weights */
    K_BLOCK = 576,      /* rows of weights that stay in the first cache while a band goes by */
    MAX_RUNS = 64,      /* runs of one product */
    TILE = 96,          /* rows of a gradient that are in the first cache together */
    GRADIENT_BAND = 128 /* output pixels of a gradient that are */
};

static uint32_t round16(uint32_t n)
{
    return (n + 15) / 16 * 16;
}

static uint32_t at_most(uint32_t n, uint32_t limit)
{
    return n < limit ? n : limit;
}

/* --- the plan -------------------------------------------------------------------------------------------------- */

/*
 * The input gradient along one axis. The input positions with (h + P) mod S = r form phase r: its first is h, there are
 * `count` of them, S apart, and the taps r, r + S, .. meet them. Position h + i S reads dy at from + i .. from + i + taps - 1,
 * the tap r + (taps - 1) S first. An axis with one output has no second position for a tap: any stride describes it, and
 * one that gives each tap its own phase needs no halo.
 */
typedef struct phase {
    uint32_t h, count, taps;
    int64_t from;
} phase;

static uint32_t phases(uint32_t out, uint32_t size, uint32_t kernel, uint32_t stride, uint32_t pad)
{
    if (out > 1)
        return stride;
    return size + pad > kernel ? size + pad : kernel;
}

static phase phase_of(uint32_t r, uint32_t n_phases, uint32_t size, uint32_t kernel, uint32_t pad)
{
    phase p = {.taps = r < kernel ? (kernel - r - 1) / n_phases + 1 : 0};
    uint32_t t = r >= pad ? 0 : (pad - r + n_phases - 1) / n_phases; /* the first h >= 0 is r + t S - P */
    p.h = r + t * n_phases - pad;
    p.count = p.h < size ? (size - p.h - 1) / n_phases + 1 : 0;
    p.from = (int64_t)t - (p.taps - 1);
    return p;
}

static void widen(uint32_t *before, uint32_t *after, const phase *p, uint32_t out)
{
    if (p->taps == 0 || p->count == 0)
        return;
    int64_t over = p->from + p->count - 1 + p->taps - out; /* last position read, beyond the last output */
    *before = p->from < 0 && -p->from > *before ? (uint32_t)-p->from : *before;
    *after = over > 0 && over > *after ? (uint32_t)over : *after;
}

nn_convolution nn_conv_plan(const nn_conv_shape *s)
{
    assert(s->groups >= 1 && s->C % s->groups == 0 && s->out % s->groups == 0 && s->stride >= 1);
    assert(s->H + 2 * s->pad >= s->kernel_h && s->W + 2 * s->pad >= s->kernel_w);
    nn_convolution c = {.shape = *s, .group_in = s->C / s->groups};
    c.is_depthwise = s->groups > 1 && s->groups == s->C && s->groups == s->out;
    c.groups = c.is_depthwise ? 1 : s->groups;
    c.group_out = s->out / c.groups;
    c.out_h = (s->H + 2 * s->pad - s->kernel_h) / s->stride + 1;
    c.out_w = (s->W + 2 * s->pad - s->kernel_w) / s->stride + 1;
    c.packed_out = round16(c.group_out);
    c.k = (size_t)s->kernel_h * s->kernel_w * c.group_in;
    c.bias_at = c.groups * c.k * c.packed_out;
    c.n_flat = c.k * s->out + (s->has_bias ? s->out : 0);
    c.n_packed = c.bias_at + (s->has_bias ? (size_t)c.groups * c.packed_out : 0);
    c.n_transposed = c.is_depthwise ? c.k * c.packed_out
                                    : (size_t)s->groups * s->kernel_h * s->kernel_w * c.group_out * round16(c.group_in);
    c.n_scratch = TILE * NN_PANEL;
    if (c.n_packed - c.bias_at > c.n_scratch)
        c.n_scratch = c.n_packed - c.bias_at;
    c.flops = 2 * (uint64_t)c.k * s->out * c.out_h * c.out_w;
    c.phase_h = phases(c.out_h, s->H, s->kernel_h, s->stride, s->pad);
    c.phase_w = phases(c.out_w, s->W, s->kernel_w, s->stride, s->pad);

    uint32_t last_h = (c.out_h - 1) * s->stride + s->kernel_h, last_w = (c.out_w - 1) * s->stride + s->kernel_w;
    c.x_halo = (nn_halo){s->pad, s->pad, last_h > s->H + s->pad ? last_h - s->H - s->pad : 0,
                         last_w > s->W + s->pad ? last_w - s->W - s->pad : 0};
    for (uint32_t r = 0; r < c.phase_h; r++) {
        phase p = phase_of(r, c.phase_h, s->H, s->kernel_h, s->pad);
        widen(&c.dy_halo.top, &c.dy_halo.bottom, &p, c.out_h);
    }
    for (uint32_t r = 0; r < c.phase_w; r++) {
        phase p = phase_of(r, c.phase_w, s->W, s->kernel_w, s->pad);
        widen(&c.dy_halo.left, &c.dy_halo.right, &p, c.out_w);
    }
    return c;
}

/* --- packing --------------------------------------------------------------------------------------------------- */

/* Where row k of a group's column o lies. */
static size_t packed_at(const nn_convolution *c, uint32_t group, size_t k, uint32_t o)
{
    uint32_t panel = o / NN_PANEL, width = at_most(c->packed_out - panel * NN_PANEL, NN_PANEL);
    return group * c->k * c->packed_out + (size_t)panel * NN_PANEL * c->k + k * width + o % NN_PANEL;
}

/*
 * Sixteen outputs of a group at a time, from o on: their rows of the flat vector are sixteen streams, which are read and
 * written SIDE values at a time; the packed rows are whole vectors. Threads share the work by these blocks.
 */
enum { SIDE = 16 };

typedef struct strip {
    uint32_t group, o, n, width; /* n of the 16 are real; width of their panel */
    size_t flat, bias;           /* first weight and first bias of output o */
    size_t packed, packed_bias;
} strip;

static uint64_t strips(const nn_convolution *c)
{
    return (uint64_t)c->groups * (c->packed_out / SIDE);
}

static strip strip_of(const nn_convolution *c, uint64_t index)
{
    const uint32_t in_group = c->packed_out / SIDE;
    strip s = {.group = (uint32_t)(index / in_group), .o = (uint32_t)(index % in_group) * SIDE};
    const size_t output = (size_t)s.group * c->group_out + s.o;
    s.n = at_most(c->group_out - s.o, SIDE);
    s.width = at_most(c->packed_out - s.o / NN_PANEL * NN_PANEL, NN_PANEL);
    s.flat = output * c->k;
    s.bias = c->k * c->shape.out + output;
    s.packed = packed_at(c, s.group, 0, s.o);
    s.packed_bias = c->bias_at + (size_t)s.group * c->packed_out + s.o;
    return s;
}

/* Where flat values j .. j + n - 1 of an output, j = (channel, tap), stand in its packed column. */
static void packed_rows(const nn_convolution *c, const strip *s, size_t row[SIDE], size_t j, size_t n)
{
    const size_t area = (size_t)c->shape.kernel_h * c->shape.kernel_w;
    size_t i = j / area, tap = j % area;
    for (size_t q = 0; q < n; q++) {
        row[q] = s->packed + (tap * c->group_in + i) * s->width;
        if (++tap == area) {
            tap = 0;
            i++;
        }
    }
}

typedef float four __attribute__((vector_size(16)));

static four load_four(const float *p)
{
    four v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void store_four(float *p, four v)
{
    memcpy(p, &v, sizeof v);
}

/* to[j][i] = from[i][j], SIDE x SIDE */
static void turn(float *to, size_t to_step, const float *from, size_t from_step)
{
    for (size_t i = 0; i < SIDE; i += 4) {
        for (size_t j = 0; j < SIDE; j += 4) {
            const float *at = from + i * from_step + j;
            float *out = to + j * to_step + i;
            four a = load_four(at), b = load_four(at + from_step), c = load_four(at + 2 * from_step),
                 d = load_four(at + 3 * from_step);
            four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
            store_four(out, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
            store_four(out + to_step, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
            ab = __builtin_shufflevector(a, b, 2, 6, 3, 7), cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            store_four(out + 2 * to_step, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
            store_four(out + 3 * to_step, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
        }
    }
}

static void pack_strip(const nn_convolution *c, const strip *s, float *packed, const float *flat)
{
    float block[SIDE * SIDE], turned[SIDE * SIDE];
    size_t row[SIDE];
    memset(block, 0, sizeof block);
    for (size_t j = 0, n; j < c->k; j += n) {
        n = c->k - j < SIDE ? c->k - j : SIDE;
        packed_rows(c, s, row, j, n);
        for (uint32_t column = 0; column < s->n; column++)
            memcpy(block + column * SIDE, flat + s->flat + column * c->k + j, n * sizeof *block);
        turn(turned, SIDE, block, SIDE);
        for (size_t q = 0; q < n; q++)
            memcpy(packed + row[q], turned + q * SIDE, SIDE * sizeof *packed);
    }
    for (uint32_t column = 0; c->shape.has_bias && column < SIDE; column++)
        packed[s->packed_bias + column] = column < s->n ? flat[s->bias + column] : 0;
}

/* One tap of a strip: its packed rows (channel, output) become rows (output, channel) of a phase that starts at out and
 * has so many rows; the first is row `at`. */
static void turn_tap(const nn_convolution *c, const strip *s, float *out, size_t rows, size_t at, const float *packed)
{
    float block[SIDE * SIDE], turned[SIDE * SIDE];
    const uint32_t width = round16(c->group_in);
    for (uint32_t i = 0; i < width; i += SIDE) {
        const uint32_t panel = i / NN_PANEL * NN_PANEL, columns = at_most(width - panel, NN_PANEL);
        float *to = out + panel * rows + at * columns + i % NN_PANEL;
        const float *from = packed + (size_t)i * s->width;
        size_t step = s->width;
        if (c->group_in - i < SIDE) { /* no packed rows for the padded channels */
            memset(block, 0, sizeof block);
            for (uint32_t q = 0; q < c->group_in - i; q++)
                memcpy(block + q * SIDE, from + q * step, SIDE * sizeof *block);
            from = block;
            step = SIDE;
        }
        turn(s->n == SIDE ? to : turned, s->n == SIDE ? columns : SIDE, from, step);
        for (uint32_t o = 0; s->n < SIDE && o < s->n; o++)
            memcpy(to + o * columns, turned + o * SIDE, SIDE * sizeof *to);
    }
}

static void turn_strip(const nn_convolution *c, const strip *s, float *transposed, const float *packed)
{
    const nn_conv_shape *shape = &c->shape;
    float *out = transposed + s->group * (c->n_transposed / c->groups);
    for (uint32_t i = 0; i < c->phase_h * c->phase_w; i++) {
        const uint32_t a = i / c->phase_w, b = i % c->phase_w;
        const phase down = phase_of(a, c->phase_h, shape->H, shape->kernel_h, shape->pad);
        const phase right = phase_of(b, c->phase_w, shape->W, shape->kernel_w, shape->pad);
        const size_t taps = (size_t)down.taps * right.taps, rows = taps * c->group_out;
        for (size_t tap = 0; tap < taps; tap++) { /* backwards */
            const size_t u = a + (down.taps - 1 - tap / right.taps) * c->phase_h;
            const size_t v = b + (right.taps - 1 - tap % right.taps) * c->phase_w;
            const float *from = packed + s->packed + (u * shape->kernel_w + v) * c->group_in * s->width;
            if (c->is_depthwise)
                memcpy(out + s->o / NN_PANEL * NN_PANEL * taps + tap * s->width + s->o % NN_PANEL, from,
                       SIDE * sizeof *out);
            else
                turn_tap(c, s, out, rows, tap * c->group_out + s->o, from);
        }
        out += c->is_depthwise ? taps * c->packed_out : rows * round16(c->group_in);
    }
}

void nn_conv_pack(const nn_convolution *c, float *packed, float *transposed, const float *flat, uint32_t piece,
                  uint32_t pieces)
{
    for (uint64_t i = strips(c) * piece / pieces; i < strips(c) * (piece + 1) / pieces; i++) {
        const strip s = strip_of(c, i);
        pack_strip(c, &s, packed, flat);
        if (transposed)
            turn_strip(c, &s, transposed, packed);
    }
}

void nn_conv_unpack(const nn_convolution *c, float *flat, const float *packed)
{
    float block[SIDE * SIDE], turned[SIDE * SIDE];
    size_t row[SIDE];
    memset(block, 0, sizeof block);
    for (uint64_t i = 0; i < strips(c); i++) {
        const strip s = strip_of(c, i);
        for (size_t j = 0, n; j < c->k; j += n) {
            n = c->k - j < SIDE ? c->k - j : SIDE;
            packed_rows(c, &s, row, j, n);
            for (size_t q = 0; q < n; q++)
                memcpy(block + q * SIDE, packed + row[q], SIDE * sizeof *block);
            turn(turned, SIDE, block, SIDE);
            for (uint32_t column = 0; column < s.n; column++)
                memcpy(flat + s.flat + column * c->k + j, turned + column * SIDE, n * sizeof *flat);
        }
        if (c->shape.has_bias)
            memcpy(flat + s.bias, packed + s.packed_bias, s.n * sizeof *flat);
    }
}

/* --- the sums of all threads ----------------------------------------------------------------------------------- */

void nn_collect_values(const nn_collection *job, int32_t *values, size_t at, size_t n)
{
    memcpy(values, job->sums[0] + at, n * sizeof *values);
    memset(job->sums[0] + at, 0, n * sizeof *values);
    for (unsigned i = 1; i < job->n_sums; i++) {
        dp_sum_add(values, job->sums[i] + at, n);
        memset(job->sums[i] + at, 0, n * sizeof *values);
    }
}

/* A panel's rows, RUN at a time, become so many values of each of its outputs. */
enum { RUN = 64 };
_Static_assert(NN_PANEL *RUN + SIDE * SIDE == NN_COLLECT_SCRATCH, "a panel's run, and what is turned around");

typedef struct run {
    uint32_t group, panel; /* first output of the panel */
    size_t j, n;           /* rows, in flat order */
} run;

static void collect_run(const nn_convolution *c, const nn_collection *job, int32_t *scratch, size_t packed_from,
                        size_t flat_from, const run *r)
{
    int32_t *block = scratch, *rows = scratch + NN_PANEL * RUN; /* (NN_PANEL, RUN), (SIDE, SIDE) */
    size_t row[SIDE];
    const strip s = strip_of(c, ((uint64_t)r->group * c->packed_out + r->panel) / SIDE);
    for (size_t q = 0; q < r->n; q += SIDE) {
        const size_t n = r->n - q < SIDE ? r->n - q : SIDE;
        packed_rows(c, &s, row, r->j + q, n);
        for (uint32_t column = 0; column < s.width; column += SIDE) {
            for (size_t i = 0; i < n; i++)
                nn_collect_values(job, rows + i * SIDE, packed_from + row[i] + column, SIDE);
            turn((float *)(void *)(block + column * RUN + q), RUN, (const float *)(const void *)rows, SIDE);
        }
    }
    const uint32_t n_outputs = at_most(c->group_out - r->panel, s.width);
    for (uint32_t o = 0; o < n_outputs; o++)
        job->put(job->to, flat_from + s.flat + o * c->k + r->j, block + o * RUN, r->n);
}

void nn_conv_collect(const nn_convolution *c, const nn_collection *job, int32_t *scratch, size_t packed_from,
                     size_t flat_from, uint32_t piece, uint32_t pieces)
{
    const size_t runs = (c->k + RUN - 1) / RUN;
    for (size_t i = runs * piece / pieces; i < runs * (piece + 1) / pieces; i++) {
        run r = {.j = i * RUN, .n = c->k - i * RUN < RUN ? c->k - i * RUN : RUN};
        for (r.group = 0; r.group < c->groups; r.group++) {
            for (r.panel = 0; r.panel < c->packed_out; r.panel += NN_PANEL)
                collect_run(c, job, scratch, packed_from, flat_from, &r);
        }
    }
    for (uint64_t i = 0; piece == 0 && c->shape.has_bias && i < strips(c); i++) {
        const strip s = strip_of(c, i);
        nn_collect_values(job, scratch, packed_from + s.packed_bias, SIDE);
        job->put(job->to, flat_from + s.bias, scratch, s.n);
    }
}

/* --- forward and input gradient: pixels sweep over weights ------------------------------------------------------ */

/* Output pixel (n, i, j) lies at y_at + (n, i y_down, j y_right) and reads runs of `length` floats from x_at + (n,
 * i x_down, j x_right) on: runs_down rows of runs_right, run_down and run_right apart. */
typedef struct sweep {
    const nn_map *y, *x;
    ptrdiff_t y_at, x_at, y_down, x_down, y_right, x_right;
    size_t rows, columns; /* pixels of one image */
    ptrdiff_t run_down, run_right;
    size_t runs_down, runs_right, length;
    const float *w, *bias; /* panels; bias or NULL */
    uint32_t outputs, packed_outputs;
    bool accumulate;
    bool is_each; /* output c reads channel c alone: the floats of a run are a pixel apart */
} sweep;

/* Padded channels of y are written too, with zeros, when they are there. */
static uint32_t columns_written(const nn_map *y, uint32_t outputs, uint32_t packed_outputs)
{
    return y->C == outputs && y->cs % 16 == 0 ? packed_outputs : outputs;
}

/* All rows of one panel, in blocks; p has its pixels. */
static void sweep_panel(const sweep *s, nn_product *p, const float *w, uint32_t width)
{
    const nn_kernels *kernels = nn_kernels_chosen();
    ptrdiff_t x_run[MAX_RUNS], w_run[MAX_RUNS];
    const size_t n_runs = s->runs_down * s->runs_right;
    const size_t pieces = s->length > K_BLOCK ? (s->length + K_BLOCK - 1) / K_BLOCK : 1; /* of one run */
    const size_t together = pieces > 1                       ? 1
                            : s->length == 0                 ? MAX_RUNS
                            : K_BLOCK / s->length < MAX_RUNS ? K_BLOCK / s->length
                                                             : MAX_RUNS;
    p->x_run = x_run;
    p->w_run = w_run;
    p->x_step = s->is_each ? s->x->cs : 1;
    p->w_step = width;
    size_t r = 0;
    do { /* once without any run, too: that writes the start */
        p->n_runs = n_runs - r < together ? n_runs - r : together;
        for (size_t i = 0; i < p->n_runs; i++) {
            x_run[i] = (ptrdiff_t)((r + i) / s->runs_right) * s->run_down +
                       (ptrdiff_t)((r + i) % s->runs_right) * s->run_right + (s->is_each ? (ptrdiff_t)p->y_at : 0);
            w_run[i] = (ptrdiff_t)((r + i) * s->length * width);
        }
        for (size_t piece = 0; piece < pieces; piece++) {
            size_t from = s->length * piece / pieces, to = s->length * (piece + 1) / pieces;
            p->w = w + from * width;
            p->length = to - from;
            (s->is_each ? kernels->multiply_each : kernels->multiply)(p);
            p->accumulate = true;
            for (size_t i = 0; i < p->n_runs; i++)
                x_run[i] += (ptrdiff_t)(to - from) * p->x_step;
        }
        r += p->n_runs;
    } while (r < n_runs);
}

/* Pixels from .. to - 1 of all images, counted row by row. */
static void sweep_pixels(const sweep *s, float **y, const float **x, size_t from, size_t to)
{
    size_t n = from / (s->rows * s->columns), i = from / s->columns % s->rows, j = from % s->columns;
    for (size_t at = 0; at < to - from;) {
        float *y_row = s->y->at + n * s->y->image + s->y_at + (ptrdiff_t)i * s->y_down;
        const float *x_row = s->x->at + n * s->x->image + s->x_at + (ptrdiff_t)i * s->x_down;
        for (; j < s->columns && at < to - from; j++, at++) {
            y[at] = y_row + (ptrdiff_t)j * s->y_right;
            x[at] = x_row + (ptrdiff_t)j * s->x_right;
        }
        j = 0;
        if (++i == s->rows) {
            i = 0;
            n++;
        }
    }
}

static void sweep_all(const sweep *s, uint32_t n_images)
{
    float *y[BAND];
    const float *x[BAND];
    const size_t total = s->rows * s->columns * n_images, bands = (total + BAND - 1) / BAND;
    const size_t k = s->runs_down * s->runs_right * s->length;
    const uint32_t written = columns_written(s->y, s->outputs, s->packed_outputs);
    for (size_t band = 0; band < bands; band++) {
        const size_t from = total * band / bands, to = total * (band + 1) / bands;
        sweep_pixels(s, y, x, from, to);
        for (uint32_t column = 0; column < s->packed_outputs; column += NN_PANEL) {
            const uint32_t width = at_most(s->packed_outputs - column, NN_PANEL);
            nn_product p = {.y = y, .x = x, .y_at = column, .n_rows = to - from};
            p.w_columns = s->is_each ? at_most(s->outputs - column, width) : width;
            p.y_columns = at_most(written - column, width);
            p.start = s->bias ? s->bias + column : NULL;
            p.accumulate = s->accumulate;
            sweep_panel(s, &p, s->w + k * column, width);
        }
    }
}

void nn_conv_forward(const nn_convolution *c, const nn_map *y, const nn_map *x, const float *packed, uint32_t n_images)
{
    const unsigned before = nn_floats_enter();
    const nn_conv_shape *s = &c->shape;
    const ptrdiff_t row = (ptrdiff_t)x->row, cs = x->cs, stride = s->stride, pad = s->pad;
    /* the taps of a kernel row lie back to back, or are one run of pixels */
    const bool is_whole = c->is_depthwise || c->group_in == x->cs;
    for (uint32_t g = 0; g < c->groups; g++) {
        sweep w = {
            .y = y, .x = x, .y_down = (ptrdiff_t)y->row, .y_right = y->cs, .rows = c->out_h, .columns = c->out_w};
        w.x_at = -pad * row - pad * cs + (ptrdiff_t)(g * c->group_in);
        w.y_at = (ptrdiff_t)(g * c->group_out);
        w.x_down = stride * row;
        w.x_right = stride * cs;
        w.run_down = row;
        w.run_right = cs;
        w.runs_down = s->kernel_h;
        w.runs_right = is_whole ? 1 : s->kernel_w;
        w.length = is_whole ? (size_t)s->kernel_w * c->group_in : c->group_in;
        w.w = packed + g * c->k * c->packed_out;
        w.bias = s->has_bias ? packed + c->bias_at + (size_t)g * c->packed_out : NULL;
        w.outputs = c->group_out;
        w.packed_outputs = c->packed_out;
        w.is_each = c->is_depthwise;
        sweep_all(&w, n_images);
    }
    nn_floats_leave(before);
}

void nn_conv_input_gradient(const nn_convolution *c, const nn_map *dx, const nn_map *dy, const float *transposed,
                            uint32_t n_images, bool accumulate)
{
    const unsigned before = nn_floats_enter();
    const nn_conv_shape *s = &c->shape;
    const uint32_t n_phases = c->phase_h * c->phase_w;
    const uint32_t inputs = c->is_depthwise ? s->C : c->group_in, packed_in = round16(inputs);
    const uint32_t met = c->is_depthwise ? 1 : c->group_out; /* outputs that an input meets at a tap */
    const bool is_whole = c->is_depthwise || c->group_out == dy->cs;
    for (uint32_t i = 0; i < c->groups * n_phases; i++) {
        uint32_t g = i / n_phases;
        phase down = phase_of(i % n_phases / c->phase_w, c->phase_h, s->H, s->kernel_h, s->pad);
        phase right = phase_of(i % c->phase_w, c->phase_w, s->W, s->kernel_w, s->pad);
        sweep w = {.y = dx, .x = dy, .x_down = (ptrdiff_t)dy->row, .x_right = dy->cs, .accumulate = accumulate};
        w.rows = down.count;
        w.columns = right.count;
        w.y_at = (ptrdiff_t)(down.h * dx->row + (size_t)right.h * dx->cs + g * c->group_in);
        w.y_down = (ptrdiff_t)(c->phase_h * dx->row);
        w.y_right = (ptrdiff_t)c->phase_w * dx->cs;
        w.x_at = down.from * (ptrdiff_t)dy->row + right.from * (ptrdiff_t)dy->cs + (ptrdiff_t)(g * c->group_out);
        w.run_down = (ptrdiff_t)dy->row;
        w.run_right = dy->cs;
        w.runs_down = right.taps > 0 ? down.taps : 0;
        w.runs_right = is_whole ? 1 : right.taps > 0 ? right.taps : 1;
        w.length = is_whole ? (size_t)right.taps * met : met;
        w.w = transposed;
        w.outputs = inputs;
        w.packed_outputs = packed_in;
        w.is_each = c->is_depthwise;
        transposed += (size_t)down.taps * right.taps * met * packed_in;
        if (w.rows * w.columns > 0 && !(accumulate && w.runs_down == 0))
            sweep_all(&w, n_images);
    }
    nn_floats_leave(before);
}

/* --- weight gradient: rows of weights sweep over pixels ---------------------------------------------------------- */

/* Rows k .. k + rows - 1 of a panel's gradient, which go to to[], a panel's width apart: what each of them meets at the
 * first output pixel of image 0. */
typedef struct tile {
    uint32_t group, column, width;
    size_t k, rows; /* at most TILE */
    size_t at;      /* in the packed gradient */
    const float *x[TILE];
    float *y[TILE];
} tile;

static void tile_init(tile *t, const nn_convolution *c, const nn_map *x, size_t index)
{
    const size_t cuts = (c->k + TILE - 1) / TILE, panels = (c->packed_out + NN_PANEL - 1) / NN_PANEL;
    t->group = (uint32_t)(index / cuts / panels);
    t->column = (uint32_t)(index / cuts % panels * NN_PANEL);
    t->width = at_most(c->packed_out - t->column, NN_PANEL);
    t->k = c->k * (index % cuts) / cuts;
    t->rows = c->k * (index % cuts + 1) / cuts - t->k;
    t->at = packed_at(c, t->group, t->k, t->column);

    uint32_t i = (uint32_t)(t->k % c->group_in), v = (uint32_t)(t->k / c->group_in % c->shape.kernel_w);
    size_t u = t->k / c->group_in / c->shape.kernel_w;
    const ptrdiff_t pad = c->shape.pad;
    for (size_t k = 0; k < t->rows; k++) {
        t->x[k] = x->at + ((ptrdiff_t)u - pad) * (ptrdiff_t)x->row + ((ptrdiff_t)v - pad) * (ptrdiff_t)x->cs +
                  (ptrdiff_t)(c->is_depthwise ? t->column : t->group * c->group_in + i);
        if (++i < c->group_in)
            continue;
        i = 0;
        if (++v == c->shape.kernel_w) {
            v = 0;
            u++;
        }
    }
}

static size_t tile_count(const nn_convolution *c)
{
    size_t panels = (c->packed_out + NN_PANEL - 1) / NN_PANEL;
    return c->groups * panels * ((c->k + TILE - 1) / TILE);
}

static void tile_goes_to(tile *t, float *to)
{
    for (size_t k = 0; k < t->rows; k++)
        t->y[k] = to + k * t->width;
}

/* The pixels of images first .. first + n - 1, band by band. */
static void tile_compute(const tile *t, const nn_convolution *c, const nn_map *x, const nn_map *dy, uint32_t first,
                         uint32_t n, bool accumulate)
{
    const nn_kernels *kernels = nn_kernels_chosen();
    ptrdiff_t x_run[MAX_RUNS], w_run[MAX_RUNS];
    const size_t lines = (size_t)n * c->out_h; /* rows of output pixels, over all images */
    const size_t pieces = (c->out_w + GRADIENT_BAND - 1) / GRADIENT_BAND;
    const size_t together = pieces > 1 ? 1 : at_most(GRADIENT_BAND / c->out_w, MAX_RUNS);
    nn_product p = {.y = t->y, .x = t->x, .x_run = x_run, .w_run = w_run, .n_rows = t->rows, .accumulate = accumulate};
    p.x_step = (ptrdiff_t)c->shape.stride * x->cs;
    p.w_step = dy->cs;
    p.y_columns = t->width;
    p.w_columns = at_most(c->group_out - t->column, NN_PANEL);
    uint32_t image = first, row = 0;
    for (size_t line = 0; line < lines; line += p.n_runs) {
        p.n_runs = lines - line < together ? lines - line : together;
        for (size_t i = 0; i < p.n_runs; i++) {
            x_run[i] = (ptrdiff_t)(image * x->image + (size_t)row * c->shape.stride * x->row);
            w_run[i] = (ptrdiff_t)(image * dy->image + row * dy->row);
            if (++row == c->out_h) {
                row = 0;
                image++;
            }
        }
        for (size_t piece = 0; piece < pieces; piece++) {
            size_t from = c->out_w * piece / pieces, to = c->out_w * (piece + 1) / pieces;
            p.length = to - from;
            p.w = dy->at + t->group * c->group_out + t->column + from * dy->cs;
            (c->is_depthwise ? kernels->multiply_each : kernels->multiply)(&p);
            p.accumulate = true;
            for (size_t i = 0; i < p.n_runs; i++)
                x_run[i] += (ptrdiff_t)(to - from) * p.x_step;
        }
    }
}

/* db (packed_out of every group) */
static void gradient_bias(const nn_convolution *c, float *db, const nn_map *dy, uint32_t first, uint32_t n,
                          bool accumulate)
{
    for (uint32_t i = 0; i < c->groups * c->packed_out; i++)
        db[i] = accumulate ? db[i] : 0;
    for (uint32_t image = first; image < first + n; image++) {
        for (uint32_t i = 0; i < c->out_h; i++) {
            for (uint32_t j = 0; j < c->out_w; j++) {
                const float *at = dy->at + image * dy->image + i * dy->row + (size_t)j * dy->cs;
                for (uint32_t g = 0; g < c->groups; g++) {
                    for (uint32_t o = 0; o < c->group_out; o++)
                        db[g * c->packed_out + o] += at[g * c->group_out + o];
                }
            }
        }
    }
}

/* Tiles go to their place in dw, or, without dw, one after the other to scratch. Their squares are added up, when wanted,
 * while they are in the first cache. */
static double gradient(const nn_convolution *c, float *dw, float *scratch, const nn_map *x, const nn_map *dy,
                       uint32_t first, uint32_t n, bool accumulate, bool wants_squares)
{
    const unsigned before = nn_floats_enter();
    const nn_kernels *kernels = nn_kernels_chosen();
    double lane[NN_LANES] = {0};
    tile t;
    assert(n >= 1);
    for (size_t i = 0; i < tile_count(c); i++) {
        tile_init(&t, c, x, i);
        float *to = dw ? dw + t.at : scratch;
        tile_goes_to(&t, to);
        tile_compute(&t, c, x, dy, first, n, accumulate);
        if (wants_squares)
            kernels->squares(lane, to, t.rows * t.width, t.at);
    }
    if (c->shape.has_bias) {
        float *to = dw ? dw + c->bias_at : scratch;
        gradient_bias(c, to, dy, first, n, accumulate);
        if (wants_squares)
            kernels->squares(lane, to, c->n_packed - c->bias_at, c->bias_at);
    }
    nn_floats_leave(before);
    return nn_lanes_total(lane);
}

double nn_conv_weight_gradient(const nn_convolution *c, float *dw, const nn_map *x, const nn_map *dy, uint32_t first,
                               uint32_t n, bool accumulate, bool wants_squares)
{
    return gradient(c, dw, NULL, x, dy, first, n, accumulate, wants_squares);
}

/* --- in tiles ---------------------------------------------------------------------------------------------------- */

double nn_conv_sum_squares(const nn_convolution *c, const nn_map *x, const nn_map *dy, uint32_t first, uint32_t n,
                           float *scratch)
{
    return gradient(c, NULL, scratch, x, dy, first, n, false, true);
}

void nn_conv_clip_sum(const nn_convolution *c, int32_t *sum, nn_conv_patient *patients, size_t n_patients,
                      const nn_map *x, const nn_map *dy, float *scratch)
{
    const unsigned before = nn_floats_enter();
    for (size_t p = 0; p < n_patients; p++)
        patients[p].square = 0;
    tile t;
    for (size_t i = 0; i < tile_count(c); i++) {
        tile_init(&t, c, x, i);
        tile_goes_to(&t, scratch);
        for (size_t p = 0; p < n_patients; p++) {
            nn_conv_patient *of = &patients[p];
            if (!(of->scale > 0))
                continue;
            tile_compute(&t, c, x, dy, of->first, of->n, false);
            of->square += nn_kernels_chosen()->clip(sum + t.at, scratch, t.rows * t.width, of->scale);
        }
    }
    for (size_t p = 0; c->shape.has_bias && p < n_patients; p++) {
        nn_conv_patient *of = &patients[p];
        if (!(of->scale > 0))
            continue;
        gradient_bias(c, scratch, dy, of->first, of->n, false);
        of->square += nn_kernels_chosen()->clip(sum + c->bias_at, scratch, c->n_packed - c->bias_at, of->scale);
    }
    nn_floats_leave(before);
}
