#include "sim/phantom_image.h"

#include <math.h>

#define SIDE SIM_PHANTOM_SIDE

static double between(fl_rng *rng, double lo, double hi)
{
    return lo + (hi - lo) * fl_rng_uniform(rng);
}

static double square(double x)
{
    return x * x;
}

/* 0 below -width, 1 above width, smooth in between. */
static double soft(double x, double width)
{
    double t = 0.5 + 0.5 * x / width;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return t * t * (3 - 2 * t);
}

/* A bell of height 1. */
static double bell(double x, double sigma)
{
    double t = square(x / sigma);
    return t > 12 ? 0 : exp(-0.5 * t);
}

static void draw_lesion(sim_lesion *l, fl_rng *rng)
{
    double side = fl_rng_below(rng, 2) ? 1 : -1;
    l->u = side * between(rng, 0.32, 0.48);
    l->v = fl_rng_below(rng, 5) ? between(rng, -0.02, 0.30)
                                : between(rng, -0.38, -0.02); /* mostly mid and lower lung */
    l->radius = between(rng, 15, 30) / 80;
    l->amplitude = between(rng, 0.24, 0.34);
    l->phase[0] = between(rng, 0, 6.28);
    l->phase[1] = between(rng, 0, 6.28);
}

void sim_body_draw(sim_body *b, fl_rng *rng, bool diseased)
{
    *b = (sim_body){
        .scale = between(rng, 0.92, 1.06),
        .lung_width = between(rng, 0.26, 0.31),
        .lung_height = between(rng, 0.60, 0.70),
        .heart = between(rng, 0.85, 1.12),
        .rib_phase = between(rng, 0, 1),
        .rib_step = between(rng, 0.155, 0.185),
        .tilt = between(rng, -0.05, 0.05),
        .diaphragm = between(rng, 0.44, 0.54),
        .vessel_phase = {between(rng, 0, 6.28), between(rng, 0, 6.28)},
    };
    for (unsigned y = 0; y < SIM_NOISE_SIDE; y++)
        for (unsigned x = 0; x < SIM_NOISE_SIDE; x++)
            b->texture[y][x] = (float)fl_rng_normal(rng);
    b->n_lesions = diseased ? 1 + (unsigned)fl_rng_below(rng, SIM_MAX_LESIONS) : 0;
    for (unsigned i = 0; i < b->n_lesions; i++)
        draw_lesion(&b->lesions[i], rng);
}

/* The lattice at (u, v), linear between its points; step 2 reads every second point: coarser. */
static double texture(const sim_body *b, double u, double v, unsigned step)
{
    unsigned cells = (SIM_NOISE_SIDE - 1) / step;
    double x = (u + 1.3) / 2.6 * cells, y = (v + 1.3) / 2.6 * cells;
    x = x < 0 ? 0 : x > cells - 1e-9 ? cells - 1e-9 : x;
    y = y < 0 ? 0 : y > cells - 1e-9 ? cells - 1e-9 : y;
    unsigned i = (unsigned)x, j = (unsigned)y;
    double s = x - i, t = y - j;
    s = s * s * (3 - 2 * s);
    t = t * t * (3 - 2 * t);
    const float *row = b->texture[j * step], *below = b->texture[(j + 1) * step];
    return (1 - t) * ((1 - s) * row[i * step] + s * row[(i + 1) * step]) +
           t * ((1 - s) * below[i * step] + s * below[(i + 1) * step]);
}

/* How much of a lung is at (u, v): 0 outside, 1 inside; before heart and vessels. */
static double lung_at(const sim_body *b, double u, double v)
{
    double side = u < 0 ? -1 : 1, centre = 0.12 + b->lung_width;
    double y = (v + 0.06) / b->lung_height;
    double narrow = y < 0 ? 1 - 0.42 * y * y : 1; /* the apex */
    double x = (fabs(u) - centre * (0.72 + 0.28 * narrow)) / (b->lung_width * narrow);
    if (fabs(x) > 1.4 || fabs(y) > 1.4)
        return 0;
    double inside = 1 - x * x * sqrt(fabs(x)) - y * y * sqrt(fabs(y));
    double dome = b->diaphragm - (side < 0 ? 0.05 : 0) + 1.9 * square(fabs(u) - 0.30); /* the right one is higher */
    return soft(inside, 0.16) * soft(dome - v, 0.035);
}

/* Heart and great vessels in front of the lung. */
static double heart_at(const sim_body *b, double u, double v)
{
    double x = (u - 0.11) * 0.94 + (v - 0.24) * 0.34, y = (v - 0.24) * 0.94 - (u - 0.11) * 0.34;
    double heart = soft(1 - square(x / (0.30 * b->heart)) - square(y / 0.25), 0.28);
    double knob = soft(1 - square((u - 0.13) / 0.085) - square((v + 0.30) / 0.10), 0.4);
    double hilum = 0.55 * bell(hypot(fabs(u) - 0.19, v + 0.03), 0.055);
    return heart > knob ? (heart > hilum ? heart : hilum) : (knob > hilum ? knob : hilum);
}

static double ribs_at(const sim_body *b, double u, double v)
{
    double a = fabs(u);
    if (a > 0.86 || v > 0.62 || v < -0.84)
        return 0;
    double back = (v - 0.10 * a - 0.34 * a * a) / b->rib_step + b->rib_phase;
    double front = (v + 0.42 * a - 0.12 * a * a) / (1.15 * b->rib_step) + 1.7 * b->rib_phase;
    double d1 = (back - round(back)) * b->rib_step, d2 = (front - round(front)) * b->rib_step;
    double fade = soft(0.84 - a, 0.03) * soft(a - 0.07, 0.05) * soft(0.58 - v, 0.08);
    return fade * (0.075 * bell(d1, 0.026) + 0.038 * bell(d2, 0.034) * soft(a - 0.20, 0.1));
}

