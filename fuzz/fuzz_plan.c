/* Plans and studies from outside. A plan that is taken writes itself as it came; a study that is taken makes a plan. */
#include "train/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const nn_plan *plan, const uint8_t *data, size_t size)
{
    fl_buf text;
    fl_buf_init(&text, NN_PLAN_MAX_BYTES);
    fl_code code = nn_plan_write(&text, plan, NULL);
    assert(code == FL_OK);
    if (data)
        assert(text.size == size && memcmp(text.bytes, data, size) == 0);
    else {
        static nn_plan back;
        code = nn_plan_parse(&back, (const char *)text.bytes, text.size, NULL);
        assert(code == FL_OK && memcmp(&back, plan, sizeof back) == 0);
    }
    fl_buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static nn_plan plan;
    fl_err err;
    if (size > 2 * NN_PLAN_MAX_BYTES)
        return 0;
    if (nn_plan_parse(&plan, (const char *)data, size, &err) == FL_OK)
        write_again(&plan, data, size);
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (nn_plan_from_study(&plan, text, "study", "/nonexistent", &err) == FL_OK)
        write_again(&plan, NULL, 0);
    free(text);
    return 0;
}
