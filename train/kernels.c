#include "train/kernels.h"
#include "train/kernels_sets.h"
#include <string.h>

static const nn_kernels *in_use;

const nn_kernels *nn_kernels_chosen(void)
{
    const nn_kernels *set = __atomic_load_n(&in_use, __ATOMIC_ACQUIRE);
    return set ? set : &nn_kernels_portable;
}

const nn_kernels *nn_kernels_named(const char *name)
{
    return strcmp(name, nn_kernels_portable.name) == 0 ? &nn_kernels_portable : NULL;
}

void nn_kernels_use(const nn_kernels *set)
{
    __atomic_store_n(&in_use, set, __ATOMIC_RELEASE);
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
