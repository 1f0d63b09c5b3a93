#include "privacy/pld_compose.h"

#include "privacy/expv.h"
#include "privacy/fft.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double U = DBL_EPSILON / 2;
/* A frequency whose spectrum is below exp(-100) is taken as 0. */
static const double LOG_DEAD = -100;

/* One of the two composed laws: from above or from below. */
typedef struct spectrum {
    int direction;              /* +1 above, -1 below: which way to round */
    double *re, *im;            /* (n/2 + 1) of the product so far */
    double *log_size;           /* its modulus is at most exp of this; -inf: taken as 0 */
    double *error;              /* its relative error, to first order */
    double offset;              /* sum steps offset of the step's law */
    double log_mass;            /* sum steps ln(normaliser) */
    double log_error;           /* of log_mass and of all masses together */
    double log_right, log_left; /* sum steps ln(mean of exp(+-slope index)) under the tilted law */
} spectrum;

typedef struct workspace {
    const dp_window *window;
    dp_fft *fft;
    double *x;       /* (n) */
    double *re, *im; /* (n/2 + 1) */
    spectrum above, below;
    dp_cells cells;
    dp_law law;
    double offset_error; /* how far a loss may be off its point */
    double lost;         /* probability of an infinite loss */
} workspace;

static fl_code spectrum_init(spectrum *p, int direction, size_t n, fl_err *err)
{
    *p = (spectrum){.direction = direction};
    p->re = malloc(4 * n * sizeof *p->re);
    if (!p->re)
        return fl_fail(err, FL_EENV, "bounds: no memory left for %zu frequencies", n);
    p->im = p->re + n;
    p->log_size = p->im + n;
    p->error = p->log_size + n;
    for (size_t k = 0; k < n; k++) {
        p->re[k] = 1;
        p->im[k] = p->log_size[k] = p->error[k] = 0;
    }
    return FL_OK;
}

static void workspace_fini(workspace *w)
{
    dp_fft_destroy(w->fft);
    free(w->x);
    free(w->above.re);
    free(w->below.re);
    dp_cells_fini(&w->cells);
    free(w->law.p);
}

static fl_code workspace_init(workspace *w, const dp_window *window, fl_err *err)
{
    const size_t n = (size_t)1 << window->log2_size, half = n / 2 + 1;
    *w = (workspace){.window = window};
    FL_TRY(dp_fft_create(&w->fft, window->log2_size, err));
    w->x = malloc((n + 2 * half) * sizeof *w->x);
    if (!w->x)
        return fl_fail(err, FL_EENV, "bounds: no memory left for 2^%u points", window->log2_size);
    w->re = w->x + n;
    w->im = w->re + half;
    FL_TRY(spectrum_init(&w->above, 1, half, err));
    return spectrum_init(&w->below, -1, half, err);
}

double dp_few_bits(double x)
{
    int exponent;
    double fraction = frexp(x, &exponent);
    return ldexp(round(fraction * 67108864.0), exponent - 26);
}

/*
 * Tilts and normalises the law into x, folded, and adds up what the tail bounds need: under the tilted law of all steps
 * P(S >= t) <= E exp(slope S) exp(-slope t). Sums and running products over n points are good to 8 n U.
 */
static bool tilt_into(workspace *w, spectrum *p, double steps)
{
    const dp_window *win = w->window;
    const dp_law *law = &w->law;
    const size_t mask = ((size_t)1 << win->log2_size) - 1;
    const double first = (double)law->first, last = first + (double)law->n - 1;
    if (fmax(fabs(first), fabs(last)) * win->tilt_step > 690)
        return false; /* dp_expv would clamp */
    for (size_t k = 0; k < law->n; k++)
        law->p[k] *= dp_expv(win->tilt_step * (first + (double)(int32_t)k));
    /* running products start at 1 where they are largest; where they underflow, the sums still have 1e-290 too much */
    const double right_fall = exp(-win->right_step), left_fall = exp(-win->left_step);
    double sum = 0, right = 1e-290, left = 1e-290, factor = 1;
    for (size_t k = 0; k < law->n; k++) {
        sum += law->p[k];
        left += law->p[k] * factor;
        factor *= left_fall;
    }
    factor = 1;
    for (size_t k = law->n; k-- > 0;) {
        right += law->p[k] * factor;
        factor *= right_fall;
    }
    if (!(sum > 1e-250 && sum < 1e250))
        return false;
    memset(w->x, 0, (mask + 1) * sizeof *w->x);
    const double scale = (1 + p->direction * 48 * U) / sum;
    for (size_t k = 0; k < law->n; k++)
        w->x[(size_t)(law->first + (int64_t)k) & mask] += law->p[k] * scale;
    const double slack = 8 * U * ((double)law->n + 16);
    p->log_mass += steps * log(sum);
    p->log_right += steps * (log(right / sum) + win->right_step * last + slack);
    p->log_left += steps * (log(left / sum) - win->left_step * first + slack);
    p->log_error += steps * (4 * U * fabs(log(sum)) + 16 * U);
    return true;
}

