#include "train/rows.h"
#include "base/log.h"
#include "train/rows_sets.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static bool can_run(const nn_rows *set)
{
#ifdef __x86_64__
    if (set == &nn_rows_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (set == &nn_rows_avx2)
        return __builtin_cpu_supports("avx2");
#endif
    return set == &nn_rows_portable;
}

static const nn_rows *const sets[] = {
#ifdef __x86_64__
    &nn_rows_avx512,
    &nn_rows_avx2,
#endif
    &nn_rows_portable,
};

const nn_rows *nn_rows_named(const char *name)
{
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (strcmp(sets[i]->name, name) == 0)
            return can_run(sets[i]) ? sets[i] : NULL;
    }
    return NULL;
}

/* --- self-test -------------------------------------------------------------------------------------------------- */

enum { MOST = 16 * 48, BEHIND = 16 }; /* values of a row, and what must stay as it was */
#define CANARY 42.0f

/* What a set wrote. All is compared as bytes. */
typedef struct output {
    float y[MOST + BEHIND];
    double sum[MOST + BEHIND], product[MOST + BEHIND];
    uint32_t at[MOST + BEHIND];
} output;

typedef struct trial {
    float a[MOST], b[MOST], constants[4][MOST]; /* of channels */
    output of_set, expected;
} trial;

/* Values around 1, some of them zero, tiny, huge or no number. */
static void fill(float *x, size_t n, uint32_t seed)
{
    static const float odd[] = {0, -0.0f, 1e-30f, 3e30f, -95, 20};
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / 4194304.0f - 2;
        if (seed >> 16 & 1 && i % 11 == 0)
            x[i] = odd[i / 11 % (sizeof odd / sizeof odd[0])];
    }
}

static void clean(output *o)
{
    for (size_t i = 0; i < MOST + BEHIND; i++) {
        o->y[i] = CANARY;
        o->sum[i] = o->product[i] = CANARY;
        o->at[i] = 42;
    }
}

enum { FLAT = 10, BY_CHANNEL = 4 };

/* Loop number `loop` of those that take n values. */
static void run_flat(const nn_rows *set, int loop, const trial *t, output *o, size_t n)
{
    switch (loop) {
    case 0:
        set->add(o->y, t->a, t->b, n);
        break;
    case 1:
        set->relu(o->y, t->a, n);
        break;
    case 2:
        set->relu_back(o->y, t->a, t->b, n);
        break;
    case 3:
        set->tanh(o->y, t->a, n);
        break;
    case 4:
        set->tanh_back(o->y, t->a, t->b, n);
        break;
    case 5:
        set->silu(o->y, t->a, n);
        break;
    case 6:
        set->silu_back(o->y, t->a, t->b, n);
        break;
    case 7:
        memcpy(o->y, t->b, n * sizeof *o->y);
        set->largest(o->y, o->at, t->a, 7, n);
        break;
    case 8:
        for (size_t i = 0; i < n; i++)
            o->at[i] = (uint32_t)(i % 3);
        set->largest_back(o->y, o->at, t->a, 1, n);
        break;
    default: /* in place */
        memcpy(o->y, t->a, n * sizeof *o->y);
        set->relu(o->y, o->y, n);
    }
}

/* And of those that take W pixels of cs channels. */
static void run_by_channel(const nn_rows *set, int loop, const trial *t, output *o, size_t W, uint32_t cs)
{
    const float(*k)[MOST] = t->constants;
    switch (loop) {
    case 0:
        set->moments(o->sum, o->product, t->a, k[0], W, cs);
        break;
    case 1:
        set->normalise(o->y, t->a, k[0], k[1], k[2], W, cs);
        break;
    case 2:
        set->slopes(o->sum, o->product, t->a, t->b, k[0], W, cs);
        break;
    default:
        set->restore(o->y, t->a, t->b, k[0], k[1], k[2], k[3], W, cs);
    }
}

static bool is_expected(const nn_rows *set, trial *t, int loop, size_t n, uint32_t cs /* 0: flat */)
{
    const struct {
        const nn_rows *set;
        output *to;
    } runs[] = {{set, &t->of_set}, {&nn_rows_portable, &t->expected}};
    for (int i = 0; i < 2; i++) {
        clean(runs[i].to);
        if (cs > 0)
            run_by_channel(runs[i].set, loop, t, runs[i].to, n, cs);
        else
            run_flat(runs[i].set, loop, t, runs[i].to, n);
    }
    return memcmp(&t->of_set, &t->expected, sizeof t->expected) == 0;
}

bool nn_rows_self_test(const nn_rows *set)
{
    static const size_t lengths[] = {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 255, MOST};
    static const uint32_t channels[] = {1, 2, 3, 7, 16, 32, 48};
    static const size_t pixels[] = {1, 2, 5, 16};
    trial *t = calloc(1, sizeof *t);
    bool ok = t != NULL;
    if (ok) {
        fill(t->a, MOST, 1);
        fill(t->b, MOST, 2);
        fill(&t->constants[0][0], sizeof t->constants / sizeof(float), 3);
    }
    for (size_t i = 0; ok && i < sizeof lengths / sizeof lengths[0]; i++) {
        for (int loop = 0; ok && loop < FLAT; loop++)
            ok = is_expected(set, t, loop, lengths[i], 0);
    }
    for (size_t i = 0; ok && i < sizeof channels / sizeof channels[0]; i++) {
        for (size_t j = 0; ok && j < sizeof pixels / sizeof pixels[0]; j++) {
            for (int loop = 0; ok && loop < BY_CHANNEL; loop++)
                ok = is_expected(set, t, loop, pixels[j], channels[i]);
        }
    }
    free(t);
    return ok;
}

/* --- choosing --------------------------------------------------------------------------------------------------- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const nn_rows *chosen; /* at start, then for good */
static const nn_rows *in_use; /* what a test asked for, or NULL */

static void start(void)
{
    const char *name = getenv("CORDON_KERNELS"); /* a name that there is not: kernels.c says so */
    const nn_rows *wanted = name ? nn_rows_named(name) : NULL;
    chosen = &nn_rows_portable;
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (!can_run(sets[i]) || (wanted && wanted != sets[i]))
            continue;
        if (nn_rows_self_test(sets[i])) {
            chosen = sets[i];
            return;
        }
        fl_log(FL_WARN, "train", "loops=%s failed the self-test: the next ones are taken, which are slower",
               sets[i]->name);
    }
}

const nn_rows *nn_rows_chosen(void)
{
    const nn_rows *set = __atomic_load_n(&in_use, __ATOMIC_ACQUIRE);
    if (set)
        return set;
    pthread_once(&once, start);
    return chosen;
}

void nn_rows_use(const nn_rows *set)
{
    __atomic_store_n(&in_use, set, __ATOMIC_RELEASE);
}
