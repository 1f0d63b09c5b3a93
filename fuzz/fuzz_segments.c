/* The file of `cordon-audit epsilon --segments`. What is read is in range, and reads the same again. */
#include "audit/audit.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dp_segment *segments, *again;
    size_t n, n_again;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    for (size_t i = 0; i < size; i++)
        text[i] = (char)data[i];
    text[size] = 0;
    if (audit_segments_read(&segments, &n, text, size, "input", NULL) == FL_OK) {
        double rdp = dp_rdp_compose(segments, n < 8 ? n : 8, 2);
        if (n == 0 || isnan(rdp) || rdp < 0)
            abort();
        for (size_t i = 0; i < n; i++) {
            if (!(segments[i].q > 0 && segments[i].q <= 1 && segments[i].sigma > 0 && segments[i].steps >= 1))
                abort();
        }
        if (audit_segments_read(&again, &n_again, text, size, "input", NULL) != FL_OK || n_again != n)
            abort();
        free(again);
        free(segments);
    }
    free(text);
    return 0;
}
