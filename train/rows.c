#include "train/rows.h"
#include "train/rows_sets.h"
#include <stdbool.h>
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

static const nn_rows *in_use;

void nn_rows_use(const nn_rows *set)
{
    __atomic_store_n(&in_use, set, __ATOMIC_RELEASE);
}

const nn_rows *nn_rows_chosen(void)
{
    const nn_rows *set = __atomic_load_n(&in_use, __ATOMIC_ACQUIRE);
    if (set)
        return set;
    const char *name = getenv("CORDON_KERNELS");
    set = name ? nn_rows_named(name) : NULL;
    for (size_t i = 0; !set; i++)
        set = can_run(sets[i]) ? sets[i] : NULL;
    nn_rows_use(set); /* every thread finds the same one */
    return set;
}
