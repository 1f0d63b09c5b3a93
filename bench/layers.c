/*
 * Every convolution and linear layer of a model on one core: our kernels in each pass, beside columns and OpenBLAS's sgemm
 * on the same work. Seconds of the thread's processor time.
 */
#include "bench/bench.h"
#include "bench/sgemm.h"

#include "base/file.h"
#include "base/rng.h"
#include "train/graph.h"
#include "train/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const fl_cli_option bench_layers_options[] = {
    {"model", "NAME", "an architecture, or a file with a model's layers", true},
    {"input", "CxHxW", "channels, height and width of an image", true},
    {"images", "N", "images of one call, default 16", false},
    {"ms", "T", "least time for each pass of each layer, default 100", false},
    {"kernels", "NAME", "avx512, avx2 or portable, default the best one", false},
    {0},
};

/* One layer with random contents. */
typedef struct place {
    const nn_convolution *c;
    nn_map x, y, dx, dy;
    float *memory[4]; /* of the maps */
    float *packed, *transposed, *gradient, *scratch, *columns, *flat_gradient;
    int32_t *sum;
    nn_conv_patient *patients;
    uint32_t n;
} place;

static void *take(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (p)
        memset(p, 0, bytes);
    return p;
}

static float *take_map(nn_map *m, uint32_t C, uint32_t H, uint32_t W, nn_halo halo, uint32_t n, fl_rng *rng)
{
    *m = (nn_map){.C = C, .H = H, .W = W, .cs = nn_map_channels(C)};
    m->row = (size_t)(halo.left + W + halo.right) * m->cs;
    m->image = (halo.top + H + halo.bottom) * m->row;
    float *memory = take(n * m->image * sizeof *memory);
    m->at = memory ? memory + halo.top * m->row + (size_t)halo.left * m->cs : NULL;
    for (size_t i = 0; memory && i < (size_t)n * H * W; i++) {
        float *pixel = m->at + i / W / H * m->image + i / W % H * m->row + i % W * m->cs;
        for (uint32_t c = 0; c < C; c++)
            pixel[c] = (float)(fl_rng_uniform(rng) - 0.5);
    }
    return memory;
}

static void place_fini(place *p)
{
    for (int i = 0; i < 4; i++)
        free(p->memory[i]);
    free(p->packed), free(p->transposed), free(p->gradient), free(p->scratch), free(p->columns);
    free(p->flat_gradient), free(p->sum), free(p->patients);
}

static bool place_init(place *p, const nn_convolution *c, uint32_t n)
{
    const nn_conv_shape *s = &c->shape;
    const nn_halo none = {0};
    fl_rng rng;
    fl_rng_init(&rng, 1, 1);
    *p = (place){.c = c, .n = n};
    p->memory[0] = take_map(&p->x, s->C, s->H, s->W, c->x_halo, n, &rng);
    p->memory[1] = take_map(&p->y, s->out, c->out_h, c->out_w, none, n, &rng);
    p->memory[2] = take_map(&p->dx, s->C, s->H, s->W, none, n, &rng);
    p->memory[3] = take_map(&p->dy, s->out, c->out_h, c->out_w, c->dy_halo, n, &rng);
    p->packed = take(c->n_packed * sizeof(float));
    p->transposed = take(c->n_transposed * sizeof(float));
    p->gradient = take(c->n_packed * sizeof(float));
    p->scratch = take(c->n_scratch * sizeof(float));
    p->columns = take(c->k * c->out_h * c->out_w * sizeof(float));
    p->flat_gradient = take(c->n_flat * sizeof(float));
    p->sum = take(c->n_packed * sizeof *p->sum);
    p->patients = take(n * sizeof *p->patients);
    bool ok = p->memory[0] && p->memory[1] && p->memory[2] && p->memory[3] && p->packed && p->transposed &&
              p->gradient && p->scratch && p->columns && p->flat_gradient && p->sum && p->patients;
    for (size_t i = 0; ok && i < c->n_flat; i++)
        p->flat_gradient[i] = (float)(fl_rng_uniform(&rng) - 0.5) * 0.1f;
    if (ok)
        nn_conv_pack(c, p->packed, p->transposed, p->flat_gradient, 0, 1);
    return ok;
}

