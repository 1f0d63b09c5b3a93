#include "train/kernels.h"
#include "base/log.h"
#include "train/kernels_sets.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const nn_kernels *chosen; /* by start, then for good */
static const nn_kernels *in_use; /* what a test asked for, or NULL */

/* --- the sets, best first --------------------------------------------------------------------------------------- */

static bool any_cpu(void)
{
    return true;
}

#if defined(__x86_64__)
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

static const struct {
    const nn_kernels *set;
    bool (*runs_here)(void);
} sets[] = {
#if defined(__x86_64__)
    {&nn_kernels_avx512, has_avx512},
    {&nn_kernels_avx2, has_avx2},
#endif
    {&nn_kernels_portable, any_cpu},
};

enum { N_SETS = sizeof sets / sizeof sets[0] };

const nn_kernels *nn_kernels_named(const char *name)
{
    for (size_t i = 0; i < N_SETS; i++) {
        if (strcmp(name, sets[i].set->name) == 0)
            return sets[i].runs_here() ? sets[i].set : NULL;
    }
    return NULL;
}

/* --- self-test -------------------------------------------------------------------------------------------------- */

/* More rows than two tiles have; a chain in two pieces, of which the second is too long for any set to hold (FEW_TERMS), so
 * that many rows go by tiles, too; floats from row to row. */
enum { ROWS = 35, K = 40, SPLIT = 7, APART = 80 };

typedef struct trial {
    float x[ROWS * APART + NN_PANEL], w[K * APART], start[NN_PANEL], expected[ROWS * NN_PANEL], y[ROWS * APART];
    float g[4096];
    int32_t sum[2][4096];
} trial;

static void fill(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = ((float)(seed >> 8) / 8388608.0f - 1) * (i % 7 == 0 ? 1000 : 1);
    }
}

static void compute_expected(trial *t, bool is_fused, bool is_each)
{
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t c = 0; c < NN_PANEL; c++) {
            float sum = t->start[c];
            for (size_t k = 0; k < K; k++) {
                float a = t->x[i * APART + 2 * k + (is_each ? c : 0)], b = t->w[k * APART + c];
                sum = is_fused ? fmaf(a, b, sum) : sum + a * b;
            }
            t->expected[i * NN_PANEL + c] = sum;
        }
    }
}

/* n rows from `first` on and so many columns, in two pieces, with a row of NaN between them: the bits of the chain, and
 * nothing outside is touched; what columns of w there are not count as zero. */
static bool piece_is_right(void (*multiply)(const nn_product *), trial *t, size_t first, size_t n, uint32_t columns,
                           uint32_t w_columns)
{
    const float *x[ROWS], canary = 42;
    float *y[ROWS], bad[2 * K + NN_PANEL];
    ptrdiff_t x_run[2] = {0, 2 * SPLIT}, w_run[2] = {0, SPLIT * APART};
    for (size_t i = 0; i < 2 * K + NN_PANEL; i++)
        bad[i] = NAN;
    for (size_t i = 0; i < ROWS * APART; i++)
        t->y[i] = canary;
    for (size_t i = 0; i < n; i++) {
        x[i] = i == n / 2 && n > 1 ? bad : t->x + (first + i) * APART;
        y[i] = t->y + i * APART + i % 16; /* at every alignment */
    }
    nn_product p = {.y = y, .x = x, .w = t->w, .start = t->start, .x_run = x_run, .w_run = w_run, .n_rows = n};
    p.n_runs = 1;
    p.length = SPLIT;
    p.x_step = 2;
    p.w_step = APART;
    p.y_columns = columns;
    p.w_columns = w_columns;
    multiply(&p);
    p.accumulate = true;
    p.x_run++, p.w_run++;
    p.length = K - SPLIT;
    multiply(&p);
    for (size_t i = 0; i < n; i++) {
        const float *row = t->expected + (first + i) * NN_PANEL;
        const uint32_t same = w_columns < columns ? w_columns : columns;
        if (x[i] != bad && (memcmp(y[i], row, same * sizeof(float)) != 0 ||
                            memcmp(y[i] + same, t->start + same, (columns - same) * sizeof(float)) != 0))
            return false;
        if (y[i][columns] != canary)
            return false;
    }
    return true;
}