/* (re + i im)^steps by squaring: relative error below 4 U steps */
static void power(double *re, double *im, uint64_t steps)
{
    double rr = 1, ri = 0, br = *re, bi = *im;
    for (uint64_t left = steps; left > 0; left >>= 1) {
        if (left & 1) {
            double t = rr * br - ri * bi;
            ri = rr * bi + ri * br;
            rr = t;
        }
        double t = br * br - bi * bi;
        bi = 2 * br * bi;
        br = t;
    }
    *re = rr;
    *im = ri;
}

/* The step's spectrum, each value off by at most e, to the power of steps, into the product. */
static void multiply(spectrum *p, const workspace *w, double steps, double e)
{
    const size_t n = ((size_t)1 << w->window->log2_size) / 2 + 1;
    const double dead = exp(LOG_DEAD / steps) * (1 - 1e-9);
    for (size_t k = 0; k < n; k++) {
        if (p->log_size[k] == -INFINITY)
            continue;
        double re = w->re[k], im = w->im[k];
        const double size = sqrt(re * re + im * im) * (1 + 4 * U) + e;
        p->log_size[k] = size < dead ? -INFINITY : p->log_size[k] + steps * log(size);
        if (p->log_size[k] < LOG_DEAD) {
            p->log_size[k] = -INFINITY;
            p->re[k] = p->im[k] = 0;
            continue;
        }
        power(&re, &im, (uint64_t)steps);
        p->error[k] += steps * (e / size + 6 * U); /* (s + e)^T - s^T <= T e / (s + e) (s + e)^T */
        double t = p->re[k] * re - p->im[k] * im;
        p->im[k] = p->re[k] * im + p->im[k] * re;
        p->re[k] = t;
    }
}

static fl_code add_law(workspace *w, spectrum *p, const dp_group *g, dp_way way, fl_err *err)
{
    FL_TRY(p->direction > 0 ? dp_law_above(&w->law, &w->cells, way, err) : dp_law_below(&w->law, &w->cells, way, err));
    if (!tilt_into(w, p, g->steps))
        return fl_fail(err, FL_EREFUSED, "bounds: the loss of a step is beyond what doubles hold");
    p->offset += g->steps * w->law.offset;
    dp_fft_forward(w->fft, w->re, w->im, w->x);
    multiply(p, w, g->steps, 1.01 * dp_fft_error(w->fft)); /* masses add up to 1, a trifle more above */
    return FL_OK;
}

/* Back: x holds the tilted masses, each off by at most the value returned. */
static double invert(workspace *w, const spectrum *p)
{
    const size_t n = (size_t)1 << w->window->log2_size, half = n / 2;
    double size = 0, error = 0;
    for (size_t k = 0; k <= half; k++) {
        double weight = k == 0 || k == half ? 1 : 2;
        if (p->log_size[k] == -INFINITY) {
            error += weight * exp(LOG_DEAD);
            continue;
        }
        double bound = weight * exp(p->log_size[k]) * (1 + 1e-9);
        size += bound;
        error += bound * (p->error[k] + expm1(p->error[k]));
    }
    dp_fft_inverse(w->fft, w->x, p->re, p->im);
    return 1.01 * (error + 2 * size * dp_fft_error(w->fft)) / (double)n;
}

double dp_largest_weight(double tilt)
{
    return pow(tilt / (tilt + 1), tilt) / (tilt + 1) * (1 + 1e-9);
}

/*
 * delta(e) = C sum over points l_j > e of m_j exp(-tilt j h) (1 - exp(e - l_j)), m the tilted masses. From the right, with
 *
 *     A_i = sum_{j > i} m_j exp(-tilt (j - i) h)      B_i = sum_{j > i} m_j exp(-(tilt + 1) (j - i) h)
 *
 * delta(e) = C exp(-tilt i h) (A_i - exp(e - l_i) B_i) for e from l_i to l_{i+1}. The first i, from the right, at which
 * delta(l_i) exceeds delta ends the search; inside the cell the equation is solved. Mass outside the window, folded in or
 * left out, times the largest weight is added above and taken away below; so is the error of each mass. Each step of the
 * recurrences costs at most 4 U.
 */