static double bones_at(const sim_body *b, double u, double v)
{
    double a = fabs(u), bones = ribs_at(b, u, v);
    if (a < 0.25) /* spine */
        bones += bell(u, 0.075) * (0.10 + 0.03 * sin(19 * v + 6 * b->rib_phase));
    double along = (a - 0.07) / 0.66, line = -0.60 - 0.16 * along;
    if (along > -0.1 && along < 1.1 && fabs(v - line) < 0.15) { /* clavicle */
        line -= 0.05 * sin(3.1 * along);
        bones += 0.12 * bell(v - line, 0.024) * soft(along + 0.04, 0.05) * soft(1.02 - along, 0.05);
    }
    return bones;
}

/* Branching streaks that fade away from the hilum. */
static double vessels_at(const sim_body *b, double u, double v)
{
    double x = fabs(u) - 0.15, y = v + 0.02, r = sqrt(x * x + y * y);
    if (r > 0.7 || r < 1e-6)
        return 0;
    double phase = b->vessel_phase[u > 0];
    double streak = cos(5.5 * atan2(y, x) + phase + 1.6 * sin(7 * r + phase));
    streak *= streak;
    streak *= streak;
    return 0.10 * streak * streak * exp(-r / 0.22);
}

static double lesions_at(const sim_body *b, double u, double v)
{
    double sum = 0;
    for (unsigned i = 0; i < b->n_lesions; i++) {
        const sim_lesion *l = &b->lesions[i];
        double x = u - l->u, y = v - l->v, r = sqrt(x * x + y * y);
        if (r > 1.9 * l->radius)
            continue;
        double angle = atan2(y, x);
        double edge = l->radius * (1 + 0.14 * sin(3 * angle + l->phase[0]) + 0.08 * sin(5 * angle + l->phase[1]));
        double cloud = 1 + 0.16 * texture(b, u, v, 1);
        sum += l->amplitude * cloud / (1 + exp((r - 0.85 * edge) / (0.17 * l->radius)));
    }
    return sum > 0.36 ? 0.36 : sum; /* overlapping ones do not add for ever */
}

/* Brightness of the ideal film, 0 (air) to about 1 (bone behind the diaphragm). */
static double brightness(const sim_body *b, double u, double v)
{
    double shoulder = v < -0.45 ? 0.28 + 0.66 * soft(v + 0.80, 0.22) : 0.94;
    double body = soft(shoulder - fabs(u), 0.035);
    if (body == 0)
        return 0.02;
    double lung = lung_at(b, u, v);
    double air = lung > 0 ? lung * (1 - 0.88 * heart_at(b, u, v)) : 0;
    double tissue = 0.60 + 0.05 * v + 0.10 * soft(v - b->diaphragm, 0.2) - 0.10 * square(u);
    double x = tissue - 0.38 * air + bones_at(b, u, v);
    x -= 0.10 * bell(u + 0.01, 0.035) * soft(-0.34 - v, 0.05); /* trachea */
    if (lung > 0)
        x += lung * (vessels_at(b, u, v) + (0.15 + 0.85 * air) * lesions_at(b, u, v));
    x += 0.016 * texture(b, u, v, 2) + 0.010 * texture(b, u, v, 1);
    return 0.02 * (1 - body) + body * x;
}

static void blur(double *image)
{
    double line[SIDE];
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < SIDE; i++) {
            size_t step = pass ? SIDE : 1;
            double *start = image + (pass ? i : (size_t)i * SIDE);
            for (unsigned k = 0; k < SIDE; k++)
                line[k] = start[k * step];
            for (unsigned k = 0; k < SIDE; k++)
                start[k * step] = 0.25 * line[k ? k - 1 : 0] + 0.5 * line[k] + 0.25 * line[k + 1 < SIDE ? k + 1 : k];
        }
}

void sim_body_render(uint16_t *pixels, const sim_body *b, const sim_look *look, fl_rng *rng)
{
    static _Thread_local double image[SIDE * SIDE];
    double du = between(rng, -0.05, 0.05), dv = between(rng, -0.05, 0.05);
    double tilt = b->tilt + between(rng, -0.02, 0.02), exposure = between(rng, 0.96, 1.04);
    double c = cos(tilt) / b->scale, s = sin(tilt) / b->scale;
    for (unsigned y = 0; y < SIDE; y++)
        for (unsigned x = 0; x < SIDE; x++) {
            double u = (x + 0.5) / (SIDE / 2.0) - 1 - du, v = (y + 0.5) / (SIDE / 2.0) - 1 - dv;
            image[y * SIDE + x] = brightness(b, c * u + s * v, c * v - s * u);
        }
    for (unsigned i = 0; i < look->n_blur; i++)
        blur(image);
    for (unsigned i = 0; i < SIDE * SIDE; i++) {
        double d = image[i] < 0 ? 0 : image[i];
        double value = look->offset + look->gain * exposure * (look->gamma == 1 ? d : pow(d, look->gamma)) +
                       look->noise * fl_rng_normal(rng);
        unsigned x = i % SIDE, y = i / SIDE, far = SIDE - 1 - look->border;
        if (x < look->border || y < look->border || x > far || y > far)
            value = 0.004;
        value = floor(value * 4095 + 0.5);
        pixels[i] = (uint16_t)(value < 0 ? 0 : value > 4095 ? 4095 : value);
    }
}
