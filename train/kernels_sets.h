/* The sets that were compiled in: kernels.c chooses. Private to train/kernels*. */
#ifndef TRAIN_KERNELS_SETS_H
#define TRAIN_KERNELS_SETS_H

#include "train/kernels.h"

extern const nn_kernels nn_kernels_portable;
#if defined(__x86_64__)
extern const nn_kernels nn_kernels_avx512, nn_kernels_avx2;
#endif

/* For arrays that the compiler turns into registers: no zeros in memory, no canary beside them. */
#define NN_UNINITIALISED __attribute__((uninitialized))
#define NN_IN_REGISTERS  __attribute__((no_stack_protector))

#endif
