/* JSON that is accepted has one canonical text, and reading that gives it again. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fl_json *j, *again;
    fl_buf first, second;
    if (fl_json_parse(&j, (const char *)data, size, "fuzz", NULL) != FL_OK)
        return 0;
    fl_buf_init(&first, (size_t)1 << 24);
    fl_buf_init(&second, (size_t)1 << 24);
    fl_json_print(&first, j, 2);
    fl_buf_clear(&first);
    if (fl_json_canonical(&first, j, NULL) == FL_OK) {
        if (fl_json_parse(&again, fl_buf_text(&first), first.size, "again", NULL) != FL_OK ||
            fl_json_canonical(&second, again, NULL) != FL_OK || first.size != second.size ||
            memcmp(first.bytes, second.bytes, first.size) != 0)
            abort();
        fl_json_free(again);
    }
    fl_json_free(j);
    fl_buf_fini(&first);
    fl_buf_fini(&second);
    return 0;
}