/* --- the passes ------------------------------------------------------------------------------------------------- */

static void forward(place *p)
{
    nn_conv_forward(p->c, &p->y, &p->x, p->packed, p->n);
}

static void input_gradient(place *p)
{
    nn_conv_input_gradient(p->c, &p->dx, &p->dy, p->transposed, p->n, false);
}

static void weight_gradient(place *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        nn_conv_weight_gradient(p->c, p->gradient, &p->x, &p->dy, i, 1, false, false);
}

static void sum_squares(place *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        nn_conv_sum_squares(p->c, &p->x, &p->dy, i, 1, p->scratch);
}

/* Where it is cheaper than the gradient itself; its figures are of the gradient's operations. */
static void ghost_squares(place *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        nn_conv_ghost_squares(p->c, &p->x, &p->dy, i, 1);
}

static void clip_sum(place *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        p->patients[i] = (nn_conv_patient){.first = i, .n = 1, .scale = 1000};
    nn_conv_clip_sum(p->c, p->sum, p->patients, p->n, &p->x, &p->dy, p->scratch);
}

/* Columns of one image, a row for each output pixel: pieces of the image that lie together in memory. */
static void unfold(const place *p, uint32_t image)
{
    const nn_conv_shape *s = &p->c->shape;
    const size_t run = p->x.cs == s->C ? (size_t)s->kernel_w * s->C : s->C, runs = p->x.cs == s->C ? 1 : s->kernel_w;
    float *to = p->columns;
    for (uint32_t i = 0; i < p->c->out_h; i++) {
        for (uint32_t j = 0; j < p->c->out_w; j++) {
            const float *corner = p->x.at + image * p->x.image + i * s->stride * p->x.row + j * s->stride * p->x.cs -
                                  s->pad * (p->x.row + p->x.cs);
            for (size_t u = 0; u < s->kernel_h; u++) {
                for (size_t v = 0; v < runs; v++, to += run)
                    memcpy(to, corner + u * p->x.row + v * p->x.cs, run * sizeof *to);
            }
        }
    }
}

static void blas_forward(place *p)
{
    const nn_convolution *c = p->c;
    const int pixels = (int)(c->out_h * c->out_w), k = (int)c->k, out = (int)c->shape.out;
    for (uint32_t i = 0; i < p->n; i++) {
        unfold(p, i);
        bench_sgemm(false, true, pixels, out, k, p->columns, k, p->flat_gradient, k, 0, p->memory[1], out);
    }
}

static void blas_weight_gradient(place *p)
{
    const nn_convolution *c = p->c;
    const int pixels = (int)(c->out_h * c->out_w), k = (int)c->k, out = (int)c->shape.out;
    for (uint32_t i = 0; i < p->n; i++) /* the columns are those of the forward pass */
        bench_sgemm(true, false, out, k, pixels, p->memory[1], out, p->columns, k, 0, p->gradient, k);
}

static void blas_input_gradient(place *p)
{
    const nn_convolution *c = p->c;
    const nn_conv_shape *s = &c->shape;
    const int pixels = (int)(c->out_h * c->out_w), k = (int)c->k, out = (int)s->out;
    for (uint32_t image = 0; image < p->n; image++) {
        bench_sgemm(false, false, pixels, k, out, p->memory[1], out, p->flat_gradient, k, 0, p->columns, k);
        memset(p->memory[0] + image * p->x.image, 0, p->x.image * sizeof(float));
        const float *from = p->columns;
        for (uint32_t i = 0; i < c->out_h; i++) { /* folded back, into the halo too */
            for (uint32_t j = 0; j < c->out_w; j++) {
                float *corner = p->x.at + image * p->x.image + i * s->stride * p->x.row + j * s->stride * p->x.cs -
                                s->pad * (p->x.row + p->x.cs);
                for (size_t u = 0; u < s->kernel_h; u++) {
                    for (size_t v = 0; v < s->kernel_w; v++, from += s->C) {
                        for (size_t q = 0; q < s->C; q++)
                            corner[u * p->x.row + v * p->x.cs + q] += from[q];
                    }
                }
            }
        }
    }
}