static bool passes_are_right(const nn_kernels *set, trial *t)
{
    static const float scales[] = {0.5f, 5, 3e5f, 1e7f, 1e30f, 0};
    double lane[2][NN_LANES];
    for (size_t at = 0; at < NN_LANES; at += 16) {
        memset(lane, 0, sizeof lane);
        set->squares(lane[0], t->g, 4096 - 32, at);
        nn_kernels_portable.squares(lane[1], t->g, 4096 - 32, at);
        if (memcmp(lane[0], lane[1], sizeof lane[0]) != 0)
            return false;
    }
    memset(t->sum, 0, sizeof t->sum);
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        if (set->clip(t->sum[0], t->g, 4096 - 16, scales[i]) !=
            nn_kernels_portable.clip(t->sum[1], t->g, 4096 - 16, scales[i]))
            return false;
    }
    return memcmp(t->sum[0], t->sum[1], sizeof t->sum[0]) == 0;
}

static bool products_are_right(void (*multiply)(const nn_product *), trial *t)
{
    bool ok = true;
    for (uint32_t columns = 1; ok && columns <= NN_PANEL; columns += columns < 17 ? 1 : 5) {
        for (size_t n = 1; ok && n <= ROWS; n++)
            ok = piece_is_right(multiply, t, columns * 7 % (ROWS - n + 1), n, columns, columns) &&
                 piece_is_right(multiply, t, 0, n, columns, columns > 20 ? columns - 20 : NN_PANEL);
    }
    return ok;
}

bool nn_kernels_self_test(const nn_kernels *set)
{
    trial *t = calloc(1, sizeof *t);
    if (!t)
        return false;
    fill(t->x, ROWS * APART + NN_PANEL, 1);
    fill(t->w, K * APART, 2);
    fill(t->start, NN_PANEL, 3);
    fill(t->g, 4096, 4);
    compute_expected(t, set->is_fused, false);
    bool ok = products_are_right(set->multiply, t);
    compute_expected(t, set->is_fused, true);
    ok = ok && products_are_right(set->multiply_each, t) && passes_are_right(set, t);
    free(t);
    return ok;
}

/* --- choosing --------------------------------------------------------------------------------------------------- */

static void start(void)
{
    const char *wanted = getenv("CORDON_KERNELS");
    if (wanted && *wanted && !nn_kernels_named(wanted))
        fl_log(FL_WARN, "train", "CORDON_KERNELS=%.20s: this CPU has no such kernels: ignored", wanted);
    chosen = &nn_kernels_portable; /* plain C, for the case that nothing passes */
    for (size_t i = 0; i < N_SETS; i++) {
        if (!sets[i].runs_here() || (wanted && nn_kernels_named(wanted) && strcmp(wanted, sets[i].set->name) != 0))
            continue;
        if (nn_kernels_self_test(sets[i].set)) {
            chosen = sets[i].set;
            break;
        }
        fl_log(FL_WARN, "train", "kernels=%s failed the self-test: the next ones are taken, which are slower",
               sets[i].set->name);
    }
    fl_log(FL_DEBUG, "train", "kernels=%s", chosen->name);
}

const nn_kernels *nn_kernels_chosen(void)
{
    const nn_kernels *set = __atomic_load_n(&in_use, __ATOMIC_ACQUIRE);
    if (set)
        return set;
    pthread_once(&once, start);
    return chosen;
}

void nn_kernels_use(const nn_kernels *set)
{
    __atomic_store_n(&in_use, set, __ATOMIC_RELEASE);
}

/* --- what all sets share ---------------------------------------------------------------------------------------- */

unsigned nn_floats_enter(void)
{
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* all exceptions masked, to nearest, denormals are zero */
    return before;
#else
    return 0;
#endif
}

void nn_floats_leave(unsigned before)
{
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

double nn_lanes_total(const double lane[NN_LANES])
{
    double sum[NN_LANES];
    memcpy(sum, lane, sizeof sum);
    for (size_t half = NN_LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++)
            sum[i] += sum[i + half];
    }
    return sum[0];
}

double nn_packed_sum_squares(const float *packed, size_t n)
{
    double lane[NN_LANES] = {0};
    nn_kernels_chosen()->squares(lane, packed, n, 0);
    return nn_lanes_total(lane);
}