typedef struct crossing {
    double epsilon; /* at least 0 */
    bool found;
    double noise, folded;
} crossing;

static crossing find_crossing(const workspace *w, const spectrum *p, double mass_error, double delta)
{
    const dp_window *win = w->window;
    const int direction = p->direction;
    const int64_t n = (int64_t)1 << win->log2_size;
    const int64_t bottom = (int64_t)floor((win->from - p->offset) / win->h), top = bottom + n - 1;
    const double fall_a = exp(-win->tilt_step), fall_b = exp(-(win->tilt_step + win->h));
    const double outside = 1.01 * (exp(p->log_right - win->right_step * (double)(top + 1)) +
                                   exp(p->log_left + win->left_step * (double)(bottom - 1)));
    const double far = outside * dp_largest_weight(win->tilt_step / win->h);
    const double end = fmax(fabs((double)bottom), fabs((double)top));
    const double margin = w->offset_error + 16 * U * (fabs(p->offset) + end * win->h);
    const double log_error = p->log_error + 8 * U * (fabs(p->log_mass) + win->tilt_step * end);
    const double left = direction > 0 ? delta - w->lost : delta;
    const double log_target = log(left) - p->log_mass - direction * log_error + win->tilt_step * (double)top;
    double a = 0, b = 0, target = exp(log_target), noise_a = 0, noise_b = 0;
    if (!(left > 0 && fabs(log_target) < 700 && far < target))
        return (crossing){.epsilon = direction > 0 ? INFINITY : 0, .folded = far < target ? 0 : INFINITY};
    for (int64_t i = top; i >= bottom; i--) {
        const double slack = direction * (64 + 8 * (double)(top - i)) * U;
        const double a_bound = a * (1 + slack) + direction * far, b_bound = b * (1 - slack);
        const double wanted = target * (1 - slack), loss = p->offset + (double)i * win->h;
        if (a_bound - b_bound > wanted) {
            double x = fmin(log((a_bound - wanted) / b_bound), win->h);
            return (crossing){.epsilon = fmax(loss + x + direction * (margin + 16 * U * (fabs(loss) + 1)), 0),
                              .found = true,
                              .noise = (noise_a - noise_b) / b,
                              .folded = far / b};
        }
        if (loss + margin < 0)
            return (crossing){.epsilon = 0, .found = true};
        double m = w->x[(size_t)i & (size_t)(n - 1)];
        m = direction > 0 ? fmax(m, 0) + mass_error : fmax(m - mass_error, 0);
        a = (a + m) * fall_a;
        b = (b + m) * fall_b;
        noise_a = (noise_a + mass_error) * fall_a;
        noise_b = (noise_b + mass_error) * fall_b;
        target *= fall_a;
    }
    return (crossing){.epsilon = direction > 0 ? fmax(p->offset + (double)bottom * win->h + margin, 0) : 0};
}

fl_code dp_compose(dp_composed *out, const dp_group *groups, size_t n, dp_way way, const dp_window *window, double z,
                   double delta, fl_err *err)
{
    workspace w;
    fl_code code = workspace_init(&w, window, err);
    for (size_t i = 0; i < n && code == FL_OK; i++) {
        const dp_group *g = &groups[i];
        code = dp_cells_fill(&w.cells, g->q, g->sigma, window->h, z, err);
        w.offset_error += g->steps * (w.cells.slack + 8 * U * fabs(w.cells.c));
        w.lost += g->steps * w.cells.lost;
        if (code == FL_OK)
            code = add_law(&w, &w.above, g, way, err);
        if (code == FL_OK)
            code = add_law(&w, &w.below, g, way, err);
    }
    if (code == FL_OK) {
        double mass_error = invert(&w, &w.above);
        crossing high = find_crossing(&w, &w.above, mass_error, delta);
        mass_error = invert(&w, &w.below);
        crossing low = find_crossing(&w, &w.below, mass_error, delta);
        *out = (dp_composed){.epsilon = {.low = low.epsilon, .high = high.epsilon},
                             .found_low = low.found,
                             .found_high = high.found,
                             .noise = high.noise,
                             .folded = high.folded};
    }
    workspace_fini(&w);
    return code;
}