/* --- measuring -------------------------------------------------------------------------------------------------- */

typedef struct pass {
    const char *name;
    void (*run)(place *p), (*blas)(place *p);
} pass;

/* The last one of OpenBLAS's destroys x. */
static const pass passes[] = {
    {"forward", forward, blas_forward}, {"weight_gradient", weight_gradient, blas_weight_gradient},
    {"sum_squares", sum_squares, NULL}, {"ghost_squares", ghost_squares, NULL},
    {"clip_sum", clip_sum, NULL},       {"input_gradient", input_gradient, blas_input_gradient}};
enum { PASSES = sizeof passes / sizeof passes[0], GHOST_PIXELS = 64 };

typedef struct measured {
    double seconds[PASSES], blas[PASSES], flops[PASSES]; /* 0: not measured */
} measured;

enum { REPEATS = 512 };

typedef struct clockwork {
    double least_s;
    const char *kernels;
    double peaks[REPEATS];
    size_t n_peaks;
} clockwork;

/* A fifth of the repeats is faster: on a virtual machine the clock sometimes misses what it owes. */
static double typical_s(place *p, void (*run)(place *), clockwork *clock)
{
    double seconds[REPEATS], spent = 0;
    size_t n = 0;
    run(p);
    while (n < REPEATS && (n < 5 || spent < clock->least_s)) {
        clock->peaks[clock->n_peaks++ % REPEATS] = bench_peak_gflops(clock->kernels);
        double start = bench_thread_s();
        run(p);
        seconds[n] = bench_thread_s() - start;
        spent += seconds[n++];
    }
    bench_median(seconds, n); /* sorts */
    return seconds[n / 5];
}

static double typical_peak(clockwork *clock)
{
    const size_t n = clock->n_peaks < REPEATS ? clock->n_peaks : REPEATS;
    if (n == 0)
        return 0;
    bench_median(clock->peaks, n);
    return clock->peaks[n - 1 - n / 5];
}

/* false: no memory */
static bool measure(measured *m, const nn_convolution *c, uint32_t n, bool is_first, clockwork *clock)
{
    place p;
    bool ok = place_init(&p, c, n);
    *m = (measured){0};
    for (int i = 0; ok && i < PASSES; i++) {
        if ((is_first && passes[i].run == input_gradient) ||
            (passes[i].run == ghost_squares && c->out_h * c->out_w > GHOST_PIXELS))
            continue;
        m->flops[i] = (double)c->flops * n;
        m->seconds[i] = typical_s(&p, passes[i].run, clock);
        m->blas[i] = passes[i].blas && c->shape.groups == 1 ? typical_s(&p, passes[i].blas, clock) : 0;
    }
    place_fini(&p);
    return ok;
}

static void set_rates(fl_json *j, const measured *m, double peak)
{
    for (int i = 0; i < PASSES; i++) {
        if (m->seconds[i] <= 0)
            continue;
        fl_json *rate = fl_json_object();
        fl_json_set_real(rate, "gflops", round(m->flops[i] / m->seconds[i] * 1e-8) / 10);
        if (peak > 0)
            fl_json_set_real(rate, "of_peak", round(m->flops[i] / m->seconds[i] * 1e-6 / peak) / 1000);
        if (m->blas[i] > 0)
            fl_json_set_real(rate, "openblas_gflops", round(m->flops[i] / m->blas[i] * 1e-8) / 10);
        fl_json_set(j, passes[i].name, rate);
    }
}

static fl_json *layer_json(const nn_layer *l, const nn_convolution *c, const measured *m, double peak)
{
    char shape[128];
    const nn_conv_shape *s = &c->shape;
    fl_json *j = fl_json_object();
    snprintf(shape, sizeof shape, "%ux%ux%u to %ux%ux%u, kernel %ux%u stride %u pad %u groups %u", s->C, s->H, s->W,
             s->out, c->out_h, c->out_w, s->kernel_h, s->kernel_w, s->stride, s->pad, s->groups);
    fl_json_set_text(j, "name", l->name);
    fl_json_set_text(j, "shape", shape);
    fl_json_set_int(j, "flops", (int64_t)c->flops);
    set_rates(j, m, peak);
    return j;
}

