/* Checkpoints from a disk: what is taken is this plan's, finite, and writes the same bytes again. */
#include "train/checkpoint.h"

#include <assert.h>
#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_one(const nn_plan *plan, const uint8_t *data, size_t size)
{
    nn_server s;
    if (nn_checkpoint_read(&s, plan, data, size, NULL) != FL_OK)
        return;
    fl_buf state, file;
    fl_buf_init(&state, 1 << 16);
    fl_buf_init(&file, 1 << 16);
    assert(s.rounds_done <= plan->rounds && nn_server_write(&state, &s, NULL) == FL_OK);
    nn_checkpoint_wrap(&file, state.bytes, state.size);
    assert(file.size == size && memcmp(file.bytes, data, size) == 0);
    for (size_t i = 0; i < s.n_weights; i++)
        assert(isfinite(s.w[i]) && isfinite(s.momentum[i]) && isfinite(s.average[i]));
    fl_buf_fini(&state);
    fl_buf_fini(&file);
    nn_server_fini(&s);
}

/* As it is, and as the state inside a head that is right: no fuzzer guesses SHA-256. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static nn_plan plan;
    if (plan.n_weights == 0) {
        plan = (nn_plan){.n_classes = 2, .channels = 1, .height = 8, .width = 8, .n_weights = 130, .rounds = 8};
        plan.hash = (fl_hash){{0xab, 0xcd, 3}};
        strcpy(plan.spec, "linear classes");
        nn_plan_settle(&plan);
    }
    read_one(&plan, data, size);
    fl_buf file;
    fl_buf_init(&file, (size_t)1 << 24);
    nn_checkpoint_wrap(&file, data, size);
    read_one(&plan, file.bytes, file.size);
    fl_buf_fini(&file);
    return 0;
}