/* Layers of equal shape are measured once. */
static fl_code measure_model(const nn_model *m, uint32_t n, clockwork *clock, fl_json *out, fl_err *err)
{
    static measured of[NN_MAX_LAYERS];
    measured all = {0};
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        uint32_t same = 0;
        if (!m->nodes[i].is_conv)
            continue;
        while (same < i &&
               (m->spec.layers[same].from[0] < 0 || !m->nodes[same].is_conv ||
                memcmp(&m->nodes[same].conv.shape, &m->nodes[i].conv.shape, sizeof m->nodes[i].conv.shape) != 0))
            same++;
        if (same < i)
            of[i] = of[same];
        else if (!measure(&of[i], &m->nodes[i].conv, n, m->spec.layers[i].from[0] < 0, clock))
            return fl_fail(err, FL_EENV, "layers: no memory left");
        for (int k = 0; k < PASSES; k++) {
            all.flops[k] += of[i].flops[k];
            all.seconds[k] += of[i].seconds[k];
            all.blas[k] += of[i].blas[k];
        }
    }
    const double peak = typical_peak(clock);
    fl_json *layers = fl_json_array(), *total = fl_json_object();
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        if (m->nodes[i].is_conv)
            fl_json_push(layers, layer_json(&m->spec.layers[i], &m->nodes[i].conv, &of[i], peak));
    }
    set_rates(total, &all, peak);
    fl_json_set_real(out, "peak_gflops", round(peak * 10) / 10);
    fl_json_set(out, "all", total);
    fl_json_set(out, "layers", layers);
    return FL_OK;
}

static fl_code read_model(nn_model **m, fl_cli *cli, fl_err *err)
{
    const char *name = fl_cli_value(cli, "model"), *input = fl_cli_value(cli, "input"), *text = nn_architecture(name);
    unsigned c, h, w;
    char rest;
    fl_buf file;
    fl_buf_init(&file, 1 << 16);
    fl_code rc = FL_OK;
    if (sscanf(input, "%5ux%5ux%5u%c", &c, &h, &w, &rest) != 3)
        rc = fl_fail(err, FL_EFORMAT, "--input: is '%.60s': must be channels, height and width, as 3x32x32", input);
    if (rc == FL_OK && !text) {
        rc = fl_file_read(&file, name, err);
        text = rc == FL_OK ? fl_buf_text(&file) : NULL;
    }
    if (rc == FL_OK)
        rc = nn_model_create(m, text, c, h, w, 2, err);
    fl_buf_fini(&file);
    return rc;
}

int bench_layers(fl_cli *cli)
{
    fl_err err;
    nn_model *m = NULL;
    int64_t n = 16, ms = 100;
    const char *wanted = fl_cli_value(cli, "kernels");
    fl_json *j = fl_json_object();
    fl_code rc = read_model(&m, cli, &err);
    if (rc == FL_OK)
        rc = fl_cli_int(cli, "images", &n, 1, 1024, &err);
    if (rc == FL_OK)
        rc = fl_cli_int(cli, "ms", &ms, 1, 100000, &err);
    if (rc == FL_OK && wanted && !nn_kernels_named(wanted))
        rc = fl_fail(&err, FL_EFORMAT, "--kernels: %.60s: this CPU has no such kernels", wanted);
    if (rc == FL_OK) {
        if (wanted)
            nn_kernels_use(nn_kernels_named(wanted));
        const char *kernels = nn_kernels_chosen()->name;
        fl_json_set_text(j, "model", fl_cli_value(cli, "model"));
        fl_json_set_text(j, "input", fl_cli_value(cli, "input"));
        fl_json_set_text(j, "kernels", kernels);
        fl_json_set_int(j, "images", n);
        rc = bench_sgemm_start(&err);
        clockwork clock = {.least_s = (double)ms * 1e-3, .kernels = kernels};
        if (rc == FL_OK) {
            fl_json_set_text(j, "openblas", bench_sgemm_core());
            rc = measure_model(m, (uint32_t)n, &clock, j, &err);
        }
    }
    nn_model_destroy(m);
    if (rc == FL_OK)
        return bench_print(cli, j);
    fl_json_free(j);
    return fl_cli_fail(cli, &err);
}
